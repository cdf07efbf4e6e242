r"""Certified spectra of every canonical cut in a time that grows like the samples.

Every block gets a basis, and so does its outside. The basis of a block comes from the products of
its children's, leaves first; that of an outside from the products of the outside of the parent and
the sibling, from the root down. Each side of a cut is projected by itself, so the singular values
of :math:`A^T W B`, with the coordinates A and B of the samples on both sides, are smaller than the
true ones, one by one, and what they miss of the known total is the discarded weight: an exact
number.

A basis is the best that :math:`D_K b_s` shows, the tensor applied to the outside vectors
:math:`b_s` of some random samples (landmarks): with these made orthonormal, the left singular
vectors whose squared singular value, as a share of the total, is above one threshold for all
bases: what a tree discards adds up over its blocks, and one threshold loses least for the vectors
kept in all. Bases are chosen on some thousand samples, on more if those do not show what is rare;
all samples are only multiplied by them. The threshold that a tolerance needs is found on fewer
samples first.

Source: Halko, Martinsson, Tropp 2011, SIAM Review 53, 217, for the range finder; Grasedyck 2010,
SIAM J. Matrix Anal. Appl. 31, 2029, for losses that add up over a tree. The projection of both
sides is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from entangle.bases import inside_columns, outside_columns, pair_weights
from entangle.gram import row_kronecker
from entangle.layout import Layout, basis_spectrum, inside_spectra, is_whole
from entangle.parallel import map_ordered
from entangle.partition import Node
from entangle.progress import Shares
from entangle.spectrum import CutSpectrum
from entangle.sweep import Spectra, SweepPlan
from entangle.terms import Terms, gram_totals, matmul

__all__ = ["two_sided_spectra"]

PILOT = 4096  # samples on which the threshold is found
TEST_ROWS = 8192  # samples on which bases are chosen at first
MORE_ROWS = 4  # times as many, and as many landmarks, where they were too few
STUCK = 0.8  # share of what was lost before that is still lost where they are
FIRST_LANDMARKS = 32
OVERSAMPLING = 2  # landmarks to a basis vector
ALL_PAIRS = 512  # products of two bases that are kept without a look
MOST_PAIRS = 8192  # and those that are kept at most
ROWS = 256  # samples at a time, at least
RUN_ELEMENTS = 2**17  # of their products, if those are more
TEST_ELEMENTS = 2**25  # products with landmarks at a time
CUTOFF = 1e-12  # share of the largest squared length below which a direction is rounding
SUBTREES = 8  # from so many blocks abreast on, each goes its way down alone
COPIES = 2  # of all coordinates, at most
LONGEST = 512  # vectors of a basis: more of them take longer than the sum over all pairs
ROUNDS = 6
FIRST_SHARE = 1e-3  # threshold to begin with, of the weight that may be lost
AIM = 0.8  # of that weight is aimed at
HIGHEST = 0.1  # threshold: one vector is kept anyhow
WASTE = 0.4  # with less of it lost, longer bases than needed
CANCELLED = 1e-9  # share of the terms left over that a pilot is not worked out for
TINY = 1e-300

Branch: TypeAlias = tuple[Node, Tensor]  # a block, and the coordinates of its outside


def two_sided_spectra(
    root: Node,
    terms: Terms,
    plan: SweepPlan,
    executor: Executor | None = None,
    max_memory: float = math.inf,
    advance: Callable[[int], None] = lambda _: None,
) -> Spectra:
    """Spectra of every node below ``root`` down to ``plan.deepest``, by ``(start, stop)``.

    Where the tolerance asks for more basis vectors than fit in memory, or for more than 512 of a
    block, the discarded weight of the result is what was reached.

    Parameters
    ----------
    root
        Tree over the features.
    terms
        Product states, features in the order of the tree.
    plan
        What stays the same for every cut.
    executor
        Takes blocks, if its workers are threads.
    max_memory
        Bytes that the coordinates may use.
    advance
        Called with the number of cuts finished since the last call.
    """
    layout = Layout.of(root, plan)
    # A walk is one object that its threads share; other processes would not see what it finds.
    threads = executor if isinstance(executor, ThreadPoolExecutor) else None
    search, demand = _Search(), None
    progress = Shares(len(layout.wanted), advance)
    if terms.n_samples > 2 * PILOT:
        part = terms.take(terms.landmarks(seed=0)[:PILOT])
        total, magnitude = gram_totals(part, executor)
        if total > CANCELLED * magnitude:
            smaller = replace(plan, total=total)
            most = _most(layout, plan.local, part.n_samples, max_memory)
            walk = search.run(layout, part, smaller, threads, most, pilot=True)
            demand = {node: float(length) for node, length in walk.lengths.items()}
            search = _Search(search.threshold, search.seen, begun=True)
            progress.reach(0.1)
    most = _most(layout, plan.local, terms.n_samples, max_memory, demand)
    walk = search.run(layout, terms, plan, threads, most, progress.reach)
    progress.reach(1.0)
    return {(node.start, node.stop): found for node, found in walk.spectra.items()}


def _generations(root: Node, local: int) -> list[list[Node]]:
    """Blocks that have a basis, by depth, from the root's children on."""
    generations = [list(root.children)]
    while generations[-1]:
        opened = [node for node in generations[-1] if not is_whole(node, local)]
        generations.append([child for node in opened for child in node.children])
    return generations[:-1]


def _most(
    layout: Layout,
    local: int,
    n_samples: int,
    max_memory: float,
    demand: dict[Node, float] | None = None,
) -> dict[Node, int]:
    """Count the basis vectors that each block may have: those that fit in memory, up to a limit.

    Memory is shared out by demand; without one, every generation gets the same.
    """
    if demand is None:
        generations = _generations(layout.root, local)
        demand = {node: 1.0 / len(nodes) for nodes in generations for node in nodes}
    fitting = min(max_memory / (8.0 * n_samples * COPIES * sum(demand.values())), 1e12)
    return {node: max(1, min(int(fitting * share), LONGEST)) for node, share in demand.items()}


@dataclass
class _Search:
    """Search for the largest threshold at which the tolerance is met.

    Attributes
    ----------
    threshold
        To be tried next; from the tolerance if None.
    seen
        Thresholds tried, and the weight lost with them over that which may be lost.
    begun
        Whether other samples told where to begin: if more is lost, the samples on which bases are
        chosen were too few.
    """

    threshold: float | None = None
    seen: list[tuple[float, float]] = field(default_factory=list)
    begun: bool = False

    def run(
        self,
        layout: Layout,
        terms: Terms,
        plan: SweepPlan,
        executor: Executor | None,
        most: dict[Node, int],
        reach: Callable[[float], None] = lambda _: None,
        pilot: bool = False,
    ) -> _Walk:
        """Walk with one threshold after the other; the walk with the smallest error bound.

        A pilot goes on to larger thresholds where less is lost than may be.
        """
        whole = CutSpectrum(np.ones(1), 0.0, plan.rounding, float(max(terms.n_samples, 2)))
        threshold = self.threshold or FIRST_SHARE * whole.goal(plan.tolerance)
        best: _Walk | None = None
        n_rows, n_usable = TEST_ROWS, len(terms.landmarks(seed=1))
        n_marks, before = FIRST_LANDMARKS, math.inf
        for _ in range(ROUNDS):
            threshold = min(max(threshold, plan.rounding), HIGHEST)
            walk = _Walk(layout, terms, plan, executor, most, threshold, n_rows, n_marks)
            walk.go(reach)
            walk.inside.clear()  # no two walks hold theirs at once
            if best is None or walk.error_bound < best.error_bound:
                best = walk
            self.seen.append((walk.threshold, walk.share_lost))
            self.threshold = threshold = _next_threshold(self.seen)
            met = walk.error_bound <= plan.tolerance
            too_good = walk.share_lost <= WASTE and walk.threshold < HIGHEST
            if met and not (pilot and too_good):
                break
            if not met and walk.is_full:
                break
            if not met and n_rows < n_usable:
                n_rows *= MORE_ROWS
                threshold = max(threshold, walk.threshold / 2) if self.begun else threshold
            elif not met and walk.threshold <= plan.rounding and n_marks >= n_usable:
                break
            if walk.share_lost > STUCK * before:  # what is lost was not seen
                n_marks *= MORE_ROWS
            before = walk.share_lost
        assert best is not None
        return best


def _next_threshold(seen: list[tuple[float, float]]) -> float:
    """Threshold that loses what is aimed at, if losses are the power of it that they were last."""
    threshold, share = seen[-1]
    power = 0.5
    if len(seen) > 1 and seen[-2][0] != threshold and seen[-2][1] > 0 < share:
        before, lost = seen[-2]
        power = math.log(share / lost) / math.log(threshold / before)
    factor = (AIM / max(share, 1e-6)) ** (1 / min(max(power, 0.3), 1.5))
    return threshold * min(max(factor, 0.03), 100.0)


@dataclass
class _Walk:
    """One walk up the tree and down again.

    Attributes
    ----------
    layout, terms, plan, executor
        As for :func:`two_sided_spectra`.
    most
        Basis vectors that each block, and its outside, may have.
    threshold
        Smallest squared singular value kept, as a share of the total.
    n_rows
        Samples on which bases are chosen.
    n_marks
        Landmarks to begin with.
    inside
        Coordinates of the samples in the basis of each block, shape ``(samples, kept)``.
    lengths
        Their numbers of vectors, which stay when the coordinates go.
    spectra
        Of the cuts.
    is_full
        Whether a limit kept a basis from having all vectors above the threshold.
    """

    layout: Layout
    terms: Terms
    plan: SweepPlan
    executor: Executor | None
    most: dict[Node, int]
    threshold: float
    n_rows: int
    n_marks: int
    inside: dict[Node, Tensor] = field(default_factory=dict)
    lengths: dict[Node, int] = field(default_factory=dict)
    spectra: dict[Node, CutSpectrum] = field(default_factory=dict)
    is_full: bool = False

    def __post_init__(self) -> None:
        self._take_tests(seed=1)

    def _take_tests(self, seed: int) -> None:
        """Draw the samples on which bases are chosen, landmarks first."""
        order = self.terms.landmarks(seed)
        self._rows = order[: self.n_rows]
        self._test = self.terms.take(self._rows)
        self._scale = (len(order) / len(self._rows)) ** 2 / self.plan.total

    @property
    def error_bound(self) -> float:
        """Largest error bound of all cuts, in nats."""
        return max(found.error_bound for found in self.spectra.values())

    @property
    def share_lost(self) -> float:
        """Weight lost over that which the tolerance allows, at the cut where it is largest."""
        goals = ((found, found.goal(self.plan.tolerance)) for found in self.spectra.values())
        return max(found.missing / max(goal, TINY) for found, goal in goals)

    def go(self, reach: Callable[[float], None]) -> None:
        """Find the bases of all blocks, and then the spectra of all cuts.

        ``reach`` is told the share of the walk that is done.
        """
        for nodes in reversed(_generations(self.layout.root, self.plan.local)):
            self._go_up(nodes)
        reach(0.4)
        self._take_tests(seed=2)
        left, right = self.layout.root.children
        level = [(left, self.inside[right]), (right, self.inside[left])]
        while 0 < len(level) < SUBTREES:
            for branch in level:
                self.spectra |= self._across(branch)
            found = map_ordered(self._below, level, self.executor)
            level = [branch for some in found for branch in some]
        for done, some in enumerate(map_ordered(self._all_below, level, self.executor), start=1):
            self.spectra |= some
            reach(0.4 + 0.6 * done / len(level))

    # -- inside ----------------------------------------------------------------------------

    def _go_up(self, nodes: list[Node]) -> None:
        """Find the bases of blocks whose children have theirs, with as many landmarks as needed."""
        n_marks = self.n_marks
        while nodes:
            marks = self._marks(n_marks)
            abreast = max(1, TEST_ELEMENTS // (len(self._rows) * len(marks)))
            again: list[Node] = []
            for begin in range(0, len(nodes), abreast):
                some = nodes[begin : begin + abreast]
                tests = outside_columns(self.layout.root, self._test, some, marks, self.executor)
                work = zip(some, tests, strict=True)
                found = map_ordered(self._inside, work, self.executor)
                for node, coordinates in zip(some, found, strict=True):
                    if coordinates is None:
                        again.append(node)
                    else:
                        self.inside[node] = coordinates
                        self.lengths[node] = coordinates.shape[1]
            nodes, n_marks = again, 2 * n_marks

    def _inside(self, item: tuple[Node, Tensor]) -> Tensor | None:
        node, tests = item
        if is_whole(node, self.plan.local):
            vectors = self._vectors(node)
            return self._coordinates(node, (vectors, vectors.new_ones(len(vectors), 1)), tests)
        first, second = node.children
        return self._coordinates(node, (self.inside[first], self.inside[second]), tests)

    def _vectors(self, node: Node) -> Tensor:
        return row_kronecker(self.terms.vectors[node.start : node.stop])

    def _marks(self, number: int) -> Tensor:
        return torch.arange(min(number, len(self._rows)), device=self._rows.device)

    # -- outside ---------------------------------------------------------------------------

    def _all_below(self, branch: Branch) -> dict[Node, CutSpectrum]:
        """Spectra of a block and of all below it, depth first."""
        spectra = self._across(branch)
        for child in self._below(branch):
            spectra |= self._all_below(child)
        return spectra

    def _below(self, branch: Branch) -> list[Branch]:
        """Find the bases of the outsides of the two halves of a block."""
        parent, outside = branch
        if is_whole(parent, self.plan.local) or not self.layout.is_open(parent):
            return []
        found: list[Branch] = []
        for child, sibling in zip(parent.children, parent.children[::-1], strict=True):
            n_marks, joined = self.n_marks, None
            while joined is None:
                tests = inside_columns(child, self._test, self._marks(n_marks))
                joined = self._coordinates(child, (outside, self.inside[sibling]), tests)
                n_marks *= 2
            found.append((child, joined))
        return found

    def _across(self, branch: Branch) -> dict[Node, CutSpectrum]:
        """Spectra of a block, or of all wanted blocks inside it if its space is small."""
        node, outside = branch
        whole, n_samples = is_whole(node, self.plan.local), self.terms.n_samples
        if not whole and not self.layout.is_wanted(node):
            return {}
        inside = self._vectors(node) if whole else self.inside[node]
        parts = [matmul((inside * w[:, None]).T, outside) for w in self.terms.weights.T]
        matrix = torch.cat(parts, dim=1)
        if whole:
            return inside_spectra(node, matrix @ matrix.T, self.layout, self.plan, n_samples)
        values = torch.linalg.svdvals(matrix).square()
        return {node: basis_spectrum(values, node, self.plan, n_samples)}

    # -- one basis -------------------------------------------------------------------------

    def _coordinates(
        self, node: Node, parts: tuple[Tensor, Tensor], tests: Tensor
    ) -> Tensor | None:
        """Coordinates of all samples in a basis of products; None if landmarks are too few.

        ``tests`` are the products of the test samples with the landmarks on the other side.
        """
        n_marks = tests.shape[1]
        lengths, directions = torch.linalg.eigh(tests[:n_marks])
        sure = lengths > lengths[-1] * CUTOFF
        orthonormal = directions[:, sure] / lengths[sure].sqrt()
        left, right = (part[self._rows].T.contiguous() for part in parts)
        first, second = self._pairs(left, right, tests, orthonormal)
        images = tests.new_zeros(len(first), n_marks)
        for run in _runs(len(tests), len(first)):
            images += matmul(_products(left[:, run], right[:, run], first, second), tests[run])
        vectors, values = torch.linalg.svd(images @ orthonormal, full_matrices=False)[:2]
        above = max(1, int((values.square() * self._scale > self.threshold).sum()))
        most = self.most[node]
        enough = bool(sure.any()) and n_marks >= OVERSAMPLING * min(above, most, len(first))
        if not enough and n_marks < len(self._rows):
            return None
        if above > most:
            self.is_full = True
        basis = vectors[:, : min(above, most)]
        if not basis.shape[1]:  # nothing but rounding on the other side
            basis = torch.eye(len(first), 1).to(images)
        left, right = (part.T for part in parts)
        out = basis.new_empty(left.shape[1], basis.shape[1])
        for run in _runs(left.shape[1], len(first)):
            products = _products(
                left[:, run].contiguous(), right[:, run].contiguous(), first, second
            )
            out[run] = matmul(products.T, basis)
        return out

    def _pairs(
        self, left: Tensor, right: Tensor, tests: Tensor, orthonormal: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Basis vectors of both parts whose products are kept.

        All but those that together hold less than the threshold, as random mixtures of the
        landmarks estimate it.
        """
        n_pairs = len(left) * len(right)
        first = torch.arange(len(left), device=left.device).repeat_interleave(len(right))
        second = torch.arange(len(right), device=left.device).repeat(len(left))
        if n_pairs <= ALL_PAIRS:
            return first, second
        weights, pairs = pair_weights(left, right, tests, orthonormal).sort(descending=True)
        tail = (weights.sum() - weights.cumsum(0)) * self._scale
        number = min(int((tail > self.threshold).sum()) + 1, MOST_PAIRS)
        kept = pairs[:number].sort().values
        return first[kept], second[kept]


def _products(left: Tensor, right: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Products of rows of both, all of them (without gathering) or those at the places given."""
    if len(first) == len(left) * len(right):
        return (left[:, None] * right).flatten(0, 1)
    return left[first] * right[second]


def _runs(n_samples: int, n_products: int) -> list[slice]:
    """Cut the samples into runs whose products fit in a cache."""
    size = max(ROWS, RUN_ELEMENTS // n_products)
    return [slice(begin, begin + size) for begin in range(0, n_samples, size)]
