r"""What is measured of pairs, layer by layer: angles, distances, signs, and how fast they collapse.

The published code calls the curve of the cosine "time dilation", that of the squared distance of
unit vectors "length contraction", and the vectors with a time coordinate in front,
:math:`(c\,l, w_l)`, "spacetime". These are names of curves: no physics is used, and the text that
argues for them was not at hand.

Source: published code of arXiv:2309.15669. Deviation: the squared distance, 2 - 2 cos, and angles
near 0 and 1 come from the sine, so they keep their digits down to the smallest double.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.errors import InputError

__all__ = ["ENTANGLED", "Paths", "Slope"]

ENTANGLED = 100.0  # cotangent from which a pair counts as entangled, so that noise no longer shows


@dataclass(frozen=True)
class Slope:
    """Rate of collapse a layer, with its uncertainty.

    Attributes
    ----------
    rate
        Mean fall of the logarithm of the tangent in one layer.
    standard_error
        From the spread between layers; NaN for a single one.
    n_layers
        Steps from layer to layer that were averaged.
    """

    rate: float
    standard_error: float
    n_layers: int


@dataclass(frozen=True)
class Paths:
    """Pairs by layer; the first row is the input.

    Attributes
    ----------
    cosine
        Of the angle of each pair, shape ``(layers + 1, pairs)``.
    log_sine
        Logarithm of its sine; minus infinity for pairs that are exactly parallel.
    hamming
        Share of entries whose signs differ.
    log_norm_selected
        Logarithm of the norm of the selected sample, shape ``(layers + 1,)``, or of the first of
        each pair.
    log_norm
        Logarithms of the norms of the others, shape ``(layers + 1, pairs)``.
    """

    cosine: Tensor
    log_sine: Tensor
    hamming: Tensor
    log_norm_selected: Tensor
    log_norm: Tensor

    @property
    def angle(self) -> Tensor:
        r"""Angle over :math:`\pi`, from 0 to 1."""
        return torch.atan2(self.log_sine.exp(), self.cosine) / math.pi

    @property
    def squared_distance(self) -> Tensor:
        r"""Squared distance of the unit vectors, :math:`2 - 2\cos\theta`, from 0 to 4."""
        return _two_minus_two_cosines(self.cosine, self.log_sine)

    @property
    def opposite_squared_distance(self) -> Tensor:
        r"""Squared distance from the mirror image, :math:`2 + 2\cos\theta`."""
        return _two_minus_two_cosines(-self.cosine, self.log_sine)

    @property
    def log_tangent(self) -> Tensor:
        r"""Logarithm of :math:`|\tan\theta|`: a straight line where pairs collapse."""
        return self.log_sine - self.cosine.abs().log()

    @property
    def cotangent(self) -> Tensor:
        r"""The cotangent with its sign; infinite where it overflows."""
        return self.cosine.sign() * (-self.log_tangent).exp()

    @property
    def log_contraction(self) -> Tensor:
        """Logarithm of the last angle over the first, shape ``(pairs,)``; low where pairs meet."""
        return self.angle[-1].log() - self.angle[0].log()

    @property
    def anticorrelated(self) -> Tensor:
        """Which pairs end on the antiparallel branch, shape ``(pairs,)``."""
        return self.cosine[-1] < 0

    @property
    def crossed(self) -> Tensor:
        """Which pairs end on the other side of a right angle than they began on."""
        return (self.cosine[-1] < 0) != (self.cosine[0] < 0)

    def spacetime_angle(self, speed: float) -> Tensor:
        r"""Angle over :math:`\pi` of vectors with a time coordinate, :math:`(c\,l, w_l)`.

        Lagrange's identity gives the sine without cancellation,

        .. math:: |z|^2 |z'|^2 \sin^2 = (c\,l)^2 |w - v|^2 + |w|^2 |v|^2 \sin^2\theta.

        The norms of the samples grow without bound, so whatever the speed, deep layers give the
        angle without time; a large speed delays that.

        Parameters
        ----------
        speed
            c, not negative: time passed in one layer. 0 gives :attr:`angle`.

        Raises
        ------
        InputError
            If it is negative or no number.
        """
        if not speed >= 0 or math.isinf(speed):
            raise InputError(f"speed is a finite number, at least 0, got {speed!r}; 100 is usual")
        layers = torch.arange(len(self.cosine), dtype=torch.float64, device=self.cosine.device)
        log_time = (speed * layers).log()[:, None]
        log_w = self.log_norm_selected.reshape(len(self.cosine), -1)
        scale = torch.maximum(log_time, torch.maximum(log_w, self.log_norm))
        time, w, v = ((values - scale).exp() for values in (log_time, log_w, self.log_norm))
        inner = time**2 + w * v * self.cosine
        gap = (w - v) ** 2 + w * v * self.squared_distance
        sine = (time**2 * gap + (w * v) ** 2 * (2 * self.log_sine).exp()).sqrt()
        return torch.atan2(sine, inner) / math.pi

    def rate(self, entangled: float = ENTANGLED) -> Slope:
        r"""Measure the exponent: how fast :math:`\ln|\tan\theta|` falls.

        Steps count from pairs whose cotangent is at least ``entangled`` before the step. That
        looks at the past of a path only, so it favours no step; nearer to a right angle the noise
        term of the recursion adds to the fall. Pairs of one encoder share their layers: the means
        over pairs of one layer are what is independent, and the standard error is theirs.

        Raises
        ------
        InputError
            If no pair is entangled before the last layer, or all are exactly parallel.
        """
        tangent = self.log_tangent
        counted = (tangent[:-1] <= -math.log(entangled)) & tangent[1:].isfinite()
        falls = torch.where(counted, tangent[:-1] - tangent[1:], 0.0).sum(dim=1)
        numbers = counted.sum(dim=1)
        means = (falls / numbers)[numbers > 0]
        if not means.numel():
            raise InputError(
                f"no pair has a cotangent of {entangled:g} before the last of "
                f"{len(tangent) - 1} layers; use more layers, or samples that are not parallel"
            )
        n_layers = means.numel()
        error = float(means.std()) / math.sqrt(n_layers) if n_layers > 1 else math.nan
        return Slope(float(means.mean()), error, n_layers)


def _two_minus_two_cosines(cosine: Tensor, log_sine: Tensor) -> Tensor:
    """2 - 2 cos, from the sine where the cosine is positive."""
    small = 2 * (2 * log_sine).exp() / (1 + cosine.clamp(min=0))
    return torch.where(cosine > 0, small, 2 - 2 * cosine)
