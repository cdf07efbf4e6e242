"""Finished measurements in a folder, one small file each, to be read instead of made again.

A file bears the fingerprint of all that its result depends on, and comes whole or not at all; so
any number of interrupted runs, and runs with other options, share a folder without harm.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entangle.errors import InputError
from entangle.files import write_atomically

__all__ = ["Store"]

SCHEMA = 1


class Store:
    """Results by fingerprint, in a folder, or nowhere.

    Parameters
    ----------
    directory
        Made if it is missing. ``None``: nothing is kept.

    Raises
    ------
    InputError
        If the folder cannot be made, or is a file.
    """

    def __init__(self, directory: str | os.PathLike[str] | None) -> None:
        self.directory = None if directory is None else Path(directory).expanduser()
        if self.directory is None:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as reason:
            raise InputError(
                f"cannot make the folder '{self.directory}': {reason}; choose another directory"
            ) from reason

    def result(self, key: str, fields: frozenset[str]) -> dict[str, Any] | None:
        """Read what was kept under a fingerprint; ``None`` if that is not there, or damaged.

        Parameters
        ----------
        key
            The fingerprint.
        fields
            Names that a whole result has.
        """
        if self.directory is None:
            return None
        try:
            stored = json.loads((self.directory / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None  # what is damaged is measured again, and replaced
        whole = isinstance(stored, dict) and isinstance(stored.get("result"), dict)
        if not whole or stored.get("schema") != SCHEMA or stored.get("key") != key:
            return None
        return stored["result"] if fields == stored["result"].keys() else None

    def keep(self, key: str, about: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Write a result, with a few words about it for a reader."""
        if self.directory is None:
            return
        content = {"schema": SCHEMA, "key": key, "about": dict(about), "result": dict(result)}
        write_atomically(
            self.directory / f"{key}.json", json.dumps(content, indent=1) + "\n", force=True
        )
