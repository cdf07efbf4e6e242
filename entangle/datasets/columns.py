"""Columns of a table, turned into numbers one at a time.

Numbers stay, categories become one 0/1 column each, and what is neither is refused: a date, a
free text, or a numeric column with a word in it. A column of two states that are already
called 0 and 1 (or false and true) stays one column, since its second would repeat the first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Number
from types import NoneType
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from entangle.datasets.wording import counted
from entangle.errors import InputError

__all__ = ["Column", "read_column", "read_target"]

MOST_CATEGORIES = 50
MOST_DISGUISED = 5  # distinct cells such as 1,5 or 5% that may still be names of categories
BINARY = ({"False": 0, "True": 1}, {"0": 0, "1": 1})
NUMBER_LIKE = re.compile(r"[+-]?\d[\d.,\u00a0 ]*%?|\d{1,4}/\d{1,2}/\d{1,4}")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """Numbers of one column, or codes of its categories.

    Attributes
    ----------
    values
        Numbers with NaN for gaps; or codes, in which gaps hold the most frequent category.
    categories
        Names of the codes; ``None`` for numbers.
    missing
        Number of gaps.
    done
        What was done to it, if anything.
    """

    name: str
    values: NDArray[Any]
    categories: tuple[str, ...] | None = None
    missing: int = 0
    done: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns it becomes."""
        if self.categories is None:
            return (self.name,)
        return tuple(f"{self.name}={category}" for category in self.categories)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers it becomes."""
        return self.values.dtype if self.categories is None else np.dtype(np.uint8)

    def write(self, X: NDArray[Any], start: int) -> None:
        """Fill the columns of ``X`` that begin at ``start``; ``X`` is zero there."""
        if self.categories is None:
            X[:, start] = self.values
        else:
            X[np.arange(X.shape[0]), start + self.values] = 1


def read_column(name: str, series: nw.Series[Any]) -> Column:
    """Read a feature column as numbers or categories.

    Raises
    ------
    InputError
        If it holds dates, nested values, bytes, free text, or numbers mixed with text.
    """
    dtype = series.dtype
    if dtype.is_numeric():
        values = _numbers(series)
        missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
        return Column(name, values, missing=missing)
    if dtype.is_temporal():
        raise InputError(
            f"column '{name}' holds dates or times ({dtype}); turn it into numbers, or leave it "
            f"out with drop=['{name}'] (--drop)"
        )
    strange = _strange_type(series)
    if strange:
        raise InputError(
            f"column '{name}' holds {strange} values; expected numbers or text (UTF-8); convert "
            f"it, or leave it out with drop=['{name}'] (--drop)"
        )
    cells = _cells(series)
    present = [cell for cell in cells if cell is not None]
    if not present:
        return Column(name, np.full(len(cells), np.nan), missing=len(cells))
    for states in BINARY:
        if set(present) <= states.keys():
            return _binary(name, cells, states)
    if dtype in (nw.Categorical, nw.Enum):
        return _categorical(name, cells)
    return _text(name, cells, present)


def read_target(name: str, series: nw.Series[Any]) -> NDArray[Any]:
    """Read the cells of a target: numbers as they are, anything else as text.

    Raises
    ------
    InputError
        If a cell is missing, or it holds dates or nested values.
    """
    dtype = series.dtype
    if dtype.is_numeric():
        return _numbers(series)
    if dtype == nw.Object:
        cells = [None if gap else cell for cell, gap in _with_gaps(series)]
        return np.array([float(c) if isinstance(c, Decimal) else c for c in cells], dtype=object)
    if dtype == nw.Boolean and not series.is_null().any():
        return series.to_numpy().astype(bool)
    strange = _strange_type(series)
    if strange:
        raise InputError(
            f"target '{name}' holds {strange} values; expected numbers or text; name another column"
        )
    cells = _cells(series)
    gaps = [row for row, cell in enumerate(cells, 1) if cell is None]
    if gaps:
        raise InputError(
            f"target '{name}' has {counted(len(gaps), 'missing value')}, the first in row "
            f"{gaps[0]}; remove these rows"
        )
    return np.asarray(cells, dtype=np.str_)


def _numbers(series: nw.Series[Any]) -> NDArray[Any]:
    if series.dtype == nw.Decimal or series.is_null().any():
        series = series.cast(nw.Float64)
    return np.asarray(series.to_numpy())


def _strange_type(series: nw.Series[Any]) -> str | None:
    """Name of a type that is neither numbers nor text; ``None`` if the column can be read."""
    dtype = series.dtype
    if dtype == nw.Object:
        known = (str, Number, np.bool_, NoneType)
        types = {type(cell) for cell, gap in _with_gaps(series) if not gap}
        return next((kind.__name__ for kind in types if not issubclass(kind, known)), None)
    readable = (nw.Boolean, nw.String, nw.Categorical, nw.Enum, nw.Unknown)
    return None if dtype in readable else str(dtype)


def _with_gaps(series: nw.Series[Any]) -> Iterator[tuple[Any, bool]]:
    return zip(series.to_list(), series.is_null().to_list(), strict=True)


def _cells(series: nw.Series[Any]) -> list[str | None]:
    """Cells as text, ``None`` for gaps; an empty text is a gap, as it is in a CSV file."""
    return [
        None if gap or value is None or value == "" else str(value)
        for value, gap in _with_gaps(series)
    ]


def _binary(name: str, cells: Sequence[str | None], states: dict[str, int]) -> Column:
    codes, missing, filled = _codes(cells, states)
    done = f"read as 0 and 1{_filled_with(filled, missing)}"
    return Column(name, codes.astype(np.uint8), None, missing, done)


def _categorical(name: str, cells: Sequence[str | None]) -> Column:
    categories = sorted({cell for cell in cells if cell is not None})
    codes, missing, filled = _codes(cells, {cell: code for code, cell in enumerate(categories)})
    number = f"{len(categories)} categor{'y' if len(categories) == 1 else 'ies'}"
    done = f"{number} one-hot encoded{_filled_with(filled, missing)}"
    return Column(name, codes, tuple(categories), missing, done)


def _codes(
    cells: Sequence[str | None], states: dict[str, int]
) -> tuple[NDArray[np.intp], int, str]:
    """Codes, number of gaps, and the most frequent state, which stands in the gaps."""
    counts = Counter(cell for cell in cells if cell is not None)
    frequent = min(counts, key=lambda cell: (-counts[cell], cell))
    codes = [states[frequent if cell is None else cell] for cell in cells]
    return np.array(codes, dtype=np.intp), len(cells) - counts.total(), frequent


def _filled_with(state: str, missing: int) -> str:
    if missing == 0:
        return ""
    return f", {counted(missing, 'missing value')} filled with the most frequent, '{state}'"


def _text(name: str, cells: Sequence[str | None], present: Sequence[str]) -> Column:
    distinct = set(present)
    words = {cell for cell in distinct if not NUMBER.fullmatch(cell.strip())}
    if not words:
        numbers = np.array([np.nan if cell is None else float(cell) for cell in cells])
        missing = int(np.isnan(numbers).sum())
        return Column(name, numbers, None, missing, "text read as numbers")
    n_words = sum(cell in words for cell in present)
    if 2 * n_words < len(present):
        row = next(row for row, cell in enumerate(cells, 1) if cell in words)
        raise InputError(
            f"column '{name}' holds numbers, but row {row} has {cells[row - 1]!r} "
            f"({counted(n_words, 'such cell')} of {len(present)}); correct the cell, empty it if "
            f"the value is missing, or leave the column out with drop=['{name}'] (--drop)"
        )
    disguised = [cell for cell in words if NUMBER_LIKE.fullmatch(cell.strip())]
    if 2 * len(disguised) > len(words) and len(words) > MOST_DISGUISED:
        raise InputError(
            f"column '{name}' is text that looks like numbers or dates, such as {disguised[0]!r}; "
            "write numbers as 1.5, without thousands separators or units, or leave the column out "
            f"with drop=['{name}'] (--drop)"
        )
    if len(distinct) > MOST_CATEGORIES and 2 * len(distinct) > len(present):
        raise InputError(
            f"column '{name}' is text with {len(distinct)} distinct values in {len(present)} rows, "
            f"an identifier or free text; leave it out with drop=['{name}'] (--drop), or encode it "
            "as numbers first"
        )
    return _categorical(name, cells)
