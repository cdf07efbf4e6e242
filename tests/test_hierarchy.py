import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

from entangle import DataTensor, isometries
from entangle.embedding import OneHot, Polynomial, Trigonometric
from entangle.errors import DegenerateStateError, InputError, MemoryLimitError, PartitionError
from entangle.hierarchy import chain_svd, hierarchical_svd
from entangle.partition import CanonicalTree, Node
from tests.oracles import contracted_chain, contracted_tree, dense_tensor, hosvd, trigonometric

SHAPES = [8, (3, 3), (2, 2, 2), 7, (2, 5), 5, 2]


def random_tensor(shape, n_labels=1, n_samples=15, seed=0, theta=0.3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, math.prod(np.atleast_1d(shape))))
    weights = rng.normal(size=(n_samples, n_labels) if n_labels > 1 else n_samples)
    return DataTensor(X, weights, Trigonometric(theta)), dense_tensor(
        trigonometric(X, theta), weights
    )


def dense_of(result):
    """All elements of a tree, features in row-major order, then the labels."""
    tree = CanonicalTree(result.shape)
    found = contracted_tree(tree.root, [t.numpy() for t in result.tensors])
    return np.moveaxis(found, range(tree.n_features), tree.order) * math.exp(result.log_scale)


def in_tree_order(D, shape):
    return np.transpose(D, [*CanonicalTree(shape).order, D.ndim - 1])


def assert_isometries(result):
    for tensor in result.tensors[1:]:
        rows = tensor.flatten(1)
        assert_allclose(rows @ rows.T, torch.eye(len(rows)), atol=1e-12)


@pytest.mark.parametrize("n_labels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_tree_is_the_hosvd_of_the_dense_tensor(shape, n_labels, width):
    tensor, D = random_tensor(shape, n_labels)
    found = hierarchical_svd(tensor, shape, width=width)
    tree = CanonicalTree(shape)
    expected, lost = hosvd(in_tree_order(D, shape), tree.root, width)
    assert_isometries(found)
    assert found.width <= width
    T = in_tree_order(dense_of(found), shape)
    assert_allclose(T, expected, atol=1e-11 * np.abs(D).max())  # the same projection
    total = np.linalg.norm(D)
    assert_allclose(found.discarded_weight, np.array(lost) / total**2, atol=1e-12)
    distance = np.linalg.norm(T - in_tree_order(D, shape)) / total
    assert found.error == pytest.approx(distance, abs=1e-7)
    assert found.error <= found.error_bound


@pytest.mark.parametrize("n_labels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_without_limits_the_tree_is_the_tensor(shape, n_labels):
    tensor, D = random_tensor(shape, n_labels)
    found = hierarchical_svd(tensor, shape)
    assert_allclose(dense_of(found), D, atol=1e-7 * np.abs(D).max())
    assert found.certified_error < 1e-6
    assert found.error_bound < 1e-5


@pytest.mark.parametrize("n_labels", [1, 3])
@pytest.mark.parametrize("n_features", [2, 5, 9])
@pytest.mark.parametrize("width", [1, 3, None])
def test_a_chain_projects_prefix_after_prefix(n_features, n_labels, width):
    tensor, D = random_tensor(n_features, n_labels)
    found = chain_svd(tensor, width=width)
    sites = [site.numpy() for site in found.tensors]
    assert sites[0].shape[0] == 1
    assert sites[-1].shape[2] == n_labels
    for site in sites[:-1]:
        columns = site.reshape(-1, site.shape[2])
        assert_allclose(columns.T @ columns, np.eye(site.shape[2]), atol=1e-12)
    T = contracted_chain(sites) * math.exp(found.log_scale)
    total = np.linalg.norm(D)
    assert np.linalg.norm(T - D) / total == pytest.approx(found.error, abs=1e-7)
    assert found.error <= found.error_bound
    assert list(found.by_level().values()) == found.widths[:-1].tolist()
    expected = D  # truncated from the left, prefix after prefix
    basis = np.ones((1, 1))
    for n, site in enumerate(sites[:-1], start=1):
        span = np.kron(basis, np.eye(2))
        inside = span.T @ D.reshape(2**n, -1)
        U, s, _ = np.linalg.svd(inside, full_matrices=False)
        length = max(1, min(width or 99, int((s**2 > 1e-15 * total**2).sum())))
        assert site.shape[2] == length
        basis = span @ U[:, :length]
        expected = (basis @ (basis.T @ expected.reshape(2**n, -1))).reshape(D.shape)
        lost = (s[length:] ** 2).sum() / total**2
        assert found.discarded_weight[n - 1] == pytest.approx(lost, abs=1e-12)
    assert_allclose(T, expected, atol=1e-7 * np.abs(D).max())


@pytest.mark.parametrize("how", ["chain", "tree", "grid"])
@pytest.mark.parametrize("error", [0.5, 0.3, 0.1, 1e-3])
def test_an_error_is_met_and_not_by_far(how, error):
    X = load_digits().data[:120, 16:48] / 16
    tensor = DataTensor(X, embedding=Trigonometric(0.25))
    found = chain_svd(tensor, error=error)
    if how != "chain":
        found = hierarchical_svd(tensor, 32 if how == "tree" else (4, 8), error=error)
    assert found.certified_error <= error
    assert found.error > 0.5 * error
    assert found.error <= found.error_bound


def test_a_common_threshold_takes_shorter_bonds_than_equal_shares():
    X = load_digits().data[:120, 16:48] / 16
    tensor = DataTensor(X, embedding=Trigonometric(0.25))
    loose, tight = (hierarchical_svd(tensor, error=e) for e in (0.3, 0.1))
    assert (loose.widths <= tight.widths).all()
    assert loose.n_parameters < tight.n_parameters


def test_both_limits_hold_or_the_error_says_so():
    X = load_digits().data[:100, 16:48] / 16
    tensor = DataTensor(X, embedding=Trigonometric(0.25))
    wide = hierarchical_svd(tensor, error=0.2, width=50)
    assert wide.certified_error <= 0.2
    narrow = hierarchical_svd(tensor, error=0.01, width=3)
    assert narrow.width == 3
    assert narrow.certified_error > 0.01
    assert narrow.error <= hierarchical_svd(tensor, width=3).error * 1.1


def test_widths_by_level():
    tensor, _ = random_tensor(8)
    found = hierarchical_svd(tensor, 8, width=[4, 3, 2])
    assert found.by_level() == {1: 4, 2: 3, 3: 2}
    found = hierarchical_svd(tensor, 8, width=[2, 3, 1])
    assert found.by_level() == {1: 1, 2: 1, 3: 1}  # what leaves of one vector leave
    assert found.levels.tolist() == [n.level for n in CanonicalTree(8).root.walk()]


def test_trees_and_chains_on_a_device(device):
    X = load_digits().data[:200] / 16
    here, there = (DataTensor(X, None, Trigonometric(0.2), d) for d in ("cpu", device))
    for svd in (hierarchical_svd, chain_svd):
        expected, found = svd(here, error=0.1), svd(there, error=0.1)
        assert found.tensors[0].device.type == device.type
        assert found.error == pytest.approx(expected.error, rel=1e-6)
        assert_array_equal(found.widths, expected.widths)
        assert_allclose(found.discarded_weight, expected.discarded_weight, atol=1e-9)


# -- special tensors ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 40])
def test_a_product_state_has_bonds_of_length_one(n_rows):
    X = np.tile(np.random.default_rng(0).normal(size=(1, 12)), (n_rows, 1))
    tensor = DataTensor(X, embedding=Trigonometric(0.3))
    for found in (hierarchical_svd(tensor, (3, 4)), chain_svd(tensor)):
        assert set(found.widths.tolist()) == {1}
        assert found.certified_error < 1e-6


def test_a_faint_term_is_kept():
    """A millionth of the norm: an eigenvalue of 1e-12, well above rounding."""
    X = np.repeat([[0], [1]], 12, axis=1)
    for svd in (hierarchical_svd, chain_svd):
        found = svd(DataTensor(X, [1.0, 1e-6], OneHot(2)))
        assert found.width == 2
        assert found.error_bound < 3e-7


def test_repeated_rows_count_as_their_weight():
    rng = np.random.default_rng(1)
    X, w = rng.normal(size=(6, 8)), rng.uniform(1, 2, size=6)
    once = hierarchical_svd(DataTensor(X, w, Trigonometric(0.3)), width=3)
    twice = hierarchical_svd(
        DataTensor(np.repeat(X, 2, axis=0), np.repeat(w, 2), Trigonometric(0.3)), width=3
    )
    assert_allclose(dense_of(once), dense_of(twice), atol=1e-10)


def test_weights_that_nearly_cancel():
    rng = np.random.default_rng(2)
    X, noise = rng.normal(size=(6, 8)), rng.normal(size=(6, 8))
    rows = np.concatenate([X, X + 1e-3 * noise])
    weights = np.repeat([1.0, -1.0], 6)
    found = hierarchical_svd(DataTensor(rows, weights, Trigonometric(0.3)), width=3)
    D = dense_tensor(trigonometric(rows, 0.3), weights)
    error = np.linalg.norm(dense_of(found) - D) / np.linalg.norm(D)
    assert abs(found.error - error) <= found.rounding / error
    assert error <= found.error_bound
    with pytest.raises(DegenerateStateError, match="cancel"):
        hierarchical_svd(DataTensor(np.concatenate([X, X]), weights, Trigonometric(0.3)))


def test_features_with_channels():
    rng = np.random.default_rng(3)
    tensor = DataTensor(rng.normal(size=(20, 5, 2)), embedding=Trigonometric(0.3))
    D = tensor.to_dense().numpy()[..., None]
    assert D.shape[0] == 4
    found = hierarchical_svd(tensor, 5, width=3)
    expected, _ = hosvd(D, CanonicalTree(5).root, 3)
    assert_allclose(dense_of(found), expected, atol=1e-11)


def test_long_local_vectors_are_truncated_too():
    """Longer than a small block: leaves without a density matrix of the whole."""
    rng = np.random.default_rng(4)
    X = rng.integers(0, 70, size=(30, 3))
    tensor = DataTensor(X, embedding=OneHot(70))
    found = hierarchical_svd(tensor, 3)
    assert found.certified_error < 1e-6
    assert found.widths.max() <= 30
    assert hierarchical_svd(tensor, 3, width=5).width == 5


# -- many features -----------------------------------------------------------------------------


@pytest.mark.parametrize("bond", [2, 3])
def test_a_planted_tree_is_found_at_its_width_and_at_no_smaller_one(bond):
    rng = np.random.default_rng(bond)
    n, d, n_samples = 32, 4, 60
    words = rng.normal(size=(n, bond, d))
    words /= np.linalg.norm(words, axis=2, keepdims=True)
    vectors = words[np.arange(n)[None], rng.integers(0, bond, size=n_samples)[:, None]]
    tensor = DataTensor(vectors, embedding="identity")
    found = hierarchical_svd(tensor, width=bond)
    assert found.error < 1e-6
    assert hierarchical_svd(tensor, error=1e-3).width == bond
    assert hierarchical_svd(tensor, width=bond - 1).error > 0.1


@pytest.mark.parametrize("limit", [1, 64])
def test_a_sought_basis_is_nearly_the_best(monkeypatch, limit):
    """Landmarks instead of all products of the children's bases: still certified."""
    X, y = load_digits(return_X_y=True)
    tensor = DataTensor(X[:200] / 16, np.where(y[:200] % 2, 1.0, -1.0), Trigonometric(0.2))
    best = hierarchical_svd(tensor, (8, 8), width=12)
    monkeypatch.setattr(isometries, "ALL_PRODUCTS", limit)
    monkeypatch.setattr(isometries, "FIRST_LANDMARKS", 4)
    found = hierarchical_svd(tensor, (8, 8), width=12)
    assert best.error <= found.error * 1.01
    assert found.error < 1.1 * best.error
    assert found.error <= found.error_bound
    assert_isometries(found)
    few = DataTensor(X[:40] / 16, embedding=Trigonometric(0.2))
    assert hierarchical_svd(few, error=1e-4).certified_error <= 1e-4


def test_the_norm_of_the_network_is_that_of_its_core():
    X = load_digits().data[:300] / 16
    tensor = DataTensor(X, embedding=Trigonometric(0.2))
    found = hierarchical_svd(tensor, (8, 8), width=6)
    share = float(found.tensors[0].norm()) * math.exp(found.log_scale) / tensor.norm
    assert found.error == pytest.approx(math.sqrt(1 - share**2), rel=1e-6)


def test_many_features_do_not_underflow():
    rng = np.random.default_rng(5)
    words = rng.normal(size=(2, 4096))
    tensor = DataTensor(words[rng.integers(0, 2, size=50)], embedding=Trigonometric(0.25))
    found = hierarchical_svd(tensor, width=2)
    assert found.error < 1e-5
    assert float(found.tensors[0].norm()) > 1e-3
    assert_isometries(found)
    assert found.by_level() == dict.fromkeys(range(1, 13), 2)


def test_lengths_of_local_vectors_go_to_the_scale():
    rng = np.random.default_rng(6)
    tensor = DataTensor(rng.normal(size=(10, 600)), embedding=Polynomial(3))
    found = hierarchical_svd(tensor, width=4)
    assert found.log_scale == tensor.log_scale
    assert 1e-3 < float(found.tensors[0].norm()) < 1


def test_the_distance_from_the_population_falls_like_the_root_of_the_samples():
    """Rows from a known mixture of product states; to the empirical tensor and its truncation."""
    rng = np.random.default_rng(7)
    letters = rng.dirichlet(np.ones(3), size=(2, 6))  # of two words, feature by feature
    population = 0
    for word in letters:
        population = population + 0.5 * dense_tensor(word[None], [1.0])[..., 0]

    def distance(n_samples, seed):
        rng = np.random.default_rng(seed)
        word = rng.integers(0, 2, size=n_samples)
        cumulative = letters[word].cumsum(axis=2)
        X = (rng.uniform(size=(n_samples, 6, 1)) > cumulative).sum(axis=2).clip(max=2)
        tensor = DataTensor(X, embedding=OneHot(3))
        whole = np.linalg.norm(tensor.to_dense().numpy() - population)
        return whole, np.linalg.norm(
            dense_of(hierarchical_svd(tensor, width=2)) - population[..., None]
        )

    few = np.mean([distance(100, s) for s in range(10)], axis=0)
    many = np.mean([distance(1600, s) for s in range(10)], axis=0)
    assert 0.2 < many[0] / few[0] < 0.3  # a quarter
    assert many[1] / few[1] < 0.4
    assert (few[1], many[1]) < (few[0], many[0])  # what is truncated is noise


# -- theorems ----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    shape=st.sampled_from([4, 6, 7, (2, 3), (3, 3)]),
    width=st.integers(1, 4),
    n_labels=st.sampled_from([1, 2]),
    seed=st.integers(0, 10**6),
)
def test_the_squared_error_is_at_most_what_was_discarded(shape, width, n_labels, seed):
    tensor, D = random_tensor(shape, n_labels, n_samples=9, seed=seed)
    found = hierarchical_svd(tensor, shape, width=width)
    error = np.linalg.norm(dense_of(found) - D) / np.linalg.norm(D)
    assert error**2 <= found.discarded_weight.sum() + 1e-12
    assert error == pytest.approx(found.error, abs=1e-6)
    # and no more than the tails of the exact spectra, one cut of the root counted once
    tails = [
        (
            np.linalg.svd(_unfolded(in_tree_order(D, shape), node), compute_uv=False)[width:] ** 2
        ).sum()
        for node in CanonicalTree(shape).root.walk()
        if node.level
    ]
    assert error**2 <= sum(tails) / np.linalg.norm(D) ** 2 + 1e-12


def _unfolded(D, node: Node):
    rows = range(node.start, node.stop)
    matrix = np.moveaxis(D, rows, range(node.size))
    return matrix.reshape(math.prod(D.shape[n] for n in rows), -1)


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0, 2.5, [2, 2], [0, 1, 1], -1])
def test_widths_that_make_no_sense(width):
    tensor, _ = random_tensor(8)
    with pytest.raises(InputError, match="width is a positive whole number"):
        hierarchical_svd(tensor, width=width)


@pytest.mark.parametrize("error", [0.0, 1.0, -0.1, math.nan])
def test_errors_that_make_no_sense(error):
    tensor, _ = random_tensor(8)
    with pytest.raises(InputError, match="between 0 and 1"):
        hierarchical_svd(tensor, error=error)
    with pytest.raises(InputError, match="between 0 and 1"):
        chain_svd(tensor, error=error)


def test_a_shape_that_does_not_fit():
    tensor, _ = random_tensor(8)
    with pytest.raises(PartitionError, match="9 positions"):
        hierarchical_svd(tensor, (3, 3))


def test_what_does_not_fit_in_memory_is_refused():
    X = load_digits().data[:300] / 16
    tensor = DataTensor(X, embedding=Trigonometric(0.3))
    with pytest.raises(MemoryLimitError, match="small blocks"):
        hierarchical_svd(tensor, max_memory=1e4)
    with pytest.raises(MemoryLimitError, match="Gram matrices of 300"):
        chain_svd(tensor, max_memory=1e6)
    with pytest.raises(MemoryLimitError, match="tree network with bonds of up to"):
        hierarchical_svd(tensor, (8, 8), error=0.02, max_memory=1e9)


def test_little_memory_takes_smaller_groups(monkeypatch):
    X = load_digits().data[:300] / 16
    tensor = DataTensor(X, embedding=Trigonometric(0.1))
    much = hierarchical_svd(tensor, width=4)
    little = hierarchical_svd(tensor, width=4, max_memory=6.8e7)
    assert_allclose(little.error, much.error, rtol=1e-9)
    assert_array_equal(little.widths, much.widths)


def test_all_shapes_have_tensors_in_walk_order():
    for shape, n_labels in itertools.product(SHAPES, (1, 2)):
        tensor, _ = random_tensor(shape, n_labels)
        found = hierarchical_svd(tensor, shape, width=2)
        widths = dict(zip(CanonicalTree(shape).root.walk(), found.widths, strict=False))
        nodes = list(CanonicalTree(shape).root.walk())
        places = {(n.start, n.stop, n.level): i for i, n in enumerate(nodes)}
        assert len(widths) == len(found.tensors)
        for node, array, width in zip(nodes, found.tensors, found.widths, strict=True):
            below = [found.widths[places[c.start, c.stop, c.level]] for c in node.children]
            assert array.shape == (width, *(below or [2]))
        assert found.widths[0] == n_labels
