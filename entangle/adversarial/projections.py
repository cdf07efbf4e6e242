r"""Nearest points of a ball that is cut by a box, exactly.

A displacement u is projected onto :math:`\{u : \lVert u\rVert_p \le r,\; l \le u \le h\}` with
:math:`l \le 0 \le h`. In every norm the nearest point is the box applied to something simple, with
one unknown a sample, which is found by following the pieces of a monotone function to the one that
holds the root. The answer is exact to rounding, not to a tolerance.

.. math::
    p = \infty:\; [u]_{\max(l, -r)}^{\min(h, r)}, \qquad
    p = 2:\; [c u]_l^h, \qquad
    p = 1:\; [\operatorname{sign}(u) (|u| - \lambda)_+]_l^h

Clipping after projecting, as several libraries do, is not the nearest point for p = 1 and 2, and
in the L1 ball it wastes most of the budget.

Source: Croce and Hein 2021, arXiv:2103.01208, Proposition 2.1 (p = 1). Deviation: the root is
bracketed and followed by Newton steps, instead of sorting all breakpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["lengths", "project"]

ORDERS = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}
_STEPS = 100  # of a search that ends after about five


def lengths(steps: Tensor, norm: str) -> Tensor:
    """Norm of every displacement, shape ``(samples, 1)``."""
    return torch.linalg.vector_norm(steps, ord=ORDERS[norm], dim=1, keepdim=True)


def project(
    steps: Tensor, radius: Tensor, norm: str, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    """Nearest displacements within the ball and the box.

    Parameters
    ----------
    steps
        Shape ``(samples, features)``.
    radius
        At least 0, shape ``(samples, 1)``.
    norm
        ``"linf"``, ``"l2"`` or ``"l1"``.
    low, high
        At most 0 and at least 0, shape ``(samples, features)``; infinite where there is no
        bound. ``None``: nowhere.

    Returns
    -------
    Tensor
        Shape ``(samples, features)``.
    """
    if norm == "linf":
        inside = steps.clamp(-radius, radius)
        return inside if low is None else inside.clamp(low, high)
    return (_project_l2 if norm == "l2" else _project_l1)(steps, radius, low, high)


def _project_l2(steps: Tensor, radius: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    """Scale down by c: squares of the clipped values, plus c^2 times those of the free ones."""
    if low is None:
        norm = lengths(steps, "l2")
        return steps * (radius / norm.clamp_min(torch.finfo(steps.dtype).tiny)).clamp_max(1.0)
    inside = steps.clamp(low, high)
    tiny = torch.finfo(steps.dtype).tiny
    squares, budget = steps.square(), radius.square()
    shrink = (radius / lengths(steps, "l2").clamp_min(tiny)).clamp_max(1.0)
    fits = lengths(inside, "l2") <= radius
    shrink = torch.where(fits, torch.ones_like(shrink), shrink)
    for _ in range(_STEPS):
        scaled = shrink * steps
        inside = scaled.clamp(low, high)
        free = scaled == inside
        rest = budget - inside.square().masked_fill(free, 0.0).sum(1, keepdim=True)
        room = squares.masked_fill(~free, 0.0).sum(1, keepdim=True).clamp_min(tiny)
        found = torch.where(fits, shrink, (rest.clamp_min(0.0) / room).sqrt().clamp_max(1.0))
        # Clipping only ever leaves more for the others, so the factor rises to its place.
        if not bool((found > shrink * (1 + 4 * torch.finfo(steps.dtype).eps)).any()):
            break
        shrink = torch.maximum(found, shrink)
    return inside


def _project_l1(steps: Tensor, radius: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    """Shorten every value by the same number, none below 0 or beyond its bound."""
    sizes = steps.abs()
    if low is None or high is None:
        caps = torch.full_like(sizes, torch.inf)
    else:
        caps = torch.where(steps > 0, high, -low)
    inside = torch.minimum(sizes, caps)
    if bool((inside.sum(1, keepdim=True) > radius).any()):
        inside = _shortened(sizes, caps, radius)
    return inside.copysign(steps)


def _shortened(sizes: Tensor, caps: Tensor, radius: Tensor) -> Tensor:
    r"""Values :math:`\min((a - \lambda)_+, b)` whose sum is the radius, or smaller at lambda 0."""
    below = torch.zeros_like(radius)  # its sum is at least the radius, that of above at most
    above = sizes.amax(1, keepdim=True)
    cut, inside = below, sizes
    for _ in range(_STEPS):
        rest = sizes - cut
        inside = torch.minimum(rest.clamp_min(0.0), caps)
        surplus = inside.sum(1, keepdim=True) - radius
        below = torch.where(surplus > 0, cut, below)
        above = torch.where(surplus > 0, above, cut)
        slope = ((rest > 0) & (rest < caps)).sum(1, keepdim=True).to(sizes.dtype)
        found = cut + surplus / slope  # exact where the piece is the right one
        middle = (below + above) / 2
        found = torch.where((found > below) & (found < above), found, middle)
        limit = 4 * torch.finfo(sizes.dtype).eps * torch.maximum(radius, sizes.amax(1, True))
        settled = (surplus.abs() <= limit) | (above - below <= limit) | (surplus <= 0) & (cut == 0)
        if bool(settled.all()):
            break
        cut = torch.where(settled, cut, found)
    # Of values far longer than the radius little is left, and that carries their rounding.
    total = inside.sum(1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)
    return inside * (radius / total).clamp_max(1.0)
