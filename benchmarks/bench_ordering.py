"""Feature orders side by side: ours, the published idea through METIS, and leaf ordering.

Each method orders the same randomly permuted features. H is the mean |correlation| that the
canonical blocks cut, summed over the levels (``hierarchical_cut``; lower is better). "tree" says in
how many runs every block of the natural order was found again, where that is the best order.

    python benchmarks/bench_ordering.py [--seeds 3]

The METIS peer splits the full |correlation| matrix in two again and again, as the published code
does; parts that come back off balance are mended by moving the features that lose least.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import numpy as np
import pymetis
import torch
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.datasets import load_breast_cancer, load_digits
from threadpoolctl import threadpool_limits

from entangle.affinity import correlation_affinity
from entangle.ordering import mincut_order
from entangle.partition import CanonicalTree
from entangle.surrogate import hierarchical_cut


def chain(n_features: int, seed: int, n_samples: int = 1000, rho: float = 0.9) -> np.ndarray:
    """AR(1): the correlation of two features falls as rho to the power of their distance."""
    X = np.random.default_rng(seed).normal(size=(n_samples, n_features))
    for n in range(1, n_features):
        X[:, n] = rho * X[:, n - 1] + math.sqrt(1 - rho**2) * X[:, n]
    return X


def metis_split(affinity: np.ndarray, size: int, seed: int) -> np.ndarray:
    n = len(affinity)
    weights = np.round(affinity * 1e5).astype(np.int64)
    np.fill_diagonal(weights, 0)
    others = ~np.eye(n, dtype=bool)
    graph = pymetis.CSRAdjacency(np.arange(n + 1) * (n - 1), np.tile(np.arange(n), (n, 1))[others])
    options = pymetis.Options(seed=seed, ncuts=10)
    share = [1 - size / n, size / n]
    _, part = pymetis.part_graph(
        2, graph, eweights=weights[others].tolist(), tpwgts=share, recursive=True, options=options
    )
    side = np.array(part, dtype=bool)
    while side.sum() != size:
        leaving = bool(side.sum() > size)
        candidates = np.flatnonzero(side == leaving)
        loss = affinity[candidates][:, side == leaving].sum(axis=1)
        loss -= affinity[candidates][:, side != leaving].sum(axis=1)
        side[candidates[np.argmin(loss)]] = not leaving
    return side


def metis_order(affinity: np.ndarray, shape: tuple[int, ...], seed: int) -> np.ndarray:
    tree = CanonicalTree(shape)
    order = np.empty(tree.n_features, dtype=np.int64)

    def place(nodes: tuple, features: np.ndarray) -> None:
        if len(nodes) == 1:
            if nodes[0].children:
                place(nodes[0].children, features)
            else:
                order[tree.order[nodes[0].start]] = features[0]
            return
        half = len(nodes) // 2
        size = sum(node.size for node in nodes[half:])
        if len(features) == 2:
            side = np.array([False, True])
        else:
            side = metis_split(affinity[np.ix_(features, features)], size, seed)
        place(nodes[:half], features[~side])
        place(nodes[half:], features[side])

    place((tree.root,), np.arange(tree.n_features))
    return order


def leaf_order(affinity: np.ndarray, shape: tuple[int, ...], seed: int) -> np.ndarray:
    distance = squareform(1 - affinity - np.eye(len(affinity)), checks=False)
    return leaves_list(linkage(distance, "average", optimal_ordering=True)).astype(np.int64)


def same_tree(order: np.ndarray, natural: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether the blocks of both orders hold the same features."""
    tree = CanonicalTree(shape)

    def blocks(features: np.ndarray) -> set[frozenset[int]]:
        leaves = features[tree.order]
        return {frozenset(leaves[n.start : n.stop].tolist()) for n in tree.root.walk()}

    return blocks(order) == blocks(natural)


METHODS = {
    "entangle": lambda affinity, shape, seed, m: mincut_order(affinity, shape, m, seed),
    "METIS": lambda affinity, shape, seed, _: metis_order(affinity, shape, seed),
    "leaf ordering": lambda affinity, shape, seed, _: leaf_order(affinity, shape, seed),
}


def problems() -> dict:
    return {
        "breast_cancer, 30": (lambda seed: load_breast_cancer().data, (30,)),
        "digits, 8 x 8": (lambda seed: load_digits().data, (8, 8)),
        "AR(1), 256": (lambda seed: chain(256, seed), (256,)),
        "AR(1), 1024": (lambda seed: chain(1024, seed), (1024,)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    mincut_order(correlation_affinity(chain(40, 0, 50)), 40, 50, 0)  # compiles the kernels
    mincut_order(correlation_affinity(chain(16, 0, 50)), (4, 4), 50, 0)
    print(f"one thread, {options.seeds} seeds; H and seconds are medians")
    with threadpool_limits(1):
        for name, (load, shape) in problems().items():
            rows: dict[str, list] = {method: [] for method in ("natural", "random", *METHODS)}
            for seed in range(options.seeds):
                X = load(seed)
                shuffle = np.random.default_rng(100 + seed).permutation(X.shape[1])
                natural = np.argsort(shuffle)
                affinity = correlation_affinity(X[:, shuffle])
                straight = hierarchical_cut(affinity[np.ix_(natural, natural)], shape)
                rows["natural"].append((straight, 0.0, True))
                rows["random"].append((hierarchical_cut(affinity, shape), 0.0, False))
                for method, order_by in METHODS.items():
                    start = time.perf_counter()
                    order = order_by(affinity, shape, seed, len(X))
                    elapsed = time.perf_counter() - start
                    H = hierarchical_cut(affinity[np.ix_(order, order)], shape)
                    rows[method].append((H, elapsed, same_tree(order, natural, shape)))
            metis = statistics.median(row[1] for row in rows["METIS"])
            for method, found in rows.items():
                H, elapsed = (statistics.median(row[k] for row in found) for k in range(2))
                line = f"{name:18} {method:14} H {H:8.5f}"
                if method in METHODS:
                    line += f"  {elapsed:7.3f} s, {elapsed / metis:5.2f} of METIS"
                    line += f"  tree {sum(row[2] for row in found)}/{len(found)}"
                print(line)


if __name__ == "__main__":
    main()
