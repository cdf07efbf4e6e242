r"""Gradient descent on one sample moves weights along one direction: a collapse of another kind.

Descent on :math:`|W x - y|^2` with a rate :math:`\eta` adds a matrix of rank one,

.. math:: W_t = W_0 + \frac{(1 - 2 \eta |x|^2)^t - 1}{|x|^2} (W_0 x - y) x^T .

Once that outweighs :math:`W_0`, every sample is mapped near :math:`\pm (W_0 x - y)`: if descent
diverges, :math:`|1 - 2\eta|x|^2| > 1`, as in the first published script (a factor of -43.2 a
step), or if :math:`|y|` dwarfs :math:`W_0`, as in the second.

Source: published code of arXiv:2309.15669 (testgd_converge_collapse_gd, testnormconverge_gd); the
closed form is derived here and agrees with the loop.
"""

from __future__ import annotations

from torch import Tensor

from entangle.computational_entanglement.selection import check_vectors
from entangle.errors import InputError

__all__ = ["descend", "descended", "descent_factor"]


def descend(start: Tensor, x: Tensor, y: Tensor, rate: float, steps: int) -> Tensor:
    """Weights after gradient descent on one sample, step by step.

    Parameters
    ----------
    start
        First weights, shape ``(outputs, features)``.
    x, y
        The sample and its target, shapes ``(features,)`` and ``(outputs,)``.
    rate
        Learning rate.
    steps
        Number of steps, at least 0.

    Raises
    ------
    InputError
        If shapes do not fit, or x is zero.
    """
    _check(start, x, y, steps)
    weights = start.clone()
    for _ in range(steps):
        residual = weights @ x - y
        weights -= 2 * rate * residual[:, None] * x
    return weights


def descended(start: Tensor, x: Tensor, y: Tensor, rate: float, steps: int) -> Tensor:
    """Weights after gradient descent on one sample, in closed form.

    Parameters and errors are those of :func:`descend`.

    Examples
    --------
    >>> import torch
    >>> start, x, y = torch.eye(2), torch.tensor([0.11, 0.1]), torch.ones(2)
    >>> weights = descended(start, x, y, rate=1000.0, steps=5)
    >>> largest, second = torch.linalg.svdvals(weights)
    >>> bool(second < 1e-6 * largest)
    True
    """
    _check(start, x, y, steps)
    growth = descent_factor(x, rate) ** steps - 1
    residual = start @ x - y
    return start + (growth / float(x @ x)) * residual[:, None] * x


def descent_factor(x: Tensor, rate: float) -> float:
    r"""Return what a step multiplies the residual by, :math:`1 - 2 \eta |x|^2`."""
    check_vectors(x, "x", 1)
    return 1 - 2 * rate * float(x @ x)


def _check(start: Tensor, x: Tensor, y: Tensor, steps: int) -> None:
    check_vectors(x, "x", 1)
    if start.ndim != 2 or start.shape != (y.numel(), x.numel()) or y.ndim != 1:
        raise InputError(
            f"weights map {x.numel()} features to {y.numel()} outputs and must have shape "
            f"({y.numel()}, {x.numel()}), got {tuple(start.shape)} for a target of shape "
            f"{tuple(y.shape)}"
        )
    if steps < 0:
        raise InputError(f"a number of steps is at least 0, got {steps}")
