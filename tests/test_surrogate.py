import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entangle.errors import PartitionError
from entangle.partition import CanonicalTree, Partition
from entangle.surrogate import hierarchical_cut, surrogate_entanglement


def random_affinity(n_features, seed=0):
    half = np.random.default_rng(seed).random((n_features, n_features))
    affinity = np.triu(half, 1)
    return affinity + affinity.T


def naive_hierarchical_cut(affinity, shape):
    tree = CanonicalTree(shape)
    by_level = {}
    for node in tree.root.walk():
        block = set(tree.order[node.start : node.stop].tolist())
        rest = set(range(tree.n_features)) - block
        if len(block) > 1 and rest:
            cut = sum(affinity[i, j] for i in block for j in rest)
            by_level.setdefault(node.level, []).append(cut / (len(block) * len(rest)))
    return sum(sum(cuts) / len(cuts) for cuts in by_level.values())


@given(block=st.sets(st.integers(0, 8), min_size=1, max_size=8))
def test_surrogate_entanglement_is_the_sum_over_severed_pairs(block):
    affinity = random_affinity(9)
    cut = Partition(sorted(block), n_features=9)
    expected = sum(affinity[i, j] for i, j in itertools.product(block, cut.complement))
    assert surrogate_entanglement(affinity, cut) == pytest.approx(expected)
    assert surrogate_entanglement(affinity, cut.flipped()) == pytest.approx(expected)
    assert surrogate_entanglement(-affinity, cut) == pytest.approx(expected)


@given(order=st.permutations(range(9)), block=st.sets(st.integers(0, 8), min_size=1, max_size=8))
def test_surrogate_entanglement_follows_a_relabelling(order, block):
    affinity = random_affinity(9)
    relabelled = affinity[np.ix_(order, order)]
    there = Partition([order[i] for i in sorted(block)], n_features=9)
    here = Partition(sorted(block), n_features=9)
    assert surrogate_entanglement(relabelled, here) == pytest.approx(
        surrogate_entanglement(affinity, there)
    )


def test_a_partition_of_other_features_is_refused():
    with pytest.raises(PartitionError, match=r"cut is of 9 features, .* \(8, 8\)"):
        surrogate_entanglement(random_affinity(8), Partition([0], n_features=9))
    with pytest.raises(PartitionError, match=r"cut is of 9 features, .* \(8, 8\)"):
        hierarchical_cut(random_affinity(8), (3, 3))


@pytest.mark.parametrize("shape", [2, 3, 8, 13, 30, (4, 4), (3, 5), (1, 6), (2, 3, 2)])
def test_hierarchical_cut_is_its_definition(shape):
    n_features = CanonicalTree(shape).n_features
    affinity = random_affinity(n_features)
    expected = naive_hierarchical_cut(affinity, shape)
    assert hierarchical_cut(affinity, shape) == pytest.approx(expected, abs=1e-14)
    assert hierarchical_cut(affinity + np.eye(n_features), shape) == pytest.approx(expected)


def test_hierarchical_cut_of_equal_affinities_counts_the_levels():
    affinity = np.ones((16, 16)) - np.eye(16)
    assert hierarchical_cut(affinity, 16) == pytest.approx(3.0)
    assert hierarchical_cut(affinity, (4, 4)) == pytest.approx(1.0)
