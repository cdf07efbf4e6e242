"""CIFAR-10 as the reproductions use it, and a convolutional network on pixels in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle import FeatureRearranger, LocalNetworkClassifier, load_dataset

__all__ = ["SHAPE", "Images", "accuracy", "cifar", "rearranged"]

SHAPE = 32, 32
EXACT, BINARY = "cifar10_exact_5k", "cifar10_binary_jpeg_12k"


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels of three colours, shape ``(samples, 1024, 3)``, from 0 to 1; classes; test rows."""

    pixels: NDArray[np.float32]
    classes: NDArray[Any]
    is_test: NDArray[np.bool_]

    @property
    def grey(self) -> NDArray[np.float64]:
        """Mean colour, shape ``(samples, 1024)``."""
        return self.pixels.mean(axis=2, dtype=np.float64)

    def thinned(self, n_train: int, n_test: int, seed: int = 0) -> Images:
        """So many training and test rows, drawn at random."""
        random = np.random.default_rng(seed)
        parts = [np.flatnonzero(~self.is_test), np.flatnonzero(self.is_test)]
        kept = [random.permutation(p)[:n] for p, n in zip(parts, (n_train, n_test), strict=True)]
        rows = np.concatenate(kept)
        return Images(self.pixels[rows], self.classes[rows], self.is_test[rows])


def cifar(name: str) -> Images:
    """Read one of the two sets at hand; both come with test rows of their own."""
    data = load_dataset(name)
    assert data.y is not None
    X = data.X.reshape(len(data.X), *data.shape)
    X = np.moveaxis(X, 1, -1) if data.shape[0] == 3 else X
    n_train = {EXACT: 4000, BINARY: 10000}[name]  # training rows come first
    pixels = X.reshape(len(X), -1, 3).astype(np.float32) / np.float32(255)
    return Images(pixels, data.y, np.arange(len(X)) >= n_train)


def rearranged(
    images: Images, start: NDArray[np.int64], seed: int, method: str, affinity: str = "pearson"
) -> NDArray:
    """Order of pixels that a method finds on training rows whose pixels are in the order start."""
    train = images.pixels[~images.is_test][:, start].reshape(-1, 3 * len(start))
    model = FeatureRearranger(method, SHAPE, affinity, groups=3, random_state=seed).fit(train)
    return start[model.permutation_[::3] // 3]


def accuracy(images: Images, order: NDArray, epochs: int, seed: int) -> float:
    """Share of the test rows that a network trained on pixels in this order names rightly."""
    model = LocalNetworkClassifier(
        "cnn", SHAPE, max_epochs=epochs, early_stopping=False, random_state=seed
    )
    train, test = ~images.is_test, images.is_test
    model.fit(images.pixels[train][:, order], images.classes[train])
    return float(model.score(images.pixels[test][:, order], images.classes[test]))
