"""Options by name, and what a name that is not known was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from entangle.errors import InputError

__all__ = ["one_of"]


def one_of(noun: str, given: object, names: Iterable[str]) -> str:
    """Return a name that is known.

    Raises
    ------
    InputError
        If it is not; it suggests the nearest one.

    Examples
    --------
    >>> one_of("norm", "l2", ["l1", "l2"])
    'l2'
    """
    known = list(names)
    if isinstance(given, str) and given in known:
        return given
    close = difflib.get_close_matches(str(given).lower(), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "pass one of these names"
    raise InputError(f"{noun} is one of {', '.join(map(repr, known))}, got {given!r}; {hint}")
