import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from entangle import load_dataset, memory
from entangle.datasets import available_datasets
from entangle.errors import InputError, MemoryLimitError
from entangle.ordering import FeatureRearranger, one_hot_variables, ordering_quality

FOUND = {entry.name for entry in available_datasets() if entry.found}


def encoded(sizes, n_samples=600, seed=0):
    """Columns of variables with so many categories, shuffled and scaled; variable of each."""
    random = np.random.default_rng(seed)
    drawn = [random.integers(size, size=n_samples) for size in sizes]
    columns = np.concatenate([np.eye(s)[d].T for s, d in zip(sizes, drawn, strict=True)])
    mixed = random.permutation(len(columns))
    scaled = columns * random.uniform(1, 5, len(columns))[:, None] + random.standard_normal()
    return scaled[mixed].T, np.repeat(np.arange(len(sizes)), sizes)[mixed]


def numbered(labels):
    """Labels renamed in the order they come."""
    names = list(dict.fromkeys(np.asarray(labels).tolist()))
    return [names.index(label) for label in np.asarray(labels).tolist()]


@pytest.mark.parametrize("seed", range(20))
def test_categories_are_found_whatever_their_scale_and_place(seed):
    X, variables = encoded([2, 3, 7, 4, 2, 5], seed=seed)
    assert_array_equal(one_hot_variables(X), numbered(variables))
    one_each = X[:, np.unique(variables, return_index=True)[1]]
    assert_array_equal(one_hot_variables(one_each), np.arange(6))


def test_columns_of_one_or_of_many_values_are_alone():
    X, variables = encoded([3, 4])
    random = np.random.default_rng(1)
    others = np.stack([np.ones(600), random.standard_normal(600), random.integers(3, size=600)], 1)
    found = one_hot_variables(np.hstack([others[:, :2], X, others[:, 2:]]))
    assert_array_equal(found, [0, 1, *(2 + np.array(numbered(variables))), 4])
    assert_array_equal(one_hot_variables(others.astype(np.float32)), [0, 1, 2])


@pytest.mark.parametrize(("n_categories", "n_samples"), [(15, 1000), (20, 2000), (50, 20_000)])
def test_of_many_categories_each_may_be_rare(n_categories, n_samples):
    """No two say enough alone, every one against all others does."""
    each, bar = n_samples / n_categories, math.log((n_categories + 60) ** 2 / 0.01)
    assert each**2 / n_samples < bar < each * (1 - 1 / n_categories)
    X, variables = encoded([n_categories, *[2] * 30], n_samples)
    assert_array_equal(one_hot_variables(X), numbered(variables))


def test_several_variables_of_many_categories_are_told_apart():
    """More categories of other variables miss one by chance than categories of its own."""
    X, variables = encoded([40] * 20, 2000)
    present = (X.min(axis=0) < X).astype(float)
    apart = present.T @ present == 0
    assert (apart & (variables[:, None] != variables)).sum() > 2 * 39 * 800
    assert_array_equal(one_hot_variables(X), numbered(variables))


def test_the_highest_of_three_values_is_no_category():
    kind = np.arange(300) % 3
    X = np.column_stack([kind == 0, np.where(kind == 0, 0, 1 + (kind == 1))])
    assert_array_equal(one_hot_variables(X), [0, 1])
    assert_array_equal(one_hot_variables(X > [0, 1]), [0, 0])


def test_rows_are_read_in_blocks(monkeypatch):
    """One row of all has both."""
    monkeypatch.setattr("entangle.ordering.one_hot.BLOCK", 2 * 7)
    X = np.zeros((500, 2))
    X[:1], X[1:250, 0], X[250:, 1] = 1.0, 1.0, 1.0
    for rows in (X, X[::-1]):
        assert_array_equal(one_hot_variables(rows), [0, 1])
        assert_array_equal(one_hot_variables(rows[1:-1]), [0, 0])


@pytest.mark.parametrize("present", [0.05, 0.2, 0.5])
def test_independent_columns_are_hardly_ever_joined(present):
    """At most one table in a hundred, by the bound; here none of forty."""
    for seed in range(40):
        X = np.random.default_rng(seed).random((400, 60)) < present
        assert_array_equal(one_hot_variables(X), np.arange(60))


@pytest.mark.parametrize("surplus", [-1, 0])
def test_two_columns_are_joined_from_the_bound_on(surplus):
    """e^(-ab/n) is at most 0.01 / 2^2 for a b / n of log(400)."""
    n, a = 1000, 100
    b = math.ceil(n * math.log(400) / a) + surplus
    X = np.zeros((n, 2))
    X[:a, 0] = X[-b:, 1] = 1.0
    assert_array_equal(one_hot_variables(X), [0, 0] if surplus == 0 else [0, 1])
    X[-1, 0] = 1.0  # one row has both
    assert_array_equal(one_hot_variables(X), [0, 1])


def test_a_rare_category_is_known_by_all_others_together():
    """Beside any one of ten others 30 rows say little, beside their union everything."""
    kind = np.repeat(np.arange(11), [*[97] * 10, 30])
    X = np.eye(11)[kind]
    assert 30 * 97 / 1000 < math.log(11**2 / 0.01) < 30 * 970 / 1000
    assert_array_equal(one_hot_variables(X), np.zeros(11))


def test_a_category_that_is_too_rare_stays_alone():
    X = np.eye(4)[np.repeat(range(4), [300, 300, 10, 390])][:, :3]
    assert 10 * 600 / 1000 < math.log(3**2 / 0.01) < 10 * 990 / 1000
    for order in itertools.permutations(range(3)):
        found = one_hot_variables(X[:, order])
        assert_array_equal(found, numbered([[0, 0, 1][column] for column in order]))


def test_the_most_surprising_pairs_are_joined_first():
    """What one sex alone has excludes the other sex, and is no third one."""
    random = np.random.default_rng(0)
    woman = random.random(1000) < 0.5
    pregnant = woman & (random.random(1000) < 0.2)
    X = np.stack([pregnant, woman, ~woman], axis=1)
    for order in itertools.permutations(range(3)):
        found = one_hot_variables(X[:, order])
        assert_array_equal(found, numbered([[0, 1, 1][column] for column in order]))


def test_a_set_that_has_grown_is_preferred():
    """A rare category that another variable excludes, too, belongs to the larger surprise."""
    kind = np.repeat([0, 1, 2], [485, 485, 30])
    other = np.arange(1000) % 970 < 600
    X = np.column_stack([np.eye(3)[kind], other & (kind < 2)])
    for order in itertools.permutations(range(4)):
        found = one_hot_variables(X[:, order])
        assert_array_equal(found, numbered([[0, 0, 0, 1][column] for column in order]))


@pytest.mark.skipif("dna" not in FOUND, reason="set ENTANGLE_DATA to a folder with dna.npz")
def test_nucleotides_are_found_in_their_bits():
    X = load_dataset("dna").X
    assert_array_equal(one_hot_variables(X), np.arange(180) // 3)
    mixed = np.random.default_rng(0).permutation(180)
    assert_array_equal(one_hot_variables(X[:1000, mixed]), numbered(mixed // 3))


@pytest.mark.skipif("semeion" not in FOUND, reason="set ENTANGLE_DATA to a folder with semeion.npz")
def test_pixels_that_are_black_or_white_are_no_categories():
    X = load_dataset("semeion").X
    assert_array_equal(one_hot_variables(X.reshape(len(X), -1)), np.arange(256))


def test_too_many_columns_are_refused_before_their_pairs_are_stored(monkeypatch):
    X, _ = encoded([4] * 50)
    monkeypatch.setattr(memory, "free_memory", lambda: 1e5)
    with pytest.raises(MemoryLimitError, match=r"pairs of 200 columns with two values.*keep fewer"):
        one_hot_variables(X)


def test_a_rearranger_keeps_what_it_finds_together():
    X, variables = encoded([3, 4, 2, 5, 3, 2])
    found = FeatureRearranger(groups="one-hot", random_state=0).fit(X)
    given = FeatureRearranger(groups=variables, random_state=0).fit(X)
    assert_array_equal(found.groups_, numbered(variables))
    assert_array_equal(found.permutation_, given.permutation_)
    assert_array_equal(found.layout_.shape, [6])
    alone = FeatureRearranger(random_state=0).fit(X)
    assert_array_equal(alone.groups_, np.arange(19))
    halves = ordering_quality(found, X, n_halves=1, random_state=0)
    assert (halves.n_units, halves.n_features) == (6, 19)


def test_an_unknown_kind_of_groups_is_refused():
    X, _ = encoded([3, 4])
    with pytest.raises(InputError, match=r"'one-hot', or one label a feature.* got 'one hot'"):
        FeatureRearranger(groups="one hot").fit(X)
    X[3, 2] = np.nan
    with pytest.raises(InputError, match=r"nan|NaN"):
        one_hot_variables(X)
