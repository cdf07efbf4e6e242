"""Search over categories: change one at a time, whichever lowers the margin most.

Gradients say little of a jump from one category to another, so all jumps that the ball has room
for are tried, and the best is kept, until none helps. What is left of the ball goes to the other
features by :class:`~entangle.adversarial.apgd.APGD` around the categories that were found.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.adversarial.attack import Attack
from entangle.adversarial.categories import change_costs
from entangle.adversarial.directions import ascent
from entangle.adversarial.losses import margin
from entangle.adversarial.task import Task
from entangle.training import require_count

__all__ = ["CategorySearch"]


@dataclass(frozen=True)
class CategorySearch(Attack):
    """Greedy search over one-hot groups, with a walk over the other features after each change.

    Parameters
    ----------
    changes
        Categories changed in a sample, at most.
    steps
        Gradients of the walk after each change, if the model has them.
    """

    changes: int = 5
    steps: int = 20

    needs_gradient = False

    def __post_init__(self) -> None:
        require_count("changes", self.changes)
        require_count("steps", self.steps)

    def run(self, task: Task, generator: torch.Generator) -> Tensor:
        """Displacements of the lowest margin that was seen."""
        best = self._walked(task, task.none(), task.none())
        lowest = task.margins(best)
        held = task.none()  # changes of category alone, each worth more than any other step
        for _ in range(min(self.changes, len(task.room.groups))):
            held, moved = self._changed(task, held)
            if not moved:
                break
            tried = self._walked(task, held, held)
            margins = task.margins(tried)
            better = margins < lowest
            best = torch.where(better[:, None], tried, best)
            lowest = torch.where(better, margins, lowest)
        return best

    def _changed(self, task: Task, held: Tensor) -> tuple[Tensor, bool]:
        """Make the single change of category that lowers the margin most."""
        room = task.room
        costs = change_costs(room.groups, room.scale, room.norm, held)
        lowest = task.margins(held)
        found, any_moved = held, False
        for number, group in enumerate(room.groups):
            columns = list(group)
            if not bool((costs[number] <= room.radius * (1 + 1e-6)).any()):
                continue
            for place in range(len(columns)):
                aim = torch.zeros_like(held[:, columns])
                aim[:, place] = 1.0
                change = aim - room.origin[:, columns]
                tried = held.clone()
                tried[:, columns] = change if room.scale is None else change / room.scale[columns]
                margins = task.margins(tried)
                better = margins < lowest
                found = torch.where(better[:, None], tried, found)
                lowest = torch.where(better, margins, lowest)
                any_moved |= bool(better.any())
        return found, any_moved

    def _walked(self, task: Task, start: Tensor, held: Tensor) -> Tensor:
        """Raise the loss over the other features, with the categories held."""
        if not (task.victim.differentiable or task.victim.differences):
            return start
        columns = [column for group in task.room.groups for column in group]
        best, highest = start, torch.full_like(start[:, 0], -torch.inf)
        size = 2.5 / self.steps * task.room.radius
        now = start
        for _ in range(self.steps):
            values, slope, _ = task.climb(now, lambda logits: -margin(logits, task.labels))
            better = values > highest
            best = torch.where(better[:, None], now, best)
            highest = torch.where(better, values, highest)
            slope[:, columns] = 0.0
            moved = now + size * ascent(slope, task.room.norm)
            # Categories stay; the other features keep to what they leave.
            moved[:, columns] = held[:, columns]
            now = task.room.legal(moved)
        return best
