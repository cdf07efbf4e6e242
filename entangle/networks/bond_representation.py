r"""Vectors that samples leave at a bond of a network: its representation of them there.

Across a bond a network is :math:`T = \sum_a s_a\, u_a \otimes w_a` with orthonormal
:math:`u_a` over the block of features below it and :math:`w_a` over all else. A sample whose block
embeds as :math:`\Phi_A(x)` arrives as

.. math:: v_a(x) = \langle u_a, \Phi_A(x) \rangle .

Any invertible matrix may be put on a bond, and its inverse beside it, without a change of the
network. So vectors in the basis of the parameters have no spectrum of their own, and only in an
orthonormal basis of the block, here that of Schmidt, are there numbers to compare.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.data_tensor import DataTensor
from entangle.errors import DegenerateStateError, InputError
from entangle.networks.canonical import edge_matrix, orthogonalized
from entangle.networks.contraction import node_product
from entangle.networks.state import NetworkState
from entangle.networks.tensor_tree import TensorTree
from entangle.partition import Partition

__all__ = ["BondVectors", "bond_vectors"]


@dataclass(frozen=True, eq=False)
class BondVectors:
    """What samples leave at a bond.

    Attributes
    ----------
    values
        Coefficients along the Schmidt vectors of the block, those of the largest Schmidt value
        first, shape ``(samples, bond)``, float64; each up to a sign of its column.
    schmidt_values
        Of the network across the bond, descending, squares adding up to 1, shape ``(bond,)``.
    below
        Features of the block, ascending, shape ``(features,)``.
    """

    values: Tensor
    schmidt_values: Tensor
    below: Tensor

    @property
    def weighted(self) -> Tensor:
        """The same times the Schmidt values: what arrives where all above is an isometry."""
        return self.values * self.schmidt_values


@torch.no_grad()
def bond_vectors(network: NetworkState, tensor: DataTensor, partition: Partition) -> BondVectors:
    """Contract the block of a cut with the samples of a data tensor.

    Parameters
    ----------
    network
        A tree, or a matrix product state, of one bond at the cut.
    tensor
        Samples, by their local vectors, which have unit norm; weights do not count.
    partition
        The cut. The block is the smaller side, that with feature 0 where both are equal; labels
        are on the other.

    Raises
    ------
    PartitionError
        If the cut is no bond of the network.
    InputError
        If features or local dimensions differ.
    DegenerateStateError
        If the network is zero.

    Examples
    --------
    >>> from entangle import MatrixProductState
    >>> network = MatrixProductState(4, bond_dim=3)
    >>> tensor = DataTensor(torch.rand(10, 4))
    >>> bond_vectors(network, tensor, Partition([0, 1], 4)).values.shape
    torch.Size([10, 3])
    """
    if (network.n_features, network.local_dim) != (tensor.n_features, tensor.local_dim):
        raise InputError(
            f"the network has {network.n_features} features of dimension {network.local_dim}, the "
            f"data tensor {tensor.n_features} of {tensor.local_dim}; embed the samples as for "
            "the network"
        )
    tree = network.tensor_tree()
    lower, upper = network.edge_of(partition)
    sides = sorted((partition.block, partition.complement), key=lambda side: (side.size, side[0]))
    if _features(tree, lower, upper) != sides[0].tolist():
        lower, upper = upper, lower  # a network without labels may be seen from either side
    tree = orthogonalized(tree, upper)
    if tree.log_scale == -torch.inf:
        raise DegenerateStateError("the network is zero; its bonds carry nothing")
    found = _carried(tree, lower, upper, tensor.vectors)
    centre = edge_matrix(tree.tensors[upper], tree.axis(upper, lower))
    _, values, basis = torch.linalg.svd(centre, full_matrices=False)
    below = torch.from_numpy(sides[0].copy()).to(found.device)
    return BondVectors(found @ basis.mT.to(found), values.to(found), below)


def _features(tree: TensorTree, node: int, parent: int) -> list[int]:
    """Features of a subtree, ascending; a label among them is one beyond the last feature."""
    return sorted(
        feature for below, _ in _subtree(tree, node, parent) for feature in tree.opens(below)
    )


def _subtree(tree: TensorTree, node: int, parent: int) -> list[tuple[int, int]]:
    """Pairs of a node and its parent below an edge, parents first."""
    found, pending = [], [(node, parent)]
    while pending:
        found.append(pending.pop())
        pending += [(child, found[-1][0]) for child in tree.children(*found[-1])]
    return found


def _carried(tree: TensorTree, node: int, parent: int, vectors: Tensor) -> Tensor:
    """Carry local vectors, shape ``(features, local, samples)``, up to an edge."""
    arrived: dict[int, Tensor] = {}
    for here, above in reversed(_subtree(tree, node, parent)):
        names = [name for name in tree.axes[here] if name != above]
        parts = [vectors[~name].T if name < 0 else arrived.pop(name) for name in names]
        below = tree.tensors[here].movedim(tree.axis(here, above), 0).to(vectors)
        arrived[here] = node_product([part[:, None] for part in parts], below[None], False)[:, 0]
    return arrived[node]
