"""What a classifier's network is trained for: smoothed labels, from vectors with noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.networks.fitting import Network, bounded_logits
from entangle.networks.inputs import Inputs

__all__ = ["CrossEntropy"]


@dataclass(frozen=True)
class CrossEntropy:
    """Losses and hits of batches of values, class codes and weights.

    Attributes
    ----------
    network, inputs
        Local vectors come from the inputs; with noise while the network is training.
    noise
        Standard deviation, in units of the range.
    shrinkage
        By which noise shortens the mean vector, see :meth:`Inputs.shrinkage`.
    label_smoothing
        Share of each label that goes to all classes equally.
    generator
        Of the noise; on the CPU, it is the same wherever the network is.
    """

    network: Network
    inputs: Inputs
    noise: float
    shrinkage: float
    label_smoothing: float
    generator: torch.Generator

    def noisy_vectors(self, values: Tensor) -> Tensor:
        """Local vectors to train on, with fresh noise, shape ``(batch, features, local)``."""
        return self.inputs.noisy_vectors(values, self.noise, self.shrinkage, self.generator)

    def losses(self, values: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        """Weighted cross-entropy of each sample, nats, shape ``(batch,)``."""
        training = self.network.training
        vectors = self.noisy_vectors(values) if training else self.inputs.vectors(values)
        found, log_scale = self.network(vectors)
        return self.contraction_losses(found, log_scale, codes, weights)

    def contraction_losses(
        self, values: Tensor, log_scale: Tensor, codes: Tensor, weights: Tensor
    ) -> Tensor:
        """Losses from contractions ``(batch, labels)`` with their log scale ``(batch,)``."""
        logits = bounded_logits(values, log_scale)
        return weights * torch.nn.functional.cross_entropy(
            logits, codes, reduction="none", label_smoothing=self.label_smoothing
        )

    def hits(self, values: Tensor, codes: Tensor, _: Tensor) -> Tensor:
        """1 for each sample whose class has the largest logit, else 0; shape ``(batch,)``."""
        found, _ = self.network(self.inputs.vectors(values))
        return (found.argmax(dim=1) == codes).double()
