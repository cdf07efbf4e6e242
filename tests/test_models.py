import math

import pytest
import torch
from torch.testing import assert_close

from entangle.errors import InputError
from entangle.models import CNN, M5, MLP, MODELS, S4D, LocalTransformer, PaddedCNN, build_model
from entangle.models.attention import LocalAttention, rotated, turns, window_attention
from entangle.models.cnn import ResidualLayer
from entangle.models.convolution import long_convolution
from entangle.models.s4 import StateSpace
from entangle.seeding import seeded

SMALL = {
    "cnn": {"width": 8},
    "padded-cnn": {"width": 8},
    "m5": {"width": 4},
    "s4": {"width": 8, "depth": 2, "n_states": 8},
    "attention": {"width": 16, "depth": 2, "heads": 2, "head_dim": 8, "window": 5},
    "mlp": {"hidden": (8,)},
}
SEQUENTIAL = [name for name in MODELS if name != "mlp"]
GRIDS = ["cnn", "padded-cnn", "mlp"]


def small(name, shape=(20,), n_channels=1, n_classes=3, seed=0, **options):
    return build_model(
        name, n_channels, shape, n_classes, seed=seed, **{**SMALL[name], **options}
    ).eval()


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# -- what all of them promise --------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("length", [2, 3, 4, 5, 9, 10, 63, 64, 257, 1771, 1772, 5000])
def test_every_length_gives_finite_logits_and_gradients(name, length):
    module = small(name, (length,), n_channels=2).train()
    values = randn(2, 2, length).requires_grad_()
    logits = module(values)
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())
    assert values.grad.abs().sum() > 0


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_one_network_reads_every_length(name):
    module = small(name, (20,))
    assert module(randn(2, 1, 7)).shape == module(randn(2, 1, 301)).shape == (2, 3)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("shape", [(1, 2), (5, 1), (8, 8), (17, 40)])
def test_grids(name, shape):
    module = small(name, shape, n_channels=2).train()
    assert module(randn(3, 2, *shape)).shape == (3, 3)


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_alone_gets_the_logits_that_it_gets_among_others(name):
    module, values = small(name), randn(6, 1, 20)
    together = module(values)
    assert_close(torch.cat([module(values[i : i + 1]) for i in range(6)]), together)
    other = values.clone()
    other[0] = 100.0
    assert_close(module(other)[1:], together[1:])


@pytest.mark.parametrize("name", MODELS)
def test_first_values_depend_on_the_seed_alone(name):
    before = torch.random.get_rng_state()
    one, same, other = (small(name, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(5)
    again = small(name, seed=0)
    torch.random.set_rng_state(before)
    values = randn(2, 1, 20)
    assert torch.equal(one(values), same(values))
    assert torch.equal(one(values), again(values))
    assert not torch.equal(one(values), other(values))


def test_the_generator_of_dropout_is_seeded_and_put_back():
    before = torch.random.get_rng_state()
    drawn = []
    for seed in (0, 0, 1):
        with seeded(seed):
            drawn.append(torch.nn.functional.dropout(torch.ones(50)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("name", MODELS)
def test_on_a_device(name, device):
    module, values = small(name), randn(4, 1, 20)
    expected = module(values)
    found = module.to(device)(values.to(device))
    assert found.device.type == device.type
    assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["m5", "s4", "attention"])
def test_sequence_models_refuse_grids(name):
    with pytest.raises(InputError, match=r"got shape \(4, 5\); leave shape out, or pass"):
        build_model(name, 1, (4, 5), 3)


@pytest.mark.parametrize(
    ("name", "shape", "options", "match"),
    [
        ("cnn", (2, 2, 2), {}, "two axes, got shape"),
        ("padded-cnn", (2, 2, 2), {}, "two axes, got shape"),
        ("cnn", (9,), {"kernel_size": 4}, "odd number, got 4; pass 3 or 5"),
        ("s4", (9,), {"start": "hippo"}, "start is 'lin' or 'inv', got 'hippo'"),
        ("s4", (9,), {"n_states": 5}, "even number of at least 2, got 5"),
        ("attention", (9,), {"head_dim": 5}, "even number of at least 2, got 5"),
        ("s4", (9,), {"depht": 5}, "cannot be built from .* unexpected keyword argument 'depht'"),
        ("resnet", (9,), {}, "one of cnn, padded-cnn, m5, s4, attention, mlp, .* got 'resnet'"),
    ],
)
def test_options_that_cannot_be_used_are_refused(name, shape, options, match):
    with pytest.raises(InputError, match=match):
        build_model(name, 1, shape, 3, **options)


def test_defaults_are_the_published_ones():
    assert_close(MODELS["attention"].learning_rate, 5e-5)
    assert MODELS["attention"].batch_size == 32
    assert [MODELS[name].learning_rate for name in ("cnn", "m5", "s4")] == [1e-3] * 3
    assert MODELS["s4"].weight_decay == 0.01
    assert MODELS["s4"].decoupled
    assert MODELS["cnn"].weight_decay == 1e-4
    assert not MODELS["cnn"].decoupled
    transformer = build_model("attention", 1, (30,), 2)
    assert len(transformer.attention) == 8
    assert transformer.attention[0].inputs.weight.shape == (3 * 4 * 32, 128)
    assert transformer.attention[0].window == 25
    s4 = build_model("s4", 1, (30,), 2)
    assert s4.layers[0].space.readout.shape == (1, 64, 32, 2)
    assert len(s4.layers) == 4
    assert len(build_model("cnn", 1, (30,), 2).layers) == 8
    assert [c.weight.shape for c in build_model("m5", 1, (30,), 2).convolutions] == [
        (128, 1, 80), (128, 128, 3), (256, 128, 3), (512, 256, 3),
    ]  # fmt: skip


# -- convolutions --------------------------------------------------------------------------


def touched(function, values, *place):
    """Positions of the input that one output position depends on, as a set."""
    values = values.clone().requires_grad_()
    function(values)[(slice(None), slice(None), *place)].sum().backward()
    axes = values.grad.abs().sum(dim=(0, 1)).nonzero()
    return {tuple(index) if len(index) > 1 else index[0] for index in axes.tolist()}


@pytest.mark.parametrize("place", range(7))
def test_a_layer_sees_the_three_it_joins_and_one_on_each_side(place):
    with seeded(0):
        layer = ResidualLayer(64, 1).eval()
    seen = touched(layer, randn(2, 64, 20), place)
    assert seen == set(range(3 * place - 1, 3 * place + 4)) & set(range(20))


def test_a_layer_on_a_grid_sees_a_square():
    with seeded(0):
        layer = ResidualLayer(64, 2).eval()
    seen = touched(layer, randn(2, 64, 9, 12), 1, 2)
    assert seen == {(i, j) for i in range(2, 7) for j in range(5, 10)}


def test_a_layer_is_a_sum_pooled():
    with seeded(0):
        layer = ResidualLayer(4, 1).eval()
    values = randn(2, 4, 9)
    sums = values + torch.relu(layer.norm(layer.convolution(values)))
    assert torch.equal(layer(values), sums.unflatten(2, (3, 3)).amax(dim=3))


def test_a_layer_pools_what_is_left_and_then_leaves_it():
    layer = ResidualLayer(4, 1).eval()
    lengths, values = [], randn(2, 4, 64)
    for _ in range(6):
        values = layer(values)
        lengths.append(values.shape[2])
    assert lengths == [22, 8, 3, 1, 1, 1]


def test_the_padded_network_in_steps():
    """Its own description, one step after the other, on a length that three divides."""
    module, values = small("padded-cnn", depth=2), randn(2, 1, 18)
    (one, two), (first, second) = module.convolutions, module.norms

    def fill(found):
        return torch.cat([found, torch.zeros(*found.shape[:2], 18 - found.shape[2])], dim=2)

    h = fill(torch.relu(one(values)))
    h = h + first(h)
    h = h + fill(h.unflatten(2, (6, 3)).amax(dim=3))
    h = h + fill(torch.relu(two(h)))
    h = h + second(h)
    h = h + fill(h.unflatten(2, (6, 3)).amax(dim=3))
    assert_close(module(values), module.decoder(h.mean(dim=2)))


@pytest.mark.parametrize("length", [19, 20])
def test_the_last_positions_enter_the_padded_network(length):
    module, values = small("padded-cnn"), randn(1, 1, length).requires_grad_()
    module(values)[0, 0].backward()
    assert (values.grad[0, 0, 18:] != 0).any()


def test_m5_reads_a_long_signal_without_zeros_and_a_short_one_with_few():
    module = small("m5")
    h = values = randn(1, 1, 1772)
    for convolution, norm in zip(module.convolutions, module.norms, strict=True):
        h = torch.relu(norm(convolution(h)))
        h = h[..., : h.shape[2] // 4 * 4].unflatten(2, (-1, 4)).amax(dim=3)
    assert h.shape[2] == 1
    assert_close(module(values), module.decoder(h[..., 0]))
    short = randn(1, 1, 30)
    padded = torch.cat([short, torch.zeros(1, 1, 50)], dim=2)
    assert torch.equal(module(short), module(padded))


# -- state spaces --------------------------------------------------------------------------


def space(width=3, n_states=6, dtype=torch.float64, **options):
    with seeded(0):
        return StateSpace(width, n_states, **options).to(dtype)


def recurrence(module, values, readout=0):
    """Outputs position by position, each from the state before."""
    logs, drive = module.discrete()
    readout = torch.view_as_complex(module.readout)[readout]
    state = torch.zeros(len(values), *logs.shape, dtype=logs.dtype)
    outputs = []
    for now in values.unbind(1):
        state = logs.exp() * state + drive * now[..., None]
        outputs.append(2 * (readout * state).sum(dim=-1).real)
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("start", ["lin", "inv"])
@pytest.mark.parametrize("length", [1, 2, 17, 100])
def test_the_convolution_is_the_recurrence(start, length):
    module, values = space(start=start), randn(2, length, 3, dtype=torch.float64)
    expected = recurrence(module, values) + module.skip * values
    assert_close(module(values), expected, rtol=1e-12, atol=1e-12)


def test_two_directions_are_a_recurrence_from_each_end():
    module, values = space(bidirectional=True), randn(2, 40, 3, dtype=torch.float64)
    shifted = torch.cat([values[:, 1:], torch.zeros(2, 1, 3)], dim=1)
    behind = recurrence(module, shifted.flip(1), readout=1).flip(1)
    expected = recurrence(module, values) + behind + module.skip * values
    assert_close(module(values), expected, rtol=1e-12, atol=1e-12)


def test_the_state_is_the_exact_solution_between_samples():
    """Zero-order hold: small steps of Euler come ever closer, in proportion."""
    module = space()
    logs, drive = module.discrete()
    continuous = logs / module.log_step.exp()[:, None]
    errors = []
    for n_steps in (1000, 2000):
        step = module.log_step.exp()[:, None] / n_steps
        state = torch.zeros_like(logs)
        for _ in range(n_steps):
            state = state + step * (continuous * state + 1)
        errors.append(float((state - drive).detach().abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)


def test_first_frequencies_are_those_of_the_source():
    n = torch.arange(4)
    assert_close(space(n_states=8, dtype=torch.float32).frequency[0], math.pi * n)
    inverse = space(n_states=8, start="inv", dtype=torch.float32)
    assert_close(inverse.frequency[2], 8 / math.pi * (8 / (2 * n + 1) - 1))
    assert_close(inverse.log_decay.exp(), torch.full((3, 4), 0.5))
    steps = space(width=2000, dtype=torch.float32).log_step.exp()
    assert 1e-3 <= steps.min() < 1.1e-3
    assert 0.09 < steps.max() <= 0.1


def test_the_past_alone_is_seen():
    module = space()
    values = randn(1, 30, 3, dtype=torch.float64).requires_grad_()
    module(values)[0, 10].sum().backward()
    seen = values.grad.abs().sum(dim=(0, 2))
    assert (seen[:11] > 1e-6).all()
    assert (seen[11:] < 1e-12).all()


def test_gradients_of_a_long_convolution_and_theirs():
    values = randn(3, 5, 2, dtype=torch.float64).requires_grad_()
    kernel = randn(2, 12, seed=1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(long_convolution, (values, kernel))
    assert torch.autograd.gradgradcheck(long_convolution, (values, kernel))
    given = randn(3, 5, 2, seed=2, dtype=torch.float64)
    for one, same in zip(
        *(
            torch.autograd.grad(
                long_convolution(values, kernel), (values, kernel), given, create_graph=again
            )
            for again in (False, True)
        ),
        strict=True,
    ):
        assert_close(one, same.detach())


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_of_nothing_has_no_logits(name):
    module = build_model(name, 1, (64,), 3, seed=0).eval()
    assert module(torch.zeros(0, 1, 64)).shape == (0, 3)


def test_a_long_convolution_does_not_depend_on_how_the_batch_is_cut(monkeypatch):
    values, kernel = randn(7, 50, 2), randn(2, 100, seed=1)
    found = []
    for numbers in (1, 400, 1 << 30):
        monkeypatch.setattr("entangle.models.convolution._NUMBERS", numbers)
        given = [values.clone().requires_grad_(), kernel.clone().requires_grad_()]
        out = long_convolution(*given)
        out.square().sum().backward()
        found.append([out.detach(), given[0].grad, given[1].grad])
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert_close(one, same, rtol=1e-4, atol=1e-4)


def test_state_parameters_have_a_small_rate_and_no_decay():
    module = small("s4")
    (group,) = module.parameter_groups()
    assert group.largest_rate == 1e-3
    assert group.weight_decay == 0
    names = {name for name, p in module.named_parameters() if any(p is q for q in group.parameters)}
    dynamics = ("log_step", "log_decay", "frequency")
    assert names == {f"layers.{layer}.space.{part}" for layer in (0, 1) for part in dynamics}


def test_dropout_only_acts_in_training():
    module, values = small("s4", dropout=0.5), randn(2, 1, 20)
    assert torch.equal(module(values), module(values))
    module.train()
    assert not torch.equal(module(values), module(values))


# -- attention -----------------------------------------------------------------------------


def dense_attention(queries, keys, values, window):
    """All pairs, those of windows that do not touch masked out."""
    length, head_dim = queries.shape[1], queries.shape[3]
    number = torch.arange(length) // window
    seen = (number[:, None] - number).abs() <= 1
    scores = torch.einsum("bihd,bjhd->bhij", queries, keys) / math.sqrt(head_dim)
    weights = scores.masked_fill(~seen, -math.inf).softmax(dim=-1)
    return torch.einsum("bhij,bjhd->bihd", weights, values)


@pytest.mark.parametrize("length", [1, 4, 5, 6, 15, 23])
@pytest.mark.parametrize("window", [1, 5, 50])
def test_attention_is_dense_attention_with_a_mask(length, window):
    """Also: what fills the last window up is never looked at."""
    three = [randn(2, length, 2, 4, seed=s, dtype=torch.float64).requires_grad_() for s in range(3)]
    found, expected = window_attention(*three, window), dense_attention(*three, window)
    assert_close(found, expected)
    given = randn(*found.shape, seed=4, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(found, three, given), torch.autograd.grad(expected, three, given),
        strict=True,
    ):  # fmt: skip
        assert_close(one, other)


def test_attention_has_shapes_where_there_are_no_values():
    parts = torch.empty(3, 2, 23, 2, 4, device="meta")
    assert window_attention(*parts, window=5).shape == (2, 23, 2, 4)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_lost_only_where_attention_ends(half):
    parts = [torch.randn(2, 23, 2, 4, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    given = [part.to(half) for part in parts]
    with torch.autocast("cpu", torch.bfloat16, enabled=half == torch.bfloat16):
        found = window_attention(*given, window=5)
    assert found.dtype == half
    expected = window_attention(*(part.float() for part in given), window=5)
    assert_close(found, expected.to(half), atol=0, rtol=0)


@pytest.mark.parametrize(("place", "seen"), [(0, (0, 10)), (7, (0, 15)), (12, (5, 17))])
def test_a_position_sees_its_window_and_those_beside_it(place, seen):
    with seeded(0):
        layer = LocalAttention(8, 5, 2, 4)
    found = touched(lambda values: layer(values.mT).mT, randn(1, 8, 17), place)
    assert found == set(range(*seen))


def test_scores_depend_on_differences_of_positions_alone():
    queries, keys = randn(1, 1, 1, 8), randn(1, 1, 1, 8, seed=1)
    tables = [table.float() for table in turns(30, 8, queries.device)]
    turned = [rotated(each.expand(1, 30, 1, 8), *tables) for each in (queries, keys)]
    scores = torch.einsum("bihd,bjhd->bhij", *turned)[0, 0]
    for lag in (0, 3, -7):
        diagonal = scores.diagonal(lag)
        assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-5)
    assert scores.std() > 0.1


def most_numbers(name, length):
    """Largest tensor that a training step keeps for the gradient, in numbers a sample."""
    kept = []
    module = small(name, (length,), n_classes=2).train()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        module(randn(2, 1, length))
    return max(kept)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_what_is_kept_for_gradients_grows_no_faster_than_the_length(name):
    assert most_numbers(name, 8000) < 4.4 * most_numbers(name, 2000)


def test_classes_can_be_built_directly():
    for kind in (CNN, M5, MLP, S4D, LocalTransformer, PaddedCNN):
        assert kind(2, (12,), 4).eval()(randn(1, 2, 12)).shape == (1, 4)
