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

__all__ = ["Kind", "Schedule", "described", "fields_of"]


@dataclass(frozen=True)
class Kind:
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
        self.orders = Kind("order", partial(found_order, data, entropy), fields_of(Order))
        self.trainings = Kind("training", partial(trained_model, data), fields_of(Fitted))
        self.n_reused = 0

    def rows(
        self,
        orderings: Sequence[Ordering],
        contenders: Sequence[Contender],
        splits: Sequence[Split],
    ) -> tuple[Row, ...]:
        """Work out every row, model by model, ordering by ordering, split by split."""
        found = self.found_orders(orderings, splits)
        tasks = [
            ModelTask(contender, task.split, np.array(order.columns, dtype=np.int64))
            for contender in contenders for task, order in found
        ]  # fmt: skip
        keys = [self.model_key("training", task) for task in tasks]
        about = [
            {"model": contender.name, "ordering": task.ordering.name, **described(task.split)}
            for contender in contenders for task, _ in found
        ]  # fmt: skip
        fitted = [Fitted(**cell) for cell in self.done(self.trainings, tasks, keys, about)]
        ordered = [(c, *pair) for c in contenders for pair in found]
        return tuple(_row(*pieces, cell) for pieces, cell in zip(ordered, fitted, strict=True))

    def found_orders(
        self, orderings: Sequence[Ordering], splits: Sequence[Split]
    ) -> list[tuple[OrderTask, Order]]:
        """Find every order, ordering by ordering, split by split."""
        tasks = [OrderTask(ordering, split) for ordering in orderings for split in splits]
        keys = [self._order_key(task) for task in tasks]
        about = [{"ordering": t.ordering.name, **described(t.split)} for t in tasks]
        orders = [Order(**found) for found in self.done(self.orders, tasks, keys, about)]
        return list(zip(tasks, orders, strict=True))

    def _order_key(self, task: OrderTask) -> str:
        ordering, split = task.ordering, task.split
        source = fingerprint(ordering.source, f"ordering {ordering.name!r}") if self.keeps else ""
        return self.key("order", self.layout, source, split.train, split.seed)

    def model_key(self, kind: str, task: ModelTask, *parts: Any) -> str:
        """Name work of a kind on a model, its split and its columns."""
        model, split = task.contender, task.split
        seeded = model.seeded(split.seed)
        source = fingerprint(seeded, f"model {model.name!r}") if self.keeps else ""
        return self.key(kind, task.columns, source, split.train, split.test, split.seed, *parts)

    @property
    def keeps(self) -> bool:
        """Whether results are kept, so that they need names."""
        return self.store.directory is not None

    def key(self, *parts: Any) -> str:
        """Name what depends on these parts, on the rows and on the libraries; empty if not kept."""
        return fingerprint([self.common, *parts], "X") if self.keeps else ""

    def done(
        self,
        kind: Kind,
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


def described(split: Split) -> dict[str, int]:
    """Name a split in plain values."""
    return {"seed": split.seed, "fold": split.fold}


def fields_of(kind: type) -> frozenset[str]:
    """Names of the fields of a dataclass."""
    return frozenset(field.name for field in fields(kind))
