import itertools
import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs
from torch.testing import assert_close

from entangle import MatrixProductState, TensorNetworkClassifier
from entangle.errors import InputError, MemoryLimitError
from entangle.networks import two_site
from entangle.networks.chain_layout import unstacked
from entangle.networks.cross_entropy import CrossEntropy
from entangle.networks.environments import Environments, elements_per_sample
from entangle.networks.inputs import Inputs
from entangle.networks.merging import Chain, Split, split_matrix
from entangle.networks.quasi_newton import descended
from entangle.networks.two_site import sweep_train, swept
from entangle.training import Plan

ANY = Split(bond_dim=1000, truncation=0.0)
BITS = Inputs.fitted(np.eye(6), "trigonometric", "feature")


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def random_network(n_features=6, bond_dim=3, n_labels=3, label_site=None, seed=0):
    network = MatrixProductState(
        n_features, 2, bond_dim, n_labels, label_site, generator=source(seed), dtype=torch.float64
    )
    return network.initialize(noise=0.6, generator=source(seed))


def rows(n_samples=40, n_features=6, classes=3, seed=0):
    values = torch.rand(n_samples, n_features, generator=source(seed), dtype=torch.float64)
    codes = torch.randint(classes, (n_samples,), generator=source(seed + 1))
    weights = torch.rand(n_samples, generator=source(seed + 2), dtype=torch.float64) + 0.5
    return values, codes, weights


def cross_entropy(network, noise=0.0):
    return CrossEntropy(network, BITS, noise, 1.0, 0.1, source())


def mean_loss(network, codes, weights):
    def loss(values, log_scale):
        return objective.contraction_losses(values, log_scale, codes, weights).mean()

    objective = cross_entropy(network)
    return loss


def environments(chain, vectors, bond):
    """Contract samples with all sites but two."""
    found = Environments(vectors, chain.label_site, chain.sites[chain.label_site].shape[1])
    for place in range(bond):
        found.absorb(place, chain.sites[place], True)
    for place in range(len(chain.sites) - 1, bond + 1, -1):
        found.absorb(place, chain.sites[place], False)
    return found.merged(bond)


# -- merged tensors ------------------------------------------------------------------------


@pytest.mark.parametrize("label_site", [0, 1, 3, 6])
def test_every_merged_tensor_gives_the_contraction_of_the_network(label_site):
    network = random_network(label_site=label_site)
    chain, vectors = Chain.from_network(network), BITS.vectors(rows()[0])
    for bond in range(6):
        samples = environments(chain, vectors, bond)
        scale = (samples.log_scale + chain.log_scale).exp()[:, None]
        assert_close(samples.values(chain.merged(bond)) * scale, network.logits(vectors))
    assert_close(chain.network().logits(vectors), network.logits(vectors))


def test_its_gradient_is_that_of_the_network_by_the_chain_rule():
    values, codes, weights = rows()
    network = Chain.from_network(random_network()).network()
    cross_entropy(network.eval()).losses(values, codes, weights).mean().backward()
    gradients = unstacked(network.segments, [p.grad for p in network.tensors])
    chain = Chain(tuple(network.site_tensors()), network.label_site, 0.0)
    for bond, feature in ((0, 0), (1, 1), (2, 2), (4, 3), (5, 4)):
        samples = environments(chain, BITS.vectors(values), bond)
        matrix = chain.merged(bond).requires_grad_()
        loss = mean_loss(network, codes, weights)(samples.values(matrix), samples.log_scale)
        (found,) = torch.autograd.grad(loss, matrix)
        by_rule = found @ chain.sites[bond + 1].flatten(1).mT
        assert_close(by_rule, gradients[feature].flatten(0, 1))


def test_hundreds_of_features_stay_in_range_in_single_precision():
    network = MatrixProductState(784, 2, 4, 3, generator=source())
    vectors = BITS.embedding(torch.rand(10, 784, generator=source()))
    chain = Chain.from_network(network.initialize(vectors, 0.01, source()))
    samples = environments(chain, vectors, 100)
    values, log_scale = samples.values(chain.merged(100)), samples.log_scale + chain.log_scale
    assert samples.log_scale.max() < -50
    assert_close(values * log_scale.exp()[:, None], network.logits(vectors), rtol=1e-3, atol=1e-4)
    assert_close(chain.network().logits(vectors), network.logits(vectors), rtol=1e-3, atol=1e-4)


# -- splits --------------------------------------------------------------------------------


def test_the_memory_reserved_holds_all_blocks():
    network = random_network(n_features=12, bond_dim=3, label_site=5)
    chain, vectors = Chain.from_network(network), torch.rand(7, 12, 2, generator=source())
    for from_left in (True, False):
        found = Environments(vectors.double(), 5, 3)
        for place in range(11) if from_left else range(12, 1, -1):
            found.absorb(place, chain.sites[place], from_left)
        held = sum(block.numel() for block, _ in found.blocks) / 7
        reserved = elements_per_sample(12, 2, 3, 3, 5)
        assert held <= reserved - 12 * 2 - 4 * 3 * 2 * 4 <= 1.6 * held


@pytest.mark.parametrize("forth", [True, False])
def test_what_is_discarded_is_within_the_truncation_and_no_value_more_could_be(forth):
    matrix = torch.randn(12, 20, generator=source(), dtype=torch.float64)
    weights = torch.linalg.svdvals(matrix).square() / matrix.square().sum()
    for truncation in (0.0, 0.03, 0.3, 0.99):
        left, right = split_matrix(matrix, Split(100, truncation), forth)
        kept = left.shape[1]
        lost = (matrix - left @ right).square().sum() / matrix.square().sum()
        assert float(lost) <= truncation + 1e-14
        assert_close(lost, weights[kept:].sum(), rtol=1e-9, atol=1e-14)
        assert kept == 1 or weights[kept - 1 :].sum() > truncation
        gram = left.mT @ left if forth else right @ right.mT
        assert_close(gram, torch.eye(kept, dtype=torch.float64))
    assert split_matrix(matrix, Split(5, 0.0), forth)[0].shape == (12, 5)
    assert split_matrix(0 * matrix, Split(5, 0.1), forth)[0].shape == (12, 1)


@pytest.mark.parametrize("label_site", [0, 3, 6])
def test_a_sweep_without_steps_and_truncation_changes_no_logit(label_site):
    network = random_network(label_site=label_site)
    values, codes, weights = rows()
    vectors, loss = BITS.vectors(values), mean_loss(network, codes, weights)
    chain, _ = swept(Chain.from_network(network), vectors, loss, ANY, 0, True)
    assert_close(chain.network().logits(vectors), network.logits(vectors))
    for site in chain.sites[:-1]:
        matrix = site.flatten(0, 1)
        assert_close(matrix.mT @ matrix, torch.eye(matrix.shape[1], dtype=torch.float64))
    back, _ = swept(chain, vectors, loss, ANY, 0, False)
    assert_close(back.network().logits(vectors), network.logits(vectors))
    for site in back.sites[1:]:
        matrix = site.flatten(1)
        assert_close(matrix @ matrix.mT, torch.eye(len(matrix), dtype=torch.float64))


# -- descent -------------------------------------------------------------------------------


def test_the_loss_never_rises_at_a_bond_nor_from_bond_to_bond_without_truncation():
    network = random_network()
    values, codes, weights = rows()
    loss = mean_loss(network, codes, weights)
    chain, record = Chain.from_network(network), []
    for forth in (True, False, True):
        chain, losses = swept(chain, BITS.vectors(values), loss, ANY, 3, forth)
        record += losses
    assert all(after <= before for before, after in record)
    for (_, after), (before, _) in itertools.pairwise(record):
        assert before == pytest.approx(after, abs=1e-10)
    assert record[-1][1] < 0.8 * record[0][0]


def test_few_steps_reach_the_minimum_of_a_parabola_and_never_rise():
    matrix = torch.diag(torch.tensor([1.0, 3.0, 10.0], dtype=torch.float64))
    target = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    def parabola(x):
        return (x - target) @ matrix @ (x - target)

    start, before = torch.ones(3, dtype=torch.float64), math.inf
    for steps in range(12):
        point, first, last = descended(parabola, start, steps)
        assert first == float(parabola(start))
        assert last == float(parabola(point))
        assert last <= before
        before = last
    assert_close(point, target, atol=1e-3, rtol=0)
    assert torch.equal(descended(parabola, target, 5)[0], target)


def test_a_function_of_short_bonds_is_recovered_with_its_bonds():
    teacher = random_network(8, bond_dim=2, n_labels=2, seed=3)
    vectors = torch.randn(1500, 8, 2, generator=source(), dtype=torch.float64)
    truth = teacher.logits(vectors).detach()

    def squares(found, log_scale):
        contraction = found * log_scale.clamp_max(30).exp()[:, None]
        return (contraction - truth).square().mean() / truth.square().mean()

    chain = Chain.from_network(random_network(8, bond_dim=6, n_labels=2, seed=4))
    for number in range(12):
        split = Split(6, 1e-4 if number > 3 else 0.0)
        chain, record = swept(chain, vectors, squares, split, 20, number % 2 == 0)
    assert record[-1][1] < 1e-5
    bonds = [site.shape[2] for site in chain.sites[:-1]]
    assert bonds == [site.shape[2] for site in teacher.site_tensors()[:-1]] == [2] * 8


def test_weights_are_repeated_rows():
    network = random_network()
    values, codes, _ = rows()
    counts = torch.arange(len(values)) % 3 + 1
    weighted = counts / counts.double().mean()
    every = torch.repeat_interleave(torch.arange(len(values)), counts)
    chains = [
        swept(
            Chain.from_network(network), BITS.vectors(values[index]),
            mean_loss(network, codes[index], weights), Split(3, 0.0), 2, True,
        )[0]
        for index, weights in (
            (torch.arange(len(values)), weighted), (every, torch.ones(len(every)))
        )
    ]  # fmt: skip
    one, other = (chain.network().logits(BITS.vectors(values)) for chain in chains)
    assert_close(one, other)
    assert not torch.allclose(one, network.logits(BITS.vectors(values)))


# -- training ------------------------------------------------------------------------------


def test_the_network_of_the_lowest_validation_loss_comes_back():
    values, codes, weights = rows(60)
    held = (values[40:], codes[40:], torch.ones(20, dtype=torch.float64))
    data = (values[:40], codes[:40], weights[:40])
    objective, plan = cross_entropy(random_network(), 0.1), Plan(max_epochs=9, patience=3)
    network, history = sweep_train(objective, data, plan, Split(4, 0.0), validation=held)
    losses = [epoch.validation_loss for epoch in history]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1  # random labels: it gets worse
    assert len(losses) == min(9, best + 1 + 3)
    found = cross_entropy(network).losses(*held).mean()
    assert float(found.detach()) == pytest.approx(losses[best], rel=1e-9)
    assert [epoch.number for epoch in history] == list(range(1, len(losses) + 1))


def test_samples_whose_environments_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(two_site, "free_memory", lambda device: 1e4)
    with pytest.raises(MemoryLimitError, match=r"40 noisy samples of 6 .* smaller bond_dim, or"):
        sweep_train(cross_entropy(random_network()), rows(), Plan(), Split(4, 0.0))


def test_a_loss_that_is_not_finite_is_an_error():
    values, codes, weights = rows()
    with pytest.raises(InputError, match="the loss became nan in a sweep; scale the inputs"):
        sweep_train(
            cross_entropy(random_network()), (values, codes, weights * math.nan), Plan(), ANY
        )


# -- as a solver of the classifier ---------------------------------------------------------


def swept_classifier(**options):
    given = {"bond_dim": 4, "max_epochs": 6, "random_state": 0, **options}
    return TensorNetworkClassifier("mps", solver="sweeps", **given)


def blobs(classes=3):
    return make_blobs(150, 5, centers=classes, cluster_std=2.0, random_state=0)


def alike(n_features, one, other, n_samples=500, seed=0):
    """Uniform features; whether two of them are on the same side of one half."""
    X = np.random.default_rng(seed).random((n_samples, n_features))
    return X, (X[:, one] > 0.5) == (X[:, other] > 0.5)


def bonds_of(model):
    return [shape[2] for shape in model.network_.site_shapes[:-1]]


def test_two_distant_features_are_compared(device):
    X, y = alike(12, 0, 11, n_samples=1000)
    model = swept_classifier(truncation=0.01, max_epochs=10, device=device).fit(X, y)
    assert model.score(*alike(12, 0, 11, seed=1)) > 0.9
    assert model.network_.log_factor.device.type == device.type


def test_bonds_shrink_where_no_feature_matters_and_to_one_for_a_product():
    X, product = alike(14, 5, 8, n_samples=1000)  # it changes sign with either feature
    model = swept_classifier(truncation=0.04, bond_dim=8, max_epochs=10)
    assert bonds_of(model.fit(X, X[:, 5] + X[:, 8] > 1)) == [1] * 5 + [2] * 3 + [1] * 5
    assert bonds_of(model.fit(X, product)) == [1] * 13
    assert model.score(*alike(14, 5, 8, seed=1)) > 0.9
    model.set_params(truncation=0.0, max_epochs=2)
    assert bonds_of(model.fit(X, product)) == [2, 4, *[8] * 9, 4, 2]


def test_the_first_sweep_shortens_no_bond_by_weight():
    X, y = alike(14, 5, 8, n_samples=100)
    model = swept_classifier(truncation=0.9, early_stopping=False)
    bonds = [bonds_of(model.set_params(max_epochs=n).fit(X, y)) for n in (1, 2)]
    assert bonds[0] == [2, *[4] * 11, 2]
    assert max(bonds[1]) < 4


def test_one_seed_one_model_and_no_global_state():
    X, y = blobs()
    before = torch.random.get_rng_state()
    models = [swept_classifier(max_epochs=2, random_state=s).fit(X, y) for s in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before)
    found = [model.logits(X) for model in models]
    assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
    assert_array_equal(clone(models[0]).fit(X, y).logits(X), found[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_fitted_network_is_a_state_in_double_precision(dtype):
    X, y = blobs()
    model = swept_classifier(dtype=dtype).fit(X, y)
    assert isinstance(model.network_, MatrixProductState)
    assert model.network_.core.dtype == torch.float64
    assert model.network_.label_site == 2
    assert model.score(X, y) > 0.9
    assert model.n_iter_ == len(model.history_) <= 6


class Watched(TensorNetworkClassifier):
    """Is interrupted after its second sweep."""

    def _on_epoch(self, epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt


def test_ctrl_c_leaves_a_fitted_model():
    X, y = blobs()
    model = Watched("mps", 4, solver="sweeps", random_state=0)
    with pytest.warns(UserWarning, match="after 2 of 10 sweeps; the best weights so far are kept"):
        model.fit(X, y)
    assert model.n_iter_ == 2
    assert model.score(X, y) > 0.8


def test_balanced_classes_raise_the_recall_of_a_rare_one():
    X, y = make_blobs([300, 20], 3, cluster_std=6.0, random_state=4)
    found = [
        swept_classifier(class_weight=weight).fit(X, y).predict(X)[y == 1].mean()
        for weight in (None, "balanced")
    ]
    assert found[1] > found[0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"solver": "dmrg"}, "solver is 'adam' or 'sweeps', got 'dmrg'"),
        ({"network": "tree"}, "pass network='mps', or solver='adam'"),
        ({"shared": True}, "pass shared=False, or solver='adam'"),
        ({"learning_rate": 0.1, "weight_decay": 1.0}, "pass learning_rate=None, weight_decay=0,"),
        ({"truncation": 1.0}, "truncation is at least 0 and below 1, got 1.0"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, match):
    X, y = blobs()
    with pytest.raises(InputError, match=match):
        swept_classifier().set_params(**options).fit(X, y)


@pytest.mark.slow
def test_digits():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    train, test, labels, truth = train_test_split(X / 16, y, test_size=450, random_state=0)
    model = swept_classifier(bond_dim=10, max_epochs=2).fit(train, labels)
    assert model.score(test, truth) > 0.95
    assert_allclose(model.predict_proba(test).sum(axis=1), 1)
