"""Arrays in .npy and .npz files.

Headers are read first: they tell shapes and types without decompressing anything, so a file
that would not fit is refused before it is touched. Pickled objects are never loaded, because
unpickling runs code.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from entangle.datasets.dataset import Draft, numbered_names
from entangle.datasets.wording import did_you_mean, listed
from entangle.errors import DatasetError, InputError
from entangle.labels import as_labels
from entangle.memory import require_memory

__all__ = ["drop_features", "read_npy", "read_npz"]

Header = tuple[tuple[int, ...], np.dtype[Any]]
PARTS = ("train", "test")


def read_npy(path: Path, target: str | None = None, max_memory: int | None = None) -> Draft:
    """Draft from an .npy file; ``target`` is the number of the label column, from 0.

    Raises
    ------
    DatasetError
        If the file is damaged or holds pickled objects.
    InputError
        If it holds fewer than two axes, or ``target`` is not one of its columns.
    MemoryLimitError
        If it would not fit.
    """
    with _readable(path):
        with path.open("rb") as stream:
            header = _header(stream)
        _require_fit(path, {"array": header}, 1, max_memory)
        array = np.load(path, allow_pickle=False)
    draft = _draft(array, f"'{path}'")
    if target is None:
        return draft
    column = _column(draft.feature_names, str(target))
    if column is None or array.ndim != 2:
        raise InputError(
            f"target of an .npy file is a column number 0..{draft.X.shape[1] - 1} of a 2-D array, "
            f"got {target!r} for shape {array.shape}"
        )
    labels = as_labels(draft.X[:, column].copy(), str(target), draft.notes)
    rest = drop_features(draft, [draft.feature_names[column]], say=False)
    rest.y, rest.target_name = labels, str(target)
    return rest


def read_npz(
    path: Path,
    target: str | None = None,
    max_memory: int | None = None,
    encoding: str | None = None,
    regression: bool = False,
) -> Draft:
    """Draft from an .npz archive with ``X`` and ``y``, or ``X_train``, ``y_train`` and so on.

    Parameters
    ----------
    path
        The archive.
    target
        Key of the labels. Default: ``y`` if it is there.
    max_memory
        Bytes that may be used.
    encoding
        ``"differences"``: the pixels are the array ``D``, see :func:`_pixels`.
    regression
        Keep floating point labels as they are, even whole ones.

    Raises
    ------
    DatasetError
        If the file is damaged, holds pickled objects, or has no features.
    InputError
        If ``target`` is not one of its keys.
    MemoryLimitError
        If the arrays would not fit.
    """
    with _readable(path):
        headers = _headers(path)
        X_keys = ["D"] if encoding == "differences" else _feature_keys(path, headers)
        y_keys = _target_keys(path, headers, _key_of_target(path, headers, target))
        wanted = {key: headers[key] for key in X_keys + y_keys if key in headers}
        copies = 1 if len(X_keys) == 1 and encoding is None else 2
        _require_fit(path, wanted, copies, max_memory)
        with np.load(path, allow_pickle=False) as archive:
            X = _joined([archive[key] for key in X_keys], path)
            y = _joined([archive[key] for key in y_keys], path) if y_keys else None
            names = archive["feature_names"] if "feature_names" in headers else None
            label = str(archive["target_name"]) if "target_name" in headers else "y"
    draft = _draft(_pixels(X) if encoding == "differences" else X, f"'{path}'", names)
    draft.notes += _reading_notes(X_keys, y_keys, headers)
    if y is not None:
        draft.target_name = target or label
        keep = regression and y.dtype.kind == "f"
        draft.y = y if keep else as_labels(y, draft.target_name, draft.notes)
        _require_one_label_each(draft)
    return draft


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (
        OSError, EOFError, KeyError, ValueError, SyntaxError, TokenError, zipfile.BadZipFile,
        zlib.error,
    ) as reason:  # fmt: skip
        if isinstance(reason, DatasetError | InputError):
            raise
        what = "pickled objects" if "allow_pickle" in str(reason) else str(reason)
        raise DatasetError(
            f"cannot read '{path}': {what}; expected an intact numpy file of plain numbers or "
            "text, as numpy.savez_compressed writes it"
        ) from reason


def _header(stream: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(stream)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects")
    return tuple(shape), dtype


def _headers(path: Path) -> dict[str, Header]:
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as stream:
                    headers[member.removesuffix(".npy")] = _header(stream)
    return headers


def _require_fit(
    path: Path, headers: dict[str, Header], copies: int, max_memory: int | None
) -> None:
    needed = sum(math.prod(shape) * dtype.itemsize for shape, dtype in headers.values())
    require_memory(copies * needed, f"'{path}'", max_memory)


def _keys(headers: dict[str, Header], stem: str) -> list[str]:
    parts = [f"{stem}_{part}" for part in PARTS]
    return [stem] if stem in headers else [key for key in parts if key in headers]


def _feature_keys(path: Path, headers: dict[str, Header]) -> list[str]:
    keys = _keys(headers, "X")
    if not keys:
        keys = [
            key
            for key, (shape, dtype) in headers.items()
            if len(shape) > 1 and dtype.kind in "biuf"
        ]
        if len(keys) != 1:
            raise DatasetError(
                f"'{path}' has no array 'X', nor 'X_train'; got {listed(headers) or 'no arrays'}; "
                "save it with numpy.savez_compressed(path, X=X, y=y)"
            )
    return keys


def _target_keys(path: Path, headers: dict[str, Header], target: str | None) -> list[str]:
    keys = _keys(headers, target or "y")
    if target and not keys:
        choices = [key for key, (shape, _) in headers.items() if len(shape) == 1]
        raise InputError(
            f"target '{target}' is not in '{path}'{did_you_mean(target, choices) or ';'} "
            f"it holds {listed(choices, most=12) or 'no labels'}"
        )
    return keys


def _key_of_target(path: Path, headers: dict[str, Header], target: str | None) -> str | None:
    """Default key, if ``target`` is the name that the archive itself gives its labels."""
    if target is None or target in headers or "target_name" not in headers:
        return target
    with np.load(path, allow_pickle=False) as archive:
        return None if str(archive["target_name"]) == target else target


def _joined(parts: list[NDArray[Any]], path: Path) -> NDArray[Any]:
    if len(parts) == 1:
        return parts[0]
    if len({part.shape[1:] for part in parts}) > 1:
        raise DatasetError(
            f"'{path}': training and test arrays must agree beyond the first axis, got shapes "
            f"{listed(part.shape for part in parts)}; save them with equal layouts"
        )
    return np.concatenate(parts)


def _pixels(differences: NDArray[Any]) -> NDArray[Any]:
    """Pixels ``(samples, colours, height, width)`` from their differences, modulo 256.

    Stored are first differences along height and width of green, and of red and blue minus
    green; integrate twice, then add green back.
    """
    pixels = np.cumsum(np.cumsum(differences, 3, dtype=np.uint8), 2, dtype=np.uint8)
    pixels[:, [0, 2]] += pixels[:, 1:2]
    return pixels


def _reading_notes(X_keys: list[str], y_keys: list[str], headers: dict[str, Header]) -> list[str]:
    notes = []
    if X_keys not in (["X"], ["D"]) and len(X_keys) == 1:
        notes.append(f"array '{X_keys[0]}' read as the features")
    if len(X_keys) > 1:
        sizes = " + ".join(str(headers[key][0][0]) for key in X_keys)
        notes.append(f"training and test rows joined: {sizes}")
    return notes if y_keys else [*notes, "no labels in the file"]


def _draft(array: NDArray[Any], what: str, names: NDArray[Any] | None = None) -> Draft:
    if array.ndim < 2:
        raise InputError(
            f"{what}: features need at least 2 axes, samples first, got shape {array.shape}"
        )
    shape = array.shape[1:]
    n_features = math.prod(shape)
    X = array.reshape(array.shape[0], n_features)
    if names is None:
        return Draft(X, None, shape, numbered_names(n_features))
    if names.shape != (n_features,) or len(set(names.tolist())) != n_features:
        raise DatasetError(
            f"{what}: 'feature_names' needs {n_features} distinct names, got shape {names.shape} "
            f"with {np.unique(names).size} distinct; correct or remove it"
        )
    return Draft(X, None, shape, tuple(map(str, names.tolist())))


def _require_one_label_each(draft: Draft) -> None:
    if draft.y is not None and draft.y.shape[0] != draft.X.shape[0]:
        raise InputError(
            f"target '{draft.target_name}' has {draft.y.shape[0]} values for {draft.X.shape[0]} "
            "samples; name a target with one value a sample"
        )


def _column(names: tuple[str, ...], wanted: str) -> int | None:
    """Position of a column by its name, or by its number where columns have none."""
    for name in (wanted, f"x{wanted}"):
        if name in names:
            return names.index(name)
    return None


def drop_features(draft: Draft, drop: Sequence[str], *, say: bool = True) -> Draft:
    """Leave columns out; what is left has no layout but a sequence.

    Raises
    ------
    InputError
        If a name is not a column.
    """
    if not drop:
        return draft
    names = draft.feature_names
    columns = [_column(names, name) for name in drop]
    for name, column in zip(drop, columns, strict=True):
        if column is None:
            raise InputError(
                f"cannot drop '{name}': there is no such column{did_you_mean(name, names)}"
            )
    keep = np.setdiff1d(np.arange(len(names)), np.array(columns, dtype=np.int64))
    said = [f"left out as asked: {listed(names[i] for i in columns if i is not None)}"]
    return Draft(
        draft.X[:, keep],
        draft.y,
        (int(keep.size),),
        tuple(names[i] for i in keep),
        draft.target_name,
        draft.notes + (said if say else []),
    )
