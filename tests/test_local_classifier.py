import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from entangle import FeatureRearranger, LocalNetworkClassifier
from entangle.errors import InputError, PartitionError
from entangle.models import build_model
from entangle.models.inputs import Inputs
from entangle.training import train

SMALL = {
    "cnn": {"width": 8, "depth": 3},
    "padded-cnn": {"width": 8, "depth": 3},
    "m5": {"width": 8},
    "s4": {"width": 8, "depth": 2, "n_states": 4},
    "attention": {"width": 16, "depth": 2, "heads": 2, "head_dim": 8, "window": 5},
    "mlp": {"hidden": (16,)},
}
S4 = {"width": 32, "depth": 2, "n_states": 32}
BATCHES = "rows that repeat are drawn and split apart, rows with a weight are not"
EXPECTED = {"check_sample_weight_equivalence_on_dense_data": BATCHES}


def quick(model="cnn", **options):
    options = {"max_epochs": 6, "learning_rate": 0.02, "random_state": 0} | options
    return LocalNetworkClassifier(model, **({"model_options": SMALL.get(model)} | options))


@parametrize_with_checks(
    [
        quick("cnn", max_epochs=12, random_state=None),
        quick("s4", max_epochs=20, learning_rate=0.05, random_state=None),
    ],
    expected_failed_checks=lambda _: EXPECTED,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def blobs(n_samples=150, n_features=6, classes=3, seed=0):
    return make_blobs(n_samples, n_features, centers=classes, cluster_std=2.0, random_state=seed)


def steps(n_samples, length, seed=0, size=6.0):
    """Noise with a pulse at a random place: up and down, or down and up; means say nothing."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, n_samples)
    X = random.standard_normal((n_samples, length))
    place = random.integers(0, length - 1, n_samples)
    rows, signs = np.arange(n_samples), np.where(y, -1, 1)
    X[rows, place] += size * signs
    X[rows, place + 1] -= size * signs
    return X, y


# -- what it learns ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("cnn", {"max_epochs": 8}),
        ("padded-cnn", {"max_epochs": 15}),
        ("attention", {"max_epochs": 6, "learning_rate": 0.01}),
        ("s4", {"max_epochs": 12, "learning_rate": 0.03, "model_options": S4}),
    ],
)
def test_neighbours_are_worth_something_to_a_local_network(model, options, device):
    """Pulses that a network finds by their neighbours, until the columns are shuffled."""
    X, y = steps(600, 30)
    unseen, truth = steps(300, 30, seed=1)
    shuffle = np.random.default_rng(0).permutation(30)
    near = quick(model, device=device, **options).fit(X, y)
    far = quick(model, device=device, **options).fit(X[:, shuffle], y)
    assert near.score(unseen, truth) > 0.9
    assert far.score(unseen[:, shuffle], truth) < near.score(unseen, truth) - 0.1
    assert next(near.module_.parameters()).device.type == device.type


def test_the_control_does_not_know_the_order():
    """With the columns of its first layer shuffled alike, it is the same network."""
    X, y = blobs()
    shuffle = np.random.default_rng(0).permutation(6)

    def shuffled(n_channels, shape, n_classes):
        module = build_model("mlp", n_channels, shape, n_classes, hidden=(16,))
        with torch.no_grad():
            weight = module.layers[1].weight
            weight.copy_(weight[:, shuffle])
        return module

    def plain(n_channels, shape, n_classes):
        return build_model("mlp", n_channels, shape, n_classes, hidden=(16,))

    options = {"max_epochs": 2, "learning_rate": 1e-3}
    one = quick(plain, **options).fit(X, y)
    other = quick(shuffled, **options).fit(X[:, shuffle], y)
    assert_allclose(one.logits(X), other.logits(X[:, shuffle]), atol=5e-3)


def test_it_goes_into_pipelines_validation_and_grids():
    X, y = blobs(n_features=9)
    pipeline = make_pipeline(
        StandardScaler(), FeatureRearranger("spectral", random_state=0), quick("cnn", max_epochs=15)
    )
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.8
    grid = {
        "localnetworkclassifier__learning_rate": [1e-8, 0.02],
        "featurerearranger__method": ["spectral", "random"],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_params_["localnetworkclassifier__learning_rate"] == 0.02
    assert search.score(X, y) > 0.8


# -- shapes and channels -------------------------------------------------------------------


def seen_shapes(found):
    def build(n_channels, shape, n_classes):
        found.append((n_channels, shape, n_classes))
        return build_model("cnn", n_channels, shape, n_classes, **SMALL["cnn"])

    return build


def test_features_are_a_sequence_or_a_grid_and_channels_come_last():
    X, y = blobs(n_features=6)
    found, channels = [], np.stack([X, -X], axis=2)
    quick(seen_shapes(found), max_epochs=1).fit(X, y)
    quick(seen_shapes(found), shape=(2, 3), max_epochs=1).fit(X, y)
    quick(seen_shapes(found), shape=(2, 3), max_epochs=1).fit(channels, y)
    assert found == [(1, (6,), 3), (1, (2, 3), 3), (2, (2, 3), 3)]


def test_a_network_gets_features_row_by_row_and_channels_first():
    samples = np.arange(24.0).reshape(2, 6, 2)
    inputs = Inputs.fitted(samples, (2, 3), None)
    found = inputs.tensor(samples, torch.device("cpu"))
    assert found.shape == (2, 2, 2, 3)
    assert found[1, 1, 1, 2] == samples[1, 5, 1]
    assert found[0, 0, 1, 0] == samples[0, 3, 0]
    assert found.dtype == torch.float32


def test_scales():
    samples = np.random.default_rng(0).normal(5.0, [1.0, 2.0, 3.0], (50, 3))
    samples[:, 2] = 1e7 + 0.1
    both = np.stack([samples, 100 * samples], axis=2)
    cpu = torch.device("cpu")
    each = Inputs.fitted(samples, (3,), "feature").tensor(samples, cpu)[:, 0].numpy()
    assert_allclose(each.mean(axis=0), 0, atol=1e-5)
    assert_allclose(each.std(axis=0), [1, 1, 0], atol=1e-5)
    alike = Inputs.fitted(both[:, :2], (2,), "all")
    together = alike.tensor(both[:, :2], cpu).numpy()
    assert_allclose(together.mean(axis=(0, 2)), 0, atol=1e-5)
    assert_allclose(together.std(axis=(0, 2)), 1, rtol=1e-5)
    assert_allclose(
        together[:, 0].std(axis=0)[1] / together[:, 0].std(axis=0)[0],
        samples[:, 1].std() / samples[:, 0].std(),
        rtol=1e-5,
    )
    bare = Inputs.fitted(samples, (3,), None).tensor(samples, cpu)[:, 0]
    assert_array_equal(bare, samples.astype(np.float32))


def test_units_do_not_matter():
    X, y = blobs()
    one, other = (quick(max_epochs=2).fit(given, y) for given in (X, 1024.0 * X))
    assert_array_equal(one.logits(X), other.logits(1024.0 * X))


def test_constant_features_are_only_features():
    X, y = blobs()
    X[:, 2:5] = 3.0
    for scale in ("all", "feature", None):
        assert np.isfinite(quick(scale=scale, max_epochs=2).fit(X, y).predict_proba(X)).all()
    flat = quick(max_epochs=2).fit(np.ones_like(X), y).predict_proba(np.ones_like(X))
    assert np.isfinite(flat).all()


# -- logits, labels, weights, seeds --------------------------------------------------------


def test_probabilities_are_the_softmax_of_the_logits_and_agree_with_all_else():
    X, y = blobs()
    model = quick().fit(X, y)
    found = model.predict_proba(X)
    logits = model.logits(X).astype(float)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_allclose(found, shares, rtol=1e-4)
    assert_array_equal(model.classes_[found.argmax(axis=1)], model.predict(X))
    assert_array_equal(model.decision_function(X), model.logits(X))
    two = quick().fit(X, y > 0)
    odds = two.predict_proba(X)
    assert_allclose(np.log(odds[:, 1] / odds[:, 0]), two.decision_function(X), atol=1e-3)


def test_logits_are_those_of_the_module_on_scaled_values():
    X, y = blobs()
    model = quick().fit(X, y)
    assert not model.module_.training
    values = torch.tensor((X - X.mean()) / X.std(), dtype=torch.float32)
    with torch.no_grad():
        assert_allclose(model.logits(X), model.module_(values[:, None]), rtol=1e-3, atol=1e-4)


def test_names_of_labels_do_not_matter():
    X, y = blobs()
    names = np.array(["ant", "bee", "cow"])
    one, other = (quick(max_epochs=2).fit(X, labels) for labels in (y, names[y]))
    assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    assert_array_equal(names[one.predict(X)], other.predict(X))
    assert_array_equal(other.classes_, names)


@pytest.mark.parametrize("model", ["cnn", "s4"])
def test_one_seed_one_model_and_no_global_state(model):
    X, y = blobs()
    options = SMALL[model] | ({"dropout": 0.3} if model == "s4" else {})
    before = torch.random.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    models = [
        quick(model, max_epochs=2, model_options=options, random_state=seed).fit(X, y)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    found = [model.logits(X) for model in models]
    assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


@pytest.mark.parametrize("model", list(SMALL))
def test_pickles_and_clones_predict_the_same(model):
    X, y = blobs()
    model = quick(model, max_epochs=1).fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(model)).logits(X), model.logits(X))
    assert_array_equal(clone(model).fit(X, y).logits(X), model.logits(X))


def test_only_ratios_of_weights_count_and_a_weight_of_zero_leaves_a_sample_out():
    X, y = blobs()
    weights = 1.0 + (np.arange(len(y)) % 4)
    one, other = (quick(max_epochs=2).fit(X, y, sample_weight=w) for w in (weights, 8 * weights))
    assert_allclose(one.logits(X), other.logits(X), rtol=1e-5)
    assert (one.logits(X) != quick(max_epochs=2).fit(X, y).logits(X)).any()
    weights[y == 2] = 0
    assert_array_equal(quick(max_epochs=1).fit(X, y, sample_weight=weights).classes_, [0, 1])


def test_balanced_classes_raise_the_recall_of_a_rare_one():
    X, y = make_blobs([300, 20], 5, cluster_std=6.0, random_state=4)
    found = [
        quick(class_weight=weight).fit(X, y).predict(X)[y == 1].mean()
        for weight in (None, "balanced")
    ]
    assert found[1] > found[0]


def test_frames_have_names():
    X, y = blobs()
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(6)])
    assert_array_equal(quick(max_epochs=1).fit(frame, y).feature_names_in_, frame.columns)


# -- training ------------------------------------------------------------------------------


def test_options_override_what_was_published():
    plain = LocalNetworkClassifier("attention")._plan()
    assert (plain.learning_rate, plain.batch_size, plain.weight_decay) == (5e-5, 32, 0.0)
    assert (plain.max_epochs, plain.patience) == (100, 34)
    given = LocalNetworkClassifier(
        "cnn", learning_rate=0.1, batch_size=7, weight_decay=0.0, max_epochs=9, patience=2
    )._plan()
    assert (given.learning_rate, given.batch_size, given.weight_decay) == (0.1, 7, 0.0)
    assert (given.max_epochs, given.patience, given.decoupled) == (9, 2, False)


def test_history_and_early_stopping():
    X, y = blobs(n_samples=200)
    y = np.random.default_rng(0).permutation(y)  # nothing to learn: it can only get worse
    model = quick(max_epochs=60, patience=3).fit(X, y)
    losses = [epoch.validation_loss for epoch in model.history_]
    assert model.n_iter_ == len(losses) == np.argmin(losses) + 1 + 3 < 60
    assert 0 <= model.history_[0].validation_score <= 1
    whole = quick(max_epochs=3, early_stopping=False).fit(X, y)
    assert whole.n_iter_ == 3
    assert math.isnan(whole.history_[0].validation_loss)


@pytest.mark.parametrize(("schedule", "last"), [(None, 0.0), ("constant", 2e-3)])
def test_rates_follow_the_schedule(monkeypatch, schedule, last):
    plans = []

    def watched(module, losses, rows, plan, *rest, **options):
        plans.append(plan)
        return train(module, losses, rows, plan, *rest, **options)

    monkeypatch.setattr("entangle.models.classifier.train", watched)
    X, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 2
    options = {"learning_rate": 2e-3, "max_epochs": 3, "schedule": schedule}
    LocalNetworkClassifier("mlp", **options).fit(X, y)
    assert plans[0].rate(3.0) == pytest.approx(last, abs=1e-12)
    assert plans[0].rate(1.0) == pytest.approx(2e-3 if last else 1.5e-3)


def test_state_parameters_move_at_their_own_rate(monkeypatch):
    X, y = blobs()
    first = build_model("s4", 1, (6,), 3, seed=0, **SMALL["s4"])
    model = quick(lambda *_: first, max_epochs=1, learning_rate=0.1, early_stopping=False)
    before = {name: p.detach().clone() for name, p in first.named_parameters()}
    after = dict(model.fit(X, y).module_.named_parameters())
    moved = {name: float((after[name] - before[name]).detach().abs().max()) for name in before}
    assert moved["layers.0.space.frequency"] < 5e-3
    assert moved["layers.0.gate.weight"] > 5e-2


@pytest.mark.parametrize("found", [{}, {"avx512_bf16": False}, {"avx512_bf16": True}])
def test_half_precision_is_used_where_the_processor_has_it(monkeypatch, found):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    X, y = blobs()
    one, other = (quick(max_epochs=1, mixed_precision=m).fit(X, y) for m in (False, True))
    same = np.array_equal(one.logits(X), other.logits(X))
    assert same != any(found.values())
    assert_allclose(one.logits(X), other.logits(X), atol=0.1)


@pytest.mark.parametrize("model", list(SMALL))
def test_half_precision_trains_and_predicts_in_single(monkeypatch, device, model):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    X, y = blobs()
    fitted = quick(model, mixed_precision=True, device=device, max_epochs=20).fit(X, y)
    assert fitted.score(X, y) > 0.9
    assert {p.dtype for p in fitted.module_.parameters()} == {torch.float32}


# -- modules of one's own ------------------------------------------------------------------


def test_a_module_is_copied_and_a_function_builds():
    X, y = blobs()
    own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 3))
    before = own[1].weight.detach().clone()
    model = quick(own, learning_rate=0.1, max_epochs=20).fit(X, y)
    assert model.score(X, y) > 0.8
    assert torch.equal(own[1].weight, before)
    assert isinstance(model.module_, torch.nn.Sequential)
    build = quick(lambda n_channels, shape, n_classes: own, max_epochs=1).fit(X, y)
    assert build.module_ is own


# -- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"model": "vgg"}, InputError, "cnn, padded-cnn, m5, s4, attention, mlp, .* got 'vgg'"),
        ({"model": 3}, InputError, "a torch module, or a function of .* got 3"),
        ({"model": torch.nn.Linear(4, 3)}, InputError, r"\(batch, 3\), got \(2, 1, 3\) for a"),
        ({"model": lambda n: None}, InputError, "cannot be built from"),
        ({"model_options": {"size": 3}}, InputError, "unexpected keyword argument 'size'"),
        ({"shape": (2, 3)}, PartitionError, "6 places, X has 4 features; pass"),
        ({"shape": (2, 2), "model": "s4"}, InputError, "reads a sequence, got shape"),
        ({"scale": "rows"}, InputError, "scale is 'all', 'feature' or None, got 'rows'"),
        ({"learning_rate": -1.0}, InputError, "learning_rate is a positive"),
        ({"batch_size": 1}, InputError, "batch_size is at least 2 .* got 1"),
        ({"max_epochs": 0}, InputError, "max_epochs is a whole number"),
        ({"schedule": "linear"}, InputError, "schedule is None, .* or 'constant', got 'linear'"),
        ({"patience": 0}, InputError, "patience is a whole number"),
        ({"validation_fraction": 1.0}, InputError, "validation_fraction is above 0 and below 1"),
        ({"device": "abacus"}, InputError, "device 'abacus' is not available"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, error, match):
    X, y = blobs(n_features=4)
    with pytest.raises(error, match=match):
        quick(**options).fit(X, y)


def test_more_axes_than_channels_are_refused():
    X, y = blobs()
    with pytest.raises(InputError, match=r"features, channels\), got \(150, 2, 3, 1\); flatten"):
        quick().fit(X.reshape(150, 2, 3, 1), y)


def test_channels_of_prediction_are_those_of_training():
    X, y = blobs()
    model = quick(max_epochs=1).fit(np.stack([X, X], axis=2), y)
    assert model.n_channels_in_ == 2
    with pytest.raises(InputError, match="1 numbers a feature, the model was trained on 2"):
        model.predict(X)
