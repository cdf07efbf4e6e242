r"""From sums over nodes to the relation, its errors, and whether it may be believed.

Integration by parts fixes the covariance of inputs and gradients,

.. math:: c_i = -\tfrac12 (1 - B_i),

for every amplitude with a square-integrable slope. So the residual :math:`c_i + (1 - B_i) / 2` is 0
within its error, or the slope is not that of the amplitude (a step, a quantised input), or the
nodes do not see the packet. Cauchy and Schwarz then give :math:`\sigma_{x i} \sigma_{p i} \ge
|1 - B_i| / 2`, and with :math:`r_i` the correlation, :math:`\sigma_{x i} \sigma_{p i} = |c_i| /
|r_i|`.

In a Gaussian packet the residual :math:`\varepsilon_i` also takes the noise of the envelope off,

.. math:: \sigma_{x i}^2 + 2 \tau_i^2 \varepsilon_i, \qquad
    \sigma_{p i}^2 + \varepsilon_i / (2 \tau_i^2),

which have the same expectation in the limit, and no variance at all where the loss is constant. In
hundreds of features, where the envelope sets most of both spreads, nothing else shows what the loss
adds.

Standard errors are estimates too: of skewed weights they come out too small now and then, just
where the covariance is off. For the verdict they are taken no smaller than those of a Gaussian
packet with as many effective draws, :math:`1 / \sqrt{2 n_\text{eff}}`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from entangle.uncertainty.amplitudes import Amplitude
from entangle.uncertainty.choice import Chosen
from entangle.uncertainty.estimation import Plan, sums_of
from entangle.uncertainty.moments import Moments, Sums
from entangle.uncertainty.packets import BoxPacket, GaussianPacket
from entangle.uncertainty.result import QUANTITIES, UncertaintyRelation

__all__ = ["Report", "relation_of"]

FALSE_ALARM = 1e-3  # of the residuals of a packet, all features together
GRID_RESIDUAL = 1e-3  # of quadrature, that counts as 0


@dataclass(frozen=True)
class Report:
    """What the result says besides numbers."""

    packet: str
    layer: str | None
    confidence: float
    min_ess: float


def relation_of(
    amplitude: Amplitude, chosen: Chosen, plan: Plan, report: Report
) -> UncertaintyRelation:
    """Integrate all packets and judge them."""
    packet, frame = chosen.packet, chosen.frame
    sums = sums_of(amplitude, packet, frame, plan)
    widths = packet.widths(torch.arange(len(frame.origins), device=frame.origins.device))
    total = sums.merged()
    tau = chosen.tau if isinstance(packet, GaussianPacket) else None
    values = _quantities(total, widths, tau)
    n_features = values["product"].shape[1]
    if plan.quadrature:
        coarse = sums_of(amplitude, packet, frame, plan.halved(n_features)).merged()
        other = _quantities(coarse, widths, tau)
        errors = {name: (values[name] - other[name]).abs() for name in QUANTITIES}
        degrees, draws = 0, sums.n_nodes
        ess = torch.full_like(total.weight, torch.inf)
    else:
        errors, degrees = _jackknife(sums, widths, tau), sums.shift.shape[1] - 1
        ess, draws = sums.effective_nodes(), sums.n_nodes
    reasons = _reasons(values["residual"], errors["residual"], ess, degrees, report.min_ess)
    spectrum = total.spectrum()
    arrays: dict[str, Any] = {name: _array(values[name]) for name in QUANTITIES}
    return UncertaintyRelation(
        **arrays,
        spectrum=None if spectrum is None else _array(spectrum),
        errors={name: _array(error) for name, error in errors.items()},
        ess=_array(ess),
        valid=np.array([not reason for reason in reasons]),
        reasons=reasons,
        labels=_labels(chosen),
        packet=report.packet,
        method="quadrature" if plan.quadrature else "monte-carlo",
        layer=report.layer,
        tau=None if chosen.tau is None else _array(chosen.tau),
        bounds=(_array(packet.low), _array(packet.high)) if isinstance(packet, BoxPacket) else None,
        features=None if frame.features is None else frame.features.cpu().numpy(),
        shape=tuple(frame.origins.shape[1:]),
        draws=draws,
        degrees=degrees,
        confidence=report.confidence,
    )


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()


def _labels(chosen: Chosen) -> NDArray[np.int64]:
    if chosen.labels is None:
        return np.full(len(chosen.frame.origins), -1, dtype=np.int64)
    return chosen.labels.cpu().numpy()


def _quantities(
    found: Moments, widths: tuple[Tensor, Tensor] | None, tau: Tensor | None
) -> dict[str, Tensor]:
    """Every quantity, shape ``(..., features)``."""
    sigma_x, sigma_p = found.variance_x.sqrt(), found.variance_p.sqrt()
    product, covariance = sigma_x * sigma_p, found.covariance
    flux = found.flux(widths)
    bound = (1 - flux).abs() / 2
    correlation = covariance / product
    corrected, unknown = 0.5 / correlation.abs(), torch.full_like(correlation, torch.nan)
    residual = covariance + (1 - flux) / 2
    narrow = wide = unknown
    if tau is not None:
        narrow = (found.variance_x + 2 * tau.square() * residual).clamp_min(0.0).sqrt()
        wide = (found.variance_p + residual / (2 * tau.square())).clamp_min(0.0).sqrt()
    return {
        "sigma_x": sigma_x,
        "sigma_p": sigma_p,
        "product": product,
        "bound": bound,
        "covariance": covariance,
        "flux": flux,
        "residual": residual,
        "correlation": correlation,
        "sigma_x_corr": narrow,
        "sigma_p_corr": wide,
        "product_corr": corrected if widths is None else unknown,
        "efficiency": (bound / product).square(),
        "displacement": found.mean_x,
        "mean_p": found.mean_p,
    }


def _jackknife(
    sums: Sums, widths: tuple[Tensor, Tensor] | None, tau: Tensor | None
) -> dict[str, Tensor]:
    """Find standard errors from leaving out one block at a time, shape ``(packets, features)``."""
    number = sums.shift.shape[1]
    errors: dict[str, list[Tensor]] = {name: [] for name in QUANTITIES}
    for row in range(sums.shift.shape[0]):
        sides = None if widths is None else (widths[0][row], widths[1][row])
        left = _quantities(sums.packet(row).without_each(), sides, tau)
        for name, values in left.items():
            spread = (values[0] - values[0].mean(0)).square().mean(0) * (number - 1)
            errors[name].append(spread.sqrt())
    return {name: torch.stack(parts) for name, parts in errors.items()}


def _reasons(
    residual: Tensor, error: Tensor, ess: Tensor, degrees: int, min_ess: float
) -> tuple[str, ...]:
    """Why each packet may not be believed; empty where it may."""
    n_features = residual.shape[1]
    if degrees:
        quantile = float(stats.t.isf(FALSE_ALARM / (2 * n_features), degrees))
        reach = quantile * torch.maximum(error, (0.5 / ess).sqrt()[:, None])
    else:
        reach = error.clamp_min(GRID_RESIDUAL)
    off = residual.abs() - reach
    unknown, worst = torch.isnan(residual).any(1), off.nan_to_num(-math.inf).amax(1)
    place = off.nan_to_num(-math.inf).argmax(1)
    rows = zip(ess.tolist(), unknown.tolist(), worst.tolist(), place.tolist(), strict=True)
    found = []
    for row, (effective, nothing, beyond, feature) in enumerate(rows):
        if not effective >= min_ess:
            found.append(
                f"{effective:.0f} effective draws, at least {min_ess:g} are needed; take more "
                "draws, a smaller tau, or fewer features"
            )
        elif nothing:
            found.append(
                "the flux through the faces of the box is not measured in so many features; use "
                "packet='gaussian', or choose a few by features=[...]"
            )
        elif beyond > 0:
            found.append(
                f"the covariance misses its exact value by {float(residual[row, feature]):+.3f} in "
                f"feature {feature}, more than its error allows; the loss has steps, a gradient "
                "that is not its own, or a packet that the draws do not see"
            )
        else:
            found.append("")
    return tuple(found)
