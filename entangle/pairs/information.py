"""Mutual information of pairs of features, from binned values.

Plug-in information is too large: independent features with a and b bins and M samples have
(a - 1) (b - 1) / (2 M) nats of it on average. That much is taken off.

Source: Miller 1955, Information Theory in Psychology, 95 (the bias). Deviation: the number of
bins that are filled counts as the number there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from entangle.pairs.vectors import Samples

__all__ = ["InformationWeights", "binned"]

MOST_BINS = 16
ROWS_PER_CELL = 5  # of the joint counts, on average


@dataclass(frozen=True)
class InformationWeights:
    """Mutual information of binned features, in nats, less its bias, negative values as 0.

    Attributes
    ----------
    codes
        Bin of each sample, shape ``(features, samples)``, numbered from 0 without gaps.
    bins
        Number of bins of each feature, shape ``(features,)``.
    """

    codes: NDArray[np.uint8]
    bins: NDArray[np.int64]

    @classmethod
    def from_samples(cls, samples: Samples) -> InformationWeights:
        """Weights of the columns of ``samples``."""
        codes = binned(samples)
        return cls(codes, codes.max(axis=1).astype(np.int64) + 1)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.codes)

    def rows(self, start: int, stop: int, first: int = 0) -> NDArray[np.floating]:
        """Rows ``start:stop``, columns from ``first`` on."""
        counts = np.arange(self.codes.shape[1] + 1, dtype=np.float64)
        terms = counts * np.log(np.maximum(counts, 1.0))
        return _information(self.codes, self.bins, terms, start, stop, first)


def binned(samples: Samples) -> NDArray[np.uint8]:
    """Bin of every entry, shape ``(features, samples)``, numbered from 0 without gaps.

    A feature with no more distinct values than there are bins keeps them; the values of others
    fall into bins of equal numbers of samples, equal values into one bin. There are
    min(16, sqrt(M / 5)) bins, at least 2, so that independent features of M samples fill a cell
    of their joint counts with 5.
    """
    n_samples, n_features = samples.shape
    n_bins = min(MOST_BINS, max(2, math.isqrt(n_samples // ROWS_PER_CELL)))
    codes = np.empty((n_features, n_samples), dtype=np.uint8)
    for feature, column in enumerate(samples.T):
        distinct, values = np.unique(column, return_inverse=True)
        if len(distinct) > n_bins:
            places = (rankdata(column) - 0.5) * n_bins // n_samples
            _, values = np.unique(places, return_inverse=True)
        codes[feature] = values
    return codes


@numba.njit(cache=True, nogil=True)
def _information(codes, bins, terms, start, stop, first):  # pragma: no cover - compiled
    """Mutual information; ``terms`` holds c ln c of every count c."""
    n_features, n = codes.shape
    own = np.zeros(n_features)
    joint = np.zeros(MOST_BINS * MOST_BINS, np.int64)
    for i in range(n_features):
        joint[: bins[i]] = 0
        for m in range(n):
            joint[codes[i, m]] += 1
        for cell in range(bins[i]):
            own[i] += terms[joint[cell]]
    found = np.empty((stop - start, n_features - first))
    for i in range(start, stop):
        for j in range(first, n_features):
            joint[: bins[i] * bins[j]] = 0
            for m in range(n):
                joint[codes[i, m] * bins[j] + codes[j, m]] += 1
            total = terms[n] - own[i] - own[j] - 0.5 * (bins[i] - 1) * (bins[j] - 1)
            for cell in range(bins[i] * bins[j]):
                total += terms[joint[cell]]
            found[i - start, j - first] = max(0.0, total / n)
    return found
