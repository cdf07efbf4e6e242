r"""Norms of the Jacobian over a plane of inputs, with the classes and the confidence there.

A plane through a sample along two random orthonormal directions, or through three samples. At each
point of a grid :math:`\lVert J \rVert_F`, of the logits or of a layer, tells how fast the code
changes; where it is large, small perturbations move far.

Of many units r random orthonormal mixtures :math:`P` are enough,

.. math:: \lVert J \rVert_F^2 \approx \frac{n_\text{units}}r \lVert P J \rVert_F^2,

without bias (of the square), and exactly for r = n_units. All points have the same mixtures, so
neighbours err alike and a map stays smooth.

Source: Hoffman et al. 2019, arXiv:1908.02729 (estimator, there with independent directions);
arXiv:2405.00679, figure 4 (maps: radius 20, grid 100, of a hidden layer).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entangle.errors import InputError
from entangle.progress import progress_bar
from entangle.spectra.jacobians import jacobian_rows, outputs_at
from entangle.spectra.subjects import Measured, measured
from entangle.training import require_count

__all__ = ["JacobianMap", "jacobian_norm_map"]

SCHEMA = 1
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class JacobianMap:
    """What :func:`jacobian_norm_map` found.

    Attributes
    ----------
    coordinates
        Of the grid along either direction, in the units of the samples, shape ``(grid,)``; 0 is
        the sample, or the mean of three.
    norms
        Frobenius norms of the Jacobian, shape ``(grid, grid)``; the first axis is along the first
        direction.
    classes, confidence
        Class number of the largest logit, and its softmax, likewise.
    origin, directions
        Shapes of a sample and ``(2, *sample)``; the directions are orthonormal.
    given
        Coordinates of the samples, shape ``(1, 2)`` or ``(3, 2)``.
    layer
        Name, or ``None`` for the output of the model.
    mixtures
        Random mixtures of units used; ``None``: all units.
    """

    coordinates: Array
    norms: Array
    classes: NDArray[np.int64]
    confidence: Array
    origin: Array
    directions: Array
    given: Array
    layer: str | None
    mixtures: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without origin and directions."""
        return {
            "schema": SCHEMA,
            "coordinates": self.coordinates.tolist(),
            "jacobian_norm": self.norms.tolist(),
            "classes": self.classes.tolist(),
            "confidence": self.confidence.tolist(),
            "given": self.given.tolist(),
            "layer": self.layer,
            "mixtures": self.mixtures,
        }


def jacobian_norm_map(
    model: object,
    X0: object,
    *,
    layer: str | None = None,
    radius: float | None = None,
    grid: int = 41,
    mixtures: int | None = None,
    random_state: int = 0,
    batch_size: int = 512,
    progress: bool = False,
) -> JacobianMap:
    r"""Frobenius norm of the Jacobian, class and confidence on a plane of inputs.

    Parameters
    ----------
    model
        As for :func:`~entangle.adversarial.robustness_curve`, with gradients. Jacobians are of its
        outputs as they are, logits or probabilities.
    X0
        One sample or three, shape ``(1, *sample)`` or ``(3, *sample)``. Through one the plane is
        random.
    layer
        Of a torch module, as in ``named_modules()``: the Jacobian of what it puts out.
    radius
        Half the side of the square. Default: the norm of the sample (1 if that is 0); of three
        one and a half times the largest distance from their mean.
    grid
        Points along a side.
    mixtures
        Random mixtures of units that stand for all of them, one backward pass each. Default: all
        units, exactly.
    random_state
        Seed of directions and mixtures.
    batch_size
        Points at once.
    progress
        Show a progress bar on a terminal.

    Raises
    ------
    InputError
        If the model has no gradients, samples are neither one nor three, or three lie on a line.

    Examples
    --------
    >>> found = jacobian_norm_map(torch.nn.Linear(3, 2), torch.zeros(1, 3), grid=5)
    >>> found.norms.shape, bool(np.ptp(found.norms) < 1e-6)  # constant: the model is linear
    ((5, 5), True)
    """
    for name, value in (("grid", grid), ("batch_size", batch_size)):
        require_count(name, value)
    if radius is not None and not 0 < radius < math.inf:
        raise InputError(f"radius is finite and above 0, got {radius!r}")
    with measured(model, X0) as subject:
        subject.require_gradient("a Jacobian")
        generator = torch.Generator().manual_seed(random_state)
        plane = _Plane.through(subject.samples, generator)
        units = outputs_at(subject, model, layer, subject.samples[:1]).shape[1]
        mixing = _mixing(mixtures, units, generator)
        side = _side(grid) * (radius or plane.radius)
        points = plane.points(torch.cartesian_prod(side, side))
        parts = []
        with progress_bar("Jacobians", len(points), progress) as advance:
            for part in points.split(batch_size):
                parts.append(_looked_at(subject, model, layer, part, mixing))
                advance(len(part))
    square, classes, confidence = (
        torch.cat(found).reshape(grid, grid).cpu().numpy() for found in zip(*parts, strict=True)
    )
    if mixing is not None:
        square = square * (units / len(mixing))
    return JacobianMap(
        side.numpy(), np.sqrt(square), classes, confidence, plane.origin.cpu().numpy(),
        plane.directions.cpu().numpy(), plane.given.cpu().numpy(), layer, mixtures,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Plane:
    """Origin ``(*sample)``, orthonormal directions ``(2, *sample)``, samples' coordinates."""

    origin: Tensor
    directions: Tensor
    given: Tensor

    @classmethod
    def through(cls, samples: Tensor, generator: torch.Generator) -> _Plane:
        """Lay a plane through one sample, or three."""
        flat = samples.flatten(1).double()
        if len(flat) not in (1, 3) or flat.shape[1] < 2:
            raise InputError(
                f"X0 is one sample or three, of two values or more, got shape "
                f"{tuple(samples.shape)}; one sample x becomes x[None]"
            )
        origin = flat.mean(0)
        if len(flat) == 1:
            random = torch.randn(2, flat.shape[1], generator=generator, dtype=torch.float64)
            edges = random.to(flat.device)
        else:
            edges = flat[1:] - flat[0]
        basis, triangle = torch.linalg.qr(edges.T)
        lengths = edges.norm(dim=1)
        if not bool((triangle.diagonal().abs() > 1e-6 * lengths.max()).all()):
            raise InputError(
                "the three samples lie on a line, or two are equal, and many planes go through "
                "them; pass others, or one sample"
            )
        directions = basis.T.unflatten(1, samples.shape[1:])
        return cls(origin.reshape(samples.shape[1:]), directions, (flat - origin) @ basis)

    @property
    def radius(self) -> float:
        """Half the side of the square, if nothing is said."""
        if len(self.given) == 3:
            return 1.5 * float(self.given.norm(dim=1).max())
        return float(self.origin.norm()) or 1.0

    def points(self, coordinates: Tensor) -> Tensor:
        """Points of the plane, shape ``(points, *sample)``, float64."""
        where = coordinates.to(self.directions.device)
        return self.origin + torch.tensordot(where, self.directions, dims=1)


def _side(grid: int) -> Tensor:
    """Points from -1 to 1 at equal steps; one point is 0."""
    return torch.linspace(-1, 1, grid, dtype=torch.float64) if grid > 1 else torch.zeros(1).double()


def _mixing(mixtures: int | None, units: int, generator: torch.Generator) -> Tensor | None:
    """Random orthonormal rows, shape ``(mixtures, units)``."""
    if mixtures is None:
        return None
    require_count("mixtures", mixtures)
    if mixtures > units:
        raise InputError(f"mixtures are at most the {units} units, got {mixtures}; leave it out")
    random = torch.randn(units, mixtures, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(random)[0].T


def _looked_at(
    subject: Measured, model: object, layer: str | None, points: Tensor, mixing: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared norms of Jacobians, classes and confidence, shape ``(points,)`` each."""
    samples = points.to(subject.samples.dtype)
    square = points.new_zeros(len(points))
    for row in jacobian_rows(subject, model, layer, samples, mixing):
        square += row.double().square().sum(1)
    confidence, classes = torch.softmax(subject.victim.logits(samples).double(), 1).max(1)
    return square, classes, confidence
