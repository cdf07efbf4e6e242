"""Networks in files: one .npz archive of plain arrays, with JSON for the rest. No pickles."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from entangle.errors import InputError
from entangle.files import write_atomically

__all__ = ["read_network", "write_network"]

FORMAT = "entangle-network"
VERSION = 1
METADATA = "metadata"


def write_network(
    path: str | os.PathLike[str],
    kind: str,
    arrangement: dict[str, Any],
    parameters: dict[str, Tensor],
    force: bool,
) -> Path:
    """Write a network's parameters and what else is needed to build it."""
    arrays = {}
    for name, tensor in parameters.items():
        if tensor.dtype not in (torch.float64, torch.float32, torch.float16):
            raise InputError(
                f"a file holds float64, float32 or float16, got {tensor.dtype}; convert the "
                "network with .float() first"
            )
        arrays[name] = tensor.detach().cpu().numpy()
    header = {"format": FORMAT, "version": VERSION, "kind": kind, "arrangement": arrangement}
    arrays[METADATA] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    return write_atomically(path, lambda stream: np.savez(stream, **arrays), force=force)


def read_network(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what :func:`write_network` wrote.

    Raises
    ------
    InputError
        If there is no such file, it is damaged, or it holds another kind of network.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive[METADATA].tobytes())
            names = [name for name in archive.files if name != METADATA]
            parameters = {name: torch.from_numpy(archive[name]) for name in names}
        found = (header["format"], header["version"], header["kind"])
        arrangement = header["arrangement"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as reason:
        raise InputError(
            f"'{path}' is no network saved by entangle: {reason}; write one with network.save(path)"
        ) from reason
    if found != (FORMAT, VERSION, kind):
        raise InputError(
            f"'{path}' holds {found[2]} in format {found[0]} {found[1]}, expected {kind} in "
            f"{FORMAT} {VERSION}; load it with {found[2]}.load"
        )
    return arrangement, parameters
