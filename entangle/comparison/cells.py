"""The two kinds of work: find and measure an order, and train and test a model on it.

Both run in any process, and give the same numbers in each: one thread does the arithmetic, since
sums of several depend on their number, and in one process cells take turns, since the random
numbers of torch belong to the process.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from entangle.affinity import feature_affinity
from entangle.comparison.contenders import Contender
from entangle.comparison.orderings import Ordering
from entangle.comparison.splits import Split
from entangle.comparison.threats import with_threat_in_order
from entangle.datasets import Dataset
from entangle.entropy import entanglement_profile
from entangle.errors import DegenerateStateError, InputError, TrainingInterrupted
from entangle.ordering.bench import Yardstick
from entangle.parallel import one_blas_thread
from entangle.partition import CanonicalTree
from entangle.preparation import drawn_rows

__all__ = [
    "Fitted",
    "ModelTask",
    "Order",
    "OrderTask",
    "fitted",
    "found_order",
    "interruptible",
    "trained_model",
    "working_alone",
]

LEVELS = 4  # that the published entropies are a mean over
ROWS = 500  # of a training part, for its entropies
TOLERANCE = 1e-3  # nats

_TURNS = threading.Lock()


@dataclass(frozen=True)
class Order:
    """An order found on the training rows of a split.

    Attributes
    ----------
    columns
        Feature of each column.
    seconds
        To find it.
    cut
        H of the training rows in this order, see :func:`~entangle.surrogate.hierarchical_cut`.
    entropy_nats
        Of the training rows in this order, mean over the canonical cuts of levels 1 to 4; ``None``
        if it was not asked for or the samples cancel.
    """

    columns: list[int]
    seconds: float
    cut: float
    entropy_nats: float | None


@dataclass(frozen=True)
class Fitted:
    """A model trained on one order.

    Attributes
    ----------
    accuracy
        Share of the test rows whose class was predicted.
    train_seconds
        Wall time of ``fit``.
    epochs
        Passes through the data, or iterations; ``None`` if the model does not say.
    """

    accuracy: float
    train_seconds: float
    epochs: int | None


@dataclass(frozen=True, eq=False)
class OrderTask:
    """An ordering and the split that it is found on."""

    ordering: Ordering
    split: Split


@dataclass(frozen=True, eq=False)
class ModelTask:
    """A model, a split, and the order of the columns."""

    contender: Contender
    split: Split
    columns: NDArray[np.int64]


def found_order(data: Dataset, entropy: bool, task: OrderTask) -> dict[str, Any]:
    """Fields of an :class:`Order`.

    Parameters
    ----------
    data
        All rows; the training rows of the split alone are looked at. Its shape is the layout.
    entropy
        Whether to measure the entropy.
    task
        What to find.
    """
    split = task.split
    part = replace(data, X=data.X[split.train], y=data.y[split.train])  # pyright: ignore
    with working_alone():
        begin = time.perf_counter()
        columns = task.ordering.columns(part.X, part.y, split.seed)  # pyright: ignore
        seconds = time.perf_counter() - begin
        tree = CanonicalTree(data.shape)
        yardstick = Yardstick(feature_affinity(part.X.astype(np.float64)), tree)
        cut = yardstick.cuts({"found": columns})["found"]
        mean = _entropy(part, tree, columns, split.seed) if entropy else None
    return asdict(Order(columns.tolist(), seconds, cut, mean))


def trained_model(data: Dataset, task: ModelTask) -> dict[str, Any]:
    """Fields of a :class:`Fitted`.

    Raises
    ------
    InputError
        If the model fails, with its name.
    KeyboardInterrupt
        Also where the model would have kept what it had trained so far.
    """
    with working_alone(), interruptible():
        return asdict(fitted(data, task)[1])


def fitted(data: Dataset, task: ModelTask) -> tuple[Any, Fitted]:
    """Return a trained model, and how it did on the test rows."""
    split, y = task.split, data.y
    assert y is not None
    model = with_threat_in_order(task.contender.seeded(split.seed), task.columns)
    begin = time.perf_counter()
    _fit(model, task.contender.name, data.X[np.ix_(split.train, task.columns)], y[split.train])
    seconds = time.perf_counter() - begin
    predicted = model.predict(data.X[np.ix_(split.test, task.columns)])
    accuracy = float(np.mean(np.asarray(predicted) == y[split.test]))
    return model, Fitted(accuracy, seconds, _epochs(model))


def _fit(model: Any, name: str, X: NDArray[Any], y: NDArray[Any]) -> None:
    try:
        model.fit(X, y)
    except (ValueError, TypeError) as reason:
        raise InputError(f"model {name!r} cannot be trained on these data: {reason}") from reason


def _epochs(model: Any) -> int | None:
    found = getattr(model, "n_iter_", None)
    return None if found is None else int(np.max(found))


def _entropy(
    part: Dataset, tree: CanonicalTree, columns: NDArray[np.int64], seed: int
) -> float | None:
    tensor = drawn_rows(part, "auto", None, "raw", ROWS, seed, None).tensor()
    levels = min(LEVELS, tree.depth)
    try:
        return entanglement_profile(tensor.reordered(columns), part.shape, levels, TOLERANCE).mean
    except DegenerateStateError:
        return None


@contextmanager
def working_alone() -> Iterator[None]:
    """Work alone in this process, with one thread."""
    with _TURNS, one_blas_thread():
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C through that a training loop would take for an early end.

    Its warning becomes an error, and that the interruption again; else half a training would be
    kept as a result. Interruptions reach the main thread only, and filters of warnings belong to
    the process, so other threads go on as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingInterrupted)
        try:
            yield
        except TrainingInterrupted as reason:
            raise KeyboardInterrupt from reason
