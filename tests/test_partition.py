import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from entangle import Partition, canonical_partitions
from entangle.errors import EntangleError, PartitionError
from entangle.partition import CanonicalTree
from tests.oracles import published_blocks

SHAPES = st.one_of(
    st.integers(2, 40),
    st.lists(st.integers(1, 7), min_size=1, max_size=3).filter(lambda s: np.prod(s) > 1).map(tuple),
)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 13, 64])
def test_blocks_of_a_sequence_are_nested_halves(n):
    tree = CanonicalTree(n)
    for level in range(1, tree.depth + 1):
        expected = published_blocks(n, level)
        if level == 1:
            expected = expected[:1]  # its complement is the same cut
        found = [p.block.tolist() for p in canonical_partitions(n, level)]
        assert found == expected


def test_number_of_cuts_of_a_power_of_two():
    counts = [len(canonical_partitions(64, level)) for level in range(1, 7)]
    assert counts == [1, 4, 8, 16, 32, 64]


def test_blocks_of_a_grid_are_boxes():
    rows, columns = 5, 6
    index = np.arange(rows * columns).reshape(rows, columns)
    found = [p.block.tolist() for p in canonical_partitions((rows, columns), level=1)]
    boxes = [index[:3, :3], index[:3, 3:], index[3:, :3], index[3:, 3:]]
    assert found == [box.ravel().tolist() for box in boxes]


def test_an_axis_of_length_one_changes_nothing():
    for n in (2, 7, 16):
        assert canonical_partitions((1, n)) == canonical_partitions(n)


@given(SHAPES)
def test_the_tree_covers_every_feature_once(shape):
    tree = CanonicalTree(shape)
    assert_array_equal(np.sort(tree.order), np.arange(tree.n_features))
    for node in tree.root.walk():
        if node.children:
            assert node.start == node.children[0].start
            assert node.stop == node.children[-1].stop
            sizes = [child.size for child in node.children]
            assert sum(sizes) == node.size
            assert len(sizes) >= 2
            assert sizes[0] == max(sizes)
        else:
            assert node.size == 1


@given(SHAPES)
def test_canonical_cuts_are_distinct(shape):
    cuts = canonical_partitions(shape)
    sides = {frozenset((cut, cut.flipped())) for cut in cuts}
    assert len(sides) == len(cuts)


@given(st.integers(2, 60))
def test_halves_of_a_sequence_differ_by_at_most_one(n):
    for node in CanonicalTree(n).root.walk():
        if node.children:
            first, second = node.children
            assert first.size - second.size in (0, 1)


def test_a_partition_knows_both_sides():
    cut = Partition([3, 1], 5)
    assert cut.block.tolist() == [1, 3]
    assert cut.complement.tolist() == [0, 2, 4]
    assert cut.flipped().flipped() == cut
    assert cut != cut.flipped()
    assert len({cut, Partition([1, 3], 5)}) == 1
    assert pickle.loads(pickle.dumps(cut)) == cut
    assert "block" in dir(cut)
    with pytest.raises(AttributeError, match="immutable"):
        cut.block = np.array([0])
    with pytest.raises(ValueError, match="read-only"):
        cut.block[0] = 2


@pytest.mark.parametrize(
    ("block", "n_features", "match"),
    [
        ([0, 0], 4, "1 repeats"),
        ([4], 4, r"must lie in 0\.\.3, got 4\.\.4"),
        ([-1], 4, "must lie"),
        ([], 4, "both sides"),
        ([0, 1], 2, "both sides"),
        ([0.5], 4, "whole feature indices"),
        ([[0], [1]], 4, "flat list"),
    ],
)
def test_a_block_that_is_no_block(block, n_features, match):
    with pytest.raises(PartitionError, match=match):
        Partition(block, n_features)


@pytest.mark.parametrize("shape", [0, -3, (), (4, 0), (2.5, 2), True, "8x8"])
def test_a_shape_that_is_no_shape(shape):
    with pytest.raises(PartitionError, match="shape is a positive whole number"):
        CanonicalTree(shape)


def test_a_single_feature_has_no_partition():
    with pytest.raises(PartitionError, match="at least 2 features"):
        canonical_partitions(1)


@pytest.mark.parametrize("level", [0, 4, -1])
def test_a_level_outside_the_tree(level):
    with pytest.raises(PartitionError, match="run from 1 to 3"):
        canonical_partitions(8, level)


def test_errors_are_value_errors():
    with pytest.raises(ValueError, match="both sides"):
        Partition([], 3)
    with pytest.raises(EntangleError):
        Partition([], 3)
