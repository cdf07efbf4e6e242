r"""Truncations of one data tensor to different widths and errors.

To meet a wanted error with short bonds, eigenvalues of the blocks' density matrices are discarded
smallest first over all blocks together, up to one common threshold; the threshold is searched for.
A grid's block has more than two children: they are joined two by two, and then multiplied.

Source: Oseledets, Tyrtyshnikov 2009, SIAM J. Sci. Comput. 31, 3744; Grasedyck 2010, SIAM J. Matrix
Anal. Appl. 31, 2029; Oseledets 2011, SIAM J. Sci. Comput. 33, 2295 (chains). The common threshold
is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entangle.axes import Shape
from entangle.complements import ChainComplements, TreeComplements
from entangle.data_tensor import DataTensor
from entangle.errors import InputError, PartitionError
from entangle.isometries import Setting, Truncation
from entangle.memory import require_memory
from entangle.partition import CanonicalTree, Node
from entangle.projector import Projection, Projector
from entangle.terms import Terms
from entangle.truncated_tensor import TruncatedTensor

__all__ = ["Draft", "Reduction"]

SWEEPS = 12  # of the search for a threshold, at most
CLOSE = 0.9  # share of the allowed error from which on the search ends
STUCK = 1e-3  # relative change of the error that is none
SLOPE = 0.8  # of the logarithm of the squared error by that of the threshold, at first
LEAST = 1e-16  # threshold below which all is rounding
FARTHEST = 16.0  # ratio of two thresholds in a row
NARROW = 1.2  # ratio of thresholds that is not searched further
PAIRED = 4  # a block that only joins two children discards so much less
SPARE = 32  # and its bond may be twice as long and this longer


@dataclass(frozen=True, eq=False)
class Draft:
    """Truncated tensor with all its numbers, before the tensors of its network are multiplied."""

    result: TruncatedTensor
    projection: Projection


@dataclass(frozen=True, eq=False)
class Reduction:
    """Truncations of one data tensor on one tree; they share what does not depend on widths.

    Attributes
    ----------
    projector
        Works out the projections, on a binary tree.
    nodes
        Blocks in the order of the tensors, and for each the block of the binary tree.
    levels
        Level of each node.
    """

    shape: tuple[int, ...]
    projector: Projector
    nodes: dict[Node, Node]
    levels: NDArray[np.int64]
    log_scale: float
    is_chain: bool = False

    @classmethod
    def on_tree(
        cls, tensor: DataTensor, shape: Shape | None = None, max_memory: float | None = None
    ) -> Reduction:
        """Prepare for the canonical tree of a shape."""
        tree = CanonicalTree(tensor.n_features if shape is None else shape)
        if tree.n_features != tensor.n_features:
            raise PartitionError(
                f"shape {shape!r} has {tree.n_features} positions, the data tensor has "
                f"{tensor.n_features} features; their numbers must be equal"
            )
        order = torch.tensor(tree.order, device=tensor.vectors.device)
        terms = Terms(tensor.vectors[order], tensor.weights)
        pairs: dict[Node, Node] = {}
        root = _paired(tree.root, pairs)
        nodes = {node: pairs[node] for node in tree.root.walk()}
        levels = np.array([node.level for node in nodes])
        limit = tensor.free_memory if max_memory is None else max_memory
        complements = TreeComplements(root, terms)
        setting = Setting(root, terms, complements, *tensor.measured_total(), limit=limit)
        projector = Projector(setting)
        return cls(tree.shape, projector, nodes, levels, tensor.log_scale)

    @classmethod
    def on_chain(cls, tensor: DataTensor, max_memory: float | None = None) -> Reduction:
        """Prepare for the prefixes of the features."""
        terms = Terms(tensor.vectors, tensor.weights)
        prefixes, free = [Node(0, 1, 1, ())], []
        for place in range(1, tensor.n_features):
            free.append(Node(place, place + 1, place + 1, ()))
            prefixes.append(Node(0, place + 1, place + 1, (prefixes[-1], free[-1])))
        limit = tensor.free_memory if max_memory is None else max_memory
        complements = ChainComplements(prefixes[-1], terms)
        what = f"the Gram matrices of {tensor.n_samples} samples"
        require_memory(complements.memory(), what, limit)
        total, rounding = tensor.measured_total()
        setting = Setting(prefixes[-1], terms, complements, total, rounding, frozenset(free), limit)
        projector = Projector(setting)
        levels = np.arange(1, tensor.n_features + 1)
        nodes = {node: node for node in prefixes}
        return cls((tensor.n_features,), projector, nodes, levels, tensor.log_scale, True)

    def widths(self, width: int | Sequence[int] | None) -> dict[Node, int]:
        """Longest bond of each block that a width, or one for each level, allows.

        Raises
        ------
        InputError
            If a width is not a positive whole number, or their number is not that of the levels.
        """
        if width is None:
            return {}
        depth = int(self.levels.max())
        given = [width] * depth if isinstance(width, float | int | np.number) else list(width)
        if len(given) != depth or any(not float(w).is_integer() or w < 1 for w in given):
            raise InputError(
                f"width is a positive whole number, or one for each of the {depth} levels, got "
                f"{width!r}"
            )
        top = self.projector.setting.root
        return {
            node: int(given[level - 1])
            for node, level in zip(self.nodes.values(), self.levels, strict=True)
            if node is not top
        }

    def truncated(
        self,
        widths: dict[Node, int],
        threshold: float = 0.0,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Draft:
        """Truncate to bonds no longer than allowed, without eigenvalues up to a threshold.

        Parameters
        ----------
        widths
            Longest bond of each block of the binary tree; those without one may have any.
        threshold
            Share of the squared norm.
        advance
            Called with the number of blocks done since the last call.
        """
        inner = set(self.nodes.values())
        longest = 2 * max(widths.values(), default=0) + SPARE if widths else math.inf

        def most(node: Node) -> float:
            return widths.get(node, math.inf) if node in inner else longest

        def least(node: Node) -> float:
            return threshold if node in inner else threshold / PAIRED

        found = self.projector.project(Truncation(most, least), advance)
        lost = [self._lost(node, found, inner) for node in self.nodes.values()]
        norm = float(found.core.norm()) * self.projector.setting.terms.n_samples
        missing = 1.0 - norm**2 / self.projector.setting.total
        result = TruncatedTensor(
            shape=self.shape,
            tensors=(),
            widths=np.array([self._bond(node, found) for node in self.nodes.values()]),
            levels=self.levels,
            discarded_weight=np.array(lost),
            error=math.sqrt(max(missing, 0.0)),
            rounding=self.projector.setting.rounding + max(-missing, 0.0),
            log_scale=self.log_scale,
        )
        return Draft(result, found)

    def finished(self, draft: Draft) -> TruncatedTensor:
        """Add the tensors of the network; those of a grid's nodes are products of several."""
        bonds = dict(zip(self.nodes, draft.result.widths.tolist(), strict=True))
        if not self.is_chain:
            elements = sum(
                bond * math.prod(bonds[child] for child in node.children)
                for node, bond in bonds.items()
            )
            what = f"a tree network with bonds of up to {draft.result.width}"
            require_memory(16.0 * elements, what, self.projector.setting.limit, "allow less width")
        assemble = _sites if self.is_chain else self._node_tensors
        return replace(draft.result, tensors=tuple(assemble(draft.projection)))

    def within(
        self,
        error: float,
        widths: dict[Node, int] | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Draft:
        """Truncate at the highest threshold that keeps the certified error, nearly."""
        widths = widths or {}
        search = _Search(error, bool(widths))
        best = found = self.truncated(widths, search.threshold, advance)
        while search.goes_on(found.result):
            found = self.truncated(widths, search.threshold)
            if found.result.certified_error <= error or found.result.error < best.result.error:
                best = found
        return best

    def _bond(self, node: Node, found: Projection) -> int:
        if node is self.projector.setting.root:
            return found.core.shape[0]
        return found.isometries[node].tensor.shape[0]

    def _lost(self, node: Node, found: Projection, inner: set[Node]) -> float:
        """Weight that a block discarded, with those that join its children."""
        own = 0.0 if node is self.projector.setting.root else found.isometries[node].discarded
        return own + sum(self._lost(c, found, inner) for c in node.children if c not in inner)

    def _node_tensors(self, found: Projection) -> list[Tensor]:
        inner = set(self.nodes.values())

        def joined(node: Node) -> Tensor:
            """Multiply the tensors of a block and of those that join its children."""
            tensor = found.core if node is root else found.isometries[node].tensor
            for axis, child in reversed(list(enumerate(node.children, start=1))):
                if child in inner:
                    continue
                below = joined(child)
                product = torch.tensordot(tensor.movedim(axis, -1), below, dims=1)
                n_new = below.ndim - 1
                new = range(product.ndim - n_new, product.ndim)
                tensor = product.movedim(list(new), list(range(axis, axis + n_new)))
            return tensor

        root = self.projector.setting.root
        return [joined(node).contiguous() for node in self.nodes.values()]


class _Search:
    """Search for the threshold at which an error is just met, from above: short bonds cost less."""

    def __init__(self, error: float, capped: bool) -> None:
        self.error, self.capped, self.threshold = error, capped, error**2 / 4
        self._low, self._high = 0.0, math.inf
        self._tried: list[tuple[float, float]] = []

    def goes_on(self, found: TruncatedTensor) -> bool:
        """Take note of a result; whether another threshold is worth a try."""
        reached = found.certified_error
        self._tried.append((self.threshold, reached))
        if reached <= self.error:
            self._low = max(self._low, self.threshold)
            if reached >= CLOSE * self.error or found.width == 1:
                return False
        else:
            self._high = self.threshold
        factor = self._factor(reached)
        if len(self._tried) == SWEEPS or self._high < NARROW * self._low or not factor:
            return False
        self.threshold *= factor
        if not self._low < self.threshold < self._high:
            self.threshold = math.sqrt(self._low * self._high)
        return self.threshold > LEAST

    def _factor(self, reached: float) -> float:
        """How much higher the next threshold should be; 0 if another one changes nothing."""
        slope = SLOPE
        if len(self._tried) > 1:
            threshold, before = self._tried[-2]
            if abs(before / reached - 1) < STUCK:
                at_width = self.capped and self.threshold < threshold / 4 and not self._low
                far = FARTHEST if reached <= self.error else 1 / FARTHEST
                return 0.0 if at_width else far
            slope = 2 * math.log(reached / before) / math.log(self.threshold / threshold)
        aim = (1 + CLOSE) / 2 * self.error / reached
        factor = aim ** (2 / min(max(slope, 0.3), 3.0))
        return min(max(factor, 1 / FARTHEST), FARTHEST)


def _sites(found: Projection) -> list[Tensor]:
    """Site tensors of a chain, from the isometries of its prefixes."""
    prefixes = sorted((n for n in found.isometries if n.start == 0), key=lambda node: node.stop)
    tensors = [found.isometries[node].tensor for node in prefixes] + [found.core]
    first, *others = tensors
    sites = [first.T[None], *(tensor.permute(1, 2, 0) for tensor in others)]
    return [site.contiguous() for site in sites]


def _paired(node: Node, pairs: dict[Node, Node]) -> Node:
    """Give each node two children or none; note the counterpart of each."""
    children = [_paired(child, pairs) for child in node.children]
    while len(children) > 2:
        children = [
            Node(a.start, b.stop, node.level, (a, b))
            for a, b in zip(children[::2], children[1::2], strict=True)
        ]
    pairs[node] = Node(node.start, node.stop, node.level, tuple(children))
    return pairs[node]
