import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.model_selection import GridSearchCV
from torch import nn

from entangle import LocalNetworkClassifier
from entangle.adversarial import ThreatModel
from entangle.comparison.fingerprint import fingerprint
from entangle.errors import InputError
from entangle.models import MODELS
from entangle.penalties import Penalised
from entangle.spectra import (
    JacobianRegularizer,
    L2Regularizer,
    SpectralRegularizer,
    covariance_spectrum,
    jacobian_norm,
    power_law_exponent,
    spectral_penalty,
)

DOUBLE = torch.float64


def tensor(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def linear(n_in=7, n_out=5, seed=0):
    layer = nn.Linear(n_in, n_out, dtype=DOUBLE)
    with torch.no_grad():
        layer.weight.copy_(tensor(n_out, n_in, seed=seed))
    return layer


def smooth(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3), nn.Tanh()).double()


def perceptron(**options):
    options = {"max_epochs": 2, "learning_rate": 5e-3, "random_state": 0} | options
    return LocalNetworkClassifier("mlp", model_options={"hidden": (16,)}, **options)


def blobs(n_samples=60, n_features=6):
    return make_blobs(n_samples, n_features, centers=3, cluster_std=2.0, random_state=0)


# -- the Jacobian ------------------------------------------------------------------------------


def test_a_linear_layer_is_exact(device):
    layer = linear().to(device)
    norm = jacobian_norm(layer, tensor(3, 7).to(device))
    assert_allclose(norm.item(), layer.weight.square().sum().item(), rtol=1e-13)
    norm.backward()
    assert_allclose(layer.weight.grad.cpu(), 2 * layer.weight.detach().cpu(), rtol=1e-12)


@pytest.mark.parametrize("layer", [None, "0", "2"])
def test_it_is_the_jacobian_of_another_transform(layer):
    model, values = smooth(), tensor(5, 4)
    part = model if layer is None else model[: int(layer) + 1]
    jacobians = torch.vmap(torch.func.jacrev(part))(values)
    assert_allclose(
        jacobian_norm(model, values, layer).item(),
        jacobians.square().sum(dim=(1, 2)).mean().item(),
        rtol=1e-12,
    )


@pytest.mark.parametrize("n_projections", [None, 2])
def test_gradients_are_those_of_differences(n_projections):
    model, values = smooth(), tensor(3, 4)
    weight = model[0].weight.detach().clone().requires_grad_()

    def norm(weight):
        def forward(values):
            return torch.func.functional_call(model, {"0.weight": weight}, (values,))

        class Given(nn.Module):
            def forward(self, values):
                return forward(values)

        generator = torch.Generator().manual_seed(1)
        return jacobian_norm(Given(), values, n_projections=n_projections, generator=generator)

    assert torch.autograd.gradcheck(norm, (weight,))


def variance_of_one(weight):
    """Variance of the estimate from one direction."""
    size, A = len(weight), weight @ weight.T
    spread = A.square().sum() - A.trace() ** 2 / size
    return float(2 * size**2 / (size * (size + 2)) * spread)


@pytest.mark.parametrize("n_projections", [1, 3, 10])
def test_any_number_of_projections_is_unbiased_and_as_sure_as_known(n_projections):
    """The released code of arXiv:2405.00679 gives a third of it for n = 3."""
    layer, batch, repeats = linear(), 50, 200
    exact = layer.weight.square().sum().item()
    expected = variance_of_one(layer.weight.detach()) / (n_projections * batch)
    generator = torch.Generator().manual_seed(0)
    values = tensor(batch, 7)
    with torch.no_grad():
        found = np.array([
            jacobian_norm(layer, values, n_projections=n_projections, generator=generator).item()
            for _ in range(repeats)
        ])  # fmt: skip
    z = (found - exact) / math.sqrt(expected)
    assert abs(z.mean()) < 4 / math.sqrt(repeats)
    assert abs(z.var(ddof=1) - 1) < 4 * math.sqrt(2 / repeats)


def test_samples_do_not_see_each_other_and_the_module_is_left_alone():
    torch.manual_seed(0)
    parts = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)
    model, values = nn.Sequential(*parts).double().train(), tensor(8, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole = jacobian_norm(model, values)
    alone = [jacobian_norm(model, one[None]).item() for one in values]
    assert_allclose(whole.item(), np.mean(alone), rtol=1e-12)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        assert not jacobian_norm(model, values).requires_grad


def test_one_generator_gives_one_estimate():
    model, values = smooth(), tensor(4, 4)
    found = [
        jacobian_norm(
            model, values, n_projections=2, generator=torch.Generator().manual_seed(seed)
        ).item()
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]


class Constant(nn.Module):
    def forward(self, values):
        return torch.ones(len(values), 2, dtype=values.dtype)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: jacobian_norm(smooth(), tensor(3, 4), n_projections=0), "at least 1"),
        (lambda: jacobian_norm(smooth(), tensor(3, 4), "5"), "must name parts"),
        (lambda: jacobian_norm(smooth(), torch.ones(3, 4, dtype=int)), "floating point"),
        (lambda: jacobian_norm(Constant(), tensor(3, 4)), "does not depend on the values"),
        (lambda: JacobianRegularizer(-1.0), "weight is a finite number of at least 0"),
        (lambda: JacobianRegularizer(math.nan), "weight is a finite number"),
        (lambda: JacobianRegularizer(1.0, -1), "n_projections is a whole number"),
        (lambda: L2Regularizer("a"), "weight is a finite number"),
    ],
)
def test_what_has_no_jacobian(call, match):
    with pytest.raises(InputError, match=match):
        call()


# -- a spectrum that is aimed at ---------------------------------------------------------------


@given(
    alpha=st.floats(0, 3), tau=st.integers(0, 20), scale=st.floats(1e-3, 1e3), n=st.integers(30, 60)
)
def test_the_penalty_in_closed_form(alpha, tau, scale, n):
    """0 for a power law; a quarter for each rank whose variance is halved."""
    law = scale * torch.arange(1, n + 1, dtype=DOUBLE) ** -alpha
    assert_allclose(spectral_penalty(law, alpha, tau).item(), 0, atol=1e-12)
    law[tau + 1 :] /= 2
    expected = 0.25 * (n - tau - 1) / n
    assert_allclose(spectral_penalty(law, alpha, tau).item(), expected, rtol=1e-9)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    assert_allclose(spectral_penalty(law[order], alpha, tau).item(), expected, rtol=1e-9)


def test_a_white_spectrum():
    assert spectral_penalty(torch.ones(100, dtype=DOUBLE)).item() == 3333.0
    with_silent = torch.cat([torch.ones(100, dtype=DOUBLE), torch.zeros(10, dtype=DOUBLE)])
    assert_allclose(spectral_penalty(with_silent).item(), 3333.0 * 100 / 110)


def test_no_gradient_moves_the_anchor_or_what_is_before_it():
    variances = torch.tensor([9.0, 5.0, 4.0, 3.0, 0.0], dtype=DOUBLE, requires_grad=True)
    spectral_penalty(variances, 1.0, 1).backward()
    gamma = 5.0 * 2 / np.array([3, 4])
    ratio = np.array([4.0, 3.0]) / gamma
    expected = (2 * (ratio - 1) + (ratio > 1)) / gamma / 5
    assert_allclose(variances.grad, [0, 0, *expected, 0], rtol=1e-12)


def test_over_all_samples_it_is_that_of_the_spectrum():
    model, values = smooth(), tensor(80, 4)
    penalty = SpectralRegularizer(2.0, 1.3, 1, "1").for_epoch(model, values)
    eigenvalues = torch.from_numpy(covariance_spectrum(model, values, "1").eigenvalues)
    expected = 2 * spectral_penalty(eigenvalues, 1.3, 1)
    assert_allclose(penalty(values).item(), expected.item(), rtol=1e-9)


def test_directions_stay_as_the_epoch_began():
    model, values = smooth(), tensor(80, 4)
    penalty = SpectralRegularizer(1.0, 1.0, 1, "0").for_epoch(model, values)
    before = penalty(values).item()
    rotation = torch.linalg.qr(tensor(6, 6, seed=3)).Q
    with torch.no_grad():
        model[0].weight.copy_(rotation @ model[0].weight)
    assert abs(penalty(values).item() - before) > 1e-3
    again = SpectralRegularizer(1.0, 1.0, 1, "0").for_epoch(model, values)
    assert_allclose(again(values).item(), before, rtol=1e-6)
    with torch.no_grad():
        assert not again(values).requires_grad


def test_gradient_descent_reaches_the_law():
    torch.manual_seed(0)
    model, values = nn.Sequential(nn.Linear(10, 10), nn.Tanh()).double(), tensor(300, 10)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    regularizer = SpectralRegularizer(1.0, 1.5, 0)
    losses = []
    for _ in range(25):
        penalty = regularizer.for_epoch(model, values)
        for _ in range(3):
            optimizer.zero_grad()
            losses.append(penalty(values))
            losses[-1].backward()
            optimizer.step()
    assert losses[-1].item() < 1e-2 * losses[0].item()
    found = covariance_spectrum(model, values).eigenvalues
    assert_allclose(power_law_exponent(found, (1, 10)).alpha, 1.5, atol=0.05)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: spectral_penalty(tensor(5), tau=4), "at least tau \\+ 2 = 6"),
        (lambda: spectral_penalty(torch.zeros(5)), "variance of rank tau \\+ 1 = 1 is 0"),
        (lambda: spectral_penalty(torch.ones(5), alpha=-1.0), "alpha is a finite number"),
        (lambda: SpectralRegularizer(tau=-1), "tau is a whole number"),
        (lambda: SpectralRegularizer(tau=1.5), "tau is a whole number"),
        (
            lambda: SpectralRegularizer(tau=0).for_epoch(smooth(), tensor(9, 4))(tensor(1, 4)),
            "at least 2 samples",
        ),
    ],
)
def test_what_has_no_law(call, match):
    with pytest.raises(InputError, match=match):
        call()


# -- weights -----------------------------------------------------------------------------------


def test_the_l2_penalty_is_coupled_decay_and_not_decoupled():
    """For Adam, of a share of 2 w."""
    values, found = tensor(9, 4), {}
    for name, kind, decay in (
        ("penalty", torch.optim.Adam, 0.0), ("coupled", torch.optim.Adam, 0.02),
        ("decoupled", torch.optim.AdamW, 0.02),
    ):  # fmt: skip
        model = smooth()
        optimizer = kind(model.parameters(), 0.01, weight_decay=decay)
        for _ in range(5):
            optimizer.zero_grad()
            loss = model(values).square().mean()
            if name == "penalty":
                loss = loss + L2Regularizer(0.01)(model)
            loss.backward()
            optimizer.step()
        found[name] = model[0].weight.detach()
    assert_allclose(found["penalty"], found["coupled"], rtol=1e-9)
    assert (found["penalty"] - found["decoupled"]).abs().max() > 1e-3


def test_frozen_parameters_are_left_out():
    model = smooth()
    model[0].requires_grad_(False)
    expected = sum(p.square().sum() for p in model[2].parameters())
    assert_allclose(L2Regularizer(1.0)(model).item(), expected.item())
    with pytest.raises(InputError, match="no parameters that are trained"):
        L2Regularizer()(model.requires_grad_(False))


# -- in a classifier ---------------------------------------------------------------------------


def test_they_do_what_they_are_for():
    X, y = load_digits(return_X_y=True)
    X, y, unseen, truth = X[:500], y[:500], X[500:800], y[500:800]
    layer, fits = "layers.1", {}
    for name, penalty in (
        ("none", None), ("jacobian", JacobianRegularizer(0.02, 3, layer)),
        ("spectral", SpectralRegularizer(1.0, 1.0, 2, layer)), ("l2", L2Regularizer(1e-3)),
    ):  # fmt: skip
        given = None if penalty is None else [penalty]
        model = perceptron(max_epochs=15, learning_rate=0.01, penalties=given)
        module = model.fit(X, y).as_module()
        with torch.no_grad():
            norm = jacobian_norm(module, torch.from_numpy(unseen), "network." + layer).item()
        spectrum = covariance_spectrum(module, X, "network." + layer)
        alpha = power_law_exponent(spectrum.eigenvalues, (3, 14)).alpha
        squares = sum(float(p.detach().square().sum()) for p in module.parameters())
        fits[name] = norm, alpha, squares, model.score(unseen, truth)
    assert fits["jacobian"][0] < 0.5 * fits["none"][0]
    assert abs(fits["spectral"][1] - 1) < 0.15 < abs(fits["none"][1] - 1)
    assert fits["l2"][2] < fits["none"][2]
    assert min(fit[3] for fit in fits.values()) > fits["none"][3] - 0.05


class Spy:
    """A penalty that notes what it is given, and adds a constant."""

    def __init__(self, constant=0.0):
        self.constant, self.epochs, self.batches = constant, [], []

    def __deepcopy__(self, memo):
        return self

    def for_epoch(self, module, values):
        self.epochs.append((module, values, [p.detach().clone() for p in module.parameters()]))

        def penalty(batch):
            self.batches.append(batch)
            return next(module.parameters()).sum() * 0 + self.constant

        return penalty


@pytest.mark.parametrize("adversarial", [None, ThreatModel("linf", 0.3)])
def test_every_epoch_begins_with_all_that_is_trained_on(adversarial):
    X, y = blobs()
    spy, epochs = Spy(), []
    options = {"max_epochs": 3, "batch_size": 10, "adversarial": adversarial}
    model = perceptron(penalties=[spy], on_epoch=lambda _, epoch: epochs.append(epoch), **options)
    model.fit(X, y)
    assert len(spy.epochs) == len(epochs) == 3
    module, values, _ = spy.epochs[0]
    assert module is model.module_
    n_training = sum(len(batch) for batch in spy.batches) / 3
    assert values.shape == (n_training, 1, 6)
    everything = model._inputs.tensor(X, torch.device("cpu"))
    assert all((everything == one).flatten(1).all(dim=1).any() for one in values)
    assert not torch.equal(spy.epochs[0][2][0], spy.epochs[1][2][0])
    batch = spy.batches[0]
    known = [(everything == one).flatten(1).all(dim=1).any() for one in batch]
    assert all(known) == (adversarial is None)  # an attacked sample is none of the given ones


def test_the_penalty_is_in_the_training_loss_alone():
    X, y = blobs()
    plain = perceptron().fit(X, y)
    moved = perceptron(penalties=[Spy(5.0), Spy(2.0)]).fit(X, y)
    for before, after in zip(plain.history_, moved.history_, strict=True):
        assert_allclose(after.loss, before.loss + 7, rtol=1e-5)
        assert after.validation_loss == before.validation_loss
    assert_array_equal(moved.logits(X), plain.logits(X))


@pytest.mark.parametrize("penalties", [[], [JacobianRegularizer(0.0, None)], [L2Regularizer(0.0)]])
def test_without_a_weight_it_is_plain_training(penalties):
    X, y = blobs()
    plain = perceptron().fit(X, y)
    assert_array_equal(perceptron(penalties=penalties).fit(X, y).logits(X), plain.logits(X))


@pytest.mark.parametrize("name", MODELS)
def test_every_network_takes_them(name):
    options = {"cnn": {"width": 4, "depth": 3}, "padded-cnn": {"width": 4, "depth": 3}}
    small = options | {
        "m5": {"width": 4}, "s4": {"width": 4, "depth": 2, "n_states": 4},
        "attention": {"width": 8, "depth": 2, "heads": 2, "head_dim": 4, "window": 5},
        "mlp": {"hidden": (8,)},
    }  # fmt: skip
    X, y = blobs(20, 40 if name == "m5" else 9)
    before = torch.get_rng_state()
    penalties = [JacobianRegularizer(1.0), SpectralRegularizer(1.0, tau=0)]
    fits = [
        LocalNetworkClassifier(
            name,
            model_options=small[name],
            max_epochs=2,
            early_stopping=False,
            random_state=0,
            penalties=given,
        ).fit(X, y)
        for given in (penalties, penalties, None)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    one, again, other = (model.logits(X) for model in fits)
    assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-7


def test_they_go_into_clones_and_grids():
    X, y = blobs()
    model = clone(perceptron(penalties=[JacobianRegularizer(0.1)], max_epochs=1))
    assert model.penalties == [JacobianRegularizer(0.1)]
    grid = {"penalties": [None, [L2Regularizer(0.1)], [SpectralRegularizer(tau=0)]]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 3


@pytest.mark.parametrize("penalties", [JacobianRegularizer(), [0.1], "l2", [L2Regularizer]])
def test_penalties_that_are_none(penalties):
    X, y = blobs()
    with pytest.raises(InputError, match="penalties are a list of objects with a method for_epoch"):
        perceptron(penalties=penalties).fit(X, y)


def test_an_unknown_layer_is_named():
    X, y = blobs()
    with pytest.raises(InputError, match=r"got \['conv'\]; it has layers, layers.0"):
        perceptron(penalties=[JacobianRegularizer(layer="conv")]).fit(X, y)


def test_trainings_that_were_kept_before_there_were_penalties_stay_valid():
    """None is left out of fingerprints, which name them; penalties are not."""

    class Earlier(LocalNetworkClassifier):
        def get_params(self, deep=True):
            return {k: v for k, v in super().get_params(deep).items() if k != "penalties"}

    Earlier.__module__ = LocalNetworkClassifier.__module__
    Earlier.__qualname__ = LocalNetworkClassifier.__qualname__
    kept = fingerprint(Earlier("mlp", random_state=0), "model")
    assert fingerprint(LocalNetworkClassifier("mlp", random_state=0), "model") == kept
    found = {kept}
    for penalty in (JacobianRegularizer(0.1), JacobianRegularizer(0.2), L2Regularizer(0.1)):
        model = LocalNetworkClassifier("mlp", random_state=0, penalties=[penalty])
        found.add(fingerprint(model, "model"))
    assert len(found) == 4


def test_an_objective_with_penalties_evaluates_without():
    class Zero:
        def losses(self, values, codes, weights):
            return torch.zeros(len(values))

        def hits(self, values, codes, _):
            return torch.ones(len(values))

    network, spy = smooth(), Spy(3.0)
    found = Penalised(Zero(), network, (spy,), tensor(5, 4))
    batch = tensor(5, 4), torch.zeros(5), torch.ones(5)
    network.eval()
    assert found.losses(*batch).tolist() == [0.0] * 5
    network.train()
    assert found.losses(*batch).tolist() == [3.0] * 5
    assert found.hits(*batch).tolist() == [1.0] * 5
    assert len(spy.epochs) == 1
