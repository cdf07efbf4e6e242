"""Orderings of features: affinity in, permutation out.

A permutation has one direction: ``X[:, permutation]`` is the rearranged data.
"""

from entangle.ordering.mincut import mincut_order
from entangle.ordering.quality import OrderingQuality, ordering_quality
from entangle.ordering.rearranger import FeatureRearranger

__all__ = ["FeatureRearranger", "OrderingQuality", "mincut_order", "ordering_quality"]
