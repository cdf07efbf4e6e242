"""What classifiers by logits share: the rows that they are trained on, labels from logits.

Everything but the model is settled here, so that two of them see the same samples in training and
in validation for one seed, whatever they are made of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from entangle.adversarial.threat import ThreatModel
from entangle.adversarial_training import Attacked, Objective, require_adversarial
from entangle.epochs import Epoch
from entangle.errors import InputError
from entangle.supervised import (
    available_device,
    class_codes,
    require_share,
    stratified_split,
    weighted_rows,
)

__all__ = ["CrossEntropy", "LogitsClassifier", "TrainingRows"]

ROWS = 1024  # samples predicted at once


@dataclass(frozen=True)
class CrossEntropy:
    """Losses and hits of batches of what a module reads, class codes and weights.

    Attributes
    ----------
    module
        From values to logits.
    mixed_precision
        Work in bfloat16 where the module is training.
    """

    module: nn.Module
    mixed_precision: bool = False

    def losses(self, values: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        """Weighted cross-entropy of each sample, nats, shape ``(batch,)``."""
        mixed = self.mixed_precision and self.module.training
        with torch.autocast(values.device.type, torch.bfloat16, enabled=mixed):
            logits = self.module(values)
        return weights * nn.functional.cross_entropy(logits.float(), codes, reduction="none")

    def hits(self, values: Tensor, codes: Tensor, _: Tensor) -> Tensor:
        """1 for each sample whose class has the largest logit, else 0; shape ``(batch,)``."""
        return (self.module(values).argmax(dim=1) == codes).double()


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Samples with labels, split for training and validation.

    Attributes
    ----------
    samples
        Shape ``(samples, features)`` or ``(samples, features, channels)``.
    codes, weights
        Number of each sample's class, and weights of mean 1, shape ``(samples,)``, on the device.
    training, validation
        Rows of the samples; none validate without early stopping.
    seed
        Of all that is random.
    """

    samples: NDArray[np.floating]
    codes: Tensor
    weights: Tensor
    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    seed: int

    @property
    def device(self) -> torch.device:
        """Where to train."""
        return self.codes.device

    def raw(self) -> Tensor:
        """Copy the samples to the device as they were given."""
        return torch.from_numpy(np.ascontiguousarray(self.samples)).to(self.device)

    def parts(self, values: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None]:
        """Values, codes and weights to train on, and those to validate with, if there are any.

        Parameters
        ----------
        values
            What a model reads of the samples, shape ``(samples, ...)``, on the device.
        """
        data = values, self.codes, self.weights
        rows = tuple(tensor[self.training] for tensor in data)
        held = tuple(tensor[self.validation] for tensor in data) if len(self.validation) else None
        return rows, held


class LogitsClassifier(ClassifierMixin, BaseEstimator, ABC):
    """Classifier whose model gives logits; a subclass stores these options and trains."""

    adversarial: ThreatModel | None
    adversarial_steps: int
    class_weight: str | dict[Any, float] | None
    device: torch.device | str | None
    early_stopping: bool
    random_state: int | np.random.RandomState | None
    validation_fraction: float

    classes_: NDArray[Any]
    history_: tuple[Epoch, ...]
    n_iter_: int
    n_features_in_: int

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # -- training --------------------------------------------------------------------------

    def _training_rows(
        self, X: object, y: object, sample_weight: object, dtype: torch.dtype
    ) -> TrainingRows:
        """Check what ``fit`` is given, learn the classes, and split the rows.

        Parameters
        ----------
        X, y, sample_weight
            As ``fit`` takes them.
        dtype
            Of the weights.
        """
        require_share("validation_fraction", self.validation_fraction)
        require_adversarial(self.adversarial, self.adversarial_steps)
        samples, labels, weights = weighted_rows(
            self, X, y, sample_weight, allow_nd=True, ensure_min_samples=2, ensure_min_features=2
        )
        self.classes_, codes = class_codes(labels)
        weights = self._weighed_classes(weights / weights.max(), labels)
        seeds = check_random_state(self.random_state)
        seed = int(seeds.randint(2**30))  # pyright: ignore[reportAttributeAccessIssue]
        device = available_device(self.device)
        fraction = self.validation_fraction if self.early_stopping else 0.0
        return TrainingRows(
            samples,
            torch.from_numpy(codes).to(device),
            torch.from_numpy(weights / weights.mean()).to(device, dtype),
            *stratified_split(codes, fraction, np.random.default_rng(seed)),
            seed,
        )

    def _weighed_classes(
        self, weights: NDArray[np.float64], labels: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Weights times those of the samples' classes, the largest 1."""
        found = weights * compute_sample_weight(self.class_weight, labels)  # pyright: ignore
        if not (np.isfinite(found) & (found >= 0)).all() or not found.any():
            raise InputError(
                "class_weight is None, 'balanced' or a finite number of at least 0 for each "
                f"class, not 0 for all, got {self.class_weight!r}"
            )
        return found / found.max()

    def _attacked(
        self,
        objective: Objective,
        network: nn.Module,
        module: nn.Module,
        read: Callable[[Tensor], Tensor],
        given: TrainingRows,
    ) -> Attacked:
        """Turn an objective of values into one of samples, which are attacked first.

        Parameters
        ----------
        objective, network, module, read
            As for :class:`~entangle.adversarial_training.Attacked`.
        given
            All samples; the threat must fit every one of them.
        """
        assert self.adversarial is not None
        self.adversarial.around(given.raw())  # refuses what does not fit before any work
        starts = torch.Generator().manual_seed(given.seed + 2)
        return Attacked(
            objective, network, module, read, self.adversarial, self.adversarial_steps, starts
        )

    # -- prediction ------------------------------------------------------------------------

    @abstractmethod
    def _block_logits(self, samples: NDArray[np.floating]) -> Tensor:
        """Logits of some samples, shape ``(samples, classes)``; no gradient is asked for."""

    @abstractmethod
    def _logits_module(self) -> nn.Module:
        """Return a module from rows, as the user passes them, to logits, on the model's device."""

    def as_module(self) -> nn.Module:
        """Fitted model as a module from rows of ``X`` to logits, differentiable in the rows.

        It shares its weights with the classifier and is in evaluation mode.

        Returns
        -------
        torch.nn.Module
            From ``(batch, features)``, or ``(batch, features, channels)``, in the units of
            ``X`` to logits ``(batch, classes)`` in the order of ``classes_``: those of
            :meth:`logits`, to rounding. Rows are on the device of the fitted model and floating
            point; they are not checked.

        Examples
        --------
        >>> import numpy as np
        >>> from entangle import LocalNetworkClassifier
        >>> X = np.random.default_rng(0).normal(size=(20, 4))
        >>> model = LocalNetworkClassifier("mlp", max_epochs=1, random_state=0).fit(X, X[:, 0] > 0)
        >>> logits = model.as_module()(torch.from_numpy(X))
        >>> np.allclose(logits.detach().numpy(), model.logits(X), atol=1e-5)
        True
        """
        check_is_fitted(self)
        return self._logits_module().eval()

    def _block_rows(self) -> int:
        """Count the samples that are predicted at once."""
        return ROWS

    def logits(self, X: Any) -> NDArray[np.floating]:
        """Logits of every class, shape ``(samples, classes)``."""
        check_is_fitted(self)
        samples: Any = validate_data(
            self, X, reset=False, dtype=[np.float64, np.float32], allow_nd=True
        )
        size = self._block_rows()
        with torch.no_grad():
            found = [
                self._block_logits(samples[begin : begin + size])
                for begin in range(0, len(samples), size)
            ]
        return torch.cat(found).cpu().numpy()

    def decision_function(self, X: object) -> NDArray[np.floating]:
        """Logits, shape ``(samples, classes)``; of two classes the second's minus the first's."""
        logits = self.logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: object) -> NDArray[np.floating]:
        """Probability of every class, shape ``(samples, classes)``: softmax of the logits."""
        return torch.softmax(torch.from_numpy(self.logits(X)), dim=1).numpy()

    def predict(self, X: object) -> NDArray[Any]:
        """Most probable label of each sample, shape ``(samples,)``."""
        best = self.logits(X).argmax(axis=1)
        return self.classes_[best]
