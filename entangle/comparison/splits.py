"""Splits of the rows into training and test parts, one for each seed and fold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from entangle.errors import InputError

__all__ = ["LARGEST_SEED", "Split", "seeds_wanted", "splits_for"]

LARGEST_SEED = 2**32 - 2
Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of one seed and fold.

    Attributes
    ----------
    seed
        Of the split, the start of the ordering and the model.
    fold
        From 0.
    train, test
        Rows, ascending within each fold of whole numbers of folds, as given otherwise.
    """

    seed: int
    fold: int
    train: Rows
    test: Rows


def seeds_wanted(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """Seeds from their number, 0, 1, ..., or as they are.

    Raises
    ------
    InputError
        If there are none, one repeats, or one is no seed of numpy.
    """
    if isinstance(seeds, str):
        raise InputError(f"seeds are a number of seeds or whole numbers, got the text {seeds!r}")
    found = tuple(range(int(seeds)) if _is_whole(seeds) else seeds)  # pyright: ignore
    bad = [seed for seed in found if not _is_whole(seed) or not 0 <= seed <= LARGEST_SEED]
    if bad or not found or len(set(found)) < len(found):
        raise InputError(
            f"seeds are a number of seeds of at least 1, or distinct whole numbers from 0 to "
            f"{LARGEST_SEED}, got {seeds!r}"
        )
    return tuple(int(seed) for seed in found)


def splits_for(cv: Any, seeds: tuple[int, ...], y: NDArray[Any]) -> list[Split]:
    """All splits, seed by seed.

    Parameters
    ----------
    cv
        Number of folds, stratified and drawn anew for each seed; or an iterable of (train, test)
        rows, or a splitter of scikit-learn, the same for every seed.
    seeds
        See :func:`seeds_wanted`.
    y
        Classes, shape ``(samples,)``.

    Raises
    ------
    InputError
        If a class has fewer rows than there are folds, or a part of a split is unusable.
    """
    if not _is_whole(cv):
        given = [_checked_split(split, y) for split in _given_splits(cv, y)]
        if not given:
            raise InputError("cv holds no split; pass a number of folds, such as 3")
        return [Split(s, fold, *rows) for s in seeds for fold, rows in enumerate(given)]
    classes, counts = np.unique(y, return_counts=True)
    if not 2 <= cv <= counts.min():
        rarest = classes[counts.argmin()]
        repair = (
            f"pass cv={counts.min()} or fewer, or leave that class out"
            if counts.min() > 1 else "leave that class out, or join it with another"
        )  # fmt: skip
        raise InputError(
            f"cv is a number of folds from 2 up to the rows of the smallest class, "
            f"{counts.min()} of {str(rarest)!r}, got {cv}; {repair}"
        )
    found = []
    for seed in seeds:
        folds = StratifiedKFold(int(cv), shuffle=True, random_state=seed).split(y, y)
        found += [Split(seed, fold, train, test) for fold, (train, test) in enumerate(folds)]
    return found


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _given_splits(cv: Any, y: NDArray[Any]) -> Iterable[Any]:
    if hasattr(cv, "split"):
        return cv.split(y[:, None], y)
    if isinstance(cv, Iterable) and not isinstance(cv, str):
        return cv
    raise InputError(
        f"cv is a number of folds, pairs of (train, test) rows, or a splitter with a method "
        f"split, got {cv!r}"
    )


def _checked_split(split: Any, y: NDArray[Any]) -> tuple[Rows, Rows]:
    """Rows of a split, as places; an error if they overlap or cannot be trained on."""
    try:
        train, test = (np.asarray(rows) for rows in split)
    except (TypeError, ValueError) as reason:
        raise InputError(
            f"cv holds pairs of (train, test) rows, got {split!r:.80}: {reason}"
        ) from reason
    for rows in (train, test):
        whole = rows.ndim == 1 and rows.size and rows.dtype.kind in "iu"
        if not whole or rows.min() < 0 or rows.max() >= len(y):
            raise InputError(
                f"rows of a split are whole numbers from 0 to {len(y) - 1}, at least one, got "
                f"{rows.dtype} of shape {rows.shape}; numpy.flatnonzero turns a mask into them"
            )
    shared = np.intersect1d(train, test)
    if shared.size:
        raise InputError(
            f"training and test rows of a split are distinct, got {shared.size} in both, such as "
            f"{shared[0]}"
        )
    if np.unique(y[train]).size < 2:
        raise InputError(
            f"the training rows of a split hold one class only, {str(y[train][0])!r}; stratify the "
            "splits, or pass a number of folds"
        )
    return train.astype(np.int64), test.astype(np.int64)
