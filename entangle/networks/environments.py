r"""What many samples leave of a chain when two neighbouring sites are taken out.

Every sample is contracted with the chain from both ends to each cut, once a sweep and one site at
a time. Its contraction is then linear in the product B of two neighbours,

.. math:: v_{sl} = e^{c_s} \sum_{ab} p_{sa} B_{ab} q_{slb},

and only the factor on the side of the label axis knows labels. That axis is a site like any
other, whose local vectors are the labels. The logarithm c keeps hundreds of features in range.

Source: Stoudenmire and Schwab 2016, arXiv:1605.05775.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.networks.contraction import divided

__all__ = ["Environments", "Merged", "elements_per_sample"]


@dataclass(frozen=True)
class Merged:
    """All that the loss needs to know of samples to be a function of one merged tensor.

    Attributes
    ----------
    plain
        What features on the side without labels leave, shape ``(samples, rows)``.
    labelled
        The same on the side with labels, shape ``(samples, labels, columns)``.
    log_scale
        Logarithm of the factor that both leave out, shape ``(samples,)``.
    labels_left
        Whether the labels are on the left: the tensor is then transposed.
    """

    plain: Tensor
    labelled: Tensor
    log_scale: Tensor
    labels_left: bool

    def values(self, matrix: Tensor) -> Tensor:
        """Contractions, shape ``(samples, labels)``, but for their scale."""
        inner = self.plain @ (matrix.mT if self.labels_left else matrix)
        return (self.labelled @ inner[:, :, None])[:, :, 0]


class Environments:
    """Samples contracted from both ends of a chain, up to each cut.

    What is left of n sites is at place n, what is right of the others there, too: only one of
    both is needed once the centre has passed. Shapes are ``(samples, bond)``, with labels
    ``(samples, labels, bond)``; every sample is divided by its largest element.
    """

    def __init__(self, vectors: Tensor, label_site: int, n_labels: int) -> None:
        labels = torch.eye(n_labels, dtype=vectors.dtype, device=vectors.device)[None]
        self.locals = list(vectors.unbind(1))
        self.locals.insert(label_site, labels)
        ends = vectors.new_ones(len(vectors), 1), vectors.new_zeros(len(vectors))
        self.blocks = [ends] * (len(self.locals) + 1)

    def merged(self, bond: int) -> Merged:
        """Describe the samples to the product of sites ``bond`` and ``bond + 1``."""
        left, right = self._joined(bond, True), self._joined(bond + 1, False)
        log_scale = self.blocks[bond][1] + self.blocks[bond + 2][1]
        labels_left = left.ndim == 3
        plain, labelled = (right, left) if labels_left else (left, right)
        return Merged(plain, labelled, log_scale, labels_left)

    def absorb(self, place: int, site: Tensor, from_left: bool) -> None:
        """Move a site ``(left, local, right)`` into the block on its left, or right."""
        matrix = site.flatten(0, 1) if from_left else site.flatten(1).mT
        longer = self._joined(place, from_left) @ matrix
        longer, log = divided(longer, longer.ndim - 1)
        before, after = (place, place + 1) if from_left else (place + 1, place)
        self.blocks[after] = longer, self.blocks[before][1] + log

    def _joined(self, place: int, from_left: bool) -> Tensor:
        """Outer products of a block with the local vectors beside it."""
        block, local = self.blocks[place if from_left else place + 1][0], self.locals[place]
        if block.ndim < local.ndim:
            block = block[:, None]
        elif local.ndim < block.ndim:
            local = local[:, None]
        first, second = (block, local) if from_left else (local, block)
        return (first[..., :, None] * second[..., None, :]).flatten(-2)


def elements_per_sample(
    n_features: int, local_dim: int, bond_dim: int, n_labels: int, label_site: int
) -> int:
    """Numbers kept for one sample, at most.

    With the centre at an end, as many blocks know the labels as there are sites between the
    labels and the centre. Local vectors and four tensors of one bond's features come on top.
    """
    farther = max(label_site, n_features - label_site)
    blocks = bond_dim * (farther * n_labels + n_features - farther)
    return blocks + n_features * local_dim + 4 * bond_dim * local_dim * (n_labels + 1)
