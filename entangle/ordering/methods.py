"""The ordering methods by name, each a function from an affinity to a permutation."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from entangle.axes import Shape
from entangle.errors import InputError
from entangle.ordering.geodesic import geodesic_order
from entangle.ordering.igtd import igtd_order
from entangle.ordering.leaf_ordering import leaf_order
from entangle.ordering.mincut import mincut_order
from entangle.ordering.spectral import spectral_order
from entangle.ordering.tsp import tsp_order
from entangle.partition import as_shape

__all__ = ["BLIND", "METHODS", "NEEDS_ALL_PAIRS", "resolve_method"]

Permutation = NDArray[np.int64]


def _identity(affinity: object, shape: Shape, *_: object) -> Permutation:
    return np.arange(math.prod(as_shape(shape)))


def _random(
    affinity: object, shape: Shape, n_samples: int | None = None, random_state: Any = None
) -> Permutation:
    return check_random_state(random_state).permutation(math.prod(as_shape(shape)))


# Each takes (affinity, shape, n_samples=None, random_state=None).
METHODS: dict[str, Callable[..., Permutation]] = {
    "mincut": mincut_order,
    "geodesic": geodesic_order,
    "spectral": spectral_order,
    "leaf-ordering": leaf_order,
    "tsp": tsp_order,
    "igtd": igtd_order,
    "identity": _identity,
    "random": _random,
}
BLIND = ("identity", "random")  # need no affinity
NEEDS_ALL_PAIRS = ("leaf-ordering", "igtd")


def resolve_method(method: str | Callable) -> Callable[..., Permutation]:
    """Return the function behind a name; a callable ``(affinity, shape)`` gets no more than that.

    Raises
    ------
    InputError
        If there is no method of that name; it suggests the nearest one.
    """
    if callable(method):
        return lambda affinity, shape, n_samples=None, random_state=None: method(affinity, shape)
    if isinstance(method, str) and method in METHODS:
        return METHODS[method]
    close = difflib.get_close_matches(str(method), METHODS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "pass one of these names"
    raise InputError(
        f"method is one of {', '.join(map(repr, METHODS))} or a callable "
        f"(affinity, shape) -> permutation, got {method!r}; {hint}"
    )
