import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from entangle.errors import InputError
from entangle.networks import surrogate
from entangle.supervised import stratified_split
from entangle.training import Plan

PLAN = Plan(learning_rate=0.03, max_epochs=40)


def rows(n_features=4, seed=0):
    return np.random.default_rng(seed).random((400, n_features))


def product_of_pairs(X):
    """Two halves that are entangled: bond 1 cannot hold it, bond 2 can."""
    return np.stack([np.cos(3 * (X[:, 0] - X[:, 2])), 2 * np.sin(3 * (X[:, 1] + X[:, 3]))], axis=1)


def best_r_squared(X, outputs, found):
    """Of all tensors, by least squares: no network of these vectors explains more."""
    vectors = found.inputs.vectors(torch.from_numpy(found.inputs.values(X))).numpy()
    products = np.einsum("sa,sb,sc,sd->sabcd", *vectors.transpose(1, 0, 2)).reshape(len(X), -1)
    left = outputs - products @ np.linalg.lstsq(products, outputs, rcond=None)[0]
    return 1 - (left**2).sum() / ((outputs - outputs.mean(axis=0)) ** 2).sum()


@pytest.mark.parametrize("network", ["tree", "mps"])
def test_longer_bonds_imitate_better_and_long_ones_as_well_as_any_tensor(network):
    found = surrogate(product_of_pairs, rows(), network, (1, 6), plan=PLAN)
    best = best_r_squared(rows(), product_of_pairs(rows()), found)
    assert found.r_squared[0] < 0.5 * found.r_squared[1]
    assert found.r_squared[1] == pytest.approx(best, abs=0.04)
    assert found.agreement[1] > 0.9
    assert found.agreement[1] > found.agreement[0]


def test_trees_chains_and_the_data_tensor_give_profiles_of_one_shape():
    trees, chains = (
        surrogate(product_of_pairs, rows(), network, bond_dim=6, plan=PLAN)
        for network in ("tree", "mps")
    )
    for found in (trees, chains):
        direct, own = found.profiles()
        assert_allclose(direct.levels, own.levels)
        assert set(own.levels) == {1, 2}
    imitations = [found.profiles()[1].entropy for found in (trees, chains)]
    assert_allclose(*imitations, atol=0.1)  # of one function, by different networks
    assert min(imitations[0]) > 0.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        trees.bond_dims = ()


def test_a_torch_module_is_a_model_and_its_scale_is_put_back():
    torch.manual_seed(0)
    X = rows()
    module = torch.nn.Sequential(torch.nn.Linear(4, 1))
    found = surrogate(lambda X: 1e4 * X.sum(axis=1), X, bond_dim=4, plan=PLAN)
    vectors = found.inputs.vectors(torch.from_numpy(found.inputs.values(X)))
    logits = found.networks[0].logits(vectors).detach().numpy()[:, 0]
    assert 1e4 < np.abs(logits).mean() < 4e4
    assert surrogate(module, X, plan=Plan(max_epochs=2)).networks[0].n_labels == 1


def test_rows_may_have_channels():
    X = rows(8).reshape(400, 4, 2)
    found = surrogate(lambda X: X[:, 0, 0] - X[:, 3, 1], X, bond_dim=4, plan=PLAN)
    assert found.networks[0].local_dim == 4
    assert found.data_tensor.local_dim == 4
    assert found.r_squared[0] > 0.85
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 3))
    assert surrogate(module, X, plan=Plan(max_epochs=1)).networks[0].n_labels == 3
    once = Plan(max_epochs=2)
    one, other = (
        surrogate(lambda X: X.reshape(400, -1)[:, 0], given, plan=once)
        for given in (rows(), rows()[:, :, None])
    )
    assert one.r_squared == other.r_squared
    with pytest.raises(InputError, match=r"channels\), got 4 axes"):
        surrogate(module, X[..., None])


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (lambda X: X[:3], r"outputs of shape \(400, outputs\)"),
        (lambda X: X * np.nan, "must be finite"),
        (lambda X: 0 * X, "not all 0"),
    ],
)
def test_outputs_that_cannot_be_fitted_are_refused(model, match):
    with pytest.raises(InputError, match=match):
        surrogate(model, rows())


def test_outputs_that_are_zero_wherever_they_are_fitted_are_refused():
    X = np.random.default_rng(0).random((20, 3))
    _, unseen = stratified_split(np.zeros(20, dtype=int), 0.2, np.random.default_rng(0))
    judged = np.isin(np.arange(20), unseen).astype(float)
    with pytest.raises(InputError, match=r"are 0 on all 16 rows that are fitted; pass more rows"):
        surrogate(lambda _: judged, X, "mps", 2)


def test_bonds_may_come_in_an_array_but_not_be_none():
    X = np.random.default_rng(0).random((20, 3))
    found = surrogate(lambda X: X[:, 0], X, "mps", np.array([1, 2]), plan=Plan(max_epochs=1))
    assert found.bond_dims == (1, 2)
    with pytest.raises(InputError, match="bond_dim is empty; pass one longest bond"):
        surrogate(lambda X: X[:, 0], X, "mps", [])
