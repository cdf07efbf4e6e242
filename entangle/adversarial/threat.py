"""What an attacker may do to a sample: how far, in which norm, within which bounds, to which parts.

A threat is written in the units of the samples. Attacks see none of that: a
:class:`~entangle.adversarial.neighbourhood.Neighbourhood` turns it into displacements in units of
each feature's own scale, where the rules are a ball and a box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from entangle.adversarial.neighbourhood import Neighbourhood
from entangle.adversarial.options import one_of
from entangle.adversarial.projections import ORDERS
from entangle.errors import InputError

__all__ = ["ThreatModel"]


@dataclass(frozen=True, eq=False)
class ThreatModel:
    r"""Samples that an attacker may turn a sample x into.

    .. math:: \{x' : \lVert (x' - x) / s \rVert_p \le \epsilon,\; l \le x' \le h\}

    and equal to x where the mask says so, with one-hot vectors in every group.

    Parameters
    ----------
    norm
        ``"linf"``, ``"l2"`` or ``"l1"``.
    eps
        Radius, at least 0.
    lower, upper
        Bounds of the values: numbers, or arrays that broadcast to a sample. ``None``, or an
        infinite entry: no bound.
    scale
        Of each feature, in the norm: a change by ``scale`` counts as 1. A number or an array that
        broadcasts to a sample; 0: immutable. ``None``: 1.
    immutable
        Booleans that broadcast to a sample, true where nothing may change.
    groups
        Columns of one-hot encoded categories, each the flat indices of its columns within a
        sample. The only legal values are one-hot vectors. A change of category is counted as
        what it is, a change by 1 in two columns: 1 in Linf, the square root of 2 in L2 and 2 in
        L1, over the group's scale. With a smaller ``eps`` the category stays; a larger ``scale``
        of its columns makes it cheaper.

    Raises
    ------
    InputError
        If an option cannot be used, with the repair.

    Examples
    --------
    >>> threat = ThreatModel("linf", 0.1, lower=0.0, upper=1.0)
    >>> threat.around(torch.tensor([[0.05, 0.5]])).high
    tensor([[0.9500, 0.5000]])
    """

    norm: str = "linf"
    eps: float = 0.1
    lower: ArrayLike | None = None
    upper: ArrayLike | None = None
    scale: ArrayLike | None = None
    immutable: ArrayLike | None = None
    groups: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        one_of("norm", self.norm, ORDERS)
        if not (isinstance(self.eps, Real) and 0 <= float(self.eps) < math.inf):
            raise InputError(f"eps is a finite number of at least 0, got {self.eps!r}")
        for name in ("lower", "upper", "scale"):
            value = getattr(self, name)
            if value is not None and np.isnan(_numbers(name, value)).any():
                raise InputError(f"{name} has NaN; pass infinity, or None, where there is no bound")
        if self.scale is not None:
            scale = _numbers("scale", self.scale)
            if not (np.isfinite(scale) & (scale >= 0)).all():
                raise InputError(
                    f"scale is finite and at least 0, got values from {scale.min()} to "
                    f"{scale.max()}; 0 makes a feature immutable"
                )
        object.__setattr__(self, "groups", tuple(tuple(map(int, g)) for g in self.groups))

    def with_eps(self, eps: float) -> ThreatModel:
        """Return the same threat with another radius."""
        return replace(self, eps=eps)

    def around(self, samples: Tensor) -> Neighbourhood:
        """Describe what samples may become, as displacements.

        Parameters
        ----------
        samples
            Floating point, shape ``(samples, *shape)``.

        Raises
        ------
        InputError
            If options do not fit the shape of a sample, or samples break the bounds or have
            groups that are not one-hot.
        """
        shape = samples.shape[1:]
        lower = self._spread("lower", self.lower, shape)
        upper = self._spread("upper", self.upper, shape)
        scale = self._spread("scale", self.scale, shape)
        fixed = self._spread("immutable", self.immutable, shape)
        if scale is not None:
            still = scale == 0
            fixed = still if fixed is None else fixed.astype(bool) | still
            scale = np.where(still, 1.0, scale)
            scale = None if (scale == 1).all() else scale
        groups = _checked_groups(self.groups, int(np.prod(shape)), scale, fixed)
        if groups:
            lower, upper = _unit_range(lower, upper, groups, int(np.prod(shape)))
        bounds = [
            None if part is None else torch.as_tensor(part, dtype=samples.dtype).to(samples.device)
            for part in (lower, upper, scale)
        ]
        still = None if fixed is None else torch.as_tensor(fixed.astype(bool)).to(samples.device)
        found = Neighbourhood.of(
            samples, self.norm, float(self.eps), bounds[0], bounds[1], bounds[2], still, groups
        )
        found.require_legal()
        return found

    def _spread(self, name: str, value: object, shape: torch.Size) -> NDArray | None:
        """One value a feature, flat."""
        if value is None:
            return None
        given = _numbers(name, value)
        try:
            return np.array(np.broadcast_to(given, tuple(shape))).reshape(-1)
        except ValueError:
            raise InputError(
                f"{name} is a number or broadcasts to a sample of shape {tuple(shape)}, got shape "
                f"{given.shape}; pass one value a feature"
            ) from None


def _numbers(name: str, value: object) -> NDArray[np.float64]:
    try:
        given = value.detach().cpu() if isinstance(value, Tensor) else value
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} is a number or an array of numbers, got {value!r}") from None


def _checked_groups(
    groups: Sequence[Sequence[int]], n_features: int, scale: NDArray | None, fixed: NDArray | None
) -> tuple[tuple[int, ...], ...]:
    """Check groups; return those that may change.

    Raises
    ------
    InputError
        If they overlap, name columns that are not there, or differ within in scale or mask.
    """
    seen: set[int] = set()
    kept = []
    for group in map(tuple, groups):
        if len(group) < 2 or not all(0 <= column < n_features for column in group):
            raise InputError(
                f"a group names at least 2 columns from 0 to {n_features - 1}, got {group}"
            )
        if seen & set(group) or len(set(group)) < len(group):
            raise InputError(f"groups share no column, got {group} with one that is taken")
        seen |= set(group)
        columns = list(group)
        if scale is not None and len(np.unique(scale[columns])) > 1:
            raise InputError(f"the columns of group {group} need one scale; they move as one")
        masked = np.zeros(len(group)) if fixed is None else fixed[columns].astype(bool)
        if masked.any() and not masked.all():
            raise InputError(
                f"the columns of group {group} move as one; make all of them immutable, or none"
            )
        if not masked.any():
            kept.append(group)
    return tuple(kept)


def _unit_range(
    lower: NDArray | None, upper: NDArray | None, groups: Sequence[Sequence[int]], n_features: int
) -> tuple[NDArray, NDArray]:
    """Bounds with 0 and 1 in the columns of groups."""
    columns = [column for group in groups for column in group]
    low = np.full(n_features, -np.inf) if lower is None else lower.copy()
    high = np.full(n_features, np.inf) if upper is None else upper.copy()
    low[columns], high[columns] = 0.0, 1.0
    return low, high
