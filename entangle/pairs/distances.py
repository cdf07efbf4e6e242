"""Distance correlation of pairs of features.

It is the product of two vectors with an entry per pair of samples, too many to keep: they are
made anew for every block of features, a few at a time.

Source: Szekely and Rizzo 2014, Ann. Statist. 42, 2382 (U-centred distances).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from entangle.errors import InputError
from entangle.pairs.vectors import Floating, Samples, standardized

__all__ = ["DistanceWeights"]

VECTOR_ENTRIES = 2048  # held at once, if there are so many
LOST = 1e-10  # share of its distances below which a centred distance is rounding


@dataclass(frozen=True)
class DistanceWeights:
    """Bias-corrected squared distance correlation, negative values as 0.

    Attributes
    ----------
    values
        Standardised features, shape ``(features, samples)``, float64.
    means
        Sum of the distances of each sample over M - 2, same shape.
    grand
        Sum of all distances over (M - 1) (M - 2), shape ``(features,)``.
    scale
        One over the length of the vector of centred distances, or 0; shape ``(features,)``.
    dtype
        Of the products.
    """

    values: NDArray[np.float64]
    means: NDArray[np.float64]
    grand: NDArray[np.float64]
    scale: NDArray[np.float64]
    dtype: Floating

    @classmethod
    def from_samples(cls, samples: Samples, dtype: Floating = np.float64) -> DistanceWeights:
        """Weights of the columns of ``samples``.

        Raises
        ------
        InputError
            If there are fewer than four samples, for which the correction is not defined.
        """
        n = len(samples)
        if n < 4:
            raise InputError(
                f"distance correlation needs at least 4 samples, got {n}; pass more rows, or "
                "choose 'pearson'"
            )
        values = np.ascontiguousarray(standardized(samples).T)
        sums = _distance_sums(values)
        total = sums.sum(axis=1)
        means, grand = sums / (n - 2), total / ((n - 1) * (n - 2))
        squares, raw = _squared_distances(values, means, grand)
        kept = squares > LOST**2 * raw
        scale = np.where(kept, 1.0 / np.sqrt(np.where(kept, squares, 1.0)), 0.0)
        return cls(values, means, grand, scale, dtype)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.values)

    def rows(self, start: int, stop: int, first: int = 0) -> NDArray[np.floating]:
        """Rows ``start:stop``, columns from ``first`` on."""
        low = min(start, first)
        weights = np.zeros((stop - start, self.n_features - first), dtype=self.dtype)
        for vectors in self._vectors(low):
            weights += vectors[start - low : stop - low] @ vectors[first - low :].T
        return np.clip(weights, 0.0, 1.0, out=weights)

    def _vectors(self, low: int) -> Iterator[NDArray[np.floating]]:
        """Parts of the unit vectors of the features from ``low`` on.

        A part pairs every sample with those 1, 2, ... places on, in a circle: that meets each
        pair once, but pairs half a circle apart twice.
        """
        n = self.values.shape[1]
        together = max(1, VECTOR_ENTRIES // n)
        for shift in range(1, n // 2 + 1, together):
            shifts = np.arange(shift, min(shift + together, n // 2 + 1))
            part = np.empty((self.n_features - low, len(shifts) * n), dtype=self.dtype)
            values, means = self.values[low:], self.means[low:]
            _centred_distances(values, means, self.grand[low:], self.scale[low:], shifts, part)
            yield part


def _distance_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over b of |x_a - x_b|, shape ``(features, samples)``, from the sorted values."""
    n = values.shape[1]
    order = np.argsort(values, axis=1, kind="stable")
    rising = np.take_along_axis(values, order, axis=1)
    through = np.cumsum(rising, axis=1)
    sums = rising * (2 * np.arange(n) - n + 2) + through[:, -1:] - 2 * through
    np.put_along_axis(rising, order, sums, axis=1)
    return rising


@numba.njit(cache=True, nogil=True)
def _squared_distances(values, means, grand):  # pragma: no cover - compiled
    """Sum the squares of the distances over all pairs: centred, and as they are."""
    n_features, n = values.shape
    squares, raw = np.zeros(n_features), np.zeros(n_features)
    for i in range(n_features):
        for a in range(n):
            for b in range(a):
                distance = abs(values[i, a] - values[i, b])
                raw[i] += distance * distance
                distance += grand[i] - means[i, a] - means[i, b]
                squares[i] += distance * distance
    return squares, raw


@numba.njit(cache=True, nogil=True)
def _centred_distances(values, means, grand, scale, shifts, part):  # pragma: no cover - compiled
    n_features, n = values.shape
    for i in range(n_features):
        for s in range(len(shifts)):
            shift = shifts[s]
            factor = scale[i] if 2 * shift < n else scale[i] * math.sqrt(0.5)
            for a in range(n):
                b = a + shift if a + shift < n else a + shift - n
                distance = abs(values[i, a] - values[i, b])
                part[i, s * n + a] = factor * (distance + grand[i] - means[i, a] - means[i, b])
