r"""Auto-PGD: gradient ascent that chooses its own step sizes.

Steps have momentum and start twice as long as the radius; at checkpoints that come ever faster they
are halved for the samples that do not rise any more, which go back to their best point. In L1,
where a step changes few features, the number of those follows from the best point so far instead,
and the ball is first three, then two times as large.

Source: Croce and Hein 2020, arXiv:2003.01690, Algorithm 1 (Linf, L2); Croce and Hein 2021,
arXiv:2103.01208, Algorithm 1 and section 4 (L1). Deviations: a sample that goes back to its best
point loses its momentum; in L1 features that the box holds are left out of the few that move. In
Linf and L2 a walk by a ratio, whose sign says whether a sample is fooled, ends early, at a
checkpoint that halves its steps, where neither five times its pace (the larger gain of its last two
periods, in each that is left) nor five times the most that its slopes promise within the ball would
make the ratio positive; they count for more where the start promised less than was gained. On the
networks of ``benchmarks/bench_adversarial.py`` that saves 40 % of the gradients of samples that
stay correct, and changes none of the counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.adversarial.attack import Attack, Record
from entangle.adversarial.climbing import climb
from entangle.adversarial.losses import Loss, dlr, targeted_dlr
from entangle.adversarial.options import one_of
from entangle.adversarial.task import Task
from entangle.errors import InputError
from entangle.training import require_count

__all__ = ["APGD", "TargetedAPGD"]

LOSSES = ("ce", "dlr")


@dataclass(frozen=True)
class APGD(Attack):
    """Auto-PGD away from the label.

    Parameters
    ----------
    steps
        Gradients of each start.
    restarts
        Starts, at random.
    loss
        ``"ce"``: cross-entropy. ``"dlr"``: difference of logits ratio.
    early
        End walks by a ratio that would not fool; false: take all steps.
    reach
        In an evaluation: only for samples that an attack before fooled within so many times the
        radius.
    """

    steps: int = 100
    restarts: int = 1
    loss: str = "ce"
    early: bool = True
    reach: float = math.inf

    def __post_init__(self) -> None:
        _require_reach(self.reach)
        require_count("steps", self.steps)
        require_count("restarts", self.restarts)
        one_of("loss", self.loss, LOSSES)

    def run(self, task: Task, generator: torch.Generator) -> Tensor:
        """Displacements that fool, or those of the largest loss."""
        record = Record(task)
        for _ in range(self.restarts):
            rows = record.open()
            if not len(rows):
                break
            goal = 0.0 if self.loss == "dlr" and self.early else None
            climb(task.rows(rows), rows, self._loss, self.steps, record, generator, goal)
        return record.steps

    def _loss(self, task: Task, _: Tensor) -> Loss:
        if self.loss == "ce":
            return task.cross_entropy
        return lambda logits: dlr(logits, task.labels)


@dataclass(frozen=True)
class TargetedAPGD(Attack):
    """Auto-PGD towards each of the most likely other classes, by the targeted ratio.

    Parameters
    ----------
    steps
        Gradients of each target.
    targets
        Classes tried, those of the largest logits first; all others if there are fewer.
    rows
        Samples attacked at once. Where few are left, they are attacked towards several targets
        at once.
    early
        End walks that would not fool; false: take all steps.
    reach
        As for :class:`APGD`.
    """

    steps: int = 100
    targets: int = 9
    rows: int = 512
    early: bool = True
    reach: float = math.inf

    def __post_init__(self) -> None:
        _require_reach(self.reach)
        for name in ("steps", "targets", "rows"):
            require_count(name, getattr(self, name))

    def run(self, task: Task, generator: torch.Generator) -> Tensor:
        """Displacements that fool, or those of the largest loss."""
        record = Record(task)
        logits = task.logits(task.none())
        others = logits.scatter(1, task.labels[:, None], -torch.inf)
        count = min(self.targets, logits.shape[1] - 1)
        ranked = others.topk(count, dim=1).indices
        samples = torch.arange(len(task), device=logits.device).repeat(count)
        targets = ranked.T.flatten()
        goal = 0.0 if self.early else None
        while len(samples):
            now, later = slice(None, self.rows), slice(self.rows, None)
            rows, aims = samples[now], targets[now]

            def loss(part: Task, index: Tensor, aims: Tensor = aims) -> Loss:
                aimed = aims[index]
                return lambda logits: targeted_dlr(logits, part.labels, aimed)

            climb(task.rows(rows), rows, loss, self.steps, record, generator, goal)
            samples, targets = samples[later], targets[later]
            if task.stops:
                left = ~record.fooled[samples]
                samples, targets = samples[left], targets[left]
        return record.steps


def _require_reach(reach: float) -> None:
    if not reach >= 1:
        raise InputError(
            f"reach is 1 or more times the radius, got {reach!r}; leave it out for all"
        )
