"""Robust accuracy against the size of a perturbation, with what it took to find out.

Radii are worked from small to large, and what fools a sample within a small ball fools it within
all larger ones. So the curve falls, and later radii cost less.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from entangle.adversarial.attack import Attack
from entangle.adversarial.evaluation import Evaluation, Plan
from entangle.adversarial.masking import examined
from entangle.adversarial.portfolio import resolve_attacks
from entangle.adversarial.result import RobustnessCurve
from entangle.adversarial.subject import Subject, as_samples, class_numbers
from entangle.adversarial.threat import ThreatModel
from entangle.adversarial.victim import Victim, evaluating
from entangle.errors import InputError
from entangle.seeding import seeded
from entangle.training import require_count

__all__ = ["robustness_curve"]


def robustness_curve(
    model: object,
    X: object,
    y: object,
    epsilons: Sequence[float] | ArrayLike,
    norm: str = "linf",
    attack: str | Attack | Sequence[str | Attack] = "standard",
    *,
    bounds: tuple[ArrayLike | None, ArrayLike | None] | None = None,
    eps_scale: ArrayLike | None = None,
    immutable: ArrayLike | None = None,
    groups: Sequence[Sequence[int]] = (),
    random_state: int = 0,
    batch_size: int = 512,
    eot: int | None = None,
    confidence: float = 0.95,
    progress: bool = False,
) -> RobustnessCurve:
    """Accuracy under attack at each radius.

    Parameters
    ----------
    model
        A torch module or function from samples ``(batch, *sample)`` to logits
        ``(batch, classes)``, or a fitted classifier of this package or of scikit-learn. Linear
        ones, perceptrons and pipelines of scalers and these have gradients; others are attacked
        by the Square attack alone. Modules are evaluated in evaluation mode.
    X
        Samples, shape ``(samples, *sample)``, finite. They are taken in single precision.
    y
        Labels, shape ``(samples,)``: of a classifier as it knows them, of a module class numbers.
    epsilons
        Radii, at least 0; in the result they are sorted, each once.
    norm
        ``"linf"``, ``"l2"`` or ``"l1"``.
    attack
        ``"standard"``: see :mod:`entangle.adversarial.portfolio`. Or ``"fgsm"``, ``"pgd"``,
        ``"apgd-ce"``, ``"apgd-dlr"``, ``"apgd-t"``, ``"square"``, ``"fmn"``, an attack, or
        several of them.
    bounds, eps_scale, immutable, groups
        As for :class:`ThreatModel`; bounds are (lower, upper).
    random_state
        Seed of all that is drawn, also by a random model.
    batch_size
        Samples attacked at once.
    eot
        Outputs of a random model that are averaged for a loss, a gradient and a prediction (five
        times as many for a verdict). ``None``: 20 where two outputs for the same samples differ,
        else 1. A random model's samples never leave an attack early.
    confidence
        Of the intervals of accuracy (Clopper and Pearson).
    progress
        Show a progress bar on a terminal.

    Raises
    ------
    InputError
        If something cannot be used: what was expected, what came, and the repair.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> model = LogisticRegression().fit(X, [0, 0, 1, 1])
    >>> robustness_curve(model, X, [0, 0, 1, 1], [0, 0.5, 1.5, 2.5]).accuracy.tolist()
    [1.0, 1.0, 0.5, 0.0]
    """
    require_count("batch_size", batch_size)
    if eot is not None:
        require_count("eot", eot)
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies between 0 and 1, got {confidence!r}; 0.95 is usual")
    radii = _checked_radii(epsilons)
    lower, upper = (None, None) if bounds is None else bounds
    threat = ThreatModel(norm, radii[-1], lower, upper, eps_scale, immutable, groups)
    attacks = resolve_attacks(attack, norm, groups=bool(threat.groups))
    started = time.perf_counter()
    subject = Subject.of(model, X)
    _require_gradient(subject, attacks)
    samples = as_samples(X, subject.device)
    with seeded(random_state, subject.device), evaluating(subject.module):
        victim = Victim.of(
            subject.forward, samples, draws=eot, differentiable=subject.differentiable
        )
        n_classes = victim.logits(samples[:1]).shape[1]
        labels = class_numbers(y, len(samples), n_classes, subject.classes).to(subject.device)
        generator = torch.Generator().manual_seed(random_state)
        plan = Plan(threat, radii, attacks, batch_size, generator)
        evaluation = Evaluation(subject, victim, samples, labels, plan)
        examination = examined(evaluation.probe(), subject.differentiable)
        evaluation.victim = examination.victim
        evaluation.run(progress)
    return evaluation.result(examination, confidence, time.perf_counter() - started)


def _checked_radii(epsilons: object) -> tuple[float, ...]:
    """Radii from small to large.

    Raises
    ------
    InputError
        If one is negative or not finite, or there are none.
    """
    try:
        given = np.atleast_1d(np.asarray(epsilons, dtype=np.float64))
    except (TypeError, ValueError):
        raise InputError(f"epsilons are numbers, got {epsilons!r}") from None
    if given.ndim != 1 or not given.size:
        raise InputError(f"epsilons are one or more numbers, got shape {given.shape}")
    if not (np.isfinite(given) & (given >= 0)).all():
        raise InputError(
            f"epsilons are finite and at least 0, got {given.tolist()}; 0 gives the clean accuracy"
        )
    return tuple(np.unique(given).tolist())


def _require_gradient(subject: Subject, attacks: dict[str, Attack]) -> None:
    """Refuse attacks that all need gradients on a model without.

    Raises
    ------
    InputError
        If so.
    """
    if subject.differentiable or any(not attack.needs_gradient for attack in attacks.values()):
        return
    raise InputError(
        f"{', '.join(attacks)} need gradients, and the model has none; pass attack='square' or "
        "'standard', which attack by outputs"
    )
