r"""Exponents of spectra that decay like a power of the rank.

:math:`\lambda_n \sim n^{-\alpha}`, fitted as a line to logarithms. A code of d-dimensional stimuli
that is differentiable has :math:`\alpha \ge 1 + 2/d` (Stringer et al. 2019). Two estimators are in
use and do not agree where the curve bends, so a result bears the name of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

from entangle.errors import InputError
from entangle.spectra.eigenvalues import as_eigenvalues

__all__ = ["PowerLaw", "power_law_exponent"]

ESTIMATORS = ("ols", "weighted")


@dataclass(frozen=True)
class PowerLaw:
    r"""A power law fitted to a spectrum, :math:`\ln \lambda_n \approx c - \alpha \ln n`.

    Attributes
    ----------
    alpha
        Minus the slope.
    stderr
        Standard error of the slope if the residuals were independent; those of a spectrum are
        not, so it tells how straight the curve is, and not what another sample would give.
    intercept
        The constant c.
    estimator
        ``"ols"`` or ``"weighted"``.
    ranks
        First and last rank of the fit, from 1.
    """

    alpha: float
    stderr: float
    intercept: float
    estimator: str
    ranks: tuple[int, int]


def power_law_exponent(
    eigenvalues: Any, ranks: tuple[int, int] = (11, 500), estimator: str = "ols"
) -> PowerLaw:
    r"""Fit a line to the logarithm of eigenvalues over that of their ranks.

    .. math:: \min_{\alpha, c} \sum_n w_n (\ln \lambda_n - c + \alpha \ln n)^2

    Parameters
    ----------
    eigenvalues
        Largest first, shape ``(n,)``; their unit does not matter.
    ranks
        First and last rank, from 1, both included; at least 3 of them.
    estimator
        ``"ols"``: equal weights. ``"weighted"``: :math:`w_n = 1/n`.

    Raises
    ------
    InputError
        If eigenvalues in the range are missing or not positive, or options cannot be used.

    Notes
    -----
    Sources: arXiv:2405.00679, whose code fits by equal weights and reports the slope, so with the
    other sign; Stringer et al. 2019, Nature 571, 361, whose MATLAB code has the weights. Their
    Python code takes ranks 12 to 501 for 11 to 500 in the values and the logarithm of eigenvalues
    without their sign; here what is not positive is refused.

    Examples
    --------
    >>> fit = power_law_exponent(np.arange(1.0, 1001.0) ** -1.5)
    >>> round(fit.alpha, 12), fit.estimator, fit.ranks
    (1.5, 'ols', (11, 500))
    """
    values = as_eigenvalues(eigenvalues)
    first, last = _checked(ranks, len(values))
    if estimator not in ESTIMATORS:
        raise InputError(f"estimator is 'ols' or 'weighted', got {estimator!r}")
    chosen = values[first - 1 : last]
    if chosen.min() <= 0:
        rank = first + int(np.argmax(chosen <= 0))
        raise InputError(
            f"eigenvalues must be positive in ranks {first} to {last}, the one of rank {rank} is "
            f"{values[rank - 1]:.3g}; end the ranks before it"
        )
    if chosen[0] < chosen[-1]:
        raise InputError("eigenvalues rise with their rank; pass the largest first")
    n = np.arange(first, last + 1, dtype=np.float64)
    weights = np.ones_like(n) if estimator == "ols" else 1 / n
    x, y = np.log(n), np.log(chosen)
    mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
    spread = weights @ np.square(x - mean_x)
    slope = weights @ ((x - mean_x) * (y - mean_y)) / spread
    residuals = y - mean_y - slope * (x - mean_x)
    stderr = math.sqrt(weights @ np.square(residuals) / (len(n) - 2) / spread)
    return PowerLaw(float(-slope), stderr, float(mean_y - slope * mean_x), estimator, (first, last))


def _checked(ranks: Any, n_values: int) -> tuple[int, int]:
    try:
        first, last = map(index, ranks)
    except (TypeError, ValueError) as reason:
        raise InputError(
            f"ranks are a first and a last one, whole numbers, got {ranks!r}"
        ) from reason
    if first < 1 or last < first + 2:
        raise InputError(
            f"ranks count from 1 and hold at least 3, both ends included, got {first} to {last}"
        )
    if last > n_values:
        raise InputError(
            f"ranks end at {last}, there are {n_values} eigenvalues; pass ranks=({first}, "
            f"{n_values}) or more eigenvalues"
        )
    return first, last
