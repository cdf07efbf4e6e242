import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from entangle import (
    DataTensor,
    MatrixProductState,
    TreeTensorNetwork,
    canonical_partitions,
    entanglement_entropy,
)
from entangle.embedding import Trigonometric

BUILDERS = {
    "tree": lambda tensor, **options: TreeTensorNetwork.from_data_tensor(tensor, **options),
    "grid": lambda tensor, **options: TreeTensorNetwork.from_data_tensor(tensor, (2, 4), **options),
    "chain": lambda tensor, **options: MatrixProductState.from_data_tensor(tensor, **options),
}


def data_tensor(labels, n_samples=40, n_features=8):
    generator = np.random.default_rng(0)
    X = generator.random((n_samples, n_features)).cumsum(axis=1)
    y = generator.integers(labels, size=n_samples) if labels > 1 else None
    if y is None:
        return DataTensor(X, embedding=Trigonometric(0.1))
    return DataTensor.from_labels(X, y, embedding=Trigonometric(0.1))


def distance(network, tensor):
    exact = tensor.to_dense().reshape(-1)
    return float((network.to_dense().reshape(-1) - exact).norm() / exact.norm())


@pytest.mark.parametrize("labels", [1, 2, 3])
@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_a_network_of_any_width_is_the_data_tensor(build, labels):
    tensor = data_tensor(labels)
    network = build(tensor)
    assert distance(network, tensor) < 1e-7  # the root of the rounding of a squared norm
    assert distance(network, tensor) < network.certified_error < 1e-5


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_a_narrow_network_is_as_far_as_it_says(build, labels):
    tensor = data_tensor(labels)
    found = [build(tensor, bond_dim=width) for width in (1, 2, 3)]
    errors = [distance(network, tensor) for network in found]
    assert errors[0] > errors[1] > errors[2] > 1e-6
    for network, error in zip(found, errors, strict=True):
        assert network.certified_error == pytest.approx(error, rel=1e-4)
    asked = build(tensor, error=0.01)
    assert distance(asked, tensor) <= 0.01


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_the_network_has_the_entropies_of_the_data(build):
    tensor = data_tensor(3)
    network = build(tensor)
    shape = (2, 4) if build is BUILDERS["grid"] else 8
    for cut in canonical_partitions(shape, 1):
        exact = entanglement_entropy(tensor, cut)
        assert entanglement_entropy(network, cut) == pytest.approx(exact, abs=1e-6)


def test_many_features_are_no_overflow():
    X = np.random.default_rng(0).random((30, 512))
    tensor = DataTensor(X, embedding=Trigonometric(0.085))
    for network in (
        TreeTensorNetwork.from_data_tensor(tensor, bond_dim=4),
        MatrixProductState.from_data_tensor(tensor, bond_dim=4),
    ):
        assert 0 < network.certified_error < 1
        vectors = torch.from_numpy(np.stack([np.cos(X), np.sin(X)], axis=2))
        values, log_scale = network(vectors)
        assert torch.isfinite(values).all()
        assert torch.isfinite(log_scale).all()


def test_amplitudes_are_elements_of_the_data_tensor():
    tensor = data_tensor(1)
    network = TreeTensorNetwork.from_data_tensor(tensor)
    indices = torch.randint(2, (20, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        values, log_scale = network.amplitudes(indices)
    exact = tensor.to_dense().reshape((2,) * 8)[tuple(indices.T)]
    assert_allclose(
        values[:, 0] * log_scale.exp(), exact, atol=network.certified_error * tensor.norm
    )


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_first_values_take_the_certificate_away(build):
    network = build(data_tensor(1), bond_dim=2)
    assert network.certified_error is not None
    assert network.initialize().certified_error is None
    assert float(network.log_factor) == 0.0
