import math

import numpy as np
import pytest
import quimb.tensor as qtn
import torch
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chisquare

from entangle import (
    MatrixProductState,
    Partition,
    TreeTensorNetwork,
    canonical_partitions,
    entanglement_entropy,
    entanglement_profile,
)
from entangle.errors import (
    DegenerateStateError,
    InputError,
    MemoryLimitError,
    OutputExistsError,
    PartitionError,
)
from tests.oracles import dense_entropy, schmidt_values_of
from tests.test_networks import CHAINS, TREES, build, dense_of, randomized

HALF = Partition([0, 1], 4)
ALL = TREES + [options for options in CHAINS if options["label_site"] is None]


@pytest.fixture(autouse=True)
def _seed():
    """Numbers drawn without a generator are the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def cuts_of(network):
    if isinstance(network, TreeTensorNetwork):
        return canonical_partitions(network.tree.shape)
    n = network.n_features
    return [Partition(range(k), n) for k in range(1, n)]


def close(found, expected, tolerance=1e-12):
    size = np.abs(np.asarray(expected)).max()
    assert_allclose(np.asarray(found), np.asarray(expected), atol=tolerance * size, rtol=0)


# -- spectra -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ALL, ids=str)
def test_schmidt_values_are_those_of_the_dense_tensor(options, device):
    network = build(options, device=device)
    dense = dense_of(network)
    for cut in cuts_of(network):
        expected = schmidt_values_of(dense, cut.block.tolist())
        for same in (cut, cut.flipped()):
            values = network.schmidt_values(same).cpu().numpy()
            assert values.dtype == np.float64
            n = min(values.size, expected.size)
            close(values[:n], expected[:n])
            assert expected[n:].sum() < 1e-12 * expected[0]
            assert entanglement_entropy(network, same) == pytest.approx(
                dense_entropy(expected), abs=1e-10
            )


@pytest.mark.parametrize("options", ALL, ids=str)
def test_one_sweep_finds_every_bond(options):
    network = build(options)
    found = network.bond_schmidt_values()
    last = len(network.tensor_tree().tensors) - 1
    assert len(found) == last
    edges = {network.edge_of(cut): network.schmidt_values(cut) for cut in cuts_of(network)}
    for (node, other), values in edges.items():
        close(found[max(node, other) - 1], values / values.norm())


def test_labels_on_the_way_have_a_bond_on_either_side():
    network = build({"n_features": 4, "n_labels": 3})
    dense = np.moveaxis(dense_of(network), -1, 2)  # k0 k1 label k2 k3
    for bond, values in enumerate(network.bond_schmidt_values(), 1):
        expected = np.linalg.svd(dense.reshape(math.prod(dense.shape[:bond]), -1))[1]
        close(values, expected[: values.numel()] / np.linalg.norm(expected))


@pytest.mark.parametrize("uniform", [False, True])
def test_quimb_agrees_at_every_bond(uniform):
    network = build({"n_features": 12, "uniform": uniform}, bond_dim=5)
    arrays = [tensor.numpy() for tensor in network.site_tensors()]
    state = qtn.MatrixProductState([arrays[0][0], *arrays[1:-1], arrays[-1][..., 0]], shape="lpr")
    state.normalize()
    for k in range(1, 12):
        expected = state.entropy(k) * math.log(2)  # quimb's are bits
        assert entanglement_entropy(network, Partition(range(k), 12)) == pytest.approx(
            expected, abs=1e-10
        )


def test_sixty_three_bonds_equal_those_of_quimb():
    state = qtn.MPS_rand_state(64, 32, dtype="float64", seed=0)
    state.normalize()
    info = {}
    expected = [state.entropy(k, info=info) * math.log(2) for k in range(1, 64)]
    weights = [v.numpy() for v in MatrixProductState.from_quimb(state).bond_schmidt_values()]
    assert_allclose([dense_entropy(v) for v in weights], expected, atol=1e-10)


def product(options):
    network = build(options, bond_dim=1)
    assert all(p.shape[-1] in (1, 2) for p in network.parameters())
    return network


@pytest.mark.parametrize("options", [{"shape": 7}, {"shape": (3, 4)}, {"n_features": 9}])
def test_products_have_no_entropy(options):
    network = product(options)
    for cut in cuts_of(network):
        assert entanglement_entropy(network, cut) == pytest.approx(0, abs=1e-12)


def copies(n_axes, first=2):
    tensor = torch.zeros(first, *(2,) * (n_axes - 1)).double()
    tensor[(..., *[0] * n_axes)] = 1
    tensor[(first - 1, *[1] * (n_axes - 1))] = 1
    return tensor


def test_a_bell_state_has_ln_2_at_every_cut():
    for shape in (8, (3, 4), 5):
        tree = TreeTensorNetwork(shape)
        walk = list(tree.tree.root.walk())
        tensors = [
            copies(1 + len(n.children) if n.children else 2, 2 if n.level else 1) for n in walk
        ]
        network = TreeTensorNetwork.from_node_tensors(shape, tensors)
        for cut in canonical_partitions(shape):
            assert entanglement_entropy(network, cut) == pytest.approx(math.log(2), abs=1e-12)
    chain = [copies(3, 1), *[copies(3)] * 4, copies(3).permute(1, 2, 0)[..., :1]]
    chain[-1] = torch.eye(2).double()[..., None]
    network = MatrixProductState.from_site_tensors(chain)
    for values in network.bond_schmidt_values():
        assert_allclose(values, [math.sqrt(0.5)] * 2, rtol=1e-12)


@pytest.mark.parametrize("small", [1e-6, 1e-9, 1e-12])
def test_small_schmidt_values_keep_their_digits(small):
    """Gram matrices would lose all below 1e-8."""
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(4, 2, generator=generator).double()).Q
    right = torch.linalg.qr(torch.randn(4, 2, generator=generator).double()).Q
    gauge = torch.randn(2, 2, generator=generator).double()
    middle = left @ torch.diag(torch.tensor([1.0, small]).double()) @ gauge
    inverse = torch.linalg.solve(gauge, right.T)
    one = torch.eye(2).double()
    chain = [one[None], middle.reshape(2, 2, 2), inverse.reshape(2, 2, 2), one[..., None]]
    tree = [one[None], middle.reshape(2, 2, 2).permute(2, 0, 1), one, one]
    tree += [inverse.reshape(2, 2, 2), one, one]
    for network, bond in (
        (MatrixProductState.from_site_tensors(chain), 1),
        (TreeTensorNetwork.from_node_tensors(4, tree), 0),
    ):
        for found in (network.schmidt_values(HALF), network.bond_schmidt_values()[bond]):
            assert float(found[1]) == pytest.approx(small, abs=1e-15, rel=1e-6)


@pytest.mark.parametrize("options", TREES, ids=str)
def test_profiles_of_trees_are_their_entropies(options):
    network = build(options)
    profile = entanglement_profile(network, options["shape"])
    expected = [entanglement_entropy(network, cut) for cut in profile.partitions]
    assert_allclose(profile.entropy, expected, atol=1e-10)
    assert profile.error_bound.max() < 1e-10
    with pytest.raises(InputError, match="route='dense' is for data tensors"):
        entanglement_profile(network, options["shape"], route="dense")


def test_cuts_that_are_no_bond_are_refused():
    chain = build({"n_features": 8})
    with pytest.raises(PartitionError, match="first features"):
        chain.canonicalize(Partition([2, 3], 8))
    with pytest.raises(PartitionError, match="chain of 8"):
        chain.schmidt_values(Partition([0, 1], 9))
    tree = build({"shape": 8})
    with pytest.raises(PartitionError, match="canonical_partitions"):
        tree.schmidt_values(Partition([0, 1, 2], 8))
    with pytest.raises(PartitionError, match="no cut of a tree"):
        tree.schmidt_values(Partition([0, 3], 8))
    with pytest.raises(PartitionError, match="no cut of a tree"):
        entanglement_profile(tree, (4, 2))
    with pytest.raises(PartitionError, match="puts them into the middle"):
        build({"n_features": 8, "n_labels": 3, "label_site": 0}).canonicalize(
            Partition(range(3), 8)
        )


def test_a_zero_network_has_norm_0_and_no_entropy():
    for options in ({"shape": 4}, {"n_features": 4}):
        network = randomized(build(options), size=0.0)
        assert network.norm == 0
        assert network.log_norm == -math.inf
        with pytest.raises(DegenerateStateError):
            entanglement_entropy(network, Partition([0, 1], 4))
        with pytest.raises(DegenerateStateError):
            entanglement_profile(network, 4, levels=1)
        with pytest.raises(InputError, match="nothing to sample"):
            network.sample(3)
        assert network.canonicalize().norm == 0


# -- canonical forms ---------------------------------------------------------------------------


@pytest.mark.parametrize("options", ALL, ids=str)
def test_canonical_tensors_are_isometries_toward_the_centre(options):
    network = build(options)
    dense = network.to_dense()
    for centre in range(len(network.tensor_tree().tensors)):
        canonical = network.canonicalize(centre)
        close(canonical.to_dense(), dense)
        tree = canonical.tensor_tree()
        for node, parent in tree.walk(centre)[1:]:
            axis = tree.axis(node, parent)
            matrix = tree.tensors[node].movedim(axis, -1).flatten(0, -2)
            assert_allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-12)
        assert float(tree.tensors[centre].norm()) == pytest.approx(float(dense.norm()))
    with pytest.raises(InputError, match="numbered 0 to"):
        network.canonicalize(len(network.tensor_tree().tensors))


def test_the_centre_at_a_cut_has_its_schmidt_values():
    for options in ({"shape": (3, 3), "n_labels": 2}, {"n_features": 7, "n_labels": 2}):
        network = build(options)
        for cut in cuts_of(network):
            canonical, (node, other) = network.canonicalize(cut), network.edge_of(cut)
            tree = canonical.tensor_tree()
            matrix = tree.tensors[node].movedim(tree.axis(node, other), -1).flatten(0, -2)
            expected = network.schmidt_values(cut)
            n = min(*matrix.shape, len(expected))
            close(torch.linalg.svdvals(matrix)[:n], expected[:n])


# -- truncation --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ALL, ids=str)
def test_truncation_errors_are_what_they_are_said_to_be(options):
    network = build(options)
    dense = network.to_dense()
    for bond_dim in (1, 2, 3):
        short, error = network.truncated(bond_dim=bond_dim)
        made = float((short.to_dense() - dense).norm() / dense.norm())
        assert error == pytest.approx(made, abs=1e-12)
        bonds = network.bond_schmidt_values()
        tails = [float(values[bond_dim:].norm()) for values in bonds]
        assert max(tails) - 1e-12 <= error <= math.hypot(*tails) + 1e-12
        for values in short.bond_schmidt_values():
            assert values.numel() <= bond_dim


@pytest.mark.parametrize("allowed", [0.0, 1e-3, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8])
def test_truncation_keeps_to_the_error_allowed(allowed):
    for options in ({"shape": (4, 4)}, {"shape": 11, "n_labels": 3}, {"n_features": 13}):
        network = build(options, bond_dim=6)
        short, error = network.truncated(error=allowed)
        assert error <= max(allowed, 1e-13)
        value, log = short.inner(network)
        # a projection: <short, network> = |short|^2 = (1 - error^2) |network|^2
        assert math.log(value) + log == pytest.approx(2 * short.log_norm, abs=1e-10)
        assert 2 * (short.log_norm - network.log_norm) == pytest.approx(
            math.log1p(-(error**2)), abs=1e-10
        )
        if allowed >= 0.5:
            assert sum(p.numel() for p in short.parameters()) < sum(
                p.numel() for p in network.parameters()
            )


def test_truncation_undoes_bonds_that_carry_nothing():
    for options in ({"n_features": 8}, {"shape": 8}):
        network = build(options, bond_dim=2)
        if "shape" in options:
            short, error = build(options, bond_dim=2).truncated(error=0.0)
            assert error < 1e-13
            continue
        doubled = [
            torch.cat([torch.cat([t, 0 * t], 2), torch.cat([0 * t, t], 2)], 0) if 0 < n < 7 else t
            for n, t in enumerate(network.site_tensors())
        ]
        doubled[0] = torch.cat([doubled[0], doubled[0]], 2)
        doubled[7] = torch.cat([doubled[7], doubled[7]], 0)
        short, error = MatrixProductState.from_site_tensors(doubled).truncated(error=0.0)
        assert error < 1e-13
        assert [t.shape for t in short.site_tensors()] == [t.shape for t in network.site_tensors()]
        close(short.to_dense(), 2 * network.to_dense())


def test_truncation_without_a_goal_is_refused():
    network = build({"shape": 4})
    with pytest.raises(InputError, match="give the longest bond"):
        network.truncated()
    with pytest.raises(InputError, match="got 0 and None"):
        network.truncated(bond_dim=0)
    with pytest.raises(InputError, match="got None and 1"):
        network.truncated(error=1)


# -- norms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ALL, ids=str)
def test_norms_and_inner_products_are_the_dense_ones(options, device):
    one, two = (build(options, seed=seed, device=device) for seed in (0, 1))
    a, b = one.to_dense().cpu(), two.to_dense().cpu()
    assert one.norm == pytest.approx(float(a.norm()), rel=1e-12)
    value, log = one.inner(two)
    assert value * math.exp(log) == pytest.approx(
        float((a * b).sum()), abs=1e-11 * one.norm * two.norm
    )
    close(a.numpy(), dense_of(one).reshape(a.shape))


@pytest.mark.parametrize("options", [{"n_features": 4096}, {"shape": 4096}], ids=str)
def test_norms_of_thousands_of_sites_are_finite_logarithms(options):
    network = build(options, bond_dim=3)
    log = network.log_norm
    assert log > 710
    assert network.norm == math.inf
    value, inner_log = network.inner(network)
    assert math.log(value) + inner_log == pytest.approx(2 * log, rel=1e-12)
    for values in network.bond_schmidt_values():
        assert float(values.norm()) == pytest.approx(1, rel=1e-12)
    half = network.schmidt_values(Partition(range(2048), 4096))
    assert float(half.norm()) == pytest.approx(1, rel=1e-12)
    canonical = network.canonicalize()
    assert float(canonical.log_factor) == pytest.approx(log, rel=1e-12)
    assert canonical.log_norm == pytest.approx(log, rel=1e-12)
    value, inner_log = network.inner(canonical)
    assert math.log(value) + inner_log == pytest.approx(2 * log, rel=1e-12)
    vectors = torch.rand(2, 4096, 2, generator=torch.Generator().manual_seed(0)).double()
    (a, a_log), (b, b_log) = network(vectors), canonical(vectors)
    assert_allclose(
        (a.abs().log() + a_log[:, None] - b.abs().log()).detach(),
        b_log[:, None].detach(),
        rtol=1e-10,
    )
    short, error = network.truncated(bond_dim=2)
    assert 0 < error <= 1
    assert short.sample(2, torch.Generator().manual_seed(0))[0].shape == (2, 4096)


def test_inner_products_of_different_trees_are_refused():
    with pytest.raises(InputError, match="on one tree"):
        build({"shape": 4}).inner(build({"shape": (2, 2)}))
    with pytest.raises(InputError, match="on one tree"):
        build({"n_features": 4, "n_labels": 2}).inner(build({"n_features": 4, "n_labels": 3}))


def test_large_networks_are_not_made_dense():
    with pytest.raises(MemoryLimitError, match="amplitudes"):
        build({"shape": 21}).to_dense()


# -- samples -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"shape": 5, "n_labels": 2},
        {"shape": (2, 3)},
        {"shape": (2, 2), "n_labels": 3},
        {"n_features": 5, "n_labels": 3},
        {"n_features": 6, "uniform": True},
        {"n_features": 4, "n_labels": 2, "label_site": 0},
    ],
    ids=str,
)
def test_samples_follow_the_squared_amplitudes(options, monkeypatch):
    monkeypatch.setattr("entangle.networks.sampling.CHUNK_ELEMENTS", 2**20)
    network = build(options)
    n_samples = 20_000
    features, labels = network.sample(n_samples, torch.Generator().manual_seed(0))
    assert features.shape == (n_samples, network.n_features)
    assert labels.shape == (n_samples,)
    dense = dense_of(network)
    odds = (dense**2 / (dense**2).sum()).ravel()
    indices = np.ravel_multi_index([*features.T.numpy(), labels.numpy()], dense.shape)
    counts = np.bincount(indices, minlength=odds.size)
    often = odds * n_samples >= 5
    observed = np.append(counts[often], counts[~often].sum())
    expected = np.append(odds[often], odds[~often].sum()) * n_samples
    kept = expected > 0
    assert chisquare(observed[kept], expected[kept]).pvalue > 1e-3


def test_equal_generators_draw_equal_samples():
    network = build({"shape": (3, 3)})
    one, two = (network.sample(10, torch.Generator().manual_seed(1))[0] for _ in range(2))
    assert torch.equal(one, two)
    assert network.sample(0)[0].shape == (0, 9)


# -- files, quimb and pictures -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [*TREES[:6], *CHAINS[:18]], ids=str)
def test_files_bring_back_every_bit(options, dtype, tmp_path):
    network = build(options, dtype=dtype)
    network.log_factor.fill_(math.pi)
    path = network.save(tmp_path / "network.npz")
    again = type(network).load(path)
    assert again.arrangement() == network.arrangement()
    for (name, given), (same, found) in zip(
        network.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert name == same
        assert given.dtype == found.dtype
        assert torch.equal(given, found)
    vectors = torch.rand(2, network.n_features, 2)
    assert torch.equal(network.logits(vectors), again.logits(vectors))
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_files_are_neither_overwritten_nor_mistaken(tmp_path):
    path = tmp_path / "network.npz"
    network = build({"shape": 4})
    network.save(path)
    with pytest.raises(OutputExistsError):
        network.save(path)
    network.save(path, force=True)
    with pytest.raises(InputError, match=r"TreeTensorNetwork\.load"):
        MatrixProductState.load(path)
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    for name in ("other.npz", "missing.npz"):
        with pytest.raises(InputError, match="no network saved by entangle"):
            MatrixProductState.load(tmp_path / name)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match="no network saved by entangle"):
        TreeTensorNetwork.load(tmp_path / "text.npz")
    with pytest.raises(InputError, match="bfloat16"):
        network.bfloat16().save(tmp_path / "half.npz")


@pytest.mark.parametrize("options", TREES + CHAINS, ids=str)
def test_quimb_and_back(options):
    network = build(options)
    network.log_factor.fill_(0.5)
    other = network.to_quimb()
    names = [f"k{n}" for n in range(network.n_features)]
    names += ["label"] * ("label" in other.outer_inds())
    dense = network.to_dense()
    contracted = other.contract(output_inds=names).data
    close(contracted.reshape(dense.shape), dense)
    for tensor in other:
        tensor.reindex_({i: f"{i}x" for i in tensor.inds if i.startswith("b")})
        tensor.transpose_(*reversed(tensor.inds))
    if "shape" in options:
        again = TreeTensorNetwork.from_quimb(other, options["shape"])
    else:
        again = MatrixProductState.from_quimb(other)
    close(again.to_dense(), dense)
    if network.n_labels > 1 and "n_features" in options:
        assert again.n_labels == network.n_labels


def test_foreign_quimb_networks_are_refused_with_a_reason():
    with pytest.raises(InputError, match="reindex"):
        MatrixProductState.from_quimb(qtn.MPS_rand_state(4, 2, site_ind_id="x{}"))
    with pytest.raises(InputError, match="must be real"):
        MatrixProductState.from_quimb(qtn.MPS_rand_state(4, 2, dtype="complex128"))
    with pytest.raises(InputError, match="above them"):
        TreeTensorNetwork.from_quimb(qtn.MPS_rand_state(4, 2), 4)
    with pytest.raises(InputError, match="5 features, the network 4"):
        TreeTensorNetwork.from_quimb(qtn.MPS_rand_state(4, 2), 5)
    with pytest.raises(InputError, match="does not fit its place"):
        MatrixProductState.from_quimb(qtn.MPS_rand_state(5, 2, cyclic=True))


@pytest.mark.parametrize("options", [{"shape": (2, 4), "n_labels": 2}, {"n_features": 5}])
def test_pictures_show_every_bond_and_feature(options):
    network = build(options)
    axes = Figure().add_subplot()
    network.draw(axes)
    tree = network.tensor_tree()
    opens = sum(len(tree.opens(node)) for node in range(len(tree.tensors)))
    assert len(axes.lines) == len(tree.tensors) - 1 + opens
    assert len({tuple(p) for p in axes.collections[0].get_offsets().tolist()}) == len(tree.tensors)


def test_states_leave_the_parameters_alone():
    for options in ({"shape": 8}, {"n_features": 8}):
        network = build(options, dtype=torch.float32)
        before = [p.detach().clone() for p in network.parameters()]
        network.canonicalize()
        network.truncated(bond_dim=2)
        network.bond_schmidt_values()
        network.sample(3)
        for tensor in network.node_tensors() if "shape" in options else network.site_tensors():
            tensor.zero_()
        for given, found in zip(before, network.parameters(), strict=True):
            assert_array_equal(given, found.detach())
