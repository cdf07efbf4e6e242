"""Order of the children of a canonical tree: free for every cut, decisive for convolutions.

Exchanging equal children, and so reversing what lies below, leaves each canonical block as it
is, but decides whether correlated features of neighbouring blocks touch. From the leaves up,
each block of a sequence keeps its best few orders with different ends, and a parent joins
them so that the affinity of touching features is largest. On a grid each block keeps one
layout, turned and mirrored where its parent joins it to its neighbours. The order that came in is
kept if none touches more.
"""

from __future__ import annotations

import itertools

import numba
import numpy as np
from numpy.typing import NDArray

from entangle.ordering.graph import Graph
from entangle.ordering.objective import adjacency, pair_weight
from entangle.ordering.problem import laid_out
from entangle.partition import CanonicalTree, Node

__all__ = ["oriented"]

WIDTH = 8  # orders kept of each block of a sequence
MORE = 1.0 + 1e-12  # an order and its mirror image differ by rounding only

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
        Feature at each row-major position, shape ``(features,)``. Layouts of three axes and more
        stay as they are.
    """
    given = laid_out(leaves, tree)
    if len(tree.shape) > 2:
        return given
    if len(tree.shape) == 1:
        found = _oriented_sequence(graph, leaves, tree)
    else:
        found = _oriented_box(graph, leaves, tree, tree.root).ravel()
    gained = adjacency(graph, found, tree.shape) > adjacency(graph, given, tree.shape) * MORE
    return found if gained else given


def _oriented_sequence(graph: Graph, leaves: Features, tree: CanonicalTree) -> Features:
    nodes = list(tree.root.walk())
    place = {id(node): index for index, node in enumerate(nodes)}
    children = np.full((len(nodes), 2), -1, dtype=np.int64)
    feature = np.full(len(nodes), -1, dtype=np.int64)
    equal = np.zeros(len(nodes), dtype=bool)
    for index, node in enumerate(nodes):
        if node.children:
            children[index] = [place[id(child)] for child in node.children]
            equal[index] = node.children[0].size == node.children[1].size
        else:
            feature[index] = leaves[node.start]
    return _best_sequence(
        graph.starts, graph.neighbours, graph.weights, children, feature, equal, WIDTH
    )


@numba.njit(cache=True, nogil=True)
def _best_sequence(
    starts, neighbours, weights, children, feature, equal, width
):  # pragma: no cover
    """Join the orders of children, from the leaves up; nodes come parents first."""
    n = len(feature)
    count = np.zeros(n, np.int64)
    score = np.zeros((n, width))
    ends = np.zeros((n, width, 2), np.int64)
    made = np.zeros((n, width, 3), np.int64)  # from which orders of the children, which way round
    for node in range(n - 1, -1, -1):
        if feature[node] >= 0:
            count[node] = 1
            ends[node, 0, :] = feature[node]
            continue
        for swapped in range(2 if equal[node] else 1):
            left, right = children[node, swapped], children[node, 1 - swapped]
            for i in range(count[left]):
                for j in range(count[right]):
                    last, first = ends[left, i, 1], ends[right, j, 0]
                    total = score[left, i] + score[right, j]
                    total += pair_weight(starts, neighbours, weights, last, first)
                    origin = (i, j, swapped)
                    outer = (ends[left, i, 0], ends[right, j, 1])
                    count[node] = _keep(
                        score[node], ends[node], made[node], count[node], total, outer, origin
                    )
    return _unrolled(children, feature, made)


@numba.njit(cache=True, nogil=True)
def _keep(score, ends, made, count, total, outer, origin):  # pragma: no cover - compiled
    """Insert an order among the best with different ends; returns how many there are."""
    at = count
    for k in range(count):  # the same ends: only the better one stays
        if ends[k, 0] == outer[0] and ends[k, 1] == outer[1]:
            if score[k] * MORE >= total:
                return count
            at = k
            break
    if at == count:
        if count == len(score):
            at = count - 1
            if score[at] * MORE >= total:
                return count
        else:
            count += 1
    while at > 0 and score[at - 1] * MORE < total:
        score[at] = score[at - 1]
        ends[at] = ends[at - 1]
        made[at] = made[at - 1]
        at -= 1
    score[at] = total
    ends[at, 0], ends[at, 1] = outer
    made[at, 0], made[at, 1], made[at, 2] = origin
    return count


@numba.njit(cache=True, nogil=True)
def _unrolled(children, feature, made):  # pragma: no cover - compiled
    """Features of the best order of the first node, left to right."""
    out = np.empty((feature >= 0).sum(), np.int64)
    pending = np.zeros((len(feature), 2), np.int64)
    waiting, at = 1, 0
    while waiting:
        waiting -= 1
        node, which = pending[waiting, 0], pending[waiting, 1]
        if feature[node] >= 0:
            out[at] = feature[node]
            at += 1
            continue
        i, j, swapped = made[node, which]
        pending[waiting, 0], pending[waiting, 1] = children[node, 1 - swapped], j
        pending[waiting + 1, 0], pending[waiting + 1, 1] = children[node, swapped], i
        waiting += 2
    return out


def _oriented_box(graph: Graph, leaves: Features, tree: CanonicalTree, node: Node) -> Features:
    """Layout of the box of ``node``, shape ``(height, width)``."""
    if not node.children:
        return leaves[node.start : node.stop, None]
    boxes = [_oriented_box(graph, leaves, tree, child) for child in node.children]
    rows = tree.order[[child.start for child in node.children]] // tree.shape[1]
    columns = 1 if len(boxes) == 2 and rows[0] != rows[1] else 2
    variants = [_symmetric(box) for box in boxes]
    placements = _placements(boxes)
    counts = np.array([len(ways) for ways in variants])
    left, right, top, bottom = _sides(variants)
    edges = graph.starts, graph.neighbours, graph.weights
    beside = _seams(*edges, right, left, counts)
    above = _seams(*edges, bottom, top, counts)
    best, picks = _best_arrangement(beside, above, counts, placements, columns)
    layout = [variants[i][k] for i, k in zip(placements[best], picks, strict=True)]
    grid = [layout[at : at + columns] for at in range(0, len(layout), columns)]
    return np.concatenate([np.concatenate(row, axis=1) for row in grid])


def _symmetric(box: Features) -> list[Features]:
    """``box`` mirrored and turned in every way that keeps its canonical blocks."""
    height, width = box.shape
    ways = [box]
    if height & (height - 1) == 0 and height > 1:
        ways += [way[::-1] for way in ways]
    if width & (width - 1) == 0 and width > 1:
        ways += [way[:, ::-1] for way in ways]
    if height == width and height & (height - 1) == 0 and height > 1:
        ways += [way.T for way in ways]
    return ways


def _sides(variants: list[list[Features]]) -> list[NDArray[np.int64]]:
    """Left, right, top and bottom of each variant of each box, filled up with -1.

    Each has the shape ``(boxes, variants, longest side)``.
    """
    longest = max(max(ways[0].shape) for ways in variants)
    most = max(map(len, variants))
    sides = [np.full((len(variants), most, longest), -1, dtype=np.int64) for _ in range(4)]
    for box, ways in enumerate(variants):
        for k, way in enumerate(ways):
            for side, run in zip(sides, (way[:, 0], way[:, -1], way[0], way[-1]), strict=True):
                side[box, k, : len(run)] = run
    return sides


def _placements(boxes: list[Features]) -> NDArray[np.int64]:
    """Boxes at each place, one placement in a row.

    Boxes that may all be turned need three placements: which box lies across from the first.
    """
    identity = tuple(range(len(boxes)))
    shapes = {box.shape for box in boxes}
    if len(shapes) > 1:
        return np.array([identity])
    height, width = shapes.pop()
    if len(boxes) == 4 and height == width and height & (height - 1) == 0:
        return np.array([(0, 1, 2, 3), (0, 1, 3, 2), (0, 2, 3, 1)])
    return np.array(list(itertools.permutations(identity)))


@numba.njit(cache=True, nogil=True)
def _best_arrangement(beside, above, counts, placements, columns):  # pragma: no cover - compiled
    """Placement with the most affinity across its seams, and the variant of each box placed."""
    best, value = 0, -1e300
    picks = np.zeros(len(counts), np.int64)
    for number in range(len(placements)):
        if len(counts) == 2:
            a, b = placements[number]
            found, k, m = _best_pair(beside[a, b] if columns == 2 else above[a, b])
            if found > value * MORE:
                best, value = number, found
                picks[0], picks[1] = k, m
            continue
        a, b, c, d = placements[number]
        for k in range(counts[a]):
            for m in range(counts[d]):
                over, x = _best_between(beside[a, b, k], above[b, d, :, m])
                under, y = _best_between(above[a, c, k], beside[c, d, :, m])
                if over + under > value * MORE:
                    best, value = number, over + under
                    picks[0], picks[1], picks[2], picks[3] = k, x, y, m
    return best, picks


@numba.njit(cache=True, nogil=True)
def _best_pair(table):  # pragma: no cover - compiled
    """Largest entry, its row and its column."""
    best, row, column = -1e300, 0, 0
    for k in range(table.shape[0]):
        for m in range(table.shape[1]):
            if table[k, m] > best * MORE:
                best, row, column = table[k, m], k, m
    return best, row, column


@numba.njit(cache=True, nogil=True)
def _best_between(first, second):  # pragma: no cover - compiled
    """Largest sum of two entries at one place, and the place."""
    best, place = -1e300, 0
    for k in range(len(first)):
        if first[k] + second[k] > best * MORE:
            best, place = first[k] + second[k], k
    return best, place


@numba.njit(cache=True, nogil=True)
def _seams(starts, neighbours, weights, ends, begins, counts):  # pragma: no cover - compiled
    """Affinity of every end with every begin, ``(boxes, boxes, variants, variants)``.

    What is no variant of its box is worth less than nothing.
    """
    boxes, most = ends.shape[:2]
    out = np.full((boxes, boxes, most, most), -1e300)
    for i in range(boxes):
        for j in range(boxes):
            for k in range(counts[i]):
                for m in range(counts[j]):
                    total = 0.0
                    for at in range(ends.shape[2]):
                        run, other = ends[i, k, at], begins[j, m, at]
                        if i != j and run >= 0 and other >= 0:
                            total += pair_weight(starts, neighbours, weights, run, other)
                    out[i, j, k, m] = total
    return out
