"""What every ordering is given: an affinity and a shape that fit each other, or an error.

One checker, so that a mistake is named in the same words whatever the method.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import check_random_state

from entangle.affinity import Affinity, check_affinity, require_real
from entangle.axes import Shape
from entangle.errors import InputError, PartitionError
from entangle.memory import require_memory
from entangle.partition import CanonicalTree, as_shape

__all__ = ["checked_problem", "dense_problem", "drawn_seed", "laid_out"]

ASYMMETRY = 1e-8  # of the largest entry


def checked_problem(affinity: object, shape: Shape) -> tuple[CanonicalTree, Any]:
    """Canonical tree of ``shape``, and the affinity ready for use.

    Parameters
    ----------
    affinity
        Symmetric, non-negative, finite, shape ``(features, features)``; dense, or a SciPy
        sparse matrix whose missing entries are 0. Its diagonal is ignored.
    shape
        Number of features of a sequence, or the axis lengths of a grid.

    Returns
    -------
    tree : CanonicalTree
        Of ``shape``.
    affinity : ndarray or csr_matrix
        Float64, zero diagonal; a copy. Dense stays dense and sparse stays sparse.

    Raises
    ------
    PartitionError
        If ``shape`` is none, or does not hold the features of ``affinity``.
    InputError
        If an entry is negative or not finite, or the affinity is not symmetric.
    """
    tree = CanonicalTree(shape)
    _check_size(affinity, shape)
    if sparse.issparse(affinity):
        return tree, _checked_rows(affinity)
    return tree, check_affinity(affinity, tree.n_features)


def dense_problem(
    affinity: object, shape: Shape, method: str, bytes_per_pair: float
) -> tuple[CanonicalTree, Affinity]:
    """Give the same for a method that needs every pair: no sparse affinity, enough memory.

    Parameters
    ----------
    affinity, shape
        As for :func:`checked_problem`.
    method
        Name of the method, for the message.
    bytes_per_pair
        Memory that the method holds for each of the features x features entries.

    Raises
    ------
    InputError
        If the affinity is sparse, besides what :func:`checked_problem` refuses.
    MemoryLimitError
        If the arrays would not fit; nothing is allocated.
    """
    n_features = math.prod(as_shape(shape))
    _check_size(affinity, shape)
    if sparse.issparse(affinity):
        raise InputError(
            f"method={method!r} compares every pair of features and needs a dense affinity, got "
            f"a sparse one of {n_features} features; use method='mincut', or pass "
            "affinity.toarray() if absent pairs mean 0 and the memory allows it"
        )
    require_memory(
        bytes_per_pair * n_features**2,
        f"method={method!r} for {n_features} features",
        repair="use method='mincut', which needs only the strongest pairs, or fewer features",
    )
    return checked_problem(affinity, shape)


def laid_out(sequence: NDArray[np.int64], tree: CanonicalTree) -> NDArray[np.int64]:
    """Permutation that puts a sequence of features along the leaves of a canonical tree.

    A sequence is taken as it is. On a grid it fills block after block, so that every canonical
    block holds a contiguous run of it.

    Parameters
    ----------
    sequence
        Features, shape ``(features,)``.
    tree
        Canonical tree of the layout.
    """
    permutation = np.empty(tree.n_features, dtype=np.int64)
    permutation[tree.order] = sequence
    return permutation


def drawn_seed(random_state: int | np.random.RandomState | None) -> int:
    """Draw a whole number to seed generators with."""
    generator: Any = check_random_state(random_state)
    return int(generator.randint(2**30))


def _check_size(affinity: Any, shape: Shape) -> None:
    n_features = math.prod(as_shape(shape))
    given = tuple(affinity.shape) if hasattr(affinity, "shape") else np.shape(affinity)
    if given != (n_features, n_features):
        size = given[0] if given else 0
        raise PartitionError(
            f"shape {shape!r} holds {n_features} features, the affinity has shape {given}; "
            f"pass a shape whose product is {size}"
        )


def _checked_rows(affinity: Any) -> sparse.csr_matrix:
    require_real(affinity)
    rows = sparse.csr_matrix(affinity, dtype=np.float64, copy=True)
    rows.sum_duplicates()
    rows.setdiag(0.0)
    rows.eliminate_zeros()
    if not np.isfinite(rows.data).all() or rows.data.min(initial=0.0) < 0.0:
        raise InputError(
            f"an affinity is finite and non-negative, got values from {rows.data.min()} to "
            f"{rows.data.max()}; take absolute values and replace NaN"
        )
    gap = float(abs(rows - rows.T).max()) if rows.nnz else 0.0
    if gap > ASYMMETRY * rows.data.max(initial=0.0):
        raise InputError(
            f"an affinity is symmetric, got entries that differ by {gap:.3g} from their "
            "mirror; pass (affinity + affinity.T) / 2"
        )
    return rows
