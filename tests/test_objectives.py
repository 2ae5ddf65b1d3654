"""Each loss against an independent formula, then a property, then all of them on 32 crystals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from crystals import crystals
from pymatgen.core import Structure
from small_corpora import CUTOFF, make_corpus, prototype_corpus, prototypes
from torch import Tensor, nn

from augment import Corruption, CorruptionConfig
from config import PretrainConfig
from corpora import CleanBatch
from matminer_unate.cartnet import EncoderConfig
from objectives import (
    ElementPropertyReconstruction,
    NodeReconstruction,
    NTXent,
    SiteTargetRegression,
    SpeciesAdjacency,
)
from objectives.contrastive import nt_xent
from objectives.node import masked_majority_accuracy
from pretrain import Pretrainer, make_optimizer, step_generator

# -- contrastive ---------------------------------------------------------------------------------


def random_views(n: int = 6, d: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, d, dtype=torch.float64, generator=generator) for _ in range(2))  # type: ignore[return-value]


def nt_xent_by_loops(first: Tensor, second: Tensor, group: list[int], tau: float) -> float:
    """Equation 1 of arXiv:2002.05709, averaged over the 2B anchors."""
    n = len(first)
    views = [v / v.norm() for v in (*first, *second)]
    groups = [*group, *group]
    total = 0.0
    for a in range(2 * n):
        p = a + n if a < n else a - n
        denominator = 0.0
        for k in range(2 * n):
            negative = groups[k] != groups[a]
            if negative or k == p:
                denominator += math.exp(float(views[a] @ views[k]) / tau)
        total -= math.log(math.exp(float(views[a] @ views[p]) / tau) / denominator)
    return total / (2 * n)


@pytest.mark.parametrize(
    "group", [[0, 1, 2, 3, 4, 5], [0, 1, 1, 2, 1, 0]], ids=["single", "groups"]
)
@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_nt_xent_is_the_published_formula(group: list[int], tau: float) -> None:
    first, second = random_views()
    loss = nt_xent(first, second, torch.tensor(group), tau)
    assert float(loss) == pytest.approx(nt_xent_by_loops(first, second, group, tau), rel=1e-10)


def test_nt_xent_has_the_right_gradient() -> None:
    first, second = (v.requires_grad_() for v in random_views(4, 3))
    group = torch.tensor([0, 1, 1, 2])
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, group, 0.3), (first, second))


def test_other_views_of_the_same_formula_are_no_negatives() -> None:
    first, second = random_views(3)
    # Crystal 1 is a duplicate of crystal 0: pushing them apart would cost a lot.
    first[1], second[1] = first[0], second[0]
    told, untold = (nt_xent(first, second, torch.tensor(g), 0.1) for g in ([0, 0, 1], [0, 1, 2]))
    assert told < untold - 0.3
    assert nt_xent(first, second, torch.tensor([0, 0, 0]), 0.1) == 0.0  # only the positive is left


def test_without_temperature_every_view_is_as_likely() -> None:
    first, second = random_views(7)
    loss = nt_xent(first, second, torch.arange(7), 1e9)
    assert float(loss) == pytest.approx(math.log(2 * 7 - 1), abs=1e-6)


def test_equal_views_of_orthogonal_crystals_reach_the_known_optimum() -> None:
    views = torch.eye(4, dtype=torch.float64)
    loss = nt_xent(views, views, torch.arange(4), 0.5)
    assert float(loss) == pytest.approx(math.log(1 + 6 * math.exp(-2)), rel=1e-10)
    assert nt_xent(views, views, torch.arange(4), 0.02) < 1e-15


def test_nt_xent_does_not_depend_on_order_sides_or_length() -> None:
    first, second = random_views()
    group = torch.tensor([0, 1, 1, 2, 3, 4])
    expected = nt_xent(first, second, group, 0.1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for other in (
        nt_xent(first[order], second[order], group[order], 0.1),
        nt_xent(second, first, group, 0.1),
        nt_xent(3 * first, 0.1 * second, group, 0.1),
    ):
        torch.testing.assert_close(other, expected)


def test_retrieval_counts_the_pairs_that_are_nearest_to_each_other() -> None:
    torch.manual_seed(0)
    head = NTXent(8)
    first = torch.randn(10, 8)
    formula = torch.arange(10)
    assert head(first, first, formula)[1] == 1.0
    swapped = first.clone()
    swapped[[0, 1]] = first[[1, 0]]
    assert head(first, swapped, formula)[1] == pytest.approx(0.8)
    loss, _ = head(first, swapped, formula)
    a, b = head.projector(first), head.projector(swapped)
    torch.testing.assert_close(loss, nt_xent(a, b, formula, 0.1))


def test_the_projector_treats_every_crystal_alone() -> None:
    """BatchNorm would tell one view about the rest of its batch."""
    torch.manual_seed(0)
    head, pooled = NTXent(8).train(), torch.randn(6, 8)
    torch.testing.assert_close(head.projector(pooled)[:2], head.projector(pooled[:2]))


# -- species -------------------------------------------------------------------------------------

COUNTS = torch.zeros(119, dtype=torch.long).index_put_(
    (torch.tensor([8, 11, 17, 22, 79]),), torch.tensor([1000, 100, 100, 30, 1])
)


def test_node_reconstruction_is_a_weighted_cross_entropy() -> None:
    torch.manual_seed(0)
    head = NodeReconstruction(6, COUNTS)
    z = torch.tensor([8, 8, 11, 17, 79, 22, 8])
    selected = torch.tensor([True, False, True, True, False, False, False])
    latent = torch.randn(7, 6)
    loss, accuracy = head(latent, z, selected)

    logits = head.decoder(latent).detach()
    mean_count = 1231 / 5
    sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
    hits = []
    for row, element, chosen in zip(logits, z.tolist(), selected.tolist(), strict=True):
        weight = min(max((float(COUNTS[element]) / mean_count) ** -0.5, 0.3), 3.0)
        shifted = [float(x - row.max()) for x in row]
        entropy = math.log(sum(math.exp(x) for x in shifted)) - shifted[element]
        sums[chosen][0] += weight * entropy
        sums[chosen][1] += weight
        if chosen:
            hits.append(int(row.argmax()) == element)
    expected = sums[True][0] / sums[True][1] + 0.1 * sums[False][0] / sums[False][1]
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(accuracy) == pytest.approx(np.mean(hits))


def test_rare_elements_weigh_more_within_limits_and_absent_ones_nothing() -> None:
    weights = NodeReconstruction(6, COUNTS).weights
    assert weights[79] == 3.0
    assert weights[8] < weights[11] == weights[17] < weights[22] < weights[79]
    assert weights[COUNTS > 0].min() >= 0.3
    assert (weights[COUNTS == 0] == 0).all()


def test_a_view_without_selected_sites_has_a_finite_loss() -> None:
    torch.manual_seed(0)
    none = torch.zeros(4, dtype=torch.bool)
    z, latent = torch.tensor([8, 8, 11, 17]), torch.randn(4, 6, requires_grad=True)
    properties = ElementPropertyReconstruction(6, torch.randn(119, 3))
    for selected in (none, ~none):
        loss, accuracy = NodeReconstruction(6, COUNTS)(latent, z, selected)
        assert torch.isfinite(loss + accuracy + properties(latent, z, selected))
    assert properties(latent, z, none) == 0.0
    assert masked_majority_accuracy(z, none) == 0.0


def test_the_majority_guess_is_the_most_frequent_selected_element() -> None:
    z = torch.tensor([8, 8, 8, 11, 11, 17])
    assert masked_majority_accuracy(z, z < 20) == 0.5
    assert masked_majority_accuracy(z, z > 8) == pytest.approx(2 / 3)


def test_element_properties_are_compared_at_the_selected_sites_only() -> None:
    torch.manual_seed(0)
    table = torch.randn(119, 4)
    head, latent = ElementPropertyReconstruction(6, table), torch.randn(5, 6)
    z = torch.tensor([3, 14, 14, 20, 92])
    selected = torch.tensor([True, False, True, False, True])
    found = head.decoder(latent)[selected]
    expected = nn.functional.mse_loss(found, table[[3, 14, 92]])
    torch.testing.assert_close(head(latent, z, selected), expected)
    changed = torch.where(selected, z, 1)
    torch.testing.assert_close(head(latent, changed, selected), expected)


def test_site_targets_are_compared_by_mean_squared_error() -> None:
    torch.manual_seed(0)
    head, latent, targets = SiteTargetRegression(6, 3), torch.randn(5, 6), torch.randn(5, 3)
    squares = [
        float(p - t) ** 2
        for row, target in zip(head.decoder(latent).detach(), targets, strict=True)
        for p, t in zip(row, target, strict=True)
    ]
    assert float(head(latent, targets).detach()) == pytest.approx(np.mean(squares), rel=1e-5)
    for layer in head.decoder:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    torch.testing.assert_close(head(latent, targets), targets.square().mean())


# -- adjacency -----------------------------------------------------------------------------------


def element_latents(batch: CleanBatch) -> Tensor:
    """Latents that are equal at equivalent sites, as those of an encoder are: one an element."""
    table = torch.randn(119, 6, generator=torch.Generator().manual_seed(1))
    return table[batch.z]


def adjacency_head() -> SpeciesAdjacency:
    torch.manual_seed(0)
    return SpeciesAdjacency(6, rank=4)


def test_adjacency_loss_is_the_bilinear_formula_site_by_site() -> None:
    corpus = make_corpus(prototypes()[:6])
    batch = corpus.batch(np.array([4, 1, 3]))
    head = adjacency_head()
    latent = torch.randn(len(batch.z), 6, generator=torch.Generator().manual_seed(2))
    p = head.project(latent).detach()
    per_crystal = []
    rows = iter(batch.pair_rdf)
    for g in range(batch.n_crystals):
        sites = range(int(batch.site_start[g]), int(batch.site_start[g + 1]))
        elements = sorted({int(batch.z[i]) for i in sites})
        errors = []
        for i in sites:
            for element in elements:
                mean = torch.stack([p[j] for j in sites if batch.z[j] == element]).mean(0)
                left = head.left(p[i]).view(8, 4)
                right = head.right(mean).view(8, 4)
                guess = (left * right).sum(1) / 2.0 + head.from_site(p[i]) + head.from_species(mean)
                gap = (guess - next(rows)).abs()
                errors.append(torch.where(gap < 1, 0.5 * gap**2, gap - 0.5).mean())
        per_crystal.append(torch.stack(errors).mean())
    torch.testing.assert_close(head(latent, batch), torch.stack(per_crystal).mean())


def test_adjacency_loss_is_the_same_for_primitive_and_conventional_cells() -> None:
    salt, spinel = crystals()["NaCl"], crystals()["MgAl2O4 spinel"]
    cells = [salt, salt.get_primitive_structure(), spinel, spinel.get_primitive_structure()]
    corpus, head = make_corpus(cells), adjacency_head()
    losses = []
    for k in range(4):
        batch = corpus.batch(np.array([k]))
        losses.append(float(head(element_latents(batch), batch).detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[2] == pytest.approx(losses[3], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-2)
    # Every crystal counts once, however many sites its cell has.
    batch = corpus.batch(np.arange(4))
    together = float(head(element_latents(batch), batch).detach())
    assert together == pytest.approx(np.mean(losses), rel=1e-5)


def test_adjacency_loss_does_not_depend_on_the_order_of_sites_or_crystals() -> None:
    quartz = crystals()["SiO2 quartz"]
    mixed = Structure.from_sites([quartz[k] for k in (4, 0, 8, 2, 6, 1, 3, 7, 5)])
    corpus, head = make_corpus([quartz, mixed, crystals()["NaCl"]]), adjacency_head()
    found = []
    for members in ([0, 2], [1, 2], [2, 0]):
        batch = corpus.batch(np.array(members))
        found.append(float(head(element_latents(batch), batch).detach()))
    assert found == pytest.approx([found[0]] * 3, rel=1e-5)


# -- all together --------------------------------------------------------------------------------

OVERFIT = PretrainConfig(
    learning_rate=4e-3,
    weight_decay=0.0,
    encoder=EncoderConfig(
        cutoff=CUTOFF, width=48, n_layers=2, n_rbf=24, latent_dim=64, latent_layers=(0, 1, 2),
        column_states=(), n_properties=22,
    ),
)  # fmt: skip


def fit(steps: int, change: Callable[[CleanBatch, int], CleanBatch]) -> dict[str, float]:
    """Train on 32 crystals with targets of a changed batch; means over the last 20 steps."""
    torch.manual_seed(0)
    corpus = prototype_corpus()
    batch = corpus.batch(np.arange(len(corpus)))
    counts = torch.from_numpy(corpus.element_counts)
    model = Pretrainer(OVERFIT, counts).train()
    optimizer = make_optimizer(model, OVERFIT)
    corruption = Corruption(CorruptionConfig(), CUTOFF, counts)
    cpu = torch.device("cpu")
    log: list[dict[str, float]] = []
    for step in range(steps):
        generator = step_generator(cpu, 0, step)
        views = corruption(batch, generator), corruption(batch, generator)
        losses = model(change(batch, step), views)
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
    found = fit(400, lambda batch, step: batch)
    assert found["node"] < 0.1
    assert found["masked_accuracy"] > 0.97
    assert found["majority_accuracy"] < 0.3
    assert found["retrieval_accuracy"] > 0.99
    for name in ("adjacency", "physics", "fingerprint", "properties"):
        assert found[name] < 0.15


@pytest.mark.slow
def test_shuffled_species_cannot_be_learned() -> None:
    """Without this control a low loss could come from a leak of the answer into the view."""

    def shuffle(batch: CleanBatch, step: int) -> CleanBatch:
        order = torch.randperm(len(batch.z), generator=torch.Generator().manual_seed(step))
        return replace(batch, z=batch.z[order])

    found = fit(200, shuffle)
    # The best there is: the weighted frequencies of the elements, whatever the site.
    counts = torch.from_numpy(prototype_corpus().element_counts)
    weights = NodeReconstruction(4, counts).weights * counts
    share = weights[weights > 0] / weights.sum()
    floor = -float((share * share.log()).sum()) * 1.1
    assert found["node"] > 0.9 * floor
    assert found["masked_accuracy"] < found["majority_accuracy"] + 0.03
