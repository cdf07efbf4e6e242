"""Product states of a data tensor, taken in tiles of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from entangle.axes import LabelWeights, LocalVectors
from entangle.gram import CompiledVectors
from entangle.parallel import map_ordered
from entangle.partition import Node
from entangle.tiles import TilePlan, device_tiles, tiles

__all__ = ["Terms", "gram_columns", "gram_totals", "matmul", "stripe_products"]

TILE = 256  # samples to a side of a tile at most
TILE_BYTES = 2**26  # of the products in one tile
DEVICE_TILE = 2048  # on a GPU


@dataclass(frozen=True)
class Terms:
    """The product states of a data tensor, features in the order of a tree.

    Attributes
    ----------
    vectors
        Shape ``(features, local, samples)``.
    weights
        Shape ``(samples, labels)``.
    """

    vectors: LocalVectors
    weights: LabelWeights

    @property
    def n_samples(self) -> int:
        """Number of terms."""
        return self.vectors.shape[2]

    def take(self, rows: slice | Tensor) -> Terms:
        """Take some of the terms."""
        return Terms(self.vectors[:, :, rows].contiguous(), self.weights[rows])

    def landmarks(self, seed: int) -> Tensor:
        """Places of the terms that have a weight, in random order."""
        usable = (self.weights != 0).any(dim=1).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(seed)
        return usable[torch.randperm(len(usable), generator=generator).to(usable.device)]

    def stripes(self, size: int) -> list[slice]:
        """Cut the samples into runs of at most ``size``."""
        return [slice(b, min(b + size, self.n_samples)) for b in range(0, self.n_samples, size)]

    def tile(self, n_products: int) -> int:
        """Count the samples to a side of a tile of so many products."""
        if self.vectors.device.type != "cpu":
            return DEVICE_TILE
        fitting = math.isqrt(TILE_BYTES // (8 * max(n_products, 1)))
        return max(64, min(TILE, fitting // 64 * 64))

    def with_all(self, plan: TilePlan, columns: Terms, out: Tensor | None = None) -> Tensor:
        """Gram products of a plan between these terms and others, see :func:`tiles`."""
        weights = self.weights @ columns.weights.T
        if self.vectors.device.type != "cpu":
            return device_tiles(plan, self.vectors, columns.vectors, weights)
        return tiles(plan, self.compiled, columns.compiled, weights.numpy(), out)

    @cached_property
    def compiled(self) -> CompiledVectors:
        """The vectors as compiled kernels read them."""
        return CompiledVectors.of(self.vectors)


def gram_totals(terms: Terms, executor: Executor | None = None) -> tuple[float, float]:
    """Sum of the products of kernels and weights over all pairs of samples, and of their sizes."""
    root = Node(0, terms.vectors.shape[0], 0, ())
    plan = TilePlan.of(root, inside=(root,))
    parts = terms.stripes(terms.tile(1))
    work = partial(_stripe_totals, [terms.take(part) for part in parts], plan)
    sums = list(map_ordered(work, range(len(parts) - 1, -1, -1), executor))
    return math.fsum(a for a, _ in sums), math.fsum(b for _, b in sums)


def _stripe_totals(cut: list[Terms], plan: TilePlan, i: int) -> tuple[float, float]:
    total = magnitude = 0.0
    out = None
    for j in range(i + 1):
        out = cut[i].with_all(plan, cut[j], out)
        product = out[0] * (cut[i].weights @ cut[j].weights.T)
        times = 1.0 if i == j else 2.0
        total += times * float(product.sum())
        magnitude += times * float(product.abs().sum())
    return total, magnitude


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Product of matrices; on the CPU by the BLAS of numpy, whose kernels a user can choose."""
    if a.device.type == "cpu":
        return torch.from_numpy(np.matmul(a.numpy(), b.numpy()))
    return a @ b


def gram_columns(plan: TilePlan, terms: Terms, marks: Tensor, executor: Executor | None) -> Tensor:
    """Columns of the Gram products of a plan, ``(products, samples, marks)``."""
    out = terms.weights.new_empty(plan.n_wanted, terms.n_samples, len(marks))
    parts = terms.stripes(terms.tile(plan.n_wanted))
    landmarks = terms.take(marks)
    work = partial(_stripe_columns, plan, [landmarks.take(p) for p in landmarks.stripes(TILE)])
    found = map_ordered(work, (terms.take(part) for part in parts), executor)
    for part, columns in zip(parts, found, strict=True):
        out[:, part] = columns
    return out


def _stripe_columns(plan: TilePlan, landmarks: list[Terms], rows: Terms) -> Tensor:
    return torch.cat([rows.with_all(plan, part) for part in landmarks], dim=2)


def stripe_products(
    cut: list[Terms],
    plan: TilePlan,
    stacks: list[Tensor],
    i: int,
    lower: bool = False,
    mirrors: Sequence[Tensor | None] = (),
) -> list[Tensor]:
    """Rows of the products of the Gram matrices of a plan with the columns of stacks.

    Parameters
    ----------
    cut
        All terms, in stripes.
    plan
        Its products belong to the matrices of the stacks, one after the other.
    stacks
        Shape ``(blocks, samples, columns)`` each.
    i
        The stripe whose rows are wanted.
    lower
        Take only what is left of the diagonal, and half of the tile on it.
    mirrors
        With ``lower``, for some stacks: where the products of the transposed tiles with this
        stripe's columns are added, ``(blocks, samples to the end of the stripe, columns)``.
    """
    images = [A.new_zeros(len(A), cut[i].n_samples, A.shape[2]) for A in stacks]
    room = [torch.empty_like(image) for image in images]
    begin, out = 0, None
    own = slice(sum(part.n_samples for part in cut[:i]), sum(p.n_samples for p in cut[: i + 1]))
    for j, columns in enumerate(cut[: i + 1] if lower else cut):
        out = cut[i].with_all(plan, columns, out)
        if lower and j == i:
            out *= 0.5
        here = slice(begin, begin + columns.n_samples)
        matrices = out.split([len(A) for A in stacks])
        for image, A, some, product in zip(images, stacks, matrices, room, strict=True):
            if image.device.type == "cpu":  # new memory for every product would cost as much
                np.matmul(some.numpy(), A[:, here].numpy(), out=product.numpy())
                image += product
            else:
                image.baddbmm_(some, A[:, here])
        for A, some, mirror in zip(stacks, matrices, mirrors, strict=False):
            if mirror is not None:
                mirror[:, here] += matmul(some.mT, A[:, own])
        begin = here.stop
    return images
