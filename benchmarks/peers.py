"""Orderings that ours is measured against, all called like ours.

- METIS: the published idea (Alexander et al. 2023), the full |correlation| matrix split in two
  again and again, through pymetis and not the published Python graphs. Parts that come back off
  balance are mended by moving the features that lose least.
- IGTD: our implementation in ``entangle``, of the published search but much quicker.
- leaf ordering: SciPy's, of an average-linkage clustering; along the leaves of the tree on a grid.
- t-SNE: scikit-learn's on 1 - |r|; one dimension sorted, two turned to the smallest upright box, as
  DeepInsight does, stretched over the grid and assigned to it.
- spectral: recursive spectral bisection of ``entangle``, noise taken off the weights and children
  oriented as in ours; Fiedler: one Fiedler vector of the full |correlation| matrix, sorted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymetis
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.manifold import TSNE

from entangle.affinity import correlation_affinity
from entangle.ordering import mincut_order
from entangle.ordering.fiedler import fiedler_vector
from entangle.ordering.graph import Graph
from entangle.ordering.igtd import igtd_order
from entangle.ordering.leaf_ordering import leaf_order
from entangle.ordering.problem import laid_out
from entangle.ordering.spectral import spectral_order
from entangle.partition import CanonicalTree

Affinity = NDArray[np.float64]
Order = NDArray[np.int64]
Shape = tuple[int, ...]

UNITS = 1e5  # METIS takes whole numbers
PERPLEXITY = 30.0
ANY = 10**9


@dataclass(frozen=True)
class Method:
    """An ordering, the most features it is tried on, and why no more.

    ``order`` takes (affinity, shape, number of samples, seed).
    """

    order: Callable[[Any, Shape, int, int], Order]
    most: int = ANY
    why: str = ""


def metis_order(affinity: Any, shape: Shape, n_samples: int, seed: int) -> Order:
    """Recursive bisection of all weights; a dense matrix or a sparse one."""
    tree = CanonicalTree(shape)
    leaves: list[int] = []
    # Seeds 0 and 1 of METIS give the same stream.
    pending = [((tree.root,), affinity, np.arange(tree.n_features))]
    while pending:
        nodes, weights, features = pending.pop()
        if len(nodes) == 1 and nodes[0].children:
            pending.append((tuple(nodes[0].children), weights, features))
        elif len(nodes) == 1:
            leaves.append(features[0])
        else:
            half = len(nodes) // 2
            side = _metis_side(weights, sum(node.size for node in nodes[half:]), seed + 1)
            for part, own in ((side, nodes[half:]), (~side, nodes[:half])):  # last in, first out
                kept = np.flatnonzero(part)
                pending.append((own, _among(weights, kept), features[kept]))
    return laid_out(np.array(leaves), tree)


def _among(weights: Any, kept: Order) -> Any:
    return weights[kept][:, kept] if sparse.issparse(weights) else weights[np.ix_(kept, kept)]


def _metis_side(weights: Any, size: int, seed: int) -> NDArray[np.bool_]:
    """Mask of the ``size`` features on the second side."""
    n = weights.shape[0]
    if n == 2:
        return np.array([False, True])
    starts, ends, values = _adjacency(weights)
    _, part = pymetis.part_graph(
        2,
        pymetis.CSRAdjacency(starts, ends),
        eweights=np.maximum(np.round(values * UNITS), 1).astype(np.int64),
        tpwgts=[1 - size / n, size / n],
        recursive=True,
        options=pymetis.Options(seed=seed, ncuts=10),
    )
    return _mended(weights, np.array(part, dtype=bool), size)


def _adjacency(weights: Any) -> tuple[Order, Order, NDArray[np.float64]]:
    if sparse.issparse(weights):
        return weights.indptr.astype(np.int64), weights.indices.astype(np.int64), weights.data
    n = len(weights)
    others = ~np.eye(n, dtype=bool)
    return np.arange(n + 1) * (n - 1), np.tile(np.arange(n), (n, 1))[others], weights[others]


def _mended(weights: Any, side: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Move the features that lose least until the second side has its size."""
    while side.sum() != size:
        leaving = bool(side.sum() > size)
        own = side == leaving
        loss = weights @ own.astype(float) - weights @ (~own).astype(float)
        side[np.argmin(np.where(own, loss, np.inf))] = not leaving
    return side


def tsne_order(affinity: Affinity, shape: Shape, n_samples: int, seed: int) -> Order:
    """t-SNE to as many dimensions as the layout has; sorted, or assigned to the grid."""
    distance = np.maximum(1.0 - affinity, 0.0)
    np.fill_diagonal(distance, 0.0)
    n = len(affinity)
    model = TSNE(
        len(shape),
        perplexity=min(PERPLEXITY, (n - 1) / 3),
        metric="precomputed",
        init="random",
        random_state=seed,
    )
    points = model.fit_transform(distance).astype(float)
    if len(shape) == 1:
        return np.argsort(points[:, 0], kind="stable")
    points = min((points @ turn for turn in _turns()), key=lambda turned: np.ptp(turned, 0).prod())
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0) * (np.array(shape) - 1)
    places = np.array(np.unravel_index(np.arange(n), shape)).T
    return linear_sum_assignment(cdist(places, points, "sqeuclidean"))[1]


def _turns() -> list[NDArray[np.float64]]:
    """Rotations of a plane, two degrees apart."""
    angles = np.deg2rad(np.arange(0, 90, 2))
    return [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]


def fiedler_order(affinity: Affinity, shape: Shape, n_samples: int, seed: int) -> Order:
    """Sorted along one Fiedler vector; features without any correlation come last."""
    alive = np.flatnonzero(affinity.any(axis=1))
    vector = fiedler_vector(Graph.from_matrix(affinity[np.ix_(alive, alive)]))
    ranking = alive[np.argsort(vector, kind="stable")]
    rest = np.setdiff1d(np.arange(len(affinity)), alive)
    return laid_out(np.concatenate((ranking, rest)), CanonicalTree(shape))


OURS = "ours"
METIS = "METIS"
PEERS = {
    METIS: Method(metis_order),
    "IGTD": Method(
        lambda affinity, shape, _, seed: igtd_order(affinity, shape, random_state=seed),
        1024,
        "minutes (345 s for 4096 features)",
    ),
    "leaf ordering": Method(
        lambda affinity, shape, *_: leaf_order(affinity, shape), 1024, "up to minutes"
    ),
    "t-SNE": Method(tsne_order, 4096, "minutes"),
    "spectral": Method(lambda affinity, shape, m, _: spectral_order(affinity, shape, m)),
    "Fiedler": Method(fiedler_order),
}
METHODS = {OURS: Method(mincut_order)} | PEERS


def warm_up() -> None:
    """Compile or load every kernel, so that no first call is timed."""
    X = np.cumsum(np.random.default_rng(0).normal(size=(200, 144)), axis=1)
    X += np.random.default_rng(1).normal(size=X.shape)
    for n, shape in ((30, (30,)), (144, (144,)), (36, (6, 6)), (144, (12, 12))):
        affinity = correlation_affinity(X[:, :n])
        for method in METHODS.values():
            method.order(affinity, shape, 200, 0)
