"""Weighted graph of features, in compressed rows, and the noise removed from its weights.

Splitting needs only rows and blocks of the affinity, so one sparse form serves a dense matrix
of a few thousand features and the strongest neighbours of many thousands.

A sample correlation of independent features is not zero but about M^-1/2, and summed over a
block that noise outweighs the signal between distant features. The largest of N (N - 1) / 2
such values stays below t = tanh(sqrt(2 ln(N (N - 1) / 2)) / sqrt(M - 3)) (Fisher's
transformation), so max(0, |r| - t) leaves signal only. A constant taken from every pair
changes no balanced cut; the loss is what |r| < t said. Where few pairs look independent, that
is more than the noise, and the weights stay as they are. Of many features only the strongest
pairs are kept, which says nothing about the others, so there the noise is always taken off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = [
    "Graph",
    "noise_threshold",
    "null_share",
    "without_noise",
]

# Share of independent pairs above which |r| < t is taken for noise.
NULL_SHARE = 0.5
# A pair is counted as near zero when |r| sqrt(M) is below this; P(|Z| < 0.5) = 0.3829.
NEAR_ZERO, NEAR_ZERO_PROBABILITY = 0.5, 0.3829


@dataclass(frozen=True)
class Graph:
    """Symmetric weights without a diagonal, in compressed sparse rows.

    Attributes
    ----------
    starts
        Row ``i`` is the run ``starts[i]:starts[i + 1]``; shape ``(nodes + 1,)``.
    neighbours, weights
        Column and positive weight of each entry, columns ascending.
    """

    starts: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    weights: NDArray[np.float64]

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.starts) - 1

    @classmethod
    def from_matrix(cls, matrix: np.ndarray | sparse.csr_matrix | sparse.csr_array) -> Graph:
        """Graph of a symmetric matrix, dense or sparse; zeros are no edges."""
        if not sparse.issparse(matrix):
            return cls(*_compress(np.ascontiguousarray(matrix, dtype=np.float64)))
        rows = sparse.csr_matrix(matrix, dtype=np.float64, copy=True)
        rows.setdiag(0.0)
        rows.eliminate_zeros()
        rows.sort_indices()
        starts, neighbours = rows.indptr.astype(np.int64), rows.indices.astype(np.int64)
        return cls(starts, neighbours, np.asarray(rows.data, dtype=np.float64))

    def scaled(self) -> Graph:
        """Graph with the largest weight one, so that tolerances mean the same for all."""
        largest = self.weights.max(initial=0.0)
        return Graph(self.starts, self.neighbours, self.weights / largest) if largest else self

    def subgraph(self, members: NDArray[np.int64]) -> Graph:
        """Graph among ``members``, renumbered in their order."""
        place = np.full(self.size, -1, dtype=np.int64)
        place[members] = np.arange(len(members))
        return Graph(*_subgraph(self.starts, self.neighbours, self.weights, members, place))

    def dense(self) -> NDArray[np.float64]:
        """Weights as a matrix, shape ``(nodes, nodes)``."""
        rows = (self.weights, self.neighbours, self.starts)
        return sparse.csr_matrix(rows, shape=(self.size, self.size)).toarray()


@numba.njit(cache=True, nogil=True)
def _compress(matrix):  # pragma: no cover - compiled
    """Compressed rows of the positive entries off the diagonal."""
    n = len(matrix)
    starts = np.zeros(n + 1, np.int64)
    for i in range(n):
        starts[i + 1] = starts[i]
        for j in range(n):
            if j != i and matrix[i, j] > 0.0:
                starts[i + 1] += 1
    neighbours = np.empty(starts[n], np.int64)
    weights = np.empty(starts[n])
    at = 0
    for i in range(n):
        for j in range(n):
            if j != i and matrix[i, j] > 0.0:
                neighbours[at] = j
                weights[at] = matrix[i, j]
                at += 1
    return starts, neighbours, weights


@numba.njit(cache=True, nogil=True)
def _subgraph(starts, neighbours, weights, members, place):  # pragma: no cover - compiled
    """Compressed rows of ``members``; ``place`` is the new number of a node, or -1."""
    n = len(members)
    begin = np.zeros(n + 1, np.int64)
    for i in range(n):
        begin[i + 1] = begin[i]
        for e in range(starts[members[i]], starts[members[i] + 1]):
            if place[neighbours[e]] >= 0:
                begin[i + 1] += 1
    columns = np.empty(begin[n], np.int64)
    values = np.empty(begin[n])
    at = 0
    for i in range(n):
        for e in range(starts[members[i]], starts[members[i] + 1]):
            if place[neighbours[e]] >= 0:
                columns[at] = place[neighbours[e]]
                values[at] = weights[e]
                at += 1
    return begin, columns, values


def noise_threshold(n_features: int, n_samples: int | None) -> float:
    """Value that |r| of independent features stays below, over all pairs; 0 if unknown."""
    if n_samples is None or n_samples < 5 or n_features < 3:
        return 0.0
    z = math.sqrt(2.0 * math.log(n_features * (n_features - 1) / 2))
    return math.tanh(z / math.sqrt(n_samples - 3))


def null_share(affinity: NDArray[np.float64], n_samples: int) -> float:
    """Estimated share of pairs with no correlation (Storey's estimate at |r| near zero)."""
    constant = np.count_nonzero(affinity == 0.0)  # they say nothing
    varying = affinity.size - constant
    if not varying:
        return 1.0
    near = np.count_nonzero(affinity < NEAR_ZERO / math.sqrt(n_samples)) - constant
    return min(1.0, near / varying / NEAR_ZERO_PROBABILITY)


def without_noise(matrix: Any, n_samples: int | None) -> Any:
    """Weights to split by: soft-thresholded where most pairs look independent, else as given.

    Parameters
    ----------
    matrix
        Affinity, dense or sparse, shape ``(features, features)``.
    n_samples
        Rows it was estimated from; ``None`` leaves it as it is.
    """
    threshold = noise_threshold(matrix.shape[0], n_samples)
    if n_samples is None or threshold == 0.0:
        return matrix
    if sparse.issparse(matrix):
        kept = matrix.copy()
        kept.data = np.maximum(kept.data - threshold, 0.0)
        return kept if kept.data.any() else matrix
    if null_share(matrix, n_samples) < NULL_SHARE:
        return matrix
    kept = np.maximum(matrix - threshold, 0.0)
    return kept if kept.any() else matrix
