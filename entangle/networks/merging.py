"""Two neighbouring sites of a chain merged to one tensor, and that one split again.

The norm of the chain is in what is merged, all else is orthonormal. So a singular value
decomposition of the merged tensor is that of the whole state across this bond, and the weight
that a split discards is that of the state.

Source: White 1992, Phys. Rev. Lett. 69, 2863.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.errors import InputError
from entangle.networks.canonical import orthogonalized
from entangle.networks.matrix_product import MatrixProductState

__all__ = ["Chain", "Split", "split_matrix"]


@dataclass(frozen=True)
class Split:
    """How a merged tensor is taken apart.

    Attributes
    ----------
    bond_dim
        Longest bond.
    truncation
        Share of the squared norm that may be discarded where ``bond_dim`` does not force more.
    """

    bond_dim: int
    truncation: float

    def __post_init__(self) -> None:
        if not 0 <= self.truncation < 1:
            raise InputError(
                f"truncation is at least 0 and below 1, got {self.truncation}; 0.01 discards a "
                "hundredth of the weight of a merged tensor"
            )


def split_matrix(matrix: Tensor, split: Split, forth: bool) -> tuple[Tensor, Tensor]:
    """Take a matrix apart; the factor that the sweep leaves behind is an isometry.

    Parameters
    ----------
    matrix
        Shape ``(rows, columns)``.
    forth
        Whether the sweep goes to the right.

    Returns
    -------
    tuple
        Shapes ``(rows, bond)`` and ``(bond, columns)``, one element of the bond at least.
    """
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    weights = values.square()
    tails = weights.flip(0).cumsum(0).flip(0)  # what is discarded with 0, 1, ... values kept
    kept = int((tails > split.truncation * tails[0]).sum())
    kept = max(1, min(kept, split.bond_dim))
    left, values, right = left[:, :kept], values[:kept], right[:kept]
    left, right = (left, values[:, None] * right) if forth else (left * values, right)
    return left.to(matrix.dtype), right.to(matrix.dtype)


@dataclass(frozen=True)
class Chain:
    """Sites of a matrix product state whose norm is at one end, times ``exp(log_scale)``.

    Attributes
    ----------
    sites
        Shapes ``(left, local, right)``; that of the labels, ``(left, labels, right)``, is at
        ``label_site``.
    """

    sites: tuple[Tensor, ...]
    label_site: int
    log_scale: float

    @classmethod
    def from_network(cls, network: MatrixProductState) -> Chain:
        """Put the norm of a network with several labels at its left end."""
        tree = orthogonalized(network.tensor_tree(), 0)
        canonical = MatrixProductState.from_tensor_tree(tree, network.arrangement())
        given = next(network.parameters())
        sites = tuple(tensor.to(given) for tensor in canonical.site_tensors())
        return cls(sites, network.label_site, tree.log_scale)

    def network(self) -> MatrixProductState:
        """Build the network, the scale spread evenly over its sites."""
        factor = math.exp(self.log_scale / len(self.sites))
        return MatrixProductState.from_site_tensors(
            [site * factor for site in self.sites], self.label_site
        )

    def merged(self, bond: int) -> Tensor:
        """Product of sites ``bond`` and ``bond + 1``: ``(left * local, local * right)``."""
        return self.sites[bond].flatten(0, 1) @ self.sites[bond + 1].flatten(1)

    def replaced(self, bond: int, left: Tensor, right: Tensor, log_scale: float) -> Chain:
        """Replace both sites of a bond by the factors of their product."""
        sites, length = list(self.sites), left.shape[1]
        sites[bond] = left.reshape(*sites[bond].shape[:2], length)
        sites[bond + 1] = right.reshape(length, *sites[bond + 1].shape[1:])
        return Chain(tuple(sites), self.label_site, log_scale)
