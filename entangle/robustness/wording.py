"""The summary of a comparison under attack in words: tables, and sentences for each ordering."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from entangle.comparison.intervals import Interval
from entangle.comparison.wording import aligned, heading, points, protocol, span

if TYPE_CHECKING:
    from entangle.robustness.result import RobustnessComparison, RobustStanding

__all__ = ["entropy_sentence", "relation_sentence", "robustness_text", "sentence"]

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def robustness_text(found: RobustnessComparison) -> str:
    """Spell a comparison under attack out for a terminal."""
    lines = [heading(found.dataset)]
    lines.append(protocol(found.settings, found.fresh_splits, found.confidence))
    lines += _attack(found)
    lines += [f"note: {note}" for note in found.notes]
    summary = found.summary()
    for model in found.models:
        standings = [standing for standing in summary if standing.model == model]
        lines += ["", f"{model}, accuracy"]
        lines += aligned([_header(found), *(_cells(found, standing) for standing in standings)])
    lines.append("")
    baselines = {s.model: s for s in summary if s.ordering == found.baseline}
    for standing in summary:
        if standing.difference is not None:
            lines.append(sentence(standing, baselines[standing.model], found.epsilons))
    lines += [text for s in summary if (text := entropy_sentence(s, found.epsilons[-1]))]
    lines += [text for s in summary if (text := relation_sentence(s))]
    lines += _warnings(found)
    return "\n".join(lines).rstrip("\n") + "\n"


def sentence(
    standing: RobustStanding, baseline: RobustStanding, epsilons: tuple[float, ...]
) -> str:
    """Say where an ordering is more or less accurate than the baseline, and where nobody knows."""
    assert standing.difference is not None
    assert standing.robust_differences is not None
    name = f"{standing.model}: {standing.ordering} against {baseline.ordering}"
    if math.isnan(standing.difference.low):
        each = ", ".join(
            f"{points(found.mean)} at eps {eps:g}"
            for eps, found in zip(epsilons, standing.robust_differences, strict=True)
        )
        return (
            f"{name}: {points(standing.difference.mean)} points clean, {each}, on one split, which "
            "gives no interval; pass more folds"
        )
    places = [("clean", standing.difference)]
    places += [
        (f"at eps {eps:g}", found)
        for eps, found in zip(epsilons, standing.robust_differences, strict=True)
    ]
    parts = []
    for sign, verb in ((1, "higher"), (-1, "lower")):
        told = [_told(where, found) for where, found in places if found.sign == sign]
        if told:
            parts.append(f"accuracy is {verb} {', '.join(told)}")
    open_ = [_told(where, found) for where, found in places if found.sign == 0]
    if open_:
        parts.append(f"not significant {', '.join(open_)}")
    return f"{name}: {'; '.join(parts)}"


def entropy_sentence(standing: RobustStanding, eps: float) -> str:
    """Say what the widest attack does to the entanglement; empty if it was not measured."""
    if standing.entropy_nats is None or standing.entropy_changes is None:
        return ""
    change = standing.entropy_changes[-1]
    where = f"{standing.model}, {standing.ordering}: at eps {eps:g}"
    before, after = standing.entropy_nats, standing.entropy_nats + change.mean
    numbers = f"{before:.4f} to {after:.4f} nats"
    if math.isnan(change.low):
        text = f"{where} the entanglement of the attacked rows goes from {numbers} (one split)"
    elif change.sign:
        verb = "raises" if change.sign > 0 else "lowers"
        text = (
            f"{where} the attack {verb} the entanglement of the rows from {numbers} "
            f"({_nats(change)})"
        )
    else:
        text = (
            f"{where} the attack does not change the entanglement of the rows significantly "
            f"({numbers}, {_nats(change)})"
        )
    if standing.noise_changes is not None:
        control = standing.noise_changes[-1].mean
        text += f"; steps of the same sizes in random directions: {control:+.4f}"
    return text


def relation_sentence(standing: RobustStanding) -> str:
    """Say what the uncertainty relation is; empty if it was not measured."""
    parts = standing.relative_sigma_x, standing.relative_sigma_p, standing.uncertainty_product
    if any(part is None for part in parts):
        return ""
    x, p, product = (f"{part.mean:.4f}{_ends(part)}" for part in parts if part is not None)
    refused = f"; {standing.packets_refused} of {standing.packets} packets refused"
    return (
        f"{standing.model}, {standing.ordering}: in a packet of 0.3 standard deviations inputs "
        f"spread {x} and gradients {p} times as the packet alone, product {product}, at least 0.5"
        f"{refused if standing.packets_refused else ''}"
    )


def _ends(found: Interval) -> str:
    return "" if math.isnan(found.low) else f" ({found.low:.4f} to {found.high:.4f})"


def _told(where: str, found: Interval) -> str:
    return f"{where} ({points(found.mean)}, {span(found)})"


def _nats(found: Interval) -> str:
    return f"{found.low:+.4f} to {found.high:+.4f}"


def _attack(found: RobustnessComparison) -> list[str]:
    most = found.settings["n_attacked"]
    number = max(row.n_attacked for row in found.rows)
    names = list(dict.fromkeys(name for row in found.rows for name in row.attacks))
    how = found.settings["attack"]
    quick = " (quick: --attack standard is stronger)" if how == "fast" else ""
    rows = "all test rows" if all(r.n_attacked == r.n_test for r in found.rows) else (
        f"{number} test rows of each split, drawn evenly by class (at most {most})"
    )  # fmt: skip
    lines = [
        f"attack: {NORMS[found.norm]}, {', '.join(names)}{quick}, on {rows}; "
        f"{found.settings['eps']}"
    ]
    trained = found.settings["adversarial_training"]
    if trained is not None:
        lines.append(f"networks are trained adversarially within eps {trained:g}")
    return lines


def _header(found: RobustnessComparison) -> tuple[str, ...]:
    radii = [f"eps {eps:g}" for eps in found.epsilons]
    return ("ordering", "clean", *radii, "S train", "S rows", "S attacked", "train s", "attack s")


def _cells(found: RobustnessComparison, standing: RobustStanding) -> tuple[str, ...]:
    attacked = ""
    if standing.entropy_nats is not None and standing.entropy_changes is not None:
        attacked = f"{standing.entropy_nats + standing.entropy_changes[-1].mean:.4f}"
    return (
        standing.ordering,
        f"{100 * standing.accuracy.mean:.1f} %",
        *(f"{100 * robust.mean:.1f} %" for robust in standing.robust),
        _entropy(standing.train_entropy_nats),
        _entropy(standing.entropy_nats),
        attacked,
        f"{standing.train_seconds:.1f}",
        f"{standing.attack_seconds:.1f}",
    )


def _entropy(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _warnings(found: RobustnessComparison) -> list[str]:
    """Signs that robustness is overstated, with one of their messages each."""
    lines = []
    for model in found.models:
        for ordering in found.orderings:
            rows = found.rows_of(model, ordering)
            counts = Counter(name for row in rows for name in row.signs)
            for name, number in counts.items():
                message = next(w for row in rows for w in row.warnings if w.startswith(name))
                lines.append(
                    f"warning: {model}, {ordering}, {number} of {len(rows)} trainings: {message}"
                )
    notes = {
        (row.model, w)
        for row in found.rows
        for w in row.warnings
        if not any(w.startswith(sign) for sign in row.signs)
    }
    return lines + [f"warning: {model}: {note}" for model, note in sorted(notes)]
