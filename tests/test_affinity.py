import itertools
import math

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import mutual_info_score
from threadpoolctl import threadpool_limits

from entangle import DataTensor, Partition, entanglement_entropy, entanglement_profile
from entangle import affinity as affinities
from entangle.affinity import correlation_affinity, feature_affinity, nearest_affinity
from entangle.embedding import Trigonometric
from entangle.errors import InputError, MemoryLimitError
from entangle.ordering import mincut_order
from entangle.pairs.information import binned
from entangle.pairs.nearest import nearest_weights
from entangle.pairs.vectors import VectorWeights
from entangle.surrogate import surrogate_entanglement

UNLABELLED = ["pearson", "spearman", "mutual_info", "distance_correlation", "covariance"]
NAMES = [*UNLABELLED, "class-mean"]
THETA = 0.085


def random_affinity(n_features, seed=0):
    affinity = np.triu(np.random.default_rng(seed).random((n_features, n_features)), 1)
    return affinity + affinity.T


def random_samples(n_samples=40, n_features=7, seed=0):
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((n_features, n_features))
    return generator.standard_normal((n_samples, n_features)) @ mixed


def pairs(X, weight):
    """Matrix of the weights of every two columns, by definition."""
    n = X.shape[1]
    matrix = np.zeros((n, n))
    for i, j in itertools.combinations(range(n), 2):
        matrix[i, j] = matrix[j, i] = weight(X[:, i], X[:, j])
    return matrix


def unit(X):
    low, high = X.min(axis=0), X.max(axis=0)
    return (X - low) / np.where(high > low, high - low, 1.0)


def u_centred(x):
    n = len(x)
    distances = np.abs(np.subtract.outer(x, x))
    centred = distances - distances.sum(axis=0) / (n - 2)
    centred -= distances.sum(axis=1)[:, None] / (n - 2)
    centred += distances.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0.0)
    return centred


def naive_distance_correlation(x, y):
    a, b = u_centred(x), u_centred(y)
    return max(0.0, (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def naive_information(x, y):
    bias = (len(np.unique(x)) - 1) * (len(np.unique(y)) - 1) / (2 * len(x))
    return max(0.0, mutual_info_score(x, y) - bias)


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
    with pytest.raises(InputError, match=r"'pearson', 'spearman', .* got 'kendall'"):
        correlation_affinity(random_samples(), "kendall")


def test_a_matrix_that_does_not_fit_is_refused_before_it_is_allocated(monkeypatch):
    free = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(MemoryLimitError, match="affinity of 7 features"):
        correlation_affinity(random_samples())


def test_spearman_has_mid_ranks_at_ties():
    X = np.random.default_rng(0).integers(0, 4, (50, 5)).astype(float)
    expected = pairs(X, lambda x, y: abs(spearmanr(x, y).statistic))
    assert_allclose(correlation_affinity(X, "spearman"), expected, atol=1e-14)


@pytest.mark.parametrize("n_samples", [4, 5, 40, 61])
def test_distance_correlation_is_its_definition(n_samples):
    X = random_samples(n_samples)
    expected = pairs(X, naive_distance_correlation)
    assert_allclose(correlation_affinity(X, "distance_correlation"), expected, atol=1e-12)


def test_distance_correlation_sees_what_correlation_does_not():
    x = np.linspace(-1.0, 1.0, 201)
    X = np.column_stack((x, x**2, np.random.default_rng(0).random(201)))
    assert correlation_affinity(X)[0, 1] < 1e-12
    found = correlation_affinity(X, "distance_correlation")
    assert found[0, 1] > 0.1 > found[0, 2]


def test_centred_distances_that_are_only_rounding_count_as_none():
    X = random_samples(1000, 3)
    X[:, 1] = 0.0
    X[17, 1] = 3.7  # a single entry: all centred distances vanish
    affinity = correlation_affinity(X, "distance_correlation")
    assert_array_equal(affinity[1], 0.0)
    assert affinity[0, 2] > 0.0


def test_distance_correlation_of_three_samples_is_refused():
    with pytest.raises(InputError, match="at least 4 samples, got 3; pass more rows"):
        correlation_affinity(random_samples(3), "distance_correlation")


def test_mutual_information_is_that_of_the_bins_less_its_bias():
    X = np.exp(random_samples(300))
    X[:, 2] = np.round(X[:, 1] * 3)  # ties
    X[:, 3] = X[:, 1] > 1.0
    codes = binned(X).T
    expected = pairs(codes, naive_information)
    assert_allclose(correlation_affinity(X, "mutual_info"), expected, atol=1e-12)
    assert expected.max() > 0.3


def test_bins_hold_equal_numbers_and_keep_few_distinct_values():
    X = random_samples(500)
    X[:, 1] = np.random.default_rng(0).integers(0, 3, 500) * 7.5 - 3.0
    X[:, 2] = np.maximum(X[:, 2], 0.0)
    codes = binned(X)
    assert_array_equal(np.bincount(codes[0]), 50)  # sqrt(500 / 5) bins
    assert_array_equal(np.unique(X[:, 1])[codes[1]], X[:, 1])
    assert len(set(codes[2][X[:, 2] == 0.0])) == 1
    assert_array_equal(np.unique(codes[2]), np.arange(codes[2].max() + 1))
    assert binned(random_samples(10_000)).max() == 15
    assert binned(random_samples(5)).max() == 1


def test_information_of_independent_features_has_no_bias():
    X = np.random.default_rng(0).standard_normal((1000, 60))
    plugged_in = pairs(binned(X).T[:, :12], mutual_info_score)
    assert plugged_in[0, 1:].mean() > 0.05
    found = correlation_affinity(X, "mutual_info")
    assert found.mean() < 0.01
    assert 0.4 < np.mean(found[np.triu_indices(60, 1)] > 0.0) < 0.7  # of next order, 3 %


def test_covariance_is_squared_and_of_features_scaled_to_one():
    X = random_samples()
    expected = np.cov(unit(X), rowvar=False, bias=True) ** 2
    np.fill_diagonal(expected, 0.0)
    assert_allclose(correlation_affinity(X, "covariance"), expected, atol=1e-16, rtol=1e-11)


def test_class_mean_of_two_classes_is_the_squared_product_of_differences():
    X, y = random_samples(), np.array(["b", "a", "a", "b", "a"] * 8)
    difference = unit(X)[y == "a"].mean(axis=0) - unit(X)[y == "b"].mean(axis=0)
    expected = np.outer(difference, difference) ** 2
    np.fill_diagonal(expected, 0.0)
    assert_allclose(correlation_affinity(X, "class-mean", y), expected, atol=1e-16)


def test_class_mean_of_more_classes_weighs_them_by_their_share():
    X, y = random_samples(), np.array([3, 1, 1, 7, 1] * 8)

    def weight(i, j):
        products = 0.0
        for c in (1, 3, 7):
            here = y == c
            products += here.mean() * np.prod([x[here].mean() - x.mean() for x in (i, j)])
        return products**2

    expected = pairs(unit(X), weight)
    assert_allclose(correlation_affinity(X, "class-mean", y), expected, atol=1e-16, rtol=1e-10)


def test_class_mean_of_a_quantity_takes_covariances_with_its_standard_score():
    X, y = random_samples(), np.random.default_rng(1).standard_normal(40) * 5.0 + 100.0
    score = (y - y.mean()) / y.std()
    moment = (unit(X) - unit(X).mean(axis=0)).T @ score / 40
    expected = np.outer(moment, moment) ** 2
    np.fill_diagonal(expected, 0.0)
    assert_allclose(correlation_affinity(X, "class-mean", y), expected, atol=1e-16, rtol=1e-10)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed.*pass the labels as y, or choose 'covariance'"),
        ([0, 1], "expected 40, got 2"),
        ([1] * 40, "at least two classes, got 1"),
        ([np.nan, 1.0] * 20, "missing or infinite"),
    ],
)
def test_class_mean_without_usable_labels_is_refused(y, message):
    with pytest.raises(InputError, match=message):
        correlation_affinity(random_samples(), "class-mean", y)
    with pytest.raises(InputError, match=message):
        nearest_affinity(random_samples(), "class-mean", y)


@pytest.mark.parametrize("name", UNLABELLED)
def test_labels_are_ignored_where_they_are_not_needed(name):
    X = random_samples()
    assert_array_equal(correlation_affinity(X, name, y=["no"]), correlation_affinity(X, name))


@pytest.mark.parametrize("name", NAMES)
def test_no_affinity_sees_offset_and_scale(name):
    X, y = random_samples(64), np.arange(64) % 2
    expected = correlation_affinity(X, name, y)
    moved = X * np.array([1.0, 1e9, 1e-9, 1e300, 1e-300, 3.0, 7.0])
    assert_allclose(correlation_affinity(moved, name, y), expected, rtol=1e-9, atol=1e-13)
    steps = np.random.default_rng(1).integers(0, 8, (64, 4)).astype(float)
    expected = correlation_affinity(steps, name, y)
    assert_allclose(correlation_affinity(steps + 2.0**50, name, y), expected, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_every_affinity_is_symmetric_finite_and_zero_for_constants(name, monkeypatch):
    X, y = random_samples(n_features=9), np.arange(40) % 3
    X[:, [3, 5]] = 0.1
    affinity = correlation_affinity(X, name, y)
    assert_array_equal(affinity, affinity.T)
    assert_array_equal(np.diagonal(affinity), 0.0)
    assert_array_equal(affinity[[3, 5]], 0.0)
    assert np.isfinite(affinity).all()
    assert affinity.min() >= 0.0
    assert affinity.max() > 0.0
    monkeypatch.setattr(affinities, "BLOCK", 4)
    assert_allclose(correlation_affinity(X, name, y), affinity, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_nearest_affinities_are_the_largest_of_each_feature(name, monkeypatch):
    X, y = random_samples(60, 90), np.arange(60) % 3
    X[:, 5] = 1.0
    monkeypatch.setattr(affinities, "BLOCK", 32)
    affinity = correlation_affinity(X, name, y)
    rows = nearest_affinity(X, name, y, n_neighbors=5)
    kept = rows.toarray()
    assert rows.data.min() > 0.0
    assert_array_equal(kept, kept.T)
    assert_array_equal(np.diagonal(kept), 0.0)
    close = 2e-6 * affinity.max()
    assert_allclose(kept[kept > 0.0], affinity[kept > 0.0], atol=close)
    fifth = np.sort(affinity, axis=1)[:, -5]
    assert (kept[affinity > fifth[:, None] + close] > 0.0).all()
    assert (np.minimum(fifth[:, None], fifth) <= affinity + close)[kept > 0.0].all()
    every = nearest_affinity(X, name, y, n_neighbors=200).toarray()
    assert_allclose(every, affinity, atol=close)


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(2, 60), kept=st.integers(1, 9), block=st.integers(1, 70), seed=st.integers(0, 99)
)
def test_of_equal_weights_those_of_lower_number_are_kept(n, kept, block, seed):
    columns = np.random.default_rng(seed).integers(0, 3, (n, 2)).astype(np.float32)
    weights = columns @ columns.T
    np.fill_diagonal(weights, 0.0)
    expected = np.zeros((n, n))
    for row, found in zip(expected, weights, strict=True):
        first = np.argsort(-found, kind="stable")[:kept]
        row[first] = found[first]
    found = nearest_weights(VectorWeights(columns), kept, block)
    assert_array_equal(found.toarray(), np.maximum(expected, expected.T))


def test_neighbours_of_many_columns_cross_the_tiles():
    columns = np.random.default_rng(0).standard_normal((1500, 3)).astype(np.float32)
    found = nearest_weights(VectorWeights(columns), 20, 500).toarray()
    weights = np.abs(columns.astype(float) @ columns.T)
    np.fill_diagonal(weights, 0.0)
    twentieth = np.sort(weights, axis=1)[:, -20]
    either = weights >= np.minimum(twentieth[:, None], twentieth) * (1 + 1e-6)
    assert (found[either] > 0.0).all()
    assert np.count_nonzero(found) <= np.count_nonzero(either) + 3000 * 2


def test_only_named_affinities_of_many_features_are_sparse(monkeypatch):
    X = random_samples()
    assert isinstance(feature_affinity(X, "covariance"), np.ndarray)
    monkeypatch.setattr(affinities, "DENSE_FEATURES", 6)
    assert sparse.issparse(feature_affinity(X, "covariance"))
    assert isinstance(feature_affinity(X, lambda X: random_affinity(7)), np.ndarray)


def test_nearest_affinities_need_a_name_and_a_number_of_neighbours():
    with pytest.raises(InputError, match="got 'kendall'"):
        nearest_affinity(random_samples(), "kendall")
    with pytest.raises(InputError, match="n_neighbors is at least 1, got 0"):
        nearest_affinity(random_samples(), n_neighbors=0)


def test_nearest_affinities_that_do_not_fit_are_refused(monkeypatch):
    free = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(MemoryLimitError, match="strongest affinities of 7 features"):
        nearest_affinity(random_samples())


def tail(X, theta, cut, y=None):
    """Schmidt weight of all but the largest."""
    embedding = Trigonometric(theta=theta)
    if y is None:
        tensor = DataTensor(X, embedding=embedding)
    else:
        tensor = DataTensor.from_labels(X, y, embedding=embedding, balanced=True)
    weights = tensor.schmidt_values(cut).numpy() ** 2
    return weights[1:].sum() / weights.sum()


@pytest.mark.parametrize("block", [[0, 3], [0, 1, 2], [5]])
def test_severed_covariance_leads_the_schmidt_weights_of_small_angles(block):
    X, cut = unit(random_samples(30, 6)), Partition(block, 6)
    leading = surrogate_entanglement(correlation_affinity(X, "covariance"), cut)
    errors = []
    for theta in (0.05, 0.025):
        found = tail(X, theta, cut)
        angle = math.pi * theta
        assert found == pytest.approx(angle**4 * leading, rel=2 * angle**2)
        errors.append(abs(found / (angle**4 * leading) - 1))
    assert tail(X, 0.05, cut) / tail(X, 0.025, cut) == pytest.approx(16.0, rel=0.05)
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)  # the next order is angle^6


def test_severed_class_means_set_the_entropy_of_small_angles():
    X, y, cut = unit(random_samples(30, 6)), np.arange(30) % 3 == 0, Partition([0, 3], 6)
    differences = unit(X)[y].mean(axis=0) - unit(X)[~y].mean(axis=0)
    affinity = correlation_affinity(X, "class-mean", y)
    product = surrogate_entanglement(affinity, cut) / (differences @ differences) ** 2
    smaller = (1 - math.sqrt(1 - 4 * product)) / 2
    errors = [abs(tail(X, theta, cut, y) / smaller - 1) for theta in (0.1, 0.05)]
    assert errors[0] < 0.05
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.2)
    embedding = Trigonometric(theta=0.01)
    tensor = DataTensor.from_labels(X, y, embedding=embedding, balanced=True)
    expected = -smaller * math.log(smaller) - (1 - smaller) * math.log(1 - smaller)
    assert entanglement_entropy(tensor, cut) == pytest.approx(expected, rel=1e-3)


def entropies(X, order, shape, y=None):
    """True entropy at level 1, and its mean over the levels, of 300 rows in an order."""
    rows = np.random.default_rng(0).permutation(len(X))[:300]
    embedding = Trigonometric(theta=THETA)
    if y is None:
        tensor = DataTensor(X[rows], embedding=embedding)
    else:
        tensor = DataTensor.from_labels(X[rows], y[rows], embedding=embedding, balanced=True)
    profile = entanglement_profile(tensor.reordered(order), shape, tolerance=1e-5)
    return np.array([profile.by_level()[1], profile.mean])


def ordered_by(name, X, shape, y=None):
    n_samples = len(X) if affinities.is_correlation(name) else None
    return mincut_order(correlation_affinity(X, name, y), shape, n_samples, random_state=0)


def digits(*classes):
    data = load_digits()
    rows = np.isin(data.target, classes)
    return data.data[rows], data.target[rows]


@pytest.mark.parametrize("shape", [64, (8, 8), 30])
def test_covariance_orders_have_less_entropy_than_correlation_orders(shape):
    X = unit(load_breast_cancer().data if shape == 30 else load_digits().data)
    found = entropies(X, ordered_by("covariance", X, shape), shape)
    assert (found < entropies(X, ordered_by("pearson", X, shape), shape)).all()


@pytest.mark.parametrize("shape", [64, (8, 8), 30])
def test_class_mean_orders_have_less_entropy_of_labelled_data(shape):
    X, y = load_breast_cancer(return_X_y=True) if shape == 30 else digits(3, 8)
    X = unit(X)
    found = entropies(X, ordered_by("class-mean", X, shape, y), shape, y)
    assert (found < entropies(X, ordered_by("pearson", X, shape), shape, y)).all()


@pytest.mark.parametrize("build", [correlation_affinity, nearest_affinity])
def test_the_number_of_threads_changes_no_bit(build):
    X = np.random.default_rng(0).standard_normal((311, 1203)).cumsum(axis=1)
    found = []
    for n_threads in (1, 2, 4):
        with threadpool_limits(n_threads, "blas"):
            weights = build(X)
            found.append(weights if isinstance(weights, np.ndarray) else weights.toarray())
    assert_array_equal(found[1], found[0])
    assert_array_equal(found[2], found[0])
