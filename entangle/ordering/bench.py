"""What orders of one layout are measured with: the affinity on some rows, and the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from entangle.errors import InputError
from entangle.ordering.graph import Graph
from entangle.ordering.objective import TreeCut, adjacency
from entangle.ordering.rearranger import FeatureRearranger, affinity_used
from entangle.ordering.trees import Blocks, shared_neighbours, touching
from entangle.ordering.units import Units
from entangle.partition import CanonicalTree

__all__ = ["Bench", "Yardstick"]

Permutation = NDArray[np.int64]


class Yardstick:
    """Affinity of the units on some rows, to measure orders with.

    Random orders need no sampling: any two places hold any pair of units with equal chance, so the
    expected mean affinity across a cut, or of two places that touch, is that of all pairs.

    Parameters
    ----------
    affinity
        Of the places, dense or sparse.
    tree
        Canonical tree of the layout.
    """

    def __init__(self, affinity: Any, tree: CanonicalTree) -> None:
        self.graph, self._tree = Graph.from_matrix(affinity), tree
        self._cut = TreeCut(self.graph, tree)
        self._pair = float(self.graph.weights.sum()) / (tree.n_features * (tree.n_features - 1))

    def cuts(self, orders: Mapping[str, Permutation]) -> dict[str, float]:
        """Hierarchical cut of each order, and expected of random ones."""
        found = {name: self._cut(places[self._tree.order]) for name, places in orders.items()}
        return {**found, "random": self._cut.expected}

    def neighbours(self, orders: Mapping[str, Permutation]) -> dict[str, float]:
        """Mean affinity of touching places in each order, and expected in random ones."""
        shape = self._tree.shape
        n_pairs = touching(self._tree.order, shape).shape[1]
        found = {name: adjacency(self.graph, o, shape) / n_pairs for name, o in orders.items()}
        return {**found, "random": self._pair}

    def reduction(self, places: Permutation) -> float:
        """Share by which the cut of an order lies below that of random ones."""
        random = self._cut.expected
        return 1.0 - self._cut(places[self._tree.order]) / random if random else 0.0


class Bench:
    """Layout of a fitted rearranger, with what is needed to measure others on it.

    An order is the unit at each place; units from ``n_units`` on are empty places.
    """

    def __init__(self, fitted: FeatureRearranger, n_features: int) -> None:
        if n_features != fitted.n_features_in_:
            raise InputError(
                f"X has {n_features} features, the order was found for {fitted.n_features_in_}; "
                "pass the features of fit"
            )
        self.rearranger = fitted
        self.units = Units.from_groups(fitted.groups_, n_features)
        self.tree = CanonicalTree(fitted.layout_.shape)
        self.blocks = Blocks(self.tree, self.units.n_units)
        self.given = np.arange(self.tree.n_features)
        self.found = self._places(fitted)

    def _places(self, fitted: FeatureRearranger) -> Permutation:
        """Return the unit at each place of a fitted layout."""
        places = fitted.layout_.ravel().copy()
        empty = places < 0
        places[empty] = np.arange(self.units.n_units, self.tree.n_features)
        return places

    def true_places(self, truth: object) -> Permutation:
        """Lay the true order out: the unit at each place."""
        order, n = np.asarray(truth), len(self.units.features)
        if order.shape != (n,) or not np.array_equal(np.sort(order), np.arange(n)):
            raise InputError(
                f"truth is a permutation of 0..{n - 1} such that X[:, truth] is in true order, got "
                f"{order.dtype} of shape {order.shape}; numpy.argsort turns the true position of "
                "each feature into it"
            )
        unit = self.units.unit[order]
        _, first = np.unique(unit, return_index=True)
        return np.concatenate((unit[np.sort(first)], self.given[self.units.n_units :]))

    def yardstick(self, samples: NDArray[Any], labels: Any) -> Yardstick:
        """Affinity on some rows."""
        affinity = affinity_used(self.rearranger, samples, labels)
        placed = self.units.affinity(affinity, self.tree.n_features)
        return Yardstick(placed, self.tree)

    def order_on(
        self, samples: NDArray[Any], labels: Any, seed: int, shuffled: bool
    ) -> Permutation:
        """Order found on some rows, without refinement.

        Parameters
        ----------
        samples, labels
            The rows.
        seed
            Of the order, and of the shuffle.
        shuffled
            Hand the units over in random order, so that ties and units unrelated to all others do
            not fall the same way on any rows.
        """
        n = self.units.n_units
        mixed = np.random.default_rng(seed).permutation(n) if shuffled else self.given[:n]
        columns = self.units.columns(mixed)
        model: Any = clone(self.rearranger)
        model.set_params(
            random_state=seed, groups=self.units.unit[columns], refine=None, progress=False
        )
        places = self._places(model.fit(samples[:, columns], labels))
        return np.concatenate((mixed, self.given[n:]))[places]

    def recovered(self, truth: Permutation) -> dict[str, Any]:
        """Shares of the true blocks and neighbours found."""
        neighbours = shared_neighbours(self.found, truth, self.tree.shape, self.units.n_units)
        return {
            "blocks_recovered": self.blocks.recovered(self.found, truth),
            "neighbours_recovered": neighbours,
        }
