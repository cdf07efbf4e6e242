"""The summary of a comparison in words: tables, and a sentence for each ordering."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from entangle.comparison.intervals import Interval

if TYPE_CHECKING:
    from entangle.comparison.result import Comparison, Standing

__all__ = ["aligned", "comparison_text", "heading", "points", "protocol", "sentence", "span"]

HEADER = ("ordering", "accuracy", "std", "difference", "interval", "p", "H", "entropy", "train s",
          "order s")  # fmt: skip
NOTICEABLE = 0.05  # relative change of the entanglement that is worth a word
WORTHWHILE = 0.01  # of accuracy, above that of always naming the largest class


def comparison_text(found: Comparison) -> str:
    """Spell a comparison out for a terminal."""
    lines = [heading(found.dataset), _protocol(found)]
    lines += [f"note: {note}" for note in found.notes]
    summary = found.summary()
    for model in found.models:
        standings = [standing for standing in summary if standing.model == model]
        lines += ["", f"{model}, difference from {found.baseline} in points"]
        lines += aligned([HEADER, *(_cells(standing) for standing in standings)])
    lines.append("")
    by_pair = {(standing.model, standing.ordering): standing for standing in summary}
    for standing in summary:
        if standing.difference is not None:
            lines.append(sentence(standing, by_pair[standing.model, found.baseline]))
    for model in found.models:
        lines += _unlearned(found, [s for s in summary if s.model == model])
    return "\n".join(lines).rstrip("\n") + "\n"


def heading(dataset: Mapping[str, Any]) -> str:
    """Say what data were compared on."""
    layout = " x ".join(map(str, dataset["shape"]))
    layout = f"sequence of {layout}" if len(dataset["shape"]) == 1 else f"grid of {layout}"
    return (
        f"{dataset['name']}: {dataset['n_samples']} rows, {dataset['n_features']} features "
        f"({layout}), {dataset['n_classes']} classes"
    )


def sentence(standing: Standing, baseline: Standing) -> str:
    """Say what an ordering is worth to a model, and if less entanglement bought nothing."""
    found, name = standing.difference, f"{standing.model}: {standing.ordering}"
    assert found is not None
    if math.isnan(found.low):
        return (
            f"{name} and {baseline.ordering} differ by {points(found.mean)} points on one split, "
            "which gives no interval; pass more folds"
        )
    about = f"by {abs(100 * found.mean):.1f} points ({span(found)})"
    if found.sign:
        text = f"{name} {'beats' if found.sign > 0 else 'loses to'} {baseline.ordering} {about}"
    else:
        text = (
            f"{name} and {baseline.ordering} cannot be told apart ({points(found.mean)} points, "
            f"{span(found)})"
        )
    ours, theirs = _entanglement(standing), _entanglement(baseline)
    against = ours < theirs if found.sign <= 0 else ours > theirs
    if theirs > 0 and against and abs(1 - ours / theirs) >= NOTICEABLE:
        how = f"{100 * abs(1 - ours / theirs):.0f} % {'less' if ours < theirs else 'more'}"
        text += f", although {standing.ordering} has {how} entanglement"
    return text


def _unlearned(found: Comparison, standings: Sequence[Standing]) -> list[str]:
    """Say so where a model did not learn in any order, which makes its table worthless."""
    share, best = found.dataset["largest_class"], max(s.accuracy.mean for s in standings)
    if best > share + WORTHWHILE:
        return []
    return [
        f"{standings[0].model}: no order gets above the share of the largest class, "
        f"{100 * share:.1f} %; train longer (--epochs), or take another model"
    ]


def _entanglement(standing: Standing) -> float:
    return standing.cut if standing.entropy_nats is None else standing.entropy_nats


def _protocol(found: Comparison) -> str:
    return protocol(found.settings, found.fresh_splits, found.confidence)


def protocol(settings: Mapping[str, Any], fresh_splits: bool, confidence: float) -> str:
    """Say what accuracies and intervals are of."""
    n_seeds, n_folds = len(settings["seeds"]), settings["n_folds"]
    seeds = f"{n_seeds} seed{'s' * (n_seeds != 1)}"
    folds = f"{n_folds} fold{'s' * (n_folds != 1)}"
    how = "drawn anew for each seed" if fresh_splits else "the same for each seed, averaged"
    return (
        f"accuracy on rows held out, {folds} x {seeds}, folds {how}; {100 * confidence:g} % "
        "intervals, corrected for overlapping training rows (Nadeau and Bengio 2003)"
    )


def _cells(standing: Standing) -> tuple[str, ...]:
    found = standing.difference
    entropy = standing.entropy_nats
    paired = ("", "", "")
    if found is not None:
        p_value = "" if math.isnan(found.p_value) else f"{found.p_value:.3f}"
        paired = (points(found.mean), span(found), p_value)
    return (
        standing.ordering,
        f"{100 * standing.accuracy.mean:.1f} %",
        "" if math.isnan(standing.std) else f"{100 * standing.std:.1f}",
        *paired,
        f"{standing.cut:.4f}",
        "" if entropy is None else f"{entropy:.4f}",
        f"{standing.train_seconds:.1f}",
        f"{standing.order_seconds:.1f}",
    )


def points(share: float) -> str:
    """Spell out a share in percentage points, with its sign."""
    return f"{100 * share:+.1f}"


def span(found: Interval) -> str:
    """Spell out an interval in percentage points; empty if there is none."""
    if math.isnan(found.low):
        return ""
    return f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns at equal places, empty ones left out; names to the left, numbers to the right."""
    columns = [c for c in zip(*rows, strict=True) if any(c[1:])]
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(len(first)), *rest]).rstrip())
    return lines
