r"""Which columns are the categories of one variable, seen in the values.

A table that was encoded elsewhere says of a column only that it has two values. Categories of one
variable exclude each other: no row has two. A column that is present in :math:`a` of :math:`n` rows
and independent of others of which one is present in :math:`b` misses them with probability

.. math:: \binom{n-a}{b} \Big/ \binom{n}{b} \le e^{-ab/n}.

Sets of columns that miss each other are joined, those first for which chance is the worst
explanation, and a column stays in its set if the bound, against all others there, is below
:math:`0.01 / F^2` for :math:`F` columns of two values. So of many categories each may be rare: a
full set shows one that is present in two dozen rows. Columns independent of all others form a
set, or enter that of a whole variable, in at most one table of a hundred: k columns all miss each
other with probability at most :math:`(0.1 / F)^k` if each passes, and there are at most
:math:`F^k / k!` sets of k columns.

Source: ours. What exclusion cannot tell apart: columns that exclude each other for another reason
(``man`` and ``pregnant``, where ``woman`` was left out) pass for one variable; a category left
alone, such as one of two, is a column of its own.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from entangle.memory import require_memory
from entangle.samples import as_sample_matrix

__all__ = ["ONE_HOT", "are_found", "one_hot_variables"]

ONE_HOT = "one-hot"
CHANCE = 0.01
BLOCK = 2**22  # values of a block of rows
ROUNDS = 10  # of joining again what did not stay

Labels = NDArray[np.int64]


def are_found(groups: object) -> bool:
    """Whether groups are those that :func:`one_hot_variables` finds."""
    return isinstance(groups, str) and groups == ONE_HOT


def one_hot_variables(X: object) -> Labels:
    """Variable of each column, numbered by their first columns.

    Parameters
    ----------
    X
        Shape ``(samples, features)``, finite. A category is present where its column has the
        higher of two values; columns of one value, or of more than two, are variables of their own.

    Returns
    -------
    ndarray
        Shape ``(features,)``, int64.

    Raises
    ------
    InputError
        If ``X`` is no such table, of two rows and columns at least.
    MemoryLimitError
        If six bytes for each pair of columns that may be categories do not fit.

    Examples
    --------
    >>> colours = np.eye(3)[[0, 1, 2, 1, 0] * 30]
    >>> one_hot_variables(np.column_stack([np.arange(150), colours]))
    array([0, 1, 1, 1])
    """
    samples = as_sample_matrix(X)
    n_samples, n_features = samples.shape
    labels = np.arange(n_features)
    low, high = samples.min(axis=0), samples.max(axis=0)
    binary = ((samples == low) | (samples == high)).all(axis=0)
    present = samples[:, binary] == high[binary]
    sizes = present.sum(axis=0)
    bar = n_samples * math.log(max(len(sizes), 1) ** 2 / CHANCE)
    # The others of a variable are in all other rows at most; of a constant column there are none.
    able = sizes * (n_samples - sizes) >= bar
    columns = np.flatnonzero(binary)[able]
    if len(columns) > 1:
        labels[columns] = columns[_variables(_met(present[:, able]), sizes[able], bar)]
    return np.unique(labels, return_inverse=True)[1]


def _met(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether some row has both, of each pair of columns."""
    n_samples, n_columns = present.shape
    require_memory(
        6.0 * n_columns**2,
        f"the pairs of {n_columns} columns with two values",
        repair="keep fewer of them, or say which columns belong together",
    )
    met = np.zeros((n_columns, n_columns), dtype=bool)
    rows = max(1, BLOCK // n_columns)
    for start in range(0, n_samples, rows):
        block = present[start : start + rows].astype(np.float32)
        met |= block.T @ block > 0.5
    return met


def _variables(met: NDArray[np.bool_], counts: Labels, bar: float) -> Labels:
    """First column of the set of each; a column that does not stay may find another set."""
    member = np.arange(len(counts))
    for _ in range(ROUNDS):
        kept = _kept(_joined(met, counts, member), counts, bar)
        if np.array_equal(kept, member):
            break
        member = kept
    return member


def _joined(met: NDArray[np.bool_], counts: Labels, member: Labels) -> Labels:
    """Join sets that never meet, the largest product of sizes first, until all meet."""
    met, member = met.copy(), member.copy()
    for column in np.flatnonzero(member != np.arange(len(member))):
        met[member[column]] |= met[column]
        met[:, member[column]] |= met[:, column]
    sizes = np.bincount(member, counts, len(counts))
    partner = np.zeros(len(sizes), dtype=np.int64)
    product = np.zeros(len(sizes))

    def look(column: int | np.intp) -> None:
        """Find the largest set that one never meets."""
        apart = np.where(met[column], 0.0, sizes)
        partner[column] = apart.argmax()
        product[column] = sizes[column] * apart[partner[column]]

    for column in range(len(sizes)):
        look(column)
    while product.max() > 0:
        first = int(product.argmax())
        second = int(partner[first])  # products are symmetric, so the second comes later
        member[member == second] = first
        sizes[first] += sizes[second]
        sizes[second] = product[second] = 0.0
        met[first] |= met[second]
        met[:, first] |= met[:, second]
        near = ~met[first]
        lost = ~near & ((partner == first) | (partner == second)) & (sizes > 0)
        larger = near & (sizes[first] >= sizes[partner])
        partner[larger], product[larger] = first, sizes[larger] * sizes[first]
        for column in np.flatnonzero(lost):
            look(column)
    return member


def _kept(member: Labels, counts: Labels, bar: float) -> Labels:
    """Put columns that chance may have put into a set back alone."""
    kept = np.arange(len(member))
    for first in np.flatnonzero(np.bincount(member) > 1):
        columns = np.flatnonzero(member == first)
        columns = columns[np.argsort(counts[columns], kind="stable")]
        total = counts[columns].sum()
        while len(columns) > 1 and counts[columns[0]] * (total - counts[columns[0]]) < bar:
            total -= counts[columns[0]]  # the rarest fails first
            columns = columns[1:]
        kept[columns] = columns.min()
    return kept
