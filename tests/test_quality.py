import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer

from entangle import affinity as affinities
from entangle.affinity import correlation_affinity
from entangle.datasets import available_datasets, load_dataset
from entangle.errors import InputError
from entangle.labels import as_labels, is_quantity
from entangle.ordering import FeatureRearranger, ordering_quality
from entangle.ordering.bench import Bench, Yardstick
from entangle.ordering.quality import _halves
from entangle.ordering.trees import Blocks, shared_neighbours, touching
from entangle.pairs.vectors import class_mean_weights
from entangle.partition import CanonicalTree
from entangle.surrogate import hierarchical_cut

FOUND = {entry.name for entry in available_datasets() if entry.found}


def chain(n_samples=300, n_features=32, rho=0.9, seed=0):
    """Shuffled rows of a stationary chain of correlation rho, and the order that undoes it."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n_samples, n_features))
    for j in range(1, n_features):
        X[:, j] = rho * X[:, j - 1] + (1 - rho**2) ** 0.5 * X[:, j]
    shuffle = generator.permutation(n_features)
    return X[:, shuffle], np.argsort(shuffle)


def quality(X, y=None, method="mincut", n_halves=1, truth=None, **options):
    model = FeatureRearranger(method, random_state=0, **options)
    return ordering_quality(model, X, y, truth=truth, n_halves=n_halves, random_state=0)


def random_affinity(n, seed=0, density=1.0):
    weights = np.random.default_rng(seed).random((n, n))
    weights *= np.random.default_rng(seed + 1).random((n, n)) < density
    return np.triu(weights, 1) + np.triu(weights, 1).T


def test_the_identity_finds_what_was_given():
    found = quality(chain()[0], method="identity")
    assert found.cut["found"] == found.cut["given"]
    assert found.neighbours["found"] == found.neighbours["given"]
    assert found.held_out_reduction["mean"] == found.held_out_reduction["given"]
    assert_array_equal(found.stability, 1.0)
    assert any("keep the given order" in warning for warning in found.warnings)
    assert (found.winner, found.cuts) == (None, {})


def test_the_cuts_are_those_of_the_surrogate():
    X, truth = chain()
    found = quality(X, truth=truth)
    affinity = correlation_affinity(X)
    order = FeatureRearranger(random_state=0).fit(X).permutation_
    for name, columns in {"given": np.arange(32), "found": order, "truth": truth}.items():
        assert_allclose(found.cut[name], hierarchical_cut(affinity[np.ix_(columns, columns)], 32))
    assert_allclose(found.reduction, 1 - found.cut["found"] / found.cut["random"])
    touching_pairs = affinity[order[:-1], order[1:]]
    assert_allclose(found.neighbours["found"], touching_pairs.mean())
    assert_allclose(found.neighbours["random"], affinity.sum() / (32 * 31))


@pytest.mark.parametrize("shape", [(16,), (11,), (4, 4), (3, 5), (2, 2, 3), (1, 9)])
def test_random_orders_have_the_expected_cut_and_neighbours(shape):
    n = int(np.prod(shape))
    tree, affinity = CanonicalTree(shape), random_affinity(n)
    yardstick = Yardstick(affinity, tree)
    generator = np.random.default_rng(0)
    orders = [generator.permutation(n) for _ in range(1500)]
    cuts = [yardstick.cuts({"one": order}) for order in orders]
    sample = [cut["one"] for cut in cuts]
    error = np.std(sample) / 1500**0.5
    assert abs(np.mean(sample) - cuts[0]["random"]) < 4 * error
    assert_allclose(sample[0], hierarchical_cut(affinity[np.ix_(orders[0], orders[0])], shape))
    near = [yardstick.neighbours({"one": order}) for order in orders]
    sample = [one["one"] for one in near]
    assert abs(np.mean(sample) - near[0]["random"]) < 4 * np.std(sample) / 1500**0.5 + 1e-12


def test_a_truth_that_is_found_leaves_no_gap():
    X, truth = chain(1000)
    found = quality(X, truth=truth)
    assert found.gap_percent == pytest.approx(0.0, abs=1e-9)
    assert_array_equal(found.blocks_recovered, 1.0)
    assert found.neighbours_recovered == 1.0
    assert_array_equal(found.stability, 1.0)
    assert found.warnings == ()
    assert found.held_out_reduction["min"] > 0.15
    worse = quality(X, truth=truth, method="random")
    assert worse.gap_percent > 80
    assert worse.blocks_recovered.max() < 0.3
    assert worse.neighbours_recovered < 0.3


def test_blocks_may_change_places_but_not_members():
    tree = CanonicalTree(8)
    blocks, truth = Blocks(tree, 8), np.arange(8)
    assert blocks.levels == [1, 2]
    swapped = np.array([5, 4, 6, 7, 1, 0, 3, 2])
    assert_array_equal(blocks.recovered(swapped, truth), 1.0)
    assert_array_equal(blocks.agreement(swapped, truth), 1.0)
    half = np.array([0, 1, 2, 3, 4, 6, 5, 7])
    assert_array_equal(blocks.recovered(half, truth), [1.0, 0.5])
    assert shared_neighbours(half, truth, (8,), 8) == 5 / 7
    assert shared_neighbours(truth[::-1], truth, (8,), 8) == 1.0


def test_a_block_inside_a_larger_one_is_not_recovered():
    blocks = Blocks(CanonicalTree(5), 5)  # three and two
    assert blocks.recovered(np.array([0, 3, 4, 1, 2]), np.arange(5))[0] == 0.0


def test_empty_places_are_no_neighbours_and_fill_no_blocks():
    assert shared_neighbours(np.array([0, 3, 1, 2]), np.arange(4), (4,), 3) == 0.5
    apart = np.array([0, 2, 3, 4, 5, 6, 7, 1])
    assert_array_equal(Blocks(CanonicalTree(8), 2).recovered(np.arange(8), apart), 1.0)
    model = FeatureRearranger(shape=(4, 4), random_state=0).fit(chain(n_features=13)[0])
    assert_array_equal(np.sort(Bench(model, 13).found), np.arange(16))


def test_touching_places_of_a_grid():
    pairs = touching(np.arange(6), (2, 3))
    expected = {(0, 3), (1, 4), (2, 5), (0, 1), (1, 2), (3, 4), (4, 5)}
    assert {tuple(pair) for pair in pairs.T.tolist()} == expected


@settings(deadline=None, max_examples=30)
@given(
    shape=st.sampled_from([(7,), (12,), (3, 4), (2, 5), (2, 2, 3)]),
    seed=st.integers(0, 10**6),
    flipped=st.booleans(),
)
def test_an_order_agrees_with_itself_and_agreement_has_no_direction(shape, seed, flipped):
    tree = CanonicalTree(shape)
    n = tree.n_features
    generator = np.random.default_rng(seed)
    first, second = generator.permutation(n), generator.permutation(n)
    blocks = Blocks(tree, n)
    assert_array_equal(blocks.agreement(first, first), 1.0)
    assert_array_equal(blocks.recovered(first, first), 1.0)
    assert shared_neighbours(first, first, shape, n) == 1.0
    assert_allclose(blocks.agreement(first, second), blocks.agreement(second, first))
    renamed = generator.permutation(n)  # names of the features mean nothing
    assert_allclose(blocks.agreement(renamed[first], renamed[second]),
                    blocks.agreement(first, second))  # fmt: skip
    if flipped:  # a mirrored grid of even sides has the same tree
        even = CanonicalTree((4, 4))
        layout = generator.permutation(16).reshape(4, 4)
        mirrored = Blocks(even, 16).recovered(layout[::-1].ravel(), layout.ravel())
        assert_array_equal(mirrored, 1.0)


@pytest.mark.parametrize("n_features", [8, 20, 64])
@pytest.mark.parametrize("n_samples", [100, 500])
def test_noise_is_called_noise(n_features, n_samples):
    for seed in range(4 if n_features < 64 else 2):
        X = np.random.default_rng(seed).standard_normal((n_samples, n_features))
        found = ordering_quality(
            FeatureRearranger(random_state=0), X, n_halves=2, random_state=seed
        )
        assert abs(found.held_out_reduction["mean"]) < 0.1
        assert abs(found.stability).max() < (0.3 if n_features > 8 else 0.7)
        assert any("nothing in common" in w or "hardly matters" in w for w in found.warnings)


def test_noise_below_its_threshold_is_named():
    X = np.random.default_rng(3).standard_normal((100, 64))
    found = quality(X)
    assert found.strongest < found.noise
    assert "no pair of features is more correlated than independent" in found.warnings[0]
    assert quality(X, affinity="covariance").noise == 0.0


@pytest.mark.parametrize(("n_features", "n_samples"), [(8, 100), (64, 100), (64, 500)])
def test_structure_is_not_called_noise(n_features, n_samples):
    X, _ = chain(n_samples, n_features)
    assert quality(X).warnings == ()
    assert quality(load_breast_cancer().data).warnings == ()


def test_a_given_order_as_good_as_the_one_found_is_kept():
    X, truth = chain()
    (warning,) = quality(X[:, truth]).warnings
    assert warning.startswith("keep the given order: on other rows its cut is")


def test_constant_features_and_layouts_without_blocks_have_no_order():
    X = np.ones((20, 6))
    assert "related at all" in quality(X).warnings[0]
    assert quality(X).reduction == 0.0
    grid = quality(chain(n_features=4)[0], shape=(2, 2))
    assert grid.warnings == ("no block of this layout holds several features: every order is the "
                             "same",)  # fmt: skip
    assert grid.stability.shape == (0,)
    assert "nan" not in grid.to_text()


def test_a_fitted_order_is_measured_as_it_is_and_nothing_is_changed():
    X, _ = chain()
    model = FeatureRearranger("random", random_state=3).fit(X)
    order = model.permutation_.copy()
    found = ordering_quality(model, chain(seed=1)[0], n_halves=1, random_state=0)
    assert_array_equal(model.permutation_, order)
    affinity = correlation_affinity(chain(seed=1)[0])
    assert_allclose(found.cut["found"], hierarchical_cut(affinity[np.ix_(order, order)], 32))
    bare = FeatureRearranger(random_state=0)
    ordering_quality(bare, X, n_halves=0)
    assert not hasattr(bare, "permutation_")


def test_groups_are_measured_as_units():
    X, truth = chain(500, 16)
    noise = np.random.default_rng(5).standard_normal((500, 16, 2))
    colours = (X[:, :, None] + 0.1 * noise).reshape(500, 32)
    true_columns = (2 * truth[:, None] + [1, 0]).ravel()
    found = quality(colours, groups=2, truth=true_columns)
    assert (found.n_units, found.n_features, found.shape) == (16, 32, (16,))
    assert_array_equal(found.blocks_recovered, 1.0)
    assert found.neighbours_recovered == 1.0
    assert_array_equal(found.stability, 1.0)
    assert "in 16 groups" in found.to_text()
    labels = np.repeat(list("abcdefghijklmnop"), 2)
    assert quality(colours, groups=labels, truth=true_columns).cut == found.cut


def test_empty_places_are_units_without_affinity():
    X, truth = chain(500, 14)
    found = quality(X, shape=(4, 4), truth=truth)
    affinity = np.zeros((16, 16))
    affinity[:14, :14] = correlation_affinity(X)
    model = FeatureRearranger(shape=(4, 4), random_state=0).fit(X)
    places = model.layout_.ravel().copy()
    places[places < 0] = [14, 15]
    assert_allclose(found.cut["found"],
                    hierarchical_cut(affinity[np.ix_(places, places)], (4, 4)))  # fmt: skip
    assert_allclose(found.cut["given"], hierarchical_cut(affinity, (4, 4)))
    assert_allclose(found.cut["random"], affinity.sum() / (16 * 15))


def test_many_features_need_no_full_matrix(monkeypatch):
    X, truth = chain(300, 96)
    monkeypatch.setattr(affinities, "DENSE_FEATURES", 40)
    monkeypatch.setattr(affinities, "NEAREST", 64)
    monkeypatch.delattr(affinities, "correlation_affinity")
    found = quality(X, truth=truth)
    assert found.gap_percent < 5
    assert found.held_out_reduction["mean"] > 0.2


def test_sparse_and_dense_affinities_give_the_same_cuts():
    affinity = random_affinity(24, density=0.3)
    X = chain(n_features=24)[0]
    dense = quality(X, affinity=affinity, method="identity")
    few = quality(X, affinity=sparse.csr_matrix(affinity), method="identity")
    assert dense.cut == pytest.approx(few.cut)
    assert dense.neighbours == pytest.approx(few.neighbours)
    assert dense.affinity == "matrix"
    assert (dense.held_out_reduction, dense.stability.size) == ({}, 0)  # nothing to hold out
    assert "other rows: none were held out" in dense.to_text()


def test_labels_are_split_evenly_and_reach_the_affinity():
    data = load_breast_cancer()
    names = np.array(["ill", "well"])[data.target]
    found = quality(data.data, names, affinity="class-mean")
    assert found.held_out_reduction["mean"] > 0.05
    assert found.affinity == "class-mean"
    few = np.array(["ill"] + ["well"] * 29)  # a class of one row has no halves
    assert quality(data.data[:30], few, affinity="class-mean").held_out_reduction == {}
    pair = np.array(["ill"] * 2 + ["well"] * 28)
    assert quality(data.data[:30], pair, affinity="class-mean", n_halves=5).held_out_reduction


def test_own_functions_see_features_in_the_given_order():
    weights = correlation_affinity(chain()[0])
    found = quality(chain()[0], affinity=lambda X: weights, method=lambda a, shape: np.arange(32))
    assert found.cut["found"] == found.cut["given"]
    assert_array_equal(found.stability, 1.0)
    assert (found.method, found.affinity) == ("<lambda>", "<lambda>")


def test_orders_of_noise_do_not_agree_by_leaving_features_as_they_came():
    """Weights that noise was taken off leave most features unrelated, and ties break one way."""
    assert quality(chain(1000, 64, 0.1, seed=1)[0], n_halves=3).stability.max() < 0.1


def test_the_same_seed_gives_the_same_numbers():
    X, _ = chain(60, 20, 0.5)
    first, again, other = (
        ordering_quality(FeatureRearranger(random_state=0), X, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert first.to_dict() == again.to_dict()
    assert first.held_out_reduction != other.held_out_reduction
    assert first.cut == other.cut
    frame = pd.DataFrame(X, columns=[f"f{j}" for j in range(20)])
    model = FeatureRearranger(random_state=0)
    assert ordering_quality(model, frame, random_state=0).to_dict() == first.to_dict()


def test_everything_can_be_written_as_json():
    X, truth = chain(100, 8)
    found = quality(X, refine=1, truth=truth)
    written = json.loads(json.dumps(found.to_dict()))
    assert written["entropies_nats"]["after"] <= written["entropies_nats"]["before"]
    assert written["winner"] in written["cuts"]
    assert written["gap_percent"] == found.gap_percent
    text = found.to_text()
    for part in ("refined: mean entropy from", "blocks recovered", "cut of the tree", "stability"):
        assert part in text
    assert json.loads(json.dumps(quality(X).to_dict()))["gap_percent"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truth": [0, 1, 2]}, r"truth is a permutation of 0\.\.31 .*shape \(3,\)"),
        ({"truth": np.zeros(32, int)}, "numpy.argsort turns the true position"),
        ({"n_halves": -1}, "whole number of splits, 0 for none, got -1"),
        ({"n_halves": 1.5}, "got 1.5"),
        ({"affinity": "class-mean"}, "requires y"),
    ],
)
def test_bad_options_say_what_to_do(options, message):
    with pytest.raises(InputError, match=message):
        quality(chain()[0], **options)


def test_other_features_than_those_of_fit_are_refused():
    model = FeatureRearranger("random").fit(chain()[0])
    with pytest.raises(InputError, match="X has 31 features, the order was found for 32"):
        ordering_quality(model, chain()[0][:, :31])
    assert clone(model).get_params()["method"] == "random"


@pytest.mark.parametrize("name", ["sonar", "semeion"])
def test_natural_orders_of_real_data_are_kept(name):
    if name not in FOUND:
        pytest.skip(f"set ENTANGLE_DATA to a folder with {name}.npz")
    data = load_dataset(name)
    found = quality(data.X, shape=data.shape)
    assert any("keep the given order" in warning for warning in found.warnings)


@pytest.mark.parametrize("scale", [1e-25, 1e-13, 1e9])
def test_weak_affinities_of_any_scale_are_related(scale):
    X, truth = chain()
    found = quality(X, affinity=scale * correlation_affinity(X), truth=truth)
    assert found.warnings == ()
    assert found.reduction == pytest.approx(quality(X, truth=truth).reduction, rel=0.1)
    assert found.gap_percent is not None


def test_weak_classes_are_related():
    X, _ = chain(2000)
    labels = np.arange(2000) % 2
    X = X + 1e-3 * labels[:, None]
    X[0], X[2] = 1e3, -1e3  # so that the features fill little of their range
    found = quality(X, labels, affinity="class-mean", n_halves=0)
    assert 0 < found.strongest < 1e-12
    assert not any("related at all" in warning for warning in found.warnings)


def test_halves_of_a_quantity_are_random_and_share_its_values():
    X, _ = chain(101)
    y = np.sort(X[:, 0])
    splits = _halves(FeatureRearranger(affinity="class-mean"), 101, y, 3, 0)
    assert len({split.rows[0].tobytes() for split in splits}) == 3
    for split in splits:
        assert_array_equal(np.sort(np.concatenate(split.rows)), np.arange(101))
        assert_array_equal(np.bincount(split.rows[0][:-1] // 4, minlength=25)[:24], 2)


def test_a_quantity_stays_one_in_its_halves(monkeypatch):
    X, _ = chain(300)
    y = np.arange(300) % 40  # 55 distinct numbers are a quantity, but 48 of half the rows classes
    y[:15] = np.arange(40, 55)
    seen = []

    def recorded(samples, labels, dtype=np.float64):
        seen.append(is_quantity(as_labels(labels)))
        return class_mean_weights(samples, labels, dtype)

    monkeypatch.setitem(affinities._WEIGHTS, "class-mean", recorded)
    quality(X, y, affinity="class-mean", n_halves=2)
    assert len(seen) > 5
    assert all(seen)


def test_a_quantity_with_one_value_in_a_half_has_no_halves():
    X, _ = chain(60)
    found = quality(X, np.r_[1.5, np.zeros(59)], affinity="class-mean")
    assert found.held_out_reduction == {}


@pytest.mark.parametrize(("level", "says"), [(0.1, "nothing in common"), (0.3, "hardly matters")])
def test_no_gain_is_told_from_no_agreement(level, says):
    held_out = {"mean": 0.02, "min": 0.0, "given": -0.1}
    found = replace(
        quality(chain()[0]), held_out_reduction=held_out, stability=np.array([level, 1.0])
    )
    (warning,) = found.warnings
    assert says in warning
    gained = replace(found, held_out_reduction={**held_out, "mean": 0.05})
    assert gained.warnings == ()
    given = replace(found, held_out_reduction={"mean": 0.3, "min": 0.2, "given": 0.27})
    assert given.warnings == ()
