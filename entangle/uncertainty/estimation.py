"""Nodes of packets, the amplitude at them, and sums: by draws from the envelope or by quadrature.

A block is a run of nodes that sums are kept of. Draws are made and evaluated in runs of about
``batch_size`` nodes, several packets at once or several blocks of one, so that memory depends
neither on the number of draws nor on that of packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from entangle.errors import InputError
from entangle.uncertainty.amplitudes import Amplitude, Values
from entangle.uncertainty.moments import Sums, joined
from entangle.uncertainty.packets import Packet
from entangle.uncertainty.quadrature import LIMIT, ORDER, Rule, axis_rule, panels_of, tensor_rule

__all__ = ["BLOCKS", "FACES_LIMIT", "Frame", "Plan", "sums_of"]

BLOCKS = 32  # that standard errors are made from
FACES_LIMIT = 16  # features of a box whose faces are integrated over


@dataclass(frozen=True, eq=False)
class Frame:
    """Where steps lead to.

    Attributes
    ----------
    origins
        Whole samples at the centres of the packets, shape ``(packets, *sample)``.
    features
        Flat indices of those that vary, shape ``(features,)``; ``None``: all.
    """

    origins: Tensor
    features: Tensor | None = None

    def nodes(self, rows: Tensor, steps: Tensor) -> Tensor:
        """Whole samples after steps ``(rows, blocks, nodes, features)``, first axis flattened."""
        origins = self.origins[rows].flatten(1)[:, None, None]
        moved = steps.to(origins.dtype)
        if self.features is None:
            moved = moved + origins
        else:
            whole = origins.expand(*steps.shape[:-1], -1).clone()
            whole[..., self.features] += moved
            moved = whole
        return moved.reshape(-1, *self.origins.shape[1:])

    def varying(self, slopes: Tensor) -> Tensor:
        """Flat slopes by the features that vary, shape ``(nodes, features)``."""
        flat = slopes.flatten(1)
        return flat if self.features is None else flat[:, self.features]


@dataclass(frozen=True, eq=False)
class Plan:
    """How to integrate.

    Attributes
    ----------
    draws
        A packet; of quadrature: nodes in all, ``None`` for what the number of features suggests.
    quadrature
        Whether nodes lie on a grid.
    generator
        Of the draws.
    batch_size
        Nodes evaluated at once, about.
    """

    draws: int | None
    quadrature: bool
    generator: torch.Generator
    batch_size: int = 2048

    def halved(self, n_features: int) -> Plan:
        """Return the quadrature with half as many panels of each axis."""
        nodes = (panels_of(n_features, self.draws) / 2 * ORDER[n_features]) ** n_features
        return replace(self, draws=round(nodes))


def sums_of(amplitude: Amplitude, packet: Packet, frame: Frame, plan: Plan) -> Sums:
    """Integrate over the nodes of every packet.

    Raises
    ------
    InputError
        If a packet's amplitude vanishes at all of its nodes.
    """
    evaluation = _Evaluation(amplitude, packet, frame, plan)
    runs = evaluation.by_quadrature() if plan.quadrature else evaluation.by_draws()
    found = joined(list(runs), 0)
    empty = (found.merged().weight <= 0).nonzero()
    if len(empty):
        raise InputError(
            f"the amplitude is 0 everywhere in {len(empty)} packets, the first is "
            f"{int(empty[0, 0])}; a loss that vanishes has no packet, use a wider tau"
        )
    return found


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """One integration."""

    amplitude: Amplitude
    packet: Packet
    frame: Frame
    plan: Plan

    @property
    def device(self) -> torch.device:
        return self.frame.origins.device

    def by_draws(self) -> Iterator[Sums]:
        """Yield sums of runs of packets."""
        plan, number = self.plan, len(self.frame.origins)
        draws = plan.draws or 0
        blocks = BLOCKS * -(-draws // (BLOCKS * plan.batch_size))  # none longer than a batch
        size = 2 * -(-draws // (2 * blocks))
        together = max(1, plan.batch_size // (blocks * size))
        at_once = min(blocks, max(1, plan.batch_size // size))
        for rows in torch.arange(number, device=self.device).split(together):
            parts = [
                self._drawn(rows, min(at_once, blocks - begin), size)
                for begin in range(0, blocks, at_once)
            ]
            yield joined(parts, 1)

    def by_quadrature(self) -> Iterator[Sums]:
        """Yield sums of packets one by one."""
        for row in range(len(self.frame.origins)):
            yield self._on_grid(row)

    def _drawn(self, rows: Tensor, blocks: int, size: int) -> Sums:
        dtype, generator = self.frame.origins.dtype, self.plan.generator
        steps = self.packet.draw(rows, blocks, size, generator, dtype)
        found = self._sums(rows, steps, None)
        widths = self.packet.widths(rows)
        if widths is None or steps.shape[-1] > FACES_LIMIT:
            return found
        faces = [
            torch.stack([self._mass(rows, _replaced(steps, i, side[:, i])) for side in widths])
            for i in range(steps.shape[-1])
        ]
        mass = torch.stack(faces, -1) - 2 * torch.where(
            torch.isfinite(found.shift), found.shift, 0.0
        )[..., None]  # fmt: skip
        return replace(found, faces=mass.exp() / (widths[1] - widths[0])[None, :, None])

    def _on_grid(self, row: int) -> Sums:
        rows = torch.tensor([row], device=self.device)
        low, high = self.packet.reach(row)
        n_features = len(low)
        panels, order = panels_of(n_features, self.plan.draws), ORDER[n_features]
        rules = [
            axis_rule(float(a), float(b), panels, order) for a, b in zip(low, high, strict=True)
        ]
        parts = [
            self._sums(rows, steps, log_weights)
            for steps, log_weights in self._batches(rows, rules)
        ]
        found = joined(parts, 1)
        if self.packet.widths(rows) is None:
            return found
        mass = torch.stack([self._face_masses(rows, rules, side) for side in (low, high)])
        scale = torch.exp(
            -2 * torch.where(torch.isfinite(found.shift[:, :1]), found.shift[:, :1], 0.0)
        )
        faces = torch.zeros(2, *found.moments.shape[1:], dtype=mass.dtype, device=self.device)
        faces[:, :, 0] = mass[:, None] * scale
        return replace(found, faces=faces)

    def _face_masses(self, rows: Tensor, rules: list[Rule], side: Tensor) -> Tensor:
        """Integral of psi^2 over one face of every feature, shape ``(features,)``."""
        found = []
        for i, place in enumerate(side):
            here = (place.reshape(1).cpu(), torch.ones(1, dtype=torch.float64))
            batches = self._batches(rows, [*rules[:i], here, *rules[i + 1 :]])
            parts = [self._mass(rows, steps, weights) for steps, weights in batches]
            found.append(torch.cat(parts, 1).logsumexp(1)[0])
        return torch.stack(found).exp()

    def _batches(self, rows: Tensor, rules: list[Rule]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield steps and logarithms of weights times density, a run of nodes at a time."""
        nodes, weights = (part.to(self.device) for part in tensor_rule(rules))
        size = self.plan.batch_size
        for steps, weight in zip(nodes.split(size), weights.split(size), strict=True):
            here = steps[None, None]
            yield here, weight.log() + self.packet.log_density(rows, here)

    def _values(self, rows: Tensor, steps: Tensor) -> Values:
        each = steps.shape[1] * steps.shape[2]
        nodes = self.frame.nodes(rows, steps)
        found = self.amplitude(nodes, rows.repeat_interleave(each))
        shape = steps.shape[:3]
        slope = self.frame.varying(found.slope).reshape(steps.shape)
        return Values(found.unit.reshape(shape), found.size.reshape(shape), slope)

    def _sums(self, rows: Tensor, steps: Tensor, log_weights: Tensor | None) -> Sums:
        values = self._values(rows, steps)
        return Sums.of(
            values,
            steps,
            log_weights,
            lambda slope, moved, root: self.packet.bend(slope, moved, root, rows, steps),
        )

    def _mass(self, rows: Tensor, steps: Tensor, log_weights: Tensor | None = None) -> Tensor:
        """Logarithm of the sum of r^2 of each block, shape ``(packets, blocks)``."""
        values = self._values(rows, steps)
        each = 2 * (values.unit + values.size.abs().log())
        return (each if log_weights is None else each + log_weights).logsumexp(2)


def _replaced(steps: Tensor, feature: int, places: Tensor) -> Tensor:
    """Move steps onto a face of one feature, at a place for each packet."""
    moved = steps.clone()
    moved[..., feature] = places.to(steps.dtype)[:, None, None]
    return moved


def require_quadrature(n_features: int) -> None:
    """Refuse grids over many features.

    Raises
    ------
    InputError
        If there are more than three.
    """
    if n_features > LIMIT:
        raise InputError(
            f"quadrature is for at most {LIMIT} features, got {n_features}; choose some by "
            "features=[...], or pass method='monte-carlo'"
        )
