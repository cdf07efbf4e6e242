r"""Packets: the envelope that makes a loss a wave function, and where its nodes lie.

Cross-entropy grows with the margin, so on all of space it has no norm. An envelope repairs that,

.. math:: \psi = l \sqrt q, \qquad \partial_i \psi / \psi = \partial_i \log l + \tfrac12
    \partial_i \log q,

with q a normal density about one sample (``"gaussian"``), or the mean of such densities about the
samples of a class (``"kde"``); psi vanishes at infinity, and the bound is one half. A box
(``"box"``) cuts space off instead: psi does not vanish on its faces, and the bound is
:math:`|1 - B| / 2` with the flux B through them.

Nodes are written as steps from a packet's centre, of the features that vary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["BoxPacket", "GaussianPacket", "KDEPacket", "Packet"]

REACH = 9.0  # standard deviations that quadrature covers


class Packet(Protocol):
    """One packet for each of several centres."""

    @property
    def centres(self) -> Tensor:
        """Values of the features that vary, double precision, shape ``(packets, features)``."""
        ...

    def draw(
        self, rows: Tensor, blocks: int, size: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor:
        """Draw steps in antithetic halves, shape ``(rows, blocks, size, features)``."""
        ...

    def bend(self, slope: Tensor, moved: Tensor, root: Tensor, rows: Tensor, steps: Tensor) -> None:
        """Add half the slope of log q times ``root`` to ``slope``, in place.

        Parameters
        ----------
        slope, steps
            Shape ``(rows, blocks, nodes, features)``.
        moved
            ``steps * root``.
        root
            Shape ``(rows, blocks, nodes, 1)``.
        """
        ...

    def log_density(self, rows: Tensor, steps: Tensor) -> Tensor:
        """Log q at steps, shape ``(rows, ...)``, up to a constant."""
        ...

    def reach(self, row: int) -> tuple[Tensor, Tensor]:
        """Lowest and highest step that quadrature covers, shape ``(features,)``."""
        ...

    def widths(self, rows: Tensor) -> tuple[Tensor, Tensor] | None:
        """Lowest and highest steps of a box, ``(rows, features)``; ``None``: no faces."""
        ...


@dataclass(frozen=True, eq=False)
class GaussianPacket:
    """Normal density of standard deviation ``tau``, shape ``(features,)``, about every centre."""

    centres: Tensor
    tau: Tensor

    def draw(
        self, rows: Tensor, blocks: int, size: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor:
        """Draw steps from the envelope in antithetic halves."""
        return _antithetic_normal(self.tau, len(rows), blocks, size, generator, dtype)

    def bend(self, slope: Tensor, moved: Tensor, root: Tensor, rows: Tensor, steps: Tensor) -> None:
        """Subtract the step over twice the variance."""
        slope.addcmul_(moved, (-0.5 / self.tau.square()).to(slope))

    def log_density(self, rows: Tensor, steps: Tensor) -> Tensor:
        """Log q up to a constant."""
        return -0.5 * (steps / self.tau).square().sum(-1)

    def reach(self, row: int) -> tuple[Tensor, Tensor]:
        """Nine standard deviations to both sides."""
        return -REACH * self.tau, REACH * self.tau

    def widths(self, rows: Tensor) -> None:
        """No faces."""
        return


@dataclass(frozen=True, eq=False)
class BoxPacket:
    """Uniform density between ``low`` and ``high``, both shape ``(features,)``."""

    centres: Tensor
    low: Tensor
    high: Tensor

    def draw(
        self, rows: Tensor, blocks: int, size: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor:
        """Draw steps from the box in antithetic halves, mirrored at its middle."""
        shape = (len(rows), blocks, size // 2, len(self.low))
        drawn = torch.rand(shape, generator=generator, device=generator.device, dtype=dtype)
        drawn = drawn.to(self.centres.device)
        both = torch.cat([drawn, 1 - drawn], dim=2).double()
        low, high = (part[:, None, None] for part in self.widths(rows))
        return (low + both * (high - low)).to(dtype)

    def bend(self, slope: Tensor, moved: Tensor, root: Tensor, rows: Tensor, steps: Tensor) -> None:
        """Leave slopes alone: the density is flat."""
        return

    def log_density(self, rows: Tensor, steps: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(steps[..., 0])

    def reach(self, row: int) -> tuple[Tensor, Tensor]:
        """All of the box."""
        return self.low - self.centres[row], self.high - self.centres[row]

    def widths(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest steps."""
        return self.low - self.centres[rows], self.high - self.centres[rows]


@dataclass(frozen=True, eq=False)
class KDEPacket:
    """Mean of normal densities of standard deviation ``tau`` about the samples of each packet.

    Attributes
    ----------
    centres
        Mean of each packet's samples.
    samples
        Of each packet, as steps from its centre, shapes ``(samples, features)``.
    tau
        Shape ``(features,)``.
    """

    centres: Tensor
    samples: tuple[Tensor, ...]
    tau: Tensor

    def draw(
        self, rows: Tensor, blocks: int, size: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Tensor:
        """Draw steps from the envelope; the halves mirror each other about the same samples."""
        noise = _antithetic_normal(self.tau, len(rows), blocks, size, generator, dtype)
        for place, row in enumerate(rows.tolist()):
            points = self.samples[row].to(dtype)
            shape = (blocks, size // 2)
            chosen = torch.randint(len(points), shape, generator=generator, device=generator.device)
            noise[place] += points[torch.cat([chosen, chosen], 1).to(points.device)]
        return noise

    def bend(self, slope: Tensor, moved: Tensor, root: Tensor, rows: Tensor, steps: Tensor) -> None:
        """Add the pull of the samples, each by its share of the density."""
        slope.addcmul_(self._half_score(rows, steps).to(slope), root)

    def _half_score(self, rows: Tensor, steps: Tensor) -> Tensor:
        parts = []
        for place, row in enumerate(rows.tolist()):
            here, points = steps[place].double(), self.samples[row]
            shares = torch.softmax(self._exponents(here, points), -1)
            parts.append((shares @ points - here) * (0.5 / self.tau.square()))
        return torch.stack(parts)

    def log_density(self, rows: Tensor, steps: Tensor) -> Tensor:
        """Log q up to a constant."""
        parts = [
            self._exponents(steps[place].double(), self.samples[row]).logsumexp(-1)
            for place, row in enumerate(rows.tolist())
        ]
        return torch.stack(parts) - math.log(max(len(part) for part in self.samples))

    def reach(self, row: int) -> tuple[Tensor, Tensor]:
        """Nine standard deviations beyond the samples."""
        points, beyond = self.samples[row], REACH * self.tau
        return points.amin(0) - beyond, points.amax(0) + beyond

    def widths(self, rows: Tensor) -> None:
        """No faces."""
        return

    def _exponents(self, steps: Tensor, points: Tensor) -> Tensor:
        """Minus half the squared distances in units of tau, shape ``(..., samples)``."""
        here, there = steps / self.tau, points / self.tau
        squares = here.square().sum(-1, keepdim=True) + there.square().sum(-1)
        return here @ there.T - squares / 2


def _antithetic_normal(
    tau: Tensor, packets: int, blocks: int, size: int, generator: torch.Generator,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """Draw normal steps, the second half of every block minus the first."""
    shape = (packets, blocks, size // 2, len(tau))
    drawn = torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
    drawn = drawn.to(tau.device).mul_(tau.to(dtype))
    return torch.cat([drawn, -drawn], dim=2)
