"""Splitting of a graph along a canonical tree, node after node, at the sizes it asks for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from entangle.ordering.bisection import MOST_PASSES, bisect, improve
from entangle.ordering.geodesic import Coordinates, coordinate_parts
from entangle.ordering.graph import Graph
from entangle.parallel import map_ordered
from entangle.partition import CanonicalTree, Node

__all__ = ["Block", "Split", "bisected", "coordinates_improved", "leaves_by"]

Features = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """A node of the tree, the features given to it, and the graph among them."""

    node: Node
    graph: Graph
    features: Features


Split = Callable[[Block], list[Features]]


def leaves_by(
    split: Split,
    graph: Graph,
    tree: CanonicalTree,
    executor: Executor | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Features:
    """Feature at each leaf of the tree, by splitting level after level.

    Parameters
    ----------
    split
        From a block to the nodes of its graph by child of the tree, numbered as in that graph.
    graph
        Of all features.
    tree
        The canonical tree.
    executor
        Takes the blocks of a level in parallel.
    advance
        Is told of each level done.
    """
    leaves = np.empty(tree.n_features, dtype=np.int64)
    level = [Block(tree.root, graph, np.arange(tree.n_features))]
    while level:
        open_blocks = []
        for block in level:
            if block.node.size > max(1, len(block.node.children)):
                open_blocks.append(block)
            else:
                leaves[block.node.start : block.node.stop] = block.features
        parts = map_ordered(partial(_children, split=split), open_blocks, executor)
        level = [child for children in parts for child in children]
        advance(1)
    return leaves


def _children(block: Block, split: Split) -> list[Block]:
    return [
        Block(child, block.graph.subgraph(part), block.features[part])
        for child, part in zip(block.node.children, split(block), strict=True)
    ]


def bisected(block: Block, seed: int, n_starts: int) -> list[Features]:
    """Parts by recursive bisection."""
    node = block.node
    own_seed = (seed + 7919 * node.start + 104729 * node.level) % 2**31
    return _split(block.graph, [child.size for child in node.children], own_seed, n_starts)


def coordinates_improved(block: Block, tree: CanonicalTree, points: Coordinates) -> list[Features]:
    """Parts by coordinates, after exchanges."""
    members = np.arange(len(block.features))
    return _exchanged(
        block.graph, coordinate_parts(points[block.features], tree, block.node, members)
    )


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
