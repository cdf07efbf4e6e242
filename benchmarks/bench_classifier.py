"""Accuracy and seconds of the tensor network classifier, beside linear ones and tensorkrowch.

Digits (8x8), 1347 training and 450 test samples, stratified, one split a seed; bond 10, batches
of 64, theta 1/2, all options as by default. With --sweeps the matrix product state is also trained
by sweeps. Beside them, on the same splits: logistic regression, also with eight copies of the
training rows that carry the noise our training adds, and a support vector machine.

    python benchmarks/bench_classifier.py [--seeds 5] [--networks mps tree] [--sweeps] [--grid]
        [--peer] [--images mnist fashion_mnist_40k] [--device cuda]

With --peer an MPS of tensorkrowch takes batches of the same size in turns with ours: processor
seconds an epoch, and accuracy after 10 and 60 epochs from first values like ours (its own leave
chance late or never); the faster of its ways to contract is taken.

With --images all training images of 784 features are trained on, for 10 epochs with noise 0.15, and
the 10,000 others tested.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
from importlib.metadata import version

import numpy as np
import sklearn
import torch
from cells import processor
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from entangle import TensorNetworkClassifier, load_dataset
from entangle.networks.initialization import constant_vectors

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


def images(names, bonds, device):
    for name in names:
        data = load_dataset(name)
        X, n_train = data.X.reshape(len(data.X), -1), len(data.X) - 10_000
        for network, bond in bonds:
            model = TensorNetworkClassifier(
                network, bond, noise=0.15, max_epochs=10, device=device, random_state=0
            )
            begin, used = time.perf_counter(), time.process_time()
            model.fit(X[:n_train], data.y[:n_train])
            seconds, used = time.perf_counter() - begin, time.process_time() - used
            print(
                f"{name} {n_train}/10000, {network}, bond {bond}: test "
                f"{model.score(X[n_train:], data.y[n_train:]):.4f}, {model.n_iter_} epochs, "
                f"{seconds:.0f} s ({used:.0f} s of processor) on {device}",
                flush=True,
            )


class Peer:
    """Matrix product state of tensorkrowch, with first values like ours."""

    def __init__(self, seed, train, labels):
        tk = importlib.import_module("tensorkrowch")
        torch.manual_seed(seed)
        self.embed = tk.embeddings.unit
        self.images, self.codes = torch.tensor(train).float(), torch.tensor(labels)
        self.model = tk.models.MPSLayer(n_features=65, in_dim=2, out_dim=10, bond_dim=10)
        constants = constant_vectors(self.embed(self.images), False).float()
        features = [node for node in self.model.mats_env if node.shape[1] == 2]
        with torch.no_grad():
            for node, constant in zip(features, constants, strict=True):
                sites = torch.eye(10)[:, None] * constant[:, None]
                node.tensor = sites + 0.01 * torch.randn(10, 2, 10)
            label = self.model.mats_env[self.model.out_position]
            label.tensor = 0.1 * torch.randn(10, 10, 10)
        self.model.trace(self.embed(self.images[:1]), inline_mats=True)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3)

    def logits(self, rows):
        """Contract with rows of values."""
        return self.model(self.embed(rows), inline_mats=True)

    def epoch(self):
        """Train on all rows once."""
        for rows in torch.randperm(len(self.images)).split(64):
            self.optimizer.zero_grad()
            logits = self.logits(self.images[rows])
            torch.nn.functional.cross_entropy(logits, self.codes[rows]).backward()
            self.optimizer.step()

    @torch.no_grad()
    def score(self, test, truth):
        """Share of labels found."""
        return (self.logits(torch.tensor(test).float()).argmax(dim=1).numpy() == truth).mean()


class Watched(TensorNetworkClassifier):
    """Classifier that notes when an epoch ends."""

    def _on_epoch(self, epoch):
        self.ends = [*getattr(self, "ends", []), time.process_time()]


def peer(seeds):
    if importlib.util.find_spec("tensorkrowch") is None:
        print("tensorkrowch is not installed: pip install tensorkrowch")
        return
    train, _, labels, _ = split(0)
    theirs, ours = [], []
    for _ in range(3):
        other = Peer(0, train, labels)
        for _ in range(4):
            begin = time.process_time()
            other.epoch()
            theirs.append(time.process_time() - begin)
        model = Watched("mps", max_epochs=9, early_stopping=False, random_state=0)
        ours += np.diff(model.fit(train, labels).ends).tolist()
    one, both = np.median(ours), np.median(theirs)
    print(
        f"an epoch of 1347 in batches of 64: tensorkrowch {version('tensorkrowch')} {both:.4f} s, "
        f"ours {one:.4f} s, ratio {one / both:.2f}",
        flush=True,
    )
    rows = []
    for seed in range(seeds):
        train, test, labels, truth = split(seed)
        other, scores = Peer(seed, train, labels), []
        for number in range(60):
            other.epoch()
            if number in (9, 59):
                scores.append(other.score(test, truth))
        rows.append(scores)
    for name, scores in zip(("10 epochs", "60 epochs"), np.transpose(rows), strict=True):
        report(f"tensorkrowch {name}", [(score,) for score in scores])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--networks", nargs="*", default=["mps", "tree"])
    parser.add_argument("--sweeps", action="store_true", help="also mps trained by sweeps")
    parser.add_argument("--grid", action="store_true", help="also a tree over the 8x8 grid")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--images", nargs="*", default=[])
    parser.add_argument("--device", default="cpu")
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
    if given.peer:
        peer(given.seeds)
    images(given.images, [("mps", 10), ("tree", 10), ("tree", 16)], given.device)


if __name__ == "__main__":
    main()
