import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_digits

from entangle import DataTensor, descent, entanglement_profile
from entangle.affinity import correlation_affinity
from entangle.data_tensor import DataTensor as Tensor
from entangle.descent import _Measured, _Objective, entropy_descent
from entangle.embedding import OneHot, Trigonometric
from entangle.errors import InputError, MemoryLimitError, PartitionError
from entangle.ordering import mincut_order
from entangle.partition import CanonicalTree
from tests.oracles import dense_entropy, dense_schmidt_values, trigonometric


def mixed(n_samples=40, n_features=8, n_factors=3, seed=0):
    """Rows with a few common factors, and labels that go with the first."""
    rng = np.random.default_rng(seed)
    factors = rng.random((n_samples, n_factors))
    X = factors @ rng.random((n_factors, n_features)) / n_factors
    X += 0.3 * rng.random((n_samples, n_features))
    return X, np.where(factors[:, 0] > 0.5, 1.0, -1.0)


def dense_mean(X, weights, permutation, shape, levels, theta):
    tree = CanonicalTree(shape)
    nodes = [node for node in tree.nodes if node.level in levels]
    vectors = trigonometric(np.asarray(X)[:, permutation], theta)
    blocks = [tree.partition(node).block.tolist() for node in nodes]
    return np.mean([dense_entropy(dense_schmidt_values(vectors, weights, b)) for b in blocks])


def lowest_split(tensor):
    """Over all balanced splits; the label axis, if there is one, is on either side."""
    n = tensor.n_features
    orders = [
        [*half, *(i for i in range(n) if i not in half)]
        for half in itertools.combinations(range(n), n // 2)
    ]
    return min(entanglement_profile(tensor.reordered(order), n, 1).mean for order in orders)


@pytest.mark.parametrize("labelled", [False, True])
def test_random_starts_reach_the_best_of_all_balanced_splits(labelled):
    reached = []
    for seed in range(8):
        X, y = mixed(seed=seed)
        tensor = DataTensor(X, y if labelled else None, Trigonometric(0.3))
        start = np.random.default_rng(seed).permutation(8)
        found = entropy_descent(tensor, start, 8, levels=1)
        best = lowest_split(tensor)
        assert best - 1e-9 <= found.entropy_after <= found.entropy_before
        assert found.converged
        reached.append(found.entropy_after <= best + 2e-6)
    assert sum(reached) >= 7


@settings(max_examples=12)
@given(
    data=st.data(),
    shape=st.sampled_from([4, 5, 7, (2, 3), (3, 3), (2, 2, 2)]),
    kind=st.sampled_from(["unlabelled", "labelled", "label axis"]),
    theta=st.sampled_from([0.085, 0.5, 1.5]),
)
def test_a_descent_never_rises_and_says_what_it_did(data, shape, kind, theta):
    n, seed = int(np.prod(shape)), data.draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    X, start = rng.random((10, n)), rng.permutation(n)
    weights = {
        "unlabelled": np.ones(10),
        "labelled": rng.choice([-1.0, 1.0], 10) + 0.1,
        "label axis": np.eye(3)[rng.integers(3, size=10)],
    }[kind]
    tensor = DataTensor(X, weights, Trigonometric(theta))
    levels = list(range(1, min(2, CanonicalTree(shape).depth) + 1))
    found = entropy_descent(tensor, start, shape, levels, max_steps=4)
    before = dense_mean(X, weights, start, shape, levels, theta)
    after = dense_mean(X, weights, found.permutation, shape, levels, theta)
    assert sorted(found.permutation) == list(range(n))
    assert found.entropy_before == pytest.approx(before, abs=1e-9)
    assert abs(found.entropy_after - after) <= found.error_bound + 1e-12
    assert after <= before
    assert len(found.history) >= 1
    assert all(np.diff(found.history) < 0)
    assert found.history[0] == found.entropy_before
    assert found.history[-1] == found.entropy_after
    assert found.n_swaps >= len(found.history) - 1
    assert found.n_evaluations > 0


@pytest.mark.parametrize("dense", [True, False])
def test_the_error_bound_holds_the_dense_entropy(monkeypatch, dense):
    if not dense:
        monkeypatch.setattr("entangle.data_tensor.DENSE_ELEMENTS", 1)
    X, y = mixed(60, 9, seed=3)
    found = entropy_descent(
        DataTensor(X, y, Trigonometric(0.4)), np.arange(9)[::-1], (3, 3), [1, 2]
    )
    exact = dense_mean(X, y, found.permutation, (3, 3), [1, 2], 0.4)
    assert abs(found.entropy_after - exact) <= found.error_bound <= 1e-6
    assert found.entropy_after < found.entropy_before


def test_one_level_alone_is_what_is_lowered():
    X, y = mixed(50, 12, seed=5)
    tensor = DataTensor(X, y, Trigonometric(0.4))
    found = entropy_descent(tensor, np.arange(12), 12, levels=[2])
    profile = entanglement_profile(tensor.reordered(found.permutation), 12, [2])
    assert found.entropy_after == pytest.approx(profile.mean, abs=1e-9)
    assert found.entropy_after < found.entropy_before


def test_one_hot_categories_are_refined_too():
    rng = np.random.default_rng(0)
    base = rng.integers(3, size=(40, 4))
    X = np.where(
        rng.random((40, 8)) < 0.8, np.repeat(base, 2, axis=1), rng.integers(3, size=(40, 8))
    )
    found = entropy_descent(DataTensor(X, embedding=OneHot(3)), [0, 2, 4, 6, 1, 3, 5, 7], 8, 1)
    assert found.entropy_after < found.entropy_before - 0.1


def test_an_executor_changes_nothing():
    X, y = mixed(40, 10, seed=7)
    tensor = DataTensor(X, y, Trigonometric(0.4))
    alone = entropy_descent(tensor, np.arange(10), 10)
    with ThreadPoolExecutor(2) as executor:
        together = entropy_descent(tensor, np.arange(10), 10, executor=executor)
    assert_array_equal(alone.permutation, together.permutation)
    assert_allclose(alone.history, together.history, rtol=1e-9)


def test_many_features_are_refined_from_the_most_promising(monkeypatch):
    monkeypatch.setattr(descent, "CANDIDATES", 6)
    X, y = mixed(60, 24, n_factors=4, seed=8)
    found = entropy_descent(DataTensor(X, y, Trigonometric(0.3)), np.arange(24), 24)
    assert found.entropy_after < 0.95 * found.entropy_before


def test_steps_are_counted():
    X, y = mixed(30, 16, seed=9)
    tensor = DataTensor(X, y, Trigonometric(0.3))
    none = entropy_descent(tensor, np.arange(16), 16, max_steps=0)
    assert (none.n_swaps, none.n_evaluations, none.converged) == (0, 1, False)
    assert_array_equal(none.permutation, np.arange(16))
    one = entropy_descent(tensor, np.arange(16), 16, max_steps=1)
    assert len(one.history) == 2
    assert one.n_swaps >= 1
    again = entropy_descent(tensor, entropy_descent(tensor, np.arange(16), 16).permutation, 16)
    assert (again.n_swaps, again.converged) == (0, True)


def real(name):
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return X[:150] / 16.0, y[:150], (8, 8)
    X, y = load_breast_cancer(return_X_y=True)
    X = X[:300]
    return (X - X.min(axis=0)) / np.ptp(X, axis=0), y[:300], 30


@pytest.mark.parametrize(
    ("name", "start", "gain"),
    [
        ("breast_cancer", "correlation", 0.1),
        ("breast_cancer", "covariance", 0.03),
        ("digits", "correlation", 0.0),
        ("digits", "random", 0.03),
    ],
)
def test_real_data_are_lowered_beyond_a_minimum_cut(name, start, gain):
    X, y, shape = real(name)
    if start == "correlation":
        order = mincut_order(correlation_affinity(X), shape, random_state=0)
    elif start == "covariance":
        squared = np.cov(X.T) ** 2
        np.fill_diagonal(squared, 0.0)
        order = mincut_order(squared / squared.max(), shape, random_state=0)
    else:
        order = np.random.default_rng(0).permutation(X.shape[1])
    tensor = DataTensor.from_labels(X, y, Trigonometric(0.085))
    found = entropy_descent(tensor, order, shape, max_steps=4)
    assert found.entropy_after < (1 - gain) * found.entropy_before
    profile = entanglement_profile(tensor.reordered(found.permutation), shape, 2)
    assert profile.mean == pytest.approx(found.entropy_after, abs=2e-6)


def test_an_order_of_one_half_helps_the_rows_of_the_other():
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.min(axis=0)) / np.ptp(X, axis=0)
    start = np.random.default_rng(0).permutation(30)
    halves = [DataTensor.from_labels(X[k::2], y[k::2], Trigonometric(0.085)) for k in (0, 1)]
    found = entropy_descent(halves[0], start, 30)
    before, after = (
        entanglement_profile(halves[1].reordered(order), 30, 2).mean
        for order in (start, found.permutation)
    )
    assert after < 0.8 * before


def test_what_cannot_be_refined_is_refused(monkeypatch):
    X, y = mixed()
    tensor = DataTensor(X, y)
    with pytest.raises(InputError, match=r"each of 0\.\.7 once"):
        entropy_descent(tensor, [0, 0, 1, 2, 3, 4, 5, 6], 8)
    with pytest.raises(PartitionError, match="9 positions, the state has 8"):
        entropy_descent(tensor, np.arange(8), (3, 3))
    for levels in ([4], [0], [], 0):
        with pytest.raises(PartitionError, match="levels run from 1 to 3"):
            entropy_descent(tensor, np.arange(8), 8, levels=levels)
    with pytest.raises(InputError, match="max_steps is a number of steps from 0 on, got -1"):
        entropy_descent(tensor, np.arange(8), 8, max_steps=-1)
    with pytest.raises(InputError, match="tolerance is a positive number"):
        entropy_descent(tensor, np.arange(8), 8, tolerance=0)
    monkeypatch.setattr(Tensor, "free_memory", 1e5)
    with pytest.raises(MemoryLimitError, match=r"gradients of 5 cuts .* use fewer levels"):
        entropy_descent(tensor, np.arange(8), 8)


def test_only_a_gain_beyond_both_error_bounds_is_certain():
    tensor = DataTensor(np.random.default_rng(0).random((20, 4)))
    objective = _Objective(tensor, 4, 1, tolerance=1e-3)
    order = np.arange(4)
    before = _Measured(order, mean=1.0, error=0.1)
    assert not objective.better(_Measured(order, mean=0.81, error=0.1), before)
    assert objective.better(_Measured(order, mean=0.79, error=0.1), before)
    exact = _Measured(order, mean=1.0, error=0.0)
    assert not objective.better(_Measured(order, mean=0.9995, error=0.0), exact)
    assert objective.better(_Measured(order, mean=0.9985, error=0.0), exact)
