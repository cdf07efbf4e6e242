r"""Median with the interval that a bootstrap of infinitely many resamples gives.

The r-th smallest of n values drawn with replacement from :math:`x_{(1)} \le \dots \le x_{(n)}` is
at most :math:`x_{(k)}` if at least r of the draws are, which has the binomial probability
:math:`P(\operatorname{Bin}(n, k/n) \ge r)`. So nothing has to be drawn.

Source: Efron 1979, Annals of Statistics 7, 1 (section 3); Maritz and Jarrett 1978, JASA 73, 194.
Deviation: of an even number of values, whose median is the mean of two, the ends are those of the
lower and of the upper one, an interval that is slightly too long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["MedianInterval", "median_interval"]


@dataclass(frozen=True)
class MedianInterval:
    """Median of values, with the percentile interval of its bootstrap; NaN of no values."""

    median: float
    low: float
    high: float
    n_values: int


def median_interval(values: NDArray[np.float64], confidence: float = 0.95) -> MedianInterval:
    """Median of values, shape ``(values,)``, none of them NaN; they may be infinite.

    Examples
    --------
    >>> import numpy as np
    >>> median_interval(np.arange(1.0, 100.0))
    MedianInterval(median=50.0, low=40.0, high=60.0, n_values=99)
    """
    ranked, number = np.sort(values), len(values)
    if not number:
        return MedianInterval(math.nan, math.nan, math.nan, 0)
    lower, upper = (number + 1) // 2, number // 2 + 1  # ranks, from 1
    shares = np.arange(1, number + 1) / number
    tail = (1 - confidence) / 2
    low = ranked[np.argmax(stats.binom.sf(lower - 1, number, shares) >= tail)]
    high = ranked[np.argmax(stats.binom.sf(upper - 1, number, shares) >= 1 - tail)]
    first, second = ranked[lower - 1], ranked[upper - 1]
    middle = first if first == second else (first + second) / 2
    return MedianInterval(float(middle), float(low), float(high), number)
