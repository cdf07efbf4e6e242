r"""Jacobian regularisation: small changes of the input change a layer little.

.. math:: \|J\|_F^2 = \mathbb{E}_v \, C \, \|v^T J\|^2, \qquad v \sim U(S^{C-1}),

for a layer of C numbers: a backward pass for each direction v instead of C. For any number of
independent directions the mean is unbiased; of one sample its variance is, with
:math:`A = J J^T`, that of one direction,
:math:`\frac{2 C^2}{C (C + 2)} [\operatorname{tr} A^2 - (\operatorname{tr} A)^2 / C]`, divided by
their number.

Source: Hoffman, Roberts, Yaida 2019, arXiv:1908.02729. Deviations: their library returns half of
it. In the code of arXiv:2405.00679 directions after the first are normalised over the batch of B
samples instead of each, so its estimate from n is :math:`(1 + (n - 1)/B)/n` of the square, a third
for its n = 3: its weight 1e-3 is 3.3e-4 here. The network is in evaluation mode, so that samples
do not see each other and each has a Jacobian of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from entangle.errors import InputError
from entangle.penalties import BatchPenalty, require_weight
from entangle.spectra.activations import layer_output
from entangle.training import require_count

__all__ = ["JacobianRegularizer", "jacobian_norm"]


def jacobian_norm(
    module: nn.Module,
    values: Tensor,
    layer: str | None = None,
    *,
    n_projections: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Squared Frobenius norm of the Jacobian of a layer, mean over a batch, differentiable.

    Parameters
    ----------
    module
        Any torch module, twice differentiable; it is run in evaluation mode and left as it was.
    values
        Its inputs, shape ``(batch, ...)``, floating point.
    layer
        Part of the module, as in ``named_modules()``. Default: its output.
    n_projections
        Random directions. ``None``: exact, one backward pass for each number of the layer.
    generator
        Of the directions, on any device. Default: the global one of the device of the layer.

    Returns
    -------
    Tensor
        A scalar; its gradient with respect to the parameters is that of the norm. Within
        ``torch.no_grad()`` it has none, and takes less memory.

    Raises
    ------
    InputError
        If the layer is unknown or does not depend on the values, or options cannot be used.

    Examples
    --------
    >>> layer = nn.Linear(3, 2, bias=False)
    >>> norm = jacobian_norm(layer, torch.randn(5, 3))
    >>> bool(torch.isclose(norm, layer.weight.square().sum()))
    True
    """
    if n_projections is not None:
        require_count("n_projections", n_projections)
    if not values.is_floating_point() or values.ndim < 1 or not len(values):
        raise InputError(
            f"values are floating point of shape (batch, ...), got {values.dtype} of shape "
            f"{tuple(values.shape)}"
        )
    graph = torch.is_grad_enabled()
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the others have no second derivative
        leaf = values.detach().requires_grad_()
        output = layer_output(module, layer, leaf).flatten(1)
        total = values.new_zeros(())
        for direction in _directions(output, n_projections, generator):
            total = total + _pulled(output, leaf, direction, graph).square().sum()
        scale = 1.0 if n_projections is None else output.shape[1] / n_projections
        return total * (scale / len(values))


def _directions(
    output: Tensor, n_projections: int | None, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Yield unit vectors, one a sample: random ones, or those of the axes."""
    size = output.shape[1]
    if n_projections is None:
        for place in range(size):
            axis = torch.zeros(size, dtype=output.dtype, device=output.device)
            axis[place] = 1.0
            yield axis.expand_as(output)
        return
    device = output.device if generator is None else generator.device
    for _ in range(n_projections):
        drawn = torch.randn(
            output.shape, generator=generator, dtype=output.dtype, device=device
        ).to(output.device)
        yield nn.functional.normalize(drawn, dim=1)


def _pulled(output: Tensor, leaf: Tensor, direction: Tensor, graph: bool) -> Tensor:
    """Products of a direction with each sample's Jacobian."""
    if not output.requires_grad:
        raise InputError("the layer does not depend on the values differentiably; choose another")
    found = torch.autograd.grad(
        output, leaf, direction, retain_graph=True, create_graph=graph, allow_unused=True
    )[0]
    if found is None:
        raise InputError("the layer does not depend on the values; choose another")
    return found


@dataclass(frozen=True)
class JacobianRegularizer:
    r"""Penalty ``weight`` times the mean of :math:`\|J\|_F^2` over a batch.

    Parameters
    ----------
    weight
        Without a factor of 1/2.
    n_projections
        Random directions for each sample, fresh each time. ``None``: exact.
    layer
        Whose Jacobian with respect to the input it is. Default: of the module's output.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    >>> penalty = JacobianRegularizer(1e-2, layer="0")
    >>> penalty(model, torch.randn(8, 3)).backward()
    >>> model[0].weight.grad.shape
    torch.Size([4, 3])
    """

    weight: float = 1e-3
    n_projections: int | None = 1
    layer: str | None = None

    def __post_init__(self) -> None:
        require_weight(self.weight)
        if self.n_projections is not None:
            require_count("n_projections", self.n_projections)

    def __call__(self, module: nn.Module, values: Tensor) -> Tensor:
        """Return the penalty of a batch of inputs, a scalar."""
        norm = jacobian_norm(module, values, self.layer, n_projections=self.n_projections)
        return self.weight * norm

    def for_epoch(self, module: nn.Module, values: Tensor) -> BatchPenalty:
        """Return the penalty as a function of a batch."""
        return partial(self, module)
