"""Entanglement of attacked rows beside that of the same rows as they were.

All are measured with one angle, one scale and the same labels, so that nothing differs but the
values. Rows with the same steps but random signs are the control: what any change of that size does
to the entropy is no doing of the attack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from entangle.data_tensor import DataTensor
from entangle.datasets import Dataset
from entangle.embedding import Trigonometric
from entangle.entropy import entanglement_profile
from entangle.errors import DegenerateStateError
from entangle.partition import CanonicalTree
from entangle.preparation import angle_of, sample_weights, scale_of

__all__ = ["Ruler", "with_random_signs"]

LEVELS = 4


@dataclass(frozen=True, eq=False)
class Ruler:
    """Measures versions of the same rows alike.

    Attributes
    ----------
    shift, span
        Of each column: values less the shift over the span are embedded.
    theta
        Angle of the embedding, from the rows as they were.
    weights
        Of the rows, by their class.
    shape
        Layout of the columns.
    """

    shift: NDArray[np.float64] | np.float64
    span: NDArray[np.float64] | np.float64
    theta: float
    weights: NDArray[np.float64] | None
    shape: tuple[int, ...]

    @classmethod
    def of(
        cls, data: Dataset, columns: NDArray[np.int64], X: NDArray[Any], y: NDArray[Any], seed: int
    ) -> Ruler:
        """Learn the scale from all data, the angle from some rows.

        Parameters
        ----------
        data
            All rows, in the order of the features.
        columns
            Feature of each column of ``X``.
        X, y
            Rows as they were, and their classes; at least two.
        seed
            Of the pairs that the angle is found from.
        """
        how = "feature" if data.kind == "table" else "global"
        parts = (np.broadcast_to(part, data.n_features) for part in scale_of(data.X, how))
        shift, span = (part[columns] for part in parts)
        values = torch.from_numpy((X.astype(np.float64) - shift) / span)
        theta = angle_of("auto", values, seed)
        return cls(shift, span, theta, sample_weights(y)[0], data.shape)

    def entropy_nats(self, X: NDArray[Any]) -> float | None:
        """Mean entropy over the canonical cuts of levels 1 to 4; ``None`` if the rows cancel."""
        values = torch.from_numpy((X.astype(np.float64) - self.shift) / self.span)
        tensor = DataTensor(values, self.weights, Trigonometric(self.theta))
        levels = min(LEVELS, CanonicalTree(self.shape).depth)
        try:
            return float(entanglement_profile(tensor, self.shape, levels).mean)
        except DegenerateStateError:
            return None


def with_random_signs(
    clean: NDArray[Any],
    moved: NDArray[Any],
    limits: tuple[Any, Any],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Rows with steps of the same sizes in random directions, within the bounds.

    Parameters
    ----------
    clean, moved
        Rows before and after an attack, shape ``(rows, features)``.
    limits
        Lower and upper bounds, or ``None``.
    random
        Of the signs.
    """
    steps = moved.astype(np.float64) - clean
    signs = random.choice([-1.0, 1.0], size=steps.shape)
    lower, upper = (
        end if bound is None else np.asarray(bound, dtype=np.float64)
        for bound, end in zip(limits, (-np.inf, np.inf), strict=True)
    )
    return np.clip(clean + signs * steps, lower, upper)
