"""The nearest adversarial sample of each sample, within no radius in particular."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from entangle.adversarial.fmn import FMN
from entangle.adversarial.subject import Subject, as_samples, class_numbers
from entangle.adversarial.task import Task
from entangle.adversarial.threat import ThreatModel
from entangle.adversarial.verification import Judge
from entangle.adversarial.victim import Victim, evaluating
from entangle.errors import InputError
from entangle.seeding import seeded

__all__ = ["minimal_perturbation"]


def minimal_perturbation(
    model: object,
    X: object,
    y: object,
    norm: str = "linf",
    *,
    bounds: tuple[ArrayLike | None, ArrayLike | None] | None = None,
    eps_scale: ArrayLike | None = None,
    immutable: ArrayLike | None = None,
    groups: Sequence[Sequence[int]] = (),
    steps: int = 100,
    random_state: int = 0,
    batch_size: int = 512,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Distance to the nearest adversarial sample found, by FMN with a polish.

    Parameters
    ----------
    model, X, y, norm, bounds, eps_scale, immutable, groups, random_state, batch_size
        As for :func:`robustness_curve`; the model has gradients, and is not random. Groups may
        be named only if they are immutable.
    steps
        Gradients of the walk.

    Returns
    -------
    distance
        Shape ``(samples,)``: 0 if misclassified as given, infinite if nothing was found.
    adversarial
        Shape ``(samples, *sample)``, single precision, tested anew; the sample as given where
        there is none.

    Raises
    ------
    InputError
        If something cannot be used, or the model has no gradients.

    Examples
    --------
    >>> module = torch.nn.Linear(2, 2)
    >>> _ = module.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    >>> distance, _ = minimal_perturbation(module, [[3.0, 1.0]], [0], "l2")
    >>> f"{distance[0]:.4f}"
    '1.4142'
    """
    lower, upper = (None, None) if bounds is None else bounds
    threat = ThreatModel(norm, 0.0, lower, upper, eps_scale, immutable, groups)
    subject = Subject.of(model, X)
    if not subject.differentiable:
        raise InputError(
            "minimal_perturbation needs gradients, and the model has none; use "
            "robustness_curve(..., attack='square') with several epsilons"
        )
    samples, attack = as_samples(X, subject.device), FMN(steps=steps)
    with seeded(random_state, subject.device), evaluating(subject.module):
        victim = Victim.of(subject.forward, samples, draws=1)
        n_classes = victim.logits(samples[:1]).shape[1]
        labels = class_numbers(y, len(samples), n_classes, subject.classes).to(subject.device)
        source, judge = torch.Generator().manual_seed(random_state), Judge(subject, victim)
        distance = torch.full((len(samples),), torch.inf, dtype=torch.float64)
        found = samples.clone()
        for rows in torch.arange(len(samples), device=samples.device).split(batch_size):
            task = Task(victim, threat.around(samples[rows]), labels[rows])
            moved = task.room.values(attack.run(task, source))
            wide = task.room.within(torch.inf)
            good = judge.confirmed(wide, moved, task.labels)
            sizes = task.room.sizes(moved)
            found[rows[good]] = moved[good]
            distance[rows[good].cpu()] = sizes[good].cpu()
    return distance.numpy(), found.cpu().numpy()
