"""What is known about the quality of an order, as numbers, as text, and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["OrderingQuality"]

SCHEMA = 1
NO_AGREEMENT = 0.15  # agreement at level 1 below which two trees have nothing in common
# Reduction on other rows below which an order is no better than a random one: of independent
# features it stays below the first, and of few features below the second divided by their number.
NO_GAIN, NO_GAIN_OF_FEW = 0.03, 0.6
AS_GOOD = 0.01  # of the cut of random orders: a gain over the given order not worth a change
# Affinity that is rounding: of those that are squares of what may be small, and of the others by
# name. A matrix or a function may have any scale.
NOTHING = {"covariance": 1e-30, "class-mean": 1e-30} | dict.fromkeys(
    ("pearson", "spearman", "mutual_info", "distance_correlation"), 1e-12
)
NO_ROOM = 1e-12  # share of the cut of random orders by which the true one lies below


@dataclass(frozen=True)
class OrderingQuality:
    """How good an order is; see :func:`~entangle.ordering.quality.ordering_quality`.

    Affinities and cuts have the unit of the affinity, which is none for correlations.

    Attributes
    ----------
    n_samples, n_features, n_units
        Rows measured, features, and groups of features that move together.
    shape
        Lengths of the axes of the layout.
    method, affinity
        Names.
    levels
        Levels of the canonical tree that an order can change, shape ``(levels,)``.
    cut
        Hierarchical cut, see :func:`~entangle.surrogate.hierarchical_cut`: of the ``given`` order,
        the one ``found``, and expected of a ``random`` one; of the ``truth``, if it is known.
    neighbours
        Mean affinity of places that touch: ``given``, ``found``, ``random``.
    held_out_reduction
        Share by which orders found on half of the rows lie below random ones in the cut measured
        on the other half: ``mean`` and ``min`` over the halves; ``given`` is the mean of the given
        order on the same rows. Empty if nothing could be held out.
    stability
        Adjusted Rand index of the blocks found on two halves of the rows, by level, shape
        ``(levels,)``, mean over the splits: 1 the same tree, 0 chance. Empty with
        ``held_out_reduction``.
    strongest, noise
        Largest affinity of two units, and what correlations of independent features stay below;
        0 if the affinity is no correlation.
    blocks_recovered
        Share of the true blocks found, by level, shape ``(levels,)``; ``None`` without truth.
    neighbours_recovered
        Share of the truly touching pairs that touch in the order found; ``None`` without truth.
    winner, cuts
        Of the portfolio behind ``method="mincut"``: the search that won, and the cut of each, of
        weights that noise was taken off and that are scaled; else ``None`` and empty.
    entropies
        With ``refine``: mean entropy of the refined levels, nats, ``before`` and ``after``, and the
        ``error_bound`` of the latter; else empty.
    """

    n_samples: int
    n_features: int
    n_units: int
    shape: tuple[int, ...]
    method: str
    affinity: str
    levels: tuple[int, ...]
    cut: Mapping[str, float]
    neighbours: Mapping[str, float]
    held_out_reduction: Mapping[str, float]
    stability: NDArray[np.float64]
    strongest: float
    noise: float
    blocks_recovered: NDArray[np.float64] | None = None
    neighbours_recovered: float | None = None
    winner: str | None = None
    cuts: Mapping[str, float] = field(default_factory=dict)
    entropies: Mapping[str, float] = field(default_factory=dict)

    @property
    def reduction(self) -> float:
        """Share by which the order found lies below random ones, on the rows measured."""
        return self._below_random("found")

    @property
    def gap_percent(self) -> float | None:
        """Cut above that of the true order, in percent of what random orders lie above it.

        Negative where an order fits the rows better than the true one; ``None`` if the truth is
        unknown, or no better than random orders.
        """
        if "truth" not in self.cut:
            return None
        room = self.cut["random"] - self.cut["truth"]
        above = self.cut["found"] - self.cut["truth"]
        return 100.0 * above / room if room > NO_ROOM * self.cut["random"] else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against the order, one sentence each; empty if nothing does."""
        if not self.levels:
            return ("no block of this layout holds several features: every order is the same",)
        if self.strongest <= NOTHING.get(self.affinity, 0.0):
            return ("no two features are related at all: every order is the same",)
        found = []
        if self.strongest < self.noise:
            found.append(
                "no pair of features is more correlated than independent ones would be: the "
                f"strongest has {self.strongest:.2f}, and independent ones reach {self.noise:.2f}"
            )
        if self._has_no_gain:
            found.append(self._says_no_gain())
        if self._given_is_as_good:
            given, best = self.held_out_reduction["given"], self.held_out_reduction["mean"]
            found.append(
                f"keep the given order: on other rows its cut is {_below(given)}, that of the "
                f"order found {_below(best)}, which is no gain worth a change"
            )
        return tuple(found)

    def _says_no_gain(self) -> str:
        gain = f"its cut is {_below(self.held_out_reduction['mean'])}"
        if self.stability[0] < NO_AGREEMENT:
            return (
                "orders found on two halves of the rows have nothing in common, and on rows that "
                f"an order was not found on {gain}"
            )
        return f"on rows that the order was not found on {gain}: it hardly matters"

    @property
    def _has_no_gain(self) -> bool:
        least = max(NO_GAIN, NO_GAIN_OF_FEW / self.n_units)
        return bool(self.held_out_reduction) and self.held_out_reduction["mean"] < least

    @property
    def _given_is_as_good(self) -> bool:
        held_out = self.held_out_reduction
        return bool(held_out) and held_out["given"] >= held_out["mean"] - AS_GOOD

    def _below_random(self, order: str) -> float:
        random = self.cut["random"]
        return 1.0 - self.cut[order] / random if random > 0.0 else 0.0

    def to_text(self) -> str:
        """Summary for a terminal."""
        shape = " x ".join(map(str, self.shape))
        layout = f"sequence of {shape}" if len(self.shape) == 1 else f"grid of {shape}"
        groups = f" in {self.n_units} groups" if self.n_units < self.n_features else ""
        won = f" ({self.winner})" if self.winner else ""
        return "\n".join(
            [
                f"order of {self.n_features} features{groups} on a {layout}, found by "
                f"{self.method}{won} from the affinity {self.affinity} of {self.n_samples} rows",
                "",
                *self._table(),
                "",
                *self._lines(),
                *(f"warning: {warning}" for warning in self.warnings),
            ]
        ) + "\n"  # fmt: skip

    def _table(self) -> list[str]:
        cut, touching, held_out = self.cut, self.neighbours, self.held_out_reduction
        orders = ("given", "found", "random")
        rows = [
            ("", "as given", "found", "random", ""),
            ("cut of the tree", *(f"{cut[order]:#.4g}" for order in orders),
             _below(self.reduction)),
            ("mean affinity of neighbours", *(f"{touching[order]:#.4g}" for order in orders), ""),
        ]  # fmt: skip
        if held_out:
            shares = (f"{-100 * held_out[key]:+.1f} %" for key in ("given", "mean"))
            worst = f"{-100 * held_out['min']:+.1f} % at worst"
            rows.append(("cut of other rows", *shares, "0 %", worst))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return [
            (
                row[0].ljust(widths[0])
                + "".join(row[at].rjust(widths[at] + 2) for at in (1, 2, 3))
                + f"  {row[4]}"
            ).rstrip()
            for row in rows
        ]

    def _lines(self) -> list[str]:
        lines = []
        if self.held_out_reduction:
            lines.append(
                "other rows: orders found on half of the rows, measured on the other half against "
                "random ones"
            )
            lines.append(
                f"stability of the blocks, top down: {_shares(self.stability)} (1: both halves "
                "give the same, 0: chance)"
            )
        else:
            lines.append("other rows: none were held out")
        if self.entropies:
            before, after = self.entropies["before"], self.entropies["after"]
            lines.append(f"refined: mean entropy from {before:.4f} to {after:.4f} nats")
        if self.blocks_recovered is not None:
            gap = self.gap_percent
            above = "" if gap is None else f"; cut at {gap:.1f} % (true order 0 %, random 100 %)"
            lines.append(
                f"true order: blocks recovered, top down: {_shares(self.blocks_recovered)}; "
                f"neighbours: {self.neighbours_recovered:.2f}{above}"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, text, lists and dictionaries."""
        recovered = self.blocks_recovered
        return {
            "schema": SCHEMA,
            "n_samples": self.n_samples,
            "n_features": self.n_features,
            "n_units": self.n_units,
            "shape": list(self.shape),
            "method": self.method,
            "affinity": self.affinity,
            "cut": dict(self.cut),
            "reduction": self.reduction,
            "gap_percent": self.gap_percent,
            "neighbours": dict(self.neighbours),
            "held_out_reduction": dict(self.held_out_reduction),
            "levels": list(self.levels),
            "stability": self.stability.tolist(),
            "strongest": self.strongest,
            "noise": self.noise,
            "blocks_recovered": None if recovered is None else recovered.tolist(),
            "neighbours_recovered": self.neighbours_recovered,
            "winner": self.winner,
            "cuts": dict(self.cuts),
            "entropies_nats": dict(self.entropies),
            "warnings": list(self.warnings),
        }


def _below(reduction: float) -> str:
    """Compare with the cut of random orders, in words."""
    percent = 100 * abs(reduction)
    return f"{percent:.1f} % {'below' if reduction >= 0 else 'above'} random"


def _shares(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
