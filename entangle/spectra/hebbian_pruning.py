r"""Units that never won keep the variance of their first weights: find and remove them.

The logarithms of the variances of units' weights are fitted with mixtures of 1, 2, ... Gaussians,
as many as a likelihood-ratio test asks for. Units beyond the middle between the two largest means
are those whose variance did not shrink.

Source: arXiv:2405.00679, its published code (holzhauk/LocalLearning, ``StatisticGardener``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from sklearn import config_context
from sklearn.mixture import GaussianMixture
from torch import Tensor

from entangle.errors import InputError
from entangle.spectra.hebbian_layer import LocalHebbianLayer

__all__ = ["PUBLISHED", "Pruning", "VarianceMixture", "fit_variances", "prune_units"]

PUBLISHED: dict[str, Any] = {  # for 3072 features, R = 1, p = 3
    "window": (-9.0, -3.0),
    "means": (-7.1, -8.5, -6.5, -6.0),
    "max_parts": 4,
}
SIGNIFICANCE = 0.01
N_PARAMETERS = 3  # that a further Gaussian adds: mean, variance, weight


@dataclass(frozen=True, eq=False)
class VarianceMixture:
    """Mixture of Gaussians fitted to the logarithms of variances.

    Attributes
    ----------
    means
        Of its parts, ascending, shape ``(parts,)``.
    p_values
        Of the tests for one part more, from 1 against 2; the last is that at which it ended,
        unless there were no more parts to try.
    cutoff
        Middle between the two largest means; infinite where there is one part.
    """

    means: NDArray[np.float64]
    p_values: tuple[float, ...]
    cutoff: float


@dataclass(frozen=True, eq=False)
class Pruning:
    """Which units were removed, and why.

    Attributes
    ----------
    log_variances
        Logarithm of the variance of each unit's weights, shape ``(units,)``; minus infinity:
        it was constant.
    mixture
        What was fitted to those within the window.
    pruned
        Whether each unit was removed, shape ``(units,)``.
    """

    log_variances: NDArray[np.float64]
    mixture: VarianceMixture
    pruned: NDArray[np.bool_]


def fit_variances(
    values: NDArray[np.float64],
    means: Sequence[float] | None = None,
    max_parts: int = 2,
    significance: float = SIGNIFICANCE,
) -> VarianceMixture:
    r"""Fit mixtures of Gaussians, one part more as long as the likelihood asks for it.

    The statistic :math:`-2 (\ln L_c - \ln L_{c+1})` is held against :math:`\chi^2_3`.

    Parameters
    ----------
    values
        Shape ``(values,)``, finite; at least 2.
    means
        First guesses of the means, as many as ``max_parts``. ``None``: by k-means.
    max_parts
        Gaussians at most.
    significance
        p-value below which one part more is taken.

    Raises
    ------
    InputError
        If there are too few values or first guesses.

    Notes
    -----
    A Gaussian of weight 0 lies at the boundary of its parameters, so :math:`\chi^2_3` is not the
    distribution of the statistic under the hypothesis; p-values are those of the source, no more.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise InputError(
            f"a mixture is fitted to at least 2 finite values, got shape {values.shape}; widen "
            "the window"
        )
    if means is not None and len(means) < max_parts:
        raise InputError(f"means are {max_parts} numbers or None, got {len(means)}")
    fits, p_values = [_fit(values, 1, means)], []
    while len(fits) < min(max_parts, len(values)):
        fits.append(_fit(values, len(fits) + 1, means))
        gain = 2 * len(values) * (fits[-1].score(values[:, None]) - fits[-2].score(values[:, None]))
        p_values.append(float(chi2.sf(gain, N_PARAMETERS)))
        if p_values[-1] >= significance:
            fits.pop()
            break
    found = np.sort(np.asarray(fits[-1].means_).ravel())
    cutoff = float(found[-2:].mean()) if len(found) > 1 else np.inf
    return VarianceMixture(found, tuple(p_values), cutoff)


@torch.no_grad()
def prune_units(
    layer: LocalHebbianLayer,
    window: tuple[float, float] | None = None,
    means: Sequence[float] | None = None,
    max_parts: int = 2,
) -> Pruning:
    r"""Set the weights of units to 0 whose variance is too large, in place.

    Unit :math:`\mu` is removed where :math:`\operatorname{Var}_i W_{\mu i} \ge e^c`, with the
    cutoff c of :func:`fit_variances` on the logarithms of variances.

    Parameters
    ----------
    layer
        Learned.
    window
        Logarithms strictly between these are fitted; units beyond are removed or kept by the same
        cutoff. ``None``: all are fitted.
    means, max_parts
        First guesses and Gaussians at most, as for :func:`fit_variances`.

    Returns
    -------
    Pruning
        With one part nothing is removed.

    Raises
    ------
    InputError
        If fewer than 2 units are within the window.

    Notes
    -----
    The published options are :data:`PUBLISHED`. They are for 3072 features: variances of converged
    units fall as :math:`d^{-2/p}` with their number d. Three things keep them from being the
    defaults: first weights, of variance 1, lie above the window; first guesses that all lie
    below a group do not find it; and where units that never won fill two parts of three or
    more, the cutoff lies among them and spares some.
    """
    variances = layer.weight.double().var(1, correction=1).cpu().numpy()
    with np.errstate(divide="ignore"):
        logs = np.log(variances)
    inside = np.isfinite(logs)
    if window is not None:
        inside &= (logs > window[0]) & (logs < window[1])
    if inside.sum() < 2:
        raise InputError(
            f"{inside.sum()} of {len(logs)} units have a logarithm of the variance within "
            f"{window}, a mixture needs 2; pass window=None and means=None"
        )
    mixture = fit_variances(logs[inside], means, max_parts)
    pruned = logs >= mixture.cutoff
    layer.weight[_mask(pruned, layer.weight)] = 0
    return Pruning(logs, mixture, pruned)


def _fit(
    values: NDArray[np.float64], n_parts: int, means: Sequence[float] | None
) -> GaussianMixture:
    first = None if means is None else np.array(means[:n_parts], dtype=float)[:, None]
    mixture = GaussianMixture(n_parts, means_init=first, random_state=0, max_iter=2000)
    with config_context(array_api_dispatch=False):  # k-means knows numpy alone
        return mixture.fit(values[:, None])


def _mask(rows: NDArray[np.bool_], like: Tensor) -> Tensor:
    return torch.from_numpy(rows).to(like.device)
