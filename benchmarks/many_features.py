"""Tens of thousands of features on one machine, in a process of its own so that its peak tells.

An AR(1) chain, columns permuted, ordered by ``FeatureRearranger`` as it comes; then, for
comparison, METIS on the same sparse graph of strongest correlations. Prints one JSON object. What
was recovered is judged against the chain and against its reverse, since unequal halves make them
different trees.

    python benchmarks/many_features.py 50000 [--rows 1000] [--seed 0] [--no-metis]
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
from typing import Any

import numpy as np
import torch
from cells import timed
from numpy.typing import NDArray
from peers import METIS, OURS, PEERS, warm_up
from problem import Order, checked, neighbours
from threadpoolctl import threadpool_limits

from entangle.affinity import nearest_affinity
from entangle.ordering import FeatureRearranger
from entangle.ordering.graph import Graph
from entangle.ordering.objective import TreeCut
from entangle.partition import CanonicalTree

RHO = 0.9


def measured_apart(n_features: int, n_samples: int, seed: int) -> dict[str, Any]:
    """Measure in a child process."""
    command = [sys.executable, __file__, str(n_features)]
    command += ["--rows", str(n_samples), "--seed", str(seed)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def permuted_chain(n_features: int, n_samples: int, seed: int) -> tuple[NDArray, Order]:
    """Permuted columns, written where they belong, and their natural order."""
    generator = np.random.default_rng(seed)
    natural = generator.permutation(n_features)
    X = np.empty((n_samples, n_features))
    last = generator.normal(size=n_samples)
    for place in natural:
        X[:, place] = last
        last = RHO * last + math.sqrt(1 - RHO**2) * generator.normal(size=n_samples)
    return X, natural


def recovered(order: Order, natural: Order) -> dict[int, float]:
    """Share of the blocks of each level that are right, of the better direction."""
    tree = CanonicalTree(len(order))

    def by_level(leaves: Order) -> dict[int, list[bytes]]:
        levels: dict[int, list[bytes]] = {}
        for node in tree.root.walk():
            block = np.sort(leaves[node.start : node.stop]).tobytes()
            levels.setdefault(node.level, []).append(block)
        return levels

    found = by_level(order)
    shares = []
    for right in (by_level(natural), by_level(natural[::-1])):
        hits = {level: set(right[level]).intersection(found[level]) for level in right}
        shares.append({level: len(hits[level]) / len(right[level]) for level in right})
    return max(shares, key=lambda share: sum(share.values()))


def judged(order: Order, natural: Order, cut: TreeCut) -> dict[str, Any]:
    checked(order, len(natural))
    share = recovered(order, natural)
    return {
        "H": cut(order),
        "exact": all(part == 1.0 for part in share.values()),
        "blocks": {level: round(part, 4) for level, part in share.items()},
        "neighbours": neighbours(order, natural, (len(order),)),
    }


def peak() -> float:
    """Largest memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measured(n_features: int, n_samples: int, seed: int, metis: bool) -> dict[str, Any]:
    warm_up()
    X, natural = permuted_chain(n_features, n_samples, seed)
    found: dict[str, Any] = {"peak before, GiB": peak()}
    rearranger, seconds = timed(lambda: FeatureRearranger(random_state=0).fit(X), runs=1)
    found["peak, GiB"] = peak()
    affinity, found["correlations, s"] = timed(lambda: nearest_affinity(X), runs=1)
    cut = TreeCut(Graph.from_matrix(affinity), CanonicalTree(n_features))
    found["natural"], found["reversed"] = cut(natural), cut(natural[::-1])
    found["random"] = cut(np.random.default_rng(seed + 1).permutation(n_features))
    found[OURS] = judged(rearranger.permutation_, natural, cut) | {"seconds": seconds}
    if metis:
        order, seconds = timed(
            lambda: PEERS[METIS].order(affinity, (n_features,), n_samples, seed), runs=1
        )
        found[METIS] = judged(order, natural, cut) | {"seconds": seconds}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("features", type=int)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-metis", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        found = measured(options.features, options.rows, options.seed, not options.no_metis)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
