"""Training, epoch by epoch: what every way to train shares, whatever it does in an epoch.

Epochs follow each other until their number or the validation loss ends them, or Ctrl-C does. Then
the best state is put back. How a pass through the data changes what is trained, by gradients or
by sweeps, is the business of a `Trainee`.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from entangle.errors import TrainingInterrupted
from entangle.progress import progress_bar

__all__ = ["Callback", "Epoch", "Measure", "Trainee", "run_epochs", "validated"]


@dataclass(frozen=True)
class Epoch:
    """What one pass through the data did.

    Attributes
    ----------
    number
        From 1.
    loss
        Mean training loss, of the weights as they were at each step.
    validation_loss, validation_score
        Means over the validation samples after the epoch; NaN without them.
    seconds
        Wall time since training began.
    """

    number: int
    loss: float
    validation_loss: float
    validation_score: float
    seconds: float


Measure = Callable[..., Tensor]
Callback = Callable[[Epoch], object]


class Trainee(Protocol):
    """What is trained epoch by epoch."""

    unit: str

    def epoch(self) -> float:
        """Pass through the data once; return the mean loss."""
        ...

    def measured(self) -> tuple[float, float]:
        """Mean loss and score of the validation samples; NaN without them."""
        ...

    def state(self) -> Sequence[Tensor]:
        """Return all that epochs change, in tensors that they leave alone."""
        ...

    def finish(self, best: Sequence[Tensor] | None) -> None:
        """End training, with an earlier state put back if there is one."""
        ...


def run_epochs(
    trainee: Trainee,
    max_epochs: int,
    patience: int | None = None,
    *,
    on_epoch: Callback | None = None,
    progress: bool = False,
) -> tuple[Epoch, ...]:
    """Train until the validation loss or the number of epochs ends it; restore the best state.

    Ctrl-C ends it with a warning once one epoch is done; before that it is passed on.

    Parameters
    ----------
    trainee
        What is trained; its ``unit`` is what a warning calls an epoch.
    max_epochs
        Passes through the data.
    patience
        Epochs without a lower validation loss after which training stops. ``None``: never.
    on_epoch
        Called after every epoch.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    tuple of Epoch
        One an epoch.
    """
    record = _Record(trainee, patience)
    with progress_bar("training", max_epochs, progress) as advance:
        try:
            for _ in range(max_epochs):
                epoch = record.epoch()
                advance(1)
                if on_epoch is not None:
                    on_epoch(epoch)
                if record.stalled:
                    break
        except KeyboardInterrupt:
            if not record.history:
                raise
            warnings.warn(
                f"training was interrupted after {len(record.history)} of {max_epochs} "
                f"{trainee.unit}; the best weights so far are kept",
                TrainingInterrupted,
                stacklevel=2,
            )
    trainee.finish(record.best)
    return tuple(record.history)


class _Record:
    """What epochs did, and the best state."""

    def __init__(self, trainee: Trainee, patience: int | None) -> None:
        self.trainee, self.patience = trainee, patience
        self.history: list[Epoch] = []
        self.best: Sequence[Tensor] | None = None
        self.best_loss, self.best_number = math.inf, 0
        self.started = time.perf_counter()

    @property
    def stalled(self) -> bool:
        """Whether the validation loss has not fallen for as long as patience lasts."""
        waited = len(self.history) - self.best_number
        return self.best is not None and self.patience is not None and waited >= self.patience

    def epoch(self) -> Epoch:
        """Pass through the data once, then measure."""
        loss, found = self.trainee.epoch(), self.trainee.measured()
        number = len(self.history) + 1
        if found[0] < self.best_loss:
            self.best, self.best_loss, self.best_number = self.trainee.state(), found[0], number
        self.history.append(Epoch(number, loss, *found, time.perf_counter() - self.started))
        return self.history[-1]


def validated(
    losses: Measure, scores: Measure | None, data: tuple[Tensor, ...] | None, batch_size: int
) -> tuple[float, float]:
    """Mean loss and score of validation samples; NaN where there is nothing to measure."""
    if data is None:
        return math.nan, math.nan
    score = _mean(scores, data, batch_size) if scores else math.nan
    return _mean(losses, data, batch_size), score


@torch.no_grad()
def _mean(measure: Measure, data: tuple[Tensor, ...], batch_size: int) -> float:
    batches = _batches(data, 4 * batch_size)
    return float(torch.cat([measure(*batch) for batch in batches]).double().mean())


def _batches(data: tuple[Tensor, ...], size: int) -> Iterator[tuple[Tensor, ...]]:
    for begin in range(0, len(data[0]), size):
        yield tuple(tensor[begin : begin + size] for tensor in data)
