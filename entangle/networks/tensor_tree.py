"""Tensors on the nodes of a tree: what every loop-free network is once it is not trained.

A matrix product state and a tree tensor network differ in their parameters and in how fast
they are evaluated. Canonical forms, spectra, truncation and sampling need only which axis of
which tensor joins which other tensor. No node is the root: a sweep names the one it goes to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["NOBODY", "TensorTree", "absorbed", "contracted", "scaled", "times_exp"]

NOBODY = -(2**62)  # the parent of a root
LARGEST_LOG = 600.0  # of a factor that a double holds with room to spare


@dataclass(frozen=True)
class TensorTree:
    """Loop-free network: tensors, and what each of their axes joins.

    Attributes
    ----------
    tensors
        One a node, float64.
    axes
        For each axis of each tensor: the number of the node it is joined to, or ``~n`` for the
        open axis of feature n. Feature ``n_features`` is the label axis.
    n_features
        Number of features.
    log_scale
        Logarithm of a factor left out of the tensors; minus infinity for a zero state.
    """

    tensors: tuple[Tensor, ...]
    axes: tuple[tuple[int, ...], ...]
    n_features: int
    log_scale: float = 0.0

    def axis(self, node: int, other: int) -> int:
        """Place of the axis of a node that leads to another node, or of an open axis."""
        return self.axes[node].index(other)

    def walk(self, root: int) -> list[tuple[int, int]]:
        """Pairs of a node and its parent, parents first, each subtree in one run."""
        found: list[tuple[int, int]] = []
        pending = [(root, NOBODY)]
        while pending:
            node, parent = pending.pop()
            found.append((node, parent))
            below = [other for other in self.axes[node] if other >= 0 and other != parent]
            pending.extend((other, node) for other in reversed(below))
        return found

    def children(self, node: int, parent: int) -> list[int]:
        """Neighbours of a node other than its parent, in the order of its axes."""
        return [other for other in self.axes[node] if other >= 0 and other != parent]

    def opens(self, node: int) -> list[int]:
        """Numbers of the features of a node, the label axis among them."""
        return [~name for name in self.axes[node] if name < 0]

    def home(self, feature: int) -> int | None:
        """Node that holds the axis of a feature, if there is one."""
        return next((n for n, names in enumerate(self.axes) if ~feature in names), None)

    def with_tensors(self, tensors: Sequence[Tensor], log_scale: float) -> TensorTree:
        """Return the same tree with other tensors."""
        return replace(self, tensors=tuple(tensors), log_scale=log_scale)

    def dense(self) -> tuple[Tensor, float]:
        """All elements, the features' axes in order and the label axis last, and a log factor."""
        parts: dict[int, tuple[Tensor, list[int]]] = {}
        for node, parent in reversed(self.walk(0)):
            tensor, names = self.tensors[node], list(self.axes[node])
            for child in self.children(node, parent):
                part, part_names = parts.pop(child)
                here, there = names.index(child), part_names.index(node)
                tensor = contracted(tensor, part, [here], [there])
                names = names[:here] + names[here + 1 :]
                names += part_names[:there] + part_names[there + 1 :]
            parts[node] = tensor, names
        tensor, names = parts[0]
        places = sorted(range(len(names)), key=lambda place: ~names[place])
        return tensor.permute(places), self.log_scale

    def inner(self, other: TensorTree) -> tuple[float, float]:
        """Inner product with a network on the same tree: a value and the log of its factor."""
        log = self.log_scale + other.log_scale
        joined: dict[int, Tensor] = {}
        for node, parent in reversed(self.walk(0)):
            mine, theirs = self.tensors[node], other.tensors[node]
            for child in self.children(node, parent):
                mine = absorbed(mine, self.axis(node, child), joined.pop(child))
            kept = [] if parent == NOBODY else [self.axis(node, parent)]
            axes = [place for place in range(mine.ndim) if place not in kept]
            joined[node], size = scaled(contracted(mine, theirs, axes, axes))
            log += size
        value = float(joined[0])
        return (value, log) if value else (0.0, 0.0)


def contracted(one: Tensor, other: Tensor, axes: list[int], others: list[int]) -> Tensor:
    """Sum over pairs of axes of two tensors; the axes left of the first come first."""
    return torch.tensordot(one, other, (axes, others))  # pyright: ignore[reportArgumentType]


def absorbed(tensor: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Contract an axis with the rows of a matrix, whose columns take its place."""
    return contracted(tensor, matrix, [axis], [0]).movedim(-1, axis)


def scaled(tensor: Tensor) -> tuple[Tensor, float]:
    """Divide by the largest element; also return its logarithm. A zero tensor stays as it is."""
    largest = float(tensor.abs().max())
    return (tensor / largest, math.log(largest)) if largest > 0 else (tensor, 0.0)


def times_exp(tensor: Tensor, log_scale: float) -> Tensor:
    """Multiply by ``exp(log_scale)``, unless no double could hold the result."""
    return tensor * math.exp(log_scale) if abs(log_scale) < LARGEST_LOG else tensor
