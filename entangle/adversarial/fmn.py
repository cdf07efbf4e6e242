r"""Fast minimum norm: the nearest adversarial sample, whatever its distance.

A walk along the gradient of the margin, whose radius shrinks while the sample is fooled and grows
while it is not, ends near the boundary. Then it is polished: the boundary is taken to be the plane
through the point that was found, the point of that plane which is nearest in the box is tested, and
the segment to it is halved. On a linear model the first plane is the boundary, so the answer is
exact to rounding.

Source: Pintor et al. 2021, arXiv:2102.12827, Algorithm 1; the plane: Croce and Hein 2020,
arXiv:1907.02044 (FAB). Deviations: exact projections onto ball and box, and the polish.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.adversarial.attack import Attack
from entangle.adversarial.directions import ascent, movable
from entangle.adversarial.losses import Loss, margin
from entangle.adversarial.planes import nearest_on_plane
from entangle.adversarial.projections import lengths
from entangle.adversarial.task import Task
from entangle.errors import InputError
from entangle.training import require_count

__all__ = ["FMN"]

HALVINGS = 16  # of a segment: 1.5e-5 of its length
OVERSHOOT = (1e-6, 1e-4, 1e-2)  # beyond a plane, relative, so that rounding does not decide
SHRINK = 0.05  # of the radius a step, at first


@dataclass(frozen=True)
class FMN(Attack):
    """Search for the smallest displacement that fools.

    Parameters
    ----------
    steps
        Gradients of the walk.
    polish
        Planes tried afterwards.
    """

    steps: int = 100
    polish: int = 10

    any_radius = True

    def __post_init__(self) -> None:
        require_count("steps", self.steps)
        require_count("polish", self.polish + 1)

    def run(self, task: Task, generator: torch.Generator) -> Tensor:
        """Smallest displacements that fool, whatever their length; none where none did.

        Raises
        ------
        InputError
            If samples have one-hot groups, whose displacements do not shrink.
        """
        if task.room.groups:
            raise InputError(
                "fmn does not change one-hot groups, whose distance does not vary smoothly; use "
                "attack='standard', or make their columns immutable"
            )
        search = _Search(task)
        search.walk(self.steps)
        for _ in range(self.polish):
            if not search.polish():
                break
        return search.best


class _Search:
    """Shortest displacement that fooled each sample so far."""

    def __init__(self, task: Task) -> None:
        self.task = task.within(torch.inf)
        self.best = task.none()
        self.sizes = torch.full_like(self.best[:, :1], torch.inf)

    def walk(self, steps: int) -> None:
        """Follow the margin down, with a radius for each sample."""
        task, room = self.task, self.task.room
        now, radius = task.none(), torch.full_like(self.sizes, torch.inf)
        reach: Tensor | None = None
        for step in range(steps):
            fall = (1 + math.cos(math.pi * step / steps)) / 2
            values, slope, hits = task.climb(now, self._loss())
            hit = hits[:, None]
            self._keep(now, hits)
            change = max(SHRINK * fall, 1e-4)
            found = torch.isfinite(self.sizes)
            ahead = lengths(now, room.norm) + values.abs()[:, None] / _dual(slope, room.norm)
            farther = torch.where(torch.isfinite(radius), radius * (1 + SHRINK), ahead)
            outside = torch.where(found, radius * (1 + change), torch.maximum(ahead, farther))
            inside = torch.minimum(radius * (1 - change), self.sizes)
            radius = torch.where(
                hit, torch.where(torch.isfinite(inside), inside, self.sizes), outside
            )
            reach = _reach(radius, reach)
            size = reach * max(fall, 1e-3)
            slope = movable(slope, now, room) if room.norm == "l1" else slope
            now = room.project(now + size * ascent(slope, room.norm), radius)

    def polish(self) -> bool:
        """Try the nearest point of each boundary's plane; say whether any came nearer."""
        task, before = self.task, self.sizes.clone()
        values, slope, _ = task.climb(self.best, self._loss())
        # The loss is minus the margin; on the plane it is 0.
        level = (slope * self.best).sum(1) - values
        nearest = nearest_on_plane(slope, level, task.room)
        for over in OVERSHOOT:
            steps = task.room.clipped(nearest * (1 + over))
            self._keep(steps, task.margins(steps) < 0)
        self._halve()
        return bool((self.sizes < before * (1 - 1e-5)).any())

    def _halve(self) -> None:
        """Shorten displacements as long as they fool."""
        low, high = torch.zeros_like(self.sizes), torch.ones_like(self.sizes)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            fooled = (self.task.margins(middle * self.best) < 0)[:, None]
            high, low = torch.where(fooled, middle, high), torch.where(fooled, low, middle)
        shorter = high * self.best
        self._keep(shorter, self.task.margins(shorter) < 0)

    def _loss(self) -> Loss:
        return lambda logits: -margin(logits, self.task.labels)

    def _keep(self, steps: Tensor, hits: Tensor) -> None:
        sizes = lengths(steps, self.task.room.norm)
        better = hits[:, None] & (sizes < self.sizes)
        self.sizes = torch.where(better, sizes, self.sizes)
        self.best = torch.where(better, steps, self.best)


def _reach(radius: Tensor, before: Tensor | None) -> Tensor:
    """Length of a step: the first finite radius of each sample, or 1."""
    finite = torch.isfinite(radius) & (radius > 0)
    if before is None:
        return torch.where(finite, radius, torch.ones_like(radius))
    return torch.maximum(before, torch.where(finite, radius, before).clamp_max(10 * before))


def _dual(slope: Tensor, norm: str) -> Tensor:
    """Dual norm of slopes, at least a little, shape ``(samples, 1)``."""
    dual = {"linf": "l1", "l2": "l2", "l1": "linf"}[norm]
    return lengths(slope, dual).clamp_min(torch.finfo(slope.dtype).tiny)
