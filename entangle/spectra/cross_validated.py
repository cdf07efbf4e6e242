r"""Spectrum of the reproducible part of repeated responses (cvPCA).

Noise has variance in every direction, so the plain spectrum of noisy responses is that of signal
and noise. Directions :math:`u_n` are found on one repeat X of the stimuli, and variance along them
is measured across both,

.. math:: \lambda_n = \frac{1}{S - 1} \sum_s (x_s \cdot u_n)(y_s \cdot u_n),

so noise that is independent from one repeat to the other averages out, whatever its covariance.

Source: Stringer et al. 2019, Nature 571, 361, and its code. Deviations: the mean over stimuli is
subtracted from each unit in each repeat, and sums are divided by S - 1, so that values estimate
eigenvalues of the signal's covariance. As in both of its codes, repeats are swapped at random
stimulus by stimulus, all units together: swapped unit by unit, either half would hold noise of
both repeats, and noise that units share would count as signal.
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
from entangle.spectra.activations import Activations
from entangle.training import require_count

__all__ = ["CrossValidatedSpectrum", "cross_validated_spectrum"]


@dataclass(frozen=True, eq=False)
class CrossValidatedSpectrum:
    """Variance of the reproducible part along directions found on one repeat.

    Attributes
    ----------
    eigenvalues
        Mean over the swaps, by falling variance of the first repeat, in squared units of the
        responses. Estimates; those of small ones scatter about 0 and are negative now and then.
    spread
        Standard deviation of each over the swaps; NaN for one.
    n_swaps, n_stimuli, n_units
        What it was found from.
    """

    eigenvalues: NDArray[np.float64]
    spread: NDArray[np.float64]
    n_swaps: int
    n_stimuli: int
    n_units: int


def cross_validated_spectrum(
    first: Any, second: Any, *, n_swaps: int = 10, seed: int = 0, progress: bool = False
) -> CrossValidatedSpectrum:
    """Cross-validated eigenvalues of responses to stimuli that were shown twice.

    Parameters
    ----------
    first, second
        Responses in each repeat, arrays or tensors of shape ``(stimuli, units)``, stimuli in one
        order; more axes are flattened. Work is done where the first one is.
    n_swaps
        Random swaps of repeats that are averaged over; 1 does not swap.
    seed
        Of the swaps.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    CrossValidatedSpectrum
        ``min(stimuli - 1, units)`` values.

    Raises
    ------
    InputError
        If responses are not finite, of two shapes, constant, or of one stimulus.

    Notes
    -----
    Where stimuli are fewer than units, nothing of the size of units squared is formed: with
    eigenvectors w of :math:`X X^T` the values are :math:`w_n^T Y X^T w_n / (S - 1)`.

    Examples
    --------
    >>> signal = np.random.default_rng(0).normal(size=(400, 5)) * [4.0, 3.0, 2.0, 1.0, 0.0]
    >>> noise = np.random.default_rng(1).normal(size=(2, 400, 5))
    >>> found = cross_validated_spectrum(signal + noise[0], signal + noise[1])
    >>> bool(np.abs(found.eigenvalues - [16, 9, 4, 1, 0]).max() < 1.5)
    True
    """
    require_count("n_swaps", n_swaps)
    one, other = _responses(first), _responses(second)
    if one.shape != other.shape or len(one) < 2:
        raise InputError(
            f"responses are two arrays of one shape with at least 2 stimuli, got "
            f"{tuple(one.shape)} and {tuple(other.shape)}"
        )
    other = other.to(one.device)
    if not bool(one.ne(one[0]).any() and other.ne(other[0]).any()):
        raise InputError("responses do not vary over the stimuli in one of the repeats")
    generator = torch.Generator().manual_seed(seed)
    found = []
    with progress_bar("cross-validation", n_swaps, progress) as advance:
        for _ in range(n_swaps):
            swapped = torch.rand(len(one), 1, generator=generator) < 0.5 * (n_swaps > 1)
            swapped = swapped.to(one.device)
            pair = torch.where(swapped, other, one), torch.where(swapped, one, other)
            found.append(_cross_validated(*pair))
            advance(1)
    values = np.stack(found)
    spread = values.std(axis=0, ddof=1) if n_swaps > 1 else np.full(values.shape[1], math.nan)
    return CrossValidatedSpectrum(values.mean(axis=0), spread, n_swaps, *one.shape)


def _responses(given: Any) -> Tensor:
    return torch.cat(list(Activations(given))).double()


def _cross_validated(one: Tensor, other: Tensor) -> NDArray[np.float64]:
    """Variance across both along the principal directions of the first, which falls."""
    one, other = one - one.mean(dim=0), other - other.mean(dim=0)
    if len(one) < one.shape[1]:
        within, across = one @ one.T, other @ one.T
    else:
        within, across = one.T @ one, one.T @ other
    vectors = torch.linalg.eigh(within).eigenvectors.flip(1)
    values = (vectors * (across @ vectors)).sum(dim=0) / (len(one) - 1)
    return values[: min(len(one) - 1, one.shape[1])].cpu().numpy()
