"""Diagnosis of a data set: is it fit for a local network, and would another order help.

One call draws rows, embeds them, measures the entanglement across the canonical partitions in
the given order, in the best order found and in random orders, and says what follows. The
random orders are the yardstick: they keep the data and destroy the layout.

Source: Alexander et al. 2023, arXiv:2303.11249. The comparison with random orders and the bounds on
the width are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone

from entangle.affinity import NEAREST, feature_affinity, needs_labels, standardized
from entangle.axes import Shape
from entangle.convergence import PARTS, Convergence
from entangle.data_tensor import DataTensor
from entangle.datasets import Dataset
from entangle.entropy import EntanglementProfile, entanglement_profile
from entangle.errors import DegenerateStateError, InputError, MemoryLimitError
from entangle.labels import is_quantity, stratified_rows
from entangle.ordering import FeatureRearranger
from entangle.parallel import map_ordered
from entangle.partition import CanonicalTree
from entangle.preparation import (
    Drawn,
    as_dataset,
    checked_layout,
    drawn_rows,
)
from entangle.progress import progress_bar
from entangle.report import Report
from entangle.samples import as_sample_matrix
from entangle.surrogate import severed
from entangle.width import WidthBounds, width_bounds

__all__ = ["diagnose"]

TOP_BLOCKS = 64  # levels with more blocks than this are left out unless asked for
ORDERING_ROWS = 5000  # rows that correlations are estimated from
AFFINITIES = ("pearson", "covariance", "class-mean")  # the last needs two classes, or a quantity
FEWEST_HELD_OUT = 8  # rows below which none are kept from the ordering to test it

RELATIVE_ERROR = 0.1  # of the tensor that the widths allow
MOST_WIDTH = 64  # that is tried for a sufficient width
WIDTH_WORK = 1.6e8  # features times squared rows beyond which none is sought

SPLITS = 4  # of the rows into halves and quarters

# the order to measure, and the places of the rows (default: all)
Task: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64] | None]


def diagnose(
    X: object,
    y: object = None,
    *,
    shape: Shape | None = None,
    levels: int | Iterable[int] | None = None,
    theta: float | str = "auto",
    scale: str | None = None,
    weights: str = "raw",
    n_shuffles: int = 20,
    max_samples: int | None = None,
    tolerance: float = 1e-4,
    seed: int = 0,
    device: torch.device | str | None = None,
    executor: Executor | None = None,
    progress: bool = False,
    name: str | None = None,
    command: Sequence[str] = (),
    options: Sequence[str] = (),
) -> Report:
    """Measure the entanglement of data in the given, the best and random feature orders.

    Orders come from minimum cuts of several affinities, see :data:`AFFINITIES`; the best is the one
    with the lowest mean entanglement.

    Parameters
    ----------
    X
        A ``Dataset``, a data frame (with ``y`` the name of its target column, or none), or an
        array ``(samples, features)``.
    y
        Labels, shape ``(samples,)``: two classes weigh the samples -1 and +1, more become a
        label axis, a quantity weighs them by its standard score. Default: all weights 1.
    shape
        Layout of the features. Default: that of the ``Dataset``, else a sequence.
    levels
        A number n for the levels 1 to n, or the levels themselves. Default: all with at most
        64 blocks and with a block of several features, since no order changes a level of
        single features.
    theta
        Angle of the trigonometric embedding, after scaling. "auto" puts the median kernel of
        two samples at 1/e; 0.085 is the published value.
    scale
        "feature" maps each feature to [0, 1] (the default for tables), "global" all of them
        together (the default for signals and images), "none" leaves the values.
    weights
        Of classes: "raw" gives every row the same (the published choice), "balanced" every
        class, so that the mean label adds no product state.
    n_shuffles
        Number of random orders.
    max_samples
        Rows drawn for the entropies, at random and by class. Default: 1000, or 500 for more
        than 32 features.
    tolerance
        Wanted error bound of each entropy, in nats.
    seed
        Of the rows drawn, the random orders, and the starts of the ordering.
    device
        Where the entropies are worked out.
    executor
        Takes the orders in parallel.
    progress
        Show a progress bar on a terminal.
    name
        What to call arrays and data frames; a ``Dataset`` has a name.
    command, options
        Words that name these data on the command line: the data with the options that shape
        them, and the other options of ``entangle diagnose``. The report builds the next command
        from them.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If the data cannot be used: not finite, one row, one column, one class, all constant.
    PartitionError
        If ``shape`` does not hold the features.
    MemoryLimitError
        Before anything large is allocated, if the work would not fit.

    Notes
    -----
    Orders are found from correlations and covariances of up to 5000 rows, and from the means of two
    classes or the covariances with a quantity where there is such a target. An order can fit the
    noise of the rows it was found on, so a second one is found in the same way without half of
    the rows drawn and tested on those; only a gain that shows there too makes a verdict.

    The intervals in the number of rows are for rows drawn anew from the same source with the
    same class shares, see :func:`~entangle.convergence.entanglement_convergence`.
    """
    data = as_dataset(X, y, name)
    layout = checked_layout(data, shape)
    random_orders = _random_orders(data, n_shuffles, seed)
    drawn = drawn_rows(data, theta, scale, weights, max_samples, seed, device)
    ordering_rows = stratified_rows(data.y, data.n_samples, ORDERING_ROWS, seed)
    names = _affinities(drawn)
    together = data.variables if shape is None and len(layout) == 1 else None
    rearranger = FeatureRearranger(
        shape=None if together else layout, groups=together, random_state=seed
    )
    order_from = partial(_order_from, data, rearranger)
    orders = [order_from(ordering_rows, name) for name in names]
    tensor, tree = drawn.tensor(), CanonicalTree(layout)
    _ = tensor.norm  # once, for all orders
    given = np.arange(data.n_features)
    tasks: list[Task] = [(order, None) for order in (given, *orders, *random_orders)]
    if len(drawn.rows) >= FEWEST_HELD_OUT:
        kept = stratified_rows(drawn.y, len(drawn.rows), len(drawn.rows) // 2, seed + 1)
        others = np.setdiff1d(ordering_rows, drawn.rows[kept])
        tasks += [(order, kept) for order in (given, *(order_from(others, n) for n in names))]
    n_tasks = len(tasks)
    tasks += [(given, part) for part in drawn.parts(SPLITS, seed + 2)]
    chosen = _top_levels(tree) if levels is None else levels
    room = tensor.free_memory / getattr(executor, "_max_workers", 1)
    measure = partial(_profile, tensor, layout, chosen, tolerance, room)
    profiles = _mapped(measure, tasks, n_tasks, executor, progress)
    first_random = 1 + len(names)
    best = min(range(len(names)), key=lambda which: profiles[1 + which].mean)
    found = ((given, profiles[0]), (orders[best], profiles[1 + best]))
    widths = [_widths(tensor.reordered(order), layout, profile) for order, profile in found]
    random = profiles[first_random : first_random + n_shuffles]
    held_out = profiles[first_random + n_shuffles : n_tasks]
    affinity = feature_affinity(as_sample_matrix(data.X[ordering_rows]))
    return Report(
        dataset={
            "name": data.name,
            "n_samples": data.n_samples,
            "n_features": data.n_features,
            "n_classes": data.n_classes,
            "shape": list(layout),
        },
        original=profiles[0],
        reordered=profiles[1 + best],
        shuffled=np.array([list(profile.by_level().values()) for profile in random]),
        shuffled_mean=np.array([profile.mean for profile in random]),
        held_out=tuple(held_out[which].mean for which in (0, 1 + best) if held_out),
        surrogate=_surrogates(affinity, tree, orders[best], profiles[0]),
        error_bound=float(max(profile.error_bound.max() for profile in profiles)),
        widths=(widths[0], widths[1]),
        convergence=_convergence(tensor, profiles, n_tasks),
        permutation=orders[best],
        settings={
            "affinity": names[best],
            "affinity_means": {name: profiles[1 + i].mean for i, name in enumerate(names)},
            "theta": drawn.theta,
            "seed": seed,
            "n_samples_used": len(drawn.rows),
            "weights": drawn.described,
            "class_shares": drawn.class_shares(),
            "mean_label_share": drawn.mean_label_share(tensor),
            "scale": drawn.scale,
            "levels": sorted(profiles[0].by_level()),
            "tolerance_nats": tolerance,
            "n_samples_ordering": len(ordering_rows),
            "device": str(tensor.vectors.device),
        },
        notes=(
            *data.notes,
            *_drawn_note(data, drawn),
            *_sparse_note(affinity),
            *_width_note(widths),
        ),
        command=tuple(command),
        options=tuple(options),
    )


def _affinities(drawn: Drawn) -> list[str]:
    """Names of the affinities to find orders from: what leads the entropy of these weights."""
    one_axis = drawn.weights is not None and drawn.weights.ndim == 1
    return [name for name in AFFINITIES if one_axis or not needs_labels(name)]


def _order_from(
    data: Dataset, rearranger: FeatureRearranger, rows: NDArray[np.int64], name: str
) -> NDArray[np.int64]:
    """Order that an affinity of the features on some rows gives."""
    labels = None if data.y is None else data.y[rows]
    if labels is not None and is_quantity(labels):  # few whole numbers would look like classes
        labels = standardized(labels.astype(np.float64)[:, None])[:, 0]
    if needs_labels(name) and (labels is None or np.unique(labels).size < 2):
        name = "covariance"  # few rows, and one class among them
    model: Any = clone(rearranger)
    model.set_params(affinity=name)
    return model.fit(as_sample_matrix(data.X[rows]), labels).permutation_


def _random_orders(data: Dataset, number: int, seed: int) -> list[NDArray[np.int64]]:
    if number < 1:
        raise InputError(f"n_shuffles is at least 1, got {number}")
    generator = np.random.default_rng(seed)
    return [generator.permutation(data.n_features) for _ in range(number)]


def _drawn_note(data: Dataset, drawn: Drawn) -> list[str]:
    """Say how many rows were used, if not all."""
    n_rows = len(drawn.rows)
    if n_rows == data.n_samples:
        return []
    evenly = "" if data.y is None else ", evenly over the target"
    return [f"{n_rows} of {data.n_samples} rows drawn at random{evenly}"]


def _sparse_note(affinity: Any) -> list[str]:
    """Say so where the affinity does not hold every pair of features."""
    if not sparse.issparse(affinity):
        return []
    return [
        f"many features: the order and the surrogates know the {NEAREST} strongest correlations of "
        "each, not all pairs"
    ]


def _mapped(
    measure: Callable[[Task], EntanglementProfile],
    tasks: list[Task],
    n_needed: int,
    executor: Executor | None,
    progress: bool,
) -> list[EntanglementProfile]:
    """Profiles of all tasks, or of those needed if a later one has samples that cancel."""
    profiles = []
    with progress_bar("feature orders", len(tasks), progress) as advance:
        try:
            for profile in map_ordered(measure, tasks, executor):
                profiles.append(profile)
                advance(1)
        except DegenerateStateError:
            if len(profiles) < n_needed:
                raise
    return profiles


def _profile(
    tensor: DataTensor,
    shape: tuple[int, ...],
    levels: int | Iterable[int],
    tolerance: float,
    max_memory: float,
    task: Task,
) -> EntanglementProfile:
    permutation, places = task
    part = tensor if places is None else tensor.take(places)
    return entanglement_profile(
        part.reordered(permutation), shape, levels, tolerance, max_memory=max_memory
    )


def _widths(
    tensor: DataTensor, layout: tuple[int, ...], profile: EntanglementProfile
) -> WidthBounds:
    """Width bounds of one order; only the lower one where more would take long."""
    bounds = partial(width_bounds, tensor, RELATIVE_ERROR, layout, profile=profile)
    if tensor.n_features * tensor.n_samples**2 > WIDTH_WORK:
        return bounds(most=0)
    try:
        return bounds(most=MOST_WIDTH)
    except MemoryLimitError:
        return bounds(most=0)


def _width_note(widths: list[WidthBounds]) -> list[str]:
    """Say so where no sufficient width was sought."""
    if all(found.most for found in widths):
        return []
    return [
        "no sufficient width was sought, which would take long for so many features and rows; "
        "width_bounds does it"
    ]


def _convergence(
    tensor: DataTensor, profiles: list[EntanglementProfile], n_tasks: int
) -> Convergence | None:
    """Convergence of the given order, if every part of the rows could be measured."""
    parts = profiles[n_tasks:]
    if len(parts) < SPLITS * PARTS:
        return None
    return Convergence.from_profiles(tensor, [profiles[0], *parts])


def _top_levels(tree: CanonicalTree) -> list[int]:
    """Levels that an order can change and that have at most 64 blocks, and always the first."""
    blocks: dict[int, list[int]] = {}
    for node in tree.nodes:
        blocks.setdefault(node.level, []).append(node.size)
    return [
        level
        for level, sizes in blocks.items()
        if level == 1 or (len(sizes) <= TOP_BLOCKS and max(sizes) > 1)
    ]


def _surrogates(
    affinity: Any, tree: CanonicalTree, permutation: NDArray[np.int64], profile: EntanglementProfile
) -> dict[str, float]:
    """Mean surrogate entanglement of the cuts that were measured, for three kinds of order."""
    n = tree.n_features
    levels = set(profile.levels.tolist())
    nodes = [node for node in tree.nodes if node.level in levels]
    pair = float(affinity.sum()) / (n * (n - 1))
    found = {"original": np.arange(n), "reordered": permutation}
    means = {}
    for order, columns in found.items():
        cuts = severed(affinity[columns][:, columns], tree, max(levels))
        means[order] = math.fsum(cuts[node] for node in nodes) / len(nodes)
    means["shuffled_mean"] = pair * math.fsum(k.size * (n - k.size) for k in nodes) / len(nodes)
    return means
