import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from torch import nn

from entangle.computational_entanglement import (
    LikelihoodEncoder,
    encode,
    exponent,
    flip_correlation,
    jacobian_collapse,
    linear_weights,
    network_paths,
    product_collapse,
    rivals,
)
from entangle.computational_entanglement.layer_outputs import layer_outputs, named_layers
from entangle.errors import InputError
from entangle.models import build_model


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def matrices(sizes, seed=0):
    generator = seeded(seed)
    return [
        torch.randn(after, before, generator=generator, dtype=torch.float64) / math.sqrt(before)
        for before, after in itertools.pairwise(sizes)
    ]


def linear_network(weights, between=nn.Identity):
    layers = []
    for weight in weights:
        part = nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
        with torch.no_grad():
            part.weight.copy_(weight)
        layers += [part, between()]
    return nn.Sequential(*layers[:-1])


# -- products of weights -----------------------------------------------------------------------


@example(seed=2226, sizes=[8, 9, 2])  # a narrow layer after a wide one whose values are close
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(2, 12), min_size=2, max_size=6))
def test_products_have_the_singular_values_of_the_dense_product(seed, sizes):
    weights = matrices(sizes, seed)
    found = product_collapse(weights)
    assert found.log_ratio.shape == (len(weights), 1)
    product = torch.eye(sizes[0], dtype=torch.float64)
    for weight, logs in zip(weights, found.log_singular_values[:, 0], strict=True):
        product = weight @ product
        expected = torch.linalg.svdvals(product)[:2].log()
        assert_allclose(logs, expected, atol=1e-6)


def test_products_are_followed_where_their_ratio_is_beyond_any_double():
    rotation, _ = torch.linalg.qr(matrices([3, 3])[0])
    layer = rotation @ torch.diag(torch.tensor([1e5, 1.0, 1e-3]).double()) @ rotation.T
    found = product_collapse([layer] * 70)
    assert_allclose(found.log_ratio[:, 0], -5 * math.log(10) * np.arange(1, 71), rtol=1e-9)


def test_rates_do_not_know_scales_or_rotations():
    weights = matrices([6] * 8)
    rotation, _ = torch.linalg.qr(matrices([6, 6], seed=1)[0])
    turned = [rotation @ (3.0 * weight) @ rotation.T for weight in weights]
    usual, found = product_collapse(weights).rate(), product_collapse(turned).rate()
    assert_allclose(found.rate, usual.rate, rtol=1e-6)
    assert math.isnan(usual.standard_error)
    assert usual.n_layers == 6


def test_selected_layers_come_to_rank_one_at_the_exponent():
    n, k = 30, 3  # few rows, so that forty layers are many
    slopes = []
    for seed in range(8):
        generator = seeded(seed)
        x = torch.randn(k, generator=generator, dtype=torch.float64)
        layers = []
        for _ in range(40):
            x, rows = encode(x / x.norm(), n, k, generator)
            layers.append(rows)
        ratio = product_collapse(layers).log_ratio[:, 0]
        slopes.append(float(ratio[9] - ratio[39]) / 30)
    error = np.std(slopes, ddof=1) / math.sqrt(8)
    assert abs(np.mean(slopes) - exponent(n, k)) < 3 * error
    assert error < 0.05


def test_wide_layers_stretch_one_direction_more_than_a_typical_one():
    """At depths below the width, s2 / s1 falls more slowly than angles do, by about 1 / 2l."""
    n, k, generator = 200, 50, seeded(0)
    ratios, tangents = [], []
    for _ in range(4):
        w, u = torch.randn(2, k, generator=generator, dtype=torch.float64)
        x, layers = w, []
        for _ in range(20):
            x, rows = encode(x / x.norm(), n, k, generator)
            layers.append(rows)
        ratios.append(product_collapse(layers).log_ratio[:, 0])
        chain = linear_network(layers)
        tangents.append(network_paths(chain, w[None], u[None]).paths.log_tangent[1:, 0])
    ratio, tangent = torch.stack(ratios).mean(dim=0), torch.stack(tangents).mean(dim=0)
    gap = float((ratio[19] - ratio[9]) - (tangent[19] - tangent[9]))
    assert abs(gap - 0.5 * math.log(21 / 11)) < 0.1


def test_a_slope_is_the_least_squares_line():
    found = product_collapse(matrices([5] * 7))
    ratio = found.log_ratio[:, 0].numpy()
    assert_allclose(found.rate().rate, -np.polyfit(np.arange(6), ratio, 1)[0])


def test_linear_weights_are_those_of_the_model_in_order():
    weights = matrices([4, 6, 5, 3])
    found = linear_weights(linear_network(weights, nn.ReLU))
    for expected, weight in zip(weights, found, strict=True):
        assert_array_equal(weight, expected)
        assert not weight.requires_grad


# -- Jacobians ---------------------------------------------------------------------------------


def test_the_jacobian_of_a_linear_network_is_its_product():
    weights = matrices([20, 30, 25, 15, 10])
    model = linear_network(weights)
    samples = torch.randn(3, 20, generator=seeded(1), dtype=torch.float64)
    found = jacobian_collapse(model, samples, rounds=500, tolerance=1e-9)
    assert found.names == ("0", "2", "4", "6")
    expected = product_collapse(weights).log_singular_values
    assert_allclose(found.log_singular_values, expected.expand(4, 3, 2), atol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "cnn", "s4", "attention", "m5"])
def test_jacobians_of_networks_are_those_of_autograd(name):
    shape = (12,)
    model = build_model(name, 1, shape, 5, seed=0).double().eval()
    samples = torch.randn(2, 1, *shape, generator=seeded(1), dtype=torch.float64)
    last = [n for n, part in model.named_modules() if isinstance(part, nn.Linear)][-1]
    found = jacobian_collapse(model, samples, [last], rounds=1000, tolerance=1e-10)
    for number, sample in enumerate(samples):
        dense = torch.autograd.functional.jacobian(lambda x: model(x[None])[0], sample)
        expected = torch.linalg.svdvals(dense.reshape(5, -1))[:2].log()
        assert_allclose(found.log_singular_values[0, number], expected, atol=1e-5)


def test_hidden_layers_of_a_convolutional_network_are_measured_wide_as_they_are():
    model = build_model("cnn", 1, (9, 9), 4, seed=0, width=6, depth=2).double().eval()
    samples = torch.randn(2, 1, 9, 9, generator=seeded(1), dtype=torch.float64)
    found = jacobian_collapse(model, samples, rounds=1000, tolerance=1e-10)
    for layer, name in enumerate(found.names):

        def inner(x, name=name):
            with layer_outputs(model, [name]) as seen:
                model(x[None])
            return seen[0][1].flatten()

        dense = torch.autograd.functional.jacobian(inner, samples[1])
        expected = torch.linalg.svdvals(dense.reshape(len(dense), -1))[:2].log()
        assert_allclose(found.log_singular_values[layer, 1], expected, atol=1e-4)


def test_a_slope_of_many_samples_has_their_standard_error():
    model = build_model("mlp", 1, (12,), 5, hidden=(16, 16, 16)).double()
    samples = torch.randn(6, 1, 12, generator=seeded(1), dtype=torch.float64)
    found = jacobian_collapse(model, samples)
    ratio = found.log_ratio.numpy()
    slopes = [-np.polyfit(np.arange(len(ratio)), column, 1)[0] for column in ratio.T]
    rate = found.rate()
    assert_allclose(rate.rate, np.mean(slopes))
    assert_allclose(rate.standard_error, np.std(slopes, ddof=1) / math.sqrt(6))


# -- pairs -------------------------------------------------------------------------------------


def test_pairs_in_a_network_have_the_angles_of_its_layers(device):
    model = build_model("mlp", 1, (12,), 5, hidden=(16, 16)).to(device)
    w, v = torch.randn(2, 7, 1, 12, generator=seeded(1)).to(device)
    found = network_paths(model, w, v)
    assert found.names == ("layers.1", "layers.4", "decoder")
    model.eval()
    with torch.no_grad():
        first, second = model(w).double(), model(v).double()
    cosine = torch.cosine_similarity(first, second)
    paths = found.paths
    assert_allclose(paths.cosine[-1].cpu(), cosine.cpu(), atol=1e-6)
    assert_allclose((paths.angle[-1] * math.pi).cos().cpu(), cosine.cpu(), atol=1e-6)
    assert_allclose(paths.log_norm_selected[-1].cpu(), first.norm(dim=1).log().cpu(), rtol=1e-5)
    assert_allclose(paths.log_norm[-1].cpu(), second.norm(dim=1).log().cpu(), rtol=1e-5)
    signs = (first.sign() != second.sign()).double().mean(dim=1)
    assert_array_equal(paths.hamming[-1].cpu(), signs.cpu())
    start = torch.cosine_similarity(w.flatten(1).double(), v.flatten(1).double())
    assert_allclose(paths.cosine[0].cpu(), start.cpu(), atol=1e-6)


def test_an_encoder_as_a_network_has_the_angles_of_the_encoder():
    w, *v = torch.randn(6, 8, generator=seeded(0), dtype=torch.float64)
    v = torch.stack(v)
    generator, x, weights = seeded(1), w, []
    for _ in range(10):
        x, rows = encode(x / x.norm(), 60, 8, generator)
        weights.append(rows)
    found = network_paths(linear_network(weights), w.expand(5, 8), v).paths
    paths = LikelihoodEncoder(60, 8, 10, seeded(1)).paths(w, v)
    assert_allclose(found.angle, paths.angle, rtol=1e-4, atol=1e-12)
    assert_allclose(found.log_contraction, paths.log_contraction, rtol=1e-4, atol=1e-6)
    assert_allclose(found.log_norm, paths.log_norm, rtol=1e-9)


def test_tiny_angles_in_networks_keep_their_digits():
    w = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for tiny in (1e-3, 1e-9, 1e-15):
        v = torch.tensor([[1.0, tiny]], dtype=torch.float64)
        paths = network_paths(nn.Linear(2, 2).double(), torch.cat([w, -w]), torch.cat([v, v])).paths
        assert_allclose(paths.log_sine[0].exp(), math.sin(math.atan(tiny)), rtol=1e-6)
        assert_array_equal(paths.anticorrelated.shape, (2,))


def test_rivals_are_the_nearest_of_other_classes():
    X = torch.randn(40, 3, generator=seeded(0), dtype=torch.float64)
    y = np.arange(40) % 3
    found = rivals(X, y).numpy()
    for row in range(40):
        others = np.flatnonzero(y != y[row])
        expected = others[np.linalg.norm(X[others] - X[row], axis=1).argmin()]
        assert found[row] == expected


# -- a model is left as it was -----------------------------------------------------------------


def test_models_are_left_as_they_were():
    model = build_model("cnn", 1, (12,), 3, seed=0, width=4)
    model.train()
    model.layers[0].eval()
    modes = [part.training for part in model.modules()]
    state = copy.deepcopy(model.state_dict())
    samples = torch.randn(4, 1, 12, generator=seeded(0))
    random_state = torch.get_rng_state()
    network_paths(model, samples, samples.flip(0))
    jacobian_collapse(model, samples[:1], rounds=2)
    with pytest.raises(RuntimeError, match="stop"), layer_outputs(model):
        raise RuntimeError("stop")
    assert modes == [part.training for part in model.modules()]
    assert all(not part._forward_hooks for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert_array_equal(value, state[name])
    assert_array_equal(torch.get_rng_state(), random_state)


def test_a_layer_that_runs_twice_is_seen_twice():
    part = nn.Linear(3, 3)
    model = nn.Sequential(part, nn.ReLU(), part)
    samples = torch.randn(2, 3, generator=seeded(0))
    assert network_paths(model, samples, samples.flip(0)).names == ("0", "0")


def test_layers_are_those_with_matrices_unless_named():
    model = build_model("cnn", 1, (12,), 3, seed=0, width=4, depth=2)
    assert all(isinstance(part, nn.Linear | nn.Conv1d) for part in named_layers(model).values())
    assert list(named_layers(model, ["layers.1", "layers.0"])) == ["layers.1", "layers.0"]


# -- flips -------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), n=st.integers(5, 60))
def test_the_coefficient_is_spearmans(seed, n):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n)).round(1)
    if len(set(a)) == 1 or len(set(b)) == 1:
        return
    found = flip_correlation(a, b)
    expected = stats.spearmanr(a, b)
    assert_allclose(found.coefficient, expected.statistic, atol=1e-12)
    assert_allclose(found.p_value, expected.pvalue, atol=1e-9)
    assert found.low <= found.coefficient <= found.high


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    rho = 0.6
    truth = 6 / math.pi * math.asin(rho / 2)  # of a normal pair
    covered = 0
    for _ in range(2000):
        a, noise = rng.normal(size=(2, 40))
        found = flip_correlation(a, rho * a + math.sqrt(1 - rho**2) * noise)
        covered += found.low < truth < found.high
    assert 0.93 < covered / 2000 < 0.975


def test_samples_that_never_flip_rank_last():
    a = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    found = flip_correlation(a, [0.1, 0.2, 0.3, 0.4, np.inf, np.inf])
    assert_allclose(found.coefficient, stats.spearmanr(a, [1, 2, 3, 4, 9, 9]).statistic)
    assert "flip sooner" in flip_correlation(np.arange(30), np.arange(30)).to_text()
    assert "flip later" in flip_correlation(np.arange(30), -np.arange(30)).to_text()
    assert flip_correlation(np.arange(30), np.arange(30)).p_value < 1e-9


# -- refusals ----------------------------------------------------------------------------------

S = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: network_paths(nn.ReLU(), S, S), "ReLU has no layers with matrices"),
        (lambda: jacobian_collapse(nn.ReLU(), S), "ReLU has no layers with matrices"),
        (lambda: network_paths(len, S, S), "must be a torch module, got builtin"),
        (lambda: network_paths(nn.Linear(3, 3), S, S, ["x"]), r"got \['x'\]; it has none"),
        (lambda: network_paths(nn.Linear(3, 3), S, S, []), "got none"),
        (lambda: network_paths(nn.Linear(3, 3), S, S[:1]), r"got \(2, 3\) and \(1, 3\)"),
        (lambda: network_paths(nn.Linear(3, 3), S / 0, S), "NaN or infinity"),
        (lambda: network_paths(nn.Sequential(nn.GRU(3, 3)), S, S), "'0' does not map a batch"),
        (lambda: jacobian_collapse(nn.Linear(3, 1), S), "two numbers or more"),
        (lambda: jacobian_collapse(nn.Linear(3, 3), S[0]), r"got \(3,\)"),
        (lambda: jacobian_collapse(nn.Linear(3, 3), S).rate(), "at least 2 layers, got 1"),
        (lambda: linear_weights(nn.Conv1d(2, 2, 3)), "no linear layers to multiply"),
        (
            lambda: linear_weights(nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2))),
            "layer 1 takes 5 numbers, layer 0 puts out 4",
        ),
        (lambda: product_collapse([]), "at least one matrix"),
        (lambda: product_collapse([torch.ones(2)]), r"layer 1 must be a finite matrix .*\(2,\)"),
        (lambda: product_collapse([torch.ones(2, 2) / 0]), "finite matrix"),
        (lambda: product_collapse([torch.ones(2, 2)] * 3).rate(), "rank one"),
        (lambda: rivals(S, [0, 0]), "two classes, got one"),
        (lambda: rivals(S, [0]), r"got \(1,\)"),
        (lambda: flip_correlation([1, 2, 3], [1, 2, 3]), "at least 4 samples"),
        (lambda: flip_correlation([1, 2, 3, 4], [1, 2, 3, math.nan]), "infinity for no flip"),
        (lambda: flip_correlation([1, 2, 3, 4], [1, 1, 1, 1]), "equal"),
        (lambda: flip_correlation([1, 2, 3, 4], [1, 2, 3, 4], confidence=95), "got 95"),
    ],
)
def test_what_does_not_fit_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()
