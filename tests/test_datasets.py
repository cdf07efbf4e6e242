"""Data sets: what is read, what is said about it, and what is refused with which words."""

import hashlib
import json
import os
import subprocess
import sys
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits

from entangle.datasets import (
    Dataset,
    DatasetInfo,
    available_datasets,
    load_dataset,
    registry,
    table_to_dataset,
    write_table,
)
from entangle.errors import DatasetError, InputError, MemoryLimitError, OutputExistsError
from entangle.files import write_atomically

FRAMES = [pd.DataFrame, pl.DataFrame, pa.table]
X = np.arange(12, dtype=np.uint8).reshape(4, 3) ** 2
Y = np.array([0, 1, 0, 1], dtype=np.uint8)


@pytest.fixture
def text_file(tmp_path):
    def write(text, name="table.csv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return write


@pytest.fixture
def archive(tmp_path):
    def save(name="set.npz", **arrays):
        np.savez_compressed(tmp_path / name, **arrays)
        return tmp_path / name

    return save


@pytest.fixture
def folder(tmp_path, monkeypatch, archive):
    """A data folder with one registered set, ``grid``, and one that is not, ``own``."""
    (tmp_path / "sub").mkdir()
    archive("sub/grid.npz", X=np.arange(24, dtype=np.int16).reshape(4, 6) % 7, y=Y, z=Y * 2.5)
    archive("own.npz", X=X, y=Y)
    content = (tmp_path / "sub/grid.npz").read_bytes()
    facts = {"kind": "image", "n_samples": 4, "n_features": 6, "n_classes": 2, "target": "colour"}
    info = DatasetInfo(
        name="sub/grid",
        title="Grid",
        shape=(2, 3),
        file="sub/grid.npz",
        sha256=hashlib.sha256(content).hexdigest(),
        source="a shelf",
        reference="A book",
        licence="CC0",
        note="upside down",
        **facts,
    )
    entries = {**registry.read_registry(), info.name: info}
    monkeypatch.setattr("entangle.datasets.registry.read_registry", lambda: entries)
    monkeypatch.setattr("entangle.datasets.loading.read_registry", lambda: entries)
    monkeypatch.setenv("ENTANGLE_DATA", str(tmp_path))
    return tmp_path


# Registry and names


def test_registry_is_consistent():
    for info in registry.read_registry().values():
        assert np.prod(info.shape) == info.n_features, info.name
        assert info.kind in {"table", "series", "audio", "image"}
        assert all([info.title, info.source, info.reference, info.licence])
        if info.file is not None:
            assert info.file == f"{info.name}.npz"
            assert len(info.sha256) == 64


def test_readme_names_every_field_of_the_registry():
    source = registry.Path(registry.__file__).parents[2] / "data"
    fields = json.loads((source / "registry.json").read_text())["datasets"][0]
    readme = (source / "README.md").read_text()
    assert [field for field in fields if f"`{field}`" not in readme] == []


AT_HAND = [info for info in available_datasets() if info.found and info.registered]


@pytest.mark.parametrize("info", AT_HAND, ids=lambda info: info.name)
def test_every_set_at_hand_is_as_registered(info):
    data = load_dataset(info.name)
    assert data.X.shape == (info.n_samples, info.n_features)
    assert (data.shape, data.kind, data.licence) == (info.shape, info.kind, info.licence)
    assert data.n_classes == info.n_classes
    assert data.target_name == info.target
    assert len(data.feature_names) == data.n_features == np.prod(data.shape)


def test_registry_of_an_installed_package(tmp_path, monkeypatch):
    text = '{"datasets": [{"name": "a", "title": "A", "shape": [2, 2], "later": 1}]}'
    (tmp_path / "registry.json").write_text(text)
    monkeypatch.setattr(registry.resources, "files", lambda package: tmp_path)
    assert list(registry.read_registry()) == ["a"]
    assert registry.read_registry()["a"].shape == (2, 2)


def test_bundled_digits_are_those_of_scikit_learn():
    data, expected = load_dataset("digits"), load_digits()
    assert_array_equal(data.X, expected.data)
    assert_array_equal(data.y, expected.target)
    assert data.shape == (8, 8)
    assert data.feature_names[9] == "pixel_1_1"
    assert data.notes == ("3 constant columns of 64 kept; they carry no entanglement",)
    assert "10 classes" in repr(data)


def test_regression_has_no_classes():
    data = load_dataset("diabetes")
    assert (data.n_classes, data.y.dtype) == (None, np.float64)


def test_listing_loads_nothing():
    code = (
        "import sys; from entangle.datasets import available_datasets; available_datasets();"
        "print([m for m in ('sklearn', 'pyarrow', 'pandas', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_listing_marks_what_is_found(folder):
    infos = {info.name: info for info in available_datasets()}
    assert infos["digits"].found
    assert infos["digits"].bundled
    assert infos["sub/grid"].found
    assert not infos["mnist"].found
    assert (infos["own"].registered, infos["own"].found) == (False, True)


def test_registered_file_brings_its_facts(folder):
    data = load_dataset("sub/grid")
    assert (data.shape, data.kind, data.licence, data.target_name) == (
        (2, 3), "image", "CC0", "colour",
    )  # fmt: skip
    assert data.X.dtype == np.int16
    assert data.source == "A book (a shelf)"
    assert "upside down" in data.notes
    by_path = load_dataset(folder / "sub/grid.npz")
    assert (by_path.name, by_path.shape) == ("sub/grid", (2, 3))
    assert_array_equal(load_dataset("sub/grid", target="z").y, Y * 2.5)
    assert_array_equal(load_dataset("sub/grid", target="colour").y, Y)
    assert load_dataset("sub/grid", drop=["x5"]).shape == (5,)


def test_unregistered_file_of_the_folder(folder):
    assert_array_equal(load_dataset("own").X, X)


def test_damaged_registered_file_is_refused_by_name_and_read_by_path(folder, archive):
    archive("sub/grid.npz", X=X, y=Y)
    with pytest.raises(DatasetError, match=r"expected sha256 \w+, got \w+; fetch .* a shelf"):
        load_dataset("sub/grid")
    assert load_dataset(folder / "sub/grid.npz").shape == (3,)


def test_wrong_registry_entry_is_noticed(folder, monkeypatch):
    entries = registry.read_registry()
    info = registry.replace(entries["sub/grid"], n_samples=5)
    monkeypatch.setattr("entangle.datasets.loading.read_registry", lambda: {"sub/grid": info})
    with pytest.raises(DatasetError, match=r"5 samples x 6 features, got shape \(4, 6\)"):
        load_dataset("sub/grid")


def test_registered_regression_target_stays_real(folder, archive, monkeypatch):
    path = archive("sub/grid.npz", X=np.arange(24).reshape(4, 6), y=Y * 2.0)
    facts = {"n_classes": None, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    info = registry.replace(registry.read_registry()["sub/grid"], **facts)
    monkeypatch.setattr("entangle.datasets.loading.read_registry", lambda: {"sub/grid": info})
    data = load_dataset("sub/grid")
    assert (data.y.dtype, data.n_classes) == (np.float64, None)


def test_unknown_names_get_suggestions(folder):
    with pytest.raises(DatasetError, match=r"unknown data set 'semion'; did you mean 'semeion'"):
        load_dataset("semion")
    with pytest.raises(DatasetError, match=r"'gas_sensor'; did you mean 'gas_sensor_drift"):
        load_dataset("gas_sensor")
    with pytest.raises(DatasetError, match=r"names that `entangle datasets` lists"):
        load_dataset("qqqq")
    with pytest.raises(DatasetError, match=r"mnist.npz, which is not in ENTANGLE_DATA='.*rasbt"):
        load_dataset("mnist")


def test_unset_or_wrong_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("ENTANGLE_DATA", raising=False)
    with pytest.raises(DatasetError, match=r"ENTANGLE_DATA is not set; set ENTANGLE_DATA to"):
        load_dataset("semeion")
    assert [info.name for info in available_datasets() if info.found] == [
        "digits", "breast_cancer", "wine", "iris", "diabetes",
    ]  # fmt: skip
    monkeypatch.setenv("ENTANGLE_DATA", str(tmp_path / "gone"))
    with pytest.raises(DatasetError, match=r"must name a folder .* gone' is none|gone' is none"):
        available_datasets()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "size"}, r"comes with its labels, 'target'; got target 'size'"),
        ({"impute": "medain"}, r"one of mean, median, most_frequent, got 'medain'; did you"),
        ({"drop": "alcohol"}, r"drop is a list of names, .* pass \['alcohol'\]"),
        ({"drop": ["alcohl"]}, r"cannot drop 'alcohl': .* did you mean 'alcohol'"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        load_dataset("wine", **options)


# OpenML


def test_openml_table(monkeypatch):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [3, 4, 5], "class": pd.Categorical(list("pqp"))})
    asked = []

    def fetch(**options):
        asked.append(options)
        return SimpleNamespace(frame=frame, target_names=["class"], details={"id": "31"})

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    data = load_dataset("openml:credit-g")
    assert (data.name, data.target_name, data.y.tolist()) == ("openml:credit-g", "class", [*"pqp"])
    assert "https://www.openml.org/d/31" in data.source
    load_dataset("openml:31")
    load_dataset("31")
    assert [{**options, "as_frame": 0, "parser": 0} for options in asked] == [
        {"name": "credit-g", "as_frame": 0, "parser": 0},
        {"data_id": 31, "as_frame": 0, "parser": 0},
        {"data_id": 31, "as_frame": 0, "parser": 0},
    ]


@pytest.mark.parametrize("reason", [OSError("no route"), ImportError("pandas"), ValueError("none")])
def test_openml_offline(monkeypatch, reason):
    def fetch(**options):
        raise reason

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    with pytest.raises(DatasetError, match=rf"cannot fetch 'x' from OpenML: {reason}; check"):
        load_dataset("openml:x")


# Arrays


def test_training_and_test_rows_are_joined(archive):
    images = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    path = archive(X_train=images[:3], X_test=images[3:], y_train=Y[:3], y_test=Y[3:])
    data = load_dataset(path)
    assert_array_equal(data.X, images.reshape(4, 6))
    assert_array_equal(data.y, Y)
    assert (data.shape, data.X.dtype) == ((2, 3), np.uint8)
    assert "training and test rows joined: 3 + 1" in data.notes


def test_difference_coded_pixels(folder, archive, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4)).astype(np.uint8)
    coded = pixels.copy()
    coded[:, [0, 2]] -= pixels[:, 1:2]
    coded = np.diff(np.diff(coded, axis=2, prepend=np.uint8(0)), axis=3, prepend=np.uint8(0))
    path = archive("sub/grid.npz", D=coded, y=np.arange(5))
    facts = {"n_samples": 5, "n_features": 48, "shape": (3, 4, 4), "encoding": "differences"}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    info = registry.replace(registry.read_registry()["sub/grid"], sha256=digest, **facts)
    monkeypatch.setattr("entangle.datasets.loading.read_registry", lambda: {"sub/grid": info})
    assert_array_equal(load_dataset("sub/grid").X.reshape(pixels.shape), pixels)


def test_names_and_targets_of_an_archive(archive):
    path = archive(X=X, feature_names=np.array(["a", "b", "c"]), mass=Y / 2 + 0.25)
    assert load_dataset(path).y is None
    assert load_dataset(path).notes == ("no labels in the file",)
    data = load_dataset(path, target="mass", drop=["b"])
    assert (data.feature_names, data.target_name, data.n_classes) == (("a", "c"), "mass", None)
    assert data.notes == ("left out as asked: 'b'",)


def test_the_only_matrix_of_an_archive_is_its_features(archive):
    data = load_dataset(archive(arr_0=X))
    assert "array 'arr_0' read as the features" in data.notes


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_arrays(tmp_path, order):
    cube = np.asarray(np.arange(24.0).reshape(4, 2, 3), order=order)
    np.save(tmp_path / "cube.npy", cube)
    data = load_dataset(tmp_path / "cube.npy")
    assert data.shape == (2, 3)
    assert_array_equal(data.X, np.arange(24).reshape(4, 6))
    np.save(tmp_path / "big.npy", X.astype(">f4"))
    data = load_dataset(tmp_path / "big.npy", target=1)
    assert data.X.dtype.isnative
    assert data.feature_names == ("x0", "x2")
    assert data.notes == ("target '1': whole numbers, read as class labels",)
    assert_array_equal(data.X, X[:, [0, 2]])
    assert_array_equal(data.y, X[:, 1])
    np.save(tmp_path / "wide.npy", cube.reshape(4, 6))
    assert load_dataset(tmp_path / "wide.npy", target=5, drop=["0"]).feature_names == (
        "x1", "x2", "x3", "x4",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ({"a": Y}, {}, DatasetError, r"no array 'X', nor 'X_train'; got 'a'; save it"),
        ({}, {}, DatasetError, r"got no arrays"),
        ({"X": Y}, {}, InputError, r"at least 2 axes, samples first, got shape \(4,\)"),
        ({"X": X[:1]}, {}, InputError, r"at least 2 rows are needed, got 1"),
        ({"X": X[:0]}, {}, InputError, r"at least 2 rows are needed, got 0"),
        ({"X": X[:, :1]}, {}, InputError, r"at least 2 features are needed.* got 1"),
        ({"X": X.astype(str)}, {}, InputError, r"real numbers, got values of type <U"),
        ({"X": X * 1j}, {}, InputError, r"real numbers, got values of type complex128"),
        ({"X": X.astype(object)}, {}, DatasetError, r"set.npz': it holds pickled objects"),
        ({"X": X, "y": Y[:3]}, {}, InputError, r"'y' has 3 values for 4 samples"),
        ({"X": X, "y": X}, {}, InputError, r"one column .* got uint8 of shape \(4, 3\)"),
        ({"X": X, "y": Y * np.nan}, {}, InputError, r"4 missing or infinite .* in row 1"),
        ({"X": X, "mass": Y}, {"target": "mas"}, InputError, r"'mas' is not in .* mean 'mass'"),
        ({"X_train": X, "X_test": X[:, 1:]}, {}, DatasetError, r"must agree beyond the first"),
        ({"X": X, "feature_names": Y[:2]}, {}, DatasetError, r"needs 3 distinct names, got"),
        ({"X": np.where(X == 9, np.inf, X)}, {}, InputError, r"got inf in column 'x0', row 2"),
        ({"X": np.where(X == 9, np.nan, X)}, {}, InputError, r"column 'x0' has 1 missing value"),
    ],
)
def test_archives_that_cannot_be_used(archive, arrays, options, error, message):
    with pytest.raises(error, match=message):
        load_dataset(archive(**arrays), **options)


@pytest.mark.parametrize("target", ["3", "x9", "-1"])
def test_npy_target_must_be_a_column(tmp_path, target):
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(InputError, match=r"a column number 0\.\.2 of a 2-D array, got"):
        load_dataset(tmp_path / "a.npy", target=target)


@pytest.mark.parametrize("name", ["bad.npz", "bad.npy", "bad.parquet"])
@pytest.mark.parametrize("content", [b"", b"no such format", b"PK\x03\x04 cut"])
def test_damaged_files(text_file, name, content):
    with pytest.raises(DatasetError, match=rf"cannot read '.*{name}': .+"):
        load_dataset(text_file(content, name))


def test_truncated_archive(archive):
    path = archive(X=np.random.default_rng(0).random((50, 50)))
    whole = path.read_bytes()
    for damaged in (whole[:-200], whole[:3000] + bytes(64) + whole[3064:]):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"cannot read '.*set.npz'"):
            load_dataset(path)


def test_pickled_array_is_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", X.astype(object))
    with pytest.raises(DatasetError, match=r"a.npy': it holds pickled objects"):
        load_dataset(tmp_path / "a.npy")


def test_memory_is_refused_before_reading(archive, tmp_path, monkeypatch, text_file):
    path = archive(X=np.zeros((1000, 100)), y=np.zeros(1000, int))
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(
        MemoryLimitError, match=r"set.npz' needs 0\.7\d MiB .* 0\.48 MiB is available"
    ):
        load_dataset(path, max_memory=500_000)
    np.save(tmp_path / "a.npy", np.zeros((1000, 100)))
    with pytest.raises(MemoryLimitError, match=r"a.npy' needs 0\.7\d MiB"):
        load_dataset(tmp_path / "a.npy", max_memory=500_000)
    for name in ("t.csv", "t.parquet"):
        write_table(tmp_path / name, np.random.default_rng(0).random((900, 9)), "abcdefghi")
        with pytest.raises(MemoryLimitError, match=rf"{name}' needs"):
            load_dataset(tmp_path / name, max_memory=10_000)
    with pytest.raises(MemoryLimitError, match=r"3 rows and 4 numeric columns needs"):
        table_to_dataset(pd.DataFrame({"a": [*"uvw"], "b": [1, 2, 3]}), max_memory=20)


# Paths


def test_paths_that_lead_nowhere(text_file, tmp_path):
    path = text_file("a,b\n1,2\n3,4\n", "apples.csv")
    with pytest.raises(DatasetError, match=r"no file '.*apple.csv'; did you mean 'apples.csv'"):
        load_dataset(tmp_path / "apple.csv")
    with pytest.raises(DatasetError, match=r"registered set is called 'semeion', without '.npz'"):
        load_dataset(tmp_path / "semeion.npz")
    with pytest.raises(DatasetError, match=r"is a folder, expected a file"):
        load_dataset(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DatasetError, match=r"folder.csv' is a folder"):
        load_dataset(tmp_path / "folder.csv")
    with pytest.raises(DatasetError, match=r"expected a file ending in \.csv, .* got '\.xlsx'"):
        load_dataset(path.rename(tmp_path / "apples.xlsx"))


# Tables


def test_csv_with_everything_that_can_be_read(text_file):
    path = text_file(
        'size,colour,"a, b",ok,kind\n1.5,red,1,true,"x ""1"""\n'
        '2,"da,rk",2,false,y\n3,red,3,true,y\n'
    )
    data = load_dataset(path, target="kind")
    assert data.feature_names == ("size", "colour=da,rk", "colour=red", "a, b", "ok")
    assert_array_equal(data.X, [[1.5, 0, 1, 1, 1], [2, 1, 0, 2, 0], [3, 0, 1, 3, 1]])
    assert data.y.tolist() == ['x "1"', "y", "y"]
    assert (data.name, data.target_name, data.source) == ("table", "kind", str(path))
    assert data.notes == (
        "column 'colour': 2 categories one-hot encoded",
        "column 'ok': read as 0 and 1",
    )


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        ("t.tsv", "a\tb\n1\t2\n3\t4\n", None),
        ("t.txt", "a\tb\n1\t2\n3\t4\n", None),
        ("t.txt", "a;b\n1;2\n3;4\n", "fields are separated by ';'"),
        ("t.csv", "a;b\n1;2\n3;4\n", "fields are separated by ';'"),
        ("t.csv", "\ufeffa, b\r\n1,2\r\n3,4\r\n", None),
        ("t.csv", '"a","b"\n1,2\n3,4\n', None),
        ("T.CSV", ",a,b\n0,1,2\n1,3,4\n", "left out: the first column, which has no name"),
    ],
)
def test_dialects(text_file, name, text, note):
    data = load_dataset(text_file(text, name))
    assert data.feature_names == ("a", "b")
    assert_array_equal(data.X, [[1, 2], [3, 4]])
    assert note is None or any(said.startswith(note) for said in data.notes)


def test_separators_inside_quotes_do_not_count(text_file):
    data = load_dataset(text_file('"a;;;b",c\n1,2\n3,4\n'))
    assert data.feature_names == ("a;;;b", "c")


def test_long_rows(text_file):
    text = "a,b,text\n" + f"1,2,{'x' * 2_500_000}\n" * 2
    assert load_dataset(text_file(text), drop=["text"]).n_features == 2


def test_numbers_may_name_columns_if_they_count(text_file):
    assert load_dataset(text_file("0,1,2\n5,6,u\n7,8,v\n"), target=2).feature_names == ("0", "1")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", DatasetError, r"the file is empty"),
        ("a,b\n", InputError, r"at least 2 rows are needed, got 0"),
        ("a,b\n1,2\n", InputError, r"at least 2 rows are needed, got 1"),
        ("a\n1\n2\n", InputError, r"at least 2 features are needed.* got 1"),
        ("a,b,a\n1,2,3\n", InputError, r"distinct names, these repeat: 'a'"),
        ("a,b\n1,2\n3\n", DatasetError, r"Row #3: Expected 2 columns, got 1"),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", DatasetError, r"first line with the names of its 3"),
        ("a,,b\n1,2,3\n4,5,6\n", DatasetError, r"column 2 of 3 has no name"),
        ("a,b\n1,2\n3,x\n5,6\n", InputError, r"'b' holds numbers, but row 2 has 'x' \(1 such"),
        ("a,b\n1,2\n3,\n5,NaN\n", InputError, r"'b' has 2 missing values; pass impute='median'"),
        ("a,b,c\n1,2,NA\n3,4,u\n", InputError, r"'c' has 1 missing value; pass"),
        ("a,b\n,2\n3,\n5,6\n", InputError, r"2 columns 'a', 'b' have 2 missing values"),
        ("a,b\n1,\n3,\n", InputError, r"'b' has no values at all; leave out"),
        ("a,b\n1,inf\n3,-inf\n", InputError, r"got inf in column 'b', row 1 \(2 infinite values"),
        ("a,b\n1,2020-01-01\n3,2020-01-02\n", InputError, r"'b' holds dates or times"),
        (b"a,b\n1,\xe9\n3,x\n", InputError, r"'b' holds Binary values.*UTF-8"),
        (b"a,\xe9\n1,2\n", DatasetError, r"cannot read '.*': 'utf-8' codec"),
        ("a,b,y\n1,2,u\n3,4,\n", InputError, r"target 'y' has 1 missing value, .* row 2"),
        ("a,b,y\n1,2,0.5\n3,4,\n", InputError, r"target 'y' has 1 missing .* row 2"),
        ("a,b,y\n1,2,2020-01-01\n3,4,2020-01-02\n", InputError, r"target 'y' holds Date"),
        ("a,b,yy\n1,2,3\n3,4,5\n", InputError, r"target 'y' is not in the table.* 'yy'"),
    ],
)
def test_tables_that_cannot_be_used(text_file, text, error, message):
    target = "y" if ",y" in str(text) else None
    with pytest.raises(error, match=message):
        load_dataset(text_file(text), target=target)


def test_saved_row_index_is_no_feature(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]}, index=[7, 3])
    frame.to_parquet(tmp_path / "t.parquet")
    data = load_dataset(tmp_path / "t.parquet")
    assert data.feature_names == ("a", "b")
    assert data.notes[0].startswith("left out: '__index_level_0__', the row index")


@pytest.mark.parametrize("frame", FRAMES)
def test_frames_of_three_libraries(frame):
    columns = {
        "n": [1.5, None, 2.5, 2.5],
        "c": ["v", "u", None, "v"],
        "b": [True, None, True, True],
    }
    table = frame({**columns, "y": ["p", "q", "p", "q"]})
    with pytest.raises(InputError, match=r"3 columns 'n', 'c', 'b' have 3 missing values"):
        table_to_dataset(table, target="y")
    data = table_to_dataset(table, target="y", impute="median")
    assert data.feature_names == ("n", "c=u", "c=v", "b")
    assert_array_equal(data.X, [[1.5, 0, 1, 1], [2.5, 1, 0, 1], [2.5, 0, 1, 1], [2.5, 0, 1, 1]])
    assert data.notes == (
        "column 'c': 2 categories one-hot encoded, 1 missing value filled with the most frequent,"
        " 'v'",
        "column 'b': read as 0 and 1, 1 missing value filled with the most frequent, 'True'",
        "1 missing value in 1 numeric column filled with the column's median value",
        "1 constant column of 4 kept; they carry no entanglement",
    )


@pytest.mark.parametrize(
    ("impute", "filled"), [("mean", 3.0), ("median", 2.0), ("most_frequent", 1.0)]
)
def test_ways_to_fill_gaps(impute, filled):
    values = pl.DataFrame({"a": [1.0, 1.0, 3.0, 7.0, None], "b": [1, 2, 3, 4, 5]})
    assert table_to_dataset(values, impute=impute).X[4, 0] == filled
    assert table_to_dataset(values, impute=impute).X[3, 0] == 7.0


@pytest.mark.parametrize(
    ("labels", "dtype", "n_classes"),
    [
        ([0, 1, 1], "int64", 2),
        ([0.0, 1.0, 1.0], "int64", 2),
        ([0.5, 1.0, 1.0], "float64", None),
        (["a", "b", "b"], "<U1", 2),
        ([True, False, True], "bool", 2),
        (pd.Categorical(["b", "a", "c"]), "<U1", 3),
    ],
)
def test_kinds_of_target(labels, dtype, n_classes):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [1, 3, 2], "y": labels})
    data = table_to_dataset(frame, "y")
    assert (data.y.dtype, data.n_classes) == (np.dtype(dtype), n_classes)


def test_many_whole_floats_are_a_regression_target():
    frame = pd.DataFrame({"a": range(60), "b": range(60), "y": np.arange(60.0)})
    assert table_to_dataset(frame, "y").n_classes is None


def test_text_of_numbers_and_of_two_states():
    frame = pl.DataFrame({"a": ["1", " 2.5 "], "b": ["0", "1"], "c": ["0", "1"]})
    data = table_to_dataset(frame)
    assert_array_equal(data.X, [[1, 0, 0], [2.5, 1, 1]])
    assert "2 columns 'b', 'c': read as 0 and 1" in data.notes
    assert "column 'a': text read as numbers" in data.notes


def test_small_types_are_kept():
    data = table_to_dataset(pa.table({"a": pa.array([1, 2], "uint8"), "b": ["u", "v"]}))
    assert data.X.dtype == np.uint8


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), {}, r"these repeat: 'a'"),
        (pd.DataFrame({1: [1, 2], "1": [3, 4]}), {}, r"these repeat: '1'"),
        (pd.DataFrame({"a=x": [1, 2], "a": ["x", "y"]}), {}, r"these repeat: 'a=x'"),
        (pd.DataFrame({"a": range(99), "b": map("n{}".format, range(99))}), {}, r"99 distinct.*99"),
        (pd.DataFrame({"a": [1, 2], "b": [[1], [2]]}), {}, r"'b' holds list values"),
        (pl.DataFrame({"a": [1, 2], "b": [[1], [2]]}), {}, r"'b' holds List\(Int64\) values"),
        (pl.DataFrame({"a": [1, 2], "b": [3, 4]}).lazy(), {}, r"table, got LazyFrame; collect"),
        (X, {}, r"expected a pandas, polars or pyarrow table, got ndarray"),
        (pd.DataFrame({"a": [1, 2], "b": [3, 4]}), {"drop": ["c"]}, r"dropped column 'c' is not"),
        (pd.DataFrame({"a": [1, 2]}), {"target": "a", "drop": ["a"]}, r"both the target and to"),
    ],
)
def test_frames_that_cannot_be_used(frame, options, message):
    with pytest.raises(InputError, match=message):
        table_to_dataset(frame, **options)


def test_features_know_the_column_they_came_from():
    frame = pd.DataFrame({"a": [1, 2, 3], "c": ["p", "q", "r"], "b": [True, False, True]})
    data = table_to_dataset(frame)
    assert data.feature_names == ("a", "c=p", "c=q", "c=r", "b")
    assert data.variables == ("a", "c", "c", "c", "b")
    assert table_to_dataset(frame, drop=["c"]).variables is None


def test_dropped_columns_are_named():
    frame = pd.DataFrame({"a": [1, 2], "id": ["p", None], "b": [3, 4]})
    data = table_to_dataset(frame, drop=["id"])
    assert data.feature_names == ("a", "b")
    assert data.notes[0] == "left out as asked: 'id'"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"X": X[0]}, r"got uint8 of shape \(3,\)"),
        ({"shape": (2, 2)}, r"3 features, shape \(2, 2\) has 4 and 3 are named"),
        ({"y": Y[:2]}, r"expected shape \(4,\), got \(2,\)"),
        ({"variables": ("a", "b")}, "one column a feature, expected 3, got 2"),
    ],
)
def test_a_data_set_fits_together(parts, message):
    fitting = {"X": X, "y": Y, "shape": (3,), "feature_names": ("a", "b", "c")}
    with pytest.raises(InputError, match=message):
        Dataset(**fitting | parts, name="n", source="s", kind="table")


# Writing

MATRICES = st.sampled_from(["f8", "f4", "f2", "i8", "u1"]).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=5),
        elements=hnp.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False),
    )
)


@given(
    values=MATRICES,
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1).map(
            lambda text: f"f{text}"
        ),
        min_size=5,
        max_size=5,
        unique=True,
    ),
    suffix=st.sampled_from([".csv", ".tsv", ".parquet", ".npy", ".npz"]),
    labelled=st.booleans(),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[*HealthCheck])
def test_what_is_written_loads_again(tmp_path_factory, values, names, suffix, labelled):
    path = tmp_path_factory.mktemp("round") / f"t{suffix}"
    names = names[: values.shape[1]]
    y = np.arange(values.shape[0]).astype(str) if labelled and suffix != ".npy" else None
    y = None if y is None else np.char.add("class ", y)
    write_table(path, values, names, y, "the label", force=True)
    data = load_dataset(path, target=None if y is None or suffix == ".npz" else "the label")
    assert_array_equal(data.X.astype(values.dtype), values)
    if suffix != ".npy":
        assert data.feature_names == tuple(names)
    if y is not None:
        assert data.target_name == "the label"
        assert_array_equal(data.y, y)


@pytest.mark.parametrize(
    ("name", "names", "y", "message"),
    [
        ("t.xlsx", "abc", None, r"written as .csv, .* got '.xlsx'"),
        ("t.csv", "ab", None, r"got 2 names for a matrix of shape \(4, 3\)"),
        ("t.csv", "aba", None, r"these repeat: 'a'"),
        ("t.csv", ["a", "b", "target"], Y, r"these repeat: 'target'"),
        ("t.csv", "abc", Y[:2], r"expected one label a sample, got shape \(2,\) for 4"),
        ("t.npy", "abc", Y, r"holds one matrix and no labels; write .npz"),
        ("no/t.csv", "abc", Y, r"the folder '.*no' does not exist; create it"),
    ],
)
def test_tables_that_cannot_be_written(tmp_path, name, names, y, message):
    with pytest.raises(InputError, match=message):
        write_table(tmp_path / name, X, list(names), y)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_need_force(tmp_path):
    path = write_atomically(tmp_path / "a.txt", "old")
    with pytest.raises(OutputExistsError, match=r"a.txt' exists already; .* force=True"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    with path.open() as reader:
        write_atomically(path, b"new", force=True)
        assert reader.read() == "old", "a new file takes the place of the old one"
    assert path.read_text() == "new"
    with pytest.raises(InputError, match=r"is a folder; add the name of a file"):
        write_atomically(tmp_path, "new", force=True)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_atomically(tmp_path / "a.txt", "old")

    def fail(stream):
        stream.write(b"half")
        raise OSError("disk full")

    with pytest.raises(InputError, match=r"cannot write '.*a.txt': disk full"):
        write_atomically(path, fail, force=True)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_follow_links_and_the_umask(tmp_path):
    target = write_atomically(tmp_path / "a.txt", "old")
    (tmp_path / "link").symlink_to(target)
    write_atomically(tmp_path / "link", "new", force=True)
    assert target.read_text() == "new"
    plain = tmp_path / "plain"
    plain.write_text("")
    assert os.stat(target).st_mode == os.stat(plain).st_mode


def csv(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("cell", ["{},5", "{},234", "{}%", "{}/02/2020"])
def test_numbers_in_disguise_are_no_categories(tmp_path, cell):
    rows = "\n".join(f"{n};{cell.format(n)}" for n in range(1, 20))
    with pytest.raises(InputError, match="column 'b' is text that looks like numbers or dates"):
        load_dataset(csv(tmp_path, f"a;b\n{rows}\n"))
    with pytest.raises(InputError, match="numbers as text; name another target"):
        load_dataset(csv(tmp_path, f"a;c;b\n{rows.replace(';', ';1;')}\n"), target="b")


def test_age_brackets_and_versions_are_categories(tmp_path):
    rows = "\n".join(f"{n},{10 * (n % 7)}-{10 * (n % 7) + 9},v{n % 3}" for n in range(21))
    assert load_dataset(csv(tmp_path, f"n,age,version\n{rows}\n")).n_features == 1 + 7 + 3


@pytest.mark.parametrize("mark", ["|", " "])
def test_a_file_with_another_separator_is_not_read_line_by_line(tmp_path, mark):
    rows = "\n".join(f"{n}{mark}{n + 1}" for n in range(9))
    with pytest.raises(DatasetError, match=r"single column, .* are separated by ',' or ';'"):
        load_dataset(csv(tmp_path, f"a{mark}b\n{rows}\n"))


def test_names_that_are_numbers_may_be_rearranged_but_not_data(tmp_path):
    assert load_dataset(csv(tmp_path, "2,0,1\n5,6,7\n8,9,1\n")).feature_names == ("2", "0", "1")
    for first in ("1.5,2.5", "3,7", "0,0"):
        with pytest.raises(DatasetError, match=r"needs a first line|distinct names"):
            load_dataset(csv(tmp_path, f"{first}\n3,4\n5,6\n"))


def test_an_archive_knows_the_name_of_its_labels(tmp_path):
    path = write_table(tmp_path / "a.npz", np.eye(3), ["y", "b", "c"], np.arange(3), "kind")
    found = load_dataset(path, target="kind")
    assert_array_equal(found.y, [0, 1, 2])
    assert found.target_name == "kind"
    with pytest.raises(InputError, match="'kinds' is not in"):
        load_dataset(path, target="kinds")


def test_labels_named_like_a_gap_survive_a_csv_file(tmp_path):
    labels = np.array(["NA", "b", "null"] * 5)
    path = write_table(tmp_path / "a.csv", np.arange(30.0).reshape(15, 2), ["a", "b"], labels, "y")
    assert_array_equal(load_dataset(path, target="y").y, labels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble])
def test_every_floating_type_survives_a_csv_file(tmp_path, dtype):
    X = np.array([[0.1, 0.2], [0.3, 0.7]], dtype=dtype)
    path = write_table(tmp_path / "a.csv", X, ["a", "b"])
    assert_array_equal(load_dataset(path).X, X.astype(np.float64))
    np.save(tmp_path / "a.npy", X)
    assert load_dataset(tmp_path / "a.npy").X.dtype.itemsize <= 8


def test_a_damaged_array_header(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.eye(3))
    path.write_bytes(path.read_bytes().replace(b"'shape': (3, 3), }", b"'shape': (3, 3,     "))
    with pytest.raises(DatasetError, match="cannot read"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([0.5, 1.5, 2.25] * 4, "f"),
        ([Decimal(n) / 4 for n in range(12)], "f"),
        ([1, 2, 2] * 4, "i"),
        ([True, False] * 6, "b"),
        (["u", "v"] * 6, "U"),
    ],
)
def test_a_target_of_objects_is_what_its_cells_are(cells, kind):
    target = pd.Series(np.array(cells, dtype=object))
    frame = pd.DataFrame({"a": range(12), "b": range(12), "y": target})
    assert table_to_dataset(frame, "y").y.dtype.kind == kind
