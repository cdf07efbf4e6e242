"""Blocks of a tree sorted by how they are worked out, and what is known of them so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from entangle.gram import row_kronecker
from entangle.partition import Node
from entangle.spectrum import CutSpectrum, discarded_weight_for
from entangle.sweep import SMALL_BLOCK, Spectra, SweepPlan, is_small, reduced_density
from entangle.terms import Terms

__all__ = ["Layout", "State", "basis_spectrum", "inside_spectra", "is_whole"]


def is_whole(node: Node, local: int) -> bool:
    """Whether a density matrix of the whole block serves it and all below: it needs no basis."""
    return not node.children or is_small(node, local)


@dataclass(frozen=True)
class Layout:
    """Blocks of a binary tree, sorted by how they are worked out.

    Attributes
    ----------
    root
        All features; every block has two children or none.
    generations
        Blocks that need a basis, by depth.
    small
        Blocks served whole, with all inside them, by density matrices.
    wanted
        ``(start, stop)`` of the blocks whose cuts are asked for.
    """

    root: Node
    generations: dict[int, list[Node]]
    small: list[Node]
    wanted: set[tuple[int, int]]

    @classmethod
    def of(cls, root: Node, plan: SweepPlan) -> Layout:
        """Sort the blocks of a tree."""
        wanted = {
            (node.start, node.stop)
            for node in root.walk()
            if 0 < node.level <= plan.deepest and node is not plan.twin
        }
        binary = _binary(root)
        generations: dict[int, list[Node]] = {}
        small: list[Node] = []
        pending = [(binary, 0)]
        while pending:
            node, depth = pending.pop()
            if node is not binary and is_whole(node, plan.local):
                small.append(node)
                continue
            if node is not binary:
                generations.setdefault(depth, []).append(node)
            pending.extend((child, depth + 1) for child in node.children)
        small = [n for n in small if any((b.start, b.stop) in wanted for b in n.walk())]
        return cls(binary, generations, small, wanted)

    def is_wanted(self, node: Node) -> bool:
        """Whether the cut of a block is asked for."""
        return (node.start, node.stop) in self.wanted

    def inside(self, depth: int) -> set[Node]:
        """All blocks inside those of a generation; of depth 0: all blocks."""
        blocks = self.generations.get(depth, []) if depth else [self.root]
        return {b for node in blocks for child in node.children for b in child.walk()}

    def is_open(self, node: Node) -> bool:
        """Whether the cut of a block inside this one is asked for."""
        return any(self.is_wanted(b) for child in node.children for b in child.walk())

    def share(self, tolerance: float, n_samples: int) -> float:
        """Weight that one basis may lose so that all of them together meet the tolerance."""
        loss = discarded_weight_for(2 * tolerance, float(max(n_samples, 2)))
        return loss / (2 * sum(len(nodes) for nodes in self.generations.values()) + 2)


def _binary(node: Node) -> Node:
    """Give each node at most two children; what is added has its parent's level."""
    children = [_binary(child) for child in node.children]
    while len(children) > 2:
        children = [
            Node(a.start, b.stop, node.level, (a, b))
            for a, b in zip(children[::2], children[1::2], strict=True)
        ]
    return Node(node.start, node.stop, node.level, tuple(children))


@dataclass
class State:
    """What is known so far.

    Attributes
    ----------
    landmarks
        Number of landmarks of each generation.
    coordinates
        Of the blocks that have a basis: shape ``(samples, basis)``.
    spectra
        Of every block, as it was worked out last.
    alone
        Generations whose bases are not built on those of their children.
    last_paired
        Last generation whose cuts are summed over all pairs of samples.
    outsides
        Coordinates of the samples in a basis of all that lies outside of its blocks.
    """

    landmarks: dict[int, int]
    coordinates: dict[Node, Tensor] = field(default_factory=dict)
    spectra: dict[Node, CutSpectrum] = field(default_factory=dict)
    alone: set[int] = field(default_factory=set)
    last_paired: int = 0
    outsides: dict[Node, Tensor] = field(default_factory=dict)

    def within(self, node: Node, terms: Terms) -> Tensor:
        """Coordinates of the samples within a block: in its basis, or all of them."""
        if is_whole(node, terms.vectors.shape[1]):
            return row_kronecker(terms.vectors[node.start : node.stop])
        return self.coordinates[node]

    def wanted(self, layout: Layout) -> Spectra:
        """Spectra of the cuts that are asked for, by ``(start, stop)``."""
        found = self.spectra.items()
        return {(n.start, n.stop): one for n, one in found if layout.is_wanted(n)}


def basis_spectrum(values: Tensor, node: Node, plan: SweepPlan, n_samples: int) -> CutSpectrum:
    """Spectrum of a cut from the eigenvalues of its density matrix within a basis."""
    max_rank = plan.max_rank(node.size, n_samples)
    return CutSpectrum.within_subspace(values, plan.total, max_rank, plan.rounding)


def inside_spectra(
    block: Node, density: Tensor, layout: Layout, plan: SweepPlan, n_samples: int
) -> dict[Node, CutSpectrum]:
    """Spectra of a small block and of every wanted block inside."""
    spectra = {}
    if len(density) <= SMALL_BLOCK:
        density = density.cpu()  # a GPU is slow with matrices so small
    for node in block.walk():
        if layout.is_wanted(node):
            values = torch.linalg.eigvalsh(reduced_density(density, block, node, plan.local))
            spectra[node] = basis_spectrum(values, node, plan, n_samples)
    return spectra
