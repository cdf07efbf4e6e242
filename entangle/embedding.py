r"""Embeddings: each feature value becomes a local vector :math:`\phi(x) \in R^d`.

The data tensor is a sum of products of these vectors, so an embedding decides what "equal"
means for two values: its kernel :math:`\langle\phi(x), \phi(x')\rangle`. An embedding is any
callable from values of shape ``(samples, features)`` to vectors of shape
``(samples, features, local)``; the ones here also have names.

Source: Alexander et al. 2023, arXiv:2303.11249, section 5 and appendix: trigonometric, theta
0.085 on raw inputs.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float64
from torch import Tensor

from entangle.axes import LocalVectors, SampleMatrix
from entangle.errors import InputError

__all__ = [
    "Embedding",
    "OneHot",
    "Polynomial",
    "Trigonometric",
    "auto_theta",
    "local_vectors",
    "resolve_embedding",
]

Embedding: TypeAlias = Callable[[Tensor], Tensor]
SampleVectors: TypeAlias = Float64[Tensor, "samples features local"]


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

    def __call__(self, X: SampleMatrix) -> SampleVectors:
        """Vectors of length one, local dimension 2."""
        angle = X * (math.pi * self.theta)
        return torch.stack([angle.cos(), angle.sin()], dim=-1)


@dataclass(frozen=True)
class Polynomial:
    r"""Powers :math:`\phi(x) = (1, x, \ldots, x^{degree})`."""

    degree: int = 2

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise InputError(f"degree must be at least 1, got {self.degree!r}")

    def __call__(self, X: SampleMatrix) -> SampleVectors:
        """Vectors of local dimension ``degree + 1``, not normalised."""
        return torch.stack([X**power for power in range(self.degree + 1)], dim=-1)


@dataclass(frozen=True)
class OneHot:
    """Unit vector of a category code: values 0, 1, ..., ``n_categories`` - 1."""

    n_categories: int = 2

    def __post_init__(self) -> None:
        if self.n_categories < 2:
            raise InputError(f"n_categories must be at least 2, got {self.n_categories!r}")

    def __call__(self, X: SampleMatrix) -> SampleVectors:
        """Vectors of local dimension ``n_categories``; equal codes have kernel 1, others 0."""
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
        return torch.nn.functional.one_hot(codes, self.n_categories).to(X.dtype)


NAMED: dict[str, Callable[[], Embedding]] = {
    "trigonometric": Trigonometric,
    "polynomial": Polynomial,
    "one-hot": OneHot,
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


def local_vectors(values: SampleMatrix, embedding: Embedding) -> tuple[LocalVectors, SampleMatrix]:
    """Normalised vectors of every value, and their lengths.

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
    vectors = embedding(values)
    if vectors.ndim != 3 or vectors.shape[:2] != values.shape or vectors.shape[2] < 2:
        raise InputError(
            f"an embedding maps (samples, features) to (samples, features, local) with local at "
            f"least 2, got {tuple(values.shape)} -> {tuple(vectors.shape)}"
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


def auto_theta(X: SampleMatrix, n_pairs: int = 2000, seed: int = 0) -> float:
    r"""Angle at which the median pair of samples has kernel 1/e over all features.

    Solves :math:`\operatorname{median}_{m \ne m'} \sum_n -\ln\cos\pi\theta(x_{mn} - x_{m'n})
    = 1` by bisection on random pairs of samples: the median heuristic of kernel methods, on the
    log-kernel. Smaller angles make every sample alike, larger ones make every sample
    orthogonal to all others, and then ln(samples), not the data, sets the entropy.

    Parameters
    ----------
    X
        Values, shape ``(samples, features)``.
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
    difference = (left - right).abs()
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
