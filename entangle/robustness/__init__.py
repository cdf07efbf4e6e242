"""What the order of the features is worth to a local network under attack.

Orderings are found, networks trained and tested as for a comparison of orderings; then some test
rows are attacked. Robust accuracies are paired and come with intervals, and the entanglement of the
attacked rows stands beside that of the same rows as they were.
"""

from entangle.robustness.comparing import compare_robustness
from entangle.robustness.portfolio import FAST
from entangle.robustness.result import RobustnessComparison, RobustStanding
from entangle.robustness.rows import RobustRow

__all__ = ["FAST", "RobustRow", "RobustStanding", "RobustnessComparison", "compare_robustness"]
