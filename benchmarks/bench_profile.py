"""Entanglement of a data set across canonical cuts, two ways.

The shared walk of ``entanglement_profile`` against the published per-partition algorithm
(arXiv:2303.11249, appendix), written anew with its feature blocks sliced where they belong: for
every partition apart, both Gram matrices from the cosines of all pairs of samples, block of
features after block, multiplied in single precision; one singular value decomposition of each,
and one of the product of their square roots.

    ENTANGLE_DATA=folder python benchmarks/bench_profile.py [--data fsdd|isolet|images]
        [--peer-partitions 4] [--threads 2]

The peer does the same work for every partition, so by default it is timed on one of each of the
top levels and the total is extrapolated; the last lines say so.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from cells import processor
from threadpoolctl import threadpool_limits

from entangle import DataTensor, entanglement_profile, load_dataset
from entangle.embedding import Trigonometric
from entangle.gram import gram_product

THETA = 0.085
REPEATS = 3
FLOPS = 4  # of an entry and feature of a Gram matrix at local dimension 2: a u + b v, times


def clips() -> tuple[torch.Tensor, torch.Tensor, int | None, float]:
    """500 spoken digits 3 and 7 in file order, 4096 amplitudes in [-1, 1]; levels 1 to 4."""
    data = load_dataset("fsdd")
    rows = np.flatnonzero(np.isin(data.y, (3, 7)))[:500]
    X = torch.from_numpy(data.X[rows, :4096] / 32768.0)
    return X, torch.from_numpy(np.where(data.y[rows] == 3, 1.0, -1.0)), 4, 1e-6


def letters() -> tuple[torch.Tensor, torch.Tensor, int | None, float]:
    """1000 random rows of isolet, 617 features, even against odd letters; all levels."""
    data = load_dataset("isolet")
    rows = np.random.default_rng(0).permutation(data.n_samples)[:1000]
    X = torch.from_numpy(data.X[rows].astype(np.float64))
    return X, torch.from_numpy(np.where(data.y[rows] % 2 == 0, 1.0, -1.0)), None, 1e-4


def images() -> tuple[torch.Tensor, torch.Tensor, int | None, float]:
    """1000 random grey 32 x 32 images of CIFAR-10 as sequences, even against odd; all levels."""
    data = load_dataset("cifar10_exact_5k")
    rows = np.random.default_rng(0).permutation(data.n_samples)[:1000]
    X = data.X[rows].reshape(1000, 32 * 32, 3).mean(axis=2) / 255.0
    return (
        torch.from_numpy(X),
        torch.from_numpy(np.where(data.y[rows] % 2 == 0, 1.0, -1.0)),
        None,
        1e-4,
    )


SETS = {"fsdd": clips, "isolet": letters, "images": images}


def published_gram(
    X: torch.Tensor, features: np.ndarray, dtype: torch.dtype, block: int = 100
) -> torch.Tensor:
    product = torch.ones(len(X), len(X), dtype=dtype, device=X.device)
    for start in range(0, len(features), block):
        values = X[:, features[start : start + block].tolist()]
        product *= torch.cos(math.pi * THETA * (values[None] - values[:, None])).prod(dim=2)
    return product


def published_root(gram: torch.Tensor) -> torch.Tensor:
    left, values, _ = torch.linalg.svd(gram, full_matrices=False)
    return values.sqrt()[:, None] * left.T


def published_entropy(
    X: torch.Tensor, y: torch.Tensor, partition, dtype: torch.dtype = torch.float32
) -> float:
    inside = published_gram(X, partition.block, dtype) * torch.outer(y, y).to(dtype)
    outside = published_gram(X, partition.complement, dtype)
    values = torch.linalg.svdvals(published_root(inside) @ published_root(outside).T)
    weights = values**2 / (values**2).sum()
    return float(torch.distributions.Categorical(probs=weights).entropy())


DOUBLE = 1e-9  # nats, what double precision of the peer explains


def seconds(function) -> tuple[float, object]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=SETS, default="fsdd")
    parser.add_argument("--peer-partitions", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="of ours and of the peer: cpu or cuda")
    options = parser.parse_args()
    X, y, levels, tolerance = SETS[options.data]()
    X, y = X.to(options.device), y.to(options.device)
    if options.device != "cpu":
        options.threads = 1
        print(torch.cuda.get_device_name(options.device))
    print(f"machine: {processor()}, torch {torch.__version__}, {options.threads} threads")
    print(f"data: {SETS[options.data].__doc__}")
    print(f"size: {len(X)} samples x {X.shape[1]} features, theta {THETA}")

    # Two workers with one BLAS thread each; the peer gives all threads to each decomposition.
    torch.set_num_threads(1)
    with threadpool_limits(1), ThreadPoolExecutor(options.threads) as pool:

        def ours():
            tensor = DataTensor(X, y, Trigonometric(THETA))
            return entanglement_profile(tensor, levels=levels, tolerance=tolerance, executor=pool)

        ours()  # compiles the kernels
        times = []
        for _ in range(REPEATS):
            elapsed, profile = seconds(ours)
            times.append(elapsed)
    torch.set_num_threads(options.threads)
    own, n_cuts = statistics.median(times), len(profile.partitions)
    print(f"shared walk: {own:.3f} s for {n_cuts} cuts (median of {REPEATS})")
    print(f"  largest error bound {profile.error_bound.max():.1e} nats, asked for {tolerance:.0e}")
    for level, entropy in profile.by_level().items():
        print(f"  level {level}: {entropy:.6f} nats")
    report_limits(X, own, options.threads)

    first_of_level = [
        int(np.flatnonzero(profile.levels == level)[0]) for level in np.unique(profile.levels)
    ]
    rest = [cut for cut in range(n_cuts) if cut not in first_of_level]
    chosen = (first_of_level + rest)[: options.peer_partitions]
    peer, gap, within = [], 0.0, True
    for cut in chosen:
        elapsed, entropy = seconds(lambda c=cut: published_entropy(X, y, profile.partitions[c]))
        peer.append(elapsed)
        gap = max(gap, abs(entropy - profile.entropy[cut]))
        exact = published_entropy(X, y, profile.partitions[cut], torch.float64)
        within &= bool(abs(exact - profile.entropy[cut]) <= profile.error_bound[cut] + DOUBLE)
        print(
            f"published, level {profile.levels[cut]}, block of "
            f"{profile.partitions[cut].block.size}: {elapsed:.1f} s, {entropy:.6f} nats "
            f"(walk {profile.entropy[cut]:.6f}, error bound {profile.error_bound[cut]:.1e})"
        )
    total = statistics.median(peer) * n_cuts if len(chosen) < n_cuts else sum(peer)
    how = "measured" if len(chosen) == n_cuts else f"extrapolated from {len(chosen)} cuts"
    print(f"published: {total:.0f} s for {n_cuts} cuts ({how}); largest difference {gap:.1e} nats")
    print(f"ratio: {total / own:.0f}x")
    if not within:
        raise SystemExit("in double precision the two differ by more than the error bound")


def report_limits(X: torch.Tensor, own: float, threads: int) -> None:
    """How far the kernels of all pairs, and all of it, are from the rate of a matrix product."""
    n_samples, n_features = X.shape
    flops = FLOPS * n_samples * (n_samples + 1) / 2 * n_features
    a = torch.rand(2000, 2000, dtype=torch.float64, device=X.device)
    rate = 2 * 2000**3 / min(seconds(lambda: float((a @ a)[0, 0]))[0] for _ in range(3))
    vectors = DataTensor(X, embedding=Trigonometric(THETA)).vectors
    kernel = min(seconds(lambda: float(gram_product(vectors)[0, 0]))[0] for _ in range(3))
    reached = flops / kernel
    print(f"  kernels of all pairs: {flops / 1e9:.1f} Gflop, {kernel:.3f} s of our {own:.2f} s")
    print(
        f"  {reached / 1e9:.0f} Gflop/s; a matrix product with {threads} threads: "
        f"{rate / 1e9:.0f} Gflop/s, {rate / reached:.1f} times that"
    )


if __name__ == "__main__":
    main()
