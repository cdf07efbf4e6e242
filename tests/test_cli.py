import json
import shlex
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.datasets import load_wine

from entangle import cli
from entangle.commands import parsed_levels, parsed_shape
from entangle.datasets import load_dataset

QUICK = ["--rows", "60", "--shuffles", "2"]


@pytest.fixture
def table(tmp_path):
    def write(frame, name="table.csv"):
        path = tmp_path / name
        pd.DataFrame(frame).to_csv(path, index=False)
        return path

    return write


def columns(n_rows=30, **more):
    rng = np.random.default_rng(0)
    return {"a": rng.random(n_rows), "b": rng.random(n_rows), "c": rng.random(n_rows), **more}


def test_the_installed_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "entangle", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    for command in ("diagnose", "reorder", "datasets"):
        assert command in done.stdout


def test_diagnose_prints_a_summary_a_verdict_and_the_next_command(entangle):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    code, out, err = entangle("diagnose", "digits", *QUICK)
    assert torch.get_num_threads() == 2  # left as it was
    torch.set_num_threads(threads)
    assert (code, err) == (0, "")
    assert out.startswith("digits: 1797 rows, 64 features (grid of 8 x 8), 10 classes\n")
    assert "60 of 1797 rows drawn at random" in out
    assert out.splitlines()[-1].startswith("next: entangle ")


def test_diagnose_as_json_is_json_alone(entangle):
    options = ["--json", "--seed", 5, "--theta", 0.085, "--shape", 64, "--levels", "1-2"]
    code, out, err = entangle("diagnose", "digits", *QUICK, *options)
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert report["dataset"]["shape"] == [64]
    assert report["settings"]["theta"] == 0.085
    assert report["settings"]["seed"] == 5
    assert list(report["entanglement_nats"]["original"]["by_level"]) == ["1", "2"]


def test_balanced_weights_are_said_and_kept_in_the_next_command(entangle):
    code, out, _ = entangle("diagnose", "breast_cancer", *QUICK, "--weights", "balanced")
    assert code == 0
    assert "weights -1 and +1 by class (balanced)" in out
    options = ["--weights", "balanced", "--levels", "1", "--rows", "16", "--json"]
    report = json.loads(entangle("diagnose", "iris", *options)[1])
    assert report["settings"]["weights"] == "label axis of 3 classes (balanced)"
    assert report["next_command"].startswith("entangle diagnose iris --weights balanced --levels 1")
    code, _, err = entangle("diagnose", "wine", *QUICK, "--weights", "even")
    assert (code, err) == (1, "entangle: weights are 'raw' or 'balanced', got 'even'\n")


def test_a_report_folder_holds_four_files_and_is_not_overwritten(entangle, tmp_path):
    folder = tmp_path / "new" / "report"
    code, out, _ = entangle("diagnose", "wine", *QUICK, "--out", folder)
    assert code == 0
    names = ["permutation.json", "profile.png", "report.json", "report.txt"]
    assert sorted(path.name for path in folder.iterdir()) == names
    report = json.loads((folder / "report.json").read_text())
    assert (
        json.loads((folder / "permutation.json").read_text())["permutation"]
        == (report["permutation"])
    )
    assert (folder / "report.txt").read_text() in out
    with Image.open(folder / "profile.png") as picture:
        assert picture.size == (960, 600)
        assert len(picture.convert("RGB").getcolors(2**24)) > 10

    before = (folder / "report.json").read_bytes()
    code, out, err = entangle("diagnose", "wine", *QUICK, "--seed", 1, "--out", folder)
    assert (code, out) == (1, "")
    assert "report.json" in err
    assert "--force" in err
    assert (folder / "report.json").read_bytes() == before
    code, _, _ = entangle("diagnose", "wine", *QUICK, "--seed", 1, "--out", folder, "--force")
    assert code == 0
    assert json.loads((folder / "report.json").read_text())["settings"]["seed"] == 1


def test_existing_outputs_are_refused_before_any_work(entangle, tmp_path, monkeypatch):
    for name in ("profile.png", "moved.csv"):
        (tmp_path / name).write_text("precious")
    monkeypatch.setattr(cli, "_loaded", lambda *_: pytest.fail("read the data first"))
    for arguments in (("diagnose", "wine", "--out", tmp_path),
                      ("reorder", "wine", "-o", tmp_path / "moved.csv")):  # fmt: skip
        code, out, err = entangle(*arguments)
        assert (code, out) == (1, "")
        assert "--force" in err


def test_a_report_folder_that_is_a_file(entangle, table):
    code, _, err = entangle("diagnose", "wine", *QUICK, "--out", table(columns()))
    assert code == 1
    assert "is a file" in err


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "npz"])
def test_reorder_moves_names_with_columns_and_keeps_the_target(entangle, tmp_path, suffix):
    out_file = tmp_path / f"wine_reordered.{suffix}"
    code, out, _ = entangle("reorder", "wine", "-o", out_file)
    assert code == 0
    assert str(out_file) in out
    order = json.loads((tmp_path / "wine_reordered.permutation.json").read_text())
    assert order["shape"] == [13]
    wine = load_wine()
    moved = load_dataset(out_file, target="target")
    assert list(moved.feature_names) == order["names"]
    assert_array_equal(moved.X, wine.data[:, order["permutation"]])
    assert_array_equal(moved.y, wine.target)
    expected = [wine.feature_names[feature] for feature in order["permutation"]]
    assert order["names"] == expected


def shop(n_rows=200):
    rng = np.random.default_rng(0)
    kind = rng.choice(["p", "q", "r"], n_rows)
    size = np.searchsorted(["p", "q", "r"], kind) + 0.1 * rng.standard_normal(n_rows)
    frame = {"size": size, "noise": rng.random(n_rows), "kind": kind, "weight": rng.random(n_rows)}
    frame["mass"] = frame["weight"] + 0.1 * rng.random(n_rows)
    return {**frame, "paid": np.where(size > 1, "yes", "no")}


def order_of(path):
    return json.loads(path.with_name(path.stem + ".permutation.json").read_text())


def test_reorder_says_how_good_the_order_is(entangle, tmp_path):
    code, out, err = entangle("reorder", "breast_cancer", "-o", tmp_path / "b.csv")
    assert (code, err) == (0, "")
    assert "cut of the tree" in out
    assert "cut of other rows" in out
    assert out.splitlines()[-1].startswith("next: entangle diagnose")
    order = order_of(tmp_path / "b.csv")
    assert order["quality"]["held_out_reduction"]["mean"] > 0.1
    assert order["winner"] in order["cuts"]
    assert (order["method"], order["affinity"], order["seed"]) == ("mincut", "pearson", 0)
    code, out, _ = entangle("reorder", "breast_cancer", "-o", tmp_path / "c.csv", "--no-quality")
    assert out.startswith("written: ")
    assert order_of(tmp_path / "c.csv")["quality"] is None


def test_the_quality_of_many_features_is_measured_on_request(entangle, tmp_path, monkeypatch):
    monkeypatch.setattr("entangle.reordering.QUICK_FEATURES", 12)
    code, out, _ = entangle("reorder", "wine", "-o", tmp_path / "w.csv")
    assert code == 0
    assert "orders of 13 features take a while; --quality measures it" in out
    assert "cut of the tree" not in out
    out = entangle("reorder", "wine", "-o", tmp_path / "w.csv", "--quality", "--force")[1]
    assert "cut of the tree" in out
    monkeypatch.setattr("entangle.reordering.QUICK_FEATURES", 13)
    monkeypatch.setattr("entangle.reordering.QUICK_PRODUCTS", 178 * 13**2 * 8 - 1)
    options = ["-o", tmp_path / "w.csv", "--force", "--affinity"]
    assert "take a while" in entangle("reorder", "wine", *options, "mutual_info")[1]
    assert "cut of the tree" in entangle("reorder", "wine", *options, "pearson")[1]


def test_reorder_as_json_is_the_order_file(entangle, tmp_path):
    code, out, err = entangle("reorder", "wine", "-o", tmp_path / "w.npz", "--json", "--seed", 3)
    assert (code, err) == (0, "")
    assert json.loads(out) == order_of(tmp_path / "w.npz")
    assert json.loads(out)["seed"] == 3


def test_columns_of_a_category_stay_together(entangle, table, tmp_path):
    out_file = tmp_path / "moved.csv"
    code, out, _ = entangle("reorder", table(shop()), "--target", "paid", "-o", out_file)
    assert code == 0
    assert "7 columns in 5 groups (--groups none" in out
    names = list(pd.read_csv(out_file))[:-1]
    kinds = [place for place, name in enumerate(names) if name.startswith("kind=")]
    assert kinds == list(range(kinds[0], kinds[0] + 3))
    assert abs(names.index("size") - kinds[1]) == 2  # beside what it depends on
    assert "--shape 7" in out.splitlines()[-1]
    order = order_of(out_file)
    assert (order["shape"], order["groups"], order["names"]) == ([5], "one-hot", names)
    apart = ["--target", "paid", "-o", out_file, "--force"]
    assert entangle("reorder", table(shop()), *apart, "--groups", "none")[0] == 0
    assert order_of(out_file)["shape"] == [7]
    code, out, _ = entangle("reorder", table(shop()), *apart, "--shape", "7")
    assert "placed one by one, since the shape has a place for each" in out
    assert order_of(out_file)["groups"] == "none"
    code, _, err = entangle("reorder", table(shop()), *apart, "--refine", "1")
    assert (code, "1 to 3 columns" in err, "--groups none" in err) == (1, True, True)


def test_columns_of_a_category_are_found_in_a_table_that_was_encoded_before(
    entangle, table, tmp_path
):
    frame = pd.get_dummies(pd.DataFrame(shop()), columns=["kind"], dtype=int)
    paid = frame.pop("paid")
    path = table({**frame, "paid": paid})
    out_file = tmp_path / "moved.csv"
    code, out, _ = entangle("reorder", path, "--target", "paid", "-o", out_file)
    assert (code, order_of(out_file)["groups"]) == (0, "none")
    words = "note: 3 columns exclude each other as the categories of one variable do"
    assert f"{words}; --groups one-hot keeps them together, too" in out
    again = ["reorder", path, "--target", "paid", "-o", out_file, "--force", "--groups"]
    code, out, _ = entangle(*again, "none")
    assert (code, "exclude" in out) == (0, False)
    code, out, err = entangle(*again, "one-hot")
    assert code == 0, err
    assert f"{words}, and stay together" in out
    order = order_of(out_file)
    kinds = [place for place, name in enumerate(order["names"]) if name.startswith("kind_")]
    assert kinds == list(range(kinds[0], kinds[0] + 3))
    assert (order["shape"], order["groups"]) == ([5], "one-hot")
    path = table({**frame, "place": np.array(["x", "y", "z"])[np.arange(200) % 3], "paid": paid})
    code, out, err = entangle("reorder", path, "--target", "paid", "-o", out_file, "--force")
    assert (code, "10 columns in 8 groups" in out, words in out) == (0, True, True), err
    code, out, err = entangle(*again, "one-hot")
    assert (code, order_of(out_file)["shape"]) == (0, [6]), err


def test_a_table_of_one_variable_is_not_told_to_keep_it_together(entangle, table, tmp_path):
    kind = np.arange(60) % 3
    path = table({**{f"kind{k}": (kind == k).astype(int) for k in range(3)}, "y": kind})
    code, out, _ = entangle("reorder", path, "--target", "y", "-o", tmp_path / "o.csv")
    assert (code, "exclude" in out) == (0, False)


def test_more_places_than_features_write_empty_columns(entangle, tmp_path):
    out_file = tmp_path / "wine.csv"
    code, out, _ = entangle("reorder", "wine", "-o", out_file, "--shape", "4x4")
    assert code == 0
    frame = pd.read_csv(out_file)
    order = order_of(out_file)
    assert list(frame)[:-1] == order["names"]
    assert (frame[["empty0", "empty1", "empty2"]] == 0).all().all()
    assert [n for n, c in zip(order["names"], order["columns"], strict=True) if c < 0] == [
        "empty0", "empty1", "empty2"
    ]  # fmt: skip
    assert sorted(order["permutation"]) == list(range(13))
    follow = shlex.split(out.splitlines()[-1].removeprefix("next: "))
    assert follow[-1] == "4x4"
    assert entangle(*follow[1:], *QUICK)[0] == 0


@pytest.mark.parametrize(
    ("options", "shape", "follow"),
    [
        (["--groups", "2"], [8, 4], "8x4x2"),
        (["--groups", "8"], [8], "8x8"),
        (["--groups", "16"], [4], "4x16"),
        (["--groups", "2", "--shape", "4x8"], [4, 8], "4x8x2"),
        (["--groups", "2", "--shape", "36"], [36], "36x2"),
    ],
)
def test_groups_of_consecutive_features(entangle, tmp_path, options, shape, follow):
    out_file = tmp_path / "digits.npz"
    code, out, _ = entangle("reorder", "digits", "-o", out_file, "--no-quality", *options)
    assert code == 0
    order, size = order_of(out_file), int(options[1])
    assert (order["shape"], order["groups"]) == (shape, size)
    groups = np.array(order["columns"]).reshape(-1, size)
    assert ((groups[:, 0] % size == 0) | (groups[:, 0] == -1)).all()
    assert f"--shape {follow} " in out.splitlines()[-1]


def test_every_option_reaches_the_order(entangle, tmp_path):
    orders = {}
    for options in (
        [], ["--method", "spectral"], ["--affinity", "class-mean"], ["--no-orient"],
        ["--method", "random", "--seed", "1"], ["--method", "random", "--refine", "1"],
    ):  # fmt: skip
        code, _, err = entangle("reorder", "wine", "-o", tmp_path / "w.csv", "--force", *options)
        assert (code, err) == (0, "")
        orders[" ".join(options)] = order_of(tmp_path / "w.csv")
    found = [tuple(order["permutation"]) for order in orders.values()]
    assert len(set(found)) == len(found)
    refined = orders["--method random --refine 1"]
    assert (refined["refine"], refined["winner"], refined["cuts"]) == (1, None, {})
    assert "entropies_nats" in refined["quality"]
    assert orders["--affinity class-mean"]["affinity"] == "class-mean"


def test_reorder_overwrites_nothing_unasked(entangle, tmp_path):
    out_file = tmp_path / "wine.csv"
    out_file.write_text("precious")
    code, _, err = entangle("reorder", "wine", "-o", out_file)
    assert code == 1
    assert "--force" in err
    assert out_file.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["wine.csv"]
    assert entangle("reorder", "wine", "-o", out_file, "--force")[0] == 0


def test_the_verdict_of_a_reordered_file_is_not_to_reorder_again(entangle, tmp_path):
    out_file = tmp_path / "wine.csv"
    entangle("reorder", "wine", "-o", out_file)
    code, out, _ = entangle("diagnose", out_file, "--target", "target", "--json")
    report = json.loads(out)
    entropies = report["entanglement_nats"]
    assert code == 0
    assert entropies["original"]["mean"] <= 1.02 * entropies["reordered"]["mean"]
    assert not report["verdict"].startswith("Rearranging helps")


def test_the_next_command_runs(entangle, tmp_path, monkeypatch):
    """Whatever was asked of diagnose, reorder gets what it needs: gaps, drops, layout, target."""
    rng = np.random.default_rng(0)
    X = np.cumsum(rng.normal(size=(200, 16)), axis=1)[:, rng.permutation(16)]
    frame = pd.DataFrame(X, columns=[f"f {n}" for n in range(16)])
    frame.insert(3, "noise", rng.normal(size=200))
    frame.loc[5, "f 2"] = np.nan
    frame["the kind"] = (X.mean(axis=1) > 0).astype(int)
    (tmp_path / "sub").mkdir()
    frame.to_csv(tmp_path / "sub" / "my data.csv", index=False)
    monkeypatch.chdir(tmp_path)
    code, out, _ = entangle(
        "diagnose", "sub/my data.csv", "--target", "the kind", "--impute", "median", "--drop",
        "noise", "--shape", "4x4", "--seed", "3",
    )  # fmt: skip
    assert code == 0
    assert "Rearranging helps" in out
    command = shlex.split(out.splitlines()[-1].removeprefix("next: "))
    assert command[0] == "entangle"
    code, out, err = entangle(*command[1:])
    assert (code, err) == (0, "")
    moved = pd.read_csv(tmp_path / command[-1])
    assert list(moved)[-1] == "the kind"
    assert "noise" not in moved
    report = json.loads(entangle(
        "diagnose", "sub/my data.csv", "--target", "the kind", "--impute", "median", "--drop",
        "noise", "--shape", "4x4", "--seed", "3", "--json",
    )[1])  # fmt: skip
    assert list(moved)[:16] == [f"f {n}" for n in report["permutation"]]
    follow = shlex.split(out.splitlines()[-1].removeprefix("next: "))
    assert follow == ["entangle", "diagnose", command[-1], "--target", "the kind", "--shape", "4x4"]
    kept = entangle(*follow[1:], "--rows", "90", "--shuffles", "3", "--levels", "1")[1]
    again = shlex.split(kept.splitlines()[-1].removeprefix("next: "))
    assert again[:-2] == [*follow, "--levels", "1", "--rows", "90", "--shuffles", "3"]
    assert entangle(*again[1:])[0] == 0


def test_datasets_lists_what_is_found_and_counts_what_is_not(entangle, tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", X=np.eye(5), y=np.arange(5))
    monkeypatch.setenv("ENTANGLE_DATA", str(tmp_path))
    code, out, _ = entangle("datasets")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()]
    assert {"digits", "breast_cancer", "wine", "mine"} <= set(names)
    assert "semeion" not in names
    assert "more are registered and not on this machine" in out
    listed = json.loads(entangle("datasets", "--json")[1])
    assert {entry["name"] for entry in listed if not entry["found"]} >= {"semeion", "dna"}


BAD_TABLES = {
    "a missing value": (columns(d=[1.0, None] + [2.0, 3.0] * 14), [], "--impute"),
    "infinity": (columns(d=[np.inf, *range(29)]), [], "inf"),
    "text in a number column": (columns(d=["1.5", "x", *["2.5"] * 28]), [], "'x'"),
    "one column": ({"a": np.arange(30.0)}, [], "column"),
    "one row": (columns(1), [], "row"),
    "one class": (columns(kind=["same"] * 30), ["--target", "kind"], "single class"),
    "constant columns only": ({"a": [1.0] * 9, "b": [2.0] * 9}, [], "constant"),
    "an unknown target": (columns(kind=[0, 1] * 15), ["--target", "kinds"], "did you mean"),
    "a shape that does not fit": (columns(), ["--shape", "2x2"], "4 positions, the data have 3"),
    "a shape of nothing": (columns(), ["--shape", "0"], "positive whole number"),
    "a level that is not there": (columns(), ["--levels", "9"], "run from 1 to 2"),
    "a theta that is no number": (columns(), ["--theta", "wide"], "positive number or 'auto'"),
    "a device that is not there": (columns(), ["--device", "tpu"], "'tpu' is not available"),
    "an unknown way to impute": (columns(), ["--impute", "magic"], "magic"),
    "an unknown column to drop": (columns(), ["--drop", "z"], "'z'"),
    "an unknown scale": (columns(), ["--scale", "row"], "'feature', 'global' or 'none'"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_data_give_exit_code_one_and_one_message(entangle, table, name):
    frame, options, match = BAD_TABLES[name]
    code, out, err = entangle("diagnose", table(frame), *options)
    assert (code, out) == (1, "")
    assert err.startswith("entangle: ")
    assert match in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--method", "mincat"], "did you mean 'mincut'?"),
        (["--affinity", "kendall"], "got 'kendall'"),
        (["--affinity", "class-mean"], "(--target)"),
        (["--groups", "two"], "'one-hot' or 'none', got 'two'"),
        (["--groups", "one-hot"], "'table' shows none: no columns of two values"),
        (["--groups", "2"], "groups of 2 features do not divide 3 features"),
        (["--groups", "0"], "groups of 0 features"),
        (["--shape", "2"], "holds 2 features, X has 3"),
        (["--refine", "9"], "levels"),
    ],
)
def test_bad_orders_give_exit_code_one_and_one_message(entangle, table, tmp_path, options, match):
    code, out, err = entangle("reorder", table(columns()), "-o", tmp_path / "o.csv", *options)
    assert (code, out) == (1, "")
    assert err.startswith("entangle: ")
    assert len(err.splitlines()) == 1
    assert match in err
    assert not (tmp_path / "o.csv").exists()


def test_duplicate_column_names(entangle, tmp_path):
    path = tmp_path / "twice.csv"
    path.write_text("a,b,a\n1,2,3\n4,5,6\n")
    code, _, err = entangle("diagnose", path)
    assert code == 1
    assert "'a'" in err


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("digit", "digits"),
        ("nowhere.csv", "nowhere.csv"),
        (__file__, "expected a file ending in .csv"),
    ],
)
def test_data_that_cannot_be_found_or_read(entangle, data, match):
    code, out, err = entangle("diagnose", data)
    assert (code, out) == (1, "")
    assert match in err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["diagnose", "wine", "--out", "/dev/null/x"], "cannot make the folder"),
        (["reorder", "wine", "-o", "."], "written as .csv"),
        (["reorder", "wine", "-o", "wine.xlsx"], "written as .csv"),
        (["reorder", "wine", "-o", "nowhere/wine.csv"], "does not exist"),
    ],
)
def test_outputs_that_cannot_be_written(entangle, monkeypatch, arguments, match):
    monkeypatch.setattr(cli, "_loaded", lambda *_: pytest.fail("read the data first"))
    code, out, err = entangle(*arguments)
    assert (code, out) == (1, "")
    assert match in err


def test_one_varying_column_is_no_division_by_zero(entangle, table):
    frame = {"a": np.arange(30.0), "b": [1.0] * 30, "c": [2.0] * 30, "d": [3.0] * 30}
    code, out, _ = entangle("diagnose", table(frame))
    assert code == 0
    assert "Fit for a local network in any order" in out


def test_a_damaged_file(entangle, tmp_path):
    path = tmp_path / "broken.npz"
    path.write_bytes(b"PK not a zip file")
    code, _, err = entangle("diagnose", path)
    assert code == 1
    assert "broken.npz" in err


def test_too_large_for_memory_is_refused_with_the_size(entangle, monkeypatch):
    monkeypatch.setattr("entangle.data_tensor.free_memory", lambda device: 1e6)
    code, _, err = entangle("diagnose", "digits")
    assert code == 1
    assert "bases of 500 samples" in err
    assert "MiB is available" in err


def test_running_out_of_memory_is_a_message(entangle, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(cli, "_loaded", fail)
    code, _, err = entangle("diagnose", "digits")
    assert (code, err) == (1, "entangle: out of memory; take fewer rows (--rows)\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["diagnose"],
        ["diagnose", "digits", "--no-such-option"],
        ["diagnose", "digits", "--shape", "8y8"],
        ["diagnose", "digits", "--levels", "top"],
        ["diagnose", "digits", "--levels", "1-3000000000"],
        ["diagnose", "digits", "--seed", "-1"],
        ["reorder", "digits", "-o", "x.csv", "--seed", "99999999999"],
        ["diagnose", "digits", "--rows", "1"],
        ["diagnose", "digits", "--shuffles", "0"],
        ["reorder", "digits"],
        ["measure", "digits"],
    ],
)
def test_usage_errors_exit_with_two(entangle, arguments):
    code, out, err = entangle(*arguments)
    assert (code, out) == (2, "")
    assert "Usage:" in err


@pytest.mark.parametrize(
    ("text", "levels"),
    [("4", 4), ("2-5", [2, 3, 4, 5]), ("1,3", [1, 3]), ("1-2,5", [1, 2, 5]), (None, None)],
)
def test_levels_are_parsed(text, levels):
    assert parsed_levels(text) == levels


@pytest.mark.parametrize(("text", "shape"), [("64", (64,)), ("8x8", (8, 8)), ("4X4x2", (4, 4, 2))])
def test_shapes_are_parsed(text, shape):
    assert parsed_shape(text) == shape
