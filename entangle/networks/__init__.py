"""Trainable tensor networks that are states: matrix product states and trees.

Both are torch modules, and both have Schmidt values, so the entropy of a trained network is
measured like that of data.
"""

from entangle.networks.matrix_product import MatrixProductState
from entangle.networks.tree import TreeTensorNetwork

__all__ = ["MatrixProductState", "TreeTensorNetwork"]
