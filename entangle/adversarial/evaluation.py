"""An evaluation on its way: samples, radii, what was found and what remains."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from entangle.adversarial.attack import Attack
from entangle.adversarial.masking import Examination, MaskingReport, Probe, black_box
from entangle.adversarial.portfolio import by_differences
from entangle.adversarial.projections import lengths
from entangle.adversarial.result import RobustnessCurve, binomial_interval
from entangle.adversarial.subject import Subject
from entangle.adversarial.task import Task
from entangle.adversarial.threat import ThreatModel
from entangle.adversarial.verification import Judge
from entangle.adversarial.victim import Victim
from entangle.progress import progress_bar

__all__ = ["Evaluation", "Plan"]

HALVINGS = 8  # of the way to an adversarial sample: 0.4 % of its length
PROBED = 128  # samples that a model is examined on


@dataclass(frozen=True, eq=False)
class Plan:
    """What to evaluate.

    Attributes
    ----------
    threat
        At any radius.
    radii
        From small to large.
    attacks
        By name, in order.
    batch_size
        Samples attacked at once.
    generator
        Of all that attacks draw.
    """

    threat: ThreatModel
    radii: tuple[float, ...]
    attacks: dict[str, Attack]
    batch_size: int
    generator: torch.Generator


class Evaluation:
    """Which samples were fooled, how near, and by what."""

    def __init__(
        self, subject: Subject, victim: Victim, samples: Tensor, labels: Tensor, plan: Plan
    ) -> None:
        self.subject, self.victim, self.plan = subject, victim, plan
        self.samples, self.labels = samples, labels
        self.room = plan.threat.with_eps(plan.radii[-1]).around(samples)
        self.radii = torch.tensor(plan.radii, dtype=torch.float64, device=samples.device)
        self.adversarial = samples.clone()
        wrong = torch.cat(
            [self._judge().predicted(part) for part in samples.split(plan.batch_size)]
        ) != labels  # fmt: skip
        never = len(plan.radii)
        self.first = torch.where(wrong, 0, never)
        self.distance = torch.where(wrong, 0.0, torch.inf).double()
        self.missed = torch.full_like(self.distance, torch.inf)  # nearest beyond all radii
        self.found_by: list[str | None] = ["clean" if hit else None for hit in wrong.tolist()]
        self.n_refused = self.n_black_box = 0
        self.skipped: list[str] = []

    def _judge(self) -> Judge:
        return Judge(self.subject, self.victim)

    def probe(self) -> Probe:
        """Take some of the correct samples, to examine the model on."""
        correct = (self.distance > 0).nonzero()[:, 0]
        spread = torch.linspace(0, len(correct) - 1, min(PROBED, len(correct)))
        rows = correct[spread.round().long().to(correct.device)]
        positive = [radius for radius in self.plan.radii if radius > 0]
        middle = positive[len(positive) // 2] if positive else 0.0
        room = self.room.rows(rows)
        wide = replace(room, norm="linf").within(self._range())
        whole = not self.plan.threat.groups and not bool(self._still().any())
        labels = self.labels[rows]
        return Probe(
            Task(self.victim, room.within(middle), labels), Task(self.victim, wide, labels), whole
        )

    def _range(self) -> float:
        """Radius in Linf that holds the box, or all the data twice where there is none."""
        scale = 1.0 if self.room.scale is None else self.room.scale
        spread = 2 * (self.samples.amax(0) - self.samples.amin(0)).flatten() / scale
        if self.room.low is not None and self.room.high is not None:
            wide = torch.maximum(self.room.high, -self.room.low).amax(0)
            spread = torch.where(torch.isfinite(wide), wide, spread)
        return float(spread.max())

    def _still(self) -> Tensor:
        if self.room.low is None or self.room.high is None:
            return torch.zeros(1, dtype=torch.bool)
        return ((self.room.low == 0) & (self.room.high == 0)).all(0)

    def run(self, progress: bool) -> None:
        """Attack at every radius, from small to large."""
        attacks = dict(self.plan.attacks)
        if not self.subject.differentiable:
            self.skipped = [name for name, attack in attacks.items() if attack.needs_gradient]
            attacks = {n: a for n, a in attacks.items() if not a.needs_gradient}
        if self.victim.differences:
            attacks = by_differences(attacks)
        total = len(self.plan.radii) * len(attacks)
        with progress_bar("attacking", total, progress) as advance:
            for level, radius in enumerate(self.plan.radii):
                for name, attack in attacks.items():
                    done = attack.any_radius and level > 0 and self.plan.radii[level - 1] > 0
                    if radius > 0 and not done:
                        self._attack(level, name, attack)
                    advance(1)

    def _attack(self, level: int, name: str, attack: Attack) -> None:
        near = torch.minimum(self.distance, self.missed) <= attack.reach * self.plan.radii[level]
        open_ = ((self.first > level) & near).nonzero()[:, 0]
        if not len(open_):  # a split of nothing is one empty batch, which not every model takes
            return
        level = len(self.plan.radii) - 1 if attack.any_radius else level
        for rows in open_.split(self.plan.batch_size):
            room = self.room.rows(rows).within(self.plan.radii[level])
            task = Task(self.victim, room, self.labels[rows])
            steps = attack.run(task, self.plan.generator)
            fooled = task.margins(steps) < 0
            if attack.any_radius:
                sizes = lengths(steps, room.norm)[:, 0]
                beyond = torch.where(fooled, sizes, torch.inf).to(self.missed)
                self.missed[rows] = torch.minimum(self.missed[rows], beyond)
                fooled &= sizes <= room.radius[:, 0]
            if not bool(fooled.any()):
                continue
            left = fooled.nonzero()[:, 0]
            self._note(rows[left], task.rows(left), steps[left], level, name)

    def _note(self, rows: Tensor, task: Task, steps: Tensor, level: int, name: str) -> None:
        """Test anew what fooled, as it is and as near as it still fools; keep what passes."""
        samples = task.room.values(steps)
        good = self._judge().confirmed(task.room, samples, task.labels)
        self.n_refused += int((~good).sum())
        if task.stops and not task.room.groups:
            nearer = task.room.values(self._shortened(task, steps))
            near = self._judge().confirmed(task.room, nearer, task.labels)
            samples = torch.where(near.view(-1, *[1] * (samples.ndim - 1)), nearer, samples)
            good = good | near
        sizes = task.room.sizes(samples)
        for place in good.nonzero()[:, 0].tolist():
            row, size = int(rows[place]), float(sizes[place])
            self.adversarial[row], self.distance[row] = samples[place], size
            self.first[row] = min(level, int((self.radii < size).sum()))
            self.found_by[row] = name
        if name == "square":
            self.n_black_box += int(good.sum())

    def _shortened(self, task: Task, steps: Tensor) -> Tensor:
        """Displacements halved towards where they stop to fool."""
        low, high = torch.zeros_like(steps[:, :1]), torch.ones_like(steps[:, :1])
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            fooled = (task.margins(middle * steps) < 0)[:, None]
            high, low = torch.where(fooled, middle, high), torch.where(fooled, low, middle)
        return high * steps

    def result(
        self, examination: Examination, confidence: float, seconds: float
    ) -> RobustnessCurve:
        """Put it all in a result."""
        count, first = len(self.samples), self.first.cpu().numpy()
        kept = [int((first > level).sum()) for level in range(len(self.plan.radii))]
        ends = [binomial_interval(hits, count, confidence) for hits in kept]
        sign = black_box(self.n_black_box / count, self.subject.differentiable)
        findings = (*examination.findings, sign)
        return RobustnessCurve(
            np.array(self.plan.radii), np.array(kept) / count,
            np.array([low for low, _ in ends]), np.array([high for _, high in ends]), confidence,
            self.distance.cpu().numpy(), self.adversarial.cpu().numpy(), first,
            tuple(self.found_by), self.plan.threat.norm,
            tuple(name for name in self.plan.attacks if name not in self.skipped), seconds,
            self.n_refused, MaskingReport(findings, examination.n_samples), self._notes(),
        )  # fmt: skip

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self.skipped:
            notes.append(
                f"the model has no gradient, so {', '.join(self.skipped)} were left out; accuracy "
                "is what attacks by outputs alone leave, and a stronger attack may leave less"
            )
        if self.n_refused:
            notes.append(
                f"{self.n_refused} samples that an attack reported were not adversarial when "
                "tested anew, and are not counted"
            )
        if len(torch.unique(self.labels)) == 1:
            notes.append("y has one class only; accuracy is that of this class")
        return tuple(notes)
