"""A scikit-learn classifier whose model is a local network, or any torch module.

It answers what entanglement predicts: how well a convolutional network, a state-space model or
local attention does on features in this order. Everything but the order stays the same from one
order to the next: first values, batches and the validation split depend on the seed alone.

Source: protocol of Alexander et al. 2023, arXiv:2303.11249, Tables 1 and 2. Deviations,
unless asked for otherwise: a schedule of the rate, early stopping, and one scale for all values;
the paper trains on values as they are, at a constant rate (S4: along a cosine), and keeps the last
of 200 to 900 epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from entangle.adversarial.threat import ThreatModel
from entangle.axes import Shape
from entangle.epochs import Epoch
from entangle.errors import InputError
from entangle.logits_classifier import CrossEntropy, LogitsClassifier, TrainingRows
from entangle.models.inputs import Inputs, Scaled
from entangle.models.registry import build_model, resolve_recipe
from entangle.partition import axes_of_samples
from entangle.penalties import Penalised, Penalty, require_penalties
from entangle.seeding import seeded
from entangle.supervised import has_bfloat16
from entangle.training import Plan, train

__all__ = ["LocalNetworkClassifier"]


class LocalNetworkClassifier(LogitsClassifier):
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
        Of Adam. Default: as published for the model, see :data:`entangle.models.MODELS`.
    schedule
        ``None``: the rate rises over one epoch and then falls along a cosine to 0. ``"constant"``:
        it stays, as published for all models but S4.
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
    adversarial
        Train on samples that are attacked first, within this
        :class:`~entangle.adversarial.ThreatModel`: its ``eps``, bounds and scales are in the units
        of ``X``, whatever ``scale``. Validation losses, and so early stopping, are adversarial;
        validation scores are clean. See :mod:`entangle.adversarial_training`. ``None``: plain
        training, which ``eps=0`` equals.
    adversarial_steps
        Gradients of each attack; an epoch takes about as many times longer, and one.
    penalties
        What is added to the loss in training, such as
        :class:`~entangle.spectra.JacobianRegularizer`; any objects with the method of
        :class:`~entangle.penalties.Penalty`. They see what the network reads: scaled values, laid
        out, attacked ones in adversarial training. Names of layers are those of ``module_``.
        Validation losses are without.
    mixed_precision
        Train in bfloat16 where the device has it: most GPUs, CPUs with AVX512-BF16 or AMX.
        Prediction is not affected.
    device
        Where to train and predict. Default: the CPU.
    random_state
        Seed of first values, batches, dropout and split; results are equal on one machine.
    progress
        Show a progress bar on a terminal.
    on_epoch
        Called after every epoch with the network so far, a module from rows of ``X`` to logits as
        :meth:`as_module` returns it, and the :class:`~entangle.epochs.Epoch`; such as an
        :class:`~entangle.uncertainty.UncertaintyTracker`. It leaves the network as it is.

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
        schedule: str | None = None,
        max_epochs: int = 100,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        class_weight: str | dict[Any, float] | None = None,
        adversarial: ThreatModel | None = None,
        adversarial_steps: int = 7,
        penalties: Sequence[Penalty] | None = None,
        mixed_precision: bool = False,
        device: torch.device | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        progress: bool = False,
        on_epoch: Callable[[nn.Module, Epoch], object] | None = None,
    ) -> None:
        self.model = model
        self.shape = shape
        self.model_options = model_options
        self.scale = scale
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.class_weight = class_weight
        self.adversarial = adversarial
        self.adversarial_steps = adversarial_steps
        self.penalties = penalties
        self.mixed_precision = mixed_precision
        self.device = device
        self.random_state = random_state
        self.progress = progress
        self.on_epoch = on_epoch

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
        plan, penalties = self._plan(), require_penalties(self.penalties)
        given = self._training_rows(X, y, sample_weight, torch.float32)
        self.n_channels_in_ = _channels(given.samples)
        axes = axes_of_samples(self.shape, self.n_features_in_)
        self._inputs = Inputs.fitted(given.samples, axes, self.scale)
        module = build_model(
            self.model, self.n_channels_in_, self._inputs.shape, len(self.classes_),
            seed=given.seed, **(self.model_options or {}),
        ).to(given.device, torch.float32)  # fmt: skip
        _check_batches(module, plan.batch_size)
        with seeded(given.seed, given.device):
            self._train(module, plan, penalties, given)
        return self

    def _plan(self) -> Plan:
        """Follow the options, and the model's recipe where they are silent."""
        recipe = resolve_recipe(self.model)
        given = {
            name: getattr(recipe if getattr(self, name) is None else self, name)
            for name in ("learning_rate", "batch_size", "weight_decay")
        }
        if self.schedule not in (None, "constant"):
            raise InputError(
                f"schedule is None, a cosine after one epoch of rising, or 'constant', got "
                f"{self.schedule!r}"
            )
        plan = Plan(
            **given, max_epochs=self.max_epochs, decoupled=recipe.decoupled,
            constant=self.schedule is not None,
        )  # fmt: skip
        patience = -(-self.max_epochs // 3) if self.patience is None else self.patience
        return replace(plan, patience=patience)

    def _train(
        self, module: nn.Module, plan: Plan, penalties: tuple[Penalty, ...], given: TrainingRows
    ) -> None:
        device = given.device
        mixed = self.mixed_precision and has_bfloat16(device)
        objective, scaled = CrossEntropy(module, mixed), Scaled(self._inputs, module)
        on_epoch = self.on_epoch and partial(self.on_epoch, scaled)
        attacked = self.adversarial is not None
        values = given.raw() if attacked else self._inputs.tensor(given.samples, device)
        if penalties:
            seen = given.parts(values)[0][0]
            seen = scaled.values(seen) if attacked else seen
            objective = Penalised(objective, module, penalties, seen)
            on_epoch = objective.before(on_epoch)
        if attacked:
            objective = self._attacked(objective, module, scaled, scaled.values, given)
        rows, held = given.parts(values)
        self.history_ = train(
            module, objective.losses, rows, plan, torch.Generator().manual_seed(given.seed),
            validation=held, scores=objective.hits, progress=self.progress,
            groups=getattr(module, "parameter_groups", tuple)(), on_epoch=on_epoch,
        )  # fmt: skip
        self.n_iter_ = len(self.history_)
        self.module_ = module

    # -- prediction ------------------------------------------------------------------------

    def _block_rows(self) -> int:
        return 4 * self._plan().batch_size

    def _block_logits(self, samples: NDArray[np.floating]) -> Tensor:
        if _channels(samples) != self.n_channels_in_:
            raise InputError(
                f"X has {_channels(samples)} numbers a feature, the model was trained on "
                f"{self.n_channels_in_}; pass the channels of fit"
            )
        device = next((p.device for p in self.module_.parameters()), torch.device("cpu"))
        return self.module_(self._inputs.tensor(samples, device)).float()

    def _logits_module(self) -> nn.Module:
        return Scaled(self._inputs, self.module_)


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
