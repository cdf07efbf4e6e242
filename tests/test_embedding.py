import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entangle.embedding import (
    Fourier,
    Gaussian,
    Identity,
    OneHot,
    Polynomial,
    Trigonometric,
    auto_theta,
    channel_product,
    local_vectors,
    resolve_embedding,
)
from entangle.errors import InputError

SCALAR = [Trigonometric(0.3), Polynomial(2), OneHot(3), Fourier((0.2, 0.7))]
GAUSSIAN = [Gaussian(0.8), Gaussian(0.8, (0, 3))]


def kernels(vectors):
    """Inner products of all samples, feature by feature, shape (samples, samples, features)."""
    return torch.einsum("mfk,nfk->mnf", vectors, vectors)


def uniform(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random(shape))


def random_codes(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 3, shape).astype(float))


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.01, 2))
def test_trigonometric_kernel_is_a_cosine(x, other, theta):
    vectors = Trigonometric(theta)(torch.tensor([[x], [other]], dtype=torch.float64))
    kernel = float(vectors[0, 0] @ vectors[1, 0])
    assert kernel == pytest.approx(math.cos(math.pi * theta * (x - other)), abs=1e-12)


def test_polynomial_gives_powers():
    X = torch.tensor([[2.0, -3.0]], dtype=torch.float64)
    assert Polynomial(3)(X)[0].tolist() == [[1, 2, 4, 8], [1, -3, 9, -27]]


@given(
    st.floats(-20, 20),
    st.floats(-20, 20),
    st.lists(st.floats(0.01, 2), min_size=1, max_size=4, unique=True),
)
def test_fourier_kernel_is_a_mean_of_cosines(x, other, frequencies):
    vectors = Fourier(tuple(frequencies))(torch.tensor([[x], [other]], dtype=torch.float64))
    assert vectors.shape == (2, 1, 2 * len(frequencies))
    expected = np.cos(np.pi * np.array(frequencies) * (x - other)).mean()
    assert float(vectors[0, 0] @ vectors[1, 0]) == pytest.approx(expected, abs=1e-12)


def test_one_frequency_is_the_trigonometric_embedding():
    X = uniform(5, 3, 2)
    assert torch.equal(Fourier([0.085])(X), Trigonometric(0.085)(X))
    assert Fourier([0.1, 0.2]) == Fourier((0.1, 0.2))


def test_the_default_frequencies_fall_over_the_range_that_is_documented():
    difference = torch.linspace(0, 2.9, 200, dtype=torch.float64)[:, None]
    kernel = kernels(Fourier()(difference))[0, :, 0]
    assert bool((kernel.diff() < 0).all())
    assert float(Fourier()(torch.tensor([[0.0], [1.0]]))[:, 0].prod(dim=0).sum()) == pytest.approx(
        0.77, abs=0.005
    )


@pytest.mark.parametrize("bounded", [False, True])
@given(
    values=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    spread=st.floats(0.01, 16),
    offset=st.sampled_from([0.0, -0.5, 1e6]),
)
def test_gaussian_kernel_is_exact_to_rounding(values, spread, offset, bounded):
    X = torch.tensor(values, dtype=torch.float64)[:, None] + offset
    embedding = Gaussian(1 / spread, (offset, offset + 1) if bounded else None)
    vectors = embedding(X)
    assert 2 <= vectors.shape[2] <= max(2, 64 if bounded else len(set(values)))
    exact = torch.exp(-0.5 * ((X - X.T) * spread) ** 2)
    assert float((kernels(vectors)[:, :, 0] - exact).abs().max()) < 2e-14


def test_gaussian_dimension_is_what_the_docstring_says():
    """Each feature has its own factor; the widest sets the dimension of all."""
    unit = torch.linspace(0, 1, 500, dtype=torch.float64)[:, None]
    for spread, local in [(1, 9), (2, 13), (5, 21), (16, 51)]:
        assert Gaussian(1.0)(spread * unit).shape[2] in range(local - 2, local + 1)
        assert Gaussian(1.0, (0, spread))(spread * unit).shape[2] in range(local - 3, local + 2)
    far = torch.cat([unit, unit + 1e9, 5 * unit], dim=1)
    assert Gaussian(1.0)(far).shape[2] == Gaussian(1.0)(5 * unit).shape[2]


def test_gaussian_of_single_precision_is_worked_out_in_double():
    X = uniform(100, 2).float()
    assert torch.equal(Gaussian(0.5)(X), Gaussian(0.5)(X.double()))


def test_gaussian_of_far_categories_is_one_hot():
    codes = random_codes(30, 4)
    vectors = Gaussian(0.01)(codes)
    assert torch.equal(kernels(vectors), kernels(OneHot(3)(codes)))
    assert vectors.shape[2] == 3
    assert Gaussian()(torch.ones(4, 2)).tolist() == [[[1.0, 0.0]] * 2] * 4


@pytest.mark.parametrize("embedding", [*SCALAR, *GAUSSIAN], ids=repr)
def test_equal_values_have_equal_vectors(embedding):
    codes = random_codes(101, 3)
    vectors = embedding(codes)
    for code in range(3):
        for feature in range(3):
            same = vectors[codes[:, feature] == code, feature]
            assert bool((same == same[0]).all())


def test_gaussian_vectors_of_an_interval_depend_on_nothing_but_the_value():
    X = uniform(50, 4, 2)
    embedding = Gaussian(4.0, (0, 1))
    assert torch.equal(embedding(X)[7:20, 1:3], embedding(X[7:20, 1:3]))
    assert torch.equal(
        embedding(X[:, :, 0]).flatten(0, 1), embedding(X[:, :, 0].reshape(200, 1))[:, 0]
    )


@pytest.mark.parametrize("embedding", SCALAR, ids=repr)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_kernels_of_channels_multiply(embedding, channels):
    X = random_codes(12, 4, channels, seed=1)
    parts = [embedding(X[:, :, channel]) for channel in range(channels)]
    expected = torch.stack([kernels(part) for part in parts]).prod(dim=0)
    assert embedding(X).shape[2] == parts[0].shape[2] ** channels
    torch.testing.assert_close(kernels(embedding(X)), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("embedding", "channels"), [(Gaussian(0.8), 1), (Gaussian(0.8), 3), (Gaussian(5, (0, 2)), 2)]
)
def test_gaussian_kernel_of_channels_is_that_of_their_distance(embedding, channels):
    X = random_codes(12, 4, channels, seed=1)
    difference = ((X[:, None] - X[None]) ** 2).sum(dim=3)
    expected = torch.exp(-difference / (2 * embedding.length_scale**2))
    assert float((kernels(embedding(X)) - expected).abs().max()) < 2e-14


def test_the_last_channel_runs_fastest():
    X = torch.tensor([[[2.0, 3.0]]], dtype=torch.float64)
    assert Polynomial(2)(X).tolist() == [[[1, 3, 9, 2, 6, 18, 4, 12, 36]]]


def test_identity_takes_the_channels():
    X = uniform(6, 3, 4)
    assert torch.equal(Identity()(X), X)
    vectors, lengths = local_vectors(X, Identity())
    assert vectors.shape == (3, 4, 6)
    assert lengths.shape == (6, 3)
    back = (vectors * lengths.T[:, None]).permute(2, 0, 1)
    torch.testing.assert_close(back, X, rtol=1e-14, atol=0)


def test_the_largest_local_vector_of_channels():
    assert Trigonometric()(uniform(2, 3, 6)).shape == (2, 3, 64)
    assert Polynomial(3)(uniform(2, 3, 3)).shape == (2, 3, 64)
    assert channel_product(uniform(2, 3, 1, 100)).shape == (2, 3, 100)


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
        (lambda: Fourier(()), "at least one"),
        (lambda: Fourier((0.1, -1.0)), "positive finite"),
        (lambda: Fourier((0.1, 0.1)), "must differ"),
        (lambda: Fourier(0.1), r"pass \(0.1,\)"),
        (lambda: Gaussian(0), "in the unit of the data"),
        (lambda: Gaussian(math.nan), "in the unit of the data"),
        (lambda: Gaussian(1, (1, 0)), "lowest and the highest"),
        (lambda: Gaussian(1, (0, math.inf)), "lowest and the highest"),
        (lambda: Gaussian(1, 3), "lowest and the highest"),
        (lambda: Gaussian(1, (0, 1))(torch.tensor([[2.0]])), r"interval \[0, 1\], got 2.0"),
        (
            lambda: Gaussian(1, (0, 100))(torch.tensor([[2.0]])),
            "pass a length_scale of 6.25 or more",
        ),
        (lambda: Gaussian()(torch.arange(80.0)[:, None]), "length_scale of 4.94 or more"),
        (lambda: Gaussian()(3 * uniform(99, 2, 2)), "larger length_scale, or make each channel"),
        (lambda: Gaussian(1, (0, 1))(uniform(2, 2, 2)), r"9\^2 components, more than 64"),
        (lambda: Trigonometric()(uniform(2, 2, 7)), r"2\^7 components, more than 64; make each"),
        (lambda: Trigonometric()(uniform(2, 2, 9999)), r"2\^9999"),
        (lambda: Identity()(uniform(2, 2)), r"at least 2 channels, got \(2, 2\)"),
        (lambda: Identity()(uniform(2, 2, 1)), r"at least 2 channels, got \(2, 2, 1\)"),
        (lambda: resolve_embedding("trigonometrik"), "did you mean 'trigonometric'"),
        (lambda: resolve_embedding(3), "name or a callable"),
    ],
)
def test_bad_embeddings(make, match):
    with pytest.raises(InputError, match=match):
        make()


def test_names_and_callables_resolve():
    assert resolve_embedding("trigonometric") == Trigonometric(0.085)
    assert resolve_embedding("fourier") == Fourier((0.085, 0.17, 0.34))
    assert resolve_embedding("gaussian") == Gaussian(1.0)
    assert resolve_embedding("identity") == Identity()
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


def test_auto_theta_sums_over_channels_as_over_features():
    X = uniform(20, 4, 3)
    assert auto_theta(X) == auto_theta(X.flatten(1))


def test_auto_theta_refuses_equal_samples():
    with pytest.raises(InputError, match="samples that differ"):
        auto_theta(torch.ones(10, 3, dtype=torch.float64))
