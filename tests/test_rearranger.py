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
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from entangle import affinity as affinities
from entangle.affinity import correlation_affinity
from entangle.errors import InputError, PartitionError
from entangle.ordering import FeatureRearranger


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

    def recorded(affinity, shape, n_samples, **options):
        seen.append(n_samples)
        return np.arange(12)

    monkeypatch.setattr("entangle.ordering.rearranger.mincut_order", recorded)
    for affinity in (*NAMES, np.ones((12, 12)), lambda X: np.ones((12, 12))):
        FeatureRearranger(affinity=affinity).fit(smooth_samples(), np.arange(60) % 2)
    assert seen == [60, 60] + [None] * 6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "mincat"}, InputError, "'random' .*got 'mincat'; did you mean 'mincut'"),
        ({"method": "tsp"}, InputError, "got 'tsp'; pass one of these names"),
        ({"affinity": "kendall"}, InputError, "got 'kendall'"),
        ({"affinity": np.ones((3, 3))}, InputError, r"expected \(12, 12\), got \(3, 3\)"),
        ({"shape": 12.0}, PartitionError, "positive whole number"),
        ({"affinity": sparse.eye(12)}, InputError, "must be dense"),
        ({"shape": (3, 5)}, PartitionError, r"\(3, 5\) holds 15 features, X has 12; .* 12, or"),
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
