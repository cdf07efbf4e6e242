"""M5: five weight layers that read a raw waveform.

A wide first filter, 80 samples at a stride of 4, acts as a bank of band-pass filters; three
convolutions of three follow, each after the largest of every four positions, and channels double
where the paper doubles them. The mean over what is left goes through one linear layer.

Source: Dai, Dai, Qu, Li, Das 2016, arXiv:1610.00087, Table 1; channels, 128 to 512, and no zeros
at the ends, as in the experiments of Alexander et al. 2023, arXiv:2303.11249. Deviation: those
need 1,772 samples. A shorter signal gets zeros at its end where a filter is longer than what is
left, and is pooled no further than to one position; longer ones are read exactly as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entangle.models.positions import filled, require_sequence

__all__ = ["M5"]

_POOL = 4


class M5(nn.Module):
    """Convolutions and pools over a sequence.

    Parameters
    ----------
    n_channels
        Numbers at each position.
    shape
        ``(length,)``; inputs of any length are read.
    n_classes
        Number of logits.
    width
        Channels of the first two layers; twice and four times as many follow.
    kernel_size, stride
        Of the first layer, in samples.

    Raises
    ------
    InputError
        If there is more than one axis.
    """

    def __init__(
        self,
        n_channels: int,
        shape: tuple[int, ...],
        n_classes: int,
        *,
        width: int = 128,
        kernel_size: int = 80,
        stride: int = 4,
    ) -> None:
        super().__init__()
        require_sequence("M5", shape)
        widths = [n_channels, width, width, 2 * width, 4 * width]
        self.kernels, strides = [kernel_size, 3, 3, 3], [stride, 1, 1, 1]
        layers = zip(widths[:-1], widths[1:], self.kernels, strides, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv1d(*layer) for layer in layers)
        self.norms = nn.ModuleList(nn.BatchNorm1d(n) for n in widths[1:])
        self.decoder = nn.Linear(widths[-1], n_classes)

    def forward(self, values: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of ``(batch, channels, length)``."""
        for kernel, convolution, norm in zip(
            self.kernels, self.convolutions, self.norms, strict=True
        ):
            values = filled(values, [max(kernel, values.shape[2])])
            values = torch.relu(norm(convolution(values)))
            values = nn.functional.max_pool1d(values, min(_POOL, values.shape[2]))
        return self.decoder(values.mean(dim=2))
