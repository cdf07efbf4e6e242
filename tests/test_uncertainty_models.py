"""The relation of classifiers: layers, features, precision, training and attacks."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits, make_moons
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from torch import nn

from entangle import LocalNetworkClassifier
from entangle.adversarial import FGSM, PGD, ThreatModel, robustness_curve
from entangle.errors import InputError
from entangle.plotting import draw_uncertainty
from entangle.training import Plan, train
from entangle.uncertainty import (
    PacketAttack,
    UncertaintyTracker,
    amplitude_relation,
    tau_sweep,
    uncertainty_relation,
    uncertainty_summary,
)
from entangle.uncertainty.amplitudes import LossAmplitude, log_cross_entropy

EXACT = {"rtol": 0, "atol": 1e-5}


def perceptron(n_features=2, hidden=16, n_classes=2, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(n_features, hidden), nn.Tanh(), nn.Linear(hidden, n_classes))


def moons(n_samples=400):
    X, y = make_moons(n_samples, noise=0.15, random_state=0)
    return torch.from_numpy(X).float(), torch.from_numpy(y)


def trained(steps=150, n_samples=400, tracker=None, looks=()):
    """Full batches of Adam, as in the reference run of two moons."""
    X, y = moons(n_samples)
    module = perceptron(hidden=64)
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    for number in range(steps + 1):
        if tracker is not None and number in looks:
            tracker(module, number)
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(X), y).backward()
        optimizer.step()
    return module


# -- closed forms through a classifier -----------------------------------------------------


@pytest.mark.parametrize(
    ("n_features", "sharpness", "product", "draws"),
    [
        (1, 50, 0.57700, None), (2, 1, 0.50013, None), (2, 10, 0.55358, None),
        (2, 50, 0.57700, 1_000_000), (3, 1, 0.50013, None), (3, 3, 0.51378, 1_000_000),
    ],
)  # fmt: skip
def test_a_linear_classifier_by_quadrature(n_features, sharpness, product, draws):
    found = uncertainty_relation(
        linear(n_features, sharpness), np.zeros((1, n_features)), [0], tau=1.0, draws=draws,
        method="quadrature", batch_size=50_000,
    )  # fmt: skip
    assert_allclose(found.product, [[product, *[0.5] * (n_features - 1)]], **EXACT)
    assert found.valid.all()


def linear(n_features, sharpness):
    """Two classes whose difference of logits is the sharpness times the first feature."""
    module = nn.Linear(n_features, 2, bias=False).double()
    with torch.no_grad():
        module.weight.zero_()
        module.weight[1, 0] = sharpness
    return module


def test_a_linear_classifier_by_draws(device):
    module = linear(40, 10).to(device)
    x0 = torch.zeros(1, 40, dtype=torch.float64, device=device)
    found = uncertainty_relation(module, x0, [0], tau=1.0, draws=16_384, confidence=0.999)
    low, high = found.interval("product")
    expected = np.array([[0.553575, *[0.5] * 39]])
    assert ((low < expected) & (expected < high)).all()
    assert found.valid.all()
    assert_allclose(found.product_corr[0, 1:], 0.5, atol=1e-3)


def test_gradients_of_the_packet_point_where_fgsm_goes():
    module, (X, y) = perceptron().double(), moons(200)
    X = X.double()
    values = LossAmplitude(_victim(module), y)(X, torch.arange(200))
    moved = FGSM()(module, X, y, ThreatModel("linf", 1.0))
    assert torch.equal(values.slope.sign(), (moved - X).sign())


def _victim(module):
    from entangle.adversarial.victim import Victim

    return Victim(module)


def test_confident_losses_neither_vanish_nor_overflow():
    logits = torch.tensor([[1e4, 0.0], [-1e4, 0.0], [40.0, 0.0]], dtype=torch.float64)
    logits.requires_grad_()
    found = log_cross_entropy(logits, torch.tensor([0, 0, 0]))
    assert_allclose(found.detach(), [-1e4, math.log(1e4), -40])
    (slope,) = torch.autograd.grad(found.sum(), logits)
    assert_allclose(slope[:, 0], [-1, -1e-4, -1], rtol=1e-9)
    module = linear(2, 3000.0)  # log l is linear at -2
    relation = uncertainty_relation(module, [[-2.0, 0.0]], [0], tau=1e-4)
    assert_allclose(relation.product, 0.5, **EXACT)
    lost = uncertainty_relation(module, [[-2.0, 0.0]], [0], tau=0.1)  # a packet 600 tau away
    assert not lost.valid.any()


def test_the_loss_is_that_of_torch():
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(50) % 7
    expected = nn.functional.cross_entropy(logits, labels, reduction="none")
    assert_allclose(log_cross_entropy(logits, labels).exp(), expected, rtol=1e-12)


# -- trained networks ----------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 300])
def test_the_covariance_of_a_network_in_a_box_is_fixed_by_its_flux(steps):
    """Untrained products lie below one half, and the bound with flux holds for both."""
    bounds = ([-2, -1.5], [3, 2])
    found = uncertainty_relation(
        trained(steps), torch.zeros(2, 2), [0, 1], "box", bounds=bounds, draws=60_000,
        method="quadrature",
    )  # fmt: skip
    assert_allclose(found.residual, 0, atol=1e-4)
    assert (found.product >= found.bound - 1e-4).all()
    assert (found.bound < 0.5).all()
    if steps == 0:
        assert (found.product < 0.5).all()
    assert found.valid.all()


def test_the_bound_of_a_gaussian_packet_holds_for_a_network_trained_or_not():
    X, y = moons()
    for steps in (0, 150):
        found = uncertainty_relation(
            trained(steps), X[:3], y[:3], tau=0.3, draws=40_000, method="quadrature"
        )
        assert (found.product >= 0.5 - 1e-6).all()
        assert found.spectrum.min() >= 0.25 - 1e-6
        assert_allclose(found.mean_p, 0, atol=1e-5)  # so the displacement is 2 tau^2 E grad log l
        assert_allclose(found.residual, 0, atol=1e-5)


@pytest.mark.slow
def test_two_moons_sharpen():
    """Inputs narrow, gradients widen, and their product leaves one half as training goes on."""
    X, y = moons(500)
    tracker = UncertaintyTracker(
        X[400:], y[400:], ThreatModel("linf", 0.2), tau=0.3, draws=5_000, packets=40
    )
    looks = (0, 10, 30, 100, 300, 1000)
    trained(1000, 400, tracker, looks)
    curves = tracker.curves()
    assert_array_equal(curves["number"], looks)
    assert (np.diff(curves["sigma_x"][[0, 1, 3, 5]]) < 0).all()
    assert (np.diff(curves["sigma_p"][[0, 1, 3, 5]]) > 0).all()
    assert_allclose(curves["product"][0], 0.5, atol=0.01)
    assert curves["product"][-1] > 0.7
    assert curves["clean"][-1] > 0.95
    assert (curves["pgd"] <= curves["clean"]).all()
    assert curves["pgd"][-1] < curves["clean"][-1] - 0.1


def losses(module, X, y):
    return nn.functional.cross_entropy(module(X), y, reduction="none")


def test_a_tracker_leaves_training_alone():
    X, y = moons(120)
    plan = Plan(batch_size=40, max_epochs=3)
    histories = []
    for tracked in (False, True):
        module = perceptron()
        tracker = UncertaintyTracker(X, y, ThreatModel("linf", 0.1), tau=0.3, draws=64, packets=5)
        histories.append(
            train(
                module, partial(losses, module), (X, y), plan, torch.Generator().manual_seed(0),
                on_epoch=partial(tracker, module) if tracked else None,
            )
        )  # fmt: skip
    assert [epoch.loss for epoch in histories[0]] == [epoch.loss for epoch in histories[1]]
    assert [record.number for record in tracker.records] == [1, 2, 3]
    assert 0 <= tracker.records[-1].pgd <= tracker.records[-1].fgsm + 0.05 <= 1.05


def test_a_classifier_calls_back_after_every_epoch():
    X, y = load_digits(return_X_y=True)
    X, y = X[:200], y[:200]
    tracker = UncertaintyTracker(
        X[:20], y[:20], ThreatModel("linf", 1.0, 0, 16), tau=1.0, draws=512, packets=4, every=2
    )
    options = {"max_epochs": 4, "random_state": 0, "model_options": {"hidden": (16,)}}
    followed = LocalNetworkClassifier("mlp", on_epoch=tracker, **options).fit(X, y)
    plain = LocalNetworkClassifier("mlp", **options).fit(X, y)
    assert_array_equal(followed.logits(X), plain.logits(X))
    assert [record.number for record in tracker.records] == [1, 3]
    assert all(record.sigma_p > 0 for record in tracker.records)


def test_three_panels_are_drawn():
    tracker = UncertaintyTracker(*moons(40), ThreatModel("linf", 0.1), tau=0.3, draws=64, packets=3)
    for number in range(2):
        tracker(perceptron(), number)
    panels = Figure().subplots(1, 3)
    draw_uncertainty(panels, tracker.curves())
    assert_allclose(panels[0].lines[0].get_ydata(), tracker.curves()["sigma_x"])
    assert_allclose(panels[1].lines[0].get_ydata(), tracker.curves()["product"])
    labels = [line.get_label() for line in panels[2].lines]
    assert labels == ["clean", "FGSM", "PGD"]
    assert_allclose(panels[2].lines[2].get_ydata(), 100 * tracker.curves()["pgd"])


# -- layers, features, classes -------------------------------------------------------------


def test_a_packet_of_a_layer_is_one_of_what_follows_it():
    module, (X, y) = perceptron(n_features=2, hidden=3).double(), moons(6)
    found = uncertainty_relation(module, X, y, layer="1", tau=0.2, draws=256)
    hidden = module[:2](X.double()).detach()
    expected = uncertainty_relation(module[2:], hidden, y, tau=0.2, draws=256)
    assert_allclose(found.product, expected.product, rtol=1e-9)
    assert_allclose(found.displacement, expected.displacement, rtol=1e-6, atol=1e-9)
    assert found.shape == (3,)
    assert found.layer == "1"
    assert not module[1]._forward_hooks


class Branched(nn.Module):
    """A layer in a branch, and one that runs twice."""

    def __init__(self):
        super().__init__()
        self.side, self.twice, self.end = nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)
        self.pair = nn.Identity()
        self.pair.forward = lambda x: (x, x)

    def forward(self, x):
        first, _ = self.pair(x)
        return self.end(first + self.side(self.twice(self.twice(x))))


def test_a_layer_may_lie_in_a_branch():
    module = Branched().double()
    x0 = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    found = uncertainty_relation(
        module, x0, [1], layer="side", tau=0.5, draws=20_000, method="quadrature"
    )
    side = module.side(module.twice(module.twice(x0))).detach()
    tail = lambda nodes: log_cross_entropy(  # noqa: E731
        module.end(x0 + nodes), torch.ones(len(nodes), dtype=torch.long)
    )
    expected = amplitude_relation(tail, side, tau=0.5, draws=20_000, method="quadrature")
    assert_allclose(found.product, expected.product, rtol=1e-9)


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        ("nowhere", "layer is one of 'side', 'twice', 'end', 'pair', got 'nowhere'"),
        ("twice", "runs 2 times for a sample, expected once"),
        ("pair", "the layer gives tuple, expected a floating point tensor"),
    ],
)
def test_layers_that_cannot_be_used_are_refused(layer, match):
    with pytest.raises(InputError, match=match):
        uncertainty_relation(Branched(), [[0.3, -0.2]], [1], layer=layer, tau=0.5)
    with pytest.raises(InputError, match="asks for a torch module, got function"):
        uncertainty_relation(lambda x: x, [[0.3, -0.2]], [1], layer="end", tau=0.5)


def test_features_that_do_not_vary_stay_where_they_are():
    module, (X, y) = perceptron(hidden=8).double(), moons(4)
    X = X.double()
    found = uncertainty_relation(module, X, y, features=[1], tau=0.4)
    for row in range(4):
        sliced = amplitude_relation(
            lambda x, row=row: log_cross_entropy(
                module(torch.cat([X[row, :1].expand(len(x), 1), x], 1)), y[row].expand(len(x))
            ),
            X[row : row + 1, 1:], tau=0.4,
        )  # fmt: skip
        assert_allclose(found.product[row], sliced.product[0], rtol=1e-9)
    shown = found.map("product")
    assert np.isnan(shown[0])
    assert_allclose(shown[1], found.product.mean())


def test_maps_have_the_shape_of_a_sample_and_one_a_class():
    samples = torch.rand(6, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    module = nn.Sequential(nn.Flatten(), *perceptron(20, 8, 3))
    labels = [0, 0, 1, 1, 1, 0]
    found = uncertainty_relation(module, samples, labels, tau=0.3, draws=1024)
    maps = found.by_class("sigma_p")
    assert {label: one.shape for label, one in maps.items()} == {0: (1, 4, 5), 1: (1, 4, 5)}
    assert_allclose(maps[1].ravel(), found.sigma_p[2:5].mean(0))
    assert_allclose(found.mean("sigma_p", label=1).mean, found.sigma_p[2:5].mean())
    assert found.to_dict()["n_packets"] == 6


def test_a_packet_over_a_class():
    X, y = moons(60)
    found = uncertainty_relation(trained(150), X, y, "kde", tau=0.3, draws=4096)
    assert_array_equal(found.labels, [0, 1])
    assert found.valid.all()
    assert (found.product_corr >= 0.5 - 1e-6).all()


# -- what a model may be -------------------------------------------------------------------


def test_estimators_are_what_their_modules_are():
    X, y = moons(60)
    model = LogisticRegression().fit(X.numpy(), y.numpy() + 5)
    found = uncertainty_relation(model, X[:3], y[:3] + 5, tau=0.3)
    weight = torch.from_numpy(model.coef_[0]).double()
    bias = float(model.intercept_[0])

    def loss(x, sign):
        return nn.functional.softplus(sign * (x @ weight + bias)).log()

    for row in range(3):
        sign = 1 - 2 * float(y[row])
        expected = amplitude_relation(partial(loss, sign=sign), X[row : row + 1], tau=0.3)
        assert_allclose(found.product[row], expected.product[0], **EXACT)


class Thresholded(nn.Module):
    def forward(self, x):
        return torch.stack([(x[:, 0] > 0).float(), (x[:, 0] <= 0).float()], 1)


@pytest.mark.parametrize(
    ("model", "y", "match"),
    [
        (Thresholded(), [0], "do not depend on its inputs differentiably"),
        (nn.Linear(2, 2), [2], "class numbers 0 to 1"),
        (nn.Linear(2, 2), [0, 1], r"expected shape \(1,\), got \(2,\)"),
        (lambda x: x + torch.rand_like(x), [0], "differ, and a random loss has no packet"),
        (nn.Linear(2, 1), [0], "at least 2 classes"),
        (3, [0], "torch module, a function"),
    ],
)
def test_models_and_labels_that_cannot_be_used_are_refused(model, y, match):
    with pytest.raises(InputError, match=match):
        uncertainty_relation(model, [[0.1, 0.2]], y, tau=0.1)


def test_models_without_gradients_are_refused():
    X, y = moons(40)
    forest = RandomForestClassifier(5, random_state=0).fit(X.numpy(), y.numpy())
    with pytest.raises(InputError, match="RandomForestClassifier has no gradients"):
        uncertainty_relation(forest, X[:2], y[:2])


def test_quantised_inputs_are_flagged():
    """Their gradient, passed straight through, is not that of the loss."""
    tail = trained(300)

    def coarse(x):
        return tail(x + (torch.round(x) - x).detach())

    X, y = moons(8)
    found = uncertainty_relation(coarse, X, y, tau=0.5, draws=8192)
    assert found.n_refused >= 6
    assert "misses its exact value" in " ".join(found.reasons)


def test_models_keep_their_mode_and_gradients_and_the_world_its_seed():
    module = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 2))
    module.train()
    torch.manual_seed(3)
    before, state = (
        torch.random.get_rng_state(),
        {k: v.clone() for k, v in module.state_dict().items()},
    )
    uncertainty_relation(module, torch.rand(3, 2, generator=torch.Generator()), [0, 1, 1], tau=0.1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert module.training
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(state[k], v) for k, v in module.state_dict().items())


def test_a_sweep_and_a_summary():
    X, y = moons(80)
    module = trained(300)
    sweep = tau_sweep(module, X[:20], y[:20], [0.05, 0.3], draws=1024)
    assert sweep[0].mean("product").mean < sweep[1].mean("product").mean
    with pytest.raises(InputError, match="one or more widths"):
        tau_sweep(module, X, y, [])
    summary = uncertainty_summary(module, X, y, max_samples=7, tau=0.1)
    assert len(summary.valid) == 7
    assert "sigma_x" in summary.to_text()
    again = uncertainty_summary(module, X.numpy(), y.tolist(), max_samples=7, tau=0.1)
    assert again.to_dict() == summary.to_dict()


# -- the displacement as an attack ---------------------------------------------------------


def test_displacements_point_along_the_gradient_of_a_linear_model():
    module = linear(6, 1.0)
    with torch.no_grad():
        module.weight[1] = torch.tensor([3.0, -2, 1, 0.5, -0.5, 2])
    x0, y = torch.zeros(2, 6, dtype=torch.float64), torch.tensor([0, 1])
    attack, exact = PacketAttack(steps=1, draws=4000), FGSM()
    threat = ThreatModel("linf", 0.3)
    assert torch.equal(attack(module, x0, y, threat), exact(module, x0, y, threat))
    threat = ThreatModel("l2", 0.3)
    moved = torch.nn.functional.normalize(attack(module, x0, y, threat), dim=1)
    slope = torch.nn.functional.normalize(exact(module, x0, y, threat), dim=1)
    assert bool(((moved * slope).sum(1) > 0.98).all())


def test_the_attack_finds_what_gradients_find_on_a_network():
    X, y = moons()
    module = trained(150)
    options = {"epsilons": [0.1, 0.2, 0.3], "norm": "linf"}
    ours = robustness_curve(module, X, y, attack=PacketAttack(), **options)
    peer = robustness_curve(module, X, y, attack=PGD(steps=20), **options)
    assert ours.attacks
    assert ours.n_refused == 0
    assert (ours.accuracy <= peer.accuracy + 0.02).all()
    assert ours.accuracy[-1] < ours.accuracy[0]


def test_the_attack_needs_no_gradients():
    X, y = moons(200)
    forest = RandomForestClassifier(20, max_depth=4, random_state=0).fit(X.numpy(), y.numpy())
    found = robustness_curve(forest, X, y, [0.0, 0.3], attack=PacketAttack(steps=4, draws=64))
    assert found.accuracy[1] < found.accuracy[0] - 0.1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "steps is a whole number"),
        ({"draws": 0}, "draws is a whole number"),
        ({"width": 0.0}, "width is positive, a share of eps, got 0.0"),
        ({"step_size": -1.0}, "step_size is positive"),
    ],
)
def test_attacks_that_cannot_be_used_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        PacketAttack(**options)
