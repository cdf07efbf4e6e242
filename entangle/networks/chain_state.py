"""Chains as states: a cut of one bond, or of the few bonds around a run in the middle.

A chain has more cuts than bonds. Neighbouring features that do not begin at an end are cut off
by two bonds or three, whose Schmidt values are those of the run, see
:mod:`entangle.networks.run_spectra`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

from torch import Tensor

from entangle.networks.canonical import chain_spectra
from entangle.networks.chain_cuts import RunCut, bond_of_cut
from entangle.networks.chain_layout import chain_tree
from entangle.networks.run_spectra import CanonicalChain, canonical_run_values, cut_values
from entangle.networks.state import NetworkState
from entangle.networks.tensor_tree import TensorTree
from entangle.partition import CanonicalTree, Node, Partition

__all__ = ["ChainState"]


class ChainState(NetworkState):
    """Chain of tensors, a label axis among them, that is asked for its entanglement."""

    @abstractmethod
    def site_tensors(self) -> list[Tensor]:
        """Copy all tensors from left to right, shapes ``(left, local, right)``."""

    @property
    @abstractmethod
    def _label_place(self) -> int | None:
        """Place of the label tensor in :meth:`site_tensors`, if there is one."""

    def tensor_tree(self) -> TensorTree:
        """Return the tensors in float64, detached, numbered as in :meth:`site_tensors`."""
        return chain_tree(self.site_tensors(), self._label_place, float(self.log_factor))

    def edge_of(self, partition: Partition) -> tuple[int, int]:
        """Find the bond of a cut: its nodes without and with the label axis."""
        return bond_of_cut(partition, self.n_features, self._label_place)

    def _spectra(self) -> dict[tuple[int, int], Tensor]:
        tensors = [tensor.double() for tensor in self.site_tensors()]
        return {(n, n + 1): values for n, values in enumerate(chain_spectra(tensors))}

    def _cut_values(self, partition: Partition) -> tuple[Tensor, float]:
        cut = RunCut.of(partition, self.n_features, self._label_place)
        if len(cut.changes) == 1:
            return super()._cut_values(partition)
        chain = CanonicalChain.of(self.tensor_tree())
        return cut_values(chain, cut), chain.log_norm

    def _canonical_values(
        self, tree: CanonicalTree, nodes: Sequence[Node], max_memory: float | None
    ) -> Iterator[tuple[Node, Tensor]]:
        site, spectra, inner = self._label_place, self._spectra(), {}
        for node in nodes:
            cut = RunCut.of(tree.partition(node), self.n_features, site)
            if len(cut.changes) == 1:
                yield node, spectra[cut.changes[0] - 1, cut.changes[0]]
            else:
                inner[node] = cut
        if inner:
            chain = CanonicalChain.of(self.tensor_tree())
            yield from canonical_run_values(chain, tree, inner, site, max_memory)
