"""Canonical forms and Schmidt spectra of tensors on a tree.

If all tensors but one are isometries toward that one, it holds the state in orthonormal bases
of its surroundings, and its singular values across a bond are the state's Schmidt values
there. Everything rests on QR factors rather than on Gram matrices, so small Schmidt values
keep their digits: each is right to about 1e-16 of the largest.

Source: Shi, Duan, Vidal 2006, Phys. Rev. A 74, 022320 (trees); Schollwoeck 2011, Ann. Phys.
326, 96 (chains).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from entangle.networks.tensor_tree import NOBODY, TensorTree, absorbed, scaled

__all__ = ["bond_spectra", "chain_spectra", "cut_spectrum", "edge_matrix", "orthogonalized"]

SCALE_EVERY = 4  # sites; numbers of single precision cannot leave the range of a double in these


def edge_matrix(tensor: Tensor, axis: int) -> Tensor:
    """Matrix with one axis as columns and all others as rows."""
    return tensor.movedim(axis, -1).reshape(-1, tensor.shape[axis])


def orthogonalized(tree: TensorTree, centre: int) -> TensorTree:
    """Make every tensor an isometry toward one node, which then has norm one.

    Returns
    -------
    TensorTree
        Same state; its ``log_scale`` is the logarithm of the norm. For a zero state it is minus
        infinity, and the tensor at the centre is zero.
    """
    tensors, log = list(tree.tensors), tree.log_scale
    for node, parent in reversed(tree.walk(centre)):
        if parent == NOBODY:
            break
        axis = tree.axis(node, parent)
        isometry, triangle = torch.linalg.qr(edge_matrix(tensors[node], axis))
        shape = tensors[node].movedim(axis, -1).shape[:-1]
        tensors[node] = isometry.reshape(*shape, -1).movedim(-1, axis)
        triangle, size = scaled(triangle)
        tensors[parent] = absorbed(tensors[parent], tree.axis(parent, node), triangle.T)
        log += size
    tensors[centre], size = scaled(tensors[centre])
    norm = float(tensors[centre].norm())
    if norm == 0:
        return tree.with_tensors(tensors, -math.inf)
    tensors[centre] = tensors[centre] / norm
    return tree.with_tensors(tensors, log + size + math.log(norm))


def cut_spectrum(tree: TensorTree, node: int, other: int) -> tuple[Tensor, float]:
    """Schmidt values across one bond, of unit norm and descending, and the log of the norm."""
    canonical = orthogonalized(tree, node)
    matrix = edge_matrix(canonical.tensors[node], tree.axis(node, other))
    return torch.linalg.svdvals(matrix), canonical.log_scale


def bond_spectra(tree: TensorTree) -> tuple[dict[tuple[int, int], Tensor], float]:
    """Schmidt values across every bond, in one sweep to node 0 and one back.

    Returns
    -------
    tuple
        Values of unit norm, descending, for each pair (node, parent) of a walk from node 0; and
        the logarithm of the norm.
    """
    canonical = orthogonalized(tree, 0)
    centres = {0: canonical.tensors[0]}
    factors: dict[tuple[int, int], Tensor] = {}
    for node, parent in tree.walk(0):
        centre = centres.pop(node)
        for child in tree.children(node, parent):
            matrix = edge_matrix(centre, tree.axis(node, child))
            triangle = torch.linalg.qr(matrix, mode="r").R
            factors[child, node] = triangle
            centres[child] = absorbed(canonical.tensors[child], tree.axis(child, node), triangle.T)
    return dict(zip(factors, _singular_values(list(factors.values())), strict=True)), (
        canonical.log_scale
    )


def chain_spectra(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Schmidt values across every bond of a chain, descending, of unit norm.

    Triangular factors from the left and from the right meet at each bond; no isometry is ever
    built. Where the chain is symmetric, both sides take one batched step.

    Parameters
    ----------
    tensors
        Shapes ``(left, local, right)``, float64.
    """
    mirrored = [tensor.permute(2, 1, 0) for tensor in reversed(tensors)]
    left = right = tensors[0].new_ones(1, 1)
    lefts, rights = [], []
    for step, (forth, back) in enumerate(zip(tensors[:-1], mirrored[:-1], strict=True)):
        if forth.shape == back.shape and left.shape == right.shape:
            both = _triangles(torch.stack([left, right]), torch.stack([forth, back]))
            left, right = both.unbind()
        else:
            left = _triangles(left[None], forth[None])[0]
            right = _triangles(right[None], back[None])[0]
        if step % SCALE_EVERY == 0:
            left, right = scaled(left)[0], scaled(right)[0]
        lefts.append(left)
        rights.append(right)
    found = _singular_values([a @ b.T for a, b in zip(lefts, reversed(rights), strict=True)])
    return [values / values.norm().clamp_min(torch.finfo(values.dtype).tiny) for values in found]


def _triangles(before: Tensor, tensors: Tensor) -> Tensor:
    """Triangular factors of blocks one site longer.

    From factors (sides, rank, bond) and tensors (sides, bond, local, next).
    """
    sides, bond, local, following = tensors.shape
    longer = torch.bmm(before, tensors.reshape(sides, bond, local * following))
    return torch.linalg.qr(longer.reshape(sides, -1, following), mode="r").R


def _singular_values(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Singular values of every matrix, those of one shape in one batch."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, matrix in enumerate(matrices):
        places.setdefault(tuple(matrix.shape), []).append(place)
    found: list[Tensor] = [torch.empty(0)] * len(matrices)
    for group in places.values():
        values = torch.linalg.svdvals(torch.stack([matrices[place] for place in group]))
        for place, row in zip(group, values, strict=True):
            found[place] = row
    return found
