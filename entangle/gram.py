r"""Gram products: kernel matrices of samples, multiplied over a run of features.

For samples m, m' and a block K of features,
:math:`G_K[m, m'] = \prod_{n \in K} \langle\phi(x_{mn}), \phi(x_{m'n})\rangle`. One entry and
feature costs d multiply-adds and one multiply, far less than moving the matrix through memory
once, so the CPU kernel keeps a tile of G in cache and runs over all features of the block.
Only the lower triangle is computed.

Vectors :math:`(a, b)` of two components whose first is positive need one multiply-add and one
multiply: :math:`a a' + b b' = a a' (1 + t t')` with :math:`t = b / a`, and the product of all a
belongs to the sample.

Source: Alexander et al. 2023, arXiv:2303.11249, appendix on computing the entanglement of the
empirical data tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from entangle.axes import GramMatrix, LocalVectors

__all__ = [
    "BATCHED_FEATURES",
    "ROWS",
    "TILE",
    "CompiledVectors",
    "factored",
    "gram_product",
    "multiply_block",
    "row_kronecker",
    "row_products",
]

ROWS = 4  # of a tile
TILE = 64  # columns of a tile; four rows of it and of a kernel stay in the first-level cache
STRIPE = 16  # rows handed to a thread at a time
BATCHED_FEATURES = 8  # features multiplied together in one batched product, off the CPU
SMALLEST_LEAD = 1e-100  # product of first components: those of two samples are far from underflow
LENGTH = 1 + 1e-9  # of a vector, at most, for products of ratios far from overflow


@dataclass(frozen=True, eq=False)
class CompiledVectors:
    """Local vectors of some samples as the compiled kernels read them.

    Attributes
    ----------
    vectors
        Shape ``(features, local, samples)``, filled up with zeros to at least two components and
        to a multiple of ``TILE`` samples.
    """

    vectors: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: LocalVectors) -> CompiledVectors:
        """Fill up local vectors, shape ``(features, local, samples)``, on the CPU."""
        n_features, local, n_samples = vectors.shape
        padded = np.zeros((n_features, max(local, 2), math.ceil(n_samples / TILE) * TILE))
        padded[:, :local, :n_samples] = vectors.detach().numpy()
        return cls(padded)

    @cached_property
    def ratios(self) -> NDArray[np.float64] | None:
        """Second components over the first, ``(features, 1, samples)``; None if that is unsafe."""
        if self.vectors.shape[1] != 2:
            return None
        first, second = self.vectors[:, 0], self.vectors[:, 1]
        padding = (first == 0) & (second == 0)
        smallest = np.where(padding, 1.0, first)
        safe = (
            smallest.min(initial=1.0) > 0
            and np.hypot(first, second).max(initial=0.0) <= LENGTH
            and smallest.prod(axis=0).min(initial=1.0) >= SMALLEST_LEAD
        )
        return (second / smallest)[:, None] if safe else None

    def leads(self, spans: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
        """Products of the first components over runs of features, ``(runs, samples)``."""
        return np.stack([self.vectors[start:stop, 0].prod(axis=0) for start, stop in spans])


def factored(
    rows: CompiledVectors, columns: CompiledVectors, spans: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Split samples into what :func:`multiply_block` takes, components and leads of both.

    The components are ratios, and the leads, products of first components over each span, are
    what a block begins with, if both sides allow; else components are vectors, without leads.
    """
    if rows.ratios is None or columns.ratios is None:
        nothing = np.empty((len(spans), 0))
        return rows.vectors, columns.vectors, nothing, nothing
    return rows.ratios, columns.ratios, rows.leads(spans), columns.leads(spans)


@numba.njit(nogil=True, inline="always")
def _set_one(kernel, a, u, i, j):  # pragma: no cover - compiled
    """Entries i..i+3 of a component times entries j..j+63, as four rows."""
    y0, y1, y2, y3 = kernel[0], kernel[1], kernel[2], kernel[3]
    a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
    right = u[j : j + TILE]
    for c in range(TILE):
        y0[c] = a0 * right[c]
        y1[c] = a1 * right[c]
        y2[c] = a2 * right[c]
        y3[c] = a3 * right[c]


@numba.njit(nogil=True, inline="always")
def _add_two(kernel, a, b, u, v, i, j):  # pragma: no cover - compiled
    """Add the same of two components: rows from ``a`` and ``b``, columns from ``u`` and ``v``."""
    y0, y1, y2, y3 = kernel[0], kernel[1], kernel[2], kernel[3]
    a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
    b0, b1, b2, b3 = b[i], b[i + 1], b[i + 2], b[i + 3]
    right, other = u[j : j + TILE], v[j : j + TILE]
    for c in range(TILE):
        y0[c] += a0 * right[c] + b0 * other[c]
        y1[c] += a1 * right[c] + b1 * other[c]
        y2[c] += a2 * right[c] + b2 * other[c]
        y3[c] += a3 * right[c] + b3 * other[c]


@numba.njit(nogil=True, inline="always")
def _multiply(tile, kernel, a, b, u, v, i, j):  # pragma: no cover - compiled
    """Multiply a tile by the kernel and the products of its last two components."""
    x0, x1, x2, x3 = tile[0], tile[1], tile[2], tile[3]
    y0, y1, y2, y3 = kernel[0], kernel[1], kernel[2], kernel[3]
    a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
    b0, b1, b2, b3 = b[i], b[i + 1], b[i + 2], b[i + 3]
    right, other = u[j : j + TILE], v[j : j + TILE]
    for c in range(TILE):
        x0[c] *= y0[c] + (a0 * right[c] + b0 * other[c])
        x1[c] *= y1[c] + (a1 * right[c] + b1 * other[c])
        x2[c] *= y2[c] + (a2 * right[c] + b2 * other[c])
        x3[c] *= y3[c] + (a3 * right[c] + b3 * other[c])


@numba.njit(nogil=True, inline="always")
def _multiply_kernels(tile, kernel, rows, columns, n, i, j):  # pragma: no cover - compiled
    """Multiply a tile (4 x 64) by the kernel of feature ``n``, with room for a kernel.

    Components are taken in pairs, after the odd one; the last pair goes straight to the tile.
    """
    local = rows.shape[1]
    if local % 2:
        _set_one(kernel, rows[n, 0], columns[n, 0], i, j)
    elif local > 2:
        kernel[:] = 0.0
    for k in range(local % 2, local - 2, 2):
        _add_two(kernel, rows[n, k], rows[n, k + 1], columns[n, k], columns[n, k + 1], i, j)
    a, b = rows[n, local - 2], rows[n, local - 1]
    _multiply(tile, kernel, a, b, columns[n, local - 2], columns[n, local - 1], i, j)


@numba.njit(nogil=True, inline="always")
def _multiply_one(tile, a, u, i, j):  # pragma: no cover - compiled
    """Multiply a tile by 1 + the product of two ratios."""
    x0, x1, x2, x3 = tile[0], tile[1], tile[2], tile[3]
    a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
    right = u[j : j + TILE]
    for c in range(TILE):
        x0[c] *= 1.0 + a0 * right[c]
        x1[c] *= 1.0 + a1 * right[c]
        x2[c] *= 1.0 + a2 * right[c]
        x3[c] *= 1.0 + a3 * right[c]


@numba.njit(nogil=True, inline="always")
def _multiply_two(tile, a, b, u, v, i, j):  # pragma: no cover - compiled
    """Multiply a tile in the same way for two features."""
    x0, x1, x2, x3 = tile[0], tile[1], tile[2], tile[3]
    a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
    b0, b1, b2, b3 = b[i], b[i + 1], b[i + 2], b[i + 3]
    right, other = u[j : j + TILE], v[j : j + TILE]
    for c in range(TILE):
        x0[c] *= (1.0 + a0 * right[c]) * (1.0 + b0 * other[c])
        x1[c] *= (1.0 + a1 * right[c]) * (1.0 + b1 * other[c])
        x2[c] *= (1.0 + a2 * right[c]) * (1.0 + b2 * other[c])
        x3[c] *= (1.0 + a3 * right[c]) * (1.0 + b3 * other[c])


@numba.njit(nogil=True, inline="always")
def multiply_block(
    tile, kernel, rows, columns, lead_rows, lead_columns, start, stop, i, j
):  # pragma: no cover - compiled
    """Set a tile (4 x 64) to the product of the kernels of a block of features.

    Components and leads of rows and columns come from :func:`factored`.
    """
    if rows.shape[1] > 1:
        tile[:] = 1.0
        for n in range(start, stop):
            _multiply_kernels(tile, kernel, rows, columns, n, i, j)
        return
    for r in range(ROWS):
        lead, row = lead_rows[i + r], tile[r]
        right = lead_columns[j : j + TILE]
        for c in range(TILE):
            row[c] = lead * right[c]
    if (stop - start) % 2:
        _multiply_one(tile, rows[start, 0], columns[start, 0], i, j)
        start += 1
    for n in range(start, stop, 2):
        a, b, u, v = rows[n, 0], rows[n + 1, 0], columns[n, 0], columns[n + 1, 0]
        _multiply_two(tile, a, b, u, v, i, j)


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _stripe(vectors, leads, out, first, last):  # pragma: no cover - compiled
    """Rows first..last of the lower triangle, and their mirror image."""
    n_samples = out.shape[0]
    tile, kernel = np.empty((ROWS, TILE)), np.zeros((ROWS, TILE))
    for i in range(first, last, ROWS):
        for j in range(0, min(i + ROWS, n_samples), TILE):
            multiply_block(tile, kernel, vectors, vectors, leads, leads, 0, vectors.shape[0], i, j)
            for r in range(i, min(i + ROWS, n_samples)):
                for c in range(j, min(j + TILE, r + 1)):
                    out[r, c] = tile[r - i, c - j]
                    out[c, r] = tile[r - i, c - j]


def _on_cpu(vectors: LocalVectors) -> NDArray[np.float64]:
    n_features, _, n_samples = vectors.shape
    samples = CompiledVectors.of(vectors)
    components, _, leads, _ = factored(samples, samples, [(0, n_features)])
    out = np.empty((n_samples, n_samples))
    # The longest rows go first, so that the threads finish together.
    starts = range((n_samples - 1) // STRIPE * STRIPE, -1, -STRIPE)

    def run(start: int) -> None:
        _stripe(components, leads[0], out, start, min(start + STRIPE, components.shape[2]))

    if torch.get_num_threads() == 1 or n_samples <= 2 * STRIPE:
        for start in starts:
            run(start)
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(run, starts))
    return out


def gram_product(vectors: LocalVectors) -> GramMatrix:
    """Product over the features of the kernel matrices of the samples.

    Parameters
    ----------
    vectors
        Local vectors, shape ``(features, local, samples)``, float64; on any device.

    Returns
    -------
    Tensor
        Symmetric positive semidefinite, shape ``(samples, samples)``, on the same device.
    """
    if vectors.device.type == "cpu":
        return torch.from_numpy(_on_cpu(vectors))
    n_samples = vectors.shape[2]
    product = vectors.new_ones(n_samples, n_samples)
    for group in vectors.split(BATCHED_FEATURES):
        product *= torch.bmm(group.mT, group).prod(dim=0)
    return product


def row_kronecker(vectors: LocalVectors) -> torch.Tensor:
    """Block vectors of every sample, shape ``(samples, local ** features)``."""
    product = vectors[0].T
    for feature in vectors[1:]:
        product = row_products(product, feature.T)
    return product


def row_products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """All products of two rows, sample by sample: ``(samples, left * right)``."""
    return (left[:, :, None] * right[:, None, :]).flatten(1)
