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

The sum over all pairs grows with the square of the samples. Where bases are short, small blocks
follow from a basis of what lies outside of the block they are in, without pairs, see
:mod:`entangle.nested`; for very many samples all blocks do, see :mod:`entangle.two_sided`.

The number of landmarks that a tolerance needs is found on a quarter of the samples first.

Source: Alexander et al. 2023, arXiv:2303.11249, for the Gram form of one cut. Randomised range
finder: Halko, Martinsson, Tropp 2011, SIAM Review 53, 217. The projection of one side with an
exact density matrix is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from entangle.bases import exact_coordinates, joined_coordinates, outside_columns
from entangle.densities import paired_densities
from entangle.layout import Layout, State, basis_spectrum, inside_spectra, is_whole
from entangle.nested import nested_spectra, outside_coordinates
from entangle.parallel import map_ordered
from entangle.partition import Node
from entangle.progress import Shares
from entangle.spectrum import CutSpectrum
from entangle.sweep import Spectra, SweepPlan
from entangle.terms import Terms, gram_totals
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
NESTED = 0.55  # share of what may be lost for the first of generations that lose it together
NEXT_NESTED = 0.4  # and for each next one, as a share of that of the one before
JOINED_PAIRS = 2048  # products of two children's basis vectors, at most
FORETOLD = 2.0  # times the landmarks of a pilot that need no look at their bases
NESTED_PRODUCT = 6  # multiply-adds for each product of basis vectors: 4, as bases will grow
PAIR_PRODUCT = 45  # multiply-adds that a block's product for a pair of samples costs
SLACK = 1.15  # more landmarks than predicted
FEWER = 0.65  # of those that a quarter of the samples needed: noise is a smaller part of more


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
        Takes stripes of samples and blocks; nested blocks only if its workers are threads.
    max_memory
        Bytes that the coordinates may use.
    advance
        Called with the number of cuts finished since the last call.
    """
    if terms.n_samples > LINEAR:
        return two_sided_spectra(root, terms, plan, executor, max_memory, advance)
    layout = Layout.of(root, plan)
    return _solve(layout, terms, plan, executor, max_memory, advance).wanted(layout)


def _solve(
    layout: Layout,
    terms: Terms,
    plan: SweepPlan,
    executor: Executor | None,
    max_memory: float,
    advance: Callable[[int], None],
    pilot: bool = False,
) -> State:
    """Spectra and bases; a pilot ends where it can tell how many landmarks they need."""
    state = _first_state(layout, terms, plan, executor, max_memory)
    progress = Shares(len(layout.wanted), advance)
    progress.reach(0.1)
    growing, grown, last, rounds = set(layout.generations), set(), 0, 0
    _fit(state, layout, terms, max_memory, {})
    while True:
        rounds += 1
        state.last_paired = _last_paired(state, layout, terms, plan)
        needed = _needed(state, layout, terms, plan)
        lost = {node: found.missing for node, found in state.spectra.items()}
        evaluated = _bases(state, layout, terms, plan, needed, growing, executor)
        progress.reach(0.4)
        blocks = {*layout.small}.union(*needed.values())
        evaluated += _pair(state, layout, terms, plan, blocks, evaluated, last, executor, progress)
        _nest(state, layout, terms, plan, blocks, evaluated, executor)
        last = state.last_paired
        progress.reach(0.9)
        if all(found.error_bound <= plan.tolerance for found in state.wanted(layout).values()):
            break
        before = dict(state.landmarks)
        growing = _grow(state, layout, terms, plan, needed)
        for depth in growing & grown:
            if all(state.spectra[n].missing > STUCK * lost[n] for n in needed[depth] if n in lost):
                state.landmarks[depth] = before[depth]
        _fit(state, layout, terms, max_memory, before)
        grown = {depth for depth in growing if state.landmarks[depth] > before[depth]}
        if pilot and all(state.landmarks[d] <= FORETOLD * before[d] for d in grown):
            break
        growing = growing if grown else set()
        if not grown or rounds == ROUNDS:
            nested = layout.inside(state.last_paired).intersection(state.spectra)
            met = all(state.spectra[node].error_bound <= plan.tolerance for node in nested)
            if not nested or (met and not grown):
                break
            # Nested blocks lose what several bases lose: on without them.
            state.last_paired, rounds = max(layout.generations) + 1, 0
    progress.reach(1.0)
    return state


def _first_state(
    layout: Layout,
    terms: Terms,
    plan: SweepPlan,
    executor: Executor | None,
    max_memory: float,
) -> State:
    """Begin with somewhat fewer landmarks than a quarter of the samples needed."""
    begin = State(dict.fromkeys(layout.generations, FIRST_LANDMARKS))
    if terms.n_samples <= 2 * PILOT:
        return begin
    usable = terms.landmarks(seed=0)
    part = terms.take(usable[: len(usable) // 4])
    total, magnitude = gram_totals(part, executor)
    if total <= CANCELLED * magnitude:
        return begin
    smaller = replace(plan, total=total)
    pilot = _solve(layout, part, smaller, executor, max_memory, lambda _: None, pilot=True)
    begin.alone = pilot.alone
    longer = FEWER / NESTED  # of bases that others are nested in: they lose less
    last = -1
    while begin.last_paired > last:
        last = begin.last_paired
        for depth, number in pilot.landmarks.items():
            nests = _share(layout, depth, last) < 1
            begin.landmarks[depth] = math.ceil((longer if nests else FEWER) * number)
        begin.last_paired = _last_paired(begin, layout, terms, plan)
    return begin


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
    return d not in state.alone and max(below, whole) <= _longest_joined(terms)


def _longest_joined(terms: Terms) -> int:
    """Longest bases of two children whose products are looked through."""
    return math.isqrt(min(JOINED_PAIRS, terms.n_samples))


def _last_paired(state: State, layout: Layout, terms: Terms, plan: SweepPlan) -> int:
    """Last generation whose cuts are summed over all pairs of samples; it never moves up.

    The blocks inside of it follow from bases of its outsides where that costs less: with r basis
    vectors outside and q and s within the halves, some r q s multiply-adds a sample, against s and
    a product for each other sample.
    """
    last = max(layout.generations, default=0) + 1
    if terms.vectors.device.type != "cpu":  # pairs cost little there
        return last

    def width(node: Node, depth: int) -> int:
        whole = is_whole(node, plan.local)
        return plan.local**node.size if whole else state.landmarks[depth]

    for depth in sorted(layout.generations, reverse=True):
        for node in layout.generations[depth]:
            q, s = sorted(width(child, depth + 1) for child in node.children)
            paired = terms.n_samples * (PAIR_PRODUCT + s)
            if NESTED_PRODUCT * state.landmarks[depth] * q * s > paired:
                return max(last, state.last_paired)
        last = depth
    return max(last, state.last_paired)


def _needed(state: State, layout: Layout, terms: Terms, plan: SweepPlan) -> dict[int, list[Node]]:
    """Blocks that need a basis: those asked for, and those that others build on."""
    needed: dict[int, list[Node]] = {}
    for depth in sorted(layout.generations):
        parents, last = needed.get(depth - 1, []), state.last_paired
        joined = bool(parents) and _from_children(state, layout, terms, plan, depth - 1)
        opened = [n for n in parents if joined or (depth > last and layout.is_open(n))]
        below = {child for node in opened for child in node.children}
        kept = [
            node
            for node in layout.generations[depth]
            if node in below or layout.is_wanted(node) or (depth == last and layout.is_open(node))
        ]
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

    A generation that lost too much through its children only is among them, as it is, and one
    whose children would need bases too long to be joined is from then on worked out alone.
    """
    growing: set[int] = set()
    found = state.spectra
    nested = [nodes for depth, nodes in needed.items() if depth >= state.last_paired]
    above = {child: node for nodes in nested for node in nodes for child in node.children}
    joined = {depth for depth in needed if _from_children(state, layout, terms, plan, depth)}
    for depth in sorted(needed, reverse=True):
        mended = depth + 1 in growing or depth in state.alone
        feeds, fed = depth - 1 in joined, depth in joined and mended
        share = _share(layout, depth, state.last_paired)

        cuts: list[tuple[CutSpectrum, float]] = []  # with what others lost
        for node in needed[depth]:
            others = [*node.children] if fed else []
            if node in above and not feeds:  # who builds on this generation cannot be blamed
                others.append(above[node])
            lost = sum(found[other].missing for other in others if other in found)
            cuts.append((found[node], lost))
        own = min(share, 1 / FEED) if feeds else share
        ratio = max(_growth(cut, plan, own, lost) for cut, lost in cuts)
        if feeds and state.landmarks[depth] * ratio > _longest_joined(terms):
            state.alone.add(depth - 1)
            ratio = max(_growth(cut, plan, share, lost) for cut, lost in cuts)
        if ratio > 1 or (fed and not _all_met(state, needed[depth], plan)):
            growing.add(depth)
        state.landmarks[depth] = math.ceil(state.landmarks[depth] * ratio)
    return growing


def _all_met(state: State, nodes: list[Node], plan: SweepPlan) -> bool:
    return all(state.spectra[node].error_bound <= plan.tolerance for node in nodes)


def _share(layout: Layout, depth: int, last_paired: int) -> float:
    """Share of what may be lost that a generation may lose itself.

    What it loses, and what the other half of its parent loses, the cuts of the blocks inside
    lose as well where they are not paired.
    """
    if depth < last_paired or last_paired not in layout.generations:
        return 1.0
    return NESTED * NEXT_NESTED ** (depth - last_paired)


def _growth(found: CutSpectrum, plan: SweepPlan, share: float, others: float) -> float:
    """Factor on the number of landmarks that meets the tolerance; 1 if they are enough.

    The discarded weight falls like a power of their number, taken from the weights found; what
    other bases lost, ``others``, those will make good.
    """
    met = found.error_bound <= plan.tolerance or found.missing <= found.rounding
    goal = max(share * found.goal(plan.tolerance), found.rounding)
    own = found.missing - others
    if (met and (own <= goal or share == 1)) or (others > 0 and own <= goal / 2):
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


def _pair(
    state: State,
    layout: Layout,
    terms: Terms,
    plan: SweepPlan,
    blocks: set[Node],
    evaluated: list[Node],
    last: int,
    executor: Executor | None,
    progress: Shares,
) -> list[Node]:
    """Work out the cuts that are summed over pairs, and the outsides that others follow from.

    Those are the cuts whose bases are new, and those that were inside the generation ``last`` and
    are not inside the last paired one now. They are returned.
    """
    nested = layout.inside(state.last_paired)
    fresh = (blocks & layout.inside(last)).union(evaluated) - nested
    nodes = [node for node in layout.root.walk() if node in fresh]
    if not nodes:
        return []
    outward = set(_outward(state, layout, blocks))
    state.outsides = {node: B for node, B in state.outsides.items() if node in outward}

    def reach(share: float) -> None:
        progress.reach(0.4 + 0.5 * share)

    sums = paired_densities(layout.root, terms, state, nodes, outward, executor, reach)
    for node, (density, images) in sums.items():
        if is_whole(node, plan.local):
            state.spectra |= inside_spectra(node, density, layout, plan, terms.n_samples)
            continue
        values = torch.linalg.eigvalsh(density)
        state.spectra[node] = basis_spectrum(values, node, plan, terms.n_samples)
        if images is not None:
            state.outsides[node] = outside_coordinates(images, density, terms)
    return nodes


def _outward(state: State, layout: Layout, blocks: set[Node]) -> list[Node]:
    """Blocks of the last paired generation that others are nested in."""
    last = layout.generations.get(state.last_paired, [])
    return [node for node in last if not blocks.isdisjoint(node.children)]


def _nest(
    state: State,
    layout: Layout,
    terms: Terms,
    plan: SweepPlan,
    blocks: set[Node],
    evaluated: list[Node],
    executor: Executor | None,
) -> None:
    """Work out the cuts inside the last generation that is summed over pairs."""
    last = _outward(state, layout, blocks)
    if {block for node in last for block in node.walk()}.isdisjoint(evaluated):
        return
    threads = executor if isinstance(executor, ThreadPoolExecutor) else None

    def work(node: Node) -> dict[Node, CutSpectrum]:
        return nested_spectra(node, state.outsides[node], blocks, state, layout, plan, terms)

    for found in map_ordered(work, last, threads):
        state.spectra |= found
