r"""What every fit of a network to labels or outputs needs: the network by name, its logits.

A contraction is ``values * exp(log_scale)``, a product over all features. Its size says little of
the classes and varies between samples by powers: on images of 784 pixels it is :math:`e^{-100}`
for some when it is 1 for others, and cross-entropy of the contraction itself leaves chance only
if no sample is like that. Logits are therefore the contraction v with its norm kept between 1 and
10,

.. math:: z = \frac{v}{\lVert v\rVert} \min(\max(\lVert v\rVert, 1), 10).

Within, they are the contraction itself, linear in every tensor, and a small one means doubt;
outside, its direction is trained on. Nothing overflows, nothing vanishes, and predictions are
always those of the contraction, so they belong to the state whose entanglement is measured.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

from entangle.axes import Shape
from entangle.errors import InputError
from entangle.networks.matrix_product import MatrixProductState
from entangle.networks.tree import TreeTensorNetwork
from entangle.partition import axes_of_samples

__all__ = [
    "KINDS",
    "Network",
    "bounded_logits",
    "build_network",
    "checked_dtype",
]

Network = MatrixProductState | TreeTensorNetwork

KINDS = ("tree", "mps")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
LOG_BOUNDS = (0.0, math.log(10))  # of the norm of a sample's logits


def bounded_logits(values: Tensor, log_scale: Tensor) -> Tensor:
    """Logits of a contraction, shape ``(batch, labels)``: itself, its norm kept in bounds.

    Parameters
    ----------
    values, log_scale
        As a network's ``forward`` returns them, shapes ``(batch, labels)`` and ``(batch,)``.
        Zeros stay zeros.
    """
    tiny = torch.finfo(values.dtype).tiny
    norm = values.square().sum(dim=1).clamp_min(tiny).sqrt()
    size = (norm.log() + log_scale).clamp(*LOG_BOUNDS).exp()
    return values / norm[:, None] * size[:, None]


def build_network(
    kind: str,
    n_features: int,
    shape: Shape | None,
    local_dim: int,
    bond_dim: int,
    n_labels: int,
    shared: bool,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
) -> Network:
    """Build a tree or a matrix product state, by name.

    Raises
    ------
    InputError
        If the name or the bond dimension is unusable, or a matrix product state is to be a grid.
    PartitionError
        If ``shape`` does not have as many places as there are features.
    """
    if kind not in KINDS:
        raise InputError(f"network is one of {', '.join(KINDS)}, got {kind!r}")
    if not isinstance(bond_dim, Real) or not bond_dim >= 1 or bond_dim % 1:
        raise InputError(f"bond_dim is a whole number of at least 1, got {bond_dim!r}")
    axes = axes_of_samples(shape, n_features)
    options = {"generator": generator, "dtype": dtype, "device": device}
    if kind == "tree":
        return TreeTensorNetwork(axes, local_dim, int(bond_dim), n_labels, shared, **options)
    if len(axes) > 1:
        raise InputError(
            f"a matrix product state is a sequence, got shape {shape!r}; leave shape out, or pass "
            "network='tree'"
        )
    return MatrixProductState(
        n_features, local_dim, int(bond_dim), n_labels, uniform=shared, **options
    )


def checked_dtype(name: str) -> torch.dtype:
    """Precision to train in, by name.

    Raises
    ------
    InputError
        If it is neither single nor double.
    """
    if name not in DTYPES:
        raise InputError(f"dtype is 'float32' or 'float64', got {name!r}")
    return DTYPES[name]
