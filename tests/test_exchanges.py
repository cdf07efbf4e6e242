import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from entangle import DataTensor, Partition, canonical_partitions, entanglement_entropy
from entangle.embedding import OneHot, Trigonometric
from entangle.exchanges import entropy_gradients, exchange_changes, influences, promising
from entangle.terms import Terms
from tests.oracles import dense_entropy, dense_schmidt_values, trigonometric

WEIGHTS = {
    "unlabelled": lambda rng, n: None,
    "labelled": lambda rng, n: rng.choice([-1.0, 1.0], n),
    "label axis": lambda rng, n: np.eye(3)[rng.integers(3, size=n)],
}


def terms_of(tensor):
    return Terms(tensor.vectors, tensor.weights)


def product(vectors, rows):
    return torch.einsum("nds,ndm->nsm", vectors[rows], vectors[rows]).prod(dim=0)


def entropy_of(G, H):
    """From the eigenvalues of GH, which is not symmetric."""
    weights = torch.linalg.eigvals(G @ H).real.clamp_min(0).numpy()
    return dense_entropy(np.sqrt(weights))


def sides(weights, n_samples=6, n_features=7, theta=0.4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.random((n_samples, n_features))
    tensor = DataTensor(X, WEIGHTS[weights](rng, n_samples), Trigonometric(theta))
    rows = torch.tensor([0, 2, 5])
    others = torch.tensor([1, 3, 4, 6])
    outside = product(tensor.vectors, others) * (tensor.weights @ tensor.weights.T)
    return tensor, product(tensor.vectors, rows), outside


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("feature", [0, 3])
def test_gradients_agree_with_finite_differences_of_a_kernel_exponent(weights, feature):
    tensor, G, H = sides(weights)
    kernel = tensor.vectors[feature].T @ tensor.vectors[feature]

    def moved(share):
        return entropy_of(G * kernel**-share, H * kernel**share)

    A, B = entropy_gradients(G, H, share=1e-9)
    slope = float(((B * H - A * G) * kernel.log()).sum())
    differences = [(moved(step) - moved(-step)) / (2 * step) for step in (2e-3, 1e-3)]
    extrapolated = (4 * differences[1] - differences[0]) / 3
    assert slope == pytest.approx(extrapolated, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_gradients_are_right_where_the_norm_changes(weights):
    _, G, H = sides(weights)
    rng = np.random.default_rng(1)
    vector = torch.from_numpy(rng.standard_normal(len(G)))
    change = torch.outer(vector, vector)
    A, B = entropy_gradients(G, H, share=1e-9)
    step = 1e-6
    rows = (entropy_of(G + step * change, H) - entropy_of(G - step * change, H)) / (2 * step)
    columns = (entropy_of(G, H + step * change) - entropy_of(G, H - step * change)) / (2 * step)
    assert float((A * change).sum()) == pytest.approx(rows, rel=1e-4)
    assert float((B * change).sum()) == pytest.approx(columns, rel=1e-4)


def test_a_common_factor_changes_nothing():
    _, G, H = sides("labelled")
    for share in (1e-9, 0.3):
        A, B = entropy_gradients(G, H, share)
        assert float((B * H).sum()) == pytest.approx(0, abs=1e-12)
        assert float((A * G).sum()) == pytest.approx(0, abs=1e-9)


def test_gradients_of_a_product_are_finite():
    G = torch.ones(4, 4, dtype=torch.float64)
    for gradient in entropy_gradients(G, G):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_error_of_a_predicted_exchange_shrinks_quadratically(weights, monkeypatch):
    """Feature 4 comes nearer to feature 1, with which it is exchanged; all others stay."""
    exact = partial(entropy_gradients, share=1e-9)
    monkeypatch.setattr("entangle.exchanges.entropy_gradients", exact)
    rng = np.random.default_rng(2)
    X, away = rng.random((4, 6)), rng.random(4)
    given = WEIGHTS[weights](rng, 4)
    flat = np.ones(4) if given is None else given
    errors = []
    for distance in (0.02, 0.01, 0.005):
        X[:, 4] = X[:, 1] + distance * away
        terms = terms_of(DataTensor(X, given, Trigonometric(0.8)))
        found = influences(terms, [Partition([0, 1, 2], 6)])
        predicted = float(exchange_changes(found, terms, torch.arange(6))[1, 4])
        vectors, moved = trigonometric(X, 0.8), trigonometric(X[:, [0, 4, 2, 3, 1, 5]], 0.8)
        before = dense_entropy(dense_schmidt_values(vectors, flat, [0, 1, 2]))
        after = dense_entropy(dense_schmidt_values(moved, flat, [0, 1, 2]))
        assert abs(after - before) > 3 * abs(predicted - (after - before))
        errors.append(abs(predicted - (after - before)))
    assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 4, rtol=0.25)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("shape", [12, (3, 4)])
def test_small_angles_rank_the_exchanges_as_measured(weights, shape):
    rng = np.random.default_rng(3)
    X = rng.random((40, 3)) @ rng.random((3, 12)) + 0.3 * rng.random((40, 12))
    tensor = DataTensor(X, WEIGHTS[weights](rng, 40), Trigonometric(0.1))
    cuts = canonical_partitions(shape, level=1)
    terms = terms_of(tensor)
    changes = exchange_changes(influences(terms, cuts), terms, torch.arange(12)).numpy()

    def total(order):
        moved = tensor.reordered(order)
        return sum(entanglement_entropy(moved, cut) for cut in cuts)

    measured = np.zeros((12, 12))
    for i, j in itertools.combinations(range(12), 2):
        order = np.arange(12)
        order[[i, j]] = j, i
        measured[i, j] = total(order) - total(np.arange(12))
    apart = np.triu(changes != 0, 1)
    assert spearmanr(changes[apart], measured[apart]).statistic > 0.5  # of a few small blocks
    assert_allclose(measured[~apart], 0, atol=1e-12)
    assert_allclose(changes, changes.T)


def test_exchanging_equal_features_changes_nothing():
    X = np.random.default_rng(4).random((20, 6))
    X[:, 5] = X[:, 0]
    terms = terms_of(DataTensor(X, embedding=Trigonometric(0.3)))
    changes = exchange_changes(
        influences(terms, canonical_partitions(6, 1)), terms, torch.arange(6)
    )
    assert float(changes[0, 5]) == pytest.approx(0, abs=1e-12)
    assert float(changes[0, 4]) != pytest.approx(0, abs=1e-6)


def test_kernels_of_zero_are_no_division_by_zero():
    """The product without a feature is that of the others, also where its own kernel is 0."""
    X = np.random.default_rng(5).integers(3, size=(30, 6))
    tensor = DataTensor(X, embedding=OneHot(3))
    terms, cut = terms_of(tensor), Partition([0, 1, 2], 6)
    [found] = influences(terms, [cut])
    changes = exchange_changes([found], terms, torch.arange(6))
    A, B = found.row_gradient, found.column_gradient
    G, H = product(tensor.vectors, torch.arange(3)), product(tensor.vectors, torch.arange(3, 6))
    after = product(tensor.vectors, torch.tensor([0, 4, 2]))
    outside = product(tensor.vectors, torch.tensor([3, 1, 5]))
    expected = float((A * (after - G)).sum() + (B * (outside - H)).sum())
    assert float(changes[1, 4]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [16, (4, 4), (2, 3, 2)])
def test_promising_features_hold_the_best_exchange_of_first_order(shape):
    n = int(np.prod(shape))
    rng = np.random.default_rng(6)
    terms = terms_of(DataTensor(rng.random((30, n)), rng.choice([-1, 1], 30), Trigonometric(0.1)))
    cuts = [cut for cut in canonical_partitions(shape) if cut.level <= 2]
    found = influences(terms, cuts)
    total = torch.zeros(n, n, dtype=torch.float64)
    together = torch.ones(n, n, dtype=torch.bool)
    for one in found:
        apart = one.rows[:, None] != one.rows
        total += apart * (one.crossings[:, None] + one.crossings)
        together &= ~apart
    total[together] = torch.inf
    best = set(divmod(int(total.argmin()), n))
    assert best <= set(promising(found, 2).tolist())
    assert promising(found, n + 5).tolist() == list(range(n))


def test_stripes_and_executors_do_not_change_predictions(monkeypatch):
    rng = np.random.default_rng(7)
    terms = terms_of(DataTensor(rng.random((33, 8)), np.eye(3)[rng.integers(3, size=33)]))
    cuts = canonical_partitions(8)
    whole = exchange_changes(influences(terms, cuts), terms, torch.arange(8))
    monkeypatch.setattr("entangle.exchanges.STRIPE_BYTES", 8 * 8 * 33 * 5)
    with ThreadPoolExecutor(2) as executor:
        found = influences(terms, cuts, executor)
        parts = exchange_changes(found, terms, torch.arange(8), executor)
    assert_allclose(parts, whole, rtol=1e-9, atol=1e-12)
