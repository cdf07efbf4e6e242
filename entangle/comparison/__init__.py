"""What the order of the features is worth to a local network, by training it.

Orderings are found on the training rows of each split, networks trained in each order and tested on
the rest; differences are paired and come with intervals.
"""

from entangle.comparison.result import Comparison, Row, Standing
from entangle.comparison.running import compare_orderings

__all__ = ["Comparison", "Row", "Standing", "compare_orderings"]
