"""A model and its samples for measurements: in the precision of the model, and not random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor

from entangle.adversarial.subject import Subject
from entangle.adversarial.victim import Victim, evaluating
from entangle.errors import InputError
from entangle.uncertainty.subjects import as_origins, precision_of

__all__ = ["Measured", "measured"]


@dataclass(frozen=True, eq=False)
class Measured:
    """What is measured, in evaluation mode.

    Attributes
    ----------
    subject
        The model as it was given, wrapped.
    victim
        Its logits; of probabilities their logarithms. Cross-entropy is taken as it is.
    samples
        Shape ``(samples, *sample)``, where the model is.
    """

    subject: Subject
    victim: Victim
    samples: Tensor

    def require_gradient(self, what: str) -> None:
        """Refuse a model without gradients.

        Raises
        ------
        InputError
            If it is one.
        """
        if not self.subject.differentiable:
            raise InputError(
                f"{what} needs gradients, and the model has none; pass a torch module, a linear "
                "classifier or a perceptron"
            )


@contextmanager
def measured(model: object, X: object) -> Iterator[Measured]:
    """Check a model and its samples, and keep the model in evaluation mode inside.

    Raises
    ------
    InputError
        If the model is no module, function or classifier, or is random, or the samples do not
        fit it.
    """
    subject = Subject.of(model, X)
    samples = as_origins(X, subject.device, precision_of(subject.module, X))
    with evaluating(subject.module):
        victim = Victim.of(subject.forward, samples, differentiable=subject.differentiable)
        if victim.random:
            raise InputError(
                "two outputs of the model for the same samples differ; switch its noise off, or "
                "see entangle.adversarial, which averages"
            )
        yield Measured(subject, replace(victim, temperature=1.0), samples)
