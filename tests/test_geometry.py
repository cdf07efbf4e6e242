"""Maps of Jacobians, ranks, spectra of weights, orthogonality, dimension and persistence."""

import itertools
import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

from entangle.errors import InputError
from entangle.plotting import draw_jacobian_map
from entangle.spectra import jacobian_norm, participation_ratio
from entangle.spectra.dimension import intrinsic_dimension
from entangle.spectra.jacobian_maps import jacobian_norm_map
from entangle.spectra.orthogonality import quasi_orthogonality, random_share
from entangle.spectra.persistence import matrix_persistence, neural_persistence
from entangle.spectra.ranks import feature_rank, jacobian_rank
from entangle.spectra.weights import weight_spectra


class Half(nn.Module):
    """Half the square of each value: its Jacobian is diag(x)."""

    def forward(self, x):
        return x.square() / 2


def tanh_network(*sizes, seed=0):
    layers = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers[:-1]).double()


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(matrix):
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], dtype=matrix.dtype)
    with torch.no_grad():
        layer.weight.copy_(matrix)
    return layer


def of_rank(rank, rows, columns):
    return normal(rows, rank) @ normal(rank, columns, seed=2)


def points_of(found):
    first, second = found.directions
    grid = found.coordinates[:, None]
    return found.origin + grid[:, None] * first + grid * second


# -- maps of the norm of the Jacobian ------------------------------------------------------


@pytest.mark.parametrize("n_samples", [1, 3])
def test_norm_of_a_diagonal_jacobian_is_that_of_the_point(n_samples, device):
    X = normal(n_samples, 7).to(device)
    found = jacobian_norm_map(Half(), X, grid=9, batch_size=10, progress=True)
    points = points_of(found)
    assert_allclose(found.norms, np.linalg.norm(points, axis=-1), rtol=1e-12)
    assert_array_equal(found.classes, (points**2).argmax(-1))
    assert_allclose(found.confidence, (np.exp(points**2 / 2) / np.exp(points**2 / 2).sum(
        -1, keepdims=True)).max(-1), rtol=1e-12)  # fmt: skip
    assert_allclose(found.directions @ found.directions.T, np.eye(2), atol=1e-12)
    assert_allclose(found.origin + found.given @ found.directions, X.cpu(), atol=1e-12)
    assert json.loads(json.dumps(found.to_dict()))["layer"] is None


@pytest.mark.parametrize("layer", [None, "0", "2"])
def test_norms_of_layers_are_those_of_autograd(layer):
    model = tanh_network(6, 8, 5, 3)
    X = normal(1, 6)
    found = jacobian_norm_map(model, X, layer=layer, grid=3, radius=2.0)
    part = model if layer is None else model[: int(layer) + 1]
    for point, norm in zip(points_of(found).reshape(9, 6), found.norms.ravel(), strict=True):
        jacobian = torch.autograd.functional.jacobian(part, torch.as_tensor(point))
        assert_allclose(norm, jacobian.norm(), rtol=1e-12)
    every = torch.as_tensor(points_of(found).reshape(9, 6))
    assert_allclose(np.mean(found.norms**2), jacobian_norm(model, every, layer).item(), rtol=1e-12)


def test_mixtures_are_exact_when_all_and_unbiased_when_few():
    model, X = tanh_network(5, 8, 6), normal(1, 5)
    exact = jacobian_norm_map(model, X, grid=1).norms
    assert_allclose(jacobian_norm_map(model, X, grid=1, mixtures=6).norms, exact, rtol=1e-12)
    draws = [
        jacobian_norm_map(tanh_network(5, 8, 6), X, grid=1, mixtures=2, random_state=seed).norms
        for seed in range(100)
    ]
    squares = np.square(draws).ravel() / exact.item() ** 2
    assert abs(squares.mean() - 1) < 4 * squares.std() / len(squares) ** 0.5
    assert squares.std() > 0.1


def test_a_linear_classifier_of_scikit_learn_has_one_norm():
    X, y = load_digits(n_class=3, return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(X, y)
    found = jacobian_norm_map(model, X[:1], grid=4)
    assert_allclose(found.norms, np.linalg.norm(model.coef_), rtol=1e-12)
    points = points_of(found).reshape(-1, 64)
    assert_array_equal(found.classes.ravel(), model.predict(points))
    assert_allclose(found.confidence.ravel(), model.predict_proba(points).max(1), rtol=1e-9)
    with pytest.raises(InputError, match="asks for a torch module"):
        jacobian_norm_map(model, X[:1], layer="0")


def test_a_map_is_drawn_as_norms_and_classes():
    found = jacobian_norm_map(Half(), normal(3, 7), grid=5)
    panels = Figure().subplots(1, 2)
    draw_jacobian_map(panels, found)
    norms, classes = (axes.collections[0].get_array() for axes in panels)
    assert_allclose(norms, found.norms.T)  # the first direction is drawn to the right
    assert_allclose(classes[..., 3], found.confidence.T)
    colours = np.asarray(classes[..., :3]).swapaxes(0, 1)
    same = (colours[:, :, None, None] == colours).all(-1)
    assert_array_equal(same, found.classes[:, :, None, None] == found.classes)
    for axes in panels:
        assert_allclose(axes.lines[0].get_xydata(), found.given)


@pytest.mark.parametrize(
    ("n_samples", "options", "message"),
    [
        (2, {}, "one sample or three"),
        (1, {"radius": 0.0}, "radius is finite"),
        (1, {"grid": 0}, "grid"),
        (1, {"mixtures": 4}, "mixtures are at most the 3 units"),
        (1, {"layer": "9"}, "layers must name"),
    ],
)
def test_maps_that_are_refused(n_samples, options, message):
    X = normal(n_samples, 4)
    with pytest.raises(InputError, match=message):
        jacobian_norm_map(tanh_network(4, 5, 3), X, **options)


def test_planes_and_models_that_are_refused():
    line = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    with pytest.raises(InputError, match="lie on a line"):
        jacobian_norm_map(nn.Linear(2, 2), line)
    with pytest.raises(InputError, match="differentiably"):
        jacobian_norm_map(lambda x: (x > 0).float(), line[:1])


# -- ranks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_ranks_around_a_sample_are_those_of_the_matrix(rank):
    matrix = of_rank(rank, 8, 6)
    model, x0 = linear(matrix), normal(1, 6)
    whole = jacobian_rank(model, x0)
    noisy = feature_rank(model, x0, n_samples=4000)
    assert whole.rank == noisy.rank == rank
    expected = torch.linalg.svdvals(matrix)
    assert_allclose(whole.singular_values, expected, atol=1e-13)
    assert_allclose(noisy.singular_values[:rank], expected[:rank], rtol=0.05)
    part = jacobian_rank(model, x0, features=[4, 1])
    assert part.rank == min(rank, 2)
    assert_allclose(part.singular_values, torch.linalg.svdvals(matrix[:, [4, 1]]), atol=1e-13)
    assert part.to_dict()["shape"] == [8, 2]


def test_rank_falls_along_a_network_and_never_rises():
    model, x0 = tanh_network(12, 9, 4, 7, 10), normal(1, 12)
    ranks = [jacobian_rank(model, x0, layer).rank for layer in ("0", "2", "4", None)]
    noisy = [feature_rank(model, x0, layer, n_samples=200, scale=1e-7, tolerance=1e7).rank
             for layer in ("0", "2", "4", None)]  # fmt: skip
    assert ranks == noisy == [9, 4, 4, 4]


def test_rounding_in_single_precision_is_no_rank():
    model = linear(of_rank(3, 30, 20).float())
    with torch.no_grad():
        model.bias.fill_(1000.0)
    x0 = torch.zeros(1, 20)
    found = feature_rank(model, x0, n_samples=200, scale=1e-2)
    assert found.rank == 3
    sharp = found.singular_values[0] * 200 * torch.finfo(torch.float32).eps
    assert (found.singular_values > sharp).sum() > 3  # what the floor is for


def test_an_output_that_does_not_depend_on_the_input_has_rank_0():
    found = jacobian_rank(linear(torch.zeros(3, 4, dtype=torch.float64)), torch.ones(1, 4))
    assert found.rank == 0
    assert math.isnan(found.stable_rank)
    assert found.to_dict()["effective_rank"] is None


def test_ranks_that_are_refused():
    model, x0 = tanh_network(4, 3), torch.zeros(1, 4)
    with pytest.raises(InputError, match="one sample"):
        jacobian_rank(model, torch.zeros(2, 4))
    with pytest.raises(InputError, match="one sample"):
        feature_rank(model, torch.zeros(2, 4))
    with pytest.raises(InputError, match="whole numbers from 0 to 3"):
        jacobian_rank(model, x0, features=[4])
    with pytest.raises(InputError, match="at least 2 and scale"):
        feature_rank(model, x0, scale=0.0)


# -- spectra of weights --------------------------------------------------------------------


def test_ranks_of_known_matrices():
    orthogonal = torch.linalg.qr(normal(6, 6))[0]
    single = of_rank(1, 5, 6)
    model = nn.Sequential(linear(3 * orthogonal), nn.Tanh(), linear(single))
    first, last = weight_spectra(model).layers
    assert (first.name, last.name) == ("0", "2")
    assert_allclose([first.stable_rank, first.effective_rank, first.participation_ratio], 6)
    assert_allclose([last.stable_rank, last.effective_rank, last.participation_ratio], 1)
    assert (first.rank, last.rank, first.n_90, last.n_90) == (6, 1, 6, 1)
    assert_allclose([first.spectral_norm, first.frobenius_norm], [3, 3 * 6**0.5])
    p = np.array([4, 2, 1, 1]) / 8
    layer = weight_spectra(linear(torch.diag(torch.tensor([2.0, 4.0, 1.0, 1.0])))).layers[0]
    assert_allclose(layer.effective_rank, np.exp(-(p * np.log(p)).sum()))
    assert_allclose([layer.stable_rank, layer.participation_ratio], [22 / 16, 22**2 / 274])
    assert layer.n_90 == 4
    assert "0" in weight_spectra(model).to_text()


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 1000))
@settings(max_examples=40)
def test_measures_of_rank_come_in_order(rows, columns, seed):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    layer = weight_spectra(linear(matrix)).layers[0]
    values = [1, layer.stable_rank, layer.participation_ratio, layer.effective_rank, layer.rank]
    assert (np.diff(values) >= -1e-9).all()
    assert 1 <= layer.n_90 <= layer.rank == min(rows, columns)


def test_a_convolution_is_a_matrix_of_patches_and_groups_are_blocks():
    plain, grouped = nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3, groups=2)
    turned = nn.ConvTranspose1d(4, 6, 3, groups=2)
    model = nn.Sequential(plain, grouped, turned).double()
    first, second, third = weight_spectra(model).layers
    assert (first.shape, first.n_groups) == ((6, 36), 1)
    assert_allclose(first.singular_values, torch.linalg.svdvals(plain.weight.flatten(1).detach()))
    for layer, part in ((second, grouped), (third, turned)):
        blocks = torch.block_diag(*part.weight.detach().flatten(1).chunk(2))
        expected = torch.linalg.svdvals(blocks)
        assert_allclose(layer.singular_values, expected[: len(layer.singular_values)])
        assert layer.rank == torch.linalg.matrix_rank(blocks)


def test_stable_rank_of_a_gaussian_matrix():
    matrix = torch.randn(300, 600, generator=torch.Generator().manual_seed(0))
    layer = weight_spectra(linear(matrix)).layers[0]
    edge = 300**0.5 + 600**0.5  # Marchenko and Pastur; beside it, Johnstone 2001, eq. 1.3
    spread = edge * (300**-0.5 + 600**-0.5) ** (1 / 3)
    largest = layer.spectral_norm**2
    assert abs((largest - edge**2) / spread + 1.2065) < 4 * 1.268  # Tracy and Widom
    assert_allclose(layer.stable_rank, 300 * 600 / largest, rtol=4 * (2 / (300 * 600)) ** 0.5)


def test_weights_as_they_act_and_weights_of_zero():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(5, 4), n_power_iterations=200)
    assert_allclose(weight_spectra(layer.eval()).layers[0].spectral_norm, 1, rtol=1e-4)
    zero = weight_spectra(linear(torch.zeros(2, 3))).layers[0]
    assert (zero.rank, zero.n_90) == (0, 0)
    assert json.loads(json.dumps(zero.to_dict(), allow_nan=False))["stable_rank"] is None
    half = linear(of_rank(2, 20, 20).half())
    assert weight_spectra(half).layers[0].epsilon == torch.finfo(torch.float16).eps


def test_weights_that_are_refused():
    with pytest.raises(InputError, match="torch module"):
        weight_spectra(LogisticRegression())
    with pytest.raises(InputError, match="two axes or more"):
        weight_spectra(nn.BatchNorm1d(3))
    with pytest.raises(InputError, match=r"\['1'\]"):
        weight_spectra(tanh_network(2, 3, 2), ["0", "1"])
    broken = linear(torch.full((2, 2), torch.nan))
    with pytest.raises(InputError, match="diverged"):
        weight_spectra(broken)


# -- quasi-orthogonality -------------------------------------------------------------------


@pytest.mark.parametrize(("dimension", "threshold"), [(2, 0.3), (3, 0.5), (10, 0.1), (200, 0.1)])
def test_random_directions_are_as_orthogonal_as_the_beta_law_says(dimension, threshold):
    rng = np.random.default_rng(dimension)
    scores = [
        quasi_orthogonality(rng.standard_normal((40, dimension)), threshold).score
        for _ in range(60)
    ]
    assert abs(np.mean(scores)) < 4 / len(scores) ** 0.5
    spread = np.square(scores).sum()  # pairs are uncorrelated, though they share vectors
    assert 1e-4 < stats.chi2.cdf(spread, len(scores)) < 1 - 1e-4


def test_share_of_pairs_by_definition():
    vectors = np.random.default_rng(0).standard_normal((1100, 5))  # several blocks of rows
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(1100, 1)]
    found = quasi_orthogonality(1e200 * vectors, 0.2)
    assert_allclose(found.share, (np.abs(cosines) < 0.2).mean(), rtol=1e-12)
    assert_allclose(found.mean_square, np.square(cosines).mean(), rtol=1e-12)
    moment = np.linalg.eigvalsh(unit.T @ unit / 1100).clip(0)
    ordered = (found.mean_square * (1100 - 1) + 1) / 1100  # with each vector's own
    assert_allclose(1 / ordered, participation_ratio(moment), rtol=1e-10)
    assert_allclose(found.effective_dimension, 5, rtol=0.02)
    assert random_share(0.2, 2) == pytest.approx(2 * math.asin(0.2) / math.pi)


def test_orthonormal_vectors_and_vectors_that_are_refused():
    found = quasi_orthogonality(np.eye(4), 0.01)
    assert (found.share, found.mean_square, found.effective_dimension) == (1, 0, math.inf)
    assert found.to_dict()["effective_dimension"] is None
    with pytest.raises(InputError, match="1 of 2 are zero, the first in row 1"):
        quasi_orthogonality([[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(InputError, match="threshold lies"):
        quasi_orthogonality(np.eye(3), 1.0)


# -- intrinsic dimension -------------------------------------------------------------------


def ball(n_points, dimension, seed):
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((n_points, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * rng.random((n_points, 1)) ** (1 / dimension)


def by_definition(points, method, k):
    ratios, sums = [], []
    for point in points:
        distances = np.sort(np.linalg.norm(points - point, axis=1))[1:]
        ratios.append(distances[1] / distances[0])
        sums += [math.log(distances[k - 1] / distances[j]) for j in range(k - 1)]
    if method == "mle":
        return 1 / np.mean(sums)
    kept = int(0.9 * len(points))
    x, y = np.log(np.sort(ratios))[:kept], -np.log(1 - np.arange(1, kept + 1) / len(points))
    return np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]


@pytest.mark.parametrize("method", ["two-nn", "mle"])
def test_dimension_by_definition_and_of_known_sets(method):
    points = ball(120, 3, 0)
    found = intrinsic_dimension(points, method, n_neighbors=7)
    assert_allclose(found.dimension, by_definition(points, method, 7), rtol=1e-10)
    for dimension in (2, 3, 4):
        flat = ball(1500, dimension, dimension)
        basis = np.linalg.qr(np.random.default_rng(9).standard_normal((9, 9)))[0][:dimension]
        inside = intrinsic_dimension(flat, method)
        outside = intrinsic_dimension(1e3 * flat @ basis - 5, method)
        assert_allclose(outside.dimension, inside.dimension, rtol=1e-6)
        assert_allclose(inside.dimension, dimension, rtol=0.12)
        assert abs(inside.dimension - dimension) < 4 * max(inside.standard_error, 0.1)


def test_error_of_the_dimension_of_independent_points():
    found = [intrinsic_dimension(ball(300, 2, seed)) for seed in range(40)]
    spread = np.std([one.dimension for one in found])
    assert 0.5 < spread / np.mean([one.standard_error for one in found]) < 2


def test_repeated_points_count_once():
    points = ball(200, 2, 1)
    twice = intrinsic_dimension(np.concatenate([points, points[:50]]))
    assert (twice.n_points, twice.n_repeated) == (200, 50)
    assert_allclose(twice.dimension, intrinsic_dimension(points).dimension)


def test_small_distances_far_from_the_origin_keep_their_digits():
    points = ball(300, 2, 2) @ np.random.default_rng(3).standard_normal((2, 20))
    plain, moved = (intrinsic_dimension(X, "mle").dimension for X in (points, points + 1e6))
    assert_allclose(moved, plain, rtol=1e-3)
    centres = 1e3 * np.random.default_rng(4).standard_normal((15, 1, 20))
    groups = centres + 1e-4 * points.reshape(15, 20, 20)
    found = intrinsic_dimension(groups.reshape(300, 20), "mle", n_neighbors=10)
    assert_allclose(found.dimension, by_definition(groups.reshape(300, 20), "mle", 10), rtol=0.1)


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.ones((50, 2)), {}, "at least 4 distinct points, got 1"),
        (np.mgrid[:6, :6].reshape(2, -1).T, {}, "equal distances"),
        (ball(10, 2, 0), {"method": "mle"}, "at least 22 distinct points"),
        (ball(30, 2, 0), {"method": "mle", "n_neighbors": 2}, "at least 3"),
        (ball(30, 2, 0), {"method": "twonn"}, "method is one of"),
        (ball(30, 2, 0), {"method": 2}, "method is the name of an estimator"),
        (np.where(ball(30, 2, 0) > 0.5, np.nan, 1.0), {}, "finite"),
    ],
)
def test_points_that_are_refused(points, options, message):
    with pytest.raises(InputError, match=message):
        intrinsic_dimension(points, **options)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scikit_dimension_agrees():
    skdim = pytest.importorskip("skdim.id")
    points = ball(400, 3, 5)
    ours = intrinsic_dimension(points)
    theirs = intrinsic_dimension(points, "skdim:TwoNN")
    assert_allclose(ours.dimension, theirs.dimension, rtol=1e-6)
    mle = skdim.MLE(K=20, unbiased=False).fit(points, n_neighbors=20, comb="mle").dimension_
    assert_allclose(intrinsic_dimension(points, "mle").dimension, mle, rtol=1e-6)
    with pytest.raises(InputError, match="is one of 'CorrInt'"):
        intrinsic_dimension(points, "skdim:TwoN")


# -- neural persistence --------------------------------------------------------------------


def by_kruskal(sizes):
    """Edges from the strongest on; each that joins two components ends one of them."""
    rows, columns = sizes.shape
    component = list(range(rows + columns))
    lost = []
    for place in np.argsort(-sizes, axis=None):
        row, column = divmod(int(place), columns)
        one, other = component[row], component[rows + column]
        if one != other:
            component = [one if name == other else name for name in component]
            lost.append(1 - sizes[row, column])
    return math.sqrt(np.square(lost).sum() / (rows + columns - 1))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000), st.booleans())
@settings(max_examples=60)
def test_persistence_is_that_of_kruskal(rows, columns, seed, sparse):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((rows, columns)) * (rng.random((rows, columns)) < 0.5 + sparse)
    matrix[0, 0] = matrix[0, 0] or 1.0
    expected = by_kruskal(np.abs(matrix) / np.abs(matrix).max())
    assert_allclose(matrix_persistence(matrix), expected, atol=1e-12)
    shuffled = -3 * matrix[rng.permutation(rows)][:, rng.permutation(columns)].T
    assert_allclose(matrix_persistence(shuffled), expected, atol=1e-12)


def test_persistence_of_known_matrices():
    assert matrix_persistence(np.full((4, 7), -2.0)) == 0
    dominated = np.full((4, 7), 0.25)
    dominated[2, 3] = -1
    assert_allclose(matrix_persistence(dominated), 0.75 * math.sqrt(9 / 10))
    row = np.array([[1.0, 0.5, 0.1]])  # a star: every edge is in the tree
    assert_allclose(matrix_persistence(row), math.sqrt((0.5**2 + 0.9**2) / 3))


def test_persistence_of_a_network():
    model = nn.Sequential(nn.Conv1d(4, 6, 2, groups=2), nn.Flatten(), nn.Linear(5, 3)).double()
    weights = model[0].weight.detach().numpy().reshape(6, 4), model[2].weight.detach().numpy()
    largest = max(np.abs(weight).max() for weight in weights)
    blocks = [by_kruskal(np.abs(part) / largest) for part in (weights[0][:3], weights[0][3:])]
    found = neural_persistence(model)
    assert_allclose(found.layers["0"], np.sqrt(np.mean(np.square(blocks))))
    assert_allclose(found.layers["2"], by_kruskal(np.abs(weights[1]) / largest))
    assert found.mean == np.mean(list(found.layers.values()))
    alone = neural_persistence(model, scale="layer").layers["2"]
    assert_allclose(alone, matrix_persistence(weights[1]))
    assert json.loads(json.dumps(found.to_dict()))["scale"] == "network"


def test_persistence_that_is_refused():
    with pytest.raises(InputError, match="all 0"):
        neural_persistence(linear(torch.zeros(2, 2)))
    with pytest.raises(InputError, match="not all 0"):
        matrix_persistence(np.zeros((2, 2)))
    with pytest.raises(InputError, match="scale is one of"):
        neural_persistence(linear(torch.ones(2, 2)), scale="unit")
