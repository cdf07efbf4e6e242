import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import special, stats

from entangle.computational_entanglement import (
    LikelihoodEncoder,
    bit_error_rate,
    branch_probability,
    crossing_probability,
    encode,
    exponent,
    large_k_exponent,
    layers_until,
    noise_variances,
)
from entangle.computational_entanglement.order_statistics import (
    large_k_ratio,
    log_gain,
    mean_inverse_gain,
    sampled_gains,
    thresholds,
)
from entangle.errors import InputError


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def ends(angle, n, k, *, encoders, pairs, depth, seed=0):
    """Cosines after the last layer, of pairs that begin at an angle, shape (encoders, pairs)."""
    generator = seeded(seed)
    found = []
    for _ in range(encoders):
        w = torch.zeros(k, dtype=torch.float64)
        w[0] = 1
        v = torch.randn(pairs, k, generator=generator, dtype=torch.float64)
        if angle is not None:
            v[:, 0] = 0
            v = v / v.norm(dim=1, keepdim=True) * math.sin(math.pi * angle)
            v[:, 0] = math.cos(math.pi * angle)
        found.append(LikelihoodEncoder(n, k, depth, generator).paths(w, v))
    return found


# -- selected numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 10, 257])
def test_without_selection_gains_are_chi_squared(k):
    assert_allclose(log_gain(k, k), math.log(2) + special.digamma(k / 2), rtol=1e-12)
    if k > 2:
        assert_allclose(mean_inverse_gain(k, k), 1 / (k - 2), rtol=1e-6)
    gap = (special.digamma(k / 2) - special.digamma((k - 1) / 2)) / 2  # Ginibre
    assert_allclose(exponent(k, k), gap, rtol=1e-9)


def test_keeping_two_of_three_leaves_out_the_least():
    """In closed form: the sum of all is chi-squared and independent of the shares."""
    rng = np.random.default_rng(0)
    squares = np.sort(rng.standard_normal((400_000, 3)) ** 2, axis=1)
    share = 1 - squares[:, 0] / squares.sum(axis=1)
    logs = np.log(share)
    expected = math.log(2) + special.digamma(1.5) + logs.mean()
    assert abs(log_gain(3, 2) - expected) < 4 * logs.std() / math.sqrt(logs.size)


@pytest.mark.parametrize(("n", "k"), [(10, 2), (20, 10), (300, 4), (200, 50)])
def test_gains_by_integral_by_draws_and_by_sorting_agree(n, k):
    rng = np.random.default_rng(1)
    size = 600_000 // n
    sorted_squares = np.sort(rng.standard_normal((size, n)) ** 2, axis=1)
    by_sorting = sorted_squares[:, n - k :].sum(axis=1)
    drawn = sampled_gains(n, k, (size,), rng)
    assert stats.ks_2samp(by_sorting, drawn).pvalue > 0.01
    for gains in (by_sorting, drawn):
        for values, exact in (
            (np.log(gains), log_gain(n, k)),
            (1 / gains, mean_inverse_gain(n, k)),
        ):
            assert abs(values.mean() - exact) < 4 * values.std() / math.sqrt(size)


def test_gains_are_those_of_encode():
    generator = seeded(0)
    x = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
    gains = [float((encode(x, 20, 5, generator).values ** 2).sum()) for _ in range(2000)]
    drawn = sampled_gains(20, 5, (20_000,), np.random.default_rng(0))
    assert stats.ks_2samp(gains, drawn).pvalue > 0.01


def test_thresholds_are_order_statistics():
    edges, weights = thresholds(40, 7)
    rng = np.random.default_rng(0)
    found = np.sort(np.abs(rng.standard_normal((50_000, 40))), axis=1)[:, -8]
    assert abs(edges @ weights - found.mean()) < 4 * found.std() / math.sqrt(found.size)
    assert_allclose(weights.sum(), 1)


@settings(max_examples=25)
@given(k=st.integers(2, 60), extra=st.integers(0, 200), more=st.integers(1, 100))
def test_more_selection_collapses_faster_and_all_formulas_keep_their_order(k, extra, more):
    n = k + extra
    assert 0 < exponent(n, k) < exponent(n + more, k)
    assert exponent(n, k) <= large_k_exponent(n, k) + 1e-9  # Jensen: ln E A^2 above E ln A^2
    assert mean_inverse_gain(n, k) >= math.exp(-log_gain(n, k)) - 1e-9


def test_the_large_k_formula_closes_in_like_one_over_k():
    gaps = [large_k_exponent(4 * k, k) - exponent(4 * k, k) for k in (20, 40, 80, 160)]
    assert_allclose(np.array(gaps[:-1]) / gaps[1:], 2, rtol=0.1)


def test_the_large_k_ratio_is_the_mean_square_beyond_a_threshold():
    beyond = stats.truncnorm(special.ndtri(1 - 0.05), np.inf)  # 10 % of magnitudes
    assert_allclose(large_k_ratio(1000, 100), beyond.moment(2), rtol=1e-9)


# -- exponents ---------------------------------------------------------------------------------

SIZES = [(20, 10), (300, 4), (10, 2), (200, 50), (10, 10)]


@pytest.mark.parametrize("draw", ["rows", "selected"])
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_pairs_collapse_at_the_exponent(n, k, draw):
    generator = seeded(n + k)
    w, *v = torch.randn(4, k, generator=generator, dtype=torch.float64)
    depth = 400 if k == 50 else 1500
    encoder = LikelihoodEncoder(n, k, depth, generator, draw=draw)
    found = encoder.paths(w, torch.stack(v)).rate()
    assert abs(found.rate - exponent(n, k)) < 3 * found.standard_error
    assert found.standard_error < 1.3 / math.sqrt(found.n_layers)
    assert found.n_layers > depth // 2


@pytest.mark.slow
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_pairs_collapse_at_the_exponent_over_many_layers(n, k):
    generator = seeded(7)
    w, *v = torch.randn(4, k, generator=generator, dtype=torch.float64)
    found = LikelihoodEncoder(n, k, 10_000, generator, draw="selected").paths(w, torch.stack(v))
    slope = found.rate()
    assert abs(slope.rate - exponent(n, k)) < 3 * slope.standard_error
    assert slope.standard_error < 0.012


def test_a_rate_is_the_mean_fall_of_entangled_pairs():
    paths = LikelihoodEncoder(300, 4, 30, seeded(0)).paths(
        torch.eye(4, dtype=torch.float64)[0], torch.ones(1, 4, dtype=torch.float64)
    )
    log_tangent = paths.log_tangent[:, 0].numpy()
    first = int(np.argmax(log_tangent <= -math.log(100)))
    found = paths.rate()
    assert found.n_layers == 30 - first
    expected = (log_tangent[first] - log_tangent[-1]) / (30 - first)
    assert_allclose(found.rate, expected, rtol=1e-12)
    falls = -np.diff(log_tangent[first:])
    assert_allclose(found.standard_error, falls.std(ddof=1) / math.sqrt(falls.size))


# -- branches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cotangent", [-0.1, 0.05, 0.151])
def test_the_branch_law_holds_at_fifty_rows(cotangent):
    angle = 0.5 - math.atan(cotangent) / math.pi
    found = ends(angle, 200, 50, encoders=12, pairs=800, depth=20)
    share = float(torch.stack([paths.anticorrelated for paths in found]).double().mean())
    assert abs(share - float(branch_probability(angle, 200, 50))) < 0.03
    exact = branch_probability(angle, 200, 50, noise_variances(200, 50, 1000))
    assert abs(share - float(exact)) < 0.03


def test_the_branch_law_with_drawn_variances_holds_at_any_k():
    """Pairs of one encoder are not independent; encoders are."""
    angle = 0.5 - math.atan(0.203) / math.pi
    found = ends(angle, 20, 10, encoders=120, pairs=50, depth=10, seed=1)
    shares = np.array([float(paths.anticorrelated.double().mean()) for paths in found])
    exact = float(branch_probability(angle, 20, 10, noise_variances(20, 10, 20_000)))
    assert abs(shares.mean() - exact) < 3 * shares.std() / math.sqrt(120)
    assert shares.std() / math.sqrt(120) < 0.011


def test_an_orthogonal_start_is_one_half_on_each_branch():
    assert branch_probability(0.5, 200, 50) == 0.5
    assert branch_probability(0.5, 20, 10, noise_variances(20, 10, 50)) == 0.5
    found = ends(0.5, 30, 5, encoders=200, pairs=100, depth=8)
    shares = np.array([float(paths.anticorrelated.double().mean()) for paths in found])
    assert abs(shares.mean() - 0.5) < 3 * shares.std() / math.sqrt(200)
    assert shares.std() / math.sqrt(200) < 0.01


@given(angle=st.floats(0, 1), k=st.integers(2, 50), extra=st.integers(0, 300))
def test_branches_are_two_and_mirror_each_other(angle, k, extra):
    there, mirrored = branch_probability([angle, 1 - angle], k + extra, k)
    assert_allclose(there + mirrored, 1, rtol=1e-9)


@pytest.mark.parametrize(("n", "k"), [(200, 50), (750, 64), (3000, 256)])
def test_the_crossing_formula_holds(n, k):
    found = ends(None, n, k, encoders=12, pairs=500, depth=8)
    share = float(torch.stack([paths.crossed for paths in found]).double().mean())
    assert abs(share - crossing_probability(n, k)) < 0.03


def test_the_crossing_law_with_drawn_variances_holds_where_the_large_k_formula_is_off():
    """Pairs of one encoder are not independent; encoders are."""
    found = ends(None, 40, 10, encoders=150, pairs=50, depth=7)
    shares = np.array([float(paths.crossed.double().mean()) for paths in found])
    exact = crossing_probability(40, 10, noise_variances(40, 10, 10_000))
    assert abs(shares.mean() - exact) < 3 * shares.std() / math.sqrt(150)
    assert shares.std() / math.sqrt(150) < 0.007
    assert exact < crossing_probability(40, 10) - 0.005


def test_published_sizes_of_the_marginal_error():
    found = [crossing_probability(n, 512) for n in (6000, 7000, 8000, 9000, 10_000)]
    assert_allclose(found, [0.153, 0.149, 0.145, 0.142, 0.140], atol=6e-4)


@pytest.mark.parametrize(("n", "k"), [(200, 50), (20, 10), (100, 5)])
def test_noise_variances_have_the_mean_of_their_recursion(n, k):
    drawn = noise_variances(n, k, 20_000)
    m = mean_inverse_gain(n, k)
    assert abs(drawn.mean() - m / (1 - (k - 1) * m)) < 4 * drawn.std() / math.sqrt(drawn.size)
    assert_allclose(noise_variances(n, k, 50, seed=3), noise_variances(n, k, 50, seed=3))


# -- depths ------------------------------------------------------------------------------------


def test_depths_of_the_published_scripts():
    sizes = [(16384, 256), (8000, 784), (5000, 512), (3500, 2500), (2700, 2500), (12000, 2500)]
    found = [layers_until(100.0, *size) for size in [*sizes, (500_000, 784)]]
    assert_allclose(found, [7.5, 11, 10.8, 51, 196, 15, 6.7], rtol=0.02)


def test_half_of_random_pairs_are_entangled_at_the_typical_depth():
    n, k = 400, 100
    generator = seeded(0)
    tangents = []
    for _ in range(10):
        w, *v = torch.randn(301, k, generator=generator, dtype=torch.float64)
        encoder = LikelihoodEncoder(n, k, 30, generator, draw="selected")
        tangents.append(encoder.paths(w, torch.stack(v)).log_tangent)
    reached = torch.cat(tangents, dim=1) <= -math.log(100)
    first = reached.double().argmax(dim=0).numpy()  # layers are whole, so half a layer late
    assert abs(np.median(first - 0.5) - layers_until(100.0, n, k)) < 0.6
    late = layers_until(100.0, n, k, share=0.9)
    assert abs(np.quantile(first - 0.5, 0.9) - late) < 1.0


def test_signs_differ_as_often_as_predicted():
    generator = seeded(0)
    w, *v = torch.randn(201, 60, generator=generator, dtype=torch.float64)
    measured, predicted = [], []
    for _ in range(3):
        paths = LikelihoodEncoder(240, 60, 8, generator).paths(w, torch.stack(v))
        measured.append(paths.hamming[1:].numpy())
        predicted.append(bit_error_rate(paths.cotangent[:-1].numpy(), 240, 60))
    measured, predicted = np.stack(measured), np.stack(predicted)
    assert_allclose(measured.mean(axis=(0, 2)), predicted.mean(axis=(0, 2)), atol=0.015)
    near = (predicted > 0.05) & (predicted < 0.2)
    assert abs((measured - predicted)[near].mean()) < 0.01


def test_signs_without_selection_differ_by_the_angle_itself():
    """All numbers kept, so a is normal: E Phi(-|a| c) = arccot(c) / pi, SimHash."""
    c = np.array([0.0, 0.1, 1.0, 5.0, 100.0, -2.0])
    assert_allclose(bit_error_rate(c, 30, 30), np.arctan2(1, c) / math.pi, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: exponent(5, 6), "k = 6 and n = 5"),
        (lambda: exponent(5, 1), "k = 1"),
        (lambda: large_k_ratio(5, 6), "k = 6 and n = 5"),
        (lambda: branch_probability(1.2, 10, 5), "from 0 to 1; divide radians by pi"),
        (lambda: branch_probability(math.nan, 10, 5), "from 0 to 1"),
        (lambda: crossing_probability(5, 6), "k = 6"),
        (lambda: noise_variances(500, 500), "draw more rows"),
        (lambda: layers_until(0.0, 10, 5), "cotangent is positive"),
        (lambda: layers_until(1.0, 10, 5, share=1.0), "share lies between"),
        (lambda: bit_error_rate(1.0, 5, 6), "k = 6"),
    ],
)
def test_sizes_and_shares_that_make_no_sense_are_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()
