"""The command ``robustness``: what the order of the features is worth under attack."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
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
    from entangle.robustness import RobustnessComparison, RobustStanding

__all__ = ["robustness"]

FILES = ("robustness.json", "robustness.txt", "robustness.csv", "robustness.png")


def robustness(
    data: Data,
    target: Target = None,
    models: Models = "cnn",
    orderings: Orderings = "random,natural,mincut",
    norm: Annotated[str, typer.Option(help="Of perturbations: linf, l2 or l1.")] = "linf",
    eps: Annotated[
        str, typer.Option(metavar="RADII", help="Radii of the attacks, in --unit.")
    ] = "0.02,0.05,0.1",
    unit: Annotated[
        str | None, typer.Option(help="What eps 1 is: range or std (standard deviation).",
                                 show_default="range for images, grids and 0-1 values, else std")
    ] = None,
    bounds: Annotated[
        str, typer.Option(help="Limits of attacked values: observed, none, or auto (observed where "
                          "that is the unit).")
    ] = "auto",
    attack: Annotated[
        str, typer.Option(help="fast, or standard: twice the steps, three times the targets, ten "
                          "times the queries.")
    ] = "fast",
    attacked: Annotated[
        int, typer.Option(min=2, help="Most test rows of each fold that are attacked.")
    ] = 100,
    adversarial_training: Annotated[
        float | None, typer.Option(metavar="EPS", min=0.0, show_default="plain training",
                                   help="Train networks on rows attacked within this radius.")
    ] = None,
    baseline: Baseline = None,
    folds: Folds = 3,
    seeds: Seeds = 1,
    epochs: Epochs = None,
    shape: Layout = None,
    rows: Rows = None,
    entropy: Annotated[
        bool, typer.Option(help="Measure the entanglement of each order and of attacked rows.")
    ] = True,
    uncertainty: Annotated[
        bool, typer.Option(help="Measure the uncertainty relation of inputs and gradients.")
    ] = True,
    impute: Impute = None,
    drop: Drop = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", show_default=False,
                                  help="Folder for robustness.json, .txt, .csv and .png, and for "
                                  "what is finished: the same command goes on where it stopped.")
    ] = None,
    as_json: Json = False,
    jobs: Jobs = 1,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:  # fmt: skip
    """Attack networks trained on each order: accuracy against radius, and the entanglement.

    As compare, with some test rows of every fold attacked. With -o, what is finished stays in
    DIR/cells and is read by later runs on the same data with the same options.
    """
    layout, radii = parsed_shape(shape), _parsed_radii(eps)
    names, wanted = parsed_names(models, "--models"), parsed_names(orderings, "--orderings")
    if output is not None:
        output = output.expanduser()
        prepared_folder(output, FILES, force)
    from entangle.datasets import load_dataset
    from entangle.robustness import compare_robustness
    from entangle.supervised import available_device

    available_device(device)
    dataset = load_dataset(data, target=target, impute=impute, drop=tuple(drop or ()))
    try:
        found = compare_robustness(
            dataset, None, radii, wanted, names, norm=norm, unit=unit,
            bounds=None if bounds == "none" else bounds, attack=attack, max_attacked=attacked,
            adversarial_training=adversarial_training, baseline=baseline, shape=layout, cv=folds,
            seeds=range(seed, seed + seeds), epochs=epochs, entropy=entropy, max_samples=rows,
            uncertainty=uncertainty,
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
    words = ["entangle", "robustness", *data_words(data, target, shape, impute, drop, seed),
             *given({"--models": models, "--orderings": orderings, "--norm": norm, "--eps": eps,
                     "--unit": unit, "--bounds": None if bounds == "auto" else bounds,
                     "--folds": folds, "--attacked": attacked, "--rows": rows,
                     "--epochs": epochs, "--baseline": baseline}),
             *([] if entropy else ["--no-entropy"]),
             *([] if uncertainty else ["--no-uncertainty"])]  # fmt: skip
    follow = _following(attack, adversarial_training, found)
    sys.stdout.write(f"next: {shlex.join([*words, *follow])}\n")


def _parsed_radii(text: str) -> list[float]:
    """Radii from 0.02,0.05,0.1."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"radii are written as 0.02,0.05,0.1, got {text!r}", param_hint="--eps"
        ) from None


def _following(attack: str, trained: float | None, found: RobustnessComparison) -> list[str]:
    """Options of the command that answers the next question: a stronger attack, or training."""
    same = [] if trained is None else ["--adversarial-training", f"{trained:g}"]
    if attack == "fast" and trained is None:
        middle = found.epsilons[len(found.epsilons) // 2]
        return ["--adversarial-training", f"{middle:g}"]
    return [*same, *(["--attack", "standard"] if attack == "fast" else ["--seeds", "3"])]


def _write(found: RobustnessComparison, folder: Path, force: bool) -> None:
    from entangle.files import write_atomically

    table = io.StringIO()
    records = found.records()
    writer = csv.DictWriter(table, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    figure = _figure(found)
    contents: tuple[Any, ...] = (
        json.dumps(found.to_dict(), indent=2) + "\n",
        found.to_text(),
        table.getvalue(),
        lambda stream: figure.savefig(stream, format="png"),
    )
    for name, content in zip(FILES, contents, strict=True):
        write_atomically(folder / name, content, force=force)


def _figure(found: RobustnessComparison) -> Any:
    """Accuracy against radius, the entanglement of attacked rows, and the uncertainty relation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    summary = found.summary()
    known = all(s.entropy_nats is not None and s.entropy_changes is not None for s in summary)
    related = any(s.uncertainty_product is not None for s in summary)
    n_rows, n_models = 1 + known + related, len(found.models)
    figure = Figure(figsize=(1.2 + 4.2 * n_models, 3.6 * n_rows), dpi=150, layout="constrained")
    panels = FigureCanvasAgg(figure).figure.subplots(n_rows, n_models, squeeze=False, sharey="row")
    for column, model in zip(panels.T, found.models, strict=True):
        standings = [standing for standing in summary if standing.model == model]
        _draw_by_radius(column[: 1 + known], found, model, standings)
        if related:
            _draw_relation(column[-1], standings)
    for row in panels:
        for panel in row[1:]:
            panel.set_ylabel("")
            if panel.get_legend() is not None:
                panel.get_legend().remove()
    return figure


def _draw_by_radius(
    panels: Any, found: RobustnessComparison, model: str, standings: list[RobustStanding]
) -> None:
    """Accuracy, and below it the entanglement if there is a second panel."""
    from entangle.plotting import draw_entropies_under_attack, draw_robustness

    radii = (0.0, *found.epsilons)
    draw_robustness(panels[0], radii, {s.ordering: _accuracies(s) for s in standings})
    panels[0].set_title(f"{found.dataset['name']}: {model}")
    if len(panels) > 1:
        draw_entropies_under_attack(
            panels[1], radii, {s.ordering: _entropies(s) for s in standings},
            {s.ordering: _controls(s) for s in standings if s.noise_changes is not None},
        )  # fmt: skip
        panels[0].sharex(panels[1])
        panels[0].tick_params(labelbottom=False)
    unit = "share of the range" if found.unit == "range" else "standard deviations"
    panels[-1].set_xlabel(f"radius of the attack, {found.norm.capitalize()} ({unit})")


def _draw_relation(panel: Any, standings: list[RobustStanding]) -> None:
    """Draw the relation of a model; nothing where it has none."""
    from entangle.plotting import draw_relations

    standings = [s for s in standings if s.uncertainty_product is not None]
    if not standings:
        panel.set_axis_off()
        return
    named = {
        r"$\sigma_x / \tau$": ("relative_sigma_x", 1.0),
        r"$2 \tau \sigma_p$": ("relative_sigma_p", 1.0),
        r"$2 \sigma_x \sigma_p$": ("uncertainty_product", 2.0),
    }
    relations = {}
    for standing in standings:
        parts = {label: getattr(standing, name) for label, (name, _) in named.items()}
        relations[standing.ordering] = {
            label: [
                factor * end for end in (parts[label].mean, parts[label].low, parts[label].high)
            ]
            for label, (_, factor) in named.items()
        }
    draw_relations(panel, relations)


def _accuracies(standing: RobustStanding) -> list[tuple[float, float, float]]:
    """Mean and ends at each radius, from 0 on."""
    return [(i.mean, i.low, i.high) for i in (standing.unattacked, *standing.robust)]


def _entropies(standing: RobustStanding) -> list[tuple[float, float, float]]:
    """Entropy and ends of its change at each radius, from 0 on."""
    start = standing.entropy_nats or 0.0
    changes = standing.entropy_changes or ()
    return [(start, start, start)] + [
        (start + change.mean, start + change.low, start + change.high) for change in changes
    ]


def _controls(standing: RobustStanding) -> list[float]:
    start = standing.entropy_nats or 0.0
    return [start, *(start + change.mean for change in standing.noise_changes or ())]
