r"""Intrinsic dimension of points, from the distances of nearest neighbours.

Where the density hardly varies over the k nearest neighbours of a point, at distances
:math:`r_1 \le \dots \le r_k`, the logarithms :math:`\ln(r_k / r_j)` add up to a gamma variable of
rate d, the dimension. Two estimators:

.. math:: \frac1{\hat d} = \frac{1}{n (k - 1)} \sum_i \sum_{j < k} \ln\frac{r_{ik}}{r_{ij}},
    \qquad -\ln\bigl(1 - F(\mu_i)\bigr) = d \ln \mu_i,\ \mu_i = \frac{r_{i2}}{r_{i1}}

the maximum likelihood of Levina and Bickel, pooled as MacKay and Ghahramani say (the mean of local
inverses, as the mean of local estimates is biased), and TwoNN, a line through the origin fitted to
the smaller ratios. Both are biased low in many dimensions, where neighbours are far and the edge is
near: 20 dimensions read as 15 or so from a thousand points.

Source: Levina and Bickel 2004, NIPS 17; MacKay and Ghahramani 2005, comments on it; Facco et al.
2017, Scientific Reports 7, 12140 (TwoNN; discarding a tenth of the ratios).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from entangle.adversarial.options import one_of
from entangle.errors import InputError
from entangle.samples import as_sample_matrix
from entangle.training import require_count

__all__ = ["IntrinsicDimension", "intrinsic_dimension"]

PREFIX = "skdim:"
METHODS = ("two-nn", "mle")
DISCARDED = 0.1  # share of the largest ratios that TwoNN leaves out


@dataclass(frozen=True)
class IntrinsicDimension:
    """Estimate of an intrinsic dimension.

    Attributes
    ----------
    dimension
        Of the manifold near which the points lie.
    standard_error
        Of the noise of distances, as if points were independent, which makes it too small; not
        of the bias. NaN where the method gives none.
    method
        Its name.
    n_points
        Distinct points that were used.
    n_repeated
        Points left out because an equal one is there.
    """

    dimension: float
    standard_error: float
    method: str
    n_points: int
    n_repeated: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is null."""
        error = None if math.isnan(self.standard_error) else self.standard_error
        return {**vars(self), "standard_error": error}


def intrinsic_dimension(
    X: object, method: str = "two-nn", *, n_neighbors: int = 20
) -> IntrinsicDimension:
    """Estimate the intrinsic dimension of points.

    Parameters
    ----------
    X
        Shape ``(points, features)``, such as the features of samples. Equal rows are one point.
    method
        ``"two-nn"`` or ``"mle"``; or ``"skdim:NAME"`` for a global estimator of scikit-dimension
        with its defaults (``pip install "entangle-tn[dimension]"``), such as ``"skdim:DANCo"``.
    n_neighbors
        k of ``"mle"``, at least 3; more neighbours mean less noise and more bias.

    Raises
    ------
    InputError
        If there are too few distinct points, or a method or package is unknown.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> plane = rng.random((500, 2)) @ rng.standard_normal((2, 10))
    >>> round(intrinsic_dimension(plane, "mle").dimension, 1)
    1.9
    """
    if not isinstance(method, str):
        raise InputError(f"method is the name of an estimator, got {method!r}; 'two-nn' is usual")
    require_count("n_neighbors", n_neighbors)
    points = as_sample_matrix(X)
    distinct = np.unique(points, axis=0)
    if method.startswith(PREFIX):
        found = _by_skdim(distinct, method.removeprefix(PREFIX)), math.nan
    else:
        one_of("method", method, METHODS)
        found = _two_nn(distinct) if method == "two-nn" else _mle(distinct, n_neighbors)
    return IntrinsicDimension(*found, method, len(distinct), len(points) - len(distinct))


def _distances(points: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """Distances of the nearest other points, ascending, shape ``(points, number)``."""
    if len(points) < number + 2:
        raise InputError(
            f"{number} neighbours need at least {number + 2} distinct points, got {len(points)}; "
            "pass more, or fewer neighbours"
        )
    points = points - points.mean(axis=0)
    search = NearestNeighbors(n_neighbors=number).fit(points)
    near = search.kneighbors(return_distance=False)  # of the points themselves, each without itself
    # In many dimensions neighbours are found by products, which lose the digits of small distances.
    parts = [np.linalg.norm(points - points[column], axis=1) for column in near.T]
    found = np.sort(np.stack(parts, axis=1), axis=1)
    if not found[:, 0].all():
        raise InputError(
            "some distinct points have distance 0 in double precision; scale the features alike"
        )
    return found


def _two_nn(points: NDArray[np.float64]) -> tuple[float, float]:
    """Slope of -ln(1 - F) over ln mu through the origin, and an error from its likelihood."""
    distances = _distances(points, 2)
    logs = np.sort(np.log(distances[:, 1] / distances[:, 0]))
    number = len(logs)
    kept = logs[: max(2, int(number * (1 - DISCARDED)))]
    heights = -np.log1p(-np.arange(1, len(kept) + 1) / number)
    slope = float(kept @ heights / _positive(float(kept @ kept)))
    return slope, slope / math.sqrt(len(kept))


def _mle(points: NDArray[np.float64], number: int) -> tuple[float, float]:
    """Inverse mean of ln(r_k / r_j), and its error."""
    if number < 3:
        raise InputError(f"n_neighbors is at least 3 for 'mle', got {number}; 20 is usual")
    distances = _distances(points, number)
    logs = np.log(distances[:, -1:] / distances[:, :-1])
    found = 1 / _positive(float(logs.mean()))
    return found, found / math.sqrt(logs.size)


def _positive(spread: float) -> float:
    if not spread > 0:
        raise InputError(
            "all points have neighbours at equal distances, as on a grid, which tells no "
            "dimension; add the noise of the measurement, or pass other points"
        )
    return spread


def _by_skdim(points: NDArray[np.float64], name: str) -> float:
    try:
        module = importlib.import_module("skdim.id")
    except ImportError:
        raise InputError(
            f"method {PREFIX}{name!r} needs scikit-dimension; pip install 'entangle-tn[dimension]'"
        ) from None
    names = [key for key, value in vars(module).items() if isinstance(value, type)]
    estimator: Callable[[], Any] = getattr(module, one_of("method after 'skdim:'", name, names))
    return float(estimator().fit(points).dimension_)
