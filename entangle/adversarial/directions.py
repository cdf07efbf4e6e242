r"""Directions of steepest ascent in each norm.

A step of length 1 raises a linear function most along the sign of its slope (Linf), along the slope
(L2), and in its largest entry alone (L1). Of the last a few entries are taken together, as many as
is said; one at a time would need as many steps as there are features.

Source: Tramer and Boneh 2019, arXiv:1904.13000 (sparse steps in L1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from entangle.adversarial.neighbourhood import Neighbourhood

__all__ = ["ascent", "movable", "rise", "sparse_ascent"]

SHARE = 0.05  # of the features that an L1 step changes, at least one


def ascent(slope: Tensor, norm: str) -> Tensor:
    """Step of length 1 along slopes, shape ``(samples, features)``; zero along a zero slope."""
    if norm == "linf":
        return slope.sign()
    if norm == "l2":
        length = torch.linalg.vector_norm(slope, dim=1, keepdim=True)
        return slope / length.clamp_min(torch.finfo(slope.dtype).tiny)
    count = max(1.0, SHARE * slope.shape[1])
    return sparse_ascent(slope, torch.full_like(slope[:, :1], count))


def sparse_ascent(slope: Tensor, counts: Tensor) -> Tensor:
    """Signs of the largest entries, as many as counted in each row, with an L1 norm of 1.

    Parameters
    ----------
    counts
        At least 1, shape ``(samples, 1)``; rounded down.
    """
    sizes = slope.abs()
    ordered = sizes.sort(1, descending=True).values
    place = (counts.long().clamp(1, slope.shape[1])) - 1
    kept = (sizes >= ordered.gather(1, place)) & (sizes > 0)
    signs = slope.sign() * kept
    return signs / signs.abs().sum(1, keepdim=True).clamp_min(1.0)


def movable(slope: Tensor, steps: Tensor, room: Neighbourhood) -> Tensor:
    """Slopes without the entries that the box lets move no further.

    In L1 they would take up places of the few that move.
    """
    if room.low is None or room.high is None:
        return slope
    stuck = ((steps >= room.high) & (slope > 0)) | ((steps <= room.low) & (slope < 0))
    return slope.masked_fill(stuck, 0.0)


def rise(slope: Tensor, steps: Tensor, room: Neighbourhood) -> Tensor:
    """Most that a linear function rises from displacements to anywhere in the ball and the box.

    In L2 an upper bound, exact where the box does not matter. No concave function with these slopes
    rises more (the gap of Frank and Wolfe 1956).

    Returns
    -------
    Tensor
        Shape ``(samples,)``.
    """
    if room.floor is not None and room.ceiling is not None:  # in Linf
        return torch.maximum(slope * (room.floor - steps), slope * (room.ceiling - steps)).sum(1)
    free = movable(slope, steps, room)
    length = torch.linalg.vector_norm(free, dim=1) * room.radius[:, 0]
    return (length - (free * steps).sum(1)).clamp_min(0.0)
