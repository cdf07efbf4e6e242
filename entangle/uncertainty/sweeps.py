"""The relation at several widths of the envelope, and in brief."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from entangle.arrays import as_array
from entangle.errors import InputError
from entangle.training import require_count
from entangle.uncertainty.relation import uncertainty_relation
from entangle.uncertainty.result import UncertaintyRelation

__all__ = ["tau_sweep", "uncertainty_summary"]


def tau_sweep(
    model: object,
    x0: object,
    y: object,
    taus: Sequence[float],
    *,
    random_state: int = 0,
    **options: Any,
) -> tuple[UncertaintyRelation, ...]:
    """Find the relation at each width, with the same draws but for their scale.

    Parameters
    ----------
    model, x0, y
        As for :func:`uncertainty_relation`.
    taus
        Widths, in the units of ``x0``.
    random_state
        Seed of the draws.
    options
        Of :func:`uncertainty_relation`.

    Examples
    --------
    >>> found = tau_sweep(torch.nn.Linear(2, 2), [[0.0, 1.0]], [0], [0.1, 0.2])
    >>> [float(one.tau[0]) for one in found]
    [0.1, 0.2]
    """
    if not len(taus):
        raise InputError("taus are one or more widths, got none")
    return tuple(
        uncertainty_relation(
            model, x0, y, tau=tau, generator=torch.Generator().manual_seed(random_state), **options
        )
        for tau in taus
    )


def uncertainty_summary(
    model: object,
    X: object,
    y: object,
    *,
    max_samples: int = 50,
    draws: int = 1024,
    random_state: int = 0,
    **options: Any,
) -> UncertaintyRelation:
    """Find the relation on a few samples, to show beside a robustness curve.

    Parameters
    ----------
    model, X, y
        As for :func:`entangle.adversarial.robustness_curve`; the model has gradients.
    max_samples
        Samples drawn at random if there are more.
    draws
        A packet.
    random_state
        Seed of samples and draws.
    options
        Of :func:`uncertainty_relation`.

    Returns
    -------
    UncertaintyRelation
        Its ``to_text`` is three or four lines, its ``to_dict`` is fit for JSON.

    Examples
    --------
    >>> module = torch.nn.Linear(2, 2)
    >>> print(uncertainty_summary(module, [[0.0, 1.0]] * 9, [0] * 9, tau=0.1).to_text()[:38])
    gaussian packet, tau 0.1, 9 packets, m
    """
    require_count("max_samples", max_samples)
    samples = X if isinstance(X, Tensor) else as_array(X, "X")
    labels = y if isinstance(y, Tensor) else np.asarray(y)
    if len(samples) > max_samples and len(labels) == len(samples):
        rows = np.random.default_rng(random_state).permutation(len(samples))[:max_samples]
        samples, labels = samples[np.sort(rows)], labels[np.sort(rows)]
    source = torch.Generator().manual_seed(random_state)
    return uncertainty_relation(model, samples, labels, draws=draws, generator=source, **options)
