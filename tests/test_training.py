import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from entangle.epochs import Epoch
from entangle.errors import InputError
from entangle.training import Group, Plan, train

PLAN = Plan(learning_rate=0.05, batch_size=16, max_epochs=40)


def linear_problem(device="cpu", n_samples=128, noise=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n_samples, 3, generator=generator)
    y = X @ torch.tensor([1.0, -2.0, 0.5]) + noise * torch.randn(n_samples, generator=generator)
    return X.to(device), y.to(device)


def linear_module(device="cpu", n_features=3):
    module = torch.nn.Linear(n_features, 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    return module.to(device)


def squares(module):
    return lambda X, y: (module(X)[:, 0] - y).square()


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def test_it_finds_the_least_squares_solution(device):
    module, data = linear_module(device), linear_problem(device)
    history = train(module, squares(module), data, PLAN, source())
    assert_close(module.weight.cpu(), torch.tensor([[1.0, -2.0, 0.5]]), atol=1e-2, rtol=0)
    assert [epoch.number for epoch in history] == list(range(1, 41))
    assert history[-1].loss < 1e-3 < history[0].loss
    assert math.isnan(history[0].validation_loss)
    assert not module.training


def test_the_weights_of_the_lowest_validation_loss_come_back():
    """Validation data that disagree: the loss falls, then rises as training goes on."""
    module, (X, y) = linear_module(), linear_problem()
    seen = []
    history = train(
        module, squares(module), (X, y), PLAN, source(), validation=(X, 0.4 * y),
        on_epoch=lambda epoch: seen.append((epoch, module.weight.detach().clone())),
    )  # fmt: skip
    best, weight = min(seen, key=lambda pair: pair[0].validation_loss)
    assert tuple(epoch for epoch, _ in seen) == history
    assert 1 < best.number < len(history)
    assert_close(module.weight.detach(), weight, rtol=0, atol=0)
    found = float(squares(module)(X, 0.4 * y).mean().detach())
    assert found == pytest.approx(best.validation_loss, rel=1e-6)


def test_it_stops_after_as_many_epochs_without_progress_as_it_has_patience():
    module, (X, y) = linear_module(), linear_problem()
    plan = dataclasses.replace(PLAN, patience=4)
    history = train(module, squares(module), (X, y), plan, source(), validation=(X, 0.4 * y))
    best = min(history, key=lambda epoch: epoch.validation_loss).number
    assert len(history) == best + 4 < PLAN.max_epochs


def test_scores_and_other_validation_losses_are_means_over_all_samples():
    module, (X, y) = linear_module(), linear_problem(n_samples=101)
    plan = Plan(max_epochs=1, batch_size=7)
    (epoch,) = train(
        module, squares(module), (X, y), plan, source(), validation=(X, y),
        validation_losses=lambda X, y: y + 3, scores=lambda X, y: 2 * y,
    )  # fmt: skip
    assert epoch.validation_loss == pytest.approx(float(y.mean()) + 3, rel=1e-5)
    assert epoch.validation_score == pytest.approx(2 * float(y.mean()), rel=1e-5)


def test_one_seed_one_result_and_no_global_state():
    data, weights = linear_problem(noise=0.5), []
    before = torch.random.get_rng_state()
    for seed in (0, 0, 1):
        module = linear_module_without_draws()
        train(module, squares(module), data, Plan(max_epochs=2), source(seed))
        weights.append(module.weight.detach())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def linear_module_without_draws():
    return torch.nn.utils.skip_init(torch.nn.Linear, 3, 1).requires_grad_(True).apply(_zero)


def _zero(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()


def interrupting(number):
    def on_epoch(epoch):
        if epoch.number == number:
            raise KeyboardInterrupt

    return on_epoch


def test_ctrl_c_keeps_the_best_weights_and_warns():
    module, (X, y) = linear_module(), linear_problem()
    options = {"validation": (X, 0.4 * y)}
    whole = train(linear := linear_module(), squares(linear), (X, y), PLAN, source(), **options)
    best = min(whole, key=lambda epoch: epoch.validation_loss).number
    with pytest.warns(UserWarning, match=f"interrupted after {best + 2} of 40 epochs"):
        history = train(
            module, squares(module), (X, y), PLAN, source(), on_epoch=interrupting(best + 2),
            **options,
        )  # fmt: skip
    assert len(history) == best + 2
    assert_close(module.weight, linear.weight, rtol=0, atol=0)


def test_ctrl_c_in_the_first_epoch_is_passed_on():
    module = linear_module()

    def interrupted(X, y):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(module, interrupted, linear_problem(), PLAN, source())


def test_a_loss_that_is_not_finite_is_an_error():
    module, (X, y) = linear_module(), linear_problem()
    with pytest.raises(InputError, match=r"loss became nan in epoch 1; pass a learning_rate below"):
        train(module, squares(module), (X, y * math.nan), PLAN, source())


def test_nothing_to_train_and_no_samples_are_errors():
    module, (X, y) = linear_module(), linear_problem()
    with pytest.raises(InputError, match="validation has no samples"):
        train(module, squares(module), (X, y), PLAN, source(), validation=(X[:0], y[:0]))
    with pytest.raises(InputError, match="data has no samples"):
        train(module, squares(module), (X[:0], y[:0]), PLAN, source())
    module.requires_grad_(False)
    with pytest.raises(InputError, match="nothing to train; set requires_grad"):
        train(module, squares(module), (X, y), PLAN, source())


def test_the_rate_rises_for_an_epoch_and_falls_to_zero():
    plan = Plan(learning_rate=2.0, max_epochs=10)
    rates = [plan.rate(progress) for progress in np.linspace(0, 10, 101)]
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert 1.9 < max(rates) <= 2.0
    assert np.argmax(rates) == 10
    assert plan.rate(5.5) == pytest.approx(2.0 * (1 + math.cos(math.pi * 0.55)) / 2)
    assert Plan(learning_rate=2.0, max_epochs=1).rate(0.1) > 1.9


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"max_epochs": 0},
        {"max_epochs": None},
        {"patience": 0},
        {"weight_decay": -1.0},
        {"gradient_norm": 0.0},
    ],
)
def test_plans_that_cannot_be_followed_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Plan(**wrong)


def test_weights_decay_apart_from_the_gradient():
    module, data = linear_module(), linear_problem()
    with torch.no_grad():
        module.weight.fill_(100.0)
    plan = Plan(learning_rate=1e-3, max_epochs=4, weight_decay=100.0)
    train(module, lambda X, y: 0 * squares(module)(X, y), data, plan, source())
    assert float(module.weight.detach().abs().max()) < 90.0


def test_epochs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Epoch(1, 0.0, 0.0, 0.0, 0.0).loss = 1.0


def normalised_module():
    """A batch norm, whose running means follow the data, and a linear map."""
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(3), linear_module())
    with torch.no_grad():
        module[1].weight.fill_(0.1)
    return module


def test_running_means_come_back_with_the_weights_they_were_measured_with():
    module, (X, y) = normalised_module(), linear_problem()
    seen = []
    history = train(
        module, squares(module), (X + 1, y), PLAN, source(), validation=(X + 1, 0.4 * y),
        on_epoch=lambda epoch: seen.append((epoch, module[0].running_mean.clone())),
    )  # fmt: skip
    best, mean = min(seen, key=lambda pair: pair[0].validation_loss)
    assert best.number < len(history)
    assert torch.equal(module[0].running_mean, mean)
    assert not torch.equal(seen[-1][1], mean)


@pytest.mark.parametrize("n_samples", [17, 33])
def test_no_step_has_one_row_alone(n_samples):
    """One row has no variance, and batch norm refuses it."""
    module, (X, y) = normalised_module(), linear_problem(n_samples=n_samples)
    sizes = []

    def losses(X, y):
        sizes.append(len(X))
        return squares(module)(X, y)

    train(module, losses, (X, y), Plan(max_epochs=1, batch_size=16), source())
    assert sizes == {17: [17], 33: [16, 17]}[n_samples]


def test_a_group_takes_parameters_from_a_generator():
    module, data = linear_module(), linear_problem()
    slow = Group((p for p in [module.weight]), largest_rate=0.01)
    train(module, squares(module), data, PLAN, source(), groups=[slow])
    assert (module.weight != 0).all()


def test_a_group_has_its_own_largest_rate_and_decay():
    def moved(plan, *groups):
        module, data = linear_module(), linear_problem()
        with torch.no_grad():
            module.weight.fill_(1.0)
            module.bias.fill_(1.0)
        made = [Group((module.bias,), *group) for group in groups]
        train(module, lambda X, y: 0 * squares(module)(X, y), data, plan, source(), groups=made)
        return float(module.weight.detach()[0, 0]), float(module.bias.detach()[0])

    plan = Plan(learning_rate=1e-2, max_epochs=4, weight_decay=1.0)
    plain = moved(plan)
    assert plain[0] == plain[1] < 0.98
    assert moved(plan, (1e-3, 0.0)) == (plain[0], 1.0)
    slow = moved(plan, (1e-3, 1.0))
    assert slow[0] == plain[0]
    assert 1 - slow[1] == pytest.approx((1 - plain[1]) / 10, rel=0.1)
    assert moved(plan, (1.0, 1.0)) == plain


def test_decay_in_the_gradient_is_a_penalty_on_squares():
    """Adam turns any gradient into steps of its rate; decoupled decay is in proportion."""

    def left(decoupled):
        module, data = linear_module(), linear_problem()
        with torch.no_grad():
            module.weight.fill_(1.0)
        plan = Plan(learning_rate=1e-2, max_epochs=4, weight_decay=1e-3, decoupled=decoupled)
        train(module, lambda X, y: 0 * squares(module)(X, y), data, plan, source())
        return float(module.weight.detach()[0, 0])

    assert left(True) > 1 - 1e-3
    assert left(False) < 0.98
