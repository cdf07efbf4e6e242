r"""Intervals of means over resamples whose training sets overlap.

Accuracies of J resamples of one data set share most of their training rows, so they are not
independent, and the usual standard error :math:`s / \sqrt J` is too small: any difference becomes
significant when there are resamples enough. Nadeau and Bengio estimate the correlation of two of
them by :math:`\rho = n_\text{test} / (n_\text{train} + n_\text{test})`, which gives

.. math::
    \operatorname{Var}(\bar d) = \Bigl(\frac 1 J + \frac{n_\text{test}}{n_\text{train}}\Bigr) s^2,
    \qquad t = \frac{\bar d}{\sqrt{\operatorname{Var}(\bar d)}}

with J - 1 degrees of freedom, and applied to repeated k-fold splits (Bouckaert and Frank) keeps the
stated share of false alarms approximately, not provably.

Source: Nadeau and Bengio 2003, Machine Learning 52, 239-281, doi:10.1023/A:1024068626366;
Bouckaert and Frank 2004, PAKDD, doi:10.1007/978-3-540-24775-3_3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from entangle.errors import InputError

__all__ = ["Interval", "corrected_interval"]


@dataclass(frozen=True)
class Interval:
    """Mean with a confidence interval.

    Attributes
    ----------
    mean
        Of the values.
    low, high
        Ends of the interval; NaN if there is one value only.
    p_value
        Two-sided, for a mean of 0; NaN if there is one value only.
    """

    mean: float
    low: float
    high: float
    p_value: float

    @property
    def sign(self) -> int:
        """1 if all of the interval lies above 0, -1 if below, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def corrected_interval(
    values: ArrayLike,
    test_per_train: float,
    confidence: float = 0.95,
    *,
    resolution: float = 0.0,
) -> Interval:
    """Mean of values of overlapping resamples, with the corrected t interval.

    Parameters
    ----------
    values
        One a resample, shape ``(resamples,)``.
    test_per_train
        Test rows over training rows of a resample: 1 / (k - 1) for k folds; 0 for independent
        values, which gives Student's interval.
    confidence
        Probability that the interval covers the mean.
    resolution
        Step of the values, such as 1 / rows of a share. Rounding to it alone has the variance
        step^2 / 12, and the variance of the values is taken to be no less: equal shares of few
        rows are no proof of an exact difference.

    Raises
    ------
    InputError
        If ``confidence`` is not between 0 and 1, or there are no values.

    Examples
    --------
    >>> found = corrected_interval([1.0, 2.0, 3.0], test_per_train=0.5)
    >>> f"{found.mean:.0f} in [{found.low:.2f}, {found.high:.2f}], p = {found.p_value:.2f}"
    '2 in [-1.93, 5.93], p = 0.16'
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies between 0 and 1, got {confidence!r}; 0.95 is usual")
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise InputError(f"an interval needs one value a resample, got shape {found.shape}")
    mean, number = float(found.mean()), found.size
    if number == 1:
        return Interval(mean, math.nan, math.nan, math.nan)
    variance = max(float(found.var(ddof=1)), resolution**2 / 12)
    error = math.sqrt((1 / number + test_per_train) * variance)
    if error == 0:
        return Interval(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    reach = float(stats.t.ppf((1 + confidence) / 2, number - 1)) * error
    p_value = 2 * float(stats.t.sf(abs(mean) / error, number - 1))
    return Interval(mean, mean - reach, mean + reach, p_value)
