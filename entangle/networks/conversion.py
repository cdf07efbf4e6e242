"""Networks to and from quimb, which is loaded when first asked for.

Feature n has the index ``k{n}``, the label axis the index ``label``; bonds are named after the
two nodes they join, and node number i has the tag ``N{i}``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from entangle.errors import InputError
from entangle.networks.tensor_tree import TensorTree, times_exp
from entangle.partition import CanonicalTree

__all__ = ["chain_from_quimb", "network_to_quimb", "tree_from_quimb"]

LABEL = "label"


def network_to_quimb(tree: TensorTree) -> Any:
    """Turn tensors on a tree into a quimb ``TensorNetwork``."""
    import quimb.tensor  # 0.9 s; only conversion needs it

    qtn: Any = quimb.tensor
    tensors = []
    for node, names in enumerate(tree.axes):
        share = times_exp(tree.tensors[node], tree.log_scale / len(tree.axes))
        inds = [_index(tree, node, name) for name in names]
        tensors.append(qtn.Tensor(share.cpu().numpy(), inds=inds, tags={f"N{node}"}))
    return qtn.TensorNetwork(tensors)


def _index(tree: TensorTree, node: int, name: int) -> str:
    if name < 0:
        return LABEL if ~name == tree.n_features else f"k{~name}"
    return f"b{min(node, name)}_{max(node, name)}"


class _Tensors:
    """Tensors of a quimb network, found by feature and by neighbour."""

    def __init__(self, network: Any) -> None:
        self.tensors = dict(network.tensor_map)
        self.n_features = sum(name.startswith("k") for name in network.outer_inds())
        wanted = [f"k{n}" for n in range(self.n_features)]
        outer = set(network.outer_inds())
        if not wanted or outer - {LABEL} != set(wanted):
            raise InputError(
                "the open indices must be k0, k1, ... for the features and, if there are labels, "
                f"'{LABEL}', got {', '.join(sorted(outer)[:8])}; rename them with "
                "network.reindex({old: new})"
            )
        self.homes = [self._home(name) for name in wanted]
        self.label = self._home(LABEL) if LABEL in outer else None

    def _home(self, name: str) -> int:
        return next(key for key, tensor in self.tensors.items() if name in tensor.inds)

    def shared(self, one: int | None, other: int | None) -> list[str]:
        """Find the indices that join two tensors."""
        if one is None or other is None:
            return []
        return [name for name in self.tensors[one].inds if name in self.tensors[other].inds]

    def array(self, key: int, groups: Sequence[Sequence[str]]) -> Tensor:
        """Tensor with an axis for each group of indices, of length 1 for an empty one."""
        tensor = self.tensors[key]
        names = [name for group in groups for name in group]
        if sorted(names) != sorted(tensor.inds):
            raise InputError(
                f"a tensor with the indices {', '.join(tensor.inds)} does not fit its place, "
                f"which has {', '.join(names)}; the network needs the tree it is to have here"
            )
        data = torch.as_tensor(tensor.transpose(*names).data)
        if data.is_complex():
            raise InputError("the tensors must be real, got complex ones; they cannot be converted")
        shape = [math.prod(tensor.ind_size(name) for name in group) for group in groups]
        return data.to(torch.float64).reshape(shape)


def chain_from_quimb(network: Any) -> tuple[list[Tensor], int | None]:
    """Site tensors ``(left, local, right)`` of a chain, and the place of the label among them."""
    found = _Tensors(network)
    keys = list(found.homes)
    opens = [f"k{n}" for n in range(found.n_features)]
    label_site = None
    if found.label is not None and found.label not in keys:
        before = [n for n, key in enumerate(keys) if found.shared(key, found.label)]
        label_site = min(before) + 1 if before else 0
        if before and min(before) == 0 and len(before) == 1 and found.shared(keys[0], keys[1]):
            label_site = 0
        keys.insert(label_site, found.label)
        opens.insert(label_site, LABEL)
    sides = [None, *keys, None]
    tensors = [
        found.array(key, (found.shared(before, key), [name], found.shared(key, after)))
        for before, key, name, after in zip(sides, keys, opens, sides[2:], strict=False)
    ]
    return tensors, label_site


def tree_from_quimb(network: Any, tree: CanonicalTree) -> list[Tensor]:
    """Node tensors of a canonical tree, in the order of a walk from its root."""
    found = _Tensors(network)
    if found.n_features != tree.n_features:
        raise InputError(
            f"shape {tree.shape} has {tree.n_features} features, the network {found.n_features}"
        )
    walk = list(tree.root.walk())
    keys: dict[Any, int] = {}
    used = set(found.homes)
    for node in reversed(walk):
        if not node.children:
            keys[node] = found.homes[int(tree.order[node.start])]
            continue
        below = [keys[child] for child in node.children]
        fits = [
            key
            for key in found.tensors
            if key not in used and all(found.shared(key, child) for child in below)
        ]
        if len(fits) != 1:
            raise InputError(
                f"the features {tree.order[node.start : node.stop].tolist()} have no tensor of "
                f"their own above them; the network must be the tree of shape {tree.shape}"
            )
        keys[node] = fits[0]
        used.add(fits[0])
    return [_node_array(found, keys, node, tree) for node in walk]


def _node_array(found: _Tensors, keys: dict[Any, int], node: Any, tree: CanonicalTree) -> Tensor:
    key = keys[node]
    below = [found.shared(key, keys[child]) for child in node.children]
    below = below or [[f"k{int(tree.order[node.start])}"]]
    taken = {name for group in below for name in group}
    above = [name for name in found.tensors[key].inds if name not in taken]
    return found.array(key, (above, *below))
