r"""What exchanging two features does to the entropies of cuts, predicted from their gradients.

With Gram matrices G and H of the sides of a cut (weights and labels in H) the Schmidt weights
are :math:`p_k = \lambda_k / Z`, with :math:`\lambda_k` the eigenvalues of GH and
:math:`Z = \sum_{mm'} G_{mm'} H_{mm'}`. To first order

.. math:: dS = \sum_k c_k\, d\lambda_k
    = \sum_{mm'} (A_{mm'}\, dG_{mm'} + B_{mm'}\, dH_{mm'}),
    \qquad c_k = -\frac{\ln p_k + S}{Z}.

With :math:`G = L L^T` and :math:`L^T H L = U \Lambda U^T`

.. math:: B = L U c\, U^T L^T, \qquad A = H L U \frac{c}{\Lambda} U^T L^T H + c_0 (\ldots),

the last term for what of H lies outside, where the slope is that of a vanishing weight.
Exchanging i and j replaces the kernel :math:`k_i` by :math:`k_j` in G and the other way in H, so
the prediction, exact in the kernels and of first order in the spectrum, is

.. math:: \sum_{mm'} A G (k_j / k_i - 1) + B H (k_i / k_j - 1) \quad (entrywise):

one spectrum a cut for all pairs. The entropy of a weight near zero rises with infinite slope, but
an exchange fills it by a share of the weights beside the largest: smaller ones have the slope at
:data:`FLOOR` of their sum. The prediction still tends to be too high, the more so the larger the
angles. It ranks exchanges; whether one helps is for a measurement to say.

Source: ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from entangle.axes import GramMatrix, LabelWeights, LocalVectors
from entangle.gram import gram_product
from entangle.parallel import map_ordered
from entangle.partition import Partition
from entangle.spectrum import gram_factor
from entangle.terms import Terms

__all__ = ["Influence", "entropy_gradients", "exchange_changes", "influences", "promising"]

Side: TypeAlias = Bool[Tensor, " features"]
Changes: TypeAlias = Float64[Tensor, "candidates candidates"]

FLOOR = 0.3  # of all weights but the largest: below that the slope of the entropy stays the same
LOWEST_FLOOR = 1e-12  # of a product, which has no other weights
SMALLEST_KERNEL = 1e-6  # kernels nearer to 0 count as this, so that one can divide by them
STRIPE_BYTES = 2**25  # of the kernels of all features at a time


@dataclass(frozen=True)
class Influence:
    """How the entropy of one cut answers to its two sides.

    Attributes
    ----------
    rows
        Which features are on the side without the label axis, shape ``(features,)``.
    row_gradient, column_gradient
        Derivatives by the Gram matrices of the two sides, nats, shape ``(samples, samples)``.
    crossings
        First-order change if one feature crosses the cut, nats, shape ``(features,)``.
    """

    rows: Side
    row_gradient: GramMatrix
    column_gradient: GramMatrix
    crossings: Float64[Tensor, " features"]


def entropy_gradients(
    G: GramMatrix, H: GramMatrix, share: float = FLOOR
) -> tuple[GramMatrix, GramMatrix]:
    r"""Differentiate the entropy of a cut by the Gram matrices of its sides.

    Parameters
    ----------
    G, H
        Positive semidefinite, weights and labels included in one of them.
    share
        The slope :math:`-\ln p` stays the same below this share of all weights but the largest.

    Returns
    -------
    tuple
        A and B, symmetric, nats: :math:`dS = \sum A\,dG + B\,dH` (entrywise) where no weight
        that changes is smaller than that.
    """
    triangle, order = gram_factor(G)
    L = torch.empty_like(triangle)
    L[order] = triangle
    image = H @ L
    values, U = torch.linalg.eigh(L.T @ image)
    values = values.clamp_min(0)
    total = values.sum()
    p = values / total
    floor = max(share * (1.0 - float(p[-1])), LOWEST_FLOOR)
    logs = p.clamp_min(floor).log()
    mean = (p * logs).sum()  # so that a common factor changes nothing
    slopes = (mean - logs) / total
    steepest = (mean - math.log(floor)) / total
    rows = L @ U
    kept = p > floor
    columns = image @ U[:, kept]
    less = (slopes[kept] - steepest) / values[kept]
    return (columns * less) @ columns.T + steepest * H, (rows * slopes) @ rows.T


def influences(
    terms: Terms, partitions: Sequence[Partition], executor: Executor | None = None
) -> list[Influence]:
    """Influence of every cut; the label axis is on the larger side, as for the tensor.

    Parameters
    ----------
    terms
        The product states of a data tensor, features in the order of the cuts.
    partitions
        The cuts.
    executor
        Takes the cuts in parallel.
    """
    sides = [_row_side(cut, terms.vectors.device) for cut in partitions]
    return list(map_ordered(partial(_influence, terms), sides, executor))


def _row_side(cut: Partition, device: torch.device) -> Side:
    block, complement = cut.block, cut.complement
    smaller = min(block, complement, key=lambda side: (side.size, side[0]))
    rows = torch.zeros(cut.n_features, dtype=torch.bool, device=device)
    rows[torch.from_numpy(smaller.copy()).to(device)] = True
    return rows


def _influence(terms: Terms, rows: Side) -> Influence:
    G = gram_product(terms.vectors[rows])
    H = gram_product(terms.vectors[~rows]) * (terms.weights @ terms.weights.T)
    A, B = entropy_gradients(G, H)
    leaving = B * H - A * G
    flat = terms.vectors.flatten(0, 1)
    change = ((flat @ leaving) * flat).sum(dim=1).unflatten(0, terms.vectors.shape[:2])
    crossings = change.sum(dim=1) - leaving.sum()
    return Influence(rows, A, B, torch.where(rows, crossings, -crossings))


def promising(found: Sequence[Influence], limit: int) -> Tensor:
    """Features with the best exchange by the first order in the kernels, at most ``limit``.

    Returns
    -------
    Tensor
        Places of the features, ascending, shape ``(candidates,)``.
    """
    sides = torch.stack([one.rows for one in found])
    cells, cell = torch.unique(sides, dim=1, return_inverse=True)
    n_cells, n_features = cells.shape[1], sides.shape[1]
    moves = found[0].crossings.new_zeros(n_cells, n_features)  # of a feature to a cell
    for one, here in zip(found, cells, strict=True):
        moves += (here[:, None] != one.rows) * one.crossings
    best = moves.new_full((n_cells, n_cells), math.inf)  # lowest move of a feature to a cell
    best.scatter_reduce_(1, cell.expand(n_cells, -1), moves, "amin")
    exchanged = moves + best[cell].T
    exchanged[cell, torch.arange(n_features, device=cell.device)] = math.inf
    score = exchanged.amin(dim=0)
    return score.argsort(stable=True)[:limit].sort().values


def exchange_changes(
    found: Sequence[Influence],
    terms: Terms,
    candidates: Tensor,
    executor: Executor | None = None,
) -> Changes:
    """Predicted change of the sum of the entropies for every exchange of two candidates.

    Parameters
    ----------
    found
        Influences of the cuts.
    terms
        The product states they were found for.
    candidates
        Places of the features that may move, shape ``(candidates,)``.
    executor
        Takes stripes of the samples in parallel.

    Returns
    -------
    Tensor
        Nats, symmetric, shape ``(candidates, candidates)``; 0 where no cut separates the two.

    Notes
    -----
    Kernels nearer to 0 than 1e-6 count as 1e-6. Dividing a product by one of them gives the
    product of the others, up to 1e-6 where those hold such a kernel too.
    """
    size = max(1, STRIPE_BYTES // (8 * terms.n_samples * terms.vectors.shape[0]))
    work = partial(_stripe_changes, terms.vectors, terms.weights, candidates)
    stripes = _stripes(found, terms, size)
    changes = terms.weights.new_zeros(len(candidates), len(candidates))
    for part in map_ordered(work, stripes, executor):
        changes += part
    return changes + changes.T


def _stripes(found: Sequence[Influence], terms: Terms, size: int) -> Iterator[tuple]:
    for part in terms.stripes(size):
        gradients = [(one.rows, one.row_gradient[part], one.column_gradient[part]) for one in found]
        yield part, gradients


def _stripe_changes(
    vectors: LocalVectors, weights: LabelWeights, candidates: Tensor, stripe: tuple
) -> Tensor:
    """Contribution of some rows of the Gram matrices, row side by column side."""
    part, gradients = stripe
    kernels = torch.bmm(vectors[:, :, part].mT, vectors)
    kernels = torch.where(kernels.abs() < SMALLEST_KERNEL, SMALLEST_KERNEL, kernels)
    sides = torch.stack([rows for rows, _, _ in gradients])
    cells, cell = torch.unique(sides, dim=1, return_inverse=True)
    cell_kernels = [kernels[cell == number].prod(dim=0) for number in range(cells.shape[1])]
    products = torch.stack(cell_kernels)
    outside = weights[part] @ weights.T
    moving = kernels[candidates].flatten(1)
    changes = weights.new_zeros(len(candidates), len(candidates))
    for (rows, A, B), inside in zip(gradients, cells, strict=True):
        row_share = (A * products[inside].prod(dim=0)).flatten()
        column_share = (B * products[~inside].prod(dim=0) * outside).flatten()
        mine = rows[candidates]
        ours, theirs = moving[mine], moving[~mine]
        change = (row_share / ours) @ theirs.T + ours @ (column_share / theirs).T
        both = (mine[:, None] & ~mine).nonzero(as_tuple=True)
        changes[both] += (change - row_share.sum() - column_share.sum()).flatten()
    return changes
