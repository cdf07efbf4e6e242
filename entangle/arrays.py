"""Arrays: any dense container becomes one, without importing the library it comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.errors import InputError

__all__ = ["as_array"]


def as_array(values: Any, what: str) -> NDArray:
    """Any dense container as an array; masked entries become NaN.

    Raises
    ------
    InputError
        If it is sparse, ragged or no container at all.
    """
    if hasattr(values, "detach"):  # a torch tensor
        values = values.detach().cpu()
        if hasattr(values, "is_sparse") and str(values.layout) != "torch.strided":
            raise InputError(f"{what} must be dense, got a sparse tensor; pass {what}.to_dense()")
        values = (values.double() if values.dtype.itemsize == 2 else values).numpy()
    if hasattr(values, "toarray"):
        raise InputError(f"{what} must be dense, got a sparse matrix; pass {what}.toarray()")
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    try:
        array = np.asarray(values)
    except ValueError as reason:
        raise InputError(f"{what} must be an array with rows of one length: {reason}") from reason
    if array.ndim == 0:
        raise InputError(
            f"{what} must be an array or a data frame, got {type(values).__name__}; collect or "
            "convert it first"
        )
    return array
