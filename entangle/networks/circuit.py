r"""Convolutional arithmetic circuits: networks with product pooling, which are trees exactly.

A circuit takes a local vector at every position. Linear maps without bias act on the channels of
each position, and products pool windows of two positions an axis,

.. math:: \psi_{a,j} = \sum_c A_{ac} \prod_{i \in \mathrm{window}\ j} \psi_{c,i},

until one position is left, whose channels are the outputs. That is a tree tensor network over the
canonical tree: maps before the first pooling are the leaves, and a node with k children has the
tensor :math:`T_{a c_1 \ldots c_k} = A_{a c_1} \delta_{c_1 \ldots c_k}`. Channels are bonds, so the
entropy across a canonical cut is at most the logarithm of the channels above its block.

Source: Cohen, Sharir, Shashua 2016, arXiv:1509.05009 (shared maps: convolutions of size 1; maps
of each position: locally connected). There, windows may be longer and maps are also given in
a form with k factors; here windows have two positions an axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from entangle.axes import Shape
from entangle.errors import InputError
from entangle.memory import require_memory
from entangle.partition import CanonicalTree, Node, as_shape

__all__ = ["LocalLinear", "ProductPool", "circuit_tensors", "is_circuit"]

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d
HOOKS = "_forward_hooks", "_forward_pre_hooks"
PARTS = (
    "convolutions of size 1 or LocalLinear, ProductPool, and at the end Flatten and Linear, all "
    "without bias"
)


class ProductPool(nn.Module):
    """Product over windows of two positions along every axis, without parameters.

    Examples
    --------
    >>> import torch
    >>> from entangle.networks import ProductPool
    >>> ProductPool()(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]))
    tensor([[[ 2., 12.]]])
    """

    def forward(self, values: Tensor) -> Tensor:
        """Halve every axis of ``(batch, channels, positions...)``.

        Raises
        ------
        InputError
            If an axis has odd length, or there is none.
        """
        if values.ndim < 3 or any(length % 2 for length in values.shape[2:]):
            raise InputError(
                "ProductPool takes (batch, channels, positions...) with an even number of "
                f"positions along every axis, got {tuple(values.shape)}; pad the samples"
            )
        for axis in range(2, values.ndim):
            first, second = values.unflatten(axis, (-1, 2)).unbind(axis + 1)
            values = first * second
        return values


class LocalLinear(nn.Module):
    """Linear map of the channels of every position, each position with its own; no bias.

    Parameters
    ----------
    in_channels, out_channels
        Numbers of channels.
    positions
        Number of positions, or lengths of their axes.

    Attributes
    ----------
    weight
        Shape ``(out_channels, in_channels, positions...)``; normal at first, so that outputs are
        of the size of inputs.
    """

    def __init__(self, in_channels: int, out_channels: int, positions: Shape):
        super().__init__()
        axes = tuple(positions) if isinstance(positions, Iterable) else (int(positions),)
        first = torch.randn(out_channels, in_channels, *axes) / math.sqrt(in_channels)
        self.weight = nn.Parameter(first)

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(batch, in_channels, positions...)`` to ``(batch, out_channels, positions...)``."""
        return torch.einsum("oi...,bi...->bo...", self.weight, values)


def is_circuit(model: object) -> TypeGuard[nn.Sequential]:
    """Whether a model pools by products, so that it is meant to be a circuit."""
    return isinstance(model, nn.Sequential) and any(
        isinstance(layer, ProductPool) for layer in model.modules()
    )


def circuit_tensors(module: nn.Module, shape: Shape) -> tuple[list[Tensor], bool]:
    """Node tensors of a circuit, and whether all nodes of a level have one.

    Parameters
    ----------
    module
        Circuit, a ``torch.nn.Sequential``.
    shape
        Lengths of the axes of its positions.

    Returns
    -------
    tuple
        Tensors in the order of the canonical tree's walk, with the axes of
        :meth:`TreeTensorNetwork.node_tensors`; and whether they are shared.

    Raises
    ------
    InputError
        If the positions cannot be pooled to one, or a layer is no part of a circuit.
    MemoryLimitError
        Before anything is allocated, if the tensors would not fit.
    """
    axes = as_shape(shape)
    if set(axes) != {axes[0]} or axes[0] & (axes[0] - 1):
        length = 1 << (max(axes) - 1).bit_length()
        raise InputError(
            "a circuit pools two positions an axis until one is left, so all axes have one length, "
            f"a power of 2, got shape {shape!r}; pad the samples to {(length,) * len(axes)}"
        )
    tree, maps, n_children = CanonicalTree(axes), _maps(module, axes), 2 ** len(axes)
    elements = maps[0].numel() + sum(m.numel() * m.shape[2] ** (n_children - 1) for m in maps[1:])
    require_memory(
        2.0 * maps[0].element_size() * elements, "the tensors of a circuit",
        repair="use fewer channels, or sequences, whose nodes have two children",
    )  # fmt: skip
    made: dict[tuple[int, int], Tensor] = {}
    found = []
    for node in tree.root.walk():
        matrices = maps[tree.depth - node.level]
        place = _place(tree, node) if len(matrices) > 1 else 0
        if (node.level, place) not in made:
            matrix = matrices[place]
            made[node.level, place] = _copied(matrix, n_children) if node.children else matrix
        found.append(made[node.level, place])
    return found, all(len(matrices) == 1 for matrices in maps)


def _place(tree: CanonicalTree, node: Node) -> int:
    """Row-major place of a node among those of its level."""
    corner = np.unravel_index(tree.order[node.start], tree.shape)
    halvings = tree.depth - node.level
    lengths = tuple(length >> halvings for length in tree.shape)
    return int(np.ravel_multi_index(tuple(int(x) >> halvings for x in corner), lengths))


def _copied(matrix: Tensor, n_children: int) -> Tensor:
    """Tensor of a node whose children's channels are multiplied one by one, then mapped."""
    channels = torch.arange(matrix.shape[1], device=matrix.device)
    tensor = matrix.new_zeros(len(matrix), *matrix.shape[1:] * n_children)
    tensor[(slice(None), *[channels] * n_children)] = matrix
    return tensor


def _maps(module: nn.Module, axes: tuple[int, ...]) -> list[Tensor]:
    """Read the maps between poolings, leaves first, shapes ``(1 or positions, out, in)``."""
    reader = _Reader(len(axes), axes[0])
    for place, layer in _layers(module):
        wrong = _changed(layer) or reader.take(layer)
        if wrong:
            raise InputError(
                f"layer {place}, {layer}, is no part of a circuit: it {wrong}; a circuit has "
                f"{PARTS}"
            )
    like = next((matrices for matrices in reader.maps if matrices is not None), None)
    if not reader.is_flat or like is None:
        raise InputError(
            "a circuit ends with the channels of one position, flattened; this one has "
            f"{'no linear map' if like is None else f'{reader.length} positions an axis'} at its "
            f"end; a circuit has {PARTS}"
        )
    found, channels = [], like.shape[2]
    for matrices in reader.maps:
        identity = torch.eye(channels, dtype=like.dtype, device=like.device)[None]
        found.append(identity if matrices is None else matrices)
        channels = found[-1].shape[1]
    return found


def _layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Layers of nested sequences with their places, such as 2 or 3.0; one may come again."""
    if not isinstance(module, nn.Sequential):
        raise InputError(f"a circuit is a torch.nn.Sequential, got {type(module).__name__}")
    wrong = _changed(module)
    if wrong:
        raise InputError(
            f"{f'layer {prefix[:-1]}' if prefix else 'the sequence'}, {type(module).__name__}, is "
            f"no part of a circuit: it {wrong}; pass a plain torch.nn.Sequential"
        )
    for place, layer in enumerate(module):
        if isinstance(layer, nn.Sequential):
            yield from _layers(layer, f"{prefix}{place}.")
        elif not isinstance(layer, nn.Identity) or _changed(layer):
            yield f"{prefix}{place}", layer


def _changed(layer: nn.Module) -> str | None:
    """Say what makes a layer compute something else than its kind does, if anything."""
    if any(getattr(layer, hooks) for hooks in HOOKS):
        return "has hooks, which may change what it gives"
    kinds = (nn.Sequential, nn.Identity, nn.Flatten, nn.Linear, *CONVOLUTIONS)
    kinds = (*kinds, LocalLinear, ProductPool)
    forward = getattr(layer.forward, "__func__", None)
    changed = isinstance(layer, kinds) and forward not in {kind.forward for kind in kinds}
    return "has a forward of its own" if changed else None


class _Reader:
    """Takes layer after layer.

    Attributes
    ----------
    length
        Positions along each axis that are left.
    is_flat
        Whether the axes of positions are gone.
    maps
        Product of the linear layers between two poolings, ``None`` if there are none.
    """

    def __init__(self, n_axes: int, length: int) -> None:
        self.n_axes, self.length, self.is_flat = n_axes, length, False
        self.maps: list[Tensor | None] = [None]
        self.channels: int | None = None

    def take(self, layer: nn.Module) -> str | None:
        """Take a layer up; or say what is wrong with it."""
        if isinstance(layer, ProductPool):
            return self._pool()
        if isinstance(layer, nn.Flatten):
            return self._flatten(layer)
        if self.is_flat and isinstance(layer, nn.Linear):
            return self._map(layer.weight[None]) if layer.bias is None else "has a bias"
        if not self.is_flat and isinstance(layer, LocalLinear):
            return self._local(layer)
        if not self.is_flat and isinstance(layer, Convolution):
            return self._convolution(layer)
        return f"is no linear map of channels{'' if self.is_flat else ' at every position'}"

    def _pool(self) -> str | None:
        if self.is_flat or self.length == 1:
            return "has one position only to pool"
        self.length //= 2
        self.maps.append(None)
        return None

    def _flatten(self, layer: nn.Flatten) -> str | None:
        if self.length > 1 or (layer.start_dim, layer.end_dim) != (1, -1):
            return f"mixes channels with positions, of which {self.length} an axis are left to pool"
        self.is_flat = True
        return None

    def _local(self, layer: LocalLinear) -> str | None:
        positions = tuple(layer.weight.shape[2:])
        if positions != (self.length,) * self.n_axes:
            return f"has positions {positions}, and there are {self.length} along each axis"
        return self._map(layer.weight.flatten(2).movedim(2, 0))

    def _convolution(self, layer: Convolution) -> str | None:
        sizes = {"kernel_size": layer.kernel_size, "stride": layer.stride, "groups": [layer.groups]}
        wrong = [f"{name} other than 1" for name, given in sizes.items() if set(given) != {1}]
        wrong += ["padding"] * (not isinstance(layer.padding, str) and any(layer.padding))
        wrong += ["a bias"] * (layer.bias is not None)
        if len(layer.kernel_size) != self.n_axes:
            wrong = [f"{len(layer.kernel_size)} axes of positions, and there are {self.n_axes}"]
        return f"has {' and '.join(wrong)}" if wrong else self._map(layer.weight.flatten(1)[None])

    def _map(self, matrices: Tensor) -> str | None:
        outputs, inputs = matrices.shape[1:]
        if self.channels not in (None, inputs):
            return f"takes {inputs} channels and gets {self.channels}"
        before, self.channels = self.maps[-1], outputs
        self.maps[-1] = matrices.detach() if before is None else matrices.detach() @ before
        return None
