r"""Square attack: random search over small windows, which needs outputs and no gradients.

A proposal changes one window of every sample and is kept where it lowers the margin; windows shrink
on a fixed schedule. In Linf a window is set to plus or minus the radius, a sign a channel. In L2
and L1 a window takes over the budget of another one, and what clipping left unused.

A proposal that is what a sample has already counts as a query but is not asked for: of windows of a
single value every other one, in L2 and L1 also those that clipping takes back. So calls differ in
their number of samples.

Windows lie on the grid of a sample: its last two axes if it has three or more, all before them
being channels; both axes of a sample with two; a sequence otherwise. Samples that are searched at
once share the places of windows, not the signs.

Source: Andriushchenko et al. 2020, arXiv:1912.00049 (Linf, L2); Croce and Hein 2021,
arXiv:2103.01208, Appendix C (L1). Deviations: windows of a table or a series are runs of features;
the first displacement in Linf has stripes along the last axis; windows are shared as above.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entangle.adversarial.attack import Attack, Record
from entangle.adversarial.task import Task
from entangle.adversarial.windows import Grid, Window, bump
from entangle.training import require_count

__all__ = ["Square"]

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries
SAME = 0.1  # share of proposals that change nothing from which on those are left out
GONE = 0.05  # share of rows that are fooled before the others are copied together


@dataclass(frozen=True)
class Square(Attack):
    """Random search.

    Parameters
    ----------
    queries
        Proposals, a sample and restart.
    restarts
        Searches from the beginning.
    share
        Of the features that the first windows cover.
    """

    queries: int = 5000
    restarts: int = 1
    share: float = 0.8

    needs_gradient = False

    def __post_init__(self) -> None:
        require_count("queries", self.queries)
        require_count("restarts", self.restarts)

    def run(self, task: Task, generator: torch.Generator) -> Tensor:
        """Displacements that fool, or those of the lowest margin."""
        record = Record(task)
        # Where windows lie is drawn on the CPU, and what fills them where the generator is.
        for _ in range(self.restarts):
            rows = record.open()
            if not len(rows):
                break
            search = _Search(task.rows(rows), rows, record, generator)
            for query in range(1, self.queries):
                if not len(search.rows):
                    break
                search.propose(self._share_at(query))
            search.finish()
        return record.steps

    def _share_at(self, query: int) -> float:
        place = query / self.queries * 10_000
        return self.share / 2 ** sum(place > limit for limit in _HALVINGS)


class _Search:
    """Displacements and their margins, and the samples that are not fooled yet."""

    def __init__(
        self, task: Task, rows: Tensor, record: Record, generator: torch.Generator
    ) -> None:
        self.task, self.rows, self.record, self.generator = task, rows, record, generator
        self.grid = Grid.of(task.room.shape)
        self.best = self._first()
        self.margins = task.margins(self.best)
        self._note()

    def propose(self, share: float) -> None:
        """Change a window of every sample, and keep what helps."""
        tried = self.best.clone()
        window = self.grid.window(share, self.generator)
        if self.task.room.norm == "linf":
            self._fill(tried, window)
        else:
            self._take_over(tried, window, self.grid.window(share, self.generator))
        margins = self._margins(tried)
        better = margins < self.margins
        if bool(better.any()):
            self.best = torch.where(better[:, None], tried, self.best)
            self.margins = torch.where(better, margins, self.margins)
            self._note()

    def _margins(self, tried: Tensor) -> Tensor:
        """Margins of proposals; one that changes nothing keeps its margin without a query."""
        index = (tried != self.best).any(dim=1).nonzero()[:, 0]
        # Of categories what counts is the choice that displacements stand for.
        if self.task.room.groups or len(index) > (1 - SAME) * len(tried):
            return self.task.margins(tried)
        margins, samples = self.margins.clone(), self.task.room.values(tried)[index]
        if len(index):
            margins[index] = self.task.victim.margins(samples, self.task.labels[index])
        return margins

    def finish(self) -> None:
        """Record the lowest margins of those that are not fooled."""
        self.record.note_best(self.rows, self.best, -self.margins)

    def _signs(self, *shape: int) -> Tensor:
        drawn = torch.randint(0, 2, shape, generator=self.generator, device=self.generator.device)
        return (drawn * 2 - 1).to(self.best if hasattr(self, "best") else self.task.room.origin)

    def _first(self) -> Tensor:
        room, grid = self.task.room, self.grid
        if room.norm == "linf":
            stripes = self._signs(len(self.rows), grid.channels, 1, grid.width)
            wide = stripes.expand(-1, -1, grid.height, -1).reshape(room.origin.shape)
            return room.project(wide * room.radius)
        found = torch.zeros_like(room.origin)
        view = grid.view(found)
        for window in grid.tiles():
            view[window.part] = self._bump(window)
        length = torch.linalg.vector_norm(found, ord=1.0 + (room.norm == "l2"), dim=1)
        return room.project(found / length[:, None] * room.radius)

    def _bump(self, window: Window) -> Tensor:
        shape = bump(window.height, window.width, self.generator).to(self.task.room.origin)
        return shape * self._signs(len(self.rows), self.grid.channels, 1, 1)

    def _fill(self, tried: Tensor, window: Window) -> None:
        """Plus or minus the radius, one sign a channel and sample."""
        room, part = self.task.room, window.part
        signs = self._signs(len(tried), self.grid.channels, 1, 1)
        moved = (signs * room.radius[:, :, None, None]).expand(-1, -1, window.height, window.width)
        if room.floor is not None and room.ceiling is not None:
            moved = moved.clamp(
                self.grid.view(room.floor)[part], self.grid.view(room.ceiling)[part]
            )
        self.grid.view(tried)[part] = moved

    def _take_over(self, tried: Tensor, window: Window, other: Window) -> None:
        """Give a window a bump with the budget of itself, of another, and of what is unused."""
        power = 2.0 if self.task.room.norm == "l2" else 1.0
        view = self.grid.view(tried)
        sizes = tried.abs() ** power
        mass = self.grid.view(sizes)
        unused = (self.task.room.radius[:, 0] ** power - sizes.sum(1)).clamp_min(0.0)
        held = mass[window.part].sum((2, 3))
        mass[window.part] = 0.0  # windows may overlap
        budget = held + mass[other.part].sum((2, 3)) + unused[:, None] / self.grid.channels
        here = view[window.part]
        length = held.clamp_min(1e-12)[:, :, None, None] ** (1 / power)
        shape = self._bump(window)
        norm = (shape.abs() ** power).sum((2, 3), keepdim=True) ** (1 / power)
        moved = shape / norm + here / length
        norm = (moved.abs() ** power).sum((2, 3), keepdim=True) ** (1 / power)
        view[other.part] = 0.0
        view[window.part] = moved / norm.clamp_min(1e-12) * budget[:, :, None, None] ** (1 / power)
        tried.copy_(self.task.room.clipped(tried))

    def _note(self) -> None:
        if not self.task.stops:
            return
        hits = self.margins < 0
        self.record.note(self.rows, self.best, hits & ~self.record.fooled[self.rows])
        if float(hits.sum()) >= GONE * len(self.rows) and bool(hits.any()):
            left = (~hits).nonzero()[:, 0]
            self.rows, self.task = self.rows[left], self.task.rows(left)
            self.best, self.margins = self.best[left], self.margins[left]
