import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from entangle import DataTensor, entanglement_profile, width
from entangle.embedding import OneHot, Trigonometric
from entangle.errors import InputError, PartitionError
from entangle.hierarchy import hierarchical_svd
from entangle.partition import CanonicalTree
from entangle.width import WidthBounds, necessary_widths, width_bounds
from tests.oracles import contracted_tree, dense_entropy, schmidt_values_of


def data_tensor_of(A):
    """The data tensor that equals a dense tensor: a row for each element."""
    X = np.array(list(itertools.product(*(range(n) for n in A.shape))))
    return DataTensor(X, A.flatten() * A.size, OneHot(A.shape[0]))


def random_tree(shape, bond, rng):
    """Dense tensor of a tree network with random tensors, features in row-major order."""
    tree = CanonicalTree(shape)
    tensors = [
        rng.normal(size=(1 if node.level == 0 else bond, *([bond] * len(node.children) or [2])))
        for node in tree.root.walk()
    ]
    dense = contracted_tree(tree.root, tensors)[..., 0]
    return np.moveaxis(dense, range(tree.n_features), tree.order) / np.linalg.norm(dense)


def digits(theta=0.2, n_samples=300):
    X, y = load_digits(return_X_y=True)
    return DataTensor(
        X[:n_samples] / 16, np.where(y[:n_samples] % 2, 1.0, -1.0), Trigonometric(theta)
    )


# -- theorems ----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    shape=st.sampled_from([4, 6, 8, (2, 3), (2, 2, 2)]),
    bond=st.integers(1, 3),
    noise=st.sampled_from([0.0, 1e-3, 0.05, 0.3, 2.0]),
    seed=st.integers(0, 10**6),
    optimised=st.booleans(),
)
def test_no_tree_comes_nearer_than_its_width_allows(shape, bond, noise, seed, optimised):
    rng = np.random.default_rng(seed)
    W = random_tree(shape, bond, rng)
    A = W + noise * rng.normal(size=W.shape) / math.sqrt(W.size)
    tensor = data_tensor_of(A)
    profile = entanglement_profile(tensor, shape)
    if optimised:
        eps = hierarchical_svd(tensor, shape, width=bond).certified_error
    else:
        eps = np.linalg.norm(A - W * (A * W).sum()) / np.linalg.norm(A) + 1e-12
    assume(1e-9 < eps < 1)
    assert (necessary_widths(profile, eps, 2) <= bond).all()
    for partition, entropy in zip(profile.partitions, profile.entropy, strict=True):
        exact = dense_entropy(schmidt_values_of(A[..., None], partition.block.tolist()))
        assert exact == pytest.approx(entropy, abs=1e-8)
        smaller = min(partition.block.size, partition.complement.size)
        bound = math.log(bond) + 2 * eps * smaller * math.log(2) + 2 * math.sqrt(2 * eps)
        assert exact <= bound + 1e-9


@settings(max_examples=40)
@given(
    shape=st.sampled_from([3, 4, 5, (2, 2), (2, 3)]),
    noise=st.sampled_from([1e-4, 1e-3, 1e-2, 0.03, 0.1]),
    eps=st.sampled_from([0.1, 0.3, 0.6, 0.9]),
    seed=st.integers(0, 10**6),
)
def test_little_entanglement_suffices_for_a_narrow_tree(shape, noise, eps, seed):
    rng = np.random.default_rng(seed)
    A = random_tree(shape, 1, rng)
    A = A + noise * rng.normal(size=A.shape) / math.sqrt(A.size)
    tensor = data_tensor_of(A)
    highest = float(entanglement_profile(tensor, shape).entropy.max())
    logarithm = highest * (2 * tensor.n_features - 3) / eps**2
    assume(logarithm < 4)
    bond = math.ceil(math.exp(logarithm))
    assert hierarchical_svd(tensor, shape, width=bond).certified_error <= eps + 1e-7


# -- bounds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("shape", [64, (8, 8)])
def test_the_bounds_enclose_a_width_that_is_certified(shape, error):
    tensor = digits()
    found = width_bounds(tensor, error, shape)
    assert found.sufficient is not None
    assert found.lower <= found.sufficient
    assert found.achieved <= error
    for level, needed in found.lower_by_level.items():
        assert needed <= found.sufficient_by_level[level]
    again = hierarchical_svd(tensor, shape, width=found.sufficient)
    assert again.certified_error <= error
    assert found.lower == entanglement_profile(tensor, shape).minimal_width(error)


def test_the_sufficient_width_is_not_far_from_the_necessary_one():
    found = width_bounds(digits(), 0.1, (8, 8))
    assert found.sufficient is not None
    assert 1 < found.lower <= found.sufficient <= 2 * found.lower
    narrower = hierarchical_svd(digits(), (8, 8), width=found.sufficient - 1)
    assert narrower.certified_error > 0.1


def test_partners_side_by_side_and_apart():
    """Four pairs of equal letters: ranks 2 within a pair; 4 and 16 where partners are apart."""
    pairs = np.array(list(itertools.product([0, 1], repeat=4)))
    tensor = DataTensor(np.repeat(pairs, 2, axis=1), embedding=OneHot(2))
    beside = width_bounds(tensor, 0.1)
    assert beside.lower_by_level == {1: 1, 2: 1, 3: 2}
    assert beside.sufficient_by_level == {1: 1, 2: 1, 3: 2}
    apart = width_bounds(tensor.reordered([0, 2, 4, 6, 1, 3, 5, 7]), 0.1)
    assert apart.lower_by_level == {1: 16, 2: 4, 3: 2}
    assert apart.sufficient_by_level == {1: 16, 2: 4, 3: 2}


@pytest.mark.parametrize("bond", [2, 3])
def test_a_planted_tree_needs_its_bond(bond):
    rng = np.random.default_rng(bond)
    words = rng.normal(size=(16, bond, 4))
    words /= np.linalg.norm(words, axis=2, keepdims=True)
    rows = words[np.arange(16)[None], np.repeat(np.arange(bond), 10)[:, None]]
    found = width_bounds(DataTensor(rows, embedding="identity"), 0.01)
    assert found.lower == found.sufficient == bond
    assert found.achieved < 0.01


def test_the_entropy_bounds_where_the_spectrum_does_not():
    pairs = np.array(list(itertools.product([0, 1], repeat=4)))
    tensor = DataTensor(np.concatenate([pairs, pairs], axis=1), embedding=OneHot(2))
    profile = entanglement_profile(tensor, levels=1)
    assert necessary_widths(profile, 0.01, 2)[0] == 16
    unknown = dataclasses.replace(profile, discarded_weight=np.ones(1))
    lost = 0.02 * 4 * math.log(2) + 2 * math.sqrt(0.02)
    assert necessary_widths(unknown, 0.01, 2)[0] == math.ceil(16 * math.exp(-lost))
    vague = dataclasses.replace(unknown, error_bound=np.array([1.0]))
    assert necessary_widths(vague, 0.01, 2)[0] == math.ceil(16 * math.exp(-lost - 1))


# -- options -----------------------------------------------------------------------------------


def test_a_profile_of_some_levels_serves(monkeypatch):
    tensor = digits()
    profile = entanglement_profile(tensor, (8, 8), levels=1)
    whole = width_bounds(tensor, 0.1, (8, 8))
    monkeypatch.setattr(width, "entanglement_profile", None)
    found = width_bounds(tensor, 0.1, (8, 8), profile=profile)
    assert list(found.lower_by_level) == [1]
    assert found.sufficient == whole.sufficient
    with pytest.raises(PartitionError, match="cuts that shape"):
        width_bounds(tensor, 0.1, 64, profile=profile)


def test_no_search_and_a_search_that_ends_too_early():
    none = width_bounds(digits(), 0.1, most=0)
    assert none.sufficient is None
    assert "was sought" in none.to_text()
    assert none.to_dict()["achieved_error"] is None
    few = width_bounds(digits(), 0.05, most=3)
    assert few.sufficient is None
    assert few.achieved > 0.05
    assert f"of width 3 was found to come within {few.achieved:.1%}" in few.to_text()


def test_text_and_numbers():
    found = WidthBounds(0.1, {1: 3, 2: 2}, {1: 5, 2: 4}, 0.0961, None)
    assert found.to_text() == (
        "a tree network narrower than 3 misses the data by more than 10%; one of width 5 comes "
        "within 10% (certified 9.6%)"
    )
    easy = WidthBounds(0.1, {1: 1}, {1: 1}, 0.05, None)
    assert easy.to_text() == (
        "a tree network of any width may come within 10%; one of width 1 comes within 10% "
        "(certified 5.0%)"
    )
    numbers = json.loads(json.dumps(found.to_dict()))
    assert numbers["lower_bound"] == 3
    assert numbers["sufficient_by_level"] == {"1": 5, "2": 4}


@pytest.mark.parametrize("error", [0.0, 1.0, math.nan])
def test_errors_that_make_no_sense(error):
    with pytest.raises(InputError, match="between 0 and 1"):
        width_bounds(digits(), error)
    with pytest.raises(InputError, match="0 or more"):
        width_bounds(digits(), most=-1)
