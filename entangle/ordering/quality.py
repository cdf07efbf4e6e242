"""How good an order is, on the rows it was found on and on rows it was not.

The cut of an order on its own rows flatters it: an order found in noise lies below random ones,
too. So rows are split in halves; an order found on one half is measured on the other, and
the trees of both halves are compared. Features are handed to a named method in random order there,
since orders of noise would otherwise agree in leaving unrelated features as they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import check_random_state

from entangle.affinity import is_correlation, needs_labels, standardized
from entangle.errors import InputError
from entangle.labels import as_labels, is_quantity
from entangle.ordering.bench import Bench
from entangle.ordering.graph import noise_threshold
from entangle.ordering.methods import BLIND
from entangle.ordering.rearranger import FeatureRearranger
from entangle.ordering.verdict import OrderingQuality
from entangle.progress import progress_bar
from entangle.samples import as_sample_matrix

__all__ = ["OrderingQuality", "ordering_quality"]

Permutation = NDArray[np.int64]

FEWEST_ROWS = 8  # below, a half says nothing
QUANTITY_STRATUM = 4  # rows of similar values of a quantity that two halves share evenly


def ordering_quality(
    rearranger: FeatureRearranger,
    X: object,
    y: object = None,
    *,
    truth: object = None,
    n_halves: int = 3,
    random_state: int | np.random.RandomState | None = None,
    progress: bool = False,
) -> OrderingQuality:
    """Measure an order against the given, random and, if known, the true one.

    Parameters
    ----------
    rearranger
        What finds the order. Not fitted, a clone is fitted on all rows; fitted, its order is
        measured as it is, and ``X`` may be other rows than those it was fitted on.
    X
        Array or frame, shape ``(samples, features)``, finite.
    y
        Labels, shape ``(samples,)``, for the affinity "class-mean"; halves share them evenly.
    truth
        Permutation such that ``X[:, truth]`` is in true order, shape ``(features,)``. Groups follow
        their first feature in it, and empty places come last.
    n_halves
        Number of times that rows are split into halves at random; 0 for never.
    random_state
        Seed of the halves, and of the orders found on them.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    OrderingQuality
        ``to_text()`` says it in words; ``warnings`` says what speaks against the order.

    Raises
    ------
    InputError
        If the data cannot be used, have other features than the rearranger was fitted on, or
        ``truth`` is no permutation of them.

    Notes
    -----
    Every split finds two orders, so the time is about ``1 + 2 n_halves`` times that of ``fit``.
    Orders of halves are found without ``refine``, which lowers the entropy and not the cut. Fewer
    than 8 rows, a class of one row, a quantity with one value in a half, or an affinity given as a
    matrix leave nothing to hold out.
    Above 4096 features the affinity holds the strongest pairs only, here as in ``fit``.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((200, 16)).cumsum(axis=1)
    >>> shuffled = np.random.default_rng(1).permutation(16)
    >>> quality = ordering_quality(
    ...     FeatureRearranger(random_state=0), X[:, shuffled], truth=np.argsort(shuffled),
    ...     random_state=0,
    ... )
    >>> quality.gap_percent < 5, quality.warnings
    (True, ())
    """
    samples = as_sample_matrix(X)
    labels = _labels(rearranger, y)
    halves = _halves(rearranger, len(samples), labels, n_halves, random_state)
    is_fitted = hasattr(rearranger, "layout_")
    fitted: Any = rearranger if is_fitted else clone(rearranger)
    if not is_fitted:
        fitted.fit(samples, labels)
    bench = Bench(fitted, samples.shape[1])
    known = {} if truth is None else {"truth": bench.true_places(truth)}
    yardstick = bench.yardstick(samples, labels)
    orders = {"given": bench.given, "found": bench.found, **known}
    held_out, stability = _held_out(bench, samples, labels, halves, progress)
    return OrderingQuality(
        n_samples=len(samples),
        n_features=samples.shape[1],
        n_units=bench.units.n_units,
        shape=bench.tree.shape,
        method=_named(rearranger.method),
        affinity=_named(rearranger.affinity),
        levels=tuple(bench.blocks.levels),
        cut=yardstick.cuts(orders),
        neighbours=yardstick.neighbours({"given": bench.given, "found": bench.found}),
        held_out_reduction=held_out,
        stability=stability,
        strongest=float(yardstick.graph.weights.max(initial=0.0)),
        noise=_noise(rearranger, samples),
        **(bench.recovered(known["truth"]) if known else {}),
        **_searched(fitted),
    )


def _labels(rearranger: FeatureRearranger, y: object) -> NDArray[Any] | None:
    """Labels, where the affinity needs them; a quantity as its standard score.

    Scores are fractions, so that those of a half are never read as classes.
    """
    if y is None or not needs_labels(rearranger.affinity):
        return None
    labels = as_labels(y, "y")
    return standardized(labels[:, None])[:, 0] if is_quantity(labels) else labels


@dataclass(frozen=True)
class _Halves:
    """Rows of each half, and the seed of the order found on it."""

    rows: tuple[Permutation, Permutation]
    seeds: tuple[int, int]


def _held_out(
    bench: Bench, samples: NDArray[Any], labels: Any, halves: list[_Halves], progress: bool
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Reductions on the halves that orders were not found on, and agreement by level."""
    if not halves:
        return {}, np.empty(0)
    options = bench.rearranger
    mixed = isinstance(options.affinity, str) and not callable(options.method)
    mixed = mixed and options.method not in BLIND
    found, given, agreements = [], [], []
    with progress_bar("orders of halves", 2 * len(halves), progress) as advance:
        for split in halves:
            orders, yardsticks = [], []
            for rows, seed in zip(split.rows, split.seeds, strict=True):
                own = None if labels is None else labels[rows]
                orders.append(bench.order_on(samples[rows], own, seed, mixed))
                yardsticks.append(bench.yardstick(samples[rows], own))
                advance(1)
            found += [yardsticks[0].reduction(orders[1]), yardsticks[1].reduction(orders[0])]
            given += [yardstick.reduction(bench.given) for yardstick in yardsticks]
            agreements.append(bench.blocks.agreement(*orders))
    means = {"mean": float(np.mean(found)), "min": min(found), "given": float(np.mean(given))}
    return means, np.mean(agreements, axis=0)


def _halves(
    rearranger: FeatureRearranger, n_rows: int, labels: Any, number: int, random_state: Any
) -> list[_Halves]:
    """Split rows into halves that share classes evenly; none where halves say nothing."""
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
        raise InputError(f"n_halves is a whole number of splits, 0 for none, got {number!r}")
    affinity = rearranger.affinity
    is_fixed = not isinstance(affinity, str) and not callable(affinity)
    codes, counts = np.zeros(n_rows, dtype=np.int64), np.array([n_rows])
    if labels is not None:
        _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if is_quantity(labels):  # few neighbours in rank at a time, so that halves are random
            codes = np.argsort(np.argsort(labels, kind="stable")) // QUANTITY_STRATUM
    alone = labels is not None and not is_quantity(labels) and counts.min() < 2
    if is_fixed or alone or n_rows < FEWEST_ROWS or len(codes) != n_rows:
        return []
    generator: Any = check_random_state(random_state)
    splits = []
    for _ in range(number):
        rows = np.lexsort((generator.random_sample(n_rows), codes))
        first, second = generator.randint(2**30, size=2).tolist()
        halves = np.sort(rows[::2]), np.sort(rows[1::2])
        if labels is None or all(np.unique(labels[half]).size > 1 for half in halves):
            splits.append(_Halves(halves, (first, second)))
    return splits


def _noise(rearranger: FeatureRearranger, samples: NDArray[Any]) -> float:
    """Return what correlations of independent features stay below; 0 for another affinity."""
    known = is_correlation(rearranger.affinity)
    return noise_threshold(samples.shape[1], len(samples)) if known else 0.0


def _named(option: object) -> str:
    if isinstance(option, str):
        return option
    return getattr(option, "__name__", "callable") if callable(option) else "matrix"


def _searched(fitted: FeatureRearranger) -> dict[str, Any]:
    """Say what the portfolio tried, and the entropies of the refinement."""
    found: dict[str, Any] = {}
    if fitted.search_ is not None:
        found |= {"winner": fitted.search_.winner, "cuts": dict(fitted.search_.cuts)}
    if fitted.refined_ is not None:
        refined = fitted.refined_
        found["entropies"] = {
            "before": refined.entropy_before,
            "after": refined.entropy_after,
            "error_bound": refined.error_bound,
        }
    return found
