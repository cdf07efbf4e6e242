"""Quadrature of packets over up to three features: composite Gauss and Legendre rules.

Panels are of equal width and even in number, so the centre of a packet is the edge of a panel, and
a kink there (a hinge, an absolute value) costs nothing. A kink elsewhere costs the square of a
panel's width; the same integral by half as many panels tells how much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["LIMIT", "axis_rule", "panels_of", "tensor_rule"]

LIMIT = 3  # features
ORDER = {1: 5, 2: 4, 3: 3}  # nodes a panel and axis, by features
_PANELS = {1: 400, 2: 80, 3: 20}
Rule = tuple[Tensor, Tensor]


def panels_of(n_features: int, nodes: int | None) -> int:
    """Panels of each axis for about so many nodes in all; even, at least 4.

    Examples
    --------
    >>> panels_of(2, 160_000), panels_of(1, None)
    (100, 400)
    """
    if nodes is None:
        return _PANELS[n_features]
    each = nodes ** (1 / n_features) / ORDER[n_features]
    return max(4, 2 * round(each / 2))


def axis_rule(low: float, high: float, panels: int, order: int) -> Rule:
    """Nodes and weights over an interval, double precision.

    Examples
    --------
    >>> nodes, weights = axis_rule(0.0, 2.0, panels=4, order=3)
    >>> f"{float((weights * nodes**5).sum()):.12f}"  # 64 / 6
    '10.666666666667'
    """
    inner, shares = np.polynomial.legendre.leggauss(order)
    edges = np.linspace(low, high, panels + 1)
    half = (edges[1:] - edges[:-1])[:, None] / 2
    nodes = (edges[1:] + edges[:-1])[:, None] / 2 + half * inner
    weights = half * shares
    return torch.from_numpy(nodes.reshape(-1)), torch.from_numpy(weights.reshape(-1))


def tensor_rule(rules: Sequence[Rule]) -> Rule:
    """Product of rules: nodes ``(nodes, features)`` and weights ``(nodes,)``."""
    nodes = torch.cartesian_prod(*(rule[0] for rule in rules)).reshape(-1, len(rules))
    weights = torch.cartesian_prod(*(rule[1] for rule in rules)).reshape(-1, len(rules))
    return nodes, weights.prod(1)
