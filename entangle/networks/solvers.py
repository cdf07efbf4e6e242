"""The two ways to train a classifier's network: Adam, and sweeps along a chain."""

from __future__ import annotations

import torch
from torch import Tensor

from entangle.adversarial_training import Attacked
from entangle.epochs import Callback, Epoch
from entangle.errors import InputError
from entangle.networks.cross_entropy import CrossEntropy
from entangle.networks.fitting import Network
from entangle.networks.merging import Split
from entangle.networks.two_site import sweep_train
from entangle.training import Plan, require_count, train

__all__ = ["SOLVERS", "planned", "require_solver", "solved"]

SOLVERS = ("adam", "sweeps")
EPOCHS, STEPS = 30, 600  # of Adam: as many epochs, or as many steps if those are more epochs
RATE = 0.01  # for up to 64 features: every tensor moves at each step, and they multiply
BETA2 = 0.99  # with 0.999, of 784 features, one epoch in five ends far above the one before
SWEEPS = 10


def require_solver(
    solver: str,
    network: str,
    shared: bool,
    learning_rate: float | None,
    weight_decay: float,
    adversarial: bool = False,
) -> None:
    """Refuse a solver that does not exist, or is given what it cannot use.

    Raises
    ------
    InputError
        If the name is unknown, or sweeps meet a tree, shared tensors or an option of Adam.
    """
    if solver not in SOLVERS:
        raise InputError(f"solver is 'adam' or 'sweeps', got {solver!r}")
    if solver == "adam":
        return
    wrong = {
        "network='mps'": network != "mps",
        "shared=False": shared,
        "learning_rate=None": learning_rate is not None,
        "weight_decay=0": weight_decay != 0,
        "adversarial=None": adversarial,
    }
    repairs = [repair for repair, needed in wrong.items() if needed]
    if repairs:
        raise InputError(
            "solver='sweeps' fits the sites of a matrix product state, each its own, by steps "
            f"without a rate; pass {', '.join(repairs)}, or solver='adam'"
        )


def planned(
    solver: str,
    n_samples: int,
    n_features: int,
    *,
    learning_rate: float | None,
    batch_size: int,
    max_epochs: int | None,
    patience: int | None,
    weight_decay: float,
) -> Plan:
    """Fill in what is not given, see the classifier's parameters."""
    require_count("batch_size", batch_size)
    if max_epochs is not None:
        require_count("max_epochs", max_epochs)
    steps = -(-n_samples // batch_size)
    default = max(EPOCHS, -(-STEPS // steps)) if solver == "adam" else SWEEPS
    epochs = default if max_epochs is None else max_epochs
    return Plan(
        learning_rate=RATE / max(1, n_features / 64) if learning_rate is None else learning_rate,
        batch_size=batch_size,
        max_epochs=epochs,
        patience=-(-epochs // 3) if patience is None else patience,
        weight_decay=weight_decay,
        beta2=BETA2,
    )


def solved(
    solver: str,
    objective: CrossEntropy,
    data: tuple[Tensor, ...],
    validation: tuple[Tensor, ...] | None,
    plan: Plan,
    split: Split,
    generator: torch.Generator,
    on_epoch: Callback,
    progress: bool,
    attacked: Attacked | None = None,
) -> tuple[Network, tuple[Epoch, ...]]:
    """Train the objective's network, or, by sweeps, one that begins as it.

    Parameters
    ----------
    data, validation
        Values ``(samples, features)``, codes and weights ``(samples,)``.
    plan, generator, on_epoch, progress
        As for :func:`~entangle.training.train`.
    split
        How sweeps shorten bonds.
    attacked
        Instead of the objective, of Adam alone; data and validation are its samples.
    """
    if solver == "sweeps":
        return sweep_train(
            objective, data, plan, split, validation=validation, on_epoch=on_epoch,
            progress=progress,
        )  # fmt: skip
    measures = objective if attacked is None else attacked
    history = train(
        objective.network, measures.losses, data, plan, generator, validation=validation,
        scores=measures.hits, on_epoch=on_epoch, progress=progress,
    )  # fmt: skip
    return objective.network, history
