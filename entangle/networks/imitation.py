"""Tensor networks that imitate another model, and what they say about its entanglement.

Any function of the features, seen on some rows, is fitted by a network in the least squares
sense. How small the bonds may be before the imitation fails is a second opinion on the
entanglement that a ``DataTensor`` with the model's outputs as weights measures directly: the
surrogate generalises between the rows, the data tensor does not.

A model that is a convolutional arithmetic circuit is no matter of fitting: it is turned into the
tree that it is.

The network's contraction itself is fitted, not compressed logits, so its entropies are those of
the imitated function. Outputs are divided by their root mean square in training; the factor is
put back into ``log_factor``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entangle.axes import Shape
from entangle.data_tensor import DataTensor
from entangle.embedding import Embedding
from entangle.entropy import EntanglementProfile, entanglement_profile
from entangle.errors import InputError
from entangle.networks.circuit import is_circuit
from entangle.networks.fitting import Network, build_network
from entangle.networks.inputs import Inputs
from entangle.networks.tree import TreeTensorNetwork
from entangle.samples import as_sample_array
from entangle.supervised import available_device, require_share, stratified_split
from entangle.training import Plan, train

__all__ = ["Surrogate", "surrogate"]

LARGEST_LOG = 30.0  # beyond it a contraction is as wrong as it can be, and squares overflow


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Networks that imitate a model, and how well.

    Attributes
    ----------
    bond_dims
        Longest bond of each network.
    networks
        In the order of ``bond_dims``, float64.
    r_squared
        Share of the variance of the outputs explained on held-out rows, one a network: 1 is
        perfect, 0 is no better than their mean.
    agreement
        Share of held-out rows on which model and network predict one class: the largest
        output, or for one output its sign.
    inputs
        Map from rows to the local vectors that the networks take.
    data_tensor
        The direct way: the rows fitted, with the outputs as weights.
    """

    bond_dims: tuple[int, ...]
    networks: tuple[Network, ...]
    r_squared: tuple[float, ...]
    agreement: tuple[float, ...]
    inputs: Inputs
    data_tensor: DataTensor
    shape: Shape

    def profiles(
        self, levels: int | None = None, tolerance: float = 1e-6
    ) -> tuple[EntanglementProfile, ...]:
        """Entropies across canonical cuts, nats: of the data tensor, then of every network.

        Chains take longer than trees, whose bonds are the canonical cuts: the cost grows with
        the sixth power of their bonds, see :mod:`entangle.networks.run_spectra`.
        """
        states = (self.data_tensor, *self.networks)
        return tuple(entanglement_profile(s, self.shape, levels, tolerance) for s in states)


def surrogate(
    model: Callable[[Any], Any],
    X: object,
    network: str = "tree",
    bond_dim: int | Sequence[int] = 10,
    *,
    shape: Shape | None = None,
    embedding: str | Embedding = "trigonometric",
    scale: str | None = "feature",
    holdout: float = 0.2,
    plan: Plan | None = None,
    random_state: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Surrogate:
    """Fit networks to what a model says about rows.

    Parameters
    ----------
    model
        Torch module, or any function of an array like ``X``, such as
        ``classifier.decision_function``. Outputs have shape ``(samples, outputs)`` or
        ``(samples,)``; logits are better than probabilities. A circuit, a sequence of layers with
        ``ProductPool`` among them, takes the local vectors that ``embedding`` makes of the scaled
        rows, as ``(samples, local, *shape)``.
    X
        Rows, shape ``(samples, features)`` or ``(samples, features, channels)``.
    network, shape, embedding, scale, device
        As for :class:`~entangle.networks.classifier.TensorNetworkClassifier`. A ``"tree"`` of a
        circuit is exact, see :meth:`~entangle.networks.tree.TreeTensorNetwork.from_circuit`.
    bond_dim
        Longest bond, or several to try. Those of a tree of a circuit are its channels.
    holdout
        Share of rows that only judge; a tenth of the others decides when to stop.
    plan
        How to train. Default: 60 epochs.
    random_state
        Seed of split, first values and batches.

    Raises
    ------
    InputError
        If the outputs are not finite, do not fit the rows or are all 0; or a layer is no part of
        a circuit.
    """
    require_share("holdout", holdout)
    rows = as_sample_array(X, min_samples=10)
    random, place = np.random.default_rng(random_state), available_device(device)
    seen, unseen = stratified_split(np.zeros(len(rows), dtype=int), holdout, random)
    inputs = Inputs.fitted(rows[seen], embedding, scale)
    values = torch.from_numpy(inputs.values(rows)).to(place)
    axes = rows.shape[1] if shape is None else shape
    exact = TreeTensorNetwork.from_circuit(model, axes) if is_circuit(model) else None
    taken = rows if exact is None else _at_positions(inputs.vectors(values), exact)
    outputs = _outputs(model, taken)
    if not outputs[seen].any():
        raise InputError(
            f"a model's outputs are 0 on all {len(seen)} rows that are fitted; pass more rows, or "
            "another random_state"
        )
    if exact is not None and network == "tree":
        bonds = (max(length for length, *_ in exact.node_shapes[1:]),)
        found: list[Network] = [exact.double().to(place)]
    else:
        bonds = tuple(np.atleast_1d(np.asarray(bond_dim)).tolist())
        if not bonds:
            raise InputError("bond_dim is empty; pass one longest bond, or several to try")
        size = float(np.sqrt(np.mean(outputs[seen] ** 2)))
        data = values, torch.from_numpy(outputs / size).to(place)
        vectors, found = inputs.vectors(values[seen[:512]]), []
        for bond in bonds:
            source = torch.Generator().manual_seed(random_state)
            fitted = build_network(
                network, rows.shape[1], shape, vectors.shape[2], bond, outputs.shape[1], False,
                source, torch.float64, place,
            )  # fmt: skip
            fitted.initialize(vectors, generator=source)
            _fit(fitted, inputs, data, seen, plan or Plan(max_epochs=60), source, progress)
            fitted.log_factor += math.log(size)
            found.append(fitted)
    judges = inputs.vectors(values[unseen])
    with torch.no_grad():
        scores = [_judged(fitted.logits(judges), outputs[unseen]) for fitted in found]
    direct = DataTensor(values[seen], outputs[seen], inputs.embedding)
    r_squared, agreement = zip(*scores, strict=True)
    return Surrogate(bonds, tuple(found), r_squared, agreement, inputs, direct, axes)


def _at_positions(vectors: Tensor, circuit: TreeTensorNetwork) -> NDArray[np.float64]:
    """Local vectors as a circuit takes them, shape ``(samples, local, positions...)``."""
    expected = (circuit.n_features, circuit.local_dim)
    if tuple(vectors.shape[1:]) != expected:
        raise InputError(
            f"the circuit takes {expected[0]} local vectors of {expected[1]} components, the rows "
            f"and their embedding give {vectors.shape[1]} of {vectors.shape[2]}; pass the shape, "
            "embedding and scale that it was trained with"
        )
    return vectors.mT.reshape(len(vectors), -1, *circuit.tree.shape).cpu().numpy()


def _outputs(model: Callable[[Any], Any], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outputs of a model, shape ``(samples, outputs)``."""
    if isinstance(model, torch.nn.Module):
        first = next(model.parameters(), torch.empty(0))
        with torch.no_grad():
            given = model(torch.from_numpy(rows).to(first)).cpu().double().numpy()
    else:
        given = np.asarray(model(rows), dtype=np.float64)
    outputs = given[:, None] if given.ndim == 1 else given
    if outputs.ndim != 2 or len(outputs) != len(rows):
        raise InputError(
            f"a model gives outputs of shape ({len(rows)}, outputs) for {len(rows)} rows, got "
            f"{given.shape}; pass a function that flattens them"
        )
    if not np.isfinite(outputs).all() or not outputs.any():
        raise InputError("a model's outputs must be finite and not all 0; pass its logits")
    return outputs


def _fit(
    network: Network,
    inputs: Inputs,
    data: tuple[Tensor, Tensor],
    rows: NDArray[np.int64],
    plan: Plan,
    source: torch.Generator,
    progress: bool,
) -> None:
    """Train a network on some of the rows, and stop by others of them."""

    def losses(values: Tensor, outputs: Tensor) -> Tensor:
        found, log = network(inputs.vectors(values))
        contraction = found * log.clamp_max(LARGEST_LOG).exp()[:, None]
        return (contraction - outputs).square().mean(dim=1)

    random = np.random.default_rng(source.initial_seed())
    fitted, judged = (rows[part] for part in stratified_split(0 * rows, 0.1, random))
    parts = [tuple(tensor[part] for tensor in data) for part in (fitted, judged)]
    train(network, losses, parts[0], plan, source, validation=parts[1], progress=progress)


def _judged(found: Tensor, outputs: NDArray[np.float64]) -> tuple[float, float]:
    """Share of the variance explained, and share of rows with one prediction."""
    given = found.cpu().numpy()
    variance = np.sum((outputs - outputs.mean(axis=0)) ** 2)
    r_squared = 1 - np.sum((given - outputs) ** 2) / variance if variance else math.nan
    if outputs.shape[1] == 1:
        return float(r_squared), float(np.mean((given > 0) == (outputs > 0)))
    return float(r_squared), float(np.mean(given.argmax(axis=1) == outputs.argmax(axis=1)))
