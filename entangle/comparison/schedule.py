"""The work of a comparison in order: every order first, then every model in every order.

What a folder holds is read, what is missing is done on an executor and kept as soon as it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from entangle.comparison.cells import (
    LEVELS,
    ROWS,
    TOLERANCE,
    Fitted,
    ModelTask,
    Order,
    OrderTask,
    found_order,
    trained_model,
)
from entangle.comparison.contenders import Contender
from entangle.comparison.fingerprint import fingerprint, versions
from entangle.comparison.orderings import Ordering
from entangle.comparison.result import Row
from entangle.comparison.splits import Split
from entangle.comparison.store import Store
from entangle.datasets import Dataset
from entangle.parallel import map_completed

__all__ = ["Schedule"]


@dataclass(frozen=True)
class _Kind:
    """A kind of work: the words for its files, how it is done, and the fields it gives."""

    name: str
    work: Callable[[Any], dict[str, Any]]
    fields: frozenset[str]


class Schedule:
    """All work of a comparison.

    Parameters
    ----------
    data
        Rows with classes.
    entropy
        Whether orders are measured by their entropy, too.
    store
        Where results are kept.
    executor, n_jobs
        Run tasks in parallel.
    advance
        Called with the number of tasks that are done.

    Attributes
    ----------
    n_reused
        Trainings that were read.
    """

    def __init__(
        self,
        data: Dataset,
        entropy: bool,
        store: Store,
        executor: Executor | None,
        n_jobs: int | None,
        advance: Callable[[int], None],
    ) -> None:
        self.store, self.executor, self.n_jobs, self.advance = store, executor, n_jobs, advance
        keeps = store.directory is not None
        self.common = [versions(), fingerprint([data.X, data.y], "X") if keeps else None]
        measured = (LEVELS, ROWS, TOLERANCE, data.kind) if entropy else None
        self.layout = [data.shape, measured]
        self.orders = _Kind("order", partial(found_order, data, entropy), _fields(Order))
        self.trainings = _Kind("training", partial(trained_model, data), _fields(Fitted))
        self.n_reused = 0

    def rows(
        self,
        orderings: Sequence[Ordering],
        contenders: Sequence[Contender],
        splits: Sequence[Split],
    ) -> tuple[Row, ...]:
        """Work out every row, model by model, ordering by ordering, split by split."""
        order_tasks = [OrderTask(ordering, split) for ordering in orderings for split in splits]
        keys = [self._order_key(task) for task in order_tasks]
        about = [{"ordering": t.ordering.name, **_about(t.split)} for t in order_tasks]
        orders = [Order(**found) for found in self._done(self.orders, order_tasks, keys, about)]
        found = list(zip(order_tasks, orders, strict=True))
        tasks = [
            ModelTask(contender, task.split, np.array(order.columns, dtype=np.int64))
            for contender in contenders for task, order in found
        ]  # fmt: skip
        keys = [self._training_key(task) for task in tasks]
        about = [
            {"model": contender.name, "ordering": task.ordering.name, **_about(task.split)}
            for contender in contenders for task, _ in found
        ]  # fmt: skip
        fitted = [Fitted(**cell) for cell in self._done(self.trainings, tasks, keys, about)]
        ordered = [(c, *pair) for c in contenders for pair in found]
        return tuple(_row(*pieces, cell) for pieces, cell in zip(ordered, fitted, strict=True))

    def _order_key(self, task: OrderTask) -> str:
        ordering, split = task.ordering, task.split
        source = fingerprint(ordering.source, f"ordering {ordering.name!r}") if self.keeps else ""
        return self._key("order", self.layout, source, split.train, split.seed)

    def _training_key(self, task: ModelTask) -> str:
        model, split = task.contender, task.split
        seeded = model.seeded(split.seed)
        source = fingerprint(seeded, f"model {model.name!r}") if self.keeps else ""
        return self._key("training", task.columns, source, split.train, split.test, split.seed)

    @property
    def keeps(self) -> bool:
        """Whether results are kept, so that they need names."""
        return self.store.directory is not None

    def _key(self, *parts: Any) -> str:
        return fingerprint([self.common, *parts], "X") if self.keeps else ""

    def _done(
        self,
        kind: _Kind,
        tasks: Sequence[Any],
        keys: Sequence[str],
        about: Sequence[Mapping[str, Any]],
    ) -> list[dict[str, Any]]:
        """Results of all tasks, in their order; those of equal keys are worked out once."""
        results: dict[int, dict[str, Any]] = {}
        first: dict[str, int] = {}
        for place, key in enumerate(keys):
            kept = self.store.result(key, kind.fields) if self.keeps else None
            if kept is not None:
                results[place] = kept
        self.n_reused = len(results)
        self.advance(len(results))
        missing = [place for place in range(len(tasks)) if place not in results]
        if self.keeps:
            first = {keys[place]: place for place in reversed(missing)}
            missing = sorted(first.values())
        todo = [tasks[place] for place in missing]
        with closing(map_completed(kind.work, todo, self.executor, self.n_jobs)) as done:
            for number, result in done:
                place = missing[number]
                results[place] = result
                self.store.keep(keys[place], {"kind": kind.name, **about[place]}, result)
                self.advance(1)
        return [results[p] if p in results else results[first[keys[p]]] for p in range(len(tasks))]


def _row(contender: Contender, task: OrderTask, order: Order, fitted: Fitted) -> Row:
    split = task.split
    return Row(
        task.ordering.name, contender.name, split.seed, split.fold, fitted.accuracy,
        fitted.train_seconds, fitted.epochs, order.seconds, order.cut, order.entropy_nats,
        len(split.train), len(split.test),
    )  # fmt: skip


def _about(split: Split) -> dict[str, int]:
    return {"seed": split.seed, "fold": split.fold}


def _fields(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind))
