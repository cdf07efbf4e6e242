"""Orderings other than the minimum cut: what all of them hold, and what each one is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata
from sklearn.datasets import load_breast_cancer, load_digits
from threadpoolctl import threadpool_limits

import entangle.memory
from entangle.affinity import correlation_affinity, nearest_affinity
from entangle.errors import InputError, MemoryLimitError, PartitionError
from entangle.ordering import fiedler
from entangle.ordering.fiedler import fiedler_vector
from entangle.ordering.graph import Graph, noise_threshold
from entangle.ordering.igtd import igtd_order, pixel_distance, rank_table
from entangle.ordering.leaf_ordering import leaf_order
from entangle.ordering.problem import checked_problem
from entangle.ordering.rank_swaps import search_swaps
from entangle.ordering.spectral import _first_side, spectral_order
from entangle.ordering.tour import improve_tour
from entangle.ordering.tsp import tsp_order
from entangle.partition import CanonicalTree
from entangle.surrogate import hierarchical_cut
from tests.test_ordering import SHAPES, permuted_ar1, permuted_field, random_affinity, recovers

METHODS = [spectral_order, leaf_order, tsp_order, igtd_order]
SPARSE = [spectral_order, tsp_order]
DENSE = [leaf_order, igtd_order]


def huge_weight(n_features):
    affinity = random_affinity(n_features)
    affinity[0, 1] = affinity[1, 0] = 1e12
    return affinity


def shuffled(affinity, seed=1):
    order = np.random.default_rng(seed).permutation(len(affinity))
    return affinity[np.ix_(order, order)]


def cut(affinity, order, shape):
    return hierarchical_cut(affinity[np.ix_(order, order)], shape)


# All methods


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "affinity",
    [random_affinity, lambda n: np.zeros((n, n)), lambda n: np.ones((n, n)), huge_weight],
)
def test_an_order_is_a_permutation(method, shape, affinity):
    n_features = CanonicalTree(shape).n_features
    given_affinity = affinity(n_features)
    before = given_affinity.copy()
    order = method(given_affinity, shape, n_samples=100, random_state=0)
    assert order.dtype == np.int64
    assert_array_equal(np.sort(order), np.arange(n_features))
    assert_array_equal(given_affinity, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [2.0**-800, 1e-250, 1e-9, 1e12, 1e307])
def test_the_scale_of_the_affinity_does_not_matter(method, scale):
    affinity = random_affinity(24)
    moved = method(affinity * scale, (4, 6), random_state=0)
    assert_array_equal(moved, method(affinity, (4, 6), random_state=0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [300, (18, 20)])
def test_the_seed_and_not_the_threads_sets_the_order(method, shape):
    affinity = random_affinity(CanonicalTree(shape).n_features)
    affinity[affinity < 0.3] = 0.0
    with threadpool_limits(1):
        first = method(affinity, shape, random_state=3)
    with threadpool_limits(2):
        assert_array_equal(method(affinity, shape, random_state=3), first)
    generator = np.random.RandomState(3)
    assert_array_equal(method(affinity, shape, random_state=generator), first)


@pytest.mark.parametrize("method", [tsp_order, igtd_order])
def test_another_seed_may_give_another_order(method):
    affinity = random_affinity(60)
    orders = {tuple(method(affinity, 60, random_state=seed)) for seed in range(4)}
    assert len(orders) > 1


# IGTD has no halves in mind on a grid: a cluster may be its middle.
@pytest.mark.parametrize(
    ("method", "shape"),
    [(m, s) for m in METHODS for s in (16, (4, 4)) if m is not igtd_order or s == 16],
)
def test_two_clusters_are_two_halves(method, shape):
    affinity = shuffled(np.kron(np.eye(2), np.ones((8, 8))) + 0.05 * random_affinity(16))
    order = np.random.default_rng(1).permutation(16)[method(affinity, shape, random_state=0)]
    assert len(set((order // 8)[CanonicalTree(shape).order][:8])) == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda a: a * np.nan, "finite and non-negative"),
        (lambda a: a * np.inf, "finite and non-negative"),
        (lambda a: -a, "finite and non-negative"),
        (lambda a: np.triu(a), "symmetric"),
    ],
)
def test_an_affinity_that_is_none(method, spoil, match):
    with pytest.raises(InputError, match=match):
        method(spoil(random_affinity(8) + 0.1), 8)


@pytest.mark.parametrize("method", METHODS)
def test_a_shape_of_other_features_is_refused(method):
    with pytest.raises(PartitionError, match=r"holds 12 features, .*\(10, 10\).* product is 10"):
        method(random_affinity(10), (3, 4))
    with pytest.raises(PartitionError, match=r"holds 12 features, .*\(12,\)"):
        method(np.zeros(12), 12)
    with pytest.raises(PartitionError, match="positive whole number"):
        method(random_affinity(4), (2, 0))


@pytest.mark.parametrize("method", SPARSE)
@pytest.mark.parametrize("shape", [600, (30, 20)])
def test_sparse_and_dense_affinities_give_one_order(method, shape):
    affinity = correlation_affinity(permuted_ar1(600)[0])
    affinity[affinity < 0.2] = 0.0
    dense = method(affinity, shape, random_state=0)
    for kind in (sparse.csr_matrix, sparse.csr_array, sparse.coo_matrix):
        assert_array_equal(method(kind(affinity), shape, random_state=0), dense)


@pytest.mark.parametrize("method", SPARSE)
@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda a: -a, "finite and non-negative"),
        (lambda a: a * np.nan, "finite and non-negative"),
        (lambda a: sparse.triu(a).tocsr(), "symmetric"),
    ],
)
def test_a_sparse_affinity_that_is_none(method, spoil, match):
    with pytest.raises(InputError, match=match):
        method(spoil(sparse.csr_matrix(random_affinity(8))), 8)


@pytest.mark.parametrize("method", SPARSE)
def test_no_stored_pairs_still_give_an_order(method):
    order = method(sparse.csr_matrix((12, 12)), (3, 4), n_samples=100, random_state=0)
    assert_array_equal(np.sort(order), np.arange(12))


@pytest.mark.parametrize("method", DENSE)
def test_methods_of_all_pairs_refuse_what_they_cannot_hold(method, monkeypatch):
    with pytest.raises(InputError, match=r"needs a dense affinity.* use method='mincut'"):
        method(sparse.csr_matrix((12, 12)), 12)
    monkeypatch.setattr(entangle.memory, "free_memory", lambda: 1000.0)
    with pytest.raises(MemoryLimitError, match="use method='mincut'"):
        method(random_affinity(12), 12)


def test_a_checked_affinity_is_a_copy_without_a_diagonal():
    rows = sparse.csr_matrix(random_affinity(6) + np.eye(6))
    tree, checked = checked_problem(rows, (2, 3))
    for diagonal in (-2.0, np.nan):
        spoilt = random_affinity(6) + np.diag(np.full(6, diagonal))
        assert_array_equal(checked_problem(spoilt, 6)[1], random_affinity(6))
        few = checked_problem(sparse.csr_matrix(spoilt), 6)[1]
        assert_array_equal(few.toarray(), random_affinity(6))
    assert tree.shape == (2, 3)
    assert_array_equal(checked.toarray(), random_affinity(6))
    assert rows[0, 0] == 1.0


# The published table of cuts: never worse where no chance is in it.
@pytest.mark.parametrize(
    ("method", "load", "shape", "highest"),
    [
        (spectral_order, load_breast_cancer, 30, 1.3445),
        (spectral_order, load_digits, (8, 8), 0.1912),
        (leaf_order, load_breast_cancer, 30, 1.38295),
        (leaf_order, load_digits, (8, 8), 0.18815),
        (igtd_order, load_breast_cancer, 30, 1.3907),
        (igtd_order, load_digits, (8, 8), 0.2005),
        (tsp_order, load_breast_cancer, 30, 1.384),
        (tsp_order, load_digits, (8, 8), 0.1976),
    ],
)
def test_real_data_reach_the_known_cut(method, load, shape, highest):
    affinity = correlation_affinity(load().data)
    assert cut(affinity, method(affinity, shape, random_state=0), shape) <= highest


# Chains


@pytest.mark.parametrize("method", [leaf_order, tsp_order])
@pytest.mark.parametrize("n_features", [256, 1024])
def test_a_shuffled_chain_is_recovered(method, n_features):
    X, source = permuted_ar1(n_features)
    order = method(correlation_affinity(X), n_features, random_state=0)
    assert_array_equal(np.abs(np.diff(source[order])), 1)


@pytest.mark.parametrize("n_features", [256, 1024])
def test_spectral_bisection_without_noise_recovers_a_chain(n_features):
    X, source = permuted_ar1(n_features)
    order = spectral_order(correlation_affinity(X), n_features, n_samples=1000)
    assert recovers(n_features, order, source)
    assert_array_equal(np.abs(np.diff(source[order])), 1)


@pytest.mark.slow
@pytest.mark.parametrize("method", SPARSE)
def test_many_features_of_a_sparse_affinity(method):
    X, source = permuted_ar1(8192, n_samples=400)
    affinity = nearest_affinity(X)
    order = method(affinity, 8192, n_samples=400, random_state=0)
    assert np.mean(np.abs(np.diff(source[order])) == 1) > 0.99


@pytest.mark.parametrize("method", [leaf_order, tsp_order])
def test_a_grid_holds_the_sequence_along_its_blocks(method):
    affinity = correlation_affinity(permuted_field(8)[0])
    sequence = method(affinity, 64, random_state=0)
    grid = method(affinity, (8, 8), random_state=0)
    assert_array_equal(grid[CanonicalTree((8, 8)).order], sequence)


# Spectral bisection


def grid_graph(height, width):
    """Neighbours on a grid that is longer one way, with weights that break its symmetry."""
    places = np.indices((height, width)).reshape(2, -1)
    apart = np.abs(places[:, :, None] - places[:, None]).sum(axis=0)
    weights = np.where(apart == 1, 1.0 + 0.1 * random_affinity(height * width), 0.0)
    return np.triu(weights, 1) + np.triu(weights, 1).T


@pytest.mark.parametrize("dense", [512, 64])
def test_a_fiedler_vector_solves_its_equation(dense, monkeypatch):
    monkeypatch.setattr(fiedler, "DENSE", dense)
    weights = grid_graph(10, 21)
    degrees = weights.sum(axis=1)
    values, vectors = linalg.eigh(np.diag(degrees) - weights, np.diag(degrees))
    found = fiedler_vector(Graph.from_matrix(weights))
    expected = vectors[:, 1] / np.abs(vectors[:, 1]).max()
    expected *= np.sign(expected[0])
    assert_allclose(found, expected, atol=1e-7 if dense == 512 else 1e-2)
    assert values[1] > 0.0


def test_a_fiedler_vector_tells_two_stars_apart(monkeypatch):
    monkeypatch.setattr(fiedler, "DENSE", 16)  # and next to nothing can be merged
    star = np.zeros((60, 60))
    star[0, 1:] = star[1:, 0] = 1.0
    affinity = np.kron(np.eye(2), star)
    affinity[0, 60] = affinity[60, 0] = 0.5
    order = np.random.default_rng(1).permutation(120)
    found = fiedler_vector(Graph.from_matrix(shuffled(affinity)))
    assert len(set(np.sign(found[order < 60]))) == len(set(np.sign(found))) - 1 == 1


@pytest.mark.parametrize("dense", [512, 16])
def test_spectral_bisection_keeps_pieces_whole(dense, monkeypatch):
    monkeypatch.setattr(fiedler, "DENSE", dense)
    pieces = linalg.block_diag(*(random_affinity(k, seed=k) + 0.1 for k in (60, 30, 20, 8, 2)))
    affinity = np.pad(pieces, (0, 8))
    piece = np.repeat(np.arange(13), (60, 30, 20, 8, 2, *[1] * 8))[
        np.random.default_rng(1).permutation(128)
    ]
    order = spectral_order(shuffled(affinity), 128)
    halves = [set(piece[order[:64]]), set(piece[order[64:]])]
    assert not halves[0] & halves[1]


@given(n=st.integers(2, 40), share=st.floats(0.0, 1.0), at=st.floats(0.0, 1.0))
def test_a_side_has_its_size_and_cuts_one_piece_at_most(n, share, at):
    affinity = random_affinity(n)
    affinity[affinity < share] = 0.0
    n_first = min(n - 1, max(1, round(at * n)))
    first = _first_side(Graph.from_matrix(affinity), n_first)
    assert first.sum() == n_first
    labels = connected_components(sparse.csr_matrix(affinity))[1]
    assert len(set(labels[first]) & set(labels[~first])) <= 1


@given(n=st.integers(3, 30), ones=st.integers(1, 29), seed=st.integers(0, 50))
def test_the_better_end_of_the_fiedler_vector_is_cut_off(n, ones, seed):
    affinity = random_affinity(n, seed)
    graph = Graph.from_matrix(affinity)
    ones = min(ones, n - 1)
    order = np.argsort(fiedler_vector(graph), kind="stable")
    cuts = [affinity[np.ix_(side[:ones], side[ones:])].sum() for side in (order, order[::-1])]
    first = _first_side(graph, ones)
    assert affinity[np.ix_(first, ~first)].sum() == pytest.approx(min(cuts))


# Travelling salesman


def weight_of(affinity, path):
    return affinity[path[:-1], path[1:]].sum()


@pytest.mark.parametrize("n_features", range(2, 9))
@pytest.mark.parametrize("present", [0.0, 0.6])
def test_a_short_path_is_the_heaviest(n_features, present):
    for seed in range(3):
        affinity = random_affinity(n_features, seed)
        affinity[affinity < present] = 0.0
        path = tsp_order(affinity, n_features, random_state=seed)
        paths = np.array(list(itertools.permutations(range(n_features))))
        heaviest = affinity[paths[:, :-1], paths[:, 1:]].sum(axis=1).max()
        assert weight_of(affinity, path) == pytest.approx(heaviest)
        assert path[0] < path[-1]


@pytest.mark.parametrize("kicks", [0, 1, 300])
def test_improvement_keeps_a_tour_and_its_gains(kicks):
    affinity = random_affinity(80)
    graph = Graph.from_matrix(affinity).scaled()
    near = np.argsort(-affinity, axis=1)[:, :10]
    draws = np.random.default_rng(0).integers(0, 2**31, (kicks, 3))
    weights = []
    for many in range(0, kicks + 1, max(1, kicks // 5)):
        tour = np.arange(81)
        improve_tour(graph.starts, graph.neighbours, graph.weights, near, tour, draws[:many])
        assert_array_equal(np.sort(tour), np.arange(81))
        path = np.roll(tour, -1 - np.argmax(tour))[:-1]
        weights.append(weight_of(affinity, path))
    assert weights[0] > weight_of(affinity, np.arange(80))
    assert (np.diff(weights) >= -1e-9).all()


def settled_tour(affinity):
    """Tour that looking at every node once more does not change."""
    graph = Graph.from_matrix(affinity).scaled()
    near = np.argsort(-affinity, axis=1)[:, :-1]
    tour, before = np.arange(len(affinity) + 1), None
    while not np.array_equal(tour, before):
        before = tour.copy()
        nothing = np.empty((0, 3), dtype=np.int64)
        improve_tour(graph.starts, graph.neighbours, graph.weights, near, tour, nothing)
    return tour


@pytest.mark.parametrize("seed", range(4))
def test_no_exchange_of_two_edges_gains(seed):
    affinity = random_affinity(40, seed)
    tour = settled_tour(affinity)
    closed = np.pad(affinity, (0, 1))
    reached = closed[tour, np.roll(tour, -1)].sum()
    for i, j in itertools.combinations(range(41), 2):
        turned = np.concatenate((tour[:i], tour[i : j + 1][::-1], tour[j + 1 :]))
        assert closed[turned, np.roll(turned, -1)].sum() <= reached + 1e-9


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length", [1, 2, 3])
def test_no_move_of_a_short_stretch_to_a_closer_neighbour_gains(seed, length):
    affinity = random_affinity(40, seed)
    tour = settled_tour(affinity)
    closed = np.pad(affinity, (0, 1))
    reached = closed[tour, np.roll(tour, -1)].sum()
    for turn, at in itertools.product(range(41), range(1, 41 - length)):
        stretch, rest = np.split(np.roll(tour, turn), [length])
        for piece, end, before in ((stretch, 0, rest[-1]), (stretch[::-1], -1, rest[0])):
            moved = np.concatenate((rest[:at], piece, rest[at:]))
            closer = closed[rest[at - 1], piece[0]] > closed[stretch[end], before]
            assert not closer or closed[moved, np.roll(moved, -1)].sum() <= reached + 1e-9


def test_kicks_reach_a_path_close_to_the_shortest():
    angle = 2.0 * np.pi * np.random.default_rng(0).permutation(200) / 200
    places = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    affinity = 2.0 - np.linalg.norm(places[:, None] - places, axis=-1)
    path = tsp_order(affinity, 200, random_state=0)
    steps = np.linalg.norm(np.diff(places[path], axis=0), axis=1)
    assert_allclose(steps, 2.0 * np.sin(np.pi / 200))


# IGTD


def published_search(source, target, priority, steps, threshold, patience, least, power):
    """The published loop, every error worked out afresh."""
    n = len(source)
    lower = np.tril_indices(n, k=-1)

    def error_of(order):
        return (np.abs(source[np.ix_(order, order)] - target)[lower] ** power).sum()

    order = np.arange(n)
    considered = np.full(n, -1)
    errors, swaps = [error_of(order)], []
    for step in range(steps):
        p = np.lexsort((priority, considered))[0]
        gains = np.full(n, -np.inf)
        for q in range(n):
            if q != p:
                tried = order.copy()
                tried[[p, q]] = order[[q, p]]
                gains[q] = errors[-1] - error_of(tried)
        q = int(np.argmax(gains))
        considered[p] = step
        swaps.append((-1, -1))
        if gains[q] / errors[-1] > threshold:
            order[[p, q]] = order[[q, p]]
            considered[q] = step
            swaps[-1] = (p, q)
        errors.append(error_of(order))
        if step > patience:
            window = (errors[-patience - 1] - np.array(errors[-patience:])) / errors[-patience - 1]
            if not (window >= least).any():
                break
    return order, np.array(errors), np.array(swaps)


def tables(affinity, shape, distance="euclidean"):
    pairs = affinity[np.triu_indices(len(affinity), k=1)]
    return rank_table(1.0 - pairs), rank_table(pixel_distance(shape, distance))


@pytest.mark.parametrize("shape", [(7,), (12,), (3, 4), (2, 5), (2, 2, 3)])
@pytest.mark.parametrize("distance", ["euclidean", "manhattan"])
@pytest.mark.parametrize(("power", "threshold"), [(1, 0.0), (2, 0.0), (1, 0.004)])
def test_the_search_makes_the_published_swaps(shape, distance, power, threshold):
    n = int(np.prod(shape))
    for seed in range(3):
        source, target = tables(random_affinity(n, seed).round(1), shape, distance)
        priority = np.random.default_rng(seed).permutation(n)
        limits = (90, threshold, 15, 1e-5)
        order, errors, swaps = search_swaps(source.copy(), target, priority, *limits, power == 2)
        expected = published_search(source.astype(float), target, priority, *limits, power)
        assert_array_equal(order, expected[0])
        assert_allclose(errors, expected[1])
        assert_array_equal(swaps, expected[2])
        swapped = swaps[:, 0] >= 0
        assert swapped.any()
        assert (np.diff(errors)[swapped] < 0.0).all()
        assert_array_equal(np.diff(errors)[~swapped], 0.0)


@pytest.mark.parametrize("distance", ["euclidean", "manhattan"])
@pytest.mark.parametrize(("error", "power"), [("absolute", 1), ("squared", 2)])
def test_the_options_reach_the_search(distance, error, power):
    affinity = random_affinity(12)
    priority = np.random.RandomState(5).permutation(12)
    pair_tables = [table.astype(float) for table in tables(affinity, (3, 4), distance)]
    expected, _, _ = published_search(*pair_tables, priority, 40, 0.0, 9, 1e-3, power)
    options = {"distance": distance, "error": error, "max_step": 40, "val_step": 9}
    order = igtd_order(affinity, (3, 4), random_state=5, min_gain=1e-3, **options)
    assert_array_equal(order, expected)


@pytest.mark.parametrize("square", [False, True])
def test_the_error_is_that_of_the_order(square):
    affinity = random_affinity(130)
    source, target = tables(affinity, (10, 13))
    order, errors, _ = search_swaps(
        source.copy(), target, np.arange(130), 400, 0.0, 400, 1e-6, square
    )
    apart = np.abs(source[np.ix_(order, order)].astype(float) - target) ** (1 + square)
    assert errors[-1] == pytest.approx(apart.sum() / 2.0)
    assert errors[-1] < 0.97 * errors[0]


@pytest.mark.parametrize("shape", [6, (3, 4), (2, 3, 2)])
def test_pixels_are_ranked_by_their_distance(shape):
    lengths = CanonicalTree(shape).shape
    places = np.indices(lengths).reshape(len(lengths), -1).T
    apart = places[:, None] - places
    upper = np.triu_indices(len(places), k=1)
    for distance, norm in (("euclidean", 2), ("manhattan", 1)):
        expected = rankdata(np.linalg.norm(apart, ord=norm, axis=-1)[upper].round(9))
        table = rank_table(pixel_distance(lengths, distance))
        assert_array_equal(table, table.T)
        assert_array_equal(np.diagonal(table), 0)
        assert_array_equal(table[upper], 2.0 * expected)


def test_every_feature_gets_its_turn():
    affinity = random_affinity(700)
    source, target = tables(affinity, (700,))
    start = np.random.default_rng(0).permutation(700)
    _, _, swaps = search_swaps(source, target, start, 1000, 0.0, 700, 1e-6, False)
    starved, _, few = search_swaps(source, target, start, 1000, 0.9, 50, 1e-6, False)
    assert_array_equal(starved, np.arange(700))
    assert len(few) == 52
    assert len(set(swaps[swaps >= 0])) == 700
    plain = igtd_order(affinity, 700, random_state=0, max_step=1400)
    assert not np.array_equal(plain, np.arange(700))


def test_an_error_of_nothing_ends_the_search():
    places = np.arange(12)
    affinity = 1.0 - np.abs(np.subtract.outer(places, places)) / 12.0
    source, target = tables(affinity, (12,))
    order, errors, _ = search_swaps(source, target, places, 1000, 0.0, 1000, 0.0, False)
    assert_array_equal(order, places)
    assert_array_equal(errors, [0.0, 0.0])
    assert_array_equal(igtd_order(affinity, 12), places)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), power=st.floats(0.5, 2.0))
def test_only_the_ranks_of_the_affinity_matter(seed, power):
    affinity = np.round(random_affinity(10, seed), 3)
    affinity[0, 1] = affinity[1, 0] = 1.0
    order = igtd_order(affinity, (2, 5), random_state=0)
    assert_array_equal(igtd_order(affinity**power, (2, 5), random_state=0), order)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"distance": "cosine"}, "distance is 'euclidean' or 'manhattan', got 'cosine'"),
        ({"error": "abs"}, "error is 'absolute' or 'squared', got 'abs'"),
        ({"max_step": 0}, "pass 1 or more"),
        ({"val_step": 0}, "pass 1 or more"),
        ({"min_gain": -0.1}, "from 0 to below 1"),
        ({"switch_t": -0.1}, "from 0 to below 1"),
    ],
)
def test_an_option_that_is_none(option, match):
    with pytest.raises(InputError, match=match):
        igtd_order(random_affinity(6), 6, **option)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_an_affinity_is_symmetric_but_for_rounding(kind):
    affinity = random_affinity(8) + 0.1
    largest = affinity[~np.eye(8, dtype=bool)].max()
    affinity[2, 5] += 1e-9 * largest
    assert checked_problem(kind(affinity), 8)[1].shape == (8, 8)
    affinity[2, 5] += 1e-7 * largest
    with pytest.raises(InputError, match="symmetric"):
        checked_problem(kind(affinity), 8)


def test_the_noise_threshold_is_that_of_fishers_transformation():
    """Three pairs of seven rows: tanh(sqrt(2 ln 3) / 2)."""
    assert noise_threshold(3, 7) == pytest.approx(0.6299, abs=1e-4)
    assert noise_threshold(3, 4) == noise_threshold(2, 7) == noise_threshold(3, None) == 0.0
