"""Networks as states: spectra, norms, canonical forms, truncation and samples.

All in float64 and without gradients, whatever the type of the parameters.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Self

import numpy as np
import torch
from torch import Tensor

from entangle.errors import DegenerateStateError, InputError
from entangle.networks.canonical import bond_spectra, cut_spectrum, orthogonalized
from entangle.networks.network import TensorNetwork
from entangle.networks.sampling import born_samples
from entangle.networks.tensor_tree import LARGEST_LOG, TensorTree, times_exp
from entangle.networks.truncation import truncated_tree
from entangle.partition import CanonicalTree, Node, Partition
from entangle.spectrum import CutSpectrum

__all__ = ["NetworkState"]


class NetworkState(TensorNetwork):
    """Tensor network that is asked for its entanglement."""

    @abstractmethod
    def edge_of(self, partition: Partition) -> tuple[int, int]:
        """Find the bond of a cut: its nodes without and with the label axis.

        Raises
        ------
        PartitionError
            If no bond of the network is that cut.
        """

    # -- spectra ---------------------------------------------------------------------------

    def _cut_values(self, partition: Partition) -> tuple[Tensor, float]:
        """Schmidt values across a cut, of unit norm and descending, and the log of the norm."""
        return cut_spectrum(self.tensor_tree(), *self.edge_of(partition))

    def _canonical_values(
        self, tree: CanonicalTree, nodes: Sequence[Node], max_memory: float | None
    ) -> Iterator[tuple[Node, Tensor]]:
        """Schmidt values across canonical cuts, of one norm."""
        edges = [self.edge_of(tree.partition(node)) for node in nodes]
        spectra = self._spectra()
        for node, edge in zip(nodes, edges, strict=True):
            yield node, spectra[min(edge), max(edge)]

    @torch.no_grad()
    def schmidt_values(self, partition: Partition) -> Tensor:
        """Schmidt values across a cut, descending, float64.

        A tree has them where the cut is a bond; a matrix product state also where it cuts
        neighbouring features off all others.

        The label axis is with the larger side; where both are equal, with the side without
        feature 0. The values are not normalised; without the factor common to all where no
        double holds it.

        Raises
        ------
        PartitionError
            If the network has no such cut.
        MemoryLimitError
            If several long bonds are cut at once, and their matrices would not fit.
        """
        return times_exp(*self._cut_values(partition))

    def _spectra(self) -> dict[tuple[int, int], Tensor]:
        """Schmidt values of unit norm for every bond, by its two nodes in ascending order."""
        found, _ = bond_spectra(self.tensor_tree())
        return {(min(edge), max(edge)): values for edge, values in found.items()}

    @torch.no_grad()
    def bond_schmidt_values(self) -> list[Tensor]:
        """Schmidt values across every bond, from one sweep there and one back.

        Returns
        -------
        list of Tensor
            Descending, squares adding up to 1, float64. The bonds of a chain run from left to
            right (one on either side of the label axis), those of a tree belong to the nodes
            below them, in the order of ``node_tensors()`` without the root.
        """
        found = self._spectra()
        return [found[edge] for edge in sorted(found, key=lambda edge: edge[1])]

    @torch.no_grad()
    def canonical_spectra(
        self,
        tree: CanonicalTree,
        deepest: int,
        tolerance: float,
        executor: Executor | None = None,
        max_memory: float | None = None,
        advance: Callable[[int], None] = lambda _: None,
        route: str = "auto",
    ) -> dict[Node, CutSpectrum]:
        """Spectra of all canonical cuts down to a level, for ``entanglement_profile``.

        They are exact up to rounding whatever the tolerance; an executor is not needed.

        Raises
        ------
        PartitionError
            If the network does not have one of the cuts.
        MemoryLimitError
            If matrices of cuts through several bonds would not fit; before they are built.
        """
        if route != "auto":
            raise InputError(
                f"route={route!r} is for data tensors; a {type(self).__name__} has exact Schmidt "
                "values, so leave the route out"
            )
        nodes = [node for node in tree.nodes if node.level <= deepest]
        if math.isinf(self.log_norm):
            raise DegenerateStateError("the network is zero; a zero tensor has no entropy")
        found = {}
        for node, values in self._canonical_values(tree, nodes, max_memory):
            weights = values.square().cpu().numpy()
            rounding = weights.size * float(np.finfo(np.float64).eps)
            found[node] = CutSpectrum(weights / weights.sum(), 0.0, rounding, float(weights.size))
            advance(1)
        return found

    # -- norms -----------------------------------------------------------------------------

    @property
    @torch.no_grad()
    def log_norm(self) -> float:
        """Logarithm of the Frobenius norm over features and labels; minus infinity for zero."""
        return orthogonalized(self.tensor_tree(), 0).log_scale

    @property
    def norm(self) -> float:
        """Frobenius norm over features and labels; infinity or 0 beyond the range of a double."""
        log = self.log_norm
        return math.exp(log) if log < 709 else math.inf

    @torch.no_grad()
    def inner(self, other: Self) -> tuple[float, float]:
        """Inner product with a network on the same tree, summed over features and labels.

        Returns
        -------
        tuple
            A value and the logarithm of its factor: the product is ``value * exp(log)``.

        Raises
        ------
        InputError
            If the networks' trees, local dimensions or labels differ.
        """
        mine, theirs = self.tensor_tree(), other.tensor_tree()
        alike = (self.local_dim, self.n_labels) == (other.local_dim, other.n_labels)
        if not alike or mine.axes != theirs.axes:
            raise InputError(
                "an inner product needs two networks on one tree with equal local dimension and "
                f"labels, got {self!r} and {other!r}"
            )
        return mine.inner(theirs)

    # -- other forms of the same state -----------------------------------------------------

    def _rebuilt(self, tree: TensorTree, centre: int) -> Self:
        """Network of a canonical tree, with the norm in the tensor at the centre."""
        tensors, log = list(tree.tensors), tree.log_scale
        if abs(log) < LARGEST_LOG:
            tensors[centre] = times_exp(tensors[centre], log)
        if abs(log) < LARGEST_LOG or log == -math.inf:
            log = 0.0
        return self.from_tensor_tree(tree.with_tensors(tensors, log), self.arrangement())

    @torch.no_grad()
    def canonicalize(self, centre: int | Partition = 0) -> Self:
        """Return the same state with all tensors but one isometries toward that one.

        Parameters
        ----------
        centre
            Place of the tensor in ``node_tensors()`` or ``site_tensors()``; or a cut, for the
            tensor at its bond on the side without the label axis.

        Returns
        -------
        NetworkState
            In float64, with own parameters for every node. The centre's norm is the network's.
        """
        node = self.edge_of(centre)[0] if isinstance(centre, Partition) else centre
        tree = self.tensor_tree()
        if not 0 <= node < len(tree.tensors):
            raise InputError(
                f"the tensors are numbered 0 to {len(tree.tensors) - 1}, got centre {node}"
            )
        return self._rebuilt(orthogonalized(tree, node), node)

    @torch.no_grad()
    def truncated(
        self, bond_dim: int | None = None, error: float | None = None
    ) -> tuple[Self, float]:
        """Return a network with shorter bonds, and how far it is from this one.

        Parameters
        ----------
        bond_dim
            Longest bond allowed.
        error
            Relative error allowed; an even share of what is left of it goes to each bond. Where
            both are given, ``bond_dim`` wins.

        Returns
        -------
        tuple
            Network in float64, canonical around its first tensor; and the distance of both
            networks over the norm of this one (2-norm over features and labels), exact up to
            rounding.

        Raises
        ------
        InputError
            If neither is given, or not in range.
        """
        if bond_dim is None and error is None:
            raise InputError("give the longest bond, bond_dim, or an error, such as error=0.01")
        if (bond_dim is not None and bond_dim < 1) or (error is not None and not 0 <= error < 1):
            raise InputError(
                f"bond_dim is at least 1 and error from 0 to 1, got {bond_dim} and {error}"
            )
        tree, made = truncated_tree(self.tensor_tree(), 0, bond_dim, error or 0.0)
        return self._rebuilt(tree, 0), made

    @torch.no_grad()
    def sample(
        self, n_samples: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw basis indices with probability amplitude squared over norm squared, exactly.

        Returns
        -------
        tuple
            Indices of the features, shape ``(samples, features)``, and of the label, shape
            ``(samples,)``, int64.
        """
        if math.isinf(self.log_norm):
            raise InputError("a network of norm 0 gives no probabilities; nothing to sample")
        drawn = born_samples(self.tensor_tree(), 0, n_samples, generator)
        return drawn[:, :-1], drawn[:, -1]
