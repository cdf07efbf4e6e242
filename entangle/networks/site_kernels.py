"""Vectors of many samples moved along a chain of sites, and gradients moved back, on the CPU.

Samples are the last axis, so that every loop over them is a vector operation and every site one
product of matrices. Vectors are divided by their largest element at every site. Measured on one
CPU thread, bond 10, 64 samples, forth and back, against the same in calls of torch: 0.7 and 1.9 ms
for 64 features, 5 and 56 ms for 784.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["carry", "carry_back"]

Floats = NDArray[np.floating[Any]]
Walk = NDArray[np.int64]  # (sites, 4): feature, place in the flat tensors, length in, length out


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def carry(
    tensors: Floats, walk: Walk, vectors: Floats, starts: Floats, end: Floats, sizes: Floats
) -> None:
    """Move vectors through all sites.

    Parameters
    ----------
    tensors
        Flat; that of a site has shape ``(in, local, out)``.
    walk
        Sites in the order in which they are met.
    vectors
        Local vectors, shape ``(features, local, batch)``.
    starts
        Shape ``(kept, longest in, batch)``: the vectors at site n are at place n modulo ``kept``.
        Those of the first site are given, others are written.
    end
        Shape ``(out, batch)``, written.
    sizes
        Divisors, shape ``(sites, batch)``; on entry the least allowed.
    """
    sites, local = len(walk), vectors.shape[1]
    met = np.empty((starts.shape[1] * local, vectors.shape[2]), tensors.dtype)
    for n in range(sites):
        feature, place, before, after = walk[n]
        _meet(starts[n % len(starts)][:before], vectors[feature], met)
        matrix = tensors[place : place + before * local * after].reshape(before * local, after)
        found = end if n == sites - 1 else starts[(n + 1) % len(starts)][:after]
        np.dot(matrix.T, met[: before * local], found)
        _divide(found, sizes[n])


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def carry_back(
    gradient: Floats,
    tensors: Floats,
    walk: Walk,
    vectors: Floats,
    starts: Floats,
    sizes: Floats,
    to_tensors: Floats,
    to_vectors: Floats,
) -> Floats:
    """Move the gradient of the end back to the start, and sum it up on the way.

    Parameters
    ----------
    gradient
        Shape ``(out, batch)``.
    tensors, walk, vectors, starts, sizes
        As :func:`carry` took and wrote them, all starts kept.
    to_tensors, to_vectors
        Gradients, shaped like tensors and vectors; those of the walk are written. An empty array
        is left out.

    Returns
    -------
    array
        Gradient of the first vectors, shape ``(in, batch)``.
    """
    local, batch = vectors.shape[1:]
    longest = max(starts.shape[1], gradient.shape[0])
    met = np.empty((longest * local, batch), tensors.dtype)
    current = np.empty((longest, batch), tensors.dtype)
    current[: len(gradient)] = gradient
    for n in range(len(walk) - 1, -1, -1):
        feature, place, before, after = walk[n]
        here, size = current[:after], before * local * after
        matrix = tensors[place : place + size].reshape(before * local, after)
        longer = met[: before * local]
        for o in range(after):
            for b in range(batch):
                here[o, b] /= sizes[n, b]
        if len(to_tensors):
            _meet(starts[n][:before], vectors[feature], met)
            np.dot(longer, here.T, to_tensors[place : place + size].reshape(matrix.shape))
        np.dot(matrix, here, longer)
        if len(to_vectors):
            _sum_bonds(longer, starts[n][:before], to_vectors[feature])
        _sum_locals(longer, vectors[feature], current[:before])
    return current[: walk[0, 2]]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _meet(vectors: Floats, local: Floats, met: Floats) -> None:
    """Multiply each element of the vectors ``(in, batch)`` with each of ``(local, batch)``."""
    for i in range(vectors.shape[0]):
        for s in range(local.shape[0]):
            for b in range(vectors.shape[1]):
                met[i * local.shape[0] + s, b] = vectors[i, b] * local[s, b]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _divide(vectors: Floats, sizes: Floats) -> None:
    """Divide each sample's vector by its largest element, which is written to ``sizes``."""
    for o in range(vectors.shape[0]):
        for b in range(vectors.shape[1]):
            sizes[b] = max(sizes[b], abs(vectors[o, b]))
    for o in range(vectors.shape[0]):
        for b in range(vectors.shape[1]):
            vectors[o, b] /= sizes[b]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _sum_bonds(longer: Floats, vectors: Floats, found: Floats) -> None:
    """Take the axis ``in`` away: shapes ``(in * local, batch)``, ``(in, batch)``."""
    found[:] = 0
    for i in range(vectors.shape[0]):
        for s in range(found.shape[0]):
            for b in range(found.shape[1]):
                found[s, b] += longer[i * found.shape[0] + s, b] * vectors[i, b]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _sum_locals(longer: Floats, local: Floats, found: Floats) -> None:
    """Take the axis ``local`` away: shapes ``(in * local, batch)``, ``(local, batch)``."""
    found[:] = 0
    for i in range(found.shape[0]):
        for s in range(local.shape[0]):
            for b in range(found.shape[1]):
                found[i, b] += longer[i * local.shape[0] + s, b] * local[s, b]
