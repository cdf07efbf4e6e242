"""Both spreads, their product, and clean and robust accuracy, followed through a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from entangle.adversarial.attack import Attack
from entangle.adversarial.signed_steps import FGSM, PGD
from entangle.adversarial.subject import Subject, as_samples, class_numbers
from entangle.adversarial.threat import ThreatModel
from entangle.adversarial.victim import Victim, evaluating
from entangle.epochs import Epoch
from entangle.training import require_count
from entangle.uncertainty.relation import uncertainty_relation

__all__ = ["TrackedEpoch", "UncertaintyTracker"]


@dataclass(frozen=True)
class TrackedEpoch:
    """One look at a model.

    Attributes
    ----------
    number
        Of the epoch, from 1; 0 before training.
    sigma_x, sigma_p, product, bound
        Means over features and valid packets, of draws those with the noise of the envelope taken
        off (``sigma_x_corr``, ``sigma_p_corr``, ``product_corr``); packets may be others at
        the next look. NaN if none is valid.
    refused
        Packets that may not be believed.
    clean, fgsm, pgd
        Accuracy on the samples as given and under attack, 0 to 1.
    """

    number: int
    sigma_x: float
    sigma_p: float
    product: float
    bound: float
    refused: int
    clean: float
    fgsm: float
    pgd: float


class UncertaintyTracker:
    """Looks at a model after epochs; training is not affected.

    Parameters
    ----------
    X, y
        Samples to attack, best not trained on, and their labels: class numbers.
    threat
        Of the attacks.
    tau
        Of the Gaussian envelope, see :func:`uncertainty_relation`.
    draws
        A packet; ``None``: quadrature for up to 3 features.
    packets
        First so many samples that packets are made of.
    pgd
        The attack behind ``pgd``. Default: 20 steps without restarts.
    every
        Epochs from one look to the next; the first is looked at always.
    random_state
        Seed of the draws, the same at every look.
    options
        Of :func:`uncertainty_relation`, such as ``layer``.

    Attributes
    ----------
    records
        A :class:`TrackedEpoch` for each look.

    Examples
    --------
    In ``train(..., on_epoch=functools.partial(tracker, module))``, in
    ``LocalNetworkClassifier(on_epoch=tracker)``, or by hand:

    >>> X, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
    >>> tracker = UncertaintyTracker(X, y, ThreatModel("linf", 0.1), tau=0.1)
    >>> tracker(torch.nn.Linear(4, 2), 0)
    >>> sorted(tracker.curves())[:3]
    ['bound', 'clean', 'fgsm']
    """

    def __init__(
        self,
        X: ArrayLike | Tensor,
        y: ArrayLike | Tensor,
        threat: ThreatModel,
        *,
        tau: ArrayLike | None = None,
        draws: int | None = None,
        packets: int = 50,
        pgd: Attack | None = None,
        every: int = 1,
        random_state: int = 0,
        **options: Any,
    ) -> None:
        require_count("packets", packets)
        require_count("every", every)
        self.samples, self.labels, self.threat = X, y, threat
        self.tau, self.draws, self.packets, self.every = tau, draws, packets, every
        self.attacks = {"fgsm": FGSM(), "pgd": PGD(steps=20, restarts=0) if pgd is None else pgd}
        self.random_state, self.options = random_state, options
        self.records: list[TrackedEpoch] = []

    def __call__(self, model: Callable[[Tensor], Tensor], epoch: Epoch | int) -> None:
        """Look at a model, if it is time to.

        Parameters
        ----------
        model
            From samples to logits; its mode is restored.
        epoch
            That ended, or its number.
        """
        number = epoch if isinstance(epoch, int) else epoch.number
        if number > 1 and (number - 1) % self.every:
            return
        self.records.append(TrackedEpoch(number, **self._spreads(model), **self._accuracies(model)))

    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Every number of the records by its name, shape ``(looks,)``."""
        rows = [asdict(record) for record in self.records]
        names = TrackedEpoch.__dataclass_fields__
        return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in names}

    def _spreads(self, model: object) -> dict[str, Any]:
        found = uncertainty_relation(
            model,
            self.samples[: self.packets],  # pyright: ignore[reportIndexIssue,reportArgumentType]
            self.labels[: self.packets],  # pyright: ignore[reportIndexIssue,reportArgumentType]
            tau=self.tau,
            draws=self.draws,
            generator=torch.Generator().manual_seed(self.random_state),
            **self.options,
        )
        names = ("sigma_x", "sigma_p", "product")
        means: dict[str, Any] = {name: found.mean(f"{name}_corr").mean for name in names}
        return means | {"bound": found.mean("bound").mean, "refused": found.n_refused}

    def _accuracies(self, model: object) -> dict[str, Any]:
        subject = Subject.of(model, self.samples)
        samples = as_samples(self.samples, subject.device)
        with evaluating(subject.module):
            victim = Victim.of(subject.forward, samples)
            logits = victim.logits(samples)
            labels = class_numbers(self.labels, len(samples), logits.shape[1], subject.classes)
            labels = labels.to(logits.device)
            found = {"clean": _share(logits, labels)}
            for name, attack in self.attacks.items():
                source = torch.Generator().manual_seed(self.random_state)
                moved = attack(subject.forward, samples, labels, self.threat, generator=source)
                found[name] = _share(victim.logits(moved), labels)
        return found


def _share(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())
