"""Descent on the entanglement entropy itself: exchanges of features that lower it.

Orders found from correlations lower a surrogate. Here an order is improved on the mean entropy
of the top canonical cuts. One gradient predicts every exchange of two features
(:mod:`entangle.exchanges`); the best of them that do not overlap are made at once and measured,
fewer of them if that does not help, in the end one by one. Only what is certified to be lower is
kept.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from entangle.axes import Shape
from entangle.data_tensor import DataTensor
from entangle.entropy import EntanglementProfile, entanglement_profile
from entangle.errors import InputError
from entangle.exchanges import STRIPE_BYTES, exchange_changes, influences, promising
from entangle.memory import require_memory
from entangle.parallel import map_ordered
from entangle.partition import Partition
from entangle.progress import progress_bar
from entangle.terms import Terms

__all__ = ["RefinedOrder", "entropy_descent"]

CANDIDATES = 256  # features whose exchanges are predicted pair by pair
FIRST_BATCH = 16  # exchanges made at once
LARGEST_BATCH = 128
SINGLES = 60  # exchanges measured one by one before the search ends
AT_ONCE = 20  # of these, before one that helps is taken
WORKING_MATRICES = 12  # samples x samples, while one influence is found
WORKING_STRIPES = 6  # of kernels, while exchanges are predicted

Exchange = tuple[int, int]  # places of two features


@dataclass(frozen=True)
class RefinedOrder:
    """Order of features after a descent, and what it was worth.

    Attributes
    ----------
    permutation
        Shape ``(features,)``; ``X[:, permutation]`` is the rearranged data.
    entropy_before, entropy_after
        Mean entanglement entropy over the measured cuts, nats.
    error_bound
        Bound of the error of ``entropy_after``, nats.
    n_swaps
        Exchanges made.
    n_evaluations
        Orders measured.
    history
        Mean entropy before the descent and after every step, nats.
    converged
        Whether the search ended since none of the exchanges it measured helped, and not for
        want of steps.
    """

    permutation: NDArray[np.int64]
    entropy_before: float
    entropy_after: float
    error_bound: float
    n_swaps: int
    n_evaluations: int
    history: tuple[float, ...]
    converged: bool


@dataclass(frozen=True)
class _Measured:
    """An order with the mean entropy of its cuts and the bound of its error."""

    order: NDArray[np.int64]
    mean: float
    error: float
    exchanges: tuple[Exchange, ...] = ()


@dataclass(frozen=True)
class _Objective:
    """Mean entropy of the top cuts as a function of the order."""

    tensor: DataTensor
    shape: Shape
    levels: int | list[int]
    tolerance: float

    def profile(
        self, order: NDArray[np.int64], executor: Executor | None = None
    ) -> EntanglementProfile:
        moved = self.tensor.reordered(order)
        return entanglement_profile(moved, self.shape, self.levels, self.tolerance, executor)

    def after(
        self,
        order: NDArray[np.int64],
        exchanges: Sequence[Exchange],
        executor: Executor | None = None,
    ) -> _Measured:
        """Measure an order after exchanges that do not overlap."""
        moved = order.copy()
        for i, j in exchanges:
            moved[[i, j]] = moved[[j, i]]
        profile = self.profile(moved, executor)
        error = float(profile.error_bound.mean())
        return _Measured(moved, profile.mean, error, tuple(exchanges))

    def better(self, new: _Measured, old: _Measured) -> bool:
        """Whether an order is lower than another for certain, and by more than the tolerance."""
        return old.mean - new.mean > max(new.error + old.error, self.tolerance)


def entropy_descent(
    tensor: DataTensor,
    permutation: ArrayLike,
    shape: Shape,
    levels: int | Iterable[int] = 2,
    max_steps: int = 200,
    tolerance: float = 1e-6,
    executor: Executor | None = None,
    progress: bool = False,
) -> RefinedOrder:
    """Exchange features until none of the exchanges tried lowers the entropy of the top cuts.

    Parameters
    ----------
    tensor
        Of the features in their given order.
    permutation
        Order to start from, shape ``(features,)``, as in ``X[:, permutation]``.
    shape
        Number of features of a sequence, or the axis lengths of a grid.
    levels
        A number n for the levels 1 to n, or the levels themselves. What counts is the mean over
        all their cuts, as in ``EntanglementProfile.mean``.
    max_steps
        Steps at most, each of one exchange or more.
    tolerance
        Wanted error bound of each entropy, and the smallest gain worth a step; nats.
    executor
        Takes cuts, stripes of samples, and orders to measure in parallel.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    RefinedOrder
        Never higher than the start, by what the error bounds certify.

    Raises
    ------
    InputError
        If ``permutation`` is none, or a number is out of range.
    PartitionError
        If the shape does not hold the features, or a level does not exist.
    MemoryLimitError
        If the gradients, two samples x samples matrices a cut, do not fit in memory.

    Notes
    -----
    The end is a local minimum: better ones may be reached from other starts. Where more than
    256 features could move, each step predicts exchanges of the most promising ones only.

    The descent fits the rows it is given, yet most of its gain holds for others. Found on half of
    the rows and measured on the other half, it lowered breast cancer from random orders by 36.0 %
    and 35.7 %, from minimum cuts of correlations by 13.5 and 13.1 %, of squared covariances by
    12.4 and 8.7 %; digits from random orders by 5.6 and 5.4 %, but from minimum cuts by less than
    1 %, in one case of eight none on the other half (theta 0.085, means of four splits).

    Examples
    --------
    >>> X = np.random.default_rng(0).random((50, 2))[:, [0, 1, 0, 1]]
    >>> found = entropy_descent(DataTensor(X), [0, 1, 2, 3], 4, levels=1)
    >>> [sorted(half) for half in found.permutation.reshape(2, 2).tolist()]
    [[1, 3], [0, 2]]
    """
    if max_steps < 0:
        raise InputError(f"max_steps is a number of steps from 0 on, got {max_steps}")
    asked = int(levels) if isinstance(levels, int | np.integer) else list(levels)
    objective = _Objective(tensor, shape, asked, tolerance)
    start = np.asarray(permutation)
    profile = objective.profile(start, executor)
    _check_memory(tensor, len(profile.partitions), executor)
    current = _Measured(start.astype(np.int64), profile.mean, float(profile.error_bound.mean()))
    history, n_swaps, n_measured, batch, converged = [current.mean], 0, 1, FIRST_BATCH, False
    with progress_bar("exchanges", max_steps, progress) as advance:
        while not converged and len(history) <= max_steps:
            ranked = _ranked(tensor, current.order, profile.partitions, executor)
            found, tried = _step(objective, current, ranked, batch, executor)
            n_measured += tried
            converged = found is None
            if found is not None:
                current, batch = found, min(2 * len(found.exchanges), LARGEST_BATCH)
                n_swaps += len(found.exchanges)
                history.append(found.mean)
            advance(1)
    return RefinedOrder(
        current.order, history[0], current.mean, current.error,
        n_swaps, n_measured, tuple(history), converged,
    )  # fmt: skip


def _check_memory(tensor: DataTensor, n_cuts: int, executor: Executor | None) -> None:
    workers = getattr(executor, "_max_workers", 1)
    matrices = 2 * n_cuts + WORKING_MATRICES * min(workers, n_cuts)
    require_memory(
        8.0 * matrices * tensor.n_samples**2 + WORKING_STRIPES * workers * STRIPE_BYTES,
        f"the gradients of {n_cuts} cuts by the kernels of {tensor.n_samples} samples",
        tensor.free_memory,
        "use fewer levels, or fewer rows, for example DataTensor.take(rows)",
    )


def _ranked(
    tensor: DataTensor,
    order: NDArray[np.int64],
    cuts: Sequence[Partition],
    executor: Executor | None,
) -> list[tuple[float, Exchange]]:
    """Exchanges that a cut separates, with the predicted change of the mean, lowest first."""
    moved = tensor.reordered(order)
    terms = Terms(moved.vectors, moved.weights)
    found = influences(terms, cuts, executor)
    places = promising(found, CANDIDATES)
    changes = exchange_changes(found, terms, places, executor).cpu().numpy() / len(cuts)
    sides = torch.stack([one.rows for one in found])[:, places].cpu().numpy()
    i, j = np.triu_indices(len(changes), 1)
    apart = (sides[:, i] != sides[:, j]).any(axis=0)
    i, j = i[apart], j[apart]
    lowest = np.argsort(changes[i, j], kind="stable")
    at = places.cpu().numpy()
    pairs = zip(at[i[lowest]].tolist(), at[j[lowest]].tolist(), strict=True)
    return list(zip(changes[i, j][lowest].tolist(), pairs, strict=True))


def _apart(exchanges: Iterable[Exchange], limit: int) -> list[Exchange]:
    """Keep the first exchanges that do not overlap."""
    taken: set[int] = set()
    kept = []
    for exchange in exchanges:
        if len(kept) < limit and taken.isdisjoint(exchange):
            kept.append(exchange)
            taken.update(exchange)
    return kept


def _step(
    objective: _Objective,
    current: _Measured,
    ranked: list[tuple[float, Exchange]],
    batch: int,
    executor: Executor | None,
) -> tuple[_Measured | None, int]:
    """Find a lower order, if any of the exchanges tried helps, and count the orders measured."""
    promised = (pair for change, pair in ranked if change < -objective.tolerance)
    exchanges = _apart(promised, batch)
    tried = 0
    while exchanges:
        found = objective.after(current.order, exchanges, executor)
        tried += 1
        if objective.better(found, current):
            return found, tried
        exchanges = exchanges[: len(exchanges) // 2]
    for begin in range(0, SINGLES, AT_ONCE):
        singles = [[pair] for _, pair in ranked[begin : min(begin + AT_ONCE, SINGLES)]]
        found, measured = _singles(objective, current, singles, executor)
        tried += measured
        if found is not None:
            return found, tried
    return None, tried


def _singles(
    objective: _Objective,
    current: _Measured,
    singles: list[list[Exchange]],
    executor: Executor | None,
) -> tuple[_Measured | None, int]:
    """Best single exchange, or all that help together if that is lower, and the orders measured."""
    measured = list(map_ordered(partial(objective.after, current.order), singles, executor))
    helping = sorted((m for m in measured if objective.better(m, current)), key=lambda m: m.mean)
    together = _apart((exchange for m in helping for exchange in m.exchanges), AT_ONCE)
    if len(together) > 1:
        helping.append(objective.after(current.order, together, executor))
        measured.append(helping[-1])
    return min(helping, key=lambda m: m.mean, default=None), len(measured)
