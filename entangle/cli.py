"""Command line: parse, one library call, print.

Exit codes: 0 for done, 1 for data or files that cannot be used (one message, no traceback), 2
for a command that makes no sense. The library is imported inside the commands, so that
``--help`` answers at once.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entangle.commands import (
    Data,
    Drop,
    Force,
    Impute,
    Layout,
    Seed,
    Target,
    data_words,
    given,
    parsed_groups,
    parsed_levels,
    parsed_shape,
    prepared_folder,
)
from entangle.comparison_command import compare
from entangle.errors import EntangleError, InputError, OutputExistsError
from entangle.robustness_command import robustness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entangle.datasets import Dataset
    from entangle.report import Report

__all__ = ["app", "main"]

SHUFFLES = 20

app = typer.Typer(
    name="entangle",
    help="Will a local neural network work on this data? Measure its entanglement, and lower it "
    "by rearranging features.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except (EntangleError, MemoryError) as error:
        message = str(error) or "out of memory; take fewer rows (--rows)"
        sys.stderr.write(f"entangle: {message}\n")
        sys.exit(1)


@app.command()
def diagnose(
    data: Data,
    target: Target = None,
    shape: Layout = None,
    levels: Annotated[
        str | None,
        typer.Option(help="Levels to measure: 4 (the top four), 2-5, or 1,3.", show_default=False),
    ] = None,
    theta: Annotated[
        str, typer.Option(help="Angle of the embedding: auto, or a number (published: 0.085).")
    ] = "auto",
    scale: Annotated[
        str | None,
        typer.Option(help="Map to [0, 1]: each 'feature' (tables), all features together "
                     "('global': signals, images), or 'none'.", show_default=False),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="Of classes: raw (each row counts the same), or balanced (each "
                          "class does).")
    ] = "raw",
    rows: Annotated[
        int | None, typer.Option(min=2, help="Rows to draw at random, by class.",
                                 show_default="1000, or 500 for more than 32 features")
    ] = None,
    shuffles: Annotated[int, typer.Option(min=1, help="Random orders to compare with.")] = SHUFFLES,
    impute: Impute = None,
    drop: Drop = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.json, report.txt, permutation.json, profile.png.",
                     show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="Where to compute: cpu or cuda.")] = "cpu",
    force: Force = False,
) -> None:  # fmt: skip
    """Measure how entangled the data are, and whether another feature order would help."""
    layout, wanted = parsed_shape(shape), parsed_levels(levels)
    if out is not None:
        prepared_folder(out, REPORT_FILES, force)
    from entangle.diagnosis import diagnose as run

    with _workers(device) as executor:
        dataset = _loaded(data, target, impute, drop)
        report = run(
            dataset, shape=layout, levels=wanted, theta=theta, scale=scale, weights=weights,
            n_shuffles=shuffles, max_samples=rows, seed=seed, device=device,
            executor=executor, progress=True,
            command=data_words(data, target, shape, impute, drop, seed),
            options=given({"--scale": scale, "--weights": None if weights == "raw" else weights,
                            "--levels": levels, "--rows": rows,
                            "--shuffles": None if shuffles == SHUFFLES else shuffles}),
        )  # fmt: skip
    if out is not None:
        _write_report(report, out, force)
    if as_json:
        sys.stdout.write(json.dumps(report.to_dict(), indent=2) + "\n")
        return
    sys.stdout.write(report.to_text())
    if out is not None:
        sys.stdout.write(f"written: {out}/ ({', '.join(REPORT_FILES)})\n")


@app.command()
def reorder(
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE",
                           help="File to write: csv, tsv, parquet, npy or npz.")
    ],
    target: Target = None,
    shape: Annotated[
        str | None,
        typer.Option(metavar="SHAPE", show_default="that of the data",
                     help="Layout of the features, or of the groups, as 8x8; a sequence is one "
                     "number. Places too many stay empty: columns empty0, empty1, ... of zeros."),
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="NAME",
                          help="How to order: mincut, geodesic, spectral, leaf-ordering, tsp, "
                          "igtd, identity or random.")
    ] = "mincut",
    affinity: Annotated[
        str, typer.Option(metavar="NAME",
                          help="What makes features belong together: pearson, spearman, "
                          "mutual_info, distance_correlation, covariance, or class-mean (of the "
                          "target).")
    ] = "pearson",
    groups: Annotated[
        str | None,
        typer.Option(metavar="GROUPS", show_default="one-hot where a table is read with categories",
                     help="Features that move together: a number of consecutive ones (3 for the "
                     "colours of a pixel), one-hot (the columns of a category, also of one that "
                     "was encoded before, as its values show), or none."),
    ] = None,
    refine: Annotated[
        int | None,
        typer.Option(min=1, metavar="LEVELS", show_default="none",
                     help="Lower the true entanglement of so many levels by exchanges; minutes for "
                     "hundreds of features."),
    ] = None,
    orient: Annotated[
        bool, typer.Option(help="Turn blocks so that related features touch (mincut).")
    ] = True,
    quality: Annotated[
        bool | None,
        typer.Option(help="Measure how good the order is, also on rows it was not found on.",
                     show_default="if that takes seconds"),
    ] = None,
    impute: Impute = None,
    drop: Drop = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what the order file holds as JSON.")
    ] = False,
    seed: Seed = 0,
    force: Force = False,
) -> None:  # fmt: skip
    """Write the data with their features rearranged, and the order beside it.

    The order goes to NAME.permutation.json, with names, shape and quality.
    """
    layout, output = parsed_shape(shape), output.expanduser()
    order_file = _prepare_outputs(output, force)
    from entangle.files import write_atomically
    from entangle.reordering import reorder_dataset

    found = reorder_dataset(
        _loaded(data, target, impute, drop), method=method, affinity=affinity, shape=layout,
        groups=parsed_groups(groups), refine=refine, orient=orient, seed=seed, quality=quality,
        progress=True,
    )  # fmt: skip
    found.write(output, force=force)
    order = found.to_dict()
    write_atomically(order_file, json.dumps(order) + "\n", force=force)
    if as_json:
        sys.stdout.write(json.dumps(order, indent=2) + "\n")
        return
    scale = None if found.dataset.kind == "table" else "global"
    again = {"--target": found.dataset.target_name,
             "--shape": "x".join(map(str, found.column_shape)), "--scale": scale}  # fmt: skip
    words = shlex.join(["entangle", "diagnose", str(output), *given(again)])
    sys.stdout.write(found.to_text())
    sys.stdout.write(f"written: {output} and {order_file}\nnext: {words}\n")


app.command()(compare)
app.command()(robustness)


@app.command()
def datasets(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the data sets that can be named."""
    from entangle.datasets import DATA_VARIABLE, available_datasets

    found = available_datasets()
    if as_json:
        entries = [
            {"name": e.name, "title": e.title, "kind": e.kind, "n_samples": e.n_samples,
             "n_features": e.n_features, "shape": e.shape and list(e.shape),
             "n_classes": e.n_classes, "licence": e.licence, "found": e.found}
            for e in found
        ]  # fmt: skip
        sys.stdout.write(json.dumps(entries, indent=2) + "\n")
        return
    here = [entry for entry in found if entry.found]
    width = max(len(entry.name) for entry in here)
    for entry in here:
        size = f"{entry.n_samples} x {entry.n_features}" if entry.n_samples else ""
        sys.stdout.write(f"{entry.name.ljust(width)}  {size:>14}  {entry.kind}\n")
    if len(here) < len(found):
        sys.stdout.write(
            f"{len(found) - len(here)} more are registered and not on this machine: set "
            f"{DATA_VARIABLE} to the folder that holds them\n"
        )


MOST_WORKERS = 8  # each holds Gram matrices of its own
LONGEST_NAME = 200
REPORT_FILES = ("report.json", "report.txt", "permutation.json", "profile.png")


def _loaded(data: str, target: str | None, impute: str | None, drop: list[str] | None) -> Dataset:
    from entangle.datasets import load_dataset

    return load_dataset(data, target=target, impute=impute, drop=tuple(drop or ()))


@contextmanager
def _workers(device: str) -> Iterator[Executor | None]:
    """Threads that take one order each.

    On the CPU each works with one BLAS thread: small matrices gain nothing from a second one,
    and on a busy machine the two wait for each other.
    """
    import torch

    if device != "cpu":
        if not (device.split(":")[0] == "cuda" and torch.cuda.is_available()):
            raise InputError(
                f"device {device!r} is not available here; use cpu, or cuda where torch finds a GPU"
            )
        yield None
        return
    import threadpoolctl

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    workers = min(cores or 1, MOST_WORKERS)
    try:
        with threadpoolctl.threadpool_limits(1), ThreadPoolExecutor(workers) as executor:
            yield executor
    finally:
        torch.set_num_threads(before)


def _write_report(report: Report, folder: Path, force: bool) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from entangle.files import write_atomically
    from entangle.plotting import draw_levels

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = FigureCanvasAgg(figure).figure.subplots()
    given, best = report.original.by_level(), report.reordered.by_level()
    curves = {"as given": list(given.values()), "rearranged": list(best.values())}
    draw_levels(axes, list(given), curves, report.shuffled)
    axes.set_title(f"{report.dataset['name']}: entanglement by level")
    order: dict[str, Any] = {"permutation": report.permutation.tolist()}
    contents = (
        json.dumps(report.to_dict(), indent=2) + "\n",
        report.to_text(),
        json.dumps(order) + "\n",
        lambda stream: figure.savefig(stream, format="png"),
    )
    for name, content in zip(REPORT_FILES, contents, strict=True):
        write_atomically(folder / name, content, force=force)


def _prepare_outputs(output: Path, force: bool) -> Path:
    """Name of the file beside a rearranged table; refuse either before any work."""
    from entangle.datasets.table_writing import SUFFIXES

    if output.suffix.lower() not in SUFFIXES:
        raise InputError(f"a table is written as {', '.join(SUFFIXES)}, got '{output}'")
    if not output.parent.is_dir():
        raise InputError(f"the folder '{output.parent}' does not exist; create it first")
    if len(output.name) > LONGEST_NAME:
        raise InputError(f"the name of '{output}' is too long for a file")
    order_file = output.with_name(output.stem + ".permutation.json")
    for path in (output, order_file):
        if path.exists() and not force:
            raise OutputExistsError(f"'{path}' exists already; choose another name or add --force")
    return order_file
