"""Registry of named data sets: facts about them, never the data.

The facts are ``data/registry.json``, which travels in the wheel as ``entangle/registry.json``.
The data lie where the environment variable ``ENTANGLE_DATA`` points, because most licences do
not let a package carry them. Listing reads the registry alone and opens no data file.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from entangle.datasets.wording import did_you_mean
from entangle.errors import DatasetError

__all__ = [
    "DATA_VARIABLE",
    "DatasetInfo",
    "available_datasets",
    "data_folder",
    "matching_entry",
    "read_registry",
    "registered_file",
    "require_checksum",
]

DATA_VARIABLE = "ENTANGLE_DATA"


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about a data set without loading it.

    Attributes
    ----------
    name
        What :func:`load_dataset` takes.
    n_samples, n_features, shape
        Size after loading; ``None`` for files that are not registered.
    n_classes
        ``None`` for regression and for sets without labels.
    file, sha256
        File below the data folder and its checksum; ``None`` for sets of scikit-learn.
    encoding
        ``"differences"`` where pixels are stored as differences.
    registered
        Whether the registry describes it.
    found
        Whether it can be loaded now: bundled, or its file is there.
    """

    name: str
    title: str
    kind: str = "table"
    n_samples: int | None = None
    n_features: int | None = None
    shape: tuple[int, ...] | None = None
    n_classes: int | None = None
    target: str | None = None
    source: str = ""
    reference: str = ""
    licence: str | None = None
    file: str | None = None
    sha256: str | None = None
    encoding: str | None = None
    note: str | None = None
    registered: bool = True
    found: bool = False

    @property
    def bundled(self) -> bool:
        """Whether scikit-learn brings it."""
        return self.file is None


def read_registry() -> dict[str, DatasetInfo]:
    """Read the registered data sets by name, those of scikit-learn first."""
    packaged = resources.files("entangle") / "registry.json"
    if packaged.is_file():
        text = packaged.read_text(encoding="utf-8")
    else:  # a source checkout or an editable install
        beside = Path(__file__).resolve().parents[2] / "data" / "registry.json"
        text = beside.read_text(encoding="utf-8")
    known = {field.name for field in fields(DatasetInfo)}
    entries = (_as_info(entry, known) for entry in json.loads(text)["datasets"])
    return {info.name: info for info in entries}


def _as_info(entry: dict[str, Any], known: set[str]) -> DatasetInfo:
    facts: dict[str, Any] = {key: value for key, value in entry.items() if key in known}
    facts["shape"] = tuple(entry["shape"])
    return DatasetInfo(**facts)


def data_folder() -> Path | None:
    """Find the folder that ``ENTANGLE_DATA`` names; ``None`` if it is unset or empty.

    Raises
    ------
    DatasetError
        If it is set to something that is not a folder.
    """
    value = os.environ.get(DATA_VARIABLE)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DatasetError(
            f"{DATA_VARIABLE} must name a folder with .npz files, '{value}' is none; "
            f"correct it, or unset it"
        )
    return folder


def available_datasets() -> list[DatasetInfo]:
    """Every data set that can be named: bundled, registered, or lying in the data folder.

    Returns
    -------
    list of DatasetInfo
        Registered sets in the order of the registry, with :attr:`DatasetInfo.found` set, then
        unregistered ``.npz`` files of the data folder by name.

    Raises
    ------
    DatasetError
        If ``ENTANGLE_DATA`` is set to something that is not a folder.
    """
    folder = data_folder()
    entries = read_registry()
    infos = [
        replace(info, found=info.bundled or _is_there(folder, info)) for info in entries.values()
    ]
    if folder is None:
        return infos
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.npz") if path.is_file())
    unregistered = (path for path in files if path.with_suffix("").as_posix() not in entries)
    return infos + [
        DatasetInfo(
            name=path.with_suffix("").as_posix(),
            title="file that is not registered",
            file=path.as_posix(),
            registered=False,
            found=True,
        )
        for path in unregistered
    ]


def _is_there(folder: Path | None, info: DatasetInfo) -> bool:
    return folder is not None and info.file is not None and (folder / info.file).is_file()


def registered_file(name: str, entries: dict[str, DatasetInfo]) -> Path:
    """Find the file of a named set, registered or not.

    Raises
    ------
    DatasetError
        If there is no such file; the message says what to set, or which names are near.
    """
    folder = data_folder()
    path = None if folder is None else folder / f"{name}.npz"
    if path is not None and path.is_file():
        return path
    if name not in entries:
        found = [] if folder is None else [info.name for info in available_datasets()]
        hint = did_you_mean(name, found or list(entries))
        raise DatasetError(
            f"unknown data set '{name}'{hint or ';'} pass a file (.csv, .tsv, .txt, .parquet, "
            ".npy, .npz), openml:NAME, or one of the names that `entangle datasets` lists"
        )
    if folder is None:
        raise DatasetError(
            f"data set '{name}' is the file {name}.npz, and {DATA_VARIABLE} is not set; "
            f"set {DATA_VARIABLE} to the folder that holds it"
        )
    raise DatasetError(
        f"data set '{name}' is the file {name}.npz, which is not in {DATA_VARIABLE}='{folder}'; "
        f"put it there; its source is {entries[name].source}"
    )


def matching_entry(path: Path, entries: dict[str, DatasetInfo]) -> DatasetInfo | None:
    """Find the registered set that a file holds, by file name and checksum."""
    for info in entries.values():
        if info.file is not None and Path(info.file).name == path.name:
            return info if _sha256(path) == info.sha256 else None
    return None


def require_checksum(path: Path, info: DatasetInfo) -> None:
    """Refuse a file that is not the registered one.

    Raises
    ------
    DatasetError
        If its sha256 differs.
    """
    got = _sha256(path)
    if got != info.sha256:
        raise DatasetError(
            f"'{path}' is not the registered data set '{info.name}': expected sha256 "
            f"{info.sha256}, got {got}; fetch the file again from {info.source}, or load it "
            "by its path to use it as it is"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
