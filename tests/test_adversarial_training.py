import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from entangle import LocalNetworkClassifier, TensorNetworkClassifier
from entangle.adversarial import APGD, ThreatModel, robustness_curve
from entangle.adversarial_training import Attacked
from entangle.errors import InputError
from entangle.models.inputs import Inputs, Scaled

BATCHES = "rows that repeat are drawn and split apart, rows with a weight are not"
EXPECTED = {"check_sample_weight_equivalence_on_dense_data": BATCHES}


def perceptron(**options):
    options = {"max_epochs": 30, "learning_rate": 5e-3, "random_state": 0} | options
    return LocalNetworkClassifier("mlp", model_options={"hidden": (32,)}, **options)


def convolutions(**options):
    options = {"max_epochs": 2, "learning_rate": 5e-3, "random_state": 0} | options
    return LocalNetworkClassifier("cnn", model_options={"width": 4, "depth": 3}, **options)


def tree(**options):
    options = {"max_epochs": 12, "random_state": 0, "adversarial_steps": 4} | options
    return TensorNetworkClassifier("tree", 4, **options)


def blobs(n_samples=60, n_features=6):
    return make_blobs(n_samples, n_features, centers=3, cluster_std=2.0, random_state=0)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600], y[:600], X[600:720], y[600:720]


@parametrize_with_checks(
    [
        LocalNetworkClassifier(
            "mlp", model_options={"hidden": (16,)}, max_epochs=12, learning_rate=0.02,
            adversarial=ThreatModel("linf", 0.01), adversarial_steps=2,
        )
    ],
    expected_failed_checks=lambda _: EXPECTED,
)  # fmt: skip
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# -- what it learns ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "options", "eps"), [(perceptron, {}, 1.6), (tree, {"shape": (8, 8)}, 0.8)]
)
def test_it_is_more_robust_at_its_radius(digits, build, options, eps):
    """Digits range from 0 to 16."""
    X, y, unseen, truth = digits
    trained = eps if build is perceptron else eps / 2
    found = {}
    for name, threat in (("plain", None), ("robust", ThreatModel("linf", trained, 0.0, 16.0))):
        model = build(adversarial=threat, **options).fit(X, y)
        found[name] = robustness_curve(
            model, unseen, truth, [0, eps], attack=APGD(steps=20), bounds=(0, 16)
        ).accuracy
    assert found["robust"][1] > found["plain"][1] + 0.2
    assert found["robust"][0] > 0.85


@pytest.mark.parametrize("build", [perceptron, convolutions, tree])
def test_without_a_radius_it_is_plain_training(build):
    X, y = blobs()
    plain = build(max_epochs=2).fit(X, y)
    same = build(max_epochs=2, adversarial=ThreatModel("l2", 0.0)).fit(X, y)
    assert_array_equal(same.logits(X), plain.logits(X))
    losses = [(e.loss, e.validation_loss, e.validation_score) for e in plain.history_]
    assert [(e.loss, e.validation_loss, e.validation_score) for e in same.history_] == losses


@pytest.mark.parametrize("build", [perceptron, tree])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_radius_is_in_the_units_of_the_samples(build, dtype):
    X, y = blobs()
    one = build(max_epochs=3, adversarial=ThreatModel("linf", 0.5, -30.0, 30.0))
    scaled = build(max_epochs=3, adversarial=ThreatModel("linf", 64 * 0.5, -1920.0, 1920.0))
    X = X.astype(dtype)
    one.fit(X, y)
    scaled.fit(64 * X, y)  # a power of two: every rounding is the same
    assert_allclose(scaled.logits(64 * X), one.logits(X), atol=1e-5)
    plain = build(max_epochs=3).fit(X, y)
    assert np.abs(plain.logits(X) - one.logits(X)).max() > 1e-2


def test_results_are_equal_for_one_seed_and_nothing_global_moves():
    X, y = blobs()
    before = torch.get_rng_state()
    models = [
        convolutions(adversarial=ThreatModel("linf", 0.3), random_state=s).fit(X, y)
        for s in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    first, again, other = (model.logits(X) for model in models)
    assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_what_may_not_change_does_not():
    """With everything immutable it is plain training, and with a mask less robust than without."""
    X, y = blobs()
    still = ThreatModel("linf", 1.0, immutable=np.ones(6, dtype=bool))
    model = perceptron(max_epochs=2, adversarial=still).fit(X, y)
    assert_array_equal(model.logits(X), perceptron(max_epochs=2).fit(X, y).logits(X))


# -- the objective -------------------------------------------------------------------------


class Plain:
    """Cross-entropy of a module, with the values that it was asked for."""

    def __init__(self, module):
        self.module, self.seen = module, []

    def losses(self, values, codes, weights):
        self.seen.append((values.detach().clone(), self.module.training))
        logits = self.module(values)
        return weights * torch.nn.functional.cross_entropy(logits, codes, reduction="none")

    def hits(self, values, codes, _):
        return (self.module(values).argmax(dim=1) == codes).double()


def attacked(threat=None):
    torch.manual_seed(0)
    X, y = blobs(16)
    layers = torch.nn.Flatten(1), torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU()
    network = torch.nn.Sequential(*layers, torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))
    module = Scaled(Inputs.fitted(X, (6,), "feature"), network)
    plain, threat = Plain(network), threat or ThreatModel("linf", 0.5)
    source = torch.Generator().manual_seed(0)
    found = Attacked(plain, network, module, module.values, threat, 5, source)
    return found, (torch.from_numpy(X), torch.from_numpy(y), torch.ones(16))


def test_the_attack_leaves_the_network_alone():
    found, batch = attacked()
    network = found.network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    samples, codes, _ = batch
    moved = found.moved(samples, codes)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(part.training for part in network.modules())
    assert all(p.grad is None for p in network.parameters())
    assert not moved.requires_grad
    assert 0.3 < float((moved - samples).abs().max()) <= 0.5 + 1e-9


def test_the_step_sees_attacked_samples_in_training_mode_and_scores_are_clean():
    found, batch = attacked(ThreatModel("linf", 8.0))
    found.network.train()
    found.losses(*batch).sum().backward()
    values, training = found.objective.seen[0]
    assert training
    assert float((values - found.read(batch[0])).abs().max()) > 0.01
    assert all(p.grad is not None for p in found.network.parameters())
    found.network.eval()
    samples, _, weights = batch
    codes = found.network(found.read(samples)).argmax(dim=1)
    attacked_hits = found.objective.hits(found.read(found.moved(samples, codes)), codes, weights)
    assert float(attacked_hits.mean()) < 1
    assert float(found.hits(samples, codes, weights).mean()) == 1


def test_validation_losses_are_attacked_without_chance_and_training_ones_with():
    found, batch = attacked()
    found.network.eval()
    with torch.no_grad():
        first, again = found.losses(*batch), found.losses(*batch)
        clean = found.objective.losses(found.read(batch[0]), *batch[1:])
    assert torch.equal(first, again)
    assert (first > clean).all()
    found.network.train()
    moved = [found.moved(*batch[:2]) for _ in range(2)]
    assert not torch.equal(*moved)


# -- options -------------------------------------------------------------------------------


def test_it_goes_into_clones_and_grids():
    X, y = blobs()
    threat = ThreatModel("linf", 0.2, scale=np.ones(6))
    model = clone(perceptron(adversarial=threat, max_epochs=2))
    assert model.adversarial.eps == 0.2
    search = GridSearchCV(model, {"adversarial": [None, threat]}, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 2


@pytest.mark.parametrize(
    ("build", "options", "match"),
    [
        (perceptron, {"adversarial": 0.1}, r"a ThreatModel or None, got 0.1; pass ThreatModel"),
        (tree, {"adversarial": ThreatModel(), "adversarial_steps": 0}, "whole number of at least"),
        (perceptron, {"adversarial": ThreatModel("linf", 0.1, 0.0, 1.0)}, "outside the bounds"),
        (tree, {"adversarial": ThreatModel("linf", 0.1, scale=np.ones(5))}, "broadcasts to a"),
    ],
)
def test_options_that_cannot_be_used(build, options, match):
    X, y = blobs()
    with pytest.raises(InputError, match=match):
        build(**options).fit(X, y)


def test_sweeps_do_not_train_adversarially():
    X, y = blobs()
    model = TensorNetworkClassifier("mps", solver="sweeps", adversarial=ThreatModel())
    with pytest.raises(InputError, match="pass adversarial=None, or solver='adam'"):
        model.fit(X, y)
