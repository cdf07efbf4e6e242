import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from entangle import compare_robustness
from entangle.adversarial import APGD, PGD, Square, ThreatModel, robustness_curve
from entangle.comparison.intervals import corrected_interval
from entangle.comparison.orderings import orderings_wanted
from entangle.comparison.splits import splits_for
from entangle.comparison.threats import threat_in_order, with_threat_in_order
from entangle.datasets import load_dataset
from entangle.entropy import entanglement_profile
from entangle.errors import InputError
from entangle.models import LocalNetworkClassifier
from entangle.preparation import as_dataset, drawn_rows
from entangle.robustness import RobustnessComparison, RobustRow
from entangle.robustness.entropies import Ruler, with_random_signs
from entangle.robustness.relation import NO_RELATION, relation_of_rows
from entangle.robustness.units import rules_for
from entangle.robustness.wording import entropy_sentence, relation_sentence, sentence

LINEAR = partial(
    compare_robustness,
    orderings=("random", "natural"),
    models=[LogisticRegression()],
    attack=[PGD(steps=10, loss="margin")],
)


def line(n_samples=60, n_features=8, seed=0):
    random = np.random.default_rng(seed)
    X = random.standard_normal((n_samples, n_features)) * np.arange(1, n_features + 1)
    return X, X[:, 2] + X[:, 3] > 0


def network(**options):
    return LocalNetworkClassifier(
        "mlp", model_options={"hidden": (8,)}, max_epochs=3, random_state=0, **options
    )


# -- threats in order ----------------------------------------------------------------------


def test_a_threat_moves_with_its_features():
    """The margin of a linear model does not know the order."""
    X, y = line()
    model, columns = LogisticRegression().fit(X, y), np.random.default_rng(1).permutation(8)
    moved = LogisticRegression().fit(X[:, columns], y)
    fixed = np.arange(8) == 3
    threat = ThreatModel("linf", 1.0, X.min(axis=0), X.max(axis=0), X.std(axis=0), fixed)
    other = threat_in_order(threat, columns)
    found = [
        robustness_curve(
            m, Z, y, [0.2, 0.4], attack=APGD(steps=20), bounds=(t.lower, t.upper),
            eps_scale=t.scale, immutable=t.immutable,
        ).accuracy
        for m, Z, t in ((model, X, threat), (moved, X[:, columns], other))
    ]  # fmt: skip
    assert_allclose(*found, atol=1 / 60)
    assert 0 < found[0][1] < found[0][0] < 1


def test_numbers_stay_and_groups_follow():
    threat = ThreatModel("l2", 0.5, 0.0, 1.0, groups=[(0, 2)])
    columns = np.array([3, 2, 0, 1])
    moved = threat_in_order(threat, columns)
    assert (moved.lower, moved.upper, moved.eps, moved.norm) == (0.0, 1.0, 0.5, "l2")
    assert [columns[place] for place in moved.groups[0]] == [0, 2]


def test_a_classifier_gets_its_threat_in_order():
    columns = np.array([2, 0, 1])
    model = network(adversarial=ThreatModel("linf", 0.1, scale=[1.0, 2.0, 3.0]))
    found = with_threat_in_order(model, columns).adversarial
    assert_array_equal(found.scale, [3.0, 1.0, 2.0])
    plain = network()
    assert with_threat_in_order(plain, columns).adversarial is None


# -- units and bounds ----------------------------------------------------------------------


def test_images_count_in_their_range_and_tables_in_standard_deviations():
    digits = rules_for(load_dataset("digits"), "linf", None, "auto")
    assert (digits.unit, digits.shared) == ("range", True)
    assert_array_equal(digits.threat.scale, np.full(64, 16.0))
    assert_array_equal(digits.threat.upper, np.full(64, 16.0))
    assert "share" not in digits.described()
    table = load_dataset("breast_cancer")
    cancer = rules_for(table, "l2", None, "auto")
    assert (cancer.unit, cancer.shared, cancer.threat.lower) == ("std", False, None)
    assert_allclose(cancer.threat.scale, table.X.std(axis=0))
    observed = rules_for(table, "l2", "range", "auto").threat
    assert_allclose(observed.scale, np.ptp(table.X, axis=0))
    assert_array_equal(observed.lower, table.X.min(axis=0))
    given = rules_for(table, "l2", "std", (0.0, None)).threat
    assert (given.lower, given.upper) == (0.0, None)


def test_categories_move_as_one_and_odd_ones_not_at_all():
    frame = pd.DataFrame({"colour": list("rgbrgb"), "size": [1.0, 2, 3, 4, 5, 6], "y": [0, 1] * 3})
    data = as_dataset(frame, "y", None)
    rules = rules_for(data, "linf", None, "auto")
    columns = [n for n, v in enumerate(data.variables) if v == "colour"]
    assert rules.threat.groups == (tuple(columns),)
    assert_array_equal(np.asarray(rules.threat.scale)[columns], 1.0)
    assert "change as one" in rules.notes[0] or "changes as one" in rules.notes[0]
    X = data.X.copy()
    X[0, columns] = 0
    odd = rules_for(replace(data, X=X), "linf", None, "auto")
    assert odd.threat.groups == ()
    assert np.flatnonzero(odd.threat.immutable).tolist() == columns


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"unit": "sd"}, "unit is 'range' or 'std', got 'sd'"),
        ({"bounds": "all"}, "bounds are 'auto', 'observed', None, or a pair"),
        ({"epsilons": [0.0, 0.1]}, "finite and above 0"),
        ({"epsilons": ["a"]}, "epsilons are numbers"),
        ({"norm": "l3"}, "norm is one of"),
        ({"attack": "apgd"}, "attack is one of 'fast', 'standard'"),
        ({"bounds": (0.0, 1.0)}, "outside the bounds"),
        ({"max_attacked": 0}, "max_attacked is a whole number"),
        ({"adversarial_training": 0.1}, "has no option adversarial"),
        ({"attack": "apgd-ce", "models": [DecisionTreeClassifier()]}, "'DecisionTree.* need grad"),
        ({"baseline": "mincut"}, "got 'mincut'; add it"),
    ],
)
def test_options_that_cannot_be_used(options, match):
    X, y = line()
    with pytest.raises(InputError, match=match):
        LINEAR(X, y, **({"entropy": False} | options))


# -- the comparison ------------------------------------------------------------------------


def test_a_linear_model_is_as_robust_in_every_order_and_known_in_closed_form():
    """In Linf a row is fooled from |margin| / (scale . |w|) on."""
    X, y = line()
    found = LINEAR(X, y, [0.1, 0.3], entropy=False)
    assert (len(found.rows), found.unit, found.epsilons) == (6, "std", (0.1, 0.3))
    for row in found.rows:
        split = splits_for(3, (0,), y)[row.fold]
        model = LogisticRegression().fit(X[split.train], y[split.train])
        margin = model.decision_function(X[split.test]) * np.where(y[split.test], 1, -1)
        reach = margin / (np.abs(model.coef_[0]) @ X.std(axis=0))
        expected = [(reach > eps).mean() for eps in found.epsilons]
        assert_allclose(row.robust_accuracy, expected, atol=1.5 / 20)
        assert row.unattacked_accuracy == row.accuracy == (margin > 0).mean()
        assert (row.n_attacked, row.n_train, row.n_test) == (20, 40, 20)
    standing = found.standing("LogisticRegression", "natural")
    assert all(abs(d.mean) <= 1 / 20 and d.sign == 0 for d in standing.robust_differences)
    assert found.standing("LogisticRegression", "random").robust_differences is None
    with pytest.raises(KeyError, match="no model 'cnn'"):
        found.standing("cnn", "natural")


def test_the_same_rows_are_attacked_in_every_order_and_finished_work_is_kept(tmp_path):
    X, y = line()
    run = partial(LINEAR, X, y, [0.2], max_attacked=6, cv=2, directory=tmp_path)
    first = run()
    assert {row.n_attacked for row in first.rows} == {6}
    again = run()
    assert again.settings["n_reused"] == len(again.rows) == 4
    assert again.rows == first.rows
    assert run(max_attacked=5).settings["n_reused"] == 0
    assert run(norm="l2").settings["n_reused"] == 0
    assert run(attack=[Square(queries=10)]).settings["n_reused"] == 0
    json.dumps(first.to_dict(), allow_nan=False)
    assert first.to_dict()["epsilons_std"] == [0.2]
    frame = first.to_frame()
    assert list(frame["eps_std"][:2]) == [0.0, 0.2]
    assert len(frame) == 8


def test_models_without_gradients_and_unknown_scales():
    X, y = line()
    found = compare_robustness(
        X, y, [0.5], ("natural",), [DecisionTreeClassifier(max_depth=2)],
        attack=[Square(queries=50)], cv=2, entropy=False,
    )  # fmt: skip
    assert all(row.robust_accuracy[0] < row.unattacked_accuracy for row in found.rows)


def test_adversarial_training_uses_the_same_rules():
    X, y = line()
    rules = ("natural",), {"net": network()}
    found = compare_robustness(
        X, y, [0.2], *rules, adversarial_training=0.2, cv=2, entropy=False, attack="pgd"
    )
    plain = compare_robustness(X, y, [0.2], *rules, cv=2, entropy=False, attack="pgd")
    zero = compare_robustness(
        X, y, [0.2], *rules, cv=2, entropy=False, attack="pgd", adversarial_training=0.0
    )
    accuracies = [[row.robust_accuracy for row in f.rows] for f in (found, plain, zero)]
    assert accuracies[1] == accuracies[2]
    assert "eps=0.2" in found.settings["models"]["net"]
    assert "trained adversarially within eps 0.2" in found.to_text()


# -- entanglement --------------------------------------------------------------------------


def test_the_ruler_agrees_with_the_entropy_of_drawn_rows():
    data = replace(load_dataset("digits"), notes=())
    rows = np.arange(40)
    part = replace(data, X=data.X[rows], y=data.y[rows])
    ruler = Ruler.of(part, np.arange(64), part.X, part.y, 0)
    tensor = drawn_rows(part, "auto", None, "raw", 40, 0, None).tensor()
    assert_allclose(
        ruler.entropy_nats(part.X), entanglement_profile(tensor, (8, 8), 3).mean, atol=1e-5
    )
    columns = np.random.default_rng(0).permutation(64)
    moved = Ruler.of(part, columns, part.X[:, columns], part.y, 0)
    assert_allclose(
        moved.entropy_nats(part.X[:, columns]),
        entanglement_profile(tensor.reordered(columns), (8, 8), 3).mean, atol=1e-5,
    )  # fmt: skip


def test_the_control_has_the_same_steps_in_other_directions():
    clean = np.full((4, 50), 0.5)
    moved = clean + np.linspace(-0.5, 0.5, 50)
    noisy = with_random_signs(clean, moved, (0.0, 1.0), np.random.default_rng(0))
    assert_allclose(np.abs(noisy - clean), np.abs(moved - clean))
    assert (np.sign(noisy - clean) != np.sign(moved - clean)).mean() > 0.3
    assert with_random_signs(clean, moved, (0.4, None), np.random.default_rng(0)).min() == 0.4


def test_entropies_stand_beside_each_other_and_what_is_not_fooled_stays():
    X, y = line()
    found = LINEAR(X, y, [1e-6, 1.0], cv=2)
    for row in found.rows:
        assert_allclose(row.attacked_entropy_nats[0], row.entropy_nats, atol=1e-4)
        assert abs(row.attacked_entropy_nats[1] - row.entropy_nats) > 1e-3
        assert len(row.noise_entropy_nats) == 2
        assert row.train_entropy_nats is not None


# -- words ---------------------------------------------------------------------------------


def made(robust, accuracy=0.9, entropies=(0.1, 0.12), name="natural"):
    """Rows of one ordering, one a fold."""
    return [
        RobustRow(
            1.01, 0.99 + 0.001 * fold, 0.501, 12, 2,
            accuracy + 0.001 * fold, 1.0, 3, 100, accuracy, [value], 2.0, ["apgd"], [], [],
            entropies[0], [entropies[1] + 0.001 * fold], [entropies[0] + 0.01], name, "cnn", 0,
            fold, 1.0, 0.05, 200, 100,
        )
        for fold, value in enumerate(robust)
    ]  # fmt: skip


def compared(ours, theirs):
    rows = (*made(theirs, name="random"), *made(ours))
    data = {"name": "toy", "n_samples": 300, "n_features": 8, "n_classes": 2, "shape": [8]}
    settings = {"seeds": [0], "n_folds": len(ours), "eps": "eps 1 is one", "attack": "fast",
                "n_attacked": 100, "adversarial_training": None}  # fmt: skip
    return RobustnessComparison(rows, (0.1,), "std", "linf", "random", 0.95, True, data, settings)


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ([0.80, 0.81, 0.79], "accuracy is higher at eps 0.1 (+"),
        ([0.20, 0.21, 0.19], "accuracy is lower at eps 0.1 (-"),
        ([0.51, 0.30, 0.71], "not significant clean (+0.0, "),
    ],
)
def test_a_sentence_says_what_is_significant_and_what_is_not(ours, words):
    found = compared(ours, [0.5, 0.52, 0.51])
    pair = [found.standing("cnn", name) for name in ("natural", "random")]
    text = sentence(*pair, found.epsilons)
    assert text.startswith("cnn: natural against random: ")
    assert words in text
    assert text in found.to_text()
    assert "not significant clean" in text


def test_one_split_gives_no_interval():
    found = compared([0.5], [0.4])
    pair = [found.standing("cnn", name) for name in ("natural", "random")]
    assert "on one split, which gives no interval" in sentence(*pair, found.epsilons)
    assert "(one split)" in entropy_sentence(pair[0], 0.1)


def test_a_sentence_says_whether_the_attack_raises_the_entanglement():
    found = compared([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    text = entropy_sentence(found.standing("cnn", "natural"), 0.1)
    assert "the attack raises the entanglement of the rows from 0.1000 to 0.1210 nats" in text
    assert "random directions: +0.0100" in text
    rows = [replace(row, attacked_entropy_nats=[0.1 + 0.01 * (row.fold - 1)]) for row in found.rows]
    still = replace(found, rows=tuple(rows)).standing("cnn", "natural")
    assert "does not change the entanglement of the rows significantly" in entropy_sentence(
        still, 0.1
    )
    unknown = replace(still, entropy_changes=None)
    assert entropy_sentence(unknown, 0.1) == ""


def test_signs_of_masking_are_counted_and_spelled_out():
    found = compared([0.5, 0.5], [0.5, 0.5])
    rows = [
        replace(row, signs=["zero gradients"], warnings=["zero gradients: they are", "left out"])
        for row in found.rows
    ]
    text = replace(found, rows=tuple(rows)).to_text()
    assert "warning: cnn, natural, 2 of 2 trainings: zero gradients: they are" in text
    assert text.count("warning: cnn: left out") == 1


def test_equal_shares_of_few_rows_prove_nothing():
    plain = corrected_interval([0.1, 0.1], 0.5)
    rounded = corrected_interval([0.1, 0.1], 0.5, resolution=0.1)
    assert (plain.sign, rounded.sign) == (1, 0)
    variance = (1 / 2 + 0.5) * 0.01 / 12
    assert_allclose(rounded.high - 0.1, 12.706 * np.sqrt(variance), rtol=1e-4)
    wide = [0.0, 1.0]
    assert corrected_interval(wide, 0.5, resolution=0.1) == corrected_interval(wide, 0.5)


def test_orderings_are_those_of_the_other_comparison():
    names = [o.name for o in orderings_wanted(("random", "natural"), (8,), 8)]
    X, y = line()
    assert list(LINEAR(X, y, [0.1], cv=2, entropy=False).orderings) == names


# -- the uncertainty relation --------------------------------------------------------------


def test_the_relation_of_a_linear_model_is_that_of_its_weights_in_every_order():
    """The mean over features does not see their order, and draws average out."""
    X, y = line()
    found = LINEAR(X, y, [0.1], cv=2, models=[LogisticRegression(C=1e-3)])
    for row in found.rows:
        assert (row.packets, row.packets_refused) == (12, 0)
        assert row.uncertainty_product >= 0.5
        assert_allclose(row.relative_sigma_x * row.relative_sigma_p, 2 * row.uncertainty_product,
                        rtol=0.02)  # fmt: skip
    first, other = (found.standing("LogisticRegression", o) for o in found.orderings)
    assert_allclose(first.uncertainty_product.mean, other.uncertainty_product.mean, rtol=0.01)


def test_the_relation_is_of_the_network_and_not_of_the_units_of_the_data():
    X, y = line()
    rows = [
        relation_of_rows(
            LogisticRegression(C=0.02 / unit**2, tol=1e-8).fit(X * unit, y), X * unit, y,
            0.3 * unit * X.std(axis=0), 0,
        )
        for unit in (1.0, 8.0)
    ]  # fmt: skip
    assert [problem for _, problem in rows] == ["", ""]
    one, eight = ((r.relative_sigma_x, r.relative_sigma_p, r.uncertainty_product) for r, _ in rows)
    assert_allclose(one, eight, rtol=1e-3)
    assert abs(one[0] - 1) > 1e-3


def test_what_stays_has_no_packet():
    X, y = line()
    model = LogisticRegression().fit(X, y)
    found, problem = relation_of_rows(model, X, y, np.zeros(X.shape[1]), 0)
    assert found == NO_RELATION
    assert "no feature varies" in problem


def test_models_without_gradients_say_so_and_have_no_relation():
    X, y = line()
    found = compare_robustness(
        X, y, [0.1], ("random",), [DecisionTreeClassifier(max_depth=2)], cv=2, max_attacked=4,
        attack="square", entropy=False,
    )  # fmt: skip
    standing = found.standing("DecisionTreeClassifier", "random")
    assert standing.uncertainty_product is None
    assert relation_sentence(standing) == ""
    assert "no uncertainty relation" in found.to_text()


def test_a_sentence_says_what_the_relation_is():
    standing = compared([0.5, 0.5], [0.5, 0.5]).standing("cnn", "natural")
    text = relation_sentence(standing)
    assert "inputs spread 1.0100 (1.0100 to 1.0100) and gradients 0.9905 (" in text
    assert "product 0.5010" in text
    assert "4 of 24 packets refused" in text
