r"""What is attacked: a function from samples to logits, and what is known of its outputs.

Outputs are brought to a form that losses can work on before anything is attacked: probabilities
become their logarithms, and cross-entropy sees logits divided by a temperature, so that it does
not vanish in single precision where logits are large. Neither changes a prediction. A model whose
outputs are random is the mean of its outputs over draws, and its gradient the mean of gradients
(Athalye et al. 2018, arXiv:1802.00420, expectation over transformation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from entangle.adversarial.losses import Loss, margin
from entangle.errors import InputError

__all__ = ["DRAWS", "Victim", "evaluating"]

Forward = Callable[[Tensor], Tensor]
DRAWS = 20  # outputs of a random model that are averaged, unless it is said otherwise
LARGE_GAP = 10.0  # nats between the first and the second class that cross-entropy still tells
_FEW = 64  # samples that outputs are judged by


@dataclass(frozen=True, eq=False)
class Victim:
    """A model under attack.

    Attributes
    ----------
    forward
        From samples ``(batch, *sample)`` to outputs ``(batch, classes)``.
    differentiable
        Whether gradients may be asked of it.
    probabilities
        Whether outputs are probabilities, whose logarithms are attacked.
    draws
        Outputs that are averaged; more than 1: the model is random.
    temperature
        That cross-entropy divides logits by, at least 1.
    differences
        Whether gradients are estimated by differences of outputs, because there are none.
    """

    forward: Forward
    differentiable: bool = True
    probabilities: bool = False
    draws: int = 1
    temperature: float = 1.0
    differences: bool = False

    @classmethod
    def of(
        cls, model: Forward, samples: Tensor, *, draws: int | None = None,
        differentiable: bool = True,
    ) -> Victim:  # fmt: skip
        """Look at the outputs for some samples.

        Parameters
        ----------
        model
            In evaluation mode.
        samples
            Shape ``(batch, *sample)``.
        draws
            ``None``: 1, or 20 where two outputs for the same samples differ.

        Raises
        ------
        InputError
            If outputs have another shape than ``(batch, classes)`` or are not finite.
        """
        with torch.no_grad():
            few = samples[:_FEW]
            outputs, again = model(few), model(few)
        _require_outputs(outputs, few)
        sums = outputs.sum(1)
        likely = bool((outputs >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all())
        moved = not torch.equal(outputs, again)
        count = (DRAWS if moved else 1) if draws is None else draws
        found = cls(model, differentiable, likely, count)
        top = found.logits(few).double().topk(2, dim=1).values
        gap = float((top[:, 0] - top[:, 1]).median())
        return replace(found, temperature=max(1.0, gap / LARGE_GAP))

    @property
    def random(self) -> bool:
        """Whether one output says too little."""
        return self.draws > 1

    @torch.no_grad()
    def logits(self, samples: Tensor, repeats: int = 1) -> Tensor:
        """Mean logits over ``repeats`` times the draws, shape ``(batch, classes)``.

        Of a model that is not random, the logits.
        """
        total = self._once(samples)
        if not self.random:
            return total
        count = self.draws * repeats
        for _ in range(count - 1):
            total = total + self._once(samples)
        return total / count

    def margins(self, samples: Tensor, labels: Tensor) -> Tensor:
        """Logit of the label minus the largest other, shape ``(batch,)``; below 0: fooled."""
        return margin(self.logits(samples), labels)

    def predicted(self, samples: Tensor, repeats: int = 1) -> Tensor:
        """Class of the largest logit, shape ``(batch,)``."""
        return self.logits(samples, repeats).argmax(1)

    def gradient(self, samples: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
        """Values of a loss, their gradient with respect to the samples, and the logits.

        One forward and one backward pass a draw. Where outputs do not depend on the samples
        differentiably, the gradient is 0.
        """
        values, slope, logits = self._slope(samples, loss)
        for _ in range(self.draws - 1):
            parts = self._slope(samples, loss)
            values, slope, logits = values + parts[0], slope + parts[1], logits + parts[2]
        if self.random:
            values, slope, logits = (part / self.draws for part in (values, slope, logits))
        return values, slope, logits

    def _once(self, samples: Tensor) -> Tensor:
        outputs = self.forward(samples)
        if self.probabilities:
            outputs = outputs.clamp_min(torch.finfo(outputs.dtype).tiny).log()
        return outputs.to(samples.dtype)

    def _slope(self, samples: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
        leaf = samples.detach().requires_grad_()
        with torch.enable_grad():
            logits = self._once(leaf)
            values = loss(logits)
            slope = None
            if values.requires_grad:
                (slope,) = torch.autograd.grad(values.sum(), leaf, allow_unused=True)
        slope = torch.zeros_like(leaf) if slope is None else slope
        return values.detach(), slope, logits.detach()


def _require_outputs(outputs: object, samples: Tensor) -> None:
    """Refuse what are no logits.

    Raises
    ------
    InputError
        If they are not.
    """
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"the model returns a {type(outputs).__name__}, logits are a tensor "
            "(batch, classes); wrap it in a module that returns them alone"
        )
    if outputs.ndim != 2 or len(outputs) != len(samples) or outputs.shape[1] < 2:
        raise InputError(
            f"the model maps {tuple(samples.shape)} to {tuple(outputs.shape)}, expected "
            f"({len(samples)}, classes) with at least 2 classes; a single output z of two classes "
            "becomes torch.cat([-z, z], dim=1)"
        )
    if not bool(torch.isfinite(outputs).all()):
        raise InputError(
            "the model gives outputs that are not finite; scale X as in training, or repair the "
            "model before attacking it"
        )


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Put every part of a module in evaluation mode inside, and its own mode back afterwards."""
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
