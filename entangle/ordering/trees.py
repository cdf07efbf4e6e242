"""Two orders on one canonical tree: which blocks and which neighbours they have in common.

Children of a node may change places, so what counts is which units a block holds, not where it
lies. Places are numbered row-major; the unit at a place is a group of features, a feature, or,
from ``n_units`` on, nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from entangle.partition import CanonicalTree

__all__ = ["Blocks", "shared_neighbours", "touching"]

Integers = NDArray[np.int64]


class Blocks:
    """Blocks of a tree at the levels that an order can change, which hold several places.

    Parameters
    ----------
    tree
        Canonical tree of the layout.
    n_units
        Number of units; the other places are empty.

    Attributes
    ----------
    levels
        The levels, those of ``hierarchical_cut``.
    """

    def __init__(self, tree: CanonicalTree, n_units: int) -> None:
        self._n_units, self._order = n_units, tree.order
        nodes = list(tree.root.walk())
        self.levels = sorted({node.level for node in nodes if node.size > 1 and node.level > 0})
        self._block = np.zeros((tree.depth + 1, tree.n_features), dtype=np.int64)
        for number, node in enumerate(nodes):  # parents first: a leaf stays a block of its own
            self._block[node.level :, node.start : node.stop] = number

    def of(self, places: Integers, level: int) -> Integers:
        """Block of each unit, shape ``(units,)``; ``places`` holds the unit at each place."""
        leaves = places[self._order]
        here = leaves < self._n_units
        block = np.empty(self._n_units, dtype=np.int64)
        block[leaves[here]] = self._block[level, here]
        return block

    def agreement(self, first: Integers, second: Integers) -> NDArray[np.float64]:
        """Compare the blocks of two orders by their adjusted Rand index, by level.

        1 where they are the same, 0 on average where the orders have nothing in common.
        """
        return np.array(
            [
                adjusted_rand_score(self.of(first, level), self.of(second, level))
                for level in self.levels
            ]
        )

    def recovered(self, found: Integers, truth: Integers) -> NDArray[np.float64]:
        """Share of the blocks of ``truth`` with several units that ``found`` has, by level."""
        shares = []
        for level in self.levels:
            right = self.of(truth, level)
            pairs = np.unique(np.stack((right, self.of(found, level))), axis=1)
            one_right, one_found = (_only_once(numbers) for numbers in pairs)
            several = np.bincount(right)[pairs[0]] > 1
            n_blocks = np.unique(pairs[0][several]).size
            found_again = np.count_nonzero(one_right & one_found & several)
            shares.append(found_again / n_blocks if n_blocks else 1.0)
        return np.array(shares)


def _only_once(numbers: Integers) -> NDArray[np.bool_]:
    return np.bincount(numbers)[numbers] == 1


def touching(places: Integers, shape: tuple[int, ...]) -> Integers:
    """Units of each two places that touch along an axis, shape ``(2, pairs)``."""
    layout = places.reshape(shape)
    pairs = []
    for axis in range(len(shape)):
        lines = np.moveaxis(layout, axis, 0)
        pairs.append(np.stack((lines[:-1].ravel(), lines[1:].ravel())))
    return np.concatenate(pairs, axis=1)


def shared_neighbours(
    found: Integers, truth: Integers, shape: tuple[int, ...], n_units: int
) -> float:
    """Share of the units that touch in ``truth`` that touch in ``found``, too."""
    right, here = (_codes(touching(places, shape), n_units) for places in (truth, found))
    return float(np.isin(right, here).sum() / max(1, right.size))


def _codes(pairs: Integers, n_units: int) -> Integers:
    """One number for every pair of units, whatever their order; none for empty places."""
    low, high = np.sort(pairs[:, (pairs < n_units).all(axis=0)], axis=0)
    return low * n_units + high
