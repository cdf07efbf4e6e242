"""What a comparison under attack found: one row a model and split, and what the rows say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any, Literal

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from entangle.comparison.intervals import Interval, corrected_interval
from entangle.comparison.pairing import by_resample
from entangle.comparison.result import plain
from entangle.comparison.standings import Standings
from entangle.robustness.rows import RobustRow, row_records
from entangle.robustness.wording import robustness_text

__all__ = ["RobustStanding", "RobustnessComparison"]

SCHEMA = 1
RELATION = ("relative_sigma_x", "relative_sigma_p", "uncertainty_product")


@dataclass(frozen=True)
class RobustStanding:
    """An ordering with one model, over all resamples.

    Attributes
    ----------
    model, ordering
        Their names.
    n_resamples
        Splits that the intervals count.
    accuracy, difference
        Mean clean accuracy on all test rows, and the paired difference from the baseline ordering;
        ``None`` for the baseline itself.
    robust, robust_differences
        The same of the attacked rows, one for each radius.
    unattacked
        Mean clean accuracy of the attacked rows.
    train_entropy_nats
        Mean entropy of the training rows in this order.
    entropy_nats
        Of the attacked rows as they were.
    entropy_changes
        What the attack adds to it, in nats, one for each radius; paired by split.
    noise_changes
        What steps of the same sizes in random directions add to it.
    relative_sigma_x, relative_sigma_p, uncertainty_product
        Of the uncertainty relation, see :class:`~entangle.robustness.relation.Relation`; ``None``
        where it is not known of every row.
    packets, packets_refused
        Of all rows.
    train_seconds, attack_seconds
        Means of the rows.
    """

    model: str
    ordering: str
    n_resamples: int
    accuracy: Interval
    difference: Interval | None
    unattacked: Interval
    robust: tuple[Interval, ...]
    robust_differences: tuple[Interval, ...] | None
    train_entropy_nats: float | None
    entropy_nats: float | None
    entropy_changes: tuple[Interval, ...] | None
    noise_changes: tuple[Interval, ...] | None
    relative_sigma_x: Interval | None
    relative_sigma_p: Interval | None
    uncertainty_product: Interval | None
    packets: int
    packets_refused: int
    train_seconds: float
    attack_seconds: float


@dataclass(frozen=True)
class RobustnessComparison(Standings[RobustRow, RobustStanding]):
    """What :func:`~entangle.robustness.compare_robustness` found.

    Attributes
    ----------
    rows
        One a training: model by model, ordering by ordering, seed by seed, fold by fold.
    epsilons
        Radii, above 0, from small to large, in ``unit``.
    unit
        ``"range"`` or ``"std"``; ``settings["eps"]`` says of what.
    norm
        Of perturbations.
    baseline
        Ordering that the others are compared with.
    confidence
        Of the intervals.
    fresh_splits
        Whether each seed has splits of its own; if not, rows of the same split are averaged over
        the seeds before anything else.
    dataset
        As of a :class:`~entangle.comparison.Comparison`.
    settings
        ``seeds``, ``n_folds``, ``models`` in words, ``epochs`` of networks called by name, ``eps``
        in words, ``attack``, ``n_attacked``, ``adversarial_training``, ``entropy``,
        ``uncertainty``, ``n_reused``.
    notes
        What was done to the data and to the layout, one sentence each.
    """

    rows: tuple[RobustRow, ...]
    epsilons: tuple[float, ...]
    unit: str
    norm: str
    baseline: str
    confidence: float
    fresh_splits: bool
    dataset: Mapping[str, Any]
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def standing(self, model: str, ordering: str) -> RobustStanding:
        """Say what the rows found of one model and ordering.

        Raises
        ------
        KeyError
            If there is no such pair.
        """
        rows = self.rows_of(model, ordering)
        n_test = float(np.mean([row.n_test for row in rows]))
        n_attacked = float(np.mean([row.n_attacked for row in rows]))
        clean = self._against_baseline(model, ordering, lambda row: row.accuracy, n_test)
        robust = [
            self._against_baseline(model, ordering, _robust(place), n_attacked)
            for place in range(len(self.epsilons))
        ]
        unattacked = self._values(model, ordering, lambda row: row.unattacked_accuracy)
        differences = tuple(found for _, found in robust if found is not None)
        return RobustStanding(
            model=model,
            ordering=ordering,
            n_resamples=len(unattacked),
            accuracy=clean[0],
            difference=clean[1],
            unattacked=self._interval(unattacked, n_attacked),
            robust=tuple(found for found, _ in robust),
            robust_differences=differences or None,
            train_entropy_nats=_mean([row.train_entropy_nats for row in rows]),
            entropy_nats=_mean([row.entropy_nats for row in rows]),
            entropy_changes=self._changes(rows, "attacked_entropy_nats"),
            noise_changes=self._changes(rows, "noise_entropy_nats"),
            **{name: self._known(rows, name) for name in RELATION},
            packets=sum(row.packets for row in rows),
            packets_refused=sum(row.packets_refused for row in rows),
            train_seconds=float(np.mean([row.train_seconds for row in rows])),
            attack_seconds=float(np.mean([row.attack_seconds for row in rows])),
        )

    def _against_baseline(
        self, model: str, ordering: str, value: Callable[[RobustRow], float], n_rows: float
    ) -> tuple[Interval, Interval | None]:
        """Mean of shares of ``n_rows``, and the paired difference, ``None`` for the baseline."""
        ours = self._values(model, ordering, value)
        if ordering == self.baseline:
            return self._interval(ours, n_rows), None
        theirs = self._values(model, self.baseline, value)
        return self._interval(ours, n_rows), self._interval(ours - theirs, n_rows)

    def _values(
        self, model: str, ordering: str, value: Callable[[RobustRow], float]
    ) -> NDArray[np.float64]:
        return by_resample(self.rows_of(model, ordering), value, self.fresh_splits)

    def _known(self, rows: list[RobustRow], name: str) -> Interval | None:
        """Interval of a number; ``None`` where it is not known of every row."""
        if any(getattr(row, name) is None for row in rows):
            return None
        return self._interval(by_resample(rows, attrgetter(name), self.fresh_splits))

    def _changes(self, rows: list[RobustRow], name: str) -> tuple[Interval, ...] | None:
        """Entropy changes at each radius; ``None`` where they are not known of every row."""
        if any(row.entropy_nats is None or getattr(row, name) is None for row in rows):
            return None

        def change(place: int) -> Callable[[RobustRow], float]:
            return lambda row: getattr(row, name)[place] - row.entropy_nats  # pyright: ignore

        found = [by_resample(rows, change(p), self.fresh_splits) for p in range(len(self.epsilons))]
        return tuple(map(self._interval, found))

    def _interval(self, values: NDArray[np.float64], n_rows: float = math.inf) -> Interval:
        """Interval of a mean; of shares of ``n_rows``, with the rounding that they have."""
        return corrected_interval(
            values, self.test_per_train, self.confidence, resolution=1 / n_rows
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain numbers, text, lists and dictionaries; undefined numbers are ``None``.

        Accuracies are shares, from 0 to 1; lists with one value a radius follow
        ``epsilons_range`` or ``epsilons_std``.
        """
        return {
            "schema": SCHEMA,
            "dataset": dict(self.dataset),
            "settings": dict(self.settings),
            "norm": self.norm,
            f"epsilons_{self.unit}": list(self.epsilons),
            "baseline": self.baseline,
            "confidence": self.confidence,
            "fresh_splits": self.fresh_splits,
            "summary": [plain(_renamed(asdict(standing))) for standing in self.summary()],
            "rows": [plain(asdict(row)) for row in self.rows],
            "notes": list(self.notes),
        }

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a training and radius, radius 0 first; what is unknown is NaN."""
        return [line for row in self.rows for line in row_records(row, self.epsilons, self.unit)]

    def to_frame(self, backend: Literal["pandas", "polars", "pyarrow"] = "pandas") -> Any:
        """Return :meth:`records` as a data frame of ``backend``."""
        lines = self.records()
        table = {name: [line[name] for line in lines] for name in lines[0]}
        return nw.from_dict(table, backend=backend).to_native()

    def to_text(self) -> str:
        """Tables and sentences for each ordering, for a terminal."""
        return robustness_text(self)


def _robust(place: int) -> Callable[[RobustRow], float]:
    return lambda row: row.robust_accuracy[place]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _renamed(standing: dict[str, Any]) -> dict[str, Any]:
    """Say the unit of what has one."""
    names = {name: f"{name}_nats" for name in ("entropy_changes", "noise_changes")}
    return {names.get(name, name): value for name, value in standing.items()}
