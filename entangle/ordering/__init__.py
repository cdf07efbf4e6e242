"""Orderings of features: affinity in, permutation out.

A permutation has one direction: ``X[:, permutation]`` is the rearranged data.
"""

from entangle.ordering.mincut import mincut_order
from entangle.ordering.one_hot import one_hot_variables
from entangle.ordering.quality import OrderingQuality, ordering_quality
from entangle.ordering.rearranger import FeatureRearranger

__all__ = [
    "FeatureRearranger",
    "OrderingQuality",
    "mincut_order",
    "one_hot_variables",
    "ordering_quality",
]
