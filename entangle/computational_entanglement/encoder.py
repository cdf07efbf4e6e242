r"""Layers one after another: a selected sample and all others, at any depth.

Every other sample is carried as what it is relative to the selected one, w:

.. math:: v \propto \cos\theta \, \hat w + \sin\theta \, \hat u, \qquad \hat u \perp \hat w.

A layer W maps :math:`W \hat w = A \hat w'` and :math:`W \hat u = \xi \hat w' + \chi \hat u'`, so
that :math:`\cot\theta' = (A \cot\theta + \xi) / \chi`. The sine is kept as a logarithm, as all
norms are: neither does an angle disappear in the rounding of a cosine near 1, nor does a norm
overflow, however deep.

Source: published code of arXiv:2309.15669, which multiplies both samples by the rows that were
selected for one and measures the angle between them. The decomposition is ours; it is the same
linear map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.computational_entanglement.measures import Paths
from entangle.computational_entanglement.selection import (
    DRAWS,
    check_generator,
    check_sizes,
    check_vectors,
    drawn_layer,
)
from entangle.errors import InputError

__all__ = ["Layer", "LikelihoodEncoder"]


@dataclass(frozen=True)
class Layer:
    """Where the samples are after a layer.

    Attributes
    ----------
    depth
        Number of the layer; 0 is the input.
    selected
        Direction of the selected sample, shape ``(k,)``, length 1.
    remainder
        Directions orthogonal to it, shape ``(pairs, k)``, length 1; zero for a parallel sample.
    cosine, log_sine
        Of the angle between each pair, shape ``(pairs,)``, double precision.
    log_norm_selected
        Logarithm of the norm of the selected sample, shape ``()``.
    log_norm
        Logarithms of the norms of the others, shape ``(pairs,)``.
    """

    depth: int
    selected: Tensor
    remainder: Tensor
    cosine: Tensor
    log_sine: Tensor
    log_norm_selected: Tensor
    log_norm: Tensor

    @property
    def others(self) -> Tensor:
        """Directions of the other samples, shape ``(pairs, k)``, length 1."""
        dtype = self.selected.dtype
        along = self.cosine.to(dtype)[:, None] * self.selected
        return along + self.log_sine.exp().to(dtype)[:, None] * self.remainder

    @property
    def hamming(self) -> Tensor:
        """Share of entries whose signs differ within each pair, shape ``(pairs,)``."""
        differ = self.others.sign() != self.selected.sign()
        return differ.double().mean(dim=1)


class LikelihoodEncoder:
    r"""Deep linear network whose layers are selected by one sample.

    There is nothing quantum in it: as layers are multiplied, the matrix from input to output comes
    to rank one at the rate :math:`\Lambda` of :func:`exponent`, so that all samples become parallel
    or antiparallel to the selected one.

    Parameters
    ----------
    n
        Rows drawn in each layer.
    k
        Rows kept: the width of each layer, at least 2.
    depth
        Number of layers.
    generator
        Of the device of the samples; it moves on with every call. Default: torch's own.
    draw
        "rows" or "selected", see :func:`encode`.

    Raises
    ------
    InputError
        If the sizes do not fit, or ``depth`` is below 1.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> samples = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    >>> encoder = LikelihoodEncoder(n=200, k=8, depth=20, generator=generator)
    >>> angles = encoder.angles(samples[0], samples[1:])
    >>> tuple(angles.shape)
    (20, 5)
    >>> bool(torch.minimum(angles[-1], 1 - angles[-1]).max() < 1e-3)
    True
    """

    def __init__(
        self,
        n: int,
        k: int,
        depth: int,
        generator: torch.Generator | None = None,
        *,
        draw: str = "rows",
    ) -> None:
        check_sizes(n, k)
        if depth < 1:
            raise InputError(f"an encoder has at least 1 layer, got depth = {depth}")
        if draw not in DRAWS:
            raise InputError(f"draw is one of {', '.join(DRAWS)}, got {draw!r}")
        self.n, self.k, self.depth = n, k, depth
        self.generator = generator
        self.draw = draw

    def __repr__(self) -> str:
        return f"LikelihoodEncoder(n={self.n}, k={self.k}, depth={self.depth})"

    def layers(self, w: Tensor, v: Tensor) -> Iterator[Layer]:
        """Yield the input, then every layer: ``depth + 1`` in all.

        Parameters
        ----------
        w
            The sample that selects the rows, shape ``(features,)``.
        v
            The others, shape ``(pairs, features)`` or ``(features,)``.

        Raises
        ------
        InputError
            If samples differ in length, precision or device, are not finite, or are zero.
        """
        v = v[None] if isinstance(v, Tensor) and v.ndim == 1 else v
        check_vectors(w, "w", 1)
        check_vectors(v, "v", 2)
        check_generator(self.generator, w)
        if v.shape[1] != w.numel() or v.dtype != w.dtype or v.device != w.device:
            raise InputError(
                f"w and v must agree in features, precision and device, got {w.numel()}, "
                f"{w.dtype}, {w.device} and {v.shape[1]}, {v.dtype}, {v.device}"
            )
        return self._walk(_input_layer(w, v))

    def _walk(self, layer: Layer) -> Iterator[Layer]:
        yield layer
        for _ in range(self.depth):
            found = drawn_layer(layer.selected, self.n, self.k, self.generator, self.draw)
            layer = _next_layer(layer, found.values, found.rows)
            yield layer

    def paths(self, w: Tensor, v: Tensor) -> Paths:
        """Everything that is measured at the input and after each layer.

        Parameters and errors are those of :meth:`layers`.
        """
        seen = [
            (one.cosine, one.log_sine, one.hamming, one.log_norm_selected, one.log_norm)
            for one in self.layers(w, v)
        ]
        return Paths(*(torch.stack(values) for values in zip(*seen, strict=True)))

    def angles(self, w: Tensor, v: Tensor) -> Tensor:
        r"""Angles between w and each v after each layer, over :math:`\pi`.

        Parameters and errors are those of :meth:`layers`.

        Returns
        -------
        Tensor
            Shape ``(depth, pairs)``, from 0 (parallel) to 1 (antiparallel); row 0 is the first
            layer. The angle of the input is in :meth:`paths`.
        """
        return self.paths(w, v).angle[1:]


def _input_layer(w: Tensor, v: Tensor) -> Layer:
    selected, log_norm_selected = _direction(w)
    others, log_norm = _direction(v)
    cosine = others @ selected
    remainder = others - cosine[:, None] * selected
    remainder = remainder - (remainder @ selected)[:, None] * selected  # the rounding of the first
    remainder, log_sine = _direction(remainder)
    scale = torch.logaddexp(2 * cosine.double().abs().log(), 2 * log_sine) / 2
    return Layer(
        0, selected, remainder, cosine.double() * (-scale).exp(), log_sine - scale,
        log_norm_selected, log_norm,
    )  # fmt: skip


def _next_layer(layer: Layer, values: Tensor, rows: Tensor) -> Layer:
    """Apply the rows to all samples; ``values`` are what they make of the selected one."""
    selected, log_gain = _direction(values)
    image = layer.remainder @ rows.T
    along = image @ selected
    image -= along[:, None] * selected
    remainder, log_spread = _direction(image)
    sine = layer.log_sine.exp()
    cosine = log_gain.exp() * layer.cosine + along.double() * sine
    log_sine = log_spread + layer.log_sine
    scale = torch.logaddexp(2 * cosine.abs().log(), 2 * log_sine) / 2
    return Layer(
        layer.depth + 1, selected, remainder, cosine * (-scale).exp(), log_sine - scale,
        layer.log_norm_selected + log_gain, layer.log_norm + scale,
    )  # fmt: skip


def _direction(values: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of length 1 and the logarithms of their lengths; zero stays zero."""
    largest = values.abs().amax(dim=-1, keepdim=True)
    scaled = values / torch.where(largest > 0, largest, 1)
    length = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    unit = scaled / torch.where(length > 0, length, 1)
    return unit, (largest.double().log() + length.double().log()).squeeze(-1)
