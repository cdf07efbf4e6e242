r"""What attacks raise: cross-entropy, and the difference of logits ratio.

Cross-entropy depends on the scale of the logits: multiplied by a thousand, its gradient vanishes
in single precision, and an attack that follows it reports a robustness that is not there. The
ratio does not,

.. math:: \operatorname{DLR} = -\frac{z_y - \max_{i \ne y} z_i}{z_{\pi_1} - z_{\pi_3}}, \qquad
    \operatorname{DLR}_t = -\frac{z_y - z_t}{z_{\pi_1} - (z_{\pi_3} + z_{\pi_4}) / 2},

with :math:`\pi` the classes by falling logit.

Source: Croce and Hein 2020, arXiv:2003.01690, equations 6 and 7. Deviation: with fewer than four
classes the targeted ratio is not defined, and with two the untargeted one neither; and however it
is divided, a target of the lowest of three logits, or the other of two, gives a constant. There
both are the difference of the two logits itself. The attacks use the direction of a gradient and
the order of values of one sample, and neither depends on the scale of the logits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Loss", "cross_entropy", "dlr", "margin", "targeted_dlr"]

Loss = Callable[[Tensor], Tensor]  # logits (samples, classes) -> what is raised, (samples,)


def _picked(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label minus the largest other one, shape ``(samples,)``; below 0: fooled.

    Examples
    --------
    >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([1.])
    """
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return _picked(logits, labels) - others


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each sample, nats, shape ``(samples,)``."""
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative margin over the largest logit minus the third, shape ``(samples,)``.

    With two classes: the negative margin itself. Above 0: fooled.

    Examples
    --------
    >>> dlr(torch.tensor([[4.0, 3.0, 0.0]]), torch.tensor([0]))
    tensor([-0.2500])
    """
    if logits.shape[1] < 3:
        return -margin(logits, labels)
    top = logits.topk(3, dim=1).values
    return -margin(logits, labels) / _positive(top[:, 0] - top[:, 2])


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Logit of the target minus that of the label, as a ratio, shape ``(samples,)``.

    With two or three classes: the difference itself. Above 0: fooled.

    Examples
    --------
    >>> logits, label, target = torch.tensor([[4.0, 3.0, 2.0, 0.0]]), *torch.tensor([[0], [1]])
    >>> targeted_dlr(logits, label, target)
    tensor([-0.3333])
    """
    ahead = _picked(logits, targets) - _picked(logits, labels)
    if logits.shape[1] < 4:
        return ahead
    top = logits.topk(4, dim=1).values
    return ahead / _positive(top[:, 0] - (top[:, 2] + top[:, 3]) / 2)


def _positive(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).eps)
