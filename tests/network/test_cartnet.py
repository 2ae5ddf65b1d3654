"""graph batch → site vectors: the network against its equations."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from real_crystals import crystals
from torch import Tensor, nn

from benchmarks.networks.property_cartnet import ScalarHead
from benchmarks.networks.published_cartnet import PlainCartNet
from matminer_unate.crystals.batching import GraphBatch, collate
from matminer_unate.crystals.graph import radius_graph
from matminer_unate.crystals.pyg import structure_to_data
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.network import cartnet, edge_update
from matminer_unate.network.cartnet import CartNet
from matminer_unate.network.config import EncoderConfig
from matminer_unate.network.edge_features import real_harmonics
from matminer_unate.network.edge_update import EdgeEmbedding, EdgeUpdate
from matminer_unate.network.encoder import SiteEncoder

SMALL = EncoderConfig(
    width=16, n_layers=2, n_rbf=8, n_moments=3, latent_dim=8, latent_layers=(1, 2), column_states=()
)
PAPER = EncoderConfig(
    cutoff=5.0,
    width=256,
    n_layers=4,
    n_rbf=64,
    geometry="cartesian",
    latent_layers=(4,),
    column_states=(),
)


def make(module: type[nn.Module], config: EncoderConfig, seed: int = 0) -> nn.Module:
    """A network with BatchNorm statistics that are not the trivial ones, in evaluation mode."""
    torch.manual_seed(seed)
    network = module(config)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    return network.eval()


def test_the_published_size_has_2497281_parameters() -> None:
    parts = (CartNet(PAPER), ScalarHead(256))
    assert sum(p.numel() for part in parts for p in part.parameters()) == 2_497_281


def reference_cartnet(net: CartNet, data) -> Tensor:
    """CartNet written from the published equations, unfactored, with explicit concatenations."""
    c = net.config
    z, (source, target), vector = data.z, data.edge_index, data.edge_vector
    x = net.species.weight[z] + net.species_bias
    x = nn.functional.silu(net.site_in(nn.functional.silu(x)))
    d = vector.pow(2).sum(1).sqrt()
    f_c = 0.5 * (torch.cos(math.pi * d / c.cutoff) + 1)
    k = torch.arange(c.n_rbf, dtype=d.dtype)
    start = math.exp(-c.cutoff)
    mu = start + (1 - start) * k / (c.n_rbf - 1)
    beta = (2 / c.n_rbf * (1 - start)) ** -2
    rbf = f_c[:, None] * torch.exp(-beta * (torch.exp(-5 / c.cutoff * d)[:, None] - mu) ** 2)
    e = net.edge_in(torch.cat([rbf, -vector / d[:, None]], dim=1))
    for layer in net.layers:
        w = c.width
        site, edge = layer.from_site.weight, layer.from_edge.weight
        first = {
            "gate": torch.cat([site[:w], site[2 * w : 3 * w], edge[:w]], dim=1),
            "message": torch.cat([site[w : 2 * w], site[3 * w :], edge[w:]], dim=1),
        }
        bias = {"gate": layer.from_edge.bias[:w], "message": layer.from_edge.bias[w:]}
        q = torch.cat([x[target], x[source], e], dim=1)
        hidden = {m: nn.functional.silu(q @ first[m].T + bias[m]) for m in first}
        share = f_c[:, None] * torch.sigmoid(layer.gate_norm(layer.gate(hidden["gate"])))
        total = torch.zeros_like(x)
        for edge_number in range(len(d)):
            total[target[edge_number]] += (
                share[edge_number] * layer.message(hidden["message"])[edge_number]
            )
        x = x + nn.functional.silu(layer.site_norm(total))
        e = e + share
    return x


@pytest.mark.parametrize(
    ("config", "cutoff"),
    [(replace(PAPER, width=24, n_rbf=12, n_layers=3, latent_layers=(3,)), 3.0), (PAPER, 5.0)],
    ids=["small", "published size"],
)
@pytest.mark.parametrize("training", [False, True])
def test_the_factored_network_equals_the_published_equations(
    training: bool, config: EncoderConfig, cutoff: float
) -> None:
    net = make(CartNet, config).double().train(training)
    data = structure_to_data(crystals()["TiO2 rutile"], cutoff)
    data.edge_vector = data.edge_vector.double()
    with torch.no_grad():
        torch.testing.assert_close(
            net(data)[-1], reference_cartnet(net, data), rtol=1e-10, atol=1e-10
        )


def test_gradients_of_the_factored_network_equal_the_published_ones() -> None:
    config = replace(PAPER, width=12, n_rbf=8, n_layers=2, latent_layers=(2,))
    net = make(CartNet, config).double()
    data = structure_to_data(crystals()["TiO2 rutile"], 2.5)
    data.edge_vector = data.edge_vector.double()
    grads = []
    for forward in (lambda: net(data)[-1], lambda: reference_cartnet(net, data)):
        net.zero_grad()
        forward().square().sum().backward()
        grads.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def crystal_batch(dtype: torch.dtype = torch.float32) -> GraphBatch:
    """All small crystals, with enough edges for tiles of several sizes."""
    data = collate([radius_graph(*crystal_arrays(s), 4.5) for s in crystals().values()])
    data.edge_vector = data.edge_vector.to(dtype)
    return data


@pytest.mark.parametrize("geometry", ["invariant", "cartesian", "distance"])
def test_training_equals_the_published_form_in_values_gradients_and_statistics(
    geometry: str,
) -> None:
    config = EncoderConfig(geometry=geometry, n_layers=2, latent_layers=(2,), column_states=())
    ours = make(CartNet, config).double().train()
    plain = PlainCartNet(ours).train()
    data, results = crystal_batch(torch.double), []
    for net in (ours, plain):
        data.edge_vector = data.edge_vector.detach().requires_grad_()
        states = net(data)
        torch.manual_seed(1)
        sum((x * torch.randn_like(x)).mean() for x in states).backward()
        results.append((states, data.edge_vector.grad))
    close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-10)
    for mine, theirs in zip(*results, strict=True):
        close(mine, theirs)
    for layer, reference in zip(ours.layers, plain.layers, strict=True):
        gate, message = reference.gate[0].weight.grad, reference.message[0].weight.grad
        close(layer.from_site.weight.grad[:64], gate[:, :64])
        close(layer.from_site.weight.grad[192:], message[:, 64:128])
        close(layer.from_edge.weight.grad, torch.cat([gate, message])[:, 128:])
        for mine, theirs in (
            (layer.gate.weight, reference.gate[2].weight),
            (layer.message.weight, reference.message[2].weight),
            (layer.message.bias, reference.message[2].bias),
            (layer.gate_norm.weight, reference.gate[3].weight),
            (layer.gate_norm.bias, reference.gate[3].bias),
        ):
            close(mine.grad, theirs.grad)
        for mine, theirs in zip(
            layer.gate_norm.buffers(), reference.gate[3].buffers(), strict=True
        ):
            close(mine, theirs)
        assert layer.gate.bias.grad.abs().max() == 0  # batch normalisation removes it
    for mine, theirs in zip(
        ours.edge_in.parameters(), plain.ours.edge_in.parameters(), strict=True
    ):
        close(mine.grad, theirs.grad)


def test_training_in_float32_is_as_exact_as_the_published_form() -> None:
    ours = make(CartNet, EncoderConfig(latent_layers=(3,))).train()
    plain = PlainCartNet(ours)
    exact = copy.deepcopy(ours).double()(crystal_batch(torch.double))
    rounded, theirs = ours(crystal_batch()), plain.train()(crystal_batch())
    for truth, a, b in zip(exact, rounded, theirs, strict=True):
        assert (a - truth).abs().mean() < 1.5 * (b - truth).abs().mean() + 1e-7


@pytest.mark.parametrize("update_edges", [True, False])
def test_the_written_out_gradients_pass_gradcheck(
    monkeypatch: pytest.MonkeyPatch, update_edges: bool
) -> None:
    monkeypatch.setattr(edge_update, "EDGE_TILES", (5, 3))
    torch.manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.double, requires_grad=True)

    n, d, sites = 9, 2, 3
    target, source = torch.arange(n) // 3, torch.randint(sites, (n,))
    rows = torch.stack([2 * target, 2 * source + 1], dim=1)
    states = [random(2 * sites, 2 * d), random(n, d), random(n, 1)]
    shapes = ((2 * d, d), (2 * d,), (d, d), (d,), (d, d), (d,), (d,), (d,))

    def update(*given: Tensor) -> tuple[Tensor, ...]:
        out = EdgeUpdate.apply(*given[:3], rows, *given[3:], 1e-5, update_edges)
        return out[: 1 + update_edges]

    assert torch.autograd.gradcheck(update, (*states, *(random(*s) for s in shapes)))
    embedding = [random(*s) for s in ((n, 3), (4, 3), (4,), (2, 4), (2,))]
    assert torch.autograd.gradcheck(EdgeEmbedding.apply, embedding)


def test_without_momentum_the_statistics_are_the_mean_over_batches() -> None:
    means = []
    for momentum in (1.0, None):
        net, data = make(CartNet, SMALL).train(), crystal_batch()
        norm = net.layers[0].gate_norm
        norm.momentum = momentum
        norm.reset_running_stats()
        for z in (data.z, data.z.flip(0), data.z.clamp(max=8)):
            data.z = z
            with torch.no_grad():
                net(data)
            means.append(norm.running_mean.clone())
    torch.testing.assert_close(means[5], torch.stack(means[:3]).mean(0))


def test_training_repeats_to_the_bit() -> None:
    data = crystal_batch()
    gradients = []
    for _ in range(2):
        net = make(CartNet, EncoderConfig()).train()
        net(data)[-1].square().mean().backward()
        gradients.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_autocast_to_bfloat16_stays_close(device: str, training: bool) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    net, data = make(SiteEncoder, SMALL).train(training).to(device), crystal_batch().to(device)
    with torch.set_grad_enabled(training):
        exact = net(data)
        with torch.autocast(device, torch.bfloat16):
            rounded = net(data)
    if training:
        rounded.float().square().mean().backward()
        assert all(p.grad.isfinite().all() for p in net.backbone.parameters())
    assert (rounded.float() - exact).abs().mean() < 0.05 * exact.std()


def test_without_onednn_the_result_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net, data = make(SiteEncoder, SMALL), crystal_batch()
    with torch.no_grad():
        before = net(data)
        monkeypatch.setattr(edge_update, "ONEDNN", False)
        torch.testing.assert_close(net(data), before, rtol=0, atol=1e-5)


def test_one_edge_cannot_be_normalised_in_training() -> None:
    data = GraphBatch(
        torch.tensor([11, 17]), torch.tensor([[0], [1]]), torch.ones(1, 3), np.array([0, 2])
    )
    with pytest.raises(ValueError, match="at least two edges"):
        make(CartNet, replace(SMALL, geometry="distance")).train()(data)


def test_harmonics_contract_to_powers_of_the_cosine() -> None:
    unit = nn.functional.normalize(torch.randn(2, 50, 3, dtype=torch.double), dim=2)
    a, b = real_harmonics(unit[0]), real_harmonics(unit[1])
    cosine = (unit[0] * unit[1]).sum(1)
    torch.testing.assert_close((a * b)[:, :3].sum(1), cosine)
    torch.testing.assert_close((a * b)[:, 3:].sum(1), cosine**2 - 1 / 3)


def test_moment_features_equal_their_definition() -> None:
    config = replace(SMALL, n_moments=2)
    net = make(CartNet, config).double()
    data = structure_to_data(crystals()["SiO2 quartz"], 3.0)
    vector, (source, target) = data.edge_vector.double(), data.edge_index
    d = vector.norm(dim=1)
    u = vector / d[:, None]
    f_c = cartnet.envelope(d, 4.5)
    harmonics = real_harmonics(u)
    moments = torch.zeros(len(data.z), 16, dtype=torch.double)
    moments.index_add_(0, target, net.moments.sums(d, f_c, harmonics))
    features = net.moments(moments, harmonics, data.edge_index)
    for c in range(2):
        g = f_c * torch.exp(-(((d - net.moments.centres[c]) * net.moments.inverse_width) ** 2))
        v = torch.stack([(g[target == i, None] * u[target == i]).sum(0) for i in range(9)])
        outer = u[:, :, None] * u[:, None, :] - torch.eye(3) / 3
        m = torch.stack(
            [(g[target == i, None, None] * outer[target == i]).sum(0) for i in range(9)]
        )
        expected = [
            (u * v[target]).sum(1),
            torch.einsum("ea,eab,eb->e", u, m[target], u),
            -(u * v[source]).sum(1),
            torch.einsum("ea,eab,eb->e", u, m[source], u),
        ]
        for block, values in enumerate(expected):
            torch.testing.assert_close(features[:, 2 * block + c], values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("geometry", ["invariant", "distance", "cartesian"])
def test_only_the_cartesian_form_depends_on_the_orientation(geometry: str) -> None:
    net = make(SiteEncoder, replace(SMALL, geometry=geometry))
    data = structure_to_data(crystals()["SiO2 quartz"], 4.5)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        before = net(data)
        data.edge_vector = data.edge_vector @ turn
        change = (net(data) - before).abs().max()
    assert (change > 1e-3) if geometry == "cartesian" else (change < 1e-5)


def test_a_pyg_batch_gives_what_each_graph_gives_alone() -> None:
    from torch_geometric.data import Batch

    net = make(SiteEncoder, SMALL)
    graphs = [structure_to_data(s, 4.5) for s in crystals().values()]
    with torch.no_grad():
        alone = torch.cat([net(g) for g in graphs])
        torch.testing.assert_close(net(Batch.from_data_list(graphs)), alone, rtol=0, atol=1e-5)
        backwards = net(Batch.from_data_list(graphs[::-1]))
    last = len(graphs[-1].z)
    torch.testing.assert_close(backwards[:last], alone[-last:], rtol=0, atol=1e-5)


def test_our_own_batches_equal_pygs() -> None:
    from torch_geometric.data import Batch

    structures = list(crystals().values())
    ours = collate([radius_graph(*crystal_arrays(s), 4.5) for s in structures])
    theirs = Batch.from_data_list([structure_to_data(s, 4.5) for s in structures])
    assert torch.equal(ours.z, theirs.z)
    assert torch.equal(ours.edge_index, theirs.edge_index)
    assert torch.equal(ours.edge_vector, theirs.edge_vector)
    assert ours.site_start.tolist() == theirs.ptr.tolist()


def test_chunks_of_edges_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    net = make(SiteEncoder, SMALL)
    data = structure_to_data(crystals()["MgAl2O4 spinel"], 4.5)
    with torch.no_grad():
        whole = net(data)
        monkeypatch.setattr(edge_update, "EDGE_TILES", (100, 30))
        torch.testing.assert_close(net(data), whole, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_an_atom_that_crosses_the_cutoff_changes_nothing_abruptly() -> None:
    net = make(SiteEncoder, SMALL)
    vectors = []
    for a in np.arange(4.495, 4.505, 0.001):
        structure = crystals()["SrTiO3"]
        structure.scale_lattice(a**3)
        with torch.no_grad():
            vectors.append(net(structure_to_data(structure, 4.5)))
    steps = [(b - a).abs().max().item() for a, b in itertools.pairwise(vectors)]
    assert max(steps) < 1e-2
    assert max(steps) < 3 * np.median(steps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"geometry": "polar"}, "none of invariant"),
        ({"cutoff": 0.0}, "positive"),
        ({"latent_layers": (3,)}, "states 0 to 2"),
        ({"latent_layers": ()}, "at least one"),
        ({"column_states": (-1,)}, "states 0 to 2"),
    ],
)
def test_impossible_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_what_the_cpu_gives() -> None:
    net = make(SiteEncoder, SMALL)
    data = structure_to_data(crystals()["SiO2 quartz"], 4.5)
    with torch.no_grad():
        on_cpu = net(data)
        on_gpu = net.cuda()(data.to("cuda")).cpu()
    torch.testing.assert_close(on_gpu, on_cpu, rtol=0, atol=1e-4)
