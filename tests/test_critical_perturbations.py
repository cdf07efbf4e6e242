"""Critical perturbations of linear models in closed form, the limits of the protocol, refusals."""

import itertools
import json

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from entangle.errors import InputError
from entangle.spectra.critical import critical_perturbations
from entangle.spectra.medians import median_interval

N_FEATURES = 12


def two_classes(w, bias=0.0):
    """Logits (0, w x + bias): the margin of class 1 is w x + bias."""
    model = nn.Linear(len(w), 2).double()
    with torch.no_grad():
        model.weight.copy_(torch.stack([torch.zeros(len(w)), torch.as_tensor(w)]))
        model.bias.copy_(torch.tensor([0.0, bias]))
    return model


def problem(seed=0, n_samples=40):
    rng = np.random.default_rng(seed)
    w, X = rng.standard_normal(N_FEATURES), rng.standard_normal((n_samples, N_FEATURES))
    return w, X, (X @ w + 0.1 > 0).astype(int), np.abs(X @ w + 0.1)


def first_above(sizes, least):
    """First size above a least one; NaN if there is none."""
    place = np.searchsorted(sizes, least, side="right")
    return np.where(place < len(sizes), sizes[np.minimum(place, len(sizes) - 1)], np.nan)


# -- closed forms --------------------------------------------------------------------------


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_fgsm_flips_a_linear_model_at_margin_over_l1_norm(seed):
    w, X, y, margin = problem(seed)
    sizes = np.logspace(-4, 0.5, 60)
    found = critical_perturbations(two_classes(w, 0.1), X, y, "fgsm", sizes)
    expected = first_above(sizes, margin / np.abs(w).sum())
    assert_allclose(found.crit_eps, expected, rtol=1e-12)
    assert_allclose(found.crit_norm, expected * N_FEATURES**0.5, rtol=1e-9)
    assert not (found.crit_norm < margin / np.linalg.norm(w)).any()  # the least in L2
    share = [(expected > eps).mean() for eps in sizes]
    assert_allclose(found.relative_accuracy, share + np.isnan(expected).mean(), atol=1e-12)


def test_pgd_is_fgsm_on_a_linear_model_as_far_as_its_steps_reach():
    w, X, y, margin = problem(3)
    model, sizes = two_classes(w, 0.1), np.logspace(-4, 0.5, 50)
    fgsm = critical_perturbations(model, X, y, "fgsm", sizes)
    pgd = critical_perturbations(model, X, y, "pgd", sizes)
    reach = 20 * 0.01  # of steps of 0.01, whatever the size
    reached = margin / np.abs(w).sum() < reach
    assert 0 < reached.sum() < len(X)
    assert_allclose(pgd.crit_eps[reached], fgsm.crit_eps[reached])
    assert np.isnan(pgd.crit_eps[~reached]).all()
    assert np.isfinite(fgsm.crit_eps[~reached]).all()
    longest = pgd.crit_norm[reached]
    assert (longest <= reach * N_FEATURES**0.5 + 1e-12).all()


def test_noise_flips_a_linear_model_with_the_normal_probability():
    w, copies = np.arange(1.0, N_FEATURES + 1), 4000
    X = np.tile(w / np.linalg.norm(w), (copies, 1))
    sizes = np.geomspace(0.2, 5, 12)
    found = critical_perturbations(two_classes(w), X, np.ones(copies, int), "random", sizes)
    wrong = stats.norm.cdf(-1 / sizes)  # the margin over the norm of w is 1
    error = np.sqrt(wrong * (1 - wrong) / copies)
    scores = (1 - found.relative_accuracy - wrong) / error
    assert (np.abs(scores) < 4).all()
    assert_allclose(np.mean(scores**2), 1, atol=4 * (2 / len(sizes)) ** 0.5)
    # Sizes are independent trials: a sample flips first where it survived all before.
    survival = np.cumprod(1 - wrong)
    reached = np.array([(~(found.crit_eps <= eps)).mean() for eps in sizes])
    deviation = (reached - survival) / np.sqrt(survival * (1 - survival) / copies)
    assert (np.abs(deviation) < 4).all()
    ratio = found.crit_norm / found.crit_eps  # chi with as many degrees as features
    assert_allclose(np.nanmean(ratio**2), N_FEATURES, rtol=0.25)
    assert_allclose(np.nanstd(ratio**2), (2 * N_FEATURES) ** 0.5, rtol=0.25)
    assert found.n_never == int(np.isnan(found.crit_eps).sum())


@pytest.mark.parametrize("number", [1, 4, 5])
def test_interval_of_a_median_is_that_of_all_resamples(number):
    values = np.random.default_rng(number).standard_normal(number)
    found = median_interval(values, 0.8)
    resamples = np.sort(np.array(list(itertools.product(values, repeat=number))), axis=1)
    lower, upper = resamples[:, (number + 1) // 2 - 1], resamples[:, number // 2]
    assert found.median == np.median(values)
    assert found.low == np.quantile(lower, 0.1, method="inverted_cdf")
    assert found.high == np.quantile(upper, 0.9, method="inverted_cdf")


# -- the protocol --------------------------------------------------------------------------


def test_wrong_samples_are_left_out_and_what_never_flips_is_counted():
    w, X, y, margin = problem(1)
    y[:5] = 1 - y[:5]
    sizes = [float(np.median(margin[5:]) / np.abs(w).sum())]
    found = critical_perturbations(two_classes(w, 0.1), X, y, "fgsm", sizes)
    assert_array_equal(found.correct, np.arange(len(X)) >= 5)
    assert np.isnan(found.crit_eps[:5]).all()
    assert np.isnan(found.crit_norm[:5]).all()
    assert found.n_never == 18  # of 35: those above the median, and the median itself
    assert found.median().n_values == 17
    assert found.median_of_all().n_values == 35
    assert found.median_of_all("crit_eps").median == np.inf
    assert found.relative_accuracy.tolist() == [18 / 35]
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["crit_eps"][0] is None
    assert "18 of them never flipped" in found.to_text()


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_bounds_stop_a_perturbation(attack):
    model, X, sizes = two_classes(np.array([1.0, 1.0]), -1.25), [[0.4, 0.95]], [0.06, 0.2]
    free = critical_perturbations(model, X, [1], attack, sizes)
    kept = critical_perturbations(model, X, [1], attack, sizes, bounds=(0.38, 1.0))
    assert_allclose([free.crit_eps[0], free.crit_norm[0]], [0.06, 0.06 * 2**0.5])
    assert_allclose([kept.crit_eps[0], kept.crit_norm[0]], [0.2, (0.02**2 + 0.2**2) ** 0.5])


def test_a_gradient_that_vanishes_is_counted():
    w, X, y, _ = problem(2)
    steep = nn.Sequential(two_classes(1e4 * w, 1e3)).float()
    found = critical_perturbations(steep, X, y, "fgsm", [1.0, 10.0])
    assert found.n_flat > 30
    assert found.n_never >= found.n_flat
    assert "gradient is exactly 0" in found.to_text()
    gentle = critical_perturbations(two_classes(w, 0.1), X, y, "fgsm", [1.0, 10.0])
    assert gentle.n_flat == 0


def test_any_sample_shape_batches_seeds_and_modes_do_not_matter(device):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 3))
    model = model.to(device).train()
    X = torch.rand(20, 1, 6, 6, device=device)
    y = model.eval()(X).argmax(1)
    model.train()
    sizes = np.logspace(-2, 0, 10)
    for attack in ("fgsm", "pgd"):
        whole = critical_perturbations(model, X, y, attack, sizes, bounds=(0.0, 1.0))
        parts = critical_perturbations(
            model, X, y, attack, sizes, bounds=(0.0, 1.0), batch_size=7, progress=True
        )
        assert_array_equal(whole.crit_eps, parts.crit_eps)
        assert_allclose(whole.crit_norm, parts.crit_norm, rtol=1e-5)
    first, again, other = (
        critical_perturbations(model, X, y, "random", sizes, random_state=seed, batch_size=batch)
        for seed, batch in ((0, 512), (0, 7), (1, 512))
    )
    assert_array_equal(first.crit_eps, again.crit_eps)
    assert_allclose(first.crit_norm, again.crit_norm, rtol=1e-5)
    assert not np.array_equal(first.crit_norm, other.crit_norm, equal_nan=True)
    assert model.training


def test_a_classifier_with_its_own_labels():
    _, X, y, _ = problem(4, 200)
    names = np.array(["no", "yes"])[y]
    model = LogisticRegression().fit(X, names)
    margin = np.abs(model.decision_function(X))
    sizes = np.logspace(-4, 1, 400)
    found = critical_perturbations(model, X, names, "fgsm", sizes)
    assert_array_equal(found.correct, model.predict(X) == names)
    expected = first_above(sizes, margin / np.abs(model.coef_).sum())
    assert_allclose(found.crit_eps[found.correct], expected[found.correct])


def test_published_grids():
    w, X, y, _ = problem(5, 3)
    model = two_classes(w, 0.1)
    random = critical_perturbations(model, X, y, "random").epsilons
    fgsm = critical_perturbations(model, X, y, "fgsm").epsilons
    assert_allclose([random[0], random[-1], len(random)], [1e-6, 10**0.9162907, 400])
    assert_allclose([fgsm[0], fgsm[-1], len(fgsm)], [1e-6, 10**-1.5, 400])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "cw"}, "attack is one of"),
        ({"epsilons": [0.0, 1.0]}, "finite and above 0"),
        ({"epsilons": []}, "finite and above 0"),
        ({"epsilons": [np.nan]}, "finite and above 0"),
        ({"epsilons": ["a"]}, "epsilons are numbers"),
        ({"attack": "random", "bounds": (0, 1)}, "noise is not clamped"),
        ({"bounds": (0.0, 0.1)}, "outside the bounds"),
        ({"confidence": 1.0}, "confidence lies between"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_what_is_refused(options, message):
    w, X, y, _ = problem()
    with pytest.raises(InputError, match=message):
        critical_perturbations(two_classes(w, 0.1), X, y, **options)


def test_models_and_data_that_are_refused():
    w, X, y, _ = problem()
    model = two_classes(w, 0.1)
    with pytest.raises(InputError, match="none of 40 samples"):
        critical_perturbations(model, X, 1 - y)
    with pytest.raises(InputError, match="not finite"):
        critical_perturbations(model, np.where(X > 2, np.nan, X), y)
    with pytest.raises(InputError, match="switch its noise off"):
        critical_perturbations(lambda x: model(x.double() + torch.randn_like(x)), X, y)
    with pytest.raises(InputError, match="needs gradients"):
        critical_perturbations(KNeighborsClassifier().fit(X, y), X, y)
    found = critical_perturbations(KNeighborsClassifier().fit(X, y), X, y, "random", [0.1, 1.0])
    assert found.n_correct > 20
