"""Schmidt values between bases of the inside and of the outside of every block.

The outside of a block is that of its parent and its sibling, so its basis comes from theirs as
that of a block comes from its children's. Each side is projected by itself: the weights found are
smaller than the true ones, one by one. No work here grows faster than the samples.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from entangle.bases import inside_columns, joined_coordinates
from entangle.layout import Layout, State, basis_spectrum, inside_spectra, is_whole
from entangle.parallel import map_ordered
from entangle.partition import Node
from entangle.spectrum import CutSpectrum
from entangle.sweep import SweepPlan
from entangle.terms import Terms, matmul

__all__ = ["two_sided_spectra"]

SUBTREES = 8  # from so many blocks abreast on, each goes its way down alone

Branch: TypeAlias = tuple[Node, Tensor, int]  # a block, coordinates of its outside, its depth


def two_sided_spectra(
    state: State, layout: Layout, terms: Terms, plan: SweepPlan, executor: Executor | None
) -> dict[Node, CutSpectrum]:
    """Spectra of all cuts from bases of their insides and outsides, from the root down."""
    work = _Descent(state, layout, terms, plan, terms.landmarks(seed=2))
    spectra: dict[Node, CutSpectrum] = {}
    left, right = layout.root.children
    level = [
        (left, state.within(right, terms), 1),
        (right, state.within(left, terms), 1),
    ]
    while 0 < len(level) < SUBTREES:
        for item in level:
            spectra |= work.across(item)
        level = [below for found in map_ordered(work.below, level, executor) for below in found]
    for found in map_ordered(work.all_below, level, executor):
        spectra |= found
    return spectra


@dataclass(frozen=True)
class _Descent:
    """What the walk down to the outsides of the blocks needs."""

    state: State
    layout: Layout
    terms: Terms
    plan: SweepPlan
    order: Tensor

    def all_below(self, branch: Branch) -> dict[Node, CutSpectrum]:
        """Spectra of a block and of all below it, depth first."""
        spectra = self.across(branch)
        for child in self.below(branch):
            spectra |= self.all_below(child)
        return spectra

    def below(self, branch: Branch) -> list[Branch]:
        """Build the bases of the outsides of the two halves of a block."""
        parent, outside, depth = branch
        if is_whole(parent, self.plan.local) or not self._is_open(parent):
            return []
        lost = self.layout.share(self.plan.tolerance, self.terms.n_samples)
        found = []
        for child, sibling in zip(parent.children, parent.children[::-1], strict=True):
            if is_whole(child, self.plan.local):
                count = 2 * self.plan.local**child.size  # its rank is no larger than half of it
            else:
                count = self.state.landmarks[depth + 1]
            marks = self.order[:count]
            tests = inside_columns(self.layout.root, self.terms, [child], marks, None)[0]
            pair = [outside, self.state.within(sibling, self.terms)]
            joined = joined_coordinates(lost, (pair, tests, tests[marks]))
            found.append((child, joined, depth + 1))
        return found

    def across(self, branch: Branch) -> dict[Node, CutSpectrum]:
        """Spectra of a block, or of all wanted blocks inside it if it has no basis."""
        node, outside, _ = branch
        inside, n_samples = self.state.within(node, self.terms), self.terms.n_samples
        parts = [matmul((inside * w[:, None]).T, outside) for w in self.terms.weights.T]
        matrix = torch.cat(parts, dim=1)
        if is_whole(node, self.plan.local):
            density = matrix @ matrix.T
            return inside_spectra(node, density, self.layout, self.plan, n_samples)
        values = torch.linalg.svdvals(matrix).square()
        return {node: basis_spectrum(values, node, self.plan, n_samples)}

    def _is_open(self, node: Node) -> bool:
        """Whether a cut below is wanted."""
        return any(self.layout.is_wanted(b) for child in node.children for b in child.walk())
