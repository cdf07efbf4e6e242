"""Ordering by recursive spectral bisection along the canonical tree.

Each block is cut where its Fiedler vector, sorted, reaches the size that the tree asks for,
and each part again; a block with 2^P children is cut into halves of halves. A block in pieces
has no such vector: whole pieces go to the side with more room, largest first, and only the one
that fits neither is cut.

Source: Pothen, Simon and Liou 1990, SIAM J. Matrix Anal. Appl. 11, 430. Deviations: the sizes
are those of the canonical tree and not halves, the Laplacian is normalised, noise is taken off
the weights (:mod:`entangle.ordering.graph`), and children are placed so that correlated
features touch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from entangle.affinity import Affinity
from entangle.axes import Shape
from entangle.ordering.fiedler import fiedler_vector
from entangle.ordering.graph import Graph, without_noise
from entangle.ordering.orientation import oriented
from entangle.ordering.problem import checked_problem
from entangle.parallel import one_blas_thread
from entangle.partition import CanonicalTree, Node

__all__ = ["spectral_order"]

Features = NDArray[np.int64]


def spectral_order(
    affinity: Affinity | sparse.csr_matrix | sparse.csr_array,
    shape: Shape,
    n_samples: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Features:
    """Permutation by recursive spectral bisection.

    Parameters
    ----------
    affinity
        Symmetric, non-negative, shape ``(features, features)``; dense, or compressed sparse
        rows for many features, where an absent pair has affinity 0.
    shape
        Number of features of a sequence, or the axis lengths of a grid.
    n_samples
        Rows the affinity was estimated from. Where most pairs then look independent, and
        always for a sparse affinity, the largest value that independent features reach is taken
        off every weight; without it no noise is removed.
    random_state
        Not used; every ordering is called alike. The result has no chance in it.

    Returns
    -------
    ndarray
        Shape ``(features,)``, int64; ``X[:, permutation]`` laid out row-major in ``shape`` has
        a low :func:`~entangle.surrogate.hierarchical_cut`.

    Raises
    ------
    PartitionError
        If ``shape`` does not hold the features of ``affinity``.
    InputError
        If the affinity is asymmetric, negative or not finite.

    Examples
    --------
    >>> affinity = np.array([[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]], float)
    >>> order = spectral_order(affinity, 4)
    >>> sorted(sorted(pair.tolist()) for pair in order.reshape(2, 2))
    [[0, 2], [1, 3]]
    """
    tree, checked = checked_problem(affinity, shape)
    graph = Graph.from_matrix(without_noise(checked, n_samples)).scaled()
    with one_blas_thread():
        leaves = _leaves(graph, tree)
    return oriented(graph, leaves, tree)


def _leaves(graph: Graph, tree: CanonicalTree) -> Features:
    """Feature at each leaf of the tree, by splitting block after block."""
    leaves = np.empty(tree.n_features, dtype=np.int64)
    pending: list[tuple[Node, Graph, Features]] = [(tree.root, graph, np.arange(graph.size))]
    while pending:
        node, block, features = pending.pop()
        if node.size <= max(1, len(node.children)):
            leaves[node.start : node.stop] = features
            continue
        parts = _split(block, [child.size for child in node.children])
        for child, part in zip(node.children, parts, strict=True):
            pending.append((child, block.subgraph(part), features[part]))
    return leaves


def _split(graph: Graph, sizes: list[int]) -> list[Features]:
    """Nodes of each part, of exactly the sizes asked for, by halves of halves."""
    if len(sizes) == 1:
        return [np.arange(graph.size)]
    half = len(sizes) // 2
    first = _first_side(graph, sum(sizes[:half]))
    parts = []
    for members, own in (
        (np.flatnonzero(first), sizes[:half]),
        (np.flatnonzero(~first), sizes[half:]),
    ):
        parts += [members[part] for part in _split(graph.subgraph(members), own)]
    return parts


def _first_side(graph: Graph, n_first: int) -> NDArray[np.bool_]:
    """Mask of the ``n_first`` nodes on the first side of a cut that keeps pieces whole."""
    first = np.zeros(graph.size, dtype=bool)
    room = [n_first, graph.size - n_first]
    for piece in _pieces(graph):
        side = int(room[1] > room[0])
        taken = np.full(len(piece), side == 0)
        if len(piece) > room[side]:
            taken = _cut_piece(graph.subgraph(piece), room)
        first[piece] = taken
        room[0] -= int(taken.sum())
        room[1] -= int((~taken).sum())
    return first


def _pieces(graph: Graph) -> list[Features]:
    """List the connected components, the largest first, then by their first node."""
    rows = (graph.weights, graph.neighbours, graph.starts)
    matrix = sparse.csr_matrix(rows, shape=(graph.size, graph.size))
    _, labels = connected_components(matrix, directed=False)
    members = np.argsort(labels, kind="stable")
    pieces = np.split(members, np.flatnonzero(np.diff(labels[members])) + 1)
    return sorted(pieces, key=lambda piece: (-len(piece), piece[0]))


def _cut_piece(graph: Graph, room: list[int]) -> NDArray[np.bool_]:
    """Mask of the nodes on the first side: the lowest cut of the sorted vector that has room."""
    order = np.argsort(fiedler_vector(graph), kind="stable")
    cuts = _prefix_cuts(graph, order)
    counts = np.arange(max(0, graph.size - room[1]), min(graph.size, room[0]) + 1)
    from_start, from_end = cuts[counts], cuts[graph.size - counts]
    if from_end.min() < from_start.min():
        order = order[::-1]
        from_start = from_end
    taken = np.zeros(graph.size, dtype=bool)
    taken[order[: counts[np.argmin(from_start)]]] = True
    return taken


def _prefix_cuts(graph: Graph, order: Features) -> NDArray[np.float64]:
    """Weight between the first k nodes of ``order`` and the others, for k from 0 to all."""
    place = np.empty_like(order)
    place[order] = np.arange(graph.size)
    ends = place[graph.neighbours]
    begins = np.repeat(place, np.diff(graph.starts))
    opened = np.bincount(np.minimum(begins, ends) + 1, graph.weights, graph.size + 1)
    closed = np.bincount(np.maximum(begins, ends) + 1, graph.weights, graph.size + 1)
    return np.cumsum(opened - closed) / 2.0
