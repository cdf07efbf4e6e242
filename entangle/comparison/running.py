"""Comparison of orderings by the accuracy of local networks: what rearranging is worth here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from typing import Any

from entangle.axes import Shape
from entangle.comparison.result import Comparison
from entangle.comparison.schedule import Schedule
from entangle.comparison.setting import setting_of
from entangle.comparison.store import Store
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
        ``"igtd"``, also with an affinity, with one-hot columns kept together, or both, as in
        ``"mincut:class-mean:one-hot"``; a permutation, shape ``(features,)``; a transformer that
        moves columns. Or a dictionary from names to these.
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
    >>> import numpy as np
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> X = np.random.default_rng(0).standard_normal((60, 8)).cumsum(axis=1)
    >>> found = compare_orderings(X, X[:, 4] > 0, ("random", "natural"), [KNeighborsClassifier()])
    >>> found.standing("KNeighborsClassifier", "natural").difference.mean  # no order helps it
    0.0
    """
    setting = setting_of(
        X, y, orderings, models, baseline=baseline, shape=shape, cv=cv, seeds=seeds, epochs=epochs,
        model_options=model_options, max_samples=max_samples, confidence=confidence, name=name,
    )  # fmt: skip
    store = Store(directory)
    orderings, contenders, splits = setting.orderings, setting.contenders, setting.splits
    steps = len(splits) * len(orderings) * (1 + len(contenders))
    with progress_bar("orders and trainings", steps, progress) as advance:
        work = Schedule(setting.data, entropy, store, executor, n_jobs, advance)
        rows = work.rows(orderings, contenders, splits)
    return Comparison(
        rows=rows,
        baseline=setting.baseline,
        confidence=confidence,
        fresh_splits=setting.fresh_splits,
        dataset=setting.dataset(),
        settings={**setting.settings(), "entropy": entropy, "n_reused": work.n_reused},
        notes=setting.notes(),
    )
