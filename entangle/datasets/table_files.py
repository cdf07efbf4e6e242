"""Table files, read into pyarrow tables.

pyarrow infers the type of a column from all of its cells. What it cannot know is left here:
whether the first line is a header, which character separates the fields of a text file, and
which columns are only the row numbers of the frame that was saved.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from entangle.datasets.wording import listed
from entangle.errors import DatasetError, InputError
from entangle.memory import require_memory

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_table"]

BLOCK = 2**26  # bytes; a row must fit into one, and wide tables have long rows
SEPARATORS = {".csv": ",;\t", ".tsv": "\t", ".txt": "\t,;"}


def read_table(path: Path, max_memory: int | None = None) -> tuple[pa.Table, list[str]]:
    """Read a CSV, TSV, text or parquet file into a table, with notes on how it was read.

    Raises
    ------
    DatasetError
        If the file is empty or damaged, or has no header.
    MemoryLimitError
        If it would not fit.
    """
    if path.stat().st_size == 0:
        raise DatasetError(f"cannot read '{path}': the file is empty; expected a table")
    reader = _read_parquet if path.suffix.lower() == ".parquet" else _read_text
    try:
        return reader(path, max_memory)
    except (OSError, ValueError) as reason:  # pyarrow's errors are of these two kinds
        if isinstance(reason, DatasetError | InputError):
            raise
        raise DatasetError(
            f"cannot read '{path}': {reason}; correct the file, or export it again"
        ) from reason


def _read_parquet(path: Path, max_memory: int | None) -> tuple[pa.Table, list[str]]:
    import pyarrow.parquet as pq  # heavy, and only for this kind of file

    with pq.ParquetFile(path) as file:
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
        require_memory(size, f"'{path}'", max_memory)
        table = file.read()
    saved = (table.schema.pandas_metadata or {}).get("index_columns", [])
    index = [name for name in saved if isinstance(name, str) and name in table.column_names]
    notes = [f"left out: {listed(index)}, the row index of the saved frame"] if index else []
    return table.drop_columns(index) if index else table, notes


def _read_text(path: Path, max_memory: int | None) -> tuple[pa.Table, list[str]]:
    require_memory(path.stat().st_size, f"'{path}'", max_memory)
    separator = _separator(path)
    table = _parsed(path, separator)
    names = [name.strip() for name in table.column_names]
    _require_header(path, names)
    table = table.rename_columns(names)
    if len(names) == 1 and re.search(r"[,;|\t ]", names[0]):
        raise DatasetError(
            f"'{path}' has a single column, {names[0]!r}; columns of such a file are separated by "
            f"{' or '.join(repr(mark) for mark in SEPARATORS[path.suffix.lower()])}, so save it "
            "with one of these and with at least 2 features"
        )
    notes = [] if separator in (",", "\t") else [f"fields are separated by '{separator}'"]
    if names[0] == "" and table.column(0).to_pylist() in (
        list(range(table.num_rows)),
        list(range(1, table.num_rows + 1)),
    ):
        table = table.remove_column(0)
        notes.append("left out: the first column, which has no name and numbers the rows")
    if "" in table.column_names:
        raise DatasetError(
            f"'{path}': column {names.index('') + 1} of {len(names)} has no name; name it in the "
            "first line"
        )
    return table, notes


def _parsed(path: Path, separator: str) -> pa.Table:
    from pyarrow import ArrowInvalid, csv  # heavy, and only for this kind of file

    parse = csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    convert = csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    try:
        return csv.read_csv(path, csv.ReadOptions(block_size=BLOCK), parse, convert)
    except ArrowInvalid:  # again on one thread: only then does the message name the row
        alone = csv.ReadOptions(block_size=BLOCK, use_threads=False)
        return csv.read_csv(path, alone, parse, convert)


def _separator(path: Path) -> str:
    """Find the separator that stands most often in the first line; if none does, the usual one."""
    with path.open("rb") as stream:
        first = stream.readline(1_000_000).decode("utf-8", errors="replace")
    unquoted = re.sub(r'"[^"]*"', "", first)
    return max(SEPARATORS[path.suffix.lower()], key=unquoted.count)


def _require_header(path: Path, names: list[str]) -> None:
    """Refuse a first line of data; the whole numbers of a run are names that pandas gives."""
    numbers = [name for name in names if _is_number(name)]
    whole = sorted(int(name) for name in numbers if name.isdigit())
    run = len(whole) == len(numbers) and all(b - a == 1 for a, b in itertools.pairwise(whole))
    if 2 * len(numbers) > len(names) and not run:
        raise DatasetError(
            f"'{path}' needs a first line with the names of its {len(names)} columns, got "
            f"{listed(names)}; add a header line"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
