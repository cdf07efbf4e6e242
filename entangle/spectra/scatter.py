r"""Scatter of samples that come in batches, without cancellation.

A batch of b samples with mean :math:`m` that joins s samples with mean :math:`\mu` adds to their
scatter that of its rows about :math:`m`, and
:math:`\frac{s b}{s + b} (m - \mu)(m - \mu)^T`. Both are sums of squares, so nothing cancels,
however large the mean is.

Source: Chan, Golub, LeVeque 1983, The American Statistician 37, 242.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from entangle.errors import InputError

__all__ = ["CentredRows", "add_products", "covariance_matrix", "require_variance"]

BLOCK = 256  # rows of a product at once; the half above the diagonal is left out, block by block


class CentredRows:
    """Rows whose scatter about 0 is that of batches of samples about their mean.

    Attributes
    ----------
    n_samples, n_units
        Seen so far.
    scatter
        Sum of squares so far: ``n_samples - 1`` times the total variance.
    """

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self.batches = batches
        self.n_samples, self.n_units, self.scatter = 0, 0, 0.0

    def __iter__(self) -> Iterator[Tensor]:
        """Yield rows batch by batch, shape ``(rows, units)``, double precision."""
        mean = origin = None
        for batch in self.batches:
            values = batch.double()
            origin = values[0].clone() if origin is None else origin
            values = values - origin  # what is constant is 0 exactly, and not what rounding leaves
            centre, count = values.mean(dim=0), len(values)
            rows = values - centre
            joined = self.n_samples + count
            if mean is None:
                mean = centre
            else:
                shift = centre - mean
                rows = torch.cat([rows, math.sqrt(self.n_samples * count / joined) * shift[None]])
                mean = mean + shift * (count / joined)
            self.n_samples, self.n_units = joined, values.shape[1]
            self.scatter += float(rows.square().sum())
            yield rows


def require_variance(n_samples: int, scatter: float) -> int:
    """Degrees of freedom, ``n_samples - 1``, of samples that have a covariance.

    Raises
    ------
    InputError
        If there are fewer than 2, or their sum of squares about the mean is 0 or overflows.
    """
    if n_samples < 2:
        raise InputError(f"a covariance needs at least 2 samples, got {n_samples}; pass more")
    if not 0 < scatter < math.inf:
        raise InputError(
            f"the total variance of the activations is {scatter / (n_samples - 1):.3g}, expected a "
            "positive finite number; choose samples that differ, and units in which they can be "
            "squared"
        )
    return n_samples - 1


def add_products(total: Tensor, factor: Tensor) -> None:
    """Add ``factor @ factor.T`` in place, but only the lower triangle, in blocks of rows.

    Parameters
    ----------
    total
        Shape ``(n, n)``; what is above the diagonal afterwards means nothing.
    factor
        Shape ``(n, anything)``.
    """
    for begin in range(0, len(factor), BLOCK):
        end = begin + BLOCK
        total[begin:end, :end].addmm_(factor[begin:end], factor[:end].T)


def covariance_matrix(batches: Iterable[Tensor]) -> Tensor:
    """Sample covariance (ddof=1) of batches, shape ``(units, units)``, double precision.

    Raises
    ------
    InputError
        If there is no variance, or less than 2 samples.
    """
    rows = batches if isinstance(batches, CentredRows) else CentredRows(batches)
    total = None
    for part in rows:
        total = part.new_zeros(part.shape[1], part.shape[1]) if total is None else total
        add_products(total, part.T)
    freedom = require_variance(rows.n_samples, rows.scatter)
    assert total is not None
    return total.tril_().add_(total.tril(-1).T).div_(freedom)
