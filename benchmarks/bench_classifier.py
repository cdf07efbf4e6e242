"""Accuracy and seconds of the tensor network classifier on digits, beside linear ones.

Digits (8x8), 1347 training and 450 test samples, stratified, one split a seed; bond 10, batches
of 64, theta 1/2, all options as by default. With --sweeps the matrix product state is also trained
by sweeps. Beside them, on the same splits: logistic regression, also with eight copies of the
training rows that carry the noise our training adds, and a support vector machine. `--peer` times
an MPS of tensorkrowch, if that is installed.

    python benchmarks/bench_classifier.py [--seeds 5] [--networks mps tree] [--sweeps] [--grid]
        [--peer] [--mnist 2000]

With --mnist so many images of 784 features are trained on, once, and 2,000 are tested.
"""

from __future__ import annotations

import argparse
import importlib.util
import time

import numpy as np
import sklearn
import torch
from cells import processor
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from entangle import TensorNetworkClassifier, load_dataset

NOISE, COPIES = 0.1, 8


def split(seed):
    X, y = load_digits(return_X_y=True)
    return train_test_split(
        X / 16, y, train_size=1347, test_size=450, stratify=y, random_state=seed
    )


def ours(network, seeds, shape=None):
    rows = []
    for seed in range(seeds):
        train, test, labels, truth = split(seed)
        begin = time.perf_counter()
        model = TensorNetworkClassifier(network, shape=shape, random_state=seed)
        model.fit(train, labels)
        seconds = time.perf_counter() - begin
        ten = TensorNetworkClassifier(network, shape=shape, max_epochs=10, random_state=seed)
        ten.fit(train, labels)
        each = model.history_[-1].seconds / model.n_iter_
        rows.append(
            (model.score(test, truth), ten.score(test, truth), model.n_iter_, each, seconds)
        )
    report(network + (" (8, 8)" if shape else ""), rows)


def swept(seeds):
    rows = []
    for seed in range(seeds):
        train, test, labels, truth = split(seed)
        model = TensorNetworkClassifier("mps", solver="sweeps", random_state=seed)
        model.fit(train, labels)
        best = min(model.history_, key=lambda epoch: epoch.validation_loss).number
        rows.append((model.score(test, truth),))
        found = [shape[2] for shape in model.network_.site_shapes[:-1]]
        print(
            f"  seed {seed}: {model.n_iter_} sweeps, best {best}, "
            f"{model.history_[-1].seconds / model.n_iter_:.2f} s each, bonds of mean "
            f"{np.mean(found):.1f}: {' '.join(map(str, found))}",
            flush=True,
        )
    report("mps, sweeps", rows)


def report(name, rows):
    scores = np.array([row[0] for row in rows])
    spread = f"{scores.mean():.4f} +- {scores.std(ddof=min(1, len(rows) - 1)):.4f}"
    print(f"{name:22s} test {spread}  ({' '.join(f'{s:.4f}' for s in scores)})", end="")
    if len(rows[0]) > 1:
        _, ten, epochs, each, seconds = np.mean(rows, axis=0)
        print(
            f"  trained for 10 epochs {ten:.4f}  epochs {epochs:.0f}  {each:.3f} s an epoch  "
            f"{seconds:.1f} s a fit",
            end="",
        )
    print(flush=True)


def others(seeds):
    found = {"logistic regression": [], "logistic, noisy copies": [], "SVC": []}
    for seed in range(seeds):
        train, test, labels, truth = split(seed)
        noise = np.random.default_rng(seed).standard_normal((COPIES, *train.shape))
        many, again = (train + NOISE * noise).reshape(-1, 64), np.tile(labels, COPIES)
        linear = LogisticRegression(max_iter=5000)
        found["logistic regression"].append((linear.fit(train, labels).score(test, truth),))
        found["logistic, noisy copies"].append((linear.fit(many, again).score(test, truth),))
        found["SVC"].append((SVC().fit(train, labels).score(test, truth),))
    for name, rows in found.items():
        report(name, rows)


def large(networks, n_samples):
    data = load_dataset("mnist")
    rows = np.random.default_rng(0).permutation(data.n_samples)
    X, y = data.X.reshape(len(data.X), -1)[rows], data.y[rows]
    train, test = slice(0, n_samples), slice(n_samples, n_samples + 2000)
    for network in networks:
        model = TensorNetworkClassifier(network, max_epochs=12, random_state=0)
        model.fit(X[train], y[train])
        each = model.history_[-1].seconds / model.n_iter_
        print(
            f"{network:22s} MNIST {n_samples} x 784: test {model.score(X[test], y[test]):.4f}, "
            f"{model.n_iter_} epochs, {each:.2f} s each",
            flush=True,
        )


def peer(epochs=30):
    if importlib.util.find_spec("tensorkrowch") is None:
        print("tensorkrowch is not installed: pip install tensorkrowch")
        return
    import tensorkrowch as tk

    train, test, labels, truth = split(0)
    torch.manual_seed(0)
    model = tk.models.MPSLayer(
        n_features=65, in_dim=2, out_dim=10, bond_dim=10, init_method="randn_eye", std=1e-2
    )
    embed = tk.embeddings.unit
    images, codes = torch.tensor(train, dtype=torch.float32), torch.tensor(labels)
    model.trace(embed(images[:1]))
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    begin = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            adam.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(embed(images[rows])), codes[rows])
            loss.backward()
            adam.step()
    each = (time.perf_counter() - begin) / epochs
    with torch.no_grad():
        found = model(embed(torch.tensor(test, dtype=torch.float32))).argmax(dim=1).numpy()
    print(f"tensorkrowch MPS       test {(found == truth).mean():.4f}  {each:.3f} s an epoch")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--networks", nargs="*", default=["mps", "tree"])
    parser.add_argument("--sweeps", action="store_true", help="also mps trained by sweeps")
    parser.add_argument("--grid", action="store_true", help="also a tree over the 8x8 grid")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--mnist", type=int, default=0)
    given = parser.parse_args()
    print(
        f"{processor()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}, scikit-learn {sklearn.__version__}; digits 1347/450, seeds "
        f"0..{given.seeds - 1}"
    )
    others(given.seeds)
    for network in given.networks:
        ours(network, given.seeds)
    if given.sweeps:
        swept(given.seeds)
    if given.grid:
        ours("tree", given.seeds, (8, 8))
    if given.mnist:
        large(given.networks, given.mnist)
    if given.peer:
        peer()


if __name__ == "__main__":
    main()
