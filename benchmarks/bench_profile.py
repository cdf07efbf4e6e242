"""Entanglement of 500 FSDD clips across the 29 canonical cuts of levels 1 to 4, two ways.

The shared walk of ``entanglement_profile`` against the published per-partition algorithm
(arXiv:2303.11249, appendix), written anew with its feature blocks sliced where they belong: for
every partition apart, both Gram matrices from the cosines of all pairs of samples, block of
features after block, multiplied in single precision; one singular value decomposition of each,
and one of the product of their square roots.

    ENTANGLE_DATA=folder python benchmarks/bench_profile.py [--peer-partitions 29] [--threads 2]

The peer does the same work for every partition, so by default it is timed on one of each level
and the total is extrapolated; the last lines say so.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from entangle import DataTensor, entanglement_profile, load_dataset
from entangle.embedding import Trigonometric

THETA = 0.085
LEVELS = 4
REPEATS = 3


def clips(n_samples: int = 500, n_features: int = 4096) -> tuple[torch.Tensor, torch.Tensor]:
    """Digits 3 and 7 in file order, amplitudes in [-1, 1], weights +1 and -1."""
    data = load_dataset("fsdd")
    rows = np.flatnonzero(np.isin(data.y, (3, 7)))[:n_samples]
    X = torch.from_numpy(data.X[rows, :n_features] / 32768.0)
    return X, torch.from_numpy(np.where(data.y[rows] == 3, 1.0, -1.0))


def published_gram(X: torch.Tensor, features: np.ndarray, block: int = 100) -> torch.Tensor:
    product = torch.ones(len(X), len(X))
    for start in range(0, len(features), block):
        values = X[:, features[start : start + block].tolist()]
        product *= torch.cos(math.pi * THETA * (values[None] - values[:, None])).prod(dim=2)
    return product


def published_root(gram: torch.Tensor) -> torch.Tensor:
    left, values, _ = torch.linalg.svd(gram, full_matrices=False)
    return values.sqrt()[:, None] * left.T


def published_entropy(X: torch.Tensor, y: torch.Tensor, partition) -> float:
    signs = torch.outer(y, y).float()
    inside = published_gram(X, partition.block) * signs
    outside = published_gram(X, partition.complement)
    values = torch.linalg.svdvals(published_root(inside) @ published_root(outside).T)
    weights = values**2 / (values**2).sum()
    return float(torch.distributions.Categorical(probs=weights).entropy())


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def seconds(function) -> tuple[float, object]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-partitions", type=int, default=LEVELS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    X, y = clips()
    print(f"machine: {processor()}, torch {torch.__version__}, {options.threads} threads")
    print(f"data: {len(X)} samples x {X.shape[1]} features, theta {THETA}")

    # Two workers with one BLAS thread each; the peer gives all threads to each decomposition.
    torch.set_num_threads(1)
    with threadpool_limits(1), ThreadPoolExecutor(options.threads) as pool:

        def ours():
            tensor = DataTensor(X, y, Trigonometric(THETA))
            return entanglement_profile(tensor, levels=LEVELS, tolerance=1e-6, executor=pool)

        ours()  # compiles the kernel
        times = []
        for _ in range(REPEATS):
            elapsed, profile = seconds(ours)
            times.append(elapsed)
    torch.set_num_threads(options.threads)
    own = statistics.median(times)
    print(f"shared walk: {own:.3f} s for {len(profile.partitions)} cuts (median of {REPEATS})")
    for level, entropy in profile.by_level().items():
        print(f"  level {level}: {entropy:.6f} nats")

    n_cuts = len(profile.partitions)
    first_of_level = [int(np.flatnonzero(profile.levels == level)[0]) for level in (1, 2, 3, 4)]
    rest = [cut for cut in range(n_cuts) if cut not in first_of_level]
    chosen = (first_of_level + rest)[: options.peer_partitions]
    peer, gap = [], 0.0
    for cut in chosen:
        elapsed, entropy = seconds(lambda c=cut: published_entropy(X, y, profile.partitions[c]))
        peer.append(elapsed)
        gap = max(gap, abs(entropy - profile.entropy[cut]))
        print(
            f"published, level {profile.levels[cut]}, block of "
            f"{profile.partitions[cut].block.size}: {elapsed:.1f} s, {entropy:.6f} nats "
            f"(walk {profile.entropy[cut]:.6f}, error bound {profile.error_bound[cut]:.1e})"
        )
    total = statistics.median(peer) * n_cuts if len(chosen) < n_cuts else sum(peer)
    how = "measured" if len(chosen) == n_cuts else f"extrapolated from {len(chosen)} cuts"
    print(f"published: {total:.0f} s for {n_cuts} cuts ({how}); largest difference {gap:.1e} nats")
    if gap > 1e-3:
        raise SystemExit("the two disagree by more than single precision explains")
    print(f"ratio: {total / own:.0f}x")


if __name__ == "__main__":
    main()
