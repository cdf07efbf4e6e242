"""The width that data of a known width needs, in its own order and in a random one.

A latent state of r values sits at every inner node of the tree over the features; a child's state
given its parent's has a random signed weight, and a feature is one of r random vectors of length 4.
All states together, each with the product of its weights, are rows of a data tensor that is a
tree tensor network of bond r. In its own order it is to be found at width r within 1e-6 and not at
r - 1. In a random order the lower bound for an error of 1e-4, from the spectra alone, is to be
above r, and neither the width that is found for this error nor the one that is certified may be
below it. Errors are relative distances of dense tensors. The script ends with an error if one of
these fails.

    python benchmarks/bench_width.py [--seeds 3]
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time

import numpy as np
import torch
from cells import processor

from entangle import DataTensor, TreeTensorNetwork, width_bounds
from entangle.hierarchy import hierarchical_svd

FITTED, ERROR = 1e-6, 1e-4
BONDS, N_FEATURES, LOCAL = (2, 3, 4), 8, 4


def planted(bond: int, seed: int) -> DataTensor:
    rng = np.random.default_rng(seed)
    n_inner = N_FEATURES - 1  # in heap order: the children of i are 2 i + 1 and 2 i + 2
    states = np.array(list(itertools.product(range(bond), repeat=n_inner)))
    weights = np.ones(len(states))
    for child in range(1, n_inner):
        steps = rng.normal(size=(bond, bond))
        weights *= steps[states[:, (child - 1) // 2], states[:, child]]
    words = rng.normal(size=(N_FEATURES, bond, LOCAL))
    words /= np.linalg.norm(words, axis=2, keepdims=True)
    parents = [(n_inner + feature - 1) // 2 for feature in range(N_FEATURES)]
    return DataTensor(words[np.arange(N_FEATURES), states[:, parents]], weights, "identity")


def distance(tensor: DataTensor, width: int) -> float:
    dense = tensor.to_dense()
    network = TreeTensorNetwork.from_data_tensor(tensor, bond_dim=width)
    return float(
        (network.to_dense() - dense.reshape(network.to_dense().shape)).norm() / dense.norm()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    print(f"{processor()}, one thread, torch {torch.__version__}; {N_FEATURES} features")
    failed = False
    for bond, seed in itertools.product(BONDS, range(seeds)):
        begin = time.perf_counter()
        tensor = planted(bond, seed)
        fits, narrow = distance(tensor, bond), distance(tensor, bond - 1)
        order = np.random.default_rng(seed).permutation(N_FEATURES)
        mixed = tensor.reordered(order.tolist())
        bounds = width_bounds(mixed, ERROR)
        taken = hierarchical_svd(mixed, error=ERROR).width
        ends = [taken] if bounds.sufficient is None else [taken, bounds.sufficient]
        kept = fits < FITTED < 1e-2 < narrow and bond < bounds.lower <= min(ends)
        failed |= not kept
        print(
            f"bond {bond}, seed {seed}, {tensor.n_samples} rows: error "
            f"{fits:.0e} at {bond}, {narrow:.2f} at {bond - 1}; reordered: lower bound "
            f"{bounds.lower}, found {taken}, sufficient {bounds.sufficient}; "
            f"{time.perf_counter() - begin:.1f} s{'' if kept else '  FAILED'}",
            flush=True,
        )
    if failed:
        sys.exit("a width is not what was planted")


if __name__ == "__main__":
    main()
