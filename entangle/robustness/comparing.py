"""Comparison of orderings under attack: whether the rearranged network is also more robust."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from entangle.adversarial import Attack, ThreatModel
from entangle.axes import Shape
from entangle.comparison.cells import ModelTask
from entangle.comparison.contenders import Contender
from entangle.comparison.schedule import Kind, Schedule, described, fields_of
from entangle.comparison.setting import Setting, setting_of
from entangle.comparison.store import Store
from entangle.errors import InputError
from entangle.progress import progress_bar
from entangle.robustness.cells import Attacked, AttackPlan, attacked_model
from entangle.robustness.portfolio import attacks_wanted
from entangle.robustness.result import RobustnessComparison
from entangle.robustness.rows import RobustRow
from entangle.robustness.units import Bounds, rules_for
from entangle.training import require_count

__all__ = ["compare_robustness"]


def compare_robustness(
    X: object,
    y: object = None,
    epsilons: Sequence[float] = (0.02, 0.05, 0.1),
    orderings: Any = ("random", "natural", "mincut"),
    models: Any = ("cnn",),
    *,
    norm: str = "linf",
    unit: str | None = None,
    bounds: Bounds = "auto",
    attack: str | Attack | Sequence[str | Attack] = "fast",
    max_attacked: int = 100,
    adversarial_training: float | None = None,
    baseline: str | None = None,
    shape: Shape | None = None,
    cv: Any = 3,
    seeds: int | Iterable[int] = 1,
    epochs: int | None = None,
    model_options: Mapping[str, Mapping[str, Any]] | None = None,
    entropy: bool = True,
    uncertainty: bool = True,
    max_samples: int | None = None,
    confidence: float = 0.95,
    directory: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    n_jobs: int | None = None,
    progress: bool = False,
    name: str | None = None,
) -> RobustnessComparison:
    """Measure what the order of the features is worth under attack.

    As :func:`~entangle.comparison.compare_orderings`, with some test rows of every split attacked.
    The same rows are attacked for every ordering and model, so differences are paired.

    Parameters
    ----------
    X, y
        As for ``compare_orderings``. Columns of one category of a ``Dataset`` or a frame move as
        one, one-hot to one-hot.
    epsilons
        Radii above 0, in ``unit``.
    orderings, models
        As for ``compare_orderings``; models without gradients are attacked by outputs alone.
    norm
        ``"linf"``, ``"l2"`` or ``"l1"``.
    unit
        What a radius of 1 is. ``"range"``: of all values, where features share one scale (grids,
        images, series, values of 0 and 1 only), else the range of each feature. ``"std"``: their
        standard deviation, likewise. Both are of all rows. Default: the range for images, grids
        and values of 0 and 1, else the standard deviation. A change of category counts as 1 in
        Linf, the square root of 2 in L2, 2 in L1, in either unit.
    bounds
        ``"observed"``: values stay in the range of all rows, shared or each feature's as above.
        ``None``: no bounds, but for categories. Or (lower, upper) in the units of ``X``. Default:
        the observed range where that is the unit, else none.
    attack
        ``"fast"``: :data:`~entangle.robustness.FAST`, half the steps of Auto-PGD, three targets
        and a tenth of the queries. ``"standard"`` or others: as for
        :func:`~entangle.adversarial.robustness_curve`.
    max_attacked
        Test rows of each split that are attacked, drawn at random, evenly by class.
    adversarial_training
        Radius, in ``unit``, within which networks are trained adversarially, with the same norm
        and bounds. ``None``: plain training.
    entropy
        Measure the entanglement of training rows in each order, and that of attacked rows before
        and after.
    uncertainty
        Measure the uncertainty relation of networks with gradients, see
        :mod:`entangle.robustness.relation`.
    seeds
        As for ``compare_orderings``: of folds, random orders, models and attacks.
    baseline, shape, cv, epochs, model_options, max_samples, confidence, directory, executor
        As for ``compare_orderings``.
    n_jobs, progress, name
        As for ``compare_orderings``.

    Returns
    -------
    RobustnessComparison
        Its ``rows``, ``summary()``, ``to_text()``, ``to_frame()`` and ``to_dict()``.

    Raises
    ------
    InputError
        If data, classes, folds, an ordering, a model, an attack or an option cannot be used.
    PartitionError
        If ``shape`` does not hold the features.

    Notes
    -----
    Robust accuracy is the share of the attacked rows that are classified correctly as they are and
    that no attack fools, an upper bound of what the best attack would leave; clean errors count,
    too, so a less accurate model is less robust. Intervals are corrected as those of
    ``compare_orderings``, with all test rows over the training rows, however few are attacked, and
    know that a share of few rows is rounded; each stands alone.

    Entropies of attacked rows are of the rows as the attack leaves them: those fooled within the
    radius replaced by the nearest sample found that fools, the others as they were. Angle, scale
    and labels are those of the same rows before. The control has steps of the same sizes with
    random signs.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> X = np.random.default_rng(0).standard_normal((60, 8))
    >>> found = compare_robustness(
    ...     X, X[:, 4] > 0, [0.5], ("random", "natural"), [LogisticRegression()], entropy=False
    ... )
    >>> found.standing("LogisticRegression", "natural").robust_differences[0].mean  # no order helps
    0.0
    """
    radii = _checked_radii(epsilons)
    require_count("max_attacked", max_attacked)
    setting = setting_of(
        X, y, orderings, models, baseline=baseline, shape=shape, cv=cv, seeds=seeds, epochs=epochs,
        model_options=model_options, max_samples=max_samples, confidence=confidence, name=name,
    )  # fmt: skip
    rules = rules_for(setting.data, norm, unit, bounds)
    plan = AttackPlan(
        rules.threat.with_eps(radii[-1]), radii, attacks_wanted(attack), max_attacked, entropy,
        rules.widths if uncertainty else None,
    )  # fmt: skip
    setting = _trained_within(setting, rules.threat, adversarial_training)
    steps = len(setting.splits) * len(setting.orderings) * (1 + len(setting.contenders))
    with progress_bar("orders and attacks", steps, progress) as advance:
        work = Schedule(setting.data, entropy, Store(directory), executor, n_jobs, advance)
        rows = _rows(work, setting, plan)
    return RobustnessComparison(
        rows, radii, rules.unit, norm, setting.baseline, confidence, setting.fresh_splits,
        setting.dataset(),
        settings={
            **setting.settings(), "eps": rules.described(),
            "attack": attack if isinstance(attack, str) else [str(a) for a in plan.attacks],
            "n_attacked": max_attacked, "adversarial_training": adversarial_training,
            "entropy": entropy, "uncertainty": uncertainty, "n_reused": work.n_reused,
        },
        notes=(*setting.notes(), *rules.notes),
    )  # fmt: skip


def _checked_radii(epsilons: Any) -> tuple[float, ...]:
    """Radii above 0, from small to large, each once."""
    try:
        found = sorted({float(eps) for eps in np.atleast_1d(np.asarray(epsilons, dtype=float))})
    except (TypeError, ValueError):
        raise InputError(f"epsilons are numbers, got {epsilons!r}") from None
    if not found or not all(0 < eps < math.inf for eps in found):
        raise InputError(
            f"epsilons are finite and above 0, at least one, got {epsilons!r}; the clean accuracy "
            "is always measured"
        )
    return tuple(found)


def _trained_within(setting: Setting, threat: ThreatModel, eps: float | None) -> Setting:
    """Let every model train adversarially."""
    if eps is None:
        return setting
    found = []
    for contender in setting.contenders:
        if "adversarial" not in contender.model.get_params(deep=False):
            raise InputError(
                f"model {contender.name!r} has no option adversarial, so adversarial_training "
                "means nothing to it; leave it out, or pass networks by name"
            )
        model = contender.seeded(0).set_params(adversarial=threat.with_eps(eps))
        found.append(Contender(contender.name, model))
    return replace(setting, contenders=tuple(found))


def _rows(work: Schedule, setting: Setting, plan: AttackPlan) -> tuple[RobustRow, ...]:
    """Work out every row, model by model, ordering by ordering, split by split."""
    orders = work.found_orders(setting.orderings, setting.splits)
    kind = Kind("attack", partial(attacked_model, setting.data, plan), fields_of(Attacked))
    pairs = [(contender, *pair) for contender in setting.contenders for pair in orders]
    tasks = [
        ModelTask(contender, task.split, np.array(order.columns, dtype=np.int64))
        for contender, task, order in pairs
    ]
    parts = vars(plan)
    keys = [work.model_key("attack", task, parts, setting.data.shape) for task in tasks]
    about = [
        {"model": c.name, "ordering": task.ordering.name, **described(task.split)}
        for c, task, _ in pairs
    ]
    found = work.done(kind, tasks, keys, about)
    return tuple(
        RobustRow(
            **fields, ordering=task.ordering.name, model=contender.name, seed=task.split.seed,
            fold=task.split.fold, cut=order.cut, train_entropy_nats=order.entropy_nats,
            n_train=len(task.split.train), n_test=len(task.split.test),
        )
        for (contender, task, order), fields in zip(pairs, found, strict=True)
    )  # fmt: skip
