"""Wording of messages: names, sizes, and what a misspelt name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = ["counted", "did_you_mean", "listed"]


def listed(names: Iterable[object], most: int = 5) -> str:
    """Names in quotes, the first few of them.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    given = [f"'{name}'" for name in names]
    rest = len(given) - most
    return ", ".join(given[:most]) + (f" and {rest} more" if rest > 0 else "")


def counted(number: int, noun: str) -> str:
    """Join a number and its noun.

    Examples
    --------
    >>> counted(1, "row"), counted(2, "row")
    ('1 row', '2 rows')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")


def did_you_mean(wanted: str, names: Sequence[str]) -> str:
    """``"; did you mean ...?"`` for the names nearest to ``wanted``, or nothing.

    Examples
    --------
    >>> did_you_mean("semion", ["semeion", "dna"])
    "; did you mean 'semeion'?"
    """
    lowered = {name.lower(): name for name in names}
    found = difflib.get_close_matches(wanted.lower(), list(lowered), n=3, cutoff=0.6)
    found += [name for name in lowered if len(wanted) > 1 and wanted.lower() in name]
    near = [lowered[name] for name in dict.fromkeys(found)][:3]
    return f"; did you mean {listed(near)}?" if near else ""
