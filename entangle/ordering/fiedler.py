"""Fiedler vector of a graph: the smoothest way to lay its nodes on a line.

The vector belongs to the second smallest eigenvalue of the normalised Laplacian
:math:`I - D^{-1/2} W D^{-1/2}`, divided by the square root of the degrees; cut at its middle, it
severs little weight. A small graph is solved densely. Of a large one, nodes joined by heavy
edges are merged until it is small, and the vector of the small graph is carried back and made
better at each size; a split needs its order, not its digits. BLAS is kept to one thread, and
values that differ by rounding alone count as equal, so that the order is the same on every run.

Source: Fiedler 1973, Czech. Math. J. 23, 298; Shi and Malik 2000, IEEE Trans. PAMI 22, 888
(normalised); Barnard and Simon 1994, Concurrency 6, 101 (many levels), with locally optimal
conjugate gradients (Knyazev 2001, SIAM J. Sci. Comput. 23, 517) in place of Rayleigh quotient
iteration.
"""

from __future__ import annotations

import warnings
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import lobpcg

from entangle.ordering.graph import Graph

__all__ = ["fiedler_vector"]

Vector = NDArray[np.float64]

DENSE = 512  # nodes up to which all eigenvectors are within reach
SHRUNK = 0.9  # merging that leaves more than this share of the nodes has come to its end
SMOOTHING = 40  # steps at each size
DIGITS = 9  # of the largest entry; beyond lies rounding
TOLERANCE = 1e-7


def fiedler_vector(graph: Graph) -> Vector:
    """Fiedler vector of a connected graph of two nodes or more.

    Parameters
    ----------
    graph
        Connected; positive weights.

    Returns
    -------
    ndarray
        Shape ``(nodes,)``, largest magnitude one; its first non-zero entry is positive.
    """
    rows = sparse.csr_matrix(
        (graph.weights, graph.neighbours, graph.starts), shape=(graph.size, graph.size)
    )
    vector = _vector(rows)
    vector = np.round(vector / np.abs(vector).max(), DIGITS)
    nonzero = np.flatnonzero(vector)
    return vector if vector[nonzero[0]] > 0.0 else -vector


def _vector(weights: sparse.csr_matrix) -> Vector:
    """Vector of the graph, from that of the graph with heavy edges merged if it is large."""
    n = len(weights.indptr) - 1
    if n <= DENSE:
        return _dense_vector(weights.toarray())
    merged = _merged(weights.indptr, weights.indices, weights.data)
    n_merged = int(merged.max()) + 1
    if n_merged > SHRUNK * n:
        return _improved(weights, np.arange(n, dtype=np.float64))
    onto = sparse.csr_matrix((np.ones(n), (np.arange(n), merged)), shape=(n, n_merged))
    return _improved(weights, _vector((onto.T @ weights @ onto).tocsr())[merged])


def _dense_vector(weights: NDArray[np.float64]) -> Vector:
    scale = 1.0 / np.sqrt(weights.sum(axis=1))
    similarity = scale[:, None] * weights * scale
    n = len(weights)
    _, vectors = linalg.eigh(similarity, subset_by_index=[n - 2, n - 2])
    return scale * vectors[:, 0]


def _improved(weights: sparse.csr_matrix, guess: Vector) -> Vector:
    """Vector after a few steps of the eigensolver from ``guess``."""
    root = np.sqrt(np.asarray(weights.sum(axis=1)).ravel())
    over: Any = sparse.diags(1.0 / root)
    similarity = (over @ weights @ over).tocsr()
    trivial = (root / np.linalg.norm(root))[:, None]
    start = (root * guess)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it stopped short of the tolerance
        result: Any = lobpcg(
            similarity, start, Y=trivial, largest=True, maxiter=SMOOTHING, tol=TOLERANCE
        )
    vector = result[1][:, 0] / root
    return vector if np.isfinite(vector).all() and vector.any() else guess


@numba.njit(cache=True, nogil=True)
def _merged(starts, neighbours, weights):  # pragma: no cover - compiled
    """Compute the number each node gets when joined to its closest partner still free."""
    n = len(starts) - 1
    partner = np.full(n, -1, np.int64)
    for i in range(n):
        if partner[i] >= 0:
            continue
        best, value = i, 0.0
        for e in range(starts[i], starts[i + 1]):
            j = neighbours[e]
            if j != i and partner[j] < 0 and weights[e] > value:
                best, value = j, weights[e]
        partner[i] = best
        partner[best] = i
    number = np.empty(n, np.int64)
    count = 0
    for i in range(n):
        if partner[i] >= i:
            number[i] = count
            number[partner[i]] = count
            count += 1
    return number
