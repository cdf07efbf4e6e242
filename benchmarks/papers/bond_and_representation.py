"""Where the spectrum across a bond and the spectrum of a representation meet: digits.

A tree and a chain are trained on the digits of scikit-learn (8 x 8, in [0, 1]). At their middle
cut: squared Schmidt values of the network and of the labelled data, and second moments of what the
samples leave at the bond, plain and weighted, before and after training. Beside them, the effective
rank of a hidden layer of as many units, of a perceptron.

The network that is the data itself, cut down to the same bond, shows what the bond could hold.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from records import keep
from sklearn.datasets import load_digits
from torch import nn

from entangle import DataTensor, TensorNetworkClassifier, TreeTensorNetwork, canonical_partitions
from entangle.embedding import Trigonometric
from entangle.networks.bond_comparison import BondComparison, compare_at_bond
from entangle.spectra import covariance_spectrum, effective_rank

SPECTRA = ("state", "data", "projected", "representation", "covariance", "weighted")
EMBEDDING = Trigonometric(theta=0.5)


def row(name: str, found: BondComparison, accuracy: float | None) -> dict:
    ranks = {key: round(effective_rank(getattr(found, key)), 2) for key in SPECTRA}
    shares = {"data_share": found.data_share, "block_share": found.block_share}
    return {"network": name, "accuracy": accuracy, **shares, "effective_rank": ranks}


def perceptron(X: torch.Tensor, y: torch.Tensor, units: int, steps: int) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, units), nn.ReLU(), nn.Linear(units, 10))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        rows = torch.randint(len(X), (128,))
        loss = nn.functional.cross_entropy(model(X[rows]), y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def run(quick: bool) -> Iterator[dict]:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order] / 16, y[order]
    train, test = slice(0, 300 if quick else 1200), slice(1200, None)
    tensor = DataTensor.from_labels(X[train], y[train], EMBEDDING)
    bond, epochs = 8, 5 if quick else 30
    for kind in ("tree", "mps"):
        shape = (8, 8) if kind == "tree" else None
        cut = canonical_partitions((8, 8) if kind == "tree" else 64, 1)[0]
        for trained in (False, True):
            options = {"shape": shape, "scale": None, "embedding": EMBEDDING, "random_state": 0}
            rate = {} if trained else {"learning_rate": 1e-12, "early_stopping": False}
            model = TensorNetworkClassifier(
                kind, bond, max_epochs=epochs if trained else 1, **options, **rate
            ).fit(X[train], y[train])
            found = compare_at_bond(model.network_, tensor, cut)
            name = f"{kind}, {'trained' if trained else 'first values'}"
            yield row(name, found, model.score(X[test], y[test]))
    cut = canonical_partitions((8, 8), 1)[0]
    data = TreeTensorNetwork.from_data_tensor(tensor, (8, 8), bond_dim=bond)
    yield row("tree, data itself", compare_at_bond(data, tensor, cut), None)
    A, b = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    model = perceptron(A[train], b[train], bond, 200 if quick else 2000)
    with torch.no_grad():
        accuracy = float((model(A[test]).argmax(1) == b[test]).double().mean())
    hidden = covariance_spectrum(model, A[train], "0").effective_rank
    ranks = {"covariance": round(hidden, 2)}
    yield {"network": "perceptron", "accuracy": accuracy, "effective_rank": ranks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer samples and epochs")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    print(f"{'network':<20} accuracy  data  block  effective rank: {', '.join(SPECTRA)}")
    rows = []
    for found in run(quick):
        ranks = " ".join(f"{found['effective_rank'].get(key, np.nan):6.2f}" for key in SPECTRA)
        numbers = (found["accuracy"], found.get("data_share"), found.get("block_share"))
        shares = " ".join("    -" if n is None else f"{n:5.3f}" for n in numbers)
        print(f"{found['network']:<20} {shares}  {ranks}", flush=True)
        rows.append(found)
    keep("bond_and_representation", {"quick": quick, "bond": 8, "rows": rows})


if __name__ == "__main__":
    main()
