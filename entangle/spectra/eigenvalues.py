r"""Summaries of a covariance spectrum: its dimension, counted in two ways.

With shares :math:`p_n = \lambda_n / \sum_m \lambda_m`,

.. math:: D = 1 / \sum_n p_n^2, \qquad r = \exp(-\sum_n p_n \ln p_n),

the participation ratio and the effective rank. Both are 1 for one direction and N for N equal
ones, and :math:`D \le r`.

Source: Gao et al. 2017, bioRxiv 214262 (participation ratio); Roy and Vetterli 2007, EUSIPCO
(effective rank, there of singular values).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.arrays import as_array
from entangle.errors import InputError

__all__ = ["CovarianceSpectrum", "as_eigenvalues", "effective_rank", "participation_ratio"]


def as_eigenvalues(eigenvalues: Any) -> NDArray[np.float64]:
    """Eigenvalues as a float64 array.

    Raises
    ------
    InputError
        If they are not finite real numbers in one row.
    """
    found = as_array(eigenvalues, "eigenvalues")
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "buif":
        raise InputError(
            f"eigenvalues are real numbers of shape (n,), got {found.dtype} of shape {found.shape}"
        )
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        raise InputError("eigenvalues must be finite, got NaN or infinity")
    return found


def _shares(eigenvalues: Any) -> NDArray[np.float64]:
    """Share of each positive eigenvalue in their sum."""
    values = as_eigenvalues(eigenvalues)
    if values.min() < 0 or values.max() == 0:
        raise InputError(
            f"eigenvalues of a covariance are at least 0 and not all 0, got a least one of "
            f"{values.min():.3g}; clip what rounding made negative"
        )
    shares = values[values > 0] / values.max()
    return shares / shares.sum()


def participation_ratio(eigenvalues: Any) -> float:
    r"""Participation ratio :math:`(\sum_n \lambda_n)^2 / \sum_n \lambda_n^2`.

    Parameters
    ----------
    eigenvalues
        At least 0, shape ``(n,)``, in any order and unit.

    Raises
    ------
    InputError
        If one is negative or not finite, or all are 0.

    Examples
    --------
    >>> participation_ratio([2.0, 2.0, 0.0])
    2.0
    """
    return float(1 / np.square(_shares(eigenvalues)).sum())


def effective_rank(eigenvalues: Any) -> float:
    r"""Exponential of the spectral entropy, :math:`\exp(-\sum_n p_n \ln p_n)`.

    Parameters
    ----------
    eigenvalues
        At least 0, shape ``(n,)``, in any order and unit.

    Raises
    ------
    InputError
        If one is negative or not finite, or all are 0.

    Examples
    --------
    >>> round(effective_rank([2.0, 2.0, 0.0]), 12)
    2.0
    """
    shares = _shares(eigenvalues)
    return float(np.exp(-(shares * np.log(shares)).sum()))


@dataclass(frozen=True, eq=False)
class CovarianceSpectrum:
    """Eigenvalues of the sample covariance of activations.

    Attributes
    ----------
    eigenvalues
        Descending, in squared units of the activations. By an exact route all that can differ from
        0, ``min(n_samples - 1, n_units)``; else the leading ones.
    errors
        Of each: of exact routes the rounding, ``size * epsilon * largest``, below which an
        eigenvalue means nothing; of the randomised one an estimate, see
        :func:`~entangle.spectra.covariance_spectrum`.
    total_variance
        Trace of the covariance, exact by every route.
    n_samples, n_units
        Of the activations.
    route
        ``"covariance"``, ``"gram"`` or ``"randomised"``.
    """

    eigenvalues: NDArray[np.float64]
    errors: NDArray[np.float64]
    total_variance: float
    n_samples: int
    n_units: int
    route: str

    @property
    def complete(self) -> bool:
        """Whether no eigenvalue but zeros is left out."""
        return len(self.eigenvalues) >= min(self.n_samples - 1, self.n_units)

    @property
    def explained(self) -> NDArray[np.float64]:
        """Share of the total variance in the first n directions, n = 1, 2, ..."""
        return np.cumsum(self.eigenvalues) / self.total_variance

    @property
    def participation_ratio(self) -> float:
        """Participation ratio; see :func:`~entangle.spectra.participation_ratio`."""
        return participation_ratio(self._all())

    @property
    def effective_rank(self) -> float:
        """Effective rank; see :func:`~entangle.spectra.effective_rank`."""
        return effective_rank(self._all())

    def _all(self) -> NDArray[np.float64]:
        if not self.complete:
            raise InputError(
                f"this needs all eigenvalues, the spectrum has the leading {len(self.eigenvalues)} "
                f"with {self.explained[-1]:.1%} of the variance; choose an exact route, or pass "
                "eigenvalues to the function of this name for the leading ones alone"
            )
        return self.eigenvalues
