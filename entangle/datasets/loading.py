"""Loading: from what a user typed to a data set.

A file wins over a name, a bundled set over a file in the data folder, and only ``openml:`` or
a number reaches for the network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from entangle.datasets.archives import drop_features, read_npy, read_npz
from entangle.datasets.completion import Impute, complete
from entangle.datasets.dataset import Dataset
from entangle.datasets.registry import (
    DatasetInfo,
    matching_entry,
    read_registry,
    registered_file,
    require_checksum,
)
from entangle.datasets.sklearn_sets import load_bundled, load_openml
from entangle.datasets.table_files import read_table
from entangle.datasets.tables import table_to_dataset
from entangle.datasets.wording import did_you_mean
from entangle.errors import DatasetError, InputError

__all__ = ["load_dataset"]

TABLES = (".csv", ".tsv", ".txt", ".parquet")
ARRAYS = (".npy", ".npz")


def load_dataset(
    name_or_path: str | os.PathLike[str],
    target: str | int | None = None,
    impute: str | None = None,
    drop: Sequence[str] = (),
    max_memory: int | None = None,
) -> Dataset:
    """Load a data set by name or from a file.

    Parameters
    ----------
    name_or_path
        In this order: a file (.csv, .tsv, .txt, .parquet, .npy, .npz); a set of scikit-learn
        (``"digits"``); a file ``NAME.npz`` below the folder that the environment variable
        ``ENTANGLE_DATA`` names (``"ucr/GunPoint"``); ``"openml:NAME"``, ``"openml:31"`` or a
        number, fetched from OpenML. ``entangle datasets`` lists the names.
    target
        Labels: a column of a table, a key of an .npz archive (default ``"y"``), the number of
        a column of an .npy array. Tables and .npy arrays have no default.
    impute
        Fill missing values with the column's ``"mean"``, ``"median"`` or ``"most_frequent"``
        value. Default: refuse them.
    drop
        Names of features to leave out; columns without names are called ``x0``, ``x1``, ...
    max_memory
        Bytes the arrays may take. Default: what the machine has available.

    Returns
    -------
    Dataset
        Everything that was done to the data is in its ``notes``.

    Raises
    ------
    DatasetError
        If the set is unknown, missing, damaged, or not the registered one.
    InputError
        If its contents cannot be used as they are, or an argument does not fit them.
    MemoryLimitError
        If it would not fit; nothing is read then.

    Examples
    --------
    >>> load_dataset("iris")
    Dataset('iris', 150 samples x 4 features, shape (4,), target 'target', 3 classes)
    """
    if impute is not None and impute not in get_args(Impute):
        raise InputError(
            f"impute is one of {', '.join(get_args(Impute))}, got '{impute}'"
            f"{did_you_mean(impute, get_args(Impute))}"
        )
    if isinstance(drop, str):
        raise InputError(f"drop is a list of names, got the text '{drop}'; pass ['{drop}']")
    wanted = os.fspath(name_or_path)
    key = None if target is None else str(target)
    path = Path(wanted).expanduser()
    entries = read_registry()
    if path.suffix.lower() in TABLES + ARRAYS:
        _require_file(path, entries)
        return _load_file(path, key, impute, drop, max_memory, entries)
    if wanted in entries and entries[wanted].bundled:
        return load_bundled(entries[wanted], key, drop)
    if wanted.startswith("openml:") or wanted.isdecimal():
        number = wanted.removeprefix("openml:")
        return load_openml(number, key, drop=drop, impute=impute, max_memory=max_memory)
    if wanted not in entries:
        _refuse_other_paths(path)
    file = registered_file(wanted, entries)
    info = entries.get(wanted)
    if info is not None:
        require_checksum(file, info)
    return _load_archive(file, wanted, info, key, impute, drop, max_memory)


def _require_file(path: Path, entries: dict[str, DatasetInfo]) -> None:
    if path.is_dir():
        raise DatasetError(f"'{path}' is a folder, expected a file; name the file in it")
    if not path.is_file():
        siblings = sorted(path.parent.glob("*")) if path.parent.is_dir() else []
        near = did_you_mean(path.name, [file.name for file in siblings])
        if not near and path.stem in entries:
            near = f"; the registered set is called '{path.stem}', without '{path.suffix}'"
        raise DatasetError(f"there is no file '{path}'{near or '; check the path'}")


def _refuse_other_paths(path: Path) -> None:
    if path.is_dir():
        raise DatasetError(f"'{path}' is a folder, expected a file; name the file in it")
    if path.is_file():
        raise DatasetError(
            f"cannot read '{path}': expected a file ending in {', '.join(TABLES + ARRAYS)}, got "
            f"'{path.suffix}'; export it as one of these"
        )


def _load_file(
    path: Path,
    target: str | None,
    impute: str | None,
    drop: Sequence[str],
    max_memory: int | None,
    entries: dict[str, DatasetInfo],
) -> Dataset:
    suffix = path.suffix.lower()
    if suffix in TABLES:
        table, notes = read_table(path, max_memory)
        return table_to_dataset(
            table,
            target,
            drop=drop,
            impute=impute,
            name=path.stem,
            source=str(path),
            notes=notes,
            max_memory=max_memory,
        )
    if suffix == ".npz":
        info = matching_entry(path, entries)
        name = path.stem if info is None else info.name
        return _load_archive(path, name, info, target, impute, drop, max_memory)
    draft = drop_features(read_npy(path, target, max_memory), drop)
    return complete(draft, name=path.stem, source=str(path), impute=impute)


def _load_archive(
    path: Path,
    name: str,
    info: DatasetInfo | None,
    target: str | None,
    impute: str | None,
    drop: Sequence[str],
    max_memory: int | None,
) -> Dataset:
    if info is None:
        draft = drop_features(read_npz(path, target, max_memory), drop)
        return complete(draft, name=name, source=str(path), impute=impute)
    key = None if target == info.target else target
    regression = info.n_classes is None
    draft = read_npz(path, key, max_memory, encoding=info.encoding, regression=regression)
    if info.shape is None or draft.X.shape != (info.n_samples, info.n_features):
        raise DatasetError(
            f"'{path}' should hold {info.n_samples} samples x {info.n_features} features, got "
            f"shape {draft.X.shape}; the registry entry of '{name}' is wrong"
        )
    draft = replace(draft, shape=info.shape)
    if key is None:
        draft.target_name = None if draft.y is None else info.target
    if info.note:
        draft.notes.append(info.note)
    return complete(
        drop_features(draft, drop),
        name=name,
        source=f"{info.reference} ({info.source})",
        kind=info.kind,
        licence=info.licence,
        impute=impute,
    )
