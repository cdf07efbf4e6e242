"""scikit-learn estimators as modules: exactly, where they are linear or a perceptron.

Scalers, permutations of columns, linear models and ``MLPClassifier`` are a few operations each, so
their gradient is at hand. Any other classifier is a function from rows to scores, which only
attacks without gradients can use.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor, nn

__all__ = ["exact_module", "predicted_labels", "scores"]

ACTIVATIONS = {
    "identity": nn.Identity, "logistic": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU,
}  # fmt: skip


class Affine(nn.Module):
    """Values times a factor plus a shift, in double precision, clipped if asked to."""

    def __init__(
        self, factor: object, shift: object, limits: tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        self.limits = limits
        self.factor: Tensor
        self.shift: Tensor
        self.register_buffer("factor", torch.as_tensor(np.array(factor, dtype=np.float64)))
        self.register_buffer("shift", torch.as_tensor(np.array(shift, dtype=np.float64)))

    def forward(self, values: Tensor) -> Tensor:
        """Values of the same shape."""
        moved = values.double() * self.factor + self.shift
        return moved if self.limits is None else moved.clamp(*self.limits)


class Dense(nn.Module):
    """Values times a matrix plus a shift, in double precision."""

    def __init__(self, matrix: NDArray[Any], shift: NDArray[Any]) -> None:
        super().__init__()
        self.matrix: Tensor
        self.shift: Tensor
        self.register_buffer("matrix", torch.as_tensor(np.array(matrix, dtype=np.float64)))
        self.register_buffer("shift", torch.as_tensor(np.array(shift, dtype=np.float64)))

    def forward(self, values: Tensor) -> Tensor:
        """Shape ``(batch, outputs)``."""
        return values.double() @ self.matrix + self.shift


class Columns(nn.Module):
    """Columns in another order."""

    def __init__(self, order: NDArray[np.integer]) -> None:
        super().__init__()
        self.order: Tensor
        self.register_buffer("order", torch.as_tensor(np.array(order)))

    def forward(self, values: Tensor) -> Tensor:
        """Shape as given, or as many columns as the order names."""
        return values[:, self.order]


class TwoLogits(nn.Module):
    """Logits of two classes from one score: half of it, up and down."""

    def forward(self, score: Tensor) -> Tensor:
        """Shape ``(batch, 2)``."""
        return torch.cat([-score / 2, score / 2], dim=1)


def exact_module(estimator: object) -> nn.Module | None:
    """Build a module from rows to logits in the order of ``classes_``; ``None`` if there is none.

    Parameters
    ----------
    estimator
        Fitted. A classifier with ``as_module``, a linear one, ``MLPClassifier``, or a pipeline of
        scalers and permutations that ends in one of these.
    """
    if isinstance(estimator, Pipeline):
        stages = [_stage(step) for _, step in estimator.steps[:-1]]
        last = exact_module(estimator.steps[-1][1])
        if last is None or any(stage is None for stage in stages):
            return None
        return nn.Sequential(*[stage for stage in stages if stage is not None], last)
    as_module = getattr(estimator, "as_module", None)
    if as_module is not None:
        return as_module()
    if isinstance(estimator, LinearClassifierMixin):
        fitted: Any = estimator
        matrix = np.atleast_2d(fitted.coef_).T
        return _with_two_logits(
            [Dense(matrix, np.broadcast_to(fitted.intercept_, matrix.shape[1]))]
        )
    if isinstance(estimator, MLPClassifier) and estimator.activation in ACTIVATIONS:
        return _perceptron(estimator)
    return None


def _stage(step: object) -> nn.Module | None:
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return nn.Identity()
    if isinstance(step, StandardScaler):
        scale = 1.0 if step.scale_ is None else step.scale_
        mean = step.mean_ if step.with_mean and step.mean_ is not None else 0.0
        return Affine(1 / np.asarray(scale), -np.asarray(mean) / scale)
    if isinstance(step, MinMaxScaler):
        limits = step.feature_range if step.clip else None
        return Affine(step.scale_, step.min_, limits)
    order = getattr(step, "permutation_", None)
    if order is None or len(getattr(step, "columns_", order)) != len(order):
        return None  # not a permutation, or one with places that are filled
    return Columns(order)


def _perceptron(estimator: MLPClassifier) -> nn.Module:
    layers: list[nn.Module] = []
    for matrix, shift in zip(estimator.coefs_, estimator.intercepts_, strict=True):
        layers += [Dense(matrix, shift), ACTIVATIONS[estimator.activation]()]
    return _with_two_logits(layers[:-1])


def _with_two_logits(layers: list[nn.Module]) -> nn.Module:
    outputs = layers[-1].shift
    return nn.Sequential(*layers, *([TwoLogits()] if len(outputs) == 1 else []))  # pyright: ignore


def scores(estimator: Any) -> Callable[[Tensor], Tensor] | None:
    """Wrap probabilities or decision values of rows as a function; ``None`` without either."""
    function = getattr(estimator, "predict_proba", getattr(estimator, "decision_function", None))
    if function is None:
        return None

    def forward(samples: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            found = torch.from_numpy(np.asarray(function(samples.detach().cpu().numpy())))
        found = found.to(samples.device)
        return found if found.ndim == 2 else torch.stack([-found / 2, found / 2], dim=1)

    return forward


def predicted_labels(estimator: Any, samples: Tensor) -> NDArray[Any]:
    """Labels that an estimator predicts itself, shape ``(batch,)``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.asarray(estimator.predict(samples.detach().cpu().numpy()))
