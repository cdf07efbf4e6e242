"""A model, samples with labels, and what the samples may become: all that an attack is given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from entangle.adversarial.differences import slope_by_differences
from entangle.adversarial.losses import Loss, cross_entropy, margin
from entangle.adversarial.neighbourhood import Neighbourhood
from entangle.adversarial.victim import Victim

__all__ = ["Task"]


@dataclass(frozen=True, eq=False)
class Task:
    """Samples to fool a model on.

    Attributes
    ----------
    victim
        The model.
    room
        What each sample may become.
    labels
        Class of each sample, shape ``(samples,)``.
    """

    victim: Victim
    room: Neighbourhood
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def stops(self) -> bool:
        """Whether a sample that is fooled once is done; not if the model is random."""
        return not self.victim.random

    def rows(self, index: Tensor) -> Task:
        """Return the task for some of the samples."""
        return replace(self, room=self.room.rows(index), labels=self.labels[index])

    def within(self, radius: Tensor | float) -> Task:
        """Return the task with other radii."""
        return replace(self, room=self.room.within(radius))

    def logits(self, steps: Tensor) -> Tensor:
        """Logits after displacements."""
        return self.victim.logits(self.room.values(steps))

    def margins(self, steps: Tensor) -> Tensor:
        """Margin of each sample after its displacement; below 0: fooled."""
        return margin(self.logits(steps), self.labels)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Cross-entropy at the victim's temperature."""
        return cross_entropy(logits / self.victim.temperature, self.labels)

    def climb(self, steps: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of each sample, its gradient by displacements, and whether the sample is fooled."""
        if self.victim.differences:
            values, slope, logits = slope_by_differences(self.victim, self.room, steps, loss)
        else:
            samples = self.room.values(steps)
            values, slope, logits = self.victim.gradient(samples, loss)
            slope = slope.flatten(1)
            slope = slope if self.room.scale is None else slope * self.room.scale
        return values, slope, logits.argmax(1) != self.labels

    def none(self) -> Tensor:
        """No displacement of any sample."""
        return torch.zeros_like(self.room.origin)
