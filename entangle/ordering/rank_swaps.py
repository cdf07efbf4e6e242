"""Swaps that bring two tables of ranks together: the search of IGTD, in whole numbers.

Position p holds a feature; ``source[p, q]`` is the rank of the distance between the features
at p and q, ``target[p, q]`` that of the distance between the positions. Ranks are doubled, so
that the mean rank of ties is whole too and every error is exact: no order of summation changes
a swap. Trying all partners of one feature costs two rows per partner, since the error of each
row as it stands is kept.

Source: Zhu et al. 2021, Sci. Rep. 11, 11325. Deviation: a swap has to gain more than the
threshold, where the published code also makes swaps that gain exactly so much, which at the
threshold 0 are swaps for nothing.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["MOST_ABSOLUTE", "MOST_SQUARED", "search_swaps"]

# Features up to which sums of doubled ranks, and of their squares, stay whole numbers of 64 bits,
# and doubled ranks of 32.
MOST_ABSOLUTE, MOST_SQUARED = 46_000, 5_000


@numba.njit(cache=True, nogil=True)
def _absolute(a, b):  # pragma: no cover - compiled
    total = np.int64(0)
    for k in range(len(a)):
        total += abs(np.int64(a[k]) - np.int64(b[k]))
    return total


@numba.njit(cache=True, nogil=True)
def _squared(a, b):  # pragma: no cover - compiled
    total = np.int64(0)
    for k in range(len(a)):
        apart = np.int64(a[k]) - np.int64(b[k])
        total += apart * apart
    return total


@numba.njit(cache=True, nogil=True)
def _one(a, b, square):  # pragma: no cover - compiled
    apart = np.int64(a) - np.int64(b)
    return apart * apart if square else abs(apart)


@numba.njit(cache=True, nogil=True)
def _row(a, b, square):  # pragma: no cover - compiled
    """Error between two rows of ranks."""
    return _squared(a, b) if square else _absolute(a, b)


@numba.njit(cache=True, nogil=True)
def _gain(source, target, error, p, q, square):  # pragma: no cover - compiled
    """Error that exchanging the features at ``p`` and ``q`` removes."""
    kept = error[p] + error[q] - 2 * _one(source[p, q], target[p, q], square)
    crossed = _row(source[q], target[p], square) + _row(source[p], target[q], square)
    # the two diagonal entries of each cross sum stand for pairs that are no pairs
    crossed -= 2 * _one(source[p, q], 0, square) + 2 * _one(0, target[p, q], square)
    return kept - crossed


@numba.njit(cache=True, nogil=True)
def _exchange(source, target, error, p, q, square):  # pragma: no cover - compiled
    """Exchange rows and columns ``p`` and ``q`` of ``source``; keep ``error`` true."""
    n = len(error)
    for k in range(n):
        if k not in (p, q):
            error[k] -= _one(source[k, p], target[k, p], square)
            error[k] -= _one(source[k, q], target[k, q], square)
    for k in range(n):
        source[p, k], source[q, k] = source[q, k], source[p, k]
    for k in range(n):
        source[k, p], source[k, q] = source[k, q], source[k, p]
    for k in range(n):
        if k not in (p, q):
            error[k] += _one(source[k, p], target[k, p], square)
            error[k] += _one(source[k, q], target[k, q], square)
    error[p] = _row(source[p], target[p], square)
    error[q] = _row(source[q], target[q], square)


@numba.njit(cache=True, nogil=True)
def _best_partner(source, target, error, p, square):  # pragma: no cover - compiled
    """Return the first position with the largest gain, and that gain."""
    best, most = -1, np.int64(0)
    for q in range(len(error)):
        if q != p:
            gain = _gain(source, target, error, p, q, square)
            if best < 0 or gain > most:
                best, most = q, gain
    return best, most


@numba.njit(cache=True, nogil=True)
def _longest_waiting(considered, priority):  # pragma: no cover - compiled
    best = 0
    for p in range(1, len(considered)):
        earlier = considered[p] < considered[best]
        if earlier or (considered[p] == considered[best] and priority[p] < priority[best]):
            best = p
    return best


@numba.njit(cache=True, nogil=True)
def search_swaps(
    source, target, priority, steps, threshold, patience, least, square
):  # pragma: no cover - compiled
    """Search until the steps or the gains run out; ``source`` is brought along.

    Parameters
    ----------
    source, target
        Doubled ranks, int32, symmetric, zero diagonal, shape ``(features, features)``.
    priority
        Which of the positions not considered for equally long comes first: the lowest.
    steps
        Steps at most.
    threshold
        Part of the error that a swap has to gain more than.
    patience, least
        The search ends when ``patience`` steps gained less than the part ``least`` together.
    square
        Whether differences of ranks are squared.

    Returns
    -------
    order
        Feature at each position, shape ``(features,)``.
    errors
        Error before the first step and after each, shape ``(steps + 1,)``: twice that of the
        ranks, or four times with squares.
    swaps
        The two positions exchanged in each step, or -1; shape ``(steps, 2)``.
    """
    n = len(source)
    order = np.arange(n)
    considered = np.full(n, -1, np.int64)
    error = np.empty(n, np.int64)
    for p in range(n):
        error[p] = _row(source[p], target[p], square)
    errors = np.empty(steps + 1)
    errors[0] = np.sum(error.astype(np.float64)) / 2.0
    swaps = np.full((steps, 2), -1, np.int64)
    for step in range(steps):
        p = _longest_waiting(considered, priority)
        q, gain = _best_partner(source, target, error, p, square)
        considered[p] = step
        errors[step + 1] = errors[step]
        if gain > threshold * errors[step]:
            _exchange(source, target, error, p, q, square)
            order[p], order[q] = order[q], order[p]
            considered[q] = step
            swaps[step, 0], swaps[step, 1] = p, q
            errors[step + 1] = errors[step] - gain
        if errors[step + 1] == 0.0 or step > patience:
            before = errors[max(0, step + 1 - patience)]
            if not before - errors[step + 1] >= least * before or errors[step + 1] == 0.0:
                return order, errors[: step + 2], swaps[: step + 1]
    return order, errors, swaps
