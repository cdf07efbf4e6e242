"""Categories under attack: one-hot columns move as one.

An attack may walk between categories; what it means by a point there is the category with the
largest value, where the ball has room for the change. Changes that the walk is surest of come
first, and what they use of the budget the other features cannot use: all of L1 is shared, L2 by
squares, and in Linf every feature has the whole of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entangle.errors import InputError

__all__ = ["Groups", "change_costs", "legal_steps", "require_one_hot"]

Groups = tuple[tuple[int, ...], ...]
_SLACK = 1e-6  # relative; a change that just fits is not lost to rounding


def require_one_hot(samples: Tensor, groups: Groups) -> None:
    """Refuse samples that have a group with anything but one 1 and zeros.

    Raises
    ------
    InputError
        Naming the first one.
    """
    for group in groups:
        values = samples[:, list(group)]
        wrong = (((values != 0) & (values != 1)).any(1) | (values.sum(1) != 1)).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise InputError(
                f"the columns {group} are a one-hot group, but row {row} has "
                f"{values[row].tolist()} there; encode the category as one 1 and zeros, unscaled"
            )


def change_costs(groups: Groups, scale: Tensor | None, norm: str, like: Tensor) -> Tensor:
    """Norm of a change of category of each group, shape ``(groups,)``."""
    size = {"linf": 1.0, "l2": 2**0.5, "l1": 2.0}[norm]
    first = [group[0] for group in groups]
    found = like.new_full((len(groups),), size)
    return found if scale is None else found / scale[first]


def legal_steps(
    steps: Tensor,
    origin: Tensor,
    groups: Groups,
    scale: Tensor | None,
    radius: Tensor,
    norm: str,
    project: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Displacements with whole changes of category, the rest projected onto what they leave.

    Parameters
    ----------
    steps, origin
        Shape ``(samples, features)``.
    radius
        Shape ``(samples, 1)``.
    project
        Onto the ball of a radius and the box.
    """
    moved = steps * scale if scale is not None else steps
    aims, surety = [], []
    for group in groups:
        columns = list(group)
        values = origin[:, columns] + moved[:, columns]
        here = origin[:, columns].argmax(1)
        best = values.argmax(1)
        ahead = values.gather(1, best[:, None]) - values.gather(1, here[:, None])
        surety.append(ahead[:, 0])
        aims.append(torch.nn.functional.one_hot(best, len(columns)).to(origin.dtype))
    costs = change_costs(groups, scale, norm, origin)
    chosen, rest = _affordable(torch.stack(surety, 1), costs, radius, norm)
    held = steps.clone()
    held[:, [column for group in groups for column in group]] = 0.0
    found = project(held, rest)
    for number, group in enumerate(groups):
        columns = list(group)
        change = torch.where(chosen[:, number, None], aims[number] - origin[:, columns], 0.0)
        found[:, columns] = change if scale is None else change / scale[columns]
    return found


def _affordable(surety: Tensor, costs: Tensor, radius: Tensor, norm: str) -> tuple[Tensor, Tensor]:
    """Which changes to make, shape ``(samples, groups)``, and the radius that is left."""
    wanted = surety > 0
    if norm == "linf":
        return wanted & (costs <= radius * (1 + _SLACK)), radius
    power = 2.0 if norm == "l2" else 1.0
    order = surety.argsort(1, descending=True)
    spent, chosen = torch.zeros_like(radius), torch.zeros_like(wanted)
    limit = radius**power
    for place in order.T:  # groups are few
        price = costs[place][:, None] ** power
        fits = wanted.gather(1, place[:, None]) & (spent + price <= limit * (1 + _SLACK))
        spent = spent + torch.where(fits, price, 0.0)
        chosen.scatter_(1, place[:, None], fits)
    return chosen, (limit - spent).clamp_min(0.0) ** (1 / power)
