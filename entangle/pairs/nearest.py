"""The strongest pairs of features, kept while blocks of weights go by.

Each feature has a list with room for twice what it keeps. A weight that does not beat the
weakest of those known to be among the strongest costs one comparison, and almost none of many
thousands does; the others are appended, and a full list is cut down to its strongest half. So a
block is read once, and the cost hardly depends on the order of the features. A weight serves both
of its features: half of the matrix is enough.

Weight and feature are one whole number, ``bits of the weight, largest number - feature``: those
of floats that are not negative sort as the floats do, and of equal weights the feature of lower
number is stronger, whatever the blocks.
"""

from __future__ import annotations

from contextlib import closing

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from entangle.pairs.vectors import PairWeights
from entangle.parallel import map_in_blocks
from entangle.progress import progress_bar

__all__ = ["nearest_weights"]

LANES = 64  # weights compared at a time
TILE = 512  # features whose lists stay in the cache while the rows of a block go by
LAST = 2**31 - 1  # the largest number
BITS = 32  # of either half of a key


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
    keys = np.zeros((n, 2 * kept), dtype=np.int64)
    filled = np.zeros(n, dtype=np.int64)
    least = np.zeros(n, dtype=np.int32)
    starts = range(0, n, block)
    with (
        closing(map_in_blocks(lambda start: _block(weights, start, block), starts)) as blocks,
        progress_bar("affinity", n, progress) as advance,
    ):
        for start, rows in zip(starts, blocks, strict=True):
            _keep(rows.view(np.int32), start, keys, filled, least)
            advance(len(rows))
    return _symmetric(keys, filled)


def _block(weights: PairWeights, start: int, block: int) -> NDArray[np.float32]:
    rows = weights.rows(start, min(start + block, weights.n_features), start)
    return np.ascontiguousarray(rows, dtype=np.float32)


def _symmetric(keys: np.ndarray, filled: np.ndarray) -> sparse.csr_matrix:
    """Matrix of the strongest half of each list, an entry for both features of a pair."""
    n, room = keys.shape
    for feature in np.flatnonzero(filled > room // 2):
        _strongest_first(keys[feature, : filled[feature]], room // 2)
    lengths = np.minimum(filled, room // 2)
    found = keys[np.arange(room) < lengths[:, None]]
    values = (found >> BITS).astype(np.int32).view(np.float32).astype(np.float64)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    one_way = sparse.csr_matrix((values, LAST - (found & LAST), starts), shape=(n, n))
    return one_way.maximum(one_way.T).tocsr()


@numba.njit(cache=True, nogil=True)
def _keep(rows, start, keys, filled, least):  # pragma: no cover - compiled
    """Offer the weights of features from ``start`` on with those from there to the last."""
    n_columns = rows.shape[1]
    for first in range(0, n_columns, TILE):
        for r in range(len(rows)):
            for begin in range(first, min(first + TILE, n_columns), LANES):
                end = min(begin + LANES, n_columns)
                bounds = least[start + begin : start + end]
                if _any_beats(rows[r, begin:end], bounds, least[start + r]):
                    _offer(rows, start, r, begin, end, keys, filled, least)


@numba.njit(cache=True, nogil=True)
def _any_beats(row, bounds, bound):  # pragma: no cover - compiled
    """Whether a weight beats the bound of its column or that of its row."""
    beaten = 0
    for c in range(len(row)):
        beaten += (row[c] > bounds[c]) | (row[c] > bound)
    return beaten > 0


@numba.njit(cache=True, nogil=True)
def _offer(rows, start, r, begin, end, keys, filled, least):  # pragma: no cover - compiled
    """Append the weights that beat a bound; those among the rows come twice, in both orders."""
    i = start + r
    for c in range(begin, end):
        j, weight = start + c, rows[r, c]
        if weight > least[i] and c != r:
            _append(weight, j, i, keys, filled, least)
        if weight > least[j] and c >= len(rows):
            _append(weight, i, j, keys, filled, least)


@numba.njit(cache=True, nogil=True)
def _append(weight, feature, to, keys, filled, least):  # pragma: no cover - compiled
    """Put a weight on the list of feature ``to``, and cut that down if it is full."""
    room = keys.shape[1]
    keys[to, filled[to]] = (np.int64(weight) << BITS) | (LAST - feature)
    filled[to] += 1
    if filled[to] == room:
        _strongest_first(keys[to], room // 2)
        filled[to] = room // 2
        least[to] = keys[to, room // 2 - 1] >> BITS


@numba.njit(cache=True, nogil=True)
def _strongest_first(keys, kept):  # pragma: no cover - compiled
    """Move the ``kept`` largest keys to the front, the smallest of them last (quickselect)."""
    low, high, place = 0, len(keys) - 1, kept - 1
    while low < high:
        pivot = keys[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while keys[left] > pivot:
                left += 1
            while keys[right] < pivot:
                right -= 1
            if left <= right:
                keys[left], keys[right] = keys[right], keys[left]
                left += 1
                right -= 1
        if place <= right:
            high = right
        elif place >= left:
            low = left
        else:
            break
