r"""Width of a tree tensor network: what a given error needs, and what suffices for it.

A tree network of width R has Schmidt rank at most R across every canonical cut. From the exact
spectra of the data tensor D follow two lower bounds for a network at relative distance
:math:`\varepsilon`: by Eckart and Young, R is too small if the Schmidt weights beyond the first R
sum to more than :math:`\varepsilon^2`; and by the continuity of the entropy,

.. math:: QE(D; K) \le \ln R + 2 \varepsilon \ln D_K + 2 \sqrt{2 \varepsilon},

with :math:`D_K` the smaller dimension of the cut. The hierarchical SVD gives a network, and so a
width that suffices, with its error known.

Source: Alexander et al. 2023, arXiv:2303.11249, theorems on tree tensor networks (necessary,
sufficient, constructive). Measuring the width instead of bounding it by entropies is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.axes import Shape
from entangle.data_tensor import DataTensor
from entangle.entropy import EntanglementProfile, entanglement_profile
from entangle.errors import InputError, PartitionError
from entangle.partition import CanonicalTree
from entangle.progress import progress_bar
from entangle.reduction import Reduction
from entangle.truncated_tensor import TruncatedTensor

__all__ = ["WidthBounds", "necessary_widths", "width_bounds"]

TRIES = 7  # uniform widths that are tried at most
FIRST_SHARE = 0.6  # of the widest bond that one threshold for all blocks leaves
NEGLIGIBLE = 1e-3  # share of the allowed squared error that all small eigenvalues may add up to
UNIT = 1e-9  # of a logarithm, for its rounding


@dataclass(frozen=True)
class WidthBounds:
    """How wide a tree tensor network has to be to come near a data tensor.

    Attributes
    ----------
    error
        Allowed distance over the norm of the data tensor.
    lower_by_level
        Bond length at each measured level below which no tree network comes so near.
    sufficient_by_level
        Longest bonds of a tree network that does, at each level; empty if none was found.
    achieved
        Certified error of that network, or the least error found if none does.
    most
        Widest bond that was allowed in the search; ``None`` for any, 0 if there was no search.
    """

    error: float
    lower_by_level: dict[int, int]
    sufficient_by_level: dict[int, int]
    achieved: float
    most: int | None

    @property
    def lower(self) -> int:
        """Width that every tree network within the error has at least."""
        return max(self.lower_by_level.values())

    @property
    def sufficient(self) -> int | None:
        """Width of a tree network within the error, if one was found."""
        return max(self.sufficient_by_level.values(), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and dictionaries."""
        return {
            "relative_error": self.error,
            "lower_bound": self.lower,
            "lower_bound_by_level": {str(k): v for k, v in self.lower_by_level.items()},
            "sufficient": self.sufficient,
            "sufficient_by_level": {str(k): v for k, v in self.sufficient_by_level.items()},
            "achieved_error": None if math.isnan(self.achieved) else self.achieved,
            "widest_tried": self.most,
        }

    def to_text(self) -> str:
        """One line."""
        within = f"within {self.error:.0%}"
        line = f"a tree network of any width may come {within}"
        if self.lower > 1:
            line = (
                f"a tree network narrower than {self.lower} misses the data by more than "
                f"{self.error:.0%}"
            )
        if self.sufficient is not None:
            return (
                f"{line}; one of width {self.sufficient} comes {within} (certified "
                f"{self.achieved:.1%})"
            )
        if self.most == 0:
            return f"{line}; no sufficient width was sought"
        return f"{line}; one of width {self.most} was found to come within {self.achieved:.1%}"


def necessary_widths(
    profile: EntanglementProfile, error: float, local_dim: int
) -> NDArray[np.int64]:
    """Bond length that each cut asks of a tree network within an error.

    Parameters
    ----------
    profile
        Spectra and entropies of the cuts, with their certificates.
    error
        Allowed distance over the norm, between 0 and 1.
    local_dim
        Length of a local vector.

    Returns
    -------
    ndarray
        Shape ``(cuts,)``; the larger of the bounds from the spectrum and from the entropy. Error
        bounds of the profile lower it and cannot make it wrong.
    """
    sizes = np.array([min(p.block.size, p.complement.size) for p in profile.partitions])
    lost = 2 * error * sizes * math.log(local_dim) + 2 * math.sqrt(2 * error)
    logarithm = profile.entropy - profile.error_bound - lost - UNIT
    from_entropy = np.ceil(np.exp(np.maximum(logarithm, 0.0))).astype(np.int64)
    return np.maximum(profile.minimal_widths(error), from_entropy)


def width_bounds(
    tensor: DataTensor,
    error: float = 0.1,
    shape: Shape | None = None,
    *,
    profile: EntanglementProfile | None = None,
    most: int | None = None,
    tolerance: float = 1e-4,
    max_memory: float | None = None,
    progress: bool = False,
) -> WidthBounds:
    """Bound the width of tree tensor networks that come near a data tensor.

    Parameters
    ----------
    tensor
        Weighted sum of product states.
    error
        Allowed distance over the norm, between 0 and 1.
    shape
        Number of features of a sequence (default) or axis lengths of a grid.
    profile
        Entanglement profile of the same tensor and shape, if there is one already.
    most
        Widest bonds to try; 0 leaves out the search for a sufficient width. Default: any.
    tolerance
        Of the profile in nats, if it has to be measured.
    max_memory
        Bytes that may be used. Default: the memory that is free now.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    WidthBounds
        The sufficient width is the smallest for which the hierarchical SVD was found to certify
        the error, not the smallest there is.

    Raises
    ------
    InputError
        If the error is not between 0 and 1.
    PartitionError
        If the shape does not hold the features, or the profile is of other cuts.
    MemoryLimitError
        Before anything too large is allocated.
    """
    if not 0 < error < 1:
        raise InputError(f"error is a share of the norm between 0 and 1, got {error!r}")
    if most is not None and most < 0:
        raise InputError(f"most is the widest bond to try, 0 or more, got {most!r}")
    given = tensor.n_features if shape is None else shape
    if profile is None:
        profile = entanglement_profile(
            tensor, given, tolerance=tolerance, progress=progress, max_memory=max_memory
        )
    _check_profile(profile, CanonicalTree(given))
    needed = necessary_widths(profile, error, tensor.local_dim)
    lower = {int(k): int(needed[profile.levels == k].max()) for k in np.unique(profile.levels)}
    if most == 0:
        return WidthBounds(error, lower, {}, math.nan, 0)
    reduction = Reduction.on_tree(tensor, given, max_memory)
    with progress_bar("widths", TRIES + 1, progress) as advance:
        found = _narrowest(reduction, error, max(lower.values()), most, advance)
    meets = found.certified_error <= error
    return WidthBounds(error, lower, found.by_level() if meets else {}, found.certified_error, most)


def _check_profile(profile: EntanglementProfile, tree: CanonicalTree) -> None:
    canonical = {tree.partition(node) for node in tree.nodes}
    if not canonical.issuperset(profile.partitions):
        raise PartitionError(
            f"the profile holds cuts that shape {tree.shape} has not; measure it with "
            f"entanglement_profile(tensor, {tree.shape})"
        )


def _narrowest(
    reduction: Reduction,
    error: float,
    lower: int,
    most: int | None,
    advance: Callable[[int], None],
) -> TruncatedTensor:
    """Find the smallest uniform width that comes within an error, or come as near as allowed."""
    best = reduction.within(error, reduction.widths(most)).result
    advance(1)
    if best.certified_error > error:
        return best
    small = NEGLIGIBLE * error**2 / len(reduction.nodes)
    low, high = lower - 1, best.width  # too narrow, and wide enough
    width, before = round(FIRST_SHARE * high), (0, 0.0)
    for _ in range(TRIES):
        if high - low < 2:
            break
        width = min(max(width, low + 1), high - 1)
        found = reduction.truncated(reduction.widths(width), small).result
        advance(1)
        reached = found.certified_error
        if reached <= error:
            best, high = found, width
        else:
            low = width
        power = 1.0
        if before[0] and reached != before[1] and reached > 0:
            power = math.log(reached / before[1]) / math.log(before[0] / width)
        before = (width, reached)
        width = math.ceil(width * (reached / error) ** (1 / min(max(power, 0.3), 3.0)))
    return best
