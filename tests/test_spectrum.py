import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from entangle import spectrum
from entangle.entropy import entropy_of_weights
from entangle.spectrum import (
    density_spectrum,
    discarded_weight_for,
    entropy_error_bound,
    entropy_interval,
    gram_spectrum,
)


def sides(n_samples, rank, decay, seed=0):
    """Two sample matrices whose product has a spectrum decaying like exp(-decay r)."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n_samples, rank)) * np.exp(-decay * np.arange(rank))
    B = rng.normal(size=(n_samples, rank))
    return A, B


def both_grams(A, B):
    return torch.from_numpy(A @ A.T), torch.from_numpy(B @ B.T)


def exact_weights(A, B):
    squared = np.linalg.svd(A.T @ B, compute_uv=False) ** 2
    return squared / squared.sum(), squared.sum()


@pytest.mark.parametrize("decay", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("n_samples", [30, 400])
def test_spectrum_of_two_gram_matrices_is_that_of_the_product(decay, n_samples):
    A, B = sides(n_samples, 60, decay)
    G, H = both_grams(A, B)
    exact, total = exact_weights(A, B)
    found = gram_spectrum(G, H, total, 60, 1e-8, 1e-14)
    assert_allclose(found.weights[:60], exact[: found.weights[:60].size], atol=1e-12)
    error = abs(entropy_of_weights(found.weights) - entropy_of_weights(exact))
    assert error <= entropy_error_bound(found.discarded, found.max_rank)


def test_a_decaying_spectrum_takes_the_sketched_route(monkeypatch):
    monkeypatch.setattr(spectrum, "_dense", lambda G, H: pytest.fail("took the dense route"))
    A, B = sides(400, 200, 0.3)
    exact, total = exact_weights(A, B)
    found = gram_spectrum(*both_grams(A, B), total, 200, 1e-6, 1e-14)
    assert found.weights.size < 100
    exact_tail = 1 - (found.weights).sum()
    assert found.discarded >= exact_tail > 1e-14  # what is missing, not only its rounding
    assert abs(entropy_of_weights(found.weights) - entropy_of_weights(exact)) <= 1e-6
    assert entropy_error_bound(found.discarded, found.max_rank) <= 1e-6


def test_a_tail_that_does_not_fall_goes_to_the_dense_route():
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(400, 200)), rng.normal(size=(400, 10))
    squared = np.linalg.svd(A.T @ B, compute_uv=False) ** 2
    tolerance = entropy_error_bound(1e-13 + 1e-16, 400)
    found = gram_spectrum(*both_grams(A, B), squared.sum(), 400, tolerance, 1e-13)
    falling = 0.5 ** np.arange(48)
    assert spectrum._next_sketch(falling, 0.0, 0.0) > 10**6  # rounding hides what is missing
    for weights in (np.r_[0.5, 0.5, np.zeros(46)], np.array([1.0])):
        assert spectrum._next_sketch(weights, 1e-15, 1e-16) > 10**6  # no rate to go by
    assert_allclose(found.weights[:10], squared / squared.sum(), atol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.05, 0.2])
def test_sketches_end_where_columns_add_no_direction(monkeypatch, decay):
    widths = []

    def counted(G, H, n_columns, sketched=spectrum._sketched):
        assert n_columns not in widths
        widths.append(n_columns)
        return sketched(G, H, n_columns)

    monkeypatch.setattr(spectrum, "_sketched", counted)
    A, B = sides(400, 60, decay)
    exact, total = exact_weights(A, B)
    found = gram_spectrum(*both_grams(A, B), total * (1 + 1e-9), 400, 1e-9, 1e-13)
    assert_allclose(found.weights[: exact.size], exact, atol=1e-8)


def test_the_sketch_keeps_less_than_the_tensor_holds():
    A, B = sides(300, 200, 0.01)
    exact, total = exact_weights(A, B)
    kept = spectrum._sketched(*both_grams(A, B), 20).flip(0).numpy() / total
    assert (kept <= exact[: kept.size] * (1 + 1e-12)).all()
    assert kept.sum() < 0.9


def test_density_matrix_has_the_spectrum():
    A, B = sides(50, 6, 0.2)
    exact, total = exact_weights(A, B)
    G = torch.from_numpy(A.T @ B @ B.T @ A)
    assert_allclose(density_spectrum(G, total, 6, 0.0).weights, exact, atol=1e-14)


@given(
    kept=st.integers(1, 12),
    empty=st.integers(0, 12),
    missing=st.floats(1e-12, 0.6),
    seed=st.integers(0, 2**32 - 1),
)
def test_interval_holds_whatever_was_discarded(kept, empty, missing, seed):
    rng = np.random.default_rng(seed)
    weights = np.sort(rng.dirichlet(np.full(kept, 0.4)))[::-1] * (1 - missing)
    low, high = entropy_interval(weights, missing, kept + empty)
    for concentration in (0.05, 1.0, 50.0):
        added = missing * rng.dirichlet(np.full(kept + empty, concentration))
        whole = np.append(weights, np.zeros(empty)) + added
        assert low - 1e-12 <= entropy_of_weights(whole) <= high + 1e-12


def test_both_ends_of_the_interval_are_attained():
    weights = np.array([0.5, 0.3, 0.04, 0.01])
    low, high = entropy_interval(weights, 0.15, 6)
    assert low == pytest.approx(entropy_of_weights(np.array([0.65, 0.3, 0.04, 0.01])))
    level = (0.15 + 0.04 + 0.01) / 4  # the two smallest and two empty places, filled up
    assert high == pytest.approx(entropy_of_weights(np.array([0.5, 0.3] + [level] * 4)))
    assert entropy_interval(weights, 0.15, 4)[1] == pytest.approx(
        entropy_of_weights(np.array([0.5, 0.3, 0.1, 0.1]))
    )
    assert entropy_interval(np.array([0.9]), 0.1, 1) == (0.0, 0.0)


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1e-17]])
def test_an_interval_of_nothing_found_is_everything(weights):
    assert entropy_interval(np.array(weights), 1.0, 8) == (0.0, pytest.approx(math.log(8)))


@given(st.floats(1e-9, 1e-3), st.integers(50, 10**5))
def test_interval_is_half_of_audenaerts_bound_to_either_side(missing, rank):
    weights = 0.8 ** np.arange(40)
    weights *= (1 - missing) / weights.sum()
    low, high = entropy_interval(weights, missing, rank)
    assert (high - low) / 2 <= 0.6 * entropy_error_bound(missing, rank)


@given(st.integers(2, 30), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_error_bound_holds_for_any_two_weight_vectors(rank, mix, seed):
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.full(rank, 0.3), size=2)
    q = (1 - mix) * p + mix * q
    distance = 0.5 * np.abs(p - q).sum()
    difference = abs(entropy_of_weights(p) - entropy_of_weights(q))
    assert difference <= entropy_error_bound(distance, rank) + 1e-12


def test_error_bound_is_attained():
    """Audenaert's extremal pair: a pure state and one mixed evenly with all others."""
    rank, distance = 7, 0.2
    mixed = np.array([1 - distance] + [distance / (rank - 1)] * (rank - 1))
    assert entropy_of_weights(mixed) == pytest.approx(entropy_error_bound(distance, rank))


@given(st.floats(1e-10, 0.5), st.integers(2, 10**6))
def test_discarded_weight_is_the_inverse_of_the_bound(tolerance, rank):
    weight = discarded_weight_for(tolerance, rank)
    assert entropy_error_bound(weight, rank) <= tolerance
    assert weight > 0.49 or entropy_error_bound(1.01 * weight, rank) > tolerance


def test_error_bound_at_its_ends():
    assert entropy_error_bound(0.0, 10) == 0
    assert entropy_error_bound(1.0, 10) == pytest.approx(math.log(10))
    assert entropy_error_bound(0.3, 1) == 0
