"""Many samples carried up a tree at once, level after level, in calls of torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from entangle.networks.contraction import divided, node_product
from entangle.networks.tree_layout import Group

__all__ = ["tree_product"]


def tree_product(
    groups: Sequence[Group],
    places: Sequence[Tensor | None],
    tensors: Sequence[Tensor],
    vectors: Tensor,
    shared: bool,
) -> tuple[Tensor, Tensor]:
    """Carry vectors from the leaves to the root.

    Parameters
    ----------
    groups, places
        Nodes of one level and shape, deepest first; the features of leaves, where the tensors are.
    tensors
        One a group: of each of its nodes, or, if ``shared``, of all of them.
    vectors
        Local vectors, shape ``(batch, features, local)``.

    Returns
    -------
    tuple
        Values at the root, shape ``(batch, labels)``, and the logarithm of their factor, shape
        ``(batch,)``, a constant to the gradient.
    """
    log_scale = vectors.new_zeros(len(vectors))
    below: dict[int, Tensor] = {}  # the vectors that the level below sends, by their length
    nodes = zip(groups, places, tensors, strict=True)
    for _, level in itertools.groupby(nodes, key=lambda node: node[0].level):
        found: dict[int, list[Tensor]] = {}
        for group, features, given in level:
            if features is None:
                children = [below[bond][:, slots] for bond, slots in group.sources]
            else:
                children = [vectors[:, features]]
            product = node_product(children, given[0] if shared else given, shared)
            x, logs = divided(product, 1)
            found.setdefault(group.shape[0], []).append(x)
            log_scale = log_scale + logs.sum(dim=1)
        below = {bond: torch.cat(x, 1) if len(x) > 1 else x[0] for bond, x in found.items()}
    (root,) = below.values()
    return root[:, 0], log_scale
