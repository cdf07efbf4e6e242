r"""Gradients of models that have none: central differences as long as the ball is wide.

A quantised input or a tree is constant between its steps, and its gradient says nothing. The
difference of the loss over the whole width of the ball does, in each of D orthogonal directions:

.. math:: g = \frac{1}{K} \sum_k \frac{L(u + h v_k) - L(u - h v_k)}{2h} v_k

Up to 64 features the directions are the features themselves, which gives every entry; beyond,
64 random directions of signs, whose mean is the gradient of a linear function (Spall 1992,
doi:10.1109/9.119632). It costs two outputs a direction, so it is used only where gradients vanish.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entangle.adversarial.losses import Loss
from entangle.adversarial.neighbourhood import Neighbourhood
from entangle.adversarial.projections import ORDERS
from entangle.adversarial.victim import Victim

__all__ = ["slope_by_differences"]

DIRECTIONS = 64
_REACH = {"linf": 1.0, "l2": 0.5, "l1": 0.5}  # of the radius


def slope_by_differences(
    victim: Victim, room: Neighbourhood, steps: Tensor, loss: Loss
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, an estimate of its gradient by displacements, and logits.

    Parameters
    ----------
    loss
        From logits to a loss a sample; it is given the samples in their order.
    """
    logits = victim.logits(room.values(steps))
    directions = _directions(steps.shape[1]).to(steps)
    length = torch.linalg.vector_norm(directions[0], ORDERS[room.norm])
    reach = _REACH[room.norm] * room.radius / length
    slope = torch.zeros_like(steps)
    for direction in directions:
        ahead = room.clipped(steps + reach * direction)
        behind = room.clipped(steps - reach * direction)
        rise = _loss_at(victim, room, ahead, loss) - _loss_at(victim, room, behind, loss)
        run = ((ahead - behind) * direction).sum(1, keepdim=True) / direction.square().sum()
        slope += torch.where(run > 0, rise[:, None] / run.clamp_min(1e-12), 0.0) * direction
    return loss(logits), slope, logits


def _loss_at(victim: Victim, room: Neighbourhood, steps: Tensor, loss: Loss) -> Tensor:
    return loss(victim.logits(room.values(steps)))


def _directions(n_features: int) -> Tensor:
    """Directions, one a row; the same for the same number of features."""
    if n_features <= DIRECTIONS:
        return torch.eye(n_features)
    source = torch.Generator().manual_seed(n_features)
    return torch.randint(0, 2, (DIRECTIONS, n_features), generator=source) * 2.0 - 1.0
