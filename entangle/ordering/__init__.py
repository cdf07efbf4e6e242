"""Orderings of features: affinity in, permutation out.

A permutation has one direction: ``X[:, permutation]`` is the rearranged data.
"""

from entangle.ordering.graph import NEAREST, pearson_affinity
from entangle.ordering.mincut import mincut_order
from entangle.ordering.rearranger import FeatureRearranger

__all__ = ["NEAREST", "FeatureRearranger", "mincut_order", "pearson_affinity"]
