r"""Three routes to the eigenvalues of a covariance: units, samples, or a random subspace.

Source: Halko, Martinsson, Tropp 2011, SIAM Review 53, 217 (randomised subspace iteration).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from entangle.spectra.eigenvalues import CovarianceSpectrum
from entangle.spectra.scatter import (
    CentredRows,
    add_products,
    covariance_matrix,
    require_variance,
)

__all__ = ["PASSES", "Needs", "by_covariance", "by_gram", "by_random_subspace"]

COPIES = 3  # of a matrix that is decomposed, with workspace
EIGEN = 4 / 3  # multiply-adds of its eigenvalues, over its size cubed
COLUMNS = 2048  # in double precision at once, of a Gram matrix
SPARE = 0.25  # share of the leading eigenvalues that a random subspace is wider by
LEAST_SPARE = 16
PASSES = 20  # of the randomised route, at most
EPSILON = float(np.finfo(np.float64).eps)

Read = Callable[[], Iterator[Tensor]]


@dataclass(frozen=True)
class Needs:
    """What the routes need; numbers of samples are None where they are not known beforehand."""

    n_samples: int | None
    n_units: int
    itemsize: int
    n_leading: int

    @property
    def width(self) -> int:
        """Columns of the random subspace."""
        width = self.n_leading + max(LEAST_SPARE, math.ceil(SPARE * self.n_leading))
        return min(width, self.n_units, self.n_samples or width)

    def memory(self, route: str) -> float:
        """Bytes at once; of an unknown number of samples none."""
        n_samples, n_units = float(self.n_samples or 0), float(self.n_units)
        if route == "covariance":
            return 8 * COPIES * n_units**2
        if route == "gram":
            held = n_samples * n_units * self.itemsize
            return held + 8 * (COPIES * n_samples**2 + 2 * n_samples * min(COLUMNS, n_units))
        return 8 * 4 * n_units * self.width

    def cheapest(self, memory: float) -> str:
        """Route of fewest multiply-adds that fits and is exact, else the randomised one."""
        n_units, n_samples = float(self.n_units), float(self.n_samples or math.inf)
        costs = {"covariance": n_samples * n_units**2 + EIGEN * n_units**3}
        if self.n_samples is not None:
            costs["gram"] = n_samples**2 * n_units + EIGEN * n_samples**3
        fitting = [route for route in costs if self.memory(route) <= memory]
        return min(fitting, key=costs.__getitem__, default="randomised")


def by_covariance(read: Read) -> CovarianceSpectrum:
    """All eigenvalues, from products of units, in one pass."""
    rows = CentredRows(read())
    values = torch.linalg.eigvalsh(covariance_matrix(rows))
    return _exact(values, rows.n_samples, rows.n_units, "covariance")


def _exact(values: Tensor, n_samples: int, n_units: int, route: str) -> CovarianceSpectrum:
    """Spectrum of all eigenvalues, ascending; those that must be 0 are left out."""
    found = values.flip(0)[: min(n_samples - 1, n_units)].clamp_min(0).cpu().numpy()
    errors = np.full(len(found), len(values) * EPSILON * found[0])
    return CovarianceSpectrum(found, errors, float(values.sum()), n_samples, n_units, route)


def by_gram(read: Read, n_samples: int | None) -> CovarianceSpectrum:
    """All eigenvalues, from products of centred samples, a block of units after the other."""
    held = _held(read, n_samples)
    n_samples, n_units = held.shape
    gram = held.new_zeros(n_samples, n_samples, dtype=torch.float64)
    for block in held.split(COLUMNS, dim=1):
        part = block.double()
        part = part - part[0]  # what is constant is 0 exactly, and not what rounding leaves
        part -= part.mean(dim=0)
        add_products(gram, part)
    require_variance(n_samples, float(gram.trace()))
    values = torch.linalg.eigvalsh(gram) / (n_samples - 1)
    return _exact(values, n_samples, n_units, "gram")


def _held(read: Read, n_samples: int | None) -> Tensor:
    """All activations, shape ``(samples, units)``."""
    if n_samples is None:
        return torch.cat(list(read()))
    held, begin = None, 0
    for batch in read():
        held = batch.new_empty(n_samples, batch.shape[1]) if held is None else held
        held[begin : begin + len(batch)] = batch
        begin += len(batch)
    assert held is not None
    return held


def by_random_subspace(
    read: Read, first: Tensor, needs: Needs, tolerance: float, seed: int
) -> CovarianceSpectrum:
    """Leading eigenvalues, by several passes of subspace iteration."""
    generator = torch.Generator().manual_seed(seed)
    shape = first.shape[1], needs.width
    start = torch.randn(shape, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(start.to(first.device)).Q
    for _ in range(PASSES - 1):
        rows, image = _applied(read, basis)
        values, errors = _ritz(basis, image)
        rounding = rows.n_units * EPSILON * values[0]
        if bool((errors <= tolerance * values + rounding)[: needs.n_leading].all()):
            break
        basis = torch.linalg.qr(image).Q
    else:
        rows, image = _applied(read, basis)
    return _leading(rows, *_ritz(basis, image), needs.n_leading)


def _applied(read: Read, basis: Tensor) -> tuple[CentredRows, Tensor]:
    """Covariance times a basis, shape ``(units, width)``, and the rows that it came from."""
    rows, image = CentredRows(read()), torch.zeros_like(basis)
    for part in rows:
        image += part.T @ (part @ basis)
    return rows, image.div_(require_variance(rows.n_samples, rows.scatter))


def _ritz(basis: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues within a subspace, descending, and estimates of their errors."""
    values, vectors = torch.linalg.eigh(basis.T @ image)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    residuals = (image @ vectors - (basis @ vectors) * values).norm(dim=0)
    gaps = (values - values[-1]).clamp_min(torch.finfo(values.dtype).tiny)
    return values, torch.minimum(residuals, 2 * residuals.square() / gaps)


def _leading(
    rows: CentredRows, values: Tensor, errors: Tensor, n_leading: int
) -> CovarianceSpectrum:
    kept = min(n_leading, rows.n_samples - 1, rows.n_units)
    errors = errors[:kept] + rows.n_units * EPSILON * values[0]
    total = rows.scatter / (rows.n_samples - 1)
    return CovarianceSpectrum(
        values[:kept].cpu().numpy(), errors.cpu().numpy(), total, rows.n_samples, rows.n_units,
        "randomised",
    )  # fmt: skip
