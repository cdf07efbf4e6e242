"""Preparation of data for a diagnosis: rows drawn, features scaled, labels turned to weights.

Whatever cannot be measured is refused here, before any work.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from entangle.axes import Shape
from entangle.datasets import Dataset, table_to_dataset
from entangle.datasets.dataset import numbered_names
from entangle.embedding import auto_theta
from entangle.errors import InputError, PartitionError
from entangle.partition import as_shape
from entangle.samples import as_sample_matrix, check_finite

__all__ = [
    "angle_of",
    "as_dataset",
    "checked_layout",
    "rows_wanted",
    "sample_weights",
    "scaled",
    "stratified_rows",
]

FEW_FEATURES, MANY_ROWS, FEW_ROWS = 32, 1000, 500  # rows drawn for few and for many features
MOST_CLASSES = 50  # whole numbers with more values than this are a quantity, not classes


def as_dataset(X: object, y: object, name: str | None) -> Dataset:
    """Whatever holds the data, as a checked data set."""
    if isinstance(X, Dataset):
        data = X
    elif hasattr(X, "columns"):
        if y is not None and not isinstance(y, str):
            target = np.asarray(y)
            frame = table_to_dataset(X, name=name or "data")
            data = _from_arrays(frame.X, target, name, frame)
        else:
            data = table_to_dataset(X, y, name=name or "data")
    else:
        data = _from_arrays(as_sample_matrix(X), None if y is None else np.asarray(y), name)
    if data.n_samples < 2 or data.n_features < 2:
        raise InputError(
            f"a diagnosis needs at least 2 rows and 2 features, got {data.n_samples} and "
            f"{data.n_features}"
        )
    check_finite(data.X)
    if data.n_classes == 1:
        raise InputError(
            "the target has a single class, so there is nothing to tell apart; leave the target "
            "out to measure the data alone"
        )
    if not (data.X[:1] != data.X).any():
        raise InputError("every feature is constant; there is nothing to measure")
    return data


def _from_arrays(
    X: NDArray[Any], y: NDArray[Any] | None, name: str | None, frame: Dataset | None = None
) -> Dataset:
    if y is not None:
        y = _class_or_quantity(y, len(X))
    return Dataset(
        X=X,
        y=y,
        shape=(X.shape[1],),
        name=name or "data",
        source="",
        kind="table",
        feature_names=numbered_names(X.shape[1]) if frame is None else frame.feature_names,
        notes=_constant_note(X) if frame is None else frame.notes,
    )


def _constant_note(X: NDArray[Any]) -> tuple[str, ...]:
    constant = int((X[:1] == X).all(axis=0).sum())
    return (f"{constant} constant columns kept; they carry no entanglement",) if constant else ()


def _class_or_quantity(y: NDArray[Any], n_samples: int) -> NDArray[Any]:
    """Labels as classes (whole numbers, text) or a quantity (floating point)."""
    if y.shape != (n_samples,):
        raise InputError(f"y has one label a sample, expected shape ({n_samples},), got {y.shape}")
    if y.dtype.kind == "f":
        if not np.isfinite(y).all():
            raise InputError("y has NaN or infinite labels; drop those samples")
        if (y == np.round(y)).all() and np.unique(y).size <= MOST_CLASSES:
            return y.astype(np.int64)
    return y


def checked_layout(data: Dataset, shape: Shape | None) -> tuple[int, ...]:
    """Lengths of the axes, asked for or natural; their product is the number of features."""
    layout = data.shape if shape is None else as_shape(shape)
    if math.prod(layout) != data.n_features:
        raise PartitionError(
            f"shape {layout} has {math.prod(layout)} positions, the data have "
            f"{data.n_features} features; pass lengths whose product is {data.n_features}, or none "
            "for a sequence"
        )
    return layout


def rows_wanted(data: Dataset, max_samples: int | None) -> int:
    """Count the rows to draw, by default fewer where there are many features."""
    if max_samples is None:
        return MANY_ROWS if data.n_features <= FEW_FEATURES else FEW_ROWS
    if max_samples < 2:
        raise InputError(f"max_samples is at least 2, got {max_samples}")
    return max_samples


def stratified_rows(
    y: NDArray[Any] | None, n_samples: int, n_wanted: int, seed: int
) -> NDArray[np.int64]:
    """Rows drawn at random, evenly over the sorted labels, in ascending order."""
    if n_wanted >= n_samples:
        return np.arange(n_samples)
    rows = np.random.default_rng(seed).permutation(n_samples)
    if y is not None:
        rows = rows[np.argsort(y[rows], kind="stable")]
    return np.sort(rows[((np.arange(n_wanted) + 0.5) * n_samples / n_wanted).astype(np.int64)])


def scaled(X: NDArray[Any], rows: NDArray[np.int64], how: str) -> NDArray[np.float64]:
    """Rows of ``X``, scaled by the range of all its rows."""
    low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    if how == "feature":
        shift, span = low, np.where(high > low, high - low, 1.0)
    elif how == "global":
        shift, span = low.min(), high.max() - low.min()
    elif how == "none":
        shift, span = 0.0, 1.0
    else:
        raise InputError(f"scale is 'feature', 'global' or 'none', got {how!r}")
    return (X[rows].astype(np.float64) - shift) / span


def angle_of(theta: float | str, samples: torch.Tensor, seed: int) -> float:
    """Theta as a number; "auto" takes it from the samples."""
    if theta == "auto":
        return auto_theta(samples, seed=seed)
    try:
        return float(theta)
    except ValueError:
        raise InputError(f"theta is a positive number or 'auto', got {theta!r}") from None


def sample_weights(y: NDArray[Any] | None) -> tuple[NDArray[np.float64] | None, str]:
    """Weights of the samples and what they are called."""
    if y is None:
        return None, "all 1 (no target)"
    if y.dtype.kind == "f":
        spread = y.std()
        if spread == 0:
            raise InputError("the target is constant; leave it out to measure the data alone")
        return np.asarray((y - y.mean()) / spread, dtype=np.float64), "standard score of the target"
    classes, codes = np.unique(y, return_inverse=True)
    if classes.size < 2:
        raise InputError("the rows drawn hold a single class; draw more rows (max_samples)")
    if classes.size == 2:
        return np.where(codes == 1, 1.0, -1.0), "-1 and +1 by class"
    return np.eye(classes.size)[codes], f"label axis of {classes.size} classes"
