"""What is known of a packet: spreads, their product against its bound, and reasons to doubt it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from entangle.adversarial.options import one_of

__all__ = ["QUANTITIES", "MeanInterval", "UncertaintyRelation"]

SCHEMA = 1
Array = NDArray[np.float64]
QUANTITIES = (
    "sigma_x", "sigma_p", "product", "bound", "covariance", "flux", "residual", "correlation",
    "sigma_x_corr", "sigma_p_corr", "product_corr", "efficiency", "displacement", "mean_p",
)  # fmt: skip


@dataclass(frozen=True)
class MeanInterval:
    """Mean over packets with Student's interval; its ends are NaN for one packet."""

    mean: float
    low: float
    high: float
    n_packets: int


@dataclass(frozen=True, eq=False)
class UncertaintyRelation:
    r"""What :func:`uncertainty_relation` found, for each packet and feature.

    Arrays have shape ``(packets, features)`` unless it is said otherwise; units are those of the
    samples (``sigma_x``) or their inverse (``sigma_p``).

    Attributes
    ----------
    sigma_x, sigma_p
        Standard deviations of inputs and of conjugate gradients.
    product, bound
        ``sigma_x * sigma_p``, and what it cannot fall below: 1/2 with an envelope,
        :math:`|1 - B| / 2` in a box. An estimate can, by noise.
    covariance, correlation
        Of inputs and gradients.
    flux
        B through the faces of a box; 0 with an envelope; NaN in a box of too many features.
    residual
        ``covariance + (1 - flux) / 2``: 0 for every amplitude that has the slope it claims.
    product_corr
        ``1 / (2 |correlation|)``, at least 1/2 by construction; NaN in a box.
    sigma_x_corr, sigma_p_corr
        Both spreads with the noise of a Gaussian envelope taken off, see
        :mod:`entangle.uncertainty.verdict`; the better estimates where the envelope sets most of
        a spread. NaN in other packets.
    efficiency
        ``(bound / product)^2``, with an envelope 1 / (4 product^2): 1 for a Gaussian packet.
    displacement, mean_p
        Mean of rho minus the centre, and mean gradient.
    spectrum
        Eigenvalues of Cov(x) Cov(g), rising; with an envelope at least 1/4, by estimates biased
        low for few effective draws. ``None`` for more than 32 features.
    errors
        Standard errors by quantity (block jackknife); of quadrature the change from a grid of
        half as many panels. With a few hundred effective draws 95 % intervals cover about 90 %.
    ess
        Effective draws, shape ``(packets,)``; infinite for quadrature.
    valid, reasons
        Whether a packet may be believed, shape ``(packets,)``, and a sentence if not.
    labels
        Class numbers, shape ``(packets,)``; -1 for a bare amplitude.
    packet, method, layer
        Names.
    tau, bounds, features
        Of the envelope and of the box, one a feature; flat indices of the features that vary.
    shape
        Of a sample, or of the layer's output.
    draws, confidence
        Nodes a packet; probability of the intervals.
    """

    sigma_x: Array
    sigma_p: Array
    product: Array
    bound: Array
    covariance: Array
    correlation: Array
    flux: Array
    residual: Array
    product_corr: Array
    sigma_x_corr: Array
    sigma_p_corr: Array
    efficiency: Array
    displacement: Array
    mean_p: Array
    spectrum: Array | None
    errors: Mapping[str, Array]
    ess: Array
    valid: NDArray[np.bool_]
    reasons: tuple[str, ...]
    labels: NDArray[np.int64]
    packet: str
    method: str
    layer: str | None
    tau: Array | None
    bounds: tuple[Array, Array] | None
    features: NDArray[np.int64] | None
    shape: tuple[int, ...]
    draws: int
    degrees: int
    confidence: float

    def interval(self, quantity: str) -> tuple[Array, Array]:
        """Return the ends of a quantity's interval over the draws, by packet and feature."""
        one_of("quantity", quantity, QUANTITIES)
        value, reach = getattr(self, quantity), self.errors[quantity]
        if self.method == "monte-carlo":
            reach = reach * float(stats.t.ppf((1 + self.confidence) / 2, self.degrees))
        return value - reach, value + reach

    def mean(self, quantity: str, label: int | None = None) -> MeanInterval:
        """Mean over features and valid packets, all or of one label, for samples drawn anew."""
        one_of("quantity", quantity, QUANTITIES)
        chosen = self.valid if label is None else self.valid & (self.labels == label)
        values = getattr(self, quantity)[chosen].mean(1)
        if not len(values):
            return MeanInterval(math.nan, math.nan, math.nan, 0)
        if len(values) == 1:
            return MeanInterval(float(values[0]), math.nan, math.nan, 1)
        quantile = float(stats.t.ppf((1 + self.confidence) / 2, len(values) - 1))
        reach = quantile * float(values.std(ddof=1)) / math.sqrt(len(values))
        middle = float(values.mean())
        return MeanInterval(middle, middle - reach, middle + reach, len(values))

    def map(self, quantity: str, label: int | None = None) -> Array:
        """Mean over valid packets, all or of one label, in the shape of a sample.

        NaN where a feature does not vary, and everywhere if no packet is valid.
        """
        one_of("quantity", quantity, QUANTITIES)
        chosen = self.valid if label is None else self.valid & (self.labels == label)
        found = np.full(math.prod(self.shape), np.nan)
        if chosen.any():
            index = slice(None) if self.features is None else self.features
            found[index] = getattr(self, quantity)[chosen].mean(0)
        return found.reshape(self.shape)

    def by_class(self, quantity: str) -> dict[int, Array]:
        """:meth:`map` of every label."""
        return {int(label): self.map(quantity, int(label)) for label in np.unique(self.labels)}

    @property
    def n_refused(self) -> int:
        """Packets that may not be believed."""
        return int((~self.valid).sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: means over valid packets, and how they were found."""
        names = ("sigma_x", "sigma_p", "product", "bound", "efficiency", "product_corr")
        means = {name: self.mean(name) for name in names}
        spectrum = None if self.spectrum is None else self.spectrum[self.valid]
        lowest = _plain(float(spectrum.min())) if spectrum is not None and spectrum.size else None
        return {
            "schema": SCHEMA,
            "packet": self.packet,
            "method": self.method,
            "layer": self.layer,
            "tau": None if self.tau is None else _range(self.tau),
            "bounds": None if self.bounds is None else [_range(side) for side in self.bounds],
            "draws": self.draws,
            "confidence": self.confidence,
            "n_packets": len(self.valid),
            "n_refused": self.n_refused,
            "reasons": sorted({reason for reason in self.reasons if reason}),
            "ess_median": _plain(float(np.median(self.ess))),
            "lowest_eigenvalue": lowest,
            **{
                name: {
                    "mean": _plain(found.mean),
                    "low": _plain(found.low),
                    "high": _plain(found.high),
                }
                for name, found in means.items()
            },
        }

    def to_text(self) -> str:
        """Three lines: spreads, product against bound, and what was refused."""
        where = f" at {self.layer}" if self.layer else ""
        width = "" if self.tau is None else f", tau {_words(self.tau)}"
        lines = [
            f"{self.packet} packet{where}{width}, {len(self.valid)} packets, {self.method}",
            f"sigma_x {_shown(self.mean('sigma_x'))}, sigma_p {_shown(self.mean('sigma_p'))}",
            f"product {_shown(self.mean('product'))}, bound {self.mean('bound').mean:.4g}",
        ]
        if self.n_refused:
            first = next(reason for reason in self.reasons if reason)
            lines.append(f"refused: {self.n_refused} of {len(self.valid)} packets; {first}")
        return "\n".join(lines) + "\n"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _range(values: Array) -> float | list[float]:
    """One number if all are equal, else all of them."""
    return float(values[0]) if (values == values[0]).all() else values.tolist()


def _words(values: Array) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _shown(found: MeanInterval) -> str:
    if math.isnan(found.low):
        return f"{found.mean:.4g}"
    return f"{found.mean:.4g} ({found.low:.4g} to {found.high:.4g})"
