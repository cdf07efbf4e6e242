"""Signs that a robustness is not there: gradients that mislead, outputs that hide.

Attacks that follow gradients fail where gradients vanish or are random, and then a weak model looks
strong. Each sign is a number with a limit, measured on some of the samples with every evaluation;
where something can be done about it, the evaluation does it and says so.

Source: Athalye et al. 2018, arXiv:1802.00420; Carlini et al. 2019, arXiv:1902.06705, section 4;
Croce and Hein 2020, arXiv:2003.01690 (scale of logits).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from entangle.adversarial.apgd import APGD
from entangle.adversarial.attack import Attack
from entangle.adversarial.losses import cross_entropy, margin
from entangle.adversarial.signed_steps import PGD
from entangle.adversarial.task import Task
from entangle.adversarial.victim import Victim

__all__ = ["Examination", "Finding", "MaskingReport", "Probe", "black_box", "examined"]

ZERO_SHARE = 0.1
GAP = 0.05
BLACK_BOX = 0.01
LARGE = 0.05
SEED = 0


@dataclass(frozen=True)
class Finding:
    """One sign.

    Attributes
    ----------
    name
        What was looked at.
    value
        Share of samples, or 0 or 1; NaN where it could not be measured.
    limit
        Beyond which it is a warning.
    message
        What it means and what to do; empty if it is no warning.
    """

    name: str
    value: float
    limit: float
    message: str = ""

    @property
    def flagged(self) -> bool:
        """Whether it is a warning."""
        return self.value > self.limit

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        value = None if math.isnan(self.value) else self.value
        return {
            "name": self.name, "value": value, "limit": self.limit, "flagged": self.flagged,
            "message": self.message,
        }  # fmt: skip


@dataclass(frozen=True)
class MaskingReport:
    """All signs that were looked for.

    Attributes
    ----------
    findings
        One a sign, flagged or not.
    n_samples
        Correctly classified samples that they were measured on.
    """

    findings: tuple[Finding, ...]
    n_samples: int

    @property
    def flagged(self) -> tuple[str, ...]:
        """Names of the signs that were found."""
        return tuple(finding.name for finding in self.findings if finding.flagged)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Their messages."""
        return tuple(f"{f.name}: {f.message}" for f in self.findings if f.flagged)

    def __getitem__(self, name: str) -> Finding:
        return next(finding for finding in self.findings if finding.name == name)


@dataclass(frozen=True, eq=False)
class Probe:
    """Samples to examine a model on.

    Attributes
    ----------
    task
        Correctly classified samples, at a radius from the middle of those asked for.
    wide
        The same with a ball that holds the whole box, or all the data twice.
    whole
        Whether every feature may move, so that everything can be reached in it.
    """

    task: Task
    wide: Task
    whole: bool


@dataclass(frozen=True, eq=False)
class Examination:
    """What was found before the attacks, and the model as they should see it."""

    victim: Victim
    findings: tuple[Finding, ...]
    n_samples: int


def examined(probe: Probe, differentiable: bool) -> Examination:
    """Look for signs, and change how the model is attacked where that helps."""
    victim, count = probe.task.victim, len(probe.task)
    found = [_outputs_random(victim), _probabilities(victim)]
    if not differentiable or not count:
        names = ("zero gradients", "cross-entropy behind margin", "more steps help", "large radius")
        found += [Finding(name, math.nan, GAP) for name in names]
        return Examination(victim, tuple(found), count)
    zero = _zero_gradients(probe.task)
    flat = _flat(probe.task)
    if flat > ZERO_SHARE:
        victim = replace(victim, differences=True)
        probe = replace(
            probe, task=replace(probe.task, victim=victim), wide=replace(probe.wide, victim=victim)
        )
    found.append(_zero_finding(zero, flat))
    found += [_cross_entropy_gap(probe.task), _more_steps(probe.task), _large_radius(probe)]
    return Examination(victim, tuple(found), count)


def _outputs_random(victim: Victim) -> Finding:
    return Finding(
        "random outputs", float(victim.random), 0.5,
        f"two outputs for the same samples differ, or draws were asked for; {victim.draws} outputs "
        "are averaged for every loss, gradient and prediction; more draws (eot) are surer",
    )  # fmt: skip


def _probabilities(victim: Victim) -> Finding:
    hidden = victim.probabilities and victim.differentiable  # others have no better outputs
    return Finding(
        "probability outputs", float(hidden), 0.5,
        "the outputs are probabilities; their logarithms were attacked, which single precision "
        "holds only in part; pass the model without its softmax",
    )  # fmt: skip


def _plain(task: Task) -> Task:
    """Take outputs as they are, as an attack that knows nothing of them sees them."""
    plain = replace(task.victim, temperature=1.0, probabilities=False, differences=False)
    return replace(task, victim=plain)


def _zero_gradients(task: Task) -> float:
    plain = _plain(task)
    _, slope, _ = plain.climb(task.none(), lambda logits: cross_entropy(logits, task.labels))
    return float((slope == 0).all(1).double().mean())


def _flat(task: Task) -> float:
    plain = replace(task, victim=replace(task.victim, differences=False))
    _, slope, _ = plain.climb(task.none(), lambda logits: -margin(logits, task.labels))
    return float((slope == 0).all(1).double().mean())


def _zero_finding(zero: float, flat: float) -> Finding:
    if flat > ZERO_SHARE:
        done = (
            "so is that of the margin, and gradients were estimated by differences of outputs; "
            "remove what is not differentiable (rounding, clipping, detach) for stronger attacks"
        )
    else:
        done = "logits were divided by a temperature, and the margin was attacked, too"
    return Finding(
        "zero gradients", max(zero, flat), ZERO_SHARE,
        f"the gradient of cross-entropy is exactly zero for {zero:.0%} of the samples; {done}",
    )  # fmt: skip


def _accuracy(attack: Attack, task: Task) -> float:
    source = torch.Generator().manual_seed(SEED)
    steps = attack.run(task, source)
    return float((task.margins(steps) >= 0).double().mean())


def _cross_entropy_gap(task: Task) -> Finding:
    plain = _accuracy(PGD(steps=20), _plain(task))
    other = _accuracy(PGD(steps=20, loss="margin"), task)
    return Finding(
        "cross-entropy behind margin", plain - other, GAP,
        f"20 steps on cross-entropy leave an accuracy of {plain:.1%}, on the margin {other:.1%}; "
        "the outputs hide the gradient of cross-entropy (large logits, probabilities), so "
        "evaluations that use it alone overstate this model; divide the logits by a constant",
    )  # fmt: skip


def _more_steps(task: Task) -> Finding:
    few, many = (_accuracy(APGD(steps=steps, loss="dlr", early=False), task) for steps in (50, 100))
    return Finding(
        "more steps help", few - many, GAP,
        f"50 steps leave an accuracy of {few:.1%}, 100 steps {many:.1%}; pass attacks with more, "
        "such as [APGD(steps=1000, restarts=5), TargetedAPGD(steps=1000)]",
    )  # fmt: skip


def _large_radius(probe: Probe) -> Finding:
    attack = APGD(steps=20, loss="dlr", early=False)
    left = _accuracy(attack, probe.wide) if probe.whole else math.nan
    return Finding(
        "large radius", left, LARGE,
        f"in a ball that holds everything {left:.1%} stay correct, where all could be changed into "
        "another class; gradients do not lead there, so smaller radii are overstated, too",
    )  # fmt: skip


def black_box(share: float, differentiable: bool) -> Finding:
    """Whether the Square attack found samples that those with gradients did not."""
    return Finding(
        "black box ahead", share if differentiable else math.nan, BLACK_BOX,
        f"the Square attack, which knows no gradient, fooled {share:.1%} of the samples that "
        "attacks with gradients did not; their gradients mislead; raise its queries",
    )  # fmt: skip
