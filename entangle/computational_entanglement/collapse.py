r"""Collapse of real networks: how fast the map from input to layer comes to rank one.

The ratio of the second to the first singular value, :math:`s_2 / s_1`, falls like
:math:`e^{-\Lambda l}` where layers are independent and more than they are wide; its slope over the
depth is the collapse exponent of a network. At a depth l below the width the slope is smaller: a
product of Gaussian matrices still stretches one direction by :math:`\sqrt{e (l + 1)}` more than a
typical one, so that it is less by about :math:`1 / 2l`.

Of a nonlinear network it is taken of the Jacobian at a sample; of linear layers, of the product of
weights, whose logarithms are carried from layer to layer, so that no ratio is lost in rounding.

Source: derived in analogy to arXiv:2309.15669; that a product of random matrices comes to rank one
is Oseledets' theorem. It is linear algebra, not a quantum effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from entangle.computational_entanglement.layer_outputs import named_layers
from entangle.computational_entanglement.measures import Slope
from entangle.errors import InputError

__all__ = ["Collapse", "linear_weights", "product_collapse"]

SPARE = 6  # directions followed besides the first two, so that these converge
ROUNDS = 60
TOLERANCE = 1e-8  # change of a logarithm that ends the rounds
FAR = -15.0  # logarithm of a ratio below which a triangle has no digits left for the smaller


@dataclass(frozen=True)
class Collapse:
    """First two singular values by depth.

    Attributes
    ----------
    names
        Of the layers, first to last.
    log_singular_values
        Natural logarithms of the two largest, shape ``(layers, samples, 2)``.
    """

    names: tuple[str, ...]
    log_singular_values: Tensor

    @property
    def log_ratio(self) -> Tensor:
        """Logarithm of second over first, shape ``(layers, samples)``; low where collapsed."""
        return self.log_singular_values[..., 1] - self.log_singular_values[..., 0]

    def rate(self) -> Slope:
        """Fall of the logarithm of the ratio in one layer: the collapse exponent.

        A least squares line for each sample; their mean, and the standard error between samples,
        which share the weights: it says nothing about other trainings. NaN for a single sample.

        Raises
        ------
        InputError
            If there are fewer than 2 layers, or a ratio is zero or undefined.
        """
        ratio = self.log_ratio.cpu().numpy()
        if len(ratio) < 2:
            raise InputError(f"a slope needs at least 2 layers, got {len(ratio)}")
        if not np.isfinite(ratio).all():
            raise InputError(
                "a Jacobian is zero or of rank one, so its slope is undefined; leave out those "
                "samples or layers, or use double precision"
            )
        depth = np.arange(len(ratio)) - (len(ratio) - 1) / 2
        slopes = -(depth @ ratio) / (depth @ depth)
        n = slopes.size
        error = float(slopes.std(ddof=1)) / n**0.5 if n > 1 else float("nan")
        return Slope(float(slopes.mean()), error, len(ratio) - 1)


def linear_weights(model: nn.Module) -> list[Tensor]:
    """Weights of the linear layers of a model, first to last, that can be multiplied.

    Raises
    ------
    InputError
        If it has none, or the shapes of neighbours do not fit: use :func:`jacobian_collapse`.
    """
    found = [
        (name, part.weight.detach())
        for name, part in named_layers(model).items()
        if isinstance(part, nn.Linear)
    ]
    if not found:
        raise InputError("the model has no linear layers to multiply; use jacobian_collapse")
    _check_chain([weight for _, weight in found], [name for name, _ in found])
    return [weight for _, weight in found]


def product_collapse(matrices: Sequence[Tensor], *, seed: int = 0) -> Collapse:
    r"""Singular values of :math:`W_1`, :math:`W_2 W_1`, ..., at any depth.

    Subspaces are iterated through the factors, forth and back, and made orthonormal after each of
    them. Each depth is a product of its own, so the time grows like the square of the depth. What
    is nonlinear between the layers is left out.

    Parameters
    ----------
    matrices
        First layer first, each of shape ``(outputs, inputs)``, at least 2 of each.
    seed
        Of the first subspace.

    Returns
    -------
    Collapse
        One sample; in double precision.

    Raises
    ------
    InputError
        If there are no matrices, or shapes do not fit.

    Examples
    --------
    >>> layer = torch.diag(torch.tensor([2.0, 1.0, 0.5]))
    >>> found = product_collapse([layer] * 60)
    >>> round(found.rate().rate, 6)  # ln 2, though the last ratio is below 1e-18
    0.693147
    """
    if not matrices:
        raise InputError("a product needs at least one matrix, got none")
    names = [str(number + 1) for number in range(len(matrices))]
    _check_chain(list(matrices), names)
    factors = [matrix.detach().double() for matrix in matrices]
    generator = torch.Generator().manual_seed(seed)
    widths = [
        min(SPARE + 2, *(size for factor in factors[:depth] for size in factor.shape))
        for depth in range(1, len(factors) + 1)
    ]
    start = torch.randn(factors[0].shape[1], widths[0], generator=generator, dtype=torch.float64)
    basis, _ = torch.linalg.qr(start.to(factors[0].device))
    logs = []
    for depth, width in enumerate(widths, start=1):
        log, basis = _top_two(factors[:depth], basis[:, :width])
        logs.append(log[None])
    return Collapse(tuple(names), torch.stack(logs))


def _top_two(factors: list[Tensor], basis: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of two singular values, and the input directions that belong to them."""
    log = torch.full((2,), torch.inf, dtype=basis.dtype, device=basis.device)
    for _ in range(ROUNDS):
        outputs, _ = _carried(factors, basis)
        basis, found = _carried([factor.T for factor in reversed(factors)], outputs)
        still = (found == log) | ((found - log).abs() <= TOLERANCE)  # both may be infinite
        log = found
        if bool(still.all()):
            break
    return log, basis


def _carried(factors: list[Tensor], basis: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal image of a basis, and the logarithms of its two largest singular values.

    The product of the triangles is kept as rows whose own entry is 1 or -1, and logarithms of what
    they were divided by. What does not rise above the rounding of a factor counts as zero.
    """
    rows = torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device)
    log = torch.zeros_like(rows[0])
    for factor in factors:
        image = factor @ basis
        basis, triangle = torch.linalg.qr(image)
        own = triangle.diagonal().abs()
        rounding = torch.finfo(basis.dtype).eps * max(image.shape) * torch.linalg.matrix_norm(image)
        alive = own > rounding
        scale = (log - log[:, None]).clamp(max=300.0).exp().nan_to_num()
        rows = (triangle * scale / torch.where(alive, own, 1)[:, None]) @ rows
        log = log + torch.where(alive, own, 0.0).log()
    return _turned(basis, rows, log)


def _turned(basis: Tensor, rows: Tensor, log: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a basis to singular directions; where the first stands far above, those after it."""
    first = 0 if log[1] - log[0] > FAR else 1
    if log[first] == -torch.inf:
        return basis, log[:2]
    triangle = (log[first:] - log[first]).exp()[:, None] * rows[first:, first:]
    turn, values, _ = torch.linalg.svd(triangle)
    basis = torch.cat([basis[:, :first], basis[:, first:] @ turn], dim=1)
    return basis, torch.cat([log[:first], log[first] + values.log()])[:2]


def _check_chain(matrices: list[Tensor], names: list[str]) -> None:
    for name, matrix in zip(names, matrices, strict=True):
        if matrix.ndim != 2 or min(matrix.shape) < 2 or not bool(matrix.isfinite().all()):
            raise InputError(
                f"layer {name} must be a finite matrix with at least 2 rows and columns, got shape "
                f"{tuple(matrix.shape)}"
            )
    for first, second in zip(range(len(matrices)), range(1, len(matrices)), strict=False):
        if matrices[second].shape[1] != matrices[first].shape[0]:
            raise InputError(
                f"layer {names[second]} takes {matrices[second].shape[1]} numbers, layer "
                f"{names[first]} puts out {matrices[first].shape[0]}, so they have no product; use "
                "jacobian_collapse, which follows the network itself"
            )
