"""Networks by name, each with the rates it was published with.

A network is built from the numbers at each position, the axis lengths of a sample, and the number
of classes; it maps ``(batch, channels, *shape)`` to logits ``(batch, classes)``. Whatever builds
such a module can stand where a name can.

Source: protocols of Tables 1 and 2 of Alexander et al. 2023, arXiv:2303.11249. Their rates stay as
they are for all epochs but those of S4, which fall along a cosine; ours all rise for one epoch and
fall along a cosine unless they are asked to stay.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from entangle.errors import InputError
from entangle.models.attention import LocalTransformer
from entangle.models.cnn import CNN
from entangle.models.m5 import M5
from entangle.models.mlp import MLP
from entangle.models.padded_cnn import PaddedCNN
from entangle.models.s4 import S4D
from entangle.seeding import seeded

__all__ = ["MODELS", "Recipe", "build_model", "resolve_recipe"]

Builder = Callable[..., nn.Module]


@dataclass(frozen=True)
class Recipe:
    """How to build a network, and how it was trained.

    Attributes
    ----------
    build
        From ``(n_channels, shape, n_classes)`` and options to a module.
    learning_rate, batch_size, weight_decay
        As published.
    decoupled
        Whether the decay is AdamW's; else it is Adam's L2 penalty.
    """

    build: Builder
    learning_rate: float = 1e-3
    batch_size: int = 64
    weight_decay: float = 0.0
    decoupled: bool = True


MODELS: dict[str, Recipe] = {
    "cnn": Recipe(CNN, weight_decay=1e-4, decoupled=False),
    "padded-cnn": Recipe(PaddedCNN, weight_decay=1e-4, decoupled=False),
    "m5": Recipe(M5, batch_size=128, weight_decay=1e-4, decoupled=False),
    "s4": Recipe(S4D, weight_decay=0.01),
    "attention": Recipe(LocalTransformer, learning_rate=5e-5, batch_size=32),
    "mlp": Recipe(MLP, weight_decay=1e-4, decoupled=False),
}


def resolve_recipe(model: object) -> Recipe:
    """Recipe of a name, of a function that builds a module, or of a module itself.

    Those without a name get a rate of 0.001, batches of 64 and no decay.

    Raises
    ------
    InputError
        If it is none of these, or an unknown name.
    """
    if isinstance(model, str) and model in MODELS:
        return MODELS[model]
    if isinstance(model, nn.Module):
        return Recipe(lambda n_channels, shape, n_classes: copy.deepcopy(model))
    if not isinstance(model, str) and callable(model):
        return Recipe(cast("Builder", model))
    raise InputError(
        f"model is one of {', '.join(MODELS)}, a torch module, or a function of (n_channels, "
        f"shape, n_classes) that builds one, got {model!r}"
    )


def build_model(
    model: str | nn.Module | Builder,
    n_channels: int,
    shape: tuple[int, ...],
    n_classes: int,
    *,
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """Build a network, with first values that depend on the seed alone.

    Parameters
    ----------
    model
        One of ``MODELS``, a function of the next three that builds a module, or a module, of
        which a copy is taken.
    n_channels
        Numbers at each position.
    shape
        Axis lengths of a sample: ``(length,)`` or ``(height, width)``.
    n_classes
        Number of logits.
    seed
        Of the first values. No global generator is touched.
    options
        Of the network, such as ``depth`` or ``width``.

    Raises
    ------
    InputError
        If the name is unknown, the network cannot have this shape or these options, or it does
        not return one logit a class.

    Examples
    --------
    >>> network = build_model("cnn", 1, (8, 8), 10, width=16)
    >>> tuple(network(torch.zeros(5, 1, 8, 8)).shape)
    (5, 10)
    """
    build = resolve_recipe(model).build
    try:
        inspect.signature(build).bind(n_channels, shape, n_classes, **options)
    except TypeError as reason:
        raise InputError(
            f"model {model!r} cannot be built from (n_channels, shape, n_classes) and {options}: "
            f"{reason}; see the options of its class in entangle.models"
        ) from reason
    with seeded(seed):
        module = build(n_channels, shape, n_classes, **options)
    if not isinstance(model, str):
        _check_logits(module, (n_channels, *shape), n_classes)
    return module


def _check_logits(module: nn.Module, sample: tuple[int, ...], n_classes: int) -> None:
    """Refuse a module of one's own that does not map samples to logits."""
    training = module.training
    some = next(iter(module.parameters()), torch.zeros(()))
    with torch.no_grad():
        found = module.eval()(torch.zeros(2, *sample, dtype=some.dtype, device=some.device))
    module.train(training)
    if tuple(found.shape) != (2, n_classes):
        raise InputError(
            f"a model maps (batch, {', '.join(map(str, sample))}) to logits (batch, {n_classes}), "
            f"got {tuple(found.shape)} for a batch of 2; end it with a linear layer of {n_classes} "
            "outputs"
        )
