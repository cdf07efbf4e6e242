r"""Squared length of the k largest of n normal numbers, :math:`A^2`, in closed integrals.

Given the (k + 1)-th largest magnitude t, the k largest are independent normal numbers beyond t, so
that with :math:`X = a^2`

.. math::
    m_t(s) = E[e^{-s X} \mid a > t]
           = \frac{\Phi(-t \sqrt{1 + 2 s})}{\sqrt{1 + 2 s}\, \Phi(-t)},
    \qquad M(s) = E\, e^{-s A^2} = E_t\, m_t(s)^k,

and :math:`2 \Phi(-t)` has a beta distribution with parameters k + 1 and n - k (for n = k there is
no threshold, t = 0). Moments follow from the transform,

.. math:: E \ln A^2 = \int_0^\infty \frac{e^{-s} - M(s)}{s} ds, \qquad
          E A^{-2} = \int_0^\infty M(s) ds.

Both integrals are exact for every n and k; they are evaluated on fixed grids, to about 1e-9.

Source: derived here from the selection rule, checked by simulation; not from the paper.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from entangle.computational_entanglement.selection import check_sizes

__all__ = ["large_k_ratio", "log_gain", "mean_inverse_gain", "sampled_gains", "thresholds"]

QUANTILES = 161  # of the threshold
REACH = 8.5  # standard deviations of a normal number that they span
NODES = 801  # of the integrals over s, on a logarithmic scale


def thresholds(n: int, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values of the (k + 1)-th largest magnitude of n normal numbers, and their weights.

    Returns
    -------
    thresholds, weights
        Shape ``(quantiles,)``; weights sum to 1.

    Raises
    ------
    InputError
        If k is below 2 or above n.
    """
    check_sizes(n, k)
    if n == k:
        return np.zeros(1), np.ones(1)
    z = np.linspace(-REACH, REACH, QUANTILES)
    weights = np.exp(-(z**2) / 2)
    shares = special.betaincinv(k + 1, n - k, special.ndtr(z))
    return -special.ndtri(shares / 2), weights / weights.sum()


def _transform(n: int, k: int, s: NDArray[np.float64]) -> NDArray[np.float64]:
    """M(s), the mean of exp(-s A^2), shape of ``s``."""
    t, weights = thresholds(n, k)
    root = np.sqrt(1 + 2 * s)[:, None]
    log_m = special.log_ndtr(-t * root) - special.log_ndtr(-t) - np.log(root)
    return np.exp(k * log_m) @ weights


def log_gain(n: int, k: int) -> float:
    r"""Mean logarithm :math:`E \ln A^2` of the sum of the k largest of n squared normal numbers.

    Parameters
    ----------
    n, k
        Numbers that are drawn, and kept.

    Raises
    ------
    InputError
        If k is below 2 or above n.

    Examples
    --------
    For n = k it is a chi-squared distribution, with mean :math:`\ln 2 + \psi(k / 2)`:

    >>> bool(abs(log_gain(10, 10) - np.log(2) - special.digamma(5.0)) < 1e-9)
    True
    """
    typical = k * large_k_ratio(n, k)
    log_s = np.linspace(-40.0, 40.0, NODES)
    s = np.exp(log_s)
    values = np.exp(-s) - _transform(n, k, s / typical)
    return float(np.log(typical) + values.sum() * (log_s[1] - log_s[0]))


def mean_inverse_gain(n: int, k: int) -> float:
    r"""Mean :math:`E A^{-2}`; infinite for n = k = 2.

    Parameters
    ----------
    n, k
        Numbers that are drawn, and kept.

    Raises
    ------
    InputError
        If k is below 2 or above n.
    """
    if n == k == 2:
        check_sizes(n, k)
        return np.inf
    typical = k * large_k_ratio(n, k)
    log_s = np.linspace(-40.0, 40.0, NODES)
    s = np.exp(log_s)
    return float((_transform(n, k, s / typical) * s).sum() * (log_s[1] - log_s[0]) / typical)


def large_k_ratio(n: int, k: int) -> float:
    r"""Mean square of the selected numbers where there are many of them.

    .. math:: \mu = 1 + \frac{2 q \varphi(q)}{k / n}, \qquad q = \Phi^{-1}(1 - k / 2n).

    Parameters
    ----------
    n, k
        Numbers that are drawn, and kept.

    Raises
    ------
    InputError
        If k is below 2 or above n.
    """
    check_sizes(n, k)
    q = -special.ndtri(k / (2 * n))
    return float(1 + 2 * q * np.exp(-(q**2) / 2) / np.sqrt(2 * np.pi) * n / k)


def sampled_gains(
    n: int, k: int, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw A^2, k numbers for each: a threshold, then what lies beyond it.

    Parameters
    ----------
    n, k
        Numbers that would be drawn, and that are kept.
    shape
        Of the result.
    rng
        Source of the random numbers.
    """
    check_sizes(n, k)
    if n == k:
        return rng.chisquare(k, shape)
    share = rng.beta(k + 1, n - k, shape)[..., None]
    tails = share * rng.random((*shape, k))
    return (special.ndtri(tails / 2) ** 2).sum(axis=-1)
