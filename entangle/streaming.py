r"""Certified spectra of every canonical cut for many samples, in memory linear in the samples.

Each block K gets an orthonormal basis U of a few vectors in its feature space, and every sample
its coordinates :math:`A = \mathcal A_K U` there. The reduced density matrix within the basis,
:math:`A^T (H_{K^c} \circ W W^T) A`, is summed over all pairs of samples, tile by tile. Its
eigenvalues are smaller than the true ones, one by one, so what they miss of the known total is
the discarded weight: an exact number, not an estimate.

The basis spans :math:`D_K b_s`, the tensor applied to the outside vectors :math:`b_s` of some
random samples (landmarks). The coordinates come from those of two children - a subset of the
products of their basis vectors, those of highest weight - or, where that would cost more,
exactly, as :math:`G_K \, W H_{K^c}[:, s]`. Seen upwards, the bases are a tree tensor network.

The sum over all pairs grows with the square of the samples. For very many, the outside gets a
basis too, made in the same way from the root down, and the Schmidt values are the singular values
of :math:`A^T W B`: linear in the samples but for the total, and still smaller than the true ones,
since each side is projected by itself; what both projections lose is the discarded weight.

The number of landmarks that a tolerance needs is found on a quarter of the samples first.

Source: Alexander et al. 2023, arXiv:2303.11249, for the Gram form of one cut. Randomised range
finder: Halko, Martinsson, Tropp 2011, SIAM Review 53, 217. The projection of one side with an
exact density matrix is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from entangle.axes import LabelWeights, LocalVectors
from entangle.gram import row_kronecker
from entangle.parallel import map_ordered
from entangle.partition import Node
from entangle.spectrum import CutSpectrum, discarded_weight_for
from entangle.sweep import SMALL_BLOCK, Spectra, SweepPlan, block_spectra
from entangle.tiles import TilePlan, tiles

__all__ = [
    "Terms",
    "gram_totals",
    "least_memory",
    "prefers_streaming",
    "streamed_spectra",
]

TILE = 256  # samples to a side of a tile at most
TILE_BYTES = 2**26  # of the products in one tile
DEVICE_TILE = 2048  # on a GPU
FIRST_LANDMARKS = 32
MOST_LANDMARKS = 0.5  # share of the samples beyond which all of them cost less
PILOT = 1024  # samples from which a quarter of them tells how many landmarks are needed
PROBES = 32  # random directions from which the weight of a product is estimated
ALL_PAIRS = 512  # products of the children's basis vectors that are kept without a look
MOST_PAIRS = 4096  # and those that a block keeps at most
ROUNDS = 5
LINEAR = 32768  # samples from which the sum over all pairs costs more than a second basis
FEED = 8  # a block that its parent builds on discards this much less
CUTOFF = 1e-12  # share of the largest squared length below which a direction is rounding
SLACK = 1.15  # more landmarks than predicted
FEWER = 0.8  # of those that a quarter of the samples needed: noise is a smaller part of more


@dataclass(frozen=True)
class Terms:
    """The product states of a data tensor, features in the order of a tree.

    Attributes
    ----------
    vectors
        Shape ``(features, local, samples)``.
    weights
        Shape ``(samples, labels)``.
    """

    vectors: LocalVectors
    weights: LabelWeights

    @property
    def n_samples(self) -> int:
        """Number of terms."""
        return self.vectors.shape[2]

    def take(self, rows: slice | Tensor) -> Terms:
        """Some of the terms."""
        return Terms(self.vectors[:, :, rows].contiguous(), self.weights[rows])

    def stripes(self, size: int) -> list[slice]:
        """Runs of at most ``size`` samples."""
        return [slice(b, min(b + size, self.n_samples)) for b in range(0, self.n_samples, size)]

    def tile(self, n_products: int) -> int:
        """Samples to a side of a tile of so many products."""
        if self.vectors.device.type != "cpu":
            return DEVICE_TILE
        fitting = math.isqrt(TILE_BYTES // (8 * max(n_products, 1)))
        return max(64, min(TILE, fitting // 64 * 64))


def gram_totals(terms: Terms, executor: Executor | None = None) -> tuple[float, float]:
    """Sum of the products of all kernels and weights over all pairs of samples, and of their
    absolute values, from tiles.
    """
    root = Node(0, terms.vectors.shape[0], 0, ())
    plan = TilePlan.of(root, inside=(root,))
    parts = terms.stripes(terms.tile(1))
    work = partial(_stripe_totals, [terms.take(part) for part in parts], plan)
    sums = list(map_ordered(work, range(len(parts) - 1, -1, -1), executor))
    return math.fsum(a for a, _ in sums), math.fsum(b for _, b in sums)


def _stripe_totals(cut: list[Terms], plan: TilePlan, i: int) -> tuple[float, float]:
    total = magnitude = 0.0
    out = None
    for j in range(i + 1):
        out = _between(plan, cut[i], cut[j], out)
        product = out[0] * (cut[i].weights @ cut[j].weights.T)
        times = 1.0 if i == j else 2.0
        total += times * float(product.sum())
        magnitude += times * float(product.abs().sum())
    return total, magnitude


def _between(plan: TilePlan, rows: Terms, columns: Terms, out: Tensor | None = None) -> Tensor:
    return tiles(plan, rows.vectors, columns.vectors, rows.weights, columns.weights, out)


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    """Product of matrices; on the CPU by the BLAS of numpy, whose kernels a user can choose."""
    if a.device.type == "cpu":
        return torch.from_numpy(np.matmul(a.numpy(), b.numpy()))
    return a @ b


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
    n_samples = float(terms.n_samples)
    local = terms.vectors.shape[1]
    blocks = [n for n in root.walk() if 0 < n.level <= deepest]
    large = [n for n in blocks if float(local) ** min(n.size, 64) > n_samples / 2]
    landmarks = 32.0 * (1e-2 / tolerance) ** 0.7
    if landmarks > MOST_LANDMARKS * n_samples:
        return False
    walk = 6 * len(large) * n_samples**3
    columns = sum(min(landmarks / math.sqrt(n.level), float(local) ** n.size) for n in large)
    stream = n_samples**2 * (6 * columns + 20 * len(blocks) + 3 * terms.vectors.shape[0])
    return stream < walk


# -- which blocks, and how many landmarks ------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
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
        Level of each block whose cut is asked for, by ``(start, stop)``.
    """

    root: Node
    generations: dict[int, list[Node]]
    small: list[Node]
    wanted: dict[tuple[int, int], int]

    @classmethod
    def of(cls, root: Node, plan: SweepPlan) -> _Layout:
        wanted = {
            (node.start, node.stop): node.level
            for node in root.walk()
            if 0 < node.level <= plan.deepest and node is not plan.twin
        }
        binary = _binary(root)
        generations: dict[int, list[Node]] = {}
        small: list[Node] = []
        pending = [(binary, 0)]
        while pending:
            node, depth = pending.pop()
            if node is not binary and _is_small(node, plan):
                small.append(node)
                continue
            if node is not binary:
                generations.setdefault(depth, []).append(node)
            pending.extend((child, depth + 1) for child in node.children)
        inside = {span for node in small for span in wanted if _holds(node, span)}
        small = [node for node in small if any(_holds(node, span) for span in inside)]
        return cls(binary, generations, small, wanted)

    def is_wanted(self, node: Node) -> bool:
        return (node.start, node.stop) in self.wanted


def _holds(node: Node, span: tuple[int, int]) -> bool:
    return node.start <= span[0] and span[1] <= node.stop


def _binary(node: Node) -> Node:
    """The same tree with at most two children a node; what is added has its parent's level."""
    children = [_binary(child) for child in node.children]
    while len(children) > 2:
        children = [
            Node(a.start, b.stop, node.level, (a, b))
            for a, b in zip(children[::2], children[1::2], strict=True)
        ]
    return Node(node.start, node.stop, node.level, tuple(children))


@dataclass
class _State:
    """What is known so far.

    Attributes
    ----------
    landmarks
        Number of landmarks of each generation.
    linear
        Whether the outside gets bases too, and every basis comes from smaller ones.
    coordinates
        Of the blocks that have a basis: shape ``(samples, basis)``.
    spectra
        Of the blocks of a generation that were worked out last.
    """

    landmarks: dict[int, int]
    linear: bool
    coordinates: dict[Node, Tensor]
    spectra: dict[Node, CutSpectrum]


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
    return _solve(root, terms, plan, executor, max_memory, advance)[0]


def _solve(
    root: Node,
    terms: Terms,
    plan: SweepPlan,
    executor: Executor | None,
    max_memory: float,
    advance: Callable[[int], None],
    linear: bool | None = None,
) -> tuple[Spectra, dict[int, int]]:
    """Spectra, and the number of landmarks each generation needed."""
    layout = _Layout.of(root, plan)
    linear = terms.n_samples > LINEAR if linear is None else linear
    first = _first_landmarks(root, terms, plan, executor, max_memory, layout, linear)
    state = _State(first, linear, {}, {})
    spectra: Spectra = {}
    small: list[Node] = layout.small
    growing = set(layout.generations)
    _fit(state, layout, terms, max_memory)
    for _ in range(ROUNDS):
        needed = _needed(state, layout, terms, plan)
        if linear:
            _bases(state, layout, terms, plan, needed, set(needed), executor)
            state.spectra |= _two_sided(state, layout, terms, plan, executor)
        else:
            evaluated = _bases(state, layout, terms, plan, needed, growing, executor)
            densities = _densities(state, layout, terms, small, evaluated, executor)
            for node in small:
                spectra |= _inside_spectra(node, densities[node], layout, plan, terms.n_samples)
            small = []
            for node in evaluated:
                values = torch.linalg.eigvalsh(densities[node])
                state.spectra[node] = _spectrum(values, node, plan, terms.n_samples)
        before = dict(state.landmarks)
        growing = _grow(state, layout, terms, plan, needed)
        _fit(state, layout, terms, max_memory)
        growing = {depth for depth in growing if state.landmarks[depth] > before[depth]}
        if not growing:
            break
    for node, found in state.spectra.items():
        if layout.is_wanted(node):
            spectra[node.start, node.stop] = found
    advance(len(spectra))
    return spectra, state.landmarks


def _first_landmarks(
    root: Node,
    terms: Terms,
    plan: SweepPlan,
    executor: Executor | None,
    max_memory: float,
    layout: _Layout,
    linear: bool,
) -> dict[int, int]:
    """Number of landmarks to begin with: what a quarter of the samples needed, and some more."""
    if terms.n_samples <= 2 * PILOT:
        return dict.fromkeys(layout.generations, FIRST_LANDMARKS)
    some = torch.randperm(terms.n_samples, generator=torch.Generator().manual_seed(0))
    part = terms.take(some[: terms.n_samples // 4].to(terms.weights.device))
    total, _ = gram_totals(part, executor)
    if not total > 0:
        return dict.fromkeys(layout.generations, FIRST_LANDMARKS)
    smaller = replace(plan, total=total)
    needed = _solve(root, part, smaller, executor, max_memory, lambda _: None, linear)[1]
    return {depth: math.ceil(FEWER * number) for depth, number in needed.items()}


def _fit(state: _State, layout: _Layout, terms: Terms, max_memory: float) -> None:
    """Keep the numbers of landmarks within the samples and the memory."""
    usable = int((terms.weights != 0).any(dim=1).sum())
    most = max(1, min(usable, int(MOST_LANDMARKS * terms.n_samples)))
    for depth, number in state.landmarks.items():
        state.landmarks[depth] = min(number, most)
    columns = sum(len(layout.generations[d]) * number for d, number in state.landmarks.items())
    fitting = max_memory / (24.0 * terms.n_samples)  # coordinates, columns of one step, a copy
    if columns > fitting:
        for depth, number in state.landmarks.items():
            state.landmarks[depth] = max(1, int(number * fitting / columns))


def _from_children(state: _State, layout: _Layout, terms: Terms, plan: SweepPlan, d: int) -> bool:
    """Whether coordinates from those of the children cost less than exact ones."""
    if state.linear:
        return True
    below = state.landmarks.get(d + 1, 0)
    whole = max(
        (
            plan.local**c.size
            for k in layout.generations[d]
            for c in k.children
            if _is_small(c, plan)
        ),
        default=0,
    )
    return 2 * min(max(below, whole) ** 2, MOST_PAIRS) <= terms.n_samples


def _is_small(node: Node, plan: SweepPlan) -> bool:
    """Whether a density matrix of the whole block serves it and all below."""
    return not node.children or float(plan.local) ** min(node.size, 64) <= SMALL_BLOCK


def _needed(state: _State, layout: _Layout, terms: Terms, plan: SweepPlan) -> dict[int, list[Node]]:
    """Blocks that need a basis: those asked for, and those that their parents build on."""
    if state.linear:
        return layout.generations
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
    state: _State,
    layout: _Layout,
    terms: Terms,
    plan: SweepPlan,
    needed: dict[int, list[Node]],
) -> set[int]:
    """Raise the numbers of landmarks where the tolerance is not met; the generations concerned."""
    if state.linear:
        return _grow_together(state, layout, terms, plan)
    growing = set()
    for depth, nodes in needed.items():
        feeds = depth - 1 in needed and _from_children(state, layout, terms, plan, depth - 1)
        ratios = [
            _growth(state.spectra[node], plan, feeds) for node in nodes if node in state.spectra
        ]
        ratio = max(ratios, default=1.0)
        before = state.landmarks[depth]
        state.landmarks[depth] = max(1, math.ceil(before * ratio))
        if ratio > 1:
            growing.add(depth)
    return growing


def _grow_together(state: _State, layout: _Layout, terms: Terms, plan: SweepPlan) -> set[int]:
    """The same where every cut loses what any basis above or below it loses.

    All generations grow by one factor, up to four times the number of weights that each
    generation's share of what may be lost asks for.
    """
    spectra = state.spectra
    if all(found.error_bound <= plan.tolerance for found in spectra.values()):
        return set()
    goal = min(max(found.goal(plan.tolerance), found.rounding) for found in spectra.values())
    share = _share(layout, terms, plan)
    worst = max(found.missing for found in spectra.values())
    factor = min(max((worst / goal) ** 0.7, 1.3), 4.0)
    growing = set()
    for depth, nodes in layout.generations.items():
        before = state.landmarks[depth]
        tails = [spectra[n].weights.sum() - np.cumsum(spectra[n].weights) for n in nodes]
        enough = 1 + max(int(np.count_nonzero(tail > share)) for tail in tails)
        state.landmarks[depth] = max(before, min(math.ceil(factor * before), 4 * enough))
        if state.landmarks[depth] > before:
            growing.add(depth)
    return growing


def _share(layout: _Layout, terms: Terms, plan: SweepPlan) -> float:
    """Weight that one basis may lose so that all of them together meet the tolerance."""
    loss = discarded_weight_for(2 * plan.tolerance, float(max(terms.n_samples, 2)))
    return loss / (2 * sum(len(nodes) for nodes in layout.generations.values()) + 2)


def _growth(found: CutSpectrum, plan: SweepPlan, feeds: bool) -> float:
    """Factor on the number of landmarks that meets the tolerance; below 1 if fewer would do.

    The discarded weight falls like a power of their number, taken from the weights found.
    """
    met = found.error_bound <= plan.tolerance or found.missing <= found.rounding
    goal = max(found.goal(plan.tolerance) / (FEED if feeds else 1), found.rounding)
    if met and (found.missing <= goal or not feeds):
        return 1.0
    third = found.weights[max(1, found.weights.size // 3) :].sum() + found.missing
    power = min(max(math.log(third / found.missing) / math.log(3), 0.5), 8.0)
    return min(max(SLACK * (found.missing / goal) ** (1 / power), 1.25), 4.0)


# -- bases -------------------------------------------------------------------------------------


def _bases(
    state: _State,
    layout: _Layout,
    terms: Terms,
    plan: SweepPlan,
    needed: dict[int, list[Node]],
    growing: set[int],
    executor: Executor | None,
) -> list[Node]:
    """Work out the coordinates of the generations that grow, children first; the blocks done."""
    usable = (terms.weights != 0).any(dim=1).nonzero()[:, 0].cpu()
    order = usable[torch.randperm(len(usable), generator=torch.Generator().manual_seed(1))]
    done: list[Node] = []
    exact: list[tuple[list[Node], Tensor]] = []  # with their tests; all of them in one pass
    for depth in sorted(growing & needed.keys(), reverse=True):
        nodes = needed[depth]
        marks = order[: state.landmarks[depth]].to(terms.weights.device)
        tests = _outside_columns(layout.root, terms, nodes, marks, executor)
        if _from_children(state, layout, terms, plan, depth):
            state.coordinates |= _exact_coordinates(layout.root, terms, exact, executor)
            exact = []
            pairs = [
                [_coordinates(child, state, terms) for child in node.children] for node in nodes
            ]
            items = zip(pairs, tests, tests[:, marks], strict=True)
            found = map_ordered(partial(_joined, _share(layout, terms, plan)), items, executor)
            state.coordinates |= dict(zip(nodes, found, strict=True))
        else:
            exact.append((nodes, tests))
        done += nodes
    state.coordinates |= _exact_coordinates(layout.root, terms, exact, executor)
    return done


def _coordinates(node: Node, state: _State, terms: Terms) -> Tensor:
    """Coordinates of the samples within a block: in its basis, or all of them."""
    if node.children and terms.vectors.shape[1] ** min(node.size, 64) > SMALL_BLOCK:
        return state.coordinates[node]
    return row_kronecker(terms.vectors[node.start : node.stop])


def _outside_columns(
    root: Node, terms: Terms, nodes: list[Node], marks: Tensor, executor: Executor | None
) -> Tensor:
    """Gram products of the outside of each node with the landmarks, ``(nodes, samples, marks)``."""
    return _columns(TilePlan.of(root, outside=nodes), terms, marks, executor)


def _columns(plan: TilePlan, terms: Terms, marks: Tensor, executor: Executor | None) -> Tensor:
    """Columns of the Gram products of a plan, ``(products, samples, marks)``."""
    landmarks = terms.take(marks)
    out = terms.weights.new_empty(plan.n_wanted, terms.n_samples, len(marks))

    def fill(part: slice) -> None:
        for b in range(0, len(marks), TILE):
            some = landmarks.take(slice(b, b + TILE))
            out[:, part, b : b + TILE] = _between(plan, terms.take(part), some)

    for _ in map_ordered(fill, terms.stripes(terms.tile(plan.n_wanted)), executor):
        pass
    return out


def _joined(lost: float, item: tuple[list[Tensor], Tensor, Tensor]) -> Tensor:
    """Coordinates of a block from those of its two children.

    Of all products of their basis vectors those are kept that hold all but a share ``lost`` of
    the weight, as estimated from random mixtures of the landmarks; of their span, the part that
    the landmarks reach.
    """
    children, tests, gram = item
    left, right = (A.T.contiguous() for A in children)
    n_pairs = len(left) * len(right)
    parts = [slice(b, b + TILE) for b in range(0, len(tests), TILE)]
    first = torch.arange(len(left), device=left.device).repeat_interleave(len(right))
    second = torch.arange(len(right), device=left.device).repeat(len(left))
    if n_pairs > ALL_PAIRS:
        lengths, directions = torch.linalg.eigh(gram)  # of the landmarks' outside vectors
        kept = lengths > lengths[-1] * CUTOFF
        generator = torch.Generator().manual_seed(len(gram))
        mixed = torch.randn(int(kept.sum()), PROBES, generator=generator, dtype=gram.dtype)
        mixed = mixed.to(gram.device) / lengths[kept].sqrt()[:, None]
        probe = _matmul(tests, directions[:, kept] @ mixed)
        images = tests.new_zeros(n_pairs, probe.shape[1])
        for part in parts:
            products = left[:, None, part] * right[None, :, part]
            images += _matmul(products.flatten(0, 1), probe[part])
        energies, pairs = images.square().sum(dim=1).sort(descending=True)
        tail = energies.sum() - energies.cumsum(0)
        number = min(int((tail > lost * energies.sum()).sum()) + 1, MOST_PAIRS)
        best = pairs[: max(number, tests.shape[1])].sort().values
        first, second = first[best], second[best]
    images = tests.new_zeros(len(first), tests.shape[1])
    for part in parts:
        products = left[:, part][first]
        products *= right[:, part][second]
        images += _matmul(products, tests[part])
    basis = torch.linalg.qr(images).Q
    out = tests.new_empty(len(tests), basis.shape[1])
    for part in parts:
        products = left[:, part][first]
        products *= right[:, part][second]
        out[part] = _matmul(products.T, basis)
    return out


def _exact_coordinates(
    root: Node, terms: Terms, blocks: list[tuple[list[Node], Tensor]], executor: Executor | None
) -> dict[Node, Tensor]:
    """Coordinates from the Gram products of the blocks themselves."""
    if not blocks:
        return {}
    nodes = [node for group, _ in blocks for node in group]
    tests = [
        torch.stack(list(map_ordered(_orthogonal, columns, executor))) for _, columns in blocks
    ]
    plan = TilePlan.of(root, inside=nodes)
    parts = terms.stripes(terms.tile(len(nodes)))
    work = partial(_stripe_images, [terms.take(part) for part in parts], plan, tests, parts)
    stripes = list(map_ordered(work, range(len(parts)), executor))
    images = [torch.cat(stripe, dim=1) for stripe in zip(*stripes, strict=True)]
    del stripes
    pairs = [pair for both in zip(tests, images, strict=True) for pair in zip(*both, strict=True)]
    return dict(zip(nodes, map_ordered(_normalised, pairs, executor), strict=True))


def _stripe_images(
    cut: list[Terms], plan: TilePlan, stacks: list[Tensor], parts: list[slice], i: int
) -> list[Tensor]:
    """Rows of the products of Gram matrices with the columns of stacks."""
    images = [A.new_zeros(len(A), cut[i].n_samples, A.shape[2]) for A in stacks]
    room = [torch.empty_like(image) for image in images]
    out = None
    for j, part in enumerate(parts):
        out = _between(plan, cut[i], cut[j], out)
        _add_products(images, out, [A[:, part] for A in stacks], room)
    return images


def _add_products(
    images: list[Tensor], matrices: Tensor, stacks: list[Tensor], room: list[Tensor]
) -> None:
    """Add the products of the matrices with their blocks to the images; ``room`` is overwritten."""
    begin = 0
    for image, A, product in zip(images, stacks, room, strict=True):
        some = matrices[begin : begin + len(A)]
        if image.device.type == "cpu":  # new memory for every product would cost as much
            np.matmul(some.numpy(), A.numpy(), out=product.numpy())
            image += product
        else:
            image.baddbmm_(some, A)
        begin += len(A)


def _orthogonal(test: Tensor) -> Tensor:
    return torch.linalg.qr(test).Q


def _normalised(item: tuple[Tensor, Tensor]) -> Tensor:
    """Coordinates in an orthonormal basis of the span of combinations of the samples' vectors."""
    combinations, images = item
    lengths, directions = torch.linalg.eigh(_matmul(combinations.T, images))
    kept = lengths > lengths[-1] * CUTOFF
    return _matmul(images, directions[:, kept] / lengths[kept].sqrt())


# -- both sides --------------------------------------------------------------------------------


def _two_sided(
    state: _State, layout: _Layout, terms: Terms, plan: SweepPlan, executor: Executor | None
) -> dict[Node, CutSpectrum]:
    """Spectra of all cuts from bases of their insides and outsides, from the root down."""
    usable = (terms.weights != 0).any(dim=1).nonzero()[:, 0].cpu()
    order = usable[torch.randperm(len(usable), generator=torch.Generator().manual_seed(2))]
    spectra: dict[Node, CutSpectrum] = {}
    outsides: dict[Node, Tensor] = {}
    parents, depth = [layout.root], 1
    while parents:
        pairs = [
            (child, parent, sibling)
            for parent in parents
            for child, sibling in zip(parent.children, parent.children[::-1], strict=True)
        ]
        nodes = [child for child, _, _ in pairs]
        if depth == 1:
            found = [_coordinates(sibling, state, terms) for _, _, sibling in pairs]
        else:
            most = max(state.landmarks.values(), default=FIRST_LANDMARKS)
            count = min(state.landmarks.get(depth, FIRST_LANDMARKS), most)
            marks = order[:count].to(terms.weights.device)
            tests = _inside_columns(layout.root, terms, nodes, marks, executor)
            children = [
                [outsides[parent], _coordinates(sibling, state, terms)]
                for _, parent, sibling in pairs
            ]
            items = zip(children, tests, tests[:, marks], strict=True)
            found = map_ordered(partial(_joined, _share(layout, terms, plan)), items, executor)
        outsides = dict(zip(nodes, found, strict=True))
        cuts = [node for node in nodes if node in state.coordinates or layout.is_wanted(node)]
        across = [
            (_coordinates(node, state, terms), outsides[node], terms.weights) for node in cuts
        ]
        for node, values in zip(cuts, map_ordered(_across, across, executor), strict=True):
            spectra[node] = _spectrum(values, node, plan, terms.n_samples)
        parents = [node for node in nodes if node.children and _is_open(node, layout)]
        depth += 1
    return spectra


def _is_open(node: Node, layout: _Layout) -> bool:
    """Whether a cut below is wanted."""
    return any(layout.is_wanted(below) for child in node.children for below in child.walk())


def _across(item: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Squared Schmidt values (not normalised) between two bases."""
    inside, outside, weights = item
    matrix = torch.cat([_matmul((inside * w[:, None]).T, outside) for w in weights.T], dim=1)
    return torch.linalg.svdvals(matrix).square()


def _inside_columns(
    root: Node, terms: Terms, nodes: list[Node], marks: Tensor, executor: Executor | None
) -> Tensor:
    """Gram products of each node with the landmarks, times the products of their weights."""
    columns = _columns(TilePlan.of(root, inside=nodes), terms, marks, executor)
    columns *= terms.weights @ terms.weights[marks].T
    return columns


# -- density matrices --------------------------------------------------------------------------


def _densities(
    state: _State,
    layout: _Layout,
    terms: Terms,
    small: list[Node],
    based: list[Node],
    executor: Executor | None,
) -> dict[Node, Tensor]:
    """Reduced density matrices (not normalised), each in its block's basis."""
    groups: dict[int, list[Node]] = {}
    coordinates = {node: _coordinates(node, state, terms) for node in [*small, *based]}
    for node, A in coordinates.items():
        groups.setdefault(A.shape[1], []).append(node)
    nodes = [node for group in groups.values() for node in group]
    stacks = [torch.stack([coordinates[node] for node in group]) for group in groups.values()]
    del coordinates
    tile_plan = TilePlan.of(layout.root, outside=nodes)
    parts = terms.stripes(terms.tile(len(nodes)))
    work = partial(_stripe_densities, [terms.take(p) for p in parts], tile_plan, stacks, parts)
    sums: list[Tensor] = []
    for found in map_ordered(work, range(len(parts) - 1, -1, -1), executor):
        sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
    densities = [density + density.mT for density in sums]
    return dict(zip(nodes, (one for stack in densities for one in stack), strict=True))


def _stripe_densities(
    cut: list[Terms], plan: TilePlan, stacks: list[Tensor], parts: list[slice], i: int
) -> list[Tensor]:
    """Share of the tiles left of the diagonal, and half of the one on it, of a stripe."""
    images = [A.new_zeros(len(A), cut[i].n_samples, A.shape[2]) for A in stacks]
    room = [torch.empty_like(image) for image in images]
    out = None
    for j in range(i + 1):
        out = _between(plan, cut[i], cut[j], out)
        if j == i:
            out *= 0.5
        _add_products(images, out, [A[:, parts[j]] for A in stacks], room)
    return [_matmul(A[:, parts[i]].mT, image) for A, image in zip(stacks, images, strict=True)]


def _spectrum(values: Tensor, node: Node, plan: SweepPlan, n_samples: int) -> CutSpectrum:
    """Spectrum of a cut from the eigenvalues of its density matrix within a basis."""
    max_rank = plan.max_rank(node.size, n_samples)
    weights = (values.clamp_min(0).sort(descending=True).values / plan.total).cpu().numpy()
    weights = weights[: int(min(max_rank, len(weights)))]
    missing = 1.0 - float(weights.sum())
    return CutSpectrum(weights, max(missing, 0.0), plan.rounding + max(-missing, 0.0), max_rank)


def _inside_spectra(
    block: Node, density: Tensor, layout: _Layout, plan: SweepPlan, n_samples: int
) -> Spectra:
    """Spectra of a small block and of every wanted block inside."""
    wanted = [node for node in block.walk() if layout.is_wanted(node)]
    return block_spectra(block, wanted, density, plan, n_samples)
