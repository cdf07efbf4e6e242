"""Singular values of the Jacobian from the input to each layer, without forming it.

A sample is repeated, a copy for each direction that is followed. A backward pass gives the product
of each copy's Jacobian with its own cotangent; that is linear in the cotangent, so a second
backward pass through it gives products with tangents. Between them subspaces are iterated until
the first two singular values stand still.

Source: block power iteration; derivatives forward from two backward passes are Townsend's trick.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from entangle.computational_entanglement.collapse import Collapse
from entangle.computational_entanglement.layer_outputs import layer_outputs
from entangle.errors import InputError

__all__ = ["jacobian_collapse"]

SPARE = 6  # directions followed besides the first two, so that these converge


def jacobian_collapse(
    model: nn.Module,
    samples: Tensor,
    layers: Sequence[str] | None = None,
    *,
    seed: int = 0,
    rounds: int = 100,
    tolerance: float = 1e-4,
) -> Collapse:
    """Two largest singular values of the Jacobian of each layer with respect to the input.

    Parameters
    ----------
    model
        Any torch module whose parts can be differentiated twice. It is run in evaluation mode, and
        left as it was.
    samples
        Where, shape ``(samples, ...)``, as the model takes them. Ratios below 1e-6 need a model
        and samples in double precision.
    layers
        Names of its parts. Default: linear layers and convolutions.
    seed
        Of the first subspace.
    rounds
        Iterations at most.
    tolerance
        Relative change of both values that ends them.

    Raises
    ------
    InputError
        If there are no such layers, or an input or a layer is less than two numbers.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).double()
    >>> with torch.no_grad():
    ...     for part in model:
    ...         _ = part.weight.copy_(torch.diag(torch.tensor([4.0, 2.0, 1.0])))
    >>> found = jacobian_collapse(model, torch.randn(5, 3, dtype=torch.float64))
    >>> round(found.rate().rate, 4)  # ln 2
    0.6931
    """
    if samples.ndim < 2 or not len(samples) or samples[0].numel() < 2:
        raise InputError(
            f"samples have shape (samples, ...) with at least 2 numbers each, got "
            f"{tuple(samples.shape)}"
        )
    generator = torch.Generator().manual_seed(seed)
    n_directions = min(SPARE + 2, samples[0].numel())
    start = torch.randn(samples[0].numel(), n_directions, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(start)[0].T.to(samples)
    names: tuple[str, ...] = ()
    found = []
    for sample in samples:
        copies = sample.detach().expand(n_directions, *sample.shape).clone().requires_grad_()
        with torch.enable_grad(), layer_outputs(model, layers) as seen:
            with sdpa_kernel(SDPBackend.MATH):  # the others cannot be differentiated twice
                model(copies)
            names = tuple(name for name, _ in seen)
            found.append([_log_top_two(*one, copies, basis, rounds, tolerance) for one in seen])
    logs = [torch.stack(by_layer) for by_layer in found]
    return Collapse(names, torch.stack(logs, dim=1))


def _log_top_two(
    name: str, output: Tensor, copies: Tensor, basis: Tensor, rounds: int, tolerance: float
) -> Tensor:
    """Logarithms of the two largest singular values; a copy of the sample for each direction."""
    if not isinstance(output, Tensor) or len(output) != len(copies) or output[0].numel() < 2:
        raise InputError(
            f"layer {name!r} does not map each sample to two numbers or more; leave it out with "
            "layers="
        )
    cotangent = torch.zeros_like(output, requires_grad=True)
    (pulled,) = torch.autograd.grad(output, copies, cotangent, create_graph=True)
    values = torch.zeros(2, dtype=torch.float64, device=copies.device)
    for _ in range(rounds):
        tangent = basis.reshape(copies.shape)
        (pushed,) = torch.autograd.grad(pulled, cotangent, tangent, retain_graph=True)
        image = torch.linalg.qr(pushed.flatten(1).T)[0].T
        rows = torch.zeros_like(pushed.flatten(1))
        rows[: len(image)] = image
        (back,) = torch.autograd.grad(output, copies, rows.reshape(output.shape), retain_graph=True)
        basis = torch.linalg.qr(back.flatten(1).T)[0].T
        last, values = values, torch.linalg.svdvals(back.flatten(1).double())[:2]
        if bool(((values - last).abs() <= tolerance * values).all()):
            break
    return values.log()
