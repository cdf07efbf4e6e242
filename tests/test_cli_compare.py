import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from entangle import comparison_command
from entangle.comparison import Comparison, Row

NAMES = ["comparison.csv", "comparison.json", "comparison.png", "comparison.txt"]
QUICK = ["--epochs", 2, "--folds", 2, "--seeds", 1, "--rows", 60]


def test_compare_prints_a_table_a_model_and_a_sentence_an_order(entangle):
    code, out, err = entangle("compare", "digits", *QUICK, "--models", "cnn,mlp")
    assert (code, err) == (0, "")
    assert out.startswith("digits: 60 rows, 64 features (grid of 8 x 8), 10 classes\n")
    assert "2 folds x 1 seed" in out
    for line in ("cnn, difference from random in points", "note: mlp reads the grid"):
        assert line in out
    assert "mlp: mincut " in out
    assert "entropy" in out


def test_compare_as_json_is_json_alone_and_every_option_counts(entangle):
    options = ["--orderings", "natural, igtd,mincut:covariance", "--baseline", "igtd", "--seed", 5,
               "--no-entropy", "--shape", 30, "--drop", "mean radius", "--json"]  # fmt: skip
    code, out, err = entangle("compare", "breast_cancer", *QUICK, *options)
    assert (code, out) == (1, "")
    assert "30 positions, the data have 29" in err
    options[options.index(30)] = 29
    code, out, err = entangle("compare", "breast_cancer", *QUICK, *options)
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert [s["ordering"] for s in found["summary"]] == ["natural", "igtd", "mincut:covariance"]
    assert found["baseline"] == "igtd"
    assert {row["entropy_nats"] for row in found["rows"]} == {None}
    assert {row["seed"] for row in found["rows"]} == {5}
    assert {row["epochs"] for row in found["rows"]} == {2}
    assert (len(found["rows"]), found["dataset"]["n_samples"]) == (6, 60)


def test_a_folder_holds_the_report_and_cells_and_is_taken_up_again(entangle, tmp_path):
    folder = tmp_path / "new" / "report"
    run = ["compare", "wine", *QUICK, "-o", folder]
    code, out, err = entangle(*run)
    assert (code, err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == ["cells", *NAMES]
    text, found = (
        (folder / "comparison.txt").read_text(),
        json.loads((folder / NAMES[1]).read_text()),
    )
    assert out.startswith(text)
    assert f"written: {folder}/ (" in out
    with (folder / "comparison.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [float(row["accuracy"]) for row in table] == [row["accuracy"] for row in found["rows"]]
    with Image.open(folder / "comparison.png") as picture:
        assert picture.size == (1260, 600)
        assert len(picture.convert("RGB").getcolors(2**24)) > 10
    before = (folder / NAMES[1]).read_bytes()
    code, out, err = entangle(*run)
    assert (code, out) == (1, "")
    assert "comparison.json" in err
    assert "--force" in err
    assert (folder / NAMES[1]).read_bytes() == before
    again = json.loads(entangle(*run, "--force", "--json")[1])
    assert again["settings"]["n_reused"] == len(found["rows"])
    assert again["rows"] == found["rows"]


def test_existing_outputs_are_refused_before_any_work(entangle, tmp_path, monkeypatch):
    (tmp_path / "comparison.png").write_text("precious")
    monkeypatch.setattr("entangle.datasets.load_dataset", lambda *_, **__: pytest.fail("read"))
    code, out, err = entangle("compare", "wine", "-o", tmp_path)
    assert (code, out) == (1, "")
    assert "--force" in err
    code, _, err = entangle("compare", "wine", "-o", tmp_path / "comparison.png")
    assert (code, "is a file" in err) == (1, True)


def test_an_interruption_says_where_to_go_on(entangle, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("entangle.comparison.compare_orderings", interrupted)
    code, out, err = entangle("compare", "wine", "-o", tmp_path / "report")
    assert (code, out) == (130, "")
    assert (
        f"what is finished is in {tmp_path / 'report' / 'cells'}, the same command goes on" in err
    )
    assert "Traceback" not in err
    assert "--output DIR keeps" in entangle("compare", "wine")[2]


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(tmp_path):
    cells = tmp_path / "cells"
    command = [sys.executable, "-m", "entangle", "compare", "digits", "--epochs", "3", "--rows",
               "200", "-o", str(tmp_path), "--no-entropy", "--seeds", "20", "--orderings",
               "natural"]  # fmt: skip
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while (
        not cells.exists() or sum('"training"' in p.read_text() for p in cells.glob("*.json")) < 2
    ):
        assert running.poll() is None
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGINT)
    err = running.communicate(timeout=60)[1]
    assert (running.returncode, "the same command goes on there" in err) == (130, True)
    kept = [json.loads(path.read_text()) for path in cells.iterdir()]
    assert {cell["about"]["kind"] for cell in kept} == {"order", "training"}
    assert all(cell["result"]["epochs"] == 3 for cell in kept if "model" in cell["about"])


def test_the_next_command_orders_by_the_method_that_won(entangle, tmp_path, monkeypatch):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 6)), columns=list("abcdef"))
    frame.assign(**{"the kind": [0, 1] * 20}).to_csv(tmp_path / "my data.csv", index=False)
    monkeypatch.chdir(tmp_path)
    won = {"random": 0.5, "natural": 0.5, "tsp:spearman": 0.9}

    def compare(dataset, **_):
        rows = [
            Row(name, "cnn", 0, fold, mean + 0.01 * fold, 1.0, 2, 0.1, 1.0, None, 26, 14)
            for name, mean in won.items()
            for fold in range(3)
        ]
        data = {"name": dataset.name, "n_samples": 40, "n_features": 6, "n_classes": 2}
        data |= {"shape": [6], "largest_class": 0.5}
        return Comparison(tuple(rows), "random", 0.95, True, data, {"seeds": [0], "n_folds": 3})

    monkeypatch.setattr("entangle.comparison.compare_orderings", compare)
    code, out, _ = entangle("compare", "my data.csv", "--target", "the kind", "--seed", 3)
    assert code == 0
    follow = shlex.split(out.splitlines()[-1].removeprefix("next: "))
    assert follow == ["entangle", "reorder", "my data.csv", "--target", "the kind", "--seed", "3",
                      "-o", "my data_reordered.csv", "--method", "tsp", "--affinity",
                      "spearman"]  # fmt: skip
    assert entangle(*follow[1:])[0] == 0
    won["natural"] = 0.95
    assert "next:" not in entangle("compare", "my data.csv", "--target", "the kind")[1]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--models", "cnm"], "did you mean 'cnn'"),
        (["--orderings", "mincat"], "did you mean 'mincut'"),
        (["--baseline", "igtd"], "got 'igtd'; add it"),
        (["--folds", "80"], "48 of '2', got 80"),
        (["--device", "tpu"], "'tpu' is not available"),
        (["--models", "tree", "--orderings", "natural,natural"], "'natural' comes 2 times"),
        (["--jobs", "0"], "n_jobs is a number of processes"),
        (["--target", "kind"], "comes with its labels"),
        (["--seed", 2**32 - 2], "distinct whole numbers from 0"),
    ],
)
def test_bad_options_give_exit_code_one_and_one_message(entangle, tmp_path, options, match):
    code, out, err = entangle("compare", "wine", *options)
    assert (code, out) == (1, "")
    assert err.startswith("entangle: ")
    assert len(err.splitlines()) == 1
    assert match in err


def test_data_without_classes(entangle, tmp_path):
    path = tmp_path / "table.csv"
    pd.DataFrame(np.random.default_rng(0).random((30, 3)), columns=list("abc")).to_csv(path)
    code, _, err = entangle("compare", path)
    assert (code, "name the target column (--target)" in err) == (1, True)
    code, _, err = entangle("compare", path, "--target", "a")
    assert (code, "the target is a quantity" in err) == (1, True)


@pytest.mark.parametrize(
    "options",
    [
        ["--folds", "1"],
        ["--models", "cnn,"],
        ["--orderings", ""],
        ["--epochs", "0"],
        ["--seed", "-1"],
        ["--shape", "8y8"],
        ["--rows", "2"],
    ],
)
def test_usage_errors_exit_with_two(entangle, options):
    code, out, err = entangle("compare", "wine", *options)
    assert (code, out) == (2, "")
    assert "Usage:" in err


def test_the_command_is_listed():
    assert comparison_command.__all__ == ["compare"]
    done = subprocess.run(
        [sys.executable, "-m", "entangle", "--help"], capture_output=True, text=True, check=False
    )
    assert "compare" in done.stdout
