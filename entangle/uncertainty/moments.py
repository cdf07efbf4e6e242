r"""Moments of inputs and gradients under a packet, from sums over nodes.

With :math:`r = \psi / \sqrt q` and :math:`d_i = \partial_i \psi / \sqrt q` at nodes drawn from q
(or weighted as quadrature says), steps u from the centre and sums over nodes,

.. math::
    \mu_i = \frac{\sum r^2 u_i}{\sum r^2}, \qquad
    \sigma_{x i}^2 = \frac{\sum r^2 u_i^2}{\sum r^2} - \mu_i^2, \qquad
    \bar p_i = \frac{\sum r d_i}{\sum r^2}, \qquad
    \sigma_{p i}^2 = \frac{\sum d_i^2}{\sum r^2} - \bar p_i^2, \qquad
    c_i = \frac{\sum r u_i d_i}{\sum r^2} - \mu_i \bar p_i.

Nothing is divided by the loss. These are moments of one weighted sample, so Cauchy and Schwarz hold
for them to rounding, :math:`\sigma_{x i} \sigma_{p i} \ge |c_i|`, whatever the sample.

Sums are kept by block, with a scale of their own; leaving one block out at a time gives standard
errors. Weights and sums of blocks are in double precision, sums within one in that of the model.

Source: derived for this package from the definitions in the abstracts of arXiv:2205.01493 and
2402.10983; the published estimators are not known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.uncertainty.amplitudes import Values

__all__ = ["SPECTRUM_LIMIT", "Moments", "Sums", "joined"]

SPECTRUM_LIMIT = 32  # features up to which covariances between features are kept


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over the nodes of each block, divided by ``exp(2 * shift)``.

    Attributes
    ----------
    n_nodes
        Of each packet.
    shift
        Shape ``(packets, blocks)``; minus infinity in a block where the amplitude vanishes.
    weight, squares
        Of r^2 and of r^4 (over ``exp(4 * shift)``), shape ``(packets, blocks)``.
    moments
        Of r^2 u, r^2 u^2, r d, d^2 and r u d, shape ``(5, packets, blocks, features)``.
    faces
        Of psi^2 over the lower and the upper face of every feature of a box, shape ``(2, packets,
        blocks, features)``; ``None``: there are none, or they are not measured.
    products
        Of r^2 u u' and d d', shape ``(2, packets, blocks, features, features)``; ``None`` for many
        features.
    """

    n_nodes: int
    shift: Tensor
    weight: Tensor
    squares: Tensor
    moments: Tensor
    faces: Tensor | None = None
    products: Tensor | None = None

    @classmethod
    def of(
        cls,
        values: Values,
        steps: Tensor,
        log_weights: Tensor | None,
        bend: Callable[[Tensor, Tensor, Tensor], None],
    ) -> Sums:
        """Sum over nodes.

        Parameters
        ----------
        values
            Of the amplitude, shapes ``(packets, blocks, nodes)``, slopes with features.
        steps
            Shape ``(packets, blocks, nodes, features)``.
        log_weights
            Of quadrature, shape ``(packets, blocks, nodes)``; ``None``: 0.
        bend
            From slopes times r, steps times r, and r: it adds what the envelope does to slopes.
        """
        unit = values.unit if log_weights is None else values.unit + log_weights / 2
        shift = unit.amax(2)
        scale = torch.exp(unit - finite(shift)[..., None])
        root = scale * values.size
        dtype = torch.promote_types(steps.dtype, values.slope.dtype)
        factor, scale = root.to(dtype)[..., None], scale.to(dtype)[..., None]
        moved, slope = steps.to(dtype) * factor, values.slope.to(dtype) * scale
        bend(slope, moved, factor)
        moments = torch.stack(
            [
                (factor.mT @ moved)[..., 0, :],
                moved.square().sum(2),
                (factor.mT @ slope)[..., 0, :],
                slope.square().sum(2),
                (moved * slope).sum(2),
            ]
        ).double()
        products = None
        if steps.shape[-1] <= SPECTRUM_LIMIT:
            products = torch.stack([moved.mT @ moved, slope.mT @ slope]).double()
        weights = root.square()
        number = unit.shape[1] * unit.shape[2]
        return cls(number, shift, weights.sum(2), weights.square().sum(2), moments, None, products)

    def merged(self) -> Moments:
        """Moments over all blocks."""
        scale = self._scale()
        products = None
        if self.products is not None:
            products = (self.products * scale[..., None, None]).sum(2)
        faces = None if self.faces is None else (self.faces * scale[..., None]).sum(2)
        total = (self.moments * scale[..., None]).sum(2)
        return Moments((self.weight * scale).sum(1), total, faces, products)

    def without_each(self) -> Moments:
        """Moments without one block at a time, with an axis of blocks after that of packets."""
        scale = self._scale()
        weight, moments = self.weight * scale, self.moments * scale[..., None]
        faces = None if self.faces is None else self.faces * scale[..., None]
        return Moments(
            weight.sum(1, keepdim=True) - weight,
            moments.sum(2, keepdim=True) - moments,
            None if faces is None else faces.sum(2, keepdim=True) - faces,
        )

    def packet(self, row: int) -> Sums:
        """Return those of one packet, with an axis of packets of length 1."""
        rows = slice(row, row + 1)
        faces = None if self.faces is None else self.faces[:, rows]
        parts = self.shift[rows], self.weight[rows], self.squares[rows], self.moments[:, rows]
        return Sums(self.n_nodes, *parts, faces)

    def effective_nodes(self) -> Tensor:
        """Effective sample size of the weights r^2, shape ``(packets,)``."""
        scale = self._scale()
        squares = (self.squares * scale.square()).sum(1)
        return (self.weight * scale).sum(1).square() / squares

    def _scale(self) -> Tensor:
        """Factors to one scale a packet."""
        return torch.exp(2 * (self.shift - finite(self.shift.amax(1, keepdim=True))))


def finite(shift: Tensor) -> Tensor:
    """Shifts with 0 for minus infinity."""
    return torch.where(torch.isfinite(shift), shift, torch.zeros_like(shift))


def joined(parts: list[Sums], axis: int) -> Sums:
    """Join sums of several runs of packets (axis 0) or of blocks (axis 1)."""

    def beside(name: str, extra: int) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts], axis + extra)

    first = parts[0]
    return Sums(
        first.n_nodes if axis == 0 else sum(part.n_nodes for part in parts),
        beside("shift", 0),
        beside("weight", 0),
        beside("squares", 0),
        beside("moments", 1),
        None if first.faces is None else beside("faces", 1),
        None if first.products is None else beside("products", 1),
    )


@dataclass(frozen=True, eq=False)
class Moments:
    """Totals over some nodes, as in :class:`Sums`; properties have shape ``(..., features)``.

    Attributes
    ----------
    weight
        Shape ``(...)``.
    totals
        Shape ``(5, ..., features)``.
    faces
        Shape ``(2, ..., features)``, or ``None``.
    products
        Shape ``(2, ..., features, features)``, or ``None``.
    """

    weight: Tensor
    totals: Tensor
    faces: Tensor | None = None
    products: Tensor | None = None

    def _mean(self, place: int) -> Tensor:
        return self.totals[place] / self.weight[..., None]

    @property
    def mean_x(self) -> Tensor:
        """Mean step from the centre."""
        return self._mean(0)

    @property
    def variance_x(self) -> Tensor:
        """Variance of inputs."""
        return (self._mean(1) - self.mean_x.square()).clamp_min(0.0)

    @property
    def mean_p(self) -> Tensor:
        """Mean of the gradient of log psi."""
        return self._mean(2)

    @property
    def variance_p(self) -> Tensor:
        """Variance of that gradient, by the norm definition."""
        return (self._mean(3) - self.mean_p.square()).clamp_min(0.0)

    @property
    def covariance(self) -> Tensor:
        """Covariance of inputs and gradients."""
        return self._mean(4) - self.mean_x * self.mean_p

    def flux(self, widths: tuple[Tensor, Tensor] | None) -> Tensor:
        """Flux B through the faces: 0 without faces, NaN where they are not measured."""
        if widths is None:
            return torch.zeros_like(self.totals[0])
        if self.faces is None:
            return torch.full_like(self.totals[0], torch.nan)
        low, high = widths
        outward = (high - self.mean_x) * self.faces[1] - (low - self.mean_x) * self.faces[0]
        return outward / self.weight[..., None]

    def spectrum(self) -> Tensor | None:
        """Eigenvalues of Cov(x) Cov(g), rising, shape ``(..., features)``; NaN if singular."""
        if self.products is None:
            return None
        weight = self.weight[..., None, None]
        means = self.mean_x, self.mean_p
        spread, slopes = (
            part / weight - mean[..., :, None] * mean[..., None, :]
            for part, mean in zip(self.products, means, strict=True)
        )
        root, info = torch.linalg.cholesky_ex(spread)
        found = torch.linalg.eigvalsh(root.mT @ slopes @ root)
        return torch.where((info == 0)[..., None], found, torch.full_like(found, torch.nan))
