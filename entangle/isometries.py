r"""Nested bases for the blocks of a binary tree: an orthogonal projection of a data tensor.

Each basis lies in the span of the products of its children's, leaves first, so that the
projections :math:`\pi_K` are nested and their product P is an orthogonal projection. A basis holds
the leading eigenvectors of the block's density matrix within that span, worked out with the exact
complement, so what it discards,
:math:`d_K = \lVert (\pi_{children} - \pi_K) D \rVert^2`, is a part of the exact tensor. In the
order of the work the losses are orthogonal, and each is at most :math:`d_K`:
:math:`\lVert D - P D \rVert^2 \le \sum_K d_K`. The last child of the root sees what the other
child kept, so that a cut is not counted from both sides.

Where a span has many dimensions the basis is sought in the part of it that the tensor reaches from
the outside vectors of some random samples. Whatever that part misses counts as discarded.

Source: Grasedyck 2010, SIAM J. Matrix Anal. Appl. 31, 2029 (hierarchical SVD); Halko, Martinsson,
Tropp 2011, SIAM Review 53, 217 (range finder).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.complements import Complements, Space
from entangle.gram import row_kronecker, row_products
from entangle.memory import require_memory
from entangle.partition import Node
from entangle.sweep import reduced_density
from entangle.terms import Terms, matmul

__all__ = ["Isometry", "Setting", "Sweep", "Truncation"]

ALL_PRODUCTS = 256  # dimensions of a span in which all eigenvectors are found
FIRST_LANDMARKS = 32  # beyond twice the length of the longer child's bond
PRODUCT_ELEMENTS = 2**22  # of a run of samples in a span
FLOOR = 1e-15  # share of the squared norm below which an eigenvalue is rounding
ROUNDING_SHARE = 0.02  # the same in shares of the allowance for rounding, where that is larger


@dataclass(frozen=True)
class Truncation:
    """How much of its density matrix a basis keeps.

    Attributes
    ----------
    most
        Largest length of a block's bond.
    least
        Eigenvalues at or below this share of the squared norm are discarded, for each block.
    """

    most: Callable[[Node], float]
    least: Callable[[Node], float]


@dataclass(frozen=True, eq=False)
class Isometry:
    """Basis of a block in the products of its children's bases.

    Attributes
    ----------
    tensor
        Shape ``(bond, left, right)``, or ``(bond, local)`` for a feature; as a matrix its rows are
        orthonormal.
    discarded
        Weight lost here, as a share of the squared norm, rounding included.
    """

    tensor: Tensor
    discarded: float


@dataclass(frozen=True, eq=False)
class Setting:
    """What stays the same for all projections of one tensor.

    Attributes
    ----------
    root
        Binary tree: every block has two children or is one feature.
    terms
        Product states, features in the order of the tree.
    complements
        Of the blocks of the tree.
    total, rounding
        Squared norm times the squared number of samples, and its rounding as a share of it.
    free
        Blocks that keep all of their space.
    limit
        Bytes that may be used.
    """

    root: Node
    terms: Terms
    complements: Complements
    total: float
    rounding: float
    free: frozenset[Node] = frozenset()
    limit: float = float("inf")

    @property
    def local(self) -> int:
        """Length of a local vector."""
        return self.terms.vectors.shape[1]

    def block_vectors(self, node: Node) -> Tensor:
        """Vectors of all samples in the whole space of a block."""
        return row_kronecker(self.terms.vectors[node.start : node.stop])

    def batches(self, columns: dict[Node, int]) -> Iterator[list[Node]]:
        """Group blocks whose coordinates, of so many columns each, fit together."""
        room = (self.limit - self.complements.memory()) / 2 / (24.0 * self.terms.n_samples)
        batch: list[Node] = []
        used = 0
        for node, number in columns.items():
            if batch and used + number > room:
                yield batch
                batch, used = [], 0
            batch.append(node)
            used += number
        if batch:
            yield batch


class Sweep:
    """One way up the tree: bases of blocks, chosen when those of their children are."""

    def __init__(self, given: Setting, truncation: Truncation) -> None:
        self.given, self.truncation, self.terms = given, truncation, given.terms
        self.isometries: dict[Node, Isometry] = {}
        self.coordinates: dict[Node, Tensor] = {}
        self.order = given.terms.landmarks(seed=1)
        self.floor = max(FLOOR, ROUNDING_SHARE * given.rounding)

    # -- blocks ----------------------------------------------------------------------------

    def inside_block(self, block: Node, whole: Tensor) -> None:
        """Bases of a small block and of all inside, from its density matrix."""
        lifted: dict[Node, Tensor] = {}
        for node in reversed(list(block.walk())):
            if node in self.given.free:
                self.keep_all(node)
                lifted[node] = torch.eye(self.given.local).to(whole)
                continue
            if node.children:
                left, right = (lifted.pop(child) for child in node.children)
                span = torch.kron(left, right)
            else:
                span = torch.eye(self.given.local).to(whole)
            density = span.T @ reduced_density(whole, block, node, self.given.local) @ span
            kept = self._keep(node, density, float(density.trace()))
            lifted[node] = span @ kept
        self.coordinates[block] = matmul(self.given.block_vectors(block), lifted[block])

    def keep_all(self, node: Node) -> None:
        """Take the whole space of one feature."""
        assert not node.children, "only single features are kept whole"
        self.coordinates[node] = self.given.block_vectors(node)
        eye = torch.eye(self.given.local).to(self.coordinates[node])
        self.isometries[node] = Isometry(eye, 0.0)

    def generation(self, nodes: list[Node]) -> None:
        """Bases of blocks from those of their children."""
        sizes = {node: self._first_size(node) for node in nodes}
        while sizes:
            again: dict[Node, int] = {}
            for batch in self.given.batches(sizes):
                spans = self._spans(batch, sizes)
                spaces = [space for space, _ in spans]
                found = self.given.complements.densities(batch, spaces)
                for node, (space, basis), (density, weight) in zip(
                    batch, spans, found, strict=True
                ):
                    kept = self._keep(node, density, weight, basis)
                    if basis is not None and self._is_short(basis, kept):
                        again[node] = min(2 * sizes[node], self._dimensions(node))
                    else:
                        self.coordinates[node] = matmul(space.coordinates, kept)
                        self._forget_children(node)
            sizes = again

    def core(self) -> Tensor:
        """Basis of the root's last child, in what the other kept; the tensor between them."""
        first, last = self.given.root.children
        left = self.coordinates[first]
        weights = self.terms.weights / self.terms.n_samples
        rows = row_products(weights, left)
        matrix = self._products(last, rows).T
        if last in self.given.free:
            self.isometries[last] = Isometry(torch.eye(matrix.shape[1]).to(matrix), 0.0)
        else:
            share = self.terms.n_samples**2
            lengths, directions = torch.linalg.svd(matrix, full_matrices=False)[1:]
            values = lengths.square() * share
            self._choose(last, values, directions.T, float(values.sum()))
            matrix = matrix @ self.isometries[last].tensor.flatten(1).T
        return matrix.reshape(weights.shape[1], left.shape[1], -1)

    # -- steps -----------------------------------------------------------------------------

    def _keep(
        self, node: Node, density: Tensor, weight: float, basis: Tensor | None = None
    ) -> Tensor:
        """Choose the leading eigenvectors of a density matrix; the columns of a matrix."""
        values, vectors = torch.linalg.eigh(density)
        values, vectors = values.flip(0), vectors.flip(1)
        number = self._choose(node, values, vectors if basis is None else basis @ vectors, weight)
        return vectors[:, :number]

    def _choose(self, node: Node, values: Tensor, vectors: Tensor, weight: float) -> int:
        """Make the isometry of a block from the first of its vectors; their number."""
        shares = values / self.given.total
        least = max(self.truncation.least(node), self.floor)
        number = int(min((shares > least).sum(), self.truncation.most(node)))
        number = max(1, number)
        lost = weight / self.given.total - float(shares[:number].sum())
        lost = 0.0 if number == vectors.shape[0] else max(lost, 0.0) + self.given.rounding
        lengths = [self.isometries[child].tensor.shape[0] for child in node.children]
        shape = (number, *(lengths or [self.given.local]))
        self.isometries[node] = Isometry(vectors[:, :number].T.reshape(shape).clone(), lost)
        return number

    def _dimensions(self, node: Node) -> int:
        """Dimensions of the span of the children's products."""
        if not node.children:
            return self.given.local
        left, right = (self.isometries[child].tensor.shape[0] for child in node.children)
        return left * right

    def _is_short(self, basis: Tensor, kept: Tensor) -> bool:
        """Whether so much of a basis is kept that more samples would have found more."""
        every = len(self.order) <= basis.shape[1]
        return not every and 2 * kept.shape[1] > basis.shape[1]

    def _first_size(self, node: Node) -> int:
        """Dimensions of the part of the span in which a basis is sought at first."""
        dimensions = self._dimensions(node)
        if dimensions <= ALL_PRODUCTS:
            return dimensions
        longest = max(self.isometries[child].tensor.shape[0] for child in node.children)
        wanted = 2 * int(min(longest, self.truncation.most(node))) + FIRST_LANDMARKS
        return min(wanted, dimensions)

    def _spans(
        self, nodes: list[Node], sizes: dict[Node, int]
    ) -> list[tuple[Space, Tensor | None]]:
        """Spaces to choose bases from, and what spans them unless that is all products."""
        usable = {node: min(sizes[node], len(self.order)) for node in nodes}
        parts = [node for node in nodes if sizes[node] < self._dimensions(node)]
        most = max((usable[node] for node in parts), default=0)
        tests = self.given.complements.columns(parts, self.order[:most]) if parts else []
        columns = dict(zip(parts, tests, strict=True))
        spans: list[tuple[Space, Tensor | None]] = []
        for node in nodes:
            if node not in columns:
                spans.append((Space(self._all_products(node)), None))
                continue
            reached = self._products(node, columns[node][:, : usable[node]])
            basis = torch.linalg.qr(reached).Q
            left, right = (self.coordinates[child] for child in node.children)
            runs = [matmul(row_products(left[run], right[run]), basis) for run in self._runs(node)]
            spans.append((Space(torch.cat(runs), (left, right)), basis))
        return spans

    def _products(self, node: Node, rows: Tensor) -> Tensor:
        """Sum over the samples of the products of coordinates below a block times rows."""
        if not node.children:
            return matmul(self.given.block_vectors(node).T, rows)
        left, right = (self.coordinates[child] for child in node.children)
        needed = 24.0 * self._dimensions(node) * rows.shape[1]
        require_memory(needed, f"a basis of {node.size} features", self.given.limit)
        total = rows.new_zeros(self._dimensions(node), rows.shape[1])
        for run in self._runs(node):
            total += matmul(row_products(left[run], right[run]).T, rows[run])
        return total

    def _all_products(self, node: Node) -> Tensor:
        if not node.children:
            return self.given.block_vectors(node)
        left, right = (self.coordinates[child] for child in node.children)
        return row_products(left, right)

    def _runs(self, node: Node) -> list[slice]:
        return self.terms.stripes(max(16, PRODUCT_ELEMENTS // self._dimensions(node)))

    def _forget_children(self, node: Node) -> None:
        for child in node.children:
            del self.coordinates[child]
