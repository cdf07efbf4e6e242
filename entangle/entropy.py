r"""Entropies of a cut, read from its Schmidt spectrum.

Only singular values enter, so data and trained networks share this module: a state is
anything with ``schmidt_values(partition)``. With weights :math:`p_r = \sigma_r^2 / \sum \sigma^2`
the entanglement entropy is :math:`-\sum p_r \ln p_r`. Entropies are in nats; divide by ln 2
where you print, never here.

Source: Alexander et al. 2023, arXiv:2303.11249, definition 1. Geometric entanglement of a cut:
Shimony 1995, Ann. NY Acad. Sci. 755, 675.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import narwhals as nw
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from entangle.axes import Shape
from entangle.errors import DegenerateStateError, InputError, PartitionError
from entangle.partition import CanonicalTree, Node, Partition
from entangle.progress import progress_bar
from entangle.spectrum import CutSpectrum

__all__ = [
    "EntanglementProfile",
    "State",
    "entanglement_entropy",
    "entanglement_profile",
    "entropy_of_weights",
    "geometric_entanglement",
]


RELATIVE_NOISE = 1e-13
Route: TypeAlias = Literal["auto", "dense", "truncated", "stochastic"]


class State(Protocol):
    """Whatever has Schmidt values across a cut."""

    @property
    def n_features(self) -> int:
        """Number of feature axes."""
        ...

    def schmidt_values(self, partition: Partition) -> Tensor:
        """Singular values across the cut, not necessarily normalised."""
        ...


@runtime_checkable
class SweepState(Protocol):
    """A state that finds all canonical spectra together."""

    def canonical_spectra(
        self,
        tree: CanonicalTree,
        deepest: int,
        tolerance: float,
        executor: Executor | None,
        max_memory: float | None,
        advance: Callable[[int], None],
        route: str,
    ) -> dict[Node, CutSpectrum]:
        """Spectra of every canonical cut down to level ``deepest``."""
        ...


def entropy_of_weights(weights: NDArray[np.float64], order: float = 1) -> float:
    r"""Renyi entropy of a weight vector, in nats.

    .. math:: S_\alpha = \frac{\ln \sum_r p_r^\alpha}{1 - \alpha},\quad
        S_1 = -\sum_r p_r \ln p_r,\quad S_0 = \ln \operatorname{rank},\quad
        S_\infty = -\ln p_1

    Parameters
    ----------
    weights
        Non-negative, any positive sum; they are normalised first.
    order
        Alpha, from 0 to infinity. Orders below 1 leave out weights under 1e-13 of the largest:
        they would magnify rounding.

    Raises
    ------
    InputError
        If the order is negative or NaN.
    """
    if not order >= 0:
        raise InputError(f"the order of an entropy is 0 or more, got {order!r}; 1 is von Neumann's")
    p = weights[weights > 0] / weights.sum()
    if order < 1:
        p = p[p > RELATIVE_NOISE * p.max()]
    if order == 0:
        return math.log(p.size)
    if order == 1:
        return max(0.0, float(-(p * np.log(p)).sum()))
    largest = math.log(p.max())
    if math.isinf(order):
        return max(0.0, -largest)
    if abs(order - 1) < 0.1:  # keeps its digits however near to order 1
        return max(0.0, math.log1p(float(p @ np.expm1((order - 1) * np.log(p)))) / (1 - order))
    scaled = np.exp(order * (np.log(p) - largest)).sum()
    return max(0.0, (math.log(scaled) + order * largest) / (1 - order))


def _schmidt_weights(state: State, partition: Partition) -> NDArray[np.float64]:
    values = state.schmidt_values(partition).detach().cpu().numpy().astype(np.float64)
    largest = values.max(initial=0.0)
    if not (largest > 0 and math.isfinite(largest)):
        raise DegenerateStateError(
            f"the state has no finite Schmidt value above 0 (the largest is {largest}); "
            "a zero tensor has no entropy"
        )
    squared = (values / largest) ** 2
    return squared / squared.sum()


def entanglement_entropy(state: State, partition: Partition, order: float = 1) -> float:
    r"""Entanglement entropy of a state across a cut.

    Parameters
    ----------
    state
        Anything with ``schmidt_values(partition)``: a ``DataTensor``, a tensor network.
    partition
        Cut of its features.
    order
        1 for von Neumann's entropy, any other number from 0 to infinity for Renyi's.

    Returns
    -------
    float
        Nats; 0 for a product, at most the logarithm of the smaller side's dimension.

    Raises
    ------
    PartitionError
        If the state cannot be cut there.
    DegenerateStateError
        If the state is zero.
    """
    return entropy_of_weights(_schmidt_weights(state, partition), order)


def geometric_entanglement(state: State, partition: Partition) -> float:
    r"""Distance of a normalised state from the nearest product across a cut.

    .. math:: \min_{product} \lVert D / \lVert D \rVert - product \rVert = \sqrt{1 - p_1}

    Returns
    -------
    float
        Dimensionless, in [0, 1). The nearest product need not be normalised.
    """
    weights = np.sort(_schmidt_weights(state, partition))
    return math.sqrt(weights[:-1].sum())


@dataclass(frozen=True)
class EntanglementProfile:
    """Entanglement entropies of the canonical cuts of a state, one row a cut.

    Attributes
    ----------
    partitions
        The cuts, level by level, left to right.
    levels
        Level of each cut, shape ``(cuts,)``.
    entropy
        Entanglement entropy in nats, shape ``(cuts,)``.
    error_bound
        Bound of the error of ``entropy`` in nats, shape ``(cuts,)``: half the interval of all
        spectra with the discarded weight added to what was found, and an allowance for rounding.
    discarded_weight
        Share of the squared norm that the spectrum found does not hold, with the allowance for
        rounding, shape ``(cuts,)``. A state without a certificate of its own has only that.
    schmidt_weights
        Squared Schmidt values found over the squared norm, descending, one array a cut.
    tolerance
        Error bound that was asked for, in nats.
    standard_error
        Of entropies that are stochastic estimates, in nats, shape ``(cuts,)``; 0 for the others.
    """

    partitions: tuple[Partition, ...]
    levels: NDArray[np.int64]
    entropy: NDArray[np.float64]
    error_bound: NDArray[np.float64]
    discarded_weight: NDArray[np.float64]
    schmidt_weights: tuple[NDArray[np.float64], ...]
    tolerance: float
    standard_error: NDArray[np.float64] | None = None

    @property
    def mean(self) -> float:
        """Mean entropy over the cuts, in nats."""
        return float(self.entropy.mean())

    @property
    def tolerance_met(self) -> bool:
        """Whether every error bound is within the tolerance."""
        return bool((self.error_bound <= self.tolerance).all())

    def by_level(self) -> dict[int, float]:
        """Mean entropy of each level, in nats."""
        return {
            int(level): float(self.entropy[self.levels == level].mean())
            for level in np.unique(self.levels)
        }

    def minimal_width(self, relative_error: float = 0.1) -> int:
        r"""Bond length below which no tree network on these cuts comes close to the state.

        A tree tensor network whose bonds have length R has Schmidt rank at most R across every
        canonical cut, so by Eckart and Young its distance from the state is at least the
        root of the sum of the remaining squared Schmidt values:
        R is too small if :math:`\sum_{r>R} p_r > \varepsilon^2` for any cut.

        Parameters
        ----------
        relative_error
            Allowed distance over the norm of the state, between 0 and 1.

        Returns
        -------
        int
            At least 1. What was discarded counts as if it were not there, so truncation can
            lower this bound but never make it wrong.
        """
        return int(self.minimal_widths(relative_error).max())

    def minimal_widths(self, relative_error: float = 0.1) -> NDArray[np.int64]:
        """Bond length that each cut asks for, shape ``(cuts,)``; see :meth:`minimal_width`."""
        if not 0 < relative_error < 1:
            raise InputError(f"relative_error lies between 0 and 1, got {relative_error!r}")
        allowed = relative_error**2
        widths = []
        for weights, missing in zip(self.schmidt_weights, self.discarded_weight, strict=True):
            tail = weights.sum() - np.cumsum(weights)
            widths.append(int(np.count_nonzero(tail - missing > allowed)) + 1)
        return np.array(widths, dtype=np.int64)

    def to_frame(self, backend: Literal["pandas", "polars", "pyarrow"] = "pandas") -> Any:
        """One row a cut, as a data frame of ``backend``: "pandas", "polars" or "pyarrow"."""
        return nw.from_dict(
            {
                "level": self.levels,
                "n_block": np.array([cut.block.size for cut in self.partitions]),
                "first_feature": np.array([cut.block[0] for cut in self.partitions]),
                "entropy_nats": self.entropy,
                "error_bound_nats": self.error_bound,
                "discarded_weight": self.discarded_weight,
            },
            backend=backend,
        ).to_native()


def entanglement_profile(
    state: State,
    shape: Shape | None = None,
    levels: int | Iterable[int] | None = None,
    tolerance: float = 1e-6,
    executor: Executor | None = None,
    progress: bool = False,
    max_memory: float | None = None,
    route: Route = "auto",
) -> EntanglementProfile:
    """Entanglement entropy across every canonical cut, each with its error bound.

    Parameters
    ----------
    state
        A ``DataTensor``, whose cuts share one walk, or anything with
        ``schmidt_values(partition)``.
    shape
        Number of features of a sequence (default) or axis lengths of a grid.
    levels
        A number n for the levels 1 to n, or the levels themselves. Default: all.
    tolerance
        Wanted error bound of each entropy, in nats. What was reached is in ``error_bound``, and
        ``tolerance_met`` says whether it is enough.
    executor
        Runs subtrees in parallel, unless the state is on a GPU. Default: this thread (whose
        matrix products use all of torch's threads).
    progress
        Show a progress bar on a terminal.
    max_memory
        Bytes that may be used. Default: the memory that is free now. On the truncated route each
        worker of the executor adds its tiles, up to some 100 MiB.
    route
        How the spectra of a ``DataTensor`` are found. "auto" takes what is expected to be
        quickest for the tolerance, and what fits in memory.

        - "dense": all eigenvalues of each cut, from samples x samples Gram matrices; cost grows
          like samples^3, memory like samples^2.
        - "truncated": the leading ones within bases of each block, from tiles; cost grows like
          samples^2 with a small constant, linearly above 32,768 samples, memory linearly. For
          spectra that decay.
        - "stochastic": the leading ones, and an estimate of what the rest adds to the entropy,
          with its ``standard_error``; the error bound stays a proven one, and wide. For many
          samples whose spectra are flat.

        Blocks of up to 64 dimensions take a density matrix of that size on every route.

    Returns
    -------
    EntanglementProfile
        One row a cut.

    Raises
    ------
    PartitionError
        If the shape does not hold the state's features, or a level does not exist.
    MemoryLimitError
        Before anything is allocated, if the samples' Gram matrices would not fit.
    """
    tree = CanonicalTree(state.n_features if shape is None else shape)
    if tree.n_features != state.n_features:
        raise PartitionError(
            f"shape {shape!r} has {tree.n_features} positions, the state has "
            f"{state.n_features} features; their numbers must be equal"
        )
    if not tolerance > 0:
        raise InputError(f"tolerance is a positive number of nats, got {tolerance!r}")
    if route not in get_args(Route):
        raise InputError(f"route is one of {', '.join(get_args(Route))}, got {route!r}")
    if route != "auto" and not isinstance(state, SweepState):
        raise InputError(
            f"route={route!r} is for data tensors; a {type(state).__name__} gives its Schmidt "
            "values itself, so leave the route out"
        )
    wanted = _levels(levels, tree.depth)
    nodes = [node for node in tree.nodes if node.level <= max(wanted)]
    with progress_bar("canonical cuts", len(nodes), progress) as advance:
        if isinstance(state, SweepState):
            found = state.canonical_spectra(
                tree, max(wanted), tolerance, executor, max_memory, advance, route
            )
        else:
            found = {}
            for node in nodes:
                weights = np.sort(_schmidt_weights(state, tree.partition(node)))[::-1]
                rounding = weights.size * float(np.finfo(np.float64).eps)
                found[node] = CutSpectrum(weights, 0.0, rounding, float(weights.size))
                advance(1)
    kept = [node for node in nodes if node.level in wanted]
    spectra = [found[node] for node in kept]
    return EntanglementProfile(
        partitions=tuple(tree.partition(node) for node in kept),
        levels=np.array([node.level for node in kept], dtype=np.int64),
        entropy=np.array([spectrum.entropy for spectrum in spectra]),
        error_bound=np.array([spectrum.error_bound for spectrum in spectra]),
        discarded_weight=np.array([spectrum.discarded for spectrum in spectra]),
        schmidt_weights=tuple(spectrum.weights for spectrum in spectra),
        tolerance=tolerance,
        standard_error=np.array([spectrum.standard_error for spectrum in spectra]),
    )


def _levels(levels: int | Iterable[int] | None, depth: int) -> set[int]:
    """Check the levels asked for."""
    if levels is None:
        return set(range(1, depth + 1))
    if isinstance(levels, int | np.integer):
        levels = range(1, min(int(levels), depth + 1) + 1)
    given = list(levels)
    wanted = {int(level) for level in given}
    if not wanted or min(wanted) < 1 or max(wanted) > depth or wanted != set(given):
        raise PartitionError(
            f"levels run from 1 to {depth} for these features, got {given!r}; "
            "pass a number for the top levels, or a list"
        )
    return wanted
