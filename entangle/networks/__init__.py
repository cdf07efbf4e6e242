"""Trainable tensor networks that are states: matrix product states and trees.

Both are torch modules, and both have Schmidt values, so the entropy of a trained network is
measured like that of data. What trains them, and loads scikit-learn, is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from entangle.networks.circuit import LocalLinear, ProductPool
from entangle.networks.matrix_product import MatrixProductState
from entangle.networks.tree import TreeTensorNetwork

if TYPE_CHECKING:
    from entangle.networks.bond_comparison import BondComparison, compare_at_bond
    from entangle.networks.bond_representation import BondVectors, bond_vectors
    from entangle.networks.classifier import TensorNetworkClassifier
    from entangle.networks.imitation import Surrogate, surrogate

_HOME = {
    "BondComparison": "bond_comparison",
    "BondVectors": "bond_representation",
    "Surrogate": "imitation",
    "TensorNetworkClassifier": "classifier",
    "bond_vectors": "bond_representation",
    "compare_at_bond": "bond_comparison",
    "surrogate": "imitation",
}

__all__ = [
    "BondComparison",
    "BondVectors",
    "LocalLinear",
    "MatrixProductState",
    "ProductPool",
    "Surrogate",
    "TensorNetworkClassifier",
    "TreeTensorNetwork",
    "bond_vectors",
    "compare_at_bond",
    "surrogate",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'entangle.networks' has no attribute {name!r}")
    return getattr(importlib.import_module(f"entangle.networks.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
