"""Attacks by steps of fixed length: FGSM, one of them, and PGD, many.

Source: Goodfellow et al. 2015, arXiv:1412.6572 (FGSM); Madry et al. 2018, arXiv:1706.06083 (PGD).
Deviations: the step goes along the direction of steepest ascent of the norm at hand, and onto the
exact ball within the box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.adversarial.attack import Attack, Record
from entangle.adversarial.directions import ascent, movable
from entangle.adversarial.losses import margin
from entangle.adversarial.options import one_of
from entangle.adversarial.task import Task
from entangle.adversarial.threat import ThreatModel
from entangle.adversarial.victim import Victim
from entangle.errors import InputError
from entangle.training import require_count

__all__ = ["FGSM", "PGD", "pgd"]

LOSSES = ("ce", "margin")


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient ascent.

    Parameters
    ----------
    steps
        Gradients of each start.
    step_size
        Length of a step over the radius. Default: 2.5 over the number of steps, as published.
    restarts
        Starts at random; 0 steps from the sample itself, once.
    loss
        ``"ce"``: cross-entropy. ``"margin"``: the difference of logits.
    """

    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    loss: str = "ce"

    def __post_init__(self) -> None:
        require_count("steps", self.steps)
        require_count("restarts", self.restarts + 1)
        one_of("loss", self.loss, LOSSES)
        if self.step_size is not None and not self.step_size > 0:
            raise InputError(f"step_size is positive, a share of eps, got {self.step_size!r}")

    def run(self, task: Task, generator: torch.Generator) -> Tensor:
        """Displacements that fool, or those of the largest loss."""
        record = Record(task)
        for _ in range(max(1, self.restarts)):
            rows = record.open()
            if not len(rows):
                break
            part = task.rows(rows)
            start = part.room.random(generator) if self.restarts else part.none()
            self._walk(part, start, rows, record)
        return record.steps

    def _walk(self, task: Task, steps: Tensor, rows: Tensor, record: Record) -> None:
        size = (self.step_size or 2.5 / self.steps) * task.room.radius
        for _ in range(self.steps):
            values, slope, hits = task.climb(steps, self._loss(task))
            _keep(record, task, rows, steps, values, hits)
            if task.stops and bool(hits.any()):
                left = (~hits).nonzero()[:, 0]
                task, rows, size = task.rows(left), rows[left], size[left]
                steps, slope = steps[left], slope[left]
            if not len(rows):
                return
            steps = _stepped(task, steps, slope, size)
        values = self._loss(task)(task.logits(steps))
        _keep(record, task, rows, steps, values, task.margins(steps) < 0)

    def _loss(self, task: Task) -> Callable[[Tensor], Tensor]:
        if self.loss == "ce":
            return task.cross_entropy
        return lambda logits: -margin(logits, task.labels)


@dataclass(frozen=True)
class FGSM(Attack):
    """One step of the whole radius along the gradient of cross-entropy."""

    def run(self, task: Task, generator: torch.Generator) -> Tensor:
        """Displacements after the step, whether they fool or not."""
        _, slope, _ = task.climb(task.none(), task.cross_entropy)
        return _stepped(task, task.none(), slope, task.room.radius)


def pgd(
    module: Callable[[Tensor], Tensor],
    samples: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 10,
    step_size: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Adversarial samples for a training loop: the last point of one walk by PGD, for every sample.

    Nothing is tested, no sample leaves early, and the module stays in the mode that it is in.

    Parameters
    ----------
    module
        From samples to logits, in whatever mode it should be attacked.
    samples, labels
        A batch, where the module is.
    threat
        What may be done.
    steps, step_size
        As for :class:`PGD`.
    generator
        Of the random start; ``None`` starts from the samples themselves.

    Returns
    -------
    Tensor
        The shape of ``samples``, detached.

    Examples
    --------
    >>> module = torch.nn.Linear(2, 2)
    >>> moved = pgd(module, torch.zeros(3, 2), torch.tensor([0, 1, 1]), ThreatModel("linf", 0.1))
    >>> float(moved.abs().max()) <= 0.1 + 1e-6
    True
    """
    task = Task(Victim(module), threat.around(samples), labels)
    found = task.none() if generator is None else task.room.random(generator)
    size = (step_size or 2.5 / steps) * task.room.radius
    for _ in range(steps):
        _, slope, _ = task.climb(found, task.cross_entropy)
        found = _stepped(task, found, slope, size)
    return task.room.values(found)


def _stepped(task: Task, steps: Tensor, slope: Tensor, size: Tensor) -> Tensor:
    free = movable(slope, steps, task.room) if task.room.norm == "l1" else slope
    return task.room.project(steps + size * ascent(free, task.room.norm))


def _keep(
    record: Record, task: Task, rows: Tensor, steps: Tensor, values: Tensor, hits: Tensor
) -> None:
    record.note_best(rows, steps, values)
    if task.stops:
        record.note(rows, steps, hits)
