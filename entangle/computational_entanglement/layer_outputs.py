"""What each layer of a network puts out, read through hooks that are removed afterwards.

Nothing of the model changes: every part is set to evaluation for the length of a block, so that
samples do not see each other, and gets its own mode back.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from entangle.errors import InputError

__all__ = ["layer_outputs", "named_layers"]


def named_layers(model: nn.Module, layers: Sequence[str] | None = None) -> dict[str, nn.Module]:
    """Layers of a model by name.

    Parameters
    ----------
    model
        Any torch module.
    layers
        Names, as in ``model.named_modules()``. Default: what has no parts and holds a matrix or a
        kernel of weights (linear layers and convolutions).

    Raises
    ------
    InputError
        If it is no module, has no such layers, or a name is unknown.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch module, got {type(model).__name__}")
    parts = dict(model.named_modules())
    if layers is None:
        found = {name: part for name, part in parts.items() if _is_layer(part)}
        if not found:
            raise InputError(
                f"{type(model).__name__} has no layers with matrices of weights; name the parts to "
                "look at with layers="
            )
        return found
    unknown = [name for name in layers if name not in parts]
    if unknown or not layers:
        raise InputError(
            f"layers must name parts of the model, got {unknown or 'none'}; it has "
            f"{', '.join(name for name in parts if name) or 'none'}"
        )
    return {name: parts[name] for name in layers}


def _is_layer(part: nn.Module) -> bool:
    return not any(part.children()) and any(p.ndim >= 2 for p in part.parameters(recurse=False))


def _record(
    seen: list[tuple[str, Tensor]], name: str, _: nn.Module, __: object, output: Any
) -> None:
    # a copy: what follows may write into it, as nn.ReLU(inplace=True) does
    seen.append((name, output.clone() if isinstance(output, Tensor) else output))


@contextmanager
def layer_outputs(
    model: nn.Module, layers: Sequence[str] | None = None
) -> Iterator[list[tuple[str, Tensor]]]:
    """Collect names and outputs of layers, in the order in which they run.

    A layer that runs twice appears twice. Run the model inside the block; the list fills.

    Raises
    ------
    InputError
        If the layers are unknown, or one does not put out a tensor.
    """
    chosen = named_layers(model, layers)
    seen: list[tuple[str, Tensor]] = []
    modes = [(part, part.training) for part in model.modules()]
    handles = [
        part.register_forward_hook(functools.partial(_record, seen, name))
        for name, part in chosen.items()
    ]
    try:
        model.eval()
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes:
            part.training = training
