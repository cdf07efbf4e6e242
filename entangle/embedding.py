r"""Embeddings: each feature value becomes a local vector :math:`\phi(x) \in R^d`.

The data tensor is a sum of products of these vectors, so an embedding decides what "equal"
means for two values: its kernel :math:`\langle\phi(x), \phi(x')\rangle`. An embedding is any
callable from values of shape ``(samples, features)`` to vectors of shape
``(samples, features, local)``; the ones here also have names.

A feature may hold several channels, as a pixel holds colours: values of shape
``(samples, features, channels)``. Kernels of the channels then multiply, and the local vector is
the tensor product of the channels' vectors; :class:`Identity` takes the channels themselves.

Source: Alexander et al. 2023, arXiv:2303.11249, section 5 and appendix: trigonometric, theta
0.085 on raw inputs. Products of local maps: Stoudenmire and Schwab 2016, arXiv:1605.05775.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float64
from torch import Tensor

from entangle.axes import LocalVectors, SampleArray, SampleMatrix
from entangle.errors import InputError

__all__ = [
    "Embedding",
    "Fourier",
    "Gaussian",
    "Identity",
    "OneHot",
    "Polynomial",
    "Trigonometric",
    "auto_theta",
    "channel_product",
    "local_vectors",
    "resolve_embedding",
]

MAX_LOCAL = 64  # components of a local vector that is built here from several parts
RESIDUAL = 16 * torch.finfo(torch.float64).eps  # squared length that a Gaussian vector may lack
GRID_POINTS = 256  # of an interval, among which the anchors of a Gaussian are chosen
SAFE_SPREAD = 16  # length scales that 64 components always hold, with room to spare

Embedding: TypeAlias = Callable[[Tensor], Tensor]
SampleVectors: TypeAlias = Float64[Tensor, "samples features local"]


def channel_product(vectors: Float64[Tensor, "samples features *channels local"]) -> SampleVectors:
    r"""Tensor product of the channels' vectors, so that their kernels multiply.

    .. math:: \phi(x) = \phi(x_1) \otimes \cdots \otimes \phi(x_C),\quad
        \langle\phi(x), \phi(x')\rangle = \prod_c \langle\phi(x_c), \phi(x'_c)\rangle

    Parameters
    ----------
    vectors
        A vector for each channel, shape ``(samples, features, channels, local)``. Without a
        channel axis, ``(samples, features, local)``, they are returned as they are.

    Returns
    -------
    Tensor
        Shape ``(samples, features, local ** channels)``; the last channel runs fastest.

    Raises
    ------
    InputError
        If that is more than 64 components.

    Examples
    --------
    An embedding of one's own over features with channels:

    >>> import torch
    >>> from entangle import DataTensor
    >>> def line(X):
    ...     return channel_product(torch.stack([torch.ones_like(X), X], dim=-1))
    >>> DataTensor(torch.rand(10, 5, 3), embedding=line).local_dim
    8
    """
    if vectors.ndim == 3:
        return vectors
    channels, local = vectors.shape[2:]
    if channels > 1 and channels * math.log(local) > math.log(MAX_LOCAL) + 1e-9:
        raise InputError(
            f"{channels} channels of {local} components each make a local vector of "
            f"{local}^{channels} components, more than {MAX_LOCAL}; make each channel a feature "
            "(X.reshape(len(X), -1)), or pass Identity() to take the channels as the vector"
        )
    product = vectors[:, :, 0]
    for channel in range(1, channels):
        product = (product[..., None] * vectors[:, :, channel, None]).flatten(-2)
    return product


@dataclass(frozen=True)
class Trigonometric:
    r"""Point on the unit circle, :math:`\phi(x) = (\cos \pi\theta x, \sin \pi\theta x)`.

    The kernel is :math:`\cos \pi\theta(x - x')`. ``theta=0.5`` on values in [0, 1] is the
    embedding of Stoudenmire and Schwab (arXiv:1605.05775); 0.085 is that of arXiv:2303.11249.
    """

    theta: float = 0.085

    def __post_init__(self) -> None:
        if not (math.isfinite(self.theta) and self.theta > 0):
            raise InputError(
                f"theta must be a positive finite number, got {self.theta!r}; "
                "0.085 is the published value"
            )

    def __call__(self, X: SampleArray) -> SampleVectors:
        """Vectors of length one, local dimension 2, or ``2 ** channels``."""
        angle = X * (math.pi * self.theta)
        return channel_product(torch.stack([angle.cos(), angle.sin()], dim=-1))


@dataclass(frozen=True)
class Fourier:
    r"""Points on several circles, one for each frequency.

    .. math:: \phi(x) = \frac{1}{\sqrt K} (\cos \pi\theta_k x, \sin \pi\theta_k x)_{k=1..K},
        \quad \langle\phi(x), \phi(x')\rangle = \frac 1 K \sum_k \cos \pi\theta_k(x - x')

    Several frequencies tell values apart at several scales, where one angle must choose. They
    are units of the data to the power -1, as theta is. The default takes two octaves up from
    the published 0.085: on values in [0, 1] the kernel falls from 1 to 0.77, and it falls all
    the way up to a difference of 2.9.

    Parameters
    ----------
    frequencies
        Angles :math:`\theta_k`, positive and different. Frequencies drawn from a normal
        distribution of standard deviation :math:`1/(\pi l)` give random Fourier features, an
        approximation of :class:`Gaussian` (Rahimi and Recht 2007, NIPS 20).

    Raises
    ------
    InputError
        If they are not that.
    """

    frequencies: tuple[float, ...] = (0.085, 0.17, 0.34)

    def __post_init__(self) -> None:
        given = self.frequencies
        if not isinstance(given, Iterable) or isinstance(given, str):
            raise InputError(
                f"frequencies are a sequence of numbers, got {given!r}; pass ({given},)"
            )
        frequencies = tuple(float(frequency) for frequency in given)
        object.__setattr__(self, "frequencies", frequencies)
        if not frequencies or not all(math.isfinite(f) and f > 0 for f in frequencies):
            raise InputError(
                f"frequencies must be positive finite numbers, at least one, got {frequencies}; "
                "for example (0.085, 0.17, 0.34)"
            )
        if len(set(frequencies)) < len(frequencies):
            raise InputError(f"frequencies must differ, got {frequencies}; pass each of them once")

    def __call__(self, X: SampleArray) -> SampleVectors:
        """Vectors of length one, local dimension ``2 * frequencies``, to the power of channels."""
        angle = X[..., None] * (math.pi * X.new_tensor(self.frequencies))
        pairs = torch.stack([angle.cos(), angle.sin()], dim=-1).flatten(-2)
        return channel_product(pairs / math.sqrt(len(self.frequencies)))


@dataclass(frozen=True)
class Polynomial:
    r"""Powers :math:`\phi(x) = (1, x, \ldots, x^{degree})`."""

    degree: int = 2

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise InputError(f"degree must be at least 1, got {self.degree!r}")

    def __call__(self, X: SampleArray) -> SampleVectors:
        """Vectors of local dimension ``degree + 1``, to the power of channels, not normalised."""
        powers = [X**power for power in range(self.degree + 1)]
        return channel_product(torch.stack(powers, dim=-1))


@dataclass(frozen=True)
class OneHot:
    """Unit vector of a category code: values 0, 1, ..., ``n_categories`` - 1."""

    n_categories: int = 2

    def __post_init__(self) -> None:
        if self.n_categories < 2:
            raise InputError(f"n_categories must be at least 2, got {self.n_categories!r}")

    def __call__(self, X: SampleArray) -> SampleVectors:
        """Vectors of local dimension ``n_categories``, to the power of channels.

        Equal codes have kernel 1, others 0.
        """
        codes = X.long()
        if not torch.equal(codes.to(X.dtype), X) or codes.min() < 0:
            raise InputError(
                "one-hot embedding takes category codes 0, 1, 2, ..., got values that are not "
                "whole and non-negative; encode the columns first"
            )
        if codes.max() >= self.n_categories:
            raise InputError(
                f"codes must be below n_categories={self.n_categories}, got "
                f"{int(codes.max())}; pass OneHot({int(codes.max()) + 1})"
            )
        return channel_product(torch.nn.functional.one_hot(codes, self.n_categories).to(X.dtype))


@dataclass(frozen=True)
class Identity:
    """The channels of a feature as its local vector; the kernel is their inner product.

    For features that are vectors already: word embeddings, patches, outputs of a network.
    ``DataTensor`` normalises them; their lengths go into the weights.
    """

    def __call__(self, X: Float64[Tensor, "samples features channels"]) -> SampleVectors:
        """Return the values; local dimension ``channels``.

        Raises
        ------
        InputError
            If there are fewer than two channels.
        """
        if X.ndim != 3 or X.shape[2] < 2:
            raise InputError(
                "the identity embedding takes the channels of a feature as its vector, so X needs "
                "shape (samples, features, channels) with at least 2 channels, got "
                f"{tuple(X.shape)}; pass another embedding, such as 'trigonometric', for features "
                "that are single numbers"
            )
        return X


@dataclass(frozen=True)
class Gaussian:
    r"""Gaussian kernel, :math:`\langle\phi(x), \phi(x')\rangle = e^{-|x - x'|^2 / 2 l^2}`.

    This is the overlap of coherent states at x / l. Those live in infinitely many dimensions,
    but the kernel matrix of the values at hand has few eigenvalues above rounding: about
    10 + 2.7 s for values that spread over s length scales, and never more than there are
    distinct values. A pivoted Cholesky factor of that matrix, one for each feature, is taken
    as the local vectors. It needs fewer components than a Taylor series or Gauss-Hermite
    quadrature of the same accuracy (9, 13 and 21 against 12, 17 and 35 for s = 1, 2 and 5).

    The kernel is exact up to 4e-15 and rounding: what a vector lacks of length one is what the
    factor leaves over, the largest entry left over is on the diagonal, and the factor grows
    until that is below 4e-15.

    Vectors of two calls are not comparable, because they depend on the other values of the
    feature, though only through a rotation, which no kernel and no entropy notices. With an
    ``interval`` they depend on nothing but the value.

    Parameters
    ----------
    length_scale
        l, in the unit of the data: values so far apart have kernel 0.61. 1 suits standard scores.
    interval
        Lowest and highest value to be expected. The basis is then that of the interval, the
        same in every call and for every feature; with channels, dimensions multiply. Default:
        a basis for the values given, and for all channels of a feature together.

    Raises
    ------
    InputError
        If ``length_scale`` is not a positive number or ``interval`` not an ascending pair.

    Notes
    -----
    Coherent states and their kernel: Chatterjee and Yu 2017, arXiv:1612.03713. Pivoted Cholesky
    factors of kernel matrices: Fine and Scheinberg 2001, JMLR 2, 243.
    """

    length_scale: float = 1.0
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.length_scale) and self.length_scale > 0):
            raise InputError(
                f"length_scale must be a positive finite number in the unit of the data, got "
                f"{self.length_scale!r}; 1 suits standard scores"
            )
        if self.interval is None:
            return
        bounds = tuple(self.interval) if isinstance(self.interval, Iterable) else ()
        if len(bounds) != 2 or not -math.inf < bounds[0] < bounds[1] < math.inf:
            raise InputError(
                f"interval is the lowest and the highest value expected, got {self.interval!r}; "
                "for example (0, 1)"
            )
        object.__setattr__(self, "interval", bounds)

    def __call__(self, X: SampleArray) -> SampleVectors:
        """Vectors of length one, local dimension 2 to 64 as the values need it.

        Raises
        ------
        InputError
            If they need more than 64 components, or values lie outside the interval.
        """
        values = X.to(torch.float64)
        if self.interval is not None:
            return channel_product(_at_least_two(self._of_interval(values, *self.interval)))
        points = values if values.ndim == 3 else values[..., None]
        return _at_least_two(self._factor(points)[0])

    def _factor(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pivoted Cholesky factor of the kernel matrix of each feature's points.

        Points have shape (samples, features, channels), the factor (samples, features, local)
        and the samples that were pivots (local, features). Equal points have equal rows.
        """
        features = torch.arange(points.shape[1], device=points.device)
        residual = points.new_ones(points.shape[:2])
        columns: list[Tensor] = []
        pivots: list[Tensor] = []
        while True:
            largest, pivot = residual.max(dim=0)
            if float(largest.max()) <= RESIDUAL:
                return torch.stack(columns, dim=-1), torch.stack(pivots)
            if len(columns) == MAX_LOCAL:
                raise self._too_wide(points)
            column = self._kernel(points - points[pivot, features])
            for known in columns:
                column = torch.addcmul(column, known, known[pivot, features], value=-1)
            # A feature that is done gets zeros while others go on.
            columns.append(column / torch.where(largest > RESIDUAL, largest.sqrt(), math.inf))
            residual = residual - columns[-1] ** 2
            pivots.append(pivot)

    def _of_interval(self, values: Tensor, low: float, high: float) -> Tensor:
        """Vectors of every value, from anchors that do not depend on the values."""
        outside = (values < low) | (values > high)
        if bool(outside.any()):
            raise InputError(
                f"values must lie in the interval [{low}, {high}], got "
                f"{float(values[outside][0])}; widen the interval or scale the values"
            )
        angles = torch.linspace(0, math.pi, GRID_POINTS, dtype=torch.float64, device=values.device)
        grid = low + (high - low) * (0.5 - 0.5 * angles.cos())
        factor, pivots = self._factor(grid[:, None, None])
        anchors, triangle = grid[pivots[:, 0]], factor[pivots[:, 0], 0]
        columns: list[Tensor] = []
        for anchor, row in zip(anchors, triangle, strict=True):
            column = self._kernel((values - anchor)[..., None])
            for known, share in zip(columns, row, strict=False):
                column = torch.addcmul(column, known, share, value=-1)
            columns.append(column / row[len(columns)])
        return torch.stack(columns, dim=-1)

    def _kernel(self, difference: Tensor) -> Tensor:
        """Kernel of differences whose last axis holds the channels."""
        return (-0.5 * (difference / self.length_scale).square().sum(dim=-1)).exp()

    def _too_wide(self, points: Tensor) -> InputError:
        spread = float((points.amax(dim=0) - points.amin(dim=0)).max())
        repair = (
            f"pass a length_scale of {spread / SAFE_SPREAD:.3g} or more"
            if points.shape[2] == 1
            else "pass a larger length_scale, or make each channel a feature "
            "(X.reshape(len(X), -1))"
        )
        return InputError(
            f"a Gaussian kernel of length scale {self.length_scale:.3g} on values that spread over "
            f"{spread:.3g} needs more than {MAX_LOCAL} components a feature; {repair}"
        )


def _at_least_two(vectors: Tensor) -> Tensor:
    """Vectors with a component 0 added if they have one only, as those of a constant do."""
    return torch.nn.functional.pad(vectors, (0, max(0, 2 - vectors.shape[-1])))


NAMED: dict[str, Callable[[], Embedding]] = {
    "trigonometric": Trigonometric,
    "polynomial": Polynomial,
    "one-hot": OneHot,
    "fourier": Fourier,
    "gaussian": Gaussian,
    "identity": Identity,
}


def resolve_embedding(embedding: str | Embedding) -> Embedding:
    """Return the embedding of a name; a callable passes through.

    Raises
    ------
    InputError
        If the name is unknown (close matches are listed) or the object is not callable.
    """
    if isinstance(embedding, str):
        if embedding not in NAMED:
            close = difflib.get_close_matches(embedding, NAMED, n=2)
            hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
            raise InputError(
                f"unknown embedding {embedding!r}; {hint}known are {', '.join(NAMED)}, or pass "
                "a callable from (samples, features) to (samples, features, local)"
            )
        return NAMED[embedding]()
    if not callable(embedding):
        raise InputError(
            f"embedding is a name or a callable, got {type(embedding).__name__}; for example "
            "Trigonometric(theta=0.085)"
        )
    return embedding


def local_vectors(values: SampleArray, embedding: Embedding) -> tuple[LocalVectors, SampleMatrix]:
    """Normalised vectors of every value, and their lengths.

    Parameters
    ----------
    values
        Shape ``(samples, features)`` or ``(samples, features, channels)``.
    embedding
        Callable from the values to vectors of shape ``(samples, features, local)``.

    Returns
    -------
    tuple
        Vectors of length one, shape ``(features, local, samples)``, and the lengths they had,
        shape ``(samples, features)``.

    Raises
    ------
    InputError
        If a vector is zero or not finite, or the embedding returns another shape.
    """
    given = embedding(values)
    try:
        vectors = torch.as_tensor(given, device=values.device)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise InputError(
            f"an embedding returns a tensor of numbers, got {type(given).__name__}: {reason}"
        ) from reason
    if vectors.ndim != 3 or vectors.shape[:2] != values.shape[:2] or vectors.shape[2] < 2:
        axes = "(samples, features, channels)" if values.ndim == 3 else "(samples, features)"
        repair = "; channel_product turns vectors of channels into one" * (vectors.ndim == 4)
        raise InputError(
            f"an embedding maps {axes} to (samples, features, local) with local at least 2, got "
            f"{tuple(values.shape)} -> {tuple(vectors.shape)}{repair}"
        )
    if vectors.is_complex():
        raise InputError(
            "an embedding gives real vectors, got complex ones; pass real and imaginary parts as "
            "two components"
        )
    vectors = vectors.to(torch.float64)
    lengths = vectors.norm(dim=2)
    bad = ~(torch.isfinite(lengths) & (lengths > 0))
    if bool(bad.any()):
        row, column = (int(i) for i in bad.nonzero()[0])
        raise InputError(
            f"the embedding gives a vector of length {float(lengths[row, column])} at row {row}, "
            f"column {column}; its vectors must be finite and not zero"
        )
    return (vectors / lengths[:, :, None]).permute(1, 2, 0).contiguous(), lengths


def auto_theta(X: SampleArray, n_pairs: int = 2000, seed: int = 0) -> float:
    r"""Angle at which the median pair of samples has kernel 1/e over all features.

    Solves :math:`\operatorname{median}_{m \ne m'} \sum_n -\ln\cos\pi\theta(x_{mn} - x_{m'n})
    = 1` by bisection on random pairs of samples: the median heuristic of kernel methods, on the
    log-kernel. Smaller angles make every sample alike, larger ones make every sample
    orthogonal to all others, and then ln(samples), not the data, sets the entropy.

    Parameters
    ----------
    X
        Values, shape ``(samples, features)`` or ``(samples, features, channels)``; the sum over
        n then runs over the channels, too.
    n_pairs
        Number of random pairs.
    seed
        Seed of the pairs.

    Returns
    -------
    float
        Theta, dimensionless; at most 0.5 divided by the largest difference of a pair.

    Raises
    ------
    InputError
        If most pairs of samples are equal.
    """
    generator = torch.Generator().manual_seed(seed)
    n_samples = X.shape[0]
    first = torch.randint(n_samples, (n_pairs,), generator=generator)
    step = torch.randint(1, max(n_samples, 2), (n_pairs,), generator=generator)
    left, right = X[first.to(X.device)], X[((first + step) % n_samples).to(X.device)]
    difference = (left - right).abs().flatten(1)
    largest = float(difference.max())
    if float(difference.sum(dim=1).median()) == 0:
        raise InputError(
            "theta='auto' needs samples that differ, but at least half of the pairs looked at "
            "are equal; pass a number such as theta=0.085"
        )

    def excess(theta: float) -> float:
        cosine = (difference * (math.pi * theta)).cos().clamp_min(1e-300)
        return float((-cosine.log()).sum(dim=1).median()) - 1.0

    low, high = 0.0, 0.5 / largest
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return (low + high) / 2
