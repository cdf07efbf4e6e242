"""The strongest pairs of features, kept while blocks of weights go by.

Each feature has a heap of its strongest weights so far, the weakest on top. A weight that does
not beat the top costs one comparison, and almost none of many thousands does, so a block is
read once and never sorted. A weight serves both of its features, so half of the matrix is
enough.
"""

from __future__ import annotations

import numba
import numpy as np
from scipy import sparse

from entangle.pairs.vectors import PairWeights
from entangle.progress import progress_bar

__all__ = ["nearest_weights"]

LANES = 32  # weights compared at a time
TILE = 256  # features whose heaps stay in the cache while the rows of a block go by


def nearest_weights(
    weights: PairWeights, n_neighbors: int, block: int, progress: bool = False
) -> sparse.csr_matrix:
    """Weights that are among the largest of one of their two features.

    Parameters
    ----------
    weights
        Non-negative; a weight of 0 is never kept.
    n_neighbors
        Weights kept of each feature; of equal ones, those with features of lower number.
    block
        Rows worked out at once.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    csr_matrix
        Shape ``(features, features)``, float64, symmetric, without a diagonal.
    """
    n = weights.n_features
    kept = min(n_neighbors, n - 1)
    values = np.zeros((n, kept), dtype=np.float32)
    nearest = np.zeros((n, kept), dtype=np.int32)
    least = np.zeros(n, dtype=np.float32)
    with progress_bar("affinity", n, progress) as advance:
        for start in range(0, n, block):
            stop = min(start + block, n)
            rows = weights.rows(start, stop, start)
            _keep(rows.astype(np.float32, copy=False), start, values, nearest, least)
            advance(stop - start)
    found = values > 0.0
    starts = np.concatenate(([0], np.cumsum(found.sum(axis=1))))
    entries = (values[found].astype(np.float64), nearest[found], starts)
    one_way = sparse.csr_matrix(entries, shape=(n, n))
    return one_way.maximum(one_way.T).tocsr()


@numba.njit(cache=True, nogil=True)
def _keep(rows, start, values, nearest, least):  # pragma: no cover - compiled
    """Offer the weights of features from ``start`` on with those from there to the last."""
    n_columns = rows.shape[1]
    for first in range(0, n_columns, TILE):
        for r in range(len(rows)):
            for begin in range(first, min(first + TILE, n_columns), LANES):
                end = min(begin + LANES, n_columns)
                bounds = least[start + begin : start + end]
                if _any_beats(rows[r, begin:end], bounds, least[start + r]):
                    _offer(rows, start, r, begin, end, values, nearest, least)


@numba.njit(cache=True, nogil=True)
def _any_beats(row, bounds, bound):  # pragma: no cover - compiled
    """Whether a weight beats the bound of its column or that of its row."""
    beaten = 0
    for c in range(len(row)):
        beaten += (row[c] > bounds[c]) | (row[c] > bound)
    return beaten > 0


@numba.njit(cache=True, nogil=True)
def _offer(rows, start, r, begin, end, values, nearest, least):  # pragma: no cover - compiled
    """Keep the weights that beat a bound; those among the rows come twice, in both orders."""
    i = start + r
    for c in range(begin, end):
        j, weight = start + c, rows[r, c]
        if weight > least[i] and c != r:
            least[i] = _replace(values[i], nearest[i], weight, j)
        if weight > least[j] and c >= len(rows):
            least[j] = _replace(values[j], nearest[j], weight, i)


@numba.njit(cache=True, nogil=True)
def _replace(values, nearest, value, feature):  # pragma: no cover - compiled
    """Put a weight in place of the weakest, which is on top; return the new weakest.

    Features come in rising order, so of equal weights the latest is the weakest.
    """
    at, size = 0, len(values)
    while 2 * at + 1 < size:
        child, other = 2 * at + 1, 2 * at + 2
        if other < size and (
            values[other] < values[child]
            or (values[other] == values[child] and nearest[other] > nearest[child])
        ):
            child = other
        if values[child] >= value:
            break
        values[at], nearest[at] = values[child], nearest[child]
        at = child
    values[at], nearest[at] = value, feature
    return values[0]
