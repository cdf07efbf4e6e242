"""How much affinity of features a cut severs.

The surrogate entanglement of a cut is the sum of the affinity over the pairs of features it
separates. It follows the entanglement entropy across the cut closely enough to order features
by, and needs one features x features matrix instead of a spectrum per cut.

Source: Alexander et al. 2023, arXiv:2303.11249 (surrogate entanglement).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse

from entangle.axes import Shape
from entangle.errors import PartitionError
from entangle.partition import CanonicalTree, Node, Partition

__all__ = ["hierarchical_cut", "severed", "surrogate_entanglement"]


def surrogate_entanglement(affinity: object, partition: Partition) -> float:
    r"""Correlation that a cut severs.

    .. math:: \sum_{i \in A} \sum_{j \in B} |c_{ij}|

    Parameters
    ----------
    affinity
        Symmetric, dimensionless, shape ``(features, features)``. The diagonal is ignored.
    partition
        Cut into sides A and B.

    Returns
    -------
    float
        Dimensionless; not divided by the size of the cut.

    Raises
    ------
    PartitionError
        If ``partition`` was made for another number of features.

    Notes
    -----
    Source: arXiv:2303.11249.
    """
    matrix = np.asarray(affinity)
    _check_square(matrix, partition.n_features)
    return float(np.abs(matrix[np.ix_(partition.block, partition.complement)]).sum())


def hierarchical_cut(affinity: object, shape: Shape) -> float:
    r"""Mean affinity severed by the canonical blocks, summed over the levels of the tree.

    .. math:: H = \sum_l \operatorname{mean}_{K \in \text{level } l}
        \frac{\sum_{i \in K, j \notin K} |c_{ij}|}{|K| \, |K^c|}

    Blocks of one feature and the leaf level are left out, since no order changes them
    together; level 1 counts all its blocks. Lower is better, and children may change places
    at no cost.

    Parameters
    ----------
    affinity
        Shape ``(features, features)``, features in the order to be judged. The diagonal is
        ignored.
    shape
        Number of features of a sequence, or the axis lengths of a grid (row-major).

    Returns
    -------
    float
        Dimensionless.

    Raises
    ------
    PartitionError
        If ``shape`` does not hold the features of ``affinity``.
    """
    tree = CanonicalTree(shape)
    levels: dict[int, list[float]] = {}
    for node, cut in severed(affinity, tree).items():
        if node.size > 1:
            area = node.size * (tree.n_features - node.size)
            levels.setdefault(node.level, []).append(cut / area)
    return math.fsum(math.fsum(cuts) / len(cuts) for cuts in levels.values())


def severed(affinity: object, tree: CanonicalTree, deepest: int | None = None) -> dict[Node, float]:
    """Surrogate entanglement of every block of a tree, both halves at level 1 included.

    Parameters
    ----------
    affinity
        Shape ``(features, features)``, dense or sparse, features in the order to be judged.
    tree
        Canonical tree over them.
    deepest
        Level below which no block is wanted. Default: all levels.
    """
    matrix: Any = affinity
    if not sparse.issparse(affinity):
        matrix = np.asarray(affinity, dtype=np.float64)
    _check_square(matrix, tree.n_features)
    lowest = tree.depth if deepest is None else deepest
    nodes = [node for node in tree.root.walk() if 0 < node.level <= lowest]
    ordered: Any = abs(matrix[tree.order][:, tree.order])
    ordered = ordered.tocsr() if sparse.issparse(ordered) else ordered
    degrees = np.concatenate(([0.0], np.cumsum(np.asarray(ordered.sum(axis=1)).ravel())))
    cuts: dict[Node, float] = {}
    for node in nodes:
        within = float(ordered[node.start : node.stop, node.start : node.stop].sum())
        cuts[node] = max(0.0, float(degrees[node.stop] - degrees[node.start]) - within)
    return cuts


def _check_square(matrix: Any, n_features: int) -> None:
    if matrix.shape != (n_features, n_features):
        raise PartitionError(
            f"the cut is of {n_features} features, the affinity has shape {matrix.shape}; build "
            "both for the same features, for example with canonical_partitions(len(affinity))"
        )
