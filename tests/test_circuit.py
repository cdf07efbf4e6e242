import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn import (
    Conv1d,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    Linear,
    MaxPool1d,
    ReLU,
    Sequential,
)
from torch.nn.utils import parametrizations

from entangle import TreeTensorNetwork, canonical_partitions, entanglement_entropy
from entangle.embedding import Trigonometric
from entangle.errors import InputError, MemoryLimitError
from entangle.networks import LocalLinear, ProductPool, surrogate
from entangle.training import Plan
from tests.oracles import dense_entropy, schmidt_values_of
from tests.test_networks import amplitude, dense_of


@pytest.fixture(autouse=True)
def _seed():
    """Numbers drawn without a generator are the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def convolution(n_axes, *channels):
    return {1: Conv1d, 2: Conv2d}[n_axes](*channels, 1, bias=False)


def circuit_of(shape, channels, n_labels=3, local=False):
    """Maps and poolings in turn; ``local`` says of which levels the maps are not shared."""
    axes = (shape,) if isinstance(shape, int) else shape
    layers, length = [], axes[0]
    for before, after in itertools.pairwise(channels):
        if local:
            layers.append(LocalLinear(before, after, (length,) * len(axes)))
        else:
            layers.append(convolution(len(axes), before, after))
        layers.append(ProductPool())
        length //= 2
    layers += [Flatten(), Linear(channels[-1], n_labels, bias=False)]
    return Sequential(*layers).double()


def outputs_of(module, vectors, shape):
    axes = (shape,) if isinstance(shape, int) else shape
    with torch.no_grad():
        return module(vectors.movedim(2, 1).reshape(len(vectors), -1, *axes))


CIRCUITS = [
    (shape, channels, local)
    for shape, channels in [
        (2, (2, 3)),
        (8, (2, 3, 4, 2)),
        (16, (2, 3, 5, 3, 4)),
        ((2, 2), (2, 3)),
        ((4, 4), (2, 4, 3)),
    ]
    for local in (False, True)
]


@pytest.mark.parametrize(("shape", "channels", "local"), CIRCUITS)
def test_the_tree_has_the_outputs_of_the_circuit(shape, channels, local):
    module = circuit_of(shape, channels, local=local)
    network = TreeTensorNetwork.from_circuit(module, shape)
    assert network.shared == (not local)
    vectors = torch.randn(6, network.n_features, channels[0], dtype=torch.float64)
    expected = outputs_of(module, vectors, shape)
    found = network.logits(vectors).detach()
    assert_allclose(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))
    if network.n_features <= 8:
        one_by_one = [amplitude(dense_of(network), sample) for sample in vectors.numpy()]
        assert_allclose(one_by_one, expected, rtol=1e-9)


@pytest.mark.parametrize(("shape", "channels", "local"), [c for c in CIRCUITS if c[0] != 16])
def test_entropies_are_the_dense_ones_and_within_the_channels(shape, channels, local):
    module = circuit_of(shape, channels, local=local)
    network = TreeTensorNetwork.from_circuit(module, shape)
    size, n_axes = network.n_features, len(network.tree.shape)
    indices = torch.cartesian_prod(*[torch.arange(2)] * size)
    basis = torch.nn.functional.one_hot(indices, 2).double()
    dense = outputs_of(module, basis, shape).numpy().reshape(*(2,) * size, -1)
    for cut in canonical_partitions(shape):
        values = schmidt_values_of(dense, cut.block.tolist())
        entropy = entanglement_entropy(network, cut)
        assert entropy == pytest.approx(dense_entropy(values), abs=1e-10)
        bond = channels[1 + int(math.log2(cut.block.size)) // n_axes]
        assert entropy <= math.log(bond) + 1e-12
        assert (values > 1e-12 * values[0]).sum() <= bond
    assert entanglement_entropy(network, canonical_partitions(shape)[0]) > 0.01


def test_a_circuit_may_pool_first_have_maps_in_a_row_and_nested_parts():
    pool = ProductPool()
    module = Sequential(
        pool,
        Sequential(Conv1d(2, 4, 1, bias=False), Identity(), LocalLinear(4, 3, 4)),
        pool,
        pool,
        Conv1d(3, 5, 1, bias=False, padding="same"),
        Flatten(),
        Linear(5, 4, bias=False),
        Linear(4, 2, bias=False),
    ).double()
    network = TreeTensorNetwork.from_circuit(module, 8)
    vectors = torch.randn(5, 8, 2, dtype=torch.float64)
    assert_allclose(network.logits(vectors).detach(), outputs_of(module, vectors, 8), rtol=1e-9)
    assert network.n_labels == 2
    plain = Sequential(ProductPool(), Conv1d(2, 3, 1, bias=False), Flatten())
    assert TreeTensorNetwork.from_circuit(plain, 2).n_labels == 3


def test_shared_maps_are_one_tensor_a_level_and_keep_their_type():
    network = TreeTensorNetwork.from_circuit(circuit_of((8, 8), (2, 3, 3, 3)).float(), (8, 8))
    assert [tuple(p.shape) for p in network.parameters()] == [
        (1, 3, 2),
        (1, 3, *[3] * 4),
        (1, 3, *[3] * 4),
        (1, 3, *[3] * 4),
    ]
    assert network.tensors[0].dtype == torch.float32
    module = circuit_of(4, (2, 3, 3))
    network = TreeTensorNetwork.from_circuit(module, 4)
    with torch.no_grad():
        network.tensors[0].zero_()
    assert all(bool(p.any()) for p in module.parameters())  # a copy
    assert network.tensors[0].requires_grad


def test_products_of_windows():
    values = torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    assert ProductPool()(values).tolist() == [[[[60, 672], [16380, 31680]]]]
    with pytest.raises(InputError, match=r"even number of positions .* got \(1, 2, 3\)"):
        ProductPool()(torch.ones(1, 2, 3))
    with pytest.raises(InputError, match=r"got \(1, 2\)"):
        ProductPool()(torch.ones(1, 2))


def test_local_maps_are_of_the_size_of_their_inputs_at_first():
    assert LocalLinear(50, 40, np.int64(8)).weight.shape == (40, 50, 8)
    layer = LocalLinear(50, 40, (8, 8))
    found = layer(torch.randn(20, 50, 8, 8)).detach()
    assert found.shape == (20, 40, 8, 8)
    assert float(found.std()) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ([ReLU()], r"layer 0, ReLU\(\), is no part of a circuit: it is no linear map"),
        ([Conv1d(2, 3, 1)], r"layer 0, Conv1d\(.*has a bias; a circuit has convolutions of size 1"),
        ([Conv1d(2, 3, 3, padding=1, bias=False)], "has kernel_size other than 1 and padding"),
        ([Conv1d(2, 3, 1, stride=2, bias=False)], "has stride other than 1"),
        ([Conv1d(2, 4, 1, groups=2, bias=False)], "has groups other than 1"),
        ([Conv2d(2, 3, 1, bias=False)], "has 2 axes of positions, and there are 1"),
        ([LocalLinear(2, 3, 3)], r"has positions \(3,\), and there are 4 along each axis"),
        ([Sequential(Dropout())], r"layer 0\.0, Dropout"),
        ([MaxPool1d(2)], "layer 0, MaxPool1d"),
        ([Linear(4, 4, bias=False)], "no linear map of channels at every position"),
        ([Flatten()], "mixes channels with positions, of which 4 an axis are left to pool"),
        ([ProductPool(), ProductPool(), Flatten(2)], "mixes channels with positions"),
        ([ProductPool()] * 3, "layer 2, ProductPool.*has one position only to pool"),
        ([Conv1d(2, 3, 1, bias=False), Conv1d(4, 3, 1, bias=False)], "takes 4 channels and gets 3"),
        ([ProductPool(), ProductPool(), Flatten(), Linear(2, 2)], "layer 3, Linear.*has a bias"),
        ([ProductPool(), ProductPool(), Flatten(), ReLU()], "it is no linear map of channels; a"),
        ([Conv1d(2, 3, 1, bias=False)], "this one has 4 positions an axis at its end"),
        ([ProductPool(), ProductPool(), Flatten()], "has no linear map"),
    ],
)
def test_what_is_no_circuit_is_refused_by_the_name_of_its_layer(layers, match):
    with pytest.raises(InputError, match=match):
        TreeTensorNetwork.from_circuit(Sequential(*layers), 4)


def circuit_with(first):
    return Sequential(first, ProductPool(), ProductPool(), Flatten(), Linear(2, 2, bias=False))


@pytest.mark.parametrize(
    ("kind", "given"),
    [(Conv1d, (2, 2, 1, 1, 0, 1, 1, False)), (Identity, ()), (ProductPool, ()), (Sequential, ())],
)
def test_layers_that_compute_something_else_than_their_kind_are_refused(kind, given):
    class Changed(kind):
        def forward(self, given):
            return torch.relu(super().forward(given))

    with pytest.raises(InputError, match=r"layer 0, Changed.* has a forward of its own"):
        TreeTensorNetwork.from_circuit(circuit_with(Changed(*given)), 4)
    hooked = kind(*given)
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match=r"layer 0, .*has hooks"):
        TreeTensorNetwork.from_circuit(circuit_with(hooked), 4)


def test_a_sequence_of_its_own_forward_is_refused_and_a_plain_subclass_is_not():
    class Named(Sequential):
        pass

    class Squared(Sequential):
        def forward(self, given):
            return super().forward(given) ** 2

    plain = circuit_with(parametrizations.weight_norm(Conv1d(2, 2, 1, bias=False)))
    network = TreeTensorNetwork.from_circuit(Named(*plain), 4)
    vectors = torch.randn(3, 4, 2)
    assert_allclose(network.logits(vectors).detach(), outputs_of(plain, vectors, 4), rtol=1e-4)
    with pytest.raises(InputError, match=r"the sequence, Squared, .* has a forward of its own"):
        TreeTensorNetwork.from_circuit(Squared(*plain), 4)


def test_shapes_that_cannot_be_pooled_to_one_are_refused():
    module = circuit_of(8, (2, 3, 4, 2))
    with pytest.raises(InputError, match=r"power of 2, got shape 6; pad the samples to \(8,\)"):
        TreeTensorNetwork.from_circuit(module, 6)
    with pytest.raises(InputError, match=r"got shape \(4, 8\); pad the samples to \(8, 8\)"):
        TreeTensorNetwork.from_circuit(module, (4, 8))
    with pytest.raises(InputError, match="has one position only to pool"):
        TreeTensorNetwork.from_circuit(module, 4)
    with pytest.raises(InputError, match=r"is a torch\.nn\.Sequential, got Linear"):
        TreeTensorNetwork.from_circuit(Linear(2, 2), 4)
    with pytest.raises(MemoryLimitError, match="the tensors of a circuit"):
        TreeTensorNetwork.from_circuit(circuit_of((4, 4), (2, 4, 200)), (4, 4))


# -- surrogates --------------------------------------------------------------------------------


def rows(n_features, seed=0):
    return np.random.default_rng(seed).random((60, n_features))


@pytest.mark.parametrize("shape", [8, (4, 4)])
def test_the_surrogate_of_a_circuit_is_exact(shape):
    module = circuit_of(shape, (2, 3, 4, 2) if shape == 8 else (2, 4, 3))
    X = rows(8 if shape == 8 else 16)
    found = surrogate(module, X, shape=shape)
    assert found.r_squared[0] == pytest.approx(1, abs=1e-12)
    assert found.agreement == (1.0,)
    assert found.bond_dims == (4,)
    vectors = Trigonometric(0.5)(torch.from_numpy(found.inputs.values(X)))
    assert_allclose(
        found.networks[0].logits(vectors).detach(), outputs_of(module, vectors, shape), atol=1e-12
    )
    direct, exact = found.profiles()
    assert len(direct.entropy) == len(exact.entropy)


def test_a_circuit_is_imitated_by_a_chain_through_its_local_vectors():
    found = surrogate(circuit_of(4, (2, 3, 3)), rows(4), "mps", 3, plan=Plan(max_epochs=1))
    assert type(found.networks[0]).__name__ == "MatrixProductState"


def test_circuits_that_do_not_fit_the_rows_are_refused():
    module = circuit_of(4, (3, 3, 3))
    with pytest.raises(InputError, match=r"4 local vectors of 3 components.*give 4 of 2"):
        surrogate(module, rows(4))
    with pytest.raises(InputError, match=r"4 local vectors of 3 components.*give 5 of 2"):
        surrogate(module, rows(5), shape=4)
    with pytest.raises(InputError, match="layer 0, ReLU"):
        surrogate(Sequential(ReLU(), ProductPool(), ProductPool()), rows(4))


def test_networks_load_scikit_learn_only_for_what_trains():
    code = (
        "import sys, entangle.networks as n; n.ProductPool; print('sklearn' in sys.modules); "
        "print(all(hasattr(n, name) and name in dir(n) for name in n.__all__)); "
        "print(callable(n.surrogate), 'sklearn' in sys.modules, hasattr(n, 'nothing'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "True", "True", "True", "False"], done.stderr
