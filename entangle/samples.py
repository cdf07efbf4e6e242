"""Samples: whatever a user passes as data becomes finite numbers, or a clear error."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entangle.arrays import as_array
from entangle.axes import LabelWeights, SampleArray
from entangle.errors import InputError

__all__ = [
    "as_sample_array",
    "as_sample_matrix",
    "as_sample_tensor",
    "check_finite",
    "label_weights",
]

CHANNELLED = {2: "(samples, features)", 3: "(samples, features, channels)"}  # by number of axes


def as_sample_matrix(X: object, min_samples: int = 2) -> NDArray[np.float64]:
    """``X`` as a float64 array of shape ``(samples, features)``, finite, at least two columns.

    Raises
    ------
    InputError
        If it is not that, naming the first entry at fault and the repair.
    """
    return _as_samples(X, min_samples, {2: CHANNELLED[2]})


def as_sample_array(X: object, min_samples: int = 2) -> NDArray[np.float64]:
    """``X`` as :func:`as_sample_matrix` returns it, or of shape (samples, features, channels)."""
    return _as_samples(X, min_samples, CHANNELLED)


def _as_samples(X: object, min_samples: int, shapes: dict[int, str]) -> NDArray[np.float64]:
    """``X`` as a finite float64 array of one of the shapes, which are named by number of axes."""
    given = as_array(X, "X")
    if given.dtype.kind not in "buifO":
        raise InputError(f"X must be real numbers, got dtype {given.dtype}; encode it as such")
    try:
        samples = given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"X must be numeric, got {error}; encode text as numbers") from error
    if samples.ndim not in shapes:
        raise InputError(
            f"X must have shape {' or '.join(shapes.values())}, got {samples.ndim} axes of "
            f"lengths {samples.shape}; flatten each sample with X.reshape(len(X), -1)"
        )
    if samples.shape[0] < min_samples or samples.shape[1] < 2:
        raise InputError(
            f"X needs at least {min_samples} samples and 2 features, got {samples.shape[0]} and "
            f"{samples.shape[1]}; pass more rows or columns"
        )
    if samples.size == 0:
        raise InputError(f"X needs at least 1 channel, got shape {samples.shape}; drop that axis")
    check_finite(samples)
    return samples


def as_sample_tensor(X: object, device: torch.device | str | None = None) -> SampleArray:
    """``X`` as a float64 tensor, checked as by :func:`as_sample_matrix`, one sample allowed.

    Its shape is ``(samples, features)`` or ``(samples, features, channels)``. A tensor stays on
    its device unless ``device`` says otherwise.
    """
    if (
        isinstance(X, Tensor)
        and X.layout == torch.strided
        and X.ndim in CHANNELLED
        and X.numel() > 0
        and X.shape[1] >= 2
        and not X.is_complex()
        and bool(torch.isfinite(X).all())
    ):
        values = X.detach()
    else:
        values = torch.from_numpy(_as_samples(X, 1, CHANNELLED))
    try:
        return values.to(device=device, dtype=torch.float64)
    except (RuntimeError, AssertionError) as reason:
        raise InputError(
            f"device {device!r} is not available here ({str(reason).splitlines()[0]}); use cpu, or "
            "cuda where torch finds a GPU"
        ) from reason


def label_weights(weights: object, values: SampleArray) -> LabelWeights:
    """Weights as ``(samples, labels)``, on the device of the values; ones if there are none.

    Raises
    ------
    InputError
        If they are not finite real numbers, one row a sample, or are all 0.
    """
    n_samples = values.shape[0]
    if weights is None:
        return values.new_ones(n_samples, 1)
    if isinstance(weights, Tensor):
        given = weights.detach().to(values)
    else:
        array = as_array(weights, "weights")
        if array.dtype.kind not in "biuf":
            raise InputError(f"weights must be real numbers, got dtype {array.dtype}")
        given = torch.as_tensor(array).to(values)
    if given.ndim == 1:
        given = given[:, None]
    if given.ndim != 2 or given.shape[0] != n_samples or given.shape[1] < 1:
        raise InputError(
            f"weights have shape (samples,) or (samples, labels) with {n_samples} samples, got "
            f"{tuple(given.shape)}; pass one row of weights a sample"
        )
    if not bool(torch.isfinite(given).all()):
        raise InputError("weights must be finite; drop the samples whose weight is NaN or infinite")
    if not bool(given.any()):
        raise InputError("all weights are 0, so the data tensor is zero; pass other weights")
    return given


def check_finite(X: NDArray) -> None:
    """Raise :class:`InputError` if an entry is NaN or infinite, naming the first one."""
    if X.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):  # a sum that overflows is looked into
        if math.isfinite(float(np.sum(X, dtype=np.float64))):
            return
    finite = np.isfinite(X)
    if finite.all():  # finite entries whose sum overflows
        return
    first = tuple(int(index) for index in np.argwhere(~finite)[0])
    value = "NaN" if np.isnan(X[first]) else "infinity"
    place = f"column {first[1]}, row {first[0]}"
    place += f", channel {first[2]}" if len(first) > 2 else ""
    raise InputError(
        f"X must be finite, got {value} in {place} (first of "
        f"{int(finite.size - finite.sum())}); impute, for example with "
        "sklearn.impute.SimpleImputer, or drop the column"
    )
