r"""Bases for blocks of features, and the coordinates of the samples in them.

A basis spans :math:`D_K b_s`, the tensor applied to the outside vectors of landmark samples s: the
combinations :math:`\sum_m a_m C_{ms}` of the samples' block vectors, with the tests
:math:`C = (H_{K^c} \circ W W^T)[:, s]`. Any orthonormal basis gives a valid projection; the tests
only decide how much of the tensor it holds.

Source: Halko, Martinsson, Tropp 2011, SIAM Review 53, 217, for the range finder; arXiv:2303.11249.
"""

from __future__ import annotations

from concurrent.futures import Executor
from functools import partial

import torch
from torch import Tensor

from entangle.parallel import map_ordered
from entangle.partition import Node
from entangle.terms import Terms, gram_columns, matmul, stripe_products
from entangle.tiles import TilePlan

__all__ = [
    "exact_coordinates",
    "inside_columns",
    "joined_coordinates",
    "orthonormal_coordinates",
    "outside_columns",
    "pair_weights",
]

PROBES = 32  # random directions from which the weight of a product is estimated
TILE = 256  # samples at a time
PAIR_ELEMENTS = 2**22  # of products at a time
ALL_PAIRS = 512  # products of the children's basis vectors that are kept without a look
MOST_PAIRS = 4096  # and those that a block keeps at most
NOISE = 4  # units of rounding that a squared length may be wrong by, for each sample
CLEAR = 16  # times the rounding: squared lengths that are kept
CUTOFF = 1e-12  # share of the largest squared length below which a direction is rounding


def outside_columns(
    root: Node, terms: Terms, nodes: list[Node], marks: Tensor, executor: Executor | None
) -> Tensor:
    """Gram products of the outside of each node with the landmarks, ``(nodes, samples, marks)``."""
    return gram_columns(TilePlan.of(root, outside=nodes), terms, marks, executor)


def inside_columns(node: Node, terms: Terms, marks: Tensor) -> Tensor:
    """Gram products of a block with the landmarks, times those of their weights.

    Shape ``(samples, marks)``.
    """
    own = Terms(terms.vectors[node.start : node.stop], terms.weights)
    block = Node(0, node.size, 0, ())
    columns = gram_columns(TilePlan.of(block, inside=[block]), own, marks, None)[0]
    columns *= terms.weights @ terms.weights[marks].T
    return columns


def joined_coordinates(lost: float, item: tuple[list[Tensor], Tensor, Tensor]) -> Tensor:
    """Coordinates of a block from those of its two children.

    Of all products of their basis vectors those are kept that hold all but a share ``lost`` of
    the weight, as estimated from random mixtures of the landmarks; of their span, the part that
    the landmarks reach.
    """
    children, tests, gram = item
    left, right = (A.T.contiguous() for A in children)
    n_pairs = len(left) * len(right)
    parts = [slice(b, b + TILE) for b in range(0, len(tests), TILE)]
    first = torch.arange(len(left), device=left.device).repeat_interleave(len(right))
    second = torch.arange(len(right), device=left.device).repeat(len(left))
    if n_pairs > ALL_PAIRS:
        lengths, directions = torch.linalg.eigh(gram)  # of the landmarks' outside vectors
        kept = lengths > lengths[-1] * CUTOFF
        orthonormal = directions[:, kept] / lengths[kept].sqrt()
        energies, pairs = pair_weights(left, right, tests, orthonormal).sort(descending=True)
        tail = energies.sum() - energies.cumsum(0)
        number = min(int((tail > lost * energies.sum()).sum()) + 1, MOST_PAIRS)
        best = pairs[: max(number, tests.shape[1])].sort().values
        first, second = first[best], second[best]
    images = tests.new_zeros(len(first), tests.shape[1])
    for part in parts:
        products = left[:, part][first]
        products *= right[:, part][second]
        images += matmul(products, tests[part])
    basis = torch.linalg.qr(images).Q
    out = tests.new_empty(len(tests), basis.shape[1])
    for part in parts:
        products = left[:, part][first]
        products *= right[:, part][second]
        out[part] = matmul(products.T, basis)
    return out


def pair_weights(left: Tensor, right: Tensor, tests: Tensor, orthonormal: Tensor) -> Tensor:
    """Weights of all products of two bases, estimated from random mixtures of the landmarks.

    Parameters
    ----------
    left, right
        Coordinates in both, shapes ``(basis, samples)``.
    tests
        Products of the other side of the samples with the landmarks, ``(samples, landmarks)``.
    orthonormal
        Mixtures of the landmarks that are orthonormal on that side, ``(landmarks, mixtures)``.
    """
    generator = torch.Generator().manual_seed(tests.shape[1])
    mixed = torch.randn(orthonormal.shape[1], PROBES, generator=generator, dtype=tests.dtype)
    probe = matmul(tests, orthonormal @ mixed.to(tests.device))
    images = tests.new_zeros(len(left) * len(right), PROBES)
    chunk = max(1, PAIR_ELEMENTS // (len(right) * TILE))
    for first in range(0, len(tests), TILE):
        part = slice(first, first + TILE)
        for begin in range(0, len(left), chunk):
            some = left[begin : begin + chunk, None, part] * right[None, :, part]
            here = slice(begin * len(right), begin * len(right) + some.shape[0] * len(right))
            images[here] += matmul(some.flatten(0, 1), probe[part])
    return images.square().mean(dim=1)


def exact_coordinates(
    root: Node, terms: Terms, blocks: list[tuple[list[Node], Tensor]], executor: Executor | None
) -> dict[Node, Tensor]:
    """Coordinates from the Gram products of the blocks themselves."""
    if not blocks:
        return {}
    nodes = [node for group, _ in blocks for node in group]
    tests = [
        torch.stack(list(map_ordered(_orthogonal, columns, executor))) for _, columns in blocks
    ]
    plan = TilePlan.of(root, inside=nodes)
    cut = [terms.take(part) for part in terms.stripes(terms.tile(len(nodes)))]
    work = partial(stripe_products, cut, plan, tests)
    stripes = list(map_ordered(work, range(len(cut)), executor))
    images = [torch.cat(stripe, dim=1) for stripe in zip(*stripes, strict=True)]
    del stripes
    pairs = [pair for both in zip(tests, images, strict=True) for pair in zip(*both, strict=True)]
    return dict(zip(nodes, map_ordered(_normalised, pairs, executor), strict=True))


def _orthogonal(test: Tensor) -> Tensor:
    return torch.linalg.qr(test).Q


def _normalised(item: tuple[Tensor, Tensor]) -> Tensor:
    """Coordinates in a basis of the span of combinations of the samples' vectors."""
    combinations, images = item
    return orthonormal_coordinates(images, matmul(combinations.T, images), float(len(images)))


def orthonormal_coordinates(images: Tensor, gram: Tensor, size: float) -> Tensor:
    """Coordinates in an orthonormal basis, from products with vectors that are none.

    Squared lengths are wrong by rounding, as a share of ``size``. With that added, basis vectors
    are orthogonal and no longer than 1, and so what is found of the tensor can only be too small.

    Parameters
    ----------
    images
        Products of the samples with the vectors, shape ``(samples, vectors)``.
    gram
        Products of the vectors with each other.
    size
        Bound of the norm of the sums that ``gram`` comes from: for combinations of length 1 of
        samples of length 1, the number of samples.
    """
    lengths, directions = torch.linalg.eigh(gram)
    noise = NOISE * torch.finfo(images.dtype).eps * size
    kept = lengths > CLEAR * noise
    return matmul(images, directions[:, kept] / (lengths[kept] + noise).sqrt())
