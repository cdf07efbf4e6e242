r"""S4D: a linear recurrence with a diagonal state, run as one convolution.

Each channel u drives N complex states, of which conjugate pairs share one,

.. math::
   x'(t) = A x(t) + u(t), \qquad y(t) = 2\,\mathrm{Re}\,(C x(t)) + D u(t),

held constant between samples dt apart (zero-order hold), so with
:math:`\bar A = e^{A\,dt}` and :math:`\bar B = (\bar A - 1) / A`

.. math::
   x_l = \bar A x_{l-1} + \bar B u_l, \qquad
   y_l = \sum_{j \le l} K_{l-j} u_j + D u_l, \qquad
   K_l = 2\,\mathrm{Re} \sum_n C_n \bar B_n \bar A_n^l .

The convolution is a product of Fourier transforms. A position influences later ones through
:math:`\bar A^l`, which decays: distance costs, as in every local network.

The kernel is never a sum over a table of ``states x length`` powers. With l = i + m j,
:math:`\bar A^l = \bar A^i \bar A^{mj}`, so two tables of about :math:`\sqrt{\text{length}}` powers
and one real matrix product of them give all values: as exact, a fraction of the exponentials, and
memory linear in the length.

Source: Gu, Gupta, Goel, Re 2022, arXiv:2206.11893 (S4D; its equations for S4D-Lin and S4D-Inv);
network and rates of Alexander et al. 2023, arXiv:2303.11249, Table 2: 4 layers of 64 channels and
64 states, one direction, layer norm after each sum, no dropout, step sizes from 0.001 to 0.1.
A and dt have a rate of at most 0.001 and no decay, as the source recommends.
"""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn

from entangle.errors import InputError
from entangle.models.convolution import long_convolution
from entangle.models.positions import require_sequence
from entangle.training import Group

__all__ = ["S4D", "StateSpace"]

_RATE = 1e-3  # largest rate of A and dt


class StateSpace(nn.Module):
    r"""One diagonal state space a channel, as a long convolution.

    Parameters
    ----------
    width
        Channels, each with a state space of its own.
    n_states
        Real dimension of a state, an even number: pairs are stored.
    start
        First values of A: ``"lin"``, :math:`-1/2 + i \pi n`, or ``"inv"``,
        :math:`-1/2 + i (N / \pi) (N / (2n + 1) - 1)`.
    bidirectional
        Also run backwards, with a C of its own. Default: each output sees its past only.
    steps
        Range of the first step sizes, drawn evenly in the logarithm.

    Raises
    ------
    InputError
        If ``start`` is unknown or ``n_states`` is odd.
    """

    def __init__(
        self,
        width: int,
        n_states: int = 64,
        *,
        start: str = "lin",
        bidirectional: bool = False,
        steps: tuple[float, float] = (1e-3, 1e-1),
    ) -> None:
        super().__init__()
        if n_states < 2 or n_states % 2:
            raise InputError(f"n_states is an even number of at least 2, got {n_states}")
        pairs = n_states // 2
        low, high = map(math.log, steps)
        self.log_step = nn.Parameter(low + (high - low) * torch.rand(width))
        self.log_decay = nn.Parameter(torch.full((width, pairs), math.log(0.5)))
        self.frequency = nn.Parameter(_frequencies(start, n_states).repeat(width, 1))
        directions = 2 if bidirectional else 1
        self.readout = nn.Parameter(torch.randn(directions, width, pairs, 2) / math.sqrt(2))
        self.skip = nn.Parameter(torch.randn(width))

    def discrete(self) -> tuple[Tensor, Tensor]:
        r"""Logarithm of :math:`\bar A`, and :math:`\bar B`; both ``(width, states / 2)``."""
        continuous = torch.complex(-self.log_decay.exp(), self.frequency)
        logs = continuous * self.log_step.exp()[:, None]
        return logs, (logs.exp() - 1) / continuous

    def kernel(self, length: int) -> Tensor:
        """Response to one impulse, shape ``(directions, width, length)``."""
        logs, drive = self.discrete()
        size = math.isqrt(length - 1) + 1
        near = torch.arange(size, device=logs.device)
        far = size * torch.arange(-(-length // size), device=logs.device)
        fine = (logs[..., None] * near).exp()
        weights = torch.view_as_complex(self.readout) * drive
        coarse = weights[..., None] * (logs[..., None] * far).exp()
        left = torch.cat([coarse.real, -coarse.imag], dim=-2).mT
        right = torch.cat([fine.real, fine.imag], dim=-2)
        return 2 * (left @ right).flatten(-2)[..., :length]

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(batch, length, width)`` to outputs of the same shape."""
        length = values.shape[1]
        size = int(next_fast_len(2 * length, real=True) or 0)
        with torch.autocast(values.device.type, enabled=False):  # no half-precision transforms
            kernel = self.kernel(length)
            values = values.to(kernel.dtype)
            spread = nn.functional.pad(kernel[0], (0, size - length))
            if len(kernel) > 1:
                spread = spread + nn.functional.pad(kernel[1].flip(-1), (size - length, 0))
            return torch.addcmul(long_convolution(values, spread), self.skip, values)


class S4Layer(nn.Module):
    """A state space, a gate that mixes channels, a sum, and a layer norm over channels."""

    def __init__(self, width: int, dropout: float, space: StateSpace) -> None:
        super().__init__()
        self.space = space
        self.gate = nn.Linear(width, 2 * width)
        self.dropout = dropout
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(batch, length, width)`` to the same shape."""
        found = self._dropped(nn.functional.gelu(self.space(values)))
        found = self._dropped(nn.functional.glu(self.gate(found)))
        return self.norm(values + found)

    def _dropped(self, values: Tensor) -> Tensor:
        """Leave out whole channels of a sample, in training."""
        if not self.dropout:
            return values
        return nn.functional.dropout1d(values.mT, self.dropout, self.training).mT


class S4D(nn.Module):
    """Layers of state spaces over a sequence, then the mean over positions.

    Parameters
    ----------
    n_channels
        Numbers at each position.
    shape
        ``(length,)``; inputs of any length are read.
    n_classes
        Number of logits.
    width, depth, n_states
        Channels, layers, and the dimension of a state.
    start, bidirectional
        As for :class:`StateSpace`.
    dropout
        Share of channels that a training step leaves out, twice a layer.

    Raises
    ------
    InputError
        If there is more than one axis.
    """

    def __init__(
        self,
        n_channels: int,
        shape: tuple[int, ...],
        n_classes: int,
        *,
        width: int = 64,
        depth: int = 4,
        n_states: int = 64,
        start: str = "lin",
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_sequence("S4", shape)
        self.encoder = nn.Linear(n_channels, width)
        self.layers = nn.Sequential(
            *(
                S4Layer(
                    width,
                    dropout,
                    StateSpace(width, n_states, start=start, bidirectional=bidirectional),
                )
                for _ in range(depth)
            )
        )
        self.decoder = nn.Linear(width, n_classes)

    def forward(self, values: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of ``(batch, channels, length)``."""
        return self.decoder(self.layers(self.encoder(values.mT)).mean(dim=1))

    def parameter_groups(self) -> tuple[Group, ...]:
        """Give A and dt of every layer a small rate, and no decay."""
        spaces = [module for module in self.modules() if isinstance(module, StateSpace)]
        dynamics = [(s.log_step, s.log_decay, s.frequency) for s in spaces]
        return (Group(tuple(p for three in dynamics for p in three), _RATE),)


def _frequencies(start: str, n_states: int) -> Tensor:
    """First imaginary parts of A, one a pair."""
    n = torch.arange(n_states // 2)
    if start == "lin":
        return math.pi * n
    if start == "inv":
        return n_states / math.pi * (n_states / (2 * n + 1) - 1)
    raise InputError(f"start is 'lin' or 'inv', got {start!r}")
