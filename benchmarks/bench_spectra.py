"""Covariance spectrum of activations beside one numpy.linalg.eigh of their covariance.

The peer is given the covariance; ours forms it from samples, in batches, first. With --wide units
and --few samples the Gram route and the randomised one are timed against each other, too. Runs
alternate; the fastest of --repeats counts, in seconds of processor and by the clock, as other work
on the machine only adds.

    python benchmarks/bench_spectra.py [--samples 10000] [--units 2000] [--repeats 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from entangle.spectra import covariance_spectrum


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Processor and wall seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - processor, time.perf_counter() - wall


def fastest(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, ...]]:
    """Least processor and least wall seconds of each, in alternating runs."""
    runs = [{name: seconds(work) for name, work in works.items()} for _ in range(repeats)]
    return {n: tuple(min(run[n][i] for run in runs) for i in range(2)) for n in works}


def law(n_samples: int, n_units: int) -> np.ndarray:
    """Draw samples whose variances fall like 1/n."""
    draw = np.random.default_rng(0).standard_normal((n_samples, n_units), dtype=np.float32)
    return draw * np.arange(1, n_units + 1, dtype=np.float32) ** -0.5


def beside_eigh(options: argparse.Namespace) -> None:
    X = law(options.samples, options.units).astype(np.float64)
    covariance = np.cov(X.T)
    found = fastest(
        {
            "ours": lambda: covariance_spectrum(X),
            "eigh": lambda: np.linalg.eigh(covariance),
        },
        options.repeats,
    )
    values = covariance_spectrum(X).eigenvalues
    off = np.abs(values - np.linalg.eigvalsh(covariance)[::-1][: len(values)]).max() / values[0]
    (ours, wall), (peer, peer_wall) = found["ours"], found["eigh"]
    print(
        f"{options.samples} x {options.units}: spectrum {ours:.2f} s of processor ({wall:.2f} s by "
        f"the clock), numpy eigh of the covariance alone {peer:.2f} s ({peer_wall:.2f} s), ratio "
        f"{ours / peer:.2f} ({wall / peer_wall:.2f}); largest difference {off:.1e} of the first"
    )


def wide(options: argparse.Namespace) -> None:
    X = law(options.few, options.wide)
    exact = covariance_spectrum(X)
    for route in ("gram", "randomised"):
        cost, wall = seconds(lambda route=route: covariance_spectrum(X, route=route, n_leading=200))
        found = covariance_spectrum(X, route=route, n_leading=200)
        off = np.abs(found.eigenvalues[:200] / exact.eigenvalues[:200] - 1).max()
        said = (found.errors / found.eigenvalues)[:200].max()
        print(
            f"{options.few} x {options.wide}, {route}: {cost:.2f} s of processor ({wall:.2f} s by "
            f"the clock); 200 leading eigenvalues off by {off:.1e}, said {said:.1e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = {"samples": 10_000, "units": 2000, "repeats": 3, "threads": 1}
    for name, value in (defaults | {"few": 1000, "wide": 0}).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        print(
            f"{platform.machine()}, {options.threads} threads, numpy {np.__version__}, torch "
            f"{torch.__version__}"
        )
        beside_eigh(options)
        if options.wide:
            wide(options)


if __name__ == "__main__":
    main()
