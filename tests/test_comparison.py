import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from entangle import FeatureRearranger, LocalNetworkClassifier, compare_orderings
from entangle.comparison import Comparison, Row
from entangle.comparison.contenders import contenders_wanted
from entangle.comparison.fingerprint import fingerprint
from entangle.comparison.intervals import corrected_interval
from entangle.comparison.orderings import orderings_wanted
from entangle.comparison.splits import seeds_wanted, splits_for
from entangle.datasets import load_dataset
from entangle.errors import InputError, PartitionError
from entangle.models import MLP
from entangle.parallel import map_completed
from entangle.surrogate import hierarchical_cut

# -- toys --------------------------------------------------------------------------------------

FITS = []  # (rows, random state) of every fit of a Neighbours classifier in this process


class Neighbours(ClassifierMixin, BaseEstimator):
    """Nearest mean of the products of neighbours, so that the order matters."""

    def __init__(self, power=1.0, random_state=None):
        self.power = power
        self.random_state = random_state

    def fit(self, X, y):
        FITS.append((X.copy(), self.random_state))
        self.classes_ = np.unique(y)
        self.means_ = np.array([self._products(X[y == label]).mean(axis=0) for label in y_set(y)])
        self.n_iter_ = 7
        return self

    def _products(self, X):
        return X[:, :-1] * X[:, 1:] ** self.power

    def predict(self, X):
        far = ((self._products(X)[:, None] - self.means_) ** 2).sum(axis=2)
        return self.classes_[far.argmin(axis=1)]


def y_set(y):
    return np.unique(y)


class Reversed(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X[:, ::-1]


@pytest.fixture
def fits():
    FITS.clear()
    return FITS


def chains(n_samples=60, n_features=8, seed=0):
    """Neighbours correlate in one class, and anticorrelate in the other."""
    random = np.random.default_rng(seed)
    y = np.arange(n_samples) % 2
    X = random.standard_normal((n_samples, n_features))
    for n in range(1, n_features):
        X[:, n] += np.where(y, 0.8, -0.8) * X[:, n - 1]
    return X, y


quick = partial(compare_orderings, models=[Neighbours()], entropy=False)


def results(found):
    """Rows without what depends on the clock."""
    return [replace(row, train_seconds=0.0, order_seconds=0.0) for row in found.rows]


# -- intervals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_without_overlap_the_interval_is_students(confidence):
    values = np.random.default_rng(0).normal(0.3, 1.0, size=9)
    found, ours = stats.ttest_1samp(values, 0.0), corrected_interval(values, 0.0, confidence)
    theirs = found.confidence_interval(confidence)
    assert_allclose((ours.low, ours.high, ours.p_value), (*theirs, found.pvalue), rtol=1e-12)


def test_overlap_widens_the_interval_by_the_factor_of_nadeau_and_bengio():
    values, ratio = np.random.default_rng(1).normal(size=30), 1 / 9  # 3 x 10 folds
    plain, ours = corrected_interval(values, 0.0), corrected_interval(values, ratio)
    widths = [found.high - found.low for found in (plain, ours)]
    assert_allclose(widths[1] / widths[0], np.sqrt((1 / 30 + ratio) / (1 / 30)))
    error = np.sqrt((1 / 30 + 1 / 9) * values.var(ddof=1))
    assert_allclose(ours.p_value, 2 * stats.t.sf(abs(values.mean()) / error, 29))


def test_intervals_of_one_value_and_of_equal_ones():
    one, same = corrected_interval([0.5], 0.5), corrected_interval([0.5, 0.5], 0.5)
    assert (one.mean, np.isnan([one.low, one.high, one.p_value]).all()) == (0.5, True)
    assert (one.sign, same.sign, corrected_interval([-1, -1], 0.5).sign) == (0, 1, -1)
    assert (same.low, same.high, same.p_value) == (0.5, 0.5, 0.0)
    assert corrected_interval([0.0, 0.0], 0.5).p_value == 1.0


@pytest.mark.parametrize(("values", "confidence"), [([], 0.9), ([[1.0]], 0.9), ([1.0], 1.0)])
def test_intervals_that_make_no_sense(values, confidence):
    with pytest.raises(InputError):
        corrected_interval(values, 0.5, confidence)


def made(accuracies, baseline="random", fresh=True, n_train=40, n_test=20):
    """A comparison of one model with accuracies (orderings, seeds, folds)."""
    rows = tuple(
        Row(name, "model", seed, fold, accuracy, 1.0, None, 0.1, 2.0, None, n_train, n_test)
        for name, table in accuracies.items()
        for seed, folds in enumerate(table)
        for fold, accuracy in enumerate(folds)
    )
    data = {"name": "toy", "n_samples": 60, "n_features": 4, "n_classes": 2, "shape": [4]}
    settings = {"seeds": [0, 1], "n_folds": 3}
    return Comparison(rows, baseline, 0.95, fresh, data | {"largest_class": 0.5}, settings)


TABLES = {
    "random": [[0.5, 0.6, 0.55], [0.52, 0.58, 0.6]],
    "natural": [[0.7, 0.75, 0.8], [0.66, 0.9, 0.71]],
    "mincut": [[0.5, 0.6, 0.54], [0.52, 0.59, 0.6]],
}


def test_differences_are_paired_and_known_to_scipy():
    ours = made(TABLES, n_test=1, n_train=10**12).standing("model", "natural")  # no overlap
    natural, random = np.ravel(TABLES["natural"]), np.ravel(TABLES["random"])
    theirs = stats.ttest_rel(natural, random)
    interval = theirs.confidence_interval(0.95)
    found = ours.difference
    assert_allclose([found.low, found.high], [interval.low, interval.high], rtol=1e-9)
    assert_allclose([found.p_value, ours.std], [theirs.pvalue, natural.std(ddof=1)], rtol=1e-9)
    assert ours.n_resamples == 6
    corrected = made(TABLES).standing("model", "natural").difference
    assert_allclose(corrected.high - corrected.low, 2 * (found.high - found.mean) * 2, rtol=1e-9)


def test_differences_change_sign_with_the_baseline_and_the_baseline_has_none():
    there = made(TABLES, "random").standing("model", "natural").difference
    back = made(TABLES, "natural").standing("model", "random").difference
    assert_allclose([there.mean, there.low, there.high], [-back.mean, -back.high, -back.low])
    assert made(TABLES).standing("model", "random").difference is None


def test_splits_that_seeds_share_count_once():
    found = made(TABLES, fresh=False).standing("model", "natural")
    means = np.mean(TABLES["natural"], axis=0) - np.mean(TABLES["random"], axis=0)
    expected = corrected_interval(means, 0.5)
    assert found.n_resamples == 3
    assert_allclose([found.difference.low, found.difference.high], [expected.low, expected.high])
    one = made({name: [[row[0][0]], [row[1][0]]] for name, row in TABLES.items()}, fresh=False)
    assert np.isnan(one.standing("model", "natural").difference.low)
    assert "which gives no interval; pass more folds" in one.to_text()


def test_the_text_says_who_wins_and_who_cannot_be_told_apart():
    text = made(TABLES).to_text()
    assert "model: natural beats random by 19.5 points (+" in text
    assert "model: mincut and random cannot be told apart (+0.0 points, " in text
    assert "model: random loses to natural by 19.5 points" in made(TABLES, "natural").to_text()
    assert "Nadeau and Bengio 2003" in text
    assert "largest class" not in text
    lost = made({name: [[0.5, 0.5, 0.5]] * 2 for name in TABLES}).to_text()
    assert "no order gets above the share of the largest class, 50.0 %" in lost


def test_less_entanglement_that_bought_nothing_is_said():
    found = made(TABLES)
    lower = {"natural": 3.0, "mincut": 1.0, "random": 2.0}
    rows = tuple(replace(row, entropy_nats=lower[row.ordering]) for row in found.rows)
    text = replace(found, rows=rows).to_text()
    assert "although mincut has 50 % less entanglement" in text
    assert "although natural has 50 % more entanglement" in text


def test_a_pair_that_is_not_there():
    with pytest.raises(KeyError, match="no model 'cnn' with ordering 'natural'"):
        made(TABLES).standing("cnn", "natural")


# -- splits ------------------------------------------------------------------------------------


def test_every_row_is_tested_once_a_seed_and_seeds_have_splits_of_their_own():
    y = np.array(list("aabbbabbab"))
    splits = splits_for(3, (4, 9), y)
    assert [(split.seed, split.fold) for split in splits] == [
        (s, f) for s in (4, 9) for f in (0, 1, 2)
    ]
    for three in (splits[:3], splits[3:]):
        tested = np.concatenate([split.test for split in three])
        assert_array_equal(np.sort(tested), np.arange(10))
        for split in three:
            both = np.sort(np.concatenate((split.train, split.test)))
            assert_array_equal(both, np.arange(10))
    assert any(list(a.test) != list(b.test) for a, b in zip(splits[:3], splits[3:], strict=True))
    theirs = StratifiedKFold(3, shuffle=True, random_state=9).split(y, y)
    for split, (train, test) in zip(splits[3:], theirs, strict=True):
        assert_array_equal(split.train, train)
        assert_array_equal(split.test, test)


def test_given_splits_serve_every_seed():
    y = np.array([0, 1] * 5)
    for cv in ([(range(6), [6, 7])], StratifiedKFold(5)):
        splits = splits_for(cv, (0, 1), y)
        half = len(splits) // 2
        for a, b in zip(splits[:half], splits[half:], strict=True):
            assert_array_equal(a.test, b.test)
    assert seeds_wanted(3) == (0, 1, 2)
    assert seeds_wanted(range(5, 7)) == (5, 6)


@pytest.mark.parametrize(
    ("cv", "match"),
    [
        (1, "from 2 up to the rows of the smallest class, 4 of '1', got 1"),
        (5, "pass cv=4 or fewer"),
        (True, "got True"),
        (None, "got None"),
        ([], "holds no split"),
        ([3], "pairs of"),
        ([([0, 1, 2], [2, 3])], "1 in both, such as 2"),
        ([([0, 1], [2, 99])], "from 0 to 9"),
        ([([0, 1], [])], "at least one"),
        ([(np.ones(10, bool), [1])], "numpy.flatnonzero"),
        ([([0, 2], [1, 3])], "one class only, '0'"),
    ],
)
def test_folds_that_cannot_be_made(cv, match):
    y = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 0])
    with pytest.raises(InputError, match=match):
        splits_for(cv, (0,), y)


@pytest.mark.parametrize("seeds", [0, -1, 1.5, True, "3", [], [0, 0], [-1], [2**32]])
def test_seeds_that_are_none(seeds):
    with pytest.raises((InputError, TypeError), match=r"seeds|iterable"):
        seeds_wanted(seeds)


# -- orderings ---------------------------------------------------------------------------------


def columns(source, X, y, seed=0, shape=None):
    (found,) = orderings_wanted([source], shape or (X.shape[1],), X.shape[1])
    return found.columns(X, y, seed)


def test_natural_random_and_given_orders():
    X, y = chains()
    assert_array_equal(columns("natural", X, y), np.arange(8))
    assert_array_equal(columns([3, 1, 2, 0, 4, 5, 7, 6], X, y), [3, 1, 2, 0, 4, 5, 7, 6])
    random = [tuple(columns("random", X[:half], y, seed)) for seed in (0, 1) for half in (30, 60)]
    assert (random[0], random[2]) == (random[1], random[3])  # of the seed, not of the rows
    assert random[0] != random[2]


def test_a_method_starts_from_the_random_order_of_its_seed():
    X, y = chains()
    for seed in (0, 1):
        start = columns("random", X, y, seed)
        assert_array_equal(columns(FeatureRearranger("identity"), X, y, seed), start)
        assert_array_equal(columns(Reversed(), X, y, seed), start[::-1])
        model = FeatureRearranger("igtd", random_state=seed).fit(X[:, start])
        assert_array_equal(columns("igtd", X, y, seed), start[model.permutation_])


def test_labels_and_affinities_reach_a_method():
    X, y = chains(n_features=9)
    X[y == 1, ::2] += 3.0
    start = columns("random", X, y)
    model = FeatureRearranger("mincut", (3, 3), "class-mean", 0).fit(X[:, start], y)
    found = columns("mincut:class-mean", X, y, shape=(3, 3))
    assert_array_equal(found, start[model.permutation_])


def test_groups_stay_together_and_in_order():
    X, y = chains(n_features=12)
    found = columns(FeatureRearranger("mincut", groups=3), X, y).reshape(4, 3)
    assert_array_equal(found % 3, np.tile([0, 1, 2], (4, 1)))
    assert_array_equal(np.diff(found), 1)
    labels = np.array(list("abcabcabcabc"))
    found = columns(FeatureRearranger("mincut", groups=labels), X, y).reshape(3, 4)
    assert (labels[found] == labels[found[:, :1]]).all()
    assert_array_equal(np.diff(found), 3)


def test_groups_that_are_found_start_apart():
    random = np.random.default_rng(0)
    X = np.concatenate([np.eye(3)[random.integers(3, size=300)] for _ in range(4)], axis=1)
    y = random.integers(2, size=300)
    model = FeatureRearranger("mincut", groups="one-hot")
    found = [columns(model, X, y, seed=seed).reshape(4, 3) for seed in range(3)]
    for order in found:
        assert_array_equal(order // 3, np.repeat(order[:, :1] // 3, 3, axis=1))
    start = columns("random", X, y)
    own = FeatureRearranger("mincut", groups="one-hot", random_state=0).fit(X[:, start])
    assert_array_equal(found[0].ravel(), start[own.permutation_])
    assert not all((np.diff(order) == 1).all() for order in found)
    assert_array_equal(columns("mincut:one-hot", X, y), found[0].ravel())
    (named,) = orderings_wanted([model], (12,), 12)
    assert named.name == "mincut:one-hot"
    by_class = FeatureRearranger("mincut", None, "class-mean", groups="one-hot")
    for name in ("mincut:class-mean:one-hot", "mincut:one-hot:class-mean"):
        assert_array_equal(columns(name, X, y), columns(by_class, X, y))
    with pytest.raises(InputError, match=r"the layout is a grid, 3x4; .* pass shape=12"):
        columns("mincut:one-hot", X, y, shape=(3, 4))


def test_a_given_affinity_knows_features_by_their_numbers():
    X, y = chains()
    near = np.abs(np.subtract.outer(np.arange(8), np.arange(8))) == 1.0
    found = columns(FeatureRearranger(affinity=near.astype(float)), X, y)
    assert set(np.abs(np.diff(found))) == {1}


@pytest.mark.parametrize(
    ("orderings", "match"),
    [
        (["mincat"], "got 'mincat'; did you mean 'mincut'"),
        (["identity"], "did you mean 'natural'"),
        (["random:pearson"], "did you mean 'random'"),
        (["mincut:person"], "affinity is one of"),
        (["mincut:pearson:one"], "affinity is one of"),
        (["mincut:"], "affinity is one of"),
        (["mincut::one-hot"], "affinity is one of"),
        (["mincat:one-hot"], "did you mean 'mincut'"),
        ("mincut", r"pass \('mincut',\)"),
        (3, "a list or a dictionary"),
        ([], "hold nothing"),
        (["natural", "natural"], "'natural' comes 2 times"),
        ([[0, 1, 1]], "each of 0..2 once"),
        ([[0, 1]], r"got int64 of shape \(2,\)"),
        ([LogisticRegression()], "a transformer of scikit-learn"),
        ([np.argsort], "a transformer of scikit-learn"),
    ],
)
def test_orderings_that_are_none(orderings, match):
    with pytest.raises(InputError, match=match):
        orderings_wanted(orderings, (3,), 3)


@pytest.mark.parametrize("source", [StandardScaler(), PCA(2)])
def test_a_transformer_that_changes_values_is_refused(source):
    with pytest.raises(InputError, match="put what changes values into a pipeline"):
        columns(source, *chains())


def test_empty_places_are_refused():
    with pytest.raises(InputError, match="leaves 1 places empty"):
        columns(FeatureRearranger(shape=(3, 3)), *chains())


# -- models ------------------------------------------------------------------------------------


def test_models_get_the_layout_the_epochs_and_their_options():
    names = ["cnn", "s4", "tree", "mps"]
    options = {"s4": {"learning_rate": 0.5, "model_options": {"depth": 1}}}
    cnn, s4, tree, mps = (c.model for c in contenders_wanted(names, options, (2, 4), 9))
    assert (cnn.shape, s4.shape, tree.shape, mps.shape) == ((2, 4), None, (2, 4), None)
    assert (cnn.max_epochs, s4.max_epochs, tree.max_epochs, mps.network) == (9, 9, 9, "mps")
    assert (s4.learning_rate, s4.model_options, cnn.learning_rate) == (0.5, {"depth": 1}, None)


def test_features_of_tables_are_scaled_alone():
    run = partial(compare_orderings, orderings=["natural"], max_samples=60, seeds=1, epochs=1)
    wine, digits = (run(load_dataset(name), entropy=False) for name in ("wine", "digits"))
    assert "scale='feature'" in wine.settings["models"]["cnn"]
    assert "scale" not in digits.settings["models"]["cnn"]


def test_every_random_state_becomes_the_seed_and_the_example_stays():
    example = make_pipeline(PCA(random_state=3), LogisticRegression())
    found = contenders_wanted({"both": example, "built": Neighbours}, None, (4,), 1)
    seeded = found[0].seeded(5)
    assert (seeded[0].random_state, seeded[1].random_state, example[0].random_state) == (5, 5, 3)
    assert isinstance(found[1].seeded(0), Neighbours)


@pytest.mark.parametrize(
    ("models", "options", "match"),
    [
        (["cnm"], {}, "got 'cnm'; did you mean 'cnn'"),
        ("cnn", {}, r"pass \('cnn',\)"),
        (3, {}, "a list or a dictionary"),
        ([], {}, "hold nothing"),
        ([Ridge()], {}, "a model is a name"),
        ([lambda x: x], {}, "takes no arguments"),
        ([5], {}, "a model is a name"),
        ([torch.nn.Linear(2, 2)], {}, r"LocalNetworkClassifier\(module\)"),
        (["cnn", "cnn"], {}, "'cnn' comes 2 times"),
        (["cnn"], {"s4": {}}, "are for 'cnn', got 's4'"),
        (["cnn"], {"cnn": {"max_epoch": 3}}, "no option 'max_epoch'; did you mean 'max_epochs'"),
        ([Neighbours()], {"Neighbours": {"z": 3}}, "it has power, random_state"),
    ],
)
def test_models_that_are_none(models, options, match):
    with pytest.raises(InputError, match=match):
        contenders_wanted(models, options, (4,), 1)


# -- whole comparisons -------------------------------------------------------------------------


def test_rows_are_complete_and_measured_on_rows_held_out(fits):
    X, y = chains()
    found = quick(X, y, ("natural", "random"), cv=2, seeds=(3, 8))
    pairs = [(row.ordering, row.seed, row.fold) for row in found.rows]
    assert pairs == [(o, s, f) for o in ("natural", "random") for s in (3, 8) for f in (0, 1)]
    (row,) = [row for row in found.rows if (row.ordering, row.seed, row.fold) == ("random", 8, 1)]
    train, test = list(StratifiedKFold(2, shuffle=True, random_state=8).split(X, y))[1]
    order = np.random.default_rng(8).permutation(8)
    model = Neighbours().fit(X[train][:, order], y[train])
    assert row.accuracy == model.score(X[test][:, order], y[test])
    affinity = np.abs(np.corrcoef(X[train][:, order].T))
    np.fill_diagonal(affinity, 0.0)
    assert_allclose(row.cut, hierarchical_cut(affinity, 8))
    assert (row.epochs, row.entropy_nats, row.n_train, row.n_test) == (7, None, 30, 30)
    assert {state for _, state in fits[:-1]} == {3, 8}
    assert_array_equal(fits[7][0], X[train][:, order])


def test_the_natural_order_wins_where_neighbours_matter():
    found = quick(*chains(200, 16), ("random", "natural"), cv=4)
    assert found.standing("Neighbours", "natural").difference.sign == 1
    assert found.standing("Neighbours", "natural").accuracy.mean > 0.9
    assert found.baseline == "random"


def test_nothing_is_learned_from_rows_held_out(fits):
    X, y = chains()
    cv = [(np.arange(40), np.arange(40, 60))]
    spoiled = X.copy()
    spoiled[40:] = np.random.default_rng(5).permutation(X[40:].ravel()).reshape(20, 8) * 100
    first = quick(X, y, ("mincut", "igtd"), cv=cv, entropy=True)
    n_first = len(fits)
    second = quick(spoiled, y, ("mincut", "igtd"), cv=cv, entropy=True)
    for a, b in zip(fits[:n_first], fits[n_first:], strict=True):
        assert_array_equal(a[0], b[0])  # the same rows in the same order
    measured = [[(row.cut, row.entropy_nats) for row in found.rows] for found in (first, second)]
    assert measured[0] == measured[1]


def test_entropies_tell_orders_apart_on_a_grid():
    data = load_dataset("digits")
    found = quick(
        data, orderings=("random", "natural"), max_samples=120, cv=2, seeds=1, entropy=True
    )
    natural, random = (found.standing("Neighbours", o) for o in ("natural", "random"))
    assert 0 < natural.entropy_nats < random.entropy_nats
    assert natural.cut < random.cut
    assert found.dataset["shape"] == [8, 8]
    assert "120 of 1797 rows drawn" in found.notes[-1]


def test_a_frame_with_text_classes():
    X, y = chains()
    frame = pd.DataFrame(X, columns=list("abcdefgh")).assign(kind=np.where(y, "up", "down"))
    found = quick(frame, "kind", ("natural",), name="signals")
    assert (found.dataset["name"], found.dataset["n_classes"]) == ("signals", 2)
    assert results(found) != []
    assert found.standing("Neighbours", "natural").accuracy.mean > 0.7


def test_the_same_call_gives_the_same_rows_and_another_seed_does_not():
    X, y = chains()
    assert results(quick(X, y)) == results(quick(X, y))
    assert results(quick(X, y, seeds=[0])) != results(quick(X, y, seeds=[1]))


def small(model="cnn", width=8):
    options = {
        "max_epochs": 2,
        "learning_rate": 0.02,
        "model_options": {"width": width, "depth": 2},
    }
    return LocalNetworkClassifier(model, **options)


@pytest.mark.slow
def test_processes_and_threads_give_what_one_thread_gives():
    X, y = chains(90, 9)
    models = {"cnn": small(), "nearest": KNeighborsClassifier}
    run = partial(compare_orderings, X, y, ("random", "mincut"), models, shape=(3, 3), cv=2)
    alone = results(run())
    torch.set_num_threads(2)  # more than the cells use
    with ThreadPoolExecutor(3) as executor:
        assert results(run(executor=executor)) == alone
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert results(run(n_jobs=2)) == alone


class Crowded(Neighbours):
    inside = 0
    lock = threading.Lock()

    def fit(self, X, y):
        assert Crowded.lock.acquire(blocking=False), "two cells at a time"
        assert torch.get_num_threads() == 1
        time.sleep(0.01)
        Crowded.lock.release()
        return super().fit(X, y)


def test_threads_take_turns_as_they_share_the_random_numbers_of_torch():
    torch.set_num_threads(2)
    with ThreadPoolExecutor(4) as executor:
        quick(*chains(), ("natural", "random"), models=[Crowded()], executor=executor)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def steps(n_samples, length, seed=0):
    """Noise with a pulse at a random place: up and down, or down and up; means say nothing."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, n_samples)
    X = random.standard_normal((n_samples, length))
    rows, place = np.arange(n_samples), random.integers(0, length - 1, n_samples)
    X[rows, place] += np.where(y, -5.0, 5.0)
    X[rows, place + 1] += np.where(y, 5.0, -5.0)
    return X, y


def test_a_convolution_finds_a_motif_in_the_natural_order_only():
    network = LocalNetworkClassifier(
        "cnn", max_epochs=12, learning_rate=0.02, model_options={"width": 8, "depth": 3}
    )
    X, y = steps(360, 24)
    found = compare_orderings(X, y, ("random", "natural"), [network], entropy=False)
    natural, random = (found.standing("cnn", o) for o in ("natural", "random"))
    assert natural.accuracy.mean > 0.85
    assert random.accuracy.mean < 0.7
    assert natural.difference.sign == 1


# -- files -------------------------------------------------------------------------------------


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_finished_cells_are_read_and_nothing_else(fits, tmp_path):
    X, y = chains()
    run = partial(
        quick, orderings=("natural", "random"), cv=2, directory=tmp_path / "new" / "cells"
    )
    first = run(X, y, seeds=2)
    assert len(fits) == 8
    again = run(X, y, seeds=2)
    assert again.rows == first.rows  # seconds, too
    assert (len(fits), again.settings["n_reused"]) == (8, 8)
    more = run(X, y, seeds=3)
    assert (len(fits), more.settings["n_reused"]) == (12, 8)
    run(X, y, seeds=3, orderings=("natural", "mincut", "random"))
    assert len(fits) == 18
    measured = run(X, y, seeds=3, entropy=True)  # orders are measured again, models not trained
    assert len(fits) == 18
    assert all(row.entropy_nats > 0 for row in measured.rows)
    on_a_grid = run(X, y, seeds=3, shape=(2, 4))
    assert on_a_grid.rows[0].cut != measured.rows[0].cut
    assert len(fits) == 18  # this model knows no grid


@pytest.mark.parametrize(
    "change",
    [
        lambda X, y: {"X": X + np.eye(60, 8) * 1e-12},
        lambda X, y: {"y": np.where(np.arange(60) == 7, 1 - y, y)},
        lambda X, y: {"models": [Neighbours(power=2.0)]},
        lambda X, y: {"models": {"Neighbours": Crowded()}},
        lambda X, y: {"seeds": [5]},
        lambda X, y: {"cv": [(np.arange(30), np.arange(30, 46))]},
        lambda X, y: {"cv": [(np.arange(29), np.arange(30, 45))]},
        lambda X, y: {"orderings": ["random"]},
        lambda X, y: {"max_samples": 50},
    ],
    ids=["values", "classes", "option", "class", "seed", "tested", "trained", "order", "rows"],
)
def test_what_changed_is_measured_anew(fits, tmp_path, change):
    X, y = chains()
    rows = np.arange(45)
    cv = [(rows[:30], rows[30:]), (rows[15:], rows[:15])]
    base = {"X": X, "y": y, "orderings": ["natural"], "cv": cv, "seeds": [0], "directory": tmp_path}
    quick(**base)
    assert len(fits) == 2
    changed = quick(**base | change(X, y))
    assert changed.settings["n_reused"] == 0
    assert len(fits) == 2 + len(changed.rows)


def test_other_versions_do_not_share_cells(fits, tmp_path, monkeypatch):
    run = partial(quick, *chains(), ["natural"], cv=2, seeds=1, directory=tmp_path)
    run()
    monkeypatch.setattr("entangle.comparison.schedule.versions", lambda: {"torch": "0"})
    assert run().settings["n_reused"] == 0


def test_damaged_files_are_measured_again(fits, tmp_path):
    run = partial(quick, *chains(), ["natural"], cv=3, seeds=1, directory=tmp_path)
    run()
    trainings = [p for p in tmp_path.iterdir() if json.loads(p.read_text())["about"].get("model")]
    broken, lacking, foreign = trainings
    foreign.write_text(broken.read_text())
    broken.write_text("{" + broken.read_text())
    whole = json.loads(lacking.read_text())
    del whole["result"]["epochs"]
    lacking.write_text(json.dumps(whole))
    assert run().settings["n_reused"] == 0
    assert run().settings["n_reused"] == 3
    assert len(fits) == 6


def test_equal_orders_are_trained_once(fits, tmp_path):
    orders = {"natural": "natural", "same": np.arange(8)}
    found = quick(*chains(), orders, cv=2, seeds=1, directory=tmp_path)
    assert len(fits) == 2
    assert found.standing("Neighbours", "same").difference.mean == 0.0


class Interrupting(Neighbours):
    after = 0

    def fit(self, X, y):
        if len(FITS) == Interrupting.after:
            raise KeyboardInterrupt
        return super().fit(X, y)


@pytest.mark.parametrize("n_threads", [0, 1])
def test_an_interruption_leaves_whole_files_and_what_was_done(fits, tmp_path, n_threads):
    orders, model = ["natural", "random"], [Interrupting()]
    run = partial(quick, *chains(), orders, models=model, cv=2, directory=tmp_path)
    Interrupting.after = 5
    if n_threads:
        with ThreadPoolExecutor(n_threads) as executor, pytest.raises(KeyboardInterrupt):
            run(executor=executor)
    else:
        with pytest.raises(KeyboardInterrupt):
            run()
    kept = [json.loads((tmp_path / name).read_text()) for name in files(tmp_path)]
    assert sum(cell["about"]["kind"] == "training" for cell in kept) == 5
    Interrupting.after = -1
    assert run().settings["n_reused"] == 5
    assert len(fits) == 8


class Stopping(torch.nn.Module):
    """Ctrl-C in the third epoch."""

    def __init__(self, n_channels, shape, n_classes):
        super().__init__()
        self.linear = torch.nn.Linear(*shape, n_classes)
        self.seen = 0

    def forward(self, values):
        self.seen += self.training
        if self.seen > 2:
            raise KeyboardInterrupt
        return self.linear(values[:, 0])


def test_half_a_training_is_no_result(tmp_path):
    network = LocalNetworkClassifier(Stopping, max_epochs=9, batch_size=64)
    with pytest.raises(KeyboardInterrupt):
        quick(*chains(), ["natural"], models=[network], directory=tmp_path)
    kept = [json.loads((tmp_path / name).read_text())["about"]["kind"] for name in files(tmp_path)]
    assert set(kept) == {"order"}


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "cells").write_text("precious")
    with pytest.raises(InputError, match="cannot make the folder"):
        quick(*chains(), directory=tmp_path / "cells")


# -- fingerprints ------------------------------------------------------------------------------


def scaled(factor):
    return lambda x: factor * x


DISTINCT = {
    "number": 1,
    "fraction": 1.5,
    "text": "1",
    "list": [1, 2],
    "tuple": (1, 2),
    "array": np.arange(3),
    "narrow": np.arange(3, dtype=np.int32),
    "model": KNeighborsClassifier(3),
    "other": KNeighborsClassifier(4),
    "pipeline": make_pipeline(PCA(2), KNeighborsClassifier(3)),
    "longer": make_pipeline(PCA(3), KNeighborsClassifier(3)),
    "module": torch.nn.Linear(2, 2),
    "function": scaled(2),
    "closure": scaled(3),
    "code": lambda x: x + 1,
    "constant": lambda x: x + 2,
    "partial": partial(scaled, 2),
    "network": LocalNetworkClassifier(lambda *_: torch.nn.Linear(2, 2)),
}


def test_what_differs_has_another_fingerprint():
    found = {name: fingerprint(value, name) for name, value in DISTINCT.items()}
    assert len(set(found.values())) == len(DISTINCT)
    assert found == {name: fingerprint(value, name) for name, value in DISTINCT.items()}
    assert fingerprint(scaled(2), "") == found["function"]
    assert fingerprint(KNeighborsClassifier(n_neighbors=3), "") == found["model"]


@pytest.mark.slow
def test_fingerprints_are_the_same_in_another_process():
    values = [
        [KNeighborsClassifier(3), {"b": 1, "a": {"x", "y", "z"}}, np.arange(5.0)],
        [LocalNetworkClassifier(MLP), {"a": {"z", "y", "x"}, "b": 1}, torch.nn.ReLU()],
    ]
    there = dict(map_completed(partial(fingerprint, what=""), values, n_jobs=2))
    assert [there[0], there[1]] == [fingerprint(value, "") for value in values]


def test_what_has_no_identity_is_refused_only_where_it_matters(tmp_path):
    model = Neighbours(power=np.float64(1.0))
    model.set_params(random_state=threading.Lock())
    with pytest.raises(InputError, match=r"model 'x' cannot be told apart .* leave directory out"):
        fingerprint(model, "model 'x'")


# -- what comes out ----------------------------------------------------------------------------


def test_frames_and_dictionaries_hold_every_row():
    found = quick(*chains(), ("natural", "random"), cv=2, seeds=1)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["schema"] == 1
    assert [Row(**row) for row in plain["rows"]] == list(found.rows)
    assert plain["summary"][0]["difference"] is None
    one = quick(*chains(), ("natural", "random"), cv=[(range(40), range(40, 60))], seeds=1)
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False))["summary"][1]["std"] is None
    for backend in ("pandas", "polars"):
        frame = found.to_frame(backend)
        assert list(frame["accuracy"]) == [row.accuracy for row in found.rows]
        assert list(frame.columns) == list(Row.__annotations__)
        assert np.isnan(np.asarray(frame["entropy_nats"], dtype=float)).all()


def test_the_layout_that_a_model_does_not_see_is_said():
    data = load_dataset("digits")
    run = partial(compare_orderings, data, orderings=["natural"], max_samples=60, cv=2, seeds=1)
    found = run(models=["cnn", "mlp"], epochs=1, entropy=False)
    assert found.notes[-1] == "mlp reads the grid of 8 x 8 row by row"
    assert found.settings["epochs"] == 1
    assert {row.epochs for row in found.rows} == {1}


IRIS = load_iris().data


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"y": None}, "the class of every row, got none"),
        ({"y": np.zeros(150, int)}, "at least two classes, every row is '0'"),
        ({"y": IRIS[:, 0]}, "the target is a quantity"),
        ({"y": np.arange(149) % 2}, "149"),
        ({"y": [np.nan, *range(149)]}, "missing or infinite"),
        ({"X": np.where(IRIS[3, 1] == IRIS, np.nan, IRIS)}, "X must be finite, got NaN in column"),
        ({"X": IRIS[:, :1]}, "2 features"),
        ({"baseline": "mincat"}, "'random', 'natural', 'mincut', got 'mincat'"),
        ({"confidence": 95}, "between 0 and 1, got 95"),
        ({"cv": 51}, "50 of '0', got 51; pass cv=50"),
        ({"max_samples": 1}, "at least 2, got 1"),
        ({"epochs": 0, "models": ["cnn"]}, "model 'cnn' cannot be trained .* max_epochs"),
        ({"models": ["m5"], "epochs": 1, "shape": (2, 2), "n_jobs": 0}, "number of processes"),
    ],
)
def test_comparisons_that_make_no_sense(given, match):
    with pytest.raises((InputError, PartitionError, ValueError), match=match):
        quick(**{"X": IRIS, "y": load_iris().target} | given)


def test_a_shape_that_does_not_fit():
    with pytest.raises(PartitionError, match="9 positions, the data have 4"):
        quick(IRIS, load_iris().target, shape=(3, 3))
