"""The compiled contraction as one step of automatic differentiation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode

from entangle.networks.contraction import divided
from entangle.networks.kernels import contract, contract_back, n_others

__all__ = ["Schedule", "can_compile", "compiled_product"]

TYPES = (torch.float32, torch.float64)
SAMPLES = 128  # contracted at once where no gradient is asked for: their vectors stay in cache


@dataclass(frozen=True, eq=False)
class Schedule:
    """In which order tensors meet vectors, as :mod:`entangle.networks.kernels` takes it.

    Attributes
    ----------
    nodes
        Children before parents, shape ``(nodes, 5)``: place among all elements, first row of the
        vector, bond, first child and number of children.
    children
        First row and length of the vectors of children, shape ``(vectors, 2)``.
    transposed
        Whether elements of a node are in the order (children, bond) instead of (bond, children).
    n_rows
        Rows of all vectors: ``features * local`` first, then one a bond of each node.
    room
        Longest product of children that meets a tensor first, of its other children, and of what
        the tensor makes of the first.
    """

    nodes: NDArray[np.int64]
    children: NDArray[np.int64]
    transposed: bool
    n_rows: int
    room: tuple[int, int, int]

    @classmethod
    def of(
        cls,
        n_features: int,
        local_dim: int,
        nodes: Sequence[tuple[int, int, Sequence[int]]],
        transposed: bool = False,
    ) -> Schedule:
        """Arrange nodes, children before parents, the root last.

        Parameters
        ----------
        nodes
            For each node the place of its tensor, its bond, and its children: features are
            numbered 0, 1, ..., and nodes on from there in the order given.
        """
        rows = [(place * local_dim, local_dim) for place in range(n_features)]
        table, children, row = [], [], n_features * local_dim
        right = left = longer = 1
        for place, bond, below in nodes:
            table.append((place, row, bond, len(children), len(below)))
            children += [rows[child] for child in below]
            rows.append((row, bond))
            row += bond
            lengths, half = [rows[child][1] for child in below], n_others(len(below))
            sizes = math.prod(lengths[:half]), math.prod(lengths[half:])
            left, right = max(left, sizes[0]), max(right, sizes[1])
            longer = max(longer, sizes[1], bond * sizes[0])
        made = np.array(table, dtype=np.int64), np.array(children, dtype=np.int64)
        room = max(left, right), left, longer
        return cls(made[0], made[1].reshape(-1, 2), transposed, row, room)


def can_compile(vectors: Tensor) -> bool:
    """Whether vectors are plain numbers on the CPU, in a type of the kernels.

    Transforms of torch.func, tangents of forward mode and whatever watches or replaces operations,
    as tracing and tensors without elements do, need plain operations.
    """
    given = type(vectors) in (Tensor, torch.nn.Parameter) and vectors.dtype in TYPES
    tracing = torch._C._get_tracing_state() or _get_current_dispatch_mode()
    watched = tracing is not None or forward_ad._current_level >= 0
    return given and vectors.device.type == "cpu" and not watched and not _is_transformed()


def _is_transformed() -> bool:
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    return active is None or active()


def compiled_product(
    schedule: Schedule, tensors: Sequence[Tensor], vectors: Tensor
) -> tuple[Tensor, Tensor]:
    """Contract all tensors with local vectors.

    Parameters
    ----------
    tensors
        Their elements one after the other are what the schedule's places count.
    vectors
        Shape ``(batch, features, local)``.

    Returns
    -------
    tuple
        Vectors of the root, shape ``(batch, bond)``, the largest element of each 1, and the
        logarithm of their factor, shape ``(batch,)``, a constant to the gradient.
    """
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    found, log_scale = _Contraction.apply(schedule, flat, vectors.flatten(1).T)  # pyright: ignore
    return found.T, log_scale


class _Contraction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, schedule: Schedule, tensors: Tensor, vectors: Tensor
    ) -> tuple[Tensor, Tensor]:
        if any(ctx.needs_input_grad):
            values, sizes = _run(schedule, tensors, vectors)
            ctx.schedule = schedule
            ctx.save_for_backward(tensors, vectors, values, sizes)
            ends, log_scale = _ended(schedule, values, sizes)
        else:
            parts = vectors.split(SAMPLES, dim=1)
            found = [_ended(schedule, *_run(schedule, tensors, part)) for part in parts]
            ends = torch.cat([end for end, _ in found], dim=1)
            log_scale = torch.cat([logs for _, logs in found])
        ctx.mark_non_differentiable(log_scale)
        return ends, log_scale

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        tensors, vectors, values, sizes = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        again = torch.is_grad_enabled()  # somebody differentiates the gradient
        if again or _is_transformed() or is_legacy_batchedtensor(given[0]):
            wanted = [t for t, asked in zip((tensors, vectors), needed, strict=True) if asked]
            with torch.enable_grad():
                ends = _plain(ctx.schedule, tensors, vectors)
            found = iter(torch.autograd.grad(ends, wanted, given[0], create_graph=again))
            return None, *(next(found) if asked else None for asked in needed)
        to_tensors = torch.zeros_like(tensors) if needed[0] else tensors[:0]
        gradients = torch.empty_like(values)
        gradients[-len(given[0]) :] = given[0]
        schedule = ctx.schedule
        contract_back(
            tensors.detach().numpy(), schedule.nodes, schedule.children, schedule.transposed,
            values.numpy(), sizes.numpy(), gradients.numpy(), to_tensors.detach().numpy(),
            *_room(schedule, values, 2),
        )  # fmt: skip
        return (
            None,
            to_tensors if needed[0] else None,
            gradients[: len(vectors)] if needed[1] else None,
        )


def _run(schedule: Schedule, tensors: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    values = tensors.new_empty(schedule.n_rows, vectors.shape[1])
    values[: len(vectors)] = vectors
    sizes = tensors.new_empty(len(schedule.nodes), vectors.shape[1])
    contract(
        tensors.detach().numpy(), schedule.nodes, schedule.children, schedule.transposed,
        values.detach().numpy(), sizes.numpy(), *_room(schedule, values, 1),
    )  # fmt: skip
    return values, sizes


def _ended(schedule: Schedule, values: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Copy the vectors of the root, as a view would hold all others, and add up the logarithms."""
    return values[-schedule.nodes[-1, 2] :].clone(), sizes.log().sum(dim=0)


def _room(schedule: Schedule, values: Tensor, n_longer: int) -> list[NDArray[np.floating[Any]]]:
    right, left, longer = schedule.room
    lengths = [right, left] + [longer] * n_longer
    return [values.new_empty(length, values.shape[1]).numpy() for length in lengths]


def _plain(schedule: Schedule, tensors: Tensor, vectors: Tensor) -> Tensor:
    """Contract in operations of torch, which can be differentiated again."""
    children = schedule.children.tolist()
    rows = {row: vectors[row : row + size] for row, size in children if row < len(vectors)}
    end = 0
    for place, end, bond, first, count in schedule.nodes.tolist():
        product = torch.ones_like(vectors[:1])
        for child, _ in children[first : first + count]:
            product = (product[:, None] * rows[child]).flatten(0, 1)
        elements = tensors[place : place + bond * len(product)]
        matrix = elements.view(-1, bond).T if schedule.transposed else elements.view(bond, -1)
        rows[end] = divided((matrix @ product).T, 1)[0].T
    return rows[end]
