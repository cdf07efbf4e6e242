"""A data tensor projected on a tensor network: its tensors, and how far it is from the original."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["TruncatedTensor"]


@dataclass(frozen=True)
class TruncatedTensor:
    """Orthogonal projection of a data tensor, as the tensors of a network.

    Attributes
    ----------
    shape
        Axis lengths of the features.
    tensors
        One a node, see :func:`hierarchical_svd` and :func:`chain_svd`; float64, without the
        factor ``exp(log_scale)``.
    widths
        Length of the bond of each node to its parent (of each site to the next); the root's, and
        the last site's, is the number of labels. Shape ``(nodes,)``.
    levels
        Level of each node, the root's 0; in a chain the place of the site. Shape ``(nodes,)``.
    discarded_weight
        What each node discarded of the exact data tensor, as a share of its squared norm, rounding
        included; shape ``(nodes,)``.
    error
        Distance of the network from the data tensor over the norm of that. It is the root of a
        difference of squared norms: about 1e-8 and less is rounding.
    rounding
        Allowance for rounding of ``error ** 2``.
    log_scale
        Logarithm of the factor left out.
    """

    shape: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    widths: NDArray[np.int64]
    levels: NDArray[np.int64]
    discarded_weight: NDArray[np.float64]
    error: float
    rounding: float
    log_scale: float

    @property
    def error_bound(self) -> float:
        """Root of the sum of the discarded weights, and rounding: at least the error, proven."""
        return math.sqrt(float(self.discarded_weight.sum()) + self.rounding)

    @property
    def certified_error(self) -> float:
        """Upper end of the error with its rounding."""
        return math.sqrt(self.error**2 + self.rounding)

    @property
    def width(self) -> int:
        """Longest bond, that of the labels left out."""
        return int(self.widths[self._inner].max())

    @property
    def n_parameters(self) -> int:
        """Number of elements of all tensors."""
        return sum(tensor.numel() for tensor in self.tensors)

    def by_level(self) -> dict[int, int]:
        """Longest bond of each level below the root, or of each place of a chain but the last."""
        levels = self.levels[self._inner]
        return {
            int(level): int(self.widths[self._inner][levels == level].max())
            for level in np.unique(levels)
        }

    @property
    def _inner(self) -> NDArray[np.bool_]:
        return np.arange(len(self.levels)) != self._top

    @property
    def _top(self) -> int:
        """Place of the tensor that holds the labels."""
        return int(np.argmin(self.levels)) if self.levels[0] == 0 else len(self.levels) - 1
