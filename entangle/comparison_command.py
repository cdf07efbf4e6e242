"""The command ``compare``: what the order of the features is worth to a local network."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entangle.commands import (
    CELLS,
    INTERRUPTED,
    Baseline,
    Data,
    Device,
    Drop,
    Epochs,
    Folds,
    Force,
    Impute,
    Jobs,
    Json,
    Layout,
    Models,
    Orderings,
    Rows,
    Seed,
    Seeds,
    Target,
    data_words,
    given,
    interruption,
    parsed_names,
    parsed_shape,
    prepared_folder,
)

if TYPE_CHECKING:
    from entangle.comparison import Comparison

__all__ = ["compare"]

FILES = ("comparison.json", "comparison.txt", "comparison.csv", "comparison.png")


def compare(
    data: Data,
    target: Target = None,
    models: Models = "cnn",
    orderings: Orderings = "random,natural,mincut",
    baseline: Baseline = None,
    folds: Folds = 3,
    seeds: Seeds = 2,
    epochs: Epochs = None,
    shape: Layout = None,
    rows: Rows = None,
    entropy: Annotated[bool, typer.Option(help="Measure the entanglement of each order.")] = True,
    impute: Impute = None,
    drop: Drop = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", show_default=False,
                                  help="Folder for comparison.json, .txt, .csv and .png, and for "
                                  "finished trainings: the same command goes on where it stopped.")
    ] = None,
    as_json: Json = False,
    jobs: Jobs = 1,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:  # fmt: skip
    """Measure what rearranging features is worth: train networks on each order, and test them.

    Orders are found on training rows only. With -o, finished trainings stay in DIR/cells and are
    read by later runs on the same data with the same options; --force writes the report anew.
    """
    layout = parsed_shape(shape)
    names, wanted = parsed_names(models, "--models"), parsed_names(orderings, "--orderings")
    if output is not None:
        output = output.expanduser()
        prepared_folder(output, FILES, force)
    from entangle.comparison import compare_orderings
    from entangle.datasets import load_dataset
    from entangle.supervised import available_device

    available_device(device)
    dataset = load_dataset(data, target=target, impute=impute, drop=tuple(drop or ()))
    try:
        found = compare_orderings(
            dataset, orderings=wanted, models=names, baseline=baseline, shape=layout, cv=folds,
            seeds=range(seed, seed + seeds), epochs=epochs, entropy=entropy, max_samples=rows,
            model_options=None if device == "cpu" else {name: {"device": device} for name in names},
            directory=None if output is None else output / CELLS, n_jobs=jobs, progress=True,
        )  # fmt: skip
    except KeyboardInterrupt:
        sys.stderr.write(interruption(output))
        raise typer.Exit(INTERRUPTED) from None
    if output is not None:
        _write(found, output, force)
    if as_json:
        sys.stdout.write(json.dumps(found.to_dict(), indent=2) + "\n")
        return
    sys.stdout.write(found.to_text())
    if output is not None:
        sys.stdout.write(f"written: {output}/ ({', '.join(FILES)})\n")
    winner = _winner(found)
    if winner is not None:
        method, _, affinity = winner.partition(":")
        stem = Path(data).stem.removeprefix("openml:")
        words = ["entangle", "reorder", *data_words(data, target, shape, impute, drop, seed),
                 "-o", f"{stem}_reordered.csv",
                 *given({"--method": method, "--affinity": affinity or None})]  # fmt: skip
        sys.stdout.write(f"next: {shlex.join(words)}\n")


def _winner(found: Comparison) -> str | None:
    """Name the method that is best for the first model, if it beats the baseline for sure."""
    standings = [standing for standing in found.summary() if standing.model == found.models[0]]
    best = max(standings, key=lambda standing: standing.accuracy.mean)
    if best.ordering in ("natural", "random") or best.difference is None:
        return None
    return best.ordering if best.difference.sign > 0 else None


def _write(found: Comparison, folder: Path, force: bool) -> None:
    from entangle.files import write_atomically

    table = io.StringIO()
    rows = [asdict(row) for row in found.rows]
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    figure = _figure(found)
    contents: tuple[Any, ...] = (
        json.dumps(found.to_dict(), indent=2) + "\n",
        found.to_text(),
        table.getvalue(),
        lambda stream: figure.savefig(stream, format="png"),
    )
    for name, content in zip(FILES, contents, strict=True):
        write_atomically(folder / name, content, force=force)


def _figure(found: Comparison) -> Any:
    """Accuracy by ordering, and against the entanglement of the orders."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from entangle.plotting import draw_accuracies, draw_accuracy_against

    names, summary = found.orderings, found.summary()
    resampled = {m: [found.resampled(m, name) for name in names] for m in found.models}
    intervals = {
        m: [(s.accuracy.low, s.accuracy.high) for s in summary if s.model == m]
        for m in found.models
    }
    first = [standing for standing in summary if standing.model == found.models[0]]
    entropies = [standing.entropy_nats for standing in first]
    known = None not in entropies
    label = "mean entanglement entropy, levels 1-4 (nats)" if known else "surrogate H of the order"
    values: Any = entropies if known else [standing.cut for standing in first]
    width = max(4.0, 1.2 * len(names))
    figure = Figure(figsize=(width + 4.4, 4.0), dpi=150, layout="constrained")
    left, right = FigureCanvasAgg(figure).figure.subplots(
        1, 2, sharey=True, width_ratios=(width, 4.4)
    )
    draw_accuracies(left, names, resampled, intervals)
    draw_accuracy_against(right, names, values, resampled, intervals, label)
    right.set_ylabel("")
    left.set_title(f"{found.dataset['name']}: accuracy by ordering")
    if right.get_legend() is not None:
        right.get_legend().remove()
    return figure
