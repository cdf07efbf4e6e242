"""Random numbers of layers and of dropout, which only know the global generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Draw from generators with this seed inside, and leave the global ones as they were.

    Parameters
    ----------
    seed
        Of the generator of the CPU and of ``device``.
    device
        Whose generator is used besides the CPU's.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        if gpus:
            with torch.cuda.device(gpus[0]):
                torch.cuda.manual_seed(seed)
        yield
