r"""The data tensor: a weighted sum of product states, one term a sample, never dense.

.. math:: D = \frac{1}{M} \sum_m w_m\, \phi(x_{m1}) \otimes \cdots \otimes \phi(x_{mN})

The weights decide which question is asked. Labels +-1: is the *task* suitable for a local
network? All ones: the data themselves. A trained network's outputs: that network's own
entanglement. Weights with several columns give D a label axis.

The label axis goes to the larger side of a cut, as the root of a tree network does; where both
sides are equal, to the side without feature 0.

Source: Alexander et al. 2023, arXiv:2303.11249, equation of the empirical data tensor. The
label axis for more than two classes is ours.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import numpy as np
import opt_einsum
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from entangle.axes import LabelWeights, LocalVectors
from entangle.embedding import Embedding, local_vectors, resolve_embedding
from entangle.errors import DegenerateStateError, InputError, PartitionError
from entangle.gram import BATCHED_FEATURES, gram_product, row_kronecker
from entangle.labels import as_labels, class_weights, is_quantity
from entangle.memory import free_memory, require_memory
from entangle.partition import CanonicalTree, Node, Partition
from entangle.samples import as_sample_tensor, label_weights
from entangle.spectrum import CutSpectrum, density_spectrum, gram_spectrum
from entangle.streaming import least_memory, prefers_streaming, streamed_spectra
from entangle.sweep import Subtree, SweepPlan, cut_spectra, matrices_needed
from entangle.terms import Terms, gram_totals

__all__ = ["DataTensor"]

DENSE_ELEMENTS = 2**16  # tensors of at most so many elements are made dense: exact and quick
LABELLED_ELEMENTS = 2**20  # the same with the label axis
LARGEST_LOG = 600.0  # of a scale that a double holds with room to spare
LOST = 1e-2  # relative rounding of a tensor that has cancelled to nothing
CHUNK_BYTES = 2**27  # of block vectors at a time while a dense tensor is summed


class DataTensor:
    """Weighted sum of product states, one for each sample.

    Parameters
    ----------
    X
        Feature values, shape ``(samples, features)``: array, tensor, nested list or data frame
        of finite numbers; at least two features. Features that are vectors, such as the colours
        of a pixel, have shape ``(samples, features, channels)``.
    weights
        One real number a sample, shape ``(samples,)``, or one a sample and label, shape
        ``(samples, labels)``. Default: all ones.
    embedding
        Name, or callable from values to vectors of shape ``(samples, features, local)``.
        "trigonometric" is the published one, with theta 0.085 on the values as they are. The
        kernels of channels multiply, with a local dimension to the power of channels;
        "identity" takes the channels themselves as the local vector.
    device
        Where to work. Default: the device of ``X`` if it is a tensor, else the CPU.

    Attributes
    ----------
    vectors
        Local vectors, normalised, shape ``(features, local, samples)``, float64.
    weights
        Shape ``(samples, labels)``, float64, including the lengths of the local vectors up to
        ``exp(log_scale)``.
    log_scale
        Logarithm of the factor left out of ``weights``.

    Raises
    ------
    InputError
        If values or weights are not finite numbers of fitting shape, or all weights are 0; or
        the embedding does not fit the values.

    Examples
    --------
    >>> from entangle import DataTensor, Partition, entanglement_entropy
    >>> from entangle.embedding import Trigonometric
    >>> bell = DataTensor([[0, 0], [1, 1]], embedding=Trigonometric(theta=0.5))
    >>> round(entanglement_entropy(bell, Partition([0], 2)), 6)  # ln 2
    0.693147
    """

    vectors: LocalVectors
    weights: LabelWeights

    def __init__(
        self,
        X: ArrayLike | Tensor,
        weights: ArrayLike | Tensor | None = None,
        embedding: str | Embedding = "trigonometric",
        device: torch.device | str | None = None,
    ) -> None:
        values = as_sample_tensor(X, device)
        self.embedding = resolve_embedding(embedding)
        vectors, lengths = local_vectors(values, self.embedding)
        given = label_weights(weights, values)
        log_length = lengths.log().sum(dim=1)
        size = given.abs().amax(dim=1)
        log_size = size.log() + log_length  # of each term; -inf where the weight is 0
        self.log_scale = float(log_size.max())
        self.vectors = vectors
        direction = given / torch.where(size > 0, size, 1.0)[:, None]
        self.weights = direction * (log_size - self.log_scale).exp()[:, None]

    @classmethod
    def from_labels(
        cls,
        X: ArrayLike | Tensor,
        y: ArrayLike | Tensor,
        embedding: str | Embedding = "trigonometric",
        device: torch.device | str | None = None,
        balanced: bool = False,
    ) -> DataTensor:
        """Build the data tensor of a classification task.

        Parameters
        ----------
        X
            Feature values, shape ``(samples, features)`` or ``(samples, features, channels)``.
        y
            Class of each sample, shape ``(samples,)``: numbers or text. Two classes become
            weights -1 (first in sorted order) and +1; more become a label axis.
        embedding, device
            As for the class.
        balanced
            Give every class the same total weight, see
            :func:`~entangle.labels.class_weights`. Default: the published raw weights, with
            which the mean label of unequal classes adds a product state.

        Raises
        ------
        InputError
            If there is only one class, or the lengths differ.
        """
        labels = as_labels(y)
        if is_quantity(labels):
            raise InputError(
                f"y holds {np.unique(labels).size} distinct numbers, a quantity and no classes; "
                "pass it as weights, for example DataTensor(X, y - y.mean())"
            )
        return cls(X, class_weights(labels, balanced), embedding, device)

    def reordered(self, permutation: ArrayLike) -> DataTensor:
        """Return the same tensor with its feature axes in another order.

        Parameters
        ----------
        permutation
            Each of ``0 .. features - 1`` once; feature ``permutation[i]`` comes to place i, as
            in ``X[:, permutation]``.
        """
        order = np.asarray(permutation)
        if not np.array_equal(np.sort(order), np.arange(self.n_features)):
            raise InputError(
                f"a permutation holds each of 0..{self.n_features - 1} once, got "
                f"{order.dtype} of shape {order.shape}"
            )
        moved = copy.copy(self)  # with what is known of the whole tensor
        places = torch.from_numpy(order.astype(np.int64)).to(self.vectors.device)
        moved.vectors = self.vectors[places]
        if "_dense" in self.__dict__:
            labels = [self.n_features] * (self.n_labels > 1)
            moved.__dict__["_dense"] = self._dense.permute(*places.tolist(), *labels)
        return moved

    def take(self, rows: ArrayLike) -> DataTensor:
        """Return the tensor of some of the samples, with their weights.

        Parameters
        ----------
        rows
            Places of the samples, shape ``(taken,)``, whole numbers from 0 on; a place that
            comes twice counts twice.

        Returns
        -------
        DataTensor
            The mean over the samples taken, with a ``log_scale`` of its own.

        Raises
        ------
        InputError
            If the rows are not such places.
        DegenerateStateError
            If all weights taken are 0.
        """
        places = np.asarray(rows)
        is_list = places.ndim == 1 and places.size > 0 and places.dtype.kind in "iu"
        if not is_list or places.min() < 0 or places.max() >= self.n_samples:
            raise InputError(
                f"rows are whole numbers from 0 to {self.n_samples - 1}, at least one, got "
                f"{places.dtype} of shape {places.shape}; turn a mask into places with "
                "np.flatnonzero"
            )
        taken = copy.copy(self)
        for known in ("_dense", "_gram_total", "_dense_rounding"):
            taken.__dict__.pop(known, None)  # of the whole
        index = torch.from_numpy(places.astype(np.int64)).to(self.vectors.device)
        taken.vectors = self.vectors[:, :, index]
        weights = self.weights[index]
        largest = float(weights.abs().max())
        if largest == 0:
            raise DegenerateStateError(
                "every weight of the rows taken is 0, so their data tensor is zero; take others"
            )
        taken.weights = weights / largest
        taken.log_scale = self.log_scale + math.log(largest)
        return taken

    @property
    def n_samples(self) -> int:
        """Number of terms."""
        return self.vectors.shape[2]

    @property
    def n_features(self) -> int:
        """Number of feature axes."""
        return self.vectors.shape[0]

    @property
    def local_dim(self) -> int:
        """Length d of a local vector."""
        return self.vectors.shape[1]

    @property
    def n_labels(self) -> int:
        """Length of the label axis; 1 means there is none."""
        return self.weights.shape[1]

    def __repr__(self) -> str:
        return (
            f"DataTensor({self.n_samples} samples, {self.n_features} features of dimension "
            f"{self.local_dim}, {self.n_labels} label weight{'s' * (self.n_labels > 1)})"
        )

    # -- the whole tensor ------------------------------------------------------------------

    @property
    def is_small(self) -> bool:
        """Whether the dense tensor is small enough to be the quickest and most exact route."""
        log_elements = self.n_features * math.log(self.local_dim)
        return log_elements <= math.log(DENSE_ELEMENTS) and log_elements + math.log(
            self.n_labels
        ) <= math.log(LABELLED_ELEMENTS)

    def to_dense(self) -> Tensor:
        """All elements, shape ``(local,) * features``, then ``(labels,)`` if there are several.

        Raises
        ------
        MemoryLimitError
            If that is more than the available memory.
        """
        exponent = self.n_features * math.log2(self.local_dim) + math.log2(self.n_labels)
        require_memory(16 * 2.0 ** min(exponent, 1000), "a dense tensor", self.free_memory)
        return self._dense * self._scale

    @functools.cached_property
    def _dense(self) -> Tensor:
        """Elements up to ``exp(log_scale)``; two halves of the features meet in one product."""
        half = self.n_features // 2
        rows, columns = self.local_dim**half, self.local_dim ** (self.n_features - half)
        chunk = max(1, CHUNK_BYTES // (8 * (rows + columns * (1 + self.n_labels))))
        total = self.vectors.new_zeros(rows, columns, self.n_labels)
        for begin in range(0, self.n_samples, chunk):
            here = slice(begin, begin + chunk)
            left = row_kronecker(self.vectors[:half, :, here])
            right = row_kronecker(self.vectors[half:, :, here])
            term = opt_einsum.contract(
                "mr,mc,ml->rcl", left, right, self.weights[here], optimize=[(1, 2), (0, 1)]
            )
            total += term
        shape = (self.local_dim,) * self.n_features
        shape += (self.n_labels,) if self.n_labels > 1 else ()
        return (total / self.n_samples).reshape(shape)

    @functools.cached_property
    def _gram_total(self) -> tuple[float, float]:
        """Squared norm times squared number of samples, and its rounding (as a share of it)."""
        return self.measured_total(None)

    def measured_total(self, executor: Executor | None = None) -> tuple[float, float]:
        """Squared norm times squared number of samples, and its rounding, worked out once."""
        if "_gram_total" not in self.__dict__:
            total, magnitude = gram_totals(Terms(self.vectors, self.weights), executor)
            rounding = self._unit * magnitude
            if rounding >= LOST * total:
                raise self._cancelled(math.sqrt(max(total, 0.0)) / self.n_samples)
            self.__dict__["_gram_total"] = total, rounding / total
        return self.__dict__["_gram_total"]

    @functools.cached_property
    def _dense_rounding(self) -> float:
        """Trace distance to allow for rounding of the dense tensor and its decomposition."""
        norm = float(self._dense.norm())
        rounding = self._unit * float(self.weights.norm(dim=1).mean())
        if rounding >= LOST * norm:
            raise self._cancelled(norm)
        return 2 * rounding / norm + (rounding / norm) ** 2 + self._unit

    @property
    def _unit(self) -> float:
        """Relative rounding allowed for a sum of products over all samples and features."""
        per_feature = self.local_dim / 2
        if self.local_dim == 2 and bool((self.vectors[:, 0] > 0).all()):
            per_feature += 2  # ratios, and the products of first components
        kernel_sums = self.n_features * per_feature
        return torch.finfo(torch.float64).eps * (kernel_sums + self.n_samples)

    def _cancelled(self, norm: float) -> DegenerateStateError:
        return DegenerateStateError(
            f"the weighted samples cancel: their mean has norm {norm:.3g} beside terms of norm up "
            "to 1 (rescaled), which is rounding; look for rows repeated with opposite weights, or "
            "pass other weights"
        )

    @property
    def norm(self) -> float:
        """Frobenius norm of D; without the factor ``exp(log_scale)`` where no double holds it."""
        if self.is_small:
            return float(self._dense.norm()) * self._scale
        return math.sqrt(self._gram_total[0]) / self.n_samples * self._scale

    @property
    def noise_share(self) -> float:
        r"""Share of the squared norm of D that is sampling noise; 0 for one sample.

        :math:`1 - U / \lVert D \rVert^2`, where U, the mean inner product of two different
        terms, estimates the squared norm without noise and without bias. 1 for orthogonal terms
        of one length, 0 for equal terms; chance can bring it above 1.

        Raises
        ------
        DegenerateStateError
            If the samples cancel.
        """
        if self.is_small:
            _ = self._dense_rounding  # refuses a tensor that is nothing but rounding
        lengths = float((self.weights**2).sum(dim=1).mean()) * self._scale**2
        return (lengths / self.norm**2 - 1) / max(self.n_samples - 1, 1)

    @property
    def _scale(self) -> float:
        """Factor left out of the weights, or 1 where a double could not hold the result."""
        return math.exp(self.log_scale) if abs(self.log_scale) < LARGEST_LOG else 1.0

    # -- cuts ------------------------------------------------------------------------------

    def schmidt_values(self, partition: Partition) -> Tensor:
        """Singular values of D with the block of ``partition`` as rows, descending.

        Parameters
        ----------
        partition
            Cut of the features.

        Returns
        -------
        Tensor
            At most ``min(rows, columns, samples)`` values, float64, not normalised; without the
            common factor ``exp(log_scale)`` where no double holds it. Where the
            dense tensor would be larger than 2^16 elements they are roots of eigenvalues, and
            those below about 1e-8 of the largest are rounding.

        Raises
        ------
        PartitionError
            If ``partition`` was made for another number of features.
        DegenerateStateError
            If the samples cancel.
        """
        weights, total = self._cut_weights(partition)
        values = np.sqrt(weights * total) * self._scale
        return torch.from_numpy(values).to(self.vectors.device)

    def _cut_weights(self, partition: Partition) -> tuple[np.ndarray, float]:
        """Squared Schmidt values over their total, and that total (up to the scale)."""
        if partition.n_features != self.n_features:
            raise PartitionError(
                f"partition cuts {partition.n_features} features, the data tensor has "
                f"{self.n_features}; build it with canonical_partitions({self.n_features})"
            )
        rows, columns = self._sides(partition)
        if self.is_small:
            return self._dense_weights(rows)
        self._check_samples(10)
        total, rounding = self._gram_total
        outside = gram_product(self.vectors[columns]) * (self.weights @ self.weights.T)
        if self.local_dim ** min(len(rows), 64) <= self.n_samples:
            block = row_kronecker(self.vectors[rows])
            found = density_spectrum(block.T @ (outside @ block), total, math.inf, rounding)
        else:
            inside = gram_product(self.vectors[rows])
            found = gram_spectrum(inside, outside, total, math.inf, 0.0, rounding)
        return found.weights, total / self.n_samples**2

    def _sides(self, partition: Partition) -> tuple[Tensor, Tensor]:
        """Features of the side without the label axis, and of the other."""
        block, complement = partition.block, partition.complement
        if (block.size, block[0]) > (complement.size, complement[0]):
            block, complement = complement, block
        device = self.vectors.device
        return torch.tensor(block, device=device), torch.tensor(complement, device=device)

    def _dense_weights(self, rows: Tensor) -> tuple[np.ndarray, float]:
        _ = self._dense_rounding  # refuses a tensor that is nothing but rounding
        axes = [int(axis) for axis in rows]
        matrix = self._dense.movedim(axes, list(range(len(axes))))
        values = torch.linalg.svdvals(matrix.reshape(self.local_dim ** len(axes), -1))
        total = float((values**2).sum())
        return (values**2 / total).cpu().numpy(), total

    def canonical_spectra(
        self,
        tree: CanonicalTree,
        deepest: int,
        tolerance: float,
        executor: Executor | None = None,
        max_memory: float | None = None,
        advance: Callable[[int], None] = lambda _: None,
        route: str = "auto",
    ) -> dict[Node, CutSpectrum]:
        """Spectra of every canonical cut down to a level, from one shared walk.

        Parameters
        ----------
        tree
            Canonical tree over the features.
        deepest
            Lowest level wanted.
        tolerance
            Wanted entropy error bound of each cut, in nats.
        executor
            Runs subtrees in parallel; not on a GPU, where one thread is as fast as several.
        max_memory
            Bytes the walk may use. Default: the memory that is free now.
        advance
            Called with the number of cuts finished since its last call.
        route
            "auto", "dense", "truncated" or "stochastic", as for
            :func:`entangle.entanglement_profile`.

        Raises
        ------
        MemoryLimitError
            Before anything large is allocated.
        """
        nodes = [node for node in tree.nodes if node.level <= deepest]
        executor = executor if self.vectors.device.type == "cpu" else None
        if self.is_small and route in ("auto", "dense"):
            found = {}
            for node in nodes:
                weights, _ = self._cut_weights(tree.partition(node))
                found[node] = CutSpectrum(weights, 0.0, self._dense_rounding, float(len(weights)))
                advance(1)
            return found
        halves = tree.root.children
        # Of two halves the smaller is the row side: the label axis is with the larger.
        twin = max(halves, key=lambda node: (node.size, node.start)) if len(halves) == 2 else None
        order = torch.tensor(tree.order, device=self.vectors.device)
        terms = Terms(self.vectors[order], self.weights)
        limit = self.free_memory if max_memory is None else max_memory
        fits = self._gram_bytes(matrices_needed(tree.root)) <= limit
        streams = route == "truncated" or (
            route == "auto" and prefers_streaming(tree.root, deepest, terms, tolerance, fits)
        )
        if streams:
            needed = least_memory(terms, len(nodes))
            require_memory(needed, f"the bases of {self.n_samples} samples", limit)
        else:
            self._check_samples(matrices_needed(tree.root), max_memory)
        total, rounding = self.measured_total(executor)
        plan = SweepPlan(
            total, rounding, tolerance, deepest, twin,
            self.n_features, self.local_dim, self.n_labels, route,
        )  # fmt: skip
        if streams:
            spectra = streamed_spectra(tree.root, terms, plan, executor, limit, advance)
        else:
            root = Subtree(tree.root, terms.vectors, self.weights @ self.weights.T)
            spectra = cut_spectra(root, plan, executor, advance)
        if twin is not None and twin in nodes:
            other = halves[0] if twin is halves[1] else halves[1]
            spectra[twin.start, twin.stop] = spectra[other.start, other.stop]
        return {node: spectra[node.start, node.stop] for node in nodes}

    @property
    def free_memory(self) -> float:
        """Bytes free where the tensor lives: on its GPU, or in the machine."""
        return free_memory(self.vectors.device)

    def _gram_bytes(self, n_matrices: int) -> float:
        """Bytes of so many samples x samples matrices."""
        if self.vectors.device.type != "cpu":
            n_matrices += BATCHED_FEATURES + 1  # kernel matrices that are multiplied together
        return 8.0 * n_matrices * self.n_samples**2

    def _check_samples(self, n_matrices: int, max_memory: float | None = None) -> None:
        """Refuse if so many samples x samples matrices do not fit in memory."""
        limit = self.free_memory if max_memory is None else max_memory
        what = f"the Gram matrices of {self.n_samples} samples ({n_matrices} at a time)"
        require_memory(self._gram_bytes(n_matrices), what, limit)

    # -- other libraries -------------------------------------------------------------------

    def to_quimb(self):
        """Return a quimb ``TensorNetwork``: one tensor a feature, tied at a hyper index.

        Feature n has the index ``k{n}``, the label axis ``label``, the samples ``sample``.
        """
        import quimb.tensor  # 0.9 s; only this method needs it

        qtn: Any = quimb.tensor

        scale = self._scale / self.n_samples
        tensors = [
            qtn.Tensor(vectors.cpu().numpy(), inds=(f"k{n}", "sample"), tags={f"I{n}"})
            for n, vectors in enumerate(self.vectors)
        ]
        weights = (self.weights * scale).cpu().numpy()
        several = self.n_labels > 1
        data, inds = (weights, ("sample", "label")) if several else (weights[:, 0], ("sample",))
        return qtn.TensorNetwork([*tensors, qtn.Tensor(data, inds=inds, tags={"WEIGHTS"})])
