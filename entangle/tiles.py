r"""Gram products of every block of a tree at once, for a tile of sample pairs.

One tile holds a few rows and columns of samples. The kernels of the features are multiplied up
the tree to every block, :math:`G_{node} = \prod G_{child}`, and down again to everything outside
it, :math:`H_{child} = H_{node} \circ \prod G_{siblings}`, while the tile is in cache. So a pass
over all pairs of samples costs two or three operations a feature and about two a block, and no
samples x samples matrix exists at any time.

Source: Alexander et al. 2023, arXiv:2303.11249, for the Gram form of one cut. Tiles are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entangle.axes import LocalVectors
from entangle.gram import BATCHED_FEATURES, ROWS, TILE, CompiledVectors, factored, multiply_block
from entangle.partition import Node

__all__ = ["TilePlan", "device_tiles", "tiles"]


@dataclass(frozen=True)
class TilePlan:
    """Blocks of a tree as flat arrays, parents first, and which of them are wanted.

    Attributes
    ----------
    nodes
        The blocks, the root first, each before its children, children together.
    spans
        Feature runs, shape ``(blocks, 2)``.
    children
        First child and number of children, shape ``(blocks, 2)``; none: made from features.
    inside, outside
        Place of the block's own Gram product, and of that of everything outside it, in what
        :func:`tiles` returns, or -1; shape ``(blocks,)``.
    """

    nodes: tuple[Node, ...]
    spans: NDArray[np.int64]
    children: NDArray[np.int64]
    inside: NDArray[np.int64]
    outside: NDArray[np.int64]

    @classmethod
    def of(cls, root: Node, inside: Sequence[Node] = (), outside: Sequence[Node] = ()) -> TilePlan:
        """Plan that gives the products of ``inside``, and then those of ``outside``, in order."""
        wanted = {*inside, *outside}
        opened = {root}  # blocks whose children take part
        for node in root.walk():
            if any(below in wanted for child in node.children for below in child.walk()):
                opened.add(node)
        nodes, children = [root], []
        for node in nodes:  # grows while it is read: breadth first
            below = node.children if node in opened else ()
            assert len(below) != 1, "a block has no children or several"
            children.append((len(nodes), len(below)))
            nodes.extend(below)
        first = {node: place for place, node in enumerate(inside)}
        second = {node: place + len(inside) for place, node in enumerate(outside)}
        return cls(
            tuple(nodes),
            np.array([(node.start, node.stop) for node in nodes]),
            np.array(children),
            np.array([first.get(node, -1) for node in nodes]),
            np.array([second.get(node, -1) for node in nodes]),
        )

    @property
    def made_of_features(self) -> list[tuple[int, int]]:
        """Feature runs of the blocks without children; empty ones in the places of the others."""
        runs = zip(self.spans.tolist(), self.children[:, 1].tolist(), strict=True)
        return [(start, start if count else stop) for (start, stop), count in runs]

    @property
    def n_wanted(self) -> int:
        """Number of products a tile holds."""
        return int((self.inside >= 0).sum() + (self.outside >= 0).sum())


def tiles(
    plan: TilePlan,
    rows: CompiledVectors,
    columns: CompiledVectors,
    weights: NDArray[np.float64],
    out: Tensor | None = None,
) -> Tensor:
    """Wanted Gram products between two runs of samples.

    Parameters
    ----------
    plan
        Blocks, and which products are wanted.
    rows, columns
        Local vectors of all features.
    weights
        Products of the weights of rows and columns, shape ``(rows, columns)``; part of every
        product over the outside of a block.
    out
        Filled and returned if it has the right shape: memory that is new for every tile costs
        as much as the work on it.

    Returns
    -------
    Tensor
        Shape ``(wanted, rows, columns)``.
    """
    shape = (plan.n_wanted, *weights.shape)
    if out is None or out.shape != shape:
        out = torch.empty(shape, dtype=torch.float64)
    components = factored(rows, columns, plan.made_of_features)
    _fill(*components, weights, plan.spans, plan.children, plan.inside, plan.outside, out.numpy())
    return out


def device_tiles(
    plan: TilePlan, rows: LocalVectors, columns: LocalVectors, weights: Tensor
) -> Tensor:
    """Wanted Gram products of :func:`tiles`, from tensors on a GPU."""
    own: dict[int, Tensor] = {}
    rest: dict[int, Tensor] = {0: weights}
    for node in range(len(plan.nodes) - 1, -1, -1):
        first, count = (int(value) for value in plan.children[node])
        if count == 0:
            start, stop = (int(value) for value in plan.spans[node])
            own[node] = torch.ones_like(weights)
            for n in range(start, stop, BATCHED_FEATURES):
                group = slice(n, min(n + BATCHED_FEATURES, stop))
                own[node] *= torch.bmm(rows[group].mT, columns[group]).prod(dim=0)
        else:
            own[node] = torch.stack([own[first + k] for k in range(count)]).prod(dim=0)
    out = weights.new_empty(plan.n_wanted, *weights.shape)
    for node in range(len(plan.nodes)):
        first, count = (int(value) for value in plan.children[node])
        for child in range(first, first + count):
            rest[child] = rest[node].clone()
            for sibling in range(first, first + count):
                if sibling != child:
                    rest[child] *= own[sibling]
        for place, source in ((plan.inside[node], own), (plan.outside[node], rest)):
            if place >= 0:
                out[int(place)] = source[node]
    return out


@numba.njit(nogil=True, cache=True)
def _multiply(x, y, out):  # pragma: no cover - compiled
    for c in range(ROWS * TILE):
        out[c] = x[c] * y[c]


@numba.njit(nogil=True, cache=True)
def _store(patch, out, i, j):  # pragma: no cover - compiled
    """Copy a patch to its place, as far as it lies inside."""
    for r in range(min(ROWS, out.shape[0] - i)):
        x, y = patch[r * TILE : (r + 1) * TILE], out[i + r, j : j + TILE]
        for c in range(y.size):
            y[c] = x[c]


@numba.njit(nogil=True, cache=True)
def _store_product(patch, other, out, i, j):  # pragma: no cover - compiled
    """Store the product of two patches in the same way."""
    for r in range(min(ROWS, out.shape[0] - i)):
        x, z = patch[r * TILE : (r + 1) * TILE], other[r * TILE : (r + 1) * TILE]
        y = out[i + r, j : j + TILE]
        for c in range(y.size):
            y[c] = x[c] * z[c]


@numba.njit(nogil=True, inline="always")
def _go_up(
    own, kernel, rows, columns, lead_rows, lead_columns, i, j, spans, children
):  # pragma: no cover - compiled
    """Products of every block, from its features or its children, for one patch."""
    for node in range(spans.shape[0] - 1, -1, -1):
        first, count = children[node]
        if count == 0:
            patch = own[node].reshape(ROWS, TILE)
            a, b = lead_rows[node], lead_columns[node]
            start, stop = spans[node]
            multiply_block(patch, kernel, rows, columns, a, b, start, stop, i, j)
            continue
        _multiply(own[first], own[first + 1], own[node])
        for child in range(first + 2, first + count):
            _multiply(own[child], own[node], own[node])


@numba.njit(nogil=True, inline="always")
def _go_down(own, rest, i, j, node, children, outside, out):  # pragma: no cover - compiled
    """Products of all that is outside the children of a block, stored where they are wanted."""
    first, count = children[node]
    for child in range(first, first + count):
        place = outside[child]
        if count == 2 and children[child, 1] == 0 and place >= 0:  # the last use of it
            _store_product(rest[node], own[2 * first + 1 - child], out[place], i, j)
            continue
        source = rest[node]
        for sibling in range(first, first + count):
            if sibling != child:
                _multiply(source, own[sibling], rest[child])
                source = rest[child]
        if place >= 0:
            _store(rest[child], out[place], i, j)


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _fill(
    rows, columns, lead_rows, lead_columns, weights, spans, children, inside, outside, out
):  # pragma: no cover - compiled
    """All wanted products, patch after patch."""
    n_nodes = spans.shape[0]
    own = np.ones((n_nodes, ROWS * TILE))
    rest = np.zeros((n_nodes, ROWS * TILE))
    kernel = np.zeros((ROWS, TILE))
    n_rows, n_columns = weights.shape
    for j in range(0, n_columns, TILE):
        width = min(TILE, n_columns - j)
        for i in range(0, n_rows, ROWS):
            _go_up(own, kernel, rows, columns, lead_rows, lead_columns, i, j, spans, children)
            for r in range(min(ROWS, n_rows - i)):
                rest[0, r * TILE : r * TILE + width] = weights[i + r, j : j + width]
            for node in range(n_nodes):
                if inside[node] >= 0:
                    _store(own[node], out[inside[node]], i, j)
                _go_down(own, rest, i, j, node, children, outside, out)
