"""A scikit-learn classifier whose model is a tensor network, so its entanglement is readable.

The network is linear in every feature's local vector, and its label axis gives the logits. It
memorises a thousand images within ten epochs, so what it learns beyond that is decided by three
things that are on by default: noise on the values, smoothed labels, and early stopping.

Source: Stoudenmire and Schwab 2016, arXiv:1605.05775 (matrix product states); Efthymiou,
Hidary, Leichenauer 2019, arXiv:1906.06329 (by automatic differentiation); Szegedy et al. 2016,
arXiv:1512.00567 (label smoothing); Bishop 1995, Neural Computation 7, 108 (noise).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from entangle.adversarial.threat import ThreatModel
from entangle.axes import Shape
from entangle.embedding import Embedding
from entangle.epochs import Epoch
from entangle.logits_classifier import LogitsClassifier, TrainingRows
from entangle.networks.cross_entropy import CrossEntropy
from entangle.networks.fitting import (
    Network,
    bounded_logits,
    build_network,
    checked_dtype,
)
from entangle.networks.inputs import Inputs
from entangle.networks.merging import Split
from entangle.networks.solvers import planned, require_solver, solved
from entangle.supervised import require_share
from entangle.training import Plan

__all__ = ["TensorNetworkClassifier"]

FIRST_ROWS = 512  # samples that first values are fitted to


class TensorNetworkClassifier(LogitsClassifier):
    """Classifier by a tree tensor network or a matrix product state.

    Parameters
    ----------
    network
        ``"tree"``: the canonical tree of ``shape``. ``"mps"``: a chain, labels in the middle.
    bond_dim
        Longest bond.
    shape
        Axis lengths of a sample that is a grid, row-major, for a tree. Default: a sequence.
        Channels are no axis of it.
    embedding
        ``"trigonometric"``: (cos, sin) of a quarter turn over the range, theta 0.5; another
        name or a callable as for ``DataTensor`` that embeds each sample alone. The kernels of
        channels multiply, with a local dimension to the power of channels; ``"identity"`` takes
        the channels themselves as the local vector.
    scale
        ``"feature"``: map every feature, or every channel of it, to [0, 1] by its training
        range, and clip. ``"all"``: by the range of all, for those of one unit. ``None``: take
        values as they are.
    shared
        One tensor for all features (``"mps"``), or for all nodes of a level (``"tree"``).
    solver
        ``"adam"``. Or ``"sweeps"``, for ``"mps"``: fit two neighbouring tensors at once, along
        the chain and back, on all samples, so that every bond finds its length between 1 and
        ``bond_dim``; see :mod:`entangle.networks.two_site`. For up to some 100 features: of more,
        Adam generalises better.
    truncation
        Of sweeps, without effect on Adam: share of the squared norm that a bond may discard.
        More makes bonds shorter: 0.04 left those of a planted problem as short as can be.
    learning_rate, batch_size, weight_decay
        Of AdamW; the rate rises over one epoch and then falls along a cosine to 0. By default it
        is 0.01, beyond 64 features in inverse proportion to their number. Sweeps refuse a rate
        and a decay, and have no use for the size of batches.
    max_epochs
        Default: 30, or so many that there are 600 steps if that is more; 10 sweeps.
    early_stopping
        Stop by the loss on a validation split and restore the best weights.
    validation_fraction
        Share of each class that is split off; one sample at least of a class that has two.
    patience
        Epochs without a lower validation loss. Default: a third of ``max_epochs``.
    noise
        Standard deviation of fresh noise on every training value, in units of the range; less
        for more than 64 values a sample, see `Inputs`; none without ``scale``.
    label_smoothing
        Share of each label that goes to all classes equally.
    class_weight
        ``None``, ``"balanced"`` or a weight for each class.
    adversarial
        Train on samples that are attacked first, within this
        :class:`~entangle.adversarial.ThreatModel`: its ``eps``, bounds and scales are in the units
        of ``X``, whatever ``scale``. The attack sees no noise; validation losses, and so early
        stopping, are adversarial, validation scores clean. See
        :mod:`entangle.adversarial_training`. ``None``: plain training, which ``eps=0`` equals.
        Not for sweeps.
    adversarial_steps
        Gradients of each attack; an epoch takes about as many times longer, and one.
    device
        Where to train and predict. Default: the CPU.
    dtype
        ``"float32"`` or ``"float64"``, in training; the fitted network is float64.
    random_state
        Seed of first values, batches, noise and split; results are equal on one machine.
    progress
        Show a progress bar on a terminal.

    Attributes
    ----------
    network_
        The trained ``TreeTensorNetwork`` or ``MatrixProductState``: a state with entropies.
    classes_
        Labels, sorted; the order of the network's label axis.
    history_
        An :class:`~entangle.epochs.Epoch` an epoch or sweep; the validation score is accuracy.
    n_iter_
        Epochs, or sweeps, trained.
    n_features_in_, feature_names_in_
        Number of features and, if ``X`` had string column names, their names.

    Notes
    -----
    Logits are the network's contraction, its norm kept in bounds, see
    :mod:`entangle.networks.fitting`. Ctrl-C ends training with a warning and keeps the best
    weights so far.

    Examples
    --------
    >>> import numpy as np
    >>> from entangle import TensorNetworkClassifier
    >>> X = np.random.default_rng(0).random((200, 4))
    >>> model = TensorNetworkClassifier(bond_dim=3, max_epochs=200, random_state=0)
    >>> bool(model.fit(X, X[:, 0] > X[:, 3]).score(X, X[:, 0] > X[:, 3]) > 0.9)
    True
    """

    network_: Network

    def __init__(
        self,
        network: str = "tree",
        bond_dim: int = 10,
        shape: Shape | None = None,
        embedding: str | Embedding = "trigonometric",
        *,
        scale: str | None = "feature",
        shared: bool = False,
        solver: str = "adam",
        truncation: float = 0.01,
        learning_rate: float | None = None,
        batch_size: int = 64,
        max_epochs: int | None = None,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        weight_decay: float = 0.0,
        noise: float = 0.1,
        label_smoothing: float = 0.1,
        class_weight: str | dict[Any, float] | None = None,
        adversarial: ThreatModel | None = None,
        adversarial_steps: int = 7,
        device: torch.device | str | None = None,
        dtype: str = "float32",
        random_state: int | np.random.RandomState | None = None,
        progress: bool = False,
    ) -> None:
        self.network = network
        self.bond_dim = bond_dim
        self.shape = shape
        self.embedding = embedding
        self.scale = scale
        self.shared = shared
        self.solver = solver
        self.truncation = truncation
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.weight_decay = weight_decay
        self.noise = noise
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.adversarial = adversarial
        self.adversarial_steps = adversarial_steps
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.progress = progress

    # -- training --------------------------------------------------------------------------

    def fit(self, X: object, y: object, sample_weight: object = None) -> TensorNetworkClassifier:
        """Train on rows of ``X`` with labels ``y``.

        Parameters
        ----------
        X
            Array or frame, shape ``(samples, features)``, finite, at least two features. Features
            that are vectors, such as the colours of a pixel, have shape
            ``(samples, features, channels)``.
        y
            Labels, shape ``(samples,)``: numbers or text, at least two classes.
        sample_weight
            Weight of each sample's loss, shape ``(samples,)``; only ratios count. A sample of
            weight 0 is left out altogether.

        Raises
        ------
        InputError
            If there is one class only, an option is unusable, or the loss is not finite.
        MemoryLimitError
            If sweeps would need more memory than there is.
        PartitionError
            If ``shape`` does not hold the features.
        """
        require_share("label_smoothing", self.label_smoothing, zero=True)
        require_solver(
            self.solver, self.network, self.shared, self.learning_rate, self.weight_decay,
            self.adversarial is not None,
        )  # fmt: skip
        dtype = checked_dtype(self.dtype)
        given = self._training_rows(X, y, sample_weight, dtype)
        self._inputs = Inputs.fitted(given.samples, self.embedding, self.scale)
        values = torch.from_numpy(self._inputs.values(given.samples)).to(given.device, dtype)
        self._train(given, values, torch.Generator().manual_seed(given.seed))
        return self

    def _plan(self, n_samples: int) -> Plan:
        return planned(
            self.solver, n_samples, self.n_features_in_, learning_rate=self.learning_rate,
            batch_size=self.batch_size, max_epochs=self.max_epochs, patience=self.patience,
            weight_decay=self.weight_decay,
        )  # fmt: skip

    def _train(self, given: TrainingRows, values: Tensor, source: torch.Generator) -> None:
        rows, held = given.parts(values)
        first = rows[0][:FIRST_ROWS]
        vectors, device = self._inputs.vectors(first), first.device
        network = build_network(
            self.network, vectors.shape[1], self.shape, vectors.shape[2], self.bond_dim,
            len(self.classes_), self.shared, source, rows[0].dtype, device,
        )  # fmt: skip
        network.initialize(vectors, generator=source)
        noises = torch.Generator().manual_seed(source.initial_seed() + 1)
        shrinkage = self._inputs.shrinkage(first, self.noise, noises)
        objective = CrossEntropy(
            network, self._inputs, self.noise, shrinkage, self.label_smoothing, noises
        )
        attacked = None
        if self.adversarial is not None:
            module = _Contracted(self._inputs, network)
            attacked = self._attacked(objective, network, module, module.values, given)
            rows, held = given.parts(given.raw())
        found, self.history_ = solved(
            self.solver, objective, rows, held, self._plan(len(rows[0])),
            Split(int(self.bond_dim), self.truncation), source, self._on_epoch, self.progress,
            attacked,
        )  # fmt: skip
        self.n_iter_ = len(self.history_)
        self.network_ = found.double()

    def _on_epoch(self, epoch: Epoch) -> None:
        """Do nothing; for subclasses that watch training."""

    # -- prediction ------------------------------------------------------------------------

    def _block_logits(self, samples: NDArray[np.floating]) -> Tensor:
        values = torch.from_numpy(self._inputs.values(samples)).to(self.network_.log_factor.device)
        return bounded_logits(*self.network_(self._inputs.vectors(values)))

    def _logits_module(self) -> nn.Module:
        return _Contracted(self._inputs, self.network_)


class _Contracted(nn.Module):
    """A network behind its inputs: from rows, as samples are given, to logits.

    Values outside the training range are clipped to it, so the gradient of such a feature is 0;
    where the norm of a contraction is kept at a bound, that of its length is.
    """

    def __init__(self, inputs: Inputs, network: Network) -> None:
        super().__init__()
        self.inputs, self.network = inputs, network

    def forward(self, samples: Tensor) -> Tensor:
        """Logits of rows, shape ``(batch, classes)``, in the precision of the network."""
        return bounded_logits(*self.network(self.inputs.vectors(self.values(samples))))

    def values(self, samples: Tensor) -> Tensor:
        """Values within the training range, in the precision of the network."""
        return self.inputs.clipped(samples).to(next(self.network.parameters()).dtype)
