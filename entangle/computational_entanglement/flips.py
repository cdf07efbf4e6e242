r"""Do samples that collapse flip first: a rank correlation with its interval.

Spearman's coefficient with the interval of Bonett and Wright,

.. math:: \tanh\Bigl(\operatorname{artanh} r \pm z \sqrt{\frac{1 + r^2 / 2}{m - 3}}\Bigr),

which keeps its coverage where Fisher's is too short. Ties, as samples that no attack flipped
(infinite), get their mean rank; with many of them the interval is approximate.

Source: Bonett and Wright 2000, Psychometrika 65, 23-28, doi:10.1007/BF02294183. The question is
that of arXiv:2309.15669; its code attacks no classifier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from entangle.errors import InputError

__all__ = ["RankCorrelation", "flip_correlation"]


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's coefficient.

    Attributes
    ----------
    coefficient
        From -1 to 1.
    low, high
        Ends of the interval.
    p_value
        Two-sided, for no association.
    n_samples
        Pairs of values.
    """

    coefficient: float
    low: float
    high: float
    p_value: float
    n_samples: int

    def to_text(self) -> str:
        """One line."""
        verdict = "no order can be told"
        if self.low > 0:
            verdict = "samples that collapse more flip sooner"
        if self.high < 0:
            verdict = "samples that collapse more flip later"
        return (
            f"rank correlation {self.coefficient:+.2f} ({self.low:+.2f} to {self.high:+.2f}) over "
            f"{self.n_samples} samples: {verdict}"
        )


def flip_correlation(
    log_contraction: ArrayLike, epsilon: ArrayLike, confidence: float = 0.95
) -> RankCorrelation:
    """Rank correlation of how far pairs stay apart with what it takes to flip them.

    Parameters
    ----------
    log_contraction
        One a sample, low where it collapses: ``Paths.log_contraction``, or the logarithm of the
        second over the first singular value.
    epsilon
        Smallest perturbation that changes the prediction of the sample, by any attack and norm;
        infinite where none was found.
    confidence
        Probability that the interval covers the coefficient.

    Returns
    -------
    RankCorrelation
        Positive if samples that collapse flip first.

    Raises
    ------
    InputError
        If shapes differ, there are fewer than 4 samples, a value is NaN, or all are equal.

    Examples
    --------
    >>> flip_correlation([-3.0, -2.0, -1.0, 0.0, 1.0], [0.1, 0.2, 0.3, 0.5, 0.4]).to_text()
    'rank correlation +0.90 (-0.17 to +1.00) over 5 samples: no order can be told'
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (log_contraction, epsilon))
    if a.ndim != 1 or a.shape != b.shape or a.size < 4:
        raise InputError(
            f"one value of each a sample, at least 4 samples, got shapes {a.shape} and {b.shape}"
        )
    if np.isnan(a).any() or np.isnan(b).any():
        raise InputError("values must not be NaN; drop those samples, or use infinity for no flip")
    if (a == a[0]).all() or (b == b[0]).all():
        raise InputError("all values of one kind are equal, so they have no order")
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies between 0 and 1, got {confidence!r}; 0.95 is usual")
    r = float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])
    r = min(max(r, -1.0), 1.0)
    reach = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt((1 + r**2 / 2) / (a.size - 3))
    centre = math.atanh(min(max(r, -1 + 1e-15), 1 - 1e-15))
    t = abs(r) * math.sqrt((a.size - 2) / max(1 - r**2, 1e-300))
    p_value = 2 * float(stats.t.sf(t, a.size - 2))
    return RankCorrelation(r, math.tanh(centre - reach), math.tanh(centre + reach), p_value, a.size)
