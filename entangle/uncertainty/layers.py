"""A network from one of its layers on: packets of what the layer gives instead of the inputs.

The network runs as it is, and the output of the layer is replaced by the nodes on its way. So the
layer may lie anywhere, also in a branch; what by-passes it keeps the values that the sample gave.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from entangle.adversarial.victim import Victim
from entangle.errors import InputError
from entangle.uncertainty.amplitudes import LossAmplitude, Values

__all__ = ["LayerAmplitude", "activations", "named_layer"]

_ROWS = 256  # samples whose activations are found at once


def named_layer(model: object, name: str) -> nn.Module:
    """Layer of a module by its name, as ``named_modules`` lists it.

    Raises
    ------
    InputError
        If the model is no module, or has no such layer.
    """
    if not isinstance(model, nn.Module):
        raise InputError(
            f"layer={name!r} asks for a torch module, got {type(model).__name__}; pass the module, "
            "of a classifier of this package as_module()"
        )
    layers = {key: part for key, part in model.named_modules() if key}
    if name not in layers:
        raise InputError(
            f"layer is one of {', '.join(map(repr, list(layers)[:20]))}, got {name!r}; see "
            "model.named_modules()"
        )
    return layers[name]


@contextmanager
def _watched(layer: nn.Module, instead: Tensor | None) -> Iterator[list[object]]:
    """Collect outputs of a layer; give others in their place if there are any."""
    seen: list[object] = []

    def hook(_: nn.Module, __: object, output: object) -> object:
        seen.append(output)
        return output if instead is None else instead

    handle = layer.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def activations(victim: Victim, layer: nn.Module, samples: Tensor) -> Tensor:
    """Find what a layer gives for samples, detached, shape ``(samples, *activation)``.

    Raises
    ------
    InputError
        If the layer does not run exactly once, or gives no floating point tensor by sample.
    """
    found = []
    for part in samples.split(_ROWS):
        with torch.no_grad(), _watched(layer, None) as seen:
            victim.forward(part)
        if len(seen) != 1:
            raise InputError(
                f"the layer runs {len(seen)} times for a sample, expected once; choose a layer "
                "that is used once"
            )
        output = seen[0]
        if not (
            isinstance(output, Tensor)
            and output.is_floating_point()
            and output.ndim >= 2
            and len(output) == len(part)
        ):
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(
                f"the layer gives {got}, expected a floating point tensor ({len(part)}, ...) with "
                "the samples first; choose another layer"
            )
        found.append(output.detach())
    return torch.cat(found)


@dataclass(frozen=True, eq=False)
class LayerAmplitude:
    """Cross-entropy at the label of each packet, as a function of what a layer gives.

    Parameters
    ----------
    victim
        The whole model.
    layer
        Of it.
    samples
        Inputs of the packets, shape ``(packets, *sample)``.
    labels
        Class number of each packet.
    """

    victim: Victim
    layer: nn.Module
    samples: Tensor
    labels: Tensor

    def __call__(self, nodes: Tensor, rows: Tensor) -> Values:
        """Evaluate with one backward pass, which ends at the layer."""
        samples = self.samples[rows]

        def forward(values: Tensor) -> Tensor:
            with _watched(self.layer, values):
                return self.victim.forward(samples)

        return LossAmplitude(replace(self.victim, forward=forward), self.labels)(nodes, rows)
