"""What networks over positions share: the axes that they read, layers by their number, zeros."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from entangle.errors import InputError

__all__ = ["KINDS", "filled", "largest", "require_axes", "require_sequence"]

KINDS = {1: (nn.Conv1d, nn.BatchNorm1d), 2: (nn.Conv2d, nn.BatchNorm2d)}  # by axes of a sample
_POOLS = {3: nn.functional.max_pool1d, 4: nn.functional.max_pool2d}  # by axes of a batch


def require_sequence(network: str, shape: tuple[int, ...]) -> None:
    """Refuse more than one axis.

    Raises
    ------
    InputError
        If there are more.
    """
    if len(shape) != 1:
        raise InputError(
            f"{network} reads a sequence, got shape {shape}; leave shape out, or pass model='cnn'"
        )


def require_axes(shape: tuple[int, ...]) -> None:
    """Refuse axes that ``KINDS`` has no layers for.

    Raises
    ------
    InputError
        If there are more than two.
    """
    if len(shape) not in KINDS:
        raise InputError(
            f"a convolutional network takes a sequence or a grid of two axes, got shape {shape}; "
            "join axes, or pass model='mlp'"
        )


def largest(values: Tensor, size: int) -> Tensor:
    """Keep the largest of every ``size`` positions along every axis; the last may be fewer."""
    return _POOLS[values.ndim](values, size, ceil_mode=True)


def filled(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """Put zeros behind values up to some lengths."""
    missing = [(0, n - m) for n, m in zip(lengths, values.shape[2:], strict=True)]
    return nn.functional.pad(values, [n for pair in reversed(missing) for n in pair])
