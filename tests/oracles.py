"""Dense definitions in plain numpy, for at most about ten features."""

import functools
import itertools
import math

import numpy as np


def dense_tensor(vectors, weights):
    """(1/M) sum_m w_m (x) phi_m1 (x) ... from vectors (samples, features, local)."""
    weights = np.asarray(weights)
    weights = weights[:, None] if weights.ndim == 1 else weights
    total = 0
    for sample, weight in zip(vectors, weights, strict=True):
        total = total + functools.reduce(np.multiply.outer, [*sample, weight])
    return total / len(vectors)


def dense_schmidt_values(vectors, weights, block):
    """Singular values across block | rest; labels join the larger side, or that without 0."""
    return schmidt_values_of(dense_tensor(vectors, weights), block)


def schmidt_values_of(tensor, block):
    """The same for a dense tensor whose last axis holds the labels."""
    n_features = tensor.ndim - 1
    rest = [n for n in range(n_features) if n not in set(block)]
    rows = block if (len(block), min(block)) < (len(rest), min(rest)) else rest
    matrix = np.moveaxis(tensor, list(rows), range(len(rows)))
    matrix = matrix.reshape(math.prod(tensor.shape[n] for n in rows), -1)
    return np.linalg.svd(matrix, compute_uv=False)


def dense_entropy(values):
    p = values**2 / (values**2).sum()
    p = p[p > 0]
    return -(p * np.log(p)).sum()


def published_blocks(n, level):
    """Blocks of a sequence at a level: nested halves, the larger first."""
    blocks = [list(range(n))]
    for _ in range(level):
        halves = [(b[: (len(b) + 1) // 2], b[(len(b) + 1) // 2 :]) for b in blocks if len(b) > 1]
        blocks = list(itertools.chain.from_iterable(halves))
    return blocks


def trigonometric(X, theta):
    angle = np.pi * theta * np.asarray(X)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def polynomial(X, degree):
    return np.stack([np.asarray(X, dtype=float) ** k for k in range(degree + 1)], axis=-1)


def fourier(X, frequencies):
    circles = [trigonometric(X, theta) for theta in frequencies]  # cosine and sine, in turn
    return np.concatenate(circles, axis=-1) / math.sqrt(len(frequencies))


def one_hot(X, n_categories):
    return np.eye(n_categories)[np.asarray(X, dtype=int)]


def coherent_state(X, length_scale, terms):
    """Taylor series of the Gaussian kernel; exact for small values and many terms."""
    scaled = np.asarray(X)[..., None] / length_scale
    powers = np.arange(terms)
    norms = np.sqrt([math.factorial(k) for k in powers])
    return np.exp(-(scaled**2) / 2) * scaled**powers / norms


def kronecker_of_channels(vectors):
    """Product of vectors (samples, features, channels, local) over the channels."""
    rows = [[functools.reduce(np.kron, feature) for feature in sample] for sample in vectors]
    return np.array(rows)
