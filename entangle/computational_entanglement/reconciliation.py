r"""Two parties with different samples agree on a secret, and one hides a message from the other.

The rows are public, selected by w; one party holds w, the other an unrelated v. After enough layers
:math:`\hat v_l \approx \pm \hat w_l`, so signs :math:`b = [w_l > 0]` and :math:`b' = [v_l > 0]`
agree everywhere or nowhere: a binary image m sent as :math:`b \oplus m` is read as
:math:`b' \oplus b \oplus m`, the image or its negative. Real messages are sent as
:math:`m + \alpha \hat w_l`; the paper calls that sum a worst-case adversarial example. Whoever
knows the rows can read both with a sample of his own, so none of this is secure.

Given the cotangent c before the layer, a sign differs with probability
:math:`E_a \Phi(-|a| c)`, a being the selected numbers; and
:math:`|m' - m| = \alpha |\hat w - \hat v| = 2 \alpha \sin(\pi\theta / 2)`.

Source: published code of arXiv:2309.15669 (information reconciliation, adversary); both formulas
are derived here and checked by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special
from torch import Tensor

from entangle.computational_entanglement.encoder import LikelihoodEncoder
from entangle.computational_entanglement.order_statistics import thresholds
from entangle.computational_entanglement.prediction import layers_until
from entangle.errors import InputError

__all__ = [
    "Message",
    "Reconciliation",
    "bit_error_rate",
    "reconcile",
    "reconciliation_depth",
    "send_message",
]

NODES = 96  # of the integral over the selected numbers


@dataclass(frozen=True)
class Reconciliation:
    """A binary image, sent and read.

    Attributes
    ----------
    cipher, received
        What was sent and what was read after the last layer, of the shape of the image.
    error_rate
        Share of wrong pixels had the signs of this layer been used, shape ``(layers + 1,)``.
    predicted_error_rate
        The same from the angle of the layer before, shape ``(layers,)``, first layer first.
    inverted
        Whether the pair ended antiparallel, so that the negative was read.
    """

    cipher: Tensor
    received: Tensor
    error_rate: NDArray[np.float64]
    predicted_error_rate: NDArray[np.float64]
    inverted: bool


@dataclass(frozen=True)
class Message:
    r"""A message under a large unit vector, sent and read.

    Attributes
    ----------
    sent, received, received_opposite
        :math:`m + \alpha \hat w`, then minus and plus :math:`\alpha \hat v`: the second is
        right for a pair that ended antiparallel.
    angle
        Of the pair after the last layer, over pi.
    predicted_error, predicted_error_opposite
        Norms of what is wrong in the two, from the angle alone.
    """

    sent: Tensor
    received: Tensor
    received_opposite: Tensor
    angle: float
    predicted_error: float
    predicted_error_opposite: float


def reconcile(image: Tensor, w: Tensor, v: Tensor, encoder: LikelihoodEncoder) -> Reconciliation:
    """Send a binary image with the signs of one sample, read it with those of another.

    Parameters
    ----------
    image
        Booleans, any shape, as many as the encoder is wide.
    w, v
        The sample that selects the rows, and the other one, shape ``(features,)``.
    encoder
        Its generator moves on.

    Raises
    ------
    InputError
        If the image is not boolean or does not have k pixels, or samples are unfit.
    """
    _check_size(image.numel(), encoder.k, "image", "pixels")
    if image.dtype != torch.bool:
        raise InputError(f"image must be boolean, got {image.dtype}; pass image > threshold")
    rates, cotangents = [], []
    layer = None
    for layer in encoder.layers(w, v):
        rates.append(float(layer.hamming))
        with np.errstate(over="ignore"):
            size = np.exp(float(layer.cosine.abs().log() - layer.log_sine))
        cotangents.append(float(layer.cosine.sign()) * size)
    assert layer is not None
    flat = image.reshape(-1)
    cipher = flat ^ (layer.selected > 0)
    received = cipher ^ (layer.others[0] > 0)
    predicted = bit_error_rate(cotangents[:-1], encoder.n, encoder.k)
    return Reconciliation(
        cipher.reshape(image.shape), received.reshape(image.shape), np.array(rates), predicted,
        bool(layer.cosine < 0),
    )  # fmt: skip


def send_message(
    message: Tensor, w: Tensor, v: Tensor, encoder: LikelihoodEncoder, strength: float = 100.0
) -> Message:
    r"""Add a large unit vector to a message, and take another's away.

    Parameters
    ----------
    message
        Any shape, as many numbers as the encoder is wide.
    w, v
        The sample that selects the rows, and the other one, shape ``(features,)``.
    encoder
        Its generator moves on.
    strength
        :math:`\alpha`, the length of what is added.

    Raises
    ------
    InputError
        If the message does not have k numbers, or samples are unfit.
    """
    _check_size(message.numel(), encoder.k, "message", "numbers")
    *_, last = encoder.layers(w, v)
    mine = (strength * last.selected).reshape(message.shape)
    theirs = (strength * last.others[0]).reshape(message.shape)
    sent = message + mine
    angle = float(torch.atan2(last.log_sine.exp(), last.cosine)) / math.pi
    return Message(
        sent, sent - theirs, sent + theirs, angle,
        2 * strength * math.sin(math.pi * angle / 2), 2 * strength * math.cos(math.pi * angle / 2),
    )  # fmt: skip


def bit_error_rate(cotangent: ArrayLike, n: int, k: int) -> NDArray[np.float64]:
    r"""Share of signs that differ after a layer: :math:`E_a \Phi(-|a| c)`.

    Parameters
    ----------
    cotangent
        Of the angle before the layer, any shape; negative on the other branch, where nearly all
        signs differ.
    n, k
        Rows drawn, and kept.

    Returns
    -------
    array
        Shape of ``cotangent``, from 0 to 1.

    Raises
    ------
    InputError
        If k is below 2 or above n.

    Examples
    --------
    >>> [round(float(rate), 4) for rate in bit_error_rate([-2.0, 0.0, 2.0], 100, 50)]
    [0.9765, 0.5, 0.0235]
    """
    edges, weights = thresholds(n, k)
    nodes, shares = np.polynomial.legendre.leggauss(NODES)
    # p = x^2 spreads the nodes to where the selected numbers are largest and smallest
    x = (nodes + 1) / 2
    tails = special.ndtr(-edges)[:, None] * x**2
    selected = -special.ndtri(tails)
    c = np.asarray(cotangent, dtype=np.float64)[..., None, None]
    with np.errstate(over="ignore"):
        differ = special.ndtr(-selected * c)
    return np.einsum("...ij,i,j->...", differ, weights, shares * x)


def reconciliation_depth(
    n: int, k: int, error_rate: float | None = None, share: float = 0.5
) -> float:
    """Depth at which a share of random pairs reads the image, or its negative.

    Parameters
    ----------
    n, k
        Rows drawn, and kept: the pixels of the image.
    error_rate
        Of pixels, below one half. Default: half a pixel, 0.5 / k.
    share
        Of pairs; one half is the typical depth.

    Raises
    ------
    InputError
        If the sizes do not fit, or the error rate is not between 0 and 0.5.
    """
    rate = 0.5 / k if error_rate is None else error_rate
    if not 0 < rate < 0.5:
        raise InputError(f"an error rate lies between 0 and 0.5, got {rate!r}")

    def excess(log_c: float) -> float:
        return math.log(float(bit_error_rate(math.exp(log_c), n, k)) / rate)

    log_cotangent = cast("float", optimize.brentq(excess, -30.0, _log_bracket(excess)))
    return 1 + layers_until(math.exp(log_cotangent), n, k, share)


def _log_bracket(excess: Callable[[float], float]) -> float:
    high = 0.0
    while excess(high) > 0:
        high += 1.0
    return high


def _check_size(found: int, k: int, what: str, unit: str) -> None:
    if found != k:
        raise InputError(
            f"the {what} has {found} {unit}, the encoder is {k} wide; use one with k = {found}"
        )
