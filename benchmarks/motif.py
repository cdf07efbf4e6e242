"""A motif somewhere in a noisy series: what the order of features is worth to a convolution.

A series of 256 samples is smooth noise, AR(1), with a motif of eight samples at a random place: up
and then down in one class, down and then up in the other. Both classes have the same covariances,
and means that hardly differ, so only what is next to what tells them apart. The columns are
permuted, an order is found from the training rows, and a small convolutional network is trained on
the rearranged columns with one budget for all orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from peers import METIS, OURS, PEERS
from problem import ROUNDING, Problem
from torch import Tensor, nn

from entangle.ordering import mincut_order
from entangle.ordering.graph import Graph
from entangle.ordering.orientation import oriented
from entangle.partition import CanonicalTree

LENGTH = 256
MOTIF = 8  # samples
HEIGHT = 3.0  # of the motif, in standard deviations of the noise
RHO = 0.9
TRAIN, TEST = 2000, 2000
WIDTH, KERNEL = 16, 7
EPOCHS, BATCH, RATE = 12, 50, 5e-3


def chain(n_features: int, seed: int, n_samples: int = 1000, rho: float = RHO) -> NDArray:
    """AR(1): the correlation of two features falls as rho to the power of their distance."""
    X = np.random.default_rng(seed).normal(size=(n_samples, n_features))
    for n in range(1, n_features):
        X[:, n] = rho * X[:, n - 1] + math.sqrt(1 - rho**2) * X[:, n]
    return X


def motif_task(seed: int) -> tuple[NDArray, NDArray]:
    """Series in their true order, and the class of each; training rows first."""
    n = TRAIN + TEST
    X = chain(LENGTH, seed, n)
    generator = np.random.default_rng(1000 + seed)
    y = generator.integers(0, 2, n)
    wave = HEIGHT * np.sin(2 * np.pi * (np.arange(MOTIF) + 0.5) / MOTIF)
    start = generator.integers(0, LENGTH - MOTIF + 1, n)
    signs = np.where(y, -1, 1)
    X[np.arange(n)[:, None], start[:, None] + np.arange(MOTIF)] += signs[:, None] * wave
    return X, y


class MotifNetwork(nn.Module):
    """Two convolutions, the largest value of each channel, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(1, WIDTH, KERNEL, padding=KERNEL // 2),
            nn.ReLU(),
            nn.Conv1d(WIDTH, WIDTH, KERNEL, padding=KERNEL // 2),
            nn.ReLU(),
        )
        self.classes = nn.Linear(WIDTH, 2)

    def forward(self, X: Tensor) -> Tensor:
        """Logits, shape ``(samples, 2)``."""
        return self.classes(self.features(X[:, None]).amax(dim=2))


def accuracy(X: NDArray, y: NDArray, seed: int) -> float:
    """Accuracy on the test rows after training on the first ``TRAIN`` rows."""
    torch.manual_seed(seed)
    network = MotifNetwork()
    values, labels = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    steps = EPOCHS * (TRAIN // BATCH)
    optimiser = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for rows in _batches():
        loss = nn.functional.cross_entropy(network(values[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        guess = network(values[TRAIN:]).argmax(dim=1)
    return float((guess == labels[TRAIN:]).float().mean())


def _batches() -> Iterator[Tensor]:
    for _ in range(EPOCHS):
        yield from torch.randperm(TRAIN).split(BATCH)


TRUE, RANDOM = "true order", "random"
UNORIENTED, TURNED = "ours, orient=False", "METIS, oriented"
SAME_BLOCKS = ((OURS, UNORIENTED), (METIS, TURNED))


def motif_orders(problem: Problem) -> dict[str, Callable[[], NDArray[np.int64]]]:
    """Functions that find each order, from the training rows alone."""
    affinity, shape, seed = problem.affinity, problem.shape, problem.seed

    def turned() -> NDArray[np.int64]:
        order = PEERS[METIS].order(affinity, shape, TRAIN, seed)
        return oriented(Graph.from_matrix(affinity), order, CanonicalTree(shape))

    def ours(orient: bool) -> NDArray[np.int64]:
        return mincut_order(affinity, shape, TRAIN, seed, orient=orient)

    found: dict[str, Callable[[], NDArray[np.int64]]] = {
        TRUE: lambda: problem.natural,
        OURS: lambda: ours(True),
        UNORIENTED: lambda: ours(False),
        METIS: lambda: PEERS[METIS].order(affinity, shape, TRAIN, seed),
        TURNED: turned,
    }
    for name in ("spectral", "leaf ordering", "t-SNE", "IGTD", "Fiedler"):
        found[name] = lambda peer=PEERS[name]: peer.order(affinity, shape, TRAIN, seed)
    return found | {RANDOM: lambda: np.arange(LENGTH)}


def motif_cell(seed: int, name: str) -> dict[str, float]:
    """H, share of true neighbours, and test accuracy of a network, of one order."""
    X, y = motif_task(seed)
    problem = Problem.permuted(X[:TRAIN], (LENGTH,), seed)
    columns = Problem.permuted(X, (LENGTH,), seed).X
    order = motif_orders(problem)[name]()
    found = problem.judged(order, problem.frame())
    return found | {"accuracy": 100.0 * accuracy(columns[:, order], y, seed)}


def same_blocks(cells: dict[str, dict[str, float]]) -> None:
    """End the run if turning children changed a cut."""
    for name, other in SAME_BLOCKS:
        if abs(cells[name]["H"] - cells[other]["H"]) > ROUNDING:
            raise SystemExit(f"H of {name} and of {other} differ, their blocks should not")
