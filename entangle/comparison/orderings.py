"""Orderings to compare: what a user names, and the columns it finds on training rows.

A method may not profit from an order of the features that already means something: ties, and
features related to no other, would stay where they came from. So a method gets the features in
random order, another one for each seed; the ordering called "random" is that very order. The
difference between the two is what rearranging is worth to whoever has shuffled data.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from entangle.affinity import resolve_affinity
from entangle.errors import InputError
from entangle.ordering import FeatureRearranger
from entangle.ordering.methods import BLIND, METHODS, resolve_method
from entangle.ordering.one_hot import ONE_HOT, are_found
from entangle.ordering.units import Units

__all__ = ["NATURAL", "RANDOM", "Ordering", "orderings_wanted", "with_random_state"]

NATURAL, RANDOM = "natural", "random"
Columns: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ordering:
    """An ordering under the name it is reported with.

    Attributes
    ----------
    name
        Distinct among those that are compared.
    source
        ``"natural"``, ``"random"``, columns, or a transformer that is not fitted.
    """

    name: str
    source: Any

    def columns(self, X: NDArray[Any], y: NDArray[Any], seed: int) -> Columns:
        """Feature of each column, found on training rows.

        Parameters
        ----------
        X
            Training rows, shape ``(samples, features)``.
        y
            Their classes, shape ``(samples,)``.
        seed
            Of random orders, of the start and of the search.

        Returns
        -------
        array
            Shape ``(features,)``: ``X[:, columns]`` is in this order.

        Raises
        ------
        InputError
            If a transformer does more than to move columns.
        """
        n_features = X.shape[1]
        if isinstance(self.source, str):
            return np.arange(n_features) if self.source == NATURAL else _start(n_features, seed)
        if isinstance(self.source, np.ndarray):
            return self.source
        if isinstance(self.source, FeatureRearranger):
            return self._rearranged(X, y, seed)
        start = _start(n_features, seed)
        model = with_random_state(clone(self.source), seed).fit(X[:, start], y)
        return start[self._moved(model, n_features)]

    def _rearranged(self, X: NDArray[Any], y: NDArray[Any], seed: int) -> Columns:
        """Columns of a rearranger, whose groups start in random order, too.

        Those that it finds itself start with their features apart.
        """
        given: Any = self.source
        finds = are_found(given.groups)
        units = Units.from_groups(None if finds else given.groups, X.shape[1])
        # A matrix or a function may know features by their numbers.
        shuffled = isinstance(given.affinity, str) and not callable(given.method)
        start = units.columns(_start(units.n_units, seed)) if shuffled else np.arange(X.shape[1])
        model: Any = clone(given)
        groups = given.groups if finds or given.groups is None else units.unit[start]
        model.set_params(random_state=seed, groups=groups, progress=False)
        model.fit(X[:, start], y)
        if len(model.columns_) > len(start):
            raise InputError(
                f"ordering {self.name!r} leaves {len(model.columns_) - len(start)} places empty; "
                f"pass a shape of {len(start)} places, so that every ordering fills the same ones"
            )
        return start[model.permutation_]

    def _moved(self, model: Any, n_features: int) -> Columns:
        """Columns that a fitted transformer returns, seen by what it does to their numbers."""
        numbers = np.arange(n_features, dtype=np.float64)
        seen = np.asarray(model.transform(np.stack([numbers, 2.0 * numbers + 1.0])))
        kept = seen.shape == (2, n_features) and np.array_equal(np.sort(seen[0]), numbers)
        if not kept or not np.array_equal(seen[1], 2.0 * seen[0] + 1.0):
            raise InputError(
                f"ordering {self.name!r} is a transformer that moves columns and leaves their "
                f"values, this one turned {n_features} columns into {seen.shape[-1]} others; put "
                "what changes values into a pipeline with the model"
            )
        return seen[0].astype(np.int64)


def orderings_wanted(
    orderings: Any, shape: tuple[int, ...], n_features: int
) -> tuple[Ordering, ...]:
    """Orderings from what a user passes.

    Parameters
    ----------
    orderings
        Names, permutations and transformers, or such by name; see
        :func:`~entangle.comparison.compare_orderings`.
    shape
        Layout that methods called by name order for.
    n_features
        Number of features.

    Raises
    ------
    InputError
        If one is unknown, no permutation, or has the name of another.
    """
    if isinstance(orderings, str):
        raise InputError(
            f"orderings are several, got the text {orderings!r}; pass ({orderings!r},)"
        )
    if isinstance(orderings, Mapping):
        found = [
            Ordering(str(name), _source(s, shape, n_features)) for name, s in orderings.items()
        ]
    elif isinstance(orderings, Iterable):
        found = [Ordering(_name(s, n), _source(s, shape, n_features)) for n, s in
                 enumerate(orderings)]  # fmt: skip
    else:
        raise InputError(f"orderings are a list or a dictionary of them, got {orderings!r}")
    if not found:
        raise InputError("orderings hold nothing; pass at least one, such as 'natural'")
    most, number = Counter(ordering.name for ordering in found).most_common(1)[0]
    if number > 1:
        raise InputError(
            f"orderings need distinct names, {most!r} comes {number} times; pass a dictionary from "
            "names to orderings"
        )
    return tuple(found)


def with_random_state(model: Any, seed: int) -> Any:
    """Set every ``random_state`` of a model and of its parts, in place."""
    names = [name for name in model.get_params(deep=True) if name.split("__")[-1] == "random_state"]
    return model.set_params(**dict.fromkeys(names, seed)) if names else model


def _start(number: int, seed: int) -> Columns:
    return np.random.default_rng(seed).permutation(number)


def _name(given: Any, place: int) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, FeatureRearranger):
        method = given.method if isinstance(given.method, str) else "own method"
        affinity = given.affinity if isinstance(given.affinity, str) else "own affinity"
        groups = [ONE_HOT] if are_found(given.groups) else []
        return ":".join([method, *([] if affinity == "pearson" else [affinity]), *groups])
    return type(given).__name__ if hasattr(given, "fit") else f"order {place + 1}"


def _source(given: Any, shape: tuple[int, ...], n_features: int) -> Any:
    if isinstance(given, str):
        return _named_source(given, shape)
    if hasattr(given, "fit") and hasattr(given, "transform") and hasattr(given, "get_params"):
        return clone(given)
    if hasattr(given, "fit") or callable(given):
        raise InputError(
            "an ordering is a name, a permutation, or a transformer of scikit-learn, got "
            f"{given!r}; FeatureRearranger(method=...) takes a function of (affinity, shape)"
        )
    order = np.asarray(given)
    if order.shape != (n_features,) or not np.array_equal(np.sort(order), np.arange(n_features)):
        raise InputError(
            f"a permutation holds each of 0..{n_features - 1} once, such that X[:, permutation] is "
            f"in order, got {order.dtype} of shape {order.shape}"
        )
    return order.astype(np.int64)


def _named_source(name: str, shape: tuple[int, ...]) -> Any:
    """Read "natural", "random" or a method, with an affinity or groups, as mincut:covariance."""
    if name in (NATURAL, RANDOM):
        return name
    method, *options = name.split(":")
    groups = ONE_HOT if ONE_HOT in options else None
    chosen = [option for option in options if option != ONE_HOT]
    affinity = ":".join(chosen) if chosen else "pearson"
    if method not in METHODS or method in BLIND:
        known = (NATURAL, RANDOM, *(m for m in METHODS if m not in BLIND))
        try:
            resolve_method(method)
        except InputError as reason:
            hint = str(reason).rpartition("; ")[2]
        else:
            hint = f"did you mean {NATURAL if method == 'identity' else RANDOM!r}?"
        raise InputError(
            f"an ordering is one of {', '.join(map(repr, known))}, or a method with an affinity, "
            f"with one-hot, or both, as 'mincut:covariance:one-hot', got {name!r}; {hint}"
        )
    resolve_affinity(affinity)
    if groups and len(shape) > 1:
        raise InputError(
            f"ordering {name!r} keeps columns of a category together in a sequence, the layout is "
            f"a grid, {'x'.join(map(str, shape))}; leave out one-hot, or pass "
            f"shape={math.prod(shape)} (--shape {math.prod(shape)})"
        )
    return FeatureRearranger(method, None if groups else shape, affinity, groups=groups)
