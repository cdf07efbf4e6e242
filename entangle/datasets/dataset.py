"""Data set: samples by features, numbers only, with what must be said about them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.errors import InputError

__all__ = ["Dataset", "Draft", "numbered_names"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples, labels and their layout.

    Attributes
    ----------
    X
        Numeric array ``(samples, features)`` without gaps, in the data type of its source.
    y
        Labels ``(samples,)``: whole numbers, booleans or text for classes, floating point for
        regression. ``None`` if there are none.
    shape
        Natural layout of one sample, row-major; its product is the number of features.
    name, source, licence
        What it is called, where it comes from, and on which terms, if known.
    kind
        ``"table"``, ``"series"``, ``"audio"`` or ``"image"``.
    feature_names
        One name a column of ``X``.
    target_name
        Name of ``y``.
    notes
        Everything that was done to the data on the way, and known oddities; one sentence each.
    variables
        Column of the table that each feature came from, where a category became several features;
        ``None`` where each feature is a variable of its own.

    Raises
    ------
    InputError
        If the parts do not fit each other.
    """

    X: NDArray[Any]
    y: NDArray[Any] | None
    shape: tuple[int, ...]
    name: str
    source: str
    kind: str
    feature_names: tuple[str, ...]
    target_name: str | None = None
    notes: tuple[str, ...] = ()
    licence: str | None = None
    variables: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.X.ndim != 2 or self.X.dtype.kind not in "biuf":
            raise InputError(
                f"X is a numeric (samples, features) array, got {self.X.dtype} of shape "
                f"{self.X.shape}"
            )
        if math.prod(self.shape) != self.n_features or len(self.feature_names) != self.n_features:
            raise InputError(
                f"X has {self.n_features} features, shape {self.shape} has "
                f"{math.prod(self.shape)} and {len(self.feature_names)} are named"
            )
        if self.variables is not None and len(self.variables) != self.n_features:
            raise InputError(
                f"variables name one column a feature, expected {self.n_features}, got "
                f"{len(self.variables)}"
            )
        if self.y is not None and self.y.shape != (self.n_samples,):
            raise InputError(
                f"y has one label a sample, expected shape ({self.n_samples},), got {self.y.shape}"
            )

    @property
    def n_samples(self) -> int:
        """Number of rows of ``X``."""
        return self.X.shape[0]

    @property
    def n_features(self) -> int:
        """Number of columns of ``X``."""
        return self.X.shape[1]

    @property
    def n_classes(self) -> int | None:
        """Number of distinct labels; ``None`` for regression and without labels."""
        if self.y is None or self.y.dtype.kind == "f":
            return None
        return int(np.unique(self.y).size)

    def __repr__(self) -> str:
        labels = "unlabelled" if self.y is None else f"target {self.target_name!r}"
        if self.n_classes is not None:
            labels += f", {self.n_classes} classes"
        return (
            f"Dataset({self.name!r}, {self.n_samples} samples x {self.n_features} features, "
            f"shape {self.shape}, {labels})"
        )


@dataclass
class Draft:
    """Raw arrays on their way to a data set; gaps in ``X`` are still NaN."""

    X: NDArray[Any]
    y: NDArray[Any] | None
    shape: tuple[int, ...]
    feature_names: tuple[str, ...]
    target_name: str | None = None
    notes: list[str] = field(default_factory=list)
    variables: tuple[str, ...] | None = None


def numbered_names(n_features: int) -> tuple[str, ...]:
    """Names ``x0, x1, ...`` for columns without names.

    Examples
    --------
    >>> numbered_names(3)
    ('x0', 'x1', 'x2')
    """
    return tuple(f"x{index}" for index in range(n_features))
