"""Closed forms of the relation, its identities on any sample, and what it refuses."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.testing import assert_allclose
from scipy import integrate
from torch import nn

from entangle.errors import InputError
from entangle.uncertainty import amplitude_relation
from entangle.uncertainty.amplitudes import Values
from entangle.uncertainty.moments import Sums

EXACT = {"rtol": 0, "atol": 1e-5}
COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
MARGINS = [  # margin, sharpness, product
    (0, 1, 0.50013), (0, 3, 0.51378), (0, 10, 0.55358), (0, 50, 0.57700),
    (2, 1, 0.50038), (2, 3, 0.50815), (2, 10, 0.59045), (2, 50, 0.67418),
]  # fmt: skip


def log_softplus(margin):
    """Far below 0 it is the margin itself."""
    soft = nn.functional.softplus(margin.clamp_min(-30), threshold=1e4).log()
    return torch.where(margin > -30, soft, margin)


def soft_margin(margin, sharpness):
    return lambda x: log_softplus(sharpness * (x[:, 0] - margin))


def step(x):
    """A step from 0 to 1, with the slope that autograd believes in."""
    return (x[:, 0] > 0).double() + 0 * x[:, 0]


def one(amplitude, packet="gaussian", n_features=1, **options):
    options = ({"tau": 1.0} if packet == "gaussian" else {}) | options
    return amplitude_relation(amplitude, np.zeros((1, n_features)), packet, **options)


# -- closed forms --------------------------------------------------------------------------

WHOLE = {  # amplitudes that vanish within the box: product, sigma_x, sigma_p
    "gaussian": (lambda x: torch.exp(-x[:, 0] ** 2 / 16), 30, 0.5, 2.0, 0.25),
    "oscillator 1": (lambda x: x[:, 0] * torch.exp(-x[:, 0] ** 2 / 2), 12, 1.5, 1.5**0.5, 1.5**0.5),
    "oscillator 2": (
        lambda x: (2 * x[:, 0] ** 2 - 1) * torch.exp(-x[:, 0] ** 2 / 2), 12, 2.5, 2.5**0.5,
        2.5**0.5,
    ),
    "sech": (lambda x: 1 / torch.cosh(x[:, 0]), 30, math.pi / 6, math.pi / 12**0.5, 3**-0.5),
    "two-sided": (lambda x: torch.exp(-x[:, 0].abs() / 2), 60, 0.5**0.5, 2**0.5, 0.5),
    "cosine": (
        lambda x: torch.cos(math.pi * x[:, 0]), 0.5, (math.pi**2 / 12 - 0.5) ** 0.5,
        0.180756, math.pi,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_amplitudes_that_vanish_at_the_faces(name):
    amplitude, edge, product, sigma_x, sigma_p = WHOLE[name]
    found = one(amplitude, "box", bounds=(-edge, edge), logarithm=False)
    assert_allclose(found.product, product, **EXACT)
    assert_allclose([found.sigma_x, found.sigma_p], [[[sigma_x]], [[sigma_p]]], **EXACT)
    assert_allclose(found.bound, 0.5, **EXACT)
    assert_allclose(found.efficiency, 1 / (4 * product**2), **EXACT)
    assert_allclose(found.residual, 0, **EXACT)
    assert found.valid.all()


def test_a_box_lets_flux_out_and_lowers_the_bound():
    flat = one(lambda x: torch.ones_like(x[:, 0]), "box", bounds=(0, 1))
    assert_allclose([flat.product, flat.flux, flat.bound], [[[0]], [[1]], [[0]]], atol=1e-12)
    rising = one(lambda x: x[:, 0], "box", bounds=(0, 1), logarithm=False)
    assert_allclose(
        [rising.product, rising.flux, rising.bound], [[[0.167705]], [[0.75]], [[0.125]]], **EXACT
    )
    assert_allclose([flat.residual, rising.residual], 0, atol=1e-9)
    assert np.isnan(rising.product_corr).all()


@pytest.mark.parametrize(
    ("sharpness", "product"), [(0.1, 0.00053), (1, 0.0361), (3, 0.0911), (10, 0.1359), (50, 0.1609)]
)
def test_a_plain_box_falls_below_one_half(sharpness, product):
    found = one(soft_margin(0, sharpness), "box", bounds=(-1, 1))
    assert_allclose(found.product, product, atol=6e-5)
    assert (found.product >= found.bound - 1e-9).all()


def test_correlated_features_share_their_product_and_not_their_spectrum():
    inverse = COVARIANCE.inverse()
    found = one(lambda x: -(x @ inverse * x).sum(1) / 4, "box", 2, bounds=(-9, 9))
    assert_allclose(found.product, [[5 / 6, 5 / 6]], **EXACT)
    assert_allclose(found.spectrum, [[0.25, 0.25]], **EXACT)


@pytest.mark.parametrize(("margin", "sharpness", "product"), MARGINS)
def test_a_soft_margin_in_a_gaussian_packet(margin, sharpness, product):
    found = one(soft_margin(margin, sharpness))
    assert_allclose(found.product, product, **EXACT)
    assert_allclose(found.residual, 0, **EXACT)
    assert_allclose(found.product_corr, found.product, **EXACT)


@pytest.mark.parametrize(("margin", "sharpness", "product"), MARGINS)
def test_a_soft_margin_by_draws(margin, sharpness, product):
    """A margin of two widths leaves one effective draw in two hundred: it takes that many more."""
    draws = 400_000 if margin else 20_000
    found = one(soft_margin(margin, sharpness), draws=draws, confidence=0.99)
    for quantity, exact in (("product", product), ("residual", 0.0)):
        low, high = found.interval(quantity)
        assert low < exact < high
    assert found.errors["product"] < 0.035
    assert found.valid.all()
    assert_allclose(found.product_corr, product, rtol=0.05)


def test_a_hinge_in_a_gaussian_packet():
    found = one(lambda x: x[:, 0].relu(), logarithm=False)
    expected = [[[0.67344]], [[0.86603]], [[0.58322]]]
    assert_allclose([found.sigma_x, found.sigma_p, found.product], expected, **EXACT)


def test_an_exponential_moves_the_packet_and_keeps_its_shape():
    slope, tau = torch.tensor([0.7, -0.3], dtype=torch.float64), 1.5
    found = one(lambda x: x @ slope, n_features=2, tau=tau)
    assert_allclose(found.product, 0.5, **EXACT)
    assert_allclose(found.displacement, [(2 * tau**2 * slope).tolist()], **EXACT)
    assert_allclose(found.mean_p, 0, **EXACT)


def test_an_exponential_by_draws_in_many_features():
    slope = torch.linspace(-1, 1, 50, dtype=torch.float64) / 20
    found = one(lambda x: x @ slope, n_features=50, draws=8192, confidence=0.999)
    low, high = found.interval("displacement")
    assert ((low <= 2 * slope.numpy()) & (2 * slope.numpy() <= high)).all()
    assert_allclose(found.product_corr, 0.5, rtol=1e-9)  # exact for whatever draws
    assert found.spectrum is None


# -- draws ---------------------------------------------------------------------------------

DRAWN = {
    "soft": (soft_margin(0, 10), {}, 0.553575),
    "margin": (soft_margin(1, 3), {"draws": 100_000}, 0.512778),
    "cosine": (
        lambda x: torch.cos(math.pi * x[:, 0]).log(), {"packet": "box", "bounds": (-0.5, 0.5)},
        0.567862,
    ),
    "rising": (lambda x: x[:, 0].log(), {"packet": "box", "bounds": (0, 1)}, 0.167705),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_draws_agree_with_quadrature_within_their_interval(name):
    amplitude, options, product = DRAWN[name]
    found = one(amplitude, **{"draws": 20_000, "confidence": 0.99} | options)
    low, high = found.interval("product")
    assert low < product < high
    low, high = found.interval("residual")
    assert low < 0 < high
    assert found.valid.all()
    assert found.errors["product"] < 0.02


@pytest.mark.parametrize("sharpness", [1, 10])
def test_intervals_cover_as_often_as_they_say(sharpness):
    packets, product = 400, next(p for m, k, p in MARGINS if (m, k) == (0, sharpness))
    found = amplitude_relation(
        soft_margin(0, sharpness), np.zeros((packets, 1)), tau=1.0, draws=4096
    )
    low, high = found.interval("product")
    covered = ((low < product) & (product < high)).mean()
    assert 0.92 < covered < 0.98
    assert found.valid.mean() > 0.99


def test_one_seed_gives_one_answer_and_another_seed_another():
    options = {"draws": 256, "tau": 1.0}
    x0 = np.linspace(-1, 1, 12)[:, None]
    found = [
        amplitude_relation(
            soft_margin(0, 3), x0, generator=torch.Generator().manual_seed(seed), **options
        ).product
        for seed in (1, 1, 2)
    ]
    assert_allclose(found[0], found[1], rtol=0)
    assert not np.array_equal(found[0], found[2])


@pytest.mark.parametrize("batch_size", [40, 5000])
@pytest.mark.parametrize("packet", ["gaussian", "box", "kde"])
def test_runs_of_any_length_give_the_same_relation(batch_size, packet):
    """Other draws, as blocks are others, of one packet or several at once."""
    options = {"bounds": (-2, 2)} if packet == "box" else {"tau": 0.7}
    x0 = np.linspace(-1, 1, 3)[:, None]
    exact = amplitude_relation(soft_margin(0, 2), x0, packet, **options)
    found = amplitude_relation(
        soft_margin(0, 2), x0, packet, draws=5000, batch_size=batch_size, confidence=0.999,
        **options,
    )  # fmt: skip
    for quantity in ("product", "covariance", "flux", "displacement"):
        low, high = found.interval(quantity)
        assert (low <= getattr(exact, quantity) + 1e-12).all()
        assert (getattr(exact, quantity) - 1e-12 <= high).all()


def test_the_noise_of_the_envelope_can_be_taken_off():
    """All of it where the loss is constant; nothing is where quadrature makes none."""
    flat = one(lambda x: 0 * x[:, 0], n_features=5, tau=0.2, draws=64)
    assert_allclose(flat.sigma_x_corr, 0.2, rtol=1e-9)
    assert_allclose(flat.sigma_p_corr, 2.5, rtol=1e-9)
    assert np.abs(flat.sigma_x - 0.2).max() > 1e-3
    loss = soft_margin(0, 3)
    exact = one(loss, tau=0.2)
    assert_allclose(exact.sigma_x_corr, exact.sigma_x, rtol=1e-9)
    assert_allclose(exact.sigma_p_corr, exact.sigma_p, rtol=1e-9)
    drawn = one(loss, tau=0.2, draws=20_000, confidence=0.99)
    for name in ("sigma_x", "sigma_p"):
        low, high = drawn.interval(f"{name}_corr")
        assert low < getattr(exact, name) < high
        assert drawn.errors[f"{name}_corr"] < drawn.errors[name] / 2


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(1, 4))
def test_no_sample_breaks_cauchy_and_schwarz(seed, nodes, n_features):
    """Whatever sizes and slopes are, related or not."""
    random = np.random.default_rng(seed)
    shape = (1, 2, nodes)
    steps, slope = (
        torch.from_numpy(random.standard_cauchy((*shape, n_features)).clip(-1e3, 1e3))
        for _ in range(2)
    )
    values = Values(
        torch.from_numpy(random.normal(scale=5, size=shape)),
        torch.from_numpy(random.normal(size=shape)),
        slope,
    )
    found = Sums.of(values, steps, None, lambda *_: None).merged()
    # Variances are differences of second moments, and as exact as those are.
    rounding = 1e-13 * found.totals[1] * found.totals[3] / found.weight[..., None] ** 2
    bound = found.variance_x * found.variance_p
    assert bool((found.covariance.square() <= bound + rounding).all())


def test_effective_draws_vanish_with_the_dimension():
    """Of a Gaussian of width 1 in a box from -4 to 4."""
    share = {1: 0.44368, 2: 0.19546, 4: 0.03845}
    for n_features, expected in share.items():
        found = one(
            lambda x: -x.square().sum(1) / 4, "box", n_features, bounds=(-4, 4), draws=40_000
        )
        assert_allclose(found.ess / found.draws, expected, rtol=0.1)
    lost = one(lambda x: -x.square().sum(1) / 4, "box", 16, bounds=(-4, 4), draws=4096)
    assert not lost.valid.any()
    assert "effective draws, at least 100 are needed" in lost.reasons[0]
    assert math.isnan(lost.mean("product").mean)


def test_a_box_of_many_features_has_no_flux_and_is_refused():
    found = one(lambda x: 0 * x[:, 0], "box", 20, bounds=(-1, 1), draws=4096)
    assert np.isnan(found.flux).all()
    assert "not measured" in found.reasons[0]


# -- laws ----------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.floats(0.1, 50), st.floats(-1e3, 1e3), st.floats(-300, 300))
def test_products_do_not_depend_on_units_origin_or_the_scale_of_the_loss(unit, origin, log_scale):
    plain = one(soft_margin(0.5, 4))
    moved = amplitude_relation(
        lambda x: log_scale + soft_margin(0.5, 4)((x - origin) / unit), [[origin]], tau=unit
    )
    assert_allclose(moved.product, plain.product, rtol=1e-6)
    assert_allclose(moved.sigma_x, unit * plain.sigma_x, rtol=1e-6)
    assert_allclose(moved.sigma_p, plain.sigma_p / unit, rtol=1e-6)


@settings(max_examples=10)
@given(st.floats(0, math.pi))
def test_the_spectrum_does_not_depend_on_axes(angle):
    """Products by coordinate do."""
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]],
        dtype=torch.float64,
    )

    def loss(x):
        return log_softplus(3 * x[:, 0]) + log_softplus(2 * x[:, 1] - 1)

    turned = one(lambda x: loss(x @ turn), n_features=2, draws=40_000, method="quadrature")
    plain = one(loss, n_features=2, draws=40_000, method="quadrature")
    assert_allclose(turned.spectrum, plain.spectrum, atol=1e-6)
    assert (turned.spectrum >= 0.25 - 1e-9).all()
    assert (turned.product >= 0.5 - 1e-9).all()


def test_a_mixture_of_two_densities():
    """A flat loss in a packet about two points: the mixture's variance and Fisher information."""
    apart, tau = 1.2, 0.7
    found = amplitude_relation(lambda x: 0 * x[:, 0], [[-apart], [apart]], "kde", tau=tau)

    def score(x):
        return (apart * math.tanh(x * apart / tau**2) - x) / tau**2

    def density(x):
        peaks = [math.exp(-((x - a) ** 2) / (2 * tau**2)) for a in (-apart, apart)]
        return sum(peaks) / (2 * tau * math.sqrt(2 * math.pi))

    fisher = integrate.quad(lambda x: density(x) * score(x) ** 2, -9, 9, epsabs=1e-11)[0]
    assert_allclose(found.sigma_x, math.sqrt(tau**2 + apart**2), atol=1e-6)
    assert_allclose(found.sigma_p, math.sqrt(fisher) / 2, atol=1e-6)
    assert_allclose(found.residual, 0, atol=1e-6)
    drawn = amplitude_relation(
        lambda x: 0 * x[:, 0], [[-apart], [apart]], "kde", tau=tau, draws=20_000, confidence=0.99
    )
    low, high = drawn.interval("product")
    assert low < found.product < high


@pytest.mark.parametrize("options", [{}, {"draws": 20_000}], ids=["quadrature", "draws"])
def test_a_step_is_flagged(options):
    """Its slope is 0 wherever it is taken, and the covariance says so."""
    found = one(step, logarithm=False, **options)
    assert_allclose(found.product, 0.183, atol=0.01)
    assert_allclose(found.residual, 0.317, atol=0.01)
    assert not found.valid.any()
    assert "misses its exact value by +0.3" in found.reasons[0]
    assert found.mean("product").n_packets == 0


# -- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tau": 0.0}, "tau is positive and finite, in the units of x0, got 0"),
        ({"tau": -1.0}, "got -1"),
        ({"tau": np.nan}, "tau is finite, got nan"),
        ({"tau": [1.0, 2.0, 3.0]}, r"one a feature that varies, 2, got shape \(3,\)"),
        ({"tau": "wide"}, "tau is made of numbers, got 'wide'"),
        ({"tau": None}, "x0 has one value only"),
        ({"bounds": (0, 1)}, "a gaussian packet has no bounds"),
        ({"packet": "box"}, "a box packet has no tau"),
        ({"packet": "box", "tau": None}, r"needs bounds=\(low, high\), got None"),
        ({"packet": "box", "tau": None, "bounds": (1, 0)}, "got 1 and 0 for feature 0; swap them"),
        ({"packet": "box", "tau": None, "bounds": 3}, r"bounds are \(low, high\), got 3"),
        ({"packet": "gauss"}, "did you mean 'gaussian'"),
        ({"draws": 10}, "draws is at least 64"),
        ({"draws": 1.5}, "draws is a whole number"),
        ({"method": "grid"}, "method is one of 'auto', 'monte-carlo', 'quadrature', got 'grid'"),
        ({"features": [2]}, "different indices from 0 to 1"),
        ({"features": [0, 0]}, "different indices"),
        ({"features": []}, "flat indices, one at least"),
        ({"confidence": 1.0}, "confidence lies between 0 and 1"),
        ({"min_ess": -1}, "min_ess is at least 0"),
        ({"batch_size": 0}, "batch_size is a whole number"),
        ({"amplitude": lambda x: x}, r"maps \(\d+, 2\) to shape \(\d+,\), got"),
        ({"amplitude": lambda x: x[:, 0] / 0}, "not finite somewhere in the packet"),
        ({"amplitude": lambda x: 0 * x[:, 0], "logarithm": False}, "0 everywhere in 1 packets"),
        ({"amplitude": lambda x: 0 * x[:, 0], "logarithm": False, "draws": 64}, "0 everywhere"),
        ({"x0": np.zeros((1, 4)), "method": "quadrature"}, "at most 3 features, got 4"),
        ({"x0": [[np.nan, 1.0]]}, "1 values that are not finite"),
        ({"x0": [0.0, 1.0]}, "one sample x becomes"),
    ],
)
def test_what_cannot_be_used_is_refused(options, match):
    given = {"amplitude": lambda x: -(x[:, 0] ** 2), "x0": np.zeros((1, 2)), "tau": 1.0} | options
    with pytest.raises(InputError, match=match):
        amplitude_relation(**given)


def test_unknown_quantities_are_named():
    found = one(soft_margin(0, 1))
    with pytest.raises(InputError, match="did you mean 'sigma_x'"):
        found.mean("sigma_y")
