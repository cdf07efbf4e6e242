import itertools
import math

import numpy as np
import pytest
import quimb as qu
import quimb.tensor as qtn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from entangle import (
    DataTensor,
    MatrixProductState,
    Partition,
    TreeTensorNetwork,
    canonical_partitions,
    entanglement_entropy,
    entanglement_profile,
)
from entangle.errors import DegenerateStateError, MemoryLimitError, PartitionError
from entangle.networks import run_spectra
from tests.oracles import dense_entropy, schmidt_values_of
from tests.test_networks import build, dense_of, randomized


def runs_of(n):
    """Every cut of neighbouring features off all others, seen from both sides."""
    ends = itertools.combinations(range(n + 1), 2)
    cuts = [Partition(range(a, b), n) for a, b in ends if b - a < n]
    return cuts + [cut.flipped() for cut in cuts]


def close(found, expected):
    """Equal to rounding, and zero where there is nothing to compare with."""
    common = min(len(found), len(expected))
    assert_allclose(found[:common], expected[:common], atol=1e-13 * expected[0], rtol=0)
    for rest in (found[common:], expected[common:]):
        assert_allclose(rest, 0, atol=1e-13 * expected[0])


PLACES = [(1, None), (3, None), *[(2, site) for site in range(7)]]


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize(("n_labels", "label_site"), PLACES)
def test_every_run_has_the_schmidt_values_of_the_dense_tensor(n_labels, label_site, uniform):
    options = {"n_features": 6, "n_labels": n_labels, "label_site": label_site}
    network = build({**options, "uniform": uniform})
    dense = dense_of(network)
    for cut in runs_of(6):
        values = network.schmidt_values(cut)
        assert values.dtype == torch.float64
        close(values.numpy(), schmidt_values_of(dense, cut.block.tolist()))


@pytest.mark.parametrize("n_features", [2, 3, 5, 7, 10])
@pytest.mark.parametrize(("n_labels", "from_left"), [(1, 1), (3, 0), (3, 1), (3, 2), (3, 10)])
def test_profiles_of_chains_are_the_dense_entropies(n_features, n_labels, from_left):
    label_site = min(from_left, n_features)
    network = build({"n_features": n_features, "n_labels": n_labels, "label_site": label_site})
    dense, done = dense_of(network), []
    for levels in {1, math.ceil(math.log2(n_features))}:
        profile = entanglement_profile(network, levels=levels)
        expected = [
            dense_entropy(schmidt_values_of(dense, cut.block.tolist()))
            for cut in profile.partitions
        ]
        rounding = 1e-13  # of the dense decomposition
        assert (np.abs(profile.entropy - expected) <= profile.error_bound + rounding).all()
        assert profile.error_bound.max() < 1e-11
        done.append(len(profile.partitions))
    assert max(done) == len(canonical_partitions(n_features))


@pytest.mark.parametrize("shape", [(2, 4), (1, 8), (2, 2, 2), (8, 1)])
def test_profiles_on_grids_whose_blocks_are_runs(shape):
    network = build({"n_features": 8})
    profile = entanglement_profile(network, shape)
    expected = [entanglement_entropy(network, cut) for cut in canonical_partitions(shape)]
    assert_allclose(profile.entropy, expected, atol=1e-13)


def test_quimb_agrees_on_every_run():
    state = qtn.MPS_rand_state(10, 6, dtype="float64", seed=1)
    state.normalize()
    network, dense = MatrixProductState.from_quimb(state), state.to_dense()
    for a, b in itertools.combinations(range(11), 2):
        if b - a < 10:
            expected = qu.entropy_subsys(dense, [2] * 10, list(range(a, b))) * math.log(2)  # bits
            found = entanglement_entropy(network, Partition(range(a, b), 10))
            assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [8, (2, 4)])
def test_a_tree_turned_into_a_chain_keeps_its_entropies(shape):
    tree = build({"shape": shape}, bond_dim=3)
    state = qtn.MatrixProductState.from_dense(tree.to_dense().numpy().ravel(), [2] * 8, cutoff=0)
    chain = MatrixProductState.from_quimb(state)
    one, other = (entanglement_profile(network, shape) for network in (tree, chain))
    assert_allclose(one.entropy, other.entropy, atol=1e-12)


def test_a_chain_from_data_has_the_entropies_of_the_data():
    X = np.random.default_rng(0).random((60, 12)).cumsum(axis=1)
    tensor = DataTensor(X)
    chain = MatrixProductState.from_data_tensor(tensor)
    assert_allclose(
        entanglement_profile(chain).entropy, entanglement_profile(tensor).entropy, atol=1e-5
    )


def test_products_have_no_entropy():
    for cut in runs_of(7):
        assert entanglement_entropy(build({"n_features": 7}, bond_dim=1), cut) == 0


def copies(n_sites, size):
    """GHZ state with a factor at every site."""
    copy = torch.zeros(2, 2, 2).double()
    copy[0, 0, 0] = copy[1, 1, 1] = size
    ends = [copy.sum(0, keepdim=True), copy.sum(2, keepdim=True)]
    return MatrixProductState.from_site_tensors([ends[0], *[copy] * (n_sites - 2), ends[1]])


@pytest.mark.parametrize("size", [1e-5, 1e5])
def test_hundreds_of_sites_neither_vanish_nor_overflow(size):
    network = copies(320, size)
    assert_allclose(entanglement_profile(network).entropy, math.log(2), atol=1e-12)
    assert entanglement_entropy(network, Partition(range(7, 311), 320)) == pytest.approx(
        math.log(2), abs=1e-12
    )


@pytest.mark.parametrize(("n_labels", "label_site"), [(1, None), (3, None), (3, 30)])
def test_a_long_chain_backwards_has_the_same_profile_within_its_error_bounds(n_labels, label_site):
    network = build({"n_features": 256, "n_labels": n_labels, "label_site": label_site})
    backwards = [site.permute(2, 1, 0) for site in reversed(network.site_tensors())]
    site = None if n_labels == 1 else 256 - network.label_site
    mirrored = entanglement_profile(MatrixProductState.from_site_tensors(backwards, site))
    there = {tuple(255 - cut.block[::-1]): e for cut, e in mirrored_rows(mirrored)}
    profile = entanglement_profile(network)
    below = profile.levels > 1  # at level 1 the labels are with the half without feature 0
    assert below.sum() == 508
    back = np.array([there.get(tuple(cut.block), math.nan) for cut in profile.partitions])[below]
    assert (np.abs(profile.entropy[below] - back) <= 2 * profile.error_bound[below]).all()


def mirrored_rows(profile):
    return zip(profile.partitions, profile.entropy, strict=True)


@pytest.mark.parametrize("bond_dim", [2, 6])
def test_runs_share_their_work_and_never_multiply_long_bonds(bond_dim, monkeypatch):
    """Of short bonds halves are joined whole, of long ones the second site by site."""
    products, merged = [], run_spectra._merged

    def spy(one, other):
        products.append(one[..., 0].numel() * other[:, 0].numel())
        return merged(one, other)

    network = build({"n_features": 64}, bond_dim=bond_dim)
    alone = [entanglement_entropy(network, cut) for cut in canonical_partitions(64)]
    monkeypatch.setattr("entangle.networks.run_spectra._merged", spy)
    assert_allclose(entanglement_profile(network).entropy, alone, atol=1e-12)
    if bond_dim == 2:
        assert len(products) <= 64
    assert max(products) <= 8 * bond_dim**4


@pytest.mark.parametrize("small", [1e-6, 1e-9, 1e-12])
def test_small_schmidt_values_of_a_run_keep_their_digits(small):
    """Gram matrices would lose all below 1e-8."""
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(4, 2, generator=generator).double()).Q for _ in range(2)
    )
    planted = torch.einsum(
        "ir,r,jr->ij", left, torch.tensor([1, small], dtype=torch.float64), right
    )
    dense = planted.reshape(2, 2, 2, 2).permute(2, 0, 1, 3)  # rows are features 1 and 2
    one = torch.eye(2).double()
    sites = [one[None], torch.eye(4).double().reshape(2, 2, 4), dense.reshape(4, 2, 2)]
    network = MatrixProductState.from_site_tensors([*sites, one[..., None]])
    found = network.schmidt_values(Partition([1, 2], 4))
    assert float(found[1]) == pytest.approx(small, abs=1e-15, rel=1e-3)


@settings(max_examples=60)
@given(
    bonds=st.lists(st.integers(1, 5), min_size=3, max_size=9),
    ends=st.tuples(st.integers(0, 9), st.integers(1, 10)),
    seed=st.integers(0, 1000),
)
def test_entropy_is_at_most_the_logarithm_of_the_bonds_cut(bonds, ends, seed):
    n = len(bonds) + 1
    a, b = sorted(min(end, n) for end in ends)
    if not 0 < b - a < n:
        return
    generator = torch.Generator().manual_seed(seed)
    lengths = [1, *bonds, 1]
    network = MatrixProductState.from_site_tensors(
        [
            torch.randn(left, 2, right, generator=generator, dtype=torch.float64)
            for left, right in itertools.pairwise(lengths)
        ]
    )
    cut = Partition(range(a, b), n)
    entropy = entanglement_entropy(network, cut)
    assert 0 <= entropy <= math.log(lengths[a] * lengths[b]) + 1e-12
    assert entropy <= min(b - a, n - b + a) * math.log(2) + 1e-12
    assert entropy == pytest.approx(entanglement_entropy(network, cut.flipped()), abs=1e-12)


def test_the_bond_of_a_cut_is_named_from_the_side_without_labels():
    network = build({"n_features": 7, "n_labels": 2})
    edges = [network.edge_of(Partition(range(k), 7)) for k in range(1, 7)]
    assert edges == [(0, 1), (1, 2), (2, 3), (5, 4), (6, 5), (7, 6)]


def test_norms_of_runs_are_that_of_the_network():
    network = build({"n_features": 9, "n_labels": 3, "label_site": 2})
    for cut in runs_of(9):
        assert float(network.schmidt_values(cut).norm()) == pytest.approx(network.norm, rel=1e-12)


def test_features_that_are_no_run_are_refused():
    network = build({"n_features": 16})
    with pytest.raises(PartitionError, match="run of neighbouring features"):
        network.schmidt_values(Partition([2, 4], 16))
    with pytest.raises(PartitionError, match="run of neighbouring features"):
        entanglement_profile(network, (4, 4))
    with pytest.raises(PartitionError, match="no cut of a chain of 16"):
        network.schmidt_values(Partition([2, 3], 8))
    with pytest.raises(PartitionError, match="cuts 2 bonds of a chain of 16"):
        network.canonicalize(Partition([2, 3], 16))
    with pytest.raises(PartitionError, match=r"2 bonds .* with labels after 0 of them"):
        build({"n_features": 8, "n_labels": 3, "label_site": 0}).edge_of(Partition(range(3), 8))
    with pytest.raises(PartitionError, match="no cut of a tree"):
        TreeTensorNetwork(8).schmidt_values(Partition([3, 4], 8))


def test_long_bonds_are_refused_before_they_are_multiplied(monkeypatch):
    network = MatrixProductState(64, bond_dim=64)
    with pytest.raises(MemoryLimitError, match=r"through several long bonds.*truncated\(bond_dim"):
        entanglement_profile(network, max_memory=2**24)
    assert entanglement_profile(network, levels=1, max_memory=2**10).entropy.shape == (1,)
    monkeypatch.setattr("entangle.memory.free_memory", lambda: 2.0**24)
    with pytest.raises(MemoryLimitError, match="several long bonds"):
        network.schmidt_values(Partition(range(20, 40), 64))


def test_a_zero_chain_has_no_entropy():
    network = randomized(build({"n_features": 8}), size=0.0)
    with pytest.raises(DegenerateStateError):
        entanglement_entropy(network, Partition([3, 4], 8))
    with pytest.raises(DegenerateStateError):
        entanglement_profile(network)
