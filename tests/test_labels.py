import datetime

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from entangle import DataTensor
from entangle.errors import InputError
from entangle.labels import as_labels, class_weights, is_quantity


@pytest.mark.parametrize(
    ("values", "quantity"),
    [
        ([0, 1, 1, 0], False),
        ([0.0, 1.0, 1.0], False),
        ([True, False], False),
        (["a", "b"], False),
        (np.array(["a", "b"], dtype=object), False),
        (np.array([1, 2, 2], dtype=object), False),
        (np.array([1.5, 2, 2], dtype=object), True),
        ([0.5, 1.0], True),
        (np.arange(40) % 20, False),  # two rows a value
        (np.arange(40), True),  # 40 numbers that never repeat: prices
        (np.arange(600) % 60, True),  # more than 50 values
        (np.arange(8), False),  # few
        ([1e19, 2e19, 1e19], True),  # beyond exact whole numbers
        (torch.tensor([1, 2, 2]), False),
        (torch.tensor([1.5, 2.0], requires_grad=True), True),
        (torch.tensor([1.5, 2.0], dtype=torch.bfloat16), True),
        (np.array([[1], [2]]), False),
    ],
)
def test_numbers_are_classes_or_a_quantity(values, quantity):
    labels = as_labels(values)
    assert labels.ndim == 1
    assert is_quantity(labels) is quantity
    if quantity:
        assert labels.dtype == np.float64


def test_decisions_one_might_not_expect_are_noted():
    notes = []
    as_labels([0.0, 1.0, 0.0], "kind", notes)
    as_labels(np.arange(40), "price", notes)
    as_labels([0, 1], "plain", notes)
    assert notes == [
        "target 'kind': whole numbers, read as class labels",
        "target 'price': 40 distinct numbers, read as a quantity",
    ]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([1.0, np.nan], "1 missing or infinite value, the first in row 2"),
        ([1.0, np.inf, np.nan], "2 missing or infinite values, the first in row 2"),
        (np.array(["a", None], dtype=object), "1 missing values, the first in row 2"),
        (np.array([1, "a"], dtype=object), "mixes text and int"),
        ([1j, 2j], "numbers or text, got complex"),
        (np.array([datetime.date(2020, 1, 1)] * 2, dtype="datetime64[D]"), "numbers or text"),
        ([f"id {n}" for n in range(12)], "12 distinct values in 12 rows, such as 'id 0'"),
        (np.zeros((2, 2)), r"shape \(2, 2\)"),
    ],
)
def test_labels_that_are_none(values, match):
    with pytest.raises(InputError, match=match):
        as_labels(values)


def test_a_quantity_makes_no_label_axis():
    X = np.random.default_rng(0).random((40, 3))
    with pytest.raises(InputError, match="a quantity and no classes; pass it as weights"):
        DataTensor.from_labels(X, X[:, 0])


def test_raw_weights_of_two_classes_are_minus_and_plus_one_and_of_more_an_axis():
    assert class_weights(np.array(["b", "a", "b"])).tolist() == [1, -1, 1]
    assert class_weights(np.array([3, 1, 2])).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40).filter(lambda y: len(set(y)) > 1))
def test_balanced_weights_give_every_class_the_same_total(y):
    y = np.array(y)
    n_classes = len(set(y.tolist()))
    raw, balanced = class_weights(y), class_weights(y, balanced=True)
    share = y.size / n_classes
    expected = [-share, share] if n_classes == 2 else np.diag([share] * n_classes)
    assert_allclose([balanced[y == c].sum(axis=0) for c in np.unique(y)], expected, atol=1e-12)
    assert_array_equal(np.sign(balanced), np.sign(raw))
    for c in np.unique(y):
        assert len(np.unique(balanced[y == c], axis=0)) == 1


def test_weights_of_equal_classes_are_the_same_either_way():
    for y in ([0, 1, 1, 0], [0, 1, 2, 2, 1, 0]):
        assert_allclose(class_weights(np.array(y), True), class_weights(np.array(y)), rtol=1e-15)


def test_one_class_has_no_weights():
    with pytest.raises(InputError, match="at least two classes, got 1"):
        class_weights(np.zeros(3, dtype=int))
