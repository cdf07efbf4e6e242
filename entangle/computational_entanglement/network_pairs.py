"""Pairs of samples on their way through a real network, layer by layer.

The measures are those of the encoder, so a trained network can be laid beside its prediction. A
network is no product of selected Gaussian matrices: nonlinearities, biases and training decide
what happens there, and nothing of the theory is promised.

Source: the measures are those of the published code of arXiv:2309.15669; taking them in trained
networks is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from entangle.computational_entanglement.layer_outputs import layer_outputs
from entangle.computational_entanglement.measures import Paths
from entangle.errors import InputError

__all__ = ["NetworkPaths", "network_paths", "rivals"]


@dataclass(frozen=True)
class NetworkPaths:
    """Pairs by layer of a network.

    Attributes
    ----------
    names
        Of the layers, in the order in which they run; the input is not among them.
    paths
        Measures, shape ``(layers + 1, pairs)``; row 0 is the input. NaN where a layer maps a
        sample to zero.
    """

    names: tuple[str, ...]
    paths: Paths


def network_paths(
    model: nn.Module, w: Tensor, v: Tensor, layers: Sequence[str] | None = None
) -> NetworkPaths:
    """Angles, distances and signs of pairs at the input and after each layer.

    Parameters
    ----------
    model
        Any torch module that maps ``(batch, ...)`` to anything.
    w, v
        First and second samples of the pairs, shape ``(pairs, ...)``, as the model takes them, on
        its device.
    layers
        Names of its parts. Default: linear layers and convolutions.

    Raises
    ------
    InputError
        If shapes differ, samples are not finite, or the model has no such layers.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    >>> with torch.no_grad():
    ...     for part in model:
    ...         _ = part.weight.copy_(torch.diag(torch.tensor([1.0, 0.1, 0.1, 0.1])))
    >>> w = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    >>> v = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    >>> found = network_paths(model, w, v)
    >>> found.names, [round(float(x), 3) for x in found.paths.angle[:, 0]]
    (('0', '1'), [0.333, 0.045, 0.005])
    """
    if w.shape != v.shape or w.ndim < 2 or not len(w):
        raise InputError(
            f"pairs are two tensors of one shape (pairs, ...), got {tuple(w.shape)} and "
            f"{tuple(v.shape)}"
        )
    if not bool(w.isfinite().all() and v.isfinite().all()):
        raise InputError("samples must be finite, got NaN or infinity; drop or fill those samples")
    with torch.no_grad(), layer_outputs(model, layers) as seen:
        model(torch.cat([w, v]))
    outputs = [torch.cat([w, v]), *(output for _, output in seen)]
    for name, output in seen:
        if not isinstance(output, Tensor) or len(output) != 2 * len(w):
            raise InputError(f"layer {name!r} does not map a batch to a tensor; leave it out")
    rows = [_measured(output.detach().double().flatten(1)) for output in outputs]
    return NetworkPaths(
        tuple(name for name, _ in seen),
        Paths(*(torch.stack(values) for values in zip(*rows, strict=True))),
    )


def _measured(both: Tensor) -> tuple[Tensor, ...]:
    """Measures of pairs of vectors, the second half of the rows beside the first."""
    norms = torch.linalg.vector_norm(both, dim=1)
    w, v = (both / norms[:, None]).chunk(2)
    # sine and cosine of half the angle: no digits are lost at either end
    near, far = torch.linalg.vector_norm(w - v, dim=1), torch.linalg.vector_norm(w + v, dim=1)
    length = torch.hypot(near, far)
    near, far = near / length, far / length
    log_w, log_v = norms.log().chunk(2)
    first, second = both.sign().chunk(2)
    hamming = (first != second).double().mean(dim=1)
    return (far - near) * (far + near), (2 * near * far).log(), hamming, log_w, log_v


def rivals(samples: Tensor, labels: ArrayLike) -> Tensor:
    """Nearest sample of another class, for each sample.

    Parameters
    ----------
    samples
        Shape ``(samples, ...)``; distances are Euclidean.
    labels
        Class of each sample.

    Returns
    -------
    Tensor
        Indices, shape ``(samples,)``.

    Raises
    ------
    InputError
        If labels are not one a sample, or there is one class only.

    Examples
    --------
    >>> rivals(torch.tensor([[0.0], [1.0], [5.0]]), [0, 0, 1]).tolist()
    [2, 2, 1]
    """
    classes = np.asarray(labels)
    if classes.shape != (len(samples),):
        raise InputError(
            f"labels must be one a sample, shape ({len(samples)},), got {classes.shape}"
        )
    codes = torch.from_numpy(np.unique(classes, return_inverse=True)[1]).to(samples.device)
    if not bool((codes != codes[0]).any()):
        raise InputError("rivals need samples of two classes, got one")
    distances = torch.cdist(samples.flatten(1).double(), samples.flatten(1).double())
    distances[codes[:, None] == codes] = torch.inf
    return distances.argmin(dim=1)
