"""Report of a diagnosis: the numbers, a verdict in plain words, and what to type next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.convergence import Convergence
from entangle.entropy import EntanglementProfile
from entangle.sample_curve import MOST_NOISE
from entangle.width import WidthBounds

__all__ = ["Report"]

SCHEMA = 4  # since 3: widths that suffice; since 2: affinity, affinity_means
SATURATION = 0.8  # share of ln(samples) above which the sample size sets the entropy
WORTHWHILE = 0.05  # relative change of the mean entanglement that is worth a word
HARDLY_ANY = 1e-3  # nats
NOTHING = 1e-12  # nats


@dataclass(frozen=True)
class Report:
    """What :func:`~entangle.diagnosis.diagnose` found.

    Attributes
    ----------
    dataset
        ``name``, ``n_samples``, ``n_features``, ``n_classes``, ``shape``.
    original, reordered
        Entanglement profiles of the given order and of the best order found.
    shuffled
        Entropies of random orders in nats, averaged level by level: shape
        ``(orders, levels)``.
    shuffled_mean
        Mean entropy of each random order over all cuts, in nats, shape ``(orders,)``.
    held_out
        Mean entropies in nats of rows kept from the ordering: in the given order, and in an
        order found without them. Empty if there were too few rows.
    surrogate
        Mean surrogate entanglement of the cuts: ``original``, ``reordered``,
        ``shuffled_mean`` (its expectation over all orders, in closed form).
    permutation
        Best order found: ``X[:, permutation]``.
    settings
        What was used: ``theta``, ``seed``, ``n_samples_used``, ``weights``, ``scale``, ...;
        ``affinity`` that gave the best order, and the ``affinity_means`` in nats of all tried;
        ``class_shares`` of the rows used, and for two classes ``mean_label_share``, the squared
        norm of the mean label times the mean state of the data over that of the data tensor (0 for
        balanced weights).
    notes
        What was done to the data, one sentence each.
    error_bound
        Largest error bound of all entropies, in nats.
    widths
        Of tree networks that come near the data tensor, in the given and in the best order.
    convergence
        How the entropies of the given order depend on the number of rows; ``None`` if there were
        fewer than 16, or if those of a half or quarter cancel.
    command, options
        Words that name the data on the command line, and the other options of
        ``entangle diagnose``, to build the next command from.
    """

    dataset: Mapping[str, Any]
    original: EntanglementProfile
    reordered: EntanglementProfile
    shuffled: NDArray[np.float64]
    shuffled_mean: NDArray[np.float64]
    held_out: tuple[float, ...]
    surrogate: Mapping[str, float]
    error_bound: float
    permutation: NDArray[np.int64]
    settings: Mapping[str, Any]
    widths: tuple[WidthBounds, WidthBounds]
    convergence: Convergence | None = None
    notes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def p_value(self) -> float:
        """Share of orders, the given one and the random ones, at or below the given one.

        An order that is above it by no more than the error bound counts as equal.
        """
        below = int((self.shuffled_mean <= self.original.mean + self.error_bound).sum())
        return (1 + below) / (1 + self.shuffled_mean.size)

    @property
    def is_saturated(self) -> bool:
        """Whether the number of rows, not the data, sets the entropy of some cut or level.

        An entropy is near ln(rows), or still grows with ln(rows) when the rows double.
        """
        return bool(self._saturation)

    @property
    def _saturation(self) -> str:
        """What shows that the number of rows sets the entropies; empty if nothing does."""
        most = math.log(self.settings["n_samples_used"])
        if self.original.entropy.max() > SATURATION * most:
            return "the entropies are near ln(rows)"
        grows = self.convergence is not None and self.convergence.is_saturated
        return "the entropies grow with ln(rows)" if grows else ""

    @property
    def _is_noise(self) -> bool:
        return self.convergence is not None and self.convergence.mean.is_noise

    @property
    def is_worthwhile(self) -> bool:
        """Whether rearranging lowers the mean entanglement noticeably, on unseen rows too."""
        noise = 2 * _share(self.shuffled_mean.std(), self.shuffled_mean.mean())
        gain = _share(self.original.mean - self.reordered.mean, self.original.mean)
        return gain > WORTHWHILE and self.held_out_gain > max(WORTHWHILE / 2, noise)

    @property
    def held_out_gain(self) -> float:
        """Share by which an order lowers the entanglement of rows it was not found on."""
        if not self.held_out:
            return 0.0
        return _share(self.held_out[0] - self.held_out[1], self.held_out[0])

    @property
    def verdict(self) -> str:
        """One line in plain words."""
        given, best = self.original.mean, self.reordered.mean
        random, spread = float(self.shuffled_mean.mean()), float(self.shuffled_mean.std())
        below = 100 * _share(random - given, random)
        if self.is_saturated:
            return (
                f"Undecided: {self._saturation}, so the number of rows sets them and not the data; "
                "use more rows or a smaller theta."
            )
        if random < HARDLY_ANY:
            return (
                f"Fit for a local network in any order: hardly any entanglement ({given:.2g} "
                "nats on average)."
            )
        if self.is_worthwhile:
            return (
                f"Rearranging helps: mean entanglement falls by "
                f"{100 * _share(given - best, given):.0f} %, from {given:.3g} to {best:.3g} nats "
                f"(random orders: {random:.3g})."
            )
        if random - given > max(2 * spread, WORTHWHILE * random):
            return (
                f"Keep the given order: it has {given:.3g} nats, {below:.0f} % below random "
                f"orders, and the best order found has {best:.3g}."
            )
        if abs(random - given) <= max(2 * spread, WORTHWHILE * random):
            unseen = "no rows were left to test another order on"
            if self.held_out:
                gain = 100 * self.held_out_gain
                unseen = f"an order found on other rows lowers it by {gain:.0f} %"
            return (
                f"Order hardly matters: {given:.3g} nats as given, {random:.3g} in random orders, "
                f"and {unseen}."
            )
        return (
            f"Undecided: the given order has {given:.3g} nats, {-below:.0f} % above random orders, "
            "but no better one could be confirmed on rows it was not found on; use more rows."
        )

    @property
    def next_command(self) -> str:
        """What to type next; Python, if the data have no name on the command line."""
        if not self.command:
            shape, seed = tuple(self.dataset["shape"]), self.settings["seed"]
            affinity = self.settings["affinity"]
            data = "X, y" if affinity == "class-mean" else "X"
            return (
                f"FeatureRearranger(shape={shape}, affinity={affinity!r}, random_state={seed})"
                f".fit_transform({data})"
            )
        words = shlex.join(self.command)
        if self.is_worthwhile and not self.is_saturated:
            name = str(self.dataset["name"]).rsplit("/", 1)[-1]
            affinity = self.settings["affinity"]
            option = "" if affinity == "pearson" else f" --affinity {affinity}"
            return f"entangle reorder {words}{option} -o {shlex.quote(f'{name}_reordered.csv')}"
        used, theta = self.settings["n_samples_used"], self.settings["theta"]
        more = min(4 * used, self.dataset["n_samples"])
        if (self.is_saturated or self._is_noise) and more > used:
            words = shlex.join([*self.command, *_without("--rows", self.options)])
            return f"entangle diagnose {words} --rows {more} --theta {theta:.4g}"
        words = shlex.join([*self.command, *self.options])
        return f"entangle diagnose {words} --theta {theta / 2:.2g}"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, text, lists and dictionaries; entropies in nats."""
        original = _summary(self.original)
        random_levels = self.shuffled.mean(axis=0).tolist()
        return {
            "schema": SCHEMA,
            "dataset": dict(self.dataset),
            "entanglement_nats": {
                "original": original,
                "reordered": _summary(self.reordered),
                "shuffled": {
                    "mean": float(self.shuffled_mean.mean()),
                    "std": float(self.shuffled_mean.std()),
                    "n": int(self.shuffled_mean.size),
                    "p_value": self.p_value,
                    "by_level": dict(zip(original["by_level"], random_levels, strict=True)),
                },
                "error_bound": self.error_bound,
            },
            "convergence": None if self.convergence is None else self.convergence.to_dict(),
            "held_out_nats": dict(zip(("original", "reordered"), self.held_out, strict=False)),
            "surrogate": dict(self.surrogate),
            "width": {
                "lower_bound": self.widths[0].lower,
                "lower_bound_reordered": self.widths[1].lower,
                "relative_error": self.widths[0].error,
                "original": self.widths[0].to_dict(),
                "reordered": self.widths[1].to_dict(),
            },
            "permutation": self.permutation.tolist(),
            "settings": dict(self.settings),
            "saturated": self.is_saturated,
            "notes": list(self.notes),
            "verdict": self.verdict,
            "next_command": self.next_command,
        }

    def to_text(self) -> str:
        """Summary for a terminal, ending in the verdict and the next command."""
        data, settings = self.dataset, self.settings
        shape = " x ".join(map(str, data["shape"]))
        layout = f"sequence of {shape}" if len(data["shape"]) == 1 else f"grid of {shape}"
        classes = "" if data["n_classes"] is None else f", {data['n_classes']} classes"
        lines = [
            f"{data['name']}: {data['n_samples']} rows, {data['n_features']} features "
            f"({layout}){classes}",
            f"used: {settings['n_samples_used']} rows, theta {settings['theta']:.4g}, weights "
            f"{settings['weights']}, scale {settings['scale']}, seed {settings['seed']}",
            *self._classes_line(),
            *(f"note: {note}" for note in self.notes),
            "",
            *self._table(),
            "",
            self._affinities_line(),
            f"p-value of the given order against {self.shuffled_mean.size} random orders: "
            f"{self.p_value:.3f}; entropies in nats, error below {self.error_bound:.1g}",
            *self._held_out_line(),
            *self._rows_lines(),
            f"width as given: {self.widths[0].to_text()}",
            f"width rearranged: {self.widths[1].to_text()}",
            "",
            self.verdict,
            f"next: {self.next_command}",
        ]
        return "\n".join(lines) + "\n"

    def _affinities_line(self) -> str:
        """Mean entanglement of the orders found from each affinity."""
        means = self.settings["affinity_means"]
        found = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        return f"rearranged by the affinity {self.settings['affinity']} (means found: {found})"

    def _held_out_line(self) -> list[str]:
        if not self.held_out:
            return []
        given, best = self.held_out
        return [
            f"held out: an order found without these rows gives them {best:.4f} nats, against "
            f"{given:.4f} as given ({100 * self.held_out_gain:+.0f} % gain)"
        ]

    def _classes_line(self) -> list[str]:
        """Shares of two classes, which raw weights carry into the data tensor."""
        shares, mean_label = self.settings["class_shares"], self.settings["mean_label_share"]
        if mean_label is None:
            return []
        first, second = (f"{100 * share:.1f} %" for share in shares.values())
        return [
            f"classes: {first} and {second} of these rows; their mean label, nearly a product "
            f"state, is {100 * mean_label:.1f} % of the squared norm"
        ]

    def _rows_lines(self) -> list[str]:
        """Interval and limit in the number of rows, or why there is none."""
        found = self.convergence
        if found is None:
            return [
                "rows: no interval; too few rows, or rows that cancel, in their halves and quarters"
            ]
        curve, rows = found.mean, found.n_samples
        share = min(100.0, 100 * found.noise_share)
        noise = f"sampling noise holds {share:.0f} % of the tensor"
        if self.is_saturated:
            return [f"rows: no interval; {self._saturation}"]
        if self._is_noise:
            return [f"rows: no interval; {noise}, and the entropies are those of the noise"]
        low, high = curve.interval
        here = (
            f"rows: mean {curve.whole:.4f} at {rows} rows (95 % interval {low:.4f} to {high:.4f})"
        )
        limits = curve.extrapolated_interval
        if limits is not None:
            return [
                f"{here}, {curve.extrapolated:.4f} with ever more rows ({limits[0]:.4f} to "
                f"{limits[1]:.4f})"
            ]
        reason = "halves and quarters do not follow 1/rows"
        if found.noise_share >= MOST_NOISE:
            reason = noise
        return [f"{here}; not extrapolated: {reason}"]

    def _table(self) -> list[str]:
        rows: list[tuple[str, ...]] = [
            ("entanglement", "as given", "rearranged", "random", "spread")
        ]
        means, spreads = self.shuffled.mean(axis=0), self.shuffled.std(axis=0)
        best = self.reordered.by_level()
        for (level, entropy), mean, spread in zip(
            self.original.by_level().items(), means, spreads, strict=True
        ):
            numbers = (entropy, best[level], float(mean), float(spread))
            rows.append((f"level {level}", *(f"{number:.4f}" for number in numbers)))
        shuffled = self.shuffled_mean
        overall = (self.original.mean, self.reordered.mean, shuffled.mean(), shuffled.std())
        rows.append(("mean over cuts", *(f"{number:.4f}" for number in overall)))
        surrogate = (self.surrogate[key] for key in ("original", "reordered", "shuffled_mean"))
        rows.append(("surrogate", *(f"{number:.5g}" for number in surrogate), ""))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return [
            row[0].ljust(widths[0])
            + "".join(
                cell.rjust(width + 2) for cell, width in zip(row[1:], widths[1:], strict=True)
            )
            for row in rows
        ]


def _without(option: str, words: tuple[str, ...]) -> list[str]:
    """Leave out an option and its value."""
    if option not in words:
        return list(words)
    place = words.index(option)
    return [*words[:place], *words[place + 2 :]]


def _share(part: float, whole: float) -> float:
    """Quotient, or 0 where there is nothing to share."""
    return float(part / whole) if whole > NOTHING else 0.0


def _summary(profile: EntanglementProfile) -> dict[str, Any]:
    by_level = {str(level): entropy for level, entropy in profile.by_level().items()}
    return {"mean": profile.mean, "by_level": by_level}
