"""A classifier and its samples in the form that packets take: differentiable, and not random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from entangle.adversarial.subject import Subject, as_samples, class_numbers
from entangle.adversarial.victim import Victim, evaluating
from entangle.errors import InputError
from entangle.uncertainty.amplitudes import Amplitude, LossAmplitude
from entangle.uncertainty.choice import Chosen
from entangle.uncertainty.layers import LayerAmplitude, activations, named_layer

__all__ = ["Classified", "as_origins", "precision_of"]


def as_origins(x0: object, device: torch.device | None, dtype: torch.dtype) -> Tensor:
    """Check samples, shape ``(samples, *sample)``, in a precision of choice."""
    where = device or (x0.device if isinstance(x0, Tensor) else torch.device("cpu"))
    samples = as_samples(x0, where)
    if dtype != torch.float64:
        return samples
    return torch.as_tensor(x0, device=where, dtype=torch.float64).detach()


@dataclass(frozen=True, eq=False)
class Classified:
    """What packets are made of.

    Attributes
    ----------
    victim
        The model.
    samples
        Its inputs, shape ``(samples, *sample)``.
    labels
        Class numbers, where the model is.
    origins
        The inputs, or what a layer gives for them.
    layer
        That layer.
    """

    victim: Victim
    samples: Tensor
    labels: Tensor
    origins: Tensor
    layer: nn.Module | None = None

    @classmethod
    @contextmanager
    def evaluated(
        cls, model: object, x0: object, y: object, layer: str | None
    ) -> Iterator[Classified]:
        """Check all of it, and keep the model in evaluation mode inside.

        Raises
        ------
        InputError
            If the model has no gradients or is random, or data or layer do not fit it.
        """
        part = None if layer is None else named_layer(model, layer)
        subject = Subject.of(model, x0)
        if not subject.differentiable:
            raise InputError(
                f"{type(model).__name__} has no gradients, and conjugate gradients are half of the "
                "relation; pass a torch module, or a linear classifier or perceptron"
            )
        samples = as_origins(x0, subject.device, precision_of(model, x0))
        with evaluating(subject.module):
            victim = Victim.of(subject.forward, samples, differentiable=True)
            _require_deterministic(victim)
            _require_gradient(victim, samples[:1])
            n_classes = victim.logits(samples[:1]).shape[1]
            labels = class_numbers(y, len(samples), n_classes, subject.classes).to(subject.device)
            origins = samples if part is None else activations(victim, part, samples)
            yield cls(victim, samples, labels, origins, part)

    def amplitude(self, chosen: Chosen) -> Amplitude:
        """Loss at the labels of the packets."""
        labels = self.labels if chosen.labels is None else chosen.labels
        if self.layer is None:
            return LossAmplitude(self.victim, labels)
        samples = self.samples[chosen.members.to(self.samples.device)]
        return LayerAmplitude(self.victim, self.layer, samples, labels)


def precision_of(model: object, x0: object) -> torch.dtype:
    """Precision that a module works in; that of the samples if it does not tell, or is none."""
    if isinstance(model, nn.Module):
        tensors = [*model.parameters(), *model.buffers()]
        kinds = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
        if kinds:
            return torch.float64 if kinds[0] == torch.float64 else torch.float32
    is_double = isinstance(x0, Tensor) and x0.dtype == torch.float64
    return torch.float64 if is_double else torch.float32


def _require_deterministic(victim: Victim) -> None:
    if victim.random:
        raise InputError(
            "two outputs of the model for the same samples differ, and a random loss has no "
            "packet; switch its noise off"
        )


def _require_gradient(victim: Victim, samples: Tensor) -> None:
    leaf = samples.detach().requires_grad_()
    with torch.enable_grad():
        outputs = victim.forward(leaf)
    if not outputs.requires_grad:
        raise InputError(
            "the model's outputs do not depend on its inputs differentiably; a hard threshold, an "
            "argmax or a detour through numpy has no conjugate gradients, use a smooth model"
        )
