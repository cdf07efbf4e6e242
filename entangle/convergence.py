"""Convergence of the entropies of a data tensor in its number of samples.

Random halves and quarters of the samples are measured beside the whole; what follows from them is
said in :mod:`entangle.sample_curve`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entangle.axes import Shape
from entangle.data_tensor import DataTensor
from entangle.entropy import EntanglementProfile, entanglement_profile
from entangle.errors import InputError
from entangle.labels import as_labels, is_quantity
from entangle.parallel import map_ordered
from entangle.progress import progress_bar
from entangle.sample_curve import CONFIDENCE, SampleCurve

__all__ = [
    "FEWEST_SAMPLES",
    "Convergence",
    "entanglement_convergence",
    "nested_parts",
]

FEWEST_SAMPLES = 16  # quarters of four
FEWEST_SPLITS = 2
PARTS = 6  # two halves and four quarters


@dataclass(frozen=True)
class Convergence:
    """Entropies against the number of samples, from random halves and quarters of them.

    Attributes
    ----------
    n_samples
        M, the number of samples of the tensor.
    n_splits
        Number of random splits.
    mean
        Curve of the mean over all cuts.
    by_level
        Curve of the mean over the cuts of each level.
    """

    n_samples: int
    n_splits: int
    mean: SampleCurve
    by_level: dict[int, SampleCurve]

    @classmethod
    def from_profiles(cls, tensor: DataTensor, profiles: Sequence[EntanglementProfile]) -> Self:
        """Put together the profiles of a tensor and of its :func:`nested_parts`, in order.

        Raises
        ------
        InputError
            If their number is not one and six a split.
        """
        n_splits, left = divmod(len(profiles) - 1, PARTS)
        if left or n_splits < FEWEST_SPLITS:
            raise InputError(
                f"profiles are one of the whole and {PARTS} of each of at least {FEWEST_SPLITS} "
                f"splits, got {len(profiles)}; measure every part that nested_parts returns"
            )
        noise = tensor.noise_share
        means = np.array([profile.mean for profile in profiles])
        levels = [profile.by_level() for profile in profiles]
        return cls(
            n_samples=tensor.n_samples,
            n_splits=n_splits,
            mean=_curve(means, noise),
            by_level={
                level: _curve(np.array([found[level] for found in levels]), noise)
                for level in levels[0]
            },
        )

    @property
    def noise_share(self) -> float:
        """Share of the squared norm of the tensor that is sampling noise."""
        return self.mean.noise_share

    @property
    def is_saturated(self) -> bool:
        """Whether the number of samples sets the entropies of some level."""
        return any(curve.is_saturated for curve in (self.mean, *self.by_level.values()))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers; entropies in nats, at M, M/2 and M/4 samples."""
        return {
            "n_samples": self.n_samples,
            "n_splits": self.n_splits,
            "confidence": CONFIDENCE,
            "noise_share": self.noise_share,
            "noise": self.mean.is_noise,
            "saturated": self.is_saturated,
            "mean": self.mean.to_dict(),
            "by_level": {str(level): curve.to_dict() for level, curve in self.by_level.items()},
        }


def entanglement_convergence(
    tensor: DataTensor,
    shape: Shape | None = None,
    levels: int | Iterable[int] | None = None,
    tolerance: float = 1e-4,
    strata: ArrayLike | None = None,
    n_splits: int = 8,
    seed: int = 0,
    executor: Executor | None = None,
    progress: bool = False,
) -> Convergence:
    r"""Measure how the entropies of a data tensor depend on its number of samples.

    With :math:`\bar S(M/2)` the mean over random halves, the limit of many samples is
    :math:`2 S(M) - \bar S(M/2)` where the curve supports it, and the spread between halves
    gives an interval.

    Parameters
    ----------
    tensor
        Of M samples, at least 16.
    shape
        Number of features of a sequence (default) or axis lengths of a grid.
    levels
        A number n for the levels 1 to n, or the levels themselves. Default: all.
    tolerance
        Wanted error bound of each entropy, in nats; well below the changes looked for.
    strata
        Class of each sample, shape ``(samples,)``: every half and quarter then keeps the class
        shares, and the intervals are for samples with *these* shares. Default: no classes, which
        allows for shares that vary, as of samples drawn from a source without regard to class.
    n_splits
        Number of random splits into halves and quarters, at least 2. Each costs about
        as much as the whole.
    seed
        Of the splits.
    executor
        Takes the parts in parallel.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    Convergence

    Raises
    ------
    InputError
        If there are fewer than 16 samples or 2 splits, or the strata do not fit.
    PartitionError
        If the shape does not hold the features, or a level does not exist.
    DegenerateStateError
        If the samples of a part cancel.

    Notes
    -----
    The intervals take the samples as drawn independently from a source without end (within
    each class, if there are strata). Halves of one split are independent; different splits share
    samples, so that more of them find the spread between halves more exactly but bring
    nothing new about the source. The intervals mean nothing where the curve is saturated or
    noise.

    Drawn again and again from pools whose own entropy is the truth (breast_cancer, wine, digits,
    semeion, autoregressive chains; 200 to 500 samples, classes as strata, 4 splits), the interval
    at M held the expected S(M) in 90 to 99 % of the draws, and that of the limit, where supported,
    the pool's entropy in 92 to 100 %. The interval at M alone, because of its bias, held the
    pool's entropy in 0 to 96 %. Where noise left hardly a draw supported (sonar, 6 %), the
    limit of those held it in 80 to 91 %. With raw weights and class shares that vary between
    draws, strata bring coverage down to a half: leave them out, or balance the weights.

    Examples
    --------
    Orthogonal samples have the entropy ln M, whatever M:

    >>> import numpy as np
    >>> from entangle import DataTensor, entanglement_convergence
    >>> from entangle.embedding import OneHot
    >>> X = np.repeat(np.arange(32)[:, None], 2, axis=1)
    >>> found = entanglement_convergence(DataTensor(X, embedding=OneHot(32)))
    >>> round(found.mean.slope, 6), found.is_saturated, found.mean.extrapolated
    (1.0, True, None)
    """
    places = nested_parts(tensor.n_samples, strata, n_splits, seed)
    measure = partial(_profile, tensor, shape, levels, tolerance)
    profiles = []
    with progress_bar("halves and quarters", 1 + len(places), progress) as advance:
        for profile in map_ordered(measure, [None, *places], executor):
            profiles.append(profile)
            advance(1)
    return Convergence.from_profiles(tensor, profiles)


def nested_parts(
    n_samples: int, strata: ArrayLike | None = None, n_splits: int = 8, seed: int = 0
) -> list[NDArray[np.int64]]:
    """Places of the samples in random halves and in quarters of these, six parts a split.

    Parameters
    ----------
    n_samples
        Number of samples, at least 16.
    strata
        Class of each sample, shape ``(samples,)``: each part has its share of every class, to
        within one sample a halving.
    n_splits
        Number of splits, at least 2.
    seed
        Of the splits.

    Returns
    -------
    list of array
        Half 0, half 1, the quarters of half 0, those of half 1, of the first split; then the same
        of the next. Ascending places.

    Raises
    ------
    InputError
        If there are too few samples or splits, or the strata are not one class a sample.
    """
    if n_samples < FEWEST_SAMPLES:
        raise InputError(
            f"halves and quarters need at least {FEWEST_SAMPLES} samples, got {n_samples}; pass "
            "more rows"
        )
    if n_splits < FEWEST_SPLITS:
        raise InputError(f"n_splits is at least {FEWEST_SPLITS}, got {n_splits}")
    codes = _codes(strata, n_samples)
    generator = np.random.default_rng(seed)
    parts = []
    for _ in range(n_splits):
        halves = _halved(np.arange(n_samples), codes, generator)
        quarters = [_halved(half, codes, generator) for half in halves]
        parts += [*halves, *quarters[0], *quarters[1]]
    return parts


def _codes(strata: ArrayLike | None, n_samples: int) -> NDArray[np.int64]:
    """Class of each sample as a number; one class if there are none."""
    if strata is None:
        return np.zeros(n_samples, dtype=np.int64)
    labels = as_labels(strata, "strata")
    if is_quantity(labels):
        raise InputError(
            "strata are classes, got a quantity; leave them out, or pass bins of it as whole "
            "numbers"
        )
    if labels.shape != (n_samples,):
        raise InputError(
            f"strata hold one class a sample, shape ({n_samples},), got {labels.shape}; pass the "
            "labels of the rows that are in the tensor"
        )
    return np.unique(labels, return_inverse=True)[1]


def _halved(
    rows: NDArray[np.int64], codes: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two random halves: neighbours in an order by class part ways, by the toss of a coin."""
    order = generator.permutation(rows.size)
    order = order[np.argsort(codes[rows[order]], kind="stable")]
    coins = generator.random((rows.size + 1) // 2) < 0.5
    first = np.empty(rows.size, dtype=bool)
    first[order] = np.stack([coins, ~coins], axis=1).ravel()[: rows.size]
    return rows[first], rows[~first]


def _profile(
    tensor: DataTensor,
    shape: Shape | None,
    levels: int | Iterable[int] | None,
    tolerance: float,
    places: NDArray[np.int64] | None,
) -> EntanglementProfile:
    part = tensor if places is None else tensor.take(places)
    return entanglement_profile(part, shape, levels, tolerance)


def _curve(values: NDArray[np.float64], noise_share: float) -> SampleCurve:
    """Curve of the entropies of the whole and of the parts, split by split."""
    parts = values[1:].reshape(-1, PARTS)
    return SampleCurve(float(values[0]), parts[:, :2], parts[:, 2:], noise_share)
