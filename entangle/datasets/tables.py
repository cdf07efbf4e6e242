"""Tables: CSV, TSV and parquet files, and data frames of pandas, polars or pyarrow.

narwhals gives the frames one face, so a file and a frame take the same path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from entangle.datasets.completion import complete, require_imputation
from entangle.datasets.dataset import Dataset, Draft
from entangle.datasets.wording import counted, did_you_mean, listed
from entangle.errors import InputError
from entangle.labels import as_labels
from entangle.memory import require_memory

if TYPE_CHECKING:
    import narwhals as nw

    from entangle.datasets.columns import Column

__all__ = ["table_to_dataset"]


def table_to_dataset(
    frame: Any,
    target: str | int | None = None,
    *,
    drop: Sequence[str] = (),
    impute: str | None = None,
    name: str = "table",
    source: str = "",
    notes: Sequence[str] = (),
    max_memory: int | None = None,
) -> Dataset:
    """Read a data frame.

    Parameters
    ----------
    frame
        Table of pandas, polars or pyarrow.
    target
        Name of the label column. Default: every column is a feature.
    drop
        Names of columns to leave out.
    impute
        Fill missing values with the column's ``"mean"``, ``"median"`` or ``"most_frequent"``
        value; gaps in categories take the most frequent one. Default: refuse them.
    name, source, notes
        What to say about the table.
    max_memory
        Bytes the numbers may take. Default: what the machine has available.

    Returns
    -------
    Dataset
        Categories are one-hot encoded, ``colour`` becoming ``colour=blue``, ``colour=red``;
        boolean columns, and columns of the texts 0 and 1, stay one column.

    Raises
    ------
    InputError
        If a column is missing or named twice, cannot be read as numbers or categories, has
        gaps without ``impute``, or holds infinite values.
    MemoryLimitError
        If the numbers would not fit.

    Examples
    --------
    >>> import pyarrow
    >>> table = pyarrow.table({"a": [1, 2, 3], "b": [0, 5, 1], "kind": ["u", "v", "u"]})
    >>> table_to_dataset(table, target="kind")
    Dataset('table', 3 samples x 2 features, shape (2,), target 'kind', 2 classes)
    """
    import narwhals as nw  # here and in `columns`: a help page needs neither

    try:
        table = nw.from_native(frame, eager_only=True)
        names = [str(column) for column in table.columns]
    except nw.exceptions.DuplicateError as reason:
        repeated = getattr(frame, "column_names", None) or frame.columns  # pyarrow, or pandas
        _require_distinct([str(column) for column in repeated])
        raise InputError(f"columns need distinct names: {reason}") from reason
    except TypeError as reason:
        raise InputError(
            f"expected a pandas, polars or pyarrow table, got {type(frame).__name__}; collect a "
            "lazy frame first, and pass arrays as arrays"
        ) from reason
    _require_distinct(names)
    series = dict(zip(names, table.iter_columns(), strict=True))
    draft = _draft(series, target, drop, impute, max_memory)
    draft.notes[:0] = notes
    return complete(draft, name=name, source=source, impute=impute)


def _draft(
    series: dict[str, nw.Series[Any]],
    target: str | int | None,
    drop: Sequence[str],
    impute: str | None,
    max_memory: int | None,
) -> Draft:
    from entangle.datasets.columns import read_column, read_target

    for wanted in drop:
        _require_column(wanted, list(series), "dropped column")
    n_samples = max((len(cells) for cells in series.values()), default=0)
    notes = [f"left out as asked: {listed(drop)}"] if drop else []
    y, target_name = None, None
    if target is None:
        notes.append("no target named: every column is read as a feature")
    else:
        target_name = str(target)
        if target_name in drop:
            raise InputError(f"'{target_name}' is both the target and to be dropped; choose one")
        _require_column(target_name, list(series), "target")
        y = as_labels(read_target(target_name, series.pop(target_name)), target_name, notes)
    columns = [read_column(name, series[name]) for name in series if name not in drop]
    notes += _encoding_notes(columns)
    X, feature_names = _matrix(columns, n_samples, impute, max_memory)
    shape = (X.shape[1],)
    return Draft(X, y, shape, feature_names, target_name, notes, _variables(columns))


def _variables(columns: Sequence[Column]) -> tuple[str, ...] | None:
    """Column behind each feature, if one became several."""
    if all(len(column.names) == 1 for column in columns):
        return None
    return tuple(column.name for column in columns for _ in column.names)


def _encoding_notes(columns: Sequence[Column]) -> list[str]:
    """One note for all columns that were treated alike."""
    alike: dict[str, list[str]] = {}
    for column in columns:
        if column.done:
            alike.setdefault(column.done, []).append(column.name)
    return [
        f"{'column' if len(names) == 1 else counted(len(names), 'column')} {listed(names)}: {done}"
        for done, names in alike.items()
    ]


def _matrix(
    columns: list[Column], n_samples: int, impute: str | None, max_memory: int | None
) -> tuple[NDArray[Any], tuple[str, ...]]:
    missing = {column.name: column.missing for column in columns if column.missing}
    if missing:
        require_imputation(missing, n_samples, impute)
    names = tuple(name for column in columns for name in column.names)
    _require_distinct(list(names))
    dtype = np.result_type(*{column.dtype for column in columns}) if columns else np.dtype("f8")
    what = f"a table of {n_samples} rows and {len(names)} numeric columns"
    require_memory(n_samples * len(names) * dtype.itemsize, what, max_memory)
    X = np.zeros((n_samples, len(names)), dtype)
    start = 0
    for column in columns:
        column.write(X, start)
        start += len(column.names)
    return X, names


def _require_distinct(names: Sequence[str]) -> None:
    counts = Counter(names)
    twice = [name for name in counts if counts[name] > 1]
    if twice:
        raise InputError(f"columns need distinct names, these repeat: {listed(twice)}; rename them")


def _require_column(wanted: str, names: Sequence[str], role: str) -> None:
    if wanted not in names:
        raise InputError(
            f"{role} '{wanted}' is not in the table{did_you_mean(wanted, names) or ';'} its "
            f"{len(names)} columns are {listed(names, most=12)}"
        )
