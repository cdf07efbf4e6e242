r"""Quasi-orthogonality: how many pairs of vectors are nearly orthogonal, and how many would be.

Of independent random directions in d dimensions
:math:`\cos^2 \sim \operatorname{Beta}(\tfrac12, \tfrac{d - 1}2)`, so

.. math:: P(|\cos| < \epsilon) = I_{\epsilon^2}\bigl(\tfrac12, \tfrac{d - 1}2\bigr), \qquad
    E \cos^2 = 1/d.

Different pairs are uncorrelated, also those that share a vector, hence a share of n pairs has
the variance p (1 - p) / n. The mean of squares over all ordered pairs, each vector with itself
among them, is the inverse participation ratio of the second moment of the directions.

Source: Kainen and Kurkova 1993, Appl. Math. Lett. 6, 7 (quasi-orthogonality); Cai, Fan, Jiang
2013, JMLR 14, 1837 (angles of random directions); arXiv:2203.16687 (of features of networks).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from entangle.errors import InputError
from entangle.samples import as_sample_matrix

__all__ = ["QuasiOrthogonality", "quasi_orthogonality", "random_share"]

_ROWS = 512  # of cosines at once


@dataclass(frozen=True)
class QuasiOrthogonality:
    """Share of pairs that are nearly orthogonal, beside that of random directions.

    Attributes
    ----------
    threshold
        Largest absolute cosine of a pair that counts, not itself.
    share, expected
        Of the pairs at hand, and of random directions in as many dimensions.
    score
        Their difference in standard errors of the latter; 0 where random pairs all count.
    mean_square
        Of cosines of different vectors; 1 / dimension for random directions.
    n_vectors, dimension
        Shape of the vectors.
    """

    threshold: float
    share: float
    expected: float
    score: float
    mean_square: float
    n_vectors: int
    dimension: int

    @property
    def effective_dimension(self) -> float:
        """Dimension in which random directions have this mean square cosine."""
        return 1 / self.mean_square if self.mean_square else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an infinite dimension is null."""
        size = self.effective_dimension
        return {**vars(self), "effective_dimension": size if math.isfinite(size) else None}


def random_share(threshold: float, dimension: int) -> float:
    """Probability that random directions have an absolute cosine below a threshold.

    Examples
    --------
    >>> round(random_share(0.5, 3), 12)  # a cosine is uniform in three dimensions
    0.5
    """
    return float(stats.beta.cdf(threshold**2, 0.5, (dimension - 1) / 2))


def quasi_orthogonality(vectors: object, threshold: float = 0.1) -> QuasiOrthogonality:
    """Share of pairs of vectors whose absolute cosine is below a threshold.

    Parameters
    ----------
    vectors
        Shape ``(vectors, dimension)``, at least 2 of each: features of samples, or weights of
        units. They are not centred; activations that are never negative have positive cosines,
        and their mean is to be subtracted first if its direction is not the question.
    threshold
        Between 0 and 1.

    Raises
    ------
    InputError
        If they are not finite, one is zero, or the threshold is out of range.

    Examples
    --------
    >>> quasi_orthogonality([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).share == 1 / 3
    True
    """
    if not 0 < threshold < 1:
        raise InputError(f"threshold lies between 0 and 1, got {threshold!r}; 0.1 is usual")
    directions = _directions(as_sample_matrix(vectors))
    number, dimension = directions.shape
    near, squares = 0, 0.0
    for begin in range(0, number, _ROWS):
        cosines = directions[begin : begin + _ROWS] @ directions[begin:].T
        pairs = np.triu(np.ones(cosines.shape, dtype=bool), 1)
        near += int((np.abs(cosines[pairs]) < threshold).sum())
        squares += float(np.square(cosines[pairs]).sum())
    n_pairs = number * (number - 1) // 2
    share, expected = near / n_pairs, random_share(threshold, dimension)
    error = math.sqrt(expected * (1 - expected) / n_pairs)
    score = (share - expected) / error if error else 0.0
    return QuasiOrthogonality(
        threshold, share, expected, score, squares / n_pairs, number, dimension
    )


def _directions(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    if not largest.all():
        raise InputError(
            f"vectors have a direction, {int((largest == 0).sum())} of {len(vectors)} are zero, "
            f"the first in row {int(np.argmin(largest))}; drop them"
        )
    scaled = vectors / largest
    return scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
