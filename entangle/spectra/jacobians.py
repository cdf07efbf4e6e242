"""Jacobians of logits or of a layer with respect to the input, row by row.

One forward pass of a batch and one backward pass a row. Samples must not see each other, as is the
case in evaluation mode, so the gradient of a sum over samples is that of each.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from entangle.errors import InputError
from entangle.spectra.activations import layer_output
from entangle.spectra.subjects import Measured

__all__ = ["jacobian_rows", "outputs_at"]


def outputs_at(subject: Measured, model: object, layer: str | None, samples: Tensor) -> Tensor:
    """Find outputs of the model as they are, or of a layer of it, shape ``(batch, units)``.

    Raises
    ------
    InputError
        If a layer is asked of what is no module, or is unknown.
    """
    if layer is None:
        return subject.victim.forward(samples).flatten(1)
    if not isinstance(model, nn.Module):
        raise InputError(
            f"layer={layer!r} asks for a torch module, got {type(model).__name__}; pass the "
            "module, of a classifier of this package as_module()"
        )
    return layer_output(model, layer, samples).flatten(1)


def jacobian_rows(
    subject: Measured, model: object, layer: str | None, samples: Tensor, mixing: Tensor | None
) -> Iterator[Tensor]:
    """Yield gradients of outputs, or of mixtures of them, shape ``(batch, features)`` each.

    Parameters
    ----------
    mixing
        Rows are mixtures, shape ``(mixtures, units)``. ``None``: one output after the other.

    Raises
    ------
    InputError
        If outputs do not depend on the samples differentiably.
    """
    leaf = samples.detach().requires_grad_()
    with torch.enable_grad():
        outputs = outputs_at(subject, model, layer, leaf)
        if not outputs.requires_grad:
            raise InputError(
                "outputs do not depend on the input differentiably; a hard threshold, an argmax "
                "or a detour through numpy has no Jacobian"
            )
        totals = outputs.sum(0) if mixing is None else mixing.to(outputs) @ outputs.sum(0)
    for number in range(len(totals)):
        last = number == len(totals) - 1
        (slope,) = torch.autograd.grad(
            totals[number], leaf, retain_graph=not last, materialize_grads=True
        )
        yield slope.flatten(1)
