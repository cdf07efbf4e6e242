"""What training asks of its input: rows that count, classes as codes, a split, a device."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d, validate_data

from entangle.errors import InputError

__all__ = [
    "available_device",
    "class_codes",
    "has_bfloat16",
    "require_share",
    "stratified_split",
    "weighted_rows",
]


def weighted_rows(
    estimator: Any, X: Any, y: Any, sample_weight: Any, **checks: Any
) -> tuple[NDArray[np.floating], NDArray[Any], NDArray[np.float64]]:
    """Rows with a weight above 0, their labels and their weights.

    Parameters
    ----------
    estimator
        Learns the number and the names of features.
    X, y
        Samples, finite, and labels, shape ``(samples,)``.
    sample_weight
        Shape ``(samples,)``, a number, or ``None`` for 1.
    checks
        Further options of scikit-learn's ``validate_data``.

    Raises
    ------
    ValueError
        If rows, labels or weights are missing, infinite, or of different numbers.
    """
    checked: Any = validate_data(estimator, X, y, dtype=[np.float64, np.float32], **checks)
    samples, labels = checked[0], column_or_1d(checked[1], warn=True)
    check_classification_targets(labels)
    weights: Any = _check_sample_weight(
        sample_weight, samples, dtype=np.float64, ensure_non_negative=True
    )
    kept = weights > 0
    return samples[kept], labels[kept], weights[kept]


def class_codes(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Classes in order, and the number of each label's class.

    Raises
    ------
    InputError
        If there is one class only.
    """
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"y needs at least two classes, got 1 class ({classes[0]!r}); a classifier has "
            "nothing to tell apart there"
        )
    return classes, codes


def stratified_split(
    codes: NDArray[np.integer], fraction: float, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to validate with, the same share of every class.

    Of a class of two or more at least one row goes each way; a single row is trained on.

    Parameters
    ----------
    codes
        Class of each row, shape ``(samples,)``.
    fraction
        Share of rows to validate with; 0: none.
    """
    held = np.zeros(len(codes), dtype=bool)
    for code in np.unique(codes) if fraction else ():
        rows = random.permutation(np.flatnonzero(codes == code))
        wanted = max(1, round(fraction * len(rows)))
        held[rows[: min(wanted, len(rows) - 1)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def available_device(device: torch.device | str | None) -> torch.device:
    """Device to train on; the CPU by default.

    Raises
    ------
    InputError
        If it is not available here.
    """
    try:
        return torch.empty(0, device="cpu" if device is None else device).device
    except (RuntimeError, AssertionError) as reason:
        raise InputError(
            f"device {device!r} is not available here ({str(reason).splitlines()[0]}); use cpu, or "
            "cuda where torch finds a GPU"
        ) from reason


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16; of a CPU, whether it has instructions for that.

    Where torch cannot say what a CPU has, the answer is no.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and any(able.get(name) for name in ("avx512_bf16", "amx_bf16"))


def require_share(name: str, value: float, *, zero: bool = False) -> None:
    """Refuse an option that is no number below 1, and above, or at least, 0.

    Raises
    ------
    InputError
        If it is not.
    """
    if not (isinstance(value, Real) and 0 <= value < 1 and (zero or value > 0)):
        raise InputError(
            f"{name} is {'at least' if zero else 'above'} 0 and below 1, got {value!r}"
        )
