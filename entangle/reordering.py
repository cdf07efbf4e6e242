"""A data set with its features rearranged: the order, how good it is, and the table to write.

What a data set knows is used: its layout is the default shape, its labels are there for the
affinity that needs them, and features that one category became stay together.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.affinity import needs_labels
from entangle.axes import Shape
from entangle.datasets import Dataset, write_table
from entangle.errors import InputError
from entangle.ordering import (
    FeatureRearranger,
    OrderingQuality,
    one_hot_variables,
    ordering_quality,
)
from entangle.ordering.one_hot import ONE_HOT

__all__ = ["Reordering", "reorder_dataset"]

SCHEMA = 1
NO_GROUPS = "none"
N_HALVES = 3
# A few more orders take seconds up to so many features, and so many products of two values.
QUICK_FEATURES, QUICK_PRODUCTS = 2048, 1e10


@dataclass(frozen=True)
class Reordering:
    """Features of a data set, rearranged.

    Attributes
    ----------
    dataset
        As given; with the variables that were found, if the groups are of those.
    rearranger
        Fitted on all of its rows.
    groups
        Number of consecutive features a group, ``"one-hot"``, or ``"none"``.
    quality
        How good the order is; ``None`` if it was not measured.
    notes
        What was done to the data and decided about the order, one sentence each.
    """

    dataset: Dataset
    rearranger: FeatureRearranger
    groups: int | str
    quality: OrderingQuality | None
    notes: tuple[str, ...]

    @property
    def table(self) -> NDArray[Any]:
        """Rearranged rows, 0 in empty places; shape ``(samples, columns)``."""
        return self.rearranger.transform(self.dataset.X)

    @property
    def names(self) -> list[str]:
        """Names of the columns of ``table``; empty places are ``empty0``, ``empty1``, ..."""
        return self.rearranger.get_feature_names_out(self.dataset.feature_names).tolist()

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of the layout, in features or groups of features."""
        return self.rearranger.layout_.shape

    @property
    def column_shape(self) -> tuple[int, ...]:
        """Lengths of the axes that hold the columns of ``table``, features of a group last."""
        n_columns, n_places = len(self.rearranger.columns_), math.prod(self.shape)
        if n_columns == n_places:
            return self.shape
        if isinstance(self.groups, int):
            return (*self.shape, self.groups)
        return (n_columns,)

    def to_dict(self) -> dict[str, Any]:
        """Order and options as plain numbers, text, lists and dictionaries."""
        model = self.rearranger
        return {
            "schema": SCHEMA,
            "data": self.dataset.name,
            "permutation": model.permutation_.tolist(),
            "columns": model.columns_.tolist(),
            "names": self.names,
            "shape": list(self.shape),
            "method": model.method,
            "affinity": model.affinity,
            "groups": self.groups,
            "refine": model.refine,
            "seed": model.random_state,
            "winner": None if model.search_ is None else model.search_.winner,
            "cuts": {} if model.search_ is None else dict(model.search_.cuts),
            "quality": None if self.quality is None else self.quality.to_dict(),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Summary for a terminal: the notes, then the quality."""
        notes = "".join(f"note: {note}\n" for note in self.notes)
        if self.quality is None:
            return notes
        return notes + ("\n" if notes else "") + self.quality.to_text() + "\n"

    def write(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the rearranged table; see :func:`~entangle.datasets.write_table`."""
        data = self.dataset
        write_table(path, self.table, self.names, data.y, data.target_name, force=force)


def reorder_dataset(
    dataset: Dataset,
    *,
    method: str = "mincut",
    affinity: str = "pearson",
    shape: Shape | None = None,
    groups: int | str | None = None,
    refine: int | None = None,
    orient: bool = True,
    seed: int = 0,
    quality: bool | None = None,
    progress: bool = False,
) -> Reordering:
    """Rearrange the features of a data set.

    Parameters
    ----------
    dataset
        What :func:`~entangle.datasets.load_dataset` returns.
    method, affinity, refine, orient
        As for :class:`~entangle.ordering.rearranger.FeatureRearranger`; "class-mean" uses the
        labels of the data set.
    shape
        Layout, in features or groups. More places than those stay empty. Default: that of the data
        set, or a sequence of its groups.
    groups
        Number of consecutive features that move together, such as the colours of a pixel;
        ``"one-hot"``: the features that one category became, when the table was read or, found in
        the values, before; ``"none"``. Default: "one-hot" if the table was read with such features
        and ``shape`` has no place for each.
    seed
        Of the order and of the halves that it is tested on.
    quality
        Measure how good the order is, which finds six more. Default: where that takes seconds.
    progress
        Show progress bars on a terminal.

    Returns
    -------
    Reordering

    Raises
    ------
    InputError
        If the labels are missing, groups do not fit, or an option is unknown.
    PartitionError
        If ``shape`` does not hold the features or groups.
    """
    if needs_labels(affinity) and dataset.y is None:
        raise InputError(
            f"affinity '{affinity}' needs labels, and {dataset.name!r} has none; name their column "
            "as the target (--target), or choose 'covariance'"
        )
    if groups == ONE_HOT:
        dataset = _with_variables(dataset)
    chosen, notes = _chosen_groups(dataset, groups, shape)
    _check_refinement(dataset, chosen, refine)
    model = FeatureRearranger(
        method, _chosen_shape(dataset, chosen, shape), affinity, seed, -1,
        groups=_labels(dataset, chosen), orient=orient, refine=refine, progress=progress,
    )  # fmt: skip
    model.fit(dataset.X, dataset.y)
    measured = None
    if quality is None:
        quality = _is_quick(model, *dataset.X.shape)
        if not quality:
            notes.append(
                "the quality of the order was not measured, since more orders of "
                f"{dataset.n_features} features take a while; --quality measures it"
            )
    if quality:
        measured = ordering_quality(
            model, dataset.X, dataset.y, n_halves=N_HALVES, random_state=seed, progress=progress
        )
    return Reordering(dataset, model, chosen, measured, (*dataset.notes, *notes))


def _with_variables(dataset: Dataset) -> Dataset:
    """Add to the categories of a table those that were encoded before and the values show."""
    variables, words = _encoded(dataset)
    if words:
        notes = (*dataset.notes, f"{words}, and stay together")
        return replace(dataset, variables=variables, notes=notes)
    if dataset.variables is None:
        raise InputError(
            "groups 'one-hot' (--groups one-hot) are the columns that a category became, and "
            f"{dataset.name!r} shows none: no columns of two values exclude each other in more "
            f"rows than chance explains, of {dataset.n_samples}; pass a number of consecutive "
            "features, or leave them out"
        )
    return dataset


def _encoded(dataset: Dataset) -> tuple[tuple[str, ...], str]:
    """Variable of each column, and what to say of those that only the values show."""
    variables = list(dataset.variables or dataset.feature_names)
    columns = Counter(variables)
    alone = [column for column, name in enumerate(variables) if columns[name] == 1]
    labels = one_hot_variables(dataset.X[:, alone]) if len(alone) > 1 else np.arange(len(alone))
    _, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    for column, label in zip(alone, labels, strict=True):
        variables[column] = variables[alone[first[label]]]
    several = sizes[sizes > 1]
    whose = "of one variable" if len(several) == 1 else f"of {len(several)} variables"
    words = f"{several.sum()} columns exclude each other as the categories {whose} do"
    return tuple(variables), words if len(several) else ""


def _hints(dataset: Dataset) -> list[str]:
    """Say that more columns could be kept together, if that leaves something to order."""
    if dataset.kind != "table" or dataset.n_features > QUICK_FEATURES:
        return []
    variables, words = _encoded(dataset)
    several = words and len(set(variables)) > 1
    return [f"{words}; --groups one-hot keeps them together, too"] if several else []


def _chosen_groups(
    dataset: Dataset, groups: int | str | None, shape: Shape | None
) -> tuple[int | str, list[str]]:
    """Choose the groups, and what to say about them."""
    known, hints = dataset.variables, _hints(dataset) if groups is None else []
    if groups is None and known is not None:
        places = None if shape is None else int(np.prod(shape))
        if places is not None and places >= dataset.n_features:
            return NO_GROUPS, [
                "the columns of a category are placed one by one, since the shape has a place for "
                "each; --groups one-hot keeps them together"
            ]
        return ONE_HOT, [
            f"the columns of a category stay together: {dataset.n_features} columns in "
            f"{len(set(known))} groups (--groups none places them one by one)",
            *hints,
        ]
    if groups in (None, NO_GROUPS):
        return NO_GROUPS, hints
    if groups != ONE_HOT and not isinstance(groups, int):
        raise InputError(
            f"groups are a number of consecutive features, 'one-hot' or 'none', got {groups!r}"
        )
    return groups, []


def _labels(dataset: Dataset, groups: int | str) -> int | Sequence[str] | None:
    """Spell groups out as FeatureRearranger takes them."""
    if groups == ONE_HOT:
        return dataset.variables
    return groups if isinstance(groups, int) else None


def _chosen_shape(dataset: Dataset, groups: int | str, shape: Shape | None) -> Shape | None:
    """Layout asked for, or that of the data set, with groups along its last axis."""
    if shape is not None or groups == ONE_HOT:
        return shape
    if not isinstance(groups, int):
        return dataset.shape
    *outer, last = dataset.shape
    if groups < 1 or last % groups:
        return None
    return (*outer, last // groups) if last > groups or not outer else tuple(outer)


def _check_refinement(dataset: Dataset, groups: int | str, refine: int | None) -> None:
    """Refuse before the search what would be refused after it."""
    if refine is not None and groups == ONE_HOT:
        sizes = np.unique(list(dataset.variables or ()), return_counts=True)[1]
        if sizes.min() < sizes.max():
            raise InputError(
                f"refine (--refine) exchanges groups of one size, and the categories have "
                f"{sizes.min()} to {sizes.max()} columns; leave it out, or let columns move one by "
                "one with groups='none' (--groups none)"
            )


def _is_quick(model: FeatureRearranger, n_samples: int, n_features: int) -> bool:
    """Whether a few more orders take seconds."""
    slower = {"mutual_info": 8.0, "distance_correlation": n_samples / 3}  # than a correlation
    products = slower.get(str(model.affinity), 1.0) * n_samples * n_features**2
    return n_features <= QUICK_FEATURES and products <= QUICK_PRODUCTS
