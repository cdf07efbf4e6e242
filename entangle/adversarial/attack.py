"""What every attack is: options, and a search for displacements that fool a model."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from entangle.adversarial.task import Task
from entangle.adversarial.threat import ThreatModel
from entangle.adversarial.victim import Victim, evaluating

__all__ = ["Attack", "Record"]


class Attack(ABC):
    """A way to look for adversarial samples; its options are the fields of a frozen dataclass."""

    needs_gradient = True
    any_radius = False  # whether it looks for the nearest sample, whatever the radius
    reach = math.inf  # an evaluation tries it on samples fooled within so many times the radius

    @abstractmethod
    def run(self, task: Task, generator: torch.Generator) -> Tensor:
        """Displacements that fool the model where one was found, shape ``(samples, features)``.

        Elsewhere they are the best that was seen, or none. Whether they fool is for the caller
        to test.
        """

    def __call__(
        self,
        model: Callable[[Tensor], Tensor],
        samples: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        *,
        generator: torch.Generator | None = None,
        draws: int | None = None,
    ) -> Tensor:
        """Attack a module directly.

        Parameters
        ----------
        model
            From samples ``(batch, *sample)`` to logits ``(batch, classes)``; a module is
            evaluated in evaluation mode, and its own mode is restored.
        samples
            Floating point, where the model is.
        labels
            Class numbers, shape ``(batch,)``.
        threat
            What may be done.
        generator
            Of all that the attack draws. Default: seed 0.
        draws
            Outputs of a random model to average, see :class:`Victim`.

        Returns
        -------
        Tensor
            Samples within the threat, the shape of ``samples``, detached.
        """
        source = torch.Generator().manual_seed(0) if generator is None else generator
        room = threat.around(samples)
        with evaluating(model):
            victim = Victim.of(model, samples, draws=draws)
            return room.values(self.run(Task(victim, room, labels), source))


class Record:
    """Which samples are fooled, and by what; samples that are done leave the search."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.steps = task.none()
        self.fooled = torch.zeros(len(task), dtype=torch.bool, device=task.labels.device)
        self.best = torch.full_like(self.steps[:, 0], -torch.inf)

    def open(self) -> Tensor:
        """Rows of the samples that are not fooled yet; of a random model, of all."""
        if not self.task.stops:
            return torch.arange(len(self.fooled), device=self.fooled.device)
        return (~self.fooled).nonzero()[:, 0]

    def note(self, rows: Tensor, steps: Tensor, hits: Tensor) -> None:
        """Keep displacements of those rows that they fool."""
        index = hits.nonzero()[:, 0]
        if len(index):
            self.steps[rows[index]] = steps[index]
            self.fooled[rows[index]] = True

    def note_best(self, rows: Tensor, steps: Tensor, values: Tensor) -> None:
        """Keep displacements of the rows that raise a value, of those that are not fooled."""
        better = (values > self.best[rows]) & ~self.fooled[rows]
        index = better.nonzero()[:, 0]
        if len(index):
            self.best[rows[index]] = values[index]
            self.steps[rows[index]] = steps[index]
