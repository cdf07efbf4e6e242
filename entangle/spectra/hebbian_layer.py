r"""A layer of units that learn by competition: no labels, no gradients, one product a batch.

Every unit has weights W of p-norm R in the end. With the product
:math:`\langle X, Y \rangle_\mu = \sum_i X_i Y_i |W_{\mu i}|^{p-2}`, unit :math:`\mu` responds with
:math:`h_\mu = \langle W_\mu, v \rangle_\mu`. For each sample the unit that responds most moves
towards it, and the one of rank k away from it.

Source: Krotov and Hopfield 2019, doi:10.1073/pnas.1820458116, from the published code
(DimaKrotov/Biological_Learning) and that of arXiv:2405.00679 (holzhauk/LocalLearning); the body of
the first was not at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from entangle.arrays import as_array
from entangle.epochs import Callback, Epoch, run_epochs
from entangle.errors import InputError
from entangle.memory import free_memory, require_memory
from entangle.training import require_count

__all__ = ["HebbianConvergence", "LocalHebbianLayer"]

SMALLEST = 1e-9  # that the largest change is divided by
_ROWS = 1000  # scaled at once


@dataclass(frozen=True, eq=False)
class HebbianConvergence:
    """Whether units have the norm that they converge to.

    Attributes
    ----------
    norms
        p-norm of the weights of each unit, shape ``(units,)``; 0: pruned, and not counted.
    means
        Mean weight of each unit, shape ``(units,)``.
    radius
        That norms converge to.
    tolerance
        Largest distance from the radius that counts as converged.
    """

    norms: Tensor
    means: Tensor
    radius: float
    tolerance: float

    @property
    def near(self) -> Tensor:
        """Whether each unit has converged, shape ``(units,)``."""
        return (self.norms - self.radius).abs() <= self.tolerance

    @property
    def share(self) -> float:
        """Share of the units that are not pruned which have converged."""
        alive = self.norms > 0
        return float(self.near[alive].double().mean()) if bool(alive.any()) else 0.0

    @property
    def n_negative(self) -> int:
        """Units whose mean weight is below minus half the radius: they never win again."""
        return int((self.means < -self.radius / 2).sum())

    @property
    def converged(self) -> bool:
        """Whether at least 90 % of the units have, and none is negative, as published."""
        return self.share >= 0.9 and self.n_negative == 0


class LocalHebbianLayer(nn.Module):
    r"""Units that compete for samples, learned by the minibatch rule.

    .. math::
        \Delta W_\mu &= R^p \sum_b g_{b\mu} v_b - \Big(\sum_b g_{b\mu} h_{b\mu}\Big) W_\mu \\
        W &\leftarrow W + \eta \, \Delta W / \max(\max |\Delta W|, 10^{-9})

    with g = 1 for the unit that responds most to sample b, :math:`-\Delta` for that of rank k, else
    0. A unit that wins a single sample alone converges to :math:`W = R v / \|v\|_p`.

    Parameters
    ----------
    n_features, n_units
        Numbers that a sample has, and units.
    p
        Of norm and product, at least 2.
    k
        Rank of the unit that moves away, from 1; 1: none does.
    delta
        How far, relative to the winner: at least 0.
    radius
        R, p-norm of what has converged.
    power
        n of the outputs :math:`\max(h, 0)^n`, at least 1. ``None``: outputs are h.
    normalise
        Divide every sample by its p-norm first, in learning as in evaluation. A sample of zeros
        stays.
    generator
        Of first weights, standard normal; on the CPU. Default: torch's own.
    device, dtype
        Of the weights.

    Attributes
    ----------
    weight
        Shape ``(units, features)``; a parameter that asks for no gradient.

    Raises
    ------
    InputError
        If an option is not as described.
    MemoryLimitError
        If weights would not fit.

    Notes
    -----
    This is the fast rule, which ranks by h. The reference implementation goes sample by sample and
    ranks by h over a power of the unit's norm; both agree where norms have converged. Sums over
    a batch depend on its order only to rounding; on CUDA that order, and so the last bits, change
    from run to run unless ``torch.use_deterministic_algorithms(True)`` is set.

    For p above 2 a unit of a single sample that starts with too negative a response runs away from
    it instead, along :math:`-v`; among many units such a one does not win.
    :attr:`HebbianConvergence.n_negative` counts what ends there.

    Examples
    --------
    >>> seed = torch.Generator().manual_seed(2)
    >>> layer = LocalHebbianLayer(3, 1, k=1, generator=seed)
    >>> history = layer.learn([[1.0, 2.0, 2.0]], max_epochs=1000)
    >>> torch.allclose(layer.weight, torch.tensor([[1.0, 2.0, 2.0]]) / 17 ** (1 / 3), atol=1e-3)
    True
    """

    def __init__(
        self,
        n_features: int,
        n_units: int,
        *,
        p: float = 3.0,
        k: int = 2,
        delta: float = 0.4,
        radius: float = 1.0,
        power: float | None = 4.5,
        normalise: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        for name, count in (("n_features", n_features), ("n_units", n_units), ("k", k)):
            require_count(name, count)
        if k > n_units:
            raise InputError(f"k is at most n_units, got k={k} of {n_units} units")
        _require_at_least("p", p, 2)
        _require_at_least("delta", delta, 0)
        _require_at_least("power", 1 if power is None else power, 1)
        _require_at_least("radius", radius, 0, above=True)
        self.p, self.k, self.delta, self.radius = float(p), int(k), float(delta), float(radius)
        self.power, self.normalise = power, normalise
        needed = 2.0 * n_units * n_features * dtype.itemsize  # weights and their change
        require_memory(needed, f"a layer of {n_units} units that learns", _free(device))
        first = torch.randn(n_units, n_features, generator=generator, dtype=dtype).to(device)
        self.weight = nn.Parameter(first, requires_grad=False)

    # -- evaluation ------------------------------------------------------------------------

    def forward(self, samples: Tensor) -> Tensor:
        """Return outputs, shape ``(batch, units)``, differentiable in the samples.

        Parameters
        ----------
        samples
            Shape ``(batch, ...)``; axes after the first are read row-major.
        """
        responses = self.responses(self.values(samples))
        return responses if self.power is None else responses.relu() ** self.power

    def values(self, samples: Tensor) -> Tensor:
        """Flatten and normalise samples, in the precision of the weights."""
        values = samples.flatten(1)
        if not values.is_floating_point():
            values = values.to(self.weight.dtype)
        if self.normalise:  # by the largest entry first, so that no power overflows
            values = values / _nonzero(values.detach().abs().amax(1, keepdim=True))
            norms = torch.linalg.vector_norm(values, self.p, dim=1, keepdim=True)
            values = values / norms.clamp_min(1)  # it is below 1 for zeros alone
        return values.to(self.weight.dtype)

    def responses(self, values: Tensor) -> Tensor:
        """Responses h to values, shape ``(batch, units)``."""
        return values @ self.linear_weight().T

    def linear_weight(self) -> Tensor:
        r"""Matrix of the linear map from values to responses, shape ``(units, features)``.

        .. math:: \operatorname{sign}(W) |W|^{p-1}
        """
        return self.weight * self.weight.abs() ** (self.p - 2)

    @torch.no_grad()
    def convergence(self, tolerance: float = 1e-2) -> HebbianConvergence:
        """Norms and means of the weights, judged.

        Parameters
        ----------
        tolerance
            Largest distance of a norm from the radius, as published.
        """
        weight = self.weight.double()
        norms = torch.linalg.vector_norm(weight, self.p, dim=1)
        return HebbianConvergence(norms, weight.mean(1), self.radius, tolerance)

    # -- learning --------------------------------------------------------------------------

    def learn(
        self,
        samples: Any,
        *,
        learning_rate: float | Callable[[int], float] = 0.02,
        max_epochs: int = 200,
        batch_size: int = 1000,
        generator: torch.Generator | None = None,
        on_epoch: Callback | None = None,
        progress: bool = False,
    ) -> tuple[Epoch, ...]:
        r"""Learn from samples, in place.

        Parameters
        ----------
        samples
            Shape ``(samples, ...)``, finite, not all 0. A copy in the precision of the weights
            stays on the device of a tensor, and batches are moved.
        learning_rate
            Largest change of a weight in a batch of the first epoch; it falls along a line to 0
            after the last. Or a function from the number of an epoch, from 0, to the rate.
        max_epochs
            Passes through the samples. Published: 1000.
        batch_size
            Samples whose changes are summed.
        generator
            Of the order of the samples, on the CPU. Default: torch's own.
        on_epoch, progress
            As for :func:`~entangle.epochs.run_epochs`.

        Returns
        -------
        tuple of Epoch
            One an epoch; the loss is the mean distance of the units' norms from the radius, of
            the weights after the epoch.

        Raises
        ------
        InputError
            If samples or options are not as described.

        Notes
        -----
        Ctrl-C ends learning with a warning; what was learned stays. In the first epoch it is
        passed on, and what was learned stays, too.
        """
        for name, count in (("max_epochs", max_epochs), ("batch_size", batch_size)):
            require_count(name, count)
        rate = learning_rate if callable(learning_rate) else _falling(learning_rate, max_epochs)
        run = _Run(self, self._checked(samples), rate, batch_size, generator)
        return run_epochs(run, max_epochs, on_epoch=on_epoch, progress=progress)

    @torch.no_grad()
    def change(self, values: Tensor) -> Tensor:
        r"""Sum :math:`\Delta W` of a batch, shape ``(units, features)``.

        Parameters
        ----------
        values
            As :meth:`values` returns them, where the weights are.
        """
        ranked = self.responses(values).topk(self.k, dim=1)
        found = torch.zeros_like(self.weight)
        pulls = found.new_zeros(len(found))
        for place, share in ((0, 1.0), (self.k - 1, -self.delta))[: self.k]:
            units = ranked.indices[:, place]
            found.index_add_(0, units, values, alpha=share)
            pulls.index_add_(0, units, ranked.values[:, place], alpha=share)
        return found.mul_(self.radius**self.p).addcmul_(pulls[:, None], self.weight, value=-1)

    @torch.no_grad()
    def step(self, values: Tensor, rate: float) -> None:
        """Move the weights by the change of a batch, its largest entry scaled to the rate."""
        change = self.change(values)
        self.weight.add_(change.mul_(rate / change.abs().max().clamp_min(SMALLEST)))

    def _checked(self, samples: Any) -> Tensor:
        """Values of all samples.

        Raises
        ------
        InputError
            If there is nothing to learn from.
        """
        given = samples if isinstance(samples, Tensor) else _tensor(samples)
        n_features = self.weight.shape[1]
        if given.ndim < 2 or not len(given) or given[0].numel() != n_features:
            raise InputError(
                f"samples have shape (samples, {n_features}), got {tuple(given.shape)}; build the "
                "layer with as many features as samples have"
            )
        if given.is_complex() or not bool(torch.isfinite(given).all()):
            raise InputError(
                "samples are finite real numbers, got complex ones, NaN or infinity; drop or "
                "fill what is missing"
            )
        if not bool(given.any()):
            raise InputError("samples are all 0, units have nothing to learn; pass the data")
        return torch.cat([self.values(block) for block in given.detach().split(_ROWS)])


class _Run:
    """A layer that learns epoch by epoch."""

    unit = "epochs"

    def __init__(
        self,
        layer: LocalHebbianLayer,
        values: Tensor,
        rate: Callable[[int], float],
        batch_size: int,
        generator: torch.Generator | None,
    ) -> None:
        self.layer, self.values, self.rate = layer, values, rate
        self.batch_size, self.generator = batch_size, generator
        self.done = 0

    def epoch(self) -> float:
        """Learn from every batch; return the mean distance of norms from the radius."""
        order = torch.randperm(len(self.values), generator=self.generator)
        rate = _require_at_least("learning_rate", self.rate(self.done), 0)
        for rows in order.to(self.values.device).split(self.batch_size):
            self.layer.step(self.values[rows].to(self.layer.weight.device), rate)
        self.done += 1
        found = self.layer.convergence()
        return float((found.norms - found.radius).abs().mean())

    def measured(self) -> tuple[float, float]:
        """There is nothing to validate."""
        return math.nan, math.nan

    def state(self) -> Sequence[Tensor]:
        """Copy the weights."""
        return [self.layer.weight.clone()]

    def finish(self, best: Sequence[Tensor] | None) -> None:
        """Keep what was learned."""


def _falling(first: object, max_epochs: int) -> Callable[[int], float]:
    """Rates that fall along a line, from the first epoch's."""
    largest = _require_at_least("learning_rate", first, 0, above=True)
    return lambda number: largest * (1 - number / max_epochs)


def _free(device: torch.device | str | None) -> float:
    return free_memory(None if device is None else torch.device(device))


def _nonzero(scales: Tensor) -> Tensor:
    return torch.where(scales > 0, scales, torch.ones_like(scales))


def _tensor(samples: Any) -> Tensor:
    array = as_array(samples, "samples")
    if array.dtype.kind not in "buif":
        raise InputError(f"samples are real numbers, got dtype {array.dtype}; encode them as such")
    return torch.from_numpy(array.copy())


def _require_at_least(name: str, value: Any, least: float, *, above: bool = False) -> float:
    """Return a finite number of at least, or above, a bound.

    Raises
    ------
    InputError
        If it is not.
    """
    usable = isinstance(value, Real) and least <= float(value) < math.inf
    if not usable or (above and value == least):
        kind = "above" if above else "of at least"
        raise InputError(f"{name} is a finite number {kind} {least:g}, got {value!r}")
    return float(value)
