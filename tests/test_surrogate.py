import itertools

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from entangle.errors import InputError, MemoryLimitError, PartitionError
from entangle.partition import CanonicalTree, Partition
from entangle.surrogate import correlation_affinity, hierarchical_cut, surrogate_entanglement


def random_affinity(n_features, seed=0):
    half = np.random.default_rng(seed).random((n_features, n_features))
    affinity = np.triu(half, 1)
    return affinity + affinity.T


def random_samples(n_samples=40, n_features=7, seed=0):
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((n_features, n_features))
    return generator.standard_normal((n_samples, n_features)) @ mixed


def naive_hierarchical_cut(affinity, shape):
    tree = CanonicalTree(shape)
    by_level = {}
    for node in tree.root.walk():
        block = set(tree.order[node.start : node.stop].tolist())
        rest = set(range(tree.n_features)) - block
        if len(block) > 1 and rest:
            cut = sum(affinity[i, j] for i in block for j in rest)
            by_level.setdefault(node.level, []).append(cut / (len(block) * len(rest)))
    return sum(sum(cuts) / len(cuts) for cuts in by_level.values())


def test_pearson_is_the_absolute_correlation_coefficient():
    X = random_samples()
    expected = np.abs(np.corrcoef(X, rowvar=False))
    np.fill_diagonal(expected, 0.0)
    assert_allclose(correlation_affinity(X), expected, atol=1e-14)


def test_spearman_is_pearson_of_ranks():
    X = random_samples()
    expected = pd.DataFrame(X).corr(method="spearman").abs().to_numpy().copy()
    np.fill_diagonal(expected, 0.0)
    assert_allclose(correlation_affinity(X, "spearman"), expected, atol=1e-14)


@pytest.mark.parametrize("convert", [torch.tensor, np.ndarray.tolist, pd.DataFrame, np.float32])
def test_any_container_of_samples_is_accepted(convert):
    X = random_samples()
    assert_allclose(correlation_affinity(convert(X)), correlation_affinity(X), atol=1e-5)


@given(
    offset=st.floats(-1e6, 1e6), scale=st.floats(-1e9, 1e9).filter(lambda value: abs(value) > 1e-9)
)
def test_affinity_does_not_see_offset_and_scale(offset, scale):
    X = random_samples()
    assert_allclose(correlation_affinity((X + offset) * scale), correlation_affinity(X), atol=1e-7)


def test_extreme_columns_lose_no_digits():
    X = random_samples()
    expected = correlation_affinity(X)
    X[:, 0] *= 1e300
    X[:, 1] *= 1e-300
    assert_allclose(correlation_affinity(X), expected, atol=1e-13)
    steps = np.random.default_rng(1).integers(0, 8, (40, 4)).astype(float)
    assert_allclose(correlation_affinity(steps + 2.0**50), correlation_affinity(steps), atol=1e-14)


def test_affinity_is_symmetric_bounded_and_free_of_a_diagonal():
    X = random_samples(n_features=5)
    affinity = correlation_affinity(np.hstack([X, X, -X]))
    assert_array_equal(affinity, affinity.T)
    assert_array_equal(np.diagonal(affinity), 0.0)
    assert affinity.min() >= 0.0
    assert affinity.max() <= 1.0
    assert_allclose(affinity[0, [5, 10]], 1.0)


def test_a_constant_feature_has_affinity_zero():
    X = random_samples()
    X[:, 3] = 0.1
    affinity = correlation_affinity(X)
    assert_array_equal(affinity[3], 0.0)
    assert np.isfinite(affinity).all()


def test_a_callable_affinity_passes_through():
    expected = random_affinity(7)
    assert_array_equal(correlation_affinity(random_samples(), lambda X: expected), expected)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.triu(np.ones((7, 7))), r"symmetric, got entries that differ by 1"),
        (-np.ones((7, 7)), "non-negative, got values from -1"),
        (np.full((7, 7), np.nan), "finite"),
        (np.ones((6, 6)), r"expected \(7, 7\), got \(6, 6\)"),
    ],
)
def test_a_bad_callable_affinity_is_refused(matrix, message):
    with pytest.raises(InputError, match=message):
        correlation_affinity(random_samples(), lambda X: matrix)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(5), "1 axes"),
        (np.zeros((5, 2, 2)), "reshape"),
        (np.zeros((1, 5)), "at least 2 samples and 2 features, got 1 and 5"),
        (np.zeros((5, 1)), "got 5 and 1"),
        ([["a", "b"], ["c", "d"]], "real numbers"),
        (pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}), "numeric"),
        (np.zeros((2, 2), dtype=complex), "real"),
    ],
)
def test_unusable_samples_are_refused(X, message):
    with pytest.raises(InputError, match=message):
        correlation_affinity(X)


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_the_first_number_that_is_not_finite_is_named(value, name):
    X = random_samples()
    X[4, 2] = X[5, 1] = value
    with pytest.raises(InputError, match=rf"{name} in column 2, row 4 \(first of 2\); impute"):
        correlation_affinity(X)


def test_finite_numbers_whose_sum_overflows_are_accepted():
    X = np.array([[1e308, 1e308, 1.0], [1.5e308, 1e308, 2.0], [1e308, -1e308, 1.0]])
    with np.errstate(over="ignore"):
        assert_allclose(correlation_affinity(X)[0, 2], 1.0)


def test_an_unknown_method_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'pearson', 'spearman' .* got 'kendall'"):
        correlation_affinity(random_samples(), "kendall")


def test_a_matrix_that_does_not_fit_is_refused_before_it_is_allocated(monkeypatch):
    free = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(MemoryLimitError, match="affinity of 7 features"):
        correlation_affinity(random_samples())


@given(block=st.sets(st.integers(0, 8), min_size=1, max_size=8))
def test_surrogate_entanglement_is_the_sum_over_severed_pairs(block):
    affinity = random_affinity(9)
    cut = Partition(sorted(block), n_features=9)
    expected = sum(affinity[i, j] for i, j in itertools.product(block, cut.complement))
    assert surrogate_entanglement(affinity, cut) == pytest.approx(expected)
    assert surrogate_entanglement(affinity, cut.flipped()) == pytest.approx(expected)
    assert surrogate_entanglement(-affinity, cut) == pytest.approx(expected)


@given(order=st.permutations(range(9)), block=st.sets(st.integers(0, 8), min_size=1, max_size=8))
def test_surrogate_entanglement_follows_a_relabelling(order, block):
    affinity = random_affinity(9)
    relabelled = affinity[np.ix_(order, order)]
    there = Partition([order[i] for i in sorted(block)], n_features=9)
    here = Partition(sorted(block), n_features=9)
    assert surrogate_entanglement(relabelled, here) == pytest.approx(
        surrogate_entanglement(affinity, there)
    )


def test_a_partition_of_other_features_is_refused():
    with pytest.raises(PartitionError, match=r"cut is of 9 features, .* \(8, 8\)"):
        surrogate_entanglement(random_affinity(8), Partition([0], n_features=9))
    with pytest.raises(PartitionError, match=r"cut is of 9 features, .* \(8, 8\)"):
        hierarchical_cut(random_affinity(8), (3, 3))


@pytest.mark.parametrize("shape", [2, 3, 8, 13, 30, (4, 4), (3, 5), (1, 6), (2, 3, 2)])
def test_hierarchical_cut_is_its_definition(shape):
    n_features = CanonicalTree(shape).n_features
    affinity = random_affinity(n_features)
    expected = naive_hierarchical_cut(affinity, shape)
    assert hierarchical_cut(affinity, shape) == pytest.approx(expected, abs=1e-14)
    assert hierarchical_cut(affinity + np.eye(n_features), shape) == pytest.approx(expected)


def test_hierarchical_cut_of_equal_affinities_counts_the_levels():
    affinity = np.ones((16, 16)) - np.eye(16)
    assert hierarchical_cut(affinity, 16) == pytest.approx(3.0)
    assert hierarchical_cut(affinity, (4, 4)) == pytest.approx(1.0)
