r"""Neural persistence: how far the strongest paths through a layer stand out.

A layer is a complete bipartite graph whose edges weigh :math:`w = |W| / \max |W|`. Edges enter from
the strongest to the weakest, and each that joins two components, an edge of the maximum spanning
forest, ends one that was born at 1. With their weights w,

.. math:: \mathrm{NP} = \frac{\sqrt{\sum_{\text{forest}} (1 - w)^2}}{\sqrt{n_\text{forest}}},
    \qquad n_\text{forest} = n_\text{in} + n_\text{out} - 1,

from 0, where the forest needs no edge but of the largest weight, to 1.

Source: Rieck et al. 2019, arXiv:1812.09764, definition 1 and theorem 1 (bounds). A convolution is
taken as in :mod:`entangle.spectra.weights`; its places of the kernel are inputs of their own. Of
several groups each is a graph, with forest edges of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import nn

from entangle.adversarial.options import one_of
from entangle.arrays import as_array
from entangle.errors import InputError
from entangle.memory import require_memory
from entangle.spectra.weights import weight_matrices

__all__ = ["NeuralPersistence", "forest_weights", "matrix_persistence", "neural_persistence"]

SCHEMA = 1
SCALES = ("network", "layer")
_BYTES = 64  # for each edge: indices and values, twice, and their order


@dataclass(frozen=True)
class NeuralPersistence:
    """Persistence of each layer, from 0 to 1, by name, and the mean over layers."""

    layers: dict[str, float]
    scale: str

    @property
    def mean(self) -> float:
        """Mean over layers, the published value of a network."""
        return float(np.mean(list(self.layers.values())))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"schema": SCHEMA, "scale": self.scale, "layers": self.layers, "mean": self.mean}


def neural_persistence(
    model: nn.Module, layers: Sequence[str] | None = None, scale: str = "network"
) -> NeuralPersistence:
    """Normalised neural persistence of every layer of a network.

    Parameters
    ----------
    model, layers
        As for :func:`~entangle.spectra.weights.weight_spectra`.
    scale
        ``"network"``: weights are divided by the largest of all layers asked for, as published.
        ``"layer"``: by the largest of the layer.

    Raises
    ------
    InputError
        If there are no such layers, or all weights are 0.
    MemoryLimitError
        If the graph of a layer would not fit.

    Examples
    --------
    >>> model = nn.Linear(3, 2)
    >>> _ = nn.init.constant_(model.weight, -0.5)
    >>> neural_persistence(model).mean
    0.0
    """
    one_of("scale", scale, SCALES)
    found = [
        (name, np.abs(matrices.double().cpu().numpy()))
        for name, matrices in weight_matrices(model, layers)
    ]
    largest = max(float(sizes.max()) for _, sizes in found)
    persistence = {}
    for name, sizes in found:
        top = largest if scale == "network" else float(sizes.max())
        if not top:
            raise InputError(f"the weights of {name!r} are all 0, so none is the largest")
        persistence[name] = _persistence(sizes / top)
    return NeuralPersistence(persistence, scale)


def matrix_persistence(matrix: ArrayLike) -> float:
    """Normalised neural persistence of one matrix, its weights divided by the largest.

    Examples
    --------
    >>> round(matrix_persistence([[1.0, 0.0], [0.0, 0.0]]) ** 2, 12)  # two of three edges weigh 0
    0.666666666667
    """
    sizes = np.abs(as_array(matrix, "matrix").astype(np.float64))
    if sizes.ndim != 2 or not sizes.size or not np.isfinite(sizes).all() or not sizes.any():
        raise InputError(
            f"a matrix has two axes and finite values, not all 0, got shape {sizes.shape}"
        )
    return _persistence(sizes[None] / sizes.max())


def forest_weights(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the edges of a maximum spanning forest, in no order.

    Parameters
    ----------
    sizes
        Weights from 0 to 1, shape ``(rows, columns)``; every pair is an edge, also one of
        weight 0.
    """
    rows, columns = sizes.shape
    require_memory(_BYTES * sizes.size, f"the graph of a layer of {rows} x {columns}")
    # What is least is the strongest edge, and no cost is 0, which would be no edge.
    ends = np.tile(np.arange(rows, rows + columns), rows)
    starts = np.concatenate([np.arange(rows + 1) * columns, np.full(columns, sizes.size)])
    graph = csr_array((2 - sizes.ravel(), ends, starts), shape=(rows + columns,) * 2)
    return 2 - minimum_spanning_tree(graph).data


def _persistence(graphs: NDArray[np.float64]) -> float:
    """Root mean square of 1 - w over the forests of graphs, shape ``(groups, rows, columns)``."""
    weights = np.concatenate([forest_weights(sizes) for sizes in graphs])
    return float(np.sqrt(np.mean(np.square(1 - weights))))
