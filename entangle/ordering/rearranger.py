"""A scikit-learn transformer that puts correlated features next to each other.

The order is learned once, from the training rows; ``transform`` only indexes columns, so
unseen rows, single rows and any dtype go through unchanged.

Source: Alexander et al. 2023, arXiv:2303.11249.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from entangle.affinity import (
    Affinity,
    check_affinity,
    correlation_affinity,
    feature_affinity,
    is_correlation,
    needs_labels,
)
from entangle.arrays import as_array
from entangle.axes import Shape
from entangle.errors import InputError, PartitionError
from entangle.ordering.mincut import mincut_order
from entangle.partition import as_shape
from entangle.samples import check_finite

__all__ = ["FeatureRearranger"]

Permutation: TypeAlias = NDArray[np.int64]


class FeatureRearranger(TransformerMixin, BaseEstimator):
    """Order features so that canonical blocks cut little correlation.

    Parameters
    ----------
    method
        ``"mincut"`` (recursive minimum balanced cut), ``"identity"``, ``"random"``, or a
        callable ``(affinity, shape) -> permutation``.
    shape
        Number of features of a sequence, or the axis lengths of a grid (row-major). Default:
        a sequence of all features.
    affinity
        A name (``"pearson"``, ``"spearman"``, ``"mutual_info"``, ``"distance_correlation"``,
        ``"covariance"``, ``"class-mean"``; see :func:`~entangle.affinity.correlation_affinity`),
        a callable ``X -> (features, features)``, or such a matrix itself. With a name and
        ``"mincut"``, more than 4096 features keep the 64 strongest weights of each, and the
        full matrix is never stored.
    random_state
        Seed; the same seed gives the same order.
    n_jobs
        Threads; ``None`` is one, -1 one per core. The order does not depend on it.

    Attributes
    ----------
    permutation_
        Shape ``(features,)``, int64: ``transform(X)`` is ``X[:, permutation_]``.
    n_features_in_
        Number of features seen in ``fit``.
    feature_names_in_
        Their names, if ``X`` had string column names.

    Notes
    -----
    A constant feature has affinity 0; the published code gives it a small positive number.
    Missing values are refused. Source: arXiv:2303.11249.

    Examples
    --------
    >>> X = np.array([[0, 5, 1, 4], [1, 2, 2, 1], [2, 4, 3, 3]], dtype=float)
    >>> order = FeatureRearranger(random_state=0).fit(X).permutation_
    >>> sorted(sorted(pair.tolist()) for pair in order.reshape(2, 2))
    [[0, 2], [1, 3]]
    """

    permutation_: Permutation
    n_features_in_: int

    def __init__(
        self,
        method: str | Callable = "mincut",
        shape: Shape | None = None,
        affinity: object = "pearson",
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.method = method
        self.shape = shape
        self.affinity = affinity
        self.random_state = random_state
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = needs_labels(self.affinity)
        return tags

    def fit(self, X: object, y: object = None) -> FeatureRearranger:
        """Learn the order from the rows of ``X``.

        Parameters
        ----------
        X
            Array or frame, shape ``(samples, features)``; at least two of each, finite.
        y
            Labels, shape ``(samples,)``, for the affinity "class-mean"; ignored by the others.

        Raises
        ------
        InputError
            If a number is not finite, or an option is unknown.
        PartitionError
            If ``shape`` does not hold the features.
        """
        order = _resolve_order(self.method)
        samples = self._validated(X, ensure_min_samples=2, ensure_min_features=2)
        n_features = samples.shape[1]
        shape = as_shape(n_features if self.shape is None else self.shape)
        if np.prod(shape) != n_features:
            raise PartitionError(
                f"shape {self.shape!r} holds {np.prod(shape)} features, X has {n_features}; "
                f"pass a shape whose product is {n_features}, or None for a sequence"
            )
        permutation = order(self, samples, shape, y)
        self.permutation_ = _checked_permutation(permutation, n_features)
        return self

    def transform(self, X: object) -> np.ndarray:
        """Columns of ``X`` in the learned order; numbers keep their dtype.

        Parameters
        ----------
        X
            Shape ``(samples, features)``, the features of ``fit`` in the order of ``fit``.
        """
        check_is_fitted(self)
        return self._validated(X, reset=False)[:, self.permutation_]

    def inverse_transform(self, X: object) -> np.ndarray:
        """Columns back in the order seen by ``fit``; dtype kept.

        Parameters
        ----------
        X
            Shape ``(samples, features)``, as returned by ``transform``.

        Raises
        ------
        InputError
            If the number of columns is not that of ``fit``.
        """
        check_is_fitted(self)
        samples = check_array(X, ensure_all_finite=False)
        if samples.shape[1] != self.n_features_in_:
            raise InputError(
                f"X has {samples.shape[1]} features, the order was learned for "
                f"{self.n_features_in_}; pass what transform returned"
            )
        return samples[:, np.argsort(self.permutation_)]

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Names of the columns that ``transform`` returns, shape ``(features,)``.

        Parameters
        ----------
        input_features
            Names seen by ``fit``; by default those, or ``x0``, ``x1``, ... if it saw none.
        """
        check_is_fitted(self)
        return np.asarray(_check_feature_names_in(self, input_features))[self.permutation_]

    def _validated(self, X: Any, **options: Any) -> np.ndarray:
        names = list(getattr(X, "columns", ()))
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"columns need distinct names, {twice!r} repeats; rename it")
        X = as_array(X, "X") if hasattr(X, "detach") else X  # a tensor, perhaps with a gradient
        samples: Any = validate_data(self, X, ensure_all_finite=False, **options)
        check_finite(samples)
        return samples


def _mincut(
    estimator: FeatureRearranger, samples: np.ndarray, shape: tuple[int, ...], y: object
) -> Permutation:
    affinity: Affinity | sparse.csr_matrix
    if isinstance(estimator.affinity, str):
        affinity = feature_affinity(samples, estimator.affinity, y)
    else:
        affinity = _affinity(estimator, samples, y)
    return mincut_order(
        affinity,
        shape,
        n_samples=len(samples) if is_correlation(estimator.affinity) else None,
        random_state=estimator.random_state,
        n_jobs=estimator.n_jobs,
    )


def _identity(
    estimator: FeatureRearranger, samples: np.ndarray, shape: object, y: object
) -> Permutation:
    return np.arange(samples.shape[1])


def _random(
    estimator: FeatureRearranger, samples: np.ndarray, shape: object, y: object
) -> Permutation:
    return check_random_state(estimator.random_state).permutation(samples.shape[1])


_ORDERS: dict[str, Callable] = {"mincut": _mincut, "identity": _identity, "random": _random}


def _resolve_order(method: str | Callable) -> Callable:
    """Return the ``(estimator, samples, shape, y) -> permutation`` behind ``method``."""
    if callable(method):
        return lambda estimator, samples, shape, y: method(_affinity(estimator, samples, y), shape)
    if method in _ORDERS:
        return _ORDERS[method]
    close = difflib.get_close_matches(str(method), _ORDERS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "pass one of these names"
    raise InputError(
        f"method is one of {', '.join(map(repr, _ORDERS))} or a callable "
        f"(affinity, shape) -> permutation, got {method!r}; {hint}"
    )


def _affinity(estimator: FeatureRearranger, samples: np.ndarray, y: object) -> Affinity:
    affinity = estimator.affinity
    if isinstance(affinity, str) or callable(affinity):
        return correlation_affinity(samples, affinity, y)
    return check_affinity(affinity, samples.shape[1])


def _checked_permutation(permutation: object, n_features: int) -> Permutation:
    order = np.asarray(permutation)
    if order.shape != (n_features,) or not np.array_equal(np.sort(order), np.arange(n_features)):
        raise InputError(
            f"an ordering returns each of 0..{n_features - 1} once, got {order.dtype} of shape "
            f"{order.shape}; return for example numpy.argsort of a score per feature"
        )
    return order.astype(np.int64)
