import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from entangle.computational_entanglement import (
    LikelihoodEncoder,
    descend,
    descended,
    descent_factor,
    reconcile,
    reconciliation_depth,
    send_message,
    verify_pairs,
)
from entangle.errors import InputError


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def disc(side):
    """A binary image: a disc with a hole."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    radius = torch.hypot(rows - side / 2, columns - side / 2)
    return (radius < side / 2.5) & (radius > side / 6)


def pair(k, seed):
    return torch.randn(2, k, generator=seeded(seed), dtype=torch.float64)


# -- reconciliation ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_image_or_its_negative_is_read_at_the_predicted_depth(seed):
    image = disc(20)
    k, n = image.numel(), 800
    depth = math.ceil(reconciliation_depth(n, k, share=0.99)) + 1
    encoder = LikelihoodEncoder(n, k, depth, seeded(seed), draw="selected")
    found = reconcile(image, *pair(k, 100 + seed), encoder)
    expected = ~image if found.inverted else image
    assert float((found.received != expected).double().mean()) <= 0.5 / k
    assert found.error_rate[-1] == float(found.inverted)


def test_both_branches_occur():
    seen = set()
    for seed in range(8):
        encoder = LikelihoodEncoder(400, 100, 14, seeded(seed), draw="selected")
        seen.add(reconcile(disc(10), *pair(100, 50 + seed), encoder).inverted)
    assert seen == {False, True}


def test_half_of_pairs_read_at_the_typical_depth():
    n, k, generator = 600, 100, seeded(3)
    first = []
    for _ in range(8):
        w, *v = torch.randn(201, k, generator=generator, dtype=torch.float64)
        encoder = LikelihoodEncoder(n, k, 25, generator, draw="selected")
        signs = encoder.paths(w, torch.stack(v)).hamming
        wrong = torch.minimum(signs, 1 - signs)
        first.append((wrong <= 0.5 / k).double().argmax(dim=0))
    median = float(torch.cat(first).median())
    assert abs(median - 0.5 - reconciliation_depth(n, k)) < 1.0


def test_wrong_pixels_by_layer_follow_the_angle():
    image = disc(40)
    encoder = LikelihoodEncoder(3200, 1600, 12, seeded(0), draw="selected")
    found = reconcile(image, *pair(1600, 1), encoder)
    p = found.predicted_error_rate
    deviation = np.sqrt(p * (1 - p) / 1600)
    assert (np.abs(found.error_rate[1:] - p) < 3.5 * deviation + 1e-3).all()
    assert found.error_rate.shape == (13,)
    assert p.shape == (12,)


def test_the_cipher_alone_is_not_the_image():
    encoder = LikelihoodEncoder(800, 400, 15, seeded(0), draw="selected")
    found = reconcile(disc(20), *pair(400, 1), encoder)
    assert 0.4 < float((found.cipher != disc(20)).double().mean()) < 0.6
    assert found.cipher.shape == found.received.shape == (20, 20)


def test_one_sample_on_both_sides_reads_at_once():
    w, _ = pair(100, 0)
    found = reconcile(disc(10), w, w, LikelihoodEncoder(100, 100, 1, seeded(0)))
    assert_array_equal(found.received, disc(10))
    assert_allclose(found.predicted_error_rate, 0, atol=1e-6)


# -- messages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 4, 20])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_wrong_in_a_message_follows_from_the_angle(depth, seed):
    message = disc(10).double() - 0.5
    encoder = LikelihoodEncoder(400, 100, depth, seeded(seed))
    found = send_message(message, *pair(100, seed), encoder, strength=100.0)
    for received, predicted in (
        (found.received, found.predicted_error),
        (found.received_opposite, found.predicted_error_opposite),
    ):
        assert_allclose(float((received - message).norm()), predicted, rtol=1e-6, atol=1e-6)
    assert_allclose(float((found.sent - message).norm()), 100.0)


def test_a_message_is_read_on_its_branch():
    message = disc(10).double()
    for seed in range(4):
        encoder = LikelihoodEncoder(400, 100, 30, seeded(seed))
        found = send_message(message, *pair(100, seed), encoder, strength=100.0)
        read = found.received if found.angle < 0.5 else found.received_opposite
        assert float((read - message).abs().max()) < 0.01


# -- gradient descent --------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    growth=st.floats(-45, 2),
    steps=st.integers(0, 6),
)
def test_the_closed_form_is_the_loop(seed, shape, growth, steps):
    generator = seeded(seed)
    start = torch.rand(*shape, generator=generator, dtype=torch.float64)
    x, y = (torch.randn(n, generator=generator, dtype=torch.float64) for n in reversed(shape))
    rate = (1 - growth) / (2 * float(x @ x))
    assert math.isclose(descent_factor(x, rate), growth, abs_tol=1e-9)
    loop, closed = descend(start, x, y, rate, steps), descended(start, x, y, rate, steps)
    assert_allclose(closed, loop, rtol=1e-6, atol=1e-6 * max(1.0, float(loop.abs().max())))


def test_the_published_scripts_collapse_to_one_direction():
    start = torch.rand(2, 2, generator=seeded(0), dtype=torch.float64)
    tests = 100 * torch.randn(5000, 2, generator=seeded(1), dtype=torch.float64)
    for x, y, rate in (
        (torch.tensor([0.11, 0.1]).double(), torch.tensor([1.0, 1.0]).double(), 1000.0),
        (torch.tensor([0.1, 0.1]).double(), torch.tensor([1e4, 1e4]).double(), 0.01),
    ):
        weights = descended(start, x, y, rate, 5)
        residual = start @ x - y
        images = tests @ weights.T
        cosines = images @ residual / (images.norm(dim=1) * residual.norm())
        assert float((cosines.abs() > 0.99).double().mean()) > 0.95
        assert 0.3 < float((cosines > 0).double().mean()) < 0.7
    assert_allclose(descent_factor(torch.tensor([0.11, 0.1]).double(), 1000.0), -43.2)


def test_descent_leaves_the_first_weights_alone():
    start = torch.eye(2, dtype=torch.float64)
    descend(start, torch.ones(2).double(), torch.ones(2).double(), 0.1, 3)
    assert_array_equal(start, torch.eye(2))


# -- verification ------------------------------------------------------------------------------


def digits(n_samples):
    X, y = load_digits(return_X_y=True)
    X = torch.from_numpy(X[:n_samples])
    return X - X.mean(dim=0), y[:n_samples]


def test_areas_under_the_curve_are_those_of_scikit_learn():
    X, y = digits(60)
    found = verify_pairs(X, y, LikelihoodEncoder(20, 10, 2, seeded(0)))
    assert found.same.sum() + (~found.same).sum() == 60 * 59
    for area, angles in zip(found.area_under_curve(), found.paths.angle, strict=True):
        assert_allclose(area, roc_auc_score(found.same, -angles))


def test_classes_of_digits_stay_apart_for_a_layer_and_their_pairs_take_fewer_wrong_branches():
    X, y = digits(300)
    encoder = LikelihoodEncoder(256, 64, 12, seeded(0), draw="selected")
    found = verify_pairs(X, y, encoder, selected=range(40))
    areas = found.area_under_curve()
    assert areas[0] > 0.85
    assert areas[1] > 0.8
    same, other = found.anticorrelated()
    assert same < 0.1 < 0.4 < other


def test_selecting_samples_are_compared_with_all_others_but_themselves():
    X, y = digits(30)
    found = verify_pairs(X, y, LikelihoodEncoder(20, 10, 1, seeded(0)), selected=[4])
    others = np.delete(np.arange(30), 4)
    unit = X / X.norm(dim=1, keepdim=True)
    cosine = unit[torch.from_numpy(others)] @ unit[4]
    assert_allclose(found.paths.cosine[0], cosine, atol=1e-12)
    assert_array_equal(found.same, y[others] == y[4])


# -- refusals ----------------------------------------------------------------------------------

ENCODER = LikelihoodEncoder(20, 9, 1)
X3, Y3 = torch.eye(3), np.array([0, 0, 1])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: reconcile(disc(4), *pair(9, 0), ENCODER),
            "the image has 16 pixels, the encoder is 9 wide; use one with k = 16",
        ),
        (lambda: reconcile(torch.ones(3, 3), *pair(9, 0), ENCODER), "boolean, got torch.float32"),
        (lambda: send_message(torch.ones(4), *pair(9, 0), ENCODER), "4 numbers"),
        (lambda: reconciliation_depth(20, 10, error_rate=0.6), "between 0 and 0.5, got 0.6"),
        (lambda: descend(torch.ones(2, 3), torch.ones(2), torch.ones(2), 1.0, 1), r"\(2, 2\)"),
        (lambda: descended(torch.ones(2, 2), torch.ones(2), torch.ones(2), 1.0, -1), "got -1"),
        (lambda: descended(torch.ones(2, 2), torch.zeros(2), torch.ones(2), 1.0, 1), "zero"),
        (lambda: verify_pairs(X3, Y3[:2], ENCODER), r"shape \(3,\), got \(2,\)"),
        (lambda: verify_pairs(X3, np.zeros(3), ENCODER), "samples of more classes"),
        (lambda: verify_pairs(X3 - X3[0], Y3, ENCODER), "zero vector"),
    ],
)
def test_what_does_not_fit_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()


@settings(max_examples=10)
@given(n=st.integers(20, 400))
def test_a_stricter_reader_waits_longer(n):
    typical = reconciliation_depth(n, 20)
    assert reconciliation_depth(n, 20, error_rate=0.4) < typical
    assert typical < reconciliation_depth(n, 20, share=0.9)
