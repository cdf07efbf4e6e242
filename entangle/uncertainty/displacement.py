r"""An attack along the displacement of a packet: a gradient averaged by outputs alone.

Of a packet with a Gaussian envelope about a sample,

.. math:: \mu - x_0 = 2 \tau^2 \, E_\rho[\nabla \log l],

so the mean of rho, found from losses only, lies in the direction in which the loss grows on average
over the envelope. It needs no gradient, and sees over steps that are narrower than tau.

Source: derived for this package (Stein's identity for a Gaussian envelope). It estimates a smoothed
gradient, as Ilyas et al. 2018, arXiv:1804.08598, do with weights l in place of l^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.adversarial.attack import Attack, Record
from entangle.adversarial.directions import ascent, movable
from entangle.adversarial.task import Task
from entangle.errors import InputError
from entangle.training import require_count
from entangle.uncertainty.amplitudes import log_cross_entropy

__all__ = ["PacketAttack"]

_POWER = {"linf": 0.0, "l2": 0.5, "l1": 1.0}
_NODES = 16384  # evaluated at once


@dataclass(frozen=True)
class PacketAttack(Attack):
    """Steps along the displacement of packets.

    Parameters
    ----------
    steps
        Displacements followed, a step each.
    draws
        Outputs asked for a step, in antithetic pairs.
    width
        Of the envelope over the radius of the ball (Linf); in L2 and L1 a draw is as long as that
        share of the radius.
    step_size
        Length of a step over the radius. Default: 2.5 over the number of steps, at most 1.

    Examples
    --------
    >>> from entangle.adversarial import robustness_curve
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> X, y = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]).numpy(), [0, 0, 1, 1]
    >>> model = RandomForestClassifier(20, random_state=0).fit(X, y)
    >>> attack = PacketAttack(steps=5, draws=50)
    >>> robustness_curve(model, X, y, [0.5, 1.5, 2.5], attack=attack).accuracy.tolist()
    [1.0, 0.5, 0.0]
    """

    steps: int = 10
    draws: int = 200
    width: float = 0.5
    step_size: float | None = None

    needs_gradient = False

    def __post_init__(self) -> None:
        require_count("steps", self.steps)
        require_count("draws", self.draws)
        for name, value in (("width", self.width), ("step_size", self.step_size)):
            if value is not None and not value > 0:
                raise InputError(f"{name} is positive, a share of eps, got {value!r}")

    def run(self, task: Task, generator: torch.Generator) -> Tensor:
        """Displacements that fool, or those of the lowest margin."""
        record = Record(task)
        rows = record.open()
        moved = task.none()
        share = self.step_size or min(1.0, 2.5 / self.steps)
        for _ in range(self.steps):
            part = task.rows(rows)
            slope = self.direction(part, moved[rows], generator)
            room = part.room
            free = movable(slope, moved[rows], room) if room.norm == "l1" else slope
            moved[rows] = room.project(moved[rows] + share * room.radius * ascent(free, room.norm))
            margins = part.margins(moved[rows])
            record.note_best(rows, moved[rows], -margins)
            if task.stops:
                record.note(rows, moved[rows], margins < 0)
                rows = record.open()
            if not len(rows):
                break
        return record.steps

    def direction(self, task: Task, steps: Tensor, generator: torch.Generator) -> Tensor:
        """Mean of rho minus the centre, after some steps, shape ``(samples, features)``.

        Parameters
        ----------
        task
            Samples, model and threat; draws are cut at the bounds of the threat.
        steps
            Where the packets' centres are.
        generator
            Of the draws.
        """
        pairs = -(-self.draws // 2)
        together = max(1, _NODES // (2 * pairs))
        parts = [
            self._mean(task.rows(rows), steps[rows], pairs, generator)
            for rows in torch.arange(len(steps), device=steps.device).split(together)
        ]
        return torch.cat(parts)

    def _mean(self, task: Task, steps: Tensor, pairs: int, generator: torch.Generator) -> Tensor:
        samples, features = steps.shape
        shape = (pairs, samples, features)
        drawn = torch.randn(shape, generator=generator, device=generator.device, dtype=steps.dtype)
        tau = self.width * task.room.radius / features ** _POWER[task.room.norm]
        drawn = drawn.to(steps.device) * tau
        drawn = torch.cat([drawn, -drawn])
        every = torch.arange(samples, device=steps.device).repeat(2 * pairs)
        nodes = (steps + drawn).reshape(-1, features)
        logits = task.rows(every).logits(nodes).double()
        weights = 2 * log_cross_entropy(logits, task.labels[every])
        shares = torch.softmax(weights.reshape(2 * pairs, samples), 0)
        return torch.einsum("ns,nsf->sf", shares.to(drawn.dtype), drawn)
