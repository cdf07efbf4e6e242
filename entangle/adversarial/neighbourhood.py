r"""Where an attack may look: displacements of samples, in units of each feature's scale.

A sample is :math:`x + s u`, and u lies in a ball cut by a box: bounds become the box, an immutable
feature has a box of no width, a scale disappears. Attacks work on u alone, flat, so that they know
neither shapes nor units.

Categories are one-hot: u may lie anywhere in between while an attack walks, and
:meth:`Neighbourhood.legal` gives the sample that is meant, which is the only one that a model sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from entangle.adversarial.categories import Groups, legal_steps, require_one_hot
from entangle.adversarial.projections import lengths, project
from entangle.errors import InputError

__all__ = ["Neighbourhood"]


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """What each of some samples may become.

    Attributes
    ----------
    origin
        The samples, flat, shape ``(samples, features)``.
    shape
        Of one sample.
    norm
        Of displacements.
    radius
        Shape ``(samples, 1)``.
    lower, upper, scale
        Of values, shape ``(features,)``, or ``None``: unbounded, and 1.
    low, high
        Bounds of displacements, shape ``(samples, features)``; ``None``: unbounded.
    groups
        Columns of each category.
    floor, ceiling
        Of Linf: the ball and the box in one, shape ``(samples, features)``.
    """

    origin: Tensor
    shape: torch.Size
    norm: str
    radius: Tensor
    lower: Tensor | None = None
    upper: Tensor | None = None
    scale: Tensor | None = None
    low: Tensor | None = None
    high: Tensor | None = None
    groups: Groups = ()
    floor: Tensor | None = None
    ceiling: Tensor | None = None

    @classmethod
    def of(
        cls,
        samples: Tensor,
        norm: str,
        eps: float,
        lower: Tensor | None,
        upper: Tensor | None,
        scale: Tensor | None,
        immutable: Tensor | None,
        groups: Groups,
    ) -> Neighbourhood:
        """Turn bounds of values into bounds of displacements; all options flat."""
        origin = samples.detach().flatten(1)
        low = high = None
        if lower is not None or upper is not None or immutable is not None:
            low, high = torch.full_like(origin, -torch.inf), torch.full_like(origin, torch.inf)
            low = low if lower is None else lower - origin
            high = high if upper is None else upper - origin
            if scale is not None:
                low, high = low / scale, high / scale
            if immutable is not None:
                low, high = low.masked_fill(immutable, 0.0), high.masked_fill(immutable, 0.0)
        radius = torch.full_like(origin[:, :1], eps)
        found = cls(origin, samples.shape[1:], norm, radius, lower, upper, scale, low, high, groups)
        return found.within(radius)

    def require_legal(self) -> None:
        """Refuse samples outside their bounds, and groups that are not one-hot.

        Raises
        ------
        InputError
            Naming the first one.
        """
        require_one_hot(self.origin, self.groups)
        for bound, side, beyond in (
            (self.lower, "below lower", torch.lt),
            (self.upper, "above upper", torch.gt),
        ):
            if bound is None:
                continue
            wrong = beyond(self.origin, bound).nonzero()
            if len(wrong):
                row, column = wrong[0].tolist()
                raise InputError(
                    f"{len(wrong)} values of X are outside the bounds; the first is "
                    f"{float(self.origin[row, column]):g} in row {row}, feature {column}, {side} "
                    f"bound {float(bound[column]):g}; widen the bounds, or pass infinity where "
                    "there is none"
                )  # fmt: skip

    def rows(self, index: Tensor) -> Neighbourhood:
        """Return those of some of the samples."""
        parts = {
            name: None if part is None else part[index]
            for name, part in (
                ("origin", self.origin), ("radius", self.radius),
                ("low", self.low), ("high", self.high),
                ("floor", self.floor), ("ceiling", self.ceiling),
            )
        }  # fmt: skip
        return replace(self, **parts)

    def within(self, radius: Tensor | float) -> Neighbourhood:
        """Return the same with other radii, a number or one a sample, shape ``(samples, 1)``."""
        given = torch.as_tensor(radius, dtype=self.origin.dtype, device=self.origin.device)
        size = given.expand_as(self.radius)
        if self.norm != "linf":
            return replace(self, radius=size)
        wide = size.expand_as(self.origin)
        floor = -wide if self.low is None else torch.maximum(self.low, -wide)
        ceiling = wide if self.high is None else torch.minimum(self.high, wide)
        return replace(self, radius=size, floor=floor, ceiling=ceiling)

    def project(self, steps: Tensor, radius: Tensor | None = None) -> Tensor:
        """Nearest displacements in the ball, of this or another radius, and the box."""
        if radius is None and self.floor is not None:
            return steps.clamp(self.floor, self.ceiling)
        size = self.radius if radius is None else radius
        return project(steps, size, self.norm, self.low, self.high)

    def clipped(self, steps: Tensor) -> Tensor:
        """Displacements in the box."""
        return steps if self.low is None else steps.clamp(self.low, self.high)

    def legal(self, steps: Tensor) -> Tensor:
        """Displacements with every group one-hot, in the ball and the box."""
        if not self.groups:
            return steps
        return legal_steps(
            steps, self.origin, self.groups, self.scale, self.radius, self.norm, self.project
        )

    def values(self, steps: Tensor) -> Tensor:
        """Move the samples, as a model takes them, shape ``(samples, *shape)``."""
        moved = self.legal(steps)
        if self.scale is not None:
            moved = moved * self.scale
        moved = self.origin + moved
        if self.lower is not None or self.upper is not None:
            moved = moved.clamp(self.lower, self.upper)
        return moved.unflatten(1, self.shape)

    def sizes(self, samples: Tensor) -> Tensor:
        """Distance of samples from the origin, in double precision, shape ``(samples,)``."""
        change = samples.flatten(1).double() - self.origin.double()
        if self.scale is not None:
            change = change / self.scale.double()
        return lengths(change, self.norm)[:, 0]

    def random(self, generator: torch.Generator) -> Tensor:
        """Draw displacements: uniform in the cube, or of the full length in a random direction."""
        source = generator.device
        shape, dtype = self.origin.shape, self.origin.dtype
        if self.norm == "linf":
            drawn = torch.rand(shape, generator=generator, device=source, dtype=dtype) * 2 - 1
            return self.project(drawn.to(self.origin.device) * self.radius)
        drawn = torch.randn(shape, generator=generator, device=source, dtype=dtype)
        drawn = drawn.to(self.origin.device)
        if self.norm == "l2":
            drawn = drawn / lengths(drawn, "l2").clamp_min(torch.finfo(dtype).tiny) * self.radius
        return self.project(drawn)
