import dataclasses
import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import polars as pl
import psutil
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_iris

from entangle import (
    DataTensor,
    canonical_partitions,
    correlation_affinity,
    diagnose,
    entanglement_convergence,
    entanglement_profile,
    load_dataset,
    surrogate_entanglement,
)
from entangle.datasets import table_to_dataset
from entangle.embedding import Trigonometric
from entangle.entropy import EntanglementProfile
from entangle.errors import DegenerateStateError, InputError, MemoryLimitError, PartitionError
from entangle.labels import stratified_rows
from entangle.preparation import sample_weights, scaled
from tests.oracles import dense_tensor, trigonometric


def chain(n_samples=300, n_features=32, rho=0.9, seed=0):
    """AR(1): neighbours correlate, distant features do not."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_samples, n_features))
    X = noise.copy()
    for n in range(1, n_features):
        X[:, n] = rho * X[:, n - 1] + math.sqrt(1 - rho**2) * noise[:, n]
    return X


@pytest.fixture(scope="module")
def report():
    data = load_breast_cancer()
    return diagnose(data.data, data.target, max_samples=120, n_shuffles=5, seed=3)


def test_the_report_is_what_its_parts_say(report):
    """Rebuilt from public pieces: rows, scale, theta, order."""
    data = load_breast_cancer()
    rows = stratified_rows(data.target, 569, 120, seed=3)
    low, high = data.data.min(axis=0), data.data.max(axis=0)
    X = ((data.data - low) / (high - low))[rows]
    weights = np.where(data.target[rows] == 1, 1.0, -1.0)
    theta = report.settings["theta"]
    for order, found in ((np.arange(30), report.original), (report.permutation, report.reordered)):
        tensor = DataTensor(X[:, order], weights, Trigonometric(theta))
        expected = entanglement_profile(tensor, levels=list(found.by_level()), tolerance=1e-9)
        assert (np.abs(found.entropy - expected.entropy) <= found.error_bound + 1e-9).all()


def test_the_surrogates_are_means_over_the_cuts(report):
    affinity = correlation_affinity(load_breast_cancer().data)
    cuts = [cut for cut in canonical_partitions(30) if cut.level in report.settings["levels"]]
    orders = {"original": np.arange(30), "reordered": report.permutation}
    for name, order in orders.items():
        moved = affinity[np.ix_(order, order)]
        mean = np.mean([surrogate_entanglement(moved, cut) for cut in cuts])
        assert report.surrogate[name] == pytest.approx(mean)
    rng = np.random.default_rng(0)
    random = []
    for _ in range(300):
        order = rng.permutation(30)
        moved = affinity[np.ix_(order, order)]
        random.append(np.mean([surrogate_entanglement(moved, cut) for cut in cuts]))
    error = np.std(random) / math.sqrt(300)
    assert abs(np.mean(random) - report.surrogate["shuffled_mean"]) < 4 * error


def test_the_dictionary_has_every_field_and_is_json(report):
    found = json.loads(json.dumps(report.to_dict()))
    assert found["schema"] == 4
    assert found["dataset"] == {
        "name": "data", "n_samples": 569, "n_features": 30, "n_classes": 2, "shape": [30],
    }  # fmt: skip
    entropies = found["entanglement_nats"]
    for order in ("original", "reordered"):
        assert entropies[order]["mean"] == pytest.approx(getattr(report, order).mean)
        assert list(entropies[order]["by_level"]) == ["1", "2", "3", "4"]
    assert entropies["shuffled"].keys() >= {"mean", "std", "n", "p_value"}
    assert entropies["shuffled"]["n"] == 5
    assert 0 <= entropies["error_bound"] <= 1e-4
    assert found["surrogate"].keys() == {"original", "reordered", "shuffled_mean"}
    assert found["width"]["lower_bound"] >= 1
    assert sorted(found["permutation"]) == list(range(30))
    assert found["settings"].keys() >= {"theta", "seed", "n_samples_used", "weights"}
    assert found["settings"]["n_samples_used"] == 120
    assert found["settings"]["weights"] == "-1 and +1 by class (raw)"
    assert found["settings"]["class_shares"] == pytest.approx({"0": 45 / 120, "1": 75 / 120})
    assert found["convergence"] == json.loads(json.dumps(report.convergence.to_dict()))
    assert found["convergence"]["mean"]["entropy_nats"][0] == entropies["original"]["mean"]
    assert list(found["convergence"]["by_level"]) == ["1", "2", "3", "4"]
    assert found["verdict"] == report.verdict


def test_the_text_says_what_was_used_and_ends_in_a_command(report):
    lines = report.to_text().splitlines()
    assert lines[0] == "data: 569 rows, 30 features (sequence of 30), 2 classes"
    assert "120 of 569 rows drawn at random, evenly over the target" in report.to_text()
    assert lines[-2] == report.verdict
    name = report.settings["affinity"]
    data = "X, y" if name == "class-mean" else "X"
    assert lines[-1] == (
        f"next: FeatureRearranger(shape=(30,), affinity={name!r}, random_state=3)"
        f".fit_transform({data})"
    )
    assert max(map(len, lines)) < 140


def test_the_same_seed_gives_the_same_report_whatever_the_executor(report):
    data = load_breast_cancer()
    with ThreadPoolExecutor(2) as pool:
        again = diagnose(
            data.data, data.target, max_samples=120, n_shuffles=5, seed=3, executor=pool
        )
    assert_array_equal(again.permutation, report.permutation)
    assert_allclose(again.shuffled, report.shuffled, atol=1e-9)


def test_a_good_order_is_kept_and_a_bad_one_mended():
    X = chain()
    good = diagnose(X, n_shuffles=10)
    assert good.verdict.startswith("Keep the given order")
    assert good.p_value == pytest.approx(1 / 11)
    mixed = np.random.default_rng(1).permutation(32)
    bad = diagnose(X[:, mixed], n_shuffles=10)
    assert bad.verdict.startswith("Rearranging helps")
    assert bad.p_value > 1 / 11
    assert bad.reordered.mean == pytest.approx(good.reordered.mean, rel=0.02)


@pytest.mark.parametrize(
    ("given", "best", "held_out", "begins"),
    [
        (0.5, 0.3, (0.5, 0.3), "Rearranging helps: mean entanglement falls by 40 %"),
        (0.5, 0.3, (0.5, 0.5), "Undecided: the given order has 0.5 nats, 67 % above random"),
        (0.5, 0.3, (), "Undecided: the given order"),
        (0.2, 0.19, (0.2, 0.2), "Keep the given order: it has 0.2 nats, 33 % below random"),
        (0.2, 0.15, (0.2, 0.2), "Keep the given order"),
        (0.3, 0.2, (0.3, 0.31), "Order hardly matters: 0.3 nats as given"),
        (0.3, 0.2, (), "Order hardly matters"),
    ],
)
def test_every_verdict(report, given, best, held_out, begins):
    case = dataclasses.replace(
        report,
        original=make_profile(given),
        reordered=make_profile(best),
        shuffled_mean=np.array([0.29, 0.3, 0.31]),
        held_out=held_out,
    )
    assert case.verdict.startswith(begins)


def test_many_features_say_that_not_every_pair_counts(monkeypatch):
    X = chain(60, 32)
    every = diagnose(X, n_shuffles=1)
    monkeypatch.setattr("entangle.affinity.DENSE_FEATURES", 31)
    some = diagnose(X, n_shuffles=1)
    assert not any("strongest correlations" in note for note in every.notes)
    assert any("64 strongest correlations of each" in note for note in some.notes)


def test_rows_held_out_have_every_class():
    X = chain(100, 8)
    alternating = np.arange(100) % 2
    report = diagnose(X, alternating, n_shuffles=2)
    given, best = report.held_out
    assert given > 0.5 * report.original.mean  # rows of one class alone have a tenth
    assert report.held_out_gain == pytest.approx(1 - best / given)
    assert report.to_dict()["held_out_nats"] == {"original": given, "reordered": best}


def test_orders_side_by_side_must_fit_in_memory_together(monkeypatch):
    free = psutil.virtual_memory()._replace(available=4e6)
    X = np.random.default_rng(0).random((100, 40))
    with monkeypatch.context() as patch, ThreadPoolExecutor(50) as pool:
        patch.setattr(psutil, "virtual_memory", lambda: free)
        with pytest.raises(MemoryLimitError, match="bases of 100 samples"):
            diagnose(X, n_shuffles=1, executor=pool)
        diagnose(X, n_shuffles=1)


def test_independent_features_have_no_better_order():
    report = diagnose(np.random.default_rng(0).normal(size=(200, 16)), n_shuffles=10)
    assert report.verdict.startswith("Order hardly matters")


def test_almost_equal_rows_are_fit_in_any_order():
    X = 1 + 1e-3 * np.random.default_rng(0).normal(size=(50, 8))
    report = diagnose(X, theta=0.085, scale="none", n_shuffles=3)
    assert report.verdict.startswith("Fit for a local network in any order")


def test_entropies_set_by_the_number_of_rows_are_called_so():
    X = np.random.default_rng(0).normal(size=(40, 64))
    report = diagnose(X, theta=0.45, scale="none", n_shuffles=3)
    assert report.is_saturated
    assert report.verdict.startswith("Undecided")
    words = dataclasses.replace(report, command=("noise.csv",)).next_command
    assert words == "entangle diagnose noise.csv --theta 0.23"


def test_the_convergence_is_that_of_the_rows_drawn(report):
    """Rebuilt from public pieces."""
    data = load_breast_cancer()
    rows = stratified_rows(data.target, 569, 120, seed=3)
    X = scaled(data.data, rows, "feature")
    y = data.target[rows]
    tensor = DataTensor.from_labels(X, y, Trigonometric(report.settings["theta"]))
    expected = entanglement_convergence(tensor, levels=4, strata=y, n_splits=4, seed=5)
    found = report.convergence
    assert found.n_splits == 4
    assert found.noise_share == pytest.approx(expected.noise_share)
    assert_allclose(found.mean.halves, expected.mean.halves, atol=2e-4)
    assert_allclose(found.by_level[2].quarters, expected.by_level[2].quarters, atol=2e-4)


def test_rows_are_said_to_suffice_or_not(report):
    def line(**changes):
        text = dataclasses.replace(report, **changes).to_text()
        return next(line for line in text.splitlines() if line.startswith("rows: "))

    curve = report.convergence.mean
    low, high = curve.interval
    given = (
        f"rows: mean {report.original.mean:.4f} at 120 rows (95 % interval {low:.4f} to {high:.4f})"
    )
    low, high = curve.extrapolated_interval
    limit = f"{curve.extrapolated:.4f} with ever more rows"
    assert line() == f"{given}, {limit} ({low:.4f} to {high:.4f})"

    def case(**changes):
        mean = dataclasses.replace(curve, **changes)
        return dataclasses.replace(report.convergence, mean=mean)

    noise = case(noise_share=0.3)
    assert line(convergence=noise) == (
        f"{given}; not extrapolated: sampling noise holds 30 % of the tensor"
    )
    other_law = case(quarters=curve.quarters + 1)
    assert line(convergence=other_law) == (
        f"{given}; not extrapolated: halves and quarters do not follow 1/rows"
    )
    most = case(noise_share=1.6)
    assert line(convergence=most) == (
        "rows: no interval; sampling noise holds 100 % of the tensor, and the entropies are those "
        "of the noise"
    )
    verdict = dataclasses.replace(report, convergence=case(halves=curve.halves - 1)).verdict
    assert verdict.startswith("Undecided: the entropies grow with ln(rows), so the number")
    growing = case(halves=curve.halves - 1, quarters=curve.quarters - 2)
    assert line(convergence=growing) == "rows: no interval; the entropies grow with ln(rows)"
    assert "too few rows" in line(convergence=None)


def test_labels_without_a_pattern_are_noise_and_need_more_rows():
    rng = np.random.default_rng(0)
    X, y = rng.random((300, 10)), np.arange(300) % 2
    report = diagnose(X, y, theta=0.3, n_shuffles=3, max_samples=100)
    assert not report.is_saturated
    assert report.convergence.mean.is_noise
    assert "the entropies are those of the noise" in report.to_text()
    words = dataclasses.replace(report, command=("noise.csv",)).next_command
    assert words == "entangle diagnose noise.csv --rows 300 --theta 0.3"


def test_few_rows_or_rows_that_cancel_in_parts_have_no_convergence(monkeypatch):
    assert diagnose(chain(15, 4), n_shuffles=1).convergence is None
    assert diagnose(chain(15, 4), n_shuffles=1).to_dict()["convergence"] is None
    assert diagnose(chain(16, 4), n_shuffles=1).convergence is not None
    take = DataTensor.take

    def cancelled(tensor, rows):
        if len(rows) <= 10:
            raise DegenerateStateError("cancel")
        return take(tensor, rows)

    monkeypatch.setattr(DataTensor, "take", cancelled)
    report = diagnose(chain(40, 4), n_shuffles=2)
    assert report.convergence is None
    assert len(report.held_out) == 2
    with pytest.raises(DegenerateStateError):
        diagnose(chain(20, 4), n_shuffles=2)  # the rows held out cancel


def test_balanced_weights_give_every_class_the_same_say():
    data = load_breast_cancer()
    found = diagnose(
        data.data, data.target, weights="balanced", max_samples=100, n_shuffles=1, levels=2
    )
    rows = stratified_rows(data.target, 569, 100, seed=0)
    tensor = DataTensor.from_labels(
        scaled(data.data, rows, "feature"), data.target[rows],
        Trigonometric(found.settings["theta"]), balanced=True,
    )  # fmt: skip
    expected = entanglement_profile(tensor, levels=2).entropy
    assert_allclose(found.original.entropy, expected, atol=1e-4)
    assert found.settings["weights"] == "-1 and +1 by class (balanced)"
    assert found.settings["mean_label_share"] == 0
    assert "weights -1 and +1 by class (balanced)" in found.to_text()
    assert "is 0.0 % of the squared norm" in found.to_text()


def test_the_mean_label_share_is_that_of_its_term():
    """D = mean(y) mean(phi) + mean((y - mean(y)) phi), dense."""
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 6)), (np.arange(40) < 10).astype(int)
    report = diagnose(X, y, theta=0.3, scale="none", n_shuffles=1)
    phi = trigonometric(X, 0.3)
    term = -0.5 * dense_tensor(phi, np.ones(40))
    rest = dense_tensor(phi, 2 * y - 1 + 0.5)
    share = (term**2).sum() / ((term + rest) ** 2).sum()
    assert report.settings["mean_label_share"] == pytest.approx(share)
    line = f"their mean label, nearly a product state, is {100 * share:.1f} % of the squared norm"
    assert f"classes: 75.0 % and 25.0 % of these rows; {line}" in report.to_text()
    X, y = load_iris(return_X_y=True)
    several = diagnose(X, y, n_shuffles=1)
    assert several.settings["mean_label_share"] is None
    assert several.settings["class_shares"] == pytest.approx({"0": 1 / 3, "1": 1 / 3, "2": 1 / 3})
    assert "classes: " not in several.to_text()


def test_orders_that_cannot_be_told_apart_count_as_equal(report):
    X = np.repeat(np.random.default_rng(0).random((40, 1)), 20, axis=1)
    assert diagnose(X, n_shuffles=19).p_value == 1  # equal columns
    close = np.full(19, report.original.mean + 5e-5)
    moved = dataclasses.replace(report, shuffled_mean=close, error_bound=1e-4)
    assert moved.p_value == 1
    assert dataclasses.replace(moved, error_bound=1e-5).p_value == pytest.approx(1 / 20)


def make_profile(mean):
    return EntanglementProfile(
        partitions=tuple(canonical_partitions(2)), levels=np.array([1]),
        entropy=np.array([mean]), error_bound=np.zeros(1), discarded_weight=np.zeros(1),
        schmidt_weights=(np.array([1.0]),), tolerance=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "random", "p_value"),
    [(0.1, [0.2, 0.3, 0.4], 1 / 4), (0.35, [0.2, 0.3, 0.4], 3 / 4), (0.2, [0.2, 0.2], 1.0)],
)
def test_the_p_value_counts_the_orders_at_or_below_the_given_one(report, given, random, p_value):
    moved = dataclasses.replace(
        report, original=make_profile(given), shuffled_mean=np.array(random)
    )
    assert moved.p_value == pytest.approx(p_value)


def test_names_with_spaces_are_quoted_in_the_next_command(report):
    named = {**report.dataset, "name": "my data"}
    command = ("my data.csv", "--target", "the label")
    moved = dataclasses.replace(report, dataset=named, command=command)
    words = "'my data.csv' --target 'the label'"
    assert moved.is_worthwhile
    settings = {**report.settings, "affinity": "covariance"}
    moved = dataclasses.replace(moved, settings=settings)
    words_then = f"{words} --affinity covariance"
    assert moved.next_command == f"entangle reorder {words_then} -o 'my data_reordered.csv'"
    moved = dataclasses.replace(moved, settings={**settings, "affinity": "pearson"})
    assert moved.next_command == f"entangle reorder {words} -o 'my data_reordered.csv'"
    theta = f"{report.settings['theta'] / 2:.2g}"
    kept = dataclasses.replace(moved, held_out=())
    assert kept.next_command == f"entangle diagnose {words} --theta {theta}"
    few = {**moved.settings, "n_samples_used": 1}
    options = ("--levels", "1", "--rows", "1", "--shuffles", "3")
    more = dataclasses.replace(moved, settings=few, options=options)
    theta = f"{report.settings['theta']:.4g}"
    assert more.next_command == (
        f"entangle diagnose {words} --levels 1 --shuffles 3 --rows 4 --theta {theta}"
    )
    all_used = dataclasses.replace(more, dataset={**moved.dataset, "n_samples": 1})
    halved = f"{report.settings['theta'] / 2:.2g}"
    assert all_used.next_command.endswith(f"--rows 1 --shuffles 3 --theta {halved}")


def test_more_classes_become_a_label_axis_and_quantities_a_score():
    X, y = load_iris(return_X_y=True)
    assert diagnose(X, y, n_shuffles=1).settings["weights"] == "label axis of 3 classes (raw)"
    assert diagnose(X, y.astype(float), n_shuffles=1).settings["weights"].startswith("label axis")
    assert diagnose(X, X[:, 0] * 1.7, n_shuffles=1).settings["weights"].startswith("standard")
    assert diagnose(X, n_shuffles=1).settings["weights"] == "all 1 (no target)"


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_are_diagnosed_with_a_column_or_an_array_as_target(frame):
    X, y = load_iris(return_X_y=True)
    table = {f"f{n}": X[:, n] for n in range(4)}
    named = diagnose(frame({**table, "kind": y}), "kind", n_shuffles=1)
    apart = diagnose(frame(table), y, n_shuffles=1)
    assert_allclose(named.original.entropy, apart.original.entropy, atol=1e-12)
    with pytest.raises(InputError, match="kinds"):
        diagnose(frame(table), "kinds")


def test_a_data_set_brings_its_shape_and_scale():
    report = diagnose(load_dataset("digits"), max_samples=60, n_shuffles=1)
    assert report.dataset["shape"] == [8, 8]
    assert report.settings["scale"] == "global"
    assert report.settings["levels"] == [1, 2]  # level 3 holds single features
    flat = diagnose(load_dataset("digits"), shape=64, levels=[1, 3], max_samples=60, n_shuffles=1)
    assert flat.settings["levels"] == [1, 3]


def test_scales_map_each_feature_or_all_together():
    X = np.array([[0, 10], [5, 30], [10, 20]])
    rows = np.array([0, 2])
    assert scaled(X, rows, "feature").tolist() == [[0, 0], [1, 0.5]]
    assert_allclose(scaled(X, rows, "global"), [[0, 1 / 3], [1 / 3, 2 / 3]])
    assert scaled(X, rows, "none").tolist() == [[0, 10], [10, 20]]
    assert scaled(np.ones((2, 2)), np.arange(2), "feature").tolist() == [[0, 0], [0, 0]]


def test_weights_of_a_quantity_are_its_standard_score():
    weights, _ = sample_weights(np.array([1.0, 2.0, 6.0]))
    assert weights.mean() == pytest.approx(0)
    assert weights.std() == pytest.approx(1)
    assert_allclose(np.diff(weights), np.array([1, 4]) / np.std([1, 2, 6]))
    with pytest.raises(InputError, match="target is constant"):
        sample_weights(np.ones(3))


def test_rows_are_drawn_evenly_by_class_and_at_random():
    y = np.repeat([0, 1, 2], [600, 300, 100])  # grouped, as many files are
    rows = stratified_rows(y, 1000, 100, seed=0)
    assert np.bincount(y[rows]).tolist() == [60, 30, 10]
    assert len(np.unique(rows)) == 100
    assert (np.diff(rows) > 0).all()
    other = stratified_rows(y, 1000, 100, seed=1)
    assert not np.array_equal(rows, other)
    assert abs(np.mean(rows[y[rows] == 0]) - 300) < 75
    rare = np.repeat([0, 1, 2], [997, 2, 1])
    assert np.bincount(rare[stratified_rows(rare, 1000, 10, seed=0)]).tolist() == [8, 1, 1]
    each = np.arange(1000) % 500  # more classes than rows
    assert len(np.unique(each[stratified_rows(each, 1000, 100, seed=0)])) == 100
    quantity = np.linspace(0, 1, 1000)
    assert abs(np.mean(quantity[stratified_rows(quantity, 1000, 10, seed=0)]) - 0.5) < 0.001
    assert stratified_rows(y, 1000, 1000, seed=0).tolist() == list(range(1000))
    assert len(np.unique(stratified_rows(None, 1000, 77, seed=0))) == 77


X = np.random.default_rng(0).random((12, 4))
HOLE = np.where(np.arange(48).reshape(12, 4) == 9, np.nan, X)
LABELS = np.arange(12) % 2


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "match"),
    [
        ((HOLE,), {}, InputError, "NaN in column 1, row 2"),
        ((np.where(X[5, 3] == X, np.inf, X),), {}, InputError, "infinity in column 3, row 5"),
        ((np.ones((12, 4)),), {}, InputError, "every feature is constant"),
        ((X[:, :1],), {}, InputError, "2 features, got 12 and 1"),
        ((X[:1],), {}, InputError, "at least 2 samples"),
        ((X, np.zeros(12)), {}, InputError, "single class"),
        ((X, np.zeros(5)), {}, InputError, r"shape \(12,\), got \(5,\)"),
        ((X, np.full(12, np.nan)), {}, InputError, "12 missing or infinite values"),
        ((X, LABELS), {"shape": (3, 2)}, PartitionError, "6 positions, the data have 4"),
        ((X, LABELS), {"levels": 9}, PartitionError, "run from 1 to 2"),
        ((X, LABELS), {"theta": "wide"}, InputError, "positive number or 'auto'"),
        ((X, LABELS), {"theta": -1}, InputError, "positive finite"),
        ((X, LABELS), {"scale": "row"}, InputError, "'feature', 'global' or 'none'"),
        ((X, LABELS), {"weights": "even"}, InputError, "'raw' or 'balanced', got 'even'"),
        ((X,), {"weights": "balanced"}, InputError, "need classes and there is no target"),
        ((X, X[:, 0]), {"weights": "balanced"}, InputError, "the target is a quantity"),
        ((X, LABELS), {"n_shuffles": 0}, InputError, "at least 1"),
        ((X, LABELS), {"max_samples": 1}, InputError, "at least 2"),
        ((X, np.repeat([0, 1, 2], [10, 1, 1])), {"max_samples": 2}, InputError, "draw more rows"),
        ((X, [None] * 12), {}, InputError, "12 missing values"),
        ((X, np.array([1, "a"] * 6, dtype=object)), {}, InputError, "mixes text and int"),
        ((X, LABELS), {"theta": None}, InputError, "positive number or 'auto'"),
        ((np.sign(X - 0.5) * 1.5e308,), {"scale": "global"}, InputError, "beyond what a double"),
        ((X, LABELS), {"device": "tpu"}, InputError, "'tpu' is not available"),
        ((sparse.csr_matrix(X),), {}, InputError, r"pass X.toarray\(\)"),
        (([[1, 2], [3]],), {}, InputError, "rows of one length"),
        ((np.ma.masked_greater(X, 0.9),), {}, InputError, "NaN"),
        ((pl.LazyFrame({"a": [1, 2]}),), {}, InputError, "LazyFrame"),
        (([["a", "b"]] * 3,), {}, InputError, "real numbers"),
    ],
)
def test_bad_input(arguments, keywords, error, match):
    with pytest.raises(error, match=match):
        diagnose(*arguments, **keywords)


def test_the_best_order_is_the_lowest_of_those_found_from_each_affinity(report):
    means = report.settings["affinity_means"]
    assert list(means) == ["pearson", "covariance", "class-mean"]
    assert report.reordered.mean == means[report.settings["affinity"]] == min(means.values())
    X, y = load_iris(return_X_y=True)
    assert list(diagnose(X, y, n_shuffles=1).settings["affinity_means"]) == [
        "pearson",
        "covariance",
    ]
    assert "class-mean" in diagnose(X, X[:, 0] * 1.7, n_shuffles=1).settings["affinity_means"]


def test_one_class_among_the_few_other_rows_is_no_crash():
    X = np.random.default_rng(0).normal(size=(9, 4))
    y = np.array([0] * 8 + [1])
    assert diagnose(X, y, n_shuffles=1).held_out


def test_columns_of_a_category_stay_together_as_in_reorder():
    generator = np.random.default_rng(0)
    kind = generator.integers(3, size=200)
    frame = pd.DataFrame({"a": generator.normal(size=200), "kind": np.array(["x", "y", "z"])[kind]})
    frame["b"] = kind + generator.normal(size=200)
    frame["c"] = frame["a"] + 0.1 * generator.normal(size=200)
    data = table_to_dataset(frame, None)
    found = diagnose(data, n_shuffles=1).permutation
    columns = [data.variables[feature] for feature in found]
    first = columns.index("kind")
    assert columns[first : first + 3] == ["kind"] * 3
    assert len(diagnose(data, n_shuffles=1, shape=6).permutation) == 6
