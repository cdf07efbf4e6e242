r"""Affinity of features: one weight per pair, by which an order is found.

Correlation is the published weight. Two others follow from the entropy itself. Let a local
vector be :math:`(\cos \alpha x, \sin \alpha x)` with a small angle :math:`\alpha = \pi \theta`.
Rotated so that the mean of x points along its first axis it is :math:`(1, \alpha (x - \bar x))`
to lowest order. Averaged over the samples, one excitation cancels, and the state with i in A and
j in B excited has coefficient :math:`\alpha^2 \operatorname{cov}_{ij}`; excitations within one
side only tilt the leading vector. With C the block of covariances between A and B, the Schmidt
weights but the first sum to

.. math:: \varepsilon = \alpha^4 \sum_{i \in A, j \in B} \operatorname{cov}_{ij}^2
    + O(\alpha^6), \qquad S = \varepsilon (1 - \ln \varepsilon + h),

h being the entropy of the normalised squared singular values of C: the weight to sever little
of is the **squared covariance**.

Two classes weighted to cancel have no order zero; order one leaves the differences
:math:`d_i` of class means: :math:`|D\rangle \propto a |A\rangle |0\rangle + b |0\rangle |B\rangle`
with :math:`a^2 = \sum_A d_i^2` and :math:`b^2 = \sum_B d_j^2`. The entropy is that of
:math:`p = a^2 / (a^2 + b^2)` and :math:`1 - p`, and falls with :math:`p (1 - p)`. No order
changes :math:`a^2 + b^2`, so what to lower is :math:`a^2 b^2 = \sum_{i \in A, j \in B}
(d_i d_j)^2`: the weight is the **squared product of class-mean differences**. A quantity with
mean zero as weight leaves its covariances with the features in place of d. More classes have a
label axis and keep order zero; a vector of class means per feature then serves by analogy: it
puts features together that tell the same classes apart.

Source: Alexander et al. 2023, arXiv:2303.11249 (correlation). Covariance and class means are
ours. Deviation: a constant feature has affinity 0, where the published code gives it a small
positive number.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64
from scipy import sparse

from entangle.arrays import as_array
from entangle.errors import InputError
from entangle.memory import require_memory
from entangle.pairs.distances import DistanceWeights
from entangle.pairs.information import InformationWeights
from entangle.pairs.nearest import nearest_weights
from entangle.pairs.vectors import (
    Floating,
    PairWeights,
    Samples,
    class_mean_weights,
    covariance_weights,
    pearson_weights,
    spearman_weights,
    standardized,
)
from entangle.parallel import map_in_blocks
from entangle.samples import as_sample_matrix

__all__ = [
    "NEAREST",
    "Affinity",
    "Samples",
    "check_affinity",
    "correlation_affinity",
    "feature_affinity",
    "is_correlation",
    "nearest_affinity",
    "needs_labels",
    "require_real",
    "resolve_affinity",
    "standardized",
]

Affinity: TypeAlias = Float64[np.ndarray, "features features"]
Method: TypeAlias = str | Callable

DENSE_FEATURES = 4096  # above, only the strongest pairs are kept
NEAREST = 64  # so many of each feature
TILE = 256  # entries a side that fit the cache with their mirror
BLOCK = 512  # features whose weights are worked out together

# The affinity, one copy in tree order, and the working set of an ordering.
_COPIES = 3


def _distance_correlation(samples: Samples, y: object, dtype: Floating) -> PairWeights:
    return DistanceWeights.from_samples(samples, dtype)


def _mutual_info(samples: Samples, y: object, dtype: Floating) -> PairWeights:
    return InformationWeights.from_samples(samples)


_WEIGHTS: dict[str, Callable[[Samples, object, Floating], PairWeights]] = {
    "pearson": pearson_weights,
    "spearman": spearman_weights,
    "mutual_info": _mutual_info,
    "distance_correlation": _distance_correlation,
    "covariance": covariance_weights,
    "class-mean": class_mean_weights,
}


def is_correlation(method: object) -> bool:
    """Whether independent features have the noise of a correlation, about samples^-1/2."""
    return isinstance(method, str) and method in ("pearson", "spearman")


def needs_labels(method: object) -> bool:
    """Whether the affinity of that name is made from labels, too."""
    return isinstance(method, str) and method == "class-mean"


def resolve_affinity(method: Method, y: object = None) -> Callable[[Samples], Affinity]:
    """Return the function behind the name of an affinity; results of a callable are checked."""
    if callable(method):
        return lambda samples: check_affinity(method(samples), samples.shape[1])
    weights = _resolve_weights(method)
    return lambda samples: _full(weights(samples, y, np.float64))


def _resolve_weights(method: object) -> Callable[[Samples, object, Floating], PairWeights]:
    if isinstance(method, str) and method in _WEIGHTS:
        return _WEIGHTS[method]
    raise InputError(
        f"affinity is one of {', '.join(map(repr, _WEIGHTS))} or a callable from X to a "
        f"(features, features) matrix, got {method!r}"
    )


def _full(weights: PairWeights) -> Affinity:
    """All of a symmetric matrix, of which only the upper half is worked out."""
    n = weights.n_features
    affinity = np.empty((n, n))
    starts = range(0, n, BLOCK)
    work = partial(_upper_rows, weights)
    with closing(map_in_blocks(work, starts)) as blocks:  # BLAS gets its threads back now
        for start, rows in zip(starts, blocks, strict=True):
            stop = min(start + BLOCK, n)
            affinity[start:stop, start:] = rows
            affinity[start:stop, :start] = affinity[:start, start:stop].T
            upper = np.triu(affinity[start:stop, start:stop], 1)
            affinity[start:stop, start:stop] = upper + upper.T
    return affinity


def _upper_rows(weights: PairWeights, start: int) -> np.ndarray:
    return weights.rows(start, min(start + BLOCK, weights.n_features), start)


def correlation_affinity(X: object, method: Method = "pearson", y: object = None) -> Affinity:
    r"""Affinity of every pair of features, by default their absolute correlation.

    .. math:: c_{ij} = \left| \frac{\sum_m (x_{mi} - \bar x_i)(x_{mj} - \bar x_j)}
        {\lVert x_i - \bar x_i \rVert \, \lVert x_j - \bar x_j \rVert} \right|,
        \qquad c_{ii} = 0

    Parameters
    ----------
    X
        Array, tensor, frame or nested list, shape ``(samples, features)``, at least two of
        each, finite.
    method
        A name, or a callable from the float64 ``X`` to a symmetric, non-negative matrix.

        - "pearson": the above. "spearman": the same of the ranks.
        - "mutual_info": of values in up to 16 bins of equal numbers of samples, less its bias,
          in nats.
        - "distance_correlation": squared and bias-corrected, negative values as 0.
        - "covariance": squared, of features scaled to [0, 1]. It leads the entropy of unlabelled
          data for small angles.
        - "class-mean": leads the entropy of labelled data. :math:`(d_i d_j)^2` with the
          difference d of the means of two classes; :math:`(z_i \cdot z_j)^2` with
          :math:`z_{ic} = \sqrt{n_c / M} (\bar x_{ic} - \bar x_i)` for more; :math:`(z_i z_j)^2`
          with the covariance z of the feature and the standard score of a quantity. Of
          features scaled to [0, 1].
    y
        Labels, shape ``(samples,)``, for "class-mean"; ignored by the others.

    Returns
    -------
    ndarray
        Shape ``(features, features)``, float64, symmetric, non-negative, zero diagonal;
        correlations are at most 1.

    Raises
    ------
    InputError
        If ``X``, ``method`` or ``y`` cannot be used; the message names the column.
    MemoryLimitError
        If the matrix and its working copies would not fit; nothing is allocated.

    Notes
    -----
    A constant feature has affinity 0; the published code gives it a small positive number.
    With N features and M samples "mutual_info" and the vector products take time N^2 M,
    "distance_correlation" N^2 M^2 (draw rows if there are thousands), none more memory than
    the matrix and a few copies of ``X``. Source: arXiv:2303.11249.

    Examples
    --------
    >>> correlation_affinity([[0, 0, 1], [1, 2, 1], [2, 4, 1]])
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 0., 0.]])
    """
    affinity = resolve_affinity(method, y)
    samples = as_sample_matrix(X)
    require_memory(
        8.0 * _COPIES * samples.shape[1] ** 2,
        f"the affinity of {samples.shape[1]} features with its working copies",
        repair="keep fewer features, or call nearest_affinity or FeatureRearranger with the name "
        "of an affinity, which store no such matrix",
    )
    return affinity(samples)


def nearest_affinity(
    X: object,
    method: str = "pearson",
    y: object = None,
    n_neighbors: int = NEAREST,
    progress: bool = False,
) -> sparse.csr_matrix:
    """Affinity of each feature with its nearest others; the full matrix is never stored.

    An entry is kept if either feature counts the other among its nearest; of equal ones, those
    of lower number. Products are in single precision.

    Parameters
    ----------
    X, method, y
        As for :func:`correlation_affinity`, but ``method`` is a name.
    n_neighbors
        Entries kept of each feature, before the result is made symmetric; at least 1.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    csr_matrix
        Shape ``(features, features)``, float64, symmetric, positive entries only.

    Raises
    ------
    InputError
        If ``X``, ``method``, ``y`` or ``n_neighbors`` cannot be used.
    MemoryLimitError
        If vectors, one block of rows and the entries kept would not fit.
    """
    build = _resolve_weights(method)
    if n_neighbors < 1:
        raise InputError(f"n_neighbors is at least 1, got {n_neighbors}; {NEAREST} is the default")
    samples = as_sample_matrix(X)
    n_samples, n = samples.shape
    require_memory(
        n * (28.0 * n_samples + 32.0 * BLOCK + 64.0 * min(n_neighbors, n - 1)),
        f"the strongest affinities of {n} features",
    )
    return nearest_weights(build(samples, y, np.float32), n_neighbors, BLOCK, progress)


def feature_affinity(
    samples: Samples, method: Method = "pearson", y: object = None, progress: bool = False
) -> Affinity | sparse.csr_matrix:
    """Affinity of features: all of it, or by name and for many features the strongest only."""
    if callable(method) or samples.shape[1] <= DENSE_FEATURES:
        return correlation_affinity(samples, method, y)
    return nearest_affinity(samples, method, y, progress=progress)


def check_affinity(affinity: object, n_features: int) -> Affinity:
    """Copy with a zero diagonal; :class:`InputError` unless symmetric, finite and >= 0."""
    given = as_array(affinity, "affinity")
    require_real(given)
    try:
        matrix = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as reason:
        raise InputError(f"an affinity holds real numbers, got {reason}; pass numbers") from reason
    if matrix.shape != (n_features, n_features):
        raise InputError(
            f"an affinity has one row and one column per feature, expected ({n_features}, "
            f"{n_features}), got {matrix.shape}"
        )
    np.fill_diagonal(matrix, 0.0)
    lowest, highest = float(matrix.min(initial=0.0)), float(matrix.max(initial=0.0))  # NaN if any
    if not (lowest >= 0.0 and np.isfinite(highest)):
        raise InputError(
            f"an affinity is finite and non-negative, got values from {lowest} to {highest}; "
            "take absolute values and replace NaN"
        )
    gap = _asymmetry(matrix)
    if gap > 1e-8 * highest:
        raise InputError(
            f"an affinity is symmetric, got entries that differ by {gap:.3g} from their "
            "mirror; pass (affinity + affinity.T) / 2"
        )
    return matrix


def require_real(matrix: Any) -> None:
    """Raise :class:`InputError` if the entries of an affinity, dense or sparse, are no numbers."""
    if matrix.dtype.kind not in "buifO":
        raise InputError(
            f"an affinity holds real numbers, got dtype {matrix.dtype}; pass numbers, of complex "
            "ones the absolute values"
        )


def _asymmetry(matrix: Affinity) -> float:
    """Largest difference of an entry from its mirror, tile by tile for the cache."""
    gap = 0.0
    for top in range(0, len(matrix), TILE):
        for left in range(top, len(matrix), TILE):
            tile = matrix[top : top + TILE, left : left + TILE]
            mirror = matrix[left : left + TILE, top : top + TILE].T
            gap = max(gap, float(np.abs(tile - mirror).max()))
    return gap
