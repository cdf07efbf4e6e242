"""A scikit-learn transformer that puts correlated features next to each other.

The order is learned once, from the training rows; ``transform`` only indexes columns, so
unseen rows, single rows and any dtype go through unchanged.

Source: Alexander et al. 2023, arXiv:2303.11249.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from entangle.affinity import (
    correlation_affinity,
    feature_affinity,
    is_correlation,
    needs_labels,
    resolve_affinity,
)
from entangle.arrays import as_array
from entangle.axes import Shape
from entangle.descent import RefinedOrder
from entangle.errors import InputError, PartitionError
from entangle.ordering.measured import entropy_refined
from entangle.ordering.methods import BLIND, NEEDS_ALL_PAIRS, resolve_method
from entangle.ordering.mincut import Mincut, mincut_search
from entangle.ordering.problem import checked_problem, drawn_seed
from entangle.ordering.units import Units
from entangle.partition import CanonicalTree, as_shape
from entangle.samples import check_finite

__all__ = ["FeatureRearranger", "affinity_used"]

Permutation: TypeAlias = NDArray[np.int64]


class FeatureRearranger(TransformerMixin, BaseEstimator):
    """Order features so that canonical blocks cut little correlation.

    Parameters
    ----------
    method
        ``"mincut"``: a portfolio of geodesic embeddings, recursive balanced cuts and
        refinements, of which the lowest cut of the whole tree wins. ``"geodesic"``: the embedding
        alone. ``"spectral"``: recursive spectral bisection. ``"leaf-ordering"``: hierarchical
        clustering with optimal leaf ordering. ``"tsp"``: shortest path through all features.
        ``"igtd"``: image generator for tabular data. ``"identity"``, ``"random"``; or a callable
        ``(affinity, shape) -> permutation``.
    shape
        Number of places of a sequence, or the axis lengths of a grid (row-major). Default:
        a sequence of all features, or of all groups. More places than features are filled up
        with ``fill_value``.
    affinity
        A name (``"pearson"``, ``"spearman"``, ``"mutual_info"``, ``"distance_correlation"``,
        ``"covariance"``, ``"class-mean"``; see :func:`~entangle.affinity.correlation_affinity`),
        a callable ``X -> (features, features)``, or such a matrix itself, dense or sparse. By
        name, more than 4096 features keep the 64 strongest weights of each, and the full matrix
        is never stored.
    random_state
        Seed; the same seed gives the same order.
    n_jobs
        Threads; ``None`` is one, -1 one per core. The order does not depend on it.
    groups
        Features that move together, such as the one-hot columns of a variable or the colours
        of a pixel: a number of consecutive features a group, or one label a feature; or
        ``"one-hot"``: columns of two values that exclude each other, and so look like the
        categories of one variable, see :func:`~entangle.ordering.one_hot_variables`. A group takes
        one place; its affinity to another is that of their strongest pair.
    orient
        With ``"mincut"``: place children so that correlated features of neighbouring blocks
        touch. Changes no block and no entanglement, but what a convolution sees.
    refine
        Number of levels of the canonical tree whose true entanglement entropy is lowered by
        exchanges, certified step by step: of the data, or with ``"class-mean"`` of the labelled
        data. Minutes for hundreds of features. Default: none.
    fill_value
        What empty places hold.
    progress
        Show progress bars on a terminal.

    Attributes
    ----------
    permutation_
        Shape ``(features,)``, int64: features in their new order, ``X[:, permutation_]``. This is
        what ``transform`` returns unless places stay empty.
    columns_
        Feature of each column that ``transform`` returns, -1 where ``fill_value`` stands.
    groups_
        Shape ``(features,)``, int64: group of each feature, numbered by their first features.
    layout_
        Group (or feature, without groups) at each place, -1 where none is; of the given shape.
    search_
        With ``"mincut"``, a :class:`~entangle.ordering.mincut.Mincut`: which searches ran, their
        cuts, and the winner; else ``None``. Its permutation is of places, as in ``layout_``.
    refined_
        With ``refine``, a :class:`~entangle.descent.RefinedOrder`, of places too; else ``None``.
    n_features_in_
        Number of features seen in ``fit``.
    feature_names_in_
        Their names, if ``X`` had string column names.

    Notes
    -----
    A constant feature has affinity 0; the published code gives it a small positive number.
    Missing values are refused. Source: arXiv:2303.11249. A lower cut is not always a higher
    accuracy; measure.

    Examples
    --------
    >>> X = np.array([[0, 5, 1, 4], [1, 2, 2, 1], [2, 4, 3, 3]], dtype=float)
    >>> order = FeatureRearranger(random_state=0).fit(X).permutation_
    >>> sorted(sorted(pair.tolist()) for pair in order.reshape(2, 2))
    [[0, 2], [1, 3]]
    """

    permutation_: Permutation
    columns_: Permutation
    groups_: Permutation
    layout_: Permutation
    search_: Mincut | None
    refined_: RefinedOrder | None
    n_features_in_: int

    def __init__(
        self,
        method: str | Callable = "mincut",
        shape: Shape | None = None,
        affinity: object = "pearson",
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        *,
        groups: object = None,
        orient: bool = True,
        refine: int | None = None,
        fill_value: float = 0.0,
        progress: bool = False,
    ) -> None:
        self.method = method
        self.shape = shape
        self.affinity = affinity
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.groups = groups
        self.orient = orient
        self.refine = refine
        self.fill_value = fill_value
        self.progress = progress

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
            If a number is not finite, an option is unknown, or groups do not fit.
        PartitionError
            If ``shape`` does not hold the features.
        """
        before = dict(vars(self))
        try:
            self._learn(X, y)
        except BaseException:  # an interruption, too, leaves what an earlier fit learned
            vars(self).clear()
            vars(self).update(before)
            raise
        return self

    def _learn(self, X: object, y: object) -> None:
        resolve_method(self.method)
        if isinstance(self.affinity, str):
            resolve_affinity(self.affinity)
        samples = self._validated(X, ensure_min_samples=2, ensure_min_features=2)
        units = Units.of_samples(self.groups, samples)
        shape = self._checked_shape(units)
        self._check_refinement(units, shape)
        n_places = math.prod(shape)
        affinity: Any = None
        if self.method not in BLIND:
            affinity = units.affinity(affinity_used(self, samples, y, self.progress), n_places)
        n_samples = len(samples) if is_correlation(self.affinity) else None
        seed = drawn_seed(self.random_state)
        places, search = self._ordered(affinity, shape, n_samples, seed)
        refined = None
        if self.refine is not None:
            labels = y if needs_labels(self.affinity) else None
            refined = entropy_refined(
                samples, units, places, shape, self.refine, labels, seed, self.progress
            )
            places = refined.permutation
        self.groups_ = units.unit
        self.columns_ = units.columns(places)
        self.permutation_ = self.columns_[self.columns_ >= 0]
        self.layout_ = np.where(places < units.n_units, places, -1).reshape(shape)
        self.search_, self.refined_ = search, refined

    def transform(self, X: object) -> np.ndarray:
        """Columns of ``X`` in the learned order; numbers keep their dtype.

        Parameters
        ----------
        X
            Shape ``(samples, features)``, the features of ``fit`` in the order of ``fit``.

        Returns
        -------
        ndarray
            Shape ``(samples, columns)``; more columns than features where places stay empty.
        """
        check_is_fitted(self)
        samples = self._validated(X, reset=False)
        if len(self.columns_) == len(self.permutation_):
            return samples[:, self.permutation_]
        filling = _as_number(self.fill_value, samples.dtype)
        out = np.full((len(samples), len(self.columns_)), filling, dtype=samples.dtype)
        out[:, self.columns_ >= 0] = samples[:, self.permutation_]
        return out

    def inverse_transform(self, X: object) -> np.ndarray:
        """Columns back in the order seen by ``fit``; dtype kept, filled places dropped.

        Parameters
        ----------
        X
            Shape ``(samples, columns)``, as returned by ``transform``.

        Raises
        ------
        InputError
            If the number of columns is not that of ``transform``.
        """
        check_is_fitted(self)
        samples = check_array(X, ensure_all_finite=False)
        if samples.shape[1] != len(self.columns_):
            raise InputError(
                f"X has {samples.shape[1]} features, the order was learned for "
                f"{len(self.columns_)}; pass what transform returned"
            )
        places = np.flatnonzero(self.columns_ >= 0)
        return samples[:, places[np.argsort(self.permutation_)]]

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Names of the columns that ``transform`` returns, shape ``(columns,)``.

        Parameters
        ----------
        input_features
            Names seen by ``fit``; by default those, or ``x0``, ``x1``, ... if it saw none. Filled
            places are called ``empty0``, ``empty1``, ..., but for names that features have.
        """
        check_is_fitted(self)
        names = np.asarray(_check_feature_names_in(self, input_features), dtype=object)
        filled = self.columns_ >= 0
        out = np.empty(len(self.columns_), dtype=object)
        out[filled] = names[self.permutation_]
        taken = set(names)
        free = (name for name in map("empty{}".format, itertools.count()) if name not in taken)
        out[~filled] = list(itertools.islice(free, int((~filled).sum())))
        return out

    def _validated(self, X: Any, **options: Any) -> np.ndarray:
        names = list(getattr(X, "columns", ()))
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"columns need distinct names, {twice!r} repeats; rename it")
        X = as_array(X, "X") if hasattr(X, "detach") else X  # a tensor, perhaps with a gradient
        samples: Any = validate_data(self, X, ensure_all_finite=False, **options)
        check_finite(samples)
        return samples

    def _checked_shape(self, units: Units) -> tuple[int, ...]:
        n_units = units.n_units
        if n_units < 2:
            raise InputError("groups hold all features in one; an order needs at least two groups")
        shape = as_shape(n_units if self.shape is None else self.shape)
        what = "features" if self.groups is None else "groups"
        if math.prod(shape) < n_units:
            raise PartitionError(
                f"shape {self.shape!r} holds {math.prod(shape)} {what}, X has {n_units}; pass a "
                f"shape of at least {n_units} places, or None for a sequence"
            )
        if math.prod(shape) > n_units and units.size is None:
            raise PartitionError(
                f"shape {self.shape!r} has {math.prod(shape) - n_units} places too many, which "
                "only groups of one size can leave empty; pass a shape of exactly "
                f"{n_units} places"
            )
        return shape

    def _check_refinement(self, units: Units, shape: tuple[int, ...]) -> None:
        """Refuse before the search what would be refused after it."""
        if self.refine is None:
            return
        depth, levels = CanonicalTree(shape).depth, self.refine
        whole = isinstance(levels, int | np.integer) and not isinstance(levels, bool)
        if not whole or not 1 <= levels <= depth:
            raise PartitionError(
                f"refine is a number of levels from 1 to {depth} for this layout, got {levels!r}; "
                "pass one, or None"
            )
        if units.size is None:
            raise InputError(
                "refine moves groups of one size, got groups of different sizes; leave out refine"
            )

    def _ordered(
        self, affinity: Any, shape: tuple[int, ...], n_samples: int | None, seed: int
    ) -> tuple[Permutation, Mincut | None]:
        """Find the unit at each place; say what the portfolio found if it was asked."""
        if self.method == "mincut":
            found = mincut_search(
                affinity, shape, n_samples, seed, self.n_jobs,
                orient=self.orient, progress=self.progress,
            )  # fmt: skip
            return found.permutation, found
        order = resolve_method(self.method)(affinity, shape, n_samples, seed)
        return _checked_permutation(order, math.prod(shape)), None


def affinity_used(
    rearranger: FeatureRearranger, samples: np.ndarray, y: object, progress: bool = False
) -> Any:
    """Affinity of the features on some rows, dense where the method needs all pairs.

    Parameters
    ----------
    rearranger
        Says which affinity, and for which method.
    samples
        Shape ``(samples, features)``, finite.
    y
        Labels, for the affinity "class-mean".
    progress
        Show a progress bar on a terminal.
    """
    named = isinstance(rearranger.affinity, str)
    if not named and not callable(rearranger.affinity):
        return _given_affinity(rearranger.affinity, samples.shape[1])
    affinity: Any = rearranger.affinity
    method = rearranger.method
    if named and not callable(method) and method not in NEEDS_ALL_PAIRS:
        return feature_affinity(samples, affinity, y, progress)
    return correlation_affinity(samples, affinity, y)


def _given_affinity(affinity: Any, n_features: int) -> Any:
    """Check a matrix passed as an affinity against the features, not against the layout."""
    size = tuple(affinity.shape) if hasattr(affinity, "shape") else np.shape(affinity)
    if not size:
        raise InputError(
            "affinity is a name such as 'pearson', a callable from X to a (features, features) "
            f"matrix, or such a matrix, got {affinity!r}"
        )
    if size != (n_features, n_features):
        raise PartitionError(
            f"X has {n_features} features, the affinity has shape {size}; pass a row and a column "
            "for each feature of X"
        )
    return checked_problem(affinity, n_features)[1]


def _as_number(value: Any, dtype: np.dtype) -> np.generic:
    """``value`` in the type of the data; an error if that has no such number."""
    if isinstance(value, numbers.Real):  # booleans, too
        with np.errstate(over="ignore", invalid="ignore"):
            wanted = np.float64(value)
            number = wanted.astype(dtype)
        rounded = dtype.kind == "f" and np.isfinite(wanted) == np.isfinite(number)
        if rounded or number == wanted:
            return number
    raise InputError(
        f"fill_value is a number that data of type {dtype} can hold, got {value!r}; pass another, "
        "or floating-point data"
    )


def _checked_permutation(permutation: object, n_features: int) -> Permutation:
    order = np.asarray(permutation)
    if order.shape != (n_features,) or not np.array_equal(np.sort(order), np.arange(n_features)):
        raise InputError(
            f"an ordering returns each of 0..{n_features - 1} once, got {order.dtype} of shape "
            f"{order.shape}; return for example numpy.argsort of a score per feature"
        )
    return order.astype(np.int64)
