"""What every attack promises: legal samples, the same for the same seed, and closed forms."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from entangle.adversarial import (
    APGD,
    FGSM,
    FMN,
    PGD,
    CategorySearch,
    Square,
    TargetedAPGD,
    ThreatModel,
    minimal_perturbation,
    pgd,
    square,
)
from entangle.adversarial.climbing import checkpoints
from entangle.adversarial.directions import rise
from entangle.adversarial.losses import cross_entropy, dlr, margin, targeted_dlr
from entangle.adversarial.verification import legal
from entangle.errors import InputError

NORMS = ["linf", "l2", "l1"]
ATTACKS = [
    FGSM(),
    PGD(steps=5),
    PGD(steps=3, restarts=2, loss="margin"),
    APGD(steps=12),
    APGD(steps=12, loss="dlr", restarts=2),
    TargetedAPGD(steps=10, targets=3),
    Square(queries=30),
]


def name(attack):
    return repr(attack)


def perceptron(n_features=12, n_classes=4, seed=0):
    """Weights of size 1; balanced on samples in [0, 1]."""
    source = torch.Generator().manual_seed(seed)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(n_features, 16), nn.ReLU(), nn.Linear(16, n_classes)
    )
    with torch.no_grad():
        for weight in (module[1].weight, module[3].weight):
            weight.copy_(torch.randn(weight.shape, generator=source))
        module[1].bias.copy_(-module[1].weight.sum(1) / 2)
        module[3].bias.zero_()
    return module


def data(shape=(12,), n_samples=20, seed=0):
    return torch.rand(n_samples, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("attack", ATTACKS, ids=name)
@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=15)
@given(data=st.data())
def test_samples_are_legal_whatever_the_threat(attack, norm, data):
    seed = data.draw(st.integers(0, 100))
    source = torch.Generator().manual_seed(seed)
    samples = torch.randn(6, 2, 5, generator=source)
    bounded = data.draw(st.booleans())
    lower = samples.amin(0) - 0.1 if bounded else None
    upper = np.inf if data.draw(st.booleans()) else samples.amax(0) + 0.2
    scale = torch.rand(5, generator=source) + 0.1 if data.draw(st.booleans()) else None
    fixed = torch.rand(2, 5, generator=source) < 0.3
    eps = data.draw(st.sampled_from([0.0, 1e-3, 0.3, 50.0]))
    threat = ThreatModel(norm, eps, lower, upper, scale, fixed)
    labels = torch.randint(0, 3, (6,), generator=source)
    found = attack(perceptron(10, 3), samples, labels, threat, generator=source)
    room = threat.around(samples)
    assert found.shape == samples.shape
    assert not found.requires_grad
    assert bool(legal(room, found).all())
    assert torch.equal(found[:, fixed], samples[:, fixed])


@pytest.mark.parametrize("attack", [*ATTACKS, FMN(steps=10)], ids=name)
@pytest.mark.parametrize("norm", NORMS)
def test_with_a_mask_over_all_features_nothing_moves(attack, norm):
    samples, labels = data(), torch.zeros(20, dtype=torch.long)
    threat = ThreatModel(norm, 1.0, immutable=True)
    assert torch.equal(attack(perceptron(), samples, labels, threat), samples)


@pytest.mark.parametrize("attack", [*ATTACKS, FMN(steps=10)], ids=name)
@pytest.mark.parametrize("norm", NORMS)
def test_a_seed_decides_everything(attack, norm):
    samples, module = data(), perceptron()
    labels, threat = module(samples).argmax(1), ThreatModel(norm, 0.3, 0.0, 1.0)
    torch.manual_seed(1)
    one, other, third = (
        attack(module, samples, labels, threat, generator=torch.Generator().manual_seed(seed))
        for seed in (7, 7, 8)
    )
    assert torch.equal(one, other)
    if not isinstance(attack, FGSM | FMN):
        assert not torch.equal(one, third)


@pytest.mark.parametrize("attack", ATTACKS[1:], ids=name)
@pytest.mark.parametrize("shape", [(12,), (6, 2), (1, 1, 12), (3, 2, 2), (2, 1, 3, 2)])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_any_shape_and_any_number_of_classes(attack, shape, n_classes):
    module, samples = perceptron(12, n_classes), data(shape)
    labels = module(samples).argmax(1)
    found = attack(module, samples, labels, ThreatModel("linf", 0.5, 0.0, 1.0))
    assert float((module(found).argmax(1) != labels).double().mean()) > 0.3


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", [APGD(), APGD(loss="dlr"), TargetedAPGD()], ids=name)
def test_on_a_linear_model_the_boundary_is_where_it_is(norm, attack):
    """Just beyond the closed form all are fooled, just before none."""
    module = nn.Linear(20, 2)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        module.weight.copy_(torch.randn(2, 20, generator=source))
    samples = torch.randn(30, 20, generator=source)
    with torch.no_grad():
        logits = module(samples)
    labels = logits.argmax(1)
    weight = (module.weight[1] - module.weight[0]).detach()
    order = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    distance = (logits[:, 1] - logits[:, 0]).abs() / torch.linalg.vector_norm(weight, order)
    for eps in distance.quantile(torch.tensor([0.2, 0.5, 0.8])).tolist():
        found = attack(module, samples, labels, ThreatModel(norm, eps))
        fooled = module(found).argmax(1) != labels
        sure = (distance - eps).abs() > 1e-3 * eps
        assert torch.equal(fooled[sure], (distance < eps)[sure])


@pytest.mark.parametrize("norm", NORMS)
def test_minimal_perturbations_of_a_linear_model_are_the_closed_form(norm):
    source = torch.Generator().manual_seed(0)
    weight, samples = torch.randn(2, 20, generator=source), torch.randn(50, 20, generator=source)
    module = nn.Linear(20, 2)
    with torch.no_grad():
        module.weight.copy_(weight)
        logits = module(samples)
    order = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    size = np.linalg.norm((weight[1] - weight[0]).numpy().astype(float), order)
    exact = (logits[:, 1] - logits[:, 0]).abs().numpy() / size
    distance, found = minimal_perturbation(module, samples, logits.argmax(1), norm)
    np.testing.assert_allclose(distance, exact, rtol=1e-4)
    assert bool((module(torch.from_numpy(found)).argmax(1) != logits.argmax(1)).all())


def test_minimal_perturbations_keep_to_the_box_where_it_decides():
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[2.0, 1.0], [0.0, 0.0]]))
    distance, found = minimal_perturbation(
        module, [[0.25, 1.0]], [0], "l1", bounds=(-0.25, 1.0)
    )  # the first feature gives 1 of the margin of 1.5 before it is stopped
    np.testing.assert_allclose(distance, 0.5 + 0.5, rtol=1e-4)
    np.testing.assert_allclose(found, [[-0.25, 0.5]], atol=1e-4)


class Counting(nn.Module):
    """A perceptron that counts the samples it is asked for."""

    def __init__(self):
        super().__init__()
        self.inner, self.n_asked = perceptron(), 0

    def forward(self, samples):
        self.n_asked += len(samples)
        return self.inner(samples)


def counted(attack, eps, norm):
    """Samples after an attack, which of them are fooled, and the number of outputs it took."""
    model, samples = Counting().double(), data(n_samples=60).double()
    labels, threat = model.inner(samples).argmax(1), ThreatModel(norm, eps, 0.0, 1.0)
    found = attack(model, samples, labels, threat)
    return found, model.inner(found).argmax(1) != labels, model.n_asked


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.02), ("l2", 0.05), ("l1", 0.1)])
def test_proposals_that_change_nothing_cost_no_query(monkeypatch, norm, eps):
    found, _, few = counted(Square(queries=200), eps, norm)
    monkeypatch.setattr(square, "SAME", 2.0)  # all are asked for
    full, _, many = counted(Square(queries=200), eps, norm)
    torch.testing.assert_close(found, full)
    assert few < 0.9 * many


WALKS = [APGD(loss="dlr"), TargetedAPGD(targets=3)]


@pytest.mark.parametrize("attack", WALKS, ids=name)
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.03), ("l2", 0.1)])
def test_walks_that_would_not_reach_the_boundary_end_early(attack, norm, eps):
    _, fooled, few = counted(attack, eps, norm)
    _, expected, many = counted(replace(attack, early=False), eps, norm)
    assert torch.equal(fooled, expected)
    assert 0 < int(expected.sum()) < 60
    assert few < 0.75 * many


class Valley(nn.Module):
    """Class 1 along the floor of a curved valley (Rosenbrock), where long steps gain nothing."""

    def forward(self, samples):
        x, y = samples.unbind(1)
        height = (1 - x) ** 2 + 10 * (y - x**2) ** 2 - 0.1
        return torch.stack([height, -height], dim=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_function_rises_as_far_as_the_ball_lets_it(norm):
    slope, samples = data((3,), 8).double() - 0.5, data((3,), 8, seed=1).double()
    room = ThreatModel(norm, 0.2).around(samples)
    steps = room.project(data((3,), 8, seed=2).double() - 0.5)
    size = slope.abs().sum(1) if norm == "linf" else torch.linalg.vector_norm(slope, dim=1)
    expected = 0.2 * size - (slope * steps).sum(1)  # the dual norm, from where the steps are
    torch.testing.assert_close(rise(slope, steps, room), expected)


class FaintValley(Valley):
    """The same outputs with a millionth of their gradient."""

    def forward(self, samples):
        return super().forward(1e-6 * samples + ((1 - 1e-6) * samples).detach())


@pytest.mark.parametrize("attack", WALKS, ids=name)
@pytest.mark.parametrize("valley", [Valley(), FaintValley()], ids=lambda module: repr(module))
def test_walks_that_take_long_to_settle_do_not_end_early(attack, valley):
    samples = 0.3 * data((2,), 200) - 1
    labels, threat = torch.zeros(200, dtype=torch.long), ThreatModel("linf", 2.5)
    found, expected = (
        valley(replace(attack, early=early)(valley, samples, labels, threat)).argmax(1)
        for early in (True, False)
    )
    assert 100 < int(expected.sum()) < 200
    assert torch.equal(found, expected)


def test_what_is_misclassified_is_at_distance_0_and_what_cannot_be_fooled_nowhere():
    module = nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.zero_()
        module.bias.copy_(torch.tensor([1.0, 0.0]))
    distance, found = minimal_perturbation(module, [[1.0, 2.0], [3.0, 4.0]], [0, 1])
    assert distance.tolist() == [np.inf, 0.0]
    assert found.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("norm", NORMS)
def test_minimal_perturbations_are_no_longer_than_those_of_a_fine_curve(norm):
    module, samples = perceptron(), data()
    labels = module(samples).argmax(1)
    distance, _ = minimal_perturbation(module, samples, labels, norm, bounds=(0.0, 1.0))
    for eps in np.quantile(distance[np.isfinite(distance)], [0.3, 0.6]):
        threat = ThreatModel(norm, 0.98 * float(eps), 0.0, 1.0)
        fooled = module(TargetedAPGD()(module, samples, labels, threat)).argmax(1) != labels
        assert not bool(fooled[torch.from_numpy(distance > eps)].any())


# -- losses --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3, 4, 10])
def test_ratios_have_the_sign_of_what_they_stand_for_and_a_gradient(n_classes):
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(50, n_classes, generator=source, requires_grad=True)
    labels = logits.detach().argmax(1)  # of others the untargeted ratio may be constant
    targets = (labels + 1) % n_classes
    untargeted, targeted = dlr(logits, labels), targeted_dlr(logits, labels, targets)
    assert bool((untargeted < 0).all())
    assert bool((dlr(logits, targets) > 0).all())
    assert bool((targeted < 0).all())
    assert bool((targeted_dlr(logits, targets, labels) > 0).all())
    for values in (untargeted, targeted):
        (slope,) = torch.autograd.grad(values.sum(), logits)
        assert bool((slope != 0).any(1).all())


@pytest.mark.parametrize("n_classes", [4, 10])
def test_ratios_do_not_depend_on_scale_or_shift(n_classes):
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(20, n_classes, generator=source, dtype=torch.float64)
    labels, targets = torch.zeros(20, dtype=torch.long), torch.ones(20, dtype=torch.long)
    for loss in (dlr, lambda z, y: targeted_dlr(z, y, targets)):
        torch.testing.assert_close(loss(1e3 * logits + 7, labels), loss(logits, labels))


def test_cross_entropy_and_margin():
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    assert float(margin(logits, torch.tensor([1]))) == 1
    assert float(margin(logits, torch.tensor([0]))) == -2
    expected = -torch.log_softmax(logits, 1)[0, 2]
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([2]))[0], expected)


def test_checkpoints_are_the_published_ones():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == []


# -- training loops ------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_the_short_one_raises_the_loss_and_touches_nothing(norm, device):
    module = perceptron().to(device).train()
    samples, labels = data().to(device), torch.zeros(20, dtype=torch.long, device=device)
    threat = ThreatModel(norm, 0.3, 0.0, 1.0)
    for source in (None, torch.Generator().manual_seed(0)):
        found = pgd(module, samples, labels, threat, generator=source)
        before, after = (cross_entropy(module(x), labels).mean().detach() for x in (samples, found))
        assert float(after) > float(before)
        assert bool(legal(threat.around(samples), found).all())
    assert module.training
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


def test_a_caller_that_asks_for_no_gradients_gets_the_same():
    module, samples, labels = perceptron(), data(), torch.zeros(20, dtype=torch.long)
    threat = ThreatModel("linf", 0.3, 0.0, 1.0)
    found = pgd(module, samples, labels, threat)
    with torch.no_grad():
        assert torch.equal(pgd(module, samples, labels, threat), found)


def test_double_precision_stays_double():
    module, samples = perceptron().double(), data().double()
    found = pgd(module, samples, module(samples).argmax(1), ThreatModel("l2", 0.1))
    assert found.dtype == torch.float64


# -- categories ----------------------------------------------------------------------------


def best_by_enumeration(weight, samples, eps_l1):
    """Smallest margin of a linear model: all categories, then the closed form of the rest."""
    best = torch.full((len(samples),), torch.inf)
    for first in range(3):
        for second in range(2):
            moved = samples.clone()
            moved[:, :3], moved[:, 3:5] = 0, 0
            moved[:, first], moved[:, 3 + second] = 1, 1
            spent = (moved - samples).abs().sum(1)
            rest = (eps_l1 - spent) * weight[5:].abs().max()
            value = torch.where(spent <= eps_l1, moved @ weight - rest, torch.inf)
            best = torch.minimum(best, value)
    return best


def test_categories_are_found_as_by_enumeration():
    source = torch.Generator().manual_seed(3)
    weight = torch.randn(8, generator=source)
    module = nn.Linear(8, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.stack([weight, torch.zeros(8)]))
    samples = torch.zeros(60, 8)
    rows = torch.arange(60)
    samples[rows, torch.randint(0, 3, (60,), generator=source)] = 1
    samples[rows, 3 + torch.randint(0, 2, (60,), generator=source)] = 1
    samples[:, 5:] = torch.randn(60, 3, generator=source)
    labels, threat = torch.zeros(60, dtype=torch.long), ThreatModel(
        "l1", 3.0, groups=[(0, 1, 2), (3, 4)]
    )  # fmt: skip
    found = CategorySearch()(module, samples, labels, threat)
    assert bool(legal(threat.around(samples), found).all())
    exact = best_by_enumeration(weight, samples, 3.0)
    reached = found @ weight
    assert bool((reached >= exact - 1e-4).all())
    assert float((reached <= exact + 0.05 * exact.abs() + 0.05).double().mean()) > 0.8


@pytest.mark.parametrize("attack", [*ATTACKS, CategorySearch()], ids=name)
@pytest.mark.parametrize(("norm", "cost"), [("linf", 1.0), ("l2", 2**0.5), ("l1", 2.0)])
def test_a_change_of_category_counts_as_two_columns(attack, norm, cost):
    samples = torch.eye(3)[[0, 1, 2, 0]]
    module = nn.Linear(3, 3)
    with torch.no_grad():
        module.weight.copy_(torch.eye(3))
        module.bias.zero_()
    labels = torch.tensor([0, 1, 2, 0])
    for eps, scale, moves in ((0.99 * cost, 1, False), (cost, 1, True), (cost / 10, 10, True)):
        threat = ThreatModel(norm, eps, scale=scale, groups=[(0, 1, 2)])
        found = attack(module, samples, labels, threat)
        assert bool(legal(threat.around(samples), found).all())
        assert set(found.unique().tolist()) <= {0.0, 1.0}
        if not moves:
            assert torch.equal(found, samples)
        elif isinstance(attack, CategorySearch):
            assert bool((found != samples).any(1).all())


# -- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"norm": "linff"}, "got 'linff'; did you mean 'linf'"),
        ({"eps": -0.1}, "eps is a finite number of at least 0, got -0.1"),
        ({"eps": float("nan")}, "got nan"),
        ({"scale": [-1.0, 1.0]}, "scale is finite and at least 0"),
        ({"lower": [np.nan]}, "lower has NaN"),
        ({"lower": "low"}, "lower is a number or an array of numbers, got 'low'"),
        ({"upper": [1.0, 2.0, 3.0]}, r"sample of shape \(2,\), got shape \(3,\)"),
        ({"lower": 0.5}, "the first is 0.2 in row 0, feature 0, below lower bound 0.5"),
        ({"upper": 0.5}, "the first is 0.8 in row 0, feature 1, above upper bound 0.5"),
        ({"groups": [(0, 5)]}, "at least 2 columns from 0 to 1"),
        ({"groups": [(0, 1)]}, r"one-hot group, but row 0 has"),
        ({"groups": [(0, 1)], "scale": [1, 2]}, "need one scale"),
        ({"groups": [(0, 1)], "immutable": [True, False]}, "make all of them immutable, or none"),
        ({"groups": [(0, 1), (1, 0)]}, "groups share no column"),
    ],
)
def test_threats_that_cannot_be_used_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        ThreatModel(**options).around(torch.tensor([[0.2, 0.8]]))


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: PGD(steps=0), "steps is a whole number"),
        (lambda: PGD(loss="cee"), "did you mean 'ce'"),
        (lambda: PGD(step_size=-1.0), "step_size is positive"),
        (lambda: APGD(restarts=0), "restarts is a whole number"),
        (lambda: TargetedAPGD(targets=0), "targets is a whole number"),
        (lambda: Square(queries=0), "queries is a whole number"),
        (lambda: FMN(steps=0), "steps is a whole number"),
    ],
)
def test_options_that_cannot_be_used_are_refused(build, match):
    with pytest.raises(InputError, match=match):
        build()


def test_fmn_refuses_categories():
    with pytest.raises(InputError, match="fmn does not change one-hot groups"):
        FMN()(nn.Linear(2, 2), torch.eye(2), torch.tensor([0, 1]), ThreatModel(groups=[(0, 1)]))
