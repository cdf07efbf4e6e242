"""Output files, written whole or not at all.

Every file goes to a temporary name in its own folder first and is renamed when complete, so
an interrupted run leaves either the old file or the new one, never half of either.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from entangle.errors import InputError, OutputExistsError

__all__ = ["write_atomically"]


def write_atomically(
    path: str | os.PathLike[str],
    content: str | bytes | Callable[[BinaryIO], object],
    *,
    force: bool = False,
) -> Path:
    """Write a file under a temporary name, then move it to its place.

    Parameters
    ----------
    path
        Where the file shall be. Its folder must exist. A symbolic link is followed.
    content
        Text (written as UTF-8), bytes, or a function that writes to the open binary stream
        it is given.
    force
        Replace an existing file.

    Returns
    -------
    Path
        The path as given.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is false.
    InputError
        If the folder is missing, the path is a folder, or the folder cannot be written to.
    """
    wanted = Path(path).expanduser()
    place = Path(os.path.realpath(wanted))
    _require_writable(wanted, place, force=force)
    # Not tempfile: its files are private (mode 600) whatever the umask says.
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(6)}.part")
    try:
        with temporary.open("xb") as stream:
            _write(content, stream)
        os.replace(temporary, place)
    except OSError as reason:
        raise InputError(f"cannot write '{wanted}': {reason}; choose another place") from reason
    finally:
        temporary.unlink(missing_ok=True)
    return wanted


def _require_writable(wanted: Path, place: Path, *, force: bool) -> None:
    if place.is_dir():
        raise InputError(f"'{wanted}' is a folder; add the name of a file, as in {wanted / 'out'}")
    if not place.parent.is_dir():
        raise InputError(
            f"cannot write '{wanted}': the folder '{place.parent}' does not exist; create it first"
        )
    if place.exists() and not force:
        raise OutputExistsError(
            f"'{wanted}' exists already; choose another name, or overwrite it with force=True "
            "(--force)"
        )


def _write(content: str | bytes | Callable[[BinaryIO], object], stream: BinaryIO) -> None:
    if isinstance(content, str):
        stream.write(content.encode("utf-8"))
    elif isinstance(content, bytes):
        stream.write(content)
    else:
        content(stream)
