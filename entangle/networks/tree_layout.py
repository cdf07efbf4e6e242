"""Which nodes of a tree network have tensors of one shape, and where their children are.

Nodes of a level whose tensors have equal shapes are stacked in one parameter and evaluated in
one step. A canonical tree of 2^L features has one such group a level; uneven halves add a few.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.errors import InputError
from entangle.networks.compiled import Schedule
from entangle.networks.tensor_tree import TensorTree
from entangle.partition import CanonicalTree, Node

__all__ = [
    "Group",
    "bond_shapes",
    "canonical_tensor_tree",
    "groups_of",
    "require_fit",
    "tree_schedule",
]


@dataclass(frozen=True, eq=False)
class Group:
    """Nodes of one level whose tensors have one shape.

    Attributes
    ----------
    level
        Level of the nodes.
    shape
        Of each tensor: (bond, child bonds...), or (bond, local) for leaves.
    nodes
        Numbers of the nodes in a walk from the root.
    sources
        For leaves the features; for others one entry a child: the length of its bond, and the
        places of the children among all nodes of the next level with that bond.
    """

    level: int
    shape: tuple[int, ...]
    nodes: tuple[int, ...]
    features: Tensor | None
    sources: tuple[tuple[int, slice | Tensor], ...]


def bond_shapes(
    tree: CanonicalTree, local_dim: int, bond_dims: Sequence[int], n_labels: int
) -> list[tuple[int, ...]]:
    """Shape of every node's tensor, in the order of a walk from the root.

    Parameters
    ----------
    tree
        Canonical tree.
    local_dim
        Length of a local vector.
    bond_dims
        Longest bond of each level, level 1 first.
    n_labels
        Length of the label axis, which takes the root's place for a bond.
    """
    walk = list(tree.root.walk())
    bonds: dict[Node, int] = {}
    for node in reversed(walk):
        inside = math.prod(bonds[child] for child in node.children) if node.children else local_dim
        outside = n_labels * local_dim ** min(tree.n_features - node.size, 64)
        wanted = bond_dims[node.level - 1] if node.level else n_labels
        bonds[node] = min(wanted, inside, outside) if node.level else n_labels
    return [
        (bonds[node], *([bonds[child] for child in node.children] or [local_dim])) for node in walk
    ]


def canonical_tensor_tree(
    tree: CanonicalTree, tensors: Sequence[Tensor], log_scale: float
) -> TensorTree:
    """Turn node tensors, in the order of a walk from the root, into tensors on a tree, float64."""
    walk = list(tree.root.walk())
    number = {node: place for place, node in enumerate(walk)}
    parents = {child: number[node] for node in walk for child in node.children}
    axes = []
    for node in walk:
        above = parents.get(node, ~tree.n_features)
        below = [number[child] for child in node.children]
        axes.append((above, *(below or [~int(tree.order[node.start])])))
    doubles = tuple(tensor.double() for tensor in tensors)
    return TensorTree(doubles, tuple(axes), tree.n_features, log_scale)


def groups_of(tree: CanonicalTree, shapes: Sequence[tuple[int, ...]]) -> list[Group]:
    """Group the nodes of a tree by level and shape, deepest level first."""
    walk = list(tree.root.walk())
    number = {node: place for place, node in enumerate(walk)}
    members: dict[tuple[int, tuple[int, ...], bool], list[Node]] = {}
    for node, shape in zip(walk, shapes, strict=True):
        members.setdefault((node.level, shape, bool(node.children)), []).append(node)
    slots: dict[Node, int] = {}  # place among the nodes of a level with the same bond
    filled: dict[tuple[int, int], int] = {}
    ordered = sorted(members.items(), key=lambda item: (-item[0][0], item[0][1:]))
    for (level, shape, _), nodes in ordered:
        for node in nodes:
            slots[node] = filled.get((level, shape[0]), 0)
            filled[level, shape[0]] = slots[node] + 1
    found = []
    for (level, shape, inner), nodes in ordered:
        features = None if inner else torch.tensor([int(tree.order[node.start]) for node in nodes])
        sources = tuple(
            (shape[1 + child], _run([slots[node.children[child]] for node in nodes]))
            for child in range(len(nodes[0].children))
        )
        found.append(Group(level, shape, tuple(number[n] for n in nodes), features, sources))
    return found


def tree_schedule(tree: CanonicalTree, groups: Sequence[Group], shared: bool) -> Schedule:
    """Arrange a tree for the compiled contraction; its elements are those of the groups."""
    walk = list(tree.root.walk())
    places: dict[int, tuple[int, int]] = {}  # of the tensor, and its bond
    place = 0
    for group in groups:
        size = math.prod(group.shape)
        for member, node in enumerate(group.nodes):
            places[node] = place + (0 if shared else member * size), group.shape[0]
        place += size * (1 if shared else len(group.nodes))
    nodes: list[tuple[int, int, list[int]]] = []
    made: dict[Node, int] = {}
    for number, node in reversed(list(enumerate(walk))):
        below = [made[child] for child in node.children] or [int(tree.order[node.start])]
        made[node] = tree.n_features + len(nodes)
        nodes.append((*places[number], below))
    local_dim = groups[0].shape[1]
    return Schedule.of(tree.n_features, local_dim, nodes)


def _run(places: list[int]) -> slice | Tensor:
    """Turn places into a slice, which copies nothing, where their steps are equal."""
    steps = {after - before for before, after in itertools.pairwise(places)}
    if len(steps) <= 1 and (not steps or min(steps) > 0):
        step = steps.pop() if steps else 1
        return slice(places[0], places[-1] + 1, step)
    return torch.tensor(places)


def require_fit(tree: CanonicalTree, shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse node tensors that do not make a tree.

    Raises
    ------
    InputError
        If their number, their axes or their bonds do not fit.
    """
    walk = list(tree.root.walk())
    if len(shapes) != len(walk):
        raise InputError(
            f"the tree of shape {tree.shape} has {len(walk)} nodes, got {len(shapes)} tensors"
        )
    shape_of = dict(zip(walk, shapes, strict=True))
    local_dim = shapes[-1][-1]
    for node, shape in shape_of.items():
        below = [shape_of[child][0] for child in node.children] or [local_dim]
        if len(shape) < 2 or list(shape[1:]) != below:
            raise InputError(
                f"the tensor above features {tree.order[node.start : node.stop][:6].tolist()} "
                f"needs the axes (bond, {', '.join(map(str, below))}), got {tuple(shape)}"
            )
