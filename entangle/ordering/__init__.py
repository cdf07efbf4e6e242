"""Orderings of features: affinity in, permutation out.

A permutation has one direction: ``X[:, permutation]`` is the rearranged data.
"""

from entangle.ordering.mincut import mincut_order
from entangle.ordering.rearranger import FeatureRearranger

__all__ = ["FeatureRearranger", "mincut_order"]
