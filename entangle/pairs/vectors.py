"""Affinities that are products of one vector per feature.

Source: Alexander et al. 2023, arXiv:2303.11249 (correlation); :mod:`entangle.affinity` derives
the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy.stats import rankdata

from entangle.errors import InputError
from entangle.labels import as_labels, is_quantity

__all__ = [
    "Floating",
    "PairWeights",
    "Samples",
    "VectorWeights",
    "class_mean_weights",
    "covariance_weights",
    "pearson_weights",
    "ranged",
    "spearman_weights",
    "standardized",
]

Samples: TypeAlias = Float64[np.ndarray, "samples features"]
Floating: TypeAlias = type[np.float32] | type[np.float64]


class PairWeights(Protocol):
    """Symmetric weights of all pairs of features."""

    @property
    def n_features(self) -> int:
        """Number of rows and of columns."""
        ...

    def rows(self, start: int, stop: int, first: int = 0) -> NDArray[np.floating]:
        """Rows ``start:stop``, columns from ``first`` on; what the diagonal holds is open."""
        ...


@dataclass(frozen=True)
class VectorWeights:
    r"""Weights :math:`|z_i \cdot z_j|^p` of one vector per feature.

    Attributes
    ----------
    columns
        The vectors, shape ``(features, entries)``, float32 or float64.
    power
        The exponent p, 1 or 2.
    largest
        What no weight exceeds but for rounding.
    """

    columns: NDArray[np.floating]
    power: int = 1
    largest: float = math.inf

    @property
    def n_features(self) -> int:
        """Number of vectors."""
        return len(self.columns)

    def rows(self, start: int, stop: int, first: int = 0) -> NDArray[np.floating]:
        """Rows ``start:stop``, columns from ``first`` on."""
        weights = self.columns[start:stop] @ self.columns[first:].T
        if self.power == 1:
            np.abs(weights, out=weights)
        else:
            np.square(weights, out=weights)
        return np.minimum(weights, self.largest, out=weights)


def pearson_weights(samples: Samples, y: object, dtype: Floating = np.float64) -> VectorWeights:
    """Absolute correlation."""
    return VectorWeights(_vectors(standardized(samples), dtype), largest=1.0)


def spearman_weights(samples: Samples, y: object, dtype: Floating = np.float64) -> VectorWeights:
    """Absolute correlation of the ranks."""
    return pearson_weights(rankdata(samples, axis=0), y, dtype)


def covariance_weights(samples: Samples, y: object, dtype: Floating = np.float64) -> VectorWeights:
    """Squared covariance of features scaled to [0, 1]."""
    scaled = ranged(samples)
    scaled /= len(samples) ** 0.5
    return VectorWeights(_vectors(scaled, dtype), power=2)


def class_mean_weights(samples: Samples, y: object, dtype: Floating = np.float64) -> VectorWeights:
    """Squared product of what the means of classes, or the covariance with a quantity, say."""
    labels = _checked_labels(y, len(samples))
    scaled = ranged(samples)
    if is_quantity(labels):
        score = standardized(labels.astype(np.float64)[:, None]) / len(samples) ** 0.5
        return VectorWeights(_vectors(score.T @ scaled, dtype), power=2)
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.stack([scaled[codes == code].mean(axis=0) for code in range(len(counts))])
    if len(counts) == 2:
        return VectorWeights(_vectors(means[1:] - means[:1], dtype), power=2)
    means *= np.sqrt(counts / len(samples))[:, None]
    return VectorWeights(_vectors(means, dtype), power=2)


def standardized(samples: Samples) -> Samples:
    """Columns of mean zero and Euclidean norm one; constant columns are zero.

    Each column is divided by its largest magnitude and shifted by its first entry before its
    mean is taken, so that neither a huge offset nor a huge scale costs digits.
    """
    centred = _centred(samples)
    centred /= _nonzero(np.abs(centred).max(axis=0))
    centred /= _nonzero(np.sqrt(np.einsum("ij,ij->j", centred, centred)))
    return centred


def ranged(samples: Samples) -> Samples:
    """Columns of mean zero whose largest entry is one above their smallest; constants are zero."""
    centred = _centred(samples)
    centred /= _nonzero(centred.max(axis=0) - centred.min(axis=0))
    return centred


def _centred(samples: Samples) -> Samples:
    centred = samples / _nonzero(np.abs(samples).max(axis=0))
    centred -= centred[0].copy()
    constant = ~centred.any(axis=0)
    centred -= centred.mean(axis=0)
    centred[:, constant] = 0.0
    return centred


def _nonzero(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0.0, scale, 1.0)


def _vectors(columns: NDArray[np.float64], dtype: Floating) -> NDArray[np.floating]:
    return np.ascontiguousarray(columns.T, dtype=dtype)


def _checked_labels(y: object, n_samples: int) -> NDArray[np.generic]:
    if y is None:
        raise InputError(
            "affinity 'class-mean' requires y to be passed, but the target y is None; pass the "
            "labels as y, or choose 'covariance'"
        )
    labels = as_labels(y)
    if len(labels) != n_samples:
        raise InputError(
            f"y has one label per sample, expected {n_samples}, got {len(labels)}; pass the "
            "labels of these rows"
        )
    if len(np.unique(labels)) < 2:
        raise InputError(
            "affinity 'class-mean' needs at least two classes, got 1; pass other labels, or "
            "choose 'covariance'"
        )
    return labels
