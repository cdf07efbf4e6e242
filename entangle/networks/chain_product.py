"""Many samples carried along a chain at once, from both ends to the label axis, in calls of torch.

Step by step a vector of each sample is moved, or, where the number of kernels counts, matrices
are multiplied in pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from entangle.networks.chain_layout import Segment
from entangle.networks.contraction import contraction, divided

__all__ = ["chain_ends"]

SCALE_EVERY = 4  # sites between two divisions; what one site adds or takes is bounded


def chain_ends(
    segments: Sequence[Segment],
    places: Sequence[Tensor],
    tensors: Sequence[Tensor],
    x: Sequence[Tensor],
    vectors: Tensor,
    pairwise: bool,
) -> tuple[list[Tensor], Tensor]:
    """Carry vectors from both ends to the label axis.

    Parameters
    ----------
    segments, places
        Sites that are met one after the other; their features, where the tensors are.
    tensors
        One a segment, of the segment's shape.
    x
        Vectors at both ends, shape ``(in, batch)`` each.
    vectors
        Local vectors, shape ``(features, local, batch)``.
    pairwise
        Multiply matrices two by two in log2(sites) steps instead of moving vectors.

    Returns
    -------
    tuple
        Vectors at the label axis, shape ``(out, batch)`` each, and the logarithm of their common
        factor, shape ``(batch,)``, a constant to the gradient.
    """
    ends, log_scale = list(x), vectors.new_zeros(vectors.shape[2])
    for segment, features, sites in zip(segments, places, tensors, strict=True):
        scaled, size = divided(sites, 3)
        start = torch.stack([ends[side] for side in segment.sides])
        move = _pairwise if pairwise and sites.shape[1] > 1 else _sequential
        found, logs = move(start, scaled, vectors[features])
        for side, end in zip(segment.sides, found, strict=True):
            ends[side] = end
        log_scale = log_scale + logs.sum(dim=0) + size.sum()
    return ends, log_scale


def _pairwise(x: Tensor, tensors: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply neighbours, an odd one out waiting for the next round."""
    shapes = tuple(tensors.shape), tuple(vectors.shape)
    matrices = contraction("knidj,kndb->knbij", shapes, ((0, 1),))(tensors, vectors)
    logs = x.new_zeros(x.shape[0], x.shape[2])
    while matrices.shape[1] > 1:
        even = matrices.shape[1] // 2 * 2
        products, log = divided(matrices[:, 0:even:2] @ matrices[:, 1:even:2], 2)
        logs = logs + log.sum(dim=1)
        matrices = torch.cat([products, matrices[:, even:]], dim=1)
    x, log = divided((x.mT[:, :, None] @ matrices[:, 0])[:, :, 0], 1)
    return x.mT, logs + log


def _sequential(x: Tensor, tensors: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    sites, bond, local, following = tensors.shape[1:]
    matrices = tensors.reshape(-1, sites, bond * local, following).mT.unbind(1)
    weights = vectors[:, :, None].unbind(1)
    logs = x.new_zeros(x.shape[0], x.shape[2])
    for site in range(sites):
        x = torch.bmm(matrices[site], (x[:, :, None] * weights[site]).flatten(1, 2))
        if site == sites - 1 or site % SCALE_EVERY == SCALE_EVERY - 1:
            x, log = divided(x.mT, 1)
            x, logs = x.mT, logs + log
    return x, logs
