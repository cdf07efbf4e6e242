"""Minimum cut of a graph into two parts of exactly given sizes.

METIS finds the coarse shape of a cut but leaves parts a node or two off balance, which would
shift every later block; Kernighan-Lin exchanges keep sizes and mend what METIS missed, but end
in poor local minima from a random start. So several starts (METIS with two seeds, random
values smoothed over the graph, plain random) are brought to size, improved, and the lowest
cut kept.

Source: Kernighan and Lin 1970, Bell Syst. Tech. J. 49, 291. Deviation: of the exchanges, only
those with the best node of one side are tried, which costs a row and not a square per step.
"""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np
import pymetis
from numpy.typing import NDArray

from entangle.ordering.graph import Graph

__all__ = ["bisect", "improve"]

Side = NDArray[np.int8]

METIS_SEEDS = (1, 2)  # 0 and 1 give the same stream
METIS_SMALLEST = 8
SMALL = 512  # up to this size a node gets all random starts
PATIENCE = 64  # exchanges without a new best before a pass over a large part stops
SMOOTHING = 20
MOST_PASSES = 100  # a handful is usual; rounding or an asymmetric weight must not loop


@numba.njit(cache=True, nogil=True)
def _gains(starts, neighbours, weights, side):  # pragma: no cover - compiled
    """Compute what moving each node to the other side takes off the cut."""
    gain = np.zeros(len(side))
    for i in range(len(side)):
        for e in range(starts[i], starts[i + 1]):
            gain[i] += weights[e] if side[neighbours[e]] != side[i] else -weights[e]
    return gain


@numba.njit(cache=True, nogil=True)
def _move(starts, neighbours, weights, side, gain, i):  # pragma: no cover - compiled
    """Put node ``i`` on the other side; keep ``gain`` true."""
    for e in range(starts[i], starts[i + 1]):
        j = neighbours[e]
        gain[j] += 2.0 * weights[e] if side[j] == side[i] else -2.0 * weights[e]
    gain[i] = -gain[i]
    side[i] = 1 - side[i]


@numba.njit(cache=True, nogil=True)
def _best(gain, side, locked, wanted, row):  # pragma: no cover - compiled
    """Free node of side ``wanted`` with the largest ``gain - 2 row``, and that value; or -1."""
    best, value = -1, -np.inf
    for i in range(len(side)):
        if side[i] == wanted and not locked[i]:
            score = gain[i] - 2.0 * row[i]
            if score > value:
                best, value = i, score
    return best, value


@numba.njit(cache=True, nogil=True)
def _partner(starts, neighbours, weights, side, gain, locked, a, row):  # pragma: no cover
    """Best node to exchange with ``a`` and what it adds to the gain of ``a``."""
    for e in range(starts[a], starts[a + 1]):
        row[neighbours[e]] = weights[e]
    b, value = _best(gain, side, locked, 1 - side[a], row)
    for e in range(starts[a], starts[a + 1]):
        row[neighbours[e]] = 0.0
    return b, value


@numba.njit(cache=True, nogil=True)
def _exchange_pass(starts, neighbours, weights, side, gain, patience):  # pragma: no cover
    """One Kernighan-Lin pass in place; returns what it took off the cut."""
    n = len(side)
    locked = np.zeros(n, np.bool_)
    row = np.zeros(n)
    moved = np.empty(n + 1, np.int64)
    total, best, kept, done = 0.0, 0.0, 0, 0
    while done - kept < 2 * patience:
        a0, gain0 = _best(gain, side, locked, 0, row)
        b1, gain1 = _best(gain, side, locked, 1, row)
        if a0 < 0 or b1 < 0:
            break
        b0, more0 = _partner(starts, neighbours, weights, side, gain, locked, a0, row)
        a1, more1 = _partner(starts, neighbours, weights, side, gain, locked, b1, row)
        a, b, step = a0, b0, gain0 + more0
        if gain1 + more1 > step:
            a, b, step = a1, b1, gain1 + more1
        for i in (a, b):
            _move(starts, neighbours, weights, side, gain, i)
            locked[i] = True
            moved[done] = i
            done += 1
        total += step
        if total > best + 1e-10:
            best, kept = total, done
    for k in range(kept, done):
        _move(starts, neighbours, weights, side, gain, moved[k])
    return best


@numba.njit(cache=True, nogil=True)
def _improve(starts, neighbours, weights, side, ones, patience):  # pragma: no cover - compiled
    """Bring side 1 to ``ones`` nodes at least loss, then exchange until nothing is gained."""
    gain = _gains(starts, neighbours, weights, side)
    free = np.zeros(len(side), np.bool_)
    row = np.zeros(len(side))
    excess = side.sum() - ones
    for _ in range(abs(excess)):
        i, _gain = _best(gain, side, free, 1 if excess > 0 else 0, row)
        _move(starts, neighbours, weights, side, gain, i)
    for _ in range(MOST_PASSES):
        if _exchange_pass(starts, neighbours, weights, side, gain, patience) <= 0.0:
            break
    cut = 0.0
    for i in range(len(side)):
        for e in range(starts[i], starts[i + 1]):
            if side[i] == 0 and side[neighbours[e]] == 1:
                cut += weights[e]
    return cut


@numba.njit(cache=True, nogil=True)
def _smooth(starts, neighbours, weights, values, steps):  # pragma: no cover - compiled
    """Average ``values`` over each node and its neighbours, ``steps`` times."""
    n = len(values)
    for _ in range(steps):
        old = values - values.mean()
        for i in range(n):
            total, mass = 0.0, 1e-300
            for e in range(starts[i], starts[i + 1]):
                total += weights[e] * old[neighbours[e]]
                mass += weights[e]
            values[i] = 0.5 * (old[i] + total / mass)
    return values


def improve(graph: Graph, side: Side, ones: int) -> float:
    """Bring ``side`` to ``ones`` ones and lower its cut, in place; returns the cut."""
    patience = graph.size if graph.size <= SMALL else PATIENCE
    return _improve(graph.starts, graph.neighbours, graph.weights, side, ones, patience)


def bisect(graph: Graph, ones: int, seed: int, n_starts: int = 8) -> Side:
    """Side of each node in the lowest cut found.

    Parameters
    ----------
    graph
        Non-negative weights.
    ones
        Nodes on side 1; the others are on side 0.
    seed
        Seed of the starts; the same seed gives the same sides.
    n_starts
        Random starts of a small graph, half of them smoothed; a large one has two. With one,
        METIS is left out and the start is plain random, which gives varied cuts.

    Returns
    -------
    ndarray
        Zeros and ones, shape ``(nodes,)``, exactly ``ones`` of them one.
    """
    best, lowest = np.zeros(graph.size, dtype=np.int8), np.inf
    for side in _starts(graph, ones, seed, n_starts):
        cut = improve(graph, side, ones)
        if cut < lowest - 1e-10:
            best, lowest = side, cut
    return best


def _starts(graph: Graph, ones: int, seed: int, n_starts: int) -> Iterator[Side]:
    varied = n_starts == 1
    if not varied and graph.size >= METIS_SMALLEST and len(graph.weights):
        for metis_seed in METIS_SEEDS:
            yield _metis(graph, ones, (seed + metis_seed) % 2**30 + 1)
    rng = np.random.default_rng(seed)
    for start in range(n_starts if graph.size <= SMALL else min(n_starts, 2)):
        values = rng.standard_normal(graph.size)
        if start % 2 == 0 and not varied:
            values = _smooth(graph.starts, graph.neighbours, graph.weights, values, SMOOTHING)
        side = np.zeros(graph.size, dtype=np.int8)
        side[np.argsort(values, kind="stable")[:ones]] = 1
        yield side


def _metis(graph: Graph, ones: int, seed: int) -> Side:
    scale = min(1e5 / graph.weights.max(), 2.0**30 / graph.weights.sum())
    weights = np.maximum(np.rint(graph.weights * scale), 1.0).astype(np.int64)
    share = ones / graph.size
    _, parts = pymetis.part_graph(
        2,
        pymetis.CSRAdjacency(graph.starts, graph.neighbours),
        eweights=weights,
        tpwgts=[1.0 - share, share],
        options=pymetis.Options(seed=seed),
    )
    return np.asarray(parts, dtype=np.int8)
