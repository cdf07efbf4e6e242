import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chi2, norm
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from entangle import load_dataset
from entangle.adversarial import PGD, ThreatModel, minimal_perturbation
from entangle.errors import InputError, MemoryLimitError, TrainingInterrupted
from entangle.spectra.hebbian_classifier import LocalHebbianClassifier
from entangle.spectra.hebbian_layer import LocalHebbianLayer
from entangle.spectra.hebbian_pruning import PUBLISHED, fit_variances, prune_units


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def layer_of(n_features=6, n_units=5, seed=0, **options):
    return LocalHebbianLayer(n_features, n_units, generator=seeded(seed), **options)


def clusters(n_samples=1000, n_features=50, n_clusters=10, seed=0):
    random = seeded(seed)
    centres = torch.rand(n_clusters, n_features, generator=random)
    rows = torch.randint(n_clusters, (n_samples,), generator=random)
    return centres[rows] + 0.05 * torch.rand(n_samples, n_features, generator=random), rows


@pytest.fixture(scope="module")
def toy():
    """The published toy: 50 numbers, 10 clusters, 20 units, p = 3, k = 2."""
    samples, _ = clusters()
    layer = layer_of(50, 20)
    layer.learn(samples, batch_size=100, generator=seeded(1))
    return samples, layer


# -- fixed point and rule ------------------------------------------------------------------


@pytest.mark.parametrize(("p", "radius"), [(2.0, 1.0), (3.0, 1.0), (3.0, 2.5), (4.0, 0.5)])
def test_one_unit_becomes_the_one_sample(p, radius, device):
    """W = v R / ||v||_p, of p-norm R."""
    sample = torch.rand(1, 8, generator=seeded(3))
    layer = layer_of(8, 1, k=1, p=p, radius=radius, normalise=False, device=device)
    layer.weight.abs_()  # a unit that starts with a negative response may run away
    layer.learn(sample, max_epochs=1000)
    expected = sample * radius / torch.linalg.vector_norm(sample, p)
    assert_allclose(layer.weight.cpu(), expected, atol=2e-5)
    assert_allclose(layer.convergence().norms.cpu(), radius, atol=2e-5)
    assert layer.convergence().converged
    assert layer.weight.device.type == device.type


def test_the_fixed_point_does_not_change():
    sample = torch.rand(1, 8, generator=seeded(3)).double()
    layer = layer_of(8, 1, k=1, radius=1.7, normalise=False, dtype=torch.float64)
    layer.weight.copy_(sample * 1.7 / torch.linalg.vector_norm(sample, 3))
    assert float(layer.change(sample).abs().max()) < 1e-14


def by_hand(weight, values, p, k, delta, radius):
    """The rule of the source, one sample, one unit and one weight at a time."""
    change = np.zeros_like(weight)
    for v in values:
        h = [
            sum(np.sign(w) * abs(w) ** (p - 1) * x for w, x in zip(row, v, strict=True))
            for row in weight
        ]
        order = sorted(range(len(h)), key=lambda unit: -h[unit])
        for unit in range(len(weight)):
            g = 1.0 if unit == order[0] else -delta if unit == order[k - 1] else 0.0
            for i in range(len(v)):
                change[unit, i] += g * (radius**p * v[i] - h[unit] * weight[unit, i])
    return change


@settings(max_examples=30)
@given(
    p=st.sampled_from([2.0, 2.5, 3.0]), k=st.integers(1, 5), delta=st.sampled_from([0.0, 0.4]),
    radius=st.sampled_from([0.5, 1.0]), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_rule_is_that_of_the_source(p, k, delta, radius, seed):
    values = torch.randn(7, 6, generator=seeded(seed + 100), dtype=torch.float64)
    layer = layer_of(seed=seed, p=p, k=k, delta=delta, radius=radius, dtype=torch.float64)
    before = layer.weight.clone()
    expected = by_hand(before.numpy(), values.numpy(), p, k, delta, radius)
    assert_allclose(layer.change(values), expected, rtol=1e-10, atol=1e-10)
    layer.step(values, 0.03)
    scaled = before + 0.03 * torch.from_numpy(expected) / np.abs(expected).max()
    assert_allclose(layer.weight, scaled, rtol=1e-10)


@given(seed=st.integers(0, 99))
def test_the_order_within_a_batch_does_not_matter(seed):
    values = torch.rand(20, 6, generator=seeded(seed), dtype=torch.float64)
    layer = layer_of(seed=seed, k=3, dtype=torch.float64)
    shuffled = values[torch.randperm(20, generator=seeded(seed + 1))]
    assert_allclose(layer.change(values), layer.change(shuffled), rtol=1e-12, atol=1e-12)


def test_no_change_is_no_step():
    """Samples of 0 move nothing; the floor of the scale keeps 0 / 0 out."""
    layer = layer_of()
    before = layer.weight.clone()
    layer.step(torch.zeros(3, 6), 0.1)
    assert torch.equal(layer.weight, before)


def test_rates_fall_along_a_line_or_are_those_of_a_function(monkeypatch):
    seen = []
    monkeypatch.setattr(LocalHebbianLayer, "step", lambda _, values, rate: seen.append(rate))
    layer_of().learn(torch.rand(4, 6), learning_rate=0.08, max_epochs=4)
    layer_of().learn(torch.rand(4, 6), learning_rate=lambda n: 1.0 / (1 + n), max_epochs=3)
    assert_allclose(seen, [0.08, 0.06, 0.04, 0.02, 1.0, 1 / 2, 1 / 3])


# -- what converges, what is pruned --------------------------------------------------------


def test_winners_of_the_toy_converge_and_the_others_do_not(toy):
    samples, layer = toy
    winners = layer.responses(layer.values(samples)).argmax(1).unique()
    found = layer.convergence()
    assert len(winners) == 10
    assert found.share == 0.5
    assert_allclose(found.norms[winners], 1, atol=1e-3)
    assert float(found.norms[~found.near].min()) > 2
    assert not found.converged
    assert found.n_negative == 0


def test_pruning_removes_what_never_won(toy):
    _, layer = toy
    pruned = pickle.loads(pickle.dumps(layer))
    near = layer.convergence().near.numpy()
    found = prune_units(pruned)
    assert_array_equal(found.pruned, ~near)
    assert len(found.mixture.means) == 2
    assert_array_equal(pruned.weight.abs().sum(1) == 0, ~near)
    assert torch.equal(pruned.weight[near], layer.weight[near])
    assert pruned.convergence().converged
    logs = np.log(layer.weight.double().numpy().var(axis=1, ddof=1))
    assert_allclose(found.log_variances, logs, rtol=1e-12)
    again = prune_units(pruned)  # one part is left: nothing more goes
    assert not again.pruned.any()
    assert again.mixture.cutoff == np.inf


def test_the_published_window_does_not_see_what_never_won(toy):
    """Variances of first weights, about 1, lie above it, so no mixture tells them apart."""
    layer = pickle.loads(pickle.dumps(toy[1]))
    found = prune_units(layer, **PUBLISHED)
    assert len(found.mixture.means) == 1
    assert not found.pruned.any()


def test_three_parts_spare_some_of_what_never_won_and_two_do_not():
    samples, _ = clusters()
    layer = layer_of(50, 20, seed=1)
    layer.learn(samples, batch_size=100, generator=seeded(1))
    near = layer.convergence().near.numpy()
    copy = pickle.loads(pickle.dumps(layer))
    published = prune_units(copy, max_parts=4)
    assert len(published.mixture.means) == 3
    assert published.pruned.sum() == 7 < (~near).sum() == 10
    assert_array_equal(prune_units(layer).pruned, ~near)


def test_one_gaussian_is_the_closed_form_and_two_are_found():
    random = np.random.default_rng(0)
    values = random.normal(-7, 0.3, 200)
    assert len(fit_variances(values).means) == 1
    two = np.append(values, random.normal(-4, 0.2, 100))
    found = fit_variances(two, max_parts=4)
    assert_allclose(found.means, [values.mean(), two[200:].mean()], atol=0.02)
    assert_allclose(found.cutoff, found.means.mean(), rtol=1e-12)
    assert found.p_values[0] < 0.01 <= found.p_values[1]
    assert len(fit_variances(two, (-7.0, -4.5)).means) == 2
    assert len(fit_variances(two, PUBLISHED["means"]).means) == 1  # from below it is not found


def test_the_statistic_is_twice_the_gain_in_likelihood():
    """Two parts far apart are two fits of their own, each with half the weight."""
    random = np.random.default_rng(1)
    halves = [random.normal(0, 0.1, 10), random.normal(1, 0.1, 10)]
    both = np.concatenate(halves)

    def likelihood(values, weight=1.0):
        spread = np.sqrt(values.var() + 1e-6)  # scikit-learn's floor of variances
        return (np.log(weight) + norm.logpdf(values, values.mean(), spread)).sum()

    gain = 2 * (sum(likelihood(half, 0.5) for half in halves) - likelihood(both))
    assert_allclose(fit_variances(both).p_values[0], chi2.sf(gain, 3), rtol=1e-2)


def test_a_unit_that_starts_against_its_sample_runs_away_and_is_counted():
    sample = torch.rand(1, 8, generator=seeded(3))
    layer = layer_of(8, 1, k=1)
    layer.weight.abs_().neg_()
    layer.learn(sample, max_epochs=300)
    found = layer.convergence()
    assert found.n_negative == 1
    assert float(found.norms) > 2
    assert not found.converged


def test_what_converges_negative_is_seen():
    layer = layer_of(6, 2)
    layer.weight[:] = torch.tensor([[0.5503] * 6, [-0.6] * 6])
    found = layer.convergence()
    assert found.n_negative == 1
    assert_array_equal(found.near, [True, False])


# -- evaluation ----------------------------------------------------------------------------


def test_outputs_are_powers_of_responses():
    layer, samples = layer_of(dtype=torch.float64), torch.rand(4, 6, dtype=torch.float64)
    values = samples / (samples**3).sum(1, keepdim=True) ** (1 / 3)
    responses = values @ (layer.weight.sign() * layer.weight**2).T
    assert_allclose(layer(samples), responses.clamp_min(0) ** 4.5, rtol=1e-12)
    layer.power = None
    assert_allclose(layer(samples), responses, rtol=1e-12)
    assert_allclose(layer(samples.reshape(4, 2, 3)), responses, rtol=1e-12)
    assert_allclose(layer(1e200 * samples), responses, rtol=1e-12)
    layer.normalise = False
    assert_allclose(layer(2 * values), 2 * responses, rtol=1e-12)


def test_outputs_have_gradients_even_at_zero():
    layer = layer_of(dtype=torch.float64)
    samples = torch.rand(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, samples)
    zero = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(zero).sum(), zero)
    assert torch.isfinite(slope).all()
    assert not layer(zero).any()
    assert not layer.weight.requires_grad


def test_counts_and_single_precision_are_samples_too():
    layer, samples = layer_of(), torch.arange(12).reshape(2, 6)
    assert_allclose(layer(samples), layer(samples.double()), rtol=1e-5)


# -- learning ------------------------------------------------------------------------------


def test_one_seed_one_layer_and_no_global_state(device):
    samples, _ = clusters(60, 6)
    before = torch.random.get_rng_state()
    found = []
    for seed in (0, 0, 1):
        layer = layer_of(seed=5, device=device)
        layer.learn(samples, max_epochs=3, batch_size=16, generator=seeded(seed))
        found.append(layer.weight.cpu())
    assert_allclose(found[0], found[1], rtol=0 if device.type == "cpu" else 1e-5)
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], layer_of(seed=6).weight)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_lists_arrays_and_tensors_teach_the_same():
    samples = np.random.default_rng(0).random((9, 6))
    given = samples, samples.tolist(), torch.from_numpy(samples), samples.reshape(9, 2, 3)
    weights = []
    for form in given:
        layer = layer_of()
        layer.learn(form, max_epochs=2, generator=seeded())
        weights.append(layer.weight)
    assert all(torch.equal(weights[0], other) for other in weights[1:])


def test_history_tells_how_far_norms_are(toy):
    samples, _ = toy
    layer = layer_of(50, 20)
    history = layer.learn(samples, max_epochs=2, generator=seeded())
    assert [epoch.number for epoch in history] == [1, 2]
    far = (layer.convergence().norms - 1).abs().mean()
    assert_allclose(history[-1].loss, float(far), rtol=1e-12)


def test_an_interrupt_keeps_what_is_learned():
    def stop(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    layer, twice = layer_of(), layer_of()
    samples = torch.rand(9, 6, generator=seeded())
    with pytest.warns(TrainingInterrupted, match="after 2 of 9 epochs"):
        layer.learn(samples, max_epochs=9, generator=seeded(), on_epoch=stop)
    with pytest.warns(TrainingInterrupted):
        twice.learn(samples, max_epochs=9, generator=seeded(), on_epoch=stop)
    assert torch.equal(layer.weight, twice.weight)
    assert not torch.equal(layer.weight, layer_of().weight)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_units": 0}, "n_units is a whole number"),
        ({"k": 6}, "k is at most n_units, got k=6 of 5 units"),
        ({"p": 1.5}, "p is a finite number of at least 2, got 1.5"),
        ({"delta": -0.1}, "delta is a finite number of at least 0"),
        ({"radius": 0}, "radius is a finite number above 0"),
        ({"power": 0.5}, "power is a finite number of at least 1"),
        ({"p": "3"}, "p is a finite number of at least 2, got '3'"),
    ],
)
def test_options_of_the_layer_that_cannot_be_used_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        layer_of(**options)


def test_what_does_not_fit_is_refused_before_it_is_drawn():
    with pytest.raises(MemoryLimitError, match="a layer of 10000000 units that learns needs"):
        LocalHebbianLayer(10**7, 10**7)


BAD_VALUE = np.ones((3, 6))
BAD_VALUE[1, 2] = np.nan


@pytest.mark.parametrize(
    ("samples", "options", "match"),
    [
        (np.ones((3, 5)), {}, r"shape \(samples, 6\), got \(3, 5\)"),
        (np.ones(6), {}, r"shape \(samples, 6\), got \(6,\)"),
        (np.ones((0, 6)), {}, r"got \(0, 6\)"),
        (BAD_VALUE, {}, "NaN or infinity"),
        (BAD_VALUE.astype(complex), {}, "real numbers, got dtype complex"),
        (np.full((3, 6), "a"), {}, "got dtype <U1"),
        (np.zeros((3, 6)), {}, "samples are all 0"),
        (np.ones((3, 6)), {"learning_rate": 0}, "learning_rate is a finite number above 0"),
        (np.ones((3, 6)), {"learning_rate": lambda n: np.nan}, "learning_rate is a finite"),
        (np.ones((3, 6)), {"max_epochs": 0}, "max_epochs is a whole number"),
        (np.ones((3, 6)), {"batch_size": 2.5}, "batch_size is a whole number"),
    ],
)
def test_samples_that_cannot_be_learned_from_are_refused(samples, options, match):
    with pytest.raises(InputError, match=match):
        layer_of().learn(samples, **options)


def test_pruning_refuses_what_no_mixture_fits():
    with pytest.raises(InputError, match=r"0 of 5 units .* within \(-9.0, -3.0\)"):
        prune_units(layer_of(), **PUBLISHED)
    with pytest.raises(InputError, match="means are 2 numbers or None, got 1"):
        prune_units(layer_of(), None, [-7.0])
    for values in ([1.0], [1.0, np.inf], [[1.0, 2.0]]):
        with pytest.raises(InputError, match="at least 2 finite values"):
            fit_variances(np.array(values))


# -- classifier ----------------------------------------------------------------------------


def quick(n_units=20, **options):
    given = {
        "hebbian_epochs": 30, "batch_size": 64, "max_epochs": 30, "learning_rate": 0.1,
        "random_state": 0,
    }  # fmt: skip
    return LocalHebbianClassifier(n_units, **(given | options))


BATCHES = "rows that repeat are drawn apart, rows with a weight are not"


@parametrize_with_checks(
    [quick(power=1.0, random_state=None)],
    expected_failed_checks=lambda _: {"check_sample_weight_equivalence_on_dense_data": BATCHES},
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    data = load_dataset("digits")
    X, y = data.X.reshape(len(data.X), -1)[:1000], data.y[:1000]
    return (
        X,
        y,
        quick(100, learning_rate=0.3, hebbian_rate=0.06, hebbian_epochs=80).fit(X[:700], y[:700]),
    )


def test_it_reads_digits_without_training_its_layer_by_labels(digits):
    X, y, model = digits
    assert model.score(X[700:], y[700:]) > 0.9
    other = clone(model).fit(X[:700], np.random.default_rng(0).permutation(y[:700]))
    assert torch.equal(model.layer_.weight, other.layer_.weight)
    assert model.convergence_.share > 0.3
    assert model.hebbian_history_[-1].number == 80
    assert_array_equal(model.pruning_.pruned, model.layer_.weight.abs().sum(1) == 0)


def test_the_module_reads_rows_in_the_units_of_x(digits):
    X, _, model = digits
    module = model.as_module()
    logits = module(torch.tensor(X[:50]))
    assert_allclose(logits.detach(), model.logits(X[:50]), rtol=1e-6)
    by_hand = model.head_(model.layer_(torch.tensor(X[:50])))
    assert_allclose(logits.detach(), by_hand.detach(), rtol=1e-6)
    scaled = make_pipeline(MinMaxScaler(), clone(model)).fit(X[:200], model.predict(X[:200]))
    assert scaled.predict(X[:50]).shape == (50,)
    assert not any(p.requires_grad for p in model.layer_.parameters())


def test_attacks_stay_within_their_budget_and_fool_it(digits):
    """Pixels are from 0 to 16, and the attack moves each by 2 of that."""
    X, y, model = digits
    rows = np.flatnonzero(model.predict(X[700:]) == y[700:])[:40] + 700
    truth = np.searchsorted(model.classes_, y[rows])
    threat = ThreatModel("linf", 2.0, 0, 16)
    given, labels = torch.tensor(X[rows], dtype=torch.float32), torch.from_numpy(truth)
    moved = PGD(steps=10, restarts=0)(model.as_module(), given, labels, threat)
    assert float((moved - given).abs().max()) <= 2.0 + 1e-4
    assert float(moved.min()) >= 0
    assert (model.predict(moved.numpy()) == y[rows]).mean() < 0.5
    distance, _ = minimal_perturbation(model, X[rows[:10]], y[rows[:10]], "l2", bounds=(0, 16))
    assert np.isfinite(distance).all()
    assert (distance > 0).all()


def test_adversarial_heads_learn_from_attacked_samples(digits):
    X, y, _ = digits
    options = {"hebbian_epochs": 3, "max_epochs": 3, "adversarial_steps": 2}
    plain = quick(**options).fit(X[:200], y[:200])
    none, some = (
        quick(**options, adversarial=ThreatModel("linf", eps, 0, 16)).fit(X[:200], y[:200])
        for eps in (0.0, 2.0)
    )
    assert torch.equal(plain.layer_.weight, some.layer_.weight)
    assert_allclose(none.logits(X[:9]), plain.logits(X[:9]), rtol=1e-4, atol=1e-4)
    assert np.abs(some.logits(X[:9]) - plain.logits(X[:9])).max() > 1e-2


def test_the_layer_does_not_learn_from_validation_rows(digits):
    X, y, _ = digits
    options = {"hebbian_epochs": 2, "max_epochs": 4, "early_stopping": True}
    model = quick(**options).fit(X[:200], y[:200])
    assert np.isfinite([epoch.validation_loss for epoch in model.history_]).all()
    rows = model._training_rows(X[:200], y[:200], None, torch.float32)
    changed = X[:200].copy()
    changed[rows.validation] = changed[rows.validation][:, ::-1]
    assert torch.equal(quick(**options).fit(changed, y[:200]).layer_.weight, model.layer_.weight)


def test_one_seed_one_classifier(digits):
    X, y, _ = digits
    options = {"hebbian_epochs": 2, "max_epochs": 2}
    found = [quick(**options, random_state=s).fit(X[:90], y[:90]) for s in (0, 0, 1)]
    logits = [model.logits(X[:9]) for model in found]
    assert_array_equal(logits[0], logits[1])
    assert (logits[0] != logits[2]).any()
    copy = pickle.loads(pickle.dumps(found[0]))
    assert_array_equal(copy.logits(X[:9]), logits[0])


def test_channels_are_features_and_stay_as_many(digits):
    X, y, _ = digits
    both = np.stack([X[:90], 16 - X[:90]], axis=2)
    model = quick(hebbian_epochs=2, max_epochs=2, prune=False).fit(both, y[:90])
    assert model.layer_.weight.shape == (20, 128)
    assert model.pruning_ is None
    assert model.predict(both).shape == (90,)
    with pytest.raises(InputError, match="1 numbers a feature, the model was trained on 2"):
        model.predict(X)


def test_it_runs_where_it_is_told_to(digits, device):
    X, y, _ = digits
    model = quick(device=device).fit(X[:300], y[:300])
    assert model.head_.weight.device.type == device.type
    assert model.score(X[:300], y[:300]) > 0.8


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"k": 30}, "k is at most n_units"),
        ({"hebbian_rate": -1.0}, "learning_rate is a finite number above 0"),
        ({"hebbian_epochs": 0}, "max_epochs is a whole number"),
        ({"learning_rate": -1.0}, "learning_rate is a positive"),
        ({"device": "abacus"}, "device 'abacus' is not available"),
        ({"prune": {"means": (-7.0,), "max_parts": 2}}, "means are 2 numbers or None"),
    ],
)
def test_options_of_the_classifier_that_cannot_be_used_are_refused(digits, options, match):
    X, y, _ = digits
    with pytest.raises(InputError, match=match):
        quick(**options).fit(X[:40], y[:40])
