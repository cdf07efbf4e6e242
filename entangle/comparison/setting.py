"""What is compared, and on what: checked data, splits, orderings and models of one comparison."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from entangle.axes import Shape
from entangle.comparison.contenders import Contender, contenders_wanted, usual_epochs
from entangle.comparison.orderings import Ordering, orderings_wanted
from entangle.comparison.splits import Split, seeds_wanted, splits_for
from entangle.datasets import Dataset
from entangle.errors import InputError
from entangle.labels import as_labels, is_quantity, stratified_rows
from entangle.preparation import as_dataset, checked_layout

__all__ = ["Setting", "setting_of"]


@dataclass(frozen=True, eq=False)
class Setting:
    """What a comparison works on.

    Attributes
    ----------
    data
        Rows with classes, laid out as asked for.
    splits, orderings, contenders
        Everything that is combined.
    baseline
        Name of the ordering that others are compared with.
    n_epochs
        Of networks called by name.
    fresh_splits
        Whether each seed has splits of its own.
    """

    data: Dataset
    splits: tuple[Split, ...]
    orderings: tuple[Ordering, ...]
    contenders: tuple[Contender, ...]
    baseline: str
    n_epochs: int
    fresh_splits: bool

    def dataset(self) -> dict[str, Any]:
        """Describe the data in plain values."""
        data = self.data
        assert data.y is not None
        return {
            "name": data.name,
            "n_samples": data.n_samples,
            "n_features": data.n_features,
            "n_classes": data.n_classes,
            "largest_class": float(np.unique(data.y, return_counts=True)[1].max() / len(data.X)),
            "shape": list(data.shape),
        }

    def settings(self) -> dict[str, Any]:
        """Describe splits and models in plain values."""
        return {
            "seeds": list(dict.fromkeys(split.seed for split in self.splits)),
            "n_folds": len({split.fold for split in self.splits}),
            "models": {c.name: re.sub(r"\s+", " ", repr(c.model)) for c in self.contenders},
            "epochs": self.n_epochs,
        }

    def notes(self) -> tuple[str, ...]:
        """Say what was done to the data and to the layout, one sentence each."""
        return (*self.data.notes, *_layout_notes(self.data, self.contenders))


def setting_of(
    X: object,
    y: object,
    orderings: Any,
    models: Any,
    *,
    baseline: str | None,
    shape: Shape | None,
    cv: Any,
    seeds: int | Iterable[int],
    epochs: int | None,
    model_options: Mapping[str, Mapping[str, Any]] | None,
    max_samples: int | None,
    confidence: float,
    name: str | None,
) -> Setting:
    """Check everything that a user passes; see :func:`~entangle.comparison.compare_orderings`.

    Raises
    ------
    InputError
        If data, classes, folds, an ordering, a model or an option cannot be used.
    """
    data = _data(X, y, shape, max_samples, name)
    assert data.y is not None
    splits = splits_for(cv, seeds_wanted(seeds), data.y)
    n_train = round(float(np.mean([len(split.train) for split in splits])))
    n_epochs = usual_epochs(n_train) if epochs is None else epochs
    wanted = orderings_wanted(orderings, data.shape, data.n_features)
    against = _baseline(baseline, wanted)
    scale = "feature" if data.kind == "table" and len(data.shape) == 1 else "all"
    contenders = contenders_wanted(models, model_options, data.shape, n_epochs, scale)
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies between 0 and 1, got {confidence!r}; 0.95 is usual")
    fresh = isinstance(cv, int | np.integer)
    return Setting(data, tuple(splits), wanted, contenders, against, n_epochs, fresh)


def _data(
    X: object, y: object, shape: Shape | None, max_samples: int | None, name: str | None
) -> Dataset:
    """Check data and classes, and lay them out as asked for."""
    given = _classes_given(X, y)
    if given is None:
        raise InputError(
            "a comparison needs the class of every row, got none; pass y, or name the target "
            "column (--target)"
        )
    labels = as_labels(given, "y")
    if is_quantity(labels):
        raise InputError(
            "a comparison needs classes, the target is a quantity; cut it into classes, for "
            "example with numpy.digitize"
        )
    classes = np.unique(labels)
    if classes.size < 2:
        raise InputError(
            f"a comparison needs at least two classes, every row is {str(classes[0])!r}; name "
            "another target"
        )
    data = as_dataset(X, y, name)
    data = replace(data, shape=checked_layout(data, shape))
    if max_samples is None or max_samples >= data.n_samples:
        return data
    if max_samples < 2:
        raise InputError(f"max_samples is at least 2, got {max_samples}")
    rows = stratified_rows(labels, data.n_samples, max_samples, seed=0)
    note = f"{len(rows)} of {data.n_samples} rows drawn at random, evenly over the target"
    return replace(data, X=data.X[rows], y=labels[rows], notes=(*data.notes, note))


def _classes_given(X: Any, y: object) -> object:
    """Labels, wherever they are."""
    if isinstance(X, Dataset):
        return X.y if y is None else y
    if isinstance(y, str):
        return X[y] if y in getattr(X, "columns", ()) else y
    return y


def _baseline(baseline: str | None, orderings: Sequence[Ordering]) -> str:
    names = [ordering.name for ordering in orderings]
    if baseline is None:
        return names[0]
    if baseline not in names:
        raise InputError(
            f"baseline is one of the orderings compared, {', '.join(map(repr, names))}, got "
            f"{baseline!r}; add it to them"
        )
    return baseline


def _layout_notes(data: Dataset, contenders: Sequence[Contender]) -> list[str]:
    """Say which networks do not see the grid that the orders are for."""
    flat = [c.name for c in contenders if getattr(c.model, "shape", data.shape) is None]
    if len(data.shape) < 2 or not flat:
        return []
    layout = " x ".join(map(str, data.shape))
    reads = "reads" if len(flat) == 1 else "read"
    return [f"{', '.join(flat)} {reads} the grid of {layout} row by row"]
