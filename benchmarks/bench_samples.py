"""Cost of a certified entanglement profile against the number of samples.

USPS digits (256 features, rows shuffled, odd against even or without labels), all canonical cuts,
by the truncated and by the dense route: seconds, largest error bound, basis vectors by level, and
the exponent of time against samples. The routes must agree within their error bounds.

    ENTANGLE_DATA=folder python benchmarks/bench_samples.py [--tolerance 1e-3] [--threads 2]
        [--samples 1000 2000 4000 8000] [--dense 1000 2000] [--route truncated|auto]
        [--data usps|usps_unlabelled|mnist_pair|mnist]

With mnist_pair (digits 3 and 7) or mnist (no labels), one run over all rows asked for, checked on
a random sub-sample against the dense route. --route auto times what a user gets, which is the dense
route for few rows; the routes are compared all the same.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from entangle import DataTensor, entanglement_profile, load_dataset, streaming, two_sided
from entangle.embedding import Trigonometric

THETA = 0.085


def usps() -> tuple[np.ndarray, np.ndarray | None]:
    data = load_dataset("usps")
    rows = np.random.default_rng(0).permutation(data.n_samples)
    return data.X[rows].astype(np.float64), np.where(data.y[rows] % 2 == 0, 1.0, -1.0)


def usps_unlabelled() -> tuple[np.ndarray, np.ndarray | None]:
    return usps()[0], None


def mnist_pair() -> tuple[np.ndarray, np.ndarray | None]:
    X, y = _mnist()
    kept = np.isin(y, (3, 7))
    return X[kept] / 255.0, np.where(y[kept] == 3, 1.0, -1.0)


def mnist() -> tuple[np.ndarray, np.ndarray | None]:
    X, _ = _mnist()
    return X / 255.0, None


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    data = load_dataset("mnist")
    rows = np.random.default_rng(0).permutation(data.n_samples)[:60_000]
    return data.X[rows].reshape(len(rows), -1).astype(np.float64), data.y[rows]


SETS = {
    "usps": usps, "usps_unlabelled": usps_unlabelled, "mnist_pair": mnist_pair, "mnist": mnist,
}  # fmt: skip


def measured(X, weights, tolerance, route, pool, repeats, max_memory, device):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        tensor = DataTensor(X, weights, Trigonometric(THETA), device)
        profile = entanglement_profile(
            tensor, tolerance=tolerance, executor=pool, route=route, max_memory=max_memory
        )
        times.append(time.perf_counter() - start)
    kept = [
        max(
            w.size for w, at in zip(profile.schmidt_weights, profile.levels, strict=True) if at == k
        )
        for k in np.unique(profile.levels)
    ]
    print(
        f"{route:>10} {len(X):>6} x {X.shape[1]}: {statistics.median(times):8.2f} s, "
        f"error bound {profile.error_bound.max():.1e}, level 1 {profile.entropy[0]:.5f} nats, "
        f"basis by level {kept}, peak {peak():.1f} GiB",
        flush=True,
    )
    return statistics.median(times), profile


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def exponent(sizes: list[int], times: list[float]) -> float:
    return math.log(times[-1] / times[0]) / math.log(sizes[-1] / sizes[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=SETS, default="usps")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, nargs="*", default=[1000, 2000, 4000, 8000])
    parser.add_argument("--dense", type=int, nargs="*", default=[1000, 2000])
    parser.add_argument("--route", choices=["truncated", "auto"], default="truncated")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda; on a GPU without threads")
    parser.add_argument("--memory", type=float, default=8.0, help="GiB")
    options = parser.parse_args()
    blas = {f"{info['internal_api']} {info.get('architecture')}" for info in threadpool_info()}
    print(f"theta {THETA}, tolerance {options.tolerance:.0e}, {options.threads} threads, {blas}")
    X, weights = SETS[options.data]()

    def part(n: int):
        return X[:n], None if weights is None else weights[:n]

    if options.device != "cpu":
        options.threads = 1
        print(torch.cuda.get_device_name(options.device))
    torch.set_num_threads(1)
    memory = options.memory * 2**30
    with threadpool_limits(1), ThreadPoolExecutor(options.threads) as pool:
        warm = DataTensor(*part(200), Trigonometric(THETA))
        entanglement_profile(warm, route="truncated", tolerance=0.1)  # compiles

        def run(n: int, tolerance: float, route: str):
            limit = None if route == "dense" else memory
            return measured(
                *part(n), tolerance, route, pool, options.repeats, limit, options.device
            )

        found, ours, dense = {}, [], []
        for n in options.samples:
            seconds, found[n] = run(n, options.tolerance, options.route)
            ours.append(seconds)
        tolerance = options.tolerance
        if max(options.samples, default=0) > streaming.LINEAR:
            # The route that all rows took is checked on few of them, whose noise is larger.
            streaming.LINEAR, tolerance = 0, max(tolerance, 0.3)
            two_sided.PILOT, two_sided.TEST_ROWS = 256, 512
        for n in options.dense:
            seconds, exact = run(n, 1e-6, "dense")
            dense.append(seconds)
            streamed = n in found and options.route == "truncated"
            few = found[n] if streamed else run(n, tolerance, "truncated")[1]
            bound = few.error_bound + exact.error_bound
            share = float((np.abs(few.entropy - exact.entropy) / bound).max())
            print(f"  largest difference of the routes: {share:.2f} of the error bound")
            if share > 1:
                raise SystemExit("the routes differ by more than their error bounds")
    if len(ours) > 1:
        print(f"{options.route}: time grows like samples^{exponent(options.samples, ours):.2f}")
    if len(dense) > 1:
        print(f"dense: time grows like samples^{exponent(options.dense, dense):.2f}")


if __name__ == "__main__":
    main()
