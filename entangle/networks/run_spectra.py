r"""Schmidt values across cuts through several bonds of a chain.

In the canonical form of a chain everything to the left and to the right of a run of sites is an
isometry, so the run has the Schmidt values of the matrix with its features as rows and the two
bonds beside it, at most :math:`R^2`, as columns. The rows are shortened as they get longer: a
triangular factor with as many rows as columns stands for all features taken up so far. No Gram
matrix is built, so every value is right to about 1e-16 of the largest.

One site more costs about :math:`2 d R^6` operations, for bonds R and local dimension d, and the
memory of some matrices of :math:`d R^2` rows and :math:`R^2` columns; with L labels between the
features of a run, its matrices have L times the columns. Canonical runs are built from their
halves: the first as it is, and the other as it is where its factor is no longer than its
sites, or site by site.

Source: Schollwoeck 2011, Ann. Phys. 326, 96 (canonical forms). Shortened runs are ours.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias, TypeVar

import torch
from torch import Tensor

from entangle.memory import require_memory
from entangle.networks.canonical import orthogonalized
from entangle.networks.chain_cuts import RunCut
from entangle.networks.tensor_tree import TensorTree, contracted
from entangle.partition import CanonicalTree, Node

__all__ = ["CanonicalChain", "canonical_run_values", "cut_values"]

COPIES = 4  # of the largest matrix that are held while it is decomposed

# Shape of a piece of a chain: (features inside, left bond, features outside, right bond). An
# orthonormal basis stands for the features wherever there are more than what is beside them.
Extent: TypeAlias = tuple[int, int, int, int]
Piece = TypeVar("Piece", Tensor, Extent)


@dataclass(frozen=True)
class CanonicalChain:
    """State of norm one, seen from every bond.

    Attributes
    ----------
    sites
        Shapes ``(left, local, right)``; all but the first are isometries toward the left.
    factors
        Triangular factor of all that is left of each site, shape ``(rank, left)``.
    log_norm
        Logarithm of the norm left out; minus infinity for zero.
    """

    sites: tuple[Tensor, ...]
    factors: tuple[Tensor, ...]
    log_norm: float

    @classmethod
    def of(cls, tree: TensorTree) -> Self:
        """Bring the tensors of a chain into this form."""
        canonical = orthogonalized(tree, 0)
        first, *middle, last = canonical.tensors
        sites = [first[None], *middle, last[..., None]]
        factors = [first.new_ones(1, 1)]
        for site in sites[:-1]:
            longer = contracted(factors[-1], site, [1], [0]).flatten(0, 1)
            factors.append(torch.linalg.qr(longer, mode="r").R)
        return cls(tuple(sites), tuple(factors), canonical.log_scale)

    def piece(self, site: int, inside: bool) -> Tensor:
        """One site, its feature on one side of a cut."""
        tensor = self.sites[site]
        return tensor.permute(1, 0, 2)[:, :, None] if inside else tensor[None]

    def left_end(self, site: int, inside: bool) -> Tensor:
        """All that is left of a site, on one side of a cut."""
        factor = self.factors[site]
        return factor[:, None, None] if inside else factor[None, None]


def cut_values(chain: CanonicalChain, cut: RunCut, max_memory: float | None = None) -> Tensor:
    """Schmidt values across a cut through any bonds, of unit norm and descending.

    Raises
    ------
    MemoryLimitError
        Before the matrices are built, if they would not fit.
    """
    inside = cut.starts_inside
    pieces = [chain.left_end(cut.changes[0], inside)]
    for first, last in itertools.pairwise(cut.changes):
        inside = not inside
        pieces += [chain.piece(site, inside) for site in range(first, last)]
    extents = [_extent(piece) for piece in pieces]
    _require_fit(lambda merge: _folded(extents, merge), max_memory)
    whole = _folded(pieces, _merged)[:, 0]  # what is to the right of it is on the other side
    matrix = whole.flatten(1) if inside else whole.movedim(1, 2).flatten(0, 1)
    return torch.linalg.svdvals(matrix)


def canonical_run_values(
    chain: CanonicalChain,
    tree: CanonicalTree,
    cuts: Mapping[Node, RunCut],
    label_site: int | None,
    max_memory: float | None = None,
) -> Iterator[tuple[Node, Tensor]]:
    """Schmidt values across the cuts of canonical runs, which share their work.

    Parameters
    ----------
    chain
        The state.
    tree
        Canonical tree whose runs are neighbours in the chain.
    cuts
        Nodes that are asked for, with their cuts.
    label_site
        Place of the label axis among the sites, if there is one.

    Yields
    ------
    tuple
        A node and its values, of unit norm and descending; in another order.

    Raises
    ------
    MemoryLimitError
        Before the matrices are built, if they would not fit.
    """
    features = [site != label_site for site in range(len(chain.sites))]
    pieces = [chain.piece(site, inside) for site, inside in enumerate(features)]
    runs = _Runs(tree, [node for node, cut in cuts.items() if not cut.holds_labels], label_site)
    extents = [_extent(piece) for piece in pieces]
    _require_fit(lambda merge: list(runs.pieces(extents, merge)), max_memory)
    for node, piece in runs.pieces(pieces, _merged):
        if node in runs.asked:
            weighted = contracted(chain.factors[runs.sites(node)[0]], piece, [1], [1])
            yield node, torch.linalg.svdvals(weighted.movedim(1, 0).flatten(1))
    for node in cuts.keys() - runs.asked:
        yield node, cut_values(chain, cuts[node], max_memory)


class _Runs:
    """Order in which canonical runs are put together from shorter ones.

    Attributes
    ----------
    asked
        Nodes whose values are wanted.
    walk
        These and all below them, children first.
    """

    def __init__(self, tree: CanonicalTree, asked: Collection[Node], label_site: int | None):
        self.label_site = label_site
        self.asked = set(asked)
        needed = {below for node in asked for below in node.walk()}
        self.walk = [node for node in reversed(list(tree.root.walk())) if node in needed]

    def sites(self, node: Node) -> tuple[int, int]:
        """First site of a run, and the one after the last; labels between its features belong."""
        if self.label_site is None:
            return node.start, node.stop
        return node.start + (self.label_site <= node.start), node.stop + (
            self.label_site < node.stop
        )

    def pieces(
        self, sites: Sequence[Piece], merge: Callable[[Piece, Piece], Piece]
    ) -> Iterator[tuple[Node, Piece]]:
        """Every run of the walk as one piece."""
        made: dict[Node, Piece] = {}
        for node in self.walk:
            here, end = self.sites(node)
            parts: list[Piece] = []
            for child in node.children:
                first, last = self.sites(child)
                parts += sites[here:first]  # labels between two children
                joined, here = made.pop(child), last
                # As one piece it multiplies the rows by their number, once; site by site, by
                # the local dimension as often as there are sites.
                apart = sum(_extent(site)[0] for site in sites[first:last])
                several = bool(parts) and _extent(joined)[0] > apart
                parts += sites[first:last] if several else [joined]
            made[node] = _folded(parts or sites[here:end], merge)
            yield node, made[node]


def _folded(pieces: Sequence[Piece], merge: Callable[[Piece, Piece], Piece]) -> Piece:
    return functools.reduce(merge, pieces)


def _extent(piece: Tensor | Extent) -> Extent:
    inside, left, outside, right = piece.shape if isinstance(piece, Tensor) else piece
    return inside, left, outside, right


def _merged(one: Tensor, other: Tensor) -> Tensor:
    """Join two neighbouring pieces, and shorten what they hold."""
    product = contracted(one, other, [3], [1]).permute(0, 3, 1, 2, 4, 5)
    product = product.flatten(3, 4).flatten(0, 1)
    return _shortened(_shortened(product, 0), 2)


def _shortened(piece: Tensor, axis: int) -> Tensor:
    """Triangular factor of a piece as a matrix, if one axis is longer than all others."""
    matrix = piece.movedim(axis, 0).flatten(1)
    if len(matrix) <= matrix.shape[1]:
        return piece
    triangle = torch.linalg.qr(matrix, mode="r").R
    return triangle.reshape(-1, *piece.movedim(axis, 0).shape[1:]).movedim(0, axis)


class _Largest:
    """Joins extents as pieces would be joined, and keeps the size of the largest product."""

    def __init__(self) -> None:
        self.elements = 0

    def __call__(self, one: Extent, other: Extent) -> Extent:
        (inside, left, outside, _), (more, _, beyond, right) = one, other
        inside, outside = inside * more, outside * beyond
        self.elements = max(self.elements, inside * left * outside * right)
        inside = min(inside, left * outside * right)
        return inside, left, min(outside, inside * left * right), right


def _require_fit(
    dry_run: Callable[[Callable[[Extent, Extent], Extent]], object], max_memory: float | None
) -> None:
    largest = _Largest()
    dry_run(largest)
    require_memory(
        8.0 * COPIES * largest.elements, "a cut through several long bonds", max_memory,
        "shorten the bonds first with truncated(bond_dim=...) or truncated(error=...)",
    )  # fmt: skip
