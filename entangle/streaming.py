r"""Certified spectra of every canonical cut for many samples, in memory linear in the samples.

Each block K gets a basis U of a few vectors in its feature space, orthogonal and of length 1 (or a
little less, by rounding), and every sample its coordinates :math:`A = \mathcal A_K U` there. The
reduced density matrix within the basis, :math:`A^T (H_{K^c} \circ W W^T) A`, is summed over all
pairs of samples, tile by tile. Its eigenvalues are smaller than the true ones, one by one, so what
they miss of the known total is the discarded weight: an exact number, not an estimate.

The basis spans :math:`D_K b_s`, the tensor applied to the outside vectors :math:`b_s` of some
random samples (landmarks). The coordinates come from those of two children - a subset of the
products of their basis vectors, those of highest weight - or, where that would cost more,
exactly, as :math:`G_K \, W H_{K^c}[:, s]`. Seen upwards, the bases are a tree tensor network.

The sum over all pairs grows with the square of the samples. For very many, the outside gets a
basis too, see :mod:`entangle.two_sided`.

The number of landmarks that a tolerance needs is found on a quarter of the samples first.

Source: Alexander et al. 2023, arXiv:2303.11249, for the Gram form of one cut. Randomised range
finder: Halko, Martinsson, Tropp 2011, SIAM Review 53, 217. The projection of one side with an
exact density matrix is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from entangle.bases import MOST_PAIRS, exact_coordinates, joined_coordinates, outside_columns
from entangle.layout import Layout, State, basis_spectrum, inside_spectra, is_whole
from entangle.parallel import map_ordered
from entangle.partition import Node
from entangle.progress import Shares
from entangle.spectrum import CutSpectrum
from entangle.sweep import Spectra, SweepPlan
from entangle.terms import Terms, gram_totals, matmul, stripe_products
from entangle.tiles import TilePlan
from entangle.two_sided import two_sided_spectra

__all__ = ["least_memory", "prefers_streaming", "streamed_spectra"]

FIRST_LANDMARKS = 32
MOST_LANDMARKS = 0.5  # share of the samples beyond which all of them cost less
PILOT = 1024  # samples from which a quarter of them tells how many landmarks are needed
FEW_SAMPLES = 2048  # fewer are worked out in full in seconds
ROUNDS = 5
COPIES = 7  # of all coordinates, at most, with tests, images and stacks
ABREAST = 8  # blocks whose tests are held at a time
CANCELLED = 1e-9  # share of the terms left over that a pilot is not worked out for
STUCK = 0.8  # a basis that grew and still loses this share of what it lost grows no more
LINEAR = 32768  # samples from which the sum over all pairs costs more than a second basis
FEED = 8  # a block that its parent builds on discards this much less
SLACK = 1.15  # more landmarks than predicted
FEWER = 0.6  # of those that a quarter of the samples needed: noise is a smaller part of more


def least_memory(terms: Terms, n_blocks: int) -> float:
    """Bytes that streaming takes with one basis vector a block: coordinates and a tile."""
    side = min(terms.tile(n_blocks), terms.n_samples)
    return 8.0 * n_blocks * (6 * terms.n_samples + side**2)


def prefers_streaming(
    root: Node, deepest: int, terms: Terms, tolerance: float, walk_fits: bool
) -> bool:
    """Whether streaming is expected to take less time than Gram matrices of all samples.

    The walk over Gram matrices decomposes one of each large block; streaming multiplies tiles by
    as many columns as there are landmarks, whose number grows as the tolerance falls. Both in
    multiply-adds, with constants measured on 1000 to 8000 rows of handwritten digits.
    """
    if not walk_fits:
        return True
    if terms.n_samples < FEW_SAMPLES:
        return False
    n_samples, local = float(terms.n_samples), float(terms.vectors.shape[1])
    blocks = [n for n in root.walk() if 0 < n.level <= deepest]
    large = [n for n in blocks if local ** min(n.size, 64) > n_samples / 2]
    landmarks = 32.0 * (1e-2 / tolerance) ** 0.7
    if landmarks > MOST_LANDMARKS * n_samples:
        return False
    walk = 6 * len(large) * n_samples**3
    columns = sum(landmarks / math.sqrt(n.level) for n in large)
    stream = n_samples**2 * (6 * columns + 20 * len(blocks) + 3 * terms.vectors.shape[0])
    return stream < walk


def streamed_spectra(
    root: Node,
    terms: Terms,
    plan: SweepPlan,
    executor: Executor | None = None,
    max_memory: float = math.inf,
    advance: Callable[[int], None] = lambda _: None,
) -> Spectra:
    """Spectra of every node below ``root`` down to ``plan.deepest``, by ``(start, stop)``.

    Where the tolerance asks for more landmarks than half of the samples, or than fit in memory,
    the discarded weight of the result is what was reached.

    Parameters
    ----------
    root
        Tree over the features.
    terms
        Product states, features in the order of the tree.
    plan
        What stays the same for every cut.
    executor
        Takes stripes of samples and blocks.
    max_memory
        Bytes that the coordinates may use.
    advance
        Called with the number of cuts finished since the last call.
    """
    if terms.n_samples > LINEAR:
        return two_sided_spectra(root, terms, plan, executor, max_memory, advance)
    return _solve(root, terms, plan, executor, max_memory, advance)[0]


def _solve(
    root: Node,
    terms: Terms,
    plan: SweepPlan,
    executor: Executor | None,
    max_memory: float,
    advance: Callable[[int], None],
) -> tuple[Spectra, dict[int, int]]:
    """Spectra, and the number of landmarks each generation needed."""
    layout = Layout.of(root, plan)
    first = _first_landmarks(root, terms, plan, executor, max_memory, layout)
    state = State(first, {}, {})
    small: list[Node] = layout.small
    progress = Shares(len(layout.wanted), advance)
    progress.reach(0.1)
    growing, grown = set(layout.generations), set()
    _fit(state, layout, terms, max_memory, {})
    for _ in range(ROUNDS):
        needed = _needed(state, layout, terms, plan)
        lost = {node: found.missing for node, found in state.spectra.items()}
        evaluated = _bases(state, layout, terms, plan, needed, growing, executor)
        progress.reach(0.4)
        densities = _densities(state, layout, terms, small, evaluated, executor, progress)
        for node in small:
            found = inside_spectra(node, densities[node], layout, plan, terms.n_samples)
            state.spectra |= found
        small = []
        for node in evaluated:
            values = torch.linalg.eigvalsh(densities[node])
            state.spectra[node] = basis_spectrum(values, node, plan, terms.n_samples)
        progress.reach(0.9)
        before = dict(state.landmarks)
        growing = _grow(state, layout, terms, plan, needed)
        for depth in growing & grown:
            if all(state.spectra[n].missing > STUCK * lost[n] for n in needed[depth] if n in lost):
                state.landmarks[depth] = before[depth]
        _fit(state, layout, terms, max_memory, before)
        grown = {depth for depth in growing if state.landmarks[depth] > before[depth]}
        if not grown:
            break
    progress.reach(1.0)
    wanted = {node: found for node, found in state.spectra.items() if layout.is_wanted(node)}
    return {(node.start, node.stop): found for node, found in wanted.items()}, state.landmarks


def _first_landmarks(
    root: Node,
    terms: Terms,
    plan: SweepPlan,
    executor: Executor | None,
    max_memory: float,
    layout: Layout,
) -> dict[int, int]:
    """Count the landmarks to begin with: somewhat fewer than a quarter of the samples needed."""
    if terms.n_samples <= 2 * PILOT:
        return dict.fromkeys(layout.generations, FIRST_LANDMARKS)
    some = torch.randperm(terms.n_samples, generator=torch.Generator().manual_seed(0))
    part = terms.take(some[: terms.n_samples // 4].to(terms.weights.device))
    total, magnitude = gram_totals(part, executor)
    if total < CANCELLED * magnitude:
        return dict.fromkeys(layout.generations, FIRST_LANDMARKS)
    smaller = replace(plan, total=total)
    needed = _solve(root, part, smaller, executor, max_memory, lambda _: None)[1]
    return {depth: math.ceil(FEWER * number) for depth, number in needed.items()}


def _fit(
    state: State, layout: Layout, terms: Terms, max_memory: float, before: dict[int, int]
) -> None:
    """Keep the numbers of landmarks within the samples, and what they grew by within memory."""
    most = max(1, min(len(terms.landmarks(seed=1)), int(MOST_LANDMARKS * terms.n_samples)))
    for depth, number in state.landmarks.items():
        state.landmarks[depth] = min(number, most)

    def columns(numbers: dict[int, int]) -> int:
        return sum(len(layout.generations[depth]) * n for depth, n in numbers.items())

    whole = 2 * sum(terms.vectors.shape[1] ** node.size for node in layout.small)
    fitting = max(0.0, max_memory / (8.0 * terms.n_samples) - whole) / COPIES
    held, grown = columns(before), columns(state.landmarks)
    if grown > max(fitting, held):
        share = max(0.0, (fitting - held) / (grown - held))
        for depth, number in state.landmarks.items():
            least = before.get(depth, 0)
            state.landmarks[depth] = max(1, least + int(share * (number - least)))


def _from_children(state: State, layout: Layout, terms: Terms, plan: SweepPlan, d: int) -> bool:
    """Whether coordinates from those of the children cost less than exact ones."""
    below = state.landmarks.get(d + 1, 0)
    whole = max(
        (
            plan.local**c.size
            for node in layout.generations[d]
            for c in node.children
            if is_whole(c, plan.local)
        ),
        default=0,
    )
    return max(below, whole) ** 2 <= min(MOST_PAIRS, terms.n_samples / 2)


def _needed(state: State, layout: Layout, terms: Terms, plan: SweepPlan) -> dict[int, list[Node]]:
    """Blocks that need a basis: those asked for, and those that their parents build on."""
    needed: dict[int, list[Node]] = {}
    for depth in sorted(layout.generations):
        kept = [node for node in layout.generations[depth] if layout.is_wanted(node)]
        parents = needed.get(depth - 1, [])
        if parents and _from_children(state, layout, terms, plan, depth - 1):
            below = {child for node in parents for child in node.children}
            kept = [n for n in layout.generations[depth] if n in below or layout.is_wanted(n)]
        if kept:
            needed[depth] = kept
    return needed


def _grow(
    state: State,
    layout: Layout,
    terms: Terms,
    plan: SweepPlan,
    needed: dict[int, list[Node]],
) -> set[int]:
    """Raise the numbers of landmarks where the tolerance is not met; the generations concerned.

    A generation that lost too much through its children only is among them, as it is.
    """
    growing: set[int] = set()
    joined = {depth for depth in needed if _from_children(state, layout, terms, plan, depth)}
    for depth in sorted(needed, reverse=True):
        feeds, fed = depth - 1 in joined, depth in joined and depth + 1 in growing
        ratio = 1.0
        for node in needed[depth]:
            below = [state.spectra[c].missing for c in node.children if c in state.spectra]
            ratio = max(ratio, _growth(state.spectra[node], plan, feeds, sum(below) * fed))
        if ratio > 1 or (fed and not _all_met(state, needed[depth], plan)):
            growing.add(depth)
        state.landmarks[depth] = math.ceil(state.landmarks[depth] * ratio)
    return growing


def _all_met(state: State, nodes: list[Node], plan: SweepPlan) -> bool:
    return all(state.spectra[node].error_bound <= plan.tolerance for node in nodes)


def _growth(found: CutSpectrum, plan: SweepPlan, feeds: bool, below: float) -> float:
    """Factor on the number of landmarks that meets the tolerance; 1 if they are enough.

    The discarded weight falls like a power of their number, taken from the weights found; what
    the children lost, ``below``, they will make good.
    """
    met = found.error_bound <= plan.tolerance or found.missing <= found.rounding
    goal = max(found.goal(plan.tolerance) / (FEED if feeds else 1), found.rounding)
    own = found.missing - below
    if (met and (own <= goal or not feeds)) or (below > 0 and own <= goal / 2):
        return 1.0
    own = max(own, found.rounding)
    third = found.weights[max(1, found.weights.size // 3) :].sum() + own
    power = min(max(math.log(third / own) / math.log(3), 0.5), 8.0)
    return min(max(SLACK * (own / goal) ** (1 / power), 1.25), 4.0)


# -- bases -------------------------------------------------------------------------------------


def _bases(
    state: State,
    layout: Layout,
    terms: Terms,
    plan: SweepPlan,
    needed: dict[int, list[Node]],
    growing: set[int],
    executor: Executor | None,
) -> list[Node]:
    """Work out the coordinates of the generations that grow, children first; the blocks done."""
    order = terms.landmarks(seed=1)
    lost = layout.share(plan.tolerance, terms.n_samples)
    done: list[Node] = []
    exact: list[tuple[list[Node], Tensor]] = []  # with their tests; all of them in one pass
    for depth in sorted(growing & needed.keys(), reverse=True):
        nodes = needed[depth]
        marks = order[: state.landmarks[depth]]
        if not _from_children(state, layout, terms, plan, depth):
            exact.append((nodes, outside_columns(layout.root, terms, nodes, marks, executor)))
            done += nodes
            continue
        state.coordinates |= exact_coordinates(layout.root, terms, exact, executor)
        exact = []
        for first in range(0, len(nodes), ABREAST):
            some = nodes[first : first + ABREAST]
            tests = outside_columns(layout.root, terms, some, marks, executor)
            pairs = [[state.within(c, terms) for c in node.children] for node in some]
            items = zip(pairs, tests, tests[:, marks], strict=True)
            found = map_ordered(partial(joined_coordinates, lost), items, executor)
            state.coordinates |= dict(zip(some, found, strict=True))
        done += nodes
    state.coordinates |= exact_coordinates(layout.root, terms, exact, executor)
    return done


# -- density matrices --------------------------------------------------------------------------


def _densities(
    state: State,
    layout: Layout,
    terms: Terms,
    small: list[Node],
    based: list[Node],
    executor: Executor | None,
    progress: Shares,
) -> dict[Node, Tensor]:
    """Reduced density matrices (not normalised), each in its block's basis."""
    groups: dict[int, list[Node]] = {}
    for node in [*small, *based]:
        whole = node not in state.coordinates
        width = terms.vectors.shape[1] ** node.size if whole else state.coordinates[node].shape[1]
        groups.setdefault(width, []).append(node)
    nodes = [node for group in groups.values() for node in group]
    stacks = [
        torch.stack([state.within(node, terms) for node in group]) for group in groups.values()
    ]
    tile_plan = TilePlan.of(layout.root, outside=nodes)
    parts = terms.stripes(terms.tile(len(nodes)))
    work = partial(_stripe_densities, [terms.take(p) for p in parts], tile_plan, stacks, parts)
    sums: list[Tensor] = []
    for i, found in enumerate(map_ordered(work, range(len(parts) - 1, -1, -1), executor), 1):
        sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
        progress.reach(0.4 + 0.5 * (1 - (1 - i / len(parts)) ** 2))  # the longest come first
    densities = [density + density.mT for density in sums]
    return dict(zip(nodes, (one for stack in densities for one in stack), strict=True))


def _stripe_densities(
    cut: list[Terms], plan: TilePlan, stacks: list[Tensor], parts: list[slice], i: int
) -> list[Tensor]:
    """Half of the share of a stripe: the other half is its transpose."""
    images = stripe_products(cut, plan, stacks, i, lower=True)
    return [matmul(A[:, parts[i]].mT, image) for A, image in zip(stacks, images, strict=True)]
