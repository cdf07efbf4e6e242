r"""One layer of the selection recursion: random rows, of which the k loudest stay.

A layer draws :math:`R \in \mathbb R^{n \times d}` with independent standard normal entries and
keeps the k rows with the largest :math:`|\langle r, x \rangle|`. The layer is linear; all that is
nonlinear is the choice of rows, which depends on one sample, x.

R is never held as a whole: rows are drawn in portions of a fixed size, and a stable sort keeps the
k best of those seen so far. The portions alone decide which numbers come out of the generator, so
the result is the same, bit by bit, however many rows are held between two sorts.

Source: published code of arXiv:2309.15669, function ENCODE, which holds all of R. Deviation, on
request (``draw="selected"``): the choice depends on :math:`R \hat x` alone, and the part of a row
that is orthogonal to x is independent of it, so drawing n numbers and k orthogonal parts gives the
same distribution with :math:`n + k d` random numbers in place of :math:`n d`. That is a derivation
of ours, checked by simulation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from entangle.errors import InputError

__all__ = [
    "DRAWS",
    "Encoding",
    "check_generator",
    "check_sizes",
    "check_vectors",
    "drawn_layer",
    "encode",
]

DRAWS = ("rows", "selected")
PORTION = 2**20  # random numbers drawn at once; part of what a seed means


class Encoding(NamedTuple):
    """What a layer makes of its selected sample, and the layer itself.

    Attributes
    ----------
    values
        :math:`W x`, shape ``(k,)``, largest magnitude first.
    rows
        W, the rows that were kept, shape ``(k, features)``, in the same order.
    """

    values: Tensor
    rows: Tensor


def encode(
    x: Tensor,
    n: int,
    k: int,
    generator: torch.Generator | None = None,
    *,
    draw: str = "rows",
    block: int | None = None,
) -> Encoding:
    r"""Keep the k of n random rows that respond most to a sample.

    Parameters
    ----------
    x
        The selected sample, shape ``(features,)``, of real floating point numbers. Everything is
        drawn in its precision, on its device.
    n
        Rows that are drawn.
    k
        Rows that are kept: the width of the layer, at least 2.
    generator
        Of the device of ``x``. Default: torch's own.
    draw
        "rows" draws all rows (published); "selected" draws their n products with x and, for the
        k rows that are kept, what is orthogonal to x: the same distribution, other numbers.
    block
        With "rows": rows held besides the k best; it changes memory and time, never the result.
        Default: k, or a portion of rows if that is more.

    Returns
    -------
    Encoding
        ``values`` and ``rows``.

    Raises
    ------
    InputError
        If ``x`` is no finite vector other than zero, the sizes do not fit, or the generator
        belongs to another device.

    Examples
    --------
    >>> x = torch.tensor([3.0, 4.0])
    >>> values, rows = encode(x, 100, 2, torch.Generator().manual_seed(0))
    >>> bool((rows @ x - values).abs().max() < 1e-5)
    True
    >>> bool(values.abs().min() > 5)  # the two largest of 100 numbers with deviation 5
    True
    """
    check_vectors(x, "x", 1)
    check_sizes(n, k)
    check_generator(generator, x)
    if draw not in DRAWS:
        raise InputError(f"draw is one of {', '.join(DRAWS)}, got {draw!r}")
    if block is not None and block < 1:
        raise InputError(f"block is a number of rows, at least 1, got {block}")
    return drawn_layer(x, n, k, generator, draw, block)


def drawn_layer(
    x: Tensor,
    n: int,
    k: int,
    generator: torch.Generator | None,
    draw: str,
    block: int | None = None,
) -> Encoding:
    """As :func:`encode`, of input that was checked before."""
    if draw == "selected":
        return _drawn_selected(x, n, k, generator)
    return _drawn_rows(x, n, k, generator, block)


def _drawn_rows(
    x: Tensor, n: int, k: int, generator: torch.Generator | None, block: int | None
) -> Encoding:
    """Top k of all rows, merged whenever ``block`` new ones are held."""
    portion = max(1, PORTION // x.numel())
    limit = max(k, portion) if block is None else block
    held: list[Encoding] = []
    new = 0
    for rows in _portions(x, n, portion, generator):
        held.append(Encoding(rows @ x, rows))
        new += len(rows)
        if new >= limit:
            held, new = [_loudest(held, k)], 0
    return _loudest(held, k)


def _portions(
    x: Tensor, n: int, portion: int, generator: torch.Generator | None
) -> Iterator[Tensor]:
    for begin in range(0, n, portion):
        shape = (min(portion, n - begin), x.numel())
        yield torch.randn(shape, generator=generator, dtype=x.dtype, device=x.device)


def _loudest(held: list[Encoding], k: int) -> Encoding:
    """At most k rows with the largest magnitudes; of equal ones those drawn first."""
    values = torch.cat([one.values for one in held])
    chosen = values.abs().argsort(descending=True, stable=True)[:k]
    rows = held[0].rows if len(held) == 1 else torch.cat([one.rows for one in held])
    return Encoding(values[chosen], rows[chosen])


def _drawn_selected(x: Tensor, n: int, k: int, generator: torch.Generator | None) -> Encoding:
    r"""Rows given their products with x: :math:`r = a \hat x + (1 - \\hat x \\hat x^T) g`."""
    options = {"generator": generator, "dtype": x.dtype, "device": x.device}
    largest = x.abs().max()
    length = torch.linalg.vector_norm(x / largest)
    unit = x / largest / length
    products = torch.randn(n, **options)
    loud = products[products.abs().argsort(descending=True, stable=True)[:k]]
    rows = torch.randn(k, x.numel(), **options)
    rows += (loud - rows @ unit)[:, None] * unit
    return Encoding(loud * length * largest, rows)


def check_sizes(n: int, k: int) -> None:
    """Refuse a layer that cannot be.

    Raises
    ------
    InputError
        If k is below 2 or above n.
    """
    if k < 2:
        raise InputError(
            f"a layer keeps at least 2 rows, got k = {k}; in one dimension all samples are parallel"
        )
    if k > n:
        raise InputError(
            f"a layer keeps k of n rows, got k = {k} and n = {n}; draw more or keep less"
        )


def check_generator(generator: torch.Generator | None, x: Tensor) -> None:
    """Refuse a generator of another device.

    Raises
    ------
    InputError
        If it does not belong to the device of ``x``.
    """
    if generator is not None and generator.device.type != x.device.type:
        raise InputError(
            f"the generator must be of the device of the samples, {x.device.type}, got one of "
            f"{generator.device.type}; make it with torch.Generator({x.device.type!r})"
        )


def check_vectors(values: Tensor, what: str, n_axes: int) -> None:
    """Refuse samples that have no direction.

    Raises
    ------
    InputError
        If they are no tensor of real floating point numbers with ``n_axes`` axes, are empty, hold
        a NaN or an infinity, or a sample is zero.
    """
    axes = "(features,)" if n_axes == 1 else "(pairs, features)"
    if not isinstance(values, Tensor) or not values.is_floating_point():
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise InputError(
            f"{what} must be a tensor of floating point numbers, got {kind}; use "
            f"torch.as_tensor({what}, dtype=torch.float64)"
        )
    if values.ndim != n_axes or not values.numel():
        raise InputError(f"{what} must have shape {axes}, got {tuple(values.shape)}")
    if not bool(values.isfinite().all()):
        raise InputError(f"{what} must be finite, got NaN or infinity; drop or fill those samples")
    if bool((values.abs().amax(dim=-1) == 0).any()):
        raise InputError(f"{what} holds a zero vector, which has no direction; drop it")
