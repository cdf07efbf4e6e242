"""Ordering by recursive minimum balanced cut: the published rearrangement, made exact in size.

All features are split into parts of the sizes that the canonical tree asks for, so that the
parts are as weakly correlated as can be found; each part is split again. Sizes are exact,
since a part one feature too long would shift every block after it. The leaves, left to right,
are the order.

Source: Alexander et al. 2023, arXiv:2303.11249, feature rearrangement by minimum balanced
cuts. Deviations: noise is taken off the weights (:mod:`entangle.ordering.graph`), METIS is one
start of several, small data are refined as a whole tree, and children are placed so that
correlated features touch.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import check_random_state

from entangle.affinity import Affinity, check_affinity
from entangle.axes import Shape
from entangle.errors import InputError, PartitionError
from entangle.ordering.bisection import MOST_PASSES, bisect, improve
from entangle.ordering.graph import Graph, without_noise
from entangle.ordering.orientation import oriented
from entangle.ordering.refinement import refined
from entangle.parallel import map_ordered
from entangle.partition import CanonicalTree, Node

__all__ = ["mincut_order"]

Features = NDArray[np.int64]

STARTS = 8  # random starts of each split
REFINED = 256  # features up to which the whole tree is refined
RESTARTS = 32  # other trees refined for the smallest data
REFINEMENT_WORK = 1e7  # entries of exchange tables one refinement may visit
RESTART_WORK = 3e7  # the same of all restarts together


@dataclass(frozen=True)
class _Block:
    """A node of the tree, the features given to it, and the graph among them."""

    node: Node
    graph: Graph
    features: Features


def mincut_order(
    affinity: Affinity | sparse.csr_matrix | sparse.csr_array,
    shape: Shape,
    n_samples: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
    *,
    orient: bool = True,
) -> Features:
    """Permutation that lowers the affinity severed by the canonical blocks of ``shape``.

    Parameters
    ----------
    affinity
        Symmetric, non-negative, shape ``(features, features)``; a dense matrix, or a
        compressed sparse one for many features (:func:`~entangle.affinity.nearest_affinity`).
    shape
        Number of features of a sequence, or the axis lengths of a grid.
    n_samples
        Rows the affinity was estimated from. Where most pairs then look independent, and
        always for a sparse affinity, the largest value that independent features reach is taken
        off every weight; without it no noise is removed. Only for correlations: the noise of
        other affinities is not of that size.
    random_state
        Seed of the starts; the same seed gives the same permutation.
    n_jobs
        Threads; ``None`` is one, -1 one per core. The result does not depend on it.
    orient
        Place children so that correlated features of neighbouring blocks touch. Changes no
        block.

    Returns
    -------
    ndarray
        Shape ``(features,)``, int64; ``X[:, permutation]`` laid out row-major in ``shape`` has
        a low :func:`~entangle.surrogate.hierarchical_cut`.

    Raises
    ------
    PartitionError
        If ``shape`` does not hold the features of ``affinity``.

    Notes
    -----
    Source: arXiv:2303.11249. Lower cuts are not always higher accuracy; measure.

    Examples
    --------
    >>> affinity = np.array([[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]], float)
    >>> order = mincut_order(affinity, 4, random_state=0)
    >>> sorted(sorted(pair.tolist()) for pair in order.reshape(2, 2))
    [[0, 2], [1, 3]]
    """
    tree = CanonicalTree(shape)
    checked: Any = affinity
    given = np.shape(checked)
    if given != (tree.n_features, tree.n_features):
        raise PartitionError(
            f"shape {shape!r} holds {tree.n_features} features, the affinity has shape "
            f"{given}; pass a shape whose product is {given[0]}"
        )
    if not sparse.issparse(affinity):
        checked = check_affinity(affinity, tree.n_features)
    elif not (np.isfinite(checked.data).all() and checked.data.min(initial=0.0) >= 0.0):
        raise InputError("an affinity is finite and non-negative; take absolute values")
    generator: Any = check_random_state(random_state)
    seed = int(generator.randint(2**30))
    weights = without_noise(checked, n_samples)
    graph = Graph.from_matrix(weights).scaled()
    with _executor(n_jobs) as executor:
        leaves = _leaves(graph, tree, seed, STARTS, executor)
        if tree.n_features <= REFINED:
            leaves = _refined_best(graph, tree, leaves, seed, executor)
    if orient:
        return oriented(graph, leaves, tree)
    permutation = np.empty_like(leaves)
    permutation[tree.order] = leaves
    return permutation


@contextmanager
def _executor(n_jobs: int | None) -> Iterator[Executor | None]:
    cores = os.cpu_count() or 1
    if n_jobs == 0 or (n_jobs is not None and n_jobs < -cores):
        raise InputError(f"n_jobs is a number of threads, or -1 for all, got {n_jobs}")
    threads = 1 if n_jobs is None else n_jobs if n_jobs > 0 else cores + 1 + n_jobs
    if threads == 1:
        yield None
        return
    with ThreadPoolExecutor(threads) as executor:
        yield executor


def _leaves(
    graph: Graph, tree: CanonicalTree, seed: int, n_starts: int, executor: Executor | None = None
) -> Features:
    """Feature at each leaf of the tree, by splitting level after level."""
    leaves = np.empty(tree.n_features, dtype=np.int64)
    level = [_Block(tree.root, graph, np.arange(tree.n_features))]
    while level:
        open_blocks = []
        for block in level:
            if block.node.size > max(1, len(block.node.children)):
                open_blocks.append(block)
            else:
                leaves[block.node.start : block.node.stop] = block.features
        parts = map_ordered(lambda b: _children(b, seed, n_starts), open_blocks, executor)
        level = [child for children in parts for child in children]
    return leaves


def _children(block: _Block, seed: int, n_starts: int) -> list[_Block]:
    node = block.node
    own_seed = (seed + 7919 * node.start + 104729 * node.level) % 2**31
    sizes = [child.size for child in node.children]
    parts = _split(block.graph, sizes, own_seed, n_starts)
    return [
        _Block(child, block.graph.subgraph(part), block.features[part])
        for child, part in zip(node.children, parts, strict=True)
    ]


def _split(graph: Graph, sizes: list[int], seed: int, n_starts: int) -> list[Features]:
    """Nodes of each part: halves of halves, then exchanges between every two parts."""
    nodes = np.arange(graph.size)
    if len(sizes) == 1:
        return [nodes]
    half = len(sizes) // 2
    side = bisect(graph, sum(sizes[half:]), seed, n_starts)
    parts: list[Features] = []
    for ones, own in enumerate((sizes[:half], sizes[half:])):
        members = nodes[side == ones]
        if len(own) == 1:
            parts.append(members)
        else:
            inner = _split(graph.subgraph(members), own, seed + 1 + ones, n_starts)
            parts += [members[part] for part in inner]
    return _exchanged(graph, parts) if len(sizes) > 2 else parts


def _exchanged(graph: Graph, parts: list[Features]) -> list[Features]:
    """Parts after exchanges between pairs of them, until no pair gains."""
    for _ in range(MOST_PASSES):
        gained = False
        for a, b in itertools.combinations(range(len(parts)), 2):
            both = np.concatenate((parts[a], parts[b]))
            side = np.repeat(np.array([0, 1], dtype=np.int8), (len(parts[a]), len(parts[b])))
            before = side.copy()
            improve(graph.subgraph(both), side, len(parts[b]))
            if not np.array_equal(side, before):
                parts[a], parts[b] = both[side == 0], both[side == 1]
                gained = True
        if not gained:
            break
    return parts


def _refined_best(
    graph: Graph, tree: CanonicalTree, leaves: Features, seed: int, executor: Executor | None
) -> Features:
    """Lowest of the refined tree and refined trees from other, random starts."""
    n = tree.n_features
    weights = graph.dense()
    steps = min(4 * n, int(REFINEMENT_WORK / n**2))
    restarts = min(RESTARTS, int(RESTART_WORK / (4 * n**3)))

    def attempt(start: int) -> tuple[Features, float]:
        found = _leaves(graph, tree, seed + start, n_starts=1) if start else leaves
        return refined(weights, found, tree, steps, seed + start)

    found = map_ordered(attempt, range(1 + restarts), executor)
    return min(found, key=lambda attempt: attempt[1])[0]
