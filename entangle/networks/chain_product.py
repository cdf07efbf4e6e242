"""Many samples carried along a chain at once, from both ends to the label axis.

On the CPU a vector of each sample is moved site by site, in compiled loops; on other devices,
where the number of kernels counts, matrices are multiplied in pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from entangle.networks.chain_layout import Segment
from entangle.networks.contraction import contraction, divided
from entangle.networks.site_kernels import Walk, carry, carry_back

__all__ = ["chain_ends", "compiled_ends", "segment_ends"]

SCALE_EVERY = 4  # sites between two divisions; what one site adds or takes is bounded
COMPILED = (torch.float32, torch.float64)


def chain_ends(
    segments: Sequence[Segment],
    places: Sequence[Tensor],
    walks: Sequence[Walk],
    tensors: Sequence[Tensor],
    x: Sequence[Tensor],
    vectors: Tensor,
) -> tuple[list[Tensor], Tensor]:
    """Carry vectors from both ends to the label axis.

    Parameters
    ----------
    segments, places, walks
        Sites that are met one after the other; their features, where the tensors are; and the
        same as :func:`~entangle.networks.chain_layout.walks_of` gives it.
    tensors
        One a segment, of the segment's shape.
    x
        Vectors at both ends, shape ``(in, batch)`` each.
    vectors
        Local vectors, shape ``(features, local, batch)``.

    Returns
    -------
    tuple
        Vectors at the label axis, shape ``(out, batch)`` each, and the logarithm of their common
        factor, shape ``(batch,)``, a constant to the gradient.
    """
    if vectors.device.type == "cpu" and vectors.dtype in COMPILED and not _transforms_active():
        return compiled_ends(walks, tensors, x, vectors)
    pairwise = vectors.device.type != "cpu"
    return segment_ends(segments, places, tensors, x, vectors, pairwise)


def _transforms_active() -> bool:
    """Whether torch.func is at work, whose transforms need plain operations."""
    found = getattr(torch._C, "_are_functorch_transforms_active", None)
    return found is None or found()


# -- in calls of torch -------------------------------------------------------------------------


def segment_ends(
    segments: Sequence[Segment],
    places: Sequence[Tensor],
    tensors: Sequence[Tensor],
    x: Sequence[Tensor],
    vectors: Tensor,
    pairwise: bool,
) -> tuple[list[Tensor], Tensor]:
    """Do as :func:`chain_ends`, segment by segment, differentiable as often as one likes."""
    ends, log_scale = list(x), vectors.new_zeros(vectors.shape[2])
    for segment, features, sites in zip(segments, places, tensors, strict=True):
        sites, size = divided(sites, 3)
        start = torch.stack([ends[side] for side in segment.sides])
        move = _pairwise if pairwise and sites.shape[1] > 1 else _sequential
        found, logs = move(start, sites, vectors[features])
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


# -- compiled ----------------------------------------------------------------------------------


def compiled_ends(
    walks: Sequence[Walk], tensors: Sequence[Tensor], x: Sequence[Tensor], vectors: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Do as :func:`chain_ends`, in compiled loops."""
    *ends, log_scale = _Carried.apply(tuple(walks), vectors, *x, *tensors)  # pyright: ignore
    return ends, log_scale


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


class _Carried(torch.autograd.Function):
    """Compiled loops as one step of automatic differentiation."""

    @staticmethod
    def forward(
        ctx: Any, walks: tuple[Walk, Walk], vectors: Tensor, *given: Tensor
    ) -> tuple[Tensor, ...]:
        x, tensors = given[:2], _flat(given[2:])
        batch, tiny = vectors.shape[2], torch.finfo(vectors.dtype).tiny
        kept, ends, log_scale = [], [], vectors.new_zeros(batch)
        for start, walk in zip(x, walks, strict=True):
            if not len(walk):
                kept += [start, start]
                ends.append(start.clone())
                continue
            n_kept = len(walk) if any(ctx.needs_input_grad) else 1
            starts = vectors.new_empty(n_kept, int(walk[:, 2].max()), batch)
            starts[0, : len(start)] = start
            end = vectors.new_empty(int(walk[-1, 3]), batch)
            sizes = vectors.new_full((len(walk), batch), tiny)
            arrays = (tensors.numpy(), walk, vectors.detach().numpy())
            carry(*arrays, starts.numpy(), end.numpy(), sizes.numpy())
            kept += [starts, sizes]
            ends.append(end)
            log_scale += sizes.log().sum(dim=0)
        ctx.walks = walks
        ctx.save_for_backward(vectors, *given, tensors, *kept)
        ctx.mark_non_differentiable(log_scale)
        return *ends, log_scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        vectors, *given = ctx.saved_tensors[:-5]
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # somebody differentiates the gradient
            return None, *_traced(ctx.walks, (vectors, *given), needed, gradients[:2])
        tensors, *kept = ctx.saved_tensors[-5:]
        to_tensors = torch.empty_like(tensors) if any(needed[3:]) else tensors[:0]
        to_vectors = torch.empty_like(vectors) if needed[0] else vectors[:0]
        starts = []
        for side, (walk, gradient) in enumerate(zip(ctx.walks, gradients[:2], strict=True)):
            if not len(walk):
                starts.append(gradient)
                continue
            arrays = (
                gradient.contiguous().numpy(),
                tensors.numpy(),
                walk,
                vectors.detach().numpy(),
            )
            before, sizes = kept[2 * side : 2 * side + 2]
            outputs = (to_tensors.numpy(), to_vectors.numpy())
            found = carry_back(*arrays, before.numpy(), sizes.numpy(), *outputs)
            starts.append(torch.from_numpy(found))
        found = [to_vectors, *starts]
        if any(needed[3:]):
            parts = to_tensors.split([tensor.numel() for tensor in given[2:]])
            found += [part.view(t.shape) for part, t in zip(parts, given[2:], strict=True)]
        found += [to_tensors] * (len(needed) - len(found))
        return None, *(t if wanted else None for t, wanted in zip(found, needed, strict=True))


def _traced(
    walks: Sequence[Walk],
    inputs: Sequence[Tensor],
    needed: Sequence[bool],
    gradients: Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    """Gradients that can be differentiated themselves."""
    vectors, flat = inputs[0], _flat(inputs[3:])
    ends = []
    for x, walk in zip(inputs[1:3], walks, strict=True):
        for feature, place, before, after in walk.tolist():
            size = before * vectors.shape[1] * after
            matrix = flat[place : place + size].reshape(-1, after)
            x, _ = divided(((x[:, None] * vectors[feature]).flatten(0, 1).T @ matrix), 1)
            x = x.T
        ends.append(x)
    wanted = [tensor for tensor, asked in zip(inputs, needed, strict=True) if asked]
    found = iter(torch.autograd.grad(ends, wanted, gradients, create_graph=True))
    return tuple(next(found) if asked else None for asked in needed)
