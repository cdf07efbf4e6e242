"""One training and the attacks on it, as a row, and as plain records for tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from entangle.robustness.cells import Attacked

__all__ = ["RobustRow", "row_records"]


@dataclass(frozen=True)
class RobustRow(Attacked):
    """One training, and the attacks on it; with the fields of :class:`Attacked`.

    Attributes
    ----------
    ordering, model
        Their names.
    seed, fold
        Of the split; the seed is that of the order, of the model, of the rows that are attacked
        and of the attacks, too.
    cut
        Surrogate H of the training rows in this order.
    train_entropy_nats
        Of the training rows in this order, mean over the canonical cuts of levels 1 to 4.
    n_train, n_test
        Rows.
    """

    ordering: str
    model: str
    seed: int
    fold: int
    cut: float
    train_entropy_nats: float | None
    n_train: int
    n_test: int


def row_records(row: RobustRow, epsilons: tuple[float, ...], unit: str) -> list[dict[str, Any]]:
    """One record a radius, radius 0 first; what is unknown is NaN.

    Parameters
    ----------
    row
        The training.
    epsilons, unit
        Of the comparison.
    """
    fixed = {name: getattr(row, name) for name in ("model", "ordering", "seed", "fold")}
    unknown = [None] * len(epsilons)
    attacked = [row.entropy_nats, *(row.attacked_entropy_nats or unknown)]
    noise = [row.entropy_nats, *(row.noise_entropy_nats or unknown)]
    accuracies = [row.unattacked_accuracy, *row.robust_accuracy]
    return [
        fixed | {
            f"eps_{unit}": eps, "robust_accuracy": accuracy, "entropy_nats": _number(entropy),
            "noise_entropy_nats": _number(control), "clean_accuracy": row.accuracy,
            "n_attacked": row.n_attacked, "n_train": row.n_train, "n_test": row.n_test,
            "train_entropy_nats": _number(row.train_entropy_nats), "cut": row.cut,
            "relative_sigma_x": _number(row.relative_sigma_x),
            "relative_sigma_p": _number(row.relative_sigma_p),
            "uncertainty_product": _number(row.uncertainty_product),
            "train_seconds": row.train_seconds, "attack_seconds": row.attack_seconds,
            "signs": "; ".join(row.signs),
        }
        for eps, accuracy, entropy, control in zip(
            (0.0, *epsilons), accuracies, attacked, noise, strict=True
        )
    ]  # fmt: skip


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
