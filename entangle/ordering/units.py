"""Units: features that move together, and places of a layout that stay empty.

The columns of a one-hot variable, or the colours of a pixel, are one thing and must stay
together; a grid may have more places than there are things to put on it. An ordering knows
neither: it gets one affinity per pair of places, and what it returns is spelled out in features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from entangle.errors import InputError
from entangle.memory import require_memory
from entangle.ordering.one_hot import are_found, one_hot_variables

__all__ = ["Units"]

COPIES = 3  # the affinity of the places, one that is checked, and the working set of an ordering

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """Features in groups, in the order of the first feature of each.

    Attributes
    ----------
    features
        Features, group after group, ascending within each; shape ``(features,)``.
    starts
        Group ``i`` is the run ``starts[i]:starts[i + 1]``; shape ``(units + 1,)``.
    """

    features: Integers
    starts: Integers

    @classmethod
    def of_samples(cls, groups: object, samples: NDArray[Any]) -> Units:
        """Read groups as ``from_groups`` does; ``"one-hot"``: what the values show."""
        if are_found(groups):
            groups = one_hot_variables(samples)
        return cls.from_groups(groups, samples.shape[1])

    @classmethod
    def from_groups(cls, groups: object, n_features: int) -> Units:
        """Read groups as :class:`~entangle.ordering.rearranger.FeatureRearranger` takes them.

        Parameters
        ----------
        groups
            ``None`` for single features; a number of consecutive features a group; or a label
            of each feature, shape ``(features,)``: equal labels make a group.
        n_features
            Number of all features.

        Raises
        ------
        InputError
            If the number does not divide the features, or there is not one label a feature.
        """
        if groups is None:
            return cls(np.arange(n_features), np.arange(n_features + 1))
        if isinstance(groups, int | np.integer) and not isinstance(groups, bool):
            if groups < 1 or n_features % groups:
                raise InputError(
                    f"groups of {groups} features do not divide {n_features} features; pass a "
                    "divisor, or one label a feature"
                )
            labels = np.arange(n_features) // groups
        else:
            labels = _as_labels(groups)
        if labels.shape != (n_features,) or labels.dtype.kind not in "iubUSO":
            raise InputError(
                f"groups is a number of consecutive features, 'one-hot', or one label a feature, "
                f"expected {n_features} whole numbers or names, got "
                + (repr(groups) if labels.ndim == 0 else f"{labels.dtype} of shape {labels.shape}")
            )
        try:
            _, first, code = np.unique(labels, return_index=True, return_inverse=True)
        except TypeError as reason:
            raise InputError(
                "groups are labels of one kind, whole numbers or names, got a mixture: "
                f"{reason}; pass numbers, or text"
            ) from reason
        rank = np.argsort(np.argsort(first))
        unit = rank[code]
        ends = np.concatenate(([0], np.cumsum(np.bincount(unit))))
        return cls(np.argsort(unit, kind="stable"), ends)

    @property
    def n_units(self) -> int:
        """Number of groups."""
        return len(self.starts) - 1

    @property
    def size(self) -> int | None:
        """Number of features of every group, if all have the same."""
        sizes = np.diff(self.starts)
        return int(sizes[0]) if (sizes == sizes[0]).all() else None

    @property
    def unit(self) -> Integers:
        """Group of each feature, shape ``(features,)``."""
        unit = np.empty(len(self.features), dtype=np.int64)
        unit[self.features] = np.repeat(np.arange(self.n_units), np.diff(self.starts))
        return unit

    def members(self, unit: int) -> Integers:
        """Features of one group, ascending."""
        return self.features[self.starts[unit] : self.starts[unit + 1]]

    def affinity(self, affinity: Any, n_places: int) -> Any:
        """Affinity of places: the strongest pair of features of two units; 0 for empty places.

        Parameters
        ----------
        affinity
            Of the features, dense or sparse.
        n_places
            At least the number of units; the places after those are empty.
        """
        if self.n_units == n_places == len(self.features):
            return affinity
        if sparse.issparse(affinity):
            return self._sparse(affinity, n_places)
        require_memory(
            8.0 * COPIES * n_places**2,
            f"the affinity of {n_places} places, empty ones too",
            repair="pass a shape with fewer empty places",
        )
        inside = affinity[np.ix_(self.features, self.features)]
        if self.n_units < len(self.features):
            runs = self.starts[:-1]
            inside = np.maximum.reduceat(np.maximum.reduceat(inside, runs, axis=0), runs, axis=1)
        places = np.zeros((n_places, n_places))
        places[: self.n_units, : self.n_units] = inside
        np.fill_diagonal(places, 0.0)
        return places

    def _sparse(self, affinity: Any, n_places: int) -> sparse.csr_matrix:
        unit, entries = self.unit, affinity.tocoo()
        rows, columns = unit[entries.row], unit[entries.col]
        apart = rows != columns
        pair, weight = (rows * n_places + columns)[apart], entries.data[apart]
        order = np.lexsort((-weight, pair))
        pair, first = np.unique(pair[order], return_index=True)
        where = np.divmod(pair, n_places)
        return sparse.csr_matrix((weight[order][first], where), (n_places, n_places))

    def columns(self, places: Integers) -> Integers:
        """Feature of each column of a layout, -1 in empty places.

        Parameters
        ----------
        places
            Unit at each place; those from the number of units on are empty.
        """
        width = self.size or 1
        runs = [
            self.members(unit) if unit < self.n_units else np.full(width, -1) for unit in places
        ]
        return np.concatenate(runs).astype(np.int64)


def _as_labels(groups: object) -> NDArray[Any]:
    try:
        return np.asarray(groups)
    except ValueError as reason:
        raise InputError(
            "groups is a number of consecutive features, 'one-hot', or one label a feature, got "
            f"lists of several lengths: {reason}; number the groups and pass the number of each "
            "feature's"
        ) from reason
