"""Completion: a draft becomes a data set once its matrix is numeric, finite and without gaps.

Tables and arrays share these checks, so a missing cell reads the same whatever file it came
from. Gaps are refused unless the caller names a way to fill them: a silently filled cell
changes the correlations that every later number rests on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from entangle.datasets.dataset import Dataset, Draft
from entangle.datasets.wording import counted, listed
from entangle.errors import InputError

__all__ = ["Impute", "complete", "require_imputation"]

Impute: TypeAlias = Literal["mean", "median", "most_frequent"]


def complete(
    draft: Draft,
    *,
    name: str,
    source: str,
    kind: str = "table",
    licence: str | None = None,
    impute: str | None = None,
) -> Dataset:
    """Check a draft, fill its gaps if asked to, and freeze it.

    Raises
    ------
    InputError
        If there are fewer than two rows or features, values that are not numbers, infinite
        values, or missing values without ``impute``.
    """
    X, notes = draft.X, draft.notes
    _require_numbers(X, draft.shape)
    native = np.dtype(np.uint8) if X.dtype.kind == "b" else X.dtype.newbyteorder("=")
    if native.itemsize > np.dtype(np.float64).itemsize:
        native = np.dtype(np.float64)
    X = np.ascontiguousarray(X, dtype=native)
    if X.dtype.kind == "f":
        _require_finite(X, draft.feature_names)
        X = _filled(X, draft.feature_names, impute, notes)
    n_constant = int(np.count_nonzero(X.max(axis=0) == X.min(axis=0)))
    if n_constant:
        notes.append(
            f"{counted(n_constant, 'constant column')} of {X.shape[1]} kept; they carry no "
            "entanglement"
        )
    return Dataset(
        X=X,
        y=draft.y,
        shape=draft.shape,
        name=name,
        source=source,
        kind=kind,
        feature_names=draft.feature_names,
        target_name=draft.target_name,
        notes=tuple(notes),
        licence=licence,
        variables=draft.variables,
    )


def _require_numbers(X: NDArray[Any], shape: tuple[int, ...]) -> None:
    if X.dtype.kind not in "biuf":
        raise InputError(
            f"features must be real numbers, got values of type {X.dtype}; convert them first"
        )
    n_samples, n_features = X.shape
    if n_features < 2:
        raise InputError(
            f"at least 2 features are needed, since a cut has two sides; got {n_features} "
            f"(shape {shape} after taking out the target and dropped columns)"
        )
    if n_samples < 2:
        raise InputError(f"at least 2 rows are needed, got {n_samples}; pass more samples")


def _require_finite(X: NDArray[Any], names: tuple[str, ...]) -> None:
    infinite = np.isinf(X)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise InputError(
            f"values must be finite, got {X[row, column]} in column '{names[column]}', row "
            f"{row + 1} ({counted(int(infinite.sum()), 'infinite value')} in all); replace them, "
            "or leave the column out with drop=[...] (--drop)"
        )


def _filled(
    X: NDArray[Any], names: tuple[str, ...], impute: str | None, notes: list[str]
) -> NDArray[Any]:
    missing = np.isnan(X).sum(axis=0)
    columns = np.flatnonzero(missing)
    if columns.size == 0:
        return X
    strategy = require_imputation(
        {names[column]: int(missing[column]) for column in columns}, X.shape[0], impute
    )
    from sklearn.impute import SimpleImputer  # here: takes a second, and few tables have gaps

    filled = X.copy()
    filled[:, columns] = SimpleImputer(strategy=strategy).fit_transform(X[:, columns])
    notes.append(
        f"{counted(int(missing.sum()), 'missing value')} in "
        f"{counted(columns.size, 'numeric column')} filled with the column's "
        f"{strategy.replace('_', ' ')} value"
    )
    return filled


def require_imputation(missing: Mapping[str, int], n_samples: int, impute: str | None) -> Impute:
    """Choose the way to fill the gaps, or refuse the columns that have them.

    Parameters
    ----------
    missing
        Number of missing values by column; no entry is zero.
    n_samples
        Number of rows.
    impute
        What the caller asked for.

    Raises
    ------
    InputError
        If nothing was asked for, or a column has no values at all.
    """
    empty = [name for name, count in missing.items() if count == n_samples]
    if empty:
        raise InputError(
            f"{_columns(empty)} {_has(empty)} no values at all; leave out with "
            f"drop={empty[:5]!r} (--drop)"
        )
    for way in get_args(Impute):
        if impute == way:
            return way
    names = list(missing)
    total = counted(sum(missing.values()), "missing value")
    raise InputError(
        f"{_columns(names)} {_has(names)} {total}; pass impute='median' (--impute median) to fill "
        "them, or leave out with drop=[...] (--drop)"
    )


def _columns(names: list[str]) -> str:
    return ("column " if len(names) == 1 else f"{len(names)} columns ") + listed(names)


def _has(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"
