import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.datasets import make_blobs

from entangle import LocalNetworkClassifier, TensorNetworkClassifier
from entangle.errors import InputError

KINDS = [TensorNetworkClassifier, LocalNetworkClassifier]
X, Y = make_blobs(60, 6, centers=3, cluster_std=2.0, random_state=0)


def test_both_are_trained_on_the_same_rows():
    weights = np.arange(60) % 7
    one, other = (
        kind(random_state=3, class_weight="balanced")._training_rows(X, Y, weights, torch.float64)
        for kind in KINDS
    )
    assert one.seed == other.seed
    assert_array_equal(one.training, other.training)
    assert_array_equal(one.samples, X[weights > 0])
    assert float(one.weights.mean()) == pytest.approx(1)


def test_its_parts_are_those_of_the_split():
    given = KINDS[0]()._training_rows(X, Y, None, torch.float32)
    rows, held = given.parts(torch.arange(60))
    for part, expected in ((rows, given.training), (held, given.validation)):
        assert_array_equal(part[0], expected)
        assert_array_equal(part[1], Y[expected])
    whole = KINDS[0](early_stopping=False)._training_rows(X, Y, None, torch.float32)
    assert whole.parts(torch.arange(60))[1] is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [{0: 0, 1: 0, 2: 0}, {0: -1}, {0: np.inf}, {0: np.nan}])
def test_weights_of_classes_that_cannot_be_used_are_refused(kind, weights):
    with pytest.raises(InputError, match="class_weight is None, 'balanced' or a finite number"):
        kind(class_weight=weights).fit(X, Y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ((X, np.zeros(60)), InputError, "at least two classes, got 1 class"),
        ((X, Y, (Y == 1).astype(float)), InputError, "at least two classes, got 1 class"),
        ((X, Y, np.zeros(60)), ValueError, "at least one non-zero number"),
        ((X[:1], Y[:1]), ValueError, "minimum of 2 is required"),
        ((X[:, :1], Y), ValueError, "minimum of 2 is required"),
        ((np.where(X > 3, np.nan, X), Y), ValueError, "contains NaN"),
    ],
    ids=["one class", "one class has a weight", "no weight", "one row", "one feature", "missing"],
)
def test_data_that_cannot_be_used_are_refused(kind, given, error, match):
    with pytest.raises(error, match=match):
        kind().fit(*given)
