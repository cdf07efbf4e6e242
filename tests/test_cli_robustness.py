import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from entangle import compare_robustness, robustness_command
from entangle.adversarial import Square

NAMES = ["robustness.csv", "robustness.json", "robustness.png", "robustness.txt"]
QUICK = ["--models", "mlp", "--epochs", 1, "--folds", 2, "--rows", 40, "--attacked", 5,
         "--attack", "fgsm", "--orderings", "random,natural"]  # fmt: skip


def test_a_folder_holds_the_report_and_is_taken_up_again(entangle, tmp_path):
    folder = tmp_path / "report"
    run = ["robustness", "wine", *QUICK, "--eps", "0.1,0.3", "-o", folder]
    code, out, err = entangle(*run)
    assert (code, err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == ["cells", *NAMES]
    text = (folder / "robustness.txt").read_text()
    found = json.loads((folder / "robustness.json").read_text())
    assert out.startswith(text)
    assert found["epsilons_std"] == [0.1, 0.3]
    assert "eps 1 is of each feature its standard deviation; values have no bounds" in text
    with (folder / "robustness.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == 3 * len(found["rows"]) == 12
    with Image.open(folder / "robustness.png") as picture:
        assert len(picture.convert("RGB").getcolors(2**24)) > 10
    code, out, err = entangle(*run)
    assert (code, out, "--force" in err) == (1, "", True)
    again = json.loads(entangle(*run, "--force", "--json")[1])
    assert again["settings"]["n_reused"] == 4
    assert again["rows"] == found["rows"]


def test_options_count_and_the_next_command_is_a_command(entangle):
    options = ["--norm", "l2", "--unit", "range", "--bounds", "none", "--no-entropy",
               "--no-uncertainty", "--adversarial-training", 0.1, "--seed", 4,
               "--eps", "0.5"]  # fmt: skip
    code, out, err = entangle("robustness", "wine", *QUICK, *options)
    assert (code, err) == (0, "")
    assert "attack: L2, fgsm, on 5 test rows of each split" in out
    assert "eps 1 is of each feature the range of the feature; values have no bounds" in out
    assert "networks are trained adversarially within eps 0.1" in out
    assert "S rows" not in out
    follow = out.splitlines()[-1]
    assert follow.startswith("next: entangle robustness wine --seed 4 --models mlp")
    assert follow.endswith("--no-entropy --no-uncertainty --adversarial-training 0.1 --seeds 3")


def test_the_picture_has_the_relation_of_those_models_that_have_one():
    X = np.random.default_rng(0).standard_normal((60, 6))
    found = compare_robustness(
        X, X[:, 0] > 0, [0.1], ("random", "natural"),
        [LogisticRegression(C=0.1), DecisionTreeClassifier(max_depth=2)], cv=2, max_attacked=6,
        attack=[Square(queries=20)], entropy=False,
    )  # fmt: skip
    panels = robustness_command._figure(found).axes
    assert [panel.axison for panel in panels] == [True, True, True, False]
    assert panels[2].get_ylabel() == "ratio to the packet alone"


def test_an_interruption_says_where_to_go_on(entangle, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("entangle.robustness.compare_robustness", interrupted)
    code, out, err = entangle("robustness", "wine", "-o", tmp_path / "report")
    assert (code, out) == (130, "")
    assert f"is in {tmp_path / 'report' / 'cells'}, the same command goes on there" in err


@pytest.mark.parametrize(
    ("options", "code", "match"),
    [
        (["--eps", "a"], 2, "written as 0.02,0.05,0.1"),
        (["--eps", "0"], 1, "finite and above 0"),
        (["--attack", "fats"], 1, "did you mean 'fast'?"),
        (["--norm", "l3"], 1, "norm is one of"),
        (["--unit", "meter"], 1, "unit is 'range' or 'std'"),
        (["--attacked", "1"], 2, "Usage:"),
        (["--models", "cnm"], 1, "did you mean 'cnn'"),
    ],
)
def test_bad_options(entangle, options, code, match):
    found, out, err = entangle("robustness", "wine", *options)
    assert (found, out) == (code, "")
    assert match in err


def test_what_is_exported():
    assert robustness_command.__all__ == ["robustness"]
