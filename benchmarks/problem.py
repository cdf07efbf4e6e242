"""What an ordering is given, and how the order that it returns is judged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.affinity import correlation_affinity
from entangle.partition import CanonicalTree
from entangle.surrogate import hierarchical_cut

Order = NDArray[np.int64]

RANDOM_ORDERS = 3  # whose mean H is that of a random order
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Problem:
    """Columns in random order, and which order is the natural one.

    Attributes
    ----------
    X
        Shape ``(samples, features)``, columns permuted.
    shape
        Layout to be filled.
    natural
        Order that puts the columns back.
    population
        Affinity without the noise of finitely many rows, permuted alike; where it is known.
    """

    X: NDArray[np.float64]
    shape: tuple[int, ...]
    natural: Order
    seed: int
    population: NDArray[np.float64] | None = None

    @classmethod
    def permuted(cls, X: Any, shape: tuple[int, ...], seed: int, population: Any = None) -> Problem:
        """Permute the columns of naturally ordered data."""
        shuffle = np.random.default_rng(100 + seed).permutation(X.shape[1])
        if population is not None:
            population = population[np.ix_(shuffle, shuffle)]
        columns = np.asarray(X, dtype=np.float64)[:, shuffle]
        return cls(columns, shape, np.argsort(shuffle), seed, population)

    @cached_property
    def affinity(self) -> NDArray[np.float64]:
        """Absolute correlations."""
        return correlation_affinity(self.X)

    def cut(self, order: Order, affinity: NDArray[np.float64] | None = None) -> float:
        """H of an order, of the samples or of another affinity."""
        matrix = self.affinity if affinity is None else affinity
        return hierarchical_cut(matrix[np.ix_(order, order)], self.shape)

    def random_orders(self) -> list[Order]:
        """Orders that know nothing."""
        generator = np.random.default_rng(self.seed)
        return [generator.permutation(len(self.natural)) for _ in range(RANDOM_ORDERS)]

    def frame(self) -> dict[str, float]:
        """H of the natural order and of random ones, and the same of the population."""
        found = self._frame(self.affinity, "")
        return found | ({} if self.population is None else self._frame(self.population, "pop "))

    def _frame(self, affinity: NDArray[np.float64], of: str) -> dict[str, float]:
        scrambled = [self.cut(order, affinity) for order in self.random_orders()]
        natural = self.cut(self.natural, affinity)
        return {f"{of}natural": natural, f"{of}random": float(np.mean(scrambled))}

    def judged(self, order: Order, frame: dict[str, float]) -> dict[str, Any]:
        """H of an order, gaps in percent, whether every block and which neighbours are right."""
        checked(order, len(self.natural))
        found: dict[str, Any] = {"H": self.cut(order)}
        found["gap"] = _gap(found["H"], frame, "")
        if self.population is not None:
            found["pop gap"] = _gap(self.cut(order, self.population), frame, "pop ")
        found["exact"] = blocks(order, self.shape) == blocks(self.natural, self.shape)
        found["neighbours"] = neighbours(order, self.natural, self.shape)
        if found["exact"] and abs(found["H"] - frame["natural"]) > ROUNDING:
            raise SystemExit(f"equal blocks with H {found['H']} and {frame['natural']}")
        return found


def _gap(H: float, frame: dict[str, float], of: str) -> float:
    span = frame[f"{of}random"] - frame[f"{of}natural"]
    return 100.0 * (H - frame[f"{of}natural"]) / span


def checked(order: Order, n_features: int) -> None:
    """End the run if an order is no permutation."""
    if not np.array_equal(np.sort(order), np.arange(n_features)):
        raise SystemExit(f"an order is no permutation of {n_features} features: {order}")


def blocks(order: Order, shape: tuple[int, ...]) -> set[bytes]:
    """Blocks of the canonical tree, each as the sorted features that it holds."""
    tree = CanonicalTree(shape)
    leaves = np.asarray(order, dtype=np.int64)[tree.order]
    return {np.sort(leaves[node.start : node.stop]).tobytes() for node in tree.root.walk()}


def neighbours(order: Order, natural: Order, shape: tuple[int, ...]) -> float:
    """Share of the neighbours of the natural layout that are neighbours in another one."""
    place = np.empty((len(order), len(shape)), dtype=np.int64)
    place[order] = np.array(np.unravel_index(np.arange(len(order)), shape)).T
    layout = natural.reshape(shape)
    touching = [
        np.abs(place[np.delete(layout, 0, axis)] - place[np.delete(layout, -1, axis)]).sum(-1) == 1
        for axis in range(len(shape))
    ]
    return float(np.concatenate([pairs.ravel() for pairs in touching]).mean())
