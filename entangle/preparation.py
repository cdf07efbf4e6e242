"""Preparation of data for a diagnosis: rows drawn, features scaled, labels turned to weights.

Whatever cannot be measured is refused here, before any work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from entangle.axes import Shape
from entangle.convergence import FEWEST_SAMPLES, nested_parts
from entangle.data_tensor import DataTensor
from entangle.datasets import Dataset, table_to_dataset
from entangle.datasets.completion import complete
from entangle.datasets.dataset import Draft, numbered_names
from entangle.embedding import Trigonometric, auto_theta
from entangle.errors import InputError, PartitionError
from entangle.labels import as_labels, class_weights, is_quantity, stratified_rows
from entangle.partition import as_shape
from entangle.samples import as_sample_matrix, check_finite

__all__ = [
    "Drawn",
    "angle_of",
    "as_dataset",
    "checked_layout",
    "drawn_rows",
    "rows_wanted",
    "sample_weights",
    "scale_of",
    "scaled",
]

FEW_FEATURES, MANY_ROWS, FEW_ROWS = 32, 1000, 500  # rows drawn for few and for many features
NO_LABEL = 1e-12  # a mean label that is rounding


def as_dataset(X: object, y: object, name: str | None) -> Dataset:
    """Whatever holds the data, as a checked data set."""
    called = name or "data"
    if isinstance(X, Dataset):
        data = X
    elif hasattr(X, "collect"):
        raise InputError(f"X is a {type(X).__name__}, which holds no rows yet; pass X.collect()")
    elif hasattr(X, "columns"):
        column = y if isinstance(y, str) else None
        data = table_to_dataset(X, column, name=called)
        y = None if column is not None else y
    else:
        samples = as_sample_matrix(X)
        n_features = samples.shape[1]
        draft = Draft(samples, None, (n_features,), numbered_names(n_features))
        data = complete(draft, name=called, source="")
    if y is not None:
        notes = list(data.notes)
        data = replace(data, y=as_labels(y, "y", notes), notes=tuple(notes))
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


def scaled(X: NDArray[Any], rows: NDArray[np.int64], how: str) -> NDArray[np.float64]:
    """Rows of ``X``, scaled by the range of all its rows."""
    shift, span = scale_of(X, how)
    return (X[rows].astype(np.float64) - shift) / span


def scale_of(X: NDArray[Any], how: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Numbers that are subtracted from values, and that they are divided by; they fit a row.

    Parameters
    ----------
    X
        All rows, shape ``(samples, features)``.
    how
        "feature", "global" or "none": map to [0, 1] each feature, all together, or nothing.

    Raises
    ------
    InputError
        If it is none of these, or no double holds the range.
    """
    low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    with np.errstate(over="ignore"):  # told below
        widths, width = high - low, high.max() - low.min()
    if how == "feature":
        shift, span = low, np.where(widths > 0, widths, 1.0)
    elif how == "global":
        shift, span = low.min(), width
    elif how == "none":
        shift, span = np.zeros(()), np.ones(())
    else:
        raise InputError(f"scale is 'feature', 'global' or 'none', got {how!r}")
    if not np.isfinite(span).all():
        raise InputError(
            "the values of a feature reach beyond what a double can subtract; divide them by a "
            "power of ten first"
        )
    return np.asarray(shift), np.asarray(span)


def angle_of(theta: float | str, samples: torch.Tensor, seed: int) -> float:
    """Theta as a number; "auto" takes it from the samples."""
    if theta == "auto":
        return auto_theta(samples, seed=seed)
    try:
        return float(theta)
    except (TypeError, ValueError):
        raise InputError(f"theta is a positive number or 'auto', got {theta!r}") from None


def sample_weights(
    y: NDArray[Any] | None, weighting: str = "raw"
) -> tuple[NDArray[np.float64] | None, str]:
    """Weights of the samples and what they are called.

    Parameters
    ----------
    y
        Labels as :func:`~entangle.labels.as_labels` returns them, or none.
    weighting
        "raw" or "balanced", see :func:`~entangle.labels.class_weights`.

    Raises
    ------
    InputError
        If the labels hold nothing to tell apart, or balance is asked for without classes.
    """
    if weighting not in ("raw", "balanced"):
        raise InputError(f"weights are 'raw' or 'balanced', got {weighting!r}")
    if y is None or is_quantity(y):
        what = "there is no target" if y is None else "the target is a quantity"
        if weighting == "balanced":
            raise InputError(f"balanced weights need classes and {what}; leave the weights raw")
        return (None, "all 1 (no target)") if y is None else _standard_score(y)
    n_classes = np.unique(y).size
    if n_classes < 2:
        raise InputError("the rows drawn hold a single class; draw more rows (max_samples, --rows)")
    kind = "-1 and +1 by class" if n_classes == 2 else f"label axis of {n_classes} classes"
    return class_weights(y, weighting == "balanced"), f"{kind} ({weighting})"


def _standard_score(y: NDArray[Any]) -> tuple[NDArray[np.float64], str]:
    spread = y.std()
    if spread == 0:
        raise InputError("the target is constant; leave it out to measure the data alone")
    return np.asarray((y - y.mean()) / spread, dtype=np.float64), "standard score of the target"


@dataclass(frozen=True)
class Drawn:
    """Rows of a data set, scaled and weighted, ready to measure."""

    rows: NDArray[np.int64]
    values: torch.Tensor
    y: NDArray[Any] | None
    weights: NDArray[np.float64] | None
    described: str
    theta: float
    scale: str
    device: torch.device | str | None

    @property
    def classes(self) -> NDArray[Any] | None:
        """Labels, unless they are a quantity."""
        return None if self.y is None or is_quantity(self.y) else self.y

    def tensor(self) -> DataTensor:
        """Build the data tensor of these rows."""
        return DataTensor(self.values, self.weights, Trigonometric(self.theta), self.device)

    def parts(self, n_splits: int, seed: int) -> list[NDArray[np.int64]]:
        """Places of halves and quarters, none if there are too few rows."""
        if len(self.rows) < FEWEST_SAMPLES:
            return []
        return nested_parts(len(self.rows), self.classes, n_splits, seed)

    def class_shares(self) -> dict[str, float] | None:
        """Share of the rows that each class has, in sorted order."""
        if self.classes is None:
            return None
        classes, counts = np.unique(self.classes, return_counts=True)
        shares = counts / counts.sum()
        return dict(zip(map(str, classes.tolist()), shares.tolist(), strict=True))

    def mean_label_share(self, tensor: DataTensor) -> float | None:
        """Squared norm of the mean label times the mean state, over that of the tensor.

        With y = mean(y) + (y - mean(y)) the data tensor is this term, which is close to a
        product, and the rest. Only for two classes.
        """
        if self.classes is None or self.weights is None or self.weights.ndim > 1:
            return None
        mean_label = float(self.weights.mean())
        if abs(mean_label) < NO_LABEL:
            return 0.0
        state = DataTensor(self.values, None, tensor.embedding, self.device)
        return (mean_label * state.norm / tensor.norm) ** 2


def drawn_rows(
    data: Dataset,
    theta: float | str,
    scale: str | None,
    weighting: str,
    max_samples: int | None,
    seed: int,
    device: torch.device | str | None,
) -> Drawn:
    """Draw rows at random, evenly over the labels, and scale and weigh them."""
    how = scale or ("feature" if data.kind == "table" else "global")
    rows = stratified_rows(data.y, data.n_samples, rows_wanted(data, max_samples), seed)
    values = torch.from_numpy(scaled(data.X, rows, how))
    labels = None if data.y is None else data.y[rows]
    weights, described = sample_weights(labels, weighting)
    angle = angle_of(theta, values, seed)
    return Drawn(rows, values, labels, weights, described, angle, how, device)
