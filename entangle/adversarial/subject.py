"""Whatever a user hands over as a model, and its data, in the form that attacks take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from entangle.adversarial.estimators import exact_module, predicted_labels, scores
from entangle.arrays import as_array
from entangle.errors import InputError

__all__ = ["Subject", "as_samples", "class_numbers"]

_FEW = 32  # rows on which a module must agree with its estimator


@dataclass(frozen=True, eq=False)
class Subject:
    """A model in the form that attacks take.

    Attributes
    ----------
    forward
        From single-precision samples to outputs, shape ``(batch, classes)``.
    device
        Where samples go.
    module
        Whose modes are set during evaluation, if it has any.
    classes
        Labels in the order of the outputs; ``None``: class numbers.
    differentiable
        Whether gradients may be asked for.
    predict
        Class numbers of samples by the model's own prediction; ``None``: the largest output.
    """

    forward: Callable[[Tensor], Tensor]
    device: torch.device
    module: object = None
    classes: NDArray[Any] | None = None
    differentiable: bool = True
    predict: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def of(cls, model: Any, X: object) -> Subject:
        """Wrap a module, a function of tensors, or a fitted classifier.

        Raises
        ------
        InputError
            If it is none of these.
        """
        if isinstance(model, BaseEstimator):
            return _of_estimator(model, X)
        if isinstance(model, nn.Module):
            tensors = [*model.parameters(), *model.buffers()]
            kinds = [t.dtype for t in tensors if t.is_floating_point()]
            dtype = kinds[0] if kinds else torch.float32
            device = tensors[0].device if tensors else _device_of(X)
            if dtype == torch.float32:
                return cls(model, device, model)
            return cls(lambda samples: model(samples.to(dtype)), device, model)
        if callable(model) and not isinstance(model, type):
            function: Any = model
            return cls(function, _device_of(X))
        raise InputError(
            "model is a torch module, a function from samples to logits, or a fitted classifier, "
            f"got {type(model).__name__}; pass an instance of one of these"
        )


def _device_of(X: object) -> torch.device:
    return X.device if isinstance(X, Tensor) else torch.device("cpu")


def _of_estimator(model: Any, X: object) -> Subject:
    check_is_fitted(model)
    classes = getattr(model, "classes_", None)
    outputs = scores(model)
    if classes is None or outputs is None:
        raise InputError(
            f"{type(model).__name__} gives no scores; pass a classifier with predict_proba or "
            "decision_function, such as SVC(probability=True)"
        )
    known = np.asarray(classes)

    def predict(samples: Tensor) -> Tensor:
        labels = predicted_labels(model, samples)
        return torch.from_numpy(np.searchsorted(known, labels)).to(samples.device)

    module = exact_module(model)
    if module is not None:
        tensors = [*module.parameters(), *module.buffers()]
        device = tensors[0].device if tensors else torch.device("cpu")
        few = as_samples(X, device)[:_FEW]
        with torch.no_grad():
            agrees = torch.equal(module.eval()(few).argmax(1), predict(few))
        if agrees:
            return Subject(module, device, module, known, predict=predict)
    return Subject(outputs, torch.device("cpu"), None, known, False, predict)


def as_samples(X: object, device: torch.device) -> Tensor:
    """Read samples in single precision, shape ``(samples, *sample)``.

    Raises
    ------
    InputError
        If they are not finite numbers, or there are none.
    """
    given = X.detach() if isinstance(X, Tensor) else as_array(X, "X")
    if isinstance(given, np.ndarray):
        if given.dtype.kind not in "buif":
            raise InputError(f"X must be real numbers, got dtype {given.dtype}; encode it as such")
        given = torch.from_numpy(np.array(given, dtype=np.float64))
    if given.is_complex():
        raise InputError(f"X must be real numbers, got dtype {given.dtype}; encode it as such")
    if given.ndim < 2 or not given.numel():
        raise InputError(
            f"X has shape (samples, ...) with at least one sample and feature, got "
            f"{tuple(given.shape)}; one sample x becomes x[None]"
        )
    samples = given.to(device, torch.float32)
    wrong = (~torch.isfinite(samples)).nonzero()
    if len(wrong):
        raise InputError(
            f"X has {len(wrong)} values that are not finite in single precision; the first is "
            f"in row {int(wrong[0, 0])}; remove or impute them"
        )
    return samples


def class_numbers(y: object, n_samples: int, n_classes: int, classes: Any) -> Tensor:
    """Class number of every label, shape ``(samples,)``, on the CPU.

    Raises
    ------
    InputError
        If there is another number of labels, or one is unknown.
    """
    given = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if given.shape != (n_samples,):
        raise InputError(
            f"y has one label a sample, expected shape ({n_samples},), got {given.shape}; pass "
            "class labels, not one-hot rows"
        )
    if classes is not None:
        known = np.isin(given, classes)
        if not known.all():
            raise InputError(
                f"y has labels that the model does not know, the first is "
                f"{given[~known][:1].tolist()[0]!r}; it was trained on {classes[:10].tolist()}"
            )
        return torch.from_numpy(np.searchsorted(classes, given))
    numbers = given.astype(np.float64) if given.dtype.kind in "buif" else None
    if numbers is None or not (numbers == np.round(numbers)).all():
        raise InputError(
            f"labels of a module are class numbers 0 to {n_classes - 1}, got dtype {given.dtype}"
            f" with {given[0]!r}; pass np.unique(y, return_inverse=True)[1]"
        )
    if numbers.min() < 0 or numbers.max() >= n_classes:
        raise InputError(
            f"labels of a module are class numbers 0 to {n_classes - 1}, as it has {n_classes} "
            f"outputs, got {int(numbers.min())} to {int(numbers.max())}; number the classes from 0"
        )
    return torch.from_numpy(numbers.astype(np.int64))
