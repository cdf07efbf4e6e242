"""Refinement of an order on the entanglement of the samples it was found from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from entangle.data_tensor import DataTensor
from entangle.descent import RefinedOrder, entropy_descent
from entangle.embedding import Trigonometric, auto_theta
from entangle.errors import InputError
from entangle.labels import as_labels, class_weights, is_quantity, stratified_rows
from entangle.ordering.units import Units

__all__ = ["entropy_refined"]

ROWS = 500  # drawn at random, of which the entropies are measured


def entropy_refined(
    samples: NDArray[Any],
    units: Units,
    places: NDArray[np.int64],
    shape: tuple[int, ...],
    levels: int,
    y: object,
    seed: int,
    progress: bool = False,
) -> RefinedOrder:
    """Exchange units while that lowers the entropy of the top levels, for certain.

    Up to 500 rows are drawn, evenly over the labels if there are any; each feature is mapped to
    [0, 1] and embedded with ``theta="auto"``, the features of a unit as channels of one vector. See
    :func:`~entangle.descent.entropy_descent`.

    Parameters
    ----------
    samples
        Shape ``(samples, features)``.
    units
        Groups of features, all of one size.
    places
        Unit at each place, shape ``(places,)``; numbers from that of the units on are empty places.
    shape
        Lengths of the axes.
    levels
        Number of levels from the top.
    y
        Labels to weigh the samples by: two classes -1 and +1, balanced; more a label axis; a
        quantity its standard score. ``None`` measures the data themselves.
    seed
        Of the rows and of theta.
    progress
        Show a progress bar on a terminal.
    """
    labels = None if y is None else as_labels(y, "y")
    rows = stratified_rows(labels, len(samples), ROWS, seed)
    values = _unit_interval(samples[rows].astype(np.float64))
    size = len(units.features) // units.n_units
    channels = values[:, units.features].reshape(len(rows), units.n_units, size)
    empty = np.zeros((len(rows), len(places) - units.n_units, size))
    filled = torch.from_numpy(np.concatenate((channels, empty), axis=1))
    inputs = filled[:, :, 0] if size == 1 else filled
    theta = auto_theta(inputs, seed=seed)
    tensor = DataTensor(inputs, _weights(labels, rows), Trigonometric(theta))
    return entropy_descent(tensor, places, shape, levels, progress=progress)


def _unit_interval(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = values / 2.0  # exact, and no range overflows
    low, high = values.min(axis=0), values.max(axis=0)
    return (values - low) / np.where(high > low, high - low, 1.0)


def _weights(labels: NDArray[Any] | None, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
    if labels is None:
        return None
    drawn = labels[rows]
    if not is_quantity(drawn):
        return class_weights(drawn, balanced=True)
    if not np.ptp(drawn):
        raise InputError(
            f"refine weighs {len(rows)} rows by the target, and it has one value in all of them; "
            "leave out refine, or pass rows with several values"
        )
    return (drawn - drawn.mean()) / drawn.std()
