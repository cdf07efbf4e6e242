r"""Geometry and spectra of neural codes, and how they go with robustness.

The eigenvalues of the covariance of a layer's activations tell how a network spreads what it
encodes over dimensions; their decay :math:`\lambda_n \sim n^{-\alpha}` bounds how smooth the code
can be.
"""

from entangle.spectra.covariance import covariance_spectrum
from entangle.spectra.cross_validated import CrossValidatedSpectrum, cross_validated_spectrum
from entangle.spectra.eigenvalues import CovarianceSpectrum, effective_rank, participation_ratio
from entangle.spectra.hebbian_classifier import LocalHebbianClassifier
from entangle.spectra.hebbian_layer import HebbianConvergence, LocalHebbianLayer
from entangle.spectra.hebbian_pruning import Pruning, prune_units
from entangle.spectra.jacobian_penalty import JacobianRegularizer, jacobian_norm
from entangle.spectra.power_law import PowerLaw, power_law_exponent
from entangle.spectra.spectral_penalty import SpectralRegularizer, spectral_penalty
from entangle.spectra.weight_penalty import L2Regularizer

__all__ = [
    "CovarianceSpectrum",
    "CrossValidatedSpectrum",
    "HebbianConvergence",
    "JacobianRegularizer",
    "L2Regularizer",
    "LocalHebbianClassifier",
    "LocalHebbianLayer",
    "PowerLaw",
    "Pruning",
    "SpectralRegularizer",
    "covariance_spectrum",
    "cross_validated_spectrum",
    "effective_rank",
    "jacobian_norm",
    "participation_ratio",
    "power_law_exponent",
    "prune_units",
    "spectral_penalty",
]
