import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entangle.embedding import OneHot, Polynomial, Trigonometric, auto_theta, resolve_embedding
from entangle.errors import InputError


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.01, 2))
def test_trigonometric_kernel_is_a_cosine(x, other, theta):
    vectors = Trigonometric(theta)(torch.tensor([[x], [other]], dtype=torch.float64))
    kernel = float(vectors[0, 0] @ vectors[1, 0])
    assert kernel == pytest.approx(math.cos(math.pi * theta * (x - other)), abs=1e-12)


def test_polynomial_gives_powers():
    X = torch.tensor([[2.0, -3.0]], dtype=torch.float64)
    assert Polynomial(3)(X)[0].tolist() == [[1, 2, 4, 8], [1, -3, 9, -27]]


def test_one_hot_kernel_is_equality():
    X = torch.tensor([[0.0], [2.0], [2.0]], dtype=torch.float64)
    vectors = OneHot(3)(X)[:, 0]
    assert (vectors @ vectors.T).tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Trigonometric(0), "positive finite"),
        (lambda: Trigonometric(math.nan), "positive finite"),
        (lambda: Polynomial(0), "at least 1"),
        (lambda: OneHot(1), "at least 2"),
        (lambda: OneHot(2)(torch.tensor([[0.5]], dtype=torch.float64)), "category codes"),
        (lambda: OneHot(2)(torch.tensor([[-1.0]], dtype=torch.float64)), "category codes"),
        (lambda: OneHot(2)(torch.tensor([[2.0]], dtype=torch.float64)), r"pass OneHot\(3\)"),
        (lambda: resolve_embedding("trigonometrik"), "did you mean 'trigonometric'"),
        (lambda: resolve_embedding(3), "name or a callable"),
    ],
)
def test_bad_embeddings(make, match):
    with pytest.raises(InputError, match=match):
        make()


def test_names_and_callables_resolve():
    assert resolve_embedding("trigonometric") == Trigonometric(0.085)
    own = Polynomial(4)
    assert resolve_embedding(own) is own


def test_auto_theta_puts_the_median_kernel_at_one_over_e():
    X = torch.from_numpy(np.random.default_rng(0).random((80, 50)))
    theta = auto_theta(X)
    difference = X[:, None] - X[None]
    logs = -(difference * math.pi * theta).cos().log().sum(dim=2)
    everyone = logs[~torch.eye(80, dtype=torch.bool)].median()
    assert float(everyone) == pytest.approx(1, abs=0.05)  # 2000 random pairs of 6320


@given(st.floats(0.01, 100))
def test_auto_theta_follows_the_unit_of_the_data(unit):
    X = torch.from_numpy(np.random.default_rng(1).random((30, 8)))
    assert auto_theta(unit * X) * unit == pytest.approx(auto_theta(X), rel=1e-6)


def test_auto_theta_never_turns_a_difference_beyond_a_right_angle():
    X = torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert auto_theta(X) <= 0.5


def test_auto_theta_refuses_equal_samples():
    with pytest.raises(InputError, match="samples that differ"):
        auto_theta(torch.ones(10, 3, dtype=torch.float64))
