"""Entropies of all bonds of a matrix product state: one sweep against quimb's shared cache.

Both start from the same random state of 64 sites and bond 32 in every run. quimb sweeps once and
reuses its canonical form through ``info``; its bits become nats here. The script ends with an
error if an entropy differs by more than 1e-10 nats.

    python benchmarks/bench_networks.py [--sites 64] [--bond 32] [--runs 15]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable

import numpy as np
import quimb
import quimb.tensor
import torch
from cells import processor
from threadpoolctl import threadpool_limits

from entangle import MatrixProductState
from entangle.entropy import entropy_of_weights

LARGEST_DIFFERENCE = 1e-10


def quimb_entropies(state: quimb.tensor.MatrixProductState) -> list[float]:
    info: dict = {}
    return [math.log(2) * state.entropy(site, info=info) for site in range(1, state.L)]


def our_entropies(state: MatrixProductState) -> list[float]:
    values = (bond.numpy() for bond in state.bond_schmidt_values())
    return [entropy_of_weights(v**2 / (v**2).sum()) for v in values]


def best(work: Callable[[], list[float]], runs: int) -> tuple[float, list[float]]:
    seconds, found = math.inf, []
    for _ in range(runs):
        start = time.perf_counter()
        found = work()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", type=int, default=64)
    parser.add_argument("--bond", type=int, default=32)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    versions = f"quimb {quimb.__version__}, torch {torch.__version__}, numpy {np.__version__}"
    print(f"{processor()}, one thread, {versions}; best of {options.runs}")
    with threadpool_limits(1):
        state = quimb.tensor.MPS_rand_state(options.sites, options.bond, dtype="float64", seed=0)
        ours = MatrixProductState.from_quimb(state)
        theirs, expected = best(lambda: quimb_entropies(state.copy()), options.runs)
        mine, found = best(lambda: our_entropies(ours), options.runs)
    apart = float(np.abs(np.subtract(found, expected)).max())
    print(f"{len(found)} bond entropies, {options.sites} sites, bond {options.bond}")
    print(f"quimb {1e3 * theirs:.1f} ms, ours {1e3 * mine:.1f} ms, {mine / theirs:.2f} of quimb")
    print(f"largest difference {apart:.1e} nats")
    if apart > LARGEST_DIFFERENCE:
        sys.exit("the entropies differ")


if __name__ == "__main__":
    main()
