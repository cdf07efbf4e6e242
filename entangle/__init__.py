"""Entanglement of data: will a local neural network work, and what can be done about it.

Measure the entanglement of a data set across canonical partitions of its features, and
rearrange the features so that it drops. Names load when first used, so that
``import entangle`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from entangle.affinity import correlation_affinity as correlation_affinity
    from entangle.comparison import Comparison as Comparison
    from entangle.comparison import compare_orderings as compare_orderings
    from entangle.convergence import Convergence as Convergence
    from entangle.convergence import entanglement_convergence as entanglement_convergence
    from entangle.data_tensor import DataTensor as DataTensor
    from entangle.datasets import load_dataset as load_dataset
    from entangle.diagnosis import diagnose as diagnose
    from entangle.entropy import EntanglementProfile as EntanglementProfile
    from entangle.entropy import entanglement_entropy as entanglement_entropy
    from entangle.entropy import entanglement_profile as entanglement_profile
    from entangle.entropy import geometric_entanglement as geometric_entanglement
    from entangle.models import LocalNetworkClassifier as LocalNetworkClassifier
    from entangle.networks import MatrixProductState as MatrixProductState
    from entangle.networks import TreeTensorNetwork as TreeTensorNetwork
    from entangle.networks.classifier import TensorNetworkClassifier as TensorNetworkClassifier
    from entangle.ordering import FeatureRearranger as FeatureRearranger
    from entangle.ordering import ordering_quality as ordering_quality
    from entangle.partition import Partition as Partition
    from entangle.partition import canonical_partitions as canonical_partitions
    from entangle.report import Report as Report
    from entangle.robustness import RobustnessComparison as RobustnessComparison
    from entangle.robustness import compare_robustness as compare_robustness
    from entangle.sample_curve import SampleCurve as SampleCurve
    from entangle.surrogate import surrogate_entanglement as surrogate_entanglement
    from entangle.width import width_bounds as width_bounds

_HOME = {
    "Comparison": "comparison",
    "Convergence": "convergence",
    "DataTensor": "data_tensor",
    "EntanglementProfile": "entropy",
    "FeatureRearranger": "ordering",
    "LocalNetworkClassifier": "models",
    "MatrixProductState": "networks",
    "Partition": "partition",
    "Report": "report",
    "RobustnessComparison": "robustness",
    "SampleCurve": "sample_curve",
    "TensorNetworkClassifier": "networks.classifier",
    "TreeTensorNetwork": "networks",
    "canonical_partitions": "partition",
    "compare_orderings": "comparison",
    "compare_robustness": "robustness",
    "correlation_affinity": "affinity",
    "diagnose": "diagnosis",
    "entanglement_convergence": "convergence",
    "entanglement_entropy": "entropy",
    "entanglement_profile": "entropy",
    "geometric_entanglement": "entropy",
    "load_dataset": "datasets",
    "ordering_quality": "ordering",
    "surrogate_entanglement": "surrogate",
    "width_bounds": "width",
}

_MODULES = [
    "adversarial",
    "computational_entanglement",
    "models",
    "networks",
    "spectra",
    "uncertainty",
]

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"entangle.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'entangle' has no attribute {name!r}")
    return getattr(importlib.import_module(f"entangle.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
