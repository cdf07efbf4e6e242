r"""What the selection recursion does, before it is run: rates, branches, depths.

Selection looks at :math:`R \hat w` alone, so what the chosen rows do orthogonally to w is plain
Gaussian, and the cotangent of an angle follows

.. math:: c' = (A c + \xi) / \chi, \qquad \xi \sim N(0, 1), \quad \chi^2 \sim \chi^2_{k-1},

with :math:`A^2` the sum of the k largest of n squared normal numbers, all independent. Its
logarithm grows by :math:`\Lambda` a layer (the gap between the first two Lyapunov exponents of the
matrix product). In reverse, :math:`c_L \prod \chi / A \to c_0 + Z`, where Z given all A and
:math:`\chi` is normal with variance :math:`V = (1 + \chi^2 V') / A^2`: the branch of a pair is the
sign of :math:`c_0 + Z`.

Which formula is used where: :func:`exponent` is exact for every n and k, by integration.
:func:`branch_probability` and :func:`crossing_probability` put
:math:`V \approx 1 / (k (\mu - 1) + 1)`, for large k, unless they are given draws of V from
:func:`noise_variances`, with which they are exact up to the error of sampling.

Source: derived here and checked by simulation; the paper's own theorems were not at hand.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from entangle.computational_entanglement.order_statistics import (
    large_k_ratio,
    log_gain,
    sampled_gains,
)
from entangle.computational_entanglement.selection import check_sizes
from entangle.errors import InputError

__all__ = [
    "branch_probability",
    "crossing_probability",
    "exponent",
    "large_k_exponent",
    "layers_until",
    "noise_variances",
]

FORGOTTEN = 14.0  # exponent at which what lies behind no longer adds to V: 1e-6 in the deviation
STEPS = 2000  # of the recursion of V, at most
DRAWS_AT_ONCE = 2**22


def exponent(n: int, k: int) -> float:
    r"""Entanglement exponent: by how much :math:`\ln \cot\theta` grows in one layer, on average.

    .. math:: \Lambda = \tfrac 1 2 E \ln A^2
              - \tfrac 1 2 \bigl[\ln 2 + \psi(\tfrac{k - 1}{2})\bigr].

    Exact for every n and k. Without selection, n = k, it is the gap of a product of Gaussian
    matrices, :math:`\tfrac 1 2 [\psi(k/2) - \psi((k-1)/2)] \approx 1 / 2k`: deep random linear
    networks collapse, too, only slowly.

    Parameters
    ----------
    n, k
        Rows drawn, and kept.

    Returns
    -------
    float
        Dimensionless, a layer; angles fall like :math:`e^{-\Lambda l}`.

    Raises
    ------
    InputError
        If k is below 2 or above n.

    Examples
    --------
    >>> [round(exponent(*sizes), 3) for sizes in [(10, 2), (20, 10), (300, 4), (200, 50)]]
    [1.468, 0.387, 1.344, 0.547]
    """
    return 0.5 * log_gain(n, k) - 0.5 * (math.log(2) + float(special.digamma((k - 1) / 2)))


def large_k_exponent(n: int, k: int) -> float:
    r"""Exponent for large k, where :math:`A^2 \approx k \mu`: :math:`\tfrac 1 2 \ln \mu`, and 1/2k.

    The sum :math:`A^2` is taken at its mean, all else is as in :func:`exponent`.

    Parameters
    ----------
    n, k
        Rows drawn, and kept.

    Raises
    ------
    InputError
        If k is below 2 or above n.

    Examples
    --------
    >>> round(large_k_exponent(16384, 256), 3)
    1.021
    """
    typical = k * large_k_ratio(n, k)
    return 0.5 * (math.log(typical / 2) - float(special.digamma((k - 1) / 2)))


def noise_variances(n: int, k: int, size: int = 10_000, seed: int = 0) -> NDArray[np.float64]:
    r"""Draw V, the variance of the noise that decides a branch.

    Parameters
    ----------
    n, k
        Rows drawn, and kept.
    size
        Number of draws.
    seed
        Of the draws.

    Returns
    -------
    array
        Shape ``(size,)``.

    Raises
    ------
    InputError
        If the sizes do not fit, or rows are hardly selected, so that more than 2000 layers add to
        the noise.
    """
    rate = exponent(n, k)
    steps = math.ceil(FORGOTTEN / rate)
    if steps > STEPS:
        raise InputError(
            f"with n = {n} and k = {k} the noise of {steps} layers adds up, more than {STEPS}; "
            "draw more rows"
        )
    rng = np.random.default_rng(seed)
    variance = np.zeros(size)
    portion = max(1, DRAWS_AT_ONCE // k)
    for begin in range(0, size, portion):
        part = variance[begin : begin + portion]
        for _ in range(steps):
            gains = sampled_gains(n, k, part.shape, rng)
            part[:] = (1 + rng.chisquare(k - 1, part.shape) * part) / gains
    return variance


def _variances(n: int, k: int, variances: ArrayLike | None) -> NDArray[np.float64]:
    if variances is not None:
        return np.asarray(variances, dtype=np.float64)
    return np.array([1 / (k * (large_k_ratio(n, k) - 1) + 1)])


def branch_probability(
    angle: ArrayLike, n: int, k: int, variances: ArrayLike | None = None
) -> NDArray[np.float64]:
    r"""Probability that a pair ends antiparallel.

    .. math:: P = E_V\, \Phi\bigl(-\cot(\pi\theta_0) / \sqrt V\bigr),
              \qquad V \approx 1 / (k (\mu - 1) + 1).

    Exactly one half for an orthogonal pair.

    Parameters
    ----------
    angle
        At the input, over :math:`\pi`, between 0 and 1, any shape.
    n, k
        Rows drawn, and kept.
    variances
        Draws of V from :func:`noise_variances`, for the law at any k. Default: its value for
        large k.

    Returns
    -------
    array
        Shape of ``angle``.

    Raises
    ------
    InputError
        If an angle is not between 0 and 1, or the sizes do not fit.

    Examples
    --------
    >>> float(branch_probability(0.5, 200, 50))
    0.5
    """
    theta = np.asarray(angle, dtype=np.float64)
    if not ((theta >= 0) & (theta <= 1)).all():
        raise InputError("angles are given over pi, from 0 to 1; divide radians by pi")
    check_sizes(n, k)
    offset = np.pi * (0.5 - theta)
    cotangent = np.sin(offset) / np.maximum(np.cos(offset), 1e-300)
    deviation = np.sqrt(_variances(n, k, variances))
    return special.ndtr(-cotangent[..., None] / deviation).mean(axis=-1)


def crossing_probability(n: int, k: int, variances: ArrayLike | None = None) -> float:
    r"""Share of random pairs that end on the other side of a right angle: the marginal error.

    Samples are Gaussian with k features, so :math:`\cot\theta_0` is a normal number over
    :math:`\chi_{k-1}`, and

    .. math:: P = \tfrac 1 \pi E \arctan\bigl(\chi_{k-1} \sqrt V\bigr)
              \approx \tfrac 1 \pi \arctan \frac 1 {\sqrt{\mu - 1 + 1/k}}.

    Parameters
    ----------
    n, k
        Rows drawn, and kept.
    variances
        Draws of V from :func:`noise_variances`, for the law at any k.

    Raises
    ------
    InputError
        If the sizes do not fit.

    Examples
    --------
    >>> [round(crossing_probability(n, 512), 3) for n in (6000, 8000, 10000)]
    [0.153, 0.145, 0.14]
    """
    if variances is None:
        return math.atan(1 / math.sqrt(large_k_ratio(n, k) - 1 + 1 / k)) / math.pi
    check_sizes(n, k)
    quantiles = (np.arange(400) + 0.5) / 400
    chi = stats.chi.ppf(quantiles, k - 1)
    deviation = np.sqrt(_variances(n, k, variances))
    return float(np.arctan(chi[:, None] * deviation).mean() / math.pi)


def layers_until(cotangent: float, n: int, k: int, share: float = 0.5) -> float:
    r"""Depth at which a share of random pairs has reached a cotangent.

    .. math:: l = \bigl(\ln c - \ln |c_0 + Z|\bigr) / \Lambda

    with :math:`c_0 + Z` normal of variance :math:`1/k + V` for Gaussian samples with k features
    and large k, at the quantile of its magnitude that the share leaves below. What a layer adds at
    random is left out: for large k it is small.

    Parameters
    ----------
    cotangent
        To reach; 100 is entangled by any standard.
    n, k
        Rows drawn, and kept.
    share
        Of pairs, between 0 and 1: one half gives the typical depth.

    Raises
    ------
    InputError
        If the sizes do not fit, or the numbers are not positive.

    Examples
    --------
    The depths that the published scripts use are 10, 100 and 185:

    >>> sizes = [(16384, 256), (3500, 2500), (2700, 2500)]
    >>> [round(layers_until(100.0, *size)) for size in sizes]
    [8, 51, 197]
    """
    if not (cotangent > 0 and 0 < share < 1):
        raise InputError(
            f"a cotangent is positive and a share lies between 0 and 1, got {cotangent!r} and "
            f"{share!r}"
        )
    deviation = math.sqrt(1 / k + float(_variances(n, k, None)[0]))
    start = float(special.ndtri(1 - share / 2)) * deviation
    return max(0.0, math.log(cotangent / start) / exponent(n, k))
