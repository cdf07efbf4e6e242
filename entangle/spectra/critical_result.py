"""What critical perturbations were found: by sample, by size, and their median."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.adversarial.options import one_of
from entangle.spectra.medians import MedianInterval, median_interval

__all__ = ["CriticalPerturbations"]

SCHEMA = 1
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CriticalPerturbations:
    """What :func:`critical_perturbations` found.

    Attributes
    ----------
    attack
        Its name.
    epsilons
        Sizes, from small to large, shape ``(epsilons,)``.
    relative_accuracy
        Share of the samples that were classified correctly as given that are so at each size,
        whatever they were at others; shape ``(epsilons,)``.
    correct
        Whether a sample is classified correctly as given, shape ``(samples,)``.
    crit_eps
        First size of the grid at which a sample is misclassified, shape ``(samples,)``; NaN if it
        is never, or is so as given.
    crit_norm
        L2 length of that perturbation, likewise.
    n_flat
        Correct samples at which the gradient of the loss is exactly 0, so that FGSM and PGD do
        not move.
    confidence
        Of the intervals of medians.
    """

    attack: str
    epsilons: Array
    relative_accuracy: Array
    correct: NDArray[np.bool_]
    crit_eps: Array
    crit_norm: Array
    n_flat: int
    confidence: float

    @property
    def n_correct(self) -> int:
        """Samples that were perturbed."""
        return int(self.correct.sum())

    @property
    def n_never(self) -> int:
        """Of these, those that no size flipped."""
        return int(np.isnan(self.crit_eps[self.correct]).sum())

    def median(self, quantity: str = "crit_norm") -> MedianInterval:
        """Median over the samples that were flipped, as published; too small if some were not."""
        return median_interval(self._values(quantity, drop=True), self.confidence)

    def median_of_all(self, quantity: str = "crit_norm") -> MedianInterval:
        """Median over correct samples; those that were never flipped count as infinite."""
        return median_interval(self._values(quantity, drop=False), self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN and infinity are null."""
        return {
            "schema": SCHEMA,
            "attack": self.attack,
            "epsilons": self.epsilons.tolist(),
            "relative_accuracy": self.relative_accuracy.tolist(),
            "correct": self.correct.tolist(),
            "crit_eps": [_finite(value) for value in self.crit_eps.tolist()],
            "crit_norm": [_finite(value) for value in self.crit_norm.tolist()],
            "n_correct": self.n_correct,
            "n_never": self.n_never,
            "n_flat": self.n_flat,
            "confidence": self.confidence,
            "median_crit_norm": _plain(self.median()),
            "median_crit_norm_of_all": _plain(self.median_of_all()),
        }

    def to_text(self) -> str:
        """Say medians in two lines, and what makes them doubtful."""
        of_all, flipped = self.median_of_all(), self.median()
        lines = [
            f"{self.attack}: {self.n_correct} of {len(self.correct)} samples classified correctly, "
            f"{self.n_never} of them never flipped up to eps {self.epsilons[-1]:.4g}",
            f"median L2 length {flipped.median:.4g} of those flipped "
            f"({self.confidence:.0%} interval {flipped.low:.4g} to {flipped.high:.4g}), "
            f"{of_all.median:.4g} of all",
        ]
        if self.n_flat:
            lines.append(
                f"warning: the gradient is exactly 0 at {self.n_flat} samples, which says nothing "
                "about robustness; see entangle.adversarial"
            )
        return "\n".join(lines) + "\n"

    def _values(self, quantity: str, drop: bool) -> Array:
        one_of("quantity", quantity, ("crit_eps", "crit_norm"))
        values = getattr(self, quantity)[self.correct]
        missing = np.isnan(values)
        return values[~missing] if drop else np.where(missing, math.inf, values)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(found: MedianInterval) -> dict[str, float | None]:
    return {
        "median": _finite(found.median), "low": _finite(found.low), "high": _finite(found.high),
        "n_values": found.n_values,
    }  # fmt: skip
