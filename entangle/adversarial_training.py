r"""Adversarial training: every batch is moved by an attack before the network learns from it.

A network with weights w is trained for

.. math:: \min_w \; \mathbb{E} \max_{x' \in B(x)} \ell_w(x', y),

with B(x) what a threat allows in the units of the samples, and the inner maximum approached by
projected gradient ascent, anew for every batch. An :class:`Attacked` objective takes the place of
a plain one, so the training loop does not know of it.

Source: Madry et al. 2018, arXiv:1706.06083. Deviations: the network is attacked in evaluation mode
(running means of batch norm, no dropout), so that the attack neither moves running means nor works
against another random network than the next one; the step that follows is an ordinary one, and
running means follow the adversarial samples alone. Validation losses are adversarial, too: the
clean loss would restore an epoch before robustness was learned, and robust accuracy falls again
when training is too long (Rice et al. 2020, arXiv:2002.11569). There the attack starts from the
samples themselves, so that epochs differ by their weights alone; scores are of clean samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from entangle.adversarial.signed_steps import pgd
from entangle.adversarial.threat import ThreatModel
from entangle.adversarial.victim import evaluating
from entangle.errors import InputError
from entangle.training import require_count

__all__ = ["Attacked", "Objective", "require_adversarial"]


class Objective(Protocol):
    """Losses and scores of batches of values, class codes and weights."""

    def losses(self, values: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        """Loss of each sample, shape ``(batch,)``."""
        ...

    def hits(self, values: Tensor, codes: Tensor, _: Tensor) -> Tensor:
        """1 for each sample that is classified correctly, else 0; shape ``(batch,)``."""
        ...


def require_adversarial(adversarial: object, steps: object) -> None:
    """Refuse options of adversarial training that cannot be used.

    Raises
    ------
    InputError
        If the threat is none, or steps are no whole number of at least 1.
    """
    if not (adversarial is None or isinstance(adversarial, ThreatModel)):
        raise InputError(
            f"adversarial is a ThreatModel or None, got {adversarial!r}; pass "
            "ThreatModel('linf', eps), with eps in the units of X"
        )
    require_count("adversarial_steps", steps)


@dataclass(frozen=True, eq=False)
class Attacked:
    """An objective whose samples are attacked first.

    Attributes
    ----------
    objective
        Of values, as the network reads them.
    network
        What is trained; while it is training, attacks start at random.
    module
        From samples, as the user passes them, to logits; it shares the network's weights.
    read
        From samples to values, differentiable.
    threat
        In the units of the samples.
    steps
        Gradients of each attack.
    generator
        Of the random starts, on the CPU.
    """

    objective: Objective
    network: nn.Module
    module: nn.Module
    read: Callable[[Tensor], Tensor]
    threat: ThreatModel
    steps: int
    generator: torch.Generator

    def moved(self, samples: Tensor, codes: Tensor) -> Tensor:
        """Adversarial samples, for the network as it is now; the shape of ``samples``."""
        start = self.generator if self.network.training else None
        with evaluating(self.module):
            return pgd(self.module, samples, codes, self.threat, steps=self.steps, generator=start)

    def losses(self, samples: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        """Losses of adversarial samples, shape ``(batch,)``."""
        return self.objective.losses(self.read(self.moved(samples, codes)), codes, weights)

    def hits(self, samples: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        """1 for each clean sample that is classified correctly, else 0; shape ``(batch,)``."""
        return self.objective.hits(self.read(samples), codes, weights)
