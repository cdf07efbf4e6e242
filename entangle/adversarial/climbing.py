"""One walk of Auto-PGD: samples climb, rest at checkpoints, and leave once they are fooled.

Sources and deviations are those of :mod:`entangle.adversarial.apgd`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from entangle.adversarial.attack import Record
from entangle.adversarial.directions import ascent, movable, rise, sparse_ascent
from entangle.adversarial.losses import Loss
from entangle.adversarial.task import Task

__all__ = ["LossOf", "checkpoints", "climb"]

LossOf = Callable[[Task, Tensor], Loss]  # for some rows, and their index among those at the start
MOMENTUM = 0.75
UPS = 0.75  # share of steps that must rise
WIDER = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # L1: radii, and the share of steps in each
DENSITY = 0.2  # L1: features that the first steps change
GONE = 0.05  # share of rows that are done before the others are copied together
HOPE = 5.0  # a walk may gain so many times what its pace, or what its slopes promise


def climb(
    task: Task, rows: Tensor, loss_of: LossOf, steps: int, record: Record,
    generator: torch.Generator, goal: float | None = None,
) -> None:  # fmt: skip
    """Walk from a random start; what fools a sample, or its largest loss, goes into the record.

    Parameters
    ----------
    task
        Samples to fool; one may be there several times, with several losses.
    rows
        Their rows in the record.
    loss_of
        What each of some rows raises.
    steps
        Gradients in all, at most.
    goal
        What the loss is above where a sample is fooled; walks that would not get there end at a
        checkpoint, if they are a twentieth of those under way or more. Not in L1. ``None``: all
        walks go on to the end.
    """
    start = task.room.random(generator)
    if task.room.norm != "l1":
        _Walk(task, rows, loss_of, start, record, goal).go(steps)
        return
    radius = task.room.radius
    for factor, share in WIDER:
        wide = task.within(factor * radius)
        last = factor == 1
        walk = _SparseWalk(wide, rows, loss_of, wide.room.project(start), record if last else None)
        start = walk.go(round(share * steps))


def checkpoints(steps: int) -> list[int]:
    """List the steps at which step sizes are judged.

    Examples
    --------
    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    shares, length = [0.0, 0.22], 0.22
    while shares[-1] < 1:
        length = max(length - 0.03, 0.06)
        shares.append(shares[-1] + length)
    found = [math.ceil(round(share * steps, 6)) for share in shares[1:]]
    return sorted({place for place in found if 0 < place < steps})


class _Walk:
    """Samples on their way, each with a step size of its own."""

    fields = ("rows", "index", "now", "before", "slope", "values", "best", "best_slope",
              "best_values", "size", "ups", "last_best", "gain", "pace", "first",
              "promised", "halved", "done")  # fmt: skip

    def __init__(
        self, task: Task, rows: Tensor, loss_of: LossOf, start: Tensor, record: Record | None,
        goal: float | None = None,
    ) -> None:  # fmt: skip
        self.task, self.rows, self.loss_of, self.record = task, rows, loss_of, record
        self.goal = goal
        self.index = torch.arange(len(rows), device=rows.device)
        self.loss = loss_of(task, self.index)
        self.now = self.before = start
        self.values, self.slope, hits = task.climb(start, self.loss)
        self.best, self.best_slope, self.best_values = start, self.slope, self.values
        self.size = 2 * task.room.radius
        self.ups = torch.zeros_like(self.values)
        self.last_best = self.values
        self.gain = self.pace = torch.full_like(self.values, torch.inf)
        self.first, self.promised = self.values, rise(self.slope, start, task.room)
        self.halved = torch.ones_like(hits)
        self.done = torch.zeros_like(hits)
        self._note(hits)

    def go(self, steps: int) -> Tensor:
        """Climb; return the points of the largest loss of the rows that are left."""
        judged, last = checkpoints(steps), 0
        for step in range(1, steps):
            if not len(self.rows):
                break
            self.take_step(first=step == 1)
            if step in judged:
                self.judge(step - last)
                last = step
                self.give_up(1 + sum(place > step for place in judged))
        return self.finish()

    def finish(self) -> Tensor:
        """Record the best points of those that are not fooled."""
        if self.record is not None and len(self.rows):
            open_ = (~self.done).nonzero()[:, 0]
            self.record.note_best(self.rows[open_], self.best[open_], self.best_values[open_])
        return self.best

    def take_step(self, first: bool) -> None:
        """Move once, look, and remember what is best."""
        room = self.task.room
        moved = room.project(torch.addcmul(self.now, self.size, ascent(self.slope, room.norm)))
        if not first:
            mixed = MOMENTUM * moved + (2 - 2 * MOMENTUM) * self.now - (1 - MOMENTUM) * self.before
            moved = room.project(mixed)
        self.before, self.now = self.now, moved
        self.look()

    def look(self) -> None:
        """Loss, slope and hits of where the samples are now."""
        values, self.slope, hits = self.task.climb(self.now, self.loss)
        self.ups += values > self.values
        self.values = values
        better = values > self.best_values
        wide = better[:, None]
        self.best = torch.where(wide, self.now, self.best)
        self.best_slope = torch.where(wide, self.slope, self.best_slope)
        self.best_values = torch.where(better, values, self.best_values)
        self._note(hits)

    def judge(self, steps: int) -> None:
        """Halve the steps of those that do not rise, and send them back to their best point."""
        stalled = self.ups < UPS * steps
        stuck = ~self.halved & (self.last_best >= self.best_values)
        back = stalled | stuck
        wide = back[:, None]
        self.size = torch.where(wide, self.size / 2, self.size)
        self.now = torch.where(wide, self.best, self.now)
        self.before = torch.where(wide, self.best, self.before)
        self.slope = torch.where(wide, self.best_slope, self.slope)
        self.values = torch.where(back, self.best_values, self.values)
        gain = self.best_values - self.last_best
        self.gain, self.pace = gain, torch.maximum(gain, self.gain)
        self.halved, self.last_best = back, self.best_values
        self.ups = torch.zeros_like(self.ups)

    def give_up(self, periods: int) -> None:
        """Let those go that would miss the goal, by their pace and by their slopes.

        Both have to say so: a walk that gains nothing may have steps that are still too long, and
        slopes that promise nothing mislead where it does gain. Slopes count for more where the walk
        gained more than they promised at its start, so their scale does not matter.
        """
        if self.goal is None or self.record is None or not self.task.stops:
            return
        by_pace = self.best_values + HOPE * periods * self.pace < self.goal
        scale = (self.best_values - self.first) / self.promised  # NaN, infinity: none is given up
        promised = rise(self.best_slope, self.best, self.task.room) * scale.clamp_min(1.0)
        by_slope = self.best_values + HOPE * promised < self.goal
        hopeless = self.halved & by_pace & by_slope & ~self.done
        if float(hopeless.sum()) >= GONE * len(self.rows):
            gone = hopeless.nonzero()[:, 0]
            self.record.note_best(self.rows[gone], self.best[gone], self.best_values[gone])
            self._keep((~hopeless).nonzero()[:, 0])

    def _note(self, hits: Tensor) -> None:
        if self.record is None or not self.task.stops or not bool(hits.any()):
            return
        fresh = hits & ~self.done
        self.record.note(self.rows, self.now, fresh)
        self.done = self.done | hits
        if float(self.done.sum()) >= GONE * len(self.rows):
            self._keep((~self.record.fooled[self.rows]).nonzero()[:, 0])

    def _keep(self, left: Tensor) -> None:
        for name in self.fields:
            setattr(self, name, getattr(self, name)[left])
        self.task = self.task.rows(left)
        self.loss = self.loss_of(self.task, self.index)


class _SparseWalk(_Walk):
    """In L1: steps that change as many features as the best point so far, and a little fewer."""

    fields = (*_Walk.fields, "density", "sparsity")

    def __init__(
        self, task: Task, rows: Tensor, loss_of: LossOf, start: Tensor, record: Record | None
    ) -> None:
        n_features = start.shape[1]
        self.density = torch.full_like(task.room.radius, max(1.0, DENSITY * n_features))
        self.sparsity = torch.full_like(task.room.radius, float(n_features))
        super().__init__(task, rows, loss_of, start, record)
        self.size = self.task.room.radius

    def go(self, steps: int) -> Tensor:
        """Climb; judge after every 4 % of the steps."""
        every = max(1, math.ceil(0.04 * steps))
        for step in range(1, steps):
            if not len(self.rows):
                break
            self.take_step(first=True)
            if step % every == 0:
                self.judge(every)
        return self.finish()

    def take_step(self, first: bool) -> None:
        """Move once along the signs of few entries."""
        del first  # there is no momentum
        room = self.task.room
        slope = movable(self.slope, self.now, room)
        self.before = self.now
        moved = torch.addcmul(self.now, self.size, sparse_ascent(slope, self.density))
        self.now = room.project(moved)
        self.look()

    def judge(self, steps: int) -> None:
        """Set the sparsity by the best point; shorten the steps where it settles."""
        radius = self.task.room.radius
        changed = (self.best != 0).sum(1, keepdim=True).to(radius.dtype).clamp_min(1.0)
        settled = self.sparsity / changed < 1.05
        shorter = torch.maximum(self.size / 1.5, radius / 10)
        self.size = torch.where(settled, shorter, radius)
        self.density, self.sparsity = (changed / 1.5).clamp_min(1.0), changed
        self.now = torch.where(settled, self.best, self.now)
        self.slope = torch.where(settled, self.best_slope, self.slope)
