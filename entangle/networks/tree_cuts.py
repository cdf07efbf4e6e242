"""Which bond of a tree network is a cut: the one above the node whose features are one side."""

from __future__ import annotations

import numpy as np

from entangle.errors import PartitionError
from entangle.partition import CanonicalTree, Partition

__all__ = ["TreeCuts"]


class TreeCuts:
    """Bonds of a canonical tree, found by the features below them."""

    def __init__(self, tree: CanonicalTree) -> None:
        walk = list(tree.root.walk())
        number = {node: place for place, node in enumerate(walk)}
        self.tree, self.places = tree, np.argsort(tree.order)
        self.edges = {
            (child.start, child.stop): (number[child], number[node])
            for node in walk
            for child in node.children
        }

    def edge_of(self, partition: Partition, labelled: bool) -> tuple[int, int]:
        """Numbers of the node below a cut and of its parent, in a walk from the root.

        With labels, which are at the root, the smaller side is the one below.

        Raises
        ------
        PartitionError
            If no bond of the tree is that cut.
        """
        if partition.n_features == self.tree.n_features:
            sides = sorted((partition.block, partition.complement), key=lambda b: (b.size, b[0]))
            for block in sides[: 1 if labelled else 2]:
                places = self.places[block]
                run = (int(places.min()), int(places.max()) + 1)
                if run in self.edges and run[1] - run[0] == block.size:
                    return self.edges[run]
        raise PartitionError(
            f"{partition!r} is no cut of a tree of shape {self.tree.shape}; it can be read "
            f"at canonical_partitions({self.tree.shape}) only"
        )
