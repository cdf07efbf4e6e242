"""Penalties: what training adds to the loss of the samples.

A penalty is an object that holds options alone. At the beginning of each epoch it is given the
network and everything it is trained on, and returns a function from a batch to a scalar, which
closes over what it found. A :class:`Penalised` objective takes the place of a plain one, so the
training loop does not know of it. Samples count equally, whatever their weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from entangle.adversarial_training import Objective
from entangle.epochs import Callback, Epoch
from entangle.errors import InputError

__all__ = ["BatchPenalty", "Penalised", "Penalty", "require_penalties", "require_weight"]

BatchPenalty = Callable[[Tensor], Tensor]  # from inputs of the network, (batch, ...), to a scalar


@runtime_checkable
class Penalty(Protocol):
    """What may be added to a loss."""

    def for_epoch(self, module: nn.Module, values: Tensor) -> BatchPenalty:
        """Return the penalty of a batch, for an epoch that begins.

        Parameters
        ----------
        module
            The network, as it is now; it is left as it is.
        values
            All its training inputs, shape ``(samples, ...)``.
        """
        ...


def require_weight(weight: object) -> None:
    """Refuse a weight of a penalty that is no finite number of at least 0.

    Raises
    ------
    InputError
        If it is not.
    """
    if not (isinstance(weight, Real) and 0 <= float(weight) < math.inf):
        raise InputError(f"weight is a finite number of at least 0, got {weight!r}")


def require_penalties(penalties: Any) -> tuple[Penalty, ...]:
    """Penalties as a tuple; empty for ``None``.

    Raises
    ------
    InputError
        If they are no sequence of penalties.
    """
    if penalties is None:
        return ()
    if isinstance(penalties, Sequence) and all(map(_is_penalty, penalties)):
        return tuple(penalties)
    raise InputError(
        f"penalties are a list of objects with a method for_epoch, or None, got {penalties!r}; "
        "such as [JacobianRegularizer(1e-3)]"
    )


def _is_penalty(given: object) -> bool:
    return isinstance(given, Penalty) and not isinstance(
        given, type
    )  # a class has its methods, too


@dataclass(eq=False)
class Penalised:
    """An objective with penalties while its network is training.

    Validation losses are without: they tell how well the network does, not how it was made to.

    Attributes
    ----------
    objective
        Of values, as the network reads them.
    network
        What is trained.
    penalties
        What is added to the loss of every sample, and so to their mean.
    values
        All that is trained on.
    """

    objective: Objective
    network: nn.Module
    penalties: tuple[Penalty, ...]
    values: Tensor
    _of_batch: tuple[BatchPenalty, ...] = field(default=(), init=False)

    def before(self, on_epoch: Callback | None) -> Callback:
        """Let penalties look at the network afresh after every epoch, then call what there is."""

        def called(epoch: Epoch) -> None:
            self._of_batch = ()
            if on_epoch is not None:
                on_epoch(epoch)

        return called

    def losses(self, values: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        """Losses of each sample, shape ``(batch,)``; in training with the penalties."""
        losses = self.objective.losses(values, codes, weights)
        if not self.network.training:
            return losses
        if not self._of_batch:
            found = [p.for_epoch(self.network, self.values) for p in self.penalties]
            self._of_batch = tuple(found)
        return losses + sum(penalty(values) for penalty in self._of_batch)

    def hits(self, values: Tensor, codes: Tensor, _: Tensor) -> Tensor:
        """1 for each sample that is classified correctly, else 0; shape ``(batch,)``."""
        return self.objective.hits(values, codes, _)
