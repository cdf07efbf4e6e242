import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse

from entangle import (
    DataTensor,
    Partition,
    canonical_partitions,
    data_tensor,
    entanglement_entropy,
    entanglement_profile,
)
from entangle.embedding import Fourier, Gaussian, Identity, OneHot, Polynomial, Trigonometric
from entangle.errors import (
    DegenerateStateError,
    InputError,
    MemoryLimitError,
    PartitionError,
)
from entangle.samples import as_sample_tensor
from tests.oracles import (
    coherent_state,
    dense_entropy,
    dense_schmidt_values,
    dense_tensor,
    fourier,
    kronecker_of_channels,
    one_hot,
    polynomial,
    trigonometric,
)

EMBEDDINGS = {
    "trigonometric": (Trigonometric(0.085), lambda X: trigonometric(X, 0.085)),
    "wide angle": (Trigonometric(0.4), lambda X: trigonometric(X, 0.4)),
    "three dimensions": (Polynomial(2), lambda X: polynomial(X, 2)),
}
N_LABELS = {"unlabelled": 0, "real weights": 1, "three labels": 3}


def random_weights(rng, n_samples, n_labels):
    if n_labels == 0:
        return None, np.ones(n_samples)
    weights = rng.normal(size=(n_samples, n_labels))
    weights = weights[:, 0] if n_labels == 1 else weights
    return weights, weights


@pytest.mark.parametrize("n_labels", N_LABELS.values(), ids=N_LABELS)
@pytest.mark.parametrize("name", EMBEDDINGS)
@pytest.mark.parametrize("shape", [2, 3, 7, 10, (3, 3), (2, 5)])
def test_schmidt_values_equal_the_dense_definition(shape, name, n_labels):
    rng = np.random.default_rng(3)
    n_features = int(np.prod(shape))
    if name == "three dimensions" and n_features == 10 and n_labels == 3:
        n_features, shape = 9, 9  # the oracle's own memory
    X = rng.random((25, n_features))
    given_weights, weights = random_weights(rng, 25, n_labels)
    embedding, oracle = EMBEDDINGS[name]
    tensor = DataTensor(X, given_weights, embedding)
    for cut in canonical_partitions(shape):
        exact = dense_schmidt_values(oracle(X), weights, cut.block.tolist())
        found = tensor.schmidt_values(cut).numpy()
        size = min(found.size, exact.size)
        assert_allclose(found[:size], exact[:size], rtol=1e-10, atol=1e-10 * exact[0])
        assert np.abs(exact[size:]).max(initial=0) <= 1e-10 * exact[0]


@pytest.mark.parametrize("n_labels", N_LABELS.values(), ids=N_LABELS)
def test_the_gram_route_gives_the_same_squared_values(monkeypatch, n_labels):
    monkeypatch.setattr(data_tensor, "DENSE_ELEMENTS", 1)
    rng = np.random.default_rng(4)
    X = rng.random((25, 9))
    given_weights, weights = random_weights(rng, 25, n_labels)
    tensor = DataTensor(X, given_weights, Trigonometric(0.3))
    assert not tensor.is_small
    for cut in [*canonical_partitions(9), Partition([0, 3, 8], 9), Partition([2, 5], 9)]:
        exact = dense_schmidt_values(trigonometric(X, 0.3), weights, cut.block.tolist())
        found = tensor.schmidt_values(cut).numpy()
        size = min(found.size, exact.size)
        assert_allclose(found[:size] ** 2, exact[:size] ** 2, atol=1e-13 * exact[0] ** 2)


def values_of(*shape):
    return np.random.default_rng(13).uniform(-0.5, 0.5, shape)


def codes_of(*shape):
    return np.random.default_rng(13).integers(0, 3, shape)


def own(X):
    values = np.asarray(X)
    return np.stack([np.exp(values), np.ones(values.shape), values], axis=-1)


# Embedding, values, and the oracle's vectors (samples, features, local).
KINDS = {
    "fourier": (Fourier((0.3, 0.9)), values_of(20, 6), lambda X: fourier(X, (0.3, 0.9))),
    "one-hot": (OneHot(3), codes_of(20, 6), lambda X: one_hot(X, 3)),
    "gaussian": (Gaussian(1.0), values_of(20, 4), lambda X: coherent_state(X, 1.0, 13)),
    "gaussian of few values": (
        Gaussian(1.3),
        (codes_of(20, 5) - 1) / 2,
        lambda X: coherent_state(X, 1.3, 12),
    ),
    "gaussian of an interval": (
        Gaussian(1.0, (-0.5, 0.5)),
        values_of(20, 4),
        lambda X: coherent_state(X, 1.0, 13),
    ),
    "trigonometric channels": (
        Trigonometric(0.4),
        values_of(20, 5, 2),
        lambda X: kronecker_of_channels(trigonometric(X, 0.4)),
    ),
    "polynomial channels": (
        Polynomial(2),
        values_of(20, 4, 2),
        lambda X: kronecker_of_channels(polynomial(X, 2)),
    ),
    "one-hot channels": (
        OneHot(3),
        codes_of(20, 4, 2),
        lambda X: kronecker_of_channels(one_hot(X, 3)),
    ),
    "fourier channels": (
        Fourier((0.3,)),
        values_of(20, 4, 3),
        lambda X: kronecker_of_channels(fourier(X, (0.3,))),
    ),
    "gaussian channels": (
        Gaussian(2.0),
        values_of(10, 3, 2),
        lambda X: kronecker_of_channels(coherent_state(X, 2.0, 9)),
    ),
    "identity": (Identity(), values_of(20, 6, 3), lambda X: X),
    "one's own, in numpy": (own, values_of(20, 6), own),
}


@pytest.mark.parametrize("elements", [2**40, 1], ids=["dense", "gram"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_embedding_gives_the_entropies_of_its_definition(monkeypatch, kind, elements):
    monkeypatch.setattr(data_tensor, "DENSE_ELEMENTS", elements)
    monkeypatch.setattr(data_tensor, "LABELLED_ELEMENTS", elements)
    embedding, X, oracle = KINDS[kind]
    weights = np.random.default_rng(14).normal(size=len(X))
    tensor = DataTensor(X, weights, embedding)
    assert tensor.is_small == (elements > 1)
    profile = entanglement_profile(tensor)
    vectors = oracle(X)
    for cut, found, bound in zip(
        profile.partitions, profile.entropy, profile.error_bound, strict=True
    ):
        exact = dense_schmidt_values(vectors, weights, cut.block.tolist())
        assert abs(found - dense_entropy(exact)) <= bound + 1e-12  # and what the oracle rounds
        values = tensor.schmidt_values(cut).numpy()
        size = min(values.size, exact.size)
        assert_allclose(values[:size] ** 2, exact[:size] ** 2, atol=1e-13 * exact[0] ** 2)
    assert profile.tolerance_met
    order = np.random.default_rng(15).permutation(tensor.n_features)
    cut = Partition(range(tensor.n_features // 2), tensor.n_features)
    moved = dense_schmidt_values(vectors[:, order], weights, cut.block.tolist())
    found = entanglement_entropy(tensor.reordered(order), cut)
    assert found == pytest.approx(dense_entropy(moved), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_every_embedding_has_the_elements_of_its_definition(kind):
    embedding, X, oracle = KINDS[kind]
    X = X[:, :3]
    tensor = DataTensor(X, embedding=embedding)
    exact = dense_tensor(oracle(X), np.ones(len(X))).squeeze()
    found = tensor.to_dense()
    assert float(found.norm()) == pytest.approx(float(np.linalg.norm(exact)), rel=1e-12)
    if not isinstance(embedding, Gaussian):  # whose vectors are those of the oracle, rotated
        assert_allclose(found, exact, rtol=1e-11, atol=1e-14)
    network = tensor.to_quimb().contract(output_inds=["k0", "k1", "k2"])
    assert_allclose(network.data, found, rtol=1e-11, atol=1e-14)


def test_an_interval_changes_no_entropy():
    X = values_of(40, 30)
    free, fixed = (DataTensor(X, embedding=Gaussian(1.0, i)) for i in (None, (-0.5, 0.5)))
    cut = Partition(range(15), 30)
    assert entanglement_entropy(free, cut) == pytest.approx(
        entanglement_entropy(fixed, cut), abs=1e-10
    )


def test_channels_of_one_feature_are_features_that_no_cut_parts(monkeypatch):
    """A product over channels is the flat tensor, cut between features only."""
    for elements in (2**40, 1):
        monkeypatch.setattr(data_tensor, "DENSE_ELEMENTS", elements)
        X = values_of(20, 4, 3)
        whole = DataTensor(X, embedding=Trigonometric(0.4))
        flat = DataTensor(X.reshape(20, 12), embedding=Trigonometric(0.4))
        for block in ([0], [1, 3], [0, 1]):
            parts = [3 * feature + channel for feature in block for channel in range(3)]
            there = flat.schmidt_values(Partition(parts, 12))[:8]
            here = whole.schmidt_values(Partition(block, 4))[:8]
            assert_allclose(here**2, there**2, atol=1e-14)


def test_labels_and_channels_together():
    X, y = values_of(20, 3, 2), np.arange(20) % 3
    tensor = DataTensor.from_labels(torch.from_numpy(X).float(), y, "identity")
    assert tensor.vectors.dtype == torch.float64
    exact = dense_schmidt_values(X.astype(np.float32).astype(float), np.eye(3)[y], [0])
    assert_allclose(tensor.schmidt_values(Partition([0], 3)), exact, rtol=1e-12)


@given(
    n_features=st.integers(2, 8),
    n_samples=st.integers(1, 12),
    n_labels=st.sampled_from([0, 1, 3]),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_both_sides_of_a_cut_have_the_same_values(n_features, n_samples, n_labels, seed, data):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    tensor = DataTensor(X, random_weights(rng, n_samples, n_labels)[0], Trigonometric(0.2))
    size = data.draw(st.integers(1, n_features - 1))
    block = data.draw(st.permutations(range(n_features)))[:size]
    cut = Partition(block, n_features)
    assert_allclose(tensor.schmidt_values(cut), tensor.schmidt_values(cut.flipped()), rtol=1e-12)


def test_squared_schmidt_values_add_up_to_the_squared_norm(monkeypatch):
    rng = np.random.default_rng(5)
    X, weights = rng.random((20, 8)), rng.normal(size=20)
    norm = np.linalg.norm(dense_tensor(polynomial(X, 2), weights))
    for elements in (2**20, 1):
        monkeypatch.setattr(data_tensor, "DENSE_ELEMENTS", elements)
        tensor = DataTensor(X, weights, "polynomial")
        assert tensor.norm == pytest.approx(norm, rel=1e-12)
        for cut in canonical_partitions(8):
            values = tensor.schmidt_values(cut)
            assert float((values**2).sum()) == pytest.approx(norm**2, rel=1e-10)


def test_dense_elements_and_quimb_network_agree_with_the_definition():
    rng = np.random.default_rng(6)
    for weights in (rng.normal(size=15), rng.normal(size=(15, 4))):
        X = rng.random((15, 5))
        tensor = DataTensor(X, weights, "polynomial")
        exact = dense_tensor(polynomial(X, 2), weights).squeeze()
        assert_allclose(tensor.to_dense(), exact, rtol=1e-12)
        order = [f"k{n}" for n in range(5)] + ["label"] * (weights.ndim - 1)
        network = tensor.to_quimb()
        assert_allclose(network.contract(output_inds=order).data, exact, rtol=1e-12)


def test_the_dense_sum_does_not_depend_on_the_chunk(monkeypatch):
    X = np.random.default_rng(7).random((50, 7))
    whole = DataTensor(X).to_dense()
    monkeypatch.setattr(data_tensor, "CHUNK_BYTES", 8 * 2**4 * 3 * 7)
    assert_allclose(DataTensor(X).to_dense(), whole, rtol=1e-13)


def test_two_classes_become_signs_and_more_become_an_axis():
    X = np.eye(4)
    two = DataTensor.from_labels(X, ["b", "a", "a", "b"])
    assert two.weights.ravel().tolist() == [1, -1, -1, 1]
    more = DataTensor.from_labels(X, torch.tensor([2, 0, 7, 0]))
    assert more.weights.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("n_features", [6, 40])
def test_reordered_moves_features_as_indexing_columns_does(n_features):
    rng = np.random.default_rng(9)
    X, y = rng.random((20, n_features)), rng.integers(0, 3, 20)
    tensor = DataTensor.from_labels(X, y, Trigonometric(0.3))
    tensor.schmidt_values(Partition([0], n_features))  # fills what is kept from call to call
    order = rng.permutation(n_features)
    expected = DataTensor.from_labels(X[:, order], y, Trigonometric(0.3))
    cut = Partition(range(n_features // 2), n_features)
    moved = tensor.reordered(order)
    assert_allclose(moved.schmidt_values(cut), expected.schmidt_values(cut), atol=1e-12)
    assert_allclose(tensor.reordered(order).norm, tensor.norm)
    with pytest.raises(InputError, match="holds each of 0"):
        tensor.reordered([0] * n_features)


def test_long_vectors_are_carried_as_a_logarithm():
    """Lengths of 1e3 to the power 400 would overflow; the entropies do not notice."""
    X = np.random.default_rng(8).random((12, 400))
    plain = DataTensor(X, embedding=Trigonometric(0.3))
    scaled = DataTensor(X, embedding=lambda X: 1e3 * Trigonometric(0.3)(X))
    assert scaled.log_scale == pytest.approx(400 * math.log(1e3))
    assert_allclose(scaled.vectors, plain.vectors, atol=1e-14)
    assert_allclose(scaled.weights, plain.weights, rtol=1e-9)
    cut = Partition(range(5), 400)
    assert_allclose(scaled.schmidt_values(cut), plain.schmidt_values(cut), rtol=1e-8, atol=1e-9)
    assert scaled.norm == pytest.approx(plain.norm)
    assert math.isfinite(scaled.reordered(np.arange(400)[::-1]).norm)


@pytest.mark.parametrize("n_features", [6, 30])
@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_very_small_and_very_large_weights(n_features, scale):
    rng = np.random.default_rng(10)
    X, weights = rng.random((12, n_features)), rng.normal(size=12)
    plain, scaled = DataTensor(X, weights), DataTensor(X, scale * weights)
    assert_allclose(scaled.weights, plain.weights, rtol=1e-12)
    assert scaled.norm == pytest.approx(scale * plain.norm, rel=1e-12)
    cut = Partition([0, 1], n_features)
    assert_allclose(scaled.schmidt_values(cut) / scale, plain.schmidt_values(cut), rtol=1e-10)


@pytest.mark.parametrize(
    "embedding", [Trigonometric(0.4), Gaussian(1.0), Fourier((0.4, 0.8))], ids=repr
)
def test_kernels_that_underflow_leave_orthogonal_samples(embedding):
    """Over 50 000 features every pair's kernel is below the smallest double."""
    X = np.random.default_rng(16).integers(0, 2, (5, 100_000))
    tensor = DataTensor(X, embedding=embedding)
    assert tensor.norm == pytest.approx(math.sqrt(1 / 5), rel=1e-9)
    cut = Partition(range(50_000), 100_000)
    assert entanglement_entropy(tensor, cut) == pytest.approx(math.log(5), abs=1e-9)
    weights = np.array([1.0, -2.0, 3.0, 0.5, 1.5])
    p = weights**2 / (weights**2).sum()
    uneven = entanglement_entropy(DataTensor(X, weights, embedding), cut)
    assert uneven == pytest.approx(-(p * np.log(p)).sum(), abs=1e-9)


@pytest.mark.parametrize("size", [1, 20_000, 50_000])
def test_two_samples_of_many_features_follow_their_log_kernels(size):
    """Schmidt weights of two samples from the logarithms of their kernels on both sides."""
    X = np.random.default_rng(17).random((2, 100_000))
    logs = np.log(np.cos(np.pi * 0.005 * (X[0] - X[1])))
    inside, outside = math.exp(logs[:size].sum()), math.exp(logs[size:].sum())
    lost = -math.expm1(2 * logs[:size].sum()) * -math.expm1(2 * logs[size:].sum())
    gap = math.sqrt(1 - lost / (1 + inside * outside) ** 2)
    p = np.array([lost / (1 + inside * outside) ** 2 / (1 + gap) / 2, (1 + gap) / 2])
    tensor = DataTensor(X, embedding=Trigonometric(0.005))
    found = entanglement_entropy(tensor, Partition(range(size), 100_000))
    assert found == pytest.approx(-(p * np.log(p)).sum(), abs=1e-9)


@pytest.mark.parametrize("local", [2, 12])
def test_the_allowance_for_rounding_grows_with_features_and_components(local):
    """A kernel of d terms is wrong by up to d/2 units of rounding, a product by their sum."""
    tensor = DataTensor(np.ones((1, 500)), embedding=Polynomial(local - 1))
    profile = entanglement_profile(tensor, levels=2)
    assert profile.discarded_weight.min() >= 500 * local / 2 * np.finfo(float).eps


def test_memory_is_checked_before_the_first_gram_matrix(monkeypatch):
    monkeypatch.setattr(data_tensor, "gram_product", lambda _: pytest.fail("made a Gram matrix"))
    monkeypatch.setattr(data_tensor, "free_memory", lambda device: 1e5)
    with pytest.raises(MemoryLimitError, match="Gram matrices of 100 samples"):
        DataTensor(np.random.default_rng(0).random((100, 30))).schmidt_values(Partition([0], 30))


def test_inputs_of_every_kind_are_one_tensor():
    rows = [[0.0, 1.0, 0.5], [0.25, 0.0, 1.0]]
    expected = DataTensor(np.array(rows)).vectors
    gradient = torch.tensor(rows, requires_grad=True)
    half = torch.tensor(rows, dtype=torch.bfloat16)
    containers = (rows, torch.tensor(rows), np.float32(rows), pd.DataFrame(rows), gradient, half)
    for given_rows in containers:
        found = DataTensor(given_rows).vectors
        assert found.dtype == torch.float64
        assert_allclose(found, expected, atol=1e-15)


def test_channels_of_a_tensor_are_not_copied():
    X = torch.rand(3, 4, 2, dtype=torch.float64)
    assert as_sample_tensor(X).data_ptr() == X.data_ptr()


@pytest.mark.parametrize(
    ("X", "match"),
    [
        ([[0.0, math.nan]], "got NaN in column 1, row 0"),
        ([[0.0, 1.0], [math.inf, 1.0]], "got infinity in column 0, row 1"),
        ([1.0, 2.0], r"shape \(samples, features\)"),
        (np.zeros((2, 3, 3, 3)), r"\(samples, features, channels\), got 4 axes.*X\.reshape"),
        (np.zeros((2, 28, 28)), r"2\^28 components.*X\.reshape"),
        (np.zeros((2, 3, 0)), "at least 1 channel"),
        (torch.zeros((2, 3, 0)), "at least 1 channel"),
        (np.zeros((2, 1, 3)), "2 features"),
        ([[[0.0, 1.0]] * 2, [[0.0, 1.0], [0.0, math.nan]]], "NaN in column 1, row 1, channel 1"),
        (np.zeros((3, 1)), "2 features"),
        (np.zeros((0, 3)), "at least 1 samples"),
        ([["a", "b"]], "real numbers"),
        ([[1j, 0]], "real numbers"),
        (torch.zeros(2, 2, dtype=torch.complex128), "real numbers"),
        (torch.eye(3).to_sparse(), r"pass X.to_dense\(\)"),
        (sparse.eye(3), r"pass X.toarray\(\)"),
        ([[1.0, 2.0], [3.0]], "rows of one length"),
        (3.0, "array or a data frame, got float"),
        (np.ma.masked_equal([[1.0, 2.0], [3.0, 4.0]], 3), "NaN in column 0, row 1"),
    ],
)
def test_bad_values(X, match):
    with pytest.raises(InputError, match=match):
        DataTensor(X)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ([1.0], r"2 samples, got \(1, 1\)"),
        ([1.0, math.nan], "weights must be finite"),
        ([0.0, 0.0], "all weights are 0"),
        (["a", "b"], "weights must be real numbers"),
        (np.zeros((2, 2, 2)), "one row of weights a sample"),
    ],
)
def test_bad_weights(weights, match):
    with pytest.raises(InputError, match=match):
        DataTensor(np.eye(2), weights)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        ([1, 1], "at least two classes, got 1"),
        ([0, 1, 0], r"2 samples, got \(3, 1\)"),
        ([[0, 1], [1, 0]], "one column of numbers or text"),
        ([0.0, math.nan], "1 missing or infinite value, the first in row 2"),
    ],
)
def test_bad_labels(y, match):
    with pytest.raises(InputError, match=match):
        DataTensor.from_labels(np.eye(2), y)


@pytest.mark.parametrize(
    ("embedding", "match"),
    [
        (lambda X: X, "local at least 2"),
        (lambda X: X[:, :, None], "local at least 2"),
        (lambda X: torch.stack([X, X], dim=-1), "length 0.0 at row 0, column 1"),
        (lambda X: torch.stack([X, X], dim=-1) + 1j, "two components"),
        (lambda _: None, "tensor of numbers, got NoneType"),
        ("identity", r"at least 2 channels, got \(1, 2\)"),
    ],
)
def test_bad_embedding_output(embedding, match):
    with pytest.raises(InputError, match=match):
        DataTensor([[1.0, 0.0]], embedding=embedding)


def test_an_embedding_that_forgets_the_channels():
    with pytest.raises(InputError, match=r"maps \(samples, features, channels\).*channel_product"):
        DataTensor(np.ones((2, 3, 2)), embedding=lambda X: torch.stack([X, X], dim=-1))


def test_a_cut_of_other_features():
    with pytest.raises(PartitionError, match="cuts 4 features, the data tensor has 3"):
        DataTensor(np.eye(3)).schmidt_values(Partition([0], 4))


@pytest.mark.parametrize("n_features", [4, 40])
def test_samples_that_cancel(n_features):
    X = np.ones((2, n_features))
    tensor = DataTensor(X, [1.0, -1.0])
    with pytest.raises(DegenerateStateError, match="cancel"):
        tensor.schmidt_values(Partition([0, 1], n_features))


def test_a_dense_tensor_beyond_memory_is_refused():
    with pytest.raises(MemoryLimitError, match="a dense tensor needs"):
        DataTensor(np.zeros((2, 200)) + 0.1).to_dense()


def test_one_hot_categories():
    tensor = DataTensor([[0, 1], [1, 0]], embedding=OneHot(2))
    assert_allclose(tensor.schmidt_values(Partition([0], 2)), [0.5, 0.5])


@pytest.mark.parametrize("y", [[0, 1, 1, 1, 0, 1, 1], ["a", "b", "c", "c", "c", "a", "c"]])
def test_balanced_labels_are_class_means_of_equal_weight(y):
    """D = (D_b - D_a) / 2 of the class means, or the class means over K along the label axis."""
    X = np.random.default_rng(0).random((7, 3))
    y = np.array(y)
    classes = np.unique(y)
    found = DataTensor.from_labels(X, y, balanced=True).to_dense().numpy()
    means = [DataTensor(X[y == c]).to_dense().numpy() for c in classes]
    expected = (means[1] - means[0]) / 2 if len(means) == 2 else np.stack(means, axis=-1) / 3
    assert_allclose(found, expected, atol=1e-15)


@pytest.mark.parametrize("elements", [1, 2**16], ids=["gram", "dense"])
@given(
    n_labels=st.sampled_from([0, 1, 3]),
    size=st.sampled_from([1.0, 1e250, 1e-250]),
    rows=st.lists(st.integers(0, 8), min_size=1, max_size=12),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_samples_taken_make_the_tensor_of_their_rows(elements, n_labels, size, rows, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_tensor, "DENSE_ELEMENTS", elements)
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(9, 5))
        weights = np.abs(random_weights(rng, 9, n_labels)[1]) * size  # that cannot cancel
        whole = DataTensor(X, weights, Polynomial(2))
        _ = whole.norm  # known of the whole, not of the part
        taken = whole.take(rows)
        expected = DataTensor(X[rows], weights[rows], Polynomial(2))
        assert taken.n_samples == len(rows)
        assert taken.norm == pytest.approx(expected.norm, rel=1e-12)
        assert taken.log_scale == pytest.approx(expected.log_scale, abs=1e-9)
        assert float(taken.weights.abs().max()) == 1
        for cut in canonical_partitions(5):
            found = entanglement_entropy(taken, cut)
            assert found == pytest.approx(entanglement_entropy(expected, cut), abs=1e-9)
        assert whole.n_samples == 9


@pytest.mark.parametrize("rows", [[], [3], [-1], [0.0], [[0, 1]], [True, False, True], 1])
def test_rows_that_are_not_there_cannot_be_taken(rows):
    tensor = DataTensor(np.eye(3))
    with pytest.raises(InputError, match=r"whole numbers from 0 to 2.*flatnonzero"):
        tensor.take(rows)


def test_rows_without_weight_are_no_tensor():
    with pytest.raises(DegenerateStateError, match="every weight of the rows taken is 0"):
        DataTensor(np.eye(3), [0, 0, 1]).take([0, 1])


@pytest.mark.parametrize("n_labels", N_LABELS.values(), ids=N_LABELS)
@pytest.mark.parametrize("elements", [1, 2**16], ids=["gram", "dense"])
def test_the_noise_share_is_one_less_the_mean_product_of_different_terms(
    monkeypatch, elements, n_labels
):
    monkeypatch.setattr(data_tensor, "DENSE_ELEMENTS", elements)
    rng = np.random.default_rng(8)
    X = rng.random((6, 4))
    given_weights, weights = random_weights(rng, 6, n_labels)
    tensor = DataTensor(X, given_weights, Polynomial(1))
    weights = np.reshape(weights, (6, -1))
    terms = [dense_tensor(polynomial(X, 1)[[m]], weights[[m]]).ravel() for m in range(6)]
    products = [terms[m] @ terms[k] for m in range(6) for k in range(6) if m != k]
    norm = np.linalg.norm(np.mean(terms, axis=0))
    assert tensor.noise_share == pytest.approx(1 - np.mean(products) / norm**2)


def test_orthogonal_samples_are_all_noise_and_equal_ones_have_none():
    rows = np.repeat(np.arange(5)[:, None], 2, axis=1)
    assert DataTensor(rows, embedding=OneHot(5)).noise_share == pytest.approx(1)
    assert DataTensor(np.ones((5, 3)), np.full(5, 3.0)).noise_share == pytest.approx(0, abs=1e-14)
    assert DataTensor([[1, 2]]).noise_share == 0
    with pytest.raises(DegenerateStateError, match="cancel"):
        _ = DataTensor(np.ones((2, 2)), [1, -1]).noise_share


def test_outputs_of_a_network_as_weights_give_the_entanglement_of_the_network():
    """On a full grid of inputs: functions of the two halves, multiplied, are a product state;
    added, they have rank two."""
    values = torch.linspace(0, 1, 4, dtype=torch.float64)
    X = torch.cartesian_prod(*[values] * 4)
    halves = canonical_partitions(4, level=1)[0]

    class Network(torch.nn.Module):
        def __init__(self, join):
            super().__init__()
            self.join = join
            self.left, self.right = (torch.nn.Linear(2, 1).double() for _ in range(2))

        def forward(self, X):
            left, right = torch.tanh(self.left(X[:, :2])), torch.tanh(self.right(X[:, 2:]))
            return self.join(left, right)[:, 0]

    torch.manual_seed(0)
    for join, ranks in ((torch.mul, 1), (torch.add, 2)):
        tensor = DataTensor(X, weights=Network(join)(X), embedding=Trigonometric(0.5))
        found = tensor.schmidt_values(halves)
        assert int((found > 1e-12 * found[0]).sum()) == ranks
        profile = entanglement_profile(tensor, levels=1)
        assert (profile.entropy[0] > 1e-6) == (ranks == 2)
