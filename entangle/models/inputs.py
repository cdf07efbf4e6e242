"""From rows of numbers to what a network reads: one scale, one layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from entangle.errors import InputError

__all__ = ["Inputs", "Scaled"]

SCALES = ("all", "feature", None)
_ROWS = 256  # scaled at once, in double precision


@dataclass(frozen=True)
class Inputs:
    """Map from samples to tensors ``(samples, channels, *shape)``.

    Attributes
    ----------
    shape
        Axis lengths of a sample, row-major.
    mean, spread
        Subtracted from a sample, and divided by; they broadcast to ``(features, channels)``.
    """

    shape: tuple[int, ...]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def fitted(
        cls, samples: NDArray[np.floating], shape: tuple[int, ...], scale: str | None
    ) -> Inputs:
        """Learn mean and standard deviation, of each channel or of each feature.

        What does not vary is divided by 1.

        Raises
        ------
        InputError
            If ``scale`` is unknown.
        """
        if scale not in SCALES:
            raise InputError(f"scale is 'all', 'feature' or None, got {scale!r}")
        if scale is None:
            return cls(shape, np.zeros(1), np.ones(1))
        values = _with_channels(samples).astype(np.float64, copy=False)
        axes = (0, 1) if scale == "all" else 0
        mean, spread = values.mean(axis=axes), values.std(axis=axes)
        varies = spread > 1e-12 * np.abs(mean)  # rounding alone spreads what is constant
        return cls(shape, mean, np.where(varies, spread, 1.0))

    def tensor(self, samples: NDArray[np.floating], device: torch.device) -> Tensor:
        """Scale samples and lay them out for a network, in single precision.

        Parameters
        ----------
        samples
            Shape ``(samples, features)`` or ``(samples, features, channels)``.
        """
        values = _with_channels(samples)
        n_samples, n_features, n_channels = values.shape
        laid_out = np.empty((n_samples, n_channels, n_features), dtype=np.float32)
        for begin in range(0, n_samples, _ROWS):
            rows = slice(begin, begin + _ROWS)
            laid_out[rows] = np.moveaxis((values[rows] - self.mean) / self.spread, 2, 1)
        return torch.from_numpy(laid_out).to(device).unflatten(2, self.shape)


class Scaled(nn.Module):
    """A network behind its inputs: from rows, as samples are given, to logits.

    Scaling is in double precision, as for :meth:`Inputs.tensor`, so logits are the same.

    Parameters
    ----------
    inputs
        Scale and layout.
    network
        From ``(batch, channels, *shape)`` to logits; its device is that of the scale.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, inputs: Inputs, network: nn.Module) -> None:
        super().__init__()
        self.network, self.shape = network, inputs.shape
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        for name in ("mean", "spread"):
            value = torch.from_numpy(np.array(getattr(inputs, name), dtype=np.float64))
            self.register_buffer(name, value.to(device))

    def forward(self, samples: Tensor) -> Tensor:
        """Logits, shape ``(batch, classes)``, single precision.

        Parameters
        ----------
        samples
            Shape ``(batch, features)`` or ``(batch, features, channels)``.
        """
        return self.network(self.values(samples)).float()

    def values(self, samples: Tensor) -> Tensor:
        """Scale and lay out samples, shape ``(batch, channels, *shape)``, single precision."""
        values = samples if samples.ndim == 3 else samples[:, :, None]
        scaled = ((values.double() - self.mean) / self.spread).float()
        return scaled.movedim(2, 1).unflatten(2, self.shape).contiguous()


def _with_channels(samples: NDArray[np.floating]) -> NDArray[np.floating]:
    return samples[:, :, None] if samples.ndim == 2 else samples
