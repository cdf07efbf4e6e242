r"""Geometry and spectra of neural codes, and how they go with robustness.

The eigenvalues of the covariance of a layer's activations tell how a network spreads what it
encodes over dimensions; their decay :math:`\lambda_n \sim n^{-\alpha}` bounds how smooth the code
can be. Beside them: what makes a code smoother (penalties, units that learn by competition), what
its geometry is (Jacobians, ranks, angles, dimension), and the smallest perturbations that flip it.
"""

from entangle.spectra.covariance import covariance_spectrum
from entangle.spectra.critical import critical_perturbations
from entangle.spectra.critical_result import CriticalPerturbations
from entangle.spectra.cross_validated import CrossValidatedSpectrum, cross_validated_spectrum
from entangle.spectra.dimension import IntrinsicDimension, intrinsic_dimension
from entangle.spectra.eigenvalues import CovarianceSpectrum, effective_rank, participation_ratio
from entangle.spectra.hebbian_classifier import LocalHebbianClassifier
from entangle.spectra.hebbian_layer import HebbianConvergence, LocalHebbianLayer
from entangle.spectra.hebbian_pruning import Pruning, prune_units
from entangle.spectra.jacobian_maps import JacobianMap, jacobian_norm_map
from entangle.spectra.jacobian_penalty import JacobianRegularizer, jacobian_norm
from entangle.spectra.medians import MedianInterval, median_interval
from entangle.spectra.orthogonality import QuasiOrthogonality, quasi_orthogonality, random_share
from entangle.spectra.persistence import NeuralPersistence, matrix_persistence, neural_persistence
from entangle.spectra.power_law import PowerLaw, power_law_exponent
from entangle.spectra.ranks import LocalRank, feature_rank, jacobian_rank
from entangle.spectra.spectral_decay import SpectralRegularizer, spectral_penalty
from entangle.spectra.weight_penalty import L2Regularizer
from entangle.spectra.weights import LayerSpectrum, WeightSpectra, weight_spectra

__all__ = [
    "CovarianceSpectrum",
    "CriticalPerturbations",
    "CrossValidatedSpectrum",
    "HebbianConvergence",
    "IntrinsicDimension",
    "JacobianMap",
    "JacobianRegularizer",
    "L2Regularizer",
    "LayerSpectrum",
    "LocalHebbianClassifier",
    "LocalHebbianLayer",
    "LocalRank",
    "MedianInterval",
    "NeuralPersistence",
    "PowerLaw",
    "Pruning",
    "QuasiOrthogonality",
    "SpectralRegularizer",
    "WeightSpectra",
    "covariance_spectrum",
    "critical_perturbations",
    "cross_validated_spectrum",
    "effective_rank",
    "feature_rank",
    "intrinsic_dimension",
    "jacobian_norm",
    "jacobian_norm_map",
    "jacobian_rank",
    "matrix_persistence",
    "median_interval",
    "neural_persistence",
    "participation_ratio",
    "power_law_exponent",
    "prune_units",
    "quasi_orthogonality",
    "random_share",
    "spectral_penalty",
    "weight_spectra",
]
