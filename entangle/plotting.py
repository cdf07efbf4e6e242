"""Pictures of profiles, drawn on axes that the caller owns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

__all__ = ["draw_levels"]

COLOURS = {"as given": "#c44e52", "rearranged": "#1f77b4", "random": "#8c8c8c"}


def draw_levels(
    axes: Axes,
    levels: Sequence[int],
    curves: Mapping[str, ArrayLike],
    random: ArrayLike | None = None,
) -> None:
    """Draw mean entropies by level: a line for each order, a band for random orders.

    Parameters
    ----------
    axes
        Where to draw.
    levels
        Levels, shape ``(levels,)``.
    curves
        Entropies in nats, shape ``(levels,)``, by the name of the order.
    random
        Entropies of random orders, shape ``(orders, levels)``. The line is their mean, the
        band reaches from the lowest to the highest.
    """
    if random is not None:
        values = np.asarray(random)
        low, high = values.min(axis=0), values.max(axis=0)
        label = f"random ({len(values)} orders)"
        axes.fill_between(levels, low, high, color=COLOURS["random"], alpha=0.3, linewidth=0)
        axes.plot(
            levels, values.mean(axis=0), "s--", color=COLOURS["random"], label=label, markersize=5
        )
    for name, entropies in curves.items():
        axes.plot(levels, np.asarray(entropies), "o-", color=COLOURS.get(name), label=name)
    axes.set_xticks(list(levels))
    axes.set_xlabel("level of the canonical partition (1 = coarsest)")
    axes.set_ylabel("mean entanglement entropy (nats)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
