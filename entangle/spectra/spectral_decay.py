r"""Spectral regularisation: the covariance of a layer decays like a power of the rank.

With :math:`\lambda_n` the variances along fixed directions, largest first, and the anchor
:math:`\gamma_n = \lambda_{\tau'} (\tau'/n)^\alpha`, :math:`\tau' = \tau + 1`, which counts as a
constant,

.. math::
    R = \frac{1}{N} \sum_{n > \tau', \lambda_n > 0}
        \left[(\lambda_n/\gamma_n - 1)^2 + \max(0, \lambda_n/\gamma_n - 1)\right].

The directions are eigenvectors of the covariance over all training samples, found at the beginning
of each epoch; no gradient goes through them.

Source: Nassar et al. 2020, NeurIPS 33 (arXiv:2012.04729), its anchored form. Deviation: the
network is in evaluation mode, as it predicts. The variant in the code of arXiv:2405.00679 is not
offered: its target :math:`n^{-\alpha}` has no anchor, and its covariance is of the last batch
alone, about a wrong mean; its published spectra are those before training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real

import torch
from torch import Tensor, nn

from entangle.errors import InputError
from entangle.penalties import BatchPenalty, require_weight
from entangle.spectra.activations import Activations, layer_output
from entangle.spectra.scatter import covariance_matrix

__all__ = ["SpectralRegularizer", "spectral_penalty"]


def spectral_penalty(variances: Tensor, alpha: float = 1.0, tau: int = 0) -> Tensor:
    r"""Deviation of variances from a power law that starts at rank tau + 1.

    Parameters
    ----------
    variances
        Along each direction, shape ``(units,)``, in any order and unit.
    alpha
        Exponent that is aimed at.
    tau
        Leading ranks that are left alone.

    Returns
    -------
    Tensor
        R, a dimensionless scalar, differentiable in the variances.

    Raises
    ------
    InputError
        If there are fewer than tau + 2 variances, the anchor is not positive, or an option cannot
        be used.

    Examples
    --------
    >>> float(spectral_penalty(torch.ones(100, dtype=torch.float64)))  # (100 ** 2 - 1) / 3
    3333.0
    """
    _require_law(alpha, tau)
    if variances.ndim != 1 or len(variances) < tau + 2:
        raise InputError(
            f"variances have shape (units,) with at least tau + 2 = {tau + 2} of them, got "
            f"{tuple(variances.shape)}"
        )
    found = variances.sort(descending=True).values
    anchor = found[tau].detach()
    if not bool(anchor > 0):
        raise InputError(
            f"the variance of rank tau + 1 = {tau + 1} is {float(anchor):.3g}, expected a positive "
            "one; lower tau, or look for units that are silent"
        )
    tail = found[tau + 1 :]
    n = torch.arange(tau + 2, len(found) + 1, dtype=found.dtype, device=found.device)
    excess = tail / (anchor * ((tau + 1) / n) ** alpha) - 1
    terms = torch.where(tail > 0, excess.square() + excess.clamp_min(0), 0)
    return terms.sum() / len(found)


def _require_law(alpha: object, tau: object) -> None:
    if not (isinstance(alpha, Real) and 0 <= float(alpha) < math.inf):
        raise InputError(f"alpha is a finite number of at least 0, got {alpha!r}")
    if not (isinstance(tau, Integral) and int(tau) >= 0):
        raise InputError(f"tau is a whole number of at least 0, got {tau!r}")


@dataclass(frozen=True)
class SpectralRegularizer:
    r"""Penalty ``weight`` times R of the activations of a layer.

    Parameters
    ----------
    weight
        Published as beta: 1, 2 or 5.
    alpha
        Exponent that is aimed at.
    tau
        Leading ranks that are left alone; published 10.
    layer
        Whose activations. Default: the module's output.

    Notes
    -----
    The covariance of a batch of B samples has rank B - 1 at most. Variances along fixed directions
    may all be positive then, but each is noisy, with a relative error of about
    :math:`\sqrt{2 / (B - 1)}`, which sorting turns into a bias; the published batches have more
    samples than a layer has units.

    Examples
    --------
    >>> model, X = nn.Sequential(nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 2)), torch.randn(90, 9)
    >>> penalty = SpectralRegularizer(tau=1, layer="1").for_epoch(model, X)
    >>> penalty(X[:30]).backward()
    >>> model[0].weight.grad.shape
    torch.Size([6, 9])
    """

    weight: float = 1.0
    alpha: float = 1.0
    tau: int = 10
    layer: str | None = None

    def __post_init__(self) -> None:
        require_weight(self.weight)
        _require_law(self.alpha, self.tau)

    def for_epoch(self, module: nn.Module, values: Tensor) -> BatchPenalty:
        """Find directions of the covariance over all samples; return the penalty of a batch.

        Parameters
        ----------
        module
            As it is now.
        values
            All its training inputs, shape ``(samples, ...)``.
        """
        covariance = covariance_matrix(Activations(module, values, self.layer))
        directions = torch.linalg.eigh(covariance).eigenvectors
        return partial(self._of_batch, module, directions)

    def _of_batch(self, module: nn.Module, directions: Tensor, values: Tensor) -> Tensor:
        if len(values) < 2:
            raise InputError("variances need batches of at least 2 samples, got 1")
        found = layer_output(module, self.layer, values).flatten(1)
        projected = (found - found.mean(dim=0)) @ directions.to(found.dtype)
        variances = projected.square().sum(dim=0) / (len(values) - 1)
        return self.weight * spectral_penalty(variances, self.alpha, self.tau)
