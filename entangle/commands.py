"""What commands share: options, their text read, folders made, commands spelled out again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from entangle.errors import InputError, OutputExistsError

__all__ = [
    "CELLS",
    "INTERRUPTED",
    "Baseline",
    "Data",
    "Device",
    "Drop",
    "Epochs",
    "Folds",
    "Force",
    "Impute",
    "Jobs",
    "Json",
    "Layout",
    "Models",
    "Orderings",
    "Rows",
    "Seed",
    "Seeds",
    "Target",
    "checked_seed",
    "data_words",
    "given",
    "interruption",
    "parsed_groups",
    "parsed_levels",
    "parsed_names",
    "parsed_shape",
    "prepared_folder",
]

MOST_LEVELS = 64  # halving so often leaves one feature of any table
LARGEST_SEED = 2**32 - 2  # numpy takes one more, and some starts count up


def checked_seed(seed: int) -> int:
    """Refuse a seed that numpy would refuse."""
    if 0 <= seed <= LARGEST_SEED:
        return seed
    raise typer.BadParameter(f"a seed is a whole number from 0 to {LARGEST_SEED}, got {seed}")


Data = Annotated[
    str, typer.Argument(help="Name of a data set (see `entangle datasets`), or a file: csv, tsv, "
    "parquet, npy, npz.", show_default=False)
]  # fmt: skip
Target = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column with the labels.", show_default=False)
]
Impute = Annotated[
    str | None,
    typer.Option(metavar="HOW", help="Fill missing cells: mean, median or most_frequent.",
                 show_default=False),
]  # fmt: skip
Drop = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Column to leave out; repeat.", show_default=False),
]
Layout = Annotated[
    str | None,
    typer.Option("--shape", help="Layout of the features, as 8x8; a sequence is one number.",
                 show_default=False),
]  # fmt: skip
Seed = Annotated[
    int, typer.Option(metavar="N", callback=checked_seed, help="Seed of everything random.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
Models = Annotated[
    str, typer.Option(metavar="NAMES",
                      help="Models to train: cnn, padded-cnn, s4, attention, m5, mlp (not "
                      "local, as a control), tree, mps.")
]  # fmt: skip
Orderings = Annotated[
    str, typer.Option(metavar="NAMES",
                      help="Orders to compare: natural (as given), random, or methods of "
                      "`entangle reorder`, also with an affinity or the columns of a category "
                      "together, as mincut:class-mean or mincut:one-hot.")
]  # fmt: skip
Baseline = Annotated[
    str | None, typer.Option(metavar="NAME", show_default="the first",
                             help="Order that the others are compared with.")
]  # fmt: skip
Folds = Annotated[int, typer.Option(min=2, help="Parts of the rows, each held out once.")]
Seeds = Annotated[int, typer.Option(min=1, help="Repetitions, each with folds of its own.")]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Passes through the data of each network.",
                             show_default="30, or what gives 600 steps of 64 rows")
]  # fmt: skip
Rows = Annotated[
    int | None, typer.Option(min=4, help="Rows to draw at random, by class.", show_default="all")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Jobs = Annotated[int, typer.Option(help="Processes; -1 for one per core.")]
Device = Annotated[str, typer.Option(help="Where networks train: cpu or cuda.")]

CELLS = "cells"  # folder of finished work within that of a report
INTERRUPTED = 130  # exit code, as a shell has it


def interruption(output: Path | None) -> str:
    """Say what Ctrl-C left, and where to go on."""
    if output is None:
        where = "nothing was kept (--output DIR keeps what is finished)"
    else:
        where = f"what is finished is in {output / CELLS}, the same command goes on there"
    return f"entangle: interrupted; {where}\n"


def data_words(
    data: str,
    target: str | None,
    shape: str | None,
    impute: str | None,
    drop: list[str] | None,
    seed: int,
) -> list[str]:
    """Name the data as `diagnose` and `reorder` both understand it."""
    words = [data, *given({"--target": target, "--shape": shape, "--impute": impute})]
    for column in drop or ():
        words += ["--drop", column]
    return words + given({"--seed": seed or None})


def given(options: dict[str, str | int | None]) -> list[str]:
    """Name the options that have a value."""
    pairs = [(option, str(value)) for option, value in options.items() if value is not None]
    return [word for pair in pairs for word in pair]


def parsed_shape(text: str | None) -> tuple[int, ...] | None:
    """Lengths of axes from 64 or 8x8."""
    if text is None:
        return None
    try:
        return tuple(int(length) for length in text.lower().replace(",", "x").split("x"))
    except ValueError:
        raise typer.BadParameter(
            f"a shape is written as 64 or 8x8, got {text!r}", param_hint="--shape"
        ) from None


def parsed_levels(text: str | None) -> int | list[int] | None:
    """Levels from 4, 2-5 or 1,3."""
    if text is None:
        return None
    try:
        if text.isdigit():
            return int(text)
        levels: list[int] = []
        for part in text.split(","):
            first, _, last = part.partition("-")
            if int(last or first) > MOST_LEVELS:
                raise ValueError(part)
            levels.extend(range(int(first), int(last or first) + 1))
    except ValueError:
        raise typer.BadParameter(
            f"levels are written as 4, 2-5 or 1,3, got {text!r}", param_hint="--levels"
        ) from None
    return levels


def parsed_groups(text: str | None) -> int | str | None:
    """Read a number of features a group, or the name of a kind of groups."""
    return int(text) if text is not None and text.isdecimal() else text


def parsed_names(text: str, option: str) -> list[str]:
    """Names from text such as natural,random."""
    names = [name.strip() for name in text.split(",")]
    if all(names):
        return names
    raise typer.BadParameter(
        f"names are written as natural,random, got {text!r}", param_hint=option
    )


def prepared_folder(folder: Path, names: Sequence[str], force: bool) -> None:
    """Make the folder of a report, or refuse it before any work."""
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"'{folder}' is a file; name a folder for the report")
    existing = [name for name in names if (folder / name).exists()]
    if existing and not force:
        raise OutputExistsError(
            f"'{folder}' holds {', '.join(existing)} already; choose another folder or add --force"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise InputError(f"cannot make the folder '{folder}': {reason}") from reason
