"""Ordering as a travelling salesman's open path: the heaviest sum of adjacent affinities.

A step between two features is as long as the largest affinity less theirs, so the shortest
path through all features has the largest sum of affinities between neighbours. It knows of
neighbours only: features two steps apart may be unrelated. On a grid the path runs along the
leaves of the canonical tree, so each canonical block is a contiguous run of it.

Source: heuristics of :mod:`entangle.ordering.tour`; greedy start of Bentley 1992, ORSA J.
Comput. 4, 387. Deviations: the path is open, and only pairs of positive affinity are
candidates.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import check_random_state

from entangle.affinity import Affinity
from entangle.axes import Shape
from entangle.ordering.graph import Graph
from entangle.ordering.problem import checked_problem, laid_out
from entangle.ordering.tour import improve_tour

__all__ = ["tsp_order"]

Features = NDArray[np.int64]

NEAR = 10  # candidates of each feature
KICKS = 5  # for each feature
FEWEST_KICKS = 2000


def tsp_order(
    affinity: Affinity | sparse.csr_matrix | sparse.csr_array,
    shape: Shape,
    n_samples: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Features:
    """Permutation with a large sum of affinities between neighbours.

    Parameters
    ----------
    affinity
        Symmetric, non-negative, shape ``(features, features)``; dense, or compressed sparse
        rows for many features, where an absent pair has affinity 0.
    shape
        Number of features of a sequence, or the axis lengths of a grid.
    n_samples
        Not used; every ordering is called alike.
    random_state
        Seed of the kicks that lead out of a local optimum.

    Returns
    -------
    ndarray
        Shape ``(features,)``, int64; ``X[:, permutation]`` laid out row-major in ``shape`` has
        the path left to right in a sequence, canonical block after block in a grid. The
        lower-numbered end comes first.

    Raises
    ------
    PartitionError
        If ``shape`` does not hold the features of ``affinity``.
    InputError
        If the affinity is asymmetric, negative or not finite.

    Notes
    -----
    The number of kicks grows with the number of features, and so does the time.

    Examples
    --------
    >>> affinity = np.array([[0, 0, 3, 1], [0, 0, 0, 3], [3, 0, 0, 0], [1, 3, 0, 0]], float)
    >>> tsp_order(affinity, 4, random_state=0).tolist()
    [1, 3, 0, 2]
    """
    tree, checked = checked_problem(affinity, shape)
    generator: Any = check_random_state(random_state)
    kicks = max(FEWEST_KICKS, KICKS * tree.n_features)
    draws = generator.randint(2**31 - 1, size=(kicks, 3), dtype=np.int64)
    return laid_out(heavy_path(Graph.from_matrix(checked).scaled(), draws), tree)


def heavy_path(graph: Graph, draws: NDArray[np.int64]) -> Features:
    """Path through all nodes with a large sum of weights, its lower-numbered end first.

    Parameters
    ----------
    graph
        Weights of at most one.
    draws
        Three random non-negative numbers for each kick, shape ``(kicks, 3)``.
    """
    near = _nearest(graph.starts, graph.neighbours, graph.weights, min(NEAR, graph.size - 1))
    tour = np.append(_greedy_path(graph, near), graph.size)
    improve_tour(graph.starts, graph.neighbours, graph.weights, near, tour, draws)
    path = np.roll(tour, -1 - int(np.argmax(tour)))[:-1]
    return path if path[0] < path[-1] else path[::-1].copy()


@numba.njit(cache=True, nogil=True)
def _nearest(starts, neighbours, weights, count):  # pragma: no cover - compiled
    """Compute the ``count`` heaviest neighbours of each node, heaviest first, then -1."""
    n = len(starts) - 1
    near = np.full((n, count), -1, np.int64)
    heavy = np.zeros(count)
    for i in range(n):
        heavy[:] = 0.0
        for e in range(starts[i], starts[i + 1]):
            if weights[e] <= heavy[count - 1]:
                continue
            k = count - 1
            while k > 0 and heavy[k - 1] < weights[e]:
                heavy[k] = heavy[k - 1]
                near[i, k] = near[i, k - 1]
                k -= 1
            heavy[k] = weights[e]
            near[i, k] = neighbours[e]
    return near


def _greedy_path(graph: Graph, near: NDArray[np.int64]) -> Features:
    """Path made of the heaviest edges that still fit: first candidates, then between loose ends."""
    links = np.full((graph.size, 2), -1, dtype=np.int64)
    root = np.arange(graph.size)
    rows = np.repeat(np.arange(graph.size), np.diff(graph.starts))
    candidate = np.zeros(len(rows), dtype=bool)
    candidate[_entries(graph.starts, graph.neighbours, near)] = True
    for chosen in (candidate, ~candidate):
        loose = links[:, 1] < 0
        usable = np.flatnonzero(chosen & loose[rows] & loose[graph.neighbours])
        usable = usable[np.argsort(-graph.weights[usable], kind="stable")]
        _link(rows[usable], graph.neighbours[usable], links, root)
    return _walk(links)


@numba.njit(cache=True, nogil=True)
def _entries(starts, neighbours, near):  # pragma: no cover - compiled
    """Places of the candidates in the compressed rows."""
    found = np.empty(near.size, np.int64)
    count = 0
    for i in range(len(near)):
        for j in near[i]:
            if j >= 0:
                row = neighbours[starts[i] : starts[i + 1]]
                found[count] = starts[i] + np.searchsorted(row, j)
                count += 1
    return found[:count]


@numba.njit(cache=True, nogil=True)
def _link(rows, columns, links, root):  # pragma: no cover - compiled
    """Take edges in turn that leave each node two at most and close no ring."""
    for e in range(len(rows)):
        i, j = rows[e], columns[e]
        if links[i, 1] >= 0 or links[j, 1] >= 0:
            continue
        a, b = i, j
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        while root[b] != b:
            root[b] = root[root[b]]
            b = root[b]
        if a != b:
            root[a] = b
            links[i, int(links[i, 0] >= 0)] = j
            links[j, int(links[j, 0] >= 0)] = i


@numba.njit(cache=True, nogil=True)
def _walk(links):  # pragma: no cover - compiled
    """Nodes of all pieces of path, one piece after the other."""
    n = len(links)
    path = np.empty(n, np.int64)
    seen = np.zeros(n, np.bool_)
    count = 0
    for end in range(n):
        node = end if not seen[end] and links[end, 1] < 0 else -1
        while node >= 0:
            seen[node] = True
            path[count] = node
            count += 1
            following = -1
            for k in range(2):
                if links[node, k] >= 0 and not seen[links[node, k]]:
                    following = links[node, k]
            node = following
    return path
