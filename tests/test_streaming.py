import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits

from entangle import DataTensor, data_tensor, entanglement_profile, streaming, two_sided
from entangle.embedding import OneHot, Polynomial, Trigonometric
from entangle.gram import gram_product
from entangle.layout import Layout, State
from entangle.nested import outside_coordinates
from entangle.partition import CanonicalTree
from entangle.streaming import prefers_streaming
from entangle.sweep import SweepPlan
from entangle.terms import Terms, gram_totals
from entangle.tiles import TilePlan


def digits(n_samples=300, theta=0.085, labels=False):
    X, y = load_digits(return_X_y=True)
    weights = np.eye(10)[y] if labels else np.where(y % 2 == 0, 1.0, -1.0)
    return DataTensor(X[:n_samples] / 16, weights[:n_samples], Trigonometric(theta))


def random_terms(n_features, local, n_samples, n_labels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n_features, local, n_samples, generator=generator, dtype=torch.float64)
    weights = torch.randn(n_samples, n_labels, generator=generator, dtype=torch.float64)
    return Terms(vectors / vectors.norm(dim=1, keepdim=True), weights)


@given(
    shape=st.sampled_from([7, (3, 4), (2, 3, 2)]),
    local=st.integers(1, 4),
    n_rows=st.integers(1, 70),
    n_columns=st.integers(1, 130),
    n_labels=st.integers(1, 3),
    positive=st.booleans(),
)
def test_tiles_hold_the_products_of_every_block_and_of_all_outside_it(
    shape, local, n_rows, n_columns, n_labels, positive
):
    tree = CanonicalTree(shape)
    terms = random_terms(tree.n_features, local, n_rows + n_columns, n_labels)
    if positive:  # vectors of two components go by their ratios
        terms.vectors[:, 0] = terms.vectors[:, 0].abs() + 1e-3
        terms.vectors.div_(terms.vectors.norm(dim=1, keepdim=True))
        assert (terms.compiled.ratios is None) == (local > 2)
    rows, columns = terms.take(slice(0, n_rows)), terms.take(slice(n_rows, None))
    nodes = [node for node in tree.root.walk() if node is not tree.root]
    plan = TilePlan.of(tree.root, inside=nodes[::2], outside=nodes)
    found = rows.with_all(plan, columns)
    kernels = torch.bmm(rows.vectors.mT, columns.vectors)
    for place, node in enumerate(nodes[::2]):
        assert_allclose(found[place], kernels[node.start : node.stop].prod(dim=0), atol=1e-13)
    for place, node in enumerate(nodes, start=len(nodes[::2])):
        rest = torch.cat([kernels[: node.start], kernels[node.stop :]]).prod(dim=0)
        assert_allclose(found[place], rest * (rows.weights @ columns.weights.T), atol=1e-12)


def test_tiles_fill_the_memory_they_are_given():
    terms = random_terms(4, 2, 10)
    root = CanonicalTree(4).root
    plan = TilePlan.of(root, inside=(root,))
    out = torch.full((1, 10, 10), torch.nan, dtype=torch.float64)
    assert terms.with_all(plan, terms, out) is out
    assert_allclose(out[0], gram_product(terms.vectors), atol=1e-14)
    assert terms.with_all(plan, terms, out[:, :5]).shape == (1, 10, 10)  # a wrong shape: not used


@pytest.mark.parametrize("n_samples", [1, 64, 300, 700])
def test_totals_are_the_sums_over_all_pairs(n_samples):
    terms = random_terms(6, 2, n_samples, 2)
    everything = gram_product(terms.vectors) * (terms.weights @ terms.weights.T)
    total, magnitude = gram_totals(terms)
    assert total == pytest.approx(float(everything.sum()), rel=1e-11)
    assert magnitude == pytest.approx(float(everything.abs().sum()), rel=1e-12)


STREAMS = {
    "one side": {},
    "exact coordinates": {"streaming.JOINED_PAIRS": 1},
    "all cuts from pairs": {"streaming.NESTED_PRODUCT": 1e9},
    "all cuts nested": {"streaming.NESTED_PRODUCT": 0},
    "chosen products": {"bases.ALL_PAIRS": 64},
    "both sides": {"streaming.LINEAR": 0},
}


@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("shape", [64, (8, 8)])
@pytest.mark.parametrize("labels", [False, True])
def test_streaming_agrees_with_all_eigenvalues(monkeypatch, how, shape, labels):
    for name, value in STREAMS[how].items():
        monkeypatch.setattr(f"entangle.{name}", value)
    tensor = digits(labels=labels)
    dense = entanglement_profile(tensor, shape, route="dense")
    tolerance = 0.02 if how == "both sides" else 1e-3
    found = entanglement_profile(tensor, shape, tolerance=tolerance, route="truncated")
    assert found.tolerance_met
    assert (np.abs(found.entropy - dense.entropy) <= found.error_bound + dense.error_bound).all()
    assert found.discarded_weight.max() > 1e-9  # something was left out
    for few, all_ in zip(found.schmidt_weights, dense.schmidt_weights, strict=True):
        assert (few <= all_[: few.size] * (1 + 1e-9) + 1e-12).all()  # one by one


def nearly_hidden(reach, tail, seed, n_samples=400, n_tail=100, d=12):
    """Two left halves, one of a single heavy row that the others' right halves hardly overlap, and
    orthogonal rows of little weight: a basis vector whose length is mostly rounding."""
    rng = np.random.default_rng(seed)
    vectors, k = np.zeros((n_samples, 16, d)), n_samples - n_tail - 1
    vectors[:k, :8, 0] = vectors[k, :8, 1] = 1
    vectors[: k + 1, 8:15] = rng.normal(size=(k + 1, 7, d))
    vectors[k, 15, 11] = vectors[:k, 15, 0] = 1
    vectors[:k, 15, 11] = reach * rng.normal(size=k)
    for t in range(n_tail):
        row = vectors[k + 1 + t]
        row[:, 2] = 1
        for place, digit in ((1, t // 10), (2, t % 10), (8, t // 10), (9, t % 10)):
            row[place] = np.eye(d)[digit + 2]
    lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
    weights = np.concatenate([np.ones(k), [20.0], np.full(n_tail, tail)])
    return DataTensor(vectors / lengths, weights, "identity")


@pytest.mark.parametrize("route", ["truncated", "auto"])
@pytest.mark.parametrize(
    ("reach", "tail", "seed"), [(1e-2, 3e-3, 1), (1e-2, 1e-2, 0), (1e-3, 1e-3, 2)]
)
def test_directions_made_of_rounding_do_not_add_weight(monkeypatch, route, reach, tail, seed):
    if route == "auto":  # the sketch of the walk
        monkeypatch.setattr("entangle.data_tensor.prefers_streaming", lambda *_: False)
    tensor = nearly_hidden(reach, tail, seed)
    dense = entanglement_profile(tensor, route="dense", levels=1)
    found = entanglement_profile(tensor, route=route, levels=1, tolerance=1e-2)
    assert abs(found.entropy[0] - dense.entropy[0]) <= found.error_bound[0] + dense.error_bound[0]
    few, all_ = found.schmidt_weights[0], dense.schmidt_weights[0]
    assert (few - all_[: few.size]).max() <= 1e-12


@settings(max_examples=20)
@given(
    shape=st.sampled_from([32, 37, (5, 7), (3, 4, 5)]),
    theta=st.sampled_from([0.085, 0.3, 1.0]),
    n_labels=st.integers(1, 2),
    levels=st.sampled_from([None, 1, 2, [3], [1, 3]]),
    tolerance=st.sampled_from([1e-8, 1e-4, 1e-2]),
    repeated=st.booleans(),
    seed=st.integers(0, 100),
)
def test_nested_cuts_never_have_more_than_the_true_weights(
    shape, theta, n_labels, levels, tolerance, repeated, seed
):
    rng = np.random.default_rng(seed)
    n_features = math.prod(np.atleast_1d(shape))
    X = rng.random((90, 3)) @ rng.random((3, n_features)) + 0.3 * rng.random((90, n_features))
    X, weights = (X[np.arange(90) % 40] if repeated else X), rng.normal(size=(90, n_labels))
    tensor = DataTensor(X, weights, Trigonometric(theta))
    dense = entanglement_profile(tensor, shape, levels, route="dense")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(streaming, "NESTED_PRODUCT", 0)
        monkeypatch.setattr(streaming, "FIRST_LANDMARKS", 4)
        found = entanglement_profile(tensor, shape, levels, tolerance, route="truncated")
    assert found.partitions == dense.partitions
    difference = np.abs(found.entropy - dense.entropy)
    assert (difference <= found.error_bound + dense.error_bound).all()
    for few, all_ in zip(found.schmidt_weights, dense.schmidt_weights, strict=True):
        both = min(few.size, all_.size)
        assert (few[:both] <= all_[:both] + 1e-12).all()  # one by one
        assert (few[both:] <= 1e-12).all()


@pytest.mark.parametrize("levels", [1, [2], 3])
def test_cuts_that_nothing_wanted_is_nested_in(monkeypatch, levels):
    monkeypatch.setattr(streaming, "NESTED_PRODUCT", 0)
    monkeypatch.setattr(streaming, "FIRST_LANDMARKS", 4)
    X, weights = np.random.default_rng(0).random((200, 64)), np.arange(200) - 90.0
    tensor = DataTensor(X, weights, Trigonometric(0.3))
    found = entanglement_profile(tensor, 64, levels, 1e-6, route="truncated")
    assert not found.tolerance_met
    assert max(weights.size for weights in found.schmidt_weights) == 100  # half of the samples
    dense = entanglement_profile(tensor, 64, levels, route="dense")
    assert (np.abs(found.entropy - dense.entropy) <= found.error_bound + dense.error_bound).all()


@settings(max_examples=15)
@given(
    n_features=st.sampled_from([32, 48]),
    small_block=st.sampled_from([4, 16]),
    noise=st.sampled_from([0.0, 0.05]),
    tolerance=st.sampled_from([1e-2, 1e-4, 1e-6]),
    seed=st.integers(0, 100),
)
def test_nested_cuts_meet_the_tolerance_where_paired_ones_do(
    n_features, small_block, noise, tolerance, seed
):
    rng = np.random.default_rng(seed)
    X = rng.random((300, 2)) @ rng.random((2, n_features)) / 2
    tensor = DataTensor(X + noise * rng.random(X.shape), rng.choice([-1, 1], 300))
    met = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("entangle.sweep.SMALL_BLOCK", small_block)
        monkeypatch.setattr(streaming, "FIRST_LANDMARKS", 4)
        for cost in (0, 1e9):
            monkeypatch.setattr(streaming, "NESTED_PRODUCT", cost)
            found = entanglement_profile(tensor, None, None, tolerance, route="truncated")
            met[cost] = found.tolerance_met
    assert met[0] or not met[1e9]


def test_outsides_have_no_basis_vector_longer_than_one():
    """A Gram matrix that rounding made too small: its smallest lengths are wrong by all of it."""
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.normal(size=(200, 2)))
    size = float(weights.norm(dim=1).sum()) ** 2
    basis = torch.linalg.qr(torch.from_numpy(rng.normal(size=(8, 8)))).Q
    lengths = size * torch.logspace(-16, -1, 8, dtype=torch.float64)
    rounding = 2 * torch.finfo(torch.float64).eps * size
    images = torch.eye(8, dtype=torch.float64)  # so that coordinates are what the basis is made of
    found = outside_coordinates(
        images, basis * (lengths - rounding) @ basis.T, Terms(torch.ones(1, 1, 200), weights)
    )
    assert 3 < found.shape[1] < 8
    longest = torch.linalg.eigvalsh(found.T @ (basis * lengths @ basis.T) @ found).max()
    assert longest <= 1


def test_a_pilot_whose_samples_weigh_nothing():
    weights = np.zeros(2100)
    rows = torch.randperm(2100, generator=torch.Generator().manual_seed(0))  # of which a quarter
    weights[rows[600:603]] = 1.0, -0.5, 0.25
    X = np.random.default_rng(0).random((2100, 16))
    found = entanglement_profile(DataTensor(X, weights), tolerance=1e-3, route="truncated")
    some = entanglement_profile(DataTensor(X[weights != 0], weights[weights != 0]))
    assert_allclose(found.entropy, some.entropy, atol=1e-6)


def test_cuts_are_nested_where_that_costs_less():
    plan = SweepPlan(1.0, 0.0, 1e-3, 8, None, 256, 2, 1, "truncated")
    layout = Layout.of(CanonicalTree(256).root, plan)

    def last_paired(n_samples, *landmarks, before=0):
        state = State(dict(enumerate(landmarks, start=1)), last_paired=before)
        return streaming._last_paired(state, layout, random_terms(2, 2, n_samples), plan)

    assert last_paired(8000, 420, 310, 80, 40, 20) == 4
    assert last_paired(30000, 420, 310, 80, 40, 20) == 3
    assert last_paired(8000, 20, 20, 20, 20, 20) == 1
    assert last_paired(8000, 20, 20, 20, 20, 20, before=3) == 3  # it never moves up
    assert last_paired(1000, 500, 500, 500, 500, 500) == 6  # none: there are five generations


@pytest.mark.parametrize("linear", [False, True])
def test_landmarks_that_cancel_find_nothing_and_say_so(monkeypatch, linear):
    if linear:
        monkeypatch.setattr(streaming, "LINEAR", 0)
    X = np.array([[0] * 8, [0] * 8, [1] * 8])
    tensor = DataTensor(X, np.array([1.0, -1.0, 1.0]), OneHot(8))
    found = entanglement_profile(tensor, route="truncated")
    assert (found.entropy <= found.error_bound).all()  # a product state


@pytest.mark.parametrize("levels", [[1], [2], [3], [2, 4]])
def test_both_sides_of_some_levels(monkeypatch, levels):
    tensor = digits(200)
    dense = entanglement_profile(tensor, route="dense", levels=levels)
    monkeypatch.setattr(streaming, "LINEAR", 0)
    found = entanglement_profile(tensor, route="truncated", levels=levels, tolerance=3e-3)
    assert (np.abs(found.entropy - dense.entropy) <= found.error_bound + dense.error_bound).all()
    assert found.error_bound.max() < 0.2


@pytest.fixture
def two_sides(monkeypatch):
    """Bases on both sides, chosen on a part of the samples, with a pilot of fewer."""
    monkeypatch.setattr(streaming, "LINEAR", 0)
    for name, value in {"PILOT": 256, "TEST_ROWS": 512, "ALL_PAIRS": 16}.items():
        monkeypatch.setattr(two_sided, name, value)


@pytest.mark.parametrize("labels", [False, True])
def test_both_sides_with_bases_chosen_on_some_of_the_samples(two_sides, labels):
    tensor = digits(1200, labels=labels)
    dense = entanglement_profile(tensor, (8, 8), route="dense")
    for tolerance in (0.1, 0.01):
        found = entanglement_profile(tensor, (8, 8), tolerance=tolerance, route="truncated")
        assert found.tolerance_met
        wrong = np.abs(found.entropy - dense.entropy)
        assert (wrong <= found.error_bound + dense.error_bound).all()
        assert found.error_bound.max() > 0.1 * tolerance  # no longer bases than it takes


def test_the_pilot_finds_the_threshold_and_progress_ends_with_the_cuts(two_sides, monkeypatch):
    monkeypatch.setattr(two_sided, "TEST_ROWS", 2048)
    walks, told = [], []
    go = two_sided._Walk.go

    def counted(walk, reach):
        walks.append(walk.terms.n_samples)
        go(walk, reach)

    monkeypatch.setattr(two_sided._Walk, "go", counted)
    tensor, tree = digits(1500), CanonicalTree(64)
    tensor.canonical_spectra(tree, tree.depth, 0.05, advance=told.append, route="truncated")
    assert walks.count(1500) == 1
    assert walks[:-1] == [256] * (len(walks) - 1)
    assert len(walks) > 1
    assert sum(told) == len(tree.nodes)
    assert len(told) > 2


@given(power=st.floats(0.3, 1.5), first=st.floats(-12, -2), share=st.floats(0.05, 20.0))
def test_losses_that_are_a_power_of_the_threshold_come_to_what_is_aimed_at(power, first, share):
    seen = [(10**first, share)]
    for _ in range(5):
        threshold = two_sided._next_threshold(seen)
        seen.append((threshold, share * (threshold / 10**first) ** power))
    assert seen[-1][1] == pytest.approx(two_sided.AIM, rel=1e-6)


@pytest.mark.parametrize("n_samples", [100, 300])
def test_both_sides_of_what_one_vector_holds(two_sides, monkeypatch, n_samples):
    """A pilot of which nothing is lost does not send the threshold beyond all weights."""
    monkeypatch.setattr(two_sided, "PILOT", 64)
    X = np.zeros((n_samples, 16))
    X[0] = np.linspace(0, 1, 16)  # in the pilot or not
    tensor = DataTensor(X, np.where(np.arange(n_samples) == 0, 30.0, 1.0), Trigonometric(1.0))
    dense = entanglement_profile(tensor, route="dense")
    found = entanglement_profile(tensor, tolerance=0.01, route="truncated")
    assert found.tolerance_met
    assert (np.abs(found.entropy - dense.entropy) <= found.error_bound + dense.error_bound).all()


def test_both_sides_with_landmarks_that_weigh_nothing(two_sides):
    weights = np.full(300, 1e-200)
    weights[7] = 1.0
    X = np.random.default_rng(0).random((300, 16))
    found = entanglement_profile(DataTensor(X, weights), tolerance=0.1, route="truncated")
    assert (found.entropy <= found.error_bound).all()  # nearly a product state


def test_both_sides_keep_to_memory_and_say_what_they_reached(two_sides, monkeypatch):
    monkeypatch.setattr(data_tensor, "least_memory", lambda *_: 0.0)
    tensor = digits(600)
    dense = entanglement_profile(tensor, route="dense")
    free = entanglement_profile(tensor, tolerance=1e-3, route="truncated")
    tight = entanglement_profile(tensor, tolerance=1e-3, route="truncated", max_memory=3e6)
    assert free.tolerance_met
    assert not tight.tolerance_met
    assert (np.abs(tight.entropy - dense.entropy) <= tight.error_bound).all()
    longest = [max(w.size for w in found.schmidt_weights) for found in (free, tight)]
    assert longest[1] < longest[0]


def test_both_sides_on_every_device(device, two_sides):
    dense = entanglement_profile(digits(600), (8, 8), route="dense")
    moved = DataTensor(*_arguments(600), device=device)
    found = entanglement_profile(moved, (8, 8), tolerance=0.01, route="truncated")
    assert found.tolerance_met
    assert (np.abs(found.entropy - dense.entropy) <= found.error_bound + dense.error_bound).all()


@pytest.mark.slow
@pytest.mark.parametrize("linear", [10**9, 0])
def test_an_executor_of_processes_changes_nothing(monkeypatch, linear):
    monkeypatch.setattr(streaming, "LINEAR", linear)
    alone = entanglement_profile(digits(300), tolerance=1e-2, route="truncated", levels=3)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        together = entanglement_profile(
            digits(300), tolerance=1e-2, route="truncated", levels=3, executor=pool
        )
    assert_allclose(together.entropy, alone.entropy, atol=1e-9)


def test_a_pilot_finds_the_number_of_landmarks(monkeypatch):
    monkeypatch.setattr(streaming, "PILOT", 200)
    tensor = digits(900)
    dense = entanglement_profile(tensor, tolerance=1e-6, route="dense", levels=3)
    found = entanglement_profile(tensor, tolerance=1e-3, route="truncated", levels=3)
    assert found.tolerance_met
    assert_allclose(found.entropy, dense.entropy, atol=1e-3)


def test_an_executor_changes_nothing():
    tensor = digits(600)
    alone = entanglement_profile(tensor, tolerance=1e-2, route="truncated")
    with ThreadPoolExecutor(3) as pool:
        together = entanglement_profile(
            digits(600), tolerance=1e-2, executor=pool, route="truncated"
        )
    assert_allclose(together.entropy, alone.entropy, atol=1e-9)


def test_too_little_memory_shows_in_the_error_bound():
    tensor = digits(400)
    dense = entanglement_profile(tensor, route="dense", levels=3)
    for room in (9e6, 7.1e6):
        found = entanglement_profile(
            tensor, tolerance=1e-6, route="truncated", levels=3, max_memory=room
        )
        assert not found.tolerance_met
        assert (np.abs(found.entropy - dense.entropy) <= found.error_bound).all()
    assert max(weights.size for weights in found.schmidt_weights[:5]) < 40


def test_a_flat_spectrum_says_that_the_tolerance_is_not_met():
    X = np.random.default_rng(0).random((120, 40))
    found = entanglement_profile(
        DataTensor(X, embedding=Trigonometric(1.0)), tolerance=1e-6, route="truncated", levels=1
    )
    assert not found.tolerance_met
    assert found.error_bound[0] > 0.1
    dense = entanglement_profile(DataTensor(X, embedding=Trigonometric(1.0)), levels=1)
    assert abs(found.entropy[0] - dense.entropy[0]) <= found.error_bound[0]


@pytest.mark.parametrize(
    "embedding", [OneHot(3), Polynomial(2), OneHot(70)], ids=["one-hot", "powers", "wide"]
)
def test_other_local_dimensions(monkeypatch, embedding):
    monkeypatch.setattr(data_tensor, "DENSE_ELEMENTS", 1)
    X = np.random.default_rng(0).integers(0, 3, size=(150, 9))
    tensor = DataTensor(X, embedding=embedding)
    dense = entanglement_profile(tensor, route="dense")
    found = entanglement_profile(tensor, tolerance=1e-3, route="truncated")
    assert (np.abs(found.entropy - dense.entropy) <= found.error_bound + dense.error_bound).all()


def test_samples_without_weight_are_no_landmarks():
    X = np.random.default_rng(0).random((90, 30))
    weights = np.where(np.arange(90) < 4, 1.0, 0.0)
    some = entanglement_profile(DataTensor(X[:4]), tolerance=1e-6)
    found = entanglement_profile(DataTensor(X, weights), tolerance=1e-6, route="truncated")
    assert_allclose(found.entropy, some.entropy, atol=1e-8)


def test_many_samples_stream_and_few_do_not():
    tree = CanonicalTree(256)

    def prefers(n_samples, tolerance, fits=True):
        return prefers_streaming(
            tree.root, 8, random_terms(2, 2, n_samples), tolerance, walk_fits=fits
        )

    assert not prefers(1000, 1e-2)
    assert prefers(8000, 1e-2)
    assert not prefers(4000, 1e-7)  # almost every vector would be needed
    assert prefers(300, 1e-4, fits=False)
    assert prefers_streaming(CanonicalTree(4096).root, 2, random_terms(2, 2, 8000), 1e-2, True)


@pytest.mark.parametrize("theta", [0.3, 1.0])
def test_a_stochastic_estimate_is_within_its_standard_error(theta):
    tensor = digits(500, theta)
    dense = entanglement_profile(tensor, levels=2, route="dense")
    found = entanglement_profile(tensor, levels=2, route="stochastic")
    assert (found.standard_error > 0).any()
    difference = np.abs(found.entropy - dense.entropy)
    assert (difference <= 4 * found.standard_error + 2e-3).all()
    assert (difference <= found.error_bound + dense.error_bound).all()
    assert (found.error_bound >= 5 * found.standard_error).all()


def test_streaming_on_every_device(device):
    tensor = digits(300)
    moved = DataTensor(*_arguments(300), device=device)
    found = entanglement_profile(moved, (8, 8), tolerance=1e-3, route="truncated")
    dense = entanglement_profile(tensor, (8, 8), route="dense")
    assert (np.abs(found.entropy - dense.entropy) <= found.error_bound + dense.error_bound).all()


def _arguments(n_samples):
    X, y = load_digits(return_X_y=True)
    weights = np.where(y[:n_samples] % 2 == 0, 1.0, -1.0)
    return X[:n_samples] / 16, weights, Trigonometric(0.085)
