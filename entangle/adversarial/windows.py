"""Windows on the grid of a sample, and what fills them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["Grid", "Window", "bump"]


@dataclass(frozen=True)
class Window:
    """A rectangle of places.

    Attributes
    ----------
    top, left, height, width
        Place and size.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def part(self) -> tuple[slice, slice, slice, slice]:
        """Index into ``(samples, channels, height, width)``."""
        rows = slice(self.top, self.top + self.height)
        return slice(None), slice(None), rows, slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Grid:
    """How the features of a sample lie: channels at the places of a grid.

    Attributes
    ----------
    channels, height, width
        Their product is the number of features.
    """

    channels: int
    height: int
    width: int

    @classmethod
    def of(cls, shape: torch.Size) -> Grid:
        """Grid of a sample: (width,), (height, width) or (..., height, width).

        Examples
        --------
        >>> Grid.of(torch.Size((3, 8, 8)))
        Grid(channels=3, height=8, width=8)
        """
        height, width = (1, *shape)[-2:]
        return cls(math.prod(shape[:-2]), height, width)

    def view(self, flat: Tensor) -> Tensor:
        """Lay flat samples out, shape ``(samples, channels, height, width)``, sharing memory."""
        return flat.view(len(flat), self.channels, self.height, self.width)

    def window(self, share: float, generator: torch.Generator) -> Window:
        """Draw a window that covers about a share of the places, as square as they allow."""
        area = share * self.height * self.width
        height = min(self.height, max(1, round(math.sqrt(area))))
        width = min(self.width, max(1, round(area / height)))
        height = min(self.height, max(1, round(area / width)))
        draws = torch.rand(2, generator=generator, device=generator.device).tolist()
        top = min(int(draws[0] * (self.height - height + 1)), self.height - height)
        left = min(int(draws[1] * (self.width - width + 1)), self.width - width)
        return Window(top, left, height, width)

    def tiles(self) -> Iterator[Window]:
        """Windows of about five by five places that cover the grid once."""
        sides = []
        for length in (self.height, self.width):
            count = max(1, round(length / 5))
            edges = [round(length * place / count) for place in range(count + 1)]
            sides.append(list(pairwise(edges)))
        for top, bottom in sides[0]:
            for left, right in sides[1]:
                yield Window(top, left, bottom - top, right - left)


def bump(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Two hills side by side, one up and one down, shape ``(height, width)``.

    A hill falls off from its middle, as a sum of nested rectangles does. A single place is 1.

    Parameters
    ----------
    generator
        Of the side that is split: rows or columns.
    """
    if height * width == 1:
        return torch.ones(1, 1)
    draw = float(torch.rand((), generator=generator, device=generator.device))
    across = width > 1 and (height == 1 or draw < 0.5)
    long, short = (width, height) if across else (height, width)
    half = long // 2
    hills = torch.cat([_hill(half, short), -_hill(long - half, short)])
    return hills.T if across else hills


def _hill(length: int, width: int) -> Tensor:
    """Sum of 1 / k^2 over nested rectangles that hold a place, shape ``(length, width)``."""
    places = [
        torch.minimum(torch.arange(n), torch.arange(n).flip(0)).to(torch.float32)
        for n in (length, width)
    ]
    depth = torch.minimum(places[0][:, None], places[1][None, :])
    deepest = depth.max()
    weights = 1.0 / (torch.arange(int(deepest) + 1).flip(0) + 1.0).square()
    return weights.cumsum(0)[depth.long()]
