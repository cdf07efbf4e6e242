"""Is it really adversarial? Every sample that is reported is tested anew, whatever found it.

In single precision, by a fresh pass through the model, and against the threat itself rather than
the displacements of the attack. What fails one test is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.adversarial.neighbourhood import Neighbourhood
from entangle.adversarial.subject import Subject
from entangle.adversarial.victim import Victim

__all__ = ["FRESH", "Judge", "rounding"]

FRESH = 5  # times the draws of an attack that a verdict on a random model takes


def rounding(room: Neighbourhood, samples: Tensor) -> Tensor:
    r"""Distance that rounding alone may add, shape ``(samples,)``.

    A value x + s u is rounded once, and so is u: each entry that changed may be off by
    :math:`2^{-23} (|x| + |x'|) / s`, and the sum of all by as much of the radius, times two.
    """
    after, before = samples.flatten(1).double(), room.origin.double()
    unit = torch.finfo(torch.float32).eps
    off = (after.abs() + before.abs()) * unit * (after != before)
    if room.scale is not None:
        off = off / room.scale.double()
    order = {"linf": torch.inf, "l2": 2.0, "l1": 1.0}[room.norm]
    return torch.linalg.vector_norm(off, ord=order, dim=1) + 4 * unit * room.radius[:, 0].double()


@dataclass(frozen=True, eq=False)
class Judge:
    """Tests what attacks found.

    Attributes
    ----------
    subject
        The model, with its own prediction if it has one.
    victim
        The same under attack.
    """

    subject: Subject
    victim: Victim

    def predicted(self, samples: Tensor) -> Tensor:
        """Class of each sample by a fresh pass, shape ``(samples,)``."""
        if self.subject.predict is not None and not self.victim.random:
            return self.subject.predict(samples)
        return self.victim.predicted(samples, FRESH)

    def confirmed(self, room: Neighbourhood, samples: Tensor, labels: Tensor) -> Tensor:
        """Whether samples are misclassified and legal, shape ``(samples,)``."""
        fooled = self.predicted(samples) != labels
        return fooled & legal(room, samples)


def legal(room: Neighbourhood, samples: Tensor) -> Tensor:
    """Whether samples are in their ball, in bounds, untouched by mask, one-hot in groups."""
    flat = samples.flatten(1)
    fine = torch.isfinite(flat).all(1)
    fine &= room.sizes(samples) <= room.radius[:, 0].double() + rounding(room, samples)
    if room.lower is not None:
        fine &= (flat >= room.lower).all(1)
    if room.upper is not None:
        fine &= (flat <= room.upper).all(1)
    if room.low is not None and room.high is not None:
        still = (room.low == 0) & (room.high == 0)
        fine &= ((flat == room.origin) | ~still).all(1)
    for group in room.groups:
        values = flat[:, list(group)]
        fine &= ((values == 0) | (values == 1)).all(1) & (values.sum(1) == 1)
    return fine
