r"""First values with which networks train at once.

A product of hundreds of random factors vanishes or explodes, and so do its gradients. Both
kinds of network start therefore from a channel that stays near 1 for every sample: each
feature n has a vector u_n with :math:`u_n \cdot \phi_n \approx 1`, in the least squares sense
on given samples. A chain passes it on by identities; deviations, of first order
in the noise, reach the label from every site alike. A tree has further channels besides, whose
values are linear in the features: a node adds up what its children send, and passes products of
two such values on through noise only.

Source: identities plus noise for chains, Stoudenmire and Schwab 2016, arXiv:1605.05775, and
Efthymiou, Hidary, Leichenauer 2019, arXiv:1906.06329; the least squares vectors and the
linear channels of a tree are ours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "constant_vectors",
    "fill_chain",
    "fill_leaf",
    "fill_node",
    "first_noise",
    "uninformed_vectors",
]

RIDGE = 1e-3  # of the least squares problem, relative


def first_noise(n_features: int) -> float:
    """Noise of the first values: 0.01, and more for few features.

    A product of k features is first heard through k noisy tensors. Many features have many such
    products, and more noise would drown them; few do not leave the saddle soon without it.
    """
    return min(0.6, max(0.01, 10 / n_features**2))


def uninformed_vectors(n_features: int, local_dim: int) -> Tensor:
    """Vectors for positive unit vectors of any direction, shape ``(features, local)``, float64.

    All components are one over the mean sum of the components of such a vector.
    """
    log_mean = math.lgamma(local_dim / 2) - math.lgamma((local_dim + 1) / 2)
    mean_sum = local_dim * math.exp(log_mean) / math.sqrt(math.pi)
    return torch.full((n_features, local_dim), 1 / mean_sum, dtype=torch.float64)


def constant_vectors(vectors: Tensor, together: bool) -> Tensor:
    """Vectors u whose product with the samples' is nearest 1, shape ``(features, local)``.

    Parameters
    ----------
    vectors
        Local vectors, shape ``(samples, features, local)``.
    together
        One vector for all features.
    """
    phi = vectors.to(torch.float64).movedim(1, 0)
    phi = phi.reshape(1, -1, phi.shape[2]) if together else phi
    gram = phi.mT @ phi / phi.shape[1]
    ridge = RIDGE * gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-300)
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    found = torch.linalg.solve(gram + ridge[:, None, None] * identity, phi.mean(dim=1))
    response = (phi @ found[..., None])[..., 0].abs().clamp_min(1e-3)
    found = found / response.log().mean(dim=1).exp()[:, None]  # products have mean logarithm 0
    return found.expand(vectors.shape[1], -1)


def fill_chain(constants: Tensor, noise: Tensor) -> Tensor:
    """Identities times constant vectors, plus noise: sites ``(..., in, local, out)``."""
    identity = torch.eye(noise.shape[-3], noise.shape[-1], dtype=torch.float64)
    return identity[:, None, :] * constants[..., None, :, None] + noise


def fill_leaf(constants: Tensor, random: Tensor) -> Tensor:
    """Leaves ``(nodes, bond, local)``: the constant channel, and directions orthogonal to it."""
    rows = torch.cat([constants[:, None], random[:, 1:]], dim=1)
    basis = torch.linalg.qr(rows.mT).Q.mT  # the first row is the constant vector, up to a sign
    basis = basis[:, : random.shape[1]].clone()
    basis[:, 0] = constants
    return basis


def fill_node(random: Tensor, noise: float, is_root: bool) -> Tensor:
    """Inner nodes ``(nodes, bond, child bonds...)`` from standard normal numbers.

    Channel 0 is the product of the children's channels 0. The others mix, with weights whose
    squares add up to one on average, what single children send in other channels.
    """
    filled = random * noise
    bonds = random.shape[2:]
    size = 1 / math.sqrt(max(sum(bonds) - len(bonds), 1))
    first = 0 if is_root else 1  # labels know no constant channel
    for axis in range(len(bonds)):
        others = [0] * (len(bonds) - 1)
        place = (slice(None), slice(first, None), *others[:axis], slice(1, None), *others[axis:])
        filled[place] = random[place] * size
    if not is_root:
        filled[(slice(None), 0, *[0] * len(bonds))] = 1.0
    return filled
