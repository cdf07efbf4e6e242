"""Reduced density matrices of blocks within their bases, summed over all pairs of samples."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

import torch
from torch import Tensor

from entangle.layout import State
from entangle.parallel import map_ordered
from entangle.partition import Node
from entangle.terms import Terms, matmul, stripe_products
from entangle.tiles import TilePlan

__all__ = ["paired_densities"]


def paired_densities(
    root: Node,
    terms: Terms,
    state: State,
    nodes: list[Node],
    outward: set[Node],
    executor: Executor | None,
    reach: Callable[[float], None],
) -> dict[Node, tuple[Tensor, Tensor | None]]:
    """Reduced density matrices (not normalised), each in its block's basis.

    Parameters
    ----------
    root
        Binary tree over the features.
    terms
        All terms.
    state
        Holds the coordinates of the samples in the bases.
    nodes
        Blocks asked for.
    outward
        Those of which the products are asked for, too, of what lies outside of each sample with
        the tensor applied to the basis vectors, shape ``(samples, basis)``.
    executor
        Takes stripes of samples.
    reach
        Is told the share that is done.
    """
    groups: dict[tuple[int, bool], list[Node]] = {}
    for node in nodes:
        whole = node not in state.coordinates
        width = terms.vectors.shape[1] ** node.size if whole else state.coordinates[node].shape[1]
        groups.setdefault((width, node in outward), []).append(node)
    order = [node for group in groups.values() for node in group]
    stacks = [
        torch.stack([state.within(node, terms) for node in group]) for group in groups.values()
    ]
    images = [
        torch.zeros_like(A) if out else None for A, (_, out) in zip(stacks, groups, strict=True)
    ]
    tile_plan = TilePlan.of(root, outside=order)
    parts = terms.stripes(terms.tile(len(order)))
    cut, flags = [terms.take(part) for part in parts], [out for _, out in groups]
    work = partial(_stripe_densities, cut, tile_plan, stacks, flags, parts)
    sums = [A.new_zeros(len(A), A.shape[2], A.shape[2]) for A in stacks]
    last_first = range(len(parts) - 1, -1, -1)
    for done, found in enumerate(map_ordered(work, last_first, executor), start=1):
        for density, image, (half, share) in zip(sums, images, found, strict=True):
            density += half
            if image is not None and share is not None:
                image[:, : share.shape[1]] += share
        reach(1 - (1 - done / len(parts)) ** 2)  # the longest come first
    densities = (one + one.T for stack in sums for one in stack)
    outsides = (
        one for A, image in zip(stacks, images, strict=True)
        for one in ([None] * len(A) if image is None else image)
    )  # fmt: skip
    return dict(zip(order, zip(densities, outsides, strict=True), strict=True))


def _stripe_densities(
    cut: list[Terms],
    plan: TilePlan,
    stacks: list[Tensor],
    outward: list[bool],
    parts: list[slice],
    i: int,
) -> list[tuple[Tensor, Tensor | None]]:
    """Half of the share of a stripe: the other half is its transpose.

    Of some stacks also what a stripe adds to the products they come from, for its own samples and
    for all before.
    """
    mirrors = [
        A.new_zeros(len(A), parts[i].stop, A.shape[2]) if out else None
        for A, out in zip(stacks, outward, strict=True)
    ]
    images = stripe_products(cut, plan, stacks, i, lower=True, mirrors=mirrors)
    for image, mirror in zip(images, mirrors, strict=True):
        if mirror is not None:
            mirror[:, parts[i]] += image
    halves = [matmul(A[:, parts[i]].mT, image) for A, image in zip(stacks, images, strict=True)]
    return list(zip(halves, mirrors, strict=True))
