"""What a comparison found: one row a training, and what the rows say of each ordering."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from entangle.comparison.intervals import Interval, corrected_interval
from entangle.comparison.pairing import by_resample
from entangle.comparison.standings import Standings
from entangle.comparison.wording import comparison_text

__all__ = ["Comparison", "Row", "Standing", "plain"]

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes
    ----------
    ordering, model
        Their names.
    seed, fold
        Of the split; the seed is that of the start of the ordering and of the model, too.
    accuracy
        Share of the test rows whose class was predicted.
    train_seconds, order_seconds
        Wall time of training, and of finding the order.
    epochs
        Trained, of a model that says so.
    cut
        Surrogate H of the training rows in this order: mean |correlation| that the canonical blocks
        cut, summed over the levels.
    entropy_nats
        Mean entanglement entropy of the training rows in this order over the canonical cuts of
        levels 1 to 4, if it was asked for.
    n_train, n_test
        Rows.
    """

    ordering: str
    model: str
    seed: int
    fold: int
    accuracy: float
    train_seconds: float
    epochs: int | None
    order_seconds: float
    cut: float
    entropy_nats: float | None
    n_train: int
    n_test: int


@dataclass(frozen=True)
class Standing:
    """An ordering with one model, over all resamples.

    Attributes
    ----------
    model, ordering
        Their names.
    n_resamples
        Splits that the intervals count.
    accuracy
        Mean test accuracy with its interval.
    std
        Standard deviation of the accuracies of all rows; NaN for a single one.
    difference
        Accuracy minus that of the baseline ordering on the same split and seed, with its interval;
        ``None`` for the baseline itself.
    train_seconds, order_seconds, cut, entropy_nats
        Means of the rows.
    """

    model: str
    ordering: str
    n_resamples: int
    accuracy: Interval
    std: float
    difference: Interval | None
    train_seconds: float
    order_seconds: float
    cut: float
    entropy_nats: float | None


@dataclass(frozen=True)
class Comparison(Standings[Row, Standing]):
    """What :func:`~entangle.comparison.compare_orderings` found.

    Attributes
    ----------
    rows
        One a training: model by model, ordering by ordering, seed by seed, fold by fold.
    baseline
        Ordering that the others are compared with.
    confidence
        Of the intervals.
    fresh_splits
        Whether each seed has splits of its own. If not, accuracies of the same split are averaged
        over the seeds before anything else: rows tested twice are no new evidence.
    dataset
        ``name``, ``n_samples``, ``n_features``, ``n_classes``, ``shape``, and the share of the
        rows that the ``largest_class`` has.
    settings
        ``seeds``, ``n_folds``, ``models`` in words, ``epochs`` of networks called by name,
        ``entropy``, ``n_reused`` trainings that were read from files.
    notes
        What was done to the data and to the layout, one sentence each.
    """

    rows: tuple[Row, ...]
    baseline: str
    confidence: float
    fresh_splits: bool
    dataset: Mapping[str, Any]
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def standing(self, model: str, ordering: str) -> Standing:
        """Say what the rows found of one model and ordering.

        Raises
        ------
        KeyError
            If there is no such pair.
        """
        rows = self.rows_of(model, ordering)
        ours = self.resampled(model, ordering)
        difference = None
        if ordering != self.baseline:
            difference = self._interval(ours - self.resampled(model, self.baseline))
        every = [row.accuracy for row in rows]
        entropies = [row.entropy_nats for row in rows if row.entropy_nats is not None]
        return Standing(
            model=model,
            ordering=ordering,
            n_resamples=ours.size,
            accuracy=self._interval(ours),
            std=float(np.std(every, ddof=1)) if len(every) > 1 else math.nan,
            difference=difference,
            train_seconds=_mean([row.train_seconds for row in rows]),
            order_seconds=_mean([row.order_seconds for row in rows]),
            cut=_mean([row.cut for row in rows]),
            entropy_nats=_mean(entropies) if len(entropies) == len(rows) else None,
        )

    def resampled(self, model: str, ordering: str) -> NDArray[np.float64]:
        """Accuracy on each resample, shape ``(resamples,)``; equal places are paired."""
        rows = self.rows_of(model, ordering)
        return by_resample(rows, lambda row: row.accuracy, self.fresh_splits)

    def _interval(self, values: NDArray[np.float64]) -> Interval:
        return corrected_interval(values, self.test_per_train, self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain numbers, text, lists and dictionaries; undefined numbers are ``None``.

        Accuracies are shares, from 0 to 1.
        """
        return {
            "schema": SCHEMA,
            "dataset": dict(self.dataset),
            "settings": dict(self.settings),
            "baseline": self.baseline,
            "confidence": self.confidence,
            "fresh_splits": self.fresh_splits,
            "test_per_train": self.test_per_train,
            "summary": [plain(asdict(standing)) for standing in self.summary()],
            "rows": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
        }

    def to_frame(self, backend: Literal["pandas", "polars", "pyarrow"] = "pandas") -> Any:
        """One row a training, as a data frame of ``backend``; what is unknown is NaN."""
        table = {name: [getattr(row, name) for row in self.rows] for name in Row.__annotations__}
        for name in ("epochs", "entropy_nats"):
            table[name] = [math.nan if value is None else float(value) for value in table[name]]
        return nw.from_dict(table, backend=backend).to_native()

    def to_text(self) -> str:
        """Tables and a sentence for each ordering, for a terminal."""
        return comparison_text(self)


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def plain(value: Any) -> Any:
    """Nested values with ``None`` for undefined numbers."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
