"""How the sites of a chain are stacked: from both ends to the label axis, side by side.

Samples run through a chain from both ends at once. Sites met at the same step on the left and
on the right are one batched product if their shapes agree, seen from their own end; runs of
steps with one shape are one parameter.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.errors import InputError
from entangle.networks.compiled import Schedule
from entangle.networks.tensor_tree import TensorTree

__all__ = [
    "Segment",
    "chain_schedule",
    "chain_shapes",
    "chain_tree",
    "require_chain",
    "segments_of",
    "unstacked",
]


@dataclass(frozen=True, eq=False)
class Segment:
    """Sites of one shape that are met one after the other.

    Attributes
    ----------
    sides
        Ends from which they are met: 0 left, 1 right, or both.
    features
        Their features in the order met, shape ``(sides, sites)``.
    shape
        Of their parameter: ``(sides, sites, in, local, out)``.
    """

    sides: tuple[int, ...]
    features: Tensor
    shape: tuple[int, ...]

    def stacked(self, sites: Sequence[Tensor]) -> Tensor:
        """Stack site tensors ``(left, local, right)`` of all features to one parameter."""
        rows = [
            torch.stack([sites[n].permute(2, 1, 0) if side else sites[n] for n in row.tolist()])
            for side, row in zip(self.sides, self.features, strict=True)
        ]
        return torch.stack(rows)


def chain_shapes(
    n_features: int, local_dim: int, bond_dim: int, n_labels: int, label_site: int
) -> list[tuple[int, ...]]:
    """Shapes ``(left, local, right)`` of all features, no bond longer than either end allows.

    Raises
    ------
    InputError
        If a number is out of range.
    """
    positive = min(n_features - 1, local_dim, bond_dim, n_labels) >= 1
    if not positive or not 0 <= label_site <= n_features:
        raise InputError(
            "n_features is at least 2, local_dim, bond_dim and n_labels at least 1, and "
            f"label_site from 0 to n_features; got {n_features}, {local_dim}, {bond_dim}, "
            f"{n_labels} and {label_site}"
        )

    def bond(n_left: int, label_left: bool) -> int:
        labels_inside, labels_outside = (n_labels, 1) if label_left else (1, n_labels)
        inside = local_dim ** min(n_left, 64) * labels_inside
        outside = local_dim ** min(n_features - n_left, 64) * labels_outside
        return min(bond_dim, inside, outside)

    return [
        (bond(n, n >= label_site), local_dim, bond(n + 1, n >= label_site))
        for n in range(n_features)
    ]


def segments_of(shapes: Sequence[tuple[int, ...]], label_site: int) -> list[Segment]:
    """Arrange the sites to the left and to the right of the label axis in segments."""
    n_features = len(shapes)
    left = [(shape, n) for n, shape in enumerate(shapes[:label_site])]
    right = [(shapes[n][::-1], n) for n in range(n_features - 1, label_site - 1, -1)]
    steps: list[tuple[tuple[int, ...], tuple[int, ...], list[int]]] = []
    for one, other in itertools.zip_longest(left, right):
        if one and other and one[0] == other[0]:
            steps.append(((0, 1), one[0], [one[1], other[1]]))
            continue
        steps += [((0,), one[0], [one[1]])] if one else []
        steps += [((1,), other[0], [other[1]])] if other else []
    found = []
    # Sides that alternate would break runs apart: those of one side come together.
    for (sides, shape), group in itertools.groupby(_sorted_runs(steps), key=lambda s: s[:2]):
        features = torch.tensor([row for _, _, row in group]).T.contiguous()
        found.append(Segment(sides, features, (*features.shape, *shape)))
    return found


def chain_schedule(
    n_features: int,
    local_dim: int,
    segments: Sequence[Segment],
    ends: int | None,
    root: tuple[int, int],
) -> Schedule:
    """Arrange a chain for the compiled contraction.

    Its elements are those of the root, shape ``(left, right, labels)``, and then those of the
    segments; or, in a uniform chain, of two vectors at the ends and of the tensor, forth and back.

    Parameters
    ----------
    ends
        Length of the vectors at the ends of a uniform chain; else ``None``.
    root
        Number of the root's elements, and of labels.
    """
    nodes: list[tuple[int, int, list[int]]] = []
    last: list[int | None] = [None, None]

    def add(place: int, bond: int, children: Sequence[int | None]) -> int:
        nodes.append((place, bond, [child for child in children if child is not None]))
        return n_features + len(nodes) - 1

    place = root[0]
    if ends is not None:
        last = [add(place + side * ends, ends, []) for side in range(2)]
        place += 2 * ends
    for segment in segments:
        bond, local, following = segment.shape[2:]
        size = bond * local * following
        for side, row in zip(segment.sides, segment.features.tolist(), strict=True):
            for feature in row:
                here = place if ends is None else place + side * size
                last[side] = add(here, following, [last[side], feature])
                place += size if ends is None else 0
    add(0, root[1], last)
    return Schedule.of(n_features, local_dim, nodes, transposed=True)


def _sorted_runs(
    steps: list[tuple[tuple[int, ...], tuple[int, ...], list[int]]],
) -> list[tuple[tuple[int, ...], tuple[int, ...], list[int]]]:
    """Order steps so that runs of single sides between paired steps are not interleaved."""
    ordered = []
    for paired, run in itertools.groupby(steps, key=lambda step: len(step[0]) == 2):
        group = list(run)
        ordered += group if paired else sorted(group, key=lambda step: step[0])
    return ordered


def unstacked(segments: Sequence[Segment], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy site tensors ``(left, local, right)`` of all features from the segments' tensors."""
    found: dict[int, Tensor] = {}
    for segment, stacked in zip(segments, tensors, strict=True):
        for side, features, chain in zip(segment.sides, segment.features, stacked, strict=True):
            for feature, tensor in zip(features.tolist(), chain, strict=True):
                found[feature] = (tensor.permute(2, 1, 0) if side else tensor).clone()
    return [found[feature] for feature in range(len(found))]


def require_chain(shapes: Sequence[tuple[int, ...]], label_site: int | None) -> None:
    """Refuse site tensors that do not make a chain.

    Raises
    ------
    InputError
        If they have no three axes, or the bonds or local dimensions differ.
    """
    features = [shape for n, shape in enumerate(shapes) if n != label_site]
    fits = (
        len(features) >= 2
        and all(len(shape) == 3 for shape in shapes)
        and shapes[0][0] == 1
        and shapes[-1][2] == 1
        and all(a[2] == b[0] for a, b in itertools.pairwise(shapes))
        and len({shape[1] for shape in features}) == 1
    )
    if not fits:
        raise InputError(
            "site tensors are (left, local, right) with bonds that agree, 1 at both ends, and "
            f"one local dimension, got {list(shapes)[:6]}"
        )


def chain_tree(tensors: Sequence[Tensor], label_site: int | None, log_scale: float) -> TensorTree:
    """Turn site tensors, the label tensor among them, into tensors on a tree, in float64."""
    sites = [tensor.double() for tensor in tensors]
    n_features, last = len(sites) - (label_site is not None), len(sites) - 1
    opens = [~n for n in range(n_features)]
    if label_site is not None:
        opens.insert(label_site, ~n_features)
    axes: list[tuple[int, ...]] = [(n - 1, name, n + 1) for n, name in enumerate(opens)]
    sites[0], axes[0] = sites[0][0], axes[0][1:]
    sites[last], axes[last] = sites[last][..., 0], axes[last][:-1]
    return TensorTree(tuple(sites), tuple(axes), n_features, log_scale)
