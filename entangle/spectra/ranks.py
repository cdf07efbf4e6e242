r"""Ranks of a representation around a sample: of its Jacobian, and of features of perturbed inputs.

A function of n inputs through d units has rank at most min(n, d), and composition only lowers it.
Near a sample the features of :math:`x + \sigma\xi` are :math:`f(x) + \sigma J \xi`, so their
principal components are as many as the rank of J, as long as :math:`\sigma` is small beside the
curvature and large beside rounding.

Rank counts singular values above a tolerance that grows with the matrix. Two things limit the
features of perturbed inputs. Curvature adds components of relative size :math:`\sigma`: with the
published size of 1e-3 they hide below the tolerance of single precision, but not below that of
double, where ``scale=1e-7, tolerance=1e7`` leaves them out. And a computation in precision eps
rounds values of size F by about eps F, whatever their spread, which adds a random matrix of norm
:math:`\epsilon F (\sqrt n + \sqrt d)`; what is below that is not counted either. The rank of the
Jacobian has neither limit.

Source: Feng et al. 2022, arXiv:2206.06072 (partial rank of the Jacobian, PCA rank of features under
5000 Gaussian perturbations of size 1e-3, values above ``tolerance * largest * n * eps``). The floor
by rounding is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from entangle.errors import InputError
from entangle.spectra.eigenvalues import effective_rank, participation_ratio
from entangle.spectra.jacobians import jacobian_rows, outputs_at
from entangle.spectra.subjects import Measured, measured
from entangle.training import require_count

__all__ = ["LocalRank", "feature_rank", "jacobian_rank"]


@dataclass(frozen=True, eq=False)
class LocalRank:
    """Rank of a representation around a sample.

    Attributes
    ----------
    rank
        Singular values above ``threshold``.
    singular_values
        Descending, shape ``(min(rows, columns),)``: of the Jacobian, or of the centred features of
        perturbed inputs over the root of their number and the size of the perturbation, which
        approach those of the Jacobian.
    threshold
        In the same units.
    shape
        Of the matrix.
    """

    rank: int
    singular_values: NDArray[np.float64]
    threshold: float
    shape: tuple[int, int]

    @property
    def stable_rank(self) -> float:
        """Squared Frobenius norm over squared spectral norm; NaN of a zero matrix."""
        values = self.singular_values
        return float(np.square(values / values[0]).sum()) if values[0] else math.nan

    @property
    def effective_rank(self) -> float:
        """Exponential of the entropy of the shares of singular values; NaN of a zero matrix."""
        return effective_rank(self.singular_values) if self.singular_values[0] else math.nan

    @property
    def participation_ratio(self) -> float:
        """Of squared singular values; NaN of a zero matrix."""
        values = self.singular_values
        return participation_ratio(np.square(values / values[0])) if values[0] else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is null."""
        names = ("stable_rank", "effective_rank", "participation_ratio")
        measures = {name: getattr(self, name) for name in names}
        return {
            "rank": self.rank,
            "threshold": self.threshold,
            "shape": list(self.shape),
            **{k: None if math.isnan(value) else value for k, value in measures.items()},
            "singular_values": self.singular_values.tolist(),
        }


def jacobian_rank(
    model: object,
    x0: object,
    layer: str | None = None,
    features: ArrayLike | None = None,
    *,
    tolerance: float = 1.0,
) -> LocalRank:
    """Rank of the Jacobian of a representation at a sample, or of some of its columns.

    Parameters
    ----------
    model, layer
        As for :func:`~entangle.spectra.jacobian_norm_map`.
    x0
        One sample, shape ``(1, *sample)``.
    features
        Flat numbers of inputs: the partial rank of these columns, a lower bound of the whole.
        Default: all.
    tolerance
        Factor of the threshold ``largest * max(shape) * eps``, eps of the model's precision.

    Raises
    ------
    InputError
        If there are several samples, or the model has no gradients.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Linear(6, 2), torch.nn.Linear(2, 5)).double()
    >>> jacobian_rank(model, torch.zeros(1, 6)).rank
    2
    """
    with measured(model, x0) as subject:
        _require_one(subject)
        subject.require_gradient("a Jacobian")
        rows = list(jacobian_rows(subject, model, layer, subject.samples, None))
    jacobian = torch.cat(rows)[:, _columns(features, rows[0].shape[1])]
    epsilon = torch.finfo(subject.samples.dtype).eps
    return _ranked(jacobian.double(), tolerance * epsilon, 0.0)


def feature_rank(
    model: object,
    x0: object,
    layer: str | None = None,
    *,
    n_samples: int = 5000,
    scale: float = 1e-3,
    tolerance: float = 1.0,
    random_state: int = 0,
    batch_size: int = 512,
) -> LocalRank:
    """Count the principal components of a representation of a sample with small Gaussian noise.

    Parameters
    ----------
    model, x0, layer, tolerance
        As for :func:`jacobian_rank`; gradients are not needed.
    n_samples
        Perturbed copies of the sample; more than the rank can be.
    scale
        Standard deviation of the noise, in the units of the sample.
    random_state
        Its seed.
    batch_size
        Copies at once.

    Raises
    ------
    InputError
        If there are several samples, or an option is out of range.
    """
    for name, value in (("n_samples", n_samples), ("batch_size", batch_size)):
        require_count(name, value)
    if n_samples < 2 or not 0 < scale < math.inf:
        raise InputError(
            f"n_samples is at least 2 and scale finite and above 0, got {n_samples} and {scale!r}"
        )
    generator = torch.Generator().manual_seed(random_state)
    parts = []
    with measured(model, x0) as subject, torch.no_grad():
        _require_one(subject)
        x = subject.samples
        for begin in range(0, n_samples, batch_size):
            count = min(batch_size, n_samples - begin)
            noise = torch.randn(count, *x.shape[1:], generator=generator, dtype=x.dtype)
            found = outputs_at(subject, model, layer, x + scale * noise.to(x.device))
            parts.append(found.double())
    features = torch.cat(parts)
    epsilon = torch.finfo(x.dtype).eps
    unit = scale * math.sqrt(n_samples)
    sides = sum(math.sqrt(side) for side in features.shape)
    floor = epsilon * float(features.abs().max()) * sides / unit
    return _ranked((features - features.mean(0)) / unit, tolerance * epsilon, floor)


def _require_one(subject: Measured) -> None:
    if len(subject.samples) != 1:
        raise InputError(
            f"a local rank is that around one sample, shape (1, *sample), got "
            f"{tuple(subject.samples.shape)}; one sample x becomes x[None]"
        )


def _columns(features: ArrayLike | None, number: int) -> Tensor:
    if features is None:
        return torch.arange(number)
    given = np.asarray(features)
    fits = given.ndim == 1 and given.size > 0 and given.dtype.kind in "iu"
    if not fits or given.min() < 0 or given.max() >= number:
        raise InputError(f"features are whole numbers from 0 to {number - 1}, got {features!r}")
    return torch.from_numpy(given.astype(np.int64))


def _ranked(matrix: Tensor, tolerance: float, floor: float) -> LocalRank:
    if not bool(torch.isfinite(matrix).all()):
        raise InputError("the representation has NaN or infinity there; scale X as in training")
    values = torch.linalg.svdvals(matrix).cpu().numpy()
    threshold = max(tolerance * max(matrix.shape) * float(values[0]), floor)
    rows, columns = matrix.shape
    return LocalRank(int((values > threshold).sum()), values, threshold, (rows, columns))
