r"""Spectra of weights: how many directions each layer of a network uses.

With singular values :math:`s_1 \ge s_2 \ge \dots` of a layer's matrix and their shares
:math:`p_i = s_i / \sum_j s_j`,

.. math:: \frac{\sum_i s_i^2}{s_1^2}, \qquad \exp\Bigl(-\sum_i p_i \ln p_i\Bigr), \qquad
    \frac{(\sum_i s_i^2)^2}{\sum_i s_i^4}, \qquad
    \min\Bigl\{n : \sum_{i \le n} s_i \ge 0.9 \sum_j s_j\Bigr\}

are its stable rank, its effective rank, its participation ratio (of squares) and the number of
values for 90 %. All are 1 for a matrix of rank one; for n equal values the first three are n.

A convolution is the matrix of its channels, rows outputs and columns inputs times places of the
kernel: the map of one patch. Its singular values are not those of the convolution of a whole
image, which depend on the image's size. A transposed one has inputs as rows, and outputs times
places as columns. Of several groups each has a matrix of its own, and their
values are taken together, as those of the block diagonal matrix that they are.

Source: Rudelson and Vershynin 2007, JACM 54, 21 (stable rank); Roy and Vetterli 2007, EUSIPCO
(effective rank); Yunis et al. 2024, arXiv:2408.11804 (spectra of weights in training).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from entangle.errors import InputError
from entangle.spectra.eigenvalues import effective_rank, participation_ratio

__all__ = ["LayerSpectrum", "WeightSpectra", "weight_matrices", "weight_spectra"]

SCHEMA = 1
SHARE = 0.9
COLUMNS = (
    "rank", "stable_rank", "effective_rank", "participation_ratio", "n_90", "spectral_norm",
    "frobenius_norm",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LayerSpectrum:
    """Singular values of a layer's weights, descending, and what they add up to.

    Attributes
    ----------
    name
        Of the layer, as in ``named_modules()``.
    shape
        Of its matrix; of several groups that of each.
    n_groups
        Number of such matrices.
    singular_values
        Descending, float64, in the units of the weights.
    epsilon
        Of the weights' precision.
    """

    name: str
    shape: tuple[int, int]
    n_groups: int
    singular_values: NDArray[np.float64]
    epsilon: float

    @property
    def rank(self) -> int:
        """Values above the largest times the longer side times the weights' precision."""
        least = self.singular_values[0] * max(self.shape) * self.epsilon
        return int((self.singular_values > least).sum())

    @property
    def stable_rank(self) -> float:
        """Squared Frobenius norm over squared spectral norm; NaN of zeros."""
        return self._of(lambda values: float(np.square(values / values[0]).sum()))

    @property
    def effective_rank(self) -> float:
        """Exponential of the entropy of the shares of singular values; NaN of zeros."""
        return self._of(effective_rank)

    @property
    def participation_ratio(self) -> float:
        """Of squared singular values; NaN of zeros."""
        return self._of(lambda values: participation_ratio(np.square(values / values[0])))

    @property
    def n_90(self) -> int:
        """Number of the largest singular values that make 90 % of their sum; 0 of zeros."""
        if not self.singular_values[0]:
            return 0
        shares = np.cumsum(self.singular_values) / self.singular_values.sum()
        rounding = len(shares) * np.finfo(np.float64).eps
        return int(np.argmax(shares >= SHARE - rounding)) + 1

    @property
    def spectral_norm(self) -> float:
        """Largest singular value."""
        return float(self.singular_values[0])

    @property
    def frobenius_norm(self) -> float:
        """Root of the sum of squares."""
        return float(np.linalg.norm(self.singular_values))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is null."""
        found = {name: getattr(self, name) for name in COLUMNS}
        found = {k: None if math.isnan(value) else value for k, value in found.items()}
        about = {"name": self.name, "shape": list(self.shape), "n_groups": self.n_groups}
        return {**about, **found, "singular_values": self.singular_values.tolist()}

    def _of(self, measure: Callable[[NDArray[np.float64]], float]) -> float:
        return measure(self.singular_values) if self.singular_values[0] else math.nan


@dataclass(frozen=True)
class WeightSpectra:
    """One row a layer, in the order of the module."""

    layers: tuple[LayerSpectrum, ...]

    def __getitem__(self, name: str) -> LayerSpectrum:
        """Return the row of a layer."""
        return {layer.name: layer for layer in self.layers}[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"schema": SCHEMA, "layers": [layer.to_dict() for layer in self.layers]}

    def to_text(self) -> str:
        """Table with a row a layer."""
        width = max(5, *(len(layer.name) for layer in self.layers))
        lines = [f"{'layer':<{width}}       shape   rank stable effective particip. 90%"]
        for layer in self.layers:
            shape = " x ".join(map(str, layer.shape))
            lines.append(
                f"{layer.name:<{width}} {shape:>11} {layer.rank:>6} {layer.stable_rank:>6.1f} "
                f"{layer.effective_rank:>9.1f} {layer.participation_ratio:>9.1f} {layer.n_90:>3}"
            )
        return "\n".join(lines) + "\n"


def weight_spectra(model: nn.Module, layers: Sequence[str] | None = None) -> WeightSpectra:
    """Spectrum of the weights of every layer.

    Parameters
    ----------
    model
        A torch module. Weights are taken as they act, with their parametrisations.
    layers
        Names of parts with a ``weight`` of two axes or more. Default: all such parts (linear
        layers, convolutions, embeddings). Matrices of other names are left out, as those of
        recurrent layers and ``in_proj_weight`` of attention are.

    Raises
    ------
    InputError
        If there are none, a name is unknown, or weights are not finite.

    Examples
    --------
    >>> model = nn.Linear(3, 3)
    >>> with torch.no_grad():
    ...     _ = model.weight.copy_(torch.diag(torch.tensor([2.0, 1.0, 1.0])))
    >>> layer = weight_spectra(model).layers[0]
    >>> layer.rank, layer.stable_rank, layer.n_90
    (3, 1.5, 3)
    """
    return WeightSpectra(tuple(_spectrum(*one) for one in weight_matrices(model, layers)))


def weight_matrices(
    model: nn.Module, layers: Sequence[str] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yield names and matrices of layers, shape ``(groups, rows, columns)``, detached.

    Raises
    ------
    InputError
        As for :func:`weight_spectra`.
    """
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model is a torch module, got {type(model).__name__}; of a classifier of this "
            "package pass as_module()"
        )
    parts = {name: part for name, part in model.named_modules() if _weighs(part)}
    wanted = list(parts) if layers is None else list(layers)
    unknown = [name for name in wanted if name not in parts]
    if unknown or not wanted:
        raise InputError(
            f"layers are parts with a weight of two axes or more, got {unknown or 'none'}; "
            f"{type(model).__name__} has {', '.join(map(repr, parts)) or 'none'}"
        )
    for name in wanted:
        weight: Any = parts[name].weight
        if not bool(torch.isfinite(weight).all()):
            raise InputError(f"the weight of {name!r} has NaN or infinity; the training diverged")
        groups: Any = getattr(parts[name], "groups", 1)
        yield name, weight.detach().reshape(groups, weight.shape[0] // groups, -1)


def _weighs(part: nn.Module) -> bool:
    weight = getattr(part, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim >= 2 and weight.numel() > 0


def _spectrum(name: str, matrices: Tensor) -> LayerSpectrum:
    values = torch.linalg.svdvals(matrices.double()).flatten().cpu().numpy()
    groups, rows, columns = matrices.shape
    epsilon = float(torch.finfo(matrices.dtype).eps)
    return LayerSpectrum(name, (rows, columns), groups, np.sort(values)[::-1].copy(), epsilon)
