r"""Exchanges of two features that lower the cut of the whole tree.

Splitting from the top never reconsiders a choice. For small data the whole tree is improved
at once: with :math:`D_{pq}` the weight that the metric gives to features at leaves p and q,

.. math:: H = \sum_{p < q} W_{\pi(p) \pi(q)} D_{pq},

a quadratic assignment problem. Each step makes the exchange that lowers H most, or raises it
least, among those that do not undo a recent one; the best order seen is kept.

Source: Taillard 1991, Parallel Computing 17, 443 (robust taboo search).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from entangle.partition import CanonicalTree

__all__ = ["refined", "separation"]


def separation(tree: CanonicalTree) -> NDArray[np.float64]:
    """Weight of a pair of leaves in the hierarchical cut, shape ``(leaves, leaves)``."""
    n = tree.n_features
    weight = np.zeros((n, n))
    levels: dict[int, list] = {}
    for node in tree.root.walk():
        if 1 < node.size < n:
            levels.setdefault(node.level, []).append(node)
    for nodes in levels.values():
        for node in nodes:
            share = 1.0 / (len(nodes) * node.size * (n - node.size))
            run = slice(node.start, node.stop)
            weight[run] += share
            weight[:, run] += share
            weight[run, run] -= 2.0 * share
    return weight


@numba.njit(cache=True, nogil=True)
def _change(W, D, at, p, q):  # pragma: no cover - compiled
    """Compute what exchanging the features at leaves ``p`` and ``q`` adds to H."""
    i, j = at[p], at[q]
    total = 0.0
    for k in range(len(at)):
        if k != p and k != q:
            total += (W[j, at[k]] - W[i, at[k]]) * (D[p, k] - D[q, k])
    return total


@numba.njit(cache=True, nogil=True)
def _after(W, D, at, change, u, v):  # pragma: no cover - compiled
    """Bring ``change`` up to date before leaves ``u`` and ``v`` are exchanged, then do so."""
    n = len(at)
    for p in range(n):
        if p in (u, v):
            continue
        wu, wv, du = W[at[p], at[u]], W[at[p], at[v]], D[p, u] - D[p, v]
        for q in range(p + 1, n):
            if q != u and q != v:
                over = (W[at[q], at[v]] - wv) - (W[at[q], at[u]] - wu)
                change[p, q] += over * (du - D[q, u] + D[q, v])
    at[u], at[v] = at[v], at[u]
    for p in range(n):
        for q in (u, v):
            if p != q:
                change[min(p, q), max(p, q)] = _change(W, D, at, p, q)


@numba.njit(cache=True, nogil=True)
def _search(W, D, at, twin, tenure):  # pragma: no cover - compiled
    """Best leaves met in one exchange a row of ``tenure``, how long its undoing is banned."""
    n = len(at)
    change = np.zeros((n, n))
    for p in range(n):
        for q in range(p + 1, n):
            change[p, q] = _change(W, D, at, p, q)
    banned = np.zeros((n, n), np.int64)
    best, total, lowest = at.copy(), 0.0, 0.0
    for step in range(len(tenure)):
        u, v, least = -1, -1, np.inf
        for p in range(n):
            for q in range(p + 1, n):
                if change[p, q] < least and not twin[p, q]:
                    tabu = banned[at[p], q] > step and banned[at[q], p] > step
                    if not tabu or total + change[p, q] < lowest - 1e-12:
                        u, v, least = p, q, change[p, q]
        if u < 0:
            continue
        banned[at[u], u] = step + tenure[step, 0]
        banned[at[v], v] = step + tenure[step, 1]
        total += change[u, v]
        _after(W, D, at, change, u, v)
        if total < lowest - 1e-12:
            best, lowest = at.copy(), total
    return best


def refined(
    weights: NDArray[np.float64],
    leaves: NDArray[np.int64],
    tree: CanonicalTree,
    steps: int,
    seed: int,
) -> tuple[NDArray[np.int64], float]:
    """Features at the leaves after the search, and their H; never higher than before.

    Parameters
    ----------
    weights
        Symmetric, zero diagonal, shape ``(features, features)``.
    leaves
        Feature at each leaf of ``tree``, shape ``(features,)``.
    tree
        The canonical tree.
    steps
        Exchanges to make.
    seed
        Seed of the lengths of the taboos.
    """
    distance = separation(tree)
    twin = np.zeros_like(distance, dtype=bool)
    for node in tree.root.walk():
        if node.size == len(node.children):  # only the order of children tells them apart
            twin[node.start : node.stop, node.start : node.stop] = True
    n = tree.n_features
    tenure = np.random.default_rng(seed).integers(n - n // 10, n + n // 10 + 1, (steps, 2))
    found = _search(weights, distance, leaves.copy(), twin, tenure)
    return found, float((weights[np.ix_(found, found)] * distance).sum() / 2.0)
