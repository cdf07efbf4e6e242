"""Rows of a comparison by resample, so that equal places are paired."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Resample", "by_resample"]


class Resample(Protocol):
    """A row that knows its split."""

    @property
    def seed(self) -> int:
        """Of the split."""
        ...

    @property
    def fold(self) -> int:
        """Of the split."""
        ...


Found = TypeVar("Found", bound=Resample)


def by_resample(
    rows: Iterable[Found], value: Callable[[Found], float], fresh_splits: bool
) -> NDArray[np.float64]:
    """Value of each resample, shape ``(resamples,)``, in an order that depends on splits alone.

    Parameters
    ----------
    rows
        Of one model and ordering.
    value
        What is asked of a row.
    fresh_splits
        Whether each seed has splits of its own; if not, values of one split are averaged.
    """
    found: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        place = (row.seed if fresh_splits else 0, row.fold)
        found.setdefault(place, []).append(value(row))
    return np.array([float(np.mean(found[place])) for place in sorted(found)])
