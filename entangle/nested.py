r"""Certified spectra of the blocks inside a block whose outside has a basis.

With the coordinates B of the samples in a basis of all that lies outside of a block, and A and S in
bases of its two halves, what lies outside of the first half is the row-wise Kronecker product of B
and S: its cut is the matrix :math:`A^T (B \odot S)`. No pair of samples is visited, so this is what
small bases take. Each side is projected by itself, so singular values can only shrink, and what
they miss of the known total is the discarded weight: an exact number.

Labels and weights are part of the outside: B holds them.

Source: arXiv:2303.11249 for the cuts; the basis of an outside is the tensor applied to that of the
block, as in the downward sweep of a hierarchical singular value decomposition (Grasedyck 2010, SIAM
J. Matrix Anal. Appl. 31, 2029).
"""

from __future__ import annotations

import torch
from torch import Tensor

from entangle.bases import orthonormal_coordinates
from entangle.gram import row_products
from entangle.layout import Layout, State, basis_spectrum, inside_spectra, is_whole
from entangle.partition import Node
from entangle.spectrum import CutSpectrum
from entangle.sweep import SweepPlan
from entangle.terms import Terms, matmul

__all__ = ["nested_spectra", "outside_coordinates"]

RUN_ELEMENTS = 2**17  # products at a time: they fit in a cache
ROWS = 64  # samples at a time, at least


def outside_coordinates(images: Tensor, density: Tensor, terms: Terms) -> Tensor:
    """Coordinates of the samples in a basis of the outside of a block, weights included.

    Parameters
    ----------
    images
        Products of what lies outside of each sample with the tensor applied to the block's basis
        vectors, shape ``(samples, basis)``.
    density
        The reduced density matrix of the block in its basis: products of those with each other.
    terms
        All terms.
    """
    size = float(terms.weights.norm(dim=1).sum()) ** 2  # no sum over pairs is larger
    return orthonormal_coordinates(images, density, size)


def nested_spectra(
    parent: Node,
    outside: Tensor,
    blocks: set[Node],
    state: State,
    layout: Layout,
    plan: SweepPlan,
    terms: Terms,
) -> dict[Node, CutSpectrum]:
    """Spectra of the blocks inside ``parent`` that are in ``blocks``, and all wanted in them.

    Parameters
    ----------
    parent
        A block.
    outside
        Coordinates of the samples in a basis of its outside, shape ``(samples, kept)``.
    blocks
        Blocks that have a basis or are served whole, and all between them and ``parent``.
    state
        Holds the coordinates within the blocks inside.
    layout, plan, terms
        Of all blocks.
    """
    spectra: dict[Node, CutSpectrum] = {}
    for child, sibling in zip(parent.children, parent.children[::-1], strict=True):
        if child not in blocks:
            continue
        inside, beside = state.within(child, terms), state.within(sibling, terms)
        n_products = outside.shape[1] * beside.shape[1]
        runs = terms.stripes(max(ROWS, RUN_ELEMENTS // max(n_products, 1)))
        matrix = inside.new_zeros(inside.shape[1], n_products)
        for run in runs:
            matrix += matmul(inside[run].T, row_products(outside[run], beside[run]))
        density = matmul(matrix, matrix.T)
        if is_whole(child, plan.local):
            spectra |= inside_spectra(child, density, layout, plan, terms.n_samples)
            continue
        values = torch.linalg.eigvalsh(density)
        spectra[child] = basis_spectrum(values, child, plan, terms.n_samples)
        if not blocks.isdisjoint(child.children):
            parts = [matmul(row_products(outside[run], beside[run]), matrix.T) for run in runs]
            below = outside_coordinates(torch.cat(parts), density, terms)
            spectra |= nested_spectra(child, below, blocks, state, layout, plan, terms)
    return spectra
