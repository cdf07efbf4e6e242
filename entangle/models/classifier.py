"""A scikit-learn classifier whose model is a local network, or any torch module.

It answers what entanglement predicts: how well a convolutional network, a state-space model or
local attention does on features in this order. Everything but the order stays the same from one
order to the next: first values, batches and the validation split depend on the seed alone.

Source: protocol of Alexander et al. 2023, arXiv:2303.11249, Tables 1 and 2. Deviations: a
schedule of the rate, early stopping, and one scale for all values; the paper trains on values as
they are, at a constant rate (S4: along a cosine), and keeps the last of 200 to 900 epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from entangle.axes import Shape
from entangle.epochs import Epoch
from entangle.errors import InputError, PartitionError
from entangle.models.inputs import Inputs
from entangle.models.registry import build_model, resolve_recipe
from entangle.models.seeding import seeded
from entangle.partition import as_shape
from entangle.supervised import (
    available_device,
    class_codes,
    require_share,
    stratified_split,
    weighted_rows,
)
from entangle.training import Plan, train

__all__ = ["LocalNetworkClassifier"]


@dataclass(frozen=True)
class _Objective:
    """Losses and hits of batches of values, class codes and weights."""

    module: nn.Module
    device: torch.device
    mixed_precision: bool

    def losses(self, values: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        """Weighted cross-entropy of each sample, nats, shape ``(batch,)``."""
        mixed = self.mixed_precision and self.module.training
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            logits = self.module(values)
        return weights * nn.functional.cross_entropy(logits.float(), codes, reduction="none")

    def hits(self, values: Tensor, codes: Tensor, _: Tensor) -> Tensor:
        """1 for each sample whose class has the largest logit, else 0; shape ``(batch,)``."""
        return (self.module(values).argmax(dim=1) == codes).double()


class LocalNetworkClassifier(ClassifierMixin, BaseEstimator):
    """Classifier by a local network, trained by Adam.

    Parameters
    ----------
    model
        ``"cnn"``: residual convolutions. ``"s4"``: diagonal state spaces. ``"attention"``: within
        windows. ``"m5"``: for raw audio. ``"padded-cnn"``: the published variant of the first.
        ``"mlp"``: not local, as a control. Or a torch module, of which a copy is trained, or a
        function of (n_channels, shape, n_classes) that builds one; modules map
        ``(batch, channels, *shape)`` to logits ``(batch, classes)``.
    shape
        Axis lengths of a sample that is a grid, row-major, for a convolutional network. Default:
        a sequence.
    model_options
        Options of a network with a name, such as ``{"depth": 4, "width": 16}``.
    scale
        ``"all"``: subtract the mean of all training values of a channel and divide by their
        standard deviation, which keeps features in proportion. ``"feature"``: the same for each
        feature alone. ``None``: take values as they are, as published.
    learning_rate, batch_size, weight_decay
        Of Adam; the rate rises over one epoch and then falls along a cosine to 0. Default: as
        published for the model, see :data:`entangle.models.MODELS`.
    max_epochs
        Passes through the data; the published ones are 200 to 900.
    early_stopping
        Stop by the loss on a validation split and restore the best weights.
    validation_fraction
        Share of each class that is split off; one sample at least of a class that has two.
    patience
        Epochs without a lower validation loss. Default: a third of ``max_epochs``.
    class_weight
        ``None``, ``"balanced"`` or a weight for each class.
    mixed_precision
        Train in bfloat16 where the device is a GPU that has it; prediction is not affected.
    device
        Where to train and predict. Default: the CPU.
    random_state
        Seed of first values, batches, dropout and split; results are equal on one machine.
    progress
        Show a progress bar on a terminal.

    Attributes
    ----------
    module_
        The trained network, in evaluation mode.
    classes_
        Labels, sorted; the order of the logits.
    history_
        An :class:`~entangle.epochs.Epoch` for each epoch; the validation score is accuracy.
    n_iter_
        Epochs trained.
    n_channels_in_
        Numbers at each position, 1 without an axis of channels.
    n_features_in_, feature_names_in_
        Number of features and, if ``X`` had string column names, their names.

    Notes
    -----
    Ctrl-C ends training with a warning and keeps the best weights so far.

    Examples
    --------
    >>> import numpy as np
    >>> from entangle import LocalNetworkClassifier
    >>> X = np.random.default_rng(0).normal(size=(200, 9))
    >>> y = X[:, 2:5].sum(axis=1) > 0
    >>> model = LocalNetworkClassifier("cnn", max_epochs=20, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    module_: nn.Module
    classes_: NDArray[Any]
    history_: tuple[Epoch, ...]
    n_iter_: int
    n_features_in_: int
    n_channels_in_: int

    def __init__(
        self,
        model: str | nn.Module | Callable[..., nn.Module] = "cnn",
        shape: Shape | None = None,
        *,
        model_options: dict[str, Any] | None = None,
        scale: str | None = "all",
        learning_rate: float | None = None,
        batch_size: int | None = None,
        weight_decay: float | None = None,
        max_epochs: int = 100,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        class_weight: str | dict[Any, float] | None = None,
        mixed_precision: bool = False,
        device: torch.device | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        progress: bool = False,
    ) -> None:
        self.model = model
        self.shape = shape
        self.model_options = model_options
        self.scale = scale
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.class_weight = class_weight
        self.mixed_precision = mixed_precision
        self.device = device
        self.random_state = random_state
        self.progress = progress

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # -- training --------------------------------------------------------------------------

    def fit(self, X: object, y: object, sample_weight: object = None) -> LocalNetworkClassifier:
        """Train on rows of ``X`` with labels ``y``.

        Parameters
        ----------
        X
            Shape ``(samples, features)``, or ``(samples, features, channels)`` where each feature
            is several numbers; finite, at least two features. Array or frame.
        y
            Labels, shape ``(samples,)``: numbers or text, at least two classes.
        sample_weight
            Weight of each sample's loss, shape ``(samples,)``; only ratios count. A sample of
            weight 0 is left out altogether.

        Raises
        ------
        InputError
            If there is one class only, an option is unusable, or the loss is not finite.
        PartitionError
            If ``shape`` does not hold the features.
        """
        plan = self._plan()
        require_share("validation_fraction", self.validation_fraction)
        samples, labels, weights = weighted_rows(
            self, X, y, sample_weight, allow_nd=True, ensure_min_samples=2, ensure_min_features=2
        )
        self.n_channels_in_ = _channels(samples)
        self.classes_, codes = class_codes(labels)
        weights = weights * compute_sample_weight(self.class_weight, labels)  # pyright: ignore
        seeds = check_random_state(self.random_state)
        seed = int(seeds.randint(2**30))  # pyright: ignore[reportAttributeAccessIssue]
        device = available_device(self.device)
        self._inputs = Inputs.fitted(samples, self._layout(), self.scale)
        data = (
            self._inputs.tensor(samples, device),
            torch.from_numpy(codes).to(device),
            torch.from_numpy(weights / weights.mean()).to(device, torch.float32),
        )
        fraction = self.validation_fraction if self.early_stopping else 0.0
        training, held = stratified_split(codes, fraction, np.random.default_rng(seed))
        module = build_model(
            self.model, self.n_channels_in_, self._inputs.shape, len(self.classes_), seed=seed,
            **(self.model_options or {}),
        ).to(device, torch.float32)  # fmt: skip
        _check_batches(module, plan.batch_size)
        with seeded(seed, device):
            self._train(module, device, plan, data, training, held, seed)
        return self

    def _plan(self) -> Plan:
        """Follow the options, and the model's recipe where they are silent."""
        recipe = resolve_recipe(self.model)
        given = {
            name: getattr(recipe if getattr(self, name) is None else self, name)
            for name in ("learning_rate", "batch_size", "weight_decay")
        }
        plan = Plan(**given, max_epochs=self.max_epochs, decoupled=recipe.decoupled)
        patience = -(-self.max_epochs // 3) if self.patience is None else self.patience
        return replace(plan, patience=patience)

    def _layout(self) -> tuple[int, ...]:
        """Axis lengths of a sample."""
        n_features = self.n_features_in_
        axes = as_shape(n_features if self.shape is None else self.shape)
        if math.prod(axes) != n_features:
            raise PartitionError(
                f"shape {self.shape!r} has {math.prod(axes)} places, X has {n_features} features; "
                "pass the axis lengths of one sample, or None for a sequence"
            )
        return axes

    def _train(
        self,
        module: nn.Module,
        device: torch.device,
        plan: Plan,
        data: tuple[Tensor, ...],
        training: NDArray[np.int64],
        held: NDArray[np.int64],
        seed: int,
    ) -> None:
        mixed = self.mixed_precision and device.type == "cuda" and torch.cuda.is_bf16_supported()
        objective = _Objective(module, device, mixed)
        groups = getattr(module, "parameter_groups", tuple)()
        self.history_ = train(
            module, objective.losses, tuple(tensor[training] for tensor in data), plan,
            torch.Generator().manual_seed(seed), groups=groups,
            validation=tuple(tensor[held] for tensor in data) if len(held) else None,
            scores=objective.hits, progress=self.progress,
        )  # fmt: skip
        self.n_iter_ = len(self.history_)
        self.module_ = module

    # -- prediction ------------------------------------------------------------------------

    def logits(self, X: Any) -> NDArray[np.float32]:
        """Logits of every class, shape ``(samples, classes)``."""
        check_is_fitted(self)
        checked = validate_data(self, X, reset=False, dtype=[np.float64, np.float32], allow_nd=True)
        samples: Any = checked
        if _channels(samples) != self.n_channels_in_:
            raise InputError(
                f"X has {_channels(samples)} numbers a feature, the model was trained on "
                f"{self.n_channels_in_}; pass the channels of fit"
            )
        device = next((p.device for p in self.module_.parameters()), torch.device("cpu"))
        size = 4 * self._plan().batch_size
        with torch.no_grad():
            found = [
                self.module_(self._inputs.tensor(samples[begin : begin + size], device))
                for begin in range(0, len(samples), size)
            ]
        return torch.cat(found).float().cpu().numpy()

    def decision_function(self, X: object) -> NDArray[np.float32]:
        """Logits, shape ``(samples, classes)``; of two classes the second's minus the first's."""
        logits = self.logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: object) -> NDArray[np.float32]:
        """Probability of every class, shape ``(samples, classes)``: softmax of the logits."""
        return torch.softmax(torch.from_numpy(self.logits(X)), dim=1).numpy()

    def predict(self, X: object) -> NDArray[Any]:
        """Most probable label of each sample, shape ``(samples,)``."""
        best = self.logits(X).argmax(axis=1)
        return self.classes_[best]


def _channels(samples: NDArray[np.floating]) -> int:
    """Numbers of each feature.

    Raises
    ------
    InputError
        If there are more axes than samples, features and channels.
    """
    if samples.ndim > 3:
        raise InputError(
            f"X has shape (samples, features) or (samples, features, channels), got "
            f"{samples.shape}; flatten a grid and pass its axis lengths as shape"
        )
    return samples.shape[2] if samples.ndim == 3 else 1


def _check_batches(module: nn.Module, batch_size: int) -> None:
    """Refuse steps of one sample where its variance is asked for."""
    if batch_size == 1 and any(isinstance(m, _BatchNorm) for m in module.modules()):
        raise InputError(
            "batch_size is at least 2 for a network with batch norm, got 1; pass 2 or more"
        )
