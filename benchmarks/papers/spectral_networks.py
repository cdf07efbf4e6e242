"""Networks of arXiv:2405.00679: one hidden layer without a bias, under five ways to train it.

All are the same three parts, ``hidden`` (linear), ``active`` and ``head``, so that spectra, attacks
and tables know no difference.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from entangle import load_dataset
from entangle.penalties import Penalised
from entangle.spectra import SpectralRegularizer
from entangle.spectra.hebbian_layer import LocalHebbianLayer
from entangle.spectra.hebbian_pruning import prune_units
from entangle.training import Group, Plan, train

__all__ = ["NETWORKS", "Rows", "rows_of", "trained", "untrained"]

NETWORKS = ("KH", "BP", "L2", "JReg", "SpecReg")
DECAY = 2 * 5e-4  # gradient of 5e-4 times a square, per weight
JACOBIAN = 2 * 1e-3 / 3  # 1e-3 as published, a third of which the released estimator sees
HEBBIAN = {"mnist": {"k": 7, "rate": 0.04}}  # elsewhere k = 2, at 0.02
SETS = {"cifar10": "cifar10_exact_5k", "cifar2": "cifar10_binary_jpeg_12k", "mnist": "mnist"}
N_TEST = {"cifar10": 1000, "cifar2": 2000, "mnist": 10000}


@dataclass(frozen=True, eq=False)
class Rows:
    """Pixels over their L3 norm, and class numbers, for training and test."""

    X: Tensor
    y: Tensor
    held_X: Tensor  # noqa: N815
    held_y: Tensor


def rows_of(name: str, n_training: int) -> Rows:
    """First training rows and all test rows of a set; test rows come last in each."""
    data = load_dataset(SETS[name])
    assert data.y is not None
    X = torch.from_numpy(data.X.reshape(len(data.X), -1).astype(np.float32))
    X = X / torch.linalg.vector_norm(X, 3, dim=1, keepdim=True)
    y = torch.from_numpy(np.unique(data.y, return_inverse=True)[1])
    first_test = len(X) - N_TEST[name]
    kept = slice(min(n_training, first_test))
    return Rows(X[kept], y[kept], X[first_test:], y[first_test:])


class Power(nn.Module):
    """Positive part to a power."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape."""
        return values.relu() ** self.power


def untrained(n_features: int, n_units: int, n_classes: int, *, normed: bool = False) -> Any:
    """Build the network that all but KH start from, with weights N(0, 2 / features)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hidden = nn.Linear(n_features, n_units, bias=False)
        nn.init.normal_(hidden.weight, std=(2 / n_features) ** 0.5)
        active = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(n_units)) if normed else nn.ReLU()
        return _network(hidden, active, nn.Linear(n_units, n_classes))


def trained(name: str, kind: str, rows: Rows, options: dict[str, Any]) -> tuple[Any, dict]:
    """Train a network; return it and what is to be said of it."""
    n_classes = int(rows.y.max()) + 1
    if kind == "KH":
        return _hebbian(name, rows, n_classes, options)
    model = untrained(rows.X.shape[1], options["hidden"], n_classes, normed=kind == "SpecReg")
    groups = [Group((model.hidden.weight,), weight_decay=JACOBIAN)] if kind == "JReg" else []
    batch = max(options["batch"], 2 * options["hidden"] if kind == "SpecReg" else 1)
    plan = _plan(options["epochs"], batch, DECAY if kind == "L2" else 0.0)
    objective, on_epoch = _Loss(model), None
    if kind == "SpecReg":
        penalty = SpectralRegularizer(1.0, alpha=1.0, tau=10, layer="hidden")
        objective = Penalised(objective, model, (penalty,), rows.X)
        on_epoch = objective.before(None)
    history = train(
        model, objective.losses, (rows.X, rows.y, torch.ones(len(rows.y))), plan,
        torch.Generator().manual_seed(0), groups=groups, on_epoch=on_epoch,
    )  # fmt: skip
    return model, {"loss": history[-1].loss}


def _hebbian(
    name: str, rows: Rows, n_classes: int, options: dict[str, Any]
) -> tuple[nn.Module, dict]:
    """Learn a layer without labels, prune it, and train a head on its outputs."""
    given = {"k": 2, "rate": 0.02} | HEBBIAN.get(name, {})
    random = torch.Generator().manual_seed(0)
    layer = LocalHebbianLayer(
        rows.X.shape[1], options["hidden"], k=given["k"], normalise=False, generator=random
    )
    layer.weight.mul_(options["first"])
    layer.learn(
        rows.X, learning_rate=given["rate"] * options["faster"],
        max_epochs=options["hebbian_epochs"], batch_size=100, generator=random, progress=True,
    )  # fmt: skip
    before, pruning = layer.convergence(), prune_units(layer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Linear(options["hidden"], n_classes)
    outputs = torch.cat([layer(block) for block in rows.X.split(1000)])
    train(
        head, _Loss(head).losses, (outputs, rows.y, torch.ones(len(rows.y))),
        _plan(options["head_epochs"], 1000, 0.0), torch.Generator().manual_seed(0),
    )  # fmt: skip
    hidden = nn.Linear(rows.X.shape[1], options["hidden"], bias=False)
    with torch.no_grad():
        hidden.weight.copy_(layer.linear_weight())
    told = {
        "converged": before.share, "negative": before.n_negative,
        "pruned": int(pruning.pruned.sum()), "converged_of_kept": layer.convergence().share,
    }  # fmt: skip
    return _network(hidden, Power(4.5), head).eval(), told


def _network(hidden: nn.Module, active: nn.Module, head: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(hidden=hidden, active=active, head=head))


def _plan(epochs: int, batch: int, decay: float) -> Plan:
    return Plan(
        1e-3, batch, epochs, weight_decay=decay, decoupled=False, gradient_norm=1e9
    )  # no gradient is shortened


@dataclass(frozen=True)
class _Loss:
    model: nn.Module

    def losses(self, values: Tensor, codes: Tensor, _: Tensor) -> Tensor:
        """Cross-entropy of each sample."""
        return nn.functional.cross_entropy(self.model(values), codes, reduction="none")

    def hits(self, values: Tensor, codes: Tensor, _: Tensor) -> Tensor:
        """1 for each sample that is classified correctly."""
        return (self.model(values).argmax(1) == codes).double()
