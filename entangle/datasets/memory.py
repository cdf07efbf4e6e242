"""Memory: refuse what does not fit before a byte of it is allocated."""

from __future__ import annotations

import psutil

from entangle.errors import MemoryLimitError

__all__ = ["require_memory"]


def require_memory(needed: int, what: str, max_memory: int | None = None) -> None:
    """Refuse work whose arrays would not fit.

    Parameters
    ----------
    needed
        Bytes that will be held at once.
    what
        What needs them, for the message.
    max_memory
        Bytes that may be used. Default: what the machine has available now.

    Raises
    ------
    MemoryLimitError
        If ``needed`` exceeds the limit.
    """
    limit = psutil.virtual_memory().available if max_memory is None else max_memory
    if needed > limit:
        raise MemoryLimitError(
            f"{what} needs {_megabytes(needed)} of memory, {_megabytes(limit)} is available; "
            "use fewer rows or columns, or a machine with more memory"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
