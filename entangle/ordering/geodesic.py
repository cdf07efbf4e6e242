r"""Ordering by geodesic embedding: features as points, distances along chains of neighbours.

Where features come from a line or a grid, the correlation of close features tells their
distance and that of far ones is noise. So only the strongest neighbours of each feature are
kept, as edges of length :math:`(-\ln |r|)^p`; the distance of any two features is that of the
shortest path between them (Isomap), measured from landmarks. Landmark scaling turns distances
into coordinates, on grids drawn straight by majorising the stress of the edges. Splitting the
coordinates at the sizes of the canonical tree gives the order, and no cut is ever worked out. On
grids the features are then set on the places found and drawn by their edges once more, which
brings back what had slipped into a neighbouring place.

The power says how correlation decays: :math:`p = 1` exponentially, as along a chain,
:math:`p = 1/2` like a Gaussian, as in smooth images. Several are cheap to try.

Source: Tenenbaum, de Silva and Langford 2000, Science 290, 2319 (Isomap); de Silva and Tenenbaum
2004, "Sparse multidimensional scaling using landmark points"; de Leeuw 1977 (majorisation). The
edges, the gate of significance and the splitting are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from entangle.affinity import Affinity
from entangle.axes import Shape
from entangle.ordering.graph import Graph, without_noise
from entangle.ordering.isomap import majorised, nearest_edges, placed
from entangle.ordering.objective import TreeCut
from entangle.ordering.problem import checked_problem, drawn_seed, laid_out
from entangle.partition import CanonicalTree, Node

__all__ = [
    "Embedding",
    "Geometry",
    "coordinate_leaves",
    "coordinate_parts",
    "embedded",
    "geodesic_order",
    "geometries",
]

ROUNDS, ROUND_STEPS = 4, 50  # of drawing from the places found
EQUAL = 1e-9  # relative difference of cuts that is rounding
TURNS = 45  # rotations of a square tried

Coordinates = NDArray[np.float64]
Features = NDArray[np.int64]


@dataclass(frozen=True)
class Geometry:
    """How edges are made: neighbours of each feature, and the power of ``-ln |r|``."""

    n_neighbors: int
    power: float

    def __str__(self) -> str:
        return f"geodesic, {self.n_neighbors} neighbours, power {self.power:g}"


def geometries(n_axes: int) -> tuple[Geometry, ...]:
    """Geometries worth trying for a sequence or a grid, the most reliable ones first."""
    if n_axes == 1:
        return Geometry(6, 1.0), Geometry(8, 1.0)
    return Geometry(20, 0.5), Geometry(8, 0.5), Geometry(8, 1.0)


def geodesic_order(
    affinity: Affinity | sparse.csr_matrix,
    shape: Shape,
    n_samples: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Features:
    """Order of the geodesic embedding that cuts the least.

    Parameters
    ----------
    affinity
        Symmetric, non-negative, shape ``(features, features)``, dense or sparse.
    shape
        Number of features of a sequence, or the axis lengths of a grid.
    n_samples
        Rows that correlations were estimated from: only significant ones make edges. ``None``
        for an affinity that is no correlation.
    random_state
        Seed of the landmarks.

    Returns
    -------
    ndarray
        Shape ``(features,)``, int64; ``X[:, permutation]`` is the layout, row-major.

    Raises
    ------
    InputError
        If ``affinity`` is not symmetric, finite and non-negative.
    PartitionError
        If ``shape`` does not hold the features of ``affinity``.

    Notes
    -----
    Good where features have a geometry (series, images, spectra), poor where they have none.
    """
    tree, checked = checked_problem(affinity, shape)
    seed = drawn_seed(random_state)
    cut = TreeCut(Graph.from_matrix(without_noise(checked, n_samples)), tree)
    orders = [
        embedded(checked, tree, geometry, n_samples, seed).split(cut)[0]
        for geometry in geometries(len(tree.shape))
    ]
    return laid_out(min(orders, key=cut), tree)


@dataclass(frozen=True)
class Embedding:
    """Features as points, and the edges they were drawn by.

    Attributes
    ----------
    tree
        The canonical tree of the layout.
    points
        Shape ``(features, axes)``, along the axes of the layout. Unconnected parts of the graph lie
        one after another along the longest axis.
    edges
        Lengths, shape ``(features, features)``, symmetric.
    """

    tree: CanonicalTree
    points: Coordinates
    edges: sparse.csr_matrix

    def split(self, cut: Callable[[Features], float]) -> tuple[Features, Embedding]:
        """Features at the leaves of the tree, and the points that they were read from.

        On grids, points are set on their places and drawn again while that lowers ``cut``.
        """
        best, leaves = self, coordinate_leaves(self.points, self.tree)
        lowest = cut(leaves)
        for _ in range(ROUNDS if self.points.shape[1] > 1 else 0):
            drawn = self._drawn_from(leaves)
            moved = coordinate_leaves(drawn.points, self.tree)
            found = cut(moved)
            if found >= lowest * (1.0 - EQUAL):
                break
            best, leaves, lowest = drawn, moved, found
        return leaves, best

    def _drawn_from(self, leaves: Features) -> Embedding:
        places = np.empty_like(self.points)
        places[leaves] = np.array(np.unravel_index(self.tree.order, self.tree.shape)).T
        return Embedding(self.tree, majorised(self.edges, places, ROUND_STEPS), self.edges)


def embedded(
    affinity: Any, tree: CanonicalTree, geometry: Geometry, n_samples: int | None, seed: int
) -> Embedding:
    """Embed the features along the axes of a layout.

    Parameters
    ----------
    affinity
        Symmetric, non-negative, zero diagonal, shape ``(features, features)``; dense or
        compressed sparse rows.
    tree
        The canonical tree of the layout. Axes of length one get no coordinate of their own.
    geometry
        Neighbours and power.
    n_samples
        Rows that correlations were estimated from: edges are significant ones, of length
        ``-ln |r|``. Without it, each edge is measured against the strongest of both features,
        and the drop of the affinity to the next neighbours of a lattice is the unit.
    seed
        Of the landmarks.
    """
    axes = [axis for axis, length in enumerate(tree.shape) if length > 1]
    edges = nearest_edges(affinity, geometry.n_neighbors, geometry.power, len(axes), n_samples)
    points = placed(edges, len(axes), seed)
    found = np.zeros((tree.n_features, len(tree.shape)))
    by_length = sorted(axes, key=lambda axis: -tree.shape[axis])
    if len(axes) == 2 and tree.shape[axes[0]] == tree.shape[axes[1]]:
        points = _squared_up(points)
    found[:, by_length] = points
    return Embedding(tree, found, edges)


def coordinate_leaves(points: Coordinates, tree: CanonicalTree) -> Features:
    """Feature at each leaf of ``tree`` when every block is split along its axes."""
    long_axes = [axis for axis, length in enumerate(tree.shape) if length > 1]
    if len(long_axes) == 1:
        return np.argsort(points[:, long_axes[0]], kind="stable")
    leaves = np.empty(tree.n_features, dtype=np.int64)
    pending: list[tuple[Node, Features]] = [(tree.root, np.arange(tree.n_features))]
    while pending:
        node, members = pending.pop()
        if not node.children:
            leaves[node.start] = members[0]
        else:
            parts = coordinate_parts(points[members], tree, node, members)
            pending += zip(node.children, parts, strict=True)
    return leaves


def coordinate_parts(
    points: Coordinates, tree: CanonicalTree, node: Node, members: Features
) -> list[Features]:
    """``members`` of ``node`` by child: halves along its first axis, then along the next.

    Parameters
    ----------
    points
        Coordinates of ``members``, shape ``(members, axes)``.
    tree, node
        The canonical tree and the block to be split.
    members
        What to return parts of, shape ``(members,)``.
    """
    sizes = [child.size for child in node.children]
    corners = np.array(np.unravel_index(tree.order[[c.start for c in node.children]], tree.shape))

    def split(chosen: Features, first: int, last: int) -> list[Features]:
        if last - first == 1:
            return [members[chosen]]
        half = (first + last) // 2
        axis = int(np.argmax(corners[:, half] != corners[:, first]))
        ranking = chosen[np.argsort(points[chosen, axis], kind="stable")]
        near = sum(sizes[first:half])
        return split(ranking[:near], first, half) + split(ranking[near:], half, last)

    return split(np.arange(len(members)), 0, len(sizes))


def _squared_up(points: Coordinates) -> Coordinates:
    """Turn a square of points until its sides lie along the axes.

    The fourth moment of a square is least along its sides.
    """
    points = points - points.mean(axis=0)
    turns = np.linspace(0.0, math.pi / 2, TURNS, endpoint=False)
    turned = [points @ _rotation(turn) for turn in turns]
    return min(turned, key=_flatness)


def _rotation(turn: float) -> NDArray[np.float64]:
    return np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])


def _flatness(points: Coordinates) -> float:
    squares = points**2
    spread = squares.mean(axis=0)
    least = max(1e-12 * float(spread.max()), 1e-300)
    return float(((squares / np.maximum(spread, least)) ** 2).mean(axis=0).sum())
