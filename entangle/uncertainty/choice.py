"""From what a user says about a packet to the packet, its centres and its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from entangle.adversarial.options import one_of
from entangle.errors import InputError
from entangle.uncertainty.estimation import Frame
from entangle.uncertainty.packets import BoxPacket, GaussianPacket, KDEPacket, Packet

__all__ = ["PACKETS", "Choice", "Chosen"]

PACKETS = ("gaussian", "box", "kde")
SHARE = 0.3  # of the standard deviation of all values: tau unless it is given
Bounds = tuple[ArrayLike, ArrayLike]


@dataclass(frozen=True, eq=False)
class Chosen:
    """Packets that are ready to be integrated.

    Attributes
    ----------
    packet, frame
        Envelope and centres.
    labels
        Class number of each packet; ``None`` for a bare amplitude.
    tau
        Of the envelope, one a feature; ``None`` for a box.
    members
        First row of ``x0`` of each packet.
    """

    packet: Packet
    frame: Frame
    labels: Tensor | None
    tau: Tensor | None
    members: Tensor


@dataclass(frozen=True, eq=False)
class Choice:
    """What a user says about a packet, see :func:`entangle.uncertainty.uncertainty_relation`."""

    packet: str = "gaussian"
    tau: ArrayLike | None = None
    bounds: Bounds | None = None
    features: Sequence[int] | None = None

    def __post_init__(self) -> None:
        one_of("packet", self.packet, PACKETS)
        if self.packet == "box" and self.tau is not None:
            raise InputError("a box packet has no tau; pass bounds=(low, high) alone")
        if self.packet != "box" and self.bounds is not None:
            raise InputError(
                f"a {self.packet} packet has no bounds, which would cut it and let flux out; pass "
                "tau alone, or packet='box'"
            )
        if self.packet == "box" and self.bounds is None:
            raise InputError("a box packet needs bounds=(low, high), got None")

    def around(self, samples: Tensor, labels: Tensor | None) -> Chosen:
        """Build one packet a sample; of ``"kde"`` one a class.

        Parameters
        ----------
        samples
            Shape ``(samples, *sample)``.
        labels
            Class numbers; ``None``: all samples are of one class.
        """
        features = _checked_features(self.features, samples[0].numel(), samples.device)
        frame, members = Frame(samples, features), torch.arange(len(samples))
        values = _varying(frame)
        if self.packet == "box":
            low, high = self._box(values)
            return Chosen(BoxPacket(values, low, high), frame, labels, None, members)
        tau = self._width(values)
        if self.packet == "gaussian":
            return Chosen(GaussianPacket(values, tau), frame, labels, tau, members)
        return _by_class(frame, labels, tau)

    def _width(self, values: Tensor) -> Tensor:
        """Return the standard deviation of the envelope, one a feature."""
        if self.tau is None:
            spread = float(values.std(correction=0))
            if not spread > 0:
                raise InputError(
                    "x0 has one value only, which tells no tau; pass tau in the units of x0"
                )
            return torch.full_like(values[0], SHARE * spread)
        tau = _per_feature("tau", self.tau, values)
        if not bool((tau > 0).all()):
            raise InputError(
                f"tau is positive and finite, in the units of x0, got {float(tau.min()):g}; leave "
                "features that shall not vary out of features=[...]"
            )
        return tau

    def _box(self, values: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(self.bounds, Sequence) or len(self.bounds) != 2:
            raise InputError(f"bounds are (low, high), got {self.bounds!r}")
        low, high = (_per_feature("bounds", side, values) for side in self.bounds)
        wrong = (low >= high).nonzero()
        if len(wrong):
            first = int(wrong[0, 0])
            raise InputError(
                f"bounds are (low, high) with low < high, got {float(low[first]):g} and "
                f"{float(high[first]):g} for feature {first}; swap them"
            )
        return low, high


def _varying(frame: Frame) -> Tensor:
    return frame.varying(frame.origins).double()


def _by_class(frame: Frame, labels: Tensor | None, tau: Tensor) -> Chosen:
    """One packet a class, about all of its samples."""
    known = frame.origins.new_zeros(len(frame.origins)).long() if labels is None else labels
    classes = known.unique()
    groups = [(known == label).nonzero()[:, 0] for label in classes]
    means = torch.stack([frame.origins[rows].double().mean(0) for rows in groups])
    centred = Frame(means.to(frame.origins.dtype), frame.features)
    centres, values = _varying(centred), _varying(frame)
    samples = tuple(values[rows] - centre for rows, centre in zip(groups, centres, strict=True))
    members = torch.stack([rows[0] for rows in groups])
    packet = KDEPacket(centres, samples, tau)
    return Chosen(packet, centred, None if labels is None else classes, tau, members)


def _per_feature(name: str, given: ArrayLike, values: Tensor) -> Tensor:
    """One finite number a feature that varies."""
    try:
        array = given.detach().cpu() if isinstance(given, Tensor) else given
        found: NDArray[np.float64] = np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} is made of numbers, got {given!r}") from None
    n_features = values.shape[1]
    if found.size not in (1, n_features):
        raise InputError(
            f"{name} is a number or one a feature that varies, {n_features}, got shape "
            f"{found.shape}; pass one value a feature"
        )
    if not np.isfinite(found).all():
        raise InputError(f"{name} is finite, got {found[~np.isfinite(found)][0]}")
    return torch.from_numpy(np.array(np.broadcast_to(found.reshape(-1), n_features))).to(
        values.device
    )


def _checked_features(
    features: Sequence[int] | None, n_features: int, device: torch.device
) -> Tensor | None:
    if features is None:
        return None
    found = np.asarray(features)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu":
        raise InputError(f"features are flat indices, one at least, got {features!r}")
    if found.min() < 0 or found.max() >= n_features or len(np.unique(found)) < len(found):
        raise InputError(
            f"features are different indices from 0 to {n_features - 1}, got {found.tolist()[:20]}"
        )
    return torch.from_numpy(found.astype(np.int64)).to(device)
