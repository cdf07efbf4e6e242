"""Words of the command line: options read from text, and commands spelled out again."""

from __future__ import annotations

import typer

__all__ = ["checked_seed", "data_words", "given", "parsed_groups", "parsed_levels", "parsed_shape"]

MOST_LEVELS = 64  # halving so often leaves one feature of any table
LARGEST_SEED = 2**32 - 2  # numpy takes one more, and some starts count up


def checked_seed(seed: int) -> int:
    """Refuse a seed that numpy would refuse."""
    if 0 <= seed <= LARGEST_SEED:
        return seed
    raise typer.BadParameter(f"a seed is a whole number from 0 to {LARGEST_SEED}, got {seed}")


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
