"""Which bonds of a chain a cut goes through: one, or a few where a run lies in the middle.

The label axis is a site of the chain, too, and it belongs to the larger side of every cut. Where
it is not among that side's features, it stands between bonds of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from entangle.errors import PartitionError
from entangle.partition import Partition

__all__ = ["RunCut", "bond_of_cut"]


@dataclass(frozen=True)
class RunCut:
    """Cut of a run of neighbouring features off all others, seen from the sites of a chain.

    Attributes
    ----------
    starts_inside
        Whether the first site is on the side of the run.
    changes
        Places where the side changes: those of the sites to the right of the bonds cut, ascending.
        Labels on the way, or away from their side, make more of them than the two ends of the run.
    holds_labels
        Whether the labels belong to the side of the run.
    """

    starts_inside: bool
    changes: tuple[int, ...]
    holds_labels: bool

    @classmethod
    def of(cls, partition: Partition, n_features: int, label_site: int | None) -> RunCut:
        """Find the bonds of a cut; the labels belong to the larger side, or that without feature 0.

        Raises
        ------
        PartitionError
            If the cut was made for another number of features, or neither side is a run.
        """
        sides = partition.block, partition.complement
        runs = [side for side in sides if side[-1] - side[0] + 1 == side.size]
        if partition.n_features != n_features or not runs:
            raise PartitionError(
                f"{partition!r} is no cut of a chain of {n_features} features; it can be read "
                "where one side is a run of neighbouring features, as at "
                f"Partition(range(i, k), {n_features})"
            )
        start, size = int(runs[0][0]), runs[0].size
        first, last, holds_labels = start, start + size, False
        n_sites, toggles = n_features, {first, last}
        if label_site is not None:
            # A label between two features of the run is a site of it.
            first, last = first + (label_site <= first), last + (label_site < last)
            holds_labels = (2 * size, start) > (n_features, 0)
            apart = holds_labels != (first <= label_site < last)
            toggles = {first, last} ^ ({label_site, label_site + 1} if apart else set())
            n_sites += 1
        return cls(0 in toggles, tuple(sorted(toggles - {0, n_sites})), holds_labels)


def bond_of_cut(partition: Partition, n_features: int, label_site: int | None) -> tuple[int, int]:
    """Find the bond of a cut: its tensors without and with the label axis, if there is one.

    Raises
    ------
    PartitionError
        If the cut is not between the first and the other features, or the label axis is on its
        smaller side.
    """
    right, *others = RunCut.of(partition, n_features, label_site).changes
    if others:
        labels = "" if label_site is None else f" with labels after {label_site} of them"
        raise PartitionError(
            f"{partition!r} cuts {1 + len(others)} bonds of a chain of {n_features} features"
            f"{labels}; one bond cuts the first features from the others, as at "
            f"Partition(range(k), {n_features}), with the labels on the larger side: "
            "label_site=None puts them into the middle"
        )
    if label_site is None or label_site >= right:
        return right - 1, right
    return right, right - 1
