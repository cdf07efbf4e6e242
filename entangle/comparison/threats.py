"""Threats that name features, moved along with them.

A :class:`~entangle.adversarial.ThreatModel` may have bounds, scales and masks of each feature and
groups of columns. A model that sees the features in another order needs them in that order, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.adversarial.threat import ThreatModel

__all__ = ["threat_in_order", "with_threat_in_order"]

PER_FEATURE = ("lower", "upper", "scale", "immutable")


def threat_in_order(threat: ThreatModel, columns: NDArray[np.int64]) -> ThreatModel:
    """Return the threat to ``X[:, columns]`` that ``threat`` is to ``X``.

    Parameters
    ----------
    threat
        What has one value a feature, shape ``(features,)`` or ``(features, channels)``, moves;
        numbers stay.
    columns
        Feature of each column.

    Examples
    --------
    >>> threat = ThreatModel("linf", 0.1, lower=[0.0, 1.0, 2.0], groups=[(0, 1)])
    >>> moved = threat_in_order(threat, np.array([2, 0, 1]))
    >>> moved.lower.tolist(), moved.groups
    ([2.0, 0.0, 1.0], ((1, 2),))
    """
    moved: dict[str, Any] = {}
    for name in PER_FEATURE:
        value = getattr(threat, name)
        given = None if value is None else np.asarray(value)
        if given is not None and given.ndim and len(given) == len(columns):
            moved[name] = given[columns]
    place = np.argsort(columns)
    groups = [tuple(int(place[feature]) for feature in group) for group in threat.groups]
    return replace(threat, **moved, groups=groups)


def with_threat_in_order(model: Any, columns: NDArray[np.int64]) -> Any:
    """Give a classifier that trains adversarially the threat to these columns, in place."""
    threat = model.get_params(deep=False).get("adversarial")
    if not isinstance(threat, ThreatModel):
        return model
    return model.set_params(adversarial=threat_in_order(threat, columns))
