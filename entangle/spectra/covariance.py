r"""Spectrum of the covariance of a layer's activations, from batches, for up to 100,000 units.

Source: Stringer et al. 2019, Nature 571, 361, and arXiv:2405.00679 (spectra of neural codes).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from entangle.errors import InputError
from entangle.memory import free_memory, require_memory
from entangle.progress import progress_bar
from entangle.spectra.activations import Activations
from entangle.spectra.eigenvalues import CovarianceSpectrum
from entangle.spectra.routes import (
    PASSES,
    Needs,
    by_covariance,
    by_gram,
    by_random_subspace,
)
from entangle.training import require_count

__all__ = ["covariance_spectrum"]

ROUTES = ("auto", "covariance", "gram", "randomised")


def covariance_spectrum(
    model_or_activations: Any,
    X: Any = None,
    layer: str | None = None,
    *,
    units: slice | Sequence[int] | None = None,
    route: str = "auto",
    n_leading: int = 500,
    tolerance: float = 1e-2,
    batch_size: int = 512,
    max_memory: float | None = None,
    seed: int = 0,
    progress: bool = False,
) -> CovarianceSpectrum:
    r"""Eigenvalues of the sample covariance of a layer's activations, in double precision.

    .. math:: C = \frac{1}{M - 1} \sum_{m=1}^M (h_m - \bar h)(h_m - \bar h)^T

    Parameters
    ----------
    model_or_activations
        A torch module, run in evaluation mode where its parameters are. Or activations: an array
        or tensor ``(samples, ...)``, or an iterable of such batches; more axes are flattened.
        A list of batches or a ``DataLoader`` is read once more, to count samples.
    X
        Inputs of the module: array, tensor, or iterable of batches such as a ``DataLoader``; of
        batches ``(inputs, labels)`` the first entry counts.
    layer
        Part of the module whose output is meant, as in ``named_modules()``. Default: the last.
    units
        Of flattened activations, a slice or numbers. Default: all.
    route
        ``"covariance"``: the matrix of all units, in one pass. ``"gram"``: that of all samples,
        whose activations are held. ``"randomised"``: the leading eigenvalues alone, by several
        passes. ``"auto"``: the cheaper one of the first two that fits in memory, else the third;
        of an iterator, whose length is not known beforehand, the first one.
    n_leading
        Eigenvalues of the randomised route.
    tolerance
        Relative error of each at which the randomised route ends; after 20 passes it ends anyway.
    batch_size
        Samples at once, unless batches are given.
    max_memory
        Bytes that may be used. Default: what is free where the activations are.
    seed
        Of the random start.
    progress
        Show a progress bar on a terminal.

    Returns
    -------
    CovarianceSpectrum
        Eigenvalues, their errors, and what was done.

    Raises
    ------
    InputError
        If activations are not finite or do not vary, there is one sample, a layer is unknown, or
        batches that come once are asked for twice.
    MemoryLimitError
        If the chosen route does not fit.

    Notes
    -----
    Randomised route: from a subspace wider than asked for by a quarter, C is applied and the
    result orthonormalised until errors are small. Eigenvalues within the subspace are at most the
    true ones. With r the length of :math:`C v - \lambda v`, an eigenvalue of C lies within r of
    :math:`\lambda`, for certain; ``errors`` are the second-order estimates
    :math:`\min(r, r^2 / (\lambda - \lambda_\text{last}))` with the last one of the subspace, and
    presume that the random start missed none of the leading directions. Flat spectra converge
    slowly; the errors say so.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 3)) * [3.0, 2.0, 1.0] + 1e6
    >>> found = covariance_spectrum(X)
    >>> found.eigenvalues.round(1), found.route
    (array([8.7, 3.7, 1. ]), 'covariance')
    """
    if route not in ROUTES:
        raise InputError(f"route is one of {', '.join(ROUTES)}, got {route!r}")
    require_count("n_leading", n_leading)
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance is between 0 and 1, got {tolerance!r}")
    source = Activations(model_or_activations, X, layer, units, batch_size)
    iterator = iter(source)
    first = next(iterator, None)
    if first is None:
        raise InputError("there are no samples; an iterator that was read before is at its end")
    batches = source if source.repeatable else itertools.chain([first], iterator)
    needs = Needs(source.n_samples, first.shape[1], first.element_size(), n_leading)
    memory = free_memory(first.device) if max_memory is None else max_memory
    route = needs.cheapest(memory) if route == "auto" else route
    repair = "choose another route, fewer units, or a machine with more memory"
    require_memory(needs.memory(route), f"the {route} route", memory, repair)
    if route == "randomised" and not source.repeatable:
        raise InputError(
            "the randomised route reads batches several times, got an iterator that comes once; "
            "pass an array, a list of batches, or a DataLoader"
        )
    passes = PASSES if route == "randomised" else 1
    n_batches = passes * -(-(source.n_samples or 0) // batch_size)
    with progress_bar("spectrum", n_batches, progress) as advance:
        read = partial(_watched, batches, advance)
        if route == "covariance":
            return by_covariance(read)
        if route == "gram":
            return by_gram(read, source.n_samples)
        return by_random_subspace(read, first, needs, tolerance, seed)


def _watched(batches: Iterable[Tensor], advance: Callable[[int], None]) -> Iterator[Tensor]:
    for batch in batches:
        yield batch
        advance(1)
