"""Contractions of many samples at once, with a logarithmic scale beside them.

A product of thousands of numbers leaves the range of any float, so what is computed here
comes as ``values * exp(log_scale)``. The scales are constants to the gradient: what they take
from the values they give to the factor, so the gradient of the product is exact.

Paths are explicit. With a batch axis the automatic paths of opt_einsum plan intermediates of
10^13 elements for a chain of 64 sites.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import opt_einsum
import torch
from torch import Tensor

__all__ = ["contraction", "divided", "node_equation", "node_path", "node_product"]

Path: TypeAlias = tuple[tuple[int, int], ...]


def divided(tensor: Tensor, n_axes: int) -> tuple[Tensor, Tensor]:
    """Divide by the largest element along the last axes; also return its logarithm.

    A block of zeros stays as it is. The divisor is a constant to the gradient.
    """
    axes = tuple(range(tensor.ndim - n_axes, tensor.ndim))
    sizes = tensor.detach().abs().amax(dim=axes, keepdim=True)
    sizes = torch.where(sizes > 0, sizes, torch.ones_like(sizes))
    return tensor / sizes, sizes.log().reshape(tensor.shape[: tensor.ndim - n_axes])


@functools.lru_cache(maxsize=1024)
def contraction(equation: str, shapes: tuple[tuple[int, ...], ...], path: Path) -> Any:
    """Return the contraction of operands of given shapes along a path, ready to call."""
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
    return contraction(equation, shapes, path)(*children, tensors)


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
