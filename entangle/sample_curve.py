r"""Curve of an entropy against the number of samples: interval, limit, saturation, noise.

The entropy S(M) of the data tensor of M samples is a plug-in estimate. Where the samples resolve
the spectrum its bias falls like 1/M, as that of any smooth function of a mean. The samples at
hand show both bias and spread: cut them at random into halves and each half into quarters,
measure these as well, and compare. What is linear in the samples drops out of
:math:`\bar S(M/2) - S(M)`, where the bar is a mean over the parts, so that difference is
bias alone.

- Limit of many samples: :math:`2 S(M) - \bar S(M/2)`, which removes the term in 1/M. It is given
  only where quarters, halves and whole follow that law; :math:`\bar S(M/4) - \bar S(M/2)`
  is then twice :math:`\bar S(M/2) - S(M)`.
- Standard error: for independent halves :math:`\operatorname{var} S(M) \approx \langle
  (S_A - S_B)^2 \rangle / 4`, and an eighth of the mean square between quarters.
- Saturation: samples that are orthogonal to each other have S(M) = ln M whatever the data, so an
  entropy that grows with ln M tells the number of samples.
- Noise: where the weights, such as labels, have no visible relation to the features, the tensor
  is a random sum of samples. Its entropy may hardly depend on M and still be that of the noise,
  so neither interval nor limit means anything; the share of the squared norm that is noise
  tells.

Source: bias of plug-in entropies, Miller 1955, in Information Theory in Psychology, 95 (there
negative, for frequencies; here noise fills the tail of the spectrum and the bias is
usually positive). Removing it by halves: Quenouille 1956, Biometrika 43, 353, which is
Richardson's extrapolation (1911, Phil. Trans. R. Soc. A 210, 307) in 1/M. Spread from parts of
the sample: Shao and Wu 1989, Ann. Stat. 17, 1176; Politis and Romano 1994, Ann. Stat. 22, 2031.
The application to data tensors and the rules of what is supported are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["CONFIDENCE", "MOST_NOISE", "SampleCurve"]

CONFIDENCE = 0.95
LAW = 0.5  # departure from the 1/M law that is allowed, as a share of the change from halves
MOST_NOISE = 0.2  # share of the squared norm; quarters hold about four times as much
ALL_NOISE = 0.5  # share of the squared norm from which the entropies are those of the noise
SATURATED_SLOPE = 0.25  # of dS / d ln M, which is 1 for orthogonal samples


@dataclass(frozen=True)
class SampleCurve:
    r"""Mean entropy of some cuts at M samples, at M/2 and at M/4.

    Attributes
    ----------
    whole
        S(M), in nats.
    halves, quarters
        Entropies of the halves and quarters of each random split in nats, shapes
        ``(splits, 2)`` and ``(splits, 4)``; quarters 0 and 1 are those of half 0.
    noise_share
        Share of the squared norm of the tensor that is sampling noise.
    """

    whole: float
    halves: NDArray[np.float64]
    quarters: NDArray[np.float64]
    noise_share: float

    @property
    def entropy(self) -> tuple[float, float, float]:
        """S(M) and the means over halves and quarters, in nats."""
        return self.whole, float(self.halves.mean()), float(self.quarters.mean())

    @property
    def standard_error(self) -> float:
        r"""Standard error of S(M) in nats, from the differences of halves and of quarters.

        Root of the mean of :math:`(S_A - S_B)^2 / 4` over pairs of halves and
        :math:`(S_a - S_b)^2 / 8` over pairs of quarters of one half.
        """
        pairs = [
            (self.halves[:, 0] - self.halves[:, 1]) ** 2 / 4,
            (self.quarters[:, 0] - self.quarters[:, 1]) ** 2 / 8,
            (self.quarters[:, 2] - self.quarters[:, 3]) ** 2 / 8,
        ]
        return float(np.sqrt(np.mean(pairs)))

    @property
    def interval(self) -> tuple[float, float]:
        """Interval of 95 % for the expected entropy *at M samples*, bias included, in nats.

        It means nothing where the curve is saturated or noise.
        """
        return max(0.0, self.whole - self._half_width), self.whole + self._half_width

    @property
    def _half_width(self) -> float:
        """Half width of the interval at M: three pairs a split, t distributed as if independent."""
        return _quantile(3 * len(self.halves)) * self.standard_error

    @property
    def change(self) -> float:
        """S(M) less the mean over halves, in nats: what doubling the samples changed."""
        return self.whole - float(self.halves.mean())

    @property
    def ratio(self) -> float:
        """Change from quarters to halves over change from halves to M; 2 for a bias in 1/M.

        1 where the entropy grows like ln M. NaN if nothing changed.
        """
        before = float(self.halves.mean() - self.quarters.mean())
        return before / self.change if self.change else math.nan

    @property
    def slope(self) -> float:
        """Growth dS / d ln M between M/2 and M: 1 for orthogonal samples."""
        return self.change / math.log(2)

    @property
    def departure(self) -> float:
        """Limit from quarters and halves less limit from halves and M; 0 for a bias in 1/M."""
        whole, half, quarter = self.entropy
        return (2 * half - quarter) - (2 * whole - half)

    @property
    def is_saturated(self) -> bool:
        """Whether the number of samples sets the entropy, and the data do not.

        It then grows with ln M by more than a quarter of what it would for orthogonal samples,
        beyond the doubt from the splits.
        """
        doubt = self._doubt(self._changes()) / math.log(2)
        return self.slope - doubt >= SATURATED_SLOPE

    @property
    def is_noise(self) -> bool:
        """Whether at least half of the squared norm of the tensor is sampling noise."""
        return self.noise_share >= ALL_NOISE

    @property
    def is_supported(self) -> bool:
        """Whether whole, halves and quarters follow the law of a bias in 1/M.

        Sampling noise must hold less than a fifth of the squared norm, and the departure from
        the law, with its doubt from the splits, must be small beside the change (the ratio is
        then between 1.5 and 2.5) or beside the interval (the law does not matter then).
        """
        if self.is_saturated or self.noise_share >= MOST_NOISE:
            return False
        worst = abs(self.departure) + self._doubt(self._departures())
        return worst <= max(LAW * abs(self.change), self._half_width)

    @property
    def extrapolated(self) -> float | None:
        """Limit of many samples, 2 S(M) - S(M/2) in nats; ``None`` if not supported."""
        return max(0.0, self.whole + self.change) if self.is_supported else None

    @property
    def extrapolated_interval(self) -> tuple[float, float] | None:
        """Interval of 95 % for the limit of many samples, in nats; ``None`` if not supported.

        The half width is that of the interval at M and the doubt from the splits, in quadrature,
        plus the departure from the law.
        """
        limit = self.extrapolated
        if limit is None:
            return None
        half_width = math.hypot(self._half_width, self._doubt(self._changes()))
        half_width += abs(self.departure)
        return max(0.0, limit - half_width), limit + half_width

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers; entropies in nats."""
        limits = self.extrapolated_interval
        return {
            "entropy_nats": list(self.entropy),
            "standard_error_nats": self.standard_error,
            "interval_nats": list(self.interval),
            "slope": self.slope,
            "saturated": self.is_saturated,
            "supported": self.is_supported,
            "extrapolated_nats": self.extrapolated,
            "extrapolated_interval_nats": None if limits is None else list(limits),
        }

    def _changes(self) -> NDArray[np.float64]:
        """Change from halves to whole, split by split."""
        return self.whole - self.halves.mean(axis=1)

    def _departures(self) -> NDArray[np.float64]:
        """Departure from the law, split by split."""
        return 3 * self.halves.mean(axis=1) - self.quarters.mean(axis=1) - 2 * self.whole

    def _doubt(self, by_split: NDArray[np.float64]) -> float:
        """Half width of 95 % for the mean over all splits, of which these were drawn."""
        n_splits = len(by_split)
        error = float(by_split.std(ddof=1)) / math.sqrt(n_splits)
        return _quantile(n_splits - 1) * error


def _quantile(freedom: int) -> float:
    """Two-sided quantile of Student's t at the confidence of all intervals."""
    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))
