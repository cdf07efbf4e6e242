r"""Exact samples from the squared amplitudes of a network, without a Markov chain.

The probability of basis indices x (and a label) is :math:`|\psi(x)|^2/\lVert\psi\rVert^2`. In
canonical form around a root whatever has not been sampled yet drops out of the sum, so the
features are drawn one by one, each from its exact conditional distribution: from the
root down, with a density matrix for the bond above each node that holds what was drawn so far.

Source: Ferris and Vidal 2012, Phys. Rev. B 85, 165146 (chains and trees); Han, Wang, Fan,
Wang, Zhang 2018, Phys. Rev. X 8, 031012 (as a generative model).
"""

from __future__ import annotations

import torch
from torch import Tensor

from entangle.networks.canonical import orthogonalized
from entangle.networks.tensor_tree import NOBODY, TensorTree

__all__ = ["born_samples"]

CHUNK_ELEMENTS = 2**24  # of the largest array


def born_samples(
    tree: TensorTree, root: int, n_samples: int, generator: torch.Generator | None
) -> Tensor:
    """Draw basis indices, shape ``(samples, features + 1)``; the label comes last."""
    canonical = orthogonalized(tree, root)
    sizes = [tensor.numel() for tensor in canonical.tensors]
    branches = any(len(names) > 3 for names in tree.axes)  # a chain forgets what it has drawn
    chunk = max(1, CHUNK_ELEMENTS // (sum(sizes) if branches else 4 * max(sizes)))
    parts = [
        _Draw(canonical, root, min(chunk, n_samples - begin), generator).indices
        for begin in range(0, n_samples, chunk)
    ]
    device = tree.tensors[0].device
    return torch.cat([torch.zeros(0, tree.n_features + 1, device=device).long(), *parts])


class _Draw:
    """Some samples, drawn together, node by node from the root.

    Attributes
    ----------
    indices
        What was drawn, shape ``(samples, features + 1)``.
    partial
        Tensors of nodes at what was drawn, shape ``(samples, bond above, bonds below...)``,
        with all children taken up but the one being drawn and those to come.
    density
        Density matrix of the bond above a node, shape ``(samples, bond, bond)``.
    """

    def __init__(
        self, tree: TensorTree, root: int, n: int, generator: torch.Generator | None
    ) -> None:
        self.tree, self.n, self.generator = tree, n, generator
        device = tree.tensors[0].device
        self.indices = torch.zeros(n, tree.n_features + 1, dtype=torch.int64, device=device)
        self.walk = tree.walk(root)
        self.parents = dict(self.walk)
        self.place = {node: place for place, (node, _) in enumerate(self.walk)}
        self.partial: dict[int, Tensor] = {}
        self.density = {root: tree.tensors[root].new_ones(n, 1, 1)}
        # Nodes whose amplitudes a later sibling, theirs or of a node above, will ask for.
        self.awaited = {root: False}
        for node, parent in self.walk:
            if parent != NOBODY:
                self._enter(node, parent)
            self._draw_features(node, parent)

    def _draw_features(self, node: int, parent: int) -> None:
        """Draw the features of a node, all nodes below it being isometries."""
        names = list(self.tree.axes[node])
        opens = [name for name in names if name < 0]
        above = [] if parent == NOBODY else [parent]
        order = [*above, *opens, *self.tree.children(node, parent)]
        tensor = self.tree.tensors[node].permute([names.index(name) for name in order])
        tensor = tensor if above else tensor[None]
        tensor = tensor.expand(self.n, *tensor.shape)
        for name in opens:
            flat = tensor.reshape(*tensor.shape[:3], -1)
            weighted = torch.einsum("nab,nbos->naos", self.density[node], flat)
            odds = (weighted * flat).sum(dim=(1, 3)).clamp_min(0)
            drawn = torch.multinomial(odds, 1, generator=self.generator)[:, 0]
            self.indices[:, ~name] = drawn
            tensor = tensor[torch.arange(self.n, device=drawn.device), :, drawn]
        if len(order) > len(above) + len(opens) or self.awaited[node]:
            self.partial[node] = tensor

    def _enter(self, node: int, parent: int) -> None:
        """Find the density matrix of the bond above a node, given all that has been drawn."""
        siblings = self.tree.children(parent, self.parents[parent])
        rank = siblings.index(node)
        tensor = self.partial[parent]
        if rank:
            vector = self._amplitudes(siblings[rank - 1], parent)
            tensor = torch.einsum("nab...,nb->na...", tensor, vector)
        flat = tensor.reshape(*tensor.shape[:3], -1)
        weighted = torch.einsum("nab,nbcs->nacs", self.density[parent], flat)
        density = torch.einsum("nacs,nads->ncd", weighted, flat)
        self.density[node] = density / density.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
        last = node == siblings[-1]
        self.awaited[node] = not last or self.awaited[parent]
        self.partial[parent] = tensor
        if last:
            del self.density[parent]
            if not self.awaited[parent]:
                del self.partial[parent]

    def _amplitudes(self, top: int, parent: int) -> Tensor:
        """Amplitudes of a block whose features are drawn, on the bond above it, up to a scale."""
        begin = self.place[top]
        end, inside = begin + 1, {top}
        while end < len(self.walk) and self.walk[end][1] in inside:
            inside.add(self.walk[end][0])
            end += 1
        vectors: dict[int, Tensor] = {}
        for node, above in reversed(self.walk[begin:end]):
            if node not in self.partial:  # taken up by a sibling already
                continue
            vector = self.partial.pop(node)
            children = self.tree.children(node, above)
            if children:
                vector = torch.einsum("nab,nb->na", vector, vectors.pop(children[-1]))
            vectors[node] = vector / vector.norm(dim=1, keepdim=True)
        return vectors[top]
