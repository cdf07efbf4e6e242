"""Order of the children of a canonical tree: free for every cut, decisive for convolutions.

Exchanging equal children, and so reversing what lies below, leaves each canonical block as it
is, but decides whether correlated features of neighbouring blocks touch. From the leaves up,
each block of a sequence keeps its best few orders with different ends, and a parent joins
them so that the affinity of touching features is largest. On a grid each block keeps one
layout, turned and mirrored where its parent joins it to its neighbours.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from entangle.ordering.graph import Graph
from entangle.partition import CanonicalTree, Node

__all__ = ["oriented"]

WIDTH = 8  # orders kept of each block

Features = NDArray[np.int64]


def oriented(graph: Graph, leaves: Features, tree: CanonicalTree) -> Features:
    """Permutation of the features, with children placed so that neighbours touch.

    Parameters
    ----------
    graph
        Affinities of the features.
    leaves
        Feature at each leaf of ``tree``, shape ``(features,)``.
    tree
        The canonical tree; the blocks at its nodes stay as they are.

    Returns
    -------
    ndarray
        Feature at each row-major position, shape ``(features,)``.
    """
    if len(tree.shape) == 1:
        return _oriented_sequence(graph, leaves, tree)
    if len(tree.shape) == 2:
        return _oriented_box(graph, leaves, tree, tree.root).ravel()
    permutation = np.empty_like(leaves)
    permutation[tree.order] = leaves
    return permutation


@numba.njit(cache=True, nogil=True)
def _weight(starts, neighbours, weights, i, j):  # pragma: no cover - compiled
    """Weight between two nodes, by bisection of the row of ``i``."""
    low, high = starts[i], starts[i + 1]
    while low < high:
        middle = (low + high) // 2
        if neighbours[middle] < j:
            low = middle + 1
        else:
            high = middle
    return weights[low] if low < starts[i + 1] and neighbours[low] == j else 0.0


@numba.njit(cache=True, nogil=True)
def _seams(starts, neighbours, weights, rows, columns):  # pragma: no cover - compiled
    """Weight between each row of ``rows`` and of ``columns``, summed over equal places."""
    out = np.zeros((len(rows), len(columns)))
    for a in range(len(rows)):
        for b in range(len(columns)):
            for k in range(rows.shape[1]):
                out[a, b] += _weight(starts, neighbours, weights, rows[a, k], columns[b, k])
    return out


def _touching(graph: Graph, rows: Features, columns: Features) -> NDArray[np.float64]:
    """Affinity of every seam of a row with a column, shape ``(rows, columns)``."""
    ends = np.ascontiguousarray(rows), np.ascontiguousarray(columns)
    return _seams(graph.starts, graph.neighbours, graph.weights, *ends)


@dataclass(frozen=True)
class _Orders:
    """Best orders of one block; ``order`` holds one in each row."""

    score: NDArray[np.float64]
    order: NDArray[np.int64]

    @property
    def first(self) -> Features:
        return self.order[:, :1]

    @property
    def last(self) -> Features:
        return self.order[:, -1:]


def _oriented_sequence(graph: Graph, leaves: Features, tree: CanonicalTree) -> Features:
    found = _block_orders(graph, leaves, tree.root)
    return found.order[np.argmax(found.score)]


def _block_orders(graph: Graph, leaves: Features, node: Node) -> _Orders:
    if not node.children:
        return _Orders(np.zeros(1), leaves[node.start : node.stop, None])
    left, right = (_block_orders(graph, leaves, child) for child in node.children)
    ways = [_joined(graph, left, right)]
    if node.children[0].size == node.children[1].size:
        ways.append(_joined(graph, right, left))
    return _distinct(ways, graph.size)


def _joined(graph: Graph, left: _Orders, right: _Orders) -> tuple[np.ndarray, _Orders, _Orders]:
    joint = _touching(graph, left.last, right.first)
    return left.score[:, None] + right.score[None] + joint, left, right


def _distinct(ways: list[tuple[np.ndarray, _Orders, _Orders]], n_features: int) -> _Orders:
    """Keep the best orders with different ends, at most ``WIDTH`` of them."""
    scores = np.concatenate([score.ravel() for score, _, _ in ways])
    ends = np.concatenate(
        [(left.first * n_features + right.last.T).ravel() for _, left, right in ways]
    )
    ranking = np.argsort(-scores, kind="stable")
    chosen = ranking[np.sort(np.unique(ends[ranking], return_index=True)[1])[:WIDTH]]
    rows = []
    for index in chosen:
        way, pair = divmod(int(index), ways[0][0].size)
        score, left, right = ways[way]
        i, j = divmod(pair, score.shape[1])
        rows.append(np.concatenate((left.order[i], right.order[j])))
    return _Orders(scores[chosen], np.stack(rows))


def _oriented_box(graph: Graph, leaves: Features, tree: CanonicalTree, node: Node) -> Features:
    """Layout of the box of ``node``, shape ``(height, width)``."""
    if not node.children:
        return leaves[node.start : node.stop, None]
    boxes = [_oriented_box(graph, leaves, tree, child) for child in node.children]
    rows = tree.order[[child.start for child in node.children]] // tree.shape[1]
    columns = 1 if len(boxes) == 2 and rows[0] != rows[1] else 2
    variants = [_symmetric(box) for box in boxes]
    beside = _edges(graph, variants, (slice(None), slice(None), -1), (slice(None), slice(None), 0))
    above = _edges(graph, variants, (slice(None), -1), (slice(None), 0))
    best, layout = -np.inf, None
    for placed in _placements(boxes):
        score, picks = _best_variants(placed, columns, beside, above)
        if score > best:
            best, layout = score, [variants[i][k] for i, k in zip(placed, picks, strict=True)]
    assert layout is not None
    grid = [layout[at : at + columns] for at in range(0, len(layout), columns)]
    return np.concatenate([np.concatenate(row, axis=1) for row in grid])


def _symmetric(box: Features) -> NDArray[np.int64]:
    """``box`` mirrored and turned in every way that keeps its canonical blocks."""
    height, width = box.shape
    ways = [box]
    if height & (height - 1) == 0 and height > 1:
        ways += [way[::-1] for way in ways]
    if width & (width - 1) == 0 and width > 1:
        ways += [way[:, ::-1] for way in ways]
    if height == width and height & (height - 1) == 0 and height > 1:
        ways += [way.T for way in ways]
    return np.stack(ways)


def _edges(graph: Graph, variants: list[NDArray[np.int64]], end: tuple, begin: tuple) -> dict:
    """Affinity across the seam of two boxes, by pair of boxes and of their variants."""
    return {
        (i, j): _touching(graph, variants[i][end], variants[j][begin])
        for i, j in itertools.permutations(range(len(variants)), 2)
        if variants[i][end].shape[1] == variants[j][begin].shape[1]
    }


def _placements(boxes: list[Features]) -> list[tuple[int, ...]]:
    identity = tuple(range(len(boxes)))
    same = len({box.shape for box in boxes}) == 1
    return list(itertools.permutations(identity)) if same else [identity]


def _best_variants(placed, columns: int, beside: dict, above: dict) -> tuple[float, tuple]:
    """Highest affinity across the seams of boxes so placed, and the variant of each."""
    if len(placed) == 2:
        scores = (beside if columns == 2 else above)[placed]
    else:
        a, b, c, d = placed
        scores = (
            beside[a, b][:, :, None, None]
            + beside[c, d][None, None]
            + above[a, c][:, None, :, None]
            + above[b, d][None, :, None, :]
        )
    best = int(np.argmax(scores))
    return float(scores.flat[best]), tuple(int(k) for k in np.unravel_index(best, scores.shape))
