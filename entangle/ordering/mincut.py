"""Ordering by minimum balanced cuts: a portfolio of searches, the lowest cut of the tree wins.

All features are split into parts of the sizes that the canonical tree asks for, so that the
parts are as weakly correlated as can be found; each part is split again. Sizes are exact,
since a part one feature too long would shift every block after it. The leaves, left to right,
are the order.

No search is best on all data. Features of a line or a grid are found by their geometry in a
hundredth of the time of a cut, and features without one only by cutting. So geodesic embeddings
come first. Where exchanges cannot lower the cut of one, it is taken; else its splits, improved by
exchanges, compete with recursive bisection (METIS and random starts) on the weights as they are and
with the noise taken off, and small data are refined as a whole tree.

Source: Alexander et al. 2023, arXiv:2303.11249, feature rearrangement by minimum balanced
cuts. Deviations: noise is taken off the weights (:mod:`entangle.ordering.graph`), METIS is one
start of several in one search of several, and children are placed so that correlated features
touch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from entangle.affinity import Affinity
from entangle.axes import Shape
from entangle.ordering.geodesic import (
    EQUAL,
    embedded,
    geometries,
)
from entangle.ordering.graph import Graph, without_noise
from entangle.ordering.objective import TreeCut, adjacency
from entangle.ordering.orientation import oriented
from entangle.ordering.problem import checked_problem, drawn_seed, laid_out
from entangle.ordering.refinement import refined
from entangle.ordering.splitting import Split, bisected, coordinates_improved, leaves_by
from entangle.parallel import map_ordered, threads
from entangle.partition import CanonicalTree
from entangle.progress import progress_bar

__all__ = ["Mincut", "mincut_order", "mincut_search"]

Features = NDArray[np.int64]

STARTS = 8  # random starts of each split
SEARCHED = 64  # features up to which every search runs
TWICE = 1024  # features up to which weights are split with noise and without
REFINED = 256  # features up to which the whole tree is refined
RESTARTS = 32  # other trees refined for the smallest data
REFINEMENT_WORK = 1e7  # entries of exchange tables one refinement may visit
RESTART_WORK = 3e7  # the same of all restarts together
TIE = 2e-3  # of the way from random orders to the lowest cut: cuts so close are equal


@dataclass(frozen=True)
class Mincut:
    """What the portfolio found.

    Attributes
    ----------
    permutation
        Shape ``(features,)``, int64; ``X[:, permutation]`` is the layout, row-major.
    winner
        Name of the search with the lowest cut; of cuts within 0.2 % of the way from that
        of random orders to the lowest, the one with the most affinity between neighbours.
    cuts
        Hierarchical cut of every search that ran, in the order they ran, of the weights that
        they compete on: noise taken off where most pairs look independent, scaled to a largest
        weight of 1.
    """

    permutation: Features
    winner: str
    cuts: Mapping[str, float]


def mincut_order(
    affinity: Affinity | sparse.csr_matrix | sparse.csr_array,
    shape: Shape,
    n_samples: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
    *,
    orient: bool = True,
) -> Features:
    """Permutation that lowers the affinity severed by the canonical blocks of ``shape``.

    Parameters
    ----------
    affinity
        Symmetric, non-negative, shape ``(features, features)``; a dense matrix, or a
        compressed sparse one for many features (:func:`~entangle.affinity.nearest_affinity`).
    shape
        Number of features of a sequence, or the axis lengths of a grid.
    n_samples
        Rows that correlations were estimated from. Where most pairs then look independent, and
        always for a sparse affinity, the largest value that independent features reach is taken
        off every weight; without it no noise is removed. Only for correlations: the noise of
        other affinities is not of that size.
    random_state
        Seed of the starts; the same seed gives the same permutation.
    n_jobs
        Threads; ``None`` is one, -1 one per core. The result does not depend on it.
    orient
        Place children so that correlated features of neighbouring blocks touch. Changes no
        block.

    Returns
    -------
    ndarray
        Shape ``(features,)``, int64; ``X[:, permutation]`` laid out row-major in ``shape`` has
        a low :func:`~entangle.surrogate.hierarchical_cut`.

    Raises
    ------
    InputError
        If ``affinity`` is not symmetric, finite and non-negative.
    PartitionError
        If ``shape`` does not hold the features of ``affinity``.

    Notes
    -----
    Source: arXiv:2303.11249. Lower cuts are not always higher accuracy; measure.

    Examples
    --------
    >>> affinity = np.array([[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]], float)
    >>> order = mincut_order(affinity, 4, random_state=0)
    >>> sorted(sorted(pair.tolist()) for pair in order.reshape(2, 2))
    [[0, 2], [1, 3]]
    """
    found = mincut_search(affinity, shape, n_samples, random_state, n_jobs, orient=orient)
    return found.permutation


def mincut_search(
    affinity: Affinity | sparse.csr_matrix | sparse.csr_array,
    shape: Shape,
    n_samples: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
    *,
    orient: bool = True,
    progress: bool = False,
) -> Mincut:
    """Run :func:`mincut_order` and say which search won.

    Parameters
    ----------
    affinity, shape, n_samples, random_state, n_jobs, orient
        As for :func:`mincut_order`.
    progress
        Show a progress bar on a terminal.
    """
    tree, checked = checked_problem(affinity, shape)
    seed = drawn_seed(random_state)
    weights = without_noise(checked, n_samples)
    graph = Graph.from_matrix(weights).scaled()
    steps = tree.depth * (len(geometries(len(tree.shape))) + 1)
    with threads(n_jobs) as executor, progress_bar("cuts", steps, progress) as advance:
        search = _Search(graph, tree, seed, executor, advance)
        settled = search.embed(checked, n_samples)
        if not settled:
            search.bisect("bisection", graph)
            if weights is not checked and tree.n_features <= TWICE:
                search.bisect("bisection, noise left in", Graph.from_matrix(checked).scaled())
            search.refine()
        return search.result(orient)


class _Search:
    """Candidates so far: the features at the leaves, and the cut, by the name of the search."""

    def __init__(
        self,
        graph: Graph,
        tree: CanonicalTree,
        seed: int,
        executor: Executor | None,
        advance: Callable[[int], None],
    ) -> None:
        self.graph, self.tree, self.seed = graph, tree, seed
        self.executor, self.advance = executor, advance
        self.cut = TreeCut(graph, tree)
        self.found: dict[str, tuple[Features, float]] = {}

    def embed(self, affinity: Any, n_samples: int | None) -> bool:
        """Try geometries until exchanges cannot lower the cut that one gives.

        Of few features none is trusted alone.
        """
        for geometry in geometries(len(self.tree.shape)):
            found = embedded(affinity, self.tree, geometry, n_samples, self.seed)
            leaves, drawn = found.split(self.cut)
            plain = self._add(str(geometry), leaves)
            split = partial(coordinates_improved, tree=self.tree, points=drawn.points)
            improved = self._leaves(self.graph, split)
            if self.cut(improved) < plain * (1.0 - EQUAL):
                self._add(f"{geometry}, improved", improved)
            elif self.tree.n_features > SEARCHED:
                return True
        return False

    def bisect(self, name: str, graph: Graph) -> None:
        """Split ``graph`` again and again."""
        self._add(name, self._leaves(graph, partial(bisected, seed=self.seed, n_starts=STARTS)))

    def refine(self) -> None:
        """Improve the best tree of small data as a whole, and trees from random starts."""
        n = self.tree.n_features
        if n > REFINED:
            return
        weights = self.graph.dense()
        steps = min(4 * n, int(REFINEMENT_WORK / n**2))
        restarts = min(RESTARTS, int(RESTART_WORK / (4 * n**3)))
        start = self._best()[0]

        def attempt(number: int) -> tuple[Features, float]:
            seed = self.seed + number
            split = partial(bisected, seed=seed, n_starts=1)
            leaves = leaves_by(split, self.graph, self.tree) if number else start
            return refined(weights, leaves, self.tree, steps, seed)

        found = list(map_ordered(attempt, range(1 + restarts), self.executor))
        self._add("refinement", min(found, key=lambda attempt: attempt[1])[0])

    def result(self, orient: bool) -> Mincut:
        """Take the lowest cut; of nearly equal ones, the most affinity between neighbours."""
        lowest = self._best()[1]
        bar = lowest + max(TIE * (self.cut.expected - lowest), EQUAL * lowest)
        placed: dict[str, tuple[float, Features]] = {}
        for name, (leaves, cut) in self.found.items():
            if cut <= bar:
                order = (
                    oriented(self.graph, leaves, self.tree)
                    if orient
                    else laid_out(leaves, self.tree)
                )
                placed[name] = adjacency(self.graph, order, self.tree.shape), order
        winner = max(placed, key=lambda name: placed[name][0])
        cuts = {name: cut for name, (_, cut) in self.found.items()}
        return Mincut(placed[winner][1], winner, cuts)

    def _best(self) -> tuple[Features, float]:
        return min(self.found.values(), key=lambda candidate: candidate[1])

    def _add(self, name: str, leaves: Features) -> float:
        cut = self.cut(leaves)
        self.found[name] = leaves, cut
        return cut

    def _leaves(self, graph: Graph, split: Split) -> Features:
        return leaves_by(split, graph, self.tree, self.executor, self.advance)
