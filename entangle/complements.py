r"""Reduced density matrices of blocks, exact, in any space that a basis may be chosen from.

With A the coordinates of the samples in a space of block K, :math:`A^T (G_{K^c} \circ W W^T) A` is
the density matrix within it (not normalised). The Gram products of the complements come from tiles
for the blocks of a tree, in memory linear in the samples; for the nested prefixes of a chain, one
at a time, halving what is left: a few samples x samples matrices, and N log N kernels instead of
N^2.

Source: Alexander et al. 2023, arXiv:2303.11249, for the Gram form of one cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from entangle.axes import GramMatrix
from entangle.gram import gram_product
from entangle.partition import Node
from entangle.terms import Terms, gram_columns, matmul
from entangle.tiles import TilePlan

__all__ = ["ChainComplements", "Complements", "Space", "TreeComplements"]


@dataclass(frozen=True)
class Space:
    """Part of the space of a block, by the coordinates of the samples.

    Attributes
    ----------
    coordinates
        Shape ``(samples, dimensions)``, in an orthonormal basis.
    factors
        Coordinates of the samples in two parts of the block, if the space holds not all of the
        products of their basis vectors.
    """

    coordinates: Tensor
    factors: tuple[Tensor, Tensor] | None = None


class Complements(Protocol):
    """Gram products of everything outside the blocks of a tree, weights included."""

    def densities(self, nodes: list[Node], spaces: list[Space]) -> list[tuple[Tensor, float]]:
        """Density matrix in each space, and the weight of all products of its factors."""
        ...

    def columns(self, nodes: list[Node], marks: Tensor) -> Tensor:
        """Gram products with some samples, shape ``(nodes, samples, marks)``."""
        ...

    def memory(self) -> float:
        """Bytes that are held besides the coordinates."""
        ...


class TreeComplements:
    """Outside of the blocks of a tree, tile by tile."""

    def __init__(self, root: Node, terms: Terms) -> None:
        self.root, self.terms = root, terms

    def densities(self, nodes: list[Node], spaces: list[Space]) -> list[tuple[Tensor, float]]:
        """One pass over all pairs of samples; half of them, the others are their transposes."""
        plan = TilePlan.of(self.root, outside=nodes)
        parts = self.terms.stripes(self.terms.tile(len(nodes)))
        cut = [self.terms.take(part) for part in parts]
        sums = [space.coordinates.new_zeros(space.coordinates.shape[1:] * 2) for space in spaces]
        weights = [0.0] * len(nodes)
        out = None
        for i, rows in enumerate(parts):
            images = [torch.zeros_like(space.coordinates[rows]) for space in spaces]
            for j, columns in enumerate(parts[: i + 1]):
                out = cut[i].with_all(plan, cut[j], out)
                out *= 0.5 if i == j else 1.0
                for k, space in enumerate(spaces):
                    images[k] += matmul(out[k], space.coordinates[columns])
                    if space.factors is not None:
                        weights[k] += 2 * _weight(out[k], space.factors, rows, columns)
            for total, space, image in zip(sums, spaces, images, strict=True):
                total += matmul(space.coordinates[rows].T, image)
        found = [total + total.T for total in sums]
        return [
            (density, float(density.trace()) if space.factors is None else weight)
            for density, space, weight in zip(found, spaces, weights, strict=True)
        ]

    def columns(self, nodes: list[Node], marks: Tensor) -> Tensor:
        """Gram products with some samples, shape ``(nodes, samples, marks)``."""
        return gram_columns(TilePlan.of(self.root, outside=nodes), self.terms, marks, None)

    def memory(self) -> float:
        """Bytes of one tile of many products."""
        return float(2**26)


class ChainComplements:
    """Outside of the prefixes of a chain, which are asked for from the shortest to the longest."""

    def __init__(self, root: Node, terms: Terms) -> None:
        self.root, self.terms = root, terms
        self._held: list[tuple[int, GramMatrix]] = []  # from a place to the end, the nearest last

    def densities(self, nodes: list[Node], spaces: list[Space]) -> list[tuple[Tensor, float]]:
        """Density matrices from one samples x samples matrix for each prefix."""
        found = []
        everything = slice(None)
        for node, space in zip(nodes, spaces, strict=True):
            outside = self._outside(node)
            density = matmul(space.coordinates.T, matmul(outside, space.coordinates))
            weight = float(density.trace())
            if space.factors is not None:
                weight = _weight(outside, space.factors, everything, everything)
            found.append(((density + density.T) / 2, weight))
        return found

    def columns(self, nodes: list[Node], marks: Tensor) -> Tensor:
        """Gram products with some samples, shape ``(nodes, samples, marks)``."""
        return torch.stack([self._outside(node)[:, marks] for node in nodes])

    def memory(self) -> float:
        """Bytes of the matrices held, and of a product."""
        n_held = math.ceil(math.log2(max(self.root.size, 2))) + 4
        return 8.0 * n_held * self.terms.n_samples**2

    def _outside(self, node: Node) -> GramMatrix:
        assert node.start == 0, "the blocks of a chain are its prefixes"
        vectors, weights = self.terms.vectors, self.terms.weights
        while self._held and self._held[-1][0] < node.stop:
            self._held.pop()
        if not self._held:
            self._held = [(self.root.stop, weights @ weights.T)]
        while (begin := self._held[-1][0]) > node.stop:
            middle = (begin + node.stop) // 2
            product = gram_product(vectors[middle:begin].contiguous())
            product *= self._held[-1][1]
            self._held.append((middle, product))
        return self._held[-1][1]


def _weight(outside: Tensor, factors: tuple[Tensor, Tensor], rows: slice, columns: slice) -> float:
    """Sum of the entrywise product with the Gram matrices of the factors."""
    product = matmul(factors[0][rows], factors[0][columns].T)
    product *= matmul(factors[1][rows], factors[1][columns].T)
    product *= outside
    return float(product.sum())
