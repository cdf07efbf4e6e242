import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import linregress
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from entangle.errors import InputError, MemoryLimitError
from entangle.spectra import (
    covariance_spectrum,
    cross_validated_spectrum,
    effective_rank,
    jacobian_norm,
    participation_ratio,
    power_law_exponent,
)
from entangle.spectra.activations import Activations

ROUTES = ("covariance", "gram", "randomised")
ESTIMATORS = ("ols", "weighted")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(144, 10),
    )  # fmt: skip


def exact_samples(eigenvalues, n_samples, seed=0):
    """Samples whose covariance has exactly these eigenvalues, along random directions."""
    n_units = len(eigenvalues)
    columns = np.column_stack([np.ones(n_samples), normal(n_samples, n_units, seed=seed)])
    centred = np.linalg.qr(columns)[0][:, 1:]
    rotation = np.linalg.qr(normal(n_units, n_units, seed=seed + 1))[0]
    return centred * np.sqrt((n_samples - 1) * np.asarray(eigenvalues)) @ rotation


# -- the spectrum of a covariance --------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", [(300, 40), (30, 70), (50, 50), (2, 3)])
def test_it_is_the_spectrum_of_the_covariance(route, shape, device):
    X = normal(*shape) * np.linspace(1, 5, shape[1]) + 100
    found = covariance_spectrum(torch.from_numpy(X).to(device), route=route, batch_size=7)
    direct = np.linalg.eigvalsh(np.cov(X.T))[::-1][: min(shape[0] - 1, shape[1])]
    assert_allclose(found.eigenvalues, direct, rtol=1e-11)
    assert_allclose(found.total_variance, X.var(axis=0, ddof=1).sum(), rtol=1e-12)
    assert (found.n_samples, found.n_units, found.route) == (*shape, route)
    assert found.complete
    assert found.errors.shape == found.eigenvalues.shape
    assert (found.errors < 1e-9 * found.eigenvalues[0]).all()


def test_another_library_agrees_on_digits():
    X = load_digits().data
    found = covariance_spectrum(X)
    reference = PCA().fit(X)
    assert_allclose(found.eigenvalues, reference.explained_variance_, atol=1e-11)
    assert_allclose(found.explained, np.cumsum(reference.explained_variance_ratio_), rtol=1e-12)
    values = reference.explained_variance_
    assert_allclose(found.participation_ratio, values.sum() ** 2 / np.square(values).sum())
    assert found.effective_rank == effective_rank(found.eigenvalues)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_population_is_exact(route, estimator):
    eigenvalues = np.arange(1, 121.0) ** -1.3
    found = covariance_spectrum(exact_samples(eigenvalues, 200), route=route, batch_size=64)
    assert_allclose(found.eigenvalues, eigenvalues, atol=1e-12)
    fit = power_law_exponent(found.eigenvalues, (11, 100), estimator)
    assert_allclose(fit.alpha, 1.3, atol=1e-12 if route != "randomised" else 1e-10)


@pytest.mark.parametrize("route", ROUTES)
def test_a_large_mean_changes_nothing(route):
    """Integers, so that samples are exact with and without the offset."""
    X = np.random.default_rng(0).integers(-50, 50, (90, 20)).astype(np.float64)
    plain = covariance_spectrum(X, route=route).eigenvalues
    moved = covariance_spectrum(X + 2.0**40, route=route, batch_size=8).eigenvalues
    assert_allclose(moved, plain, rtol=1e-6)  # means of batches round at 2**-12
    assert_allclose(
        covariance_spectrum(X + 2.0**20, route=route, batch_size=8).eigenvalues, plain, rtol=1e-11
    )


@given(cuts=st.sets(st.integers(1, 29)), route=st.sampled_from(ROUTES))
def test_it_does_not_matter_how_samples_are_cut(cuts, route):
    X = normal(30, 8)
    X[:10] += 5  # batches differ in their means
    batches = np.split(X, sorted(cuts))
    found = covariance_spectrum(batches, route=route)
    assert_allclose(found.eigenvalues, covariance_spectrum(X).eigenvalues, rtol=1e-10)


@given(seed=st.integers(0, 999), scale=st.floats(0.1, 10))
def test_rotations_shifts_and_scales(seed, scale):
    X = normal(40, 6, seed=seed)
    rotation = np.linalg.qr(normal(6, 6, seed=seed + 1))[0]
    found = covariance_spectrum(scale * X[::-1] @ rotation + normal(6, seed=seed))
    plain = covariance_spectrum(X)
    assert_allclose(found.eigenvalues, scale**2 * plain.eigenvalues, rtol=1e-9)
    assert_allclose(found.participation_ratio, plain.participation_ratio, rtol=1e-9)
    assert_allclose(found.effective_rank, plain.effective_rank, rtol=1e-9)


def test_the_route_follows_cost_and_memory():
    tall, wide = normal(60, 20), normal(20, 60)
    assert covariance_spectrum(tall).route == "covariance"
    assert covariance_spectrum(wide).route == "gram"
    assert covariance_spectrum(iter(np.split(wide, 4))).route == "covariance"  # length unknown
    assert covariance_spectrum(normal(60, 40), max_memory=3e4, n_leading=2).route == "randomised"
    assert covariance_spectrum(normal(2000, 60), max_memory=1e5).route == "covariance"
    with pytest.raises(MemoryLimitError, match=r"gram route needs .* choose another route"):
        covariance_spectrum(tall, route="gram", max_memory=1e4)


@pytest.mark.parametrize(("alpha", "few"), [(1.0, 20), (2.0, 60)])
def test_leading_eigenvalues_are_as_good_as_they_say(alpha, few):
    X = normal(400, 900) * np.arange(1, 901) ** (-alpha / 2)
    exact = covariance_spectrum(X)
    found = covariance_spectrum(X, route="randomised", n_leading=few, tolerance=1e-4)
    missed = exact.eigenvalues[:few] - found.eigenvalues
    assert (missed > -1e-12).all()
    assert (missed <= found.errors).all()
    assert (found.errors <= 1.01e-4 * found.eigenvalues).all()
    assert_allclose(found.total_variance, exact.total_variance, rtol=1e-12)
    assert not found.complete
    with pytest.raises(InputError, match=f"the leading {few} with .*% of the variance"):
        _ = found.effective_rank


def test_a_spectrum_that_is_flat_says_that_it_did_not_converge():
    found = covariance_spectrum(normal(400, 300), route="randomised", n_leading=10, tolerance=1e-6)
    exact = covariance_spectrum(normal(400, 300))
    assert (found.errors > 1e-6 * found.eigenvalues).any()
    assert (exact.eigenvalues[:10] - found.eigenvalues <= found.errors).all()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", [(7, 30), (600, 3)])
def test_rounding_is_no_variance(route, shape):
    with pytest.raises(InputError, match="total variance of the activations is 0"):
        covariance_spectrum(np.full(shape, 0.1), route=route)


# -- activations -------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [None, "0", "1", "3"])
def test_layers_of_a_network(layer):
    model = network().train()
    X = torch.rand(50, 1, 8, 8)
    with torch.no_grad():  # running means that are no longer 0 and 1
        model(X)
    states = {name: value.clone() for name, value in model.state_dict().items()}
    found = covariance_spectrum(model, X.double().numpy(), layer, batch_size=16)
    assert model.training
    assert all(torch.equal(states[name], value) for name, value in model.state_dict().items())
    model.eval()
    with torch.no_grad():
        outputs = (model if layer is None else model[: int(layer) + 1])(X).flatten(1)
    direct = np.linalg.eigvalsh(np.cov(outputs.double().numpy().T))[::-1]
    assert_allclose(found.eigenvalues, direct[: len(found.eigenvalues)], atol=1e-7)


def test_batches_with_labels_iterators_and_units():
    model, X = network(), torch.rand(50, 1, 8, 8)
    loader = DataLoader(TensorDataset(X, torch.zeros(50)), batch_size=20)
    whole = covariance_spectrum(model, X, "3")
    for given_as in (loader, iter(loader), list(X.split(13)), [(x, 0) for x in X.split(13)]):
        found = covariance_spectrum(model, given_as, "3")
        assert_allclose(found.eigenvalues, whole.eigenvalues, atol=1e-6)
        assert found.n_samples == 50
    activations = normal(30, 12)
    for units in (slice(5), [0, 2, 7]):
        found = covariance_spectrum(activations, units=units)
        direct = covariance_spectrum(activations[:, units])
        assert_array_equal(found.eigenvalues, direct.eigenvalues)
    one = covariance_spectrum(activations[:, 0])
    assert_allclose(one.eigenvalues, activations[:, 0].var(ddof=1))


def test_a_layer_that_is_written_over_is_read_before():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 2)).double()
    X = torch.randn(50, 4, dtype=torch.float64)
    found, expected = (covariance_spectrum(m, X, "0").eigenvalues for m in (model, model[:1]))
    assert_array_equal(found, expected)
    assert_allclose(jacobian_norm(model, X, "0").item(), model[0].weight.square().sum().item())


def test_whoever_reads_activations_keeps_gradients():
    model, X = network(), torch.rand(50, 1, 8, 8)
    batches = iter(Activations(model, X, "3", batch_size=20))
    assert not next(batches).requires_grad
    assert torch.is_grad_enabled()
    with pytest.raises(MemoryLimitError) as caught:  # it holds on to all that ran
        covariance_spectrum(model, X, "3", max_memory=1)
    assert torch.is_grad_enabled(), caught


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, values):
        return self.inner(self.inner(values))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: covariance_spectrum(normal(1, 5)), "at least 2 samples, got 1"),
        (lambda: covariance_spectrum(np.ones((5, 3))), "total variance of the activations is 0"),
        (lambda: covariance_spectrum(normal(5, 3) * 1e200), "is inf, expected a positive finite"),
        (lambda: covariance_spectrum([[1.0, math.nan], [2.0, 3.0]]), "batch 0 has NaN"),
        (lambda: covariance_spectrum([normal(5, 3), normal(5, 4)]), r"batch 1 has \(4, "),
        (lambda: covariance_spectrum(iter([])), "there are no samples"),
        (lambda: covariance_spectrum(np.ones((0, 3))), r"shape \(0, 3\)"),
        (lambda: covariance_spectrum([["a", "b"]]), "must be real numbers"),
        (lambda: covariance_spectrum(normal(5, 3), route="svd"), "route is one of auto, cov"),
        (lambda: covariance_spectrum(normal(5, 3), route="gram", tolerance=0), "between 0 and 1"),
        (lambda: covariance_spectrum(normal(5, 3), units=[3]), "numbers below 3"),
        (lambda: covariance_spectrum(normal(5, 3), units=slice(0)), "choose at least 1"),
        (lambda: covariance_spectrum(normal(5, 3), layer="0"), "go with a torch module"),
        (lambda: covariance_spectrum(network()), "needs its inputs"),
        (lambda: covariance_spectrum(network(), torch.rand(5, 1, 8, 8), "x"), "it has 0, 1, 2"),
        (lambda: covariance_spectrum(Twice(), normal(5, 4), "inner"), "runs 2 times"),
        (
            lambda: covariance_spectrum(iter([normal(5, 3)]), route="randomised"),
            "an iterator that comes once",
        ),
    ],
)
def test_spectra_that_cannot_be_found(call, match):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(InputError, match=match):
            call()


# -- dimensions --------------------------------------------------------------------------------


@given(n=st.integers(1, 50), zeros=st.integers(0, 5))
def test_equal_eigenvalues_count(n, zeros):
    values = [3.0] * n + [0.0] * zeros
    assert_allclose(participation_ratio(values), n)
    assert_allclose(effective_rank(values), n)


@given(values=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30))
def test_dimensions_are_ordered(values):
    ratio, rank = participation_ratio(values), effective_rank(values)
    assert 1 - 1e-12 <= ratio <= rank * (1 + 1e-12) <= len(values) * (1 + 1e-11)


@pytest.mark.parametrize("function", [participation_ratio, effective_rank])
@pytest.mark.parametrize(
    ("values", "match"),
    [([1.0, -1e-3], "at least 0"), ([0.0, 0.0], "not all 0"), ([], r"shape \(0,\)"),
     ([math.inf], "finite"), ([[1.0]], "shape")],
)  # fmt: skip
def test_what_is_no_spectrum(function, values, match):
    with pytest.raises(InputError, match=match):
        function(values)


# -- power laws --------------------------------------------------------------------------------

LAWS = {  # alpha of a population of 800 units: fitted at 2000 and 10 000 samples, and weighted
    0.5: (0.628, 0.520, 0.499),
    1.0: (1.070, 1.007, 0.998),
    1.5: (1.559, 1.510, 1.502),
    2.67: (2.731, 2.680, 2.676),
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
@given(alpha=st.floats(0.0, 4.0), scale=st.floats(1e-3, 1e3))
def test_a_power_law_is_its_own_fit(estimator, alpha, scale):
    eigenvalues = scale * np.arange(1, 801.0) ** -alpha
    fit = power_law_exponent(eigenvalues, estimator=estimator)
    assert_allclose(fit.alpha, alpha, atol=1e-12)
    assert_allclose(fit.intercept, math.log(scale), atol=1e-11)
    assert fit.stderr < 1e-12
    assert (fit.estimator, fit.ranks) == (estimator, (11, 500))


@pytest.fixture(scope="module")
def gaussians():
    """Estimates of every law at both sizes; one draw, scaled."""
    found = {}
    for n_samples in (2000, 10_000):
        draw = normal(n_samples, 800)
        for alpha in LAWS:
            eigenvalues = covariance_spectrum(draw * np.arange(1, 801) ** (-alpha / 2)).eigenvalues
            found[n_samples, alpha] = eigenvalues
    return found


@pytest.mark.slow
@pytest.mark.parametrize("alpha", LAWS)
def test_samples_of_a_power_law(gaussians, alpha):
    """Numbers of another draw, in numpy; from one draw to another they differ by 0.002."""
    few, many, weighted = LAWS[alpha]
    for n_samples, estimator, expected in (
        (2000, "ols", few), (10_000, "ols", many), (10_000, "weighted", weighted),
    ):  # fmt: skip
        fit = power_law_exponent(gaussians[n_samples, alpha], estimator=estimator)
        assert_allclose(fit.alpha, expected, atol=0.005)


def test_other_libraries_fit_alike():
    eigenvalues = np.sort(np.abs(normal(300)))[::-1] + 0.01
    n = np.arange(11, 201)
    line = linregress(np.log(n), np.log(eigenvalues[10:200]))
    fit = power_law_exponent(eigenvalues, (11, 200))
    assert_allclose([fit.alpha, fit.stderr, fit.intercept], [-line[0], line[4], line[1]])
    line, covariance = np.polyfit(  # its weights multiply residuals before they are squared
        np.log(n), np.log(eigenvalues[10:200]), 1, w=n**-0.5, cov=True
    )
    fit = power_law_exponent(eigenvalues, (11, 200), "weighted")
    assert_allclose([fit.alpha, fit.stderr], [-line[0], math.sqrt(covariance[0, 0])])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_both_ends_count_and_nothing_else(estimator):
    eigenvalues = np.arange(1, 101.0) ** -2.0
    for rank, moves in ((10, False), (11, True), (50, True), (51, False)):
        bent = eigenvalues.copy()
        bent[rank - 1] *= 1.01
        fit = power_law_exponent(bent, (11, 50), estimator)
        assert (abs(fit.alpha - 2) > 1e-6) == moves


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        ({}, {"ranks": (11, 101)}, r"there are 100 eigenvalues; pass ranks=\(11, 100\)"),
        ({}, {"ranks": (0, 50)}, "ranks count from 1"),
        ({}, {"ranks": (11, 12)}, "at least 3"),
        ({}, {"ranks": 11}, "a first and a last one"),
        ({}, {"ranks": (11, math.inf)}, "whole numbers, got"),
        ({}, {"ranks": (1.9, 20)}, "whole numbers, got"),
        ({}, {"ranks": (1, 50), "estimator": "ml"}, "estimator is 'ols' or 'weighted'"),
        ({40: 0.0}, {"ranks": (11, 50)}, "the one of rank 41 is 0"),
        ({40: -1e-9}, {"ranks": (11, 50)}, "the one of rank 41 is -1e-09"),
        ({40: math.nan}, {"ranks": (1, 20)}, "finite"),
        ({49: 2.0}, {"ranks": (11, 50)}, "rise with their rank"),
    ],
)
def test_fits_that_cannot_be_made(change, options, match):
    eigenvalues = np.arange(1, 101.0) ** -1.0
    for index, value in change.items():
        eigenvalues[index] = value
    with pytest.raises(InputError, match=match):
        power_law_exponent(eigenvalues, **options)


# -- noise images, and what random weights make of them ----------------------------------------


@pytest.fixture(scope="module")
def noise():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10_000, 3072, generator=generator)
    return images, torch.randn(3072, 2000, generator=generator) * math.sqrt(2 / 3072)


@pytest.mark.slow
def test_the_slope_of_noise(noise):
    """Marchenko-Pastur; arXiv:2405.00679 prints 0.05."""
    found = covariance_spectrum(noise[0]).eigenvalues
    assert_allclose(power_law_exponent(found, (11, 100)).alpha, 0.047, atol=0.003)


@pytest.mark.slow
def test_the_slope_of_noise_through_random_weights(noise):
    """The paper prints 0.11."""
    images, weights = noise
    found = covariance_spectrum(images @ weights).eigenvalues
    assert_allclose(power_law_exponent(found, (11, 100)).alpha, 0.111, atol=0.005)


def test_products_in_single_precision_do_not_move_slopes(noise):
    images, weights = noise[0][:1000, :300], noise[1][:300, :200]
    single = covariance_spectrum(images @ weights)
    double = covariance_spectrum(images.double() @ weights.double())
    fits = [power_law_exponent(one.eigenvalues, (11, 100)).alpha for one in (single, double)]
    assert_allclose(fits[0], fits[1], atol=1e-6)


# -- cross-validated spectra -------------------------------------------------------------------


def rotated(n_units, seed=9):
    return np.linalg.qr(normal(n_units, n_units, seed=seed))[0]


@pytest.mark.parametrize("shape", [(60, 12), (12, 60), (20, 20)])
def test_without_noise_it_is_the_spectrum(shape):
    X = normal(*shape) + 3
    found = cross_validated_spectrum(X, X, n_swaps=3)
    assert_allclose(found.eigenvalues, covariance_spectrum(X).eigenvalues, rtol=1e-9, atol=1e-12)
    assert_allclose(found.spread, 0, atol=1e-12)
    assert (found.n_swaps, found.n_stimuli, found.n_units) == (3, *shape)


@pytest.mark.parametrize("shape", [(60, 12), (12, 60)])
def test_it_is_the_definition(shape):
    one, other = normal(*shape) + 1, normal(*shape, seed=1)
    found = cross_validated_spectrum(one, torch.from_numpy(other), n_swaps=1)
    one, other = one - one.mean(0), other - other.mean(0)
    directions = np.linalg.svd(one, full_matrices=False)[2][: min(shape[0] - 1, shape[1])].T
    direct = ((one @ directions) * (other @ directions)).sum(0) / (shape[0] - 1)
    assert_allclose(found.eigenvalues, direct, atol=1e-12)
    assert np.isnan(found.spread).all()


@given(seed=st.integers(0, 999), n_swaps=st.integers(1, 4))
def test_the_sum_is_the_covariance_across_repeats(seed, n_swaps):
    """A trace does not depend on directions; swaps of stimuli do not change products."""
    one, other = normal(2, 30, 5, seed=seed)
    one, other = one - one.mean(0), other - other.mean(0)
    found = cross_validated_spectrum(one, other, n_swaps=n_swaps, seed=seed)
    if n_swaps == 1:
        assert_allclose(found.eigenvalues.sum(), (one * other).sum() / 29, atol=1e-12)


def test_noise_that_units_share_is_no_signal():
    """The largest direction is noise alone; swapped unit by unit it would count as signal."""
    n_stimuli, n_units = 4000, 20
    basis = rotated(n_units)
    signal = normal(n_stimuli, 1) * basis[0]
    noisy = [signal + 3 * normal(n_stimuli, 1, seed=s) * basis[1] for s in (1, 2)]
    found = cross_validated_spectrum(*noisy, n_swaps=5).eigenvalues
    plain = covariance_spectrum(noisy[0]).eigenvalues
    assert plain[0] > 8
    error = 4 * 9 / math.sqrt(n_stimuli)  # four standard errors of a product of noises
    assert abs(found[0]) < error
    assert abs(found[1] - 1) < 0.15


def test_it_recovers_a_power_law_from_noise():
    """To rank 20, where noise has as much variance as the signal."""
    signal = normal(6000, 100) * np.arange(1, 101) ** -0.75 @ rotated(100)
    repeats = [signal + 0.1 * normal(6000, 100, seed=s) for s in (1, 2)]
    found = cross_validated_spectrum(*repeats, n_swaps=5)
    assert_allclose(power_law_exponent(found.eigenvalues, (2, 20)).alpha, 1.5, atol=0.03)
    plain = covariance_spectrum(repeats[0]).eigenvalues
    assert power_law_exponent(plain, (2, 20)).alpha < 1.3


def test_one_seed_gives_one_result():
    repeats = normal(2, 30, 5)
    found = [cross_validated_spectrum(*repeats, seed=s).eigenvalues for s in (0, 0, 1)]
    assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 1e-6


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        (normal(5, 3), normal(5, 4), "of one shape"),
        (normal(1, 3), normal(1, 3), "at least 2 stimuli"),
        (normal(5, 3), np.ones((5, 3)), "do not vary"),
        (normal(5, 3), np.full((5, 3), math.nan), "must be finite"),
    ],
)
def test_repeats_that_cannot_be_compared(first, second, match):
    with pytest.raises(InputError, match=match):
        cross_validated_spectrum(first, second)
