"""Contractions of many samples at once, with a logarithmic scale beside them.

A product of thousands of numbers leaves the range of any float, so what is computed here
comes as ``values * exp(log_scale)``. The scales are constants to the gradient: what they take
from the values they give to the factor, so the gradient of the product is exact.

Paths are explicit. With a batch axis the automatic paths of opt_einsum plan intermediates of
10^13 elements for a chain of 64 sites. Along a chain a vector is moved site by site on the
CPU; on other devices, where the number of kernels counts, matrices are multiplied in pairs.
Measured on one CPU thread, bond 10, batch 64, forward: 0.4 against 1.5 ms for 64 sites, 9
against 23 ms for 784.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import opt_einsum
import torch
from torch import Tensor

__all__ = ["chain_product", "divided", "node_equation", "node_path", "node_product"]

Path: TypeAlias = tuple[tuple[int, int], ...]

SCALE_EVERY = 4  # sites between two divisions; what one site adds or takes is bounded


def divided(tensor: Tensor, n_axes: int) -> tuple[Tensor, Tensor]:
    """Divide by the largest element along the last axes; also return its logarithm.

    A block of zeros stays as it is. The divisor is a constant to the gradient.
    """
    axes = tuple(range(tensor.ndim - n_axes, tensor.ndim))
    sizes = tensor.detach().abs().amax(dim=axes, keepdim=True)
    sizes = torch.where(sizes > 0, sizes, torch.ones_like(sizes))
    return tensor / sizes, sizes.log().reshape(tensor.shape[: tensor.ndim - n_axes])


def chain_product(
    x: Tensor, tensors: Tensor, vectors: Tensor, pairwise: bool
) -> tuple[Tensor, Tensor]:
    """Carry vectors along chains of sites of one shape.

    Parameters
    ----------
    x
        Vectors at the start, shape ``(sides, batch, in)``.
    tensors
        Sites in the order in which they are met, shape ``(sides, sites, in, local, out)``; more
        than one site only if ``in`` is ``out``.
    vectors
        Local vectors, shape ``(sides, sites, batch, local)``.
    pairwise
        Multiply matrices two by two in log2(sites) steps instead of moving vectors.

    Returns
    -------
    tuple
        Vectors at the end, shape ``(sides, batch, out)``, and the logarithm of their factor,
        shape ``(sides, batch)``.
    """
    tensors, tensor_logs = divided(tensors, 3)
    vectors, vector_logs = divided(vectors, 1)
    log_scale = tensor_logs.sum(dim=1)[:, None] + vector_logs.sum(dim=1)
    if pairwise and tensors.shape[1] > 1:
        x, logs = _pairwise(x, tensors, vectors)
    else:
        x, logs = _sequential(x, tensors, vectors)
    return x, log_scale + logs


def _sequential(x: Tensor, tensors: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    sides, sites, bond, local, following = tensors.shape
    batch = x.shape[1]
    matrices = tensors.reshape(sides, sites, bond, local * following).unbind(1)
    weights = vectors[..., None].unbind(1)
    logs = x.new_zeros(sides, batch)
    for site in range(sites):
        longer = torch.bmm(x, matrices[site]).reshape(sides, batch, local, following)
        x = (longer * weights[site]).sum(dim=2)
        if site % SCALE_EVERY == SCALE_EVERY - 1 or site == sites - 1:
            x, log = divided(x, 1)
            logs = logs + log
    return x, logs


def _pairwise(x: Tensor, tensors: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply neighbours, an odd one out waiting for the next round."""
    shapes = tuple(tensors.shape), tuple(vectors.shape)
    matrices = _expression("knidj,knbd->knbij", shapes, ((0, 1),))(tensors, vectors)
    logs = x.new_zeros(x.shape[:2])
    while matrices.shape[1] > 1:
        even = matrices.shape[1] // 2 * 2
        products, log = divided(matrices[:, 0:even:2] @ matrices[:, 1:even:2], 2)
        logs = logs + log.sum(dim=1)
        matrices = torch.cat([products, matrices[:, even:]], dim=1)
    x, log = divided((x[:, :, None] @ matrices[:, 0])[:, :, 0], 1)
    return x, logs + log


@functools.lru_cache(maxsize=1024)
def _expression(equation: str, shapes: tuple[tuple[int, ...], ...], path: Path) -> Any:
    return opt_einsum.contract_expression(equation, *shapes, optimize=list(path))


def node_product(children: Sequence[Tensor], tensors: Tensor, shared: bool) -> Tensor:
    """Take up the vectors of the children of several nodes of one shape.

    Parameters
    ----------
    children
        Shape ``(batch, nodes, bond)``, one a child.
    tensors
        Shape ``(nodes, bond, child bonds...)``, without the first axis if ``shared``.
    shared
        Whether all nodes have one tensor.

    Returns
    -------
    Tensor
        Shape ``(batch, nodes, bond)``.
    """
    equation, path = node_equation(len(children), shared), node_path(len(children))
    shapes = (*(tuple(child.shape) for child in children), tuple(tensors.shape))
    return _expression(equation, shapes, path)(*children, tensors)


def node_equation(n_children: int, shared: bool) -> str:
    """Equation of :func:`node_product`."""
    letters = "cdefghijklmopqrstuvwxyz"[:n_children]
    operands = [f"bn{letter}" for letter in letters] + [("" if shared else "n") + "a" + letters]
    return ",".join(operands) + "->bna"


@functools.cache
def node_path(n_children: int) -> Path:
    """Pairwise order of :func:`node_product`.

    Up to two children are multiplied out before they meet the tensor. Of more, one half is
    multiplied out and meets it, then the other. With bonds R no intermediate is larger than
    ``batch * nodes * R ** (1 + n_children // 2)``.
    """
    operands = list(range(n_children + 1))  # the tensor comes last
    path: list[tuple[int, int]] = []

    def join(one: int, other: int) -> int:
        first, second = sorted((operands.index(one), operands.index(other)))
        path.append((first, second))
        del operands[second], operands[first]
        operands.append(n_children + len(path))
        return operands[-1]

    half = n_children if n_children <= 2 else (n_children + 1) // 2
    current = n_children
    for group in (range(half), range(half, n_children)):
        if group:
            current = join(functools.reduce(join, group), current)
    return tuple(path)
