"""The cut of a whole tree and the affinity of its neighbours, from the edges of a graph.

The same number as :func:`~entangle.surrogate.hierarchical_cut`, in one pass over the edges:
each edge lies within the blocks from the root down to the last one that holds both ends.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from entangle.ordering.graph import Graph
from entangle.partition import CanonicalTree

__all__ = ["TreeCut", "adjacency", "pair_weight"]

Features = NDArray[np.int64]


class TreeCut:
    """Hierarchical cut of a graph laid on one tree, for any number of orders.

    Parameters
    ----------
    graph
        Affinities of the features.
    tree
        The canonical tree.

    Attributes
    ----------
    expected
        Mean cut of all orders, in closed form: every pair is severed as often as any other.
    """

    def __init__(self, graph: Graph, tree: CanonicalTree) -> None:
        self.graph = graph
        nodes = list(tree.root.walk())
        place = {id(node): index for index, node in enumerate(nodes)}
        self._block = np.full((tree.depth + 1, tree.n_features), -1, dtype=np.int64)
        self._parent = np.zeros(len(nodes), dtype=np.int64)
        sizes = np.array([node.size for node in nodes])
        levels = np.array([node.level for node in nodes])
        for index, node in enumerate(nodes):
            self._block[node.level, node.start : node.stop] = index
            for child in node.children:
                self._parent[place[id(child)]] = index
        counted = (sizes > 1) & (levels > 0)
        blocks = np.maximum(np.bincount(levels[counted], minlength=tree.depth + 1), 1)
        areas = sizes * np.maximum(tree.n_features - sizes, 1) * blocks[levels]
        self._share = np.where(counted, 1.0 / areas, 0.0)
        n_pairs = max(tree.n_features * (tree.n_features - 1), 1)
        self.expected = len(set(levels[counted].tolist())) * float(graph.weights.sum()) / n_pairs

    def __call__(self, leaves: Features) -> float:
        """Cut of the order with these features at the leaves."""
        position = np.empty_like(leaves)
        position[leaves] = np.arange(len(leaves))
        edges = self.graph
        return _cut(
            edges.starts, edges.neighbours, edges.weights, position,
            self._block, self._parent, self._share,
        )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _cut(starts, neighbours, weights, position, block, parent, share):  # pragma: no cover
    """Sum over nodes of their share times the weight of the edges that leave them."""
    n, depth = len(position), len(block)
    leaving = np.zeros(len(parent))  # first: degrees minus twice what lies within
    for i in range(n):
        p = position[i]
        degree = 0.0
        for e in range(starts[i], starts[i + 1]):
            degree += weights[e]
            q = position[neighbours[e]]
            level = 0
            while level + 1 < depth and block[level + 1, p] == block[level + 1, q] >= 0:
                level += 1
            leaving[block[level, p]] -= weights[e]
        last = depth - 1
        while block[last, p] < 0:
            last -= 1
        leaving[block[last, p]] += degree
    total = 0.0
    for node in range(len(parent) - 1, 0, -1):  # parents come first
        leaving[parent[node]] += leaving[node]
        total += share[node] * leaving[node]
    return total


def adjacency(graph: Graph, permutation: Features, shape: tuple[int, ...]) -> float:
    """Weight between touching positions of the layout, summed."""
    layout = permutation.reshape(shape)
    total = 0.0
    for axis in range(len(shape)):
        here = np.moveaxis(layout, axis, 0)
        if len(here) > 1:
            pairs = (
                np.ascontiguousarray(here[:-1]).ravel(),
                np.ascontiguousarray(here[1:]).ravel(),
            )
            total += _pair_sum(graph.starts, graph.neighbours, graph.weights, *pairs)
    return total


@numba.njit(cache=True, nogil=True)
def _pair_sum(starts, neighbours, weights, left, right):  # pragma: no cover - compiled
    """Sum the weights between paired nodes."""
    total = 0.0
    for k in range(len(left)):
        total += pair_weight(starts, neighbours, weights, left[k], right[k])
    return total


@numba.njit(cache=True, nogil=True)
def pair_weight(starts, neighbours, weights, i, j):  # pragma: no cover - compiled
    """Weight between two nodes, by bisection of the row of ``i``."""
    low, high = starts[i], starts[i + 1]
    while low < high:
        middle = (low + high) // 2
        if neighbours[middle] < j:
            low = middle + 1
        else:
            high = middle
    return weights[low] if low < starts[i + 1] and neighbours[low] == j else 0.0
