r"""Schmidt spectrum of one cut, from the Gram matrices of its two sides, with a certificate.

Let A (samples x rows) and B (samples x columns) hold the sample vectors of the two sides, so that
the matricised tensor is :math:`A^T B`. With :math:`G = A A^T` and :math:`H = B B^T` its squared
singular values are the eigenvalues of :math:`L^T H L` for any factor :math:`G = L L^T`, and their
sum, :math:`\sum_{mm'} G_{mm'} H_{mm'}`, is the same for every cut of one tensor. Restricting the
row side to a subspace can only shrink singular values, one by one, so what is missing from the
known sum is the discarded weight w exactly, and the true spectrum is the one found with w spread
over it. Entropy is concave: it is lowest with all of w on the largest weight, and highest with w
poured on the smallest until they are level. The middle of that interval is the entropy reported,
half its width the error bound; rounding goes through the Fannes-Audenaert inequality.

Source: Alexander et al. 2023, arXiv:2303.11249, appendix on computing entanglement. Range
finder: Halko, Martinsson, Tropp 2011, SIAM Review 53, 217. Entropy bound: Audenaert 2007,
J. Phys. A 40, 8127. The interval, about half of Audenaert's bound to either side, is ours.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs
from torch import Tensor

from entangle.axes import GramMatrix

__all__ = [
    "CutSpectrum",
    "density_spectrum",
    "discarded_weight_for",
    "entropy_error_bound",
    "entropy_interval",
    "gram_factor",
    "gram_spectrum",
    "stochastic_spectrum",
]

BLOCKS = 6  # of a triangular product
FIRST_SKETCH = 48  # columns of the first random sketch
DENSE_FRACTION = 0.4  # sketches wider than this share of the samples cost more than dense
SUBSPACE = 128  # largest weights found apart from a stochastic estimate
PROBES = 16  # random vectors of a stochastic estimate
LANCZOS_STEPS = 20


@dataclass(frozen=True)
class CutSpectrum:
    """Schmidt spectrum of a cut, normalised by the squared norm of the whole tensor.

    Attributes
    ----------
    weights
        Squared Schmidt values over their exact total, descending, shape ``(kept,)``. The true
        ones are as large or larger, one by one.
    missing
        Share of the total that ``weights`` does not hold.
    rounding
        Trace distance to allow for floating-point rounding.
    max_rank
        No more than this many weights differ from zero.
    estimate
        Entropy in nats from a stochastic trace estimate, if there is one.
    standard_error
        Of the estimate, in nats; 0 without one.
    """

    weights: NDArray[np.float64]
    missing: float
    rounding: float
    max_rank: float
    estimate: float | None = None
    standard_error: float = 0.0

    @classmethod
    def within_subspace(
        cls, values: Tensor, total: float, max_rank: float, rounding: float
    ) -> CutSpectrum:
        """Spectrum from eigenvalues found in a subspace; what they miss of the total is missing."""
        weights = _descending(values, total, max_rank)
        missing = 1.0 - float(weights.sum())
        return cls(weights, max(missing, 0.0), rounding + max(-missing, 0.0), max_rank)

    @property
    def discarded(self) -> float:
        """Share of the total that is not accounted for, rounding included."""
        return self.missing + self.rounding

    @property
    def entropy(self) -> float:
        """The estimate, or the middle of the interval that holds the entropy, in nats."""
        low, high = entropy_interval(self.weights, self.missing, self.max_rank)
        return (low + high) / 2 if self.estimate is None else min(max(self.estimate, low), high)

    @property
    def error_bound(self) -> float:
        """Largest error of :attr:`entropy`, in nats; proven, also for an estimate."""
        low, high = entropy_interval(self.weights, self.missing, self.max_rank)
        widest = max(high - self.entropy, self.entropy - low)
        return widest + entropy_error_bound(self.rounding, self.max_rank)

    def goal(self, tolerance: float) -> float:
        """About the missing weight at which the error bound is ``tolerance``."""
        left = tolerance - entropy_error_bound(self.rounding, self.max_rank)
        # Half the interval is about half of Audenaert's bound.
        return discarded_weight_for(2 * left, self.max_rank) if left > 0 else 0.0


def entropy_error_bound(distance: float, max_rank: float) -> float:
    r"""Largest entropy difference (nats) of two weight vectors at a trace distance.

    Fannes-Audenaert: :math:`|S - S'| \le T \ln(r - 1) + h(T)` with
    :math:`h(T) = -T\ln T - (1-T)\ln(1-T)`, and ln r from :math:`T = 1 - 1/r` on.
    """
    if distance <= 0 or max_rank <= 1:
        return 0.0
    if distance >= 1 - 1 / max_rank:
        return math.log(max_rank)
    mixing = -distance * math.log(distance) - (1 - distance) * math.log1p(-distance)
    return distance * math.log(max(max_rank - 1, 1)) + mixing


def entropy_interval(
    weights: NDArray[np.float64], missing: float, max_rank: float
) -> tuple[float, float]:
    r"""Lowest and highest entropy of weights that are as large as these or larger, one by one.

    Parameters
    ----------
    weights
        Descending, not negative, shape ``(kept,)``; normalised here so that they and
        ``missing`` add up to one.
    missing
        What the true weights add to these in sum, in [0, 1).
    max_rank
        No more than this many true weights differ from zero.

    Returns
    -------
    tuple
        Nats. The lowest puts all of ``missing`` on the largest weight, the highest raises the
        smallest of ``max_rank`` weights to one level (water filling); both are attained.
    """
    if max_rank <= 1:
        return 0.0, 0.0
    p = weights[weights > 0]
    if not p.size or missing >= 1:
        return 0.0, math.log(max_rank)
    p = p * ((1 - missing) / p.sum())
    p = p[p > 0]
    terms = -p * np.log(p)
    if missing <= 0:
        return max(0.0, float(terms.sum())), max(0.0, float(terms.sum()))
    top = p[0] + missing
    low = float(terms[1:].sum()) - top * math.log(top)
    empty = max(max_rank - p.size, 0.0)
    # With the k smallest weights filled up too, all of them reach the level of their mean.
    filled = np.concatenate([[0.0], np.cumsum(p[::-1])])
    with np.errstate(divide="ignore"):
        levels = (missing + filled) / (empty + np.arange(p.size + 1))
    k = int(np.argmax(levels <= np.append(p[::-1], np.inf)))
    level = levels[k]
    high = float(terms[: p.size - k].sum()) - (missing + filled[k]) * math.log(level)
    return max(0.0, low), max(0.0, high)


def discarded_weight_for(tolerance: float, max_rank: float) -> float:
    """Largest discarded weight whose entropy error bound is at most ``tolerance`` (nats)."""
    low, high = -100.0, math.log(0.5)
    for _ in range(60):
        middle = (low + high) / 2
        within = entropy_error_bound(math.exp(middle), max_rank) <= tolerance
        low, high = (middle, high) if within else (low, middle)
    return math.exp(low)


def _descending(values: Tensor, total: float, max_rank: float) -> NDArray[np.float64]:
    """Shares of the total, largest first; what lies beyond the largest rank is rounding."""
    weights = (values.clamp_min(0).sort(descending=True).values / total).cpu().numpy()
    return weights[: int(min(max_rank, weights.size))]


def gram_factor(G: GramMatrix) -> tuple[Tensor, Tensor]:
    """Factor L and row order with ``G[order][:, order] = L L^T``, to rounding."""
    if G.device.type == "cpu":
        # A tenth of the cost of an eigendecomposition.
        (pivoted_cholesky,) = get_lapack_funcs(("pstrf",), dtype=np.float64)
        triangle, pivots, rank, _ = pivoted_cholesky(G.numpy(), lower=1)
        factor = torch.from_numpy(np.ascontiguousarray(np.tril(triangle)[:, :rank]))
        return factor, torch.from_numpy(pivots.astype(np.int64) - 1)
    values, vectors = torch.linalg.eigh(G)
    positive = values > values[-1] * torch.finfo(G.dtype).eps
    return vectors[:, positive] * values[positive].sqrt(), torch.arange(len(G), device=G.device)


def _dense(G: GramMatrix, H: GramMatrix) -> Tensor:
    """Eigenvalues of ``G H``, ascending, from a full factor of G."""
    factor, order = gram_factor(G)
    H = H[order][:, order]
    if G.device.type != "cpu":
        return torch.linalg.eigvalsh(factor.T @ (H @ factor))
    return torch.from_numpy(np.linalg.eigvalsh(_congruence(factor.numpy(), H.numpy())))


def _congruence(L: NDArray[np.float64], H: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower triangle of ``L^T H L`` for a lower trapezoidal L, without the products with zeros.

    In blocks, because LAPACK's triangular products would keep other threads from running.
    """
    rank = L.shape[1]
    edges = np.linspace(0, rank, BLOCKS + 1).astype(int)
    image, product = np.empty(L.shape), np.zeros((rank, rank))
    for a, b in itertools.pairwise(edges):
        np.matmul(H[:, a:], L[a:, a:b], out=image[:, a:b])
    for a, b in itertools.pairwise(edges):
        np.matmul(L[a:, a:b].T, image[a:, :b], out=product[a:b, :b])
    return product


def _sketched(G: GramMatrix, H: GramMatrix, n_columns: int) -> Tensor:
    """Largest eigenvalues of ``G H``, ascending, in the row space that a sketch finds.

    The sketch is the tensor applied to the columns of some random samples, nearly as good as to
    random mixtures of all and free. Its random numbers come from a generator of its own.
    """
    generator = torch.Generator().manual_seed(n_columns)
    landmarks = torch.randperm(len(G), generator=generator)[:n_columns].to(G.device)
    coefficients = torch.linalg.qr(H[:, landmarks]).Q
    image = G @ coefficients
    norms, directions = torch.linalg.eigh(coefficients.T @ image)
    # Rounding of the norms counts against them, so that no basis vector is longer than 1.
    noise = 4 * torch.finfo(G.dtype).eps * float(norms[-1])
    kept = norms > 16 * noise
    basis = image @ (directions[:, kept] / (norms[kept] + noise).sqrt())
    return torch.linalg.eigvalsh(basis.T @ (H @ basis))


def _next_sketch(weights: NDArray[np.float64], missing: float, target: float) -> int:
    """Columns at which the target is met if the tail goes on falling at the rate seen.

    Spectra fall slower and slower, so the rate is that of the second half. The last weights of a
    sketch are too small and are left out of it.
    """
    tail = missing + weights.sum() - np.cumsum(weights)
    near, far = weights.size // 2, weights.size * 4 // 5
    if missing <= 0 or far <= near or not 0 < tail[far] < (1 - 1e-9) * tail[near]:
        return sys.maxsize
    rate = (math.log(tail[near]) - math.log(tail[far])) / (far - near)
    return weights.size + max(FIRST_SKETCH, math.ceil(1.2 * math.log(missing / target) / rate))


def gram_spectrum(
    G: GramMatrix,
    H: GramMatrix,
    total: float,
    max_rank: float,
    tolerance: float,
    rounding: float,
    route: str = "auto",
) -> CutSpectrum:
    """Spectrum of the cut whose sides have Gram matrices ``G`` and ``H``.

    A randomised sketch of growing width is tried first; where the spectrum decays too slowly
    for the tolerance, the dense route gives all of it.

    Parameters
    ----------
    G, H
        Gram matrices of the two sides, weights and labels included in one of them.
    total
        Sum of the entrywise product of ``G`` and ``H``.
    max_rank
        Upper bound of the Schmidt rank.
    tolerance
        Wanted entropy error bound in nats.
    rounding
        Trace distance to allow for floating-point rounding.
    route
        "auto", "dense" for all eigenvalues at once, or "stochastic" for
        :func:`stochastic_spectrum`.
    """
    if route == "stochastic":
        return stochastic_spectrum(G, H, total, max_rank, rounding)
    target = CutSpectrum(np.ones(1), 0.0, rounding, max_rank).goal(tolerance)
    n_columns = FIRST_SKETCH if target > 0 and route == "auto" else sys.maxsize
    while n_columns < DENSE_FRACTION * G.shape[0]:
        values = _sketched(G, H, n_columns)
        found = CutSpectrum.within_subspace(values, total, max_rank, rounding)
        if found.error_bound <= tolerance:
            return found
        wider = _next_sketch(found.weights, found.missing, min(target, found.missing / 2))
        # Columns that add no direction end the search: rounding hides what is left.
        n_columns = wider if wider > n_columns else sys.maxsize
    return _complete(_dense(G, H), total, max_rank, rounding)


def _complete(values: Tensor, total: float, max_rank: float, rounding: float) -> CutSpectrum:
    """Spectrum from all eigenvalues: what is missing is rounding."""
    weights = _descending(values, total, max_rank)
    return CutSpectrum(weights, 0.0, abs(1.0 - float(weights.sum())) + rounding, max_rank)


def stochastic_spectrum(
    G: GramMatrix, H: GramMatrix, total: float, max_rank: float, rounding: float
) -> CutSpectrum:
    r"""Largest weights of a cut, and an estimate of its entropy, without all eigenvalues.

    With :math:`G = L L^T` the weights are the eigenvalues of :math:`T = L^T H L` over the total.
    The leading ones come from a subspace Q after two power steps; what T holds outside of it is
    known, :math:`w = 1 - \operatorname{tr} Q^T T Q`, and its entropy is estimated from random
    probes z outside Q as :math:`w \sum z^T f(T) z / \sum z^T T z`, :math:`f(p) = -p \ln p`,
    each quadratic form by Lanczos quadrature. The standard error is that of the ratio over the
    probes; the error of the subspace, of second order, is not in it.

    Source: Ubaru, Chen, Saad 2017, SIAM J. Matrix Anal. Appl. 38, 1075 (Lanczos quadrature);
    Meyer, Musco, Musco, Woodruff 2021, Hutch++ (the subspace apart). The ratio is ours.
    """
    factor, order = gram_factor(G)
    H = H[order][:, order]

    def apply(X: Tensor) -> Tensor:
        return factor.T @ (H @ (factor @ X)) / total

    size = factor.shape[1]
    generator = torch.Generator().manual_seed(size)
    start = torch.randn(size, min(SUBSPACE, size), generator=generator, dtype=G.dtype)
    Q = torch.linalg.qr(apply(start.to(G.device))).Q
    Q = torch.linalg.qr(apply(Q)).Q
    values = torch.linalg.eigvalsh(Q.T @ apply(Q))
    found = CutSpectrum.within_subspace(values, 1.0, max_rank, rounding)
    weights, missing = found.weights, found.missing
    if missing <= rounding or size <= SUBSPACE:
        return found
    probes = torch.randn(size, PROBES, generator=generator, dtype=G.dtype).to(G.device)
    probes -= Q @ (Q.T @ probes)
    held, entropies = _quadratures(apply, probes)
    share = missing / held.sum()
    known = float(-(weights[weights > 0] * np.log(weights[weights > 0])).sum())
    residuals = share * (entropies - held * (entropies.sum() / held.sum()))
    spread = float(np.std(residuals, ddof=1)) * math.sqrt(PROBES)
    return replace(found, estimate=known + float(entropies.sum() * share), standard_error=spread)


def _quadratures(
    apply: Callable[[Tensor], Tensor], probes: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Forms ``z^T T z`` and ``-z^T T ln(T) z`` of every probe, by Lanczos quadrature."""
    lengths = probes.norm(dim=0)
    basis = [probes / lengths]
    diagonal, beside = [], []
    for _ in range(min(LANCZOS_STEPS, probes.shape[0])):
        image = apply(basis[-1])
        diagonal.append((image * basis[-1]).sum(dim=0))
        for _ in range(2):  # against all before: what rounding lets in grows otherwise
            for vector in basis:
                image -= vector * (vector * image).sum(dim=0)
        size = image.norm(dim=0)
        beside.append(size)
        basis.append(image / size.clamp_min(torch.finfo(image.dtype).tiny))
    alphas = torch.stack(diagonal).T
    betas = torch.stack(beside[:-1]).T if len(beside) > 1 else alphas[:, :0]
    matrices = torch.diag_embed(alphas)
    matrices += torch.diag_embed(betas, offset=1) + torch.diag_embed(betas, offset=-1)
    nodes, vectors = torch.linalg.eigh(matrices)
    nodes = nodes.clamp_min(0)
    shares = vectors[:, 0, :].square() * lengths[:, None].square()
    held = (shares * nodes).sum(dim=1)
    entropies = -(shares * torch.xlogy(nodes, nodes)).sum(dim=1)
    return held.cpu().numpy(), entropies.cpu().numpy()


def density_spectrum(
    density: Tensor, total: float, max_rank: float, rounding: float
) -> CutSpectrum:
    """Spectrum of a cut from the reduced density matrix of its small side (not normalised)."""
    return _complete(torch.linalg.eigvalsh(density), total, max_rank, rounding)
