"""Matrix product state: a chain of tensors with a label axis between two features.

With one tensor for all features it is a recurrent arithmetic circuit.

Source: Stoudenmire and Schwab 2016, arXiv:1605.05775; Levine, Sharir, Shashua 2017,
arXiv:1710.09431 (recurrent circuits).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from entangle.data_tensor import DataTensor
from entangle.errors import InputError
from entangle.hierarchy import chain_svd
from entangle.networks.chain_layout import (
    chain_schedule,
    chain_shapes,
    require_chain,
    segments_of,
    unstacked,
)
from entangle.networks.chain_product import chain_ends
from entangle.networks.chain_state import ChainState
from entangle.networks.compiled import Schedule
from entangle.networks.contraction import divided
from entangle.networks.conversion import chain_from_quimb
from entangle.networks.initialization import fill_chain
from entangle.networks.tensor_tree import TensorTree, contracted

__all__ = ["MatrixProductState"]

CORE = 0.1  # standard deviation of the first label tensor


class MatrixProductState(ChainState):
    """Matrix product state with open ends.

    Parameters
    ----------
    n_features
        Number of features, at least 2.
    local_dim
        Length of a local vector.
    bond_dim
        Longest bond. Towards the ends bonds are as long as the features there allow.
    n_labels
        Length of the label axis; 1: a scalar, and no tensor for it.
    label_site
        Number of features to the left of the label axis. Default: half of them. Samples are
        contracted from both ends to this place, also without labels.
    uniform
        One tensor for all features, with a vector at each end; bonds are not shorter there.
    generator
        Source of the random first values. Default: torch's own.
    dtype, device
        Of the parameters.

    Examples
    --------
    >>> import torch
    >>> from entangle import MatrixProductState
    >>> network = MatrixProductState(6, bond_dim=4, n_labels=3)
    >>> values, log_scale = network(torch.rand(5, 6, 2))
    >>> values.shape, log_scale.shape
    (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(
        self,
        n_features: int,
        local_dim: int = 2,
        bond_dim: int = 10,
        n_labels: int = 1,
        label_site: int | None = None,
        uniform: bool = False,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        site = n_features // 2 if label_site is None else label_site
        shapes = chain_shapes(n_features, local_dim, bond_dim, n_labels, site)
        if uniform:
            shapes = [(bond_dim, local_dim, bond_dim)] * n_features
        self._arrange(shapes, n_labels, site, uniform, dtype, device)
        self.initialize(generator=generator)

    def _arrange(
        self,
        shapes: Sequence[tuple[int, ...]],
        n_labels: int,
        label_site: int,
        uniform: bool,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> None:
        """Make the parameters, without values; shapes are (left, local, right) of features."""
        self.site_shapes = tuple(tuple(shape) for shape in shapes)
        self.n_features, self.local_dim = len(shapes), shapes[0][1]
        self.n_labels, self.label_site, self.uniform = n_labels, label_site, uniform
        self.segments = segments_of(self.site_shapes, label_site)

        def empty(*sizes: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.empty(*sizes, dtype=dtype, device=device))

        end = shapes[0][0] if uniform else 1
        if uniform:
            self.tensors = torch.nn.ParameterList([empty(*shapes[0])])
            self.ends = empty(2, end)
        else:
            self.tensors = torch.nn.ParameterList(empty(*s.shape) for s in self.segments)
        left = shapes[label_site - 1][2] if label_site else end
        right = shapes[label_site][0] if label_site < len(shapes) else end
        self.core = empty(left, n_labels, right) if n_labels > 1 else None
        self._add_buffers([segment.features for segment in self.segments], device)

    def extra_repr(self) -> str:
        """Features, bonds and labels in short."""
        longest = max(shape[2] for shape in self.site_shapes)
        return (
            f"n_features={self.n_features}, local_dim={self.local_dim}, bond_dim={longest}, "
            f"n_labels={self.n_labels}, label_site={self.label_site}, uniform={self.uniform}"
        )

    @property
    def _is_shared(self) -> bool:
        return self.uniform

    def _fill(self, constants: Tensor, noise: float, generator: torch.Generator | None) -> None:
        def random(tensor: Tensor) -> Tensor:
            return noise * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)

        places = [torch.tensor([[0]])] if self.uniform else [s.features for s in self.segments]
        for parameter, features in zip(self.tensors, places, strict=True):
            sites = parameter[None, None] if self.uniform else parameter
            filled = fill_chain(constants[features], random(sites))
            parameter.copy_(filled.reshape(parameter.shape))
        if self.uniform:
            self.ends.copy_(torch.eye(1, self.ends.shape[1]) + random(self.ends))
        if self.core is not None:
            self.core.copy_(random(self.core) * (CORE / noise if noise else 0.0))

    # -- samples ---------------------------------------------------------------------------

    def _segment_tensors(self) -> list[Tensor]:
        """Tensors of each segment, shape (sides, sites, in, local, out)."""
        if not self.uniform:
            return list(self.tensors)
        tensor = self.tensors[0]
        both = (tensor, tensor.permute(2, 1, 0))
        return [
            torch.stack([both[side] for side in segment.sides])[:, None].expand(segment.shape)
            for segment in self.segments
        ]

    def _elements(self) -> list[Tensor]:
        tensor = self.ends if self.uniform else self.tensors[0]
        bond = self.segments[-1].shape[-1]
        identity = torch.eye(bond, dtype=tensor.dtype, device=tensor.device)
        root = identity if self.core is None else self.core.permute(0, 2, 1)
        if self.uniform:
            return [root, self.ends, self.tensors[0], self.tensors[0].permute(2, 1, 0)]
        return [root, *self.tensors]

    def _scheduled(self) -> Schedule:
        ends = self.ends.shape[1] if self.uniform else None
        root = self._elements()[0].numel(), self.n_labels
        return chain_schedule(self.n_features, self.local_dim, self.segments, ends, root)

    def _product(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        pairwise = vectors.device.type != "cpu"
        vectors = vectors.permute(1, 2, 0)
        ends = self.ends if self.uniform else vectors.new_ones(2, 1)
        x = [end[:, None].expand(-1, vectors.shape[2]) for end in ends]
        places = [getattr(self, f"features_{number}") for number in range(len(self.segments))]
        x, log_scale = chain_ends(
            self.segments, places, self._segment_tensors(), x, vectors, pairwise
        )
        if self.core is None:
            values = (x[0] * x[1]).sum(dim=0)[:, None]
        else:
            values = torch.einsum("blr,rb->bl", contracted(x[0], self.core, [0], [0]), x[1])
        values, logs = divided(values, 1)
        return values, log_scale + logs

    # -- as a state ------------------------------------------------------------------------

    @torch.no_grad()
    def site_tensors(self) -> list[Tensor]:
        """Copy all tensors from left to right, shapes ``(left, local, right)``.

        That of several labels, ``(left, labels, right)``, is at ``label_site``. The factor
        ``exp(log_factor)`` is not in them.
        """
        found = unstacked(self.segments, self._segment_tensors())
        if self.core is not None:
            found.insert(self.label_site, self.core.clone())
        if self.uniform:
            found[0] = contracted(self.ends[:1], found[0], [1], [0])
            found[-1] = contracted(found[-1], self.ends[1:], [2], [1])
        return [tensor.detach() for tensor in found]

    @classmethod
    @torch.no_grad()
    def from_site_tensors(cls, tensors: Sequence[Tensor], label_site: int | None = None) -> Self:
        """Build a network from its tensors, from left to right.

        Parameters
        ----------
        tensors
            Shapes ``(left, local, right)``, the first left and the last right of length 1.
        label_site
            Place of the tensor whose middle axis is the label axis. Default: none is.

        Raises
        ------
        InputError
            If the bonds do not fit together, or no tensor is at ``label_site``.
        """
        sites = list(tensors)
        if label_site is not None and not 0 <= label_site < len(sites):
            raise InputError(
                f"label_site is the place of one of {len(sites)} tensors, from 0 to "
                f"{len(sites) - 1}, got {label_site}"
            )
        core = None if label_site is None else sites.pop(label_site)
        require_chain([tuple(t.shape) for t in tensors], label_site)
        n_labels = 1 if core is None else core.shape[1]
        place = len(sites) // 2 if label_site is None else label_site
        shapes = [tuple(tensor.shape) for tensor in sites]
        network = cls._blank(shapes, n_labels, place, False, sites[0].dtype, sites[0].device)
        for segment, parameter in zip(network.segments, network.tensors, strict=True):
            parameter.copy_(segment.stacked(sites))
        if core is not None and network.core is not None:
            network.core.copy_(core)
        return network

    @classmethod
    def from_data_tensor(
        cls,
        tensor: DataTensor,
        *,
        bond_dim: int | None = None,
        error: float | None = None,
        max_memory: float | None = None,
        progress: bool = False,
    ) -> Self:
        """Project a data tensor on a chain, never dense; see :func:`chain_svd`.

        Parameters
        ----------
        tensor, error, max_memory, progress
            As for :func:`~entangle.hierarchy.chain_svd`.
        bond_dim
            Longest bond. Default: any.

        Returns
        -------
        MatrixProductState
            Float64, labels at the right end; its ``certified_error`` bounds the distance from the
            data tensor over the norm of that.
        """
        found = chain_svd(
            tensor, width=bond_dim, error=error, max_memory=max_memory, progress=progress
        )
        sites, site = list(found.tensors), None
        if tensor.n_labels > 1:
            site = len(sites)
            sites.append(torch.eye(tensor.n_labels, dtype=torch.float64)[:, :, None])
        network = cls.from_site_tensors(sites, site)
        return network._certified(found)

    @classmethod
    def from_tensor_tree(cls, tree: TensorTree, arrangement: dict[str, Any]) -> Self:
        """Build a network from a chain numbered as in :meth:`site_tensors`."""
        tensors = [tree.tensors[0][None], *tree.tensors[1:-1], tree.tensors[-1][..., None]]
        labelled = arrangement["n_labels"] > 1
        network = cls.from_site_tensors(tensors, arrangement["label_site"] if labelled else None)
        network.log_factor.fill_(tree.log_scale)
        return network

    @property
    def _label_place(self) -> int | None:
        return None if self.core is None else self.label_site

    def arrangement(self) -> dict[str, Any]:
        """Return shapes, labels and sharing, ready for JSON."""
        return {
            "site_shapes": [list(shape) for shape in self.site_shapes],
            "n_labels": self.n_labels,
            "label_site": self.label_site,
            "uniform": self.uniform,
        }

    @classmethod
    def from_arrangement(cls, arrangement: dict[str, Any], dtype: torch.dtype) -> Self:
        """Build a network whose parameters are not set."""
        shapes = [tuple(shape) for shape in arrangement["site_shapes"]]
        rest = [arrangement[name] for name in ("n_labels", "label_site", "uniform")]
        return cls._blank(shapes, *rest, dtype, None)

    @classmethod
    def from_quimb(cls, network: Any) -> Self:
        """Build a network from a quimb one that is a chain, such as a ``MatrixProductState``.

        Its open indices are ``k0``, ``k1``, ... from left to right and, with labels, ``label``.
        """
        return cls.from_site_tensors(*chain_from_quimb(network))
