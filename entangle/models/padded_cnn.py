r"""The residual convolutional network of Table 2 and 3, as published.

Each of 8 layers is three steps: a convolution of three neighbours at a stride of three with relu,
batch norm, and the largest of every three. After each step zeros fill the end up to the length of
the input, and what went in is added,

.. math:: h \leftarrow h + \mathrm{pad}(\mathrm{step}(h)),

so lengths never run out, position i of a step's output stands for positions 3i to 3i + 2 of its
input, and the sum puts several scales at one place. The very first step has no sum. The mean over
all positions, zeros and all, goes through one linear layer.

Source: protocol of Tables 2 and 3 of Alexander et al. 2023, arXiv:2303.11249. Deviation: the last
one or two positions, which the published layers leave out where three does not divide the length,
enter, with zeros for what is missing; and lengths below three, which it cannot take, are taken.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entangle.models.positions import KINDS, filled, largest, require_axes

__all__ = ["PaddedCNN"]


class PaddedCNN(nn.Module):
    """Residual steps that stride by three and fill up with zeros.

    Parameters
    ----------
    n_channels
        Numbers at each position.
    shape
        Axis lengths, one or two of them. Only their number matters.
    n_classes
        Number of logits.
    width, depth, stride
        Channels, layers, and the kernel, stride and pool of every layer.

    Raises
    ------
    InputError
        If there are more than two axes.
    """

    def __init__(
        self,
        n_channels: int,
        shape: tuple[int, ...],
        n_classes: int,
        *,
        width: int = 32,
        depth: int = 8,
        stride: int = 3,
    ) -> None:
        super().__init__()
        require_axes(shape)
        convolution, norm = KINDS[len(shape)]
        inputs = [n_channels] + [width] * (depth - 1)
        self.convolutions = nn.ModuleList(convolution(n, width, stride, stride) for n in inputs)
        self.norms = nn.ModuleList(norm(width) for _ in inputs)
        self.decoder = nn.Linear(width, n_classes)
        self.stride = stride

    def forward(self, values: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of ``(batch, channels, *shape)``."""
        lengths = values.shape[2:]
        whole = [-(-n // self.stride) * self.stride for n in lengths]
        for number, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            found = filled(torch.relu(convolution(filled(values, whole))), lengths)
            values = found + values if number else found
            values = values + norm(values)
            pooled = largest(values, self.stride)
            values = values + filled(pooled, lengths)
        return self.decoder(values.flatten(2).mean(dim=2))
