import dataclasses
import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from entangle import DataTensor, entanglement_convergence, entanglement_profile
from entangle.convergence import Convergence, nested_parts
from entangle.embedding import OneHot, Trigonometric
from entangle.errors import InputError, PartitionError
from tests.test_sample_curve import curve


def two_points(n_samples, share, seed):
    """Samples of two orthogonal kinds; the population has weights share^2 and (1-share)^2."""
    kind = np.random.default_rng(seed).random(n_samples) < share
    return DataTensor(np.repeat(kind[:, None], 2, axis=1), embedding=OneHot(2))


def entropy_of_two(share):
    p = np.array([share, 1 - share]) ** 2
    p /= p.sum()
    return float(-(p * np.log(p)).sum())


@given(
    n_samples=st.integers(16, 90), n_classes=st.integers(1, 6), n_splits=st.integers(2, 4),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_parts_are_disjoint_and_complete_and_keep_the_class_shares(
    n_samples, n_classes, n_splits, seed
):
    strata = np.random.default_rng(seed).integers(0, n_classes, n_samples)
    parts = nested_parts(n_samples, strata, n_splits, seed)
    counts = np.bincount(strata, minlength=n_classes)
    assert len(parts) == 6 * n_splits
    for k in range(n_splits):
        left, right, *quarters = parts[6 * k : 6 * k + 6]
        assert_array_equal(np.sort(np.concatenate([left, right])), np.arange(n_samples))
        assert_array_equal(np.sort(np.concatenate(quarters[:2])), left)
        assert_array_equal(np.sort(np.concatenate(quarters[2:])), right)
        assert abs(len(left) - len(right)) <= 1
        for half in (left, right):
            assert (np.diff(half) > 0).all()
            here = np.bincount(strata[half], minlength=n_classes)
            assert (np.abs(here - counts / 2) <= 1).all()
    again = nested_parts(n_samples, strata, n_splits, seed)
    assert all(map(np.array_equal, again, parts))


def test_every_sample_is_as_often_in_the_first_half_as_in_the_second():
    for n_samples in (16, 17):
        parts = nested_parts(n_samples, np.arange(n_samples) % 3, 2000, seed=0)
        often = np.mean([np.isin(np.arange(n_samples), part) for part in parts[::6]], axis=0)
        assert np.abs(often - 0.5).max() < 4 * 0.5 / math.sqrt(2000)
        together = np.mean([np.isin([0, 3], part).all() for part in parts[::6]])
        assert 0.1 < together < 0.5


def test_the_curve_holds_the_entropies_of_the_parts():
    rng = np.random.default_rng(0)
    X, y = rng.random((41, 6)), np.arange(41) % 2
    tensor = DataTensor.from_labels(X, y, Trigonometric(0.3))
    found = entanglement_convergence(tensor, (2, 3), [1, 2], strata=y, n_splits=2, seed=5)
    weights = 2 * y - 1
    parts = nested_parts(41, y, 2, seed=5)
    for number, rows in enumerate(parts):
        part = DataTensor(X[rows], weights[rows], Trigonometric(0.3))
        profile = entanglement_profile(part, (2, 3), [1, 2])
        split, place = divmod(number, 6)
        for level, each in ((None, found.mean), *found.by_level.items()):
            value = (each.halves[split], each.quarters[split, :])[place > 1][
                place - 2 * (place > 1)
            ]
            expected = profile.mean if level is None else profile.by_level()[level]
            assert value == pytest.approx(expected, abs=1e-9)
    assert found.mean.whole == pytest.approx(entanglement_profile(tensor, (2, 3), [1, 2]).mean)
    assert found.mean.noise_share == found.noise_share == tensor.noise_share
    with ThreadPoolExecutor(2) as pool:
        again = entanglement_convergence(
            tensor, (2, 3), [1, 2], strata=y, n_splits=2, seed=5, executor=pool
        )
    assert_allclose(again.mean.quarters, found.mean.quarters, atol=1e-12)


def test_orthogonal_samples_have_the_entropy_ln_m_and_are_saturated():
    X = np.repeat(np.arange(64)[:, None], 2, axis=1)
    found = entanglement_convergence(DataTensor(X, embedding=OneHot(64)), n_splits=2)
    assert_allclose(found.mean.entropy, np.log([64, 32, 16]), atol=1e-6)
    assert found.mean.slope == pytest.approx(1)
    assert found.is_saturated
    assert found.mean.standard_error == pytest.approx(0, abs=1e-6)
    assert found.mean.extrapolated is None


def test_repeated_rows_have_converged():
    """Two orthogonal kinds, as strata: every part has the entropy ln 2."""
    kind = np.arange(32) % 2
    tensor = DataTensor(np.repeat(kind[:, None], 2, axis=1), embedding=OneHot(2))
    found = entanglement_convergence(tensor, strata=kind)
    assert_allclose(found.mean.entropy, math.log(2))
    assert found.mean.extrapolated == pytest.approx(math.log(2))
    assert_allclose(found.mean.extrapolated_interval, math.log(2))
    assert not found.is_saturated


def test_random_labels_are_noise_though_the_entropy_hardly_grows():
    rng = np.random.default_rng(0)
    X, y = rng.random((200, 8)), rng.integers(0, 2, 200)
    found = entanglement_convergence(DataTensor.from_labels(X, y, Trigonometric(0.3)), strata=y)
    assert found.mean.whole < 0.5 * math.log(200)
    assert not found.is_saturated
    assert found.mean.is_noise
    assert not found.mean.is_supported


def test_intervals_cover_a_known_population():
    """95 % nominal; 250 samples of 120 of a population of two kinds, entropy 0.54."""
    share, n_samples, repeats = 0.65, 120, 250
    truth = entropy_of_two(share)
    found = [
        entanglement_convergence(two_points(n_samples, share, seed), n_splits=4, seed=seed).mean
        for seed in range(repeats)
    ]
    expected = np.mean([each.whole for each in found])
    covered = np.mean([each.interval[0] <= expected <= each.interval[1] for each in found])
    supported = [each for each in found if each.is_supported]
    limits = np.array([each.extrapolated_interval for each in supported])
    limit_covered = np.mean((limits[:, 0] <= truth) & (truth <= limits[:, 1]))
    error = math.sqrt(0.95 * 0.05 / repeats)
    assert len(supported) > 0.9 * repeats
    assert covered > 0.95 - 3 * error
    assert limit_covered > 0.95 - 3 * error
    scale = np.mean([each.standard_error for each in found])
    assert scale == pytest.approx(np.std([each.whole for each in found]), rel=0.15)


def test_the_limit_has_less_bias_than_the_value():
    """Independent features without labels: a product state in the limit, entropy 0."""
    rng = np.random.default_rng(3)
    curves = [
        entanglement_convergence(DataTensor(rng.random((200, 6)), None, Trigonometric(0.3))).mean
        for _ in range(16)
    ]
    found = [each for each in curves if each.is_supported]
    assert len(found) >= 8
    bias = np.mean([each.whole for each in found])
    left = np.mean([each.extrapolated for each in found])
    assert bias > 0.001  # far above the tolerance of 1e-4
    assert abs(left) < 0.35 * bias  # the tail of the spectrum adds ln(M) / M, which stays


def test_the_dictionary_is_json():
    found = entanglement_convergence(two_points(40, 0.6, 0), n_splits=2)
    read = json.loads(json.dumps(found.to_dict()))
    assert read["n_samples"] == 40
    assert read["n_splits"] == 2
    assert read["mean"]["entropy_nats"] == list(found.mean.entropy)
    assert read["by_level"]["1"]["interval_nats"] == list(found.by_level[1].interval)
    saturated = dataclasses.replace(found, mean=curve(2.0, 1.0, 0.0))
    assert saturated.is_saturated
    assert saturated.to_dict()["mean"]["extrapolated_nats"] is None


@pytest.mark.parametrize(
    ("keywords", "error", "match"),
    [
        ({"n_splits": 1}, InputError, "n_splits is at least 2, got 1"),
        ({"strata": [0, 1]}, InputError, r"shape \(20,\), got \(2,\)"),
        ({"strata": np.linspace(0, 1, 20)}, InputError, "classes, got a quantity; leave them out"),
        ({"shape": (3, 2)}, PartitionError, "6 positions"),
        ({"levels": 9}, PartitionError, "levels run from 1 to 1"),
    ],
)
def test_bad_input(keywords, error, match):
    with pytest.raises(error, match=match):
        entanglement_convergence(two_points(20, 0.5, 0), **keywords)


def test_too_few_samples_or_profiles():
    few = two_points(15, 0.5, 0)
    with pytest.raises(InputError, match="at least 16 samples, got 15; pass more rows"):
        entanglement_convergence(few)
    with pytest.raises(InputError, match="one of the whole and 6 of each of at least 2 splits"):
        Convergence.from_profiles(few, [entanglement_profile(few)] * 12)
