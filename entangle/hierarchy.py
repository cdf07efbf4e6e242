r"""Hierarchical SVD: the data tensor as a tree tensor network or a chain, with its exact error.

The result T = P D is an orthogonal projection of the data tensor, made of nested isometries, one a
block of the canonical tree (or a prefix of the features, for a chain), and a core at the root. So

.. math:: \lVert D - T \rVert^2 = \lVert D \rVert^2 - \lVert T \rVert^2,

where the norm of T is that of its core: the error is known, not estimated, down to the rounding of
that difference.

Source: Oseledets, Tyrtyshnikov 2009, SIAM J. Sci. Comput. 31, 3744; Grasedyck 2010, SIAM J. Matrix
Anal. Appl. 31, 2029; Oseledets 2011, SIAM J. Sci. Comput. 33, 2295 (chains). Bases from Gram
products of weighted samples are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from entangle.axes import Shape
from entangle.data_tensor import DataTensor
from entangle.errors import InputError
from entangle.partition import Node
from entangle.progress import progress_bar
from entangle.reduction import Reduction
from entangle.truncated_tensor import TruncatedTensor

__all__ = ["TruncatedTensor", "chain_svd", "hierarchical_svd"]


def hierarchical_svd(
    tensor: DataTensor,
    shape: Shape | None = None,
    *,
    width: int | Sequence[int] | None = None,
    error: float | None = None,
    max_memory: float | None = None,
    progress: bool = False,
) -> TruncatedTensor:
    """Project a data tensor on a tree tensor network over the canonical tree, never dense.

    Parameters
    ----------
    tensor
        Weighted sum of product states.
    shape
        Number of features of a sequence (default) or axis lengths of a grid.
    width
        Longest bond allowed, or the longest of each level from 1 on. Default: any.
    error
        Distance from the data tensor that is allowed, over its norm, between 0 and 1. The bonds
        are cut down until they come near to it. Default: as close as the width allows. With both,
        the width wins, and ``result.error`` says what was reached.
    max_memory
        Bytes that may be used. Default: the memory that is free now.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    TruncatedTensor
        Tensors in the order of ``CanonicalTree(shape).root.walk()``, parents first: the root
        ``(labels, child bonds...)``, inner nodes ``(bond, child bonds...)``, features
        ``(bond, local)``. All but the root are isometries: as matrices with the bond for rows,
        their rows are orthonormal.

    Raises
    ------
    PartitionError
        If the shape does not hold the features.
    InputError
        If width or error are out of range.
    MemoryLimitError
        Before anything too large is allocated.
    DegenerateStateError
        If the samples cancel.

    Notes
    -----
    Time grows with the square of the samples times the squared bonds, summed over the blocks;
    memory with the samples times the squared bonds of a few blocks at least.
    """
    reduction = Reduction.on_tree(tensor, shape, max_memory)
    return _reduced(reduction, reduction.widths(width), error, progress)


def chain_svd(
    tensor: DataTensor,
    *,
    width: int | None = None,
    error: float | None = None,
    max_memory: float | None = None,
    progress: bool = False,
) -> TruncatedTensor:
    """Project a data tensor on a matrix product state, feature after feature, never dense.

    Parameters
    ----------
    tensor, width, error, max_memory, progress
        As for :func:`hierarchical_svd`.

    Returns
    -------
    TruncatedTensor
        Site tensors ``(left bond, local, right bond)``; the first left bond has length 1, the last
        right bond is the label axis (length 1 for scalar weights). All sites but the last are
        isometries from the left: as matrices with the right bond for columns, their columns are
        orthonormal.

    Raises
    ------
    InputError, MemoryLimitError, DegenerateStateError
        As for :func:`hierarchical_svd`.

    Notes
    -----
    Memory grows with the square of the samples times the logarithm of the features.
    """
    reduction = Reduction.on_chain(tensor, max_memory)
    return _reduced(reduction, reduction.widths(width), error, progress)


def _reduced(
    reduction: Reduction, widths: dict[Node, int], error: float | None, progress: bool
) -> TruncatedTensor:
    with progress_bar("blocks", len(reduction.nodes), progress) as advance:
        if error is None:
            return reduction.finished(reduction.truncated(widths, 0.0, advance))
        if not 0 < error < 1:
            raise InputError(f"error is a share of the norm between 0 and 1, got {error!r}")
        return reduction.finished(reduction.within(error, widths, advance))
