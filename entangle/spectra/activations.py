"""Activations of a layer, or an array in their place, as batches of one row a sample.

A model is run batch by batch, in evaluation mode and without gradients, so that only one batch of
activations is held at a time; it is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from entangle.arrays import as_array
from entangle.computational_entanglement.layer_outputs import layer_outputs
from entangle.errors import InputError
from entangle.training import require_count

__all__ = ["Activations", "layer_output"]


@dataclass(frozen=True, eq=False)
class Activations:
    """Batches of activations, shape ``(batch, units)`` each, checked to be finite.

    Parameters
    ----------
    source
        A module, an array or tensor of activations ``(samples, ...)``, or an iterable of such.
    X
        Inputs of the module: array, tensor, or iterable of batches. Of batches that are tuples,
        such as ``(inputs, labels)``, the first entry counts.
    layer
        Part of the module, as in ``named_modules()``. ``None``: its output.
    units
        Numbers of the units that are kept, of flattened activations. ``None``: all.
    batch_size
        Samples at once, where ``X`` or ``source`` is no iterable of batches.
    """

    source: Any
    X: Any = None
    layer: str | None = None
    units: slice | Sequence[int] | None = None
    batch_size: int = 512
    data: Any = field(init=False)

    def __post_init__(self) -> None:
        require_count("batch_size", self.batch_size)
        is_module = isinstance(self.source, nn.Module)
        if is_module and self.X is None:
            raise InputError("a module needs its inputs; pass X, of shape (samples, ...)")
        if not is_module and (self.X is not None or self.layer is not None):
            raise InputError(
                f"X and layer go with a torch module, got {type(self.source).__name__}; of a "
                "classifier of this package pass as_module()"
            )
        data = self.X if is_module else self.source
        object.__setattr__(self, "data", data if _is_batched(data) else _as_tensor(data))

    @cached_property
    def n_samples(self) -> int | None:
        """Number of samples, which a pass through batches counts; of an iterator ``None``."""
        if isinstance(self.data, Tensor):
            return len(self.data)
        if self.repeatable:
            return sum(len(_inputs_of(batch)) for batch in self.data)
        return None

    @property
    def repeatable(self) -> bool:
        """Whether they can be read more than once."""
        return not isinstance(self.data, Iterator)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield batch by batch, in the precision in which they come."""
        kind = None
        for number, batch in enumerate(self._given()):
            values = self._chosen(batch.flatten(1) if batch.ndim > 1 else batch[:, None])
            found = values.shape[1], values.dtype
            if kind not in (None, found):
                raise InputError(
                    f"batches have one number of units and one dtype, batch {number} has {found}, "
                    f"those before {kind}"
                )
            kind = found
            if not bool(torch.isfinite(values).all()):
                raise InputError(
                    f"activations must be finite, batch {number} has NaN or infinity; scale or "
                    "impute the inputs, or leave these samples out"
                )
            yield values

    def _given(self) -> Iterator[Tensor]:
        """Yield activations as they come."""
        if isinstance(self.data, Tensor):
            batches: Iterable[Tensor] = self.data.split(self.batch_size)
        else:
            batches = (_as_tensor(_inputs_of(batch)) for batch in self.data)
        for batch in batches:
            if isinstance(self.source, nn.Module):
                with torch.no_grad():  # left before the yield, or whoever reads is in it, too
                    batch = layer_output(self.source, self.layer, _placed(batch, self.source))
            yield batch

    def _chosen(self, values: Tensor) -> Tensor:
        if self.units is None:
            return values
        try:
            chosen = values[:, self.units]
        except (IndexError, TypeError) as reason:
            raise InputError(
                f"units is a slice or numbers below {values.shape[1]}, got {self.units!r}"
            ) from reason
        if chosen.ndim != 2 or not chosen.shape[1]:
            raise InputError(f"units must choose at least 1 of {values.shape[1]}, got none")
        return chosen


def layer_output(model: nn.Module, layer: str | None, values: Tensor) -> Tensor:
    """Output of a layer in evaluation mode, shape ``(batch, ...)``; of the model for ``None``.

    Raises
    ------
    InputError
        If the layer is unknown, does not run exactly once, or gives no tensor of one row a sample.
    """
    with layer_outputs(model, ["" if layer is None else layer]) as seen:
        model(values)
    name = "the model" if layer is None else f"layer {layer!r}"
    if len(seen) != 1:
        raise InputError(
            f"{name} runs {len(seen)} times for a batch, expected once; choose another"
        )
    output = seen[0][1]
    if not isinstance(output, Tensor) or output.ndim < 1 or len(output) != len(values):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"{name} gives {got}, expected a tensor ({len(values)}, ...); choose another"
        )
    return output


def _is_batched(data: Any) -> bool:
    """Whether data are an iterable of batches; what has a shape, or holds numbers, is an array."""
    if isinstance(data, list | tuple):
        return bool(len(data)) and all(np.ndim(_inputs_of(batch)) > 1 for batch in data)
    return isinstance(data, Iterable) and not (hasattr(data, "shape") or hasattr(data, "columns"))


def _inputs_of(batch: Any) -> Any:
    """Take the inputs of a batch that may come with labels."""
    paired = isinstance(batch, list | tuple) and len(batch) and hasattr(batch[0], "shape")
    return batch[0] if paired else batch


def _as_tensor(data: Any) -> Tensor:
    if not isinstance(data, Tensor):
        array = as_array(data, "X")
        if array.dtype.kind not in "buif":
            raise InputError(f"X must be real numbers, got dtype {array.dtype}; encode it as such")
        data = torch.from_numpy(np.ascontiguousarray(array))
    if data.layout != torch.strided or data.is_complex() or data.ndim < 1 or not data.numel():
        raise InputError(
            f"X must be dense real numbers (samples, ...), got {data.layout} {data.dtype} of shape "
            f"{tuple(data.shape)}"
        )
    return data.detach()


def _placed(batch: Tensor, model: nn.Module) -> Tensor:
    """Move inputs to where the model is; floating point inputs get its precision."""
    like = next(model.parameters(), None)
    if like is None:
        return batch
    dtype = like.dtype if batch.is_floating_point() and like.is_floating_point() else batch.dtype
    return batch.to(like.device, dtype)
