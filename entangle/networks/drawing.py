"""Pictures of networks, on matplotlib axes that the caller owns."""

from __future__ import annotations

import math
from typing import Any

from entangle.networks.tensor_tree import NOBODY, TensorTree

__all__ = ["draw_tree"]


def draw_tree(tree: TensorTree, root: int, axes: Any) -> None:
    """Draw nodes above the features they hold, with lines as wide as ``1 + log2(bond)``."""
    places = _places(tree, root)
    for node, parent in tree.walk(root):
        x, y = places[node]
        for feature in tree.opens(node):
            up = feature == tree.n_features
            axes.plot([x, x], [y, y + (0.6 if up else -0.6)], color="#8c8c8c", linewidth=1)
        if parent != NOBODY:
            bond = tree.tensors[node].shape[tree.axis(node, parent)]
            (px, py) = places[parent]
            axes.plot([x, px], [y, py], color="#1f77b4", linewidth=1 + math.log2(max(bond, 1)))
    xs, ys = zip(*(places[node] for node in sorted(places)), strict=True)
    axes.scatter(xs, ys, color="#c44e52", zorder=3)
    axes.set_axis_off()


def _places(tree: TensorTree, root: int) -> dict[int, tuple[float, float]]:
    """Leaves side by side on the ground, other nodes above the middle of their children."""
    walk = tree.walk(root)
    if all(len(names) <= 3 for names in tree.axes) and len(tree.opens(len(walk) - 1)):
        chain = all(tree.opens(node) for node in range(len(walk)))
        if chain:
            return {node: (float(node), 0.0) for node in range(len(walk))}
    places: dict[int, tuple[float, float]] = {}
    n_leaves = sum(not tree.children(node, parent) for node, parent in walk)
    for node, parent in reversed(walk):
        below = [places[child] for child in tree.children(node, parent)]
        if below:
            middle = sum(x for x, _ in below) / len(below)
            places[node] = (middle, 1 + max(y for _, y in below))
        else:
            n_leaves -= 1
            places[node] = (float(n_leaves), 0.0)
    return places
