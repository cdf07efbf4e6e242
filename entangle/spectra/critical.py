r"""Critical perturbations: the first size on a grid at which a sample is misclassified.

A protocol to compare with published numbers, not an evaluation of robustness. For each size
:math:`\epsilon` of a grid, from small to large, a correctly classified sample x becomes

.. math:: x + \epsilon\,\xi,\ \xi_i \sim N(0, 1) \qquad
    x + \epsilon \operatorname{sign} \nabla_x L \qquad
    x^{(20)},\ x^{(t + 1)} = \Pi_\epsilon(x^{(t)} + s(\epsilon) \operatorname{sign} \nabla_x L)

(random, FGSM, PGD), L the cross-entropy at its label. Its critical size is the first one at which
the prediction is wrong.

What is coarse about it:

- PGD takes 20 steps from x itself, of length 0.01, or :math:`\epsilon / 10` below
  :math:`\epsilon = 0.01`. It returns where it ends, not the best point on its way.
- Every value is an upper bound of the least perturbation, found by one weak attack. Where
  cross-entropy is so small that its gradient vanishes in the model's precision, FGSM and PGD do
  not move, and the sample counts as never flipped (``n_flat`` says how many).
- Noise is drawn anew for each size, and the first size that flips is the smallest of many trials:
  on a finer grid it is smaller, without end.
- Samples that never flip have no critical size. A median of the others is too small;
  ``median_of_all`` counts them as infinite.

For claims about robustness use :func:`entangle.adversarial.robustness_curve`, and
:func:`entangle.adversarial.minimal_perturbation` for the nearest adversarial sample.

Source: arXiv:2405.00679 and its released code (sizes, steps, relative accuracy); Goodfellow et al.
2015, arXiv:1412.6572 (FGSM); Madry et al. 2018, arXiv:1706.06083 (PGD). Deviations: the upper end
of the grid of noise is there written ``ln 2.5``, an exponent of ten; it is kept. Bounds hold after
every step of PGD, not only after the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from entangle.adversarial.options import one_of
from entangle.adversarial.subject import class_numbers
from entangle.adversarial.task import Task
from entangle.adversarial.threat import ThreatModel
from entangle.errors import InputError
from entangle.progress import progress_bar
from entangle.spectra.critical_result import CriticalPerturbations
from entangle.spectra.subjects import Measured, measured
from entangle.training import require_count

__all__ = ["critical_perturbations"]

GRIDS = {  # decimal logarithms of the first and the last size
    "random": (-6.0, float(np.log(2.5))),
    "fgsm": (-6.0, -1.5),
    "pgd": (-6.0, -1.5),
}
SIZES = 400
STEPS = 20
STEP = 0.01  # longest of PGD
SHARE = 0.1  # of the size, if that is shorter


def critical_perturbations(
    model: object,
    X: object,
    y: object,
    attack: str = "fgsm",
    epsilons: ArrayLike | None = None,
    *,
    bounds: tuple[ArrayLike | None, ArrayLike | None] | None = None,
    random_state: int = 0,
    batch_size: int = 512,
    confidence: float = 0.95,
    progress: bool = False,
) -> CriticalPerturbations:
    r"""Size and length of the first perturbation on a grid that flips each sample.

    Parameters
    ----------
    model
        A torch module or function from samples ``(batch, *sample)`` to logits
        ``(batch, classes)``, or a fitted classifier, as for
        :func:`~entangle.adversarial.robustness_curve`. FGSM and PGD need its gradients.
    X, y
        Samples, shape ``(samples, *sample)``, in the precision of the module, and their labels.
        Samples that are misclassified as given are left out.
    attack
        ``"random"``, ``"fgsm"`` or ``"pgd"``.
    epsilons
        Sizes above 0, in the units of ``X``; sorted, each once. Default: 400, logarithmically
        from 1e-6 to 8.25 (noise) or to 0.0316, which are meant for values from 0 to 1.
    bounds
        Lower and upper bound of values after FGSM and PGD; for images (0, 1) as published.
        ``None``: none. Noise is never clamped.
    random_state
        Seed of the noise.
    batch_size
        Samples perturbed at once.
    confidence
        Of the intervals of medians.
    progress
        Show a progress bar on a terminal.

    Raises
    ------
    InputError
        If something cannot be used, or no sample is classified correctly.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 2).double()
    >>> with torch.no_grad():
    ...     _ = model.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 4.0]])), model.bias.zero_()
    >>> found = critical_perturbations(model, [[0.07, 0.07]], [1], "fgsm", [0.05, 0.06, 0.071])
    >>> found.crit_eps.tolist()  # margin 0.49 over the L1 norm 7
    [0.071]
    """
    one_of("attack", attack, GRIDS)
    require_count("batch_size", batch_size)
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies between 0 and 1, got {confidence!r}; 0.95 is usual")
    if attack == "random" and bounds is not None:
        raise InputError("noise is not clamped; leave bounds out, or attack with 'fgsm' or 'pgd'")
    sizes = _checked_sizes(epsilons, attack)
    with measured(model, X) as subject:
        if attack != "random":
            subject.require_gradient(attack)
        task, chosen = _task(subject, y, bounds)
        generator = torch.Generator().manual_seed(random_state)
        with progress_bar(f"{attack} perturbations", len(sizes), progress) as step:
            found = _flips(task, attack, sizes, batch_size, generator, step)
    correct = chosen.cpu().numpy()
    first, length = np.full(len(correct), np.nan), np.full(len(correct), np.nan)
    first[correct], length[correct] = found.size, found.length
    share = found.n_right / correct.sum()
    return CriticalPerturbations(
        attack, sizes, share, correct, first, length, found.n_flat, confidence
    )


def _checked_sizes(epsilons: Any, attack: str) -> NDArray[np.float64]:
    if epsilons is None:
        return np.logspace(*GRIDS[attack], SIZES)
    try:
        given = np.atleast_1d(np.asarray(epsilons, dtype=np.float64))
    except (TypeError, ValueError):
        raise InputError(f"epsilons are numbers, got {epsilons!r}") from None
    if given.ndim != 1 or not given.size or not (np.isfinite(given) & (given > 0)).all():
        raise InputError(
            f"epsilons are finite and above 0, one or more, got {given.tolist()}; samples that "
            "are wrong as given are left out anyway"
        )
    return np.unique(given)


def _task(subject: Measured, y: object, bounds: Any) -> tuple[Task, Tensor]:
    """Keep samples that are classified correctly; say which those are."""
    samples, victim = subject.samples, subject.victim
    n_classes = victim.logits(samples[:1]).shape[1]
    labels = class_numbers(y, len(samples), n_classes, subject.subject.classes).to(samples.device)
    correct = torch.cat([victim.predicted(part) for part in samples.split(512)]) == labels
    if not bool(correct.any()):
        raise InputError(
            f"none of {len(samples)} samples is classified correctly, so none can be flipped; "
            "check that y has the labels of the model"
        )
    lower, upper = (None, None) if bounds is None else bounds
    room = ThreatModel("linf", 0.0, lower, upper).around(samples[correct])
    return Task(victim, room, labels[correct]), correct


@dataclass(frozen=True, eq=False)
class _Flips:
    """Number of samples still right by size; size and length at each one's first flip."""

    n_right: NDArray[np.int64]
    size: NDArray[np.float64]
    length: NDArray[np.float64]
    n_flat: int


def _flips(
    task: Task,
    attack: str,
    sizes: NDArray[np.float64],
    batch_size: int,
    generator: torch.Generator,
    advance: Callable[[int], None],
) -> _Flips:
    """Perturb all samples by every size, in batches."""
    rows = torch.arange(len(task), device=task.labels.device).split(batch_size)
    batches = [task.rows(some) for some in rows]
    directions = [_slope(batch) for batch in batches] if attack != "random" else []
    n_flat = sum(int((slope == 0).all(1).sum()) for slope in directions)
    size = torch.full((len(task),), torch.nan, dtype=torch.float64, device=task.labels.device)
    length, n_right = size.clone(), np.zeros(len(sizes), dtype=np.int64)
    for i, eps in enumerate(sizes.tolist()):
        if attack == "random":  # of all samples at once: batches change nothing
            directions = _noise(task, generator).split(batch_size)
        for some, batch, direction in zip(rows, batches, directions, strict=True):
            samples = batch.room.values(_steps(batch, attack, direction, eps))
            wrong = batch.victim.predicted(samples) != batch.labels
            new = some[wrong & size[some].isnan()]
            change = samples.flatten(1).double() - batch.room.origin.double()
            size[new] = eps
            length[new] = torch.linalg.vector_norm(change[new - some[0]], dim=1)
            n_right[i] += int((~wrong).sum())
        advance(1)
    return _Flips(n_right, size.cpu().numpy(), length.cpu().numpy(), n_flat)


def _slope(task: Task) -> Tensor:
    return task.climb(task.none(), task.cross_entropy)[1]


def _noise(task: Task, generator: torch.Generator) -> Tensor:
    like = task.none()
    drawn = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
    return drawn.to(like.device)


def _steps(task: Task, attack: str, direction: Tensor, eps: float) -> Tensor:
    """Displacements of one size, given noise or the gradient at the samples."""
    if attack == "random":
        return eps * direction
    near = task.within(eps)
    if attack == "fgsm":
        return near.room.project(eps * direction.sign())
    stride = STEP if eps >= STEP else SHARE * eps
    steps = near.room.project(stride * direction.sign())
    for _ in range(STEPS - 1):
        _, slope, _ = near.climb(steps, near.cross_entropy)
        steps = near.room.project(steps + stride * slope.sign())
    return steps
