r"""Which columns are the categories of one variable, seen in the values.

A table that was encoded elsewhere says of a column only that it has two values. Categories of one
variable exclude each other: no row has two. Of :math:`n` rows, columns that are present in
:math:`a` and :math:`b` of them at random miss each other with probability

.. math:: \binom{n-a}{b} \Big/ \binom{n}{b} \le e^{-ab/n},

so sets of categories that miss each other are joined, those for which chance is the worst
explanation first, as long as the bound allows 1 % for all pairs that can be tried together. Sets
grow, and with them what can be said of the next category: one that is present in two dozen rows
is recognised beside the others of its variable. Rarer ones stay alone, and so does a category
that excludes nothing, such as the only column left of two.

Source: ours. The bound is that of drawing without replacement.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.memory import require_memory

__all__ = ["ONE_HOT", "one_hot_variables"]

ONE_HOT = "one-hot"

CHANCE = 0.01  # of joining columns that are independent, all pairs together
BLOCK = 2**22  # values of a block of rows

Labels = NDArray[np.int64]


def one_hot_variables(samples: NDArray[Any]) -> Labels:
    """Variable of each column, numbered by their first columns.

    Parameters
    ----------
    samples
        Shape ``(samples, features)``, finite. A category is present where its column has the
        higher of two values; columns of fewer or more values are variables of their own.

    Returns
    -------
    ndarray
        Shape ``(features,)``, int64.

    Raises
    ------
    MemoryLimitError
        If a byte for every pair of columns with two values does not fit.
    """
    labels = np.arange(samples.shape[1])
    low, high = samples.min(axis=0), samples.max(axis=0)
    binary = ((samples == low) | (samples == high)).all(axis=0)
    present = samples[:, binary] == high[binary]
    sizes = present.sum(axis=0)
    bar = math.log(max(len(sizes), 1) ** 2 / CHANCE)
    # The others of a variable are in all other rows at most; of a constant column there are none.
    tried = sizes * (len(samples) - sizes) >= bar * len(samples)
    columns = np.flatnonzero(binary)[tried]
    if len(columns) > 1:
        joined = _joined(_met(present[:, tried]), sizes[tried], bar * len(samples))
        labels[columns] = columns[joined]
    return np.unique(labels, return_inverse=True)[1]


def _met(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether some row has both, of each pair of columns."""
    n_samples, n_columns = present.shape
    require_memory(
        6.0 * n_columns**2,
        f"the pairs of {n_columns} columns with two values",
        repair="pass groups as one label a feature",
    )
    met = np.zeros((n_columns, n_columns), dtype=bool)
    rows = max(1, BLOCK // n_columns)
    for start in range(0, n_samples, rows):
        block = present[start : start + rows].astype(np.float32)
        met |= block.T @ block > 0.5
    return met


def _joined(met: NDArray[np.bool_], counts: Labels, bar: float) -> Labels:
    """First column of the set of each; the most surprising two are joined while they pass."""
    sizes, member = counts.astype(np.float64), np.arange(len(counts))
    partner = np.empty(len(sizes), dtype=np.int64)
    surprise = np.zeros(len(sizes))

    def look(columns: Any) -> None:
        """Find the largest set that each of some sets never meets."""
        for column in columns:
            apart = np.where(met[column], 0.0, sizes)
            partner[column] = apart.argmax()
            surprise[column] = sizes[column] * apart[partner[column]]

    look(range(len(sizes)))
    while surprise.max() >= bar:
        first, second = sorted((int(surprise.argmax()), int(partner[surprise.argmax()])))
        member[member == second] = first
        sizes[first] += sizes[second]
        met[first] |= met[second]
        met[second] = True
        met[:, first] |= met[:, second]
        met[:, second] = True
        sizes[second] = surprise[second] = 0.0
        stale = (partner == first) | (partner == second) | ~met[first]
        look(np.flatnonzero(stale & (sizes > 0)))
    return member
