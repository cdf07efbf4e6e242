"""A scikit-learn classifier on units that learned by competition, without labels.

Only the linear head sees labels: the layer below is learned first, pruned, and left alone.

Source: arXiv:2405.00679 and its published code (holzhauk/LocalLearning). Deviations: the rate of
the head rises over one epoch and falls along a cosine to 0, where the published one is constant;
fewer epochs by default than the published 1000 of both; pruning fits two Gaussians to all
units, not up to four to those within a window that is meant for 3072 features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from entangle.adversarial.threat import ThreatModel
from entangle.epochs import Epoch
from entangle.errors import InputError
from entangle.logits_classifier import CrossEntropy, LogitsClassifier, TrainingRows
from entangle.memory import free_memory, require_memory
from entangle.seeding import seeded
from entangle.spectra.hebbian_layer import HebbianConvergence, LocalHebbianLayer
from entangle.spectra.hebbian_pruning import Pruning, prune_units
from entangle.training import Plan, train

__all__ = ["LocalHebbianClassifier"]

_ROWS = 1000  # whose outputs are computed at once


class LocalHebbianClassifier(LogitsClassifier):
    """Classifier by a :class:`LocalHebbianLayer` and a linear head, which Adam trains.

    Parameters
    ----------
    n_units
        Of the layer.
    p, k, delta, radius, power, normalise
        Of the layer, see :class:`LocalHebbianLayer`. Units know no sign of features that are
        centred: with ``normalise`` and ``power``, samples are best left at least 0.
    hebbian_rate, hebbian_epochs
        As ``learning_rate`` and ``max_epochs`` of :meth:`LocalHebbianLayer.learn`.
    prune
        Remove units that never won, by :func:`prune_units`; a dict: with these options, such as
        its ``PUBLISHED`` ones.
    learning_rate, weight_decay, max_epochs
        Of the head: the rate rises over one epoch and then falls along a cosine to 0.
    batch_size
        Samples a step, of both.
    early_stopping
        Stop by the loss on a validation split and restore the best weights. The layer does not
        learn from that split.
    validation_fraction
        Share of each class that is split off; one sample at least of a class that has two.
    patience
        Epochs without a lower validation loss. Default: a third of ``max_epochs``.
    class_weight
        ``None``, ``"balanced"`` or a weight for each class, in the head alone, as weights of
        samples are.
    adversarial
        Train the head on samples that are attacked first, within this
        :class:`~entangle.adversarial.ThreatModel`, in the units of ``X``; see
        :mod:`entangle.adversarial_training`. The layer learns from clean samples.
    adversarial_steps
        Gradients of each attack.
    device
        Where to train and predict. Default: the CPU.
    random_state
        Seed of first weights, batches and split; results are equal on one CPU.
    progress
        Show progress bars on a terminal.

    Attributes
    ----------
    layer_, head_
        The trained parts; :meth:`as_module` is one after the other.
    convergence_
        :class:`HebbianConvergence` of the layer before pruning. Nothing is refused where units
        have not converged: what never wins never does.
    pruning_
        :class:`Pruning` of the layer; ``None`` without.
    classes_
        Labels, sorted; the order of the logits.
    hebbian_history_, history_
        An :class:`~entangle.epochs.Epoch` for each epoch of the layer and of the head.
    n_iter_
        Epochs of the head.
    n_features_in_, feature_names_in_
        Number of features and, if ``X`` had string column names, their names.

    Notes
    -----
    Ctrl-C ends the training of the layer, then that of the head, with a warning each, and keeps
    what was learned so far.

    Examples
    --------
    >>> import numpy as np
    >>> from entangle.spectra import LocalHebbianClassifier
    >>> random = np.random.default_rng(0)
    >>> y = random.integers(3, size=200)
    >>> X = random.random((3, 30))[y] + 0.1 * random.random((200, 30))
    >>> model = LocalHebbianClassifier(
    ...     10, hebbian_epochs=50, learning_rate=0.1, max_epochs=50, random_state=0
    ... )
    >>> model.fit(X, y).score(X, y)
    1.0
    """

    layer_: LocalHebbianLayer
    head_: nn.Linear
    convergence_: HebbianConvergence
    pruning_: Pruning | None
    hebbian_history_: tuple[Epoch, ...]
    n_channels_in_: int

    def __init__(
        self,
        n_units: int = 2000,
        *,
        p: float = 3.0,
        k: int = 2,
        delta: float = 0.4,
        radius: float = 1.0,
        power: float | None = 4.5,
        normalise: bool = True,
        hebbian_rate: float | Callable[[int], float] = 0.02,
        hebbian_epochs: int = 200,
        prune: bool | dict[str, Any] = True,
        learning_rate: float = 1e-3,
        batch_size: int = 1000,
        max_epochs: int = 200,
        weight_decay: float = 0.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        class_weight: str | dict[Any, float] | None = None,
        adversarial: ThreatModel | None = None,
        adversarial_steps: int = 7,
        device: torch.device | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        progress: bool = False,
    ) -> None:
        self.n_units = n_units
        self.p = p
        self.k = k
        self.delta = delta
        self.radius = radius
        self.power = power
        self.normalise = normalise
        self.hebbian_rate = hebbian_rate
        self.hebbian_epochs = hebbian_epochs
        self.prune = prune
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.class_weight = class_weight
        self.adversarial = adversarial
        self.adversarial_steps = adversarial_steps
        self.device = device
        self.random_state = random_state
        self.progress = progress

    # -- training --------------------------------------------------------------------------

    def fit(self, X: object, y: object, sample_weight: object = None) -> LocalHebbianClassifier:
        """Learn the layer from rows of ``X``, then the head from their labels.

        Parameters
        ----------
        X
            Shape ``(samples, features)`` or ``(samples, features, channels)``.
        y
            Labels, shape ``(samples,)``.
        sample_weight
            Weights of the rows in the loss of the head; a row of weight 0 is left out.

        Raises
        ------
        ValueError
            If rows, labels or options cannot be used.
        """
        plan = self._plan()
        given = self._training_rows(X, y, sample_weight, torch.float32)
        self.n_channels_in_ = given.samples[0].size // given.samples.shape[1]
        samples = _tensor(given.samples, given.device)
        self._learn(samples, given)
        with seeded(given.seed):
            head = nn.Linear(self.n_units, len(self.classes_)).to(given.device)
        self._train(samples, head, plan, given)
        return self

    def _plan(self) -> Plan:
        patience = -(-self.max_epochs // 3) if self.patience is None else self.patience
        return Plan(
            self.learning_rate, self.batch_size, self.max_epochs, patience, self.weight_decay
        )

    def _learn(self, samples: Tensor, given: TrainingRows) -> None:
        """Learn the layer and prune it."""
        random = torch.Generator().manual_seed(given.seed)
        layer = LocalHebbianLayer(
            samples[0].numel(), self.n_units, p=self.p, k=self.k, delta=self.delta,
            radius=self.radius, power=self.power, normalise=self.normalise, generator=random,
            device=given.device,
        )  # fmt: skip
        self.hebbian_history_ = layer.learn(
            samples[given.training], learning_rate=self.hebbian_rate,
            max_epochs=self.hebbian_epochs, batch_size=self.batch_size, generator=random,
            progress=self.progress,
        )  # fmt: skip
        self.convergence_, self.pruning_ = layer.convergence(), None
        if self.prune:
            options = self.prune if isinstance(self.prune, dict) else {}
            self.pruning_ = prune_units(layer, **options)
        self.layer_ = layer.eval()

    def _train(self, samples: Tensor, head: nn.Linear, plan: Plan, given: TrainingRows) -> None:
        """Train the head, on outputs of the layer that are computed once unless it is attacked."""
        trained: nn.Module = head
        objective = CrossEntropy(head)
        if self.adversarial is None:
            needed = 2.0 * len(samples) * self.n_units * 4  # in blocks, and as one
            require_memory(needed, "all outputs of the layer", free_memory(given.device))
            values = torch.cat([self.layer_(block) for block in samples.split(_ROWS)])
        else:
            trained, values = nn.Sequential(self.layer_, head), samples.float()
            objective = self._attacked(
                CrossEntropy(trained), trained, trained, lambda moved: moved, given
            )
        rows, held = given.parts(values)
        self.history_ = train(
            trained, objective.losses, rows, plan, torch.Generator().manual_seed(given.seed),
            validation=held, scores=objective.hits, progress=self.progress,
        )  # fmt: skip
        self.n_iter_ = len(self.history_)
        self.head_ = head

    # -- prediction ------------------------------------------------------------------------

    def _block_logits(self, samples: NDArray[np.floating]) -> Tensor:
        channels = samples[0].size // samples.shape[1]
        if channels != self.n_channels_in_:
            raise InputError(
                f"X has {channels} numbers a feature, the model was trained on "
                f"{self.n_channels_in_}; pass the channels of fit"
            )
        return self._logits_module()(_tensor(samples, self.head_.weight.device))

    def _logits_module(self) -> nn.Module:
        return nn.Sequential(self.layer_, self.head_)


def _tensor(samples: NDArray[np.floating], device: torch.device) -> Tensor:
    """Copy samples, which may be read-only, to a device."""
    return torch.from_numpy(np.array(samples, order="C")).to(device)
