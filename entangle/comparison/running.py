"""Comparison of orderings by the accuracy of local networks: what rearranging is worth here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np

from entangle.axes import Shape
from entangle.comparison.contenders import Contender, contenders_wanted, usual_epochs
from entangle.comparison.orderings import Ordering, orderings_wanted
from entangle.comparison.result import Comparison
from entangle.comparison.schedule import Schedule
from entangle.comparison.splits import seeds_wanted, splits_for
from entangle.comparison.store import Store
from entangle.datasets import Dataset
from entangle.errors import InputError
from entangle.labels import as_labels, is_quantity, stratified_rows
from entangle.preparation import as_dataset, checked_layout
from entangle.progress import progress_bar

__all__ = ["compare_orderings"]


def compare_orderings(
    X: object,
    y: object = None,
    orderings: Any = ("random", "natural", "mincut"),
    models: Any = ("cnn",),
    *,
    baseline: str | None = None,
    shape: Shape | None = None,
    cv: Any = 3,
    seeds: int | Iterable[int] = 2,
    epochs: int | None = None,
    model_options: Mapping[str, Mapping[str, Any]] | None = None,
    entropy: bool = True,
    max_samples: int | None = None,
    confidence: float = 0.95,
    directory: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    n_jobs: int | None = None,
    progress: bool = False,
    name: str | None = None,
) -> Comparison:
    """Measure what the order of the features is worth to local networks.

    Every ordering is found on the training rows of every split, every model trained on them in that
    order and tested on the rest. Differences from a baseline ordering are paired: same rows, same
    seed of the model.

    Parameters
    ----------
    X
        A ``Dataset``, a data frame (with ``y`` the name of its target column), or an array
        ``(samples, features)``; finite.
    y
        Classes, shape ``(samples,)``.
    orderings
        Several of: ``"natural"``, the order as given; ``"random"``, one for each seed; a method of
        :class:`~entangle.ordering.rearranger.FeatureRearranger`, such as ``"mincut"`` or
        ``"igtd"``, also with an affinity, as in ``"mincut:class-mean"``; a permutation, shape
        ``(features,)``; a transformer that moves columns. Or a dictionary from names to these.
    models
        Several of: a network of :data:`entangle.models.MODELS`, ``"tree"`` or ``"mps"``; a
        classifier of scikit-learn; a function without arguments that builds one. Or a dictionary
        from names to these. Every ``random_state`` in them becomes the seed. Local networks by name
        scale each feature of a table alone, and those of signals and grids together.
    baseline
        Name of the ordering that others are compared with. Default: the first.
    shape
        Layout of the features. Default: that of the ``Dataset``, else a sequence. ``"cnn"``,
        ``"padded-cnn"`` and ``"tree"`` read a grid as one, other networks row by row.
    cv
        Number of folds, stratified and drawn anew for each seed; or pairs of (train, test) rows, or
        a splitter of scikit-learn, the same for every seed.
    seeds
        Number of seeds, 0, 1, ..., or the seeds: of folds, random orders, and models.
    epochs
        Of networks called by name. Default: 30, or so many that there are 600 steps of 64 rows, at
        most 300.
    model_options
        Options of models by their names, such as
        ``{"cnn": {"learning_rate": 0.01, "device": "cuda"}}``.
    entropy
        Measure the entanglement entropy of the training rows in each order, too, on 500 of them.
    max_samples
        Rows drawn at random, evenly by class, before anything else. Default: all.
    confidence
        Of the intervals.
    directory
        Folder for finished orders and trainings, a small file each; a later call reads what it
        needs from there and works out the rest. Names of files are fingerprints of the rows, the
        order, the model with its options, the seed and the versions of libraries, so nothing is
        read that was measured with others.
    executor
        Runs orders and trainings in parallel. Threads take turns, since random numbers of torch
        belong to the process; pass processes.
    n_jobs
        Processes, where there is no executor; ``None`` is one, -1 one per core.
    progress
        Show a progress bar on a terminal.
    name
        What to call arrays and data frames.

    Returns
    -------
    Comparison
        Its ``rows``, ``summary()``, ``to_text()``, ``to_frame()`` and ``to_dict()``. The same
        on one machine whatever the executor, but for the seconds.

    Raises
    ------
    InputError
        If data, classes, folds, an ordering, a model or an option cannot be used.
    PartitionError
        If ``shape`` does not hold the features.

    Notes
    -----
    A method gets the features in random order, the one called "random" for that seed, so that no
    meaning of the given order helps it; only an affinity given as a matrix or function, or a method
    given as a function, sees features as they come.

    Intervals are Student's with the variance of Nadeau and Bengio 2003 for training sets that
    overlap, see :mod:`entangle.comparison.intervals`; each stands alone, and of many some miss by
    chance. Where all seeds share the splits, their accuracies are averaged first, and where there
    is a single split, there is no interval.

    Ctrl-C loses what runs at that moment; with ``directory``, what was done stays.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> X = np.random.default_rng(0).standard_normal((60, 8)).cumsum(axis=1)
    >>> found = compare_orderings(X, X[:, 4] > 0, ("random", "natural"), [KNeighborsClassifier()])
    >>> found.standing("KNeighborsClassifier", "natural").difference.mean  # no order helps it
    0.0
    """
    data = _data(X, y, shape, max_samples, name)
    assert data.y is not None
    splits = splits_for(cv, seeds_wanted(seeds), data.y)
    n_train = round(float(np.mean([len(split.train) for split in splits])))
    n_epochs = usual_epochs(n_train) if epochs is None else epochs
    wanted = orderings_wanted(orderings, data.shape, data.n_features)
    against = _baseline(baseline, wanted)
    scale = "feature" if data.kind == "table" and len(data.shape) == 1 else "all"
    contenders = contenders_wanted(models, model_options, data.shape, n_epochs, scale)
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies between 0 and 1, got {confidence!r}; 0.95 is usual")
    store = Store(directory)
    steps = len(splits) * len(wanted) * (1 + len(contenders))
    with progress_bar("orders and trainings", steps, progress) as advance:
        work = Schedule(data, entropy, store, executor, n_jobs, advance)
        rows = work.rows(wanted, contenders, splits)
    return Comparison(
        rows=rows,
        baseline=against,
        confidence=confidence,
        fresh_splits=isinstance(cv, int | np.integer),
        dataset={
            "name": data.name,
            "n_samples": data.n_samples,
            "n_features": data.n_features,
            "n_classes": data.n_classes,
            "largest_class": float(np.unique(data.y, return_counts=True)[1].max() / len(data.X)),
            "shape": list(data.shape),
        },
        settings={
            "seeds": list(dict.fromkeys(split.seed for split in splits)),
            "n_folds": len({split.fold for split in splits}),
            "models": {c.name: re.sub(r"\s+", " ", repr(c.model)) for c in contenders},
            "epochs": n_epochs,
            "entropy": entropy,
            "n_reused": work.n_reused,
        },
        notes=(*data.notes, *_layout_notes(data, contenders)),
    )


def _data(
    X: object, y: object, shape: Shape | None, max_samples: int | None, name: str | None
) -> Dataset:
    """Check data and classes, and lay them out as asked for."""
    given = _classes_given(X, y)
    if given is None:
        raise InputError(
            "a comparison needs the class of every row, got none; pass y, or name the target "
            "column (--target)"
        )
    labels = as_labels(given, "y")
    if is_quantity(labels):
        raise InputError(
            "a comparison needs classes, the target is a quantity; cut it into classes, for "
            "example with numpy.digitize"
        )
    classes = np.unique(labels)
    if classes.size < 2:
        raise InputError(
            f"a comparison needs at least two classes, every row is {str(classes[0])!r}; name "
            "another target"
        )
    data = as_dataset(X, y, name)
    data = replace(data, shape=checked_layout(data, shape))
    if max_samples is None or max_samples >= data.n_samples:
        return data
    if max_samples < 2:
        raise InputError(f"max_samples is at least 2, got {max_samples}")
    rows = stratified_rows(labels, data.n_samples, max_samples, seed=0)
    note = f"{len(rows)} of {data.n_samples} rows drawn at random, evenly over the target"
    return replace(data, X=data.X[rows], y=labels[rows], notes=(*data.notes, note))


def _classes_given(X: Any, y: object) -> object:
    """Labels, wherever they are."""
    if isinstance(X, Dataset):
        return X.y if y is None else y
    if isinstance(y, str):
        return X[y] if y in getattr(X, "columns", ()) else y
    return y


def _baseline(baseline: str | None, orderings: Sequence[Ordering]) -> str:
    names = [ordering.name for ordering in orderings]
    if baseline is None:
        return names[0]
    if baseline not in names:
        raise InputError(
            f"baseline is one of the orderings compared, {', '.join(map(repr, names))}, got "
            f"{baseline!r}; add it to them"
        )
    return baseline


def _layout_notes(data: Dataset, contenders: Sequence[Contender]) -> list[str]:
    """Say which networks do not see the grid that the orders are for."""
    flat = [c.name for c in contenders if getattr(c.model, "shape", data.shape) is None]
    if len(data.shape) < 2 or not flat:
        return []
    layout = " x ".join(map(str, data.shape))
    reads = "reads" if len(flat) == 1 else "read"
    return [f"{', '.join(flat)} {reads} the grid of {layout} row by row"]
