"""Curves: true claims, signs of masking, whatever a user calls a model."""

import json
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from entangle import FeatureRearranger, LocalNetworkClassifier, TensorNetworkClassifier
from entangle.adversarial import APGD, PGD, Attack, Square, robustness_curve
from entangle.adversarial.estimators import exact_module, scores
from entangle.adversarial.portfolio import resolve_attacks
from entangle.adversarial.result import binomial_interval
from entangle.errors import InputError

QUICK = ["apgd-ce", "apgd-t", Square(queries=100)]


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def digits():
    """Images in [0, 1], and a perceptron that was trained on the first 1200."""
    X, y = load_digits(return_X_y=True)
    samples, labels = torch.tensor(X / 16, dtype=torch.float32), torch.tensor(y)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(module.parameters(), 3e-3)
        for _ in range(15):
            for rows in torch.randperm(1200).split(64):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(module(samples[rows]), labels[rows])
                loss.backward()
                optimizer.step()
    return module, samples[1200:1350], labels[1200:1350]


def curve(model, X, y, epsilons=(0, 0.05, 0.1), attack=QUICK, **options):
    return robustness_curve(model, X, y, epsilons, attack=attack, **options)


@pytest.fixture(scope="module")
def plain(digits):
    return curve(*digits, bounds=(0, 1))


# -- claims --------------------------------------------------------------------------------


def test_a_standardised_table_is_moved_by_no_more_than_it_says(cancer):
    X, y = cancer
    model = LogisticRegression().fit(X, y)
    found = robustness_curve(model, X, y, [0.3, 0, 0.1], attack=["pgd", "apgd-ce", "apgd-t"])
    assert found.epsilons.tolist() == [0, 0.1, 0.3]
    assert found.accuracy[0] == pytest.approx(model.score(X, y))
    X32 = X.astype(np.float32).astype(np.float64)
    assert np.abs(found.adversarial - X32).max() <= 0.3 + 2e-6
    for eps in found.epsilons:
        rows, samples = found.examples(eps)
        assert (model.predict(samples) != y[rows]).all()
        assert np.abs(samples - X32[rows]).max() <= eps + 2e-6
    margin = model.decision_function(X) * np.where(y == model.classes_[1], 1, -1)
    exact = margin / np.abs(model.coef_).sum()
    expected = [(exact > eps).mean() for eps in found.epsilons]
    np.testing.assert_allclose(found.accuracy, expected, atol=1.01 / len(y))


def test_a_curve_falls_and_its_parts_agree(digits, plain):
    _, samples, labels = digits
    assert (np.diff(plain.accuracy) <= 0).all()
    assert plain.accuracy[-1] < 0.6 < 0.9 < plain.accuracy[0]
    assert (plain.low <= plain.accuracy).all()
    assert (plain.accuracy <= plain.high).all()
    for place, eps in enumerate(plain.epsilons):
        assert plain.accuracy[place] == np.mean(plain.first > place)
        assert ((plain.distance <= eps + 1e-6) == (plain.first <= place)).all()
    assert [name is None for name in plain.found_by] == np.isinf(plain.distance).tolist()
    assert plain.found_by.count("clean") == int((plain.distance == 0).sum())
    untouched = np.isinf(plain.distance) | (plain.distance == 0)
    np.testing.assert_array_equal(plain.adversarial[untouched], samples[untouched])
    assert plain.n_refused == 0
    assert len(labels) == len(plain.found_by)


def test_results_go_to_json_and_text(plain):
    kept = json.loads(json.dumps(plain.to_dict(), allow_nan=False))
    assert kept["schema"] == 1
    assert kept["accuracy"] == plain.accuracy.tolist()
    assert kept["n_samples"] == 150
    text = plain.to_text()
    assert "eps       accuracy  95% interval" in text
    assert f"{plain.accuracy[1]:.1%}" in text


def test_a_seed_decides_everything(digits):
    module, samples, labels = digits
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, other = (curve(module, samples[:40], labels[:40], bounds=(0, 1)) for _ in range(2))
    np.testing.assert_array_equal(one.adversarial, other.adversarial)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_mode_of_every_part_is_restored(digits):
    _, samples, labels = digits
    norm = nn.BatchNorm1d(64)
    module = nn.Sequential(norm, nn.Dropout(0.5), nn.Linear(64, 10)).train()
    norm.eval()
    found = curve(module, samples[:20], labels[:20], [0.1])
    assert "random outputs" not in found.masking.flagged
    assert module.training
    assert module[1].training
    assert not norm.training


def test_a_full_mask_leaves_the_clean_accuracy(digits):
    module, samples, labels = digits
    found = curve(module, samples, labels, immutable=True)
    assert len(set(found.accuracy.tolist())) == 1


@pytest.mark.parametrize("shape", [(64,), (16, 4), (1, 1, 64), (1, 8, 8)])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_shapes_and_few_classes(digits, shape, n_classes, norm):
    samples = digits[1][:30].reshape(-1, *shape)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes))
    labels = module(samples).argmax(1)
    attacks = ["fgsm", "pgd", "apgd-ce", "apgd-dlr", "apgd-t", Square(queries=20), "fmn"]
    found = curve(module, samples, labels, [0, 0.1, 100], attack=attacks, norm=norm)
    assert found.accuracy[0] == 1
    assert found.accuracy[-1] == 0
    assert found.adversarial.shape == samples.shape
    assert found.n_refused == 0


class Nonempty(nn.Linear):
    def forward(self, samples):
        if not len(samples):
            raise RuntimeError("nothing to transform")
        return super().forward(samples)


def test_no_model_is_asked_about_nothing_when_every_sample_is_fooled():
    module = Nonempty(4, 3)
    X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    found = curve(module, X, module(X).argmax(1), [0.1, 50.0, 60.0], [*QUICK, "square", "fmn"])
    assert found.accuracy[-1] == 0


class Cheater(Attack):
    """Reports samples of another class, far away."""

    def run(self, task, generator):
        return torch.full_like(task.room.origin, 10.0)


def test_what_is_not_in_its_ball_does_not_count(digits):
    module, samples, labels = digits
    found = curve(module, samples, labels, [0.01], attack=[Cheater()])
    assert found.accuracy[0] == float((module(samples).argmax(1) == labels).double().mean())
    assert found.n_refused > 50
    assert "were not adversarial when tested anew" in found.to_text()


def test_intervals_are_exact():
    low, high = binomial_interval(9, 10, 0.95)
    assert (low, high) == pytest.approx((0.55498, 0.99747), abs=1e-5)
    assert binomial_interval(10, 10, 0.95)[1] == 1


# -- masking -------------------------------------------------------------------------------


class Louder(nn.Module):
    def __init__(self, module, factor=1e3):
        super().__init__()
        self.module, self.factor = module, factor

    def forward(self, samples):
        return self.factor * self.module(samples)


class Rounded(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, samples):
        return self.module((samples * 64).round() / 64)


class Noisy(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, samples):
        logits = self.module(samples)
        return logits + 0.2 * torch.randn_like(logits)


def test_a_plain_network_shows_no_sign(plain):
    assert plain.masking.flagged == ()
    assert plain.warnings == ()
    assert plain.masking.n_samples > 100


def one_sample_off(found, plain):
    return np.abs(found.accuracy - plain.accuracy).max() * len(plain.distance) < 1.5


def test_loud_logits_are_noticed_and_change_nothing(digits, plain):
    module, *rest = digits
    found = curve(Louder(module), *rest, bounds=(0, 1))
    assert {"zero gradients", "cross-entropy behind margin"} <= set(found.masking.flagged)
    assert one_sample_off(found, plain)


def test_a_softmax_head_is_noticed_and_changes_nothing(digits, plain):
    module, *rest = digits
    found = curve(nn.Sequential(module, nn.Softmax(1)), *rest, bounds=(0, 1))
    assert "probability outputs" in found.masking.flagged
    assert one_sample_off(found, plain)


@pytest.mark.slow
def test_rounded_inputs_are_noticed_and_attacked_by_differences(digits, plain):
    module, samples, labels = (digits[0], digits[1][:40], digits[2][:40])
    found = curve(Rounded(module), samples, labels, [0, 0.0625], bounds=(0, 1))
    truth = curve(module, samples, labels, [0, 0.0625], bounds=(0, 1))
    assert "zero gradients" in found.masking.flagged
    assert "estimated by differences" in found.to_text()
    assert one_sample_off(found, truth)


@pytest.mark.slow
def test_random_outputs_are_noticed_and_averaged(digits, plain):
    module, samples, labels = (digits[0], digits[1][:60], digits[2][:60])
    found = curve(Noisy(module), samples, labels, bounds=(0, 1), attack=["apgd-ce", "apgd-t"])
    truth = curve(module, samples, labels, bounds=(0, 1))
    assert "random outputs" in found.masking.flagged
    assert one_sample_off(found, truth)


def test_gradients_that_lead_nowhere_are_noticed():
    """Far from the data the network is constant, and near it the slope is turned around."""

    class Turned(nn.Module):
        def forward(self, samples):
            turned = 2 * samples.detach() - samples  # the same values, the opposite gradient
            return torch.stack([turned.sum(1), -turned.sum(1)], dim=1)

    samples = torch.rand(40, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    labels = torch.zeros(40, dtype=torch.long)
    found = robustness_curve(
        Turned(), samples, labels, [1.2], attack=["apgd-ce", Square(queries=200)]
    )
    assert {"black box ahead", "large radius"} <= set(found.masking.flagged)


# -- models --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(MinMaxScaler(clip=True), LinearSVC()),
        make_pipeline("passthrough", RidgeClassifier()),
        make_pipeline(FeatureRearranger(method="random", random_state=0), LogisticRegression()),
        MLPClassifier((8,), max_iter=20, random_state=0),
        MLPClassifier((8, 4), activation="tanh", max_iter=20, random_state=0),
        MLPClassifier((8,), activation="logistic", max_iter=20, random_state=0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_modules_of_estimators_are_exact(model, n_classes, cancer):
    X, y = cancer[0][:, :8], np.digitize(cancer[0][:, 0], [0.0, 1.0][: n_classes - 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    module = exact_module(model)
    assert module is not None
    logits = module(torch.from_numpy(X)).detach().numpy()
    expected = scores(model)(torch.from_numpy(X)).numpy()
    if hasattr(model, "predict_proba"):
        logits = torch.softmax(torch.from_numpy(logits), 1).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-8)


@pytest.mark.parametrize("kind", ["local", "channels", "tree", "mps"])
def test_our_classifiers_are_differentiable_in_the_units_of_the_user(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(3, 5, size=(40, 6, 2) if kind == "channels" else (40, 6))
    y = np.where(X.reshape(40, -1)[:, 0] > 3, "up", "down")
    model = (
        LocalNetworkClassifier("cnn", scale="feature", max_epochs=2, random_state=0)
        if kind in ("local", "channels")
        else TensorNetworkClassifier(kind, bond_dim=3, max_epochs=2, random_state=0)
    )
    module = model.fit(X, y).as_module()
    assert not module.training
    inside = torch.from_numpy(0.9 * X[:5] + 0.1 * X.mean(0)).requires_grad_()
    logits = module(inside)
    np.testing.assert_allclose(logits.detach(), model.logits(inside.detach().numpy()), rtol=1e-6)
    if logits.dtype == torch.float64:
        assert torch.autograd.gradcheck(module, (inside,))
    else:
        (slope,) = torch.autograd.grad(logits[:, 0].sum(), inside)
        step = 1e-2 * slope / slope.norm()
        rise = (module(inside + step) - module(inside - step))[:, 0].sum().item()
        assert rise == pytest.approx(2 * (slope * step).sum().item(), rel=0.05)
    found = curve(model, X, y, [0, 5.0], attack=["apgd-ce"])
    assert found.accuracy[0] == pytest.approx(model.score(X, y))
    rows, samples = found.examples(5.0)
    assert (model.predict(samples) != y[rows]).all()
    assert len(rows)


def test_outside_the_training_range_a_tensor_network_does_not_look():
    X = np.random.default_rng(0).uniform(size=(40, 4))
    model = TensorNetworkClassifier(bond_dim=2, max_epochs=2, random_state=0)
    module = model.fit(X, X[:, 0] > 0.5).as_module()
    outside = torch.tensor([[2.0, 0.5, 0.5, -1.0]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(module(outside)[0, 0], outside)
    assert slope[0, [0, 3]].tolist() == [0, 0]
    assert (slope[0, 1:3] != 0).all()


def test_a_forest_is_attacked_by_its_scores_alone(cancer):
    X, y = cancer
    model = RandomForestClassifier(5, max_depth=3, random_state=0).fit(X, y)
    found = curve(model, X[:30], y[:30], [0, 0.5], attack=["apgd-ce", Square(queries=60)])
    assert found.attacks == ("square",)
    assert "apgd-ce were left out" in found.warnings[0]
    assert found.accuracy[1] < found.accuracy[0]
    with pytest.raises(InputError, match="apgd-ce need gradients, and the model has none"):
        curve(model, X[:30], y[:30], attack="apgd-ce")
    with pytest.raises(InputError, match="gives no scores"):
        curve(LogisticOnly().fit(X, y), X, y)


class LogisticOnly(LogisticRegression):
    """Labels, and nothing else."""

    predict_proba = None
    decision_function = None


def test_labels_of_an_estimator_are_its_own(cancer):
    X, y = cancer
    names = np.where(y > 0, "benign", "malignant")
    model = LogisticRegression().fit(X, names)
    found = curve(model, X[:50], names[:50], [0], attack="fgsm")
    assert found.accuracy[0] == pytest.approx(model.score(X[:50], names[:50]))


# -- input ---------------------------------------------------------------------------------

SAMPLES, LABELS = np.zeros((4, 3)), [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"X": np.full((4, 3), np.nan)}, "X has 12 values that are not finite"),
        ({"X": [1.0, 2.0]}, r"one sample x becomes x\[None\]"),
        ({"X": np.zeros((0, 3))}, "at least one sample"),
        ({"X": [["a", "b", "c"]] * 4}, "X must be real numbers"),
        ({"y": [0, 1, 0]}, r"expected shape \(4,\), got \(3,\)"),
        ({"y": [0, 1, 0, 2]}, "class numbers 0 to 1, as it has 2 outputs, got 0 to 2"),
        ({"y": [0.5, 1, 0, 1]}, "labels of a module are class numbers 0 to 1, got dtype float64"),
        ({"y": ["a", "b", "a", "b"]}, "return_inverse=True"),
        ({"epsilons": [-0.1]}, "epsilons are finite and at least 0"),
        ({"epsilons": [np.nan]}, "epsilons are finite and at least 0"),
        ({"epsilons": []}, "one or more numbers"),
        ({"epsilons": ["a"]}, "epsilons are numbers"),
        ({"norm": "L2"}, "got 'L2'; did you mean 'l2'"),
        ({"attack": "autoattack"}, "attack is one of 'standard', 'fgsm'"),
        ({"attack": "apgd-cee"}, "did you mean 'apgd-ce'"),
        ({"attack": []}, "at least one attack"),
        ({"bounds": (0.5, 1)}, "below lower bound 0.5"),
        ({"confidence": 95}, "confidence lies between 0 and 1"),
        ({"batch_size": 0}, "batch_size is a whole number"),
        ({"eot": 0}, "eot is a whole number"),
        ({"model": nn.Linear(3, 1)}, r"becomes torch.cat\(\[-z, z\], dim=1\)"),
        ({"model": lambda x: (x, x)}, "the model returns a tuple"),
        ({"model": lambda x: x[:, :2] / 0 * 0}, "outputs that are not finite"),
        ({"model": "cnn"}, "model is a torch module"),
        ({"model": nn.Linear}, "pass an instance"),
    ],
)
def test_input_that_cannot_be_used_is_refused(changes, match):
    given = {"model": nn.Linear(3, 2), "X": SAMPLES, "y": LABELS, "epsilons": [0.1], **changes}
    with pytest.raises(InputError, match=match):
        robustness_curve(**given)


def test_one_sample_one_class_and_whole_numbers_are_fine():
    module = nn.Linear(3, 2)
    found = curve(module, np.zeros((1, 3), dtype=int), [1], [0, 10.0])
    assert len(found.distance) == 1
    assert "y has one class only" in found.warnings[0]
    assert "1 sample," in found.to_text()


def test_unknown_labels_of_an_estimator_are_refused(cancer):
    X, y = cancer
    with pytest.raises(InputError, match="labels that the model does not know, the first is 7"):
        curve(LogisticRegression().fit(X, y), X[:2], [0, 7])


def test_gradients_of_attacks_reach_double_precision_modules(device):
    module = nn.Linear(4, 3).double().to(device)
    samples = torch.rand(8, 4, device=device)
    found = curve(module, samples, [0, 1, 2, 0, 1, 2, 0, 1], [5.0], attack=PGD(steps=10))
    assert found.accuracy[0] < 0.5


@pytest.mark.parametrize(
    ("norm", "groups", "expected"),
    [
        ("linf", False, ["apgd-ce", "apgd-t", "square"]),
        ("l1", False, ["apgd-ce", "apgd-t", "fmn", "near-ce", "near-t", "square"]),
        ("l1", True, ["categories", "apgd-ce", "apgd-t", "square"]),
    ],
)
def test_the_standard_attack_by_norm(norm, groups, expected):
    assert list(resolve_attacks("standard", norm, groups=groups)) == expected


class Watched(APGD):
    """Remembers how many samples it is tried on."""

    def run(self, task, generator):
        TRIED.append(len(task))
        return task.none()


TRIED: list[int] = []


def test_only_samples_fooled_within_reach_are_tried_again():
    """A linear model fools sample n at distance n + 1, in closed form."""
    samples = torch.tensor([[-1.0], [-2.0], [-3.0], [-4.0]])
    module = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        module.weight[:] = torch.tensor([[-1.0], [1.0]])
    TRIED.clear()
    found = curve(module, samples, [0] * 4, [0.5, 2.8], ["fmn", Watched(reach=1.1)], norm="l1")
    assert_allclose(found.distance, [1, 2, np.inf, np.inf], rtol=1e-5)
    assert TRIED == [1]  # 1 is twice as far as .5; 3, beyond all radii, is within reach of 2.8
    curve(module, samples, [0] * 4, [0.95, 4.5], ["fmn", Watched(reach=1.1)], norm="l1")
    curve(module, samples, [0] * 4, [0.95, 4.5], ["fmn", Watched(reach=2.2)], norm="l1")
    assert TRIED == [1, 1, 2]  # within .95 times 1.1 and 2.2; at 4.5 nothing is left
    with pytest.raises(InputError, match=r"reach is 1 or more times the radius, got 0\.5"):
        APGD(reach=0.5)


def test_the_standard_attack_in_l1_takes_categories():
    X = torch.eye(3)[torch.arange(12) % 3]
    module = nn.Linear(3, 2)
    groups = [[0, 1, 2]]
    found = curve(module, X, module(X).argmax(1), [2.0], "standard", norm="l1", groups=groups)
    assert "fmn" not in found.attacks
