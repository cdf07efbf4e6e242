r"""One bond, four spectra: of the network, of the data, and of the network's picture of the data.

With the embedded blocks :math:`\Phi_A(x_m)` of M samples, the rest of each,
:math:`\Phi_B(x_m)`, and its weights :math:`w_m` (a row for each sample), the data tensor has across
the cut

.. math:: \rho_A = \frac1{M^2} \sum_{mn} K_{mn}\, \Phi_A(x_m) \Phi_A(x_n)^T, \qquad
    K_{mn} = \langle\Phi_B(x_m), \Phi_B(x_n)\rangle \langle w_m, w_n\rangle,

whose eigenvalues are its squared Schmidt values. At a bond of a network with Schmidt vectors
:math:`U = (u_1, u_2, \dots)` over the block and values :math:`S = \operatorname{diag}(s)`, samples
are the vectors :math:`v_m = U^T \Phi_A(x_m)`, rows of V. Then, exactly:

1. :math:`V^T K V / M^2 = U^T \rho_A U`. So the second moment of the representation, pairs of
   samples weighted by how alike the rest of them is, has at most the data's squared Schmidt values,
   one by one (Cauchy), and has them all where the bond holds the data's Schmidt vectors. Its trace
   is the share of the data tensor that passes the bond.
2. :math:`V^T V / M = U^T G U` with :math:`G = \frac1M \sum_m \Phi_A \Phi_A^T`: the plain second
   moment, that of any hidden layer, is (1) for samples whose rests are orthogonal, K = 1. Unlike
   (1) it knows nothing of what the block has to do with the rest or with the labels.
3. :math:`S V^T V S / M = S U^T G U S`: where all above the bond is an isometry. For samples that
   fill their space evenly, G proportional to the identity, this is :math:`S^2`: the network's own
   squared Schmidt values. Of other samples it is the network's spectrum seen through the data.

So the two meet at both ends: weighted by S, a representation of isotropic samples has the spectrum
of the state; unweighted, one that loses nothing, of samples whose rests are orthogonal, has that of
the data. Elsewhere K, S and G tell what parts them.

Source: Schmidt decomposition, Nielsen and Chuang 2000, section 2.5; interlacing, Horn and Johnson
2013, theorem 4.3.28. The relation is derived here and tested as an identity.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entangle.data_tensor import DataTensor
from entangle.errors import DegenerateStateError
from entangle.gram import gram_product
from entangle.memory import free_memory, require_memory
from entangle.networks.bond_representation import bond_vectors
from entangle.networks.state import NetworkState
from entangle.partition import Partition

__all__ = ["BondComparison", "compare_at_bond"]

SCHEMA = 1
_MATRICES = 4  # of one number for each pair of samples, at once
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BondComparison:
    """Spectra at one bond, each descending; without ``projected`` each adds up to 1.

    Attributes
    ----------
    state
        Squared Schmidt values of the network.
    data
        Squared Schmidt values of the data tensor, labels with the larger side.
    projected
        Those of the data tensor that the bond lets through, over the same total as ``data``:
        identity (1). Each is at most that of ``data``.
    representation
        Second moment of the samples' vectors: identity (2).
    covariance
        The same with the mean taken off, as of any layer's activations.
    weighted
        Second moment of the vectors times the Schmidt values: identity (3).
    block_share
        Share of the squared norms of the embedded blocks that lies in the bond's space.
    """

    state: Array
    data: Array
    projected: Array
    representation: Array
    covariance: Array
    weighted: Array
    block_share: float

    @property
    def data_share(self) -> float:
        """Share of the data tensor's squared norm that passes the bond, from 0 to 1."""
        return float(self.projected.sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        spectra = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "block_share"}
        shares = {"block_share": self.block_share, "data_share": self.data_share}
        return {"schema": SCHEMA, **shares, **{k: v.tolist() for k, v in spectra.items()}}


@torch.no_grad()
def compare_at_bond(
    network: NetworkState, tensor: DataTensor, partition: Partition
) -> BondComparison:
    """Spectra of a network, of data and of the network's representation of them across one cut.

    Parameters
    ----------
    network, tensor, partition
        As for :func:`~entangle.networks.bond_vectors`; weights and labels of the
        tensor count.

    Raises
    ------
    PartitionError, InputError, DegenerateStateError
        As there; also if no sample passes the bond, or all pass it alike.
    MemoryLimitError
        If the matrices of pairs of samples would not fit.

    Examples
    --------
    >>> from entangle import TreeTensorNetwork
    >>> tensor = DataTensor(torch.rand(30, 4), embedding="trigonometric")
    >>> network = TreeTensorNetwork.from_data_tensor(tensor)
    >>> found = compare_at_bond(network, tensor, Partition([0, 1], 4))
    >>> bool(np.allclose(found.projected[:2], found.data[:2])), round(found.data_share, 6)
    (True, 1.0)
    """
    M = tensor.n_samples
    needed = 8.0 * _MATRICES * M * M
    require_memory(needed, f"pairs of {M} samples", free_memory(tensor.vectors.device))
    bond = bond_vectors(network, tensor, partition)
    v, rest = bond.values, torch.ones(tensor.n_features, dtype=torch.bool, device=bond.below.device)
    rest[bond.below] = False
    alike = gram_product(tensor.vectors[rest]) * (tensor.weights @ tensor.weights.T)
    total = float((gram_product(tensor.vectors[bond.below]) * alike).sum())
    moment = v.mT @ v / M
    centred = v - v[0]  # first, so that equal vectors are 0 exactly, and not what rounding leaves
    centred = centred - centred.mean(0)
    return BondComparison(
        _shares(bond.schmidt_values.square()),
        _shares(tensor.schmidt_values(partition).square()),
        _eigenvalues(v.mT @ alike @ v) / total,
        _shares(_eigenvalues(moment)),
        _shares(_eigenvalues(centred.mT @ centred)),
        _shares(_eigenvalues(bond.weighted.mT @ bond.weighted)),
        float(moment.trace()),
    )


def _eigenvalues(matrix: Tensor) -> Array:
    """Eigenvalues of a positive semidefinite matrix, descending, without the signs of rounding."""
    return torch.linalg.eigvalsh(matrix).flip(0).clamp_min(0).cpu().numpy()


def _shares(values: Any) -> Array:
    found = np.sort(torch.as_tensor(values).cpu().numpy())[::-1]
    if not found[0] > 0:
        raise DegenerateStateError(
            "the samples leave nothing at the bond, or all the same; pass samples that differ, "
            "embedded as for the network"
        )
    return found / found.sum()
