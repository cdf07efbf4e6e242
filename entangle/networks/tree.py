"""Tree tensor network over the canonical tree of a sequence or a grid.

Its bonds are the canonical cuts, so the entropy of data across them says what bonds it needs:
a state with entropy S across a cut has Schmidt rank at least exp(S) there. With one tensor a
level it is a convolutional arithmetic circuit.

Source: Shi, Duan, Vidal 2006, Phys. Rev. A 74, 022320; Cohen, Sharir, Shashua 2016,
arXiv:1509.05009 (arithmetic circuits); Alexander et al. 2023, arXiv:2303.11249 (the cuts).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from entangle.axes import Shape
from entangle.data_tensor import DataTensor
from entangle.errors import InputError
from entangle.hierarchy import hierarchical_svd
from entangle.networks.circuit import circuit_tensors
from entangle.networks.compiled import Schedule
from entangle.networks.conversion import tree_from_quimb
from entangle.networks.initialization import fill_leaf, fill_node
from entangle.networks.state import NetworkState
from entangle.networks.tensor_tree import TensorTree
from entangle.networks.tree_cuts import TreeCuts
from entangle.networks.tree_layout import (
    bond_shapes,
    canonical_tensor_tree,
    groups_of,
    require_fit,
    tree_schedule,
)
from entangle.networks.tree_product import tree_product
from entangle.partition import CanonicalTree, Partition

__all__ = ["TreeTensorNetwork"]


class TreeTensorNetwork(NetworkState):
    """Tree tensor network: binary over a sequence, 2^P-ary over a grid with P axes.

    Parameters
    ----------
    shape
        Number of features of a sequence, or the axis lengths of a grid; vectors come in
        row-major order.
    local_dim
        Length of a local vector.
    bond_dim
        Longest bond, or one for each level, that of the halves first. A bond is never longer
        than what it can carry: the bonds below it multiplied, or the space outside its block.
    n_labels
        Length of the label axis, at the root. 1: a scalar.
    shared
        One tensor for all nodes of a level whose tensors have one shape.
    generator
        Source of the random first values. Default: torch's own.
    dtype, device
        Of the parameters.

    Examples
    --------
    >>> import torch
    >>> from entangle import TreeTensorNetwork
    >>> network = TreeTensorNetwork((4, 4), bond_dim=3, n_labels=10)
    >>> values, log_scale = network(torch.rand(5, 16, 2))
    >>> values.shape, log_scale.shape
    (torch.Size([5, 10]), torch.Size([5]))
    """

    def __init__(
        self,
        shape: Shape,
        local_dim: int = 2,
        bond_dim: int | Sequence[int] = 10,
        n_labels: int = 1,
        shared: bool = False,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        tree = CanonicalTree(shape)
        several = isinstance(bond_dim, Sequence)
        bonds = list(bond_dim) if several else [bond_dim] * tree.depth
        if len(bonds) != tree.depth or min([*bonds, local_dim, n_labels]) < 1:
            raise InputError(
                f"bond_dim is a positive number or {tree.depth} of them, one a level, and "
                f"local_dim and n_labels are positive; got {bond_dim}, {local_dim}, {n_labels}"
            )
        shapes = bond_shapes(tree, local_dim, bonds, n_labels)
        self._arrange(tree, shapes, shared, dtype, device)
        self.initialize(generator=generator)

    def _arrange(
        self,
        tree: CanonicalTree,
        shapes: Sequence[tuple[int, ...]],
        shared: bool,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> None:
        """Make the parameters, without values."""
        require_fit(tree, shapes)
        self.tree, self.shared = tree, shared
        self.node_shapes = tuple(tuple(shape) for shape in shapes)
        self.groups = groups_of(tree, shapes)
        self._cuts = TreeCuts(tree)
        self.n_features, self.n_labels = tree.n_features, shapes[0][0]
        self.local_dim = shapes[-1][1]
        self.tensors = torch.nn.ParameterList(
            torch.empty(1 if shared else len(g.nodes), *g.shape, dtype=dtype, device=device)
            for g in self.groups
        )
        self._add_buffers([group.features for group in self.groups], device)

    def extra_repr(self) -> str:
        """Shape, bonds and labels in short."""
        longest = max(shape[0] for shape in self.node_shapes[1:])
        return (
            f"shape={self.tree.shape}, local_dim={self.local_dim}, bond_dim={longest}, "
            f"n_labels={self.n_labels}, shared={self.shared}"
        )

    @property
    def _is_shared(self) -> bool:
        return self.shared

    def _fill(self, constants: Tensor, noise: float, generator: torch.Generator | None) -> None:
        for group, parameter in zip(self.groups, self.tensors, strict=True):
            random = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if group.features is not None:
                filled = fill_leaf(constants[group.features][: len(parameter)], random)
            else:
                filled = fill_node(random, noise, is_root=group.level == 0)
            parameter.copy_(filled)

    def _elements(self) -> list[Tensor]:
        return list(self.tensors)

    def _scheduled(self) -> Schedule:
        return tree_schedule(self.tree, self.groups, self.shared)

    def _product(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        places = [getattr(self, f"features_{number}") for number in range(len(self.groups))]
        return tree_product(self.groups, places, list(self.tensors), vectors, self.shared)

    # -- as a state ------------------------------------------------------------------------

    @torch.no_grad()
    def node_tensors(self) -> list[Tensor]:
        """Copy all tensors, in the order of ``tree.root.walk()``, parents first.

        The root has axes (labels, child bonds...), others (bond, child bonds...), leaves
        (bond, local). The factor ``exp(log_factor)`` is not in them.
        """
        found: list[Tensor] = [torch.empty(0)] * len(self.node_shapes)
        for group, parameter in zip(self.groups, self.tensors, strict=True):
            stacked = parameter.detach().expand(len(group.nodes), *group.shape)
            for node, tensor in zip(group.nodes, stacked, strict=True):
                found[node] = tensor.clone()
        return found

    @classmethod
    @torch.no_grad()
    def from_node_tensors(
        cls, shape: Shape, tensors: Sequence[Tensor], shared: bool = False
    ) -> Self:
        """Build a network from its tensors, in the order and with the axes of `node_tensors`.

        With ``shared``, the first of all nodes of a level whose tensors have one shape serves all.

        Raises
        ------
        InputError
            If their number or their bonds do not fit the tree.
        """
        shapes = [tuple(tensor.shape) for tensor in tensors]
        tree, like = CanonicalTree(shape), tensors[0]
        network = cls._blank(tree, shapes, shared, like.dtype, like.device)
        for group, parameter in zip(network.groups, network.tensors, strict=True):
            parameter.copy_(torch.stack([tensors[node] for node in group.nodes[: len(parameter)]]))
        return network

    @classmethod
    def from_circuit(cls, module: torch.nn.Module, shape: Shape) -> Self:
        """Turn a convolutional arithmetic circuit into the tree that it is, exactly.

        Parameters
        ----------
        module
            ``torch.nn.Sequential`` of convolutions of size 1 or
            :class:`~entangle.networks.circuit.LocalLinear`,
            :class:`~entangle.networks.circuit.ProductPool`, and at the end ``Flatten`` and
            ``Linear``, all without bias.
        shape
            Lengths of the axes of its positions: all equal, a power of 2.

        Returns
        -------
        TreeTensorNetwork
            In the circuit's type, with one tensor a level if every map is shared. Its logits for
            vectors ``(batch, features, local)`` are the circuit's outputs for
            ``vectors.movedim(2, 1).reshape(batch, local, *shape)``.

        Raises
        ------
        InputError
            If a layer is no part of a circuit, or the positions cannot be pooled to one.
        MemoryLimitError
            If the tensors, of bonds to the power of children, would not fit.

        Examples
        --------
        >>> from torch.nn import Conv2d, Flatten, Linear, Sequential
        >>> from entangle.networks import ProductPool, TreeTensorNetwork
        >>> circuit = Sequential(
        ...     Conv2d(2, 4, 1, bias=False), ProductPool(), Conv2d(4, 5, 1, bias=False),
        ...     ProductPool(), Flatten(), Linear(5, 10, bias=False),
        ... )
        >>> TreeTensorNetwork.from_circuit(circuit, (4, 4)).n_labels
        10
        """
        tensors, shared = circuit_tensors(module, shape)
        return cls.from_node_tensors(shape, tensors, shared)

    @classmethod
    def from_data_tensor(
        cls,
        tensor: DataTensor,
        shape: Shape | None = None,
        *,
        bond_dim: int | Sequence[int] | None = None,
        error: float | None = None,
        max_memory: float | None = None,
        progress: bool = False,
    ) -> Self:
        """Project a data tensor on a tree, never dense; see :func:`hierarchical_svd`.

        Parameters
        ----------
        tensor, shape, error, max_memory, progress
            As for :func:`~entangle.hierarchy.hierarchical_svd`.
        bond_dim
            Longest bond, or the longest of each level from 1 on. Default: any.

        Returns
        -------
        TreeTensorNetwork
            Float64; its ``certified_error`` bounds the distance from the data tensor over the
            norm of that.
        """
        found = hierarchical_svd(
            tensor, shape, width=bond_dim, error=error, max_memory=max_memory, progress=progress
        )
        network = cls.from_node_tensors(found.shape, found.tensors)
        return network._certified(found)

    def tensor_tree(self) -> TensorTree:
        """Return the tensors in float64, detached, numbered as in :meth:`node_tensors`."""
        return canonical_tensor_tree(self.tree, self.node_tensors(), float(self.log_factor))

    @classmethod
    def from_tensor_tree(cls, tree: TensorTree, arrangement: dict[str, Any]) -> Self:
        """Build a network from a tree numbered as in :meth:`node_tensors`."""
        network = cls.from_node_tensors(tuple(arrangement["shape"]), tree.tensors)
        network.log_factor.fill_(tree.log_scale)
        return network

    def arrangement(self) -> dict[str, Any]:
        """Return shape, tensor shapes and sharing, ready for JSON."""
        shapes = [list(shape) for shape in self.node_shapes]
        return {"shape": list(self.tree.shape), "node_shapes": shapes, "shared": self.shared}

    @classmethod
    def from_arrangement(cls, arrangement: dict[str, Any], dtype: torch.dtype) -> Self:
        """Build a network whose parameters are not set."""
        shapes = [tuple(shape) for shape in arrangement["node_shapes"]]
        tree = CanonicalTree(tuple(arrangement["shape"]))
        return cls._blank(tree, shapes, arrangement["shared"], dtype, None)

    def edge_of(self, partition: Partition) -> tuple[int, int]:
        """Find the bond of a cut: the node below it and the one above."""
        return self._cuts.edge_of(partition, self.n_labels > 1)

    @classmethod
    def from_quimb(cls, network: Any, shape: Shape) -> Self:
        """Build a network from a quimb one that is the canonical tree of a shape.

        Its open indices are ``k0``, ``k1``, ... and, with labels, ``label`` at the root.
        """
        return cls.from_node_tensors(shape, tree_from_quimb(network, CanonicalTree(shape)))
