"""Orthogonal projections of a data tensor on a binary tree, from the leaves to the root.

A small block and all inside it take their bases from one density matrix in its whole space, which
no truncation changes: it is worked out once for all projections of a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

from entangle.complements import Space
from entangle.isometries import Isometry, Setting, Sweep, Truncation
from entangle.memory import require_memory
from entangle.partition import Node
from entangle.sweep import is_small

__all__ = ["Projection", "Projector"]


@dataclass(frozen=True, eq=False)
class Projection:
    """Projected tensor: the isometry of each block, and the core ``(labels, left, right)``."""

    isometries: dict[Node, Isometry]
    core: Tensor


@dataclass(frozen=True, eq=False)
class Projector:
    """Finds projections of one tensor; what does not depend on the truncation is kept.

    Attributes
    ----------
    setting
        Tree, samples and limits.
    """

    setting: Setting
    _whole: dict[Node, Tensor] = field(default_factory=dict)

    def project(
        self, truncation: Truncation, advance: Callable[[int], None] = lambda _: None
    ) -> Projection:
        """Bases of all blocks, leaves first, and the tensor between them."""
        self._find_whole()
        work = Sweep(self.setting, truncation)
        for nodes in self._generations():
            for block in (node for node in nodes if self._is_block(node)):
                work.inside_block(block, self._whole[block])
            for node in (node for node in nodes if node in self.setting.free):
                work.keep_all(node)
            work.generation([node for node in nodes if self._is_large(node)])
            advance(len(nodes))
        return Projection(work.isometries, work.core())

    def _generations(self) -> Iterator[list[Node]]:
        """Blocks that are worked out one by one, the deepest first; the root's last one not."""
        generations: list[list[Node]] = [list(self.setting.root.children)]
        while generations[-1]:
            opened = [node for node in generations[-1] if not self._is_block(node)]
            generations.append([child for node in opened for child in node.children])
        for nodes in reversed(generations):
            yield [node for node in nodes if node is not self.setting.root.children[-1]]

    def _is_block(self, node: Node) -> bool:
        """Whether a density matrix of the whole block serves it and all inside."""
        last = node is self.setting.root or node is self.setting.root.children[-1]
        return not last and node not in self.setting.free and is_small(node, self.setting.local)

    def _is_large(self, node: Node) -> bool:
        return not self._is_block(node) and node not in self.setting.free

    def _find_whole(self) -> None:
        """Density matrices of whole small blocks, once."""
        blocks = [node for some in self._generations() for node in some if self._is_block(node)]
        blocks = [node for node in blocks if node not in self._whole]
        held = 8.0 * sum(self.setting.local ** (2 * node.size) for node in blocks)
        columns = {node: self.setting.local**node.size for node in blocks}
        require_memory(
            held, f"the density matrices of {len(blocks)} small blocks", self.setting.limit
        )
        for batch in self.setting.batches(columns):
            spaces = [Space(self.setting.block_vectors(node)) for node in batch]
            found = self.setting.complements.densities(batch, spaces)
            self._whole.update({n: density for n, (density, _) in zip(batch, found, strict=True)})
