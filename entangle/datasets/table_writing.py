"""Table files, written from a matrix with names: the other direction of loading.

What is written loads again with the same numbers and names.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from entangle.datasets.wording import listed
from entangle.errors import InputError
from entangle.files import write_atomically

__all__ = ["write_table"]

SUFFIXES = (".csv", ".tsv", ".parquet", ".npy", ".npz")


def write_table(
    path: str | os.PathLike[str],
    X: NDArray[Any],
    feature_names: Sequence[str],
    y: NDArray[Any] | None = None,
    target_name: str | None = None,
    *,
    force: bool = False,
) -> Path:
    """Write a matrix as .csv, .tsv, .parquet, .npy or .npz, complete or not at all.

    Parameters
    ----------
    path
        Where; the suffix says how. Its folder must exist.
    X
        Numbers ``(samples, features)``.
    feature_names
        One name a column.
    y, target_name
        Labels and their name (default ``"target"``); the last column of a table, the array
        ``y`` of an .npz archive. An .npy file cannot hold them.
    force
        Replace an existing file.

    Returns
    -------
    Path
        The path as given.

    Raises
    ------
    InputError
        If the suffix is unknown, or names, labels and matrix do not fit each other.
    OutputExistsError
        If the file exists and ``force`` is false.
    """
    suffix = Path(path).suffix.lower()
    names = [str(name) for name in feature_names]
    label = target_name or "target"
    _require_fitting(suffix, X, names, y, label)

    def write(stream: BinaryIO) -> None:
        if suffix == ".npy":
            np.save(stream, X, allow_pickle=False)
        elif suffix == ".npz":
            labels = {} if y is None else {"y": y, "target_name": np.array(label)}
            # The stubs take every keyword for the flag that follows the arrays.
            arrays: dict[str, Any] = {"X": X, "feature_names": np.array(names), **labels}
            np.savez_compressed(stream, **arrays)
        else:
            _write_frame(stream, suffix, X, names if y is None else [*names, label], y)

    return write_atomically(path, write, force=force)


def _require_fitting(
    suffix: str, X: NDArray[Any], names: list[str], y: NDArray[Any] | None, label: str
) -> None:
    if suffix not in SUFFIXES:
        raise InputError(f"a table is written as {', '.join(SUFFIXES)}, got '{suffix}'")
    if X.ndim != 2 or X.shape[1] != len(names):
        raise InputError(
            f"expected one name a column, got {len(names)} names for a matrix of shape {X.shape}"
        )
    if y is not None and (suffix == ".npy" or y.shape != X.shape[:1]):
        raise InputError(
            "an .npy file holds one matrix and no labels; write .npz, or leave out y"
            if suffix == ".npy"
            else f"expected one label a sample, got shape {y.shape} for {X.shape[0]} samples"
        )
    every = names if y is None else [*names, label]
    if len(set(every)) < len(every):
        counts = Counter(every)
        twice = [name for name in counts if counts[name] > 1]
        raise InputError(f"columns need distinct names, these repeat: {listed(twice)}; rename them")


def _write_frame(
    stream: BinaryIO, suffix: str, X: NDArray[Any], names: list[str], y: NDArray[Any] | None
) -> None:
    import pyarrow as pa  # heavy, and only for these kinds of file

    columns = list(X.astype(np.float64) if X.dtype.kind == "f" else X)
    columns = [np.ascontiguousarray(column) for column in np.transpose(columns)]
    arrays = [pa.array(column) for column in columns]
    if y is not None:
        arrays.append(pa.array(y.tolist() if y.dtype.kind in "US" else y))
    table = pa.Table.from_arrays(arrays, names=names)
    if suffix == ".parquet":
        from pyarrow import parquet

        parquet.write_table(table, stream)
    else:
        from pyarrow import csv

        csv.write_csv(table, stream, csv.WriteOptions(delimiter="\t" if suffix == ".tsv" else ","))
