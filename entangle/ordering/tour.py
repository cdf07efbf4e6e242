"""Local search for a heavy closed tour over the nodes of a graph and one node of no weight.

The weightless node, numbered last, turns a path into a tour: cut there, the tour is an open
path. A tour is better the more weight its steps have. It is changed only by exchanges of two
edges, which reverse a stretch of it (the shorter way round); moving a stretch elsewhere is two
or three of them. So a journal of exchanges undoes whatever did not pay.

Source: Bentley 1992, ORSA J. Comput. 4, 387 (2-opt and Or-opt with neighbour lists and don't-look
bits); Applegate, Cook and Rohe 2003, INFORMS J. Comput. 15, 82 (double bridges of near-by
segments). Deviations: weights are maximised, and a kick exchanges two adjacent short segments.
"""

from __future__ import annotations

import numba
import numpy as np

from entangle.ordering.objective import pair_weight

__all__ = ["improve_tour"]

LONGEST = 3  # nodes of a stretch that is moved
REACH = 50  # nodes of each segment that a kick exchanges
GAIN = 1e-10  # of the largest weight; less is rounding
JOURNAL = 4096  # exchanges after one kick that can be undone


@numba.njit(cache=True, nogil=True)
def _between(graph, i, j):  # pragma: no cover - compiled
    """Weight between two nodes; 0 at the last node."""
    starts, neighbours, weights = graph
    last = len(starts) - 1
    if i == last or j == last:
        return 0.0
    return pair_weight(starts, neighbours, weights, i, j)


@numba.njit(cache=True, nogil=True)
def _beside(route, node, step):  # pragma: no cover - compiled
    """Node ``step`` places along the tour; at most once around."""
    tour, place = route[0], route[1]
    at = place[node] + step
    if at >= len(tour):
        at -= len(tour)
    return tour[at]  # a negative place counts from the end


@numba.njit(cache=True, nogil=True)
def _reverse(tour, place, first, last):  # pragma: no cover - compiled
    """Reverse the places ``first`` to ``last``, or what lies outside if that is shorter."""
    n = len(tour)
    inside = last - first + 1 if last >= first else last - first + 1 + n
    if 2 * inside > n:
        first, last, inside = last + 1, first - 1, n - inside
    for _ in range(inside // 2):
        first = first - n if first >= n else first
        last = last + n if last < 0 else last
        i, j = tour[first], tour[last]
        tour[first], tour[last] = j, i
        place[j], place[i] = first, last
        first += 1
        last -= 1


@numba.njit(cache=True, nogil=True)
def _exchange(route, a, b, c, d):  # pragma: no cover - compiled
    """Put edges a-c and b-d in place of a-b and c-d, of one direction; note it."""
    tour, place, journal, used = route
    if _beside(route, a, 1) == b:
        _reverse(tour, place, place[b], place[c])
    else:
        _reverse(tour, place, place[a], place[d])
    if used[0] < len(journal):
        journal[used[0], 0], journal[used[0], 1] = a, b
        journal[used[0], 2], journal[used[0], 3] = c, d
    used[0] += 1


@numba.njit(cache=True, nogil=True)
def _undo(route):  # pragma: no cover - compiled
    """Take back all exchanges in the journal."""
    journal, used = route[2], route[3]
    count = used[0]
    for k in range(count - 1, -1, -1):
        _exchange(route, journal[k, 0], journal[k, 2], journal[k, 1], journal[k, 3])
        used[0] = k
    used[0] = 0


@numba.njit(cache=True, nogil=True)
def _move_stretch(route, ends, target, turned):  # pragma: no cover - compiled
    """Move the stretch first..last, between before and after, into the edge c-d."""
    before, first, last, after = ends
    c, d = target
    _exchange(route, before, first, c, d)
    _exchange(route, before, c, after, last)
    if not turned:
        _exchange(route, c, last, first, d)


@numba.njit(cache=True, nogil=True)
def _wake(queue, nodes):  # pragma: no cover - compiled
    """Add nodes to the queue of those to look at."""
    waiting, queued, ends = queue
    for node in nodes:
        if not queued[node]:
            queued[node] = True
            waiting[ends[1] % len(waiting)] = node
            ends[1] += 1


@numba.njit(cache=True, nogil=True)
def _two_opt(graph, near, route, queue, node):  # pragma: no cover - compiled
    """Make the first gainful exchange at ``node``; returns its gain or 0."""
    for step in (1, -1):
        beside = _beside(route, node, step)
        lost = _between(graph, node, beside)
        for k in range(near.shape[1]):
            other = near[node, k]
            if other < 0:
                break
            gain = _between(graph, node, other) - lost
            if gain <= GAIN:
                break
            far = _beside(route, other, step)
            gain += _between(graph, beside, far) - _between(graph, other, far)
            if gain > GAIN:
                _exchange(route, node, beside, other, far)
                _wake(queue, (node, beside, other, far))
                return gain
    return 0.0


@numba.njit(cache=True, nogil=True)
def _or_opt(graph, near, route, queue, node):  # pragma: no cover - compiled
    """Make the first gainful move of a stretch that ends at ``node``; returns its gain or 0."""
    for step in (1, -1):
        before = _beside(route, node, step)
        for length in range(min(LONGEST, len(route[0]) - 3)):
            last = _beside(route, node, -step * length)
            after = _beside(route, last, -step)
            opened = _between(graph, before, node)
            closed = _between(graph, before, after) - _between(graph, last, after)
            for k in range(near.shape[1]):
                c = near[node, k]
                if c < 0 or _between(graph, node, c) - opened <= GAIN:
                    break
                if _within(route, node, c, -step, length):
                    continue
                gain = _insert(
                    graph, route, queue, (before, node, last, after), c, step, closed - opened
                )
                if gain > 0.0:
                    return gain
    return 0.0


@numba.njit(cache=True, nogil=True)
def _within(route, first, node, step, length):  # pragma: no cover - compiled
    """Whether ``node`` is one of the ``length + 1`` from ``first`` on, or the one before."""
    ahead = (route[1][node] - route[1][first]) * step % len(route[0])
    return ahead <= length or ahead == len(route[0]) - 1


@numba.njit(cache=True, nogil=True)
def _insert(graph, route, queue, ends, c, step, spared):  # pragma: no cover - compiled
    """Move the stretch next to ``c``, on either side, if that gains; returns the gain or 0."""
    before, first, last, after = ends
    for side in (-step, step):
        d = _beside(route, c, side)
        if d == last:
            continue
        gain = spared + _between(graph, first, c)
        gain += _between(graph, last, d) - _between(graph, c, d)
        if gain > GAIN:
            if side == -step:
                _move_stretch(route, ends, (c, d), False)
            else:
                _move_stretch(route, ends, (d, c), True)
            _wake(queue, (before, first, last, after, c, d))
            return gain
    return 0.0


@numba.njit(cache=True, nogil=True)
def _settle(graph, near, route, queue, final):  # pragma: no cover - compiled
    """Look at the queued nodes until none gains; returns the gain. ``final`` needs no journal."""
    waiting, queued, ends = queue
    used = route[3]
    total = 0.0
    while ends[0] < ends[1]:
        node = waiting[ends[0] % len(waiting)]
        ends[0] += 1
        queued[node] = False
        gain = 1.0
        while gain > 0.0 and used[0] < len(route[2]) - 3:
            gain = _two_opt(graph, near, route, queue, node)
            if gain == 0.0:
                gain = _or_opt(graph, near, route, queue, node)
            total += gain
            if final:
                used[0] = 0
    return total


@numba.njit(cache=True, nogil=True)
def _kick(graph, route, queue, draw):  # pragma: no cover - compiled
    """Exchange two adjacent segments at random; returns the gain, mostly negative."""
    n = len(route[0])
    reach = min(REACH, (n - 2) // 2)
    before = route[0][draw[0] % n]
    first = _beside(route, before, 1)
    last = _beside(route, before, 1 + draw[1] % reach)
    after = _beside(route, last, 1)
    c = _beside(route, last, 1 + draw[2] % reach)
    d = _beside(route, c, 1)
    gain = _between(graph, before, after) + _between(graph, c, first) + _between(graph, last, d)
    gain -= _between(graph, before, first) + _between(graph, last, after) + _between(graph, c, d)
    _move_stretch(route, (before, first, last, after), (c, d), False)
    _wake(queue, (before, first, last, after, c, d))
    return gain


@numba.njit(cache=True, nogil=True)
def improve_tour(starts, neighbours, weights, near, tour, draws):  # pragma: no cover - compiled
    """Raise the weight of ``tour`` in place: settle it, then kick and settle, keeping gains.

    Parameters
    ----------
    starts, neighbours, weights
        Compressed rows of a graph whose largest weight is one.
    near
        Nodes closest to each, closest first, -1 where there are no more.
    tour
        All nodes and the weightless one, which has the number after theirs.
    draws
        Three random non-negative numbers for each kick, shape ``(kicks, 3)``.
    """
    n = len(tour)
    graph = (starts, neighbours, weights)
    place = np.empty(n, np.int64)
    place[tour] = np.arange(n)
    route = (tour, place, np.empty((JOURNAL, 4), np.int64), np.zeros(1, np.int64))
    queue = (np.empty(n, np.int64), np.zeros(n, np.bool_), np.zeros(2, np.int64))
    _wake(queue, tour[tour < n - 1])
    _settle(graph, near, route, queue, True)
    for k in range(len(draws) if n > 3 else 0):
        route[3][0] = 0
        gain = _kick(graph, route, queue, draws[k])
        gain += _settle(graph, near, route, queue, False)
        if gain < -GAIN:
            _undo(route)
