import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from entangle import affinity as affinities
from entangle import memory
from entangle.affinity import correlation_affinity
from entangle.errors import InputError, MemoryLimitError, PartitionError
from entangle.ordering import FeatureRearranger
from entangle.ordering.measured import _weights
from entangle.ordering.methods import METHODS
from entangle.ordering.mincut import Mincut
from entangle.ordering.units import Units


def smooth_samples(n_samples=60, n_features=12, seed=0):
    X = np.random.default_rng(seed).standard_normal((n_samples, n_features)).cumsum(axis=1)
    return X[:, np.random.default_rng(seed + 1).permutation(n_features)]


def named(X, frame):
    return frame({f"feature {i}": X[:, i] for i in range(X.shape[1])})


NAMES = [
    "pearson",
    "spearman",
    "mutual_info",
    "distance_correlation",
    "covariance",
    "class-mean",
]


@parametrize_with_checks(
    [FeatureRearranger("random"), *(FeatureRearranger(affinity=name) for name in NAMES)]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("frame", "output"), [(pd.DataFrame, "pandas"), (pl.DataFrame, "polars")])
def test_names_travel_with_columns(frame, output):
    table = named(smooth_samples(), frame)
    model = FeatureRearranger(random_state=0).set_output(transform=output)
    moved = model.fit_transform(table)
    assert isinstance(moved, frame)
    assert list(moved.columns) != list(table.columns)
    for name in table.columns:
        assert_array_equal(moved[name].to_numpy(), table[name].to_numpy())


def test_names_out_are_permuted_names():
    table = named(smooth_samples(), pd.DataFrame)
    model = FeatureRearranger(random_state=0).fit(table)
    assert_array_equal(model.get_feature_names_out(), table.columns[model.permutation_])
    bare = FeatureRearranger(random_state=0).fit(table.to_numpy())
    assert_array_equal(bare.get_feature_names_out(), [f"x{i}" for i in bare.permutation_])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8, bool])
def test_transform_only_indexes(dtype):
    X = (smooth_samples() * 10).astype(dtype)
    model = FeatureRearranger(random_state=0).fit(X)
    moved = model.transform(X)
    assert moved.dtype == dtype
    assert_array_equal(moved, X[:, model.permutation_])
    assert model.inverse_transform(moved).dtype == dtype
    assert_array_equal(model.inverse_transform(moved), X)


@settings(deadline=None, max_examples=20)
@given(
    n_features=st.integers(2, 12),
    seed=st.integers(0, 50),
    method=st.sampled_from(["mincut", "identity", "random"]),
)
def test_inverse_undoes_transform(n_features, seed, method):
    X = smooth_samples(20, n_features, seed)
    model = FeatureRearranger(method, random_state=seed).fit(X)
    assert_array_equal(np.sort(model.permutation_), np.arange(n_features))
    assert_array_equal(model.inverse_transform(model.transform(X)), X)


def test_unseen_rows_take_the_learned_order():
    model = FeatureRearranger(random_state=0).fit(smooth_samples())
    unseen = smooth_samples(n_samples=1, seed=5)
    assert_array_equal(model.transform(unseen), unseen[:, model.permutation_])


def test_a_pickle_and_a_clone_give_the_same_order():
    X = smooth_samples()
    model = FeatureRearranger(shape=(3, 4), random_state=0).fit(X)
    assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X), model.transform(X))
    assert_array_equal(clone(model).fit(X).permutation_, model.permutation_)


def test_it_is_a_step_of_a_pipeline():
    X = smooth_samples()
    moved = make_pipeline(StandardScaler(), FeatureRearranger(random_state=0)).fit_transform(X)
    order = FeatureRearranger(random_state=0).fit(StandardScaler().fit_transform(X)).permutation_
    assert_array_equal(moved, StandardScaler().fit_transform(X)[:, order])


def test_a_precomputed_affinity_is_the_affinity_used():
    X = smooth_samples()
    paired = np.add.outer(np.arange(12), np.arange(12)) % 2 == 0
    model = FeatureRearranger(affinity=paired.astype(float), random_state=0).fit(X)
    assert len(set(model.permutation_[:6] % 2)) == 1
    called = FeatureRearranger(affinity=lambda X: paired.astype(float), random_state=0).fit(X)
    assert_array_equal(called.permutation_, model.permutation_)


def test_a_callable_method_gets_affinity_and_shape():
    X = smooth_samples()
    seen = {}

    def by_degree(affinity, shape):
        seen.update(affinity=affinity, shape=shape)
        return np.argsort(affinity.sum(axis=0))

    model = FeatureRearranger(by_degree, shape=(3, 4)).fit(X)
    assert seen["shape"] == (3, 4)
    assert_array_equal(seen["affinity"], correlation_affinity(X))
    assert_array_equal(model.permutation_, np.argsort(correlation_affinity(X).sum(axis=0)))


def test_identity_leaves_the_features_and_random_depends_on_the_seed():
    X = smooth_samples()
    assert_array_equal(FeatureRearranger("identity").fit_transform(X), X)
    orders = [FeatureRearranger("random", random_state=s).fit(X).permutation_ for s in (0, 0, 1)]
    assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()


def test_tensors_with_a_gradient_are_samples_too():
    X = smooth_samples()
    expected = FeatureRearranger(random_state=0).fit(X).permutation_
    tensor = torch.tensor(X, requires_grad=True)
    assert_array_equal(FeatureRearranger(random_state=0).fit(tensor).permutation_, expected)


def test_repeated_names_are_refused():
    frame = pd.DataFrame(smooth_samples()[:, :3], columns=["a", "b", "a"])
    with pytest.raises(InputError, match="distinct names, 'a' repeats"):
        FeatureRearranger().fit(frame)


def test_constant_columns_are_allowed():
    X = smooth_samples()
    X[:, [2, 7]] = 1.0
    model = FeatureRearranger(random_state=0).fit(X)
    assert_array_equal(np.sort(model.permutation_), np.arange(12))


@pytest.mark.parametrize("name", NAMES)
def test_many_features_store_no_full_matrix(name, monkeypatch):
    X, y = smooth_samples(200, 48), np.arange(200) % 3
    dense = FeatureRearranger(affinity=name, random_state=0).fit(X, y)
    monkeypatch.setattr(affinities, "DENSE_FEATURES", 40)
    monkeypatch.delattr(affinities, "correlation_affinity")
    large = FeatureRearranger(affinity=name, random_state=0).fit(X, y)
    assert_array_equal(np.sort(large.permutation_), np.sort(dense.permutation_))


def test_labels_set_the_order_only_by_class_means():
    X, y = smooth_samples(), np.arange(60) % 2
    X[:, [0, 4, 6, 7, 9, 11]] += 20.0 * y[:, None]
    together = set(FeatureRearranger(affinity="class-mean").fit(X, y).permutation_[:6])
    assert together in ({0, 4, 6, 7, 9, 11}, {1, 2, 3, 5, 8, 10})
    for name in NAMES[:-1]:
        with_labels = FeatureRearranger(affinity=name, random_state=0).fit(X, y).permutation_
        without = FeatureRearranger(affinity=name, random_state=0).fit(X).permutation_
        assert_array_equal(with_labels, without)
    with pytest.raises(InputError, match=r"requires y to be passed.*choose 'covariance'"):
        FeatureRearranger(affinity="class-mean").fit(X)


def test_noise_is_removed_only_from_correlations(monkeypatch):
    seen = []

    def recorded(affinity, shape, n_samples, *_, **options):
        seen.append(n_samples)
        return Mincut(np.arange(12), "", {})

    monkeypatch.setattr("entangle.ordering.rearranger.mincut_search", recorded)
    for affinity in (*NAMES, np.ones((12, 12)), lambda X: np.ones((12, 12))):
        FeatureRearranger(affinity=affinity).fit(smooth_samples(), np.arange(60) % 2)
    assert seen == [60, 60] + [None] * 6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "mincat"}, InputError, "'random' .*got 'mincat'; did you mean 'mincut'"),
        ({"method": "umap"}, InputError, "got 'umap'; pass one of these names"),
        ({"affinity": "kendall"}, InputError, "got 'kendall'"),
        (
            {"affinity": np.ones((3, 3))},
            PartitionError,
            r"12 features, .* shape \(3, 3\); pass a row",
        ),
        ({"shape": 12.0}, PartitionError, "positive whole number"),
        ({"affinity": sparse.eye(11)}, PartitionError, r"X has 12 features, .* shape \(11, 11\)"),
        ({"affinity": np.ones((3, 3)), "shape": (4, 4)}, PartitionError, "X has 12 features"),
        ({"affinity": None}, InputError, "such a matrix, got None"),
        ({"affinity": 1j * np.ones((12, 12))}, InputError, "real numbers, got dtype complex128"),
        ({"affinity": 1j * sparse.eye(12)}, InputError, "real numbers, got dtype complex128"),
        ({"affinity": np.full((12, 12), "a")}, InputError, "real numbers, got dtype <U1"),
        ({"affinity": np.full((12, 12), "a", object)}, InputError, "real numbers, got"),
        ({"affinity": -sparse.eye(12, k=1)}, InputError, "finite and non-negative"),
        (
            {"affinity": sparse.eye(12), "method": "leaf-ordering"},
            InputError,
            "method='leaf-ordering' compares",
        ),
        ({"method": ["mincut"]}, InputError, r"got \['mincut'\]"),
        ({"groups": [1, None] * 6}, InputError, "labels of one kind"),
        ({"groups": [[1], [2, 3]]}, InputError, "several lengths"),
        (
            {"shape": (3, 3)},
            PartitionError,
            r"\(3, 3\) holds 9 features, .* 12; .* 12 places",
        ),
        ({"shape": (3, -4)}, PartitionError, "positive whole number"),
        ({"method": lambda affinity, shape: [0] * 12}, InputError, r"each of 0\.\.11 once"),
        ({"method": lambda affinity, shape: [0, 1]}, InputError, r"of shape \(2,\)"),
    ],
)
def test_bad_options_say_what_to_do(options, error, message):
    with pytest.raises(error, match=message):
        FeatureRearranger(**options).fit(smooth_samples())


def test_bad_samples_say_what_to_do():
    model = FeatureRearranger(random_state=0).fit(smooth_samples())
    X = smooth_samples()
    X[3, 5] = np.nan
    for method in (FeatureRearranger().fit, model.transform):
        with pytest.raises(InputError, match=r"NaN in column 5, row 3 .*SimpleImputer"):
            method(X)
    with pytest.raises(InputError, match="X has 11 features, the order was learned for 12"):
        model.inverse_transform(X[:, :11])
    with pytest.raises(ValueError, match="1 feature"):
        FeatureRearranger().fit(np.zeros((5, 1)))
    with pytest.raises(ValueError, match="1 sample"):
        FeatureRearranger().fit(np.zeros((1, 5)))


@pytest.mark.parametrize("method", [name for name in METHODS if name != "mincut"])
@pytest.mark.parametrize("shape", [12, (3, 4), 14])
def test_every_method_by_name_is_its_function(method, shape):
    X = smooth_samples()
    model = FeatureRearranger(method, shape=shape, random_state=0).fit(X)
    assert_array_equal(np.sort(model.permutation_), np.arange(12))
    assert model.layout_.shape == np.empty(shape).shape
    if method in ("geodesic", "leaf-ordering"):  # no seed matters
        affinity = np.zeros((np.prod(shape), np.prod(shape)))
        affinity[:12, :12] = correlation_affinity(X)
        expected = METHODS[method](affinity, shape, 60)
        assert_array_equal(model.permutation_, expected[expected < 12])


def test_colours_of_a_pixel_stay_together():
    generator = np.random.default_rng(0)
    grey = smooth_samples(200, 16)
    colours = np.stack([grey + 0.1 * generator.standard_normal(grey.shape) for _ in range(3)], 2)
    last = FeatureRearranger(groups=3, shape=(4, 4), random_state=0).fit(colours.reshape(200, -1))
    assert_array_equal(last.permutation_.reshape(16, 3) % 3, np.tile([0, 1, 2], (16, 1)))
    assert_array_equal(last.permutation_[::3] // 3, last.layout_.ravel())
    first = colours.transpose(0, 2, 1).reshape(200, -1)
    labels = np.tile(np.arange(16), 3)
    moved = FeatureRearranger(groups=labels, shape=(4, 4), random_state=0).fit(first)
    assert_array_equal(moved.layout_, last.layout_)
    assert_array_equal(moved.permutation_ % 16, np.repeat(last.layout_.ravel(), 3))


def test_one_hot_columns_of_a_variable_stay_together_and_next_to_related_ones():
    generator = np.random.default_rng(0)
    kind = generator.integers(3, size=300)
    other = np.where(generator.random(300) < 0.9, kind, generator.integers(3, size=300))
    numbers = generator.standard_normal((300, 2))
    numbers[:, 1] += 3 * numbers[:, 0]
    X = np.hstack([numbers[:, :1], np.eye(3)[kind], numbers[:, 1:], np.eye(3)[other]])
    groups = ["a", "kind", "kind", "kind", "b", "other", "other", "other"]
    model = FeatureRearranger(groups=groups, random_state=0).fit(X)
    halves = {frozenset(model.layout_[:2].tolist()), frozenset(model.layout_[2:].tolist())}
    assert halves == {frozenset({0, 2}), frozenset({1, 3})}
    assert_array_equal(model.inverse_transform(model.transform(X)), X)


def test_groups_of_sparse_affinities_are_those_of_dense_ones():
    X = smooth_samples(100, 24)
    affinity = correlation_affinity(X)
    affinity[affinity < 0.3] = 0.0
    units = Units.from_groups(np.arange(24) % 7, 24)
    dense = units.affinity(affinity, 10)
    assert_array_equal(units.affinity(sparse.csr_matrix(affinity), 10).toarray(), dense)
    strongest = max(affinity[i, j] for i in range(2, 24, 7) for j in range(5, 24, 7))
    assert dense[2, 5] == strongest
    assert dense[2, 2] == 0.0
    assert not dense[7:].any()


@pytest.mark.parametrize("fill_value", [0.0, -1.0])
def test_empty_places_are_filled_and_forgotten(fill_value):
    table = named(smooth_samples(), pd.DataFrame)
    model = FeatureRearranger(shape=(4, 4), fill_value=fill_value, random_state=0)
    moved = model.fit_transform(table)
    assert moved.shape == (60, 16)
    assert (model.layout_ == -1).sum() == 4
    assert_array_equal(moved[:, model.columns_ == -1], fill_value)
    assert_array_equal(moved[:, model.columns_ >= 0], table.to_numpy()[:, model.permutation_])
    assert_array_equal(model.inverse_transform(moved), table.to_numpy())
    names = model.get_feature_names_out()
    assert sorted(names[model.columns_ == -1]) == [f"empty{k}" for k in range(4)]
    framed = model.set_output(transform="pandas").transform(table)
    assert list(framed.columns) == list(names)
    grey = FeatureRearranger(shape=4, groups=4, fill_value=fill_value).fit(table)
    assert grey.transform(table).shape == (60, 16)


def test_refinement_lowers_the_entropy_it_is_asked_to_lower():
    X = load_breast_cancer().data[:200]
    model = FeatureRearranger("random", refine=1, random_state=0).fit(X)
    found = model.refined_
    assert found.entropy_after < 0.9 * found.entropy_before
    assert_array_equal(model.permutation_, found.permutation)
    assert FeatureRearranger("random", random_state=0).fit(X).refined_ is None
    labels = load_breast_cancer().target[:200]
    labelled = FeatureRearranger(affinity="class-mean", refine=1, random_state=0).fit(X, labels)
    assert labelled.refined_.entropy_after <= labelled.refined_.entropy_before


def test_refinement_moves_groups_and_leaves_places_empty():
    X = smooth_samples(40, 12)
    model = FeatureRearranger("random", shape=(2, 4), groups=2, refine=1, random_state=0).fit(X)
    assert sorted(model.layout_.ravel()) == [-1, -1, 0, 1, 2, 3, 4, 5]
    assert_array_equal(model.permutation_.reshape(6, 2) % 2, np.tile([0, 1], (6, 1)))
    assert_array_equal(model.inverse_transform(model.transform(X)), X)


def test_the_search_is_reported():
    X = smooth_samples()
    found = FeatureRearranger(random_state=0).fit(X).search_
    assert found.winner in found.cuts
    assert FeatureRearranger("tsp").fit(X).search_ is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"groups": 5}, InputError, "groups of 5 features do not divide 12"),
        ({"groups": [0, 1]}, InputError, r"one label a feature, expected 12 .*shape \(2,\)"),
        ({"groups": np.linspace(0, 1, 12)}, InputError, "whole numbers or names, got float64"),
        ({"groups": 12}, InputError, "all features in one"),
        ({"groups": 2, "shape": 5}, PartitionError, "holds 5 groups, X has 6"),
        ({"groups": [0] * 5 + [1] * 7, "shape": 4}, PartitionError, "groups of one size"),
        ({"groups": [0] * 5 + [1] * 7, "refine": 1}, InputError, "refine moves groups of one size"),
        ({"refine": 9}, PartitionError, "levels from 1 to 4"),
    ],
)
def test_groups_and_places_that_do_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        FeatureRearranger(**options).fit(smooth_samples())


@pytest.mark.parametrize("stop", [InputError, KeyboardInterrupt])
def test_a_fit_that_fails_leaves_what_was_learned(stop, monkeypatch):
    X = named(smooth_samples(), pd.DataFrame)
    model = FeatureRearranger(random_state=0).fit(X)
    learned, moved = dict(vars(model)), model.transform(X)

    def stopped(*_, **__):
        raise stop

    monkeypatch.setattr("entangle.ordering.rearranger.mincut_search", stopped)
    with pytest.raises(stop):
        model.fit(smooth_samples(60, 20))
    assert vars(model) == learned
    assert_array_equal(model.transform(X), moved)


@pytest.mark.parametrize(("frame", "output"), [(pd.DataFrame, "pandas"), (pl.DataFrame, "polars")])
def test_empty_places_take_no_name_of_a_feature(frame, output):
    X = smooth_samples(60, 3)
    table = frame(dict(zip(["empty0", "empty2", "a"], X.T, strict=True)))
    model = FeatureRearranger(shape=5, random_state=0).set_output(transform=output)
    moved = model.fit_transform(table)
    assert sorted(moved.columns) == ["a", "empty0", "empty1", "empty2", "empty3"]
    assert_array_equal(moved["empty2"], X[:, 1])


@pytest.mark.parametrize("seed", range(3))
def test_refinement_draws_rows_of_rare_classes(seed):
    X = np.random.default_rng(0).standard_normal((3000, 4))
    rare = np.zeros(3000, dtype=int)
    rare[:2] = 1
    model = FeatureRearranger(affinity="class-mean", refine=1, random_state=seed)
    assert model.fit(X, rare).refined_.entropy_after > 0.0


def test_refinement_by_a_quantity_of_one_value_says_so():
    X = np.random.default_rng(0).standard_normal((3000, 4))
    y = np.zeros(3000)
    y[0] = 1.5
    with pytest.raises(InputError, match="500 rows by the target, and it has one value"):
        FeatureRearranger(affinity="class-mean", refine=1, random_state=0).fit(X, y)


def test_refinement_of_the_largest_numbers():
    X = smooth_samples()
    model = FeatureRearranger("random", refine=1, random_state=0)
    wide = X / np.abs(X).max() * 1.7e308  # its range is infinite
    assert_array_equal(model.fit(wide).columns_, model.fit(wide / 4.0).columns_)


@pytest.mark.parametrize(
    ("value", "dtype", "fits"),
    [
        (0.5, int, False), (np.nan, int, False), (-1, np.uint8, False), ("a", float, False),
        (None, float, False), (1e300, np.float32, False), ([1.0], float, False),
        (-1, int, True), (255, np.uint8, True), (0.1, np.float32, True), (np.nan, float, True),
        (np.inf, float, True), (True, float, True),
    ],
)  # fmt: skip
def test_empty_places_hold_what_the_data_can_hold(value, dtype, fits):
    X = (10 * np.random.default_rng(0).random((20, 3))).astype(dtype)
    model = FeatureRearranger(shape=4, fill_value=value, random_state=0).fit(X)
    if not fits:
        with pytest.raises(InputError, match="fill_value is a number that data of type"):
            model.transform(X)
        return
    moved = model.transform(X)
    assert moved.dtype == X.dtype
    assert_array_equal(moved[:, model.columns_ < 0], np.full((20, 1), value).astype(dtype))


@pytest.mark.parametrize("refine", [0, -1, 9, 1.0, True, "2", [1]])
def test_levels_to_refine_are_checked_before_the_search(refine, monkeypatch):
    monkeypatch.setattr("entangle.ordering.rearranger.mincut_search", None)
    with pytest.raises(PartitionError, match="refine is a number of levels from 1 to 4"):
        FeatureRearranger(refine=refine).fit(smooth_samples())


def test_empty_places_that_do_not_fit_in_memory_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1e6)
    with pytest.raises(MemoryLimitError, match=r"400 places, empty ones too.* fewer empty places"):
        FeatureRearranger(shape=(20, 20)).fit(smooth_samples())


def test_refinement_weighs_classes_alike():
    """Unequal classes would add their mean label, nearly a product state."""
    weights = _weights(np.array([0] * 30 + [1] * 10), np.arange(40))
    assert weights[:30].sum() == pytest.approx(-weights[30:].sum())
