r"""The L2 penalty on parameters, as a term of the loss.

.. math:: w \sum_P \|P\|_2^2

Its gradient is :math:`2 w P`, so with Adam it equals a coupled ``weight_decay`` of 2 w, except
that a training loop that shortens long gradients shortens this one, too. A decoupled decay (AdamW)
is another thing: Adam divides gradients by their size, and with them a penalty, but not a
decoupled decay.

Source: arXiv:2405.00679 (weight 5e-4, all parameters); Loshchilov and Hutter 2017,
arXiv:1711.05101 (the difference).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from entangle.errors import InputError
from entangle.penalties import BatchPenalty, require_weight

__all__ = ["L2Regularizer"]


@dataclass(frozen=True)
class L2Regularizer:
    """Penalty ``weight`` times the sum of squares of all parameters that are trained.

    Parameters
    ----------
    weight
        Without a factor of 1/2.

    Examples
    --------
    >>> layer = nn.Linear(3, 2)
    >>> L2Regularizer(0.5)(layer).backward()
    >>> bool(torch.equal(layer.weight.grad, layer.weight))
    True
    """

    weight: float = 5e-4

    def __post_init__(self) -> None:
        require_weight(self.weight)

    def __call__(self, module: nn.Module, values: Tensor | None = None) -> Tensor:
        """Return the penalty, a scalar; it does not depend on the samples.

        Raises
        ------
        InputError
            If no parameter is trained.
        """
        squares = [p.square().sum() for p in module.parameters() if p.requires_grad]
        if not squares:
            raise InputError("the module has no parameters that are trained; leave the penalty out")
        return self.weight * torch.stack(squares).sum()

    def for_epoch(self, module: nn.Module, values: Tensor) -> BatchPenalty:
        """Return the penalty as a function of a batch."""
        return partial(self, module)
