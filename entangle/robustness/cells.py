"""One piece of work: train a model in one order, test it, attack some test rows, measure them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.adversarial import Attack, RobustnessCurve, ThreatModel, robustness_curve
from entangle.comparison.cells import ModelTask, fitted, interruptible, working_alone
from entangle.comparison.threats import threat_in_order
from entangle.datasets import Dataset
from entangle.errors import InputError
from entangle.labels import stratified_rows
from entangle.robustness.entropies import Ruler, with_random_signs
from entangle.robustness.relation import NO_RELATION, Relation, relation_of_rows

__all__ = ["AttackPlan", "Attacked", "attacked_model"]


@dataclass(frozen=True, eq=False)
class AttackPlan:
    """How every model is attacked.

    Attributes
    ----------
    threat
        In the order of the features as they came.
    epsilons
        Above 0, from small to large.
    attacks
        As for :func:`~entangle.adversarial.robustness_curve`.
    n_attacked
        Most test rows of a split.
    entropy
        Whether attacked rows are measured.
    widths
        Of packets, one a feature, in the order of the features as they came; ``None``: the
        uncertainty relation is not measured.
    """

    threat: ThreatModel
    epsilons: tuple[float, ...]
    attacks: list[str | Attack]
    n_attacked: int
    entropy: bool
    widths: NDArray[np.float64] | None


@dataclass(frozen=True)
class Attacked(Relation):
    """A model trained on one order, and attacked; with the fields of :class:`Relation`.

    Attributes
    ----------
    accuracy
        Share of all test rows whose class was predicted.
    train_seconds, attack_seconds
        Wall time of ``fit`` and of the attacks.
    epochs
        Passes through the data, or iterations; ``None`` if the model does not say.
    n_attacked
        Test rows that were attacked, drawn evenly by class.
    unattacked_accuracy
        Of these rows as they were.
    robust_accuracy
        Of these rows, at each radius: the share that no attack fooled.
    attacks
        Their names.
    signs, warnings
        Names of signs that the accuracy is overstated, and all warnings in words.
    entropy_nats
        Of the attacked rows as they were, mean over the canonical cuts of levels 1 to 4.
    attacked_entropy_nats
        At each radius, with the rows that were fooled replaced by what fools them.
    noise_entropy_nats
        The same with steps of the same sizes in random directions; ``None`` where categories may
        change, which have no signs.
    """

    accuracy: float
    train_seconds: float
    epochs: int | None
    n_attacked: int
    unattacked_accuracy: float
    robust_accuracy: list[float]
    attack_seconds: float
    attacks: list[str]
    signs: list[str]
    warnings: list[str]
    entropy_nats: float | None
    attacked_entropy_nats: list[float] | None
    noise_entropy_nats: list[float] | None


def attacked_model(data: Dataset, plan: AttackPlan, task: ModelTask) -> dict[str, Any]:
    """Fields of an :class:`Attacked`.

    Raises
    ------
    InputError
        If the model fails or cannot be attacked, with its name.
    KeyboardInterrupt
        Also where the model would have kept what it had trained so far.
    """
    assert data.y is not None
    with working_alone(), interruptible():
        model, found = fitted(data, task)
        test, seed = task.split.test, task.split.seed
        drawn = test[stratified_rows(data.y[test], len(test), plan.n_attacked, seed)]
        X, y = data.X[np.ix_(drawn, task.columns)], data.y[drawn]
        threat = threat_in_order(plan.threat, task.columns)
        begin = time.perf_counter()
        curve = _curve(model, X, y, threat, plan, task)
        seconds = time.perf_counter() - begin
        entropies = _entropies(data, X, y, curve, threat, task) if plan.entropy else _NOTHING
        relation, problem = NO_RELATION, ""
        if plan.widths is not None:
            relation, problem = relation_of_rows(model, X, y, plan.widths[task.columns], seed)
    return asdict(
        Attacked(
            **asdict(relation), accuracy=found.accuracy, train_seconds=found.train_seconds,
            epochs=found.epochs, n_attacked=len(drawn),
            unattacked_accuracy=float(curve.accuracy[0]),
            robust_accuracy=curve.accuracy[1:].tolist(), attack_seconds=seconds,
            attacks=list(curve.attacks), signs=list(curve.masking.flagged),
            warnings=[*curve.warnings, *filter(None, [problem])], entropy_nats=entropies[0],
            attacked_entropy_nats=entropies[1], noise_entropy_nats=entropies[2],
        )
    )  # fmt: skip


_NOTHING: tuple[None, None, None] = (None, None, None)


def _curve(
    model: Any,
    X: NDArray[Any],
    y: NDArray[Any],
    threat: ThreatModel,
    plan: AttackPlan,
    task: ModelTask,
) -> RobustnessCurve:
    try:
        return robustness_curve(
            model, X, y, (0.0, *plan.epsilons), threat.norm, plan.attacks,
            bounds=(threat.lower, threat.upper), eps_scale=threat.scale,
            immutable=threat.immutable, groups=threat.groups, random_state=task.split.seed,
        )  # fmt: skip
    except InputError as reason:
        name = task.contender.name
        raise InputError(f"model {name!r} cannot be attacked on these data: {reason}") from reason


def _entropies(
    data: Dataset,
    X: NDArray[Any],
    y: NDArray[Any],
    curve: RobustnessCurve,
    threat: ThreatModel,
    task: ModelTask,
) -> tuple[float | None, list[float] | None, list[float] | None]:
    """Entropies of rows as they were, attacked, and changed as much in random directions."""
    if np.unique(y).size < 2:
        return _NOTHING
    ruler = Ruler.of(data, task.columns, X, y, task.split.seed)
    random = np.random.default_rng(task.split.seed)
    clean = X.astype(np.float64)
    attacked, noisy = [], []
    for place in range(1, len(curve.epsilons)):
        fooled = (curve.first <= place) & (curve.first > 0)
        moved = np.where(fooled[:, None], curve.adversarial, clean)
        attacked.append(ruler.entropy_nats(moved))
        if not threat.groups:
            other = with_random_signs(clean, moved, (threat.lower, threat.upper), random)
            noisy.append(ruler.entropy_nats(other))
    return ruler.entropy_nats(clean), _known(attacked), _known(noisy)


def _known(entropies: list[float | None]) -> list[float] | None:
    found = [value for value in entropies if value is not None]
    return found if found and len(found) == len(entropies) else None
