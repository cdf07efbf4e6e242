import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits

from entangle.affinity import correlation_affinity
from entangle.errors import InputError, PartitionError
from entangle.ordering import mincut_order
from entangle.ordering.bisection import bisect, improve
from entangle.ordering.graph import Graph, noise_threshold, null_share, without_noise
from entangle.ordering.refinement import refined, separation
from entangle.partition import CanonicalTree
from entangle.surrogate import hierarchical_cut

SHAPES = [2, 3, 5, 16, 30, (4, 4), (3, 5), (1, 6), (6, 2), (2, 3, 2)]


def random_affinity(n_features, seed=0):
    affinity = np.triu(np.random.default_rng(seed).random((n_features, n_features)), 1)
    return affinity + affinity.T


def permuted_ar1(n_features, n_samples=1000, seed=0, rho=0.9):
    """Rows of a stationary chain, features shuffled; and where each came from."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n_samples, n_features))
    for i in range(1, n_features):
        X[:, i] = rho * X[:, i - 1] + np.sqrt(1.0 - rho**2) * X[:, i]
    source = generator.permutation(n_features)
    return X[:, source], source


def permuted_field(side, n_samples=1000, seed=0, length=3.0):
    """Rows of a smooth field on a square grid, pixels shuffled; and where each came from."""
    generator = np.random.default_rng(seed)
    apart = np.subtract.outer(np.arange(side), np.arange(side))
    root = np.linalg.cholesky(np.exp(-(apart**2) / (2 * length**2)) + 1e-9 * np.eye(side))
    noise = generator.standard_normal((n_samples, side, side))
    X = (root @ noise @ root.T).reshape(n_samples, -1)
    source = generator.permutation(side * side)
    return X[:, source], source


def blocks(shape, permutation):
    tree = CanonicalTree(shape)
    leaves = np.asarray(permutation)[tree.order]
    return {frozenset(leaves[node.start : node.stop].tolist()) for node in tree.root.walk()}


def recovers(shape, permutation, source):
    return blocks(shape, source[permutation]) == blocks(shape, np.arange(len(source)))


def naive_cut(affinity, side):
    return affinity[np.ix_(side == 0, side == 1)].sum()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("orient", [True, False])
def test_an_order_is_a_permutation(shape, orient):
    n_features = CanonicalTree(shape).n_features
    order = mincut_order(random_affinity(n_features), shape, random_state=0, orient=orient)
    assert order.dtype == np.int64
    assert_array_equal(np.sort(order), np.arange(n_features))


@pytest.mark.parametrize("shape", SHAPES)
def test_orientation_changes_no_block(shape):
    affinity = random_affinity(CanonicalTree(shape).n_features)
    plain = mincut_order(affinity, shape, random_state=0, orient=False)
    assert blocks(shape, mincut_order(affinity, shape, random_state=0)) == blocks(shape, plain)


@pytest.mark.parametrize("seed", range(3))
def test_a_shuffled_chain_is_recovered(seed):
    X, source = permuted_ar1(256, seed=seed)
    order = mincut_order(correlation_affinity(X), 256, n_samples=1000, random_state=seed)
    assert recovers(256, order, source)
    assert_array_equal(np.abs(np.diff(source[order])), 1)


@pytest.mark.parametrize("side", [4, 8, 16])
def test_a_shuffled_field_is_recovered(side):
    X, source = permuted_field(side)
    order = mincut_order(correlation_affinity(X), (side, side), n_samples=1000, random_state=0)
    assert recovers((side, side), order, source)
    rows, columns = np.divmod(source[order].reshape(side, side), side)
    for axis in (0, 1):
        steps = np.abs(np.diff(rows, axis=axis)) + np.abs(np.diff(columns, axis=axis))
        assert_array_equal(steps, 1)


@pytest.mark.slow
@pytest.mark.parametrize("n_features", [1024, 4096])
def test_a_long_shuffled_chain_is_recovered(n_features):
    X, source = permuted_ar1(n_features)
    order = mincut_order(correlation_affinity(X), n_features, n_samples=1000, random_state=0)
    assert recovers(n_features, order, source)


# Targets are the best of the published partitioners, measured on the same definition of H.
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("load", "shape", "target"),
    [
        (load_breast_cancer, 30, 1.3352),
        (load_digits, (8, 8), 0.1807),
        (load_digits, 64, 0.45151),
    ],
)
def test_real_data_reach_the_lowest_known_cut(load, shape, target, seed):
    X = load().data
    affinity = correlation_affinity(X)
    order = mincut_order(affinity, shape, n_samples=len(X), random_state=seed)
    assert hierarchical_cut(affinity[np.ix_(order, order)], shape) <= target


@pytest.mark.parametrize("shape", [40, 300, (20, 20)])
def test_the_seed_and_not_the_threads_sets_the_order(shape):
    affinity = random_affinity(CanonicalTree(shape).n_features)
    first = mincut_order(affinity, shape, random_state=3)
    assert_array_equal(mincut_order(affinity, shape, random_state=3), first)
    assert_array_equal(mincut_order(affinity, shape, random_state=3, n_jobs=3), first)


@pytest.mark.parametrize("shape", [600, (30, 20)])
def test_sparse_and_dense_affinities_give_one_order(shape):
    X, _ = permuted_ar1(600)
    affinity = correlation_affinity(X)
    affinity[affinity < 0.2] = 0.0
    dense = mincut_order(affinity, shape, random_state=0)
    assert_array_equal(mincut_order(sparse.csr_matrix(affinity), shape, random_state=0), dense)


def test_independent_features_still_get_an_order():
    order = mincut_order(np.zeros((12, 12)), 12, n_samples=100, random_state=0)
    assert_array_equal(np.sort(order), np.arange(12))
    nothing = sparse.csr_matrix((12, 12))
    assert_array_equal(np.sort(mincut_order(nothing, (3, 4), n_samples=100)), np.arange(12))


@pytest.mark.parametrize("scale", [1e-250, 1e-9, 1e12, 1e250])
def test_the_scale_of_the_affinity_does_not_matter(scale):
    affinity = random_affinity(24)
    order = mincut_order(affinity, (4, 6), random_state=0)
    moved = mincut_order(affinity * scale, (4, 6), random_state=0)
    cuts = [hierarchical_cut(affinity[np.ix_(p, p)], (4, 6)) for p in (order, moved)]
    assert cuts[1] == pytest.approx(cuts[0])


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda a: a * np.nan, "finite and non-negative"),
        (lambda a: -a, "finite and non-negative"),
        (lambda a: np.triu(a), "symmetric"),
        (lambda a: sparse.csr_matrix(-a), "finite and non-negative"),
        (lambda a: sparse.csr_matrix(np.triu(a)), "symmetric"),
    ],
)
def test_an_affinity_that_is_none(spoil, match):
    with pytest.raises(ValueError, match=match):
        mincut_order(spoil(random_affinity(8) + 0.1), 8)


def test_a_shape_of_other_features_is_refused():
    with pytest.raises(PartitionError, match=r"holds 12 features, .*\(10, 10\).* product is 10"):
        mincut_order(random_affinity(10), (3, 4))
    with pytest.raises(InputError, match="n_jobs is a number of threads"):
        mincut_order(random_affinity(10), 10, n_jobs=0)


@given(n=st.integers(2, 40), share=st.floats(0.0, 1.0), seed=st.integers(0, 100))
def test_bisection_has_exact_sizes_and_a_low_cut(n, share, seed):
    affinity = random_affinity(n, seed)
    affinity[affinity < 0.5] = 0.0
    ones = min(n - 1, max(1, round(share * n)))
    side = bisect(Graph.from_matrix(affinity), ones, seed)
    assert side.sum() == ones
    generator = np.random.default_rng(seed)
    lowest = min(naive_cut(affinity, generator.permutation(side)) for _ in range(20))
    assert naive_cut(affinity, side) <= lowest + 1e-9


@pytest.mark.parametrize("ones", [1, 7, 20, 33])
def test_improvement_mends_the_sizes_and_reports_its_cut(ones):
    affinity = random_affinity(40)
    side = np.repeat(np.array([0, 1], dtype=np.int8), 20)
    cut = improve(Graph.from_matrix(affinity), side, ones)
    assert side.sum() == ones
    assert cut == pytest.approx(naive_cut(affinity, side))


def test_bisection_finds_two_clusters():
    affinity = np.kron(np.eye(2), np.ones((300, 300))) * 0.5 + random_affinity(600) * 0.4
    np.fill_diagonal(affinity, 0.0)
    shuffled = np.random.default_rng(0).permutation(600)
    side = bisect(Graph.from_matrix(affinity[np.ix_(shuffled, shuffled)]), 300, 0)
    assert len(set(side[shuffled < 300])) == 1


@given(members=st.lists(st.integers(0, 19), unique=True, min_size=1))
def test_a_subgraph_is_a_submatrix(members):
    affinity = random_affinity(20)
    affinity[affinity < 0.6] = 0.0
    part = Graph.from_matrix(affinity).subgraph(np.array(members))
    assert_array_equal(part.dense(), affinity[np.ix_(members, members)])


@pytest.mark.parametrize("shape", [13, 30, (4, 4), (3, 5)])
def test_separation_turns_the_cut_of_the_tree_into_a_pair_sum(shape):
    tree = CanonicalTree(shape)
    affinity = random_affinity(tree.n_features)
    by_leaf = affinity[np.ix_(tree.order, tree.order)]
    total = (by_leaf * separation(tree)).sum() / 2.0
    assert total == pytest.approx(hierarchical_cut(affinity, shape))


@pytest.mark.parametrize("shape", [13, 16, (4, 4), (3, 5)])
def test_refinement_reports_the_cut_it_reached(shape):
    tree = CanonicalTree(shape)
    affinity = random_affinity(tree.n_features)
    start = np.random.default_rng(1).permutation(tree.n_features)
    leaves, cut = refined(affinity, start, tree, steps=60, seed=0)
    order = np.empty_like(leaves)
    order[tree.order] = leaves
    assert_array_equal(np.sort(leaves), np.arange(tree.n_features))
    assert hierarchical_cut(affinity[np.ix_(order, order)], shape) == pytest.approx(cut)
    unmoved, before = refined(affinity, start, tree, steps=0, seed=0)
    assert_array_equal(unmoved, start)
    assert cut < before


def test_refinement_finds_the_best_order_of_eight_features():
    tree = CanonicalTree(8)
    X, source = permuted_ar1(8)
    leaves, _ = refined(correlation_affinity(X), np.arange(8), tree, steps=50, seed=0)
    assert recovers(8, leaves, source)


def test_noise_stays_below_its_threshold():
    X = np.random.default_rng(0).standard_normal((500, 200))
    affinity = correlation_affinity(X)
    threshold = noise_threshold(200, 500)
    assert 0.85 * threshold < affinity.max() < threshold
    assert null_share(affinity, 500) == pytest.approx(1.0, abs=0.02)
    assert noise_threshold(200, None) == 0.0
    assert 0.0 < noise_threshold(10_000, 10) < 1.0


def test_noise_is_removed_only_where_most_pairs_look_independent():
    chain = correlation_affinity(permuted_ar1(256)[0])
    threshold = noise_threshold(256, 1000)
    assert_allclose(without_noise(chain, 1000), np.maximum(chain - threshold, 0.0))
    assert without_noise(chain, None) is chain
    related = correlation_affinity(load_breast_cancer().data)
    assert without_noise(related, 569) is related
    rows = sparse.csr_matrix(chain)
    assert_allclose(without_noise(rows, 1000).toarray(), np.maximum(chain - threshold, 0.0))


def test_noise_is_removed_before_splitting():
    X, source = permuted_ar1(512, n_samples=100, rho=0.7)
    affinity = correlation_affinity(X)
    clean = np.maximum(affinity - noise_threshold(512, 100), 0.0)
    order = mincut_order(affinity, 512, n_samples=100, random_state=0)
    assert_array_equal(order, mincut_order(clean, 512, random_state=0))
    noisy = mincut_order(affinity, 512, random_state=0)
    truth = 0.7 ** np.abs(np.subtract.outer(source, source))
    cuts = [hierarchical_cut(truth[np.ix_(p, p)], 512) for p in (order, noisy)]
    assert cuts[0] < cuts[1]
