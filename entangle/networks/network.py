"""What every trainable network is before it is looked at as a state.

A subclass knows its parameters and how samples run through them. From its tensors on a tree and
what else is needed to arrange them come dense tensors, files, other libraries' networks and
pictures.
"""

from __future__ import annotations

import functools
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from entangle.errors import InputError
from entangle.memory import require_memory
from entangle.networks.compiled import Schedule, can_compile, compiled_product
from entangle.networks.contraction import divided
from entangle.networks.conversion import network_to_quimb
from entangle.networks.drawing import draw_tree
from entangle.networks.initialization import constant_vectors, first_noise, uninformed_vectors
from entangle.networks.storage import read_network, write_network
from entangle.networks.tensor_tree import TensorTree, times_exp
from entangle.truncated_tensor import TruncatedTensor

__all__ = ["TensorNetwork"]

DENSE_ELEMENTS = 2**20


class TensorNetwork(torch.nn.Module, ABC):
    """Tensor network without loops over a number of features, with a label axis.

    Attributes
    ----------
    n_features, local_dim, n_labels
        Numbers of features, of components of a local vector, of labels (1: no label axis).
    log_factor
        Logarithm of a factor of the whole network that its tensors leave out, a buffer; 0
        unless no double could hold the factor, or the network was made from a data tensor.
    certified_error
        Of a network made from a data tensor: bound of its distance from that over the norm of that.
    """

    certified_error: float | None = None

    n_features: int
    local_dim: int
    n_labels: int
    log_factor: Tensor

    # -- what a network provides -----------------------------------------------------------

    @property
    @abstractmethod
    def _is_shared(self) -> bool:
        """Whether one tensor serves many features."""

    @abstractmethod
    def _fill(self, constants: Tensor, noise: float, generator: torch.Generator | None) -> None:
        """Set first values from vectors that give about 1 with the local vectors of a feature."""

    @abstractmethod
    def tensor_tree(self) -> TensorTree:
        """Return the tensors in float64, detached, with what their axes join."""

    @classmethod
    @abstractmethod
    def from_tensor_tree(cls, tree: TensorTree, arrangement: dict[str, Any]) -> Self:
        """Build a network from tensors and the :meth:`arrangement` of another one."""

    @abstractmethod
    def arrangement(self) -> dict[str, Any]:
        """Return all that is no parameter, ready for JSON."""

    @classmethod
    @abstractmethod
    def from_arrangement(cls, arrangement: dict[str, Any], dtype: torch.dtype) -> Self:
        """Build a network whose parameters are not set."""

    def _arrange(self, *args: Any, **kwargs: Any) -> None:
        """Make the parameters, without values."""
        raise NotImplementedError

    def _add_buffers(
        self, features: Sequence[Tensor | None], device: torch.device | str | None
    ) -> None:
        """Keep places of features, as ``features_0``, ..., where the parameters are."""
        for number, places in enumerate(features):
            here = None if places is None else places.to(device or "cpu")
            self.register_buffer(f"features_{number}", here, persistent=False)
        self.register_buffer("log_factor", torch.zeros((), dtype=torch.float64, device=device))

    @classmethod
    def _blank(cls, *arrangement: Any) -> Self:
        """Build a network without values in its parameters."""
        network = cls.__new__(cls)
        torch.nn.Module.__init__(network)
        network._arrange(*arrangement)
        return network

    def _certified(self, found: TruncatedTensor) -> Self:
        """Take over the scale and the error of the projection that the tensors come from."""
        self.log_factor.fill_(found.log_scale)
        self.certified_error = found.certified_error
        return self

    @torch.no_grad()
    def initialize(
        self,
        vectors: Tensor | None = None,
        noise: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Set first values that train at once, see :mod:`entangle.networks.initialization`.

        Parameters
        ----------
        vectors
            Local vectors of some samples, shape ``(samples, features, local)``: the network's
            values are then of order one on samples like these. Needed beyond some 100 features.
        noise
            Standard deviation of what is added to the identities of a chain; in a tree the size of
            the products of two blocks' values, relative to the values themselves. Default: 0.01
            from 32 features on, and more for fewer.
        """
        if vectors is None:
            constants = uninformed_vectors(self.n_features, self.local_dim)
        else:
            constants = constant_vectors(self._checked(vectors), self._is_shared).cpu()
        size = first_noise(self.n_features) if noise is None else noise
        self._fill(constants, size, generator)
        self.log_factor.zero_()
        self.certified_error = None
        return self

    # -- samples ---------------------------------------------------------------------------

    @abstractmethod
    def _scheduled(self) -> Schedule:
        """In which order the compiled contraction meets the tensors."""

    @abstractmethod
    def _elements(self) -> list[Tensor]:
        """Return the tensors whose elements the schedule counts."""

    @abstractmethod
    def _product(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Contract with local vectors in calls of torch, without ``log_factor``."""

    @functools.cached_property
    def _schedule(self) -> Schedule:
        return self._scheduled()

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Contract the network with a product of local vectors for each sample.

        Parameters
        ----------
        vectors
            Local vectors, shape ``(batch, features, local)``, of any length.

        Returns
        -------
        tuple
            Values, shape ``(batch, labels)``, and log scale, shape ``(batch,)``: the
            contraction is ``values * exp(log_scale)``. Its gradient is exact.
        """
        vectors, logs = divided(self._checked(vectors), 1)
        if can_compile(vectors):
            values, log_scale = compiled_product(self._schedule, self._elements(), vectors)
        else:
            values, log_scale = self._product(vectors)
        return values, self.log_factor.to(vectors.dtype) + logs.sum(dim=1) + log_scale

    # -- amplitudes ------------------------------------------------------------------------

    def logits(self, vectors: Tensor) -> Tensor:
        """Contraction with local vectors, shape ``(batch, labels)``; overflows where it must.

        Parameters
        ----------
        vectors
            Local vectors, shape ``(batch, features, local)``.
        """
        values, log_scale = self(vectors)
        return values * log_scale.exp()[:, None]

    def amplitudes(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Elements of the dense tensor at basis indices, as :meth:`forward` gives them.

        Parameters
        ----------
        indices
            Shape ``(batch, features)``, whole numbers below ``local_dim``.
        """
        return self(torch.nn.functional.one_hot(indices, self.local_dim))

    def _checked(self, vectors: Tensor) -> Tensor:
        """Local vectors in the type of the parameters."""
        expected = (self.n_features, self.local_dim)
        if vectors.ndim != 3 or tuple(vectors.shape[1:]) != expected:
            raise InputError(
                f"vectors have shape (batch, {expected[0]}, {expected[1]}), got "
                f"{tuple(vectors.shape)}; an embedding such as Trigonometric() makes them from "
                "values of shape (batch, features)"
            )
        return vectors.to(next(self.parameters()).dtype)

    @torch.no_grad()
    def to_dense(self) -> Tensor:
        """All elements, shape ``(local,) * features``, then ``(labels,)`` if there are several.

        Raises
        ------
        MemoryLimitError
            If there are more than 2^20.
        """
        exponent = self.n_features * math.log2(self.local_dim) + math.log2(self.n_labels)
        require_memory(
            8 * 2.0 ** min(exponent, 1000), "a dense tensor", 8 * DENSE_ELEMENTS,
            "read single elements with amplitudes()",
        )  # fmt: skip
        elements, log = self.tensor_tree().dense()
        shape = (self.local_dim,) * self.n_features
        shape += (self.n_labels,) if self.n_labels > 1 else ()
        return times_exp(elements.reshape(shape), log)

    # -- files and other libraries ---------------------------------------------------------

    @torch.no_grad()
    def to_quimb(self) -> Any:
        """Return a quimb ``TensorNetwork``: feature n has the index ``k{n}``, labels ``label``."""
        return network_to_quimb(self.tensor_tree())

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write parameters and arrangement to one .npz file, without pickles.

        Raises
        ------
        OutputExistsError
            If the file exists and ``force`` is false.
        """
        return write_network(
            path, type(self).__name__, self.arrangement(), self.state_dict(), force
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a network that :meth:`save` wrote, bit by bit the same.

        Raises
        ------
        InputError
            If the file is not one, or of another kind of network.
        """
        arrangement, parameters = read_network(path, cls.__name__)
        network = cls.from_arrangement(arrangement, parameters["tensors.0"].dtype)
        network.load_state_dict(parameters)
        return network

    def draw(self, axes: Any) -> None:
        """Draw tensors and bonds on matplotlib axes; wider lines are longer bonds."""
        draw_tree(self.tensor_tree(), 0, axes)
