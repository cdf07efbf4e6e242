"""Distances along chains of neighbours, and the points that have them.

The strongest neighbours of each feature are edges, short where the affinity is strong; the
distance of any two features is the length of the shortest path (Isomap), measured from
landmarks; landmark scaling turns distances into coordinates, and majorising the stress of the
edges draws them straight.

Source: Tenenbaum, de Silva and Langford 2000, Science 290, 2319 (Isomap); de Silva and Tenenbaum
2004, "Sparse multidimensional scaling using landmark points"; de Leeuw 1977 (majorisation). The
edges and the gate of significance are ours.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from entangle.ordering.graph import noise_threshold
from entangle.parallel import one_blas_thread

__all__ = ["majorised", "nearest_edges", "placed"]

LANDMARKS = {1: 64}  # by number of axes
GRID_LANDMARKS = 256
STEPS = 200  # of the majorisation, on grids
ANCHOR = 0.01  # weight of the first coordinates in it, relative to the edges
SHORTEST = 1e-3  # edge, in units of the median edge

Coordinates = NDArray[np.float64]


def nearest_edges(
    affinity: Any, n_neighbors: int, power: float, n_axes: int, n_samples: int | None
) -> sparse.csr_matrix:
    """Join each feature with its nearest others by edges of length ``(-ln |r|)^power``.

    Parameters
    ----------
    affinity
        Symmetric, non-negative, shape ``(features, features)``, dense or sparse.
    n_neighbors
        Edges of each feature, before the result is made symmetric.
    power
        Of the length.
    n_axes
        Of the lattice that the features may come from.
    n_samples
        Rows that correlations were estimated from; only significant ones make edges. ``None``
        for any other affinity a: the length is then the power of
        ``ln(sqrt(a_i a_j) / a_ij) + u``, with ``a_i`` the strongest affinity of a feature and
        ``u`` its typical drop to the next neighbours of a lattice.

    Returns
    -------
    csr_matrix
        Positive lengths, symmetric, shape ``(features, features)``.
    """
    n = affinity.shape[0]
    floor = noise_threshold(n, n_samples)
    kept = max(n_neighbors, 2 * n_axes + 1)
    if sparse.issparse(affinity):
        rows = affinity.tocsr()
        nearest, values, counts = _nearest_sparse(rows.indptr, rows.indices, rows.data, kept, floor)
    else:
        nearest, values, counts = _nearest(np.ascontiguousarray(affinity), kept, floor)
    used = np.arange(kept)[None] < np.minimum(counts, n_neighbors)[:, None]
    strength = np.log(np.where(values > 0.0, values, 1.0))
    lengths = -strength
    if n_samples is None:
        full = counts == kept
        unit = float(np.median((strength[:, 0] - strength[:, -1])[full])) if full.any() else 1.0
        top = strength[:, 0]
        lengths += unit + (top[:, None] + top[nearest]) / 2.0
    lengths = np.maximum(lengths, 0.0)[used] ** power
    typical = float(np.median(lengths)) if len(lengths) else 1.0
    lengths = np.maximum(lengths, SHORTEST * typical if typical else 1.0)
    ends = np.concatenate(([0], np.cumsum(used.sum(axis=1))))
    one_way = sparse.csr_matrix((lengths, nearest[used], ends), (n, n))
    return one_way.maximum(one_way.T).tocsr()


@numba.njit(cache=True, nogil=True)
def _insert(values, nearest, count, value, j):  # pragma: no cover - compiled
    """Put ``value`` into descending ``values``; returns how many there are."""
    k = len(values)
    at = count if count < k else k - 1
    while at > 0 and values[at - 1] < value:
        values[at] = values[at - 1]
        nearest[at] = nearest[at - 1]
        at -= 1
    values[at] = value
    nearest[at] = j
    return min(count + 1, k)


@numba.njit(cache=True, nogil=True)
def _nearest(matrix, k, floor):  # pragma: no cover - compiled
    """Strongest ``k`` entries above ``floor`` of each row, strongest first."""
    n = len(matrix)
    nearest = np.zeros((n, k), np.int64)
    values = np.zeros((n, k))
    counts = np.zeros(n, np.int64)
    for i in range(n):
        least = floor
        for j in range(n):
            if matrix[i, j] > least and j != i:
                counts[i] = _insert(values[i], nearest[i], counts[i], matrix[i, j], j)
                if counts[i] == k:
                    least = values[i, k - 1]
    return nearest, values, counts


@numba.njit(cache=True, nogil=True)
def _nearest_sparse(starts, neighbours, weights, k, floor):  # pragma: no cover - compiled
    """Strongest ``k`` entries above ``floor`` of each of the compressed sparse rows."""
    n = len(starts) - 1
    nearest = np.zeros((n, k), np.int64)
    values = np.zeros((n, k))
    counts = np.zeros(n, np.int64)
    for i in range(n):
        least = floor
        for e in range(starts[i], starts[i + 1]):
            if weights[e] > least and neighbours[e] != i:
                counts[i] = _insert(values[i], nearest[i], counts[i], weights[e], neighbours[e])
                if counts[i] == k:
                    least = values[i, k - 1]
    return nearest, values, counts


def placed(edges: Any, n_axes: int, seed: int) -> Coordinates:
    """Coordinates of the features, connected part after part along the first axis.

    Parameters
    ----------
    edges
        Lengths as :func:`nearest_edges` returns them.
    n_axes
        Number of coordinates.
    seed
        Of the landmarks.

    Returns
    -------
    ndarray
        Shape ``(features, axes)``; the first axis is the longest. On grids the edges have been
        drawn to length, as far as that goes.
    """
    with one_blas_thread():
        return _placed(edges, n_axes, seed)


def _placed(edges: Any, n_axes: int, seed: int) -> Coordinates:
    n = edges.shape[0]
    number, part = csgraph.connected_components(edges, directed=False)
    if number == 1:
        return _scaled(edges, n_axes, seed)
    points, end = np.zeros((n, n_axes)), 0.0
    sizes = np.bincount(part)
    by_part = np.split(np.argsort(part, kind="stable"), np.cumsum(sizes)[:-1])
    for which in np.argsort(-sizes, kind="stable"):
        members = by_part[which]
        if sizes[which] > 2 * n_axes:
            own = _scaled(edges[members][:, members], n_axes, seed)
            points[members] = own - own.min(axis=0)
        else:
            points[members, 0] = np.arange(len(members))
        points[members, 0] += end
        end = float(points[members, 0].max()) + 1.0
    return points


def _scaled(edges: Any, n_axes: int, seed: int) -> Coordinates:
    """Landmark scaling of a connected graph; on grids its edges are then drawn to length."""
    n = edges.shape[0]
    most = LANDMARKS.get(n_axes, GRID_LANDMARKS)
    landmarks = np.sort(np.random.default_rng(seed).permutation(n)[:most])
    squares = csgraph.dijkstra(edges, directed=False, indices=landmarks) ** 2
    inner = squares[:, landmarks]
    means = inner.mean(axis=1)
    product = -0.5 * (inner - means - means[:, None] + means.mean())
    values, vectors = np.linalg.eigh(product)
    values, vectors = values[::-1][:n_axes], vectors[:, ::-1][:, :n_axes]
    points = np.zeros((n, n_axes))
    real = values > 1e-12 * max(float(values[0]), 1e-300)
    across = vectors[:, real] / np.sqrt(values[real])
    points[:, : across.shape[1]] = -0.5 * (squares - means[:, None]).T @ across
    if n_axes == 1:
        return points
    return majorised(edges, points, STEPS)


def majorised(edges: Any, points: Coordinates, steps: int) -> Coordinates:
    """Move points until the edges have their lengths, held near where they are.

    Lowers the stress, the sum over edges of ``((|p_i - p_j| - l) / l)^2``, at every step.

    Parameters
    ----------
    edges
        Lengths, symmetric, shape ``(features, features)``.
    points
        Shape ``(features, axes)``, in any unit of length.
    steps
        Steps of the majorisation.
    """
    return _majorised(edges.indptr, edges.indices, edges.data, points, steps, ANCHOR)


@numba.njit(cache=True, nogil=True)
def _majorised(starts, neighbours, lengths, points, steps, anchor):  # pragma: no cover - compiled
    """Set each point where its edges pull it, all at once."""
    n, axes = points.shape
    first = points * _fitting_scale(starts, neighbours, lengths, points)
    old, new = first.copy(), np.empty_like(points)
    weights = 1.0 / lengths**2
    for _ in range(steps):
        for i in range(n):
            mass = weights[starts[i] : starts[i + 1]].sum()
            for a in range(axes):
                new[i, a] = anchor * mass * first[i, a]
            for e in range(starts[i], starts[i + 1]):
                j = neighbours[e]
                square = 1e-300
                for a in range(axes):
                    square += (old[i, a] - old[j, a]) ** 2
                pull = lengths[e] / math.sqrt(square)
                for a in range(axes):
                    new[i, a] += weights[e] * (old[j, a] + pull * (old[i, a] - old[j, a]))
            for a in range(axes):
                new[i, a] = new[i, a] / ((1.0 + anchor) * mass) if mass > 0.0 else first[i, a]
        old, new = new, old
    return old


@numba.njit(cache=True, nogil=True)
def _fitting_scale(starts, neighbours, lengths, points):  # pragma: no cover - compiled
    """Factor of the coordinates that lowers the stress most."""
    linear, quadratic = 0.0, 1e-300
    for i in range(len(points)):
        for e in range(starts[i], starts[i + 1]):
            square = ((points[i] - points[neighbours[e]]) ** 2).sum()
            linear += math.sqrt(square) / lengths[e]
            quadratic += square / lengths[e] ** 2
    return linear / quadratic
