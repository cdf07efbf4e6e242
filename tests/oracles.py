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


def hosvd(D, root, width):
    """Nested HOSVD, leaves first, of a dense tensor (features in tree order, then labels).

    The projected tensor, and what each node of ``root.walk()`` discards of the exact tensor. The
    root's last child (of pairs of its children, where there are more) sees what the others kept.
    """
    nodes = list(root.walk())
    bases, lost = {}, dict.fromkeys(nodes, 0.0)

    def unfold(tensor, node):
        matrix = np.moveaxis(tensor, range(node.start, node.stop), range(node.size))
        return matrix.reshape(math.prod(tensor.shape[node.start : node.stop]), -1)

    def apply(tensor, node):
        shape = np.moveaxis(tensor, range(node.start, node.stop), range(node.size)).shape
        matrix = bases[node] @ (bases[node].T @ unfold(tensor, node))
        return np.moveaxis(matrix.reshape(shape), range(node.size), range(node.start, node.stop))

    halves = root.children[-1] if len(root.children) == 2 else None
    for node in sorted(nodes[1:], key=lambda n: n.size if n is not halves else math.inf):
        span = np.eye(D.shape[node.start])
        if node.children:
            span = functools.reduce(np.kron, [bases[child] for child in node.children])
        seen = apply(D, root.children[0]) if node is halves else D
        inside = span.T @ unfold(seen, node)
        U, s, _ = np.linalg.svd(inside, full_matrices=False)
        kept = max(1, min(width, int((s**2 > 1e-15 * (D**2).sum()).sum())))
        bases[node] = span @ U[:, :kept]
        lost[node] = (s[kept:] ** 2).sum()
    found = D
    for child in root.children:
        found = apply(found, child)
    return found, [lost[node] for node in nodes]


def contracted_tree(root, tensors):
    """Dense tensor, features in tree order and then the labels, from node tensors in walk order."""
    given = dict(zip(root.walk(), tensors, strict=True))

    def contracted(node):
        tensor, size = given[node], len(node.children)
        if not size:
            return tensor
        parts = [contracted(child) for child in node.children]
        for axis in range(size, 0, -1):
            tensor = np.moveaxis(np.tensordot(tensor, parts[axis - 1], axes=(axis, 0)), -1, axis)
        return tensor.reshape(tensor.shape[0], -1)

    flat = contracted(root)
    leaves = [given[node].shape[1] for node in root.walk() if not node.children]
    return np.moveaxis(flat.reshape(-1, *leaves), 0, -1)


def contracted_chain(sites):
    """Dense tensor of site tensors (left, local, right), the last right bond being the labels."""
    tensor = sites[0]
    for site in sites[1:]:
        tensor = np.tensordot(tensor, site, axes=1)
    return tensor[0]
