r"""Amplitudes: what a packet is made of, a loss at fixed label or any function, with its slope.

A loss is worked in log space, where it neither vanishes nor overflows. Of the cross-entropy
:math:`l = \log(1 + e^m)`, with m the logarithm of the summed exponentials of the other logits
minus the label's, :math:`\log l` is m itself far below 0. A plain function may be negative or have
zeros: nothing is divided by it, so that a density with simple zeros keeps finite moments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from entangle.adversarial.victim import Victim
from entangle.errors import InputError

__all__ = ["Amplitude", "FunctionAmplitude", "LossAmplitude", "Values", "log_cross_entropy"]

_LINEAR = -30.0  # below, log softplus(m) is m to double precision


@dataclass(frozen=True, eq=False)
class Values:
    """An amplitude l at some nodes: l is ``exp(unit) * size``, its slope ``exp(unit) * slope``.

    Attributes
    ----------
    unit
        Logarithm, double precision, shape ``(nodes,)``; minus infinity where l vanishes.
    size
        Double precision, shape ``(nodes,)``.
    slope
        Shape ``(nodes, *sample)``.
    """

    unit: Tensor
    size: Tensor
    slope: Tensor


class Amplitude(Protocol):
    """What gives values and slopes."""

    def __call__(self, nodes: Tensor, rows: Tensor) -> Values:
        """Evaluate.

        Parameters
        ----------
        nodes
            Shape ``(nodes, *sample)``.
        rows
            Packet that each node belongs to, shape ``(nodes,)``.
        """
        ...


def log_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Logarithm of the cross-entropy of each sample in nats, shape ``(samples,)``.

    Parameters
    ----------
    logits
        Shape ``(samples, classes)``; double precision, or rounding makes confident losses coarse.
    labels
        Class numbers, shape ``(samples,)``.

    Examples
    --------
    >>> logits = torch.tensor([[0.0, 0.0], [800.0, 0.0]], dtype=torch.float64)
    >>> log_cross_entropy(logits, torch.tensor([0, 0])).tolist()  # log(log 2); a loss of exp(-800)
    [-0.36651292058166435, -800.0]
    """
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    behind = others - logits.gather(1, labels[:, None]).squeeze(1)
    soft = torch.nn.functional.softplus(behind.clamp_min(_LINEAR), threshold=40.0).log()
    small = behind.clamp_max(_LINEAR)
    return torch.where(behind > _LINEAR, soft, small - small.exp() / 2)


@dataclass(frozen=True, eq=False)
class LossAmplitude:
    """Cross-entropy at the label of each packet.

    Parameters
    ----------
    victim
        The model.
    labels
        Class number of each packet.
    """

    victim: Victim
    labels: Tensor

    def __call__(self, nodes: Tensor, rows: Tensor) -> Values:
        """Evaluate with one backward pass of the summed logarithms."""
        labels = self.labels[rows]
        values, slope, _ = self.victim.gradient(
            nodes, lambda logits: log_cross_entropy(logits.double(), labels)
        )
        return Values(values, torch.ones_like(values), slope)


@dataclass(frozen=True, eq=False)
class FunctionAmplitude:
    """Any function of the nodes.

    Parameters
    ----------
    function
        From nodes ``(nodes, *sample)`` to real values ``(nodes,)``, each of its own node alone.
    logarithmic
        Whether it gives the logarithm of a positive amplitude.
    """

    function: Callable[[Tensor], Tensor]
    logarithmic: bool = True

    def __call__(self, nodes: Tensor, rows: Tensor) -> Values:
        """Evaluate with one backward pass of the summed values."""
        leaf = nodes.detach().requires_grad_()
        with torch.enable_grad():
            values = self.function(leaf)
        if not isinstance(values, Tensor) or values.shape != nodes.shape[:1]:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InputError(
                f"an amplitude maps {tuple(nodes.shape)} to shape ({len(nodes)},), got {got}; "
                "return one number a node"
            )
        slope = None
        if values.requires_grad:
            (slope,) = torch.autograd.grad(values.sum(), leaf, allow_unused=True)
        slope = torch.zeros_like(leaf) if slope is None else slope
        found = values.detach().double()
        if bool(torch.isnan(found).any() | torch.isnan(slope).any() | (found == torch.inf).any()):
            raise InputError(
                "the amplitude or its slope is not finite somewhere in the packet; pass a function "
                "that is finite there, with logarithm=False where it vanishes"
            )
        if self.logarithmic:
            return Values(found, torch.ones_like(found), slope)
        unit = found.abs().amax().log()  # minus infinity if it vanishes at all nodes
        scale = torch.exp(-unit) if torch.isfinite(unit) else torch.ones_like(unit)
        return Values(unit.expand_as(found), found * scale, slope.double() * scale)
