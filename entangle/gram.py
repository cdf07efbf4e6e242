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

__all__ = ["BATCHED_FEATURES", "gram_product", "row_kronecker"]

TILE = 64  # columns of a tile; its four rows and two vectors stay in the first-level cache
STRIPE = 16  # rows handed to a thread at a time
PLANAR = 2  # local dimension with a kernel of its own
BATCHED_FEATURES = 8  # features multiplied together in one batched product, off the CPU


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _planar_stripe(vectors, out, first, last):  # pragma: no cover - compiled
    """Rows first..last of the lower triangle, local dimension 2, and their mirror image."""
    tile = np.empty((4, TILE))
    x0, x1, x2, x3 = tile[0], tile[1], tile[2], tile[3]
    n_samples = out.shape[0]
    for i in range(first, last, 4):
        for j in range(0, min(i + 4, n_samples), TILE):
            tile[:] = 1.0
            for n in range(vectors.shape[0]):
                a, b = vectors[n, 0], vectors[n, 1]
                a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
                b0, b1, b2, b3 = b[i], b[i + 1], b[i + 2], b[i + 3]
                u, v = a[j : j + TILE], b[j : j + TILE]
                for c in range(TILE):
                    x0[c] *= a0 * u[c] + b0 * v[c]
                    x1[c] *= a1 * u[c] + b1 * v[c]
                    x2[c] *= a2 * u[c] + b2 * v[c]
                    x3[c] *= a3 * u[c] + b3 * v[c]
            for r in range(i, min(i + 4, n_samples)):
                for c in range(j, min(j + TILE, r + 1)):
                    out[r, c] = tile[r - i, c - j]
                    out[c, r] = tile[r - i, c - j]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _general_stripe(vectors, out, first, last):  # pragma: no cover - compiled
    """Rows first..last of the lower triangle, any local dimension, and their mirror image."""
    tile, kernel = np.empty(TILE), np.empty(TILE)
    for i in range(first, min(last, out.shape[0])):
        for j in range(0, i + 1, TILE):
            tile[:] = 1.0
            for n in range(vectors.shape[0]):
                kernel[:] = 0.0
                for k in range(vectors.shape[1]):
                    a, u = vectors[n, k, i], vectors[n, k, j : j + TILE]
                    for c in range(TILE):
                        kernel[c] += a * u[c]
                for c in range(TILE):
                    tile[c] *= kernel[c]
            for c in range(j, min(j + TILE, i + 1)):
                out[i, c] = tile[c - j]
                out[c, i] = tile[c - j]


def _on_cpu(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    n_features, local, n_samples = vectors.shape
    width = math.ceil(n_samples / TILE) * TILE
    padded = np.zeros((n_features, local, width))
    padded[:, :, :n_samples] = vectors
    out = np.empty((n_samples, n_samples))
    stripe = _planar_stripe if local == PLANAR else _general_stripe
    # The longest rows go first, so that the threads finish together.
    starts = range((n_samples - 1) // STRIPE * STRIPE, -1, -STRIPE)

    def run(start: int) -> None:
        stripe(padded, out, start, min(start + STRIPE, width))

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
