"""What samples leave at a bond, against dense tensors; and where its spectra meet others."""

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits

from entangle import (
    DataTensor,
    MatrixProductState,
    Partition,
    TreeTensorNetwork,
    canonical_partitions,
    networks,
)
from entangle.embedding import Trigonometric
from entangle.errors import DegenerateStateError, InputError, PartitionError
from entangle.networks.bond_comparison import compare_at_bond
from entangle.networks.bond_representation import bond_vectors
from entangle.spectra import covariance_spectrum

N = 6
QUARTER_TURN = Trigonometric(theta=0.5)
CUTS = [Partition([0], N), Partition([0, 1, 2], N), Partition([3, 4, 5], N)]


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def samples(n_samples=40, seed=0, labels=0):
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((n_samples, labels)) if labels else None
    return DataTensor(rng.random((n_samples, N)), weights, QUARTER_TURN)


def network(kind, n_labels=1, seed=0):
    options = {"bond_dim": 3, "n_labels": n_labels, "generator": source(seed)}
    made = TreeTensorNetwork(N, **options) if kind == "tree" else MatrixProductState(N, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=source(seed + 1))
    return made.double()


def blocks(tensor, features):
    """Embedded blocks, shape (samples, local ** features)."""
    found = tensor.vectors.new_ones(tensor.n_samples, 1)
    for feature in features:
        found = (found[:, :, None] * tensor.vectors[feature].T[:, None]).flatten(1)
    return found


def matrix_of(dense, features):
    """Dense tensor with some features as rows."""
    return dense.movedim(tuple(features), tuple(range(len(features)))).reshape(
        2 ** len(features), -1
    )


# -- vectors -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tree", "mps"])
@pytest.mark.parametrize("n_labels", [1, 3])
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_vectors_are_those_of_the_dense_network(kind, n_labels, cut):
    net, tensor = network(kind, n_labels), samples()
    found = bond_vectors(net, tensor, cut)
    block = min((tuple(cut.block), tuple(cut.complement)), key=lambda side: (len(side), side[0]))
    assert tuple(found.below.tolist()) == block
    matrix = matrix_of(net.to_dense().double(), block)
    left, values, _ = torch.linalg.svd(matrix, full_matrices=False)
    rank = len(found.schmidt_values)
    assert_allclose(found.schmidt_values, values[:rank] / values.norm(), atol=1e-12)
    expected = blocks(tensor, block) @ left[:, :rank]
    assert_allclose(found.values.abs(), expected.abs(), atol=1e-8)
    assert_allclose(found.weighted, found.values * found.schmidt_values)


def test_public_names_are_functions():
    assert networks.bond_vectors is bond_vectors  # not the module of its name
    assert networks.compare_at_bond is compare_at_bond


def test_the_gauge_of_the_parameters_does_not_matter():
    net, tensor, cut = network("tree", 3), samples(), CUTS[1]
    first = bond_vectors(net, tensor, cut)
    second = bond_vectors(net.canonicalize(2), tensor, cut)
    assert_allclose(first.values.abs(), second.values.abs(), atol=1e-9)


def test_vectors_and_their_weights_give_the_output():
    net, tensor = network("mps"), samples()
    found = bond_vectors(net, tensor, CUTS[1])
    dense = matrix_of(net.to_dense().detach(), [0, 1, 2])
    others = torch.linalg.svd(dense, full_matrices=False).Vh[: len(found.schmidt_values)]
    parts = found.weighted * (blocks(tensor, [3, 4, 5]) @ others.T)
    with torch.no_grad():
        values, log_scale = net(tensor.vectors.permute(2, 0, 1))
    outputs = values * log_scale.exp()[:, None] / net.norm
    signs = torch.linalg.lstsq(parts, outputs).solution  # of singular vectors they are free
    assert_allclose(signs.abs(), 1, rtol=1e-8)
    assert_allclose(parts @ signs, outputs, atol=1e-12)


# -- where spectra meet --------------------------------------------------------------------


@pytest.mark.parametrize("labels", [0, 3])
def test_a_network_that_is_the_data_lets_all_of_it_through(labels):
    tensor = samples(labels=labels)
    for net in (TreeTensorNetwork, MatrixProductState):
        found = compare_at_bond(net.from_data_tensor(tensor), tensor, CUTS[1])
        rank = min(len(found.data), len(found.projected))
        assert_allclose(found.projected[:rank], found.data[:rank], atol=1e-12)
        assert_allclose(found.state[:rank], found.data[:rank], atol=1e-12)
        assert found.data_share == pytest.approx(1, abs=1e-10)
        assert found.block_share == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_no_network_shows_more_of_the_data_than_there_is(seed):
    tensor, net = samples(seed=seed, labels=3), network("tree", 3, seed)
    found = compare_at_bond(net, tensor, CUTS[1])
    rank = min(len(found.data), len(found.projected))
    assert (found.projected[:rank] <= found.data[:rank] + 1e-12).all()
    left, _, _ = torch.linalg.svd(matrix_of(net.to_dense().double(), [0, 1, 2]))
    space = left[:, : len(found.state)]
    data = matrix_of(tensor.to_dense(), [0, 1, 2])
    passed = torch.linalg.svdvals(space.T @ data).square() / data.square().sum()
    assert_allclose(found.projected[: len(passed)], passed[: len(found.projected)], atol=1e-12)
    assert 0 < found.data_share < 1


@pytest.mark.parametrize("kind", ["tree", "mps"])
def test_isotropic_samples_show_the_spectrum_of_the_state(kind):
    corners = np.array(np.meshgrid(*[[0.0, 1.0]] * N, indexing="ij")).reshape(N, -1).T
    tensor, net = DataTensor(corners, embedding=QUARTER_TURN), network(kind)
    found = compare_at_bond(net, tensor, CUTS[1])
    assert_allclose(found.weighted, found.state, atol=1e-12)
    assert_allclose(found.representation, 1 / len(found.state), atol=1e-12)
    # Angles at random are isotropic in the mean, too.
    turns = 4 * np.random.default_rng(0).random((1500, N))
    drawn = compare_at_bond(net, DataTensor(turns, embedding=QUARTER_TURN), CUTS[1])
    assert_allclose(drawn.weighted, found.state, atol=0.08)


def test_samples_whose_rests_are_orthogonal_have_one_spectrum():
    rng = np.random.default_rng(3)
    rests = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1]], dtype=float)
    X = np.hstack([rng.random((5, 3)), rests])
    tensor = DataTensor(X, [1.0, -1, 1, 1, -1], QUARTER_TURN)
    net = TreeTensorNetwork.from_data_tensor(tensor)
    found = compare_at_bond(net, tensor, CUTS[1])
    assert_allclose(found.representation, found.data[: len(found.representation)], atol=1e-12)
    alike = DataTensor(np.hstack([X[:, :3], np.tile(rests[:1], (5, 1))]), None, QUARTER_TURN)
    other = compare_at_bond(net, alike, CUTS[1])
    assert other.data[0] == pytest.approx(1)  # a product: the rest says nothing
    assert other.representation[0] < 0.99


def test_the_covariance_is_that_of_activations():
    X, y = load_digits(return_X_y=True)
    tensor = DataTensor.from_labels(X[:120] / 16, y[:120], QUARTER_TURN)
    net = TreeTensorNetwork((8, 8), bond_dim=4, n_labels=10, generator=source()).double()
    cut = canonical_partitions((8, 8), 1)[0]
    found = compare_at_bond(net, tensor, cut)
    values = bond_vectors(net, tensor, cut).values
    spectrum = covariance_spectrum(values)
    shares = spectrum.eigenvalues / spectrum.total_variance
    assert_allclose(found.covariance[: len(shares)], shares, atol=1e-12)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["data_share"] == found.data_share
    assert (found.projected <= found.data[: len(found.projected)] + 1e-12).all()


# -- refusals ------------------------------------------------------------------------------


def test_what_is_refused():
    tensor = samples()
    with pytest.raises(InputError, match="embed the samples as for the network"):
        bond_vectors(MatrixProductState(5, bond_dim=2), tensor, CUTS[0])
    with pytest.raises(PartitionError, match="no cut of a tree"):
        bond_vectors(network("tree"), tensor, Partition([1, 4], N))
    zero = network("tree")
    with torch.no_grad():
        for parameter in zero.parameters():
            parameter.zero_()
    with pytest.raises(DegenerateStateError, match="the network is zero"):
        compare_at_bond(zero, tensor, CUTS[1])
    same = DataTensor(np.full((3, N), 0.3), None, QUARTER_TURN)
    with pytest.raises(DegenerateStateError, match="or all the same"):
        compare_at_bond(network("tree"), same, CUTS[1])
