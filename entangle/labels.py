"""Labels: classes to tell apart, or a quantity to predict; one rule for every way in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.arrays import as_array
from entangle.errors import InputError

__all__ = ["as_labels", "class_weights", "is_quantity", "stratified_rows"]

MOST_CLASSES = 50  # whole numbers with more distinct values are a quantity
FEW_CLASSES = 10  # so many classes need no second row each


def as_labels(
    values: object, name: str = "y", notes: list[str] | None = None
) -> NDArray[np.generic]:
    """Labels ``(samples,)``: floating point for a quantity, anything else for classes.

    Text and booleans are classes. Numbers are a quantity if one of them is not whole, if they
    have more than 50 distinct values, or more than 10 that hardly ever repeat (fewer than two
    rows a value); else they are classes, as whole numbers.

    Parameters
    ----------
    values
        Array, tensor or column, shape ``(samples,)`` or ``(samples, 1)``.
    name
        What the labels are called, for messages.
    notes
        Gets a sentence where the rule decided something one might not expect.

    Raises
    ------
    InputError
        If a label is missing or infinite, or they are not one column of numbers or text.
    """
    array = as_array(values, name)
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    labels = _typed(labels, name)
    if labels.ndim != 1 or labels.dtype.kind not in "biufU":
        raise InputError(
            f"target '{name}' must be one column of numbers or text, got {labels.dtype} of shape "
            f"{array.shape}; name another target"
        )
    distinct = np.unique(labels).size
    if labels.dtype.kind not in "iuf":
        if distinct > FEW_CLASSES and 2 * distinct > labels.size:
            raise InputError(
                f"target '{name}' is text with {distinct} distinct values in {labels.size} rows, "
                f"such as {str(labels[0])!r}: an identifier, or numbers as text; name another "
                "target, or write its numbers as 1.5"
            )
        return labels
    _require_finite(labels, name)
    whole = labels.dtype.kind != "f" or bool((labels == np.round(labels)).all())
    rare = distinct > FEW_CLASSES and 2 * distinct > labels.size
    huge = bool(np.abs(labels.astype(np.float64)).max() >= 2**53)  # beyond exact whole numbers
    if not whole or distinct > MOST_CLASSES or rare or huge:
        if whole and notes is not None:
            notes.append(f"target '{name}': {distinct} distinct numbers, read as a quantity")
        return labels.astype(np.float64)
    if labels.dtype.kind == "f":
        if notes is not None:
            notes.append(f"target '{name}': whole numbers, read as class labels")
        return labels.astype(np.int64)
    return labels


def is_quantity(labels: NDArray[np.generic]) -> bool:
    """Whether what :func:`as_labels` returned is a quantity, not classes."""
    return labels.dtype.kind == "f"


def class_weights(labels: NDArray[np.generic], balanced: bool = False) -> NDArray[np.float64]:
    r"""Weights of samples by class: the one rule of ``DataTensor.from_labels`` and ``diagnose``.

    With :math:`M` samples, :math:`K` classes and :math:`n_k` samples of class k, a sample of
    class k gets :math:`\pm 1` (raw) or :math:`\pm M / (2 n_k)` (balanced) where K = 2: minus for
    the first class in sorted order. Of more classes it gets 1 (raw) or :math:`M / (K n_k)`
    (balanced) in column k and 0 elsewhere.

    Parameters
    ----------
    labels
        Classes, shape ``(samples,)``, as :func:`as_labels` returns them.
    balanced
        Give every class the same total weight: two classes sum to -M/2 and +M/2, each column of
        a label axis to M/K. Raw weights are the published ones; with two classes of unequal
        size their mean is not 0 and adds the mean state of the data, which is close to a
        product, to the data tensor.

    Returns
    -------
    array
        Shape ``(samples,)`` for two classes, else ``(samples, classes)``; equal classes get the
        same weights either way.

    Raises
    ------
    InputError
        If there is only one class.
    """
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if classes.size < 2:
        raise InputError(
            f"labels need at least two classes, got {classes.size}; leave the labels out "
            "to measure the data alone"
        )
    sizes = labels.size / (classes.size * counts[codes]) if balanced else np.ones(labels.size)
    if classes.size == 2:
        return np.where(codes == 1, sizes, -sizes)
    return np.eye(classes.size)[codes] * sizes[:, None]


def stratified_rows(
    y: NDArray[Any] | None, n_samples: int, n_wanted: int, seed: int
) -> NDArray[np.int64]:
    """Rows drawn at random, evenly over the labels, in ascending order.

    Each class keeps its share, and at least one row while there are rows enough; a quantity is
    drawn evenly along its sorted values.
    """
    if n_wanted >= n_samples:
        return np.arange(n_samples)
    rows = np.random.default_rng(seed).permutation(n_samples)
    if y is None:
        return np.sort(rows[:n_wanted])
    if is_quantity(y):
        rows = rows[np.argsort(y[rows], kind="stable")]
        return np.sort(rows[((np.arange(n_wanted) + 0.5) * n_samples / n_wanted).astype(int)])
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    take = _shares(counts, n_wanted)
    rows = rows[np.argsort(codes[rows], kind="stable")]
    starts = np.cumsum(counts) - counts
    kept = [rows[start : start + k] for start, k in zip(starts, take, strict=True)]
    return np.sort(np.concatenate(kept))


def _typed(labels: NDArray, name: str) -> NDArray:
    """Objects as the numbers or the text they all are."""
    if labels.dtype.kind != "O":
        return labels
    cells = labels.ravel().tolist()
    missing = [row for row, cell in enumerate(cells) if cell is None or cell != cell]
    if missing:
        raise InputError(
            f"target '{name}' has {len(missing)} missing values, the first in row "
            f"{missing[0] + 1}; remove these rows"
        )
    kinds = {str if isinstance(cell, str) else type(cell) for cell in cells}
    if str in kinds and len(kinds) > 1:
        raise InputError(
            f"target '{name}' mixes text and {', '.join(k.__name__ for k in kinds - {str})}; make "
            "all labels text, or all numbers"
        )
    typed = np.array(cells)
    return typed.reshape(labels.shape) if typed.size == labels.size else labels


def _require_finite(labels: NDArray, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(labels))
    if bad.size:
        raise InputError(
            f"target '{name}' has {bad.size} missing or infinite value{'s' * (bad.size > 1)}, the "
            f"first in row {bad[0] + 1}; remove these rows"
        )


def _shares(counts: NDArray[np.int64], n_wanted: int) -> NDArray[np.int64]:
    """Split ``n_wanted`` in proportion to the counts, at least 1 each if there are enough."""
    floor = 1 if n_wanted >= counts.size else 0
    exact = counts * n_wanted / counts.sum()
    take = np.maximum(np.floor(exact).astype(np.int64), floor)
    while take.sum() > n_wanted:  # the least share of one row gave out too many
        take[np.argmax(np.where(take > floor, take - exact, -np.inf))] -= 1
    missing = np.argsort(take - exact, kind="stable")[: n_wanted - take.sum()]
    take[missing] += 1
    return np.minimum(take, counts)
