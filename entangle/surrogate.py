"""Correlation of features, and how much of it a cut severs.

The surrogate entanglement of a cut is the sum of |correlation| over the pairs of features it
separates. It follows the entanglement entropy across the cut closely enough to order features
by, and needs one features x features matrix instead of a spectrum per cut.

Source: Alexander et al. 2023, arXiv:2303.11249 (surrogate entanglement). Deviation:
a constant feature has affinity 0, where the published code gives it a small positive number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64
from scipy import sparse
from scipy.stats import rankdata

from entangle.arrays import as_array
from entangle.axes import Shape
from entangle.errors import InputError, PartitionError
from entangle.memory import require_memory
from entangle.partition import CanonicalTree, Node, Partition
from entangle.samples import as_sample_matrix

__all__ = [
    "Affinity",
    "Samples",
    "check_affinity",
    "correlation_affinity",
    "hierarchical_cut",
    "resolve_affinity",
    "severed",
    "standardized",
    "surrogate_entanglement",
]

Samples: TypeAlias = Float64[np.ndarray, "samples features"]
Affinity: TypeAlias = Float64[np.ndarray, "features features"]

# The affinity, one copy in tree order, and the working set of an ordering.
_COPIES = 3


def standardized(samples: Samples) -> Samples:
    """Columns of mean zero and Euclidean norm one; constant columns are zero.

    Each column is divided by its largest magnitude and shifted by its first entry before its
    mean is taken, so that neither a huge offset nor a huge scale costs digits.
    """
    centred = samples / _nonzero(np.abs(samples).max(axis=0))
    centred -= centred[0].copy()
    constant = ~centred.any(axis=0)
    centred -= centred.mean(axis=0)
    centred[:, constant] = 0.0
    centred /= _nonzero(np.abs(centred).max(axis=0))
    centred /= _nonzero(np.sqrt(np.einsum("ij,ij->j", centred, centred)))
    return centred


def _nonzero(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0.0, scale, 1.0)


def _pearson(samples: Samples) -> Affinity:
    columns = standardized(samples)
    affinity = columns.T @ columns
    np.abs(affinity, out=affinity)
    np.minimum(affinity, 1.0, out=affinity)
    np.fill_diagonal(affinity, 0.0)
    return affinity


def _spearman(samples: Samples) -> Affinity:
    return _pearson(rankdata(samples, axis=0))


_AFFINITIES: dict[str, Callable[[Samples], Affinity]] = {
    "pearson": _pearson,
    "spearman": _spearman,
}


def resolve_affinity(method: str | Callable) -> Callable[[Samples], Affinity]:
    """Return the function behind the name of an affinity; results of a callable are checked."""
    if callable(method):
        return lambda samples: check_affinity(method(samples), samples.shape[1])
    if method in _AFFINITIES:
        return _AFFINITIES[method]
    raise InputError(
        f"affinity is one of {', '.join(map(repr, _AFFINITIES))} or a callable from X to a "
        f"(features, features) matrix, got {method!r}"
    )


def correlation_affinity(X: object, method: str | Callable = "pearson") -> Affinity:
    r"""Absolute correlation of every pair of features.

    .. math:: c_{ij} = \left| \frac{\sum_m (x_{mi} - \bar x_i)(x_{mj} - \bar x_j)}
        {\lVert x_i - \bar x_i \rVert \, \lVert x_j - \bar x_j \rVert} \right|,
        \qquad c_{ii} = 0

    Parameters
    ----------
    X
        Array, tensor, frame or nested list, shape ``(samples, features)``, at least two of
        each, finite.
    method
        ``"pearson"``, ``"spearman"`` (the same of the ranks), or a callable from the float64
        ``X`` to a symmetric, non-negative matrix.

    Returns
    -------
    ndarray
        Shape ``(features, features)``, float64, symmetric, in [0, 1] (a callable sets its own
        upper bound), zero diagonal.

    Raises
    ------
    InputError
        If ``X`` or ``method`` cannot be used; the message names the column.
    MemoryLimitError
        If the matrix and its working copies would not fit; nothing is allocated.

    Notes
    -----
    A constant feature has affinity 0; the published code gives it a small positive number.
    Source: arXiv:2303.11249.

    Examples
    --------
    >>> correlation_affinity([[0, 0, 1], [1, 2, 1], [2, 4, 1]])
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 0., 0.]])
    """
    affinity = resolve_affinity(method)
    samples = as_sample_matrix(X)
    require_memory(
        8.0 * _COPIES * samples.shape[1] ** 2,
        f"the affinity of {samples.shape[1]} features with its working copies",
        repair="keep fewer features, or order them with FeatureRearranger(affinity='pearson'), "
        "which stores no such matrix",
    )
    return affinity(samples)


def check_affinity(affinity: object, n_features: int) -> Affinity:
    """Copy with a zero diagonal; :class:`InputError` unless symmetric, finite and >= 0."""
    matrix = np.array(as_array(affinity, "affinity"), dtype=np.float64)
    if matrix.shape != (n_features, n_features):
        raise InputError(
            f"an affinity has one row and one column per feature, expected ({n_features}, "
            f"{n_features}), got {matrix.shape}"
        )
    np.fill_diagonal(matrix, 0.0)
    if not np.isfinite(matrix).all() or matrix.min(initial=0.0) < 0.0:
        raise InputError(
            f"an affinity is finite and non-negative, got values from {matrix.min()} to "
            f"{matrix.max()}; take absolute values and replace NaN"
        )
    gap = float(np.abs(matrix - matrix.T).max(initial=0.0))
    if gap > 1e-8 * float(matrix.max(initial=0.0)):
        raise InputError(
            f"an affinity is symmetric, got entries that differ by {gap:.3g} from their "
            "mirror; pass (affinity + affinity.T) / 2"
        )
    return matrix


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
