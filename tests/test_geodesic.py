from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.sparse import csgraph

from entangle.affinity import correlation_affinity
from entangle.ordering.geodesic import (
    Geometry,
    coordinate_leaves,
    embedded,
    geodesic_order,
    geometries,
)
from entangle.ordering.graph import Graph, noise_threshold
from entangle.ordering.isomap import majorised, nearest_edges, placed
from entangle.ordering.mincut import mincut_search
from entangle.ordering.objective import TreeCut, adjacency
from entangle.ordering.orientation import oriented
from entangle.ordering.problem import laid_out
from entangle.partition import CanonicalTree
from entangle.surrogate import hierarchical_cut
from tests.test_ordering import (
    SHAPES,
    blocks,
    permuted_ar1,
    permuted_field,
    random_affinity,
    recovers,
)


@pytest.mark.parametrize("shape", [*SHAPES, 13, (5, 4)])
def test_the_cut_of_a_graph_is_the_hierarchical_cut(shape):
    tree = CanonicalTree(shape)
    affinity = random_affinity(tree.n_features)
    affinity[affinity < 0.3] = 0.0
    leaves = np.random.default_rng(1).permutation(tree.n_features)
    order = laid_out(leaves, tree)
    expected = hierarchical_cut(affinity[np.ix_(order, order)], shape)
    assert TreeCut(Graph.from_matrix(affinity), tree)(leaves) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [6, (2, 3), (1, 5)])
def test_the_expected_cut_is_the_mean_over_all_orders(shape):
    tree = CanonicalTree(shape)
    cut = TreeCut(Graph.from_matrix(random_affinity(tree.n_features)), tree)
    every = [cut(np.array(order)) for order in permutations(range(tree.n_features))]
    assert cut.expected == pytest.approx(np.mean(every))


def test_adjacency_sums_over_touching_positions():
    affinity = random_affinity(12)
    order = np.random.default_rng(2).permutation(12)
    graph, grid = Graph.from_matrix(affinity), order.reshape(3, 4)
    rows = sum(affinity[a, b] for line in grid for a, b in pairwise(line))
    columns = sum(affinity[a, b] for line in grid.T for a, b in pairwise(line))
    assert adjacency(graph, order, (3, 4)) == pytest.approx(rows + columns)
    chain = sum(affinity[a, b] for a, b in pairwise(order))
    assert adjacency(graph, order, (12,)) == pytest.approx(chain)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_samples", [None, 50])
def test_a_geodesic_order_is_a_permutation(shape, n_samples):
    n_features = CanonicalTree(shape).n_features
    order = geodesic_order(random_affinity(n_features), shape, n_samples, random_state=0)
    assert_array_equal(np.sort(order), np.arange(n_features))


@pytest.mark.parametrize("affinity", [np.zeros((9, 9)), np.ones((9, 9)), np.eye(9)[::-1]])
@pytest.mark.parametrize("shape", [9, (3, 3)])
def test_affinities_without_geometry_get_an_order_too(affinity, shape):
    order = geodesic_order(affinity, shape, random_state=0)
    assert_array_equal(np.sort(order), np.arange(9))


@pytest.mark.parametrize(
    ("rho", "n_samples"), [(0.7, 1000), (0.9, 1000), (0.9, None), (0.98, None)]
)
def test_a_chain_is_recovered_from_its_geometry(rho, n_samples):
    X, source = permuted_ar1(512, seed=1, rho=rho)
    affinity = correlation_affinity(X)
    order = geodesic_order(affinity, 512, n_samples, random_state=0)
    assert recovers(512, order, source)
    near = sparse.csr_matrix(np.where(affinity > noise_threshold(512, 1000), affinity, 0.0))
    assert_array_equal(geodesic_order(near, 512, n_samples, random_state=0), order)


def rough_field(side, seed, length=3.0, n_samples=1000):
    """Rows of a field whose correlation falls exponentially with the distance."""
    generator = np.random.default_rng(seed)
    y, x = np.divmod(np.arange(side * side), side)
    apart = np.hypot(np.subtract.outer(y, y), np.subtract.outer(x, x))
    root = np.linalg.cholesky(np.exp(-apart / length))
    X = generator.standard_normal((n_samples, side * side)) @ root.T
    source = generator.permutation(side * side)
    return X[:, source], source


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("field", [permuted_field, rough_field])
def test_a_field_is_recovered_from_its_geometry(field, seed):
    X, source = field(16, seed=seed)
    order = geodesic_order(correlation_affinity(X), (16, 16), len(X), random_state=0)
    assert recovers((16, 16), order, source)


@pytest.mark.slow
@pytest.mark.parametrize(("side", "seed"), [(32, 0), (32, 1), (32, 2), (64, 0)])
def test_a_large_field_is_recovered(side, seed):
    X, source = permuted_field(side, seed=seed)
    found = mincut_search(correlation_affinity(X), (side, side), len(X), random_state=seed)
    assert recovers((side, side), found.permutation, source)
    rows, columns = np.divmod(source[found.permutation].reshape(side, side), side)
    for axis in (0, 1):
        steps = np.abs(np.diff(rows, axis=axis)) + np.abs(np.diff(columns, axis=axis))
        assert_array_equal(steps, 1)


@given(scale=st.floats(1e-200, 1e200), seed=st.integers(0, 20))
def test_without_samples_the_scale_of_the_affinity_does_not_matter(scale, seed):
    affinity = random_affinity(30, seed)
    tree = CanonicalTree(30)
    found = embedded(affinity, tree, Geometry(6, 1.0), None, 0).points
    scaled = embedded(affinity * scale, tree, Geometry(6, 1.0), None, 0).points
    assert_allclose(np.abs(scaled - scaled[0]), np.abs(found - found[0]), atol=1e-6)


def test_edges_join_significant_neighbours_with_the_length_of_their_correlation():
    affinity = correlation_affinity(permuted_ar1(60)[0])
    edges = nearest_edges(affinity, 4, 0.5, 1, 200).toarray()
    assert_array_equal(edges, edges.T)
    joined = edges > 0
    assert_allclose(edges[joined], np.sqrt(-np.log(affinity[joined])))
    fourth = np.sort(affinity, axis=1)[:, -4]
    one_way = (affinity >= fourth[:, None]) & (affinity > noise_threshold(60, 200))
    assert_array_equal(joined, one_way | one_way.T)


@pytest.mark.parametrize("n_axes", [1, 2])
def test_scaling_keeps_the_distances_of_a_flat_graph(n_axes):
    """All points are landmarks and all pairs edges, so scaling is exact up to a motion."""
    points = np.random.default_rng(0).normal(size=(40, n_axes))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    found = placed(sparse.csr_matrix(apart), n_axes, seed=0)
    assert_allclose(np.linalg.norm(found[:, None] - found[None], axis=2), apart, atol=1e-6)


def test_majorising_lowers_the_stress():
    points = np.random.default_rng(0).normal(size=(50, 2))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    edges = sparse.csr_matrix(np.where(apart < 1.5, apart, 0.0))
    bent = points + 0.3 * np.sin(points[:, ::-1])

    def stress(at):
        rows, columns = edges.nonzero()
        lengths = np.asarray(edges[rows, columns]).ravel()
        return ((np.linalg.norm(at[rows] - at[columns], axis=1) / lengths - 1.0) ** 2).sum()

    found = [majorised(edges, bent, steps) for steps in (0, 10, 100)]
    values = [stress(at) for at in found]
    assert values[0] > values[1] > values[2]
    assert csgraph.connected_components(edges)[0] == 1


@pytest.mark.parametrize("shape", [(8, 4), (3, 5), (2, 4, 4)])
def test_coordinates_on_a_grid_give_its_own_blocks(shape):
    tree = CanonicalTree(shape)
    points = np.array(np.unravel_index(np.arange(tree.n_features), shape), float).T
    leaves = coordinate_leaves(points, tree)
    assert_array_equal(laid_out(leaves, tree), np.arange(tree.n_features))


def test_unconnected_parts_lie_one_after_another():
    first, _ = permuted_ar1(40, seed=0)
    second, _ = permuted_ar1(20, seed=1)
    constant = np.zeros((1000, 4))
    affinity = correlation_affinity(np.hstack([first, second, constant]))
    order = geodesic_order(affinity, 64, 1000, random_state=0)
    part = np.repeat([0, 1, 2], (40, 20, 4))[order]
    assert_array_equal(part, np.sort(part))


@pytest.mark.parametrize("shape", SHAPES)
def test_orientation_keeps_blocks_and_never_parts_neighbours(shape):
    tree = CanonicalTree(shape)
    graph = Graph.from_matrix(random_affinity(tree.n_features))
    leaves = np.random.default_rng(3).permutation(tree.n_features)
    order = oriented(graph, leaves, tree)
    assert blocks(shape, order) == blocks(shape, laid_out(leaves, tree))
    before = adjacency(graph, laid_out(leaves, tree), tree.shape)
    assert adjacency(graph, order, tree.shape) >= before * (1 - 1e-12)


@pytest.mark.parametrize("shape", [64, (8, 8), (16, 8)])
def test_orientation_finds_every_true_neighbour(shape):
    """Children of the natural tree, placed at random, come back."""
    tree = CanonicalTree(shape)
    n = tree.n_features
    places = np.array(np.unravel_index(np.arange(n), tree.shape), float).T
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    graph = Graph.from_matrix(np.exp(-apart) * (1 - np.eye(n)))
    generator = np.random.default_rng(0)

    def scrambled(node):
        if not node.children:
            return [tree.order[node.start]]
        parts = [scrambled(child) for child in node.children]
        return [leaf for i in generator.permutation(len(parts)) for leaf in parts[i]]

    leaves = np.array(scrambled(tree.root))
    order = oriented(graph, leaves, tree)
    expected = adjacency(graph, np.arange(n), tree.shape)
    assert adjacency(graph, laid_out(leaves, tree), tree.shape) < 0.9 * expected
    assert adjacency(graph, order, tree.shape) == pytest.approx(expected)


def test_the_best_order_of_a_small_tree_is_the_best_of_all():
    """Every way to exchange equal children of eight leaves, tried."""
    tree = CanonicalTree(8)
    graph = Graph.from_matrix(random_affinity(8, 5))

    def ways(node):
        if not node.children:
            yield (node.start,)
            return
        for left in ways(node.children[0]):
            for right in ways(node.children[1]):
                yield left + right
                yield right + left

    best = max(adjacency(graph, np.array(way), (8,)) for way in ways(tree.root))
    assert adjacency(graph, oriented(graph, np.arange(8), tree), (8,)) == pytest.approx(best)


def test_the_portfolio_says_who_won():
    X, source = permuted_ar1(128)
    found = mincut_search(correlation_affinity(X), 128, 1000, random_state=0)
    assert recovers(128, found.permutation, source)
    assert list(found.cuts) == [found.winner] == [str(geometries(1)[0])]
    affinity = random_affinity(40)
    found = mincut_search(affinity, 40, random_state=0)
    assert found.winner == min(found.cuts, key=found.cuts.get) == "refinement"
    scaled = affinity / affinity.max()
    own = hierarchical_cut(scaled[np.ix_(found.permutation, found.permutation)], 40)
    assert found.cuts[found.winner] == pytest.approx(own)


def test_of_nearly_equal_cuts_the_one_whose_neighbours_touch_wins():
    """A length that does not halve evenly: other trees cut a trifle less than the chain."""
    X, source = permuted_ar1(600, seed=2)
    found = mincut_search(correlation_affinity(X), 600, 1000, random_state=0)
    assert found.cuts[found.winner] <= min(found.cuts.values()) * 1.01
    assert (np.abs(np.diff(source[found.permutation])) == 1).mean() > 0.98
