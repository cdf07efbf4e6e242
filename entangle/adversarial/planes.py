r"""The point of a half-space that is nearest to the origin, in a box.

.. math:: \min \lVert u \rVert_p \quad\text{where}\quad \langle w, u\rangle \ge b,\;
    l \le u \le h

Each norm leaves one unknown a sample: in Linf all entries move alike until the box stops them, in
L2 in proportion to w, in L1 those of the largest \|w\| first. The first two are halved to the last
bit, the third is a sum in order.

Source: Croce and Hein 2020, arXiv:1907.02044, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entangle.adversarial.neighbourhood import Neighbourhood

__all__ = ["nearest_on_plane"]

_HALVINGS = 60


def nearest_on_plane(slope: Tensor, level: Tensor, room: Neighbourhood) -> Tensor:
    """Nearest displacements with ``slope . steps >= level``, or the best the box allows.

    Parameters
    ----------
    slope
        Shape ``(samples, features)``.
    level
        Shape ``(samples,)``.
    room
        Whose box holds; its radius does not.

    Returns
    -------
    Tensor
        Shape ``(samples, features)``; zero where the origin is beyond the plane already.
    """
    sizes = slope.abs().double()
    caps = torch.full_like(sizes, torch.inf)
    if room.low is not None and room.high is not None:
        caps = torch.where(slope > 0, room.high, -room.low).double()
    wanted = level[:, None].double().clamp_min(0.0)
    if room.norm == "l1":
        moved = _largest_first(sizes, caps, wanted)
    else:
        moved = _together(sizes, caps, wanted, room.norm)
    return (moved * slope.sign()).to(slope.dtype)


def _together(sizes: Tensor, caps: Tensor, wanted: Tensor, norm: str) -> Tensor:
    """Entries that grow alike, or in proportion, up to their caps."""
    rates = sizes if norm == "l2" else (sizes > 0).to(sizes.dtype)
    gain = (sizes * rates).sum(1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)
    low = wanted / gain  # without the caps
    caps = torch.where(rates > 0, caps, 0.0)
    finite = torch.where(torch.isfinite(caps), caps / rates.clamp_min(1e-300), 0.0)
    high = torch.maximum(low, finite.amax(1, keepdim=True))
    unbounded = (sizes * rates * ~torch.isfinite(caps)).sum(1, keepdim=True)
    high = torch.maximum(high, torch.where(unbounded > 0, wanted / unbounded, 0.0))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = (sizes * torch.minimum(middle * rates, caps)).sum(1, keepdim=True) < wanted
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return torch.minimum(high * rates, caps)


def _largest_first(sizes: Tensor, caps: Tensor, wanted: Tensor) -> Tensor:
    """Entries filled to their caps, by falling size, until the level is reached."""
    order = sizes.argsort(1, descending=True)
    ranked, room = sizes.gather(1, order), caps.gather(1, order)
    gains = torch.where(ranked > 0, ranked * room, 0.0)
    before = torch.cat([torch.zeros_like(wanted), gains.cumsum(1)[:, :-1]], dim=1)
    rest = (wanted - before).clamp_min(0.0)
    moved = torch.minimum(rest / ranked.clamp_min(1e-300), room)
    moved = torch.where(ranked > 0, moved, 0.0)
    return torch.zeros_like(sizes).scatter(1, order, moved)
