r"""Smaller bonds, with the error known exactly.

The bonds of a tree are cut from the leaves up. A block's new basis lies within the bases kept
below it, so every cut projects orthogonally onto a space that later cuts do not leave, and
squared errors add up without remainder:
:math:`\lVert\psi-\tilde\psi\rVert^2=\sum_e\sum_{r>R_e}\sigma_{e,r}^2`, with the Schmidt values of
the state as it is when its turn comes. That this sum is exact, not a bound, hinges on the order.

Source: Grasedyck 2010, SIAM J. Matrix Anal. Appl. 31, 2029 (leaves to root); Oseledets 2011,
SIAM J. Sci. Comput. 33, 2295 (chains).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from entangle.networks.canonical import edge_matrix, orthogonalized
from entangle.networks.tensor_tree import NOBODY, TensorTree, absorbed

__all__ = ["truncated_tree"]

NEGLIGIBLE = (8 * torch.finfo(torch.float64).eps) ** 2  # squared norm that is rounding


def truncated_tree(
    tree: TensorTree, root: int, bond_dim: int | None, error: float
) -> tuple[TensorTree, float]:
    """Cut every bond, from the leaves to a root.

    Parameters
    ----------
    tree
        State.
    root
        Node where the sweep ends; it holds the norm of the result.
    bond_dim
        Longest bond allowed.
    error
        Relative 2-norm error that may be made where ``bond_dim`` does not force more.

    Returns
    -------
    tuple
        Truncated state, and the relative 2-norm error made, exact up to rounding.
    """
    canonical = orthogonalized(tree, root)
    tensors = list(canonical.tensors)
    walk = tree.walk(root)
    parents = dict(walk)
    budget, spent, left = error**2, 0.0, len(walk) - 1
    for position, (node, parent) in enumerate(walk[1:], 1):
        _push(tree, tensors, parent, node)
        following = walk[position + 1][1] if position + 1 < len(walk) else NOBODY
        while node != following and parent != NOBODY:
            allowed = max((budget - spent) / left, NEGLIGIBLE)
            spent += _truncate(tree, tensors, node, parent, bond_dim, allowed)
            left -= 1
            node, parent = parent, parents[parent]
    norm = float(tensors[root].norm())
    log = -math.inf if norm == 0 else canonical.log_scale + math.log(norm)
    tensors[root] = tensors[root] / norm if norm else tensors[root]
    return tree.with_tensors(tensors, log), min(1.0, math.sqrt(spent))


def _push(tree: TensorTree, tensors: list[Tensor], node: int, other: int) -> None:
    """Move the centre from a node to a neighbour."""
    axis = tree.axis(node, other)
    isometry, triangle = torch.linalg.qr(edge_matrix(tensors[node], axis))
    shape = tensors[node].movedim(axis, -1).shape[:-1]
    tensors[node] = isometry.reshape(*shape, -1).movedim(-1, axis)
    tensors[other] = absorbed(tensors[other], tree.axis(other, node), triangle.T)


def _truncate(
    tree: TensorTree,
    tensors: list[Tensor],
    node: int,
    other: int,
    bond_dim: int | None,
    allowed: float,
) -> float:
    """Move the centre to a neighbour and shorten the bond; return the squared norm cut off."""
    axis = tree.axis(node, other)
    left, values, right = torch.linalg.svd(edge_matrix(tensors[node], axis), full_matrices=False)
    # What is left out with r values kept, for r = 0 .. all.
    tails = torch.cat([values.square().flip(0).cumsum(0).flip(0), values.new_zeros(1)])
    kept = max(1, int((tails > allowed).sum()))
    kept = kept if bond_dim is None else min(kept, bond_dim)
    shape = tensors[node].movedim(axis, -1).shape[:-1]
    tensors[node] = left[:, :kept].reshape(*shape, kept).movedim(-1, axis)
    carried = values[:kept, None] * right[:kept]
    tensors[other] = absorbed(tensors[other], tree.axis(other, node), carried.T)
    return float(tails[kept])
