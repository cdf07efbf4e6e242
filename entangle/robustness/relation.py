r"""The uncertainty relation of a trained network, in numbers that compare between data sets.

Packets about test rows, with an envelope of 0.3 standard deviations of each feature; spreads are
given beside those of the envelope alone, which are tau for inputs and 1 / (2 tau) for gradients:

.. math:: \sigma_x / \tau, \qquad 2 \tau \sigma_p, \qquad \sigma_x \sigma_p \ge 1/2.

A loss that is flat in a packet leaves 1, 1 and 1/2. Spreads are those with the noise of the
envelope taken off, see :mod:`entangle.uncertainty`: a mean over many features hardly differs from
that of the envelope, and noise would hide by how much it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.errors import InputError
from entangle.uncertainty import uncertainty_summary

__all__ = ["DRAWS", "NO_RELATION", "PACKETS", "Relation", "relation_of_rows"]

PACKETS = 12  # test rows of a split
DRAWS = 1024  # of each: a few times the gradients of one attack on the row


@dataclass(frozen=True)
class Relation:
    """Means over features and packets that may be believed.

    Attributes
    ----------
    relative_sigma_x, relative_sigma_p
        Spreads of inputs and of gradients, beside those of the envelope alone; ``None`` if every
        packet is refused.
    uncertainty_product
        Product of both spreads; with an envelope at least 1/2.
    packets, packets_refused
        Number of packets, and of those among them that may not be believed.
    """

    relative_sigma_x: float | None
    relative_sigma_p: float | None
    uncertainty_product: float | None
    packets: int
    packets_refused: int


NO_RELATION = Relation(None, None, None, 0, 0)


def relation_of_rows(
    model: Any, X: NDArray[Any], y: NDArray[Any], widths: NDArray[np.float64], seed: int
) -> tuple[Relation, str]:
    """Measure a fitted model on some rows, or say why it has no relation.

    Parameters
    ----------
    model
        A fitted classifier.
    X, y
        Rows and labels.
    widths
        Standard deviation of the envelope, one a feature, in the units of ``X``; 0: it stays.
    seed
        Of the rows that are chosen and of the draws.
    """
    varying = np.flatnonzero(widths > 0)
    if not varying.size:
        return NO_RELATION, "no uncertainty relation: no feature varies continuously"
    try:
        found = uncertainty_summary(
            model, X, y, max_samples=PACKETS, draws=DRAWS, random_state=seed,
            tau=widths[varying], features=varying.tolist(), method="monte-carlo",
        )  # fmt: skip
    except InputError as reason:
        return NO_RELATION, f"no uncertainty relation: {reason}"
    number, refused = len(found.valid), found.n_refused
    if refused == number:
        first = next(reason for reason in found.reasons if reason)
        return Relation(None, None, None, number, refused), f"no uncertainty relation: {first}"
    tau = widths[varying]
    parts = (found.sigma_x_corr / tau, 2 * tau * found.sigma_p_corr, found.product_corr)
    x, p, product = (float(part[found.valid].mean()) for part in parts)
    return Relation(x, p, product, number, refused), ""
