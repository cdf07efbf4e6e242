r"""Gram products: kernel matrices of samples, multiplied over a run of features.

For samples m, m' and a block K of features,
:math:`G_K[m, m'] = \prod_{n \in K} \langle\phi(x_{mn}), \phi(x_{m'n})\rangle`. One entry and
feature costs d multiply-adds and one multiply, far less than moving the matrix through memory
once, so the CPU kernel keeps a tile of G in cache and runs over all features of the block.
Only the lower triangle is computed.

Source: Alexander et al. 2023, arXiv:2303.11249, appendix on computing the entanglement of the
empirical data tensor.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from entangle.axes import GramMatrix, LocalVectors

__all__ = ["BATCHED_FEATURES", "ROWS", "TILE", "gram_product", "multiply_kernels", "row_kronecker"]

ROWS = 4  # of a tile
TILE = 64  # columns of a tile; four rows of it and of a kernel stay in the first-level cache
STRIPE = 16  # rows handed to a thread at a time
BATCHED_FEATURES = 8  # features multiplied together in one batched product, off the CPU


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
def multiply_kernels(tile, kernel, rows, columns, n, i, j):  # pragma: no cover - compiled
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


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _stripe(vectors, out, first, last):  # pragma: no cover - compiled
    """Rows first..last of the lower triangle, and their mirror image."""
    n_samples = out.shape[0]
    tile, kernel = np.empty((ROWS, TILE)), np.zeros((ROWS, TILE))
    for i in range(first, last, ROWS):
        for j in range(0, min(i + ROWS, n_samples), TILE):
            tile[:] = 1.0
            for n in range(vectors.shape[0]):
                multiply_kernels(tile, kernel, vectors, vectors, n, i, j)
            for r in range(i, min(i + ROWS, n_samples)):
                for c in range(j, min(j + TILE, r + 1)):
                    out[r, c] = tile[r - i, c - j]
                    out[c, r] = tile[r - i, c - j]


def _on_cpu(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    n_features, local, n_samples = vectors.shape
    width = math.ceil(n_samples / TILE) * TILE
    padded = np.zeros((n_features, max(local, 2), width))  # components are taken in pairs
    padded[:, :local, :n_samples] = vectors
    out = np.empty((n_samples, n_samples))
    # The longest rows go first, so that the threads finish together.
    starts = range((n_samples - 1) // STRIPE * STRIPE, -1, -STRIPE)

    def run(start: int) -> None:
        _stripe(padded, out, start, min(start + STRIPE, width))

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
        return torch.from_numpy(_on_cpu(vectors.detach().numpy()))
    n_samples = vectors.shape[2]
    product = vectors.new_ones(n_samples, n_samples)
    for group in vectors.split(BATCHED_FEATURES):
        product *= torch.bmm(group.mT, group).prod(dim=0)
    return product


def row_kronecker(vectors: LocalVectors) -> torch.Tensor:
    """Block vectors of every sample, shape ``(samples, local ** features)``."""
    product = vectors[0].T
    for feature in vectors[1:]:
        product = (product[:, :, None] * feature.T[:, None, :]).flatten(1)
    return product
