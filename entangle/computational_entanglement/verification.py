"""Pairs of one class against pairs of two, before and after the collapse.

Each sample selects rows of its own, and all others follow. Pairs that begin close end parallel;
those that begin at a right angle end on either branch, half of them on each, so that an angle
between classes tells less the more it was already one.

A layer of k rows is a random projection, so no encoder adds what was not in the angle before it:
expect areas under the curve at or below that of the input.

Source: published code of arXiv:2309.15669 (Experiment1: n = 20, k = 10, one layer, pairs of faces);
ours selects with every sample in turn and takes any number of layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import Tensor

from entangle.computational_entanglement.encoder import LikelihoodEncoder
from entangle.computational_entanglement.measures import Paths
from entangle.computational_entanglement.selection import check_vectors
from entangle.errors import InputError

__all__ = ["Verification", "verify_pairs"]


@dataclass(frozen=True)
class Verification:
    """Pairs by layer, and whether both are of one class.

    Attributes
    ----------
    paths
        Of all pairs, input first; norms are left out (zero), as pairs have encoders of their own.
    same
        Whether a pair is of one class, shape ``(pairs,)``.
    """

    paths: Paths
    same: NDArray[np.bool_]

    def area_under_curve(self) -> NDArray[np.float64]:
        """Probability that a pair of one class has the smaller angle, shape ``(layers + 1,)``.

        One half is chance; ties count half.
        """
        angles = self.paths.angle.cpu().numpy()
        n_same = int(self.same.sum())
        n_other = self.same.size - n_same
        ranks = stats.rankdata(-angles, axis=1)[:, self.same].sum(axis=1)
        return (ranks - n_same * (n_same + 1) / 2) / (n_same * n_other)

    def anticorrelated(self) -> tuple[float, float]:
        """Shares that end antiparallel: of pairs of one class, and of two."""
        found = self.paths.anticorrelated.cpu().numpy()
        return float(found[self.same].mean()), float(found[~self.same].mean())


def verify_pairs(
    features: Tensor,
    labels: ArrayLike,
    encoder: LikelihoodEncoder,
    selected: Iterable[int] | None = None,
) -> Verification:
    """Follow every sample with the rows that another one selects.

    Parameters
    ----------
    features
        Shape ``(samples, features)``; subtract their mean first, or all pairs begin parallel.
    labels
        Class of each sample.
    encoder
        Draws anew for each selecting sample.
    selected
        Samples that select. Default: all.

    Raises
    ------
    InputError
        If labels are not one a sample, a sample is unfit, or all pairs are of one kind.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> centres = torch.eye(4, dtype=torch.float64).repeat_interleave(3, 0)
    >>> features = centres + 0.1 * torch.randn(12, 4, generator=generator, dtype=torch.float64)
    >>> encoder = LikelihoodEncoder(20, 10, 1, generator)
    >>> found = verify_pairs(features, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], encoder)
    >>> bool(found.area_under_curve()[-1] > 0.9)
    True
    """
    check_vectors(features, "features", 2)
    classes = np.asarray(labels)
    if classes.shape != (len(features),):
        raise InputError(
            f"labels must be one a sample, shape ({len(features)},), got {classes.shape}"
        )
    rows, kinds = [], []
    for index in range(len(features)) if selected is None else selected:
        others = np.delete(np.arange(len(features)), index)
        rows.append(encoder.paths(features[index], features[torch.from_numpy(others)]))
        kinds.append(classes[others] == classes[index])
    same = np.concatenate(kinds) if kinds else np.zeros(0, dtype=bool)
    if same.all() or not same.any():
        raise InputError("pairs of one class and of two are needed; select samples of more classes")
    cosine, log_sine, hamming = (
        torch.cat([getattr(one, name) for one in rows], dim=1)
        for name in ("cosine", "log_sine", "hamming")
    )
    none = torch.zeros_like(cosine)
    return Verification(Paths(cosine, log_sine, hamming, none[:, 0], none), same)
