"""A tree of tensors contracted with many samples, and differentiated, in compiled loops.

Samples are the last axis, so that every loop over them is a vector operation, and every tensor is
one product of matrices with what its children send, multiplied out. Of more than two children one
half is multiplied out and meets the tensor, then the other. Every vector is divided by its largest
element.

All vectors of a contraction are runs of rows of one array: first the features', then the nodes'.

Measured on one thread of an AMD EPYC, bond 10, 64 samples, forth and back, against the same in
calls of torch: 0.5 and 1.9 ms for a chain of 64 sites, 5 and 56 ms for one of 784; 0.7 and 2.1 ms
for a binary tree over 64 features, 6 and 22 ms for one over 784.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["contract", "contract_back", "n_others"]

Floats = NDArray[np.floating[Any]]
Table = NDArray[np.int64]


@numba.njit(nogil=True, cache=True)
def n_others(n_children: int) -> int:
    """Count the children that meet what the tensor has made of the rest: of more than two, half."""
    return n_children // 2 if n_children > 2 else 0


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def contract(
    tensors: Floats,
    nodes: Table,
    children: Table,
    transposed: bool,
    values: Floats,
    sizes: Floats,
    right: Floats,
    left: Floats,
    longer: Floats,
) -> None:
    """Compute the vectors of all nodes.

    Parameters
    ----------
    tensors
        All elements, flat. A node's are a matrix of shape ``(bond, child bonds)``.
    nodes
        Children before parents, shape ``(nodes, 5)``: place of the tensor, first row of the
        vector, bond, first child and number of children.
    children
        Shape ``(vectors, 2)``: first row and length.
    transposed
        Matrices have shape ``(child bonds, bond)``; at most two children.
    values
        Vectors, shape ``(rows, batch)``: those of features are given, others written.
    sizes
        Divisors, written, shape ``(nodes, batch)``; of a vector of zeros 1.
    right, left, longer
        Room for the product of the children that meet the tensor first, of the others, and for
        what the tensor makes of the first; ``batch`` columns.
    """
    for n in range(len(nodes)):
        place, row, bond, first, count = nodes[n]
        half = n_others(count)
        met = _product(values, children[first + half : first + count], right)
        found = values[row : row + bond]
        if half:
            other = _product(values, children[first : first + half], left)
            shape = bond * len(other), len(met)
            matrix = tensors[place : place + shape[0] * shape[1]].reshape(shape)
            np.dot(matrix, met, longer[: shape[0]])
            _sum_products(longer, other, found)
        elif transposed:
            matrix = tensors[place : place + bond * len(met)].reshape(len(met), bond)
            np.dot(matrix.T, met, found)
        else:
            matrix = tensors[place : place + bond * len(met)].reshape(bond, len(met))
            np.dot(matrix, met, found)
        _divide(found, sizes[n])


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def contract_back(
    tensors: Floats,
    nodes: Table,
    children: Table,
    transposed: bool,
    values: Floats,
    sizes: Floats,
    gradients: Floats,
    to_tensors: Floats,
    right: Floats,
    left: Floats,
    longer: Floats,
    outer: Floats,
) -> None:
    """Compute gradients of all vectors and of all tensors.

    Parameters
    ----------
    tensors, nodes, children, transposed, values, sizes
        As :func:`contract` took and wrote them.
    gradients
        Shaped like ``values``: that of the last node is given, others are written.
    to_tensors
        Shaped like ``tensors``; gradients are added. Empty: left out.
    right, left, longer, outer
        Room, as above; the last like the one before.
    """
    for n in range(len(nodes) - 1, -1, -1):
        place, row, bond, first, count = nodes[n]
        given = gradients[row : row + bond]
        for a in range(bond):
            for b in range(given.shape[1]):
                given[a, b] /= sizes[n, b]
        half = n_others(count)
        these, those = children[first : first + half], children[first + half : first + count]
        met = _product(values, those, right)
        other = _product(values, these, left)  # one, if there is no half
        size = bond * len(other) * len(met)
        if half:
            matrix = tensors[place : place + size].reshape(bond * len(other), len(met))
            product = longer[: len(matrix)]
            np.dot(matrix, met, product)
            _outer(given, other, outer)
            if len(to_tensors):
                found = to_tensors[place : place + size].reshape(matrix.shape)
                _add_outer(outer[: len(matrix)], met, found)
            below = left[: len(other)]
            _sum_given(product, given, below)
            _spread(below, values, these, gradients, longer)
            below = right[: len(met)]
            np.dot(matrix.T, outer[: len(matrix)], below)
            _spread(below, values, those, gradients, longer)
            continue
        below = longer[: len(met)]
        if transposed:
            across = tensors[place : place + size].reshape(len(met), bond)
            np.dot(across, given, below)
            if len(to_tensors):
                found = to_tensors[place : place + size].reshape(len(met), bond)
                _add_outer(met, given, found)
        else:
            across = tensors[place : place + size].reshape(bond, len(met))
            np.dot(across.T, given, below)
            if len(to_tensors):
                found = to_tensors[place : place + size].reshape(bond, len(met))
                _add_outer(given, met, found)
        if count:
            _spread(below, values, those, gradients, right)


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _product(values: Floats, children: Table, work: Floats) -> Floats:
    """Multiply the vectors of children out: shape ``(product of lengths, batch)``."""
    if len(children) == 0:
        work[0] = 1
        return work[:1]
    row, size = children[0]
    if len(children) == 1:
        return values[row : row + size]
    here = values[row : row + size]
    for child in range(1, len(children)):
        row, length = children[child]
        for i in range(size - 1, -1, -1):  # backwards, since the work is done in place
            for j in range(length - 1, -1, -1):
                for b in range(work.shape[1]):
                    work[i * length + j, b] = here[i, b] * values[row + j, b]
        size *= length
        here = work[:size]
    return here


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _spread(
    given: Floats, values: Floats, children: Table, gradients: Floats, work: Floats
) -> None:
    """Turn the gradient of a product of vectors into the gradients of all; it is written over."""
    size = len(given)
    for child in range(len(children) - 1, 0, -1):
        row, length = children[child]
        before = _product(values, children[:child], work)
        size //= length
        _sum_given(given, before, gradients[row : row + length])
        _sum_in_place(given[: size * length], values[row : row + length])
    row, length = children[0]
    for j in range(length):
        for b in range(given.shape[1]):
            gradients[row + j, b] = given[j, b]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _sum_in_place(given: Floats, vectors: Floats) -> None:
    """Sum ``(c, length, batch)`` times ``(length, batch)`` into the first c rows."""
    length = len(vectors)
    for c in range(len(given) // length):  # forwards, since rows are written over once read
        for b in range(given.shape[1]):
            given[c, b] = given[c * length, b] * vectors[0, b]
        for j in range(1, length):
            for b in range(given.shape[1]):
                given[c, b] += given[c * length + j, b] * vectors[j, b]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _add_outer(one: Floats, other: Floats, found: Floats) -> None:
    """Add the outer products of all samples: shapes ``(a, batch)``, ``(c, batch)``, ``(a, c)``."""
    added = np.dot(one, other.T)
    for a in range(found.shape[0]):
        for c in range(found.shape[1]):
            found[a, c] += added[a, c]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _outer(one: Floats, other: Floats, found: Floats) -> None:
    for a in range(len(one)):
        for c in range(len(other)):
            for b in range(one.shape[1]):
                found[a * len(other) + c, b] = one[a, b] * other[c, b]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _sum_products(longer: Floats, other: Floats, found: Floats) -> None:
    """Sum ``(bond, c, batch)`` times ``(c, batch)`` over c."""
    for a in range(len(found)):
        for b in range(found.shape[1]):
            found[a, b] = longer[a * len(other), b] * other[0, b]
        for c in range(1, len(other)):
            for b in range(found.shape[1]):
                found[a, b] += longer[a * len(other) + c, b] * other[c, b]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _sum_given(longer: Floats, given: Floats, found: Floats) -> None:
    """Sum ``(bond, c, batch)`` times ``(bond, batch)`` over the bond."""
    for c in range(len(found)):
        for b in range(found.shape[1]):
            found[c, b] = longer[c, b] * given[0, b]
    for a in range(1, len(given)):
        for c in range(len(found)):
            for b in range(found.shape[1]):
                found[c, b] += longer[a * len(found) + c, b] * given[a, b]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _divide(vectors: Floats, sizes: Floats) -> None:
    """Divide each sample's vector by its largest element, which is written to ``sizes``.

    Zeros are divided by 1: gradients are divided by it, too, and not all of them are 0.
    """
    least = np.finfo(sizes.dtype).tiny
    sizes[:] = 0
    for a in range(vectors.shape[0]):
        for b in range(vectors.shape[1]):
            sizes[b] = max(sizes[b], abs(vectors[a, b]))
    for b in range(len(sizes)):
        sizes[b] = max(sizes[b], least) if sizes[b] else 1
    for a in range(vectors.shape[0]):
        for b in range(vectors.shape[1]):
            vectors[a, b] /= sizes[b]
