import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entangle.sample_curve import SampleCurve


def curve(whole, half, quarter, spread=0.0, noise=0.01, n_splits=4):
    """Parts whose splits agree; those of one split differ by ``spread``."""
    halves = half + spread * np.tile([0.5, -0.5], (n_splits, 1))
    quarters = quarter + spread * np.tile([1, -1, 1, -1], (n_splits, 1)) / math.sqrt(2)
    return SampleCurve(whole, halves, quarters, noise)


@given(
    limit=st.floats(0.5, 3), bias=st.floats(-4, 4).filter(lambda b: abs(b) > 0.1),
    n_samples=st.integers(100, 10_000),
)  # fmt: skip
def test_a_bias_in_one_over_m_is_removed_exactly(limit, bias, n_samples):
    found = curve(*(limit + bias / (n_samples / k) for k in (1, 2, 4)))
    assert found.ratio == pytest.approx(2, rel=1e-6)
    assert found.departure == pytest.approx(0, abs=1e-12)
    assert found.extrapolated == pytest.approx(limit)
    low, high = found.extrapolated_interval
    assert low <= found.extrapolated <= high


@given(limit=st.floats(0.5, 3), bias=st.floats(0.1, 1), power=st.floats(0.1, 4))
def test_other_laws_are_not_extrapolated(limit, bias, power):
    """Powers from 0.6 to 1.3 have ratios that pass for 2."""
    found = curve(*(limit + bias / (100 / k) ** power for k in (1, 2, 4)))
    assert found.ratio == pytest.approx(2**power, rel=1e-6)
    assert found.is_supported == (abs(2**power - 2) <= 0.5)
    assert (found.extrapolated is None) == (found.extrapolated_interval is None)


def test_a_law_that_does_not_matter_beside_the_interval_is_no_obstacle():
    found = curve(1.0, 1.01, 1.013, spread=0.2)
    assert found.ratio < 0.5
    assert found.is_supported
    assert not curve(1.0, 1.01, 1.013).is_supported


def test_splits_that_disagree_on_the_law_support_nothing():
    agreeing = curve(1.0, 1.1, 1.3)
    wobble = 0.1 * np.array([[1], [-1], [1], [-1]])
    assert agreeing.is_supported
    assert not dataclasses.replace(agreeing, quarters=agreeing.quarters + wobble).is_supported


def test_noise_supports_nothing():
    law = (1.0, 1.1, 1.3)
    assert curve(*law, noise=0.19).is_supported
    noisy = curve(*law, noise=0.21)
    assert not noisy.is_supported
    assert not noisy.is_noise
    assert curve(*law, noise=0.51).is_noise


@given(n_samples=st.integers(16, 10**6), share=st.floats(0.3, 1))
def test_growth_with_the_logarithm_of_the_samples_is_saturation(n_samples, share):
    found = curve(*(share * math.log(n_samples / k) for k in (1, 2, 4)))
    assert found.slope == pytest.approx(share)
    assert found.ratio == pytest.approx(1)
    assert found.is_saturated
    assert not found.is_supported


def test_growth_that_the_splits_leave_in_doubt_is_no_saturation():
    sure = curve(2.0, 1.7, 1.4)
    wobble = 0.3 * np.array([[1], [-1], [1], [-1]])
    assert sure.is_saturated
    assert not dataclasses.replace(sure, halves=sure.halves + wobble).is_saturated


def test_the_standard_error_is_half_the_difference_of_independent_halves():
    """Variance a M^-1: halves differ by variance 4 a / M, quarters of a half by 8 a / M."""
    rng = np.random.default_rng(0)
    error = 0.01
    halves = rng.normal(scale=error * math.sqrt(2), size=(4000, 2))
    quarters = rng.normal(scale=error * 2, size=(4000, 4))
    found = SampleCurve(1.0, halves, quarters, 0.0)
    assert found.standard_error == pytest.approx(error, rel=0.02)
    low, high = found.interval
    assert (high - low) / 2 == pytest.approx(1.96 * found.standard_error, rel=1e-3)
    alike = curve(1.0, 1.0, 1.0, spread=0.02)  # all three kinds of pairs say 0.01
    assert alike.standard_error == pytest.approx(0.01)
    low, high = alike.interval
    assert (high - low) / 2 == pytest.approx(2.1788 * 0.01, rel=1e-4)  # t with 12 degrees
    assert curve(0.01, 0.01, 0.01, spread=0.2).interval[0] == 0
