"""Memory: refuse what does not fit before a byte of it is allocated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from entangle.errors import MemoryLimitError

if TYPE_CHECKING:
    import torch

__all__ = ["free_memory", "require_memory"]

REPAIR = "use fewer rows or columns, or a machine with more memory"


def free_memory(device: torch.device | None = None) -> float:
    """Bytes available now on a GPU, or, on any other device, in the machine."""
    if device is not None and device.type == "cuda":
        import torch  # is loaded where there is a device; data sets are listed without it

        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def require_memory(
    needed: float, what: str, limit: float | None = None, repair: str = REPAIR
) -> None:
    """Refuse work whose arrays would not fit.

    Parameters
    ----------
    needed
        Bytes that will be held at once.
    what
        What needs them, for the message.
    limit
        Bytes that may be used. Default: what the machine has available now.
    repair
        What to do instead, for the message.

    Raises
    ------
    MemoryLimitError
        If ``needed`` exceeds the limit; it names both.
    """
    allowed = free_memory() if limit is None else limit
    if needed > allowed:
        raise MemoryLimitError(
            f"{what} needs {_size(needed)} of memory, {_size(allowed)} is available; {repair}"
        )


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:,.2f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:,.2f} MiB"
