"""Projections are the nearest legal points: against the optimality conditions, and a solver."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from scipy import optimize

from entangle.adversarial.planes import nearest_on_plane
from entangle.adversarial.projections import lengths, project
from entangle.adversarial.threat import ThreatModel

NORMS = ["linf", "l2", "l1"]
VALUES = st.floats(-3, 3, width=32)
BOUNDS = st.floats(0, 2, width=32)


@st.composite
def problems(draw):
    size = draw(st.integers(1, 7))
    steps, low, high = (
        torch.from_numpy(draw(hnp.arrays(np.float64, size, elements=kind)))[None]
        for kind in (VALUES, BOUNDS, BOUNDS)
    )
    endless = torch.tensor(draw(st.lists(st.booleans(), min_size=size, max_size=size)))[None]
    radius = torch.tensor([[draw(st.floats(0, 4, width=32))]], dtype=torch.float64)
    return steps, radius, -low.masked_fill(endless, torch.inf), high


def support(slope, radius, low, high, norm):
    """Largest value of a linear function over ball and box, in closed form or by ordering."""
    sizes = slope.abs()
    caps = torch.where(slope > 0, high, -low)
    if norm == "linf":
        return float((sizes * torch.minimum(caps, radius)).sum())
    if norm == "l1":
        left, total = float(radius), 0.0
        for place in sizes[0].argsort(descending=True):
            taken = min(left, float(caps[0, place]))
            total, left = total + float(sizes[0, place]) * taken, left - taken
        return total
    low_factor, high_factor = 0.0, 1e12
    for _ in range(200):
        middle = (low_factor + high_factor) / 2
        fits = float(torch.minimum(middle * sizes, caps).norm()) <= float(radius)
        low_factor, high_factor = (middle, high_factor) if fits else (low_factor, middle)
    return float((sizes * torch.minimum(low_factor * sizes, caps)).sum())


@pytest.mark.parametrize("norm", NORMS)
@given(problem=problems())
def test_a_projection_is_legal_and_no_legal_point_lies_further_along(norm, problem):
    """Optimality: of all legal points none has a larger product with what was cut off."""
    steps, radius, low, high = problem
    found = project(steps, radius, norm, low, high)
    assert float(lengths(found, norm)) <= float(radius) * (1 + 1e-12) + 1e-12
    assert bool(((found >= low) & (found <= high)).all())
    if norm == "linf":
        torch.testing.assert_close(found, steps.clamp(-radius, radius).clamp(low, high))
        return
    cut = steps - found
    reach = support(cut, radius, low, high, norm)
    assert float((cut * found).sum()) >= reach - 1e-9 * max(1.0, reach)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_projections_are_those_of_a_solver(norm):
    rng = np.random.default_rng(0)
    room = {"l1": lambda v: 0.8 - v.sum(), "l2": lambda v: 0.64 - ((v[:4] - v[4:]) ** 2).sum()}
    for _ in range(10):
        steps, high = rng.normal(size=4), rng.uniform(0, 1, 4)
        low = -rng.uniform(0, 1, 4)
        tensors = (torch.tensor(a)[None] for a in (steps, low, high))
        given_steps, given_low, given_high = tensors
        found = project(given_steps, torch.tensor([[0.8]]).double(), norm, given_low, given_high)
        # Positive and negative parts make the L1 norm linear.
        parts = optimize.minimize(
            lambda v, aim=steps: ((v[:4] - v[4:] - aim) ** 2).sum(), np.zeros(8),
            bounds=[*zip(np.zeros(4), high, strict=True), *zip(np.zeros(4), -low, strict=True)],
            constraints={"type": "ineq", "fun": room[norm]},
            options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        np.testing.assert_allclose(found[0], parts.x[:4] - parts.x[4:], atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_single_precision_loses_rounding_only(norm):
    source = torch.Generator().manual_seed(0)
    steps = torch.randn(200, 300, generator=source, dtype=torch.float64)
    low, high = -torch.rand(200, 300, generator=source), torch.rand(200, 300, generator=source)
    radius = 3 * torch.rand(200, 1, generator=source)
    short = project(steps.float(), radius, norm, low, high)
    long = project(steps, radius.double(), norm, low.double(), high.double())
    torch.testing.assert_close(short.double(), long, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_unbounded_is_infinitely_wide(norm):
    source = torch.Generator().manual_seed(0)
    steps, radius = torch.randn(20, 9, generator=source), torch.rand(20, 1, generator=source)
    wide = torch.full_like(steps, torch.inf)
    torch.testing.assert_close(
        project(steps, radius, norm), project(steps, radius, norm, -wide, wide)
    )


@pytest.mark.parametrize("norm", NORMS)
def test_the_nearest_point_of_a_plane_is_on_it_and_its_distance_is_the_dual_one(norm):
    source = torch.Generator().manual_seed(1)
    slope, level = torch.randn(30, 6, generator=source), torch.rand(30, generator=source)
    found = nearest_on_plane(slope, level, ThreatModel(norm).around(torch.zeros(30, 6)))
    torch.testing.assert_close((slope * found).sum(1), level, atol=1e-5, rtol=1e-5)
    dual = {"linf": "l1", "l2": "l2", "l1": "linf"}[norm]
    torch.testing.assert_close(lengths(found, norm), level[:, None] / lengths(slope, dual))


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=30)
@given(seed=st.integers(0, 1000))
def test_no_shorter_point_of_the_box_reaches_the_plane(norm, seed):
    source = torch.Generator().manual_seed(seed)
    slope = torch.randn(1, 5, generator=source, dtype=torch.float64)
    samples = torch.rand(1, 5, generator=source, dtype=torch.float64)
    room = ThreatModel(norm, 1.0, 0.0, 1.0).around(samples)
    most = float(torch.where(slope > 0, slope * room.high, slope * room.low).sum())
    found = nearest_on_plane(slope, torch.tensor([0.6 * most]), room)
    assert bool(((found >= room.low) & (found <= room.high)).all())
    assert float((slope * found).sum()) >= 0.6 * most * (1 - 1e-6)
    shorter = 0.999 * lengths(found, norm)
    assert support(slope, shorter, room.low, room.high, norm) < 0.6 * most


@pytest.mark.parametrize("norm", NORMS)
def test_a_small_ball_holds_what_is_left_of_long_displacements(norm):
    steps = 3 * torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    radius = torch.full((200, 1), 1e-3)
    for high in (torch.full_like(steps, torch.inf), torch.full_like(steps, 2e-4)):
        found = project(steps, radius, norm, -high, high)
        assert float(lengths(found.double(), norm).max()) <= 1e-3 * (1 + 1e-6)
