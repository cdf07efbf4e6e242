"""IGTD: features whose affinity ranks high go to pixels whose distance ranks low.

All pairs of features are ranked by distance, all pairs of pixels likewise, and the error of an
assignment is the sum of the differences between the rank of each pair of features and that of
the pair of pixels they are on. Each step takes the feature not considered for the longest, and
exchanges it with the partner that lowers the error most, if one does.

Source: Zhu et al. 2021, Sci. Rep. 11, 11325 (Image Generator for Tabular Data). Deviations:

- The distance is the largest affinity less the affinity, in units of the largest; for |r| that
  is the published 1 - r without its sign. Rounding to ten decimals is as published.
- The default number of steps, and of steps without gain before the end, grow with the number of
  features; the published defaults of 30,000 and 500 (1,000 and 50 in the code) end before each
  of many features was tried once.
- A swap has to gain more than the threshold; in the published code, no less.
- Which feature comes first among those that waited equally long is drawn once and not at each
  step; the published code does not use its seed.
- Features and positions are of one number; the published code can leave pixels empty.
- One axis, or more than two, work as two do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform
from scipy.stats import rankdata
from sklearn.utils import check_random_state

from entangle.affinity import Affinity
from entangle.axes import Shape
from entangle.errors import InputError
from entangle.ordering.problem import dense_problem
from entangle.ordering.rank_swaps import MOST_ABSOLUTE, MOST_SQUARED, search_swaps

__all__ = ["igtd_order", "pixel_distance", "rank_table"]

# The affinity, its distances, condensed values with what ranking them takes, two rank tables.
BYTES_PER_PAIR = 56.0
DECIMALS = 10  # of the distance of features; less is rounding, and a tie
STEPS, STEPS_PER_FEATURE = 30_000, 10
PATIENCE, PATIENCE_PER_FEATURE = 500, 1


def igtd_order(
    affinity: Affinity,
    shape: Shape,
    n_samples: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    *,
    distance: str = "euclidean",
    error: str = "absolute",
    max_step: int | None = None,
    val_step: int | None = None,
    min_gain: float = 1e-6,
    switch_t: float = 0.0,
) -> NDArray[np.int64]:
    """Permutation that matches ranks of feature distances to ranks of pixel distances.

    Parameters
    ----------
    affinity
        Symmetric, non-negative, dense, shape ``(features, features)``.
    shape
        Number of features of a sequence, or the axis lengths of a grid.
    n_samples
        Not used; every ordering is called alike.
    random_state
        Seed of the order in which features get their turn.
    distance
        Of pixels: ``"euclidean"`` or ``"manhattan"``.
    error
        ``"absolute"`` or ``"squared"`` differences of ranks.
    max_step
        Steps at most. Default: 30,000, and no fewer than ten for each feature.
    val_step
        The search ends when so many steps together lowered the error by less than the part
        ``min_gain``. Default: 500, and no fewer than one for each feature.
    min_gain
        See ``val_step``.
    switch_t
        Part of the error that a swap has to gain more than.

    Returns
    -------
    ndarray
        Shape ``(features,)``, int64: the feature at each row-major position of ``shape``.

    Raises
    ------
    PartitionError
        If ``shape`` does not hold the features of ``affinity``.
    InputError
        If the affinity is sparse, asymmetric, negative or not finite, or an option is none.
    MemoryLimitError
        If the tables of ranks would not fit.

    Notes
    -----
    A step takes time proportional to the square of the features. The search starts from the
    order given, as published, and depends on it.

    Examples
    --------
    >>> affinity = np.array([[0, 0, 3, 1], [0, 0, 0, 3], [3, 0, 0, 0], [1, 3, 0, 0]], float)
    >>> igtd_order(affinity, 4, random_state=0).tolist()
    [1, 3, 0, 2]
    """
    tree, checked = dense_problem(affinity, shape, "igtd", BYTES_PER_PAIR)
    n = tree.n_features
    square = _is_square(error, n)
    steps = max(STEPS, STEPS_PER_FEATURE * n) if max_step is None else max_step
    patience = max(PATIENCE, PATIENCE_PER_FEATURE * n) if val_step is None else val_step
    _check_limits(steps, patience, min_gain, switch_t)
    source = rank_table(feature_distance(checked))
    target = rank_table(pixel_distance(tree.shape, distance))
    generator: Any = check_random_state(random_state)
    order, _, _ = search_swaps(
        source, target, generator.permutation(n), steps, switch_t, patience, min_gain, square
    )
    return order


def feature_distance(affinity: Affinity) -> NDArray[np.float64]:
    """Distance of each pair of features, shape ``(pairs,)``, between 0 and 1."""
    apart = squareform(affinity, checks=False)
    largest = apart.max()
    return np.round(1.0 - apart / largest, DECIMALS) if largest > 0.0 else np.ones_like(apart)


def pixel_distance(shape: tuple[int, ...], distance: str) -> NDArray[np.int64]:
    """Distance of each pair of positions, shape ``(pairs,)``: squared, or along the axes.

    Whole numbers, so that equal distances are ties; only their ranks are used.
    """
    if distance not in ("euclidean", "manhattan"):
        raise InputError(f"distance is 'euclidean' or 'manhattan', got {distance!r}; pass one")
    places = np.indices(shape, dtype=np.int64).reshape(len(shape), -1)
    first, second = np.triu_indices(places.shape[1], k=1)
    total = np.zeros(len(first), dtype=np.int64)
    for axis in places:
        apart = np.abs(axis[first] - axis[second])
        total += apart**2 if distance == "euclidean" else apart
    return total


def rank_table(distance: np.ndarray) -> NDArray[np.int32]:
    """Twice the rank of each pair, ties at their mean, as a symmetric table with diagonal 0.

    Parameters
    ----------
    distance
        Of each pair, shape ``(pairs,)``, in the order of an upper triangle.
    """
    return squareform((2.0 * rankdata(distance)).astype(np.int32), checks=False)


def _is_square(error: str, n_features: int) -> bool:
    if error not in ("absolute", "squared"):
        raise InputError(f"error is 'absolute' or 'squared', got {error!r}; pass one")
    most = MOST_SQUARED if error == "squared" else MOST_ABSOLUTE
    if n_features > most:
        raise InputError(
            f"IGTD with error={error!r} orders at most {most} features, got {n_features}; use "
            "error='absolute' or method='mincut'"
        )
    return error == "squared"


def _check_limits(steps: int, patience: int, min_gain: float, switch_t: float) -> None:
    if steps < 1 or patience < 1:
        raise InputError(
            f"max_step and val_step count steps, got {steps} and {patience}; pass 1 or more"
        )
    if not (0.0 <= min_gain < 1.0 and 0.0 <= switch_t < 1.0):
        raise InputError(
            f"min_gain and switch_t are parts of the error, got {min_gain} and {switch_t}; pass "
            "numbers from 0 to below 1"
        )
