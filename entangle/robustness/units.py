"""What a radius is a radius of: units, bounds and categories, read from the data.

A radius only means something beside the values that it changes. Pixels share one scale, and a
radius is a share of their range; the columns of a table have units of their own, and a radius is
in standard deviations of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from entangle.adversarial import ThreatModel
from entangle.datasets import Dataset
from entangle.errors import InputError

__all__ = ["Bounds", "Rules", "rules_for"]

UNITS = ("range", "std")
WIDTH = 0.3  # of a packet, in standard deviations
Bounds = str | None | tuple[ArrayLike | None, ArrayLike | None]


@dataclass(frozen=True, eq=False)
class Rules:
    """What may be done to a row, in the units of the data.

    Attributes
    ----------
    threat
        Its scale is what a radius of 1 changes.
    unit
        ``"range"`` or ``"std"``.
    shared
        Whether all features have one unit.
    bounds
        In words.
    widths
        Of a packet about a row, one a feature: 0.3 standard deviations; 0 for categories and for
        what stays.
    notes
        What was decided about categories, one sentence each.
    """

    threat: ThreatModel
    unit: str
    shared: bool
    bounds: str
    widths: NDArray[np.float64]
    notes: tuple[str, ...]

    def described(self) -> str:
        """Say what a radius counts and what limits values."""
        whole = "the range of all values" if self.unit == "range" else "one standard deviation"
        each = "the range of the feature" if self.unit == "range" else "its standard deviation"
        counted = (
            f"{whole}, the same for every feature" if self.shared else f"of each feature {each}"
        )
        return f"eps 1 is {counted}; {self.bounds}"


def rules_for(data: Dataset, norm: str, unit: str | None, bounds: Bounds) -> Rules:
    """Units and bounds for a data set.

    Parameters
    ----------
    data
        All rows: a unit belongs to the data, not to a split.
    norm
        Of perturbations.
    unit
        ``"range"`` or ``"std"``; ``None``: by the kind of the data.
    bounds
        ``"auto"``, ``"observed"``, ``None``, or (lower, upper) in the units of the data.

    Raises
    ------
    InputError
        If an option is unknown, or values lie outside bounds that are given.
    """
    values = data.X.astype(np.float64)
    binary = bool(((values == 0) | (values == 1)).all())
    shared = data.kind != "table" or len(data.shape) > 1 or binary
    usual = "range" if data.kind == "image" or len(data.shape) > 1 or binary else "std"
    unit = usual if unit is None else unit
    if unit not in UNITS:
        raise InputError(f"unit is 'range' or 'std', got {unit!r}; a radius counts in it")
    groups, odd = _categories(data, values)
    scale = _scale(values, unit, shared)
    for columns in groups:
        scale[list(columns)] = 1.0
    still = np.zeros(data.n_features, dtype=bool)
    still[[column for columns in odd for column in columns]] = True
    if bounds == "auto":
        bounds = "observed" if unit == "range" else None
    lower, upper, words = _limits(values, bounds, shared)
    threat = ThreatModel(norm, 0.0, lower, upper, scale, still if still.any() else None, groups)
    threat.around(torch.from_numpy(data.X.astype(np.float32)))  # refuses bounds that do not hold
    widths = WIDTH * _scale(values, "std", shared)
    widths[still | np.isin(np.arange(data.n_features), [c for g in groups for c in g])] = 0.0
    return Rules(threat, unit, shared, words, widths, _notes(groups, odd, norm))


def _scale(values: NDArray[np.float64], unit: str, shared: bool) -> NDArray[np.float64]:
    """Size that counts as 1, of each feature; 0, so immutable, where one is constant alone."""
    axis = None if shared else 0
    found = np.ptp(values, axis=axis) if unit == "range" else values.std(axis=axis)
    return np.array(np.broadcast_to(found, values.shape[1:]), dtype=np.float64)


def _limits(
    values: NDArray[np.float64], bounds: Any, shared: bool
) -> tuple[ArrayLike | None, ArrayLike | None, str]:
    if bounds is None:
        return None, None, "values have no bounds"
    if isinstance(bounds, str):
        if bounds != "observed":
            raise InputError(
                f"bounds are 'auto', 'observed', None, or a pair (lower, upper), got {bounds!r}"
            )
        axis = None if shared else 0
        shape = values.shape[1:]
        low, high = (np.broadcast_to(f(values, axis=axis), shape) for f in (np.min, np.max))
        of = "all values" if shared else "each feature"
        return low.copy(), high.copy(), f"values stay in the observed range of {of}"
    lower, upper = bounds
    return lower, upper, "values stay in the bounds that were given"


def _categories(
    data: Dataset, values: NDArray[np.float64]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Columns of every category of a table: those that are one-hot in every row, and others."""
    found: dict[str, list[int]] = {}
    for column, variable in enumerate(data.variables or ()):
        found.setdefault(variable, []).append(column)
    several = [tuple(columns) for columns in found.values() if len(columns) > 1]
    whole, odd = [], []
    for columns in several:
        part = values[:, list(columns)]
        hot = bool(((part == 0) | (part == 1)).all() and (part.sum(axis=1) == 1).all())
        (whole if hot else odd).append(columns)
    return whole, odd


def _notes(
    groups: Sequence[Sequence[int]], odd: Sequence[Sequence[int]], norm: str
) -> tuple[str, ...]:
    notes = []
    if groups:
        cost = {"linf": "1", "l2": "1.41", "l1": "2"}[norm]
        noun = "category changes" if len(groups) == 1 else "categories change"
        notes.append(
            f"{len(groups)} {noun} as one, one-hot to one-hot, which counts as {cost}: at a "
            "smaller eps it stays"
        )
    if odd:
        notes.append(f"{len(odd)} categories are not one-hot in every row and are left as they are")
    return tuple(notes)
