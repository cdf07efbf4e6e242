"""A few steps of L-BFGS, for small smooth problems that are met once and not solved to the end.

Every step backtracks, each time to the minimum of a parabola, until the value has fallen enough,
so a value never rises. The first step has no curvature to go by; its length is a share of the
point's norm.

Source: Nocedal and Wright 2006, Numerical Optimization, algorithms 3.1 and 7.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["descended"]

FIRST_STEP = 0.1  # of the norm of the point
DECREASE = 1e-4  # share of the decrease that the slope promises
SHORTEST, LONGEST, TRIALS = 0.05, 0.5, 12  # of a step that failed, the next; and how many
CURVED = 1e-8  # cosine below which a pair of step and change of gradient tells nothing

Objective = Callable[[Tensor], Tensor]
Pair = tuple[Tensor, Tensor]


def descended(objective: Objective, start: Tensor, steps: int) -> tuple[Tensor, float, float]:
    """Go some steps down.

    Parameters
    ----------
    objective
        Differentiable, from a point to a scalar.
    start
        Point of any shape, not zero.
    steps
        Steps at most; fewer where no step leads down.

    Returns
    -------
    tuple
        Point, and the value at the start and there.
    """
    point, pairs = start, []
    value, slope = _valued(objective, point)
    first = value
    for _ in range(steps):
        direction = -_times_inverse_hessian(slope, pairs)
        if not pairs:
            direction = direction * (FIRST_STEP * point.norm() / direction.norm().clamp_min(1e-30))
        promised = float((direction * slope).sum())
        if not promised < 0:
            break
        found = _backtracked(objective, point, direction, value, promised)
        if found is None:
            break
        moved, value, new_slope = found
        step, change = moved - point, new_slope - slope
        if float((step * change).sum()) > CURVED * float(step.norm() * change.norm()):
            pairs.append((step, change))
        point, slope = moved, new_slope
    return point, first, value


def _valued(objective: Objective, point: Tensor) -> tuple[float, Tensor]:
    """Value and gradient."""
    with torch.enable_grad():
        variable = point.detach().requires_grad_()
        value = objective(variable)
        (slope,) = torch.autograd.grad(value, variable)
    return float(value.detach()), slope


def _backtracked(
    objective: Objective, point: Tensor, direction: Tensor, value: float, promised: float
) -> tuple[Tensor, float, Tensor] | None:
    """Shorten a step until it leads down; ``None`` if none did."""
    length = 1.0
    for _ in range(TRIALS):
        moved = point + length * direction
        found, slope = _valued(objective, moved)
        if found <= value + DECREASE * length * promised:
            return moved, found, slope
        bent = found - value - length * promised  # twice it is the curvature of a parabola
        best = -0.5 * length * promised / bent if math.isfinite(bent) else SHORTEST
        length *= min(max(best, SHORTEST), LONGEST)
    return None


def _times_inverse_hessian(slope: Tensor, pairs: list[Pair]) -> Tensor:
    """Two-loop recursion over pairs of steps and changes of the gradient."""
    result, factors = slope, []
    for step, change in reversed(pairs):
        factors.append((step * result).sum() / (step * change).sum())
        result = result - factors[-1] * change
    if pairs:
        step, change = pairs[-1]
        result = result * ((step * change).sum() / change.square().sum())
    for (step, change), factor in zip(pairs, reversed(factors), strict=True):
        result = result + step * (factor - (change * result).sum() / (step * change).sum())
    return result
