import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from entangle.gram import CompiledVectors, gram_product, row_kronecker


def local_vectors(n_features, local, n_samples, seed=0):
    vectors = torch.from_numpy(
        np.random.default_rng(seed).normal(size=(n_features, local, n_samples))
    )
    return vectors / vectors.norm(dim=1, keepdim=True)


def naive(vectors):
    return torch.einsum("fdm,fdn->fmn", vectors, vectors).prod(dim=0)


@given(
    n_features=st.integers(1, 6),
    local=st.integers(1, 9),
    n_samples=st.sampled_from([1, 2, 3, 4, 5, 31, 63, 64, 65, 130]),
)
def test_gram_product_is_the_product_of_kernels(n_features, local, n_samples):
    vectors = local_vectors(n_features, local, n_samples)
    found = gram_product(vectors)
    assert_allclose(found, naive(vectors), rtol=1e-13, atol=1e-15)
    assert torch.equal(found, found.T)


@given(
    n_features=st.integers(1, 9),
    n_samples=st.sampled_from([1, 4, 5, 64, 65, 130]),
    reach=st.floats(1e-3, 1.5),
    seed=st.integers(0, 99),
)
def test_vectors_with_positive_first_components_go_by_their_ratios(
    n_features, n_samples, reach, seed
):
    """Products of cosines of differences, in closed form."""
    angles = reach * np.random.default_rng(seed).uniform(-1, 1, size=(n_features, n_samples))
    vectors = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert CompiledVectors.of(vectors).ratios is not None
    expected = np.cos(angles[:, :, None] - angles[:, None]).prod(axis=0)
    assert_allclose(gram_product(vectors), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    ("angle", "n_features", "length"),
    [(1.55, 200, 1.0), (0.1, 300, 1.2), (np.pi / 2 + 0.1, 3, 1.0)],
    ids=["leads underflow", "long", "negative"],
)
def test_ratios_are_left_where_they_are_unsafe(angle, n_features, length):
    angles = np.full((n_features, 5), angle)
    angles[0] += [0, 0.1, 0.2, 0.3, 0.4]
    vectors = length * torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert CompiledVectors.of(vectors).ratios is None
    expected = np.cos(angles[0] - angles[0, :, None]) * length ** (2 * n_features)
    assert_allclose(gram_product(vectors), expected, rtol=1e-11)


def test_first_components_of_zero_have_no_ratios():
    vectors = local_vectors(5, 2, 7).abs()
    vectors[3, :, 2] = torch.tensor([0.0, 1.0])
    assert CompiledVectors.of(vectors).ratios is None
    assert_allclose(gram_product(vectors), naive(vectors), rtol=1e-13)


def test_gram_product_on_every_device(device):
    vectors = local_vectors(40, 2, 70)
    found = gram_product(vectors.to(device))
    assert found.device.type == device.type
    assert_allclose(found.cpu(), naive(vectors), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_gram_product_does_not_depend_on_threads(threads):
    vectors = local_vectors(9, 2, 101)
    expected = gram_product(vectors)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(gram_product(vectors), expected)
    finally:
        torch.set_num_threads(before)


def test_row_kronecker_has_the_gram_product_as_its_gram_matrix():
    vectors = local_vectors(5, 3, 12)
    rows = row_kronecker(vectors)
    assert rows.shape == (12, 3**5)
    assert_allclose(rows @ rows.T, naive(vectors), atol=1e-14)


def test_row_kronecker_runs_the_last_feature_fastest():
    vectors = local_vectors(3, 2, 1)
    expected = torch.einsum("a,b,c->abc", *vectors[:, :, 0]).reshape(1, -1)
    assert_allclose(row_kronecker(vectors), expected, atol=1e-15)
