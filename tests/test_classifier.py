import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_circles
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from entangle import (
    DataTensor,
    MatrixProductState,
    Partition,
    TensorNetworkClassifier,
    TreeTensorNetwork,
    entanglement_entropy,
)
from entangle.embedding import Fourier, Gaussian, OneHot, Trigonometric
from entangle.errors import InputError, PartitionError
from entangle.networks.fitting import bounded_logits
from entangle.networks.inputs import Inputs

KINDS = ["tree", "mps"]
BATCHES = "rows that repeat are drawn and split apart, rows with a weight are not"
EXPECTED = {"check_sample_weight_equivalence_on_dense_data": BATCHES}


def quick(network="tree", **options):
    return TensorNetworkClassifier(network, **{"bond_dim": 4, "max_epochs": 20, **options})


@parametrize_with_checks(
    [
        *[quick(network, max_epochs=30, learning_rate=0.05) for network in KINDS],
        quick("mps", solver="sweeps", max_epochs=6),
    ],
    expected_failed_checks=lambda _: EXPECTED,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def blobs(n_samples=150, n_features=5, classes=3, seed=0):
    return make_blobs(n_samples, n_features, centers=classes, cluster_std=2.0, random_state=seed)


def parity(n_bits=4, n_samples=320, seed=0):
    random = np.random.default_rng(seed)
    bits = random.integers(0, 2, (n_samples, n_bits))
    return bits + 0.1 * random.standard_normal(bits.shape), bits.sum(axis=1) % 2


# -- what it learns ------------------------------------------------------------------------


@pytest.mark.parametrize("network", KINDS)
def test_it_learns_parity_and_a_linear_model_does_not(network, device):
    X, y = parity()
    unseen, truth = parity(seed=1)
    model = quick(network, max_epochs=60, device=device, random_state=0).fit(X, y)
    assert model.score(unseen, truth) > 0.98
    assert LogisticRegression().fit(X, y).score(unseen, truth) < 0.7
    assert model.network_.log_factor.device.type == device.type


@pytest.mark.parametrize("network", KINDS)
def test_two_rings(network):
    X, y = make_circles(400, noise=0.1, factor=0.4, random_state=0)
    circle = Fourier((0.5, 1.0))  # one quarter turn alone is monotonic in each feature
    model = quick(network, embedding=circle, learning_rate=0.03, max_epochs=40, random_state=0)
    assert model.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.95
    assert LogisticRegression().fit(X[:300], y[:300]).score(X[300:], y[300:]) < 0.6


@pytest.mark.parametrize("network", KINDS)
@pytest.mark.parametrize("n_features", [784, 1500])
def test_hundreds_of_features_give_finite_numbers(network, n_features):
    random = np.random.default_rng(0)
    y = np.arange(80) % 3
    X = random.random((80, n_features)) + 0.3 * (np.arange(n_features) % 3 == y[:, None])
    model = quick(network, max_epochs=6, dtype="float32", random_state=0).fit(X, y)
    assert all(math.isfinite(epoch.loss) for epoch in model.history_)
    assert np.isfinite(model.logits(100 * X)).all()
    assert model.history_[-1].loss < model.history_[0].loss


def test_defaults_make_enough_steps_for_few_samples():
    model = TensorNetworkClassifier()
    model.n_features_in_ = 640
    assert model._plan(60).learning_rate == pytest.approx(1e-3)
    assert model._plan(60).max_epochs == 600
    assert model._plan(1212).max_epochs == 32
    assert model._plan(60_000).max_epochs == 30
    assert model._plan(60_000).patience == 10


# -- logits --------------------------------------------------------------------------------


def test_logits_are_the_contraction_with_its_norm_in_bounds():
    values = torch.tensor([[3.0, 4.0], [-3.0, 4.0], [3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    logs = torch.tensor([0.5, 1e3, -1e3, 0.0], dtype=torch.float64)
    inside = math.exp(0.5)
    expected = [[3 * inside, 4 * inside], [-6, 8], [0.6, 0.8], [0, 0]]
    assert_allclose(bounded_logits(values, logs), expected)


@pytest.mark.parametrize("log", [-1e3, 0.0, 1e3])
def test_gradients_are_finite_at_every_scale_and_reach_the_direction(log):
    values = torch.tensor([[1.0, -0.5], [0.0, 0.0]], requires_grad=True)
    bounded_logits(values, torch.full((2,), log))[:, 0].sum().backward()
    assert torch.isfinite(values.grad).all()
    assert values.grad[0].abs().max() > 0.1


def test_probabilities_are_the_softmax_of_the_logits_and_agree_with_all_else():
    X, y = blobs()
    model = quick(random_state=0).fit(X, y)
    probabilities = model.predict_proba(X)
    assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities >= 0).all()
    assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(X))
    assert_array_equal(model.decision_function(X), model.logits(X))
    two = quick(random_state=0).fit(X, y > 0)
    shares = two.predict_proba(X)
    assert_allclose(np.log(shares[:, 1] / shares[:, 0]), two.decision_function(X), atol=1e-9)


def test_the_fitted_network_is_a_state_whose_contraction_gives_the_logits():
    X, y = blobs(n_features=4)
    model = quick(random_state=0).fit(X, y)
    assert isinstance(model.network_, TreeTensorNetwork)
    assert isinstance(quick("mps", max_epochs=1).fit(X, y).network_, MatrixProductState)
    assert entanglement_entropy(model.network_, Partition([0, 1], 4)) > 0
    low, high = X.min(axis=0), X.max(axis=0)
    vectors = Trigonometric(0.5)(torch.from_numpy((X - low) / (high - low)))
    dense = torch.einsum("sa,sb,sc,sd,abcdl->sl", *vectors.unbind(1), model.network_.to_dense())
    norm = dense.norm(dim=1, keepdim=True)
    assert ((norm > 1) & (norm < 10)).any()
    assert_allclose(model.logits(X), dense / norm * norm.clamp(1, 10), atol=1e-9)


# -- labels, weights, seeds ----------------------------------------------------------------


def test_names_of_labels_do_not_matter():
    X, y = blobs()
    names = np.array(["ant", "bee", "cow"])
    one, other = (quick(random_state=0).fit(X, labels) for labels in (y, names[y]))
    assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    assert_array_equal(names[one.predict(X)], other.predict(X))
    assert_array_equal(other.classes_, names)


@pytest.mark.parametrize("network", KINDS)
def test_one_seed_one_model_and_no_global_state(network):
    X, y = blobs()
    before = torch.random.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    models = [quick(network, max_epochs=3, random_state=seed).fit(X, y) for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    found = [model.logits(X) for model in models]
    assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_pickles_and_clones_predict_the_same():
    X, y = blobs()
    model = quick(max_epochs=3, random_state=0).fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(model)).logits(X), model.logits(X))
    assert_array_equal(clone(model).fit(X, y).logits(X), model.logits(X))


def test_only_ratios_of_weights_count_and_a_weight_of_zero_leaves_a_sample_out():
    X, y = blobs()
    weights = 1.0 + (np.arange(len(y)) % 4)
    one, other = (
        quick(max_epochs=3, random_state=0).fit(X, y, sample_weight=w)
        for w in (weights, 8 * weights)
    )
    assert_allclose(one.logits(X), other.logits(X), rtol=1e-6)
    huge = quick(max_epochs=3, random_state=0).fit(X, y, sample_weight=1e307 * weights)
    assert_allclose(one.logits(X), huge.logits(X), rtol=1e-6)
    weights[y == 2] = 0
    assert_array_equal(quick(max_epochs=1).fit(X, y, sample_weight=weights).classes_, [0, 1])


def test_balanced_classes_raise_the_recall_of_a_rare_one():
    X, y = make_blobs([300, 20], 3, cluster_std=3.5, random_state=4)
    found = [
        quick(class_weight=weight, random_state=0).fit(X, y).predict(X)[y == 1].mean()
        for weight in (None, "balanced")
    ]
    assert found[1] > found[0]


def test_a_grid_is_a_tree_of_its_shape_and_frames_have_names():
    X, y = blobs(n_features=6)
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(6)])
    model = quick(shape=(2, 3), max_epochs=2).fit(frame, y)
    assert model.network_.tree.shape == (2, 3)
    assert_array_equal(model.feature_names_in_, frame.columns)


def test_shared_tensors_have_fewer_parameters():
    X, y = blobs(n_features=8)
    for network in KINDS:
        models = [quick(network, max_epochs=1, shared=s).fit(X, y) for s in (False, True)]
        own, shared = (sum(p.numel() for p in m.network_.parameters()) for m in models)
        assert shared < own


# -- training ------------------------------------------------------------------------------


class Watched(TensorNetworkClassifier):
    """Acts after every epoch."""

    stop_at = None

    def _on_epoch(self, epoch):
        if epoch.number == self.stop_at:
            raise KeyboardInterrupt


def test_history_and_early_stopping():
    X, y = blobs(n_samples=200)
    y = np.random.default_rng(0).permutation(y)  # nothing to learn: it can only get worse
    model = quick(max_epochs=60, patience=3, random_state=0).fit(X, y)
    losses = [epoch.validation_loss for epoch in model.history_]
    assert model.n_iter_ == len(losses) == np.argmin(losses) + 1 + 3 < 60
    assert 0 <= model.history_[0].validation_score <= 1
    seconds = [epoch.seconds for epoch in model.history_]
    assert (np.diff([0, *seconds]) > 0).all()
    whole = quick(max_epochs=5, early_stopping=False).fit(X, y)
    assert whole.n_iter_ == 5
    assert math.isnan(whole.history_[0].validation_loss)


def test_ctrl_c_leaves_a_fitted_model():
    X, y = blobs()
    model = Watched(bond_dim=4, max_epochs=20, random_state=0)
    model.stop_at = 4
    with pytest.warns(UserWarning, match="interrupted after 4 of 20 epochs; the best weights"):
        model.fit(X, y)
    assert model.n_iter_ == 4
    assert np.isfinite(model.predict_proba(X)).all()


def test_noise_leaves_the_mean_vector_as_it_is_and_shrinks_with_many_features():
    values = torch.rand(2000, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = Inputs.fitted(np.eye(64), "trigonometric", "all")
    source = torch.Generator().manual_seed(1)
    shrinkage = inputs.shrinkage(values, 0.1, source)
    assert shrinkage == pytest.approx(math.exp(-((0.05 * math.pi) ** 2) / 2), abs=1e-4)
    clean = inputs.vectors(values)
    noisy = inputs.noisy_vectors(values, 0.1, shrinkage, source)
    assert_allclose((noisy - clean).mean(dim=(0, 1)), 0, atol=3e-3)
    few = (noisy - clean).std()
    wide = Inputs.fitted(np.eye(256), "trigonometric", "all")
    many = values.repeat(1, 4)
    spread = (wide.noisy_vectors(many, 0.1, 1.0, source) - wide.vectors(many)).std()
    assert float(spread / few) == pytest.approx(4**-0.25, rel=0.03)
    bare = Inputs.fitted(np.eye(64), "trigonometric", None)
    assert torch.equal(bare.noisy_vectors(values, 0.1, 1.0, source), bare.vectors(values))


def test_ranges_are_those_of_training_and_values_beyond_are_clipped():
    X = np.array([[0.0, 10.0, 7.0], [2.0, 30.0, 7.0]])
    unseen = np.array([[1.0, 40.0, 8.0], [-5.0, 15.0, 6.0]])
    each, all_ = (Inputs.fitted(X, "trigonometric", scale) for scale in ("feature", "all"))
    assert_allclose(each.values(unseen), [[0.5, 1.0, 1.0], [0.0, 0.25, 0.0]])
    assert_allclose(all_.values(unseen), [[1 / 30, 1.0, 8 / 30], [0.0, 0.5, 0.2]])
    assert_array_equal(Inputs.fitted(X, "trigonometric", None).values(unseen), unseen)


def test_a_range_that_no_double_holds_is_refused():
    X = np.array([[-1e308, 0.0], [1e308, 1.0]])
    with pytest.raises(InputError, match=r"from -1e\+308 to 1e\+308, .*; divide X, or pass scale"):
        Inputs.fitted(X, "trigonometric", "feature")
    assert Inputs.fitted(X, "trigonometric", None).width is None


@pytest.mark.parametrize("dark", [0.3, 1.0], ids=["some", "all"])
def test_local_vectors_of_zeros_do_no_harm(dark):
    random = np.random.default_rng(0)
    X = random.random((40, 4, 3)) * (random.random((40, 4, 1)) > dark)
    y = np.arange(40) % 2
    for noise in (0.0, 0.1):
        model = quick(embedding="identity", scale="all", noise=noise, max_epochs=3).fit(X, y)
        assert np.isfinite([epoch.loss for epoch in model.history_]).all()
        assert np.isfinite(model.predict_proba(X)).all()


def test_categories_are_embedded_as_they_are():
    X = np.random.default_rng(0).integers(0, 3, (300, 4))
    y = X[:, 0] == X[:, 3]
    model = quick(embedding=OneHot(3), scale=None, max_epochs=60, random_state=0)
    assert model.fit(X, y).score(X, y) > 0.98


# -- channels ------------------------------------------------------------------------------


def colours(n_samples=300, seed=0):
    """Four pixels; red and green of the third are alike or not, in other units."""
    random = np.random.default_rng(seed)
    bits = random.integers(0, 2, (n_samples, 4, 3))
    noisy = bits + 0.1 * random.standard_normal(bits.shape)
    return noisy * [1, 10, 255], bits[:, 2, 0] == bits[:, 2, 1]


@pytest.mark.parametrize("network", KINDS)
def test_one_channel_is_a_number(network):
    X, y = blobs()
    one, other = (quick(network, max_epochs=3, random_state=0) for _ in range(2))
    one.fit(X, y), other.fit(X[:, :, None], y)
    assert_array_equal(one.logits(X), other.logits(X[:, :, None]))
    assert other.n_features_in_ == 5


@pytest.mark.parametrize("options", [{"shape": (2, 2)}, {"network": "mps"}], ids=str)
def test_what_channels_say_together_is_learnt(options):
    X, y = colours()
    model = quick(**options, max_epochs=60, learning_rate=0.03, random_state=0).fit(X, y)
    assert model.network_.local_dim == 8
    assert model.n_features_in_ == 4
    unseen, truth = colours(seed=1)
    assert model.score(unseen, truth) > 0.93
    assert_allclose(model.predict_proba(unseen).sum(axis=1), 1)
    flat = LogisticRegression(max_iter=1000).fit(X.reshape(300, -1), y)
    assert flat.score(unseen.reshape(300, -1), truth) < 0.65


def test_vectors_of_channels_are_those_of_a_data_tensor():
    X, _ = colours()
    for embedding in ("trigonometric", "identity", "polynomial"):
        inputs = Inputs.fitted(X, embedding, "feature")
        values = (X - X.min(axis=0)) / (X.max(axis=0) - X.min(axis=0))
        assert_allclose(inputs.values(X), values)
        given = Trigonometric(0.5) if embedding == "trigonometric" else embedding
        tensor = DataTensor(values, embedding=given)
        vectors = inputs.vectors(torch.from_numpy(values)).permute(1, 2, 0)
        assert_allclose(vectors / vectors.norm(dim=1, keepdim=True), tensor.vectors)


def test_ranges_are_those_of_channels_or_of_all():
    X = np.array([[[0.0, 10.0], [4.0, 7.0]], [[2.0, 30.0], [8.0, 7.0]]])
    unseen = np.array([[[1.0, 40.0], [5.0, 7.0]]])
    assert_allclose(
        Inputs.fitted(X, "trigonometric", "feature").values(unseen), [[[0.5, 1], [0.25, 0]]]
    )
    assert_allclose(
        Inputs.fitted(X, "trigonometric", "all").values(unseen) * 30, [[[1, 30], [5, 7]]]
    )


def test_every_channel_has_noise_of_its_own():
    inputs = Inputs.fitted(np.eye(64)[:, :, None] * [1.0, 1.0], "identity", "all")
    values = torch.full((2000, 64, 2), 0.4, dtype=torch.float64)
    made = inputs.noisy_vectors(values, 0.1, 1.0, torch.Generator().manual_seed(0)) - values
    assert_allclose(made.std(dim=(0, 1)), 0.1 * 2**-0.25, rtol=0.02)  # 128 values
    assert abs(float((made[..., 0] * made[..., 1]).mean())) < 1e-4


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((5, 4), r"X was \(samples, features, 3\) in training and has shape \(5, 4\) now"),
        ((5, 4, 2), r"has shape \(5, 4, 2\) now; pass features with the same channels"),
        ((5, 4, 3, 1), r"has shape \(5, 4, 3, 1\) now"),
        ((5, 3, 3), "X has 3 features"),
    ],
)
def test_other_channels_than_in_training_are_refused(shape, match):
    model = quick(max_epochs=1).fit(*colours())
    with pytest.raises(ValueError, match=match):
        model.predict(np.zeros(shape))


def test_more_axes_no_channels_and_too_many_channels_are_refused():
    y = np.arange(20) % 2
    with pytest.raises(InputError, match=r"X\.reshape\(len\(X\), -1, channels\)"):
        quick().fit(np.zeros((20, 2, 2, 3)), y)
    with pytest.raises(InputError, match=r"none of them 0, got \(20, 4, 0\)"):
        quick().fit(np.zeros((20, 4, 0)), y)
    with pytest.raises(InputError, match=r"2\^7 components"):
        quick().fit(np.zeros((20, 4, 7)), y)
    X, y = blobs()
    with pytest.raises(InputError, match=r"was \(samples, features\) in training"):
        quick(max_epochs=1).fit(X, y).predict(X[:, :, None])
    with pytest.raises(PartitionError, match="12 places, X has 4 features"):
        quick(shape=(2, 2, 3)).fit(*colours())


# -- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"network": "peps"}, InputError, "tree, mps, got 'peps'"),
        ({"bond_dim": 0}, InputError, "bond_dim is a whole number"),
        ({"bond_dim": 2.5}, InputError, "bond_dim is a whole number"),
        ({"bond_dim": "3"}, InputError, "bond_dim is a whole number"),
        ({"batch_size": None}, InputError, "batch_size is a whole number"),
        ({"batch_size": 0}, InputError, "batch_size is a whole number"),
        ({"max_epochs": "3"}, InputError, "max_epochs is a whole number"),
        ({"patience": 0.5}, InputError, "patience is a whole number"),
        ({"learning_rate": "fast"}, InputError, "learning_rate is a positive"),
        ({"noise": None}, InputError, "noise is a finite number"),
        ({"label_smoothing": "some"}, InputError, "label_smoothing is at least 0"),
        ({"shape": (2, 3)}, PartitionError, "6 places, X has 4 features; pass"),
        ({"shape": (2, 2), "network": "mps"}, InputError, "is a sequence, got shape"),
        ({"scale": "rows"}, InputError, "scale is 'feature', 'all' or None"),
        ({"embedding": "trig"}, InputError, "unknown embedding 'trig'"),
        ({"embedding": Gaussian(0.3)}, InputError, "another vector when others are with it"),
        ({"embedding": torch.cos}, InputError, r"got \(8, 4\) -> \(8, 4\)"),
        ({"learning_rate": -1.0}, InputError, "learning_rate is a positive"),
        (
            {"validation_fraction": 1.0},
            InputError,
            "validation_fraction is above 0 and below 1, got 1.0",
        ),
        ({"label_smoothing": 1.0}, InputError, "label_smoothing is at least 0 and below 1"),
        ({"noise": -0.1}, InputError, "noise is a finite number"),
        ({"dtype": "float16"}, InputError, "dtype is 'float32' or 'float64'"),
        ({"device": "abacus"}, InputError, "device 'abacus' is not available"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, error, match):
    X, y = blobs(n_features=4)
    with pytest.raises(error, match=match):
        quick(**options).fit(X, y)
