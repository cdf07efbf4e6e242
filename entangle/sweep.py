r"""Every canonical cut of a data tensor in one walk down the tree.

The Gram matrix of a node is the entrywise product of its children's, and that of a child's
complement is its parent's complement times the siblings: :math:`H_{child} = H_{node} \circ
\prod G_{siblings}`, never a division. The walk goes depth first and keeps one group of a few
generations in memory; below a group the Gram matrices are made again from the features,
which costs less than keeping them. A block with few rows (d^|K|) needs no Gram matrix of its
own: its reduced density matrix :math:`F^T H F` holds the spectra of all blocks inside it as
partial traces.

Source: Alexander et al. 2023, arXiv:2303.11249, for the Gram form of one cut. The shared walk
and the density matrices are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from entangle.axes import GramMatrix, LocalVectors
from entangle.gram import gram_product, row_kronecker
from entangle.parallel import map_ordered
from entangle.partition import Node
from entangle.spectrum import CutSpectrum, density_spectrum, gram_spectrum

__all__ = ["Subtree", "SweepPlan", "cut_spectra", "is_small", "matrices_needed", "reduced_density"]

GROUP_NODES = 4  # a group of generations ends where it has so many nodes abreast
SMALL_BLOCK = 64  # blocks with at most so many rows go through a density matrix

Spectra = dict[tuple[int, int], CutSpectrum]


@dataclass(frozen=True)
class SweepPlan:
    """What stays the same for every cut of one tensor.

    Attributes
    ----------
    total
        Squared norm of the tensor times the squared number of samples.
    rounding
        Trace distance to allow for floating-point rounding.
    tolerance
        Wanted entropy error bound in nats.
    deepest
        Level below which no cut is wanted.
    twin
        Node whose cut is that of its only sibling seen from the other side, to be left out.
    n_features, local, n_labels
        Size of the whole tensor.
    route
        As for :func:`entangle.spectrum.gram_spectrum`.
    """

    total: float
    rounding: float
    tolerance: float
    deepest: int
    twin: Node | None
    n_features: int
    local: int
    n_labels: int
    route: str = "auto"

    def max_rank(self, size: int, n_samples: int) -> float:
        """Upper bound of the Schmidt rank of a block of ``size`` features."""
        inside = float(self.local) ** min(size, 64)
        outside = float(self.local) ** min(self.n_features - size, 64) * self.n_labels
        return min(inside, outside, float(n_samples))


@dataclass(frozen=True)
class Subtree:
    """A node, the vectors of its features, and the Gram matrix of everything outside."""

    node: Node
    vectors: LocalVectors
    outside: GramMatrix

    def within(self, node: Node) -> LocalVectors:
        """Vectors of a descendant's features."""
        return self.vectors[node.start - self.node.start : node.stop - self.node.start]


Block: TypeAlias = tuple[Subtree, GramMatrix]  # with the Gram matrix of its own features


def cut_spectra(
    root: Subtree,
    plan: SweepPlan,
    executor: Executor | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Spectra:
    """Spectra of every node below ``root`` down to ``plan.deepest``, by ``(start, stop)``.

    ``advance`` is called with the number of cuts finished since the last call. The executor
    takes the blocks of the first group one by one, and then whole subtrees, each with the Gram
    matrix of its outside.
    """
    blocks, subtrees = _group(root, plan)
    spectra: Spectra = {}
    for found in map_ordered(partial(_block_spectra, plan), blocks, executor):
        spectra |= found
        advance(len(found))
    del blocks
    if executor is None:
        for subtree in subtrees:
            spectra |= cut_spectra(subtree, plan, advance=advance)
        return spectra
    for found in map_ordered(partial(cut_spectra, plan=plan), subtrees, executor):
        spectra |= found
        advance(len(found))
    return spectra


def matrices_needed(root: Node) -> int:
    """Count the samples x samples matrices alive at most in a walk below ``root``.

    A group holds two matrices for each of its nodes while it is worked on, and then one for
    each subtree that waits; the spectrum of a cut takes up to ten more.
    """
    branching = max(len(node.children) for node in root.walk())
    depth = max(node.level for node in root.walk()) - root.level
    return branching * (depth + 2) + 10


def _is_leaf(node: Node, plan: SweepPlan) -> bool:
    """Whether the walk needs no Gram matrices below ``node``."""
    return is_small(node, plan.local) or not node.children or node.level >= plan.deepest


def is_small(node: Node, local: int) -> bool:
    """Whether a density matrix serves the block and all below it."""
    return float(local) ** min(node.size, 64) <= SMALL_BLOCK


def _frontier(root: Node, plan: SweepPlan) -> set[Node]:
    """Descendants whose Gram matrices are made from features; those above are products."""
    frontier = [root]
    while True:
        opened = [
            child
            for node in frontier
            for child in ((node,) if node is not root and _is_leaf(node, plan) else node.children)
        ]
        if len(opened) == len(frontier):
            return set(frontier)
        frontier = opened
        if len(frontier) >= GROUP_NODES:
            return set(frontier)


def _group(root: Subtree, plan: SweepPlan) -> tuple[list[Block], list[Subtree]]:
    """Blocks of one group of generations, and the subtrees that go on below it."""
    frontier = _frontier(root.node, plan)
    inside = _gram_products(root, frontier)
    blocks: list[Block] = []
    below: list[Subtree] = []
    pending = [root]
    while pending:
        parent = pending.pop()
        for child in parent.node.children:
            subtree = Subtree(child, root.within(child), _without(child, parent, inside))
            if child is not plan.twin or is_small(child, plan.local):
                blocks.append((subtree, inside[child]))
            if not _is_leaf(child, plan):
                (below if child in frontier else pending).append(subtree)
    return blocks, below


def _gram_products(root: Subtree, frontier: set[Node]) -> dict[Node, GramMatrix]:
    """Gram matrices of all nodes below ``root`` down to the frontier, children first."""
    products: dict[Node, GramMatrix] = {}
    pending = list(root.node.children)
    above: list[Node] = []  # nodes before their children
    while pending:
        node = pending.pop()
        if node in frontier:
            products[node] = gram_product(root.within(node))
        else:
            above.append(node)
            pending.extend(node.children)
    for node in reversed(above):
        products[node] = products[node.children[0]].clone()
        for child in node.children[1:]:
            products[node] *= products[child]
    return products


def _without(child: Node, parent: Subtree, inside: dict[Node, GramMatrix]) -> GramMatrix:
    """Gram matrix of everything outside ``child``: its parent's outside times its siblings."""
    outside = parent.outside.clone()
    for sibling in parent.node.children:
        if sibling is not child:
            outside *= inside[sibling]
    return outside


def _block_spectra(plan: SweepPlan, block: Block) -> Spectra:
    """Spectrum of one block, and of all inside it if it is small."""
    subtree, inside = block
    node = subtree.node
    if is_small(node, plan.local):
        return _small_spectra(subtree, plan)
    rank = plan.max_rank(node.size, len(inside))
    found = gram_spectrum(
        inside, subtree.outside, plan.total, rank, plan.tolerance, plan.rounding, plan.route
    )
    return {(node.start, node.stop): found}


def _small_spectra(subtree: Subtree, plan: SweepPlan) -> Spectra:
    """Spectra of a small block and of every wanted block inside."""
    block, rows = subtree.node, row_kronecker(subtree.vectors)
    density = (rows.T @ (subtree.outside @ rows)).cpu()  # a GPU is slow with matrices so small
    spectra: Spectra = {}
    for node in block.walk():
        if node.level <= plan.deepest:
            reduced = reduced_density(density, block, node, plan.local)
            rank = plan.max_rank(node.size, rows.shape[0])
            found = density_spectrum(reduced, plan.total, rank, plan.rounding)
            spectra[node.start, node.stop] = found
    return spectra


def reduced_density(density: Tensor, block: Node, node: Node, local: int) -> Tensor:
    """Density matrix of a node inside ``block`` from that of the block, by a partial trace."""
    before = local ** (node.start - block.start)
    size, after = local**node.size, local ** (block.stop - node.stop)
    return torch.einsum("abcadc->bd", density.reshape(before, size, after, before, size, after))
