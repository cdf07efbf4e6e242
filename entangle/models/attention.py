r"""Local attention: every position looks at its own window and the two beside it.

A sequence is cut into windows of w positions, and the w queries of a window attend to 3w keys,

.. math:: o_i = \sum_j \mathrm{softmax}_j\bigl(\langle R_i q_i, R_j k_j\rangle / \sqrt d\bigr) v_j,
          \qquad |\lfloor i/w \rfloor - \lfloor j/w \rfloor| \le 1,

so time and memory grow as length x window, never as length squared. Rotations R turn pairs of
coordinates by angles in proportion to the position: only differences of positions enter a score,
and nothing is learned for a place, so that any length can be read. The last window is filled up,
and a mask keeps what filled it from being looked at.

Source: Vaswani et al. 2017, arXiv:1706.03762 (attention); Su et al. 2021, arXiv:2104.09864
(rotations); Shazeer 2020, arXiv:2002.05202 (gated layers). Network of Alexander et al. 2023,
arXiv:2303.11249, Table 2: 8 blocks of 128 channels, 4 heads of 32, window 25; a block adds
attention, without a norm before it, and a gated layer, with one; the mean over positions is read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entangle.errors import InputError
from entangle.models.positions import require_sequence

__all__ = ["LocalAttention", "LocalTransformer", "window_attention"]

_BASE = 10_000.0  # the slowest pair of coordinates turns once in 2 pi times as many positions


def window_attention(
    queries: Tensor, keys: Tensor, values: Tensor, window: int, mask: Tensor | None = None
) -> Tensor:
    """Attention of every position to its window and the two beside it.

    Parameters
    ----------
    queries, keys, values
        Shape ``(batch, length, heads, head_dim)``.
    window
        Positions of a window; the last one may have fewer.
    mask
        The ``window_mask`` of length and window, for those who call this several times.

    Returns
    -------
    Tensor
        Shape and dtype of ``queries``.
    """
    batch, length, heads, head_dim = queries.shape
    given = queries.dtype
    # In half precision the CPU's kernel takes two to three times as long for gradients.
    precise = torch.promote_types(given, torch.float32) if queries.device.type == "cpu" else given
    queries, keys, values = (each.to(precise) for each in (queries, keys, values))
    window = min(window, length)
    n_windows = -(-length // window)
    missing = n_windows * window - length
    around = [
        nn.functional.pad(each, (0, 0, 0, 0, window, window + missing))
        .unfold(1, 3 * window, window)  # (batch, windows, heads, head_dim, 3 window)
        .transpose(-1, -2)
        .reshape(batch * n_windows, heads, 3 * window, head_dim)
        for each in (keys, values)
    ]
    own = (
        nn.functional.pad(queries, (0, 0, 0, 0, 0, missing))
        .view(batch * n_windows, window, heads, head_dim)
        .transpose(1, 2)
    )
    if mask is None:
        mask = window_mask(length, window, queries.device)
    mask = mask.repeat(batch, 1)[:, None, None, :].expand(-1, 1, window, -1)
    with torch.autocast("cpu", enabled=False):
        found = nn.functional.scaled_dot_product_attention(own, *around, attn_mask=mask).to(given)
    return found.transpose(1, 2).reshape(batch, n_windows * window, heads, head_dim)[:, :length]


def window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """Which of the three windows' places each window sees, shape ``(windows, 3 window)``."""
    window = min(window, length)
    n_windows = -(-length // window)
    places = torch.arange(-window, (n_windows + 1) * window, device=device)
    return ((places >= 0) & (places < length)).unfold(0, 3 * window, window)


def turns(length: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotations, shape ``(length, 1, head_dim / 2)``."""
    half = head_dim // 2
    rates = _BASE ** (-torch.arange(half, device=device, dtype=torch.float64) / half)
    angles = torch.arange(length, device=device)[:, None, None] * rates
    return angles.cos(), angles.sin()


def attention_tables(values: Tensor, window: int, head_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mask, cosines and sines for values ``(batch, length, width)``, the same in every block."""
    length, device = values.shape[1], values.device
    return window_mask(length, window, device), *turns(length, head_dim, device)


def rotated(vectors: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Pairs of coordinates turned by their position, shape ``(batch, length, heads, head_dim)``."""
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


class LocalAttention(nn.Module):
    """Attention by several heads within windows, shape ``(batch, length, width)`` to the same."""

    def __init__(self, width: int, window: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.window, self.heads = window, heads
        self.inputs = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.outputs = nn.Linear(heads * head_dim, width, bias=False)

    def forward(
        self, values: Tensor, tables: tuple[Tensor, Tensor, Tensor] | None = None
    ) -> Tensor:
        """Map each position to a mean of what its neighbours hold.

        Parameters
        ----------
        values
            Shape ``(batch, length, width)``.
        tables
            The ``attention_tables`` of length, window and head_dim, for those who have them.
        """
        if tables is None:
            head_dim = self.outputs.in_features // self.heads
            tables = attention_tables(values, self.window, head_dim)
        mask, cosines, sines = tables
        split = self.inputs(values).unflatten(-1, (3, self.heads, -1))
        queries, keys, held = split.unbind(dim=2)
        # Coordinates are turned in the precision they come in, whatever the inputs had.
        cosines, sines = cosines.to(queries.dtype), sines.to(queries.dtype)
        queries, keys = rotated(queries, cosines, sines), rotated(keys, cosines, sines)
        found = window_attention(queries, keys, held, self.window, mask)
        return self.outputs(found.flatten(2))


class GatedLayer(nn.Module):
    """Norm, two linear maps of which one gates the other, and a third back."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        inner = 8 * width // 3
        self.norm = nn.LayerNorm(width)
        self.inputs = nn.Linear(width, 2 * inner, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.outputs = nn.Linear(inner, width, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(..., width)`` to the same shape, each position alone."""
        held, gate = self.inputs(self.norm(values)).chunk(2, dim=-1)
        return self.outputs(self.dropout(held * nn.functional.gelu(gate)))


class LocalTransformer(nn.Module):
    """Blocks of local attention over a sequence, then the mean over positions.

    Parameters
    ----------
    n_channels
        Numbers at each position.
    shape
        ``(length,)``; inputs of any length are read.
    n_classes
        Number of logits.
    width, depth
        Channels and blocks.
    window
        Positions of a window; a position sees its own and the two beside it.
    heads, head_dim
        Heads, and the even number of coordinates of each.
    dropout
        Share of hidden values that a training step leaves out, in the gated layers.

    Raises
    ------
    InputError
        If there is more than one axis, or ``head_dim`` is odd.
    """

    def __init__(
        self,
        n_channels: int,
        shape: tuple[int, ...],
        n_classes: int,
        *,
        width: int = 128,
        depth: int = 8,
        window: int = 25,
        heads: int = 4,
        head_dim: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_sequence("local attention", shape)
        if head_dim % 2 or head_dim < 2:
            raise InputError(f"head_dim is an even number of at least 2, got {head_dim}")
        self.window, self.head_dim = window, head_dim
        self.encoder = nn.Linear(n_channels, width)
        self.attention = nn.ModuleList(
            LocalAttention(width, window, heads, head_dim) for _ in range(depth)
        )
        self.gated = nn.ModuleList(GatedLayer(width, dropout) for _ in range(depth))
        self.decoder = nn.Linear(width, n_classes)

    def forward(self, values: Tensor) -> Tensor:
        """Logits ``(batch, classes)`` of ``(batch, channels, length)``."""
        held = self.encoder(values.mT)
        tables = attention_tables(held, self.window, self.head_dim)
        for attention, gated in zip(self.attention, self.gated, strict=True):
            held = held + attention(held, tables)
            held = held + gated(held)
        return self.decoder(held.mean(dim=1))
