"""The one training loop by gradients: Adam, a cosine schedule, early stopping, nothing global.

The loop knows no model and no task. It is given a module to train, a function from a batch to
one loss a sample, and the tensors that batches are cut from; so classifiers, surrogates and
every later model share it. What is not trained by Adam shares the loop around the epochs, see
:mod:`entangle.epochs`. All randomness comes from one ``torch.Generator``, and the learning rate
rises over the first epoch and falls along a cosine to zero in the last: rates that train quickly
are not stable for the products of many tensors from the start.

Source: Kingma and Ba 2015, arXiv:1412.6980 (Adam); Loshchilov and Hutter 2017, arXiv:1608.03983
and 1711.05101 (cosine, decoupled weight decay).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from entangle.epochs import Callback, Epoch, Measure, run_epochs, validated
from entangle.errors import InputError

__all__ = ["Group", "Plan", "require_count", "train"]


def require_count(name: str, value: object) -> None:
    """Refuse an option that is no whole number of at least 1.

    Raises
    ------
    InputError
        If it is not.
    """
    if not isinstance(value, Integral) or value < 1:
        raise InputError(f"{name} is a whole number of at least 1, got {value!r}")


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes
    ----------
    learning_rate
        Largest step size of Adam.
    batch_size
        Samples a step.
    max_epochs
        Passes through the data; the schedule of the learning rate is as long.
    patience
        Epochs without a lower validation loss after which training stops. ``None``: never.
    weight_decay
        Share of every weight, times the rate, that a step takes off, as in AdamW.
    decoupled
        If false, the decay is added to the gradient instead, an L2 penalty as in Adam.
    beta2
        Decay of Adam's mean square gradient a step. Products of hundreds of tensors now and then
        have a gradient out of all proportion, which a lower one forgets sooner.
    gradient_norm
        Longer gradients are shortened to this norm.
    constant
        Keep the rate instead of letting it rise and fall.

    Raises
    ------
    InputError
        If a number is not positive (``weight_decay``: negative).
    """

    learning_rate: float = 1e-2
    batch_size: int = 64
    max_epochs: int = 50
    patience: int | None = None
    weight_decay: float = 0.0
    gradient_norm: float = 1.0
    decoupled: bool = True
    beta2: float = 0.999
    constant: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_epochs", "patience"):
            value = getattr(self, name)
            if value is None and name == "patience":
                continue
            require_count(name, value)
        for name in ("learning_rate", "gradient_norm", "weight_decay"):
            value = getattr(self, name)
            usable = isinstance(value, Real) and 0 <= float(value) < math.inf
            if not usable or (value == 0 and name != "weight_decay"):
                raise InputError(f"{name} is a positive finite number, got {value!r}")
        if not (isinstance(self.beta2, Real) and 0 <= self.beta2 < 1):
            raise InputError(f"beta2 is at least 0 and below 1, got {self.beta2!r}")

    def rate(self, progress: float) -> float:
        """Learning rate when ``progress`` epochs are done."""
        if self.constant:
            return self.learning_rate
        warm = min(1.0, progress) if self.max_epochs > 1 else 1.0
        return self.learning_rate * warm * (1 + math.cos(math.pi * progress / self.max_epochs)) / 2


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters that do not follow the plan.

    Attributes
    ----------
    parameters
        Of the module that is trained; any iterable, kept as a tuple.
    largest_rate
        Where the plan's rate peaks higher, theirs peaks here, along the same schedule.
    weight_decay
        Instead of the plan's.
    """

    parameters: Iterable[torch.nn.Parameter]
    largest_rate: float = math.inf
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))  # read more than once


def train(
    module: torch.nn.Module,
    losses: Measure,
    data: Sequence[Tensor],
    plan: Plan,
    generator: torch.Generator,
    *,
    validation: Sequence[Tensor] | None = None,
    validation_losses: Measure | None = None,
    scores: Measure | None = None,
    groups: Sequence[Group] = (),
    on_epoch: Callback | None = None,
    progress: bool = False,
) -> tuple[Epoch, ...]:
    """Train a module in place.

    With validation samples the weights of the epoch with the lowest validation loss are restored
    at the end, with the buffers (running means) they were measured with; without validation those
    of the last epoch stay. Ctrl-C ends training as a stop would, with a warning, once one epoch is
    done; before that it is passed on.

    Parameters
    ----------
    module
        Its parameters are trained; on return it is in evaluation mode.
    losses
        Function from a batch of each tensor in ``data`` to one loss a sample, shape
        ``(batch,)``; weights of samples are its business.
    data
        Tensors with the same first axis, where the module is.
    plan
        Rates and lengths.
    generator
        Of the order of the samples, on the CPU.
    validation
        Like ``data``, not trained on.
    validation_losses
        Like ``losses``, for validation samples. Default: ``losses``.
    scores
        Function from a batch to a score a sample; only recorded.
    groups
        Parameters with a rate or a decay of their own; the others follow the plan.
    on_epoch, progress
        As for :func:`~entangle.epochs.run_epochs`.

    Returns
    -------
    tuple of Epoch
        One an epoch.

    Raises
    ------
    InputError
        If the loss is not finite, there are no samples, or nothing to train.
    """
    held = tuple(validation) if validation else None
    for name, tensors in (("data", data), ("validation", held)):
        if tensors is not None and not (tensors and len(tensors[0])):
            raise InputError(f"{name} has no samples; pass tensors with one row a sample")
    if not any(p.requires_grad for p in module.parameters()):
        raise InputError(
            "no parameter of the module needs a gradient, so there is nothing to train; "
            "set requires_grad on those that are to change"
        )
    run = _Run(module, losses, tuple(data), plan, generator, groups)
    run.measures = (validation_losses or losses, scores, held)
    return run_epochs(run, plan.max_epochs, plan.patience, on_epoch=on_epoch, progress=progress)


class _Run:
    """A module, trained by Adam."""

    unit = "epochs"
    measures: tuple[Measure, Measure | None, tuple[Tensor, ...] | None]

    def __init__(
        self,
        module: torch.nn.Module,
        losses: Measure,
        data: tuple[Tensor, ...],
        plan: Plan,
        generator: torch.Generator,
        groups: Sequence[Group],
    ) -> None:
        self.module, self.losses, self.data = module, losses, data
        self.plan, self.generator = plan, generator
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.kept = [*self.parameters, *module.buffers()]
        kind = torch.optim.AdamW if plan.decoupled else torch.optim.Adam
        betas = 0.9, plan.beta2
        self.optimizer = kind(self._grouped(groups), lr=plan.learning_rate, betas=betas)
        self.done = 0

    def _grouped(self, groups: Sequence[Group]) -> list[dict[str, Any]]:
        """Parameters as the optimizer takes them, the plan's first; ``share`` scales the rate."""
        grouped = {id(p) for group in groups for p in group.parameters}
        rest = tuple(p for p in self.parameters if id(p) not in grouped)
        found: list[dict[str, Any]] = []
        for group in (Group(rest, weight_decay=self.plan.weight_decay), *groups):
            parameters = [p for p in group.parameters if p.requires_grad]
            share = min(1.0, group.largest_rate / self.plan.learning_rate)
            if parameters:
                options = {"weight_decay": group.weight_decay, "share": share}
                found.append({"params": parameters, **options})
        return found

    def measured(self) -> tuple[float, float]:
        """Measure the validation samples, if there are any."""
        self.module.eval()
        return validated(*self.measures, self.plan.batch_size)

    def state(self) -> list[Tensor]:
        """Copy the parameters and the buffers."""
        return [tensor.detach().clone() for tensor in self.kept]

    def epoch(self) -> float:
        """Step through all batches; return the mean loss."""
        self.module.train()
        total, n_samples = torch.zeros(()), len(self.data[0])
        order = torch.randperm(n_samples, generator=self.generator).to(self.data[0].device)
        seen = 0
        for rows in _steps(order, self.plan.batch_size):
            done = self.done + (seen + len(rows) / 2) / n_samples
            seen += len(rows)
            for group in self.optimizer.param_groups:
                group["lr"] = group["share"] * self.plan.rate(done)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.losses(*(tensor[rows] for tensor in self.data)).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, self.plan.gradient_norm)
            self.optimizer.step()
            total = total.to(loss.device) + loss.detach() * len(rows)
        mean = float(total) / n_samples
        if not math.isfinite(mean):
            raise InputError(
                f"the loss became {mean} in epoch {self.done + 1}; pass a learning_rate "
                f"below {self.plan.learning_rate}, or scale the inputs"
            )
        self.done += 1
        return mean

    @torch.no_grad()
    def finish(self, best: Sequence[Tensor] | None) -> None:
        """Put the best weights back, if there are any."""
        self.module.eval()
        for tensor, value in zip(self.kept, best or (), strict=best is not None):
            tensor.copy_(value)


def _steps(order: Tensor, size: int) -> list[Tensor]:
    """Rows of each step; a last step of one row, which has no variance, joins the one before."""
    steps = list(order.split(size))
    if size > 1 and len(steps) > 1 and len(steps[-1]) == 1:
        steps[-2:] = [torch.cat(steps[-2:])]
    return steps
