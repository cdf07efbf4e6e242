"""Sample matrices: whatever a user passes as data becomes finite numbers, or a clear error."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entangle.axes import SampleMatrix
from entangle.errors import InputError

__all__ = ["as_sample_matrix", "as_sample_tensor", "check_finite"]


def as_sample_matrix(X: object, min_samples: int = 2) -> NDArray[np.float64]:
    """``X`` as a float64 array of shape ``(samples, features)``, finite, at least two columns.

    Raises
    ------
    InputError
        If it is not that, naming the first entry at fault and the repair.
    """
    given = X.detach().cpu().numpy() if isinstance(X, Tensor) else np.asarray(X)
    if given.dtype.kind not in "buifO":
        raise InputError(f"X must be real numbers, got dtype {given.dtype}; encode it as such")
    try:
        samples = given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"X must be numeric, got {error}; encode text as numbers") from error
    if samples.ndim != 2:
        raise InputError(
            f"X must have shape (samples, features), got {samples.ndim} axes of lengths "
            f"{samples.shape}; flatten each sample with X.reshape(len(X), -1)"
        )
    if samples.shape[0] < min_samples or samples.shape[1] < 2:
        raise InputError(
            f"X needs at least {min_samples} samples and 2 features, got {samples.shape[0]} and "
            f"{samples.shape[1]}; pass more rows or columns"
        )
    check_finite(samples)
    return samples


def as_sample_tensor(X: object, device: torch.device | str | None = None) -> SampleMatrix:
    """``X`` as a float64 tensor, checked as by :func:`as_sample_matrix`, one sample allowed.

    A tensor stays on its device unless ``device`` says otherwise.
    """
    if (
        isinstance(X, Tensor)
        and X.ndim == 2
        and X.shape[0] >= 1
        and X.shape[1] >= 2
        and not X.is_complex()
        and bool(torch.isfinite(X).all())
    ):
        return X.detach().to(device=device, dtype=torch.float64)
    return torch.from_numpy(as_sample_matrix(X, min_samples=1)).to(device)


def check_finite(X: NDArray) -> None:
    """Raise :class:`InputError` if an entry is NaN or infinite, naming the first one."""
    if X.dtype.kind != "f" or math.isfinite(float(np.sum(X, dtype=np.float64))):
        return
    finite = np.isfinite(X)
    if finite.all():  # finite entries whose sum overflows
        return
    row, column = (int(index) for index in np.argwhere(~finite)[0])
    value = "NaN" if np.isnan(X[row, column]) else "infinity"
    raise InputError(
        f"X must be finite, got {value} in column {column}, row {row} (first of "
        f"{int(finite.size - finite.sum())}); impute, for example with "
        "sklearn.impute.SimpleImputer, or drop the column"
    )
