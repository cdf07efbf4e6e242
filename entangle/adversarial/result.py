"""What an evaluation found: a falling curve, a sample for every claim, and reasons to doubt it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from entangle.adversarial.masking import MaskingReport

__all__ = ["RobustnessCurve", "binomial_interval"]

SCHEMA = 1


def binomial_interval(hits: int, total: int, confidence: float) -> tuple[float, float]:
    """Bound a share by the interval of Clopper and Pearson.

    It covers the true share with at least the stated probability, however few the samples.

    Examples
    --------
    >>> low, high = binomial_interval(0, 10, 0.95)
    >>> f"{low:.3f} {high:.3f}"
    '0.000 0.308'
    """
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(stats.beta.ppf(tail, hits, total - hits + 1))
    high = 1.0 if hits == total else float(stats.beta.ppf(1 - tail, hits + 1, total - hits))
    return low, high


@dataclass(frozen=True, eq=False)
class RobustnessCurve:
    """What :func:`robustness_curve` found.

    Attributes
    ----------
    epsilons
        Radii, from small to large, shape ``(epsilons,)``.
    accuracy
        Share of samples that no attack fooled within each radius; an upper bound of what the
        best attack would leave. At radius 0: the clean accuracy.
    low, high
        Ends of its interval for samples drawn anew (Clopper and Pearson).
    confidence
        Of the intervals.
    distance
        Distance of the nearest adversarial sample that was found, shape ``(samples,)``: an upper
        bound of the least perturbation; 0 if misclassified as given, infinite if none was found.
    adversarial
        That sample, shape ``(samples, *sample)``, single precision; where there is none, the
        sample as given.
    first
        Index of the smallest radius within which a sample is misclassified; the number of radii
        if there is none; shape ``(samples,)``.
    found_by
        Name of the attack that found it; ``"clean"`` if none was needed; ``None`` if none was.
    norm, attacks
        Of the perturbations; names in the order in which they ran.
    seconds
        Wall time.
    n_refused
        Samples that an attack reported and that were not adversarial when tested anew.
    masking
        Signs that the accuracy is overstated.
    notes
        What was left out or changed, one sentence each.
    """

    epsilons: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    confidence: float
    distance: NDArray[np.float64]
    adversarial: NDArray[np.float32]
    first: NDArray[np.int64]
    found_by: tuple[str | None, ...]
    norm: str
    attacks: tuple[str, ...]
    seconds: float
    n_refused: int
    masking: MaskingReport
    notes: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to doubt the accuracy, each with its number and a repair."""
        return (*self.notes, *self.masking.warnings)

    def examples(self, eps: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows of the samples fooled within a radius, and what fools them.

        Parameters
        ----------
        eps
            One of ``epsilons``. Samples that are misclassified as given are among them.
        """
        place = int(np.argmin(np.abs(self.epsilons - eps)))
        rows = np.flatnonzero(self.first <= place)
        return rows, self.adversarial[rows]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the samples; distances that are infinite are null."""
        return {
            "schema": SCHEMA,
            "norm": self.norm,
            "epsilons": self.epsilons.tolist(),
            "accuracy": self.accuracy.tolist(),
            "accuracy_low": self.low.tolist(),
            "accuracy_high": self.high.tolist(),
            "confidence": self.confidence,
            "n_samples": len(self.distance),
            "distance": [d if math.isfinite(d) else None for d in self.distance.tolist()],
            "found_by": list(self.found_by),
            "attacks": list(self.attacks),
            "seconds": self.seconds,
            "n_refused": self.n_refused,
            "masking": [finding.to_dict() for finding in self.masking.findings],
            "masking_samples": self.masking.n_samples,
            "warnings": list(self.warnings),
        }

    def to_text(self) -> str:
        """Table of accuracies, then warnings."""
        noun = "sample" if len(self.distance) == 1 else "samples"
        lines = [
            f"{self.norm}, {len(self.distance)} {noun}, attacks: {', '.join(self.attacks)}, "
            f"{self.seconds:.1f} s",
            f"eps       accuracy  {self.confidence:.0%} interval",
        ]
        for row in zip(self.epsilons, self.accuracy, self.low, self.high, strict=True):
            eps, accuracy, low, high = map(float, row)
            lines.append(f"{eps:<9.4g} {accuracy:>7.1%}  {low:.1%} to {high:.1%}")
        found = self.distance[np.isfinite(self.distance)]
        if len(found) * 2 > len(self.distance):
            lines.append(f"median distance found: {np.median(self.distance):.4g}")
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines) + "\n"
