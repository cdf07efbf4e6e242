"""Canonical partitions of features: the cuts that decide whether a local network fits.

A sequence of N features is halved again and again; a grid is halved along every axis at
each level, so a node has 2^P children for P axes. A length that is not even splits into its
ceil and floor halves, the larger first; an axis of length one splits no further. Every node
below the root is a canonical block, cut from all other features.

All index work of sequences and grids lives here: a block names *original* (row-major)
feature indices, and :attr:`CanonicalTree.order` lists the features so that each block is one
contiguous run.

Source: Alexander et al. 2023, arXiv:2303.11249, definitions 2 and 6. The paper takes axes of
length 2^L; the ceil and floor split for other lengths is ours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from entangle.axes import Shape
from entangle.errors import PartitionError

__all__ = [
    "CanonicalTree",
    "Node",
    "Partition",
    "as_shape",
    "axes_of_samples",
    "canonical_partitions",
]


class Partition:
    """Cut of the features into a block and its complement.

    Parameters
    ----------
    block
        Indices of the features on one side, in any order, without repeats.
    n_features
        Number of all features. Both sides must hold at least one.
    level
        Depth of the block in the canonical tree (halves are level 1), if it has one.

    Raises
    ------
    PartitionError
        If an index repeats or lies outside ``range(n_features)``, or a side is empty.
    """

    __slots__ = ("block", "level", "n_features")

    block: NDArray[np.int64]
    level: int | None
    n_features: int

    def __init__(
        self, block: Iterable[int] | NDArray[np.int64], n_features: int, level: int | None = None
    ) -> None:
        given = np.asarray(list(block) if not isinstance(block, np.ndarray) else block)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise PartitionError(
                f"a block is a flat list of whole feature indices, got {given.dtype} of shape "
                f"{given.shape}; pass for example Partition([0, 1], n_features=4)"
            )
        indices = np.unique(given).astype(np.int64)
        if indices.size != given.size:
            raise PartitionError(
                f"a block names each feature once, got {given.size - indices.size} repeats; "
                "remove them"
            )
        if indices.size and (indices[0] < 0 or indices[-1] >= n_features):
            raise PartitionError(
                f"block indices must lie in 0..{n_features - 1}, got "
                f"{indices[0]}..{indices[-1]}; number the features from 0"
            )
        if not 0 < indices.size < n_features:
            raise PartitionError(
                f"both sides of a cut need a feature, got {indices.size} and "
                f"{n_features - indices.size} of {n_features}"
            )
        indices.setflags(write=False)
        object.__setattr__(self, "block", indices)
        object.__setattr__(self, "n_features", int(n_features))
        object.__setattr__(self, "level", level)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Partition is immutable; build a new one to change {name!r}")

    def __reduce__(self) -> tuple[type[Partition], tuple[object, ...]]:
        return Partition, (self.block, self.n_features, self.level)

    @property
    def complement(self) -> NDArray[np.int64]:
        """Indices of the features on the other side, ascending."""
        outside = np.ones(self.n_features, dtype=bool)
        outside[self.block] = False
        return np.flatnonzero(outside)

    def flipped(self) -> Partition:
        """Return the same cut with its sides exchanged."""
        return Partition(self.complement, self.n_features, self.level)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Partition):
            return NotImplemented
        return self.n_features == other.n_features and np.array_equal(self.block, other.block)

    def __hash__(self) -> int:
        return hash((self.n_features, self.block.tobytes()))

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.block[:6])) + (", ..." if self.block.size > 6 else "")
        level = "" if self.level is None else f", level={self.level}"
        return f"Partition([{shown}], n_features={self.n_features}{level})"


@dataclass(frozen=True, eq=False)
class Node:
    """Node of a canonical tree: the run ``order[start:stop]`` of its features."""

    start: int
    stop: int
    level: int
    children: tuple[Node, ...]

    @property
    def size(self) -> int:
        """Number of features in the block."""
        return self.stop - self.start

    def walk(self) -> Iterator[Node]:
        """Yield the node and all below it, parents first."""
        pending: list[Node] = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.children))


class CanonicalTree:
    """Nested halves of a sequence or grid.

    Attributes
    ----------
    shape
        Lengths of the axes, as a tuple.
    order
        Row-major feature indices, shape ``(features,)``; each node is a run of it.
    root
        All features; level 0.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = as_shape(shape)
        order: list[int] = []
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]

        def split(box: tuple[range, ...], level: int) -> Node:
            start = len(order)
            halves = [
                [run] if len(run) == 1 else [run[: (len(run) + 1) // 2], run[(len(run) + 1) // 2 :]]
                for run in box
            ]
            boxes = list(itertools.product(*halves))
            if len(boxes) == 1:
                order.append(sum(r[0] * s for r, s in zip(box, strides, strict=True)))
                return Node(start, start + 1, level, ())
            children = tuple(split(child, level + 1) for child in boxes)
            return Node(start, len(order), level, children)

        self.root = split(tuple(range(length) for length in self.shape), 0)
        self.order: NDArray[np.int64] = np.asarray(order, dtype=np.int64)
        self.order.setflags(write=False)

    @property
    def n_features(self) -> int:
        """Number of positions, the product of the axis lengths."""
        return self.root.size

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node whose block is a distinct canonical cut, level by level.

        The root is left out, and so is the second half where level 1 has only two blocks: it
        is the complement of the first.
        """
        halves = self.root.children
        twin = halves[1] if len(halves) == 2 else None
        below = [node for node in self.root.walk() if node.level > 0 and node is not twin]
        return tuple(sorted(below, key=lambda node: (node.level, node.start)))

    @cached_property
    def depth(self) -> int:
        """Level of the deepest node."""
        return max(node.level for node in self.root.walk())

    def partition(self, node: Node) -> Partition:
        """Cut the block of ``node`` off all other features."""
        return Partition(self.order[node.start : node.stop], self.n_features, node.level)


def as_shape(shape: Shape) -> tuple[int, ...]:
    """Lengths of the axes as a tuple of positive whole numbers.

    Raises
    ------
    PartitionError
        If a length is not a positive whole number, or fewer than two features result.
    """
    given = tuple(shape) if isinstance(shape, Iterable) else (shape,)
    if not given or any(
        isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 1
        for length in given
    ):
        raise PartitionError(
            f"shape is a positive whole number or a tuple of them, got {shape!r}; "
            "for example 64 for a sequence, (8, 8) for a grid"
        )
    lengths = tuple(int(length) for length in given)
    if math.prod(lengths) < 2:
        raise PartitionError(f"a partition needs at least 2 features, shape {shape!r} has 1")
    return lengths


def axes_of_samples(shape: Shape | None, n_features: int) -> tuple[int, ...]:
    """Lengths of the axes of samples; ``None``: they are sequences.

    Raises
    ------
    PartitionError
        If they do not have as many places as there are features.
    """
    axes = as_shape(n_features if shape is None else shape)
    if math.prod(axes) != n_features:
        raise PartitionError(
            f"shape {shape!r} has {math.prod(axes)} places, X has {n_features} features; pass the "
            "axis lengths of one sample, or None for a sequence"
        )
    return axes


def canonical_partitions(shape: Shape, level: int | None = None) -> list[Partition]:
    """Canonical partitions of a sequence or grid.

    Parameters
    ----------
    shape
        Number of features of a sequence, or the axis lengths of a grid.
    level
        Keep only this level; level 1 holds the halves. Default: every level, top down.

    Returns
    -------
    list of Partition
        Distinct cuts, level by level, left to right. Where level 1 has two blocks it gives
        one partition, since they are each other's complement. A block of one feature splits
        no further and is listed once, at the level where it appears.

    Raises
    ------
    PartitionError
        If the shape is not positive, or no block lies at ``level``.

    Examples
    --------
    >>> canonical_partitions(4, level=1)
    [Partition([0, 1], n_features=4, level=1)]
    >>> [p.block.tolist() for p in canonical_partitions((2, 2))]
    [[0], [1], [2], [3]]
    """
    tree = CanonicalTree(shape)
    if level is not None and not 1 <= level <= tree.depth:
        raise PartitionError(f"levels of shape {shape!r} run from 1 to {tree.depth}, got {level!r}")
    return [tree.partition(node) for node in tree.nodes if level in (None, node.level)]
