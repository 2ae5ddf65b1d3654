"""Losses on one view against independent formulas; then all objectives on 32 crystals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from encoded_batches import element_latents, encoded
from pymatgen.symmetry.groups import SpaceGroup as PymatgenSpaceGroup
from small_corpora import CUTOFF, prototype_corpus
from torch import Tensor, nn

from augmentations.corruption import Corruption, CorruptionConfig
from corpora.batches import CleanBatch, Encoded, View, mean_pool
from matminer_unate.network.config import EncoderConfig
from matminer_unate.network.edge_features import RadialBasis, envelope
from objectives.edge_denoising import EdgeDenoising
from objectives.element_properties import ElementPropertyReconstruction
from objectives.node import NodeReconstruction
from objectives.space_group import SpaceGroup
from objectives.target_regression import TargetRegression
from pretraining.config import LossWeights, PretrainConfig
from pretraining.optimisation import make_optimizer, step_generator
from pretraining.pretrainer import Pretrainer
from pretraining.targets import with_predictions
from pretraining.views import ViewMaker


def huber(gap: float) -> float:
    return gap**2 / 2 if abs(gap) < 1 else abs(gap) - 0.5


def sites(z: list[int]) -> CleanBatch:
    """A batch of one-atom crystals of these elements; only their species are looked at."""
    start = torch.arange(len(z) + 1)
    batch = prototype_corpus().batch(np.arange(len(z)))
    return replace(batch, z=torch.tensor(z), crystal=start[:-1], site_start=start)


def view_of(batch: CleanBatch, latent: Tensor, selected: Tensor, z: Tensor) -> Encoded:
    """Latents of a view without edges."""
    no = torch.zeros(0, dtype=torch.long)
    view = View(z, no.expand(2, 0), torch.zeros(0, 3), no, no.bool(), selected)
    none = latent.new_zeros(len(latent), 0)
    return Encoded(view, latent, none, mean_pool(latent, batch), none)


# -- species -------------------------------------------------------------------------------------

COUNTS = torch.zeros(119, dtype=torch.long).index_put_(
    (torch.tensor([8, 11, 17, 22, 79]),), torch.tensor([1000, 100, 100, 30, 1])
)


def test_node_reconstruction_is_a_weighted_cross_entropy() -> None:
    torch.manual_seed(0)
    head, batch = NodeReconstruction(6, COUNTS), sites([8, 8, 11, 17, 79, 22, 8])
    selected = torch.tensor([True, False, True, True, False, True, False])
    shown = torch.tensor([0, 8, 0, 8, 79, 22, 8])  # the last of the selected shows its species
    latent = torch.randn(7, 6)
    loss, logged = head(view_of(batch, latent, selected, shown), batch)

    logits = head.decoder(latent).detach()
    mean_count = 1231 / 5
    sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
    hits = []
    rows = zip(logits, batch.z.tolist(), selected.tolist(), shown.tolist(), strict=True)
    for row, element, chosen, visible in rows:
        weight = min(max((float(COUNTS[element]) / mean_count) ** -0.5, 0.3), 3.0)
        shifted = [float(x - row.max()) for x in row]
        entropy = math.log(sum(math.exp(x) for x in shifted)) - shifted[element]
        sums[chosen][0] += weight * entropy
        sums[chosen][1] += weight
        if chosen and visible != element:
            hits.append(int(row.argmax()) == element)
    expected = sums[True][0] / sums[True][1] + 0.1 * sums[False][0] / sums[False][1]
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(logged["masked_accuracy"]) == pytest.approx(np.mean(hits))


def test_accuracy_counts_the_hidden_species_only() -> None:
    head, batch = NodeReconstruction(119, COUNTS), sites([8, 8, 11, 17])
    head.decoder = nn.Identity()  # the latents are the logits
    latent = 9 * nn.functional.one_hot(torch.tensor([8, 11, 11, 17]), 119).float()
    every, shown = torch.ones(4, dtype=torch.bool), torch.tensor([0, 0, 17, 17])
    _, logged = head(view_of(batch, latent, every, shown), batch)
    assert logged["masked_accuracy"] == pytest.approx(2 / 3)  # the last one shows what it is


def test_rare_elements_weigh_more_within_limits_and_absent_ones_nothing() -> None:
    weights = NodeReconstruction(6, COUNTS).weights
    assert weights[79] == 3.0
    assert weights[8] < weights[11] == weights[17] < weights[22] < weights[79]
    assert weights[COUNTS > 0].min() >= 0.3
    assert (weights[COUNTS == 0] == 0).all()


def test_a_view_without_selected_sites_has_a_finite_loss() -> None:
    torch.manual_seed(0)
    batch, latent = sites([8, 8, 11, 17]), torch.randn(4, 6, requires_grad=True)
    none = torch.zeros(4, dtype=torch.bool)
    node, properties = (
        NodeReconstruction(6, COUNTS),
        ElementPropertyReconstruction(6, torch.randn(119, 3)),
    )
    for selected in (none, ~none):
        view = view_of(batch, latent, selected, batch.z)
        loss, logged = node(view, batch)
        assert torch.isfinite(loss + logged["masked_accuracy"] + properties(view, batch)[0])
    assert properties(view_of(batch, latent, none, batch.z), batch)[0] == 0.0


def test_element_properties_are_compared_at_the_selected_sites_only() -> None:
    torch.manual_seed(0)
    table = torch.randn(119, 4)
    head, latent = ElementPropertyReconstruction(6, table), torch.randn(5, 6)
    batch = sites([3, 14, 14, 20, 92])
    selected = torch.tensor([True, False, True, False, True])
    found = head.decoder(latent)[selected]
    expected = nn.functional.mse_loss(found, table[[3, 14, 92]])
    torch.testing.assert_close(head(view_of(batch, latent, selected, batch.z), batch)[0], expected)
    changed = replace(batch, z=torch.where(selected, batch.z, 1))
    torch.testing.assert_close(
        head(view_of(batch, latent, selected, batch.z), changed)[0], expected
    )


def test_site_targets_are_compared_by_mean_squared_error_where_they_are_known() -> None:
    torch.manual_seed(0)
    batch, predicted, targets = sites([1] * 5), torch.randn(5, 6), torch.randn(5, 4)
    targets[2] = torch.nan
    targets[0, 1] = torch.nan
    batch = replace(batch, teacher=targets)
    view = replace(view_of(batch, predicted, torch.ones(5).bool(), batch.z), predicted=predicted)
    loss, _ = TargetRegression("teacher", slice(1, 3), slice(4, 6))(view, batch)
    squares = [
        float(predicted[i, 4 + k] - targets[i, 1 + k]) ** 2
        for i in range(5)
        for k in range(2)
        if not torch.isnan(targets[i, 1 + k])
    ]
    assert len(squares) == 7
    assert float(loss) == pytest.approx(np.mean(squares), rel=1e-5)
    unknown = replace(batch, teacher=torch.full((5, 4), torch.nan))
    assert TargetRegression("teacher", slice(1, 3), slice(4, 6))(view, unknown)[0] == 0.0


# -- edges ---------------------------------------------------------------------------------------


def noisy_view(batch: CleanBatch, seed: int = 0) -> View:
    config = CorruptionConfig(edge_rewire=0.2, jitter=(0.1,), clean_probability=0.0)
    counts = torch.from_numpy(prototype_corpus().element_counts)
    return Corruption(config, CUTOFF, counts)(batch, torch.Generator().manual_seed(seed))


def test_edge_denoising_is_a_huber_loss_edge_by_edge() -> None:
    torch.manual_seed(0)
    batch = prototype_corpus().batch(np.array([3, 0, 7]))
    view, head = noisy_view(batch), EdgeDenoising(6, CUTOFF, sigma=0.05)
    latent = torch.randn(len(batch.z), 6)
    p = head.project(latent).detach()
    basis, losses, silent = RadialBasis(32, CUTOFF), [], []
    assert view.rewired.any()
    for k in range(len(view.edge)):
        i, j = view.edge_index[:, k].tolist()
        noisy = view.edge_vector[k].norm()
        if view.rewired[k] or i > j or noisy >= CUTOFF:
            continue
        radial = basis(noisy.reshape(1), envelope(noisy, CUTOFF).reshape(1))[0]
        features = torch.cat([p[i] + p[j], (p[i] - p[j]).abs(), radial])
        true = float(batch.edge_vector[view.edge[k]].norm() - noisy) / 0.05
        losses.append(huber(float(head.decoder(features).detach()) - true))
        silent.append(huber(true))
    encoding = Encoded(view, latent, latent[:, :0], mean_pool(latent, batch), latent[:, :0])
    loss, logged = head(encoding, batch)
    assert float(loss.detach()) == pytest.approx(np.mean(losses), rel=1e-4)
    expected = 1 - np.mean(losses) / np.mean(silent)
    assert float(logged["edge_skill"]) == pytest.approx(expected, abs=1e-4)


def test_edge_denoising_answers_an_edge_and_its_reverse_alike() -> None:
    torch.manual_seed(0)
    batch, head = prototype_corpus().batch(np.array([3, 0, 7])), EdgeDenoising(6, CUTOFF)
    view, latent = noisy_view(batch), torch.randn(len(batch.z), 6)
    between = view.edge_index[0] != view.edge_index[1]
    view = replace(view, rewired=view.rewired | ~between)  # self-images come twice: leave them out
    turned = replace(view, edge_index=view.edge_index.flip(0), edge_vector=-view.edge_vector)
    first, second = (
        head(Encoded(v, latent, latent[:, :0], mean_pool(latent, batch), latent[:, :0]), batch)[0]
        for v in (view, turned)
    )
    torch.testing.assert_close(first, second)


def test_edge_denoising_without_edges_or_noise_is_finite() -> None:
    torch.manual_seed(0)
    batch, head = sites([3, 14]), EdgeDenoising(6, CUTOFF)
    loss, logged = head(view_of(batch, torch.randn(2, 6), torch.ones(2).bool(), batch.z), batch)
    assert loss == 0.0
    assert torch.isfinite(logged["edge_skill"])
    nn.init.zeros_(head.decoder[2].weight)
    nn.init.zeros_(head.decoder[2].bias)
    batch = prototype_corpus().batch(np.arange(4))
    assert head(encoded(batch, element_latents(batch)), batch)[0] == 0.0  # nothing has moved
    with pytest.raises(ValueError, match="sigma is a positive length"):
        EdgeDenoising(6, CUTOFF, sigma=0.0)


# -- space groups --------------------------------------------------------------------------------


def test_space_group_loss_is_a_weighted_cross_entropy() -> None:
    torch.manual_seed(0)
    groups = [225, 1, 230, 225, 62]
    batch = prototype_corpus().batch(np.arange(5))
    batch = replace(batch, spacegroup=torch.tensor(groups))
    counts = torch.zeros(231, dtype=torch.long)
    counts[[1, 62, 225, 230]] = torch.tensor([400, 4000, 40, 1])
    head = SpaceGroup(6, counts)
    latent = element_latents(batch)
    logits = head.decoder(mean_pool(latent, batch)).detach().double().numpy()
    losses, weights = [], []
    for row, group in zip(logits, groups, strict=True):
        losses.append(math.log(np.exp(row).sum()) - row[group - 1])
        weights.append(min(max((int(counts[group]) * 4 / 4441) ** -0.25, 0.5), 2.0))
    loss, _ = head(encoded(batch, latent), batch)
    assert float(loss.detach()) == pytest.approx(np.average(losses, weights=weights), rel=1e-5)
    assert (SpaceGroup(6).weights == 1).all()


def test_the_crystal_system_of_every_space_group_is_known() -> None:
    names = ["triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal"]
    systems = [PymatgenSpaceGroup.from_int_number(n).crystal_system for n in range(1, 231)]
    assert set(systems) == {*names, "cubic"}
    batch, head = sites([1] * 24), SpaceGroup(230)
    head.decoder = nn.Identity()
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        guess, truth = torch.randint(1, 231, (2, 24), generator=generator)
        batch = replace(batch, spacegroup=truth)
        latent = nn.functional.one_hot(guess - 1, 230).float()
        _, logged = head(view_of(batch, latent, torch.ones(24).bool(), batch.z), batch)
        right = [systems[g - 1] == systems[t - 1] for g, t in zip(guess, truth, strict=True)]
        assert float(logged["crystal_system_accuracy"]) == pytest.approx(np.mean(right))


# -- one view ------------------------------------------------------------------------------------

HEADS: dict[str, Callable[[], nn.Module]] = {
    "node": lambda: NodeReconstruction(6, torch.from_numpy(prototype_corpus().element_counts)),
    "properties": lambda: ElementPropertyReconstruction(6, torch.randn(119, 3)),
    "edges": lambda: EdgeDenoising(6, CUTOFF),
    "space group": lambda: SpaceGroup(6),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("mixed", [False, True], ids=["fp32", "bf16"])
def test_gradients_reach_the_latents(name: str, mixed: bool) -> None:
    torch.manual_seed(0)
    batch, head = prototype_corpus().batch(np.arange(6)), HEADS[name]()
    latent = torch.randn(len(batch.z), 6, requires_grad=True)
    view = Encoded(
        noisy_view(batch), latent, latent[:, :0], mean_pool(latent, batch), latent[:, :0]
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        loss, logged = head(view, batch)
    assert loss.dtype == torch.float32
    loss.backward()
    assert latent.grad is not None
    assert latent.grad.abs().max() > 0
    assert all(torch.isfinite(p.grad).all() for p in (latent, *head.parameters()))
    assert not any(value.requires_grad for value in logged.values())


# -- all together --------------------------------------------------------------------------------

OVERFIT = PretrainConfig(
    learning_rate=4e-3,
    weight_decay=0.0,
    encoder=EncoderConfig(
        cutoff=CUTOFF, width=48, n_layers=2, n_rbf=24, latent_dim=64, latent_layers=(0, 1, 2),
        column_states=(), n_properties=22,
    ),
    weights=LossWeights(
        node=1.0, adjacency=0.5, contrastive=0.1, physics=1.0, fingerprint=0.5, tight_binding=0.0,
        tight_binding_crystal=0.0,
        teacher=0.0, properties=1.0,
    ),
)  # fmt: skip


def fit(steps: int, change: Callable[[CleanBatch, int], CleanBatch]) -> dict[str, float]:
    """Train on 32 crystals with targets of a changed batch; means over the last 20 steps."""
    torch.manual_seed(0)
    corpus = prototype_corpus()
    batch = corpus.batch(np.arange(len(corpus)))
    config = with_predictions(OVERFIT, corpus)
    model = Pretrainer(config, corpus).train()
    optimizer = make_optimizer(model, config)
    views = ViewMaker(config, torch.from_numpy(corpus.element_counts))
    cpu = torch.device("cpu")
    log: list[dict[str, float]] = []
    for step in range(steps):
        made = views(batch, step_generator(cpu, 0, step))
        losses = model(change(batch, step), made, step % 50 == 0)
        optimizer.zero_grad()
        losses["total"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = OVERFIT.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.step()
        log.append({k: v.item() for k, v in losses.items()})
    return {name: float(np.mean([row[name] for row in log[-20:]])) for name in log[0]}


@pytest.mark.slow
def test_thirty_two_crystals_can_be_learned_by_heart() -> None:
    found = fit(350, lambda batch, step: batch)
    assert found["node"] < 0.1
    assert found["masked_accuracy"] > 0.95
    assert found["retrieval_accuracy"] > 0.98
    for name in ("adjacency", "physics", "fingerprint", "properties"):
        assert found[name] < 0.15


@pytest.mark.slow
def test_shuffled_species_cannot_be_learned() -> None:
    """Without this control a low loss could come from a leak of the answer into the view."""

    def shuffle(batch: CleanBatch, step: int) -> CleanBatch:
        order = torch.randperm(len(batch.z), generator=torch.Generator().manual_seed(step))
        return replace(batch, z=batch.z[order])

    found = fit(150, shuffle)
    # The best there is: the weighted frequencies of the elements, whatever the site.
    counts = torch.from_numpy(prototype_corpus().element_counts)
    weights = NodeReconstruction(4, counts).weights * counts
    share = weights[weights > 0] / weights.sum()
    floor = -float((share * share.log()).sum()) * 1.1
    majority = float(counts.max() / counts.sum())
    assert found["node"] > 0.9 * floor
    assert found["masked_accuracy"] < majority + 0.05
