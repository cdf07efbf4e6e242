"""A network without neighbourhoods: the control.

Every unit sees every feature, so the order of features means nothing to it. What an order gains a
local network and not this one is what the order was worth; what this one gains over a local
network is what locality costs.

No part of the published protocol: two hidden layers of 256 with batch norm and relu, trained as
its convolutional network is.
"""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """Fully connected layers.

    Parameters
    ----------
    n_channels
        Numbers at each position.
    shape
        Axis lengths, any number of them; inputs have exactly these.
    n_classes
        Number of logits.
    hidden
        Units of each hidden layer.
    """

    def __init__(
        self,
        n_channels: int,
        shape: tuple[int, ...],
        n_classes: int,
        *,
        hidden: tuple[int, ...] = (256, 256),
    ) -> None:
        super().__init__()
        widths = [n_channels * math.prod(shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.decoder = nn.Linear(widths[-1], n_classes)

    def forward(self, values: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of ``(batch, channels, *shape)``."""
        return self.decoder(self.layers(values))
