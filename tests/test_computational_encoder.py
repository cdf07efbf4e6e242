import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from entangle.computational_entanglement import LikelihoodEncoder, encode, selection
from entangle.errors import InputError


def seeded(seed, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


def samples(n_samples, n_features, seed=0, **options):
    options = {"dtype": torch.float64} | options
    return torch.randn(n_samples, n_features, generator=seeded(seed), **options)


def by_definition(w, v, n, k, depth, generator):
    """The published recursion as it is written; cosines, signs and norms by layer."""
    seen = []
    for _ in range(depth):
        R = torch.randn(n, w.numel(), generator=generator, dtype=w.dtype)
        y = R @ w
        chosen = y.abs().argsort(descending=True)[:k]
        w, v = y[chosen], v @ R[chosen].T
        cosine = v @ w / (w.norm() * v.norm(dim=1))
        hamming = ((w > 0) != (v > 0)).double().mean(dim=1)
        seen.append((cosine, hamming, w.norm(), v.norm(dim=1)))
    return [torch.stack(values) for values in zip(*seen, strict=True)]


# -- one layer ---------------------------------------------------------------------------------


def test_a_layer_keeps_the_loudest_of_all_rows():
    x = samples(1, 7)[0]
    values, rows = encode(x, 50, 12, seeded(3))
    R = torch.randn(50, 7, generator=seeded(3), dtype=torch.float64)
    order = (R @ x).abs().argsort(descending=True)[:12]
    assert_array_equal(rows, R[order])
    assert_allclose(values, (R @ x)[order], rtol=1e-14)


@pytest.mark.parametrize("block", [1, 3, 17, 1000])
def test_the_block_changes_no_bit(monkeypatch, block):
    monkeypatch.setattr(selection, "PORTION", 40)  # 4 rows
    x = samples(1, 10)[0]
    usual = encode(x, 203, 9, seeded(1))
    found = encode(x, 203, 9, seeded(1), block=block)
    assert_array_equal(found.values, usual.values)
    assert_array_equal(found.rows, usual.rows)


def test_portions_are_all_rows_there_are(monkeypatch):
    monkeypatch.setattr(selection, "PORTION", 40)
    x, generator = samples(1, 10)[0], seeded(1)
    shapes = [(4, 10)] * 50 + [(3, 10)]
    R = torch.cat([torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes])
    order = (R @ x).abs().argsort(descending=True)[:9]
    assert_array_equal(encode(x, 203, 9, seeded(1)).rows, R[order])


def test_no_more_than_a_portion_is_drawn_at_once(monkeypatch):
    drawn = []
    randn = torch.randn

    def watched(*shape, **options):
        drawn.append(randn(*shape, **options))
        return drawn[-1]

    monkeypatch.setattr(selection.torch, "randn", watched)
    encode(torch.ones(784), 20_000, 5, seeded(0))
    assert max(numbers.numel() for numbers in drawn) <= selection.PORTION
    assert sum(len(numbers) for numbers in drawn) == 20_000


def test_both_draws_have_one_distribution():
    """Selected numbers, and what the rows do to an orthogonal sample: sorted, they agree."""
    from scipy import stats

    x, u = torch.tensor([0.6, 0.8, 0.0]).double(), torch.tensor([0.8, -0.6, 0.0]).double()
    seen = {}
    for draw in ("rows", "selected"):
        generator = seeded(5)
        layers = [encode(x, 12, 4, generator, draw=draw) for _ in range(3000)]
        gains = [float((one.values**2).sum()) for one in layers]
        across = torch.cat([one.rows @ u for one in layers])
        last = [abs(float(one.values[-1])) for one in layers]
        seen[draw] = gains, across.tolist(), last
    for rows, selected in zip(*seen.values(), strict=True):
        assert stats.ks_2samp(rows, selected).pvalue > 0.01
    assert stats.kstest(seen["selected"][1], "norm").pvalue > 0.01


@pytest.mark.parametrize("scale", [1e-300, 1e300])
@pytest.mark.parametrize("draw", ["rows", "selected"])
def test_values_are_what_the_rows_make_of_the_sample(draw, scale):
    x = scale * samples(1, 6)[0]
    values, rows = encode(x, 40, 8, seeded(0), draw=draw)
    assert_allclose(values, rows @ x, rtol=1e-12)
    assert bool((values.abs().diff() <= 0).all())


# -- many layers -------------------------------------------------------------------------------


def test_paths_are_those_of_the_definition():
    w, *v = samples(9, 5, seed=2)
    v = torch.stack(v)
    paths = LikelihoodEncoder(30, 6, 8, seeded(4)).paths(w, v)
    cosine, hamming, norm_w, norm_v = by_definition(w, v, 30, 6, 8, seeded(4))
    assert_allclose(paths.cosine[1:], cosine, atol=1e-12)
    assert_array_equal(paths.hamming[1:], hamming)
    assert_allclose(paths.log_norm_selected[1:], norm_w.log(), rtol=1e-12)
    assert_allclose(paths.log_norm[1:], norm_v.log(), rtol=1e-12)
    assert_allclose(paths.cosine[0], v @ w / (w.norm() * v.norm(dim=1)), atol=1e-14)
    assert_array_equal(paths.angle[1:], LikelihoodEncoder(30, 6, 8, seeded(4)).angles(w, v))


def test_layers_hold_unit_vectors_with_the_angles_they_claim():
    w, v = samples(1, 5)[0], samples(4, 5, seed=1)
    for layer in LikelihoodEncoder(30, 6, 5, seeded(0)).layers(w, v):
        assert_allclose(layer.others.norm(dim=1), 1, rtol=1e-14)
        assert_allclose(layer.others @ layer.selected, layer.cosine, atol=1e-14)
        assert_allclose(layer.remainder @ layer.selected, 0, atol=1e-14)


@given(
    seed=st.integers(0, 10**6),
    scales=st.tuples(st.floats(-200, 200), st.floats(-200, 200)),
    draw=st.sampled_from(["rows", "selected"]),
)
@settings(max_examples=25)
def test_angles_do_not_depend_on_scale_and_mirror_with_a_sample(seed, scales, draw):
    w, v = samples(1, 6, seed)[0], samples(3, 6, seed + 1)
    first, second = (10.0**power for power in scales)

    def angles(w, v):
        return LikelihoodEncoder(25, 5, 6, seeded(seed), draw=draw).angles(w, v)

    usual = angles(w, v)
    assert_allclose(angles(first * w, second * v), usual, rtol=1e-9, atol=1e-300)
    assert_allclose(angles(w, -v), 1 - usual, atol=1e-12)
    if draw == "rows":  # magnitudes choose, so the rows are the same
        assert_allclose(angles(-w, v), 1 - usual, atol=1e-12)


def test_pairs_do_not_know_of_each_other():
    w, v = samples(1, 6)[0], samples(5, 6, seed=1)
    together = LikelihoodEncoder(25, 5, 6, seeded(0)).angles(w, v)
    alone = LikelihoodEncoder(25, 5, 6, seeded(0)).angles(w, v[3])
    assert_allclose(together[:, 3:4], alone, rtol=1e-10)


def test_the_same_seed_gives_the_same_angles_and_the_generator_moves_on():
    w, v = samples(1, 6)[0], samples(5, 6, seed=1)
    first, second = (LikelihoodEncoder(25, 5, 6, seeded(0)) for _ in range(2))
    usual = first.angles(w, v)
    assert_array_equal(usual, second.angles(w, v))
    assert not torch.equal(usual, first.angles(w, v))


def test_nothing_overflows_or_stalls_however_deep():
    paths = LikelihoodEncoder(300, 4, 3000, seeded(0)).paths(samples(1, 4)[0], samples(3, 4, 1))
    assert paths.log_norm_selected[-1] > 3000  # beyond any double
    assert bool(paths.log_norm.isfinite().all() and paths.log_sine.isfinite().all())
    assert float(paths.log_sine[-1].max()) < -3500
    assert set((paths.angle[-1]).tolist()) <= {0.0, 1.0}
    assert_allclose(paths.hamming[-1], paths.angle[-1])


def test_parallel_samples_stay_parallel():
    w = torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64)
    paths = LikelihoodEncoder(20, 4, 10, seeded(0)).paths(w, torch.stack([2 * w, -w]))
    assert_allclose(paths.angle, torch.tensor([[0.0, 1.0]]).expand(11, 2), atol=1e-15)
    assert bool((paths.log_sine == -torch.inf).all())
    assert_allclose(paths.log_norm[:, 1], paths.log_norm_selected, rtol=1e-14)
    with pytest.raises(InputError, match="samples that are not parallel"):
        paths.rate()


def test_single_precision_follows_double_until_it_has_converged(device):
    w, v = samples(1, 16)[0].to(device), samples(50, 16, 1).to(device)
    angles = {}
    for dtype in (torch.float32, torch.float64):
        encoder = LikelihoodEncoder(200, 16, 12, seeded(0, device), draw="selected")
        angles[dtype] = encoder.angles(w.to(dtype), v.to(dtype))
        assert angles[dtype].device.type == device.type
        assert angles[dtype].dtype == torch.float64
    for found in angles.values():
        assert bool((torch.minimum(found[-1], 1 - found[-1]) < 0.02).all())


# -- measures ----------------------------------------------------------------------------------


def test_distances_are_those_of_the_unit_vectors():
    encoder = LikelihoodEncoder(30, 6, 4, seeded(0))
    w, v = samples(1, 5)[0], samples(4, 5, seed=1)
    paths = LikelihoodEncoder(30, 6, 4, seeded(0)).paths(w, v)
    for row, layer in enumerate(encoder.layers(w, v)):
        near = ((layer.others - layer.selected) ** 2).sum(dim=1)
        far = ((layer.others + layer.selected) ** 2).sum(dim=1)
        assert_allclose(paths.squared_distance[row], near, atol=1e-14)
        assert_allclose(paths.opposite_squared_distance[row], far, atol=1e-14)
        assert_allclose(near, 4 * (math.pi * paths.angle[row] / 2).sin() ** 2, atol=1e-14)


def test_small_distances_keep_their_digits():
    paths = LikelihoodEncoder(300, 4, 200, seeded(0)).paths(samples(1, 4)[0], samples(30, 4, 1))
    pair = int(paths.cosine[-1].argmax())
    log_d = paths.squared_distance[-1, pair].log()
    assert log_d < -300
    assert_allclose(log_d, 2 * paths.log_sine[-1, pair], rtol=1e-12)


def test_spacetime_is_the_angle_of_vectors_with_a_time_coordinate():
    w, v = samples(1, 5)[0], samples(4, 5, seed=1)
    paths = LikelihoodEncoder(30, 6, 3, seeded(0)).paths(w, v)
    layers = list(LikelihoodEncoder(30, 6, 3, seeded(0)).layers(w, v))
    for speed in (0.0, 0.3, 20.0):
        for layer in layers:
            time = speed * layer.depth
            z = torch.cat([torch.tensor([time]), layer.log_norm_selected.exp() * layer.selected])
            for pair, (other, log_norm) in enumerate(
                zip(layer.others, layer.log_norm, strict=True)
            ):
                z_ = torch.cat([torch.tensor([time]), log_norm.exp() * other])
                cosine = float(z @ z_ / (z.norm() * z_.norm()))
                found = float(paths.spacetime_angle(speed)[layer.depth, pair])
                assert math.isclose(found, math.acos(cosine) / math.pi, abs_tol=1e-7)
    assert_allclose(paths.spacetime_angle(0.0), paths.angle, rtol=1e-9)


def test_time_hides_the_second_branch_for_a_while_only():
    w, v = samples(1, 2)[0], samples(200, 2, seed=1)
    encoder = LikelihoodEncoder(10, 2, 60, seeded(0))
    paths = encoder.paths(w, v)
    with_time = paths.spacetime_angle(1e5)
    assert float(with_time[1:8].max()) < 0.01
    assert 0.3 < float((with_time[-1] > 0.99).double().mean()) < 0.7


# -- refusals ----------------------------------------------------------------------------------

GOOD = torch.ones(3)
BAD_SAMPLES = [
    (torch.zeros(3), "zero vector"),
    (torch.tensor([1.0, math.nan, 0.0]), "NaN"),
    (torch.tensor([1.0, math.inf, 0.0]), "infinity"),
    (torch.ones(2, 3), r"shape \(features,\), got \(2, 3\)"),
    (torch.ones(0), r"shape \(features,\), got \(0,\)"),
    (torch.ones(3, dtype=torch.int64), r"floating point numbers, got torch\.int64"),
    (torch.ones(3, dtype=torch.complex64), "floating point"),
    (np.ones(3), "floating point numbers, got ndarray; use torch.as_tensor"),
]


@pytest.mark.parametrize(("x", "match"), BAD_SAMPLES)
def test_samples_without_a_direction_are_refused(x, match):
    with pytest.raises(InputError, match=match):
        encode(x, 10, 2)
    with pytest.raises(InputError, match=match):
        LikelihoodEncoder(10, 2, 1).angles(x, torch.ones(1, 3))


@pytest.mark.parametrize(
    ("n", "k", "depth", "match"),
    [
        (10, 1, 1, "at least 2 rows, got k = 1"),
        (10, 11, 1, "k = 11 and n = 10"),
        (10, 2, 0, "depth = 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(n, k, depth, match):
    with pytest.raises(InputError, match=match):
        LikelihoodEncoder(n, k, depth)
    if depth:
        with pytest.raises(InputError, match=match):
            encode(GOOD, n, k)


@pytest.mark.parametrize(
    ("v", "match"),
    [
        (torch.ones(2, 4), "must agree in features.*got 3, .* and 4"),
        (torch.ones(2, 3).double(), "must agree in features, precision"),
        (torch.stack([GOOD, 0 * GOOD]), "v holds a zero vector"),
        (torch.ones(2, 2, 3), r"shape \(pairs, features\)"),
        (torch.ones(0, 3), r"shape \(pairs, features\), got \(0, 3\)"),
    ],
)
def test_others_that_do_not_fit_are_refused(v, match):
    with pytest.raises(InputError, match=match):
        LikelihoodEncoder(10, 2, 1).angles(GOOD, v)


def test_options_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="draw is one of rows, selected, got 'all'"):
        encode(GOOD, 10, 2, draw="all")
    with pytest.raises(InputError, match="draw is one of"):
        LikelihoodEncoder(10, 2, 1, draw="all")
    with pytest.raises(InputError, match="at least 1, got 0"):
        encode(GOOD, 10, 2, block=0)
    paths = LikelihoodEncoder(10, 2, 1, seeded(0)).paths(GOOD, torch.eye(3))
    for speed in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="speed"):
            paths.spacetime_angle(speed)


def test_a_generator_of_another_device_is_refused():
    class Elsewhere:
        device = torch.device("cuda")

    for call in (
        lambda: encode(GOOD, 10, 2, Elsewhere()),
        lambda: LikelihoodEncoder(10, 2, 1, Elsewhere()).angles(GOOD, GOOD),
    ):
        with pytest.raises(InputError, match=r"cpu, got one of cuda; make it with .*'cpu'"):
            call()


def test_the_package_knows_neither_models_nor_networks():
    code = (
        "import sys; import entangle; entangle.computational_entanglement; "
        "print([m for m in sys.modules if m.startswith(('entangle.models', 'entangle.networks'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
