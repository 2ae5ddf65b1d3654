"""Losses between two views: against independent formulas, their properties, and over processes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from encoded_batches import crystals_of, encoded, pooled_views
from numpy.typing import NDArray
from small_corpora import prototype_corpus
from torch import Tensor, nn

from objectives.barlow_twins import BarlowTwins, barlow_twins
from objectives.infomax import DeepGraphInfomax
from objectives.nt_xent import NTXent, nt_xent
from objectives.projector import contrast_metrics
from objectives.triplet import Triplet, triplet
from objectives.vicreg import VICReg, vicreg

HEADS: dict[str, type[nn.Module]] = {
    "nt-xent": NTXent,
    "barlow": BarlowTwins,
    "vicreg": VICReg,
    "triplet": Triplet,
}
"""The losses that read two views of each crystal."""


def random_views(n: int = 6, d: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, d, dtype=torch.float64, generator=generator) for _ in range(2))  # type: ignore[return-value]


def orthogonal_components(n: int = 8) -> Tensor:
    """n crystals whose n − 1 components have mean 0, variance 1 and no correlation (Hadamard)."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < n:
        matrix = torch.cat([torch.cat([matrix, matrix]), torch.cat([matrix, -matrix])], dim=1)
    return matrix[:, 1:]


# -- NT-Xent -------------------------------------------------------------------------------------


def nt_xent_by_loops(
    first: Tensor, second: Tensor, group: list[int], tau: float, hard: list[int], weight: float
) -> float:
    """Equation 1 of arXiv:2002.05709, averaged over the 2B anchors."""
    n = len(first)
    views = [v / v.norm() for v in (*first, *second)]
    groups, hards = [*group, *group], [*hard, *hard]
    total = 0.0
    for a in range(2 * n):
        p = a + n if a < n else a - n
        denominator = math.exp(float(views[a] @ views[p]) / tau)
        for k in range(2 * n):
            if groups[k] != groups[a]:
                times = weight if hards[k] == hards[a] else 1.0
                denominator += times * math.exp(float(views[a] @ views[k]) / tau)
        total -= math.log(math.exp(float(views[a] @ views[p]) / tau) / denominator)
    return total / (2 * n)


@pytest.mark.parametrize(
    "group", [[0, 1, 2, 3, 4, 5], [0, 1, 1, 2, 1, 0]], ids=["single", "groups"]
)
@pytest.mark.parametrize("tau", [0.1, 0.5])
@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_nt_xent_is_the_published_formula(group: list[int], tau: float, weight: float) -> None:
    first, second = random_views()
    hard = [k // 2 for k in group]
    loss = nt_xent(first, second, torch.tensor(group), tau, torch.tensor(hard), weight)
    expected = nt_xent_by_loops(first, second, group, tau, hard, weight)
    assert float(loss) == pytest.approx(expected, rel=1e-10)


def test_nt_xent_has_the_right_gradient() -> None:
    first, second = (v.requires_grad_() for v in random_views(4, 3))
    group, hard = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 0, 1])
    assert torch.autograd.gradcheck(
        lambda a, b: nt_xent(a, b, group, 0.3, hard, 2.0), (first, second)
    )


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


def test_a_temperature_of_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="are positive, got 0"):
        NTXent(8, temperature=0.0)


# -- Barlow Twins and VICReg ---------------------------------------------------------------------


def test_barlow_twins_is_the_published_formula() -> None:
    first, second = random_views(9, 4)
    expected = 0.0
    for i in range(4):
        for j in range(4):
            c = np.corrcoef(first[:, i].numpy(), second[:, j].numpy())[0, 1]
            expected += (1 - c) ** 2 if i == j else 0.02 * c**2
    assert float(barlow_twins(first, second, 0.02)) == pytest.approx(expected, rel=1e-6)


def test_barlow_twins_of_equal_uncorrelated_components_is_zero() -> None:
    views = orthogonal_components()
    assert barlow_twins(views, views, 1.0) < 1e-12
    # Mean and scale of a component do not matter.
    assert barlow_twins(views, 3 * views + 7, 1.0) < 1e-12
    # Opposite views: every diagonal correlation is −1.
    assert float(barlow_twins(views, -views, 1.0)) == pytest.approx(4 * 7)
    # A component that repeats another one.
    twice = torch.cat([views[:, :1], views[:, :1]], dim=1)
    assert float(barlow_twins(twice, twice, 0.3)) == pytest.approx(2 * 0.3)


def test_vicreg_is_the_published_formula() -> None:
    views = random_views(9, 4)
    first, second = (v.numpy() for v in views)
    invariance = np.mean([(a - b) ** 2 for a, b in zip(first.ravel(), second.ravel(), strict=True)])
    variance = covariance = 0.0
    for v in (first, second):
        matrix = np.cov(v.T)
        variance += np.mean([max(0.0, 1 - math.sqrt(matrix[i, i] + 1e-4)) for i in range(4)]) / 2
        covariance += sum(matrix[i, j] ** 2 for i in range(4) for j in range(4) if i != j) / 4
    expected = 25 * invariance + 20 * variance + 2 * covariance
    assert float(vicreg(*views, 25, 20, 2)) == pytest.approx(expected, rel=1e-9)


def test_vicreg_of_equal_uncorrelated_wide_components_is_zero_and_of_a_collapse_is_not() -> None:
    views = orthogonal_components()
    assert vicreg(views, views, 25, 25, 1) < 1e-12
    point = torch.ones_like(views)
    assert float(vicreg(point, point, 25, 25, 1)) == pytest.approx(25 * 0.99)
    # The views may not part.
    assert float(vicreg(views, views + 2, 25, 25, 1)) == pytest.approx(25 * 4)


# -- triplet -------------------------------------------------------------------------------------


def triplet_by_loops(
    first: Tensor, second: Tensor, formula: list[int], system: list[int], margin: float
) -> float:
    """Mean over the anchors that have a negative; of the own chemical system, if there is one."""
    a, b = ([v / v.norm() for v in views] for views in (first, second))
    each = []
    for i in range(len(a)):
        others = [j for j in range(len(b)) if formula[j] != formula[i]]
        hard = [j for j in others if system[j] == system[i]]
        distances = [float((a[i] - b[j]).norm()) for j in hard or others]
        if distances:
            each.append(max(0.0, float((a[i] - b[i]).norm()) - min(distances) + margin))
    return float(np.mean(each)) if each else 0.0


@pytest.mark.parametrize("margin", [0.2, 1.0])
@pytest.mark.parametrize(
    ("formula", "system"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([0, 1, 1, 2, 3, 0], [0, 1, 1, 1, 2, 0]),
        ([0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
    ],
    ids=["all differ", "systems", "one formula"],
)
def test_triplet_is_the_published_formula(
    formula: list[int], system: list[int], margin: float
) -> None:
    first, second = random_views()
    loss = triplet(first, second, torch.tensor(formula), torch.tensor(system), margin)
    expected = triplet_by_loops(first, second, formula, system, margin)
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_the_hard_negative_is_of_the_same_chemical_system() -> None:
    angle = torch.tensor([0.0, 0.2, 0.5, 2.0], dtype=torch.float64)
    views = torch.stack([angle.cos(), angle.sin()], dim=1)
    formula, system = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 0])
    chosen = triplet(views[:1], views[:1], formula[:1], system[:1], 1.0)
    assert chosen == 0.0  # alone: no negative
    # Crystal 1 is the nearest to crystal 0, but crystal 3 shares its chemical system.
    chord = [2 * math.sin(x / 2) for x in (2.0, 0.2, 0.3, 2.0)]
    expected = np.mean([max(0.0, 1 - c) for c in chord])
    assert float(triplet(views, views, formula, system, 1.0)) == pytest.approx(expected)


def test_triplet_of_distant_crystals_is_zero() -> None:
    views = torch.eye(5, dtype=torch.float64)
    number = torch.arange(5)
    assert triplet(views, views, number, number, 1.4) == 0.0
    assert float(triplet(views, views, number, number, 1.5)) == pytest.approx(1.5 - math.sqrt(2))


# -- Deep Graph Infomax --------------------------------------------------------------------------


def test_infomax_is_the_published_formula_crystal_by_crystal() -> None:
    torch.manual_seed(0)
    batch, head = crystals_of([0, 1, 2, 3]), DeepGraphInfomax(5)
    true, false = torch.randn(2, len(batch.z), 5)
    loss, logged = head(encoded(batch, true), encoded(batch, false), batch)
    matrix = head.discriminator.weight.detach().numpy().astype(float)
    per_crystal, right = [], []
    for g in range(4):
        sites = range(int(batch.site_start[g]), int(batch.site_start[g + 1]))
        mean = np.mean([true[i].numpy() for i in sites], axis=0)
        summary = 1 / (1 + np.exp(-mean))
        costs = []
        for i in sites:
            scores = [float(v[i].numpy() @ matrix @ summary) for v in (true, false)]
            p, q = (1 / (1 + math.exp(-s)) for s in scores)
            costs.append(-(math.log(p) + math.log(1 - q)) / 2)
            right += [p > 0.5, q < 0.5]
        per_crystal.append(np.mean(costs))
    assert float(loss.detach()) == pytest.approx(np.mean(per_crystal), rel=1e-5)
    assert float(logged["infomax_accuracy"]) == pytest.approx(np.mean(right))


def test_infomax_of_sites_that_are_all_told_apart_is_zero() -> None:
    batch, head = crystals_of([0, 1, 2]), DeepGraphInfomax(4)
    nn.init.eye_(head.discriminator.weight)
    true = torch.full((len(batch.z), 4), 20.0)
    loss, logged = head(encoded(batch, true), encoded(batch, -true), batch)
    assert float(loss.detach()) < 1e-6
    assert logged["infomax_accuracy"] == 1.0
    # Views that are alike leave a coin to toss.
    loss, _ = head(encoded(batch, 0 * true), encoded(batch, 0 * true), batch)
    assert float(loss.detach()) == pytest.approx(math.log(2))


# -- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*HEADS, "dgi"])
def test_gradients_reach_the_latents_of_both_views(name: str) -> None:
    torch.manual_seed(0)
    batch = crystals_of([0, 1, 1, 2, 3, 4], [0, 1, 1, 1, 2, 2])
    head = (HEADS | {"dgi": DeepGraphInfomax})[name](8)
    latents = [torch.randn(len(batch.z), 8, requires_grad=True) for _ in range(2)]
    loss, logged = head(*(encoded(batch, v) for v in latents), batch)
    loss.backward()
    for tensor in (*latents, *head.parameters()):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().max() > 0
    assert not any(value.requires_grad for value in logged.values())


@pytest.mark.parametrize("name", [*HEADS, "dgi"])
def test_the_loss_does_not_depend_on_the_order_of_the_crystals(name: str) -> None:
    torch.manual_seed(0)
    head, corpus = (HEADS | {"dgi": DeepGraphInfomax})[name](8), prototype_corpus()
    formula, system = torch.tensor([[0, 1, 1, 2, 3, 4], [0, 1, 1, 1, 2, 2]])
    latents = [torch.randn(2, n, 8) for n in corpus.n_sites[:6]]
    results = []
    for order in ([0, 1, 2, 3, 4, 5], [4, 2, 0, 5, 1, 3]):
        batch = corpus.batch(np.array(order))
        batch = replace(batch, formula=formula[order], system=system[order])
        first, second = torch.cat([latents[k] for k in order], dim=1)
        results.append(head(encoded(batch, first), encoded(batch, second), batch))
    torch.testing.assert_close(results[0][0], results[1][0])
    for key, value in results[0][1].items():
        torch.testing.assert_close(value, results[1][1][key])


@pytest.mark.parametrize("name", [*HEADS, "dgi"])
def test_mixed_precision_changes_the_loss_by_rounding_only(name: str) -> None:
    torch.manual_seed(0)
    batch = crystals_of(list(range(24)), [k // 3 for k in range(24)])
    head = (HEADS | {"dgi": DeepGraphInfomax})[name](8)
    views = [encoded(batch, v) for v in torch.randn(2, len(batch.z), 8)]
    loss, _ = head(*views, batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, logged = head(*views, batch)
    assert rounded.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in logged.values())
    torch.testing.assert_close(rounded, loss, rtol=0.01, atol=0.0)


@pytest.mark.parametrize("name", HEADS)
def test_a_batch_of_one_crystal_has_finite_gradients(name: str) -> None:
    torch.manual_seed(0)
    batch, head = crystals_of([0]), HEADS[name](8)
    pooled = torch.randn(2, 1, 8).requires_grad_()
    loss, logged = head(*pooled_views(batch, *pooled), batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert pooled.grad is not None
    assert torch.isfinite(pooled.grad).all()
    assert all(torch.isfinite(value) for value in logged.values())


def test_the_projector_treats_every_crystal_alone() -> None:
    """BatchNorm would tell one view about the rest of its batch."""
    torch.manual_seed(0)
    head, pooled = NTXent(8).train(), torch.randn(6, 8)
    torch.testing.assert_close(head.projector(pooled)[:2], head.projector(pooled[:2]))


def test_retrieval_counts_the_pairs_that_are_nearest_to_each_other() -> None:
    torch.manual_seed(0)
    head, batch = NTXent(8), crystals_of(list(range(10)))
    first = torch.randn(10, 8)
    _, logged = head(*pooled_views(batch, first, first), batch)
    assert logged["retrieval_accuracy"] == 1.0
    assert logged["alignment"] == 0.0
    swapped = first.clone()
    swapped[[0, 1]] = first[[1, 0]]
    loss, logged = head(*pooled_views(batch, first, swapped), batch)
    assert logged["retrieval_accuracy"] == pytest.approx(0.8)
    a, b = head.projector(first), head.projector(swapped)
    torch.testing.assert_close(loss, nt_xent(a, b, batch.formula, 0.1))


def test_alignment_and_uniformity_are_the_published_formulas() -> None:
    first, second = random_views(5, 3)
    a, b = ([v.numpy() / np.linalg.norm(v) for v in views] for views in (first, second))
    alignment = np.mean([np.sum((x - y) ** 2) for x, y in zip(a, b, strict=True)])
    spread = [math.exp(-2 * np.sum((a[i] - a[j]) ** 2)) for i in range(5) for j in range(i)]
    logged = contrast_metrics(first, second)
    assert float(logged["alignment"]) == pytest.approx(alignment, rel=1e-5)
    assert float(logged["uniformity"]) == pytest.approx(math.log(np.mean(spread)), rel=1e-5)
    collapsed = contrast_metrics(torch.ones(4, 3), torch.ones(4, 3))
    assert collapsed["uniformity"] == pytest.approx(0, abs=1e-6)


# -- processes -----------------------------------------------------------------------------------

FORMULAS = [0, 1, 2, 3, 1, 4, 5, 6, 2, 7, 8, 9]
SYSTEMS = [0, 1, 1, 2, 1, 2, 3, 3, 1, 0, 4, 4]
SHARES = (slice(0, 5), slice(5, 12))
"""Crystals of the two processes; not as many in each."""


def loss_and_gradients(name: str, part: slice) -> tuple[Tensor, nn.Module]:
    """A loss on some of the crystals, after an encoder of one layer."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": nn.Linear(6, 8), "head": HEADS[name](8)}).double()
    if name == "nt-xent":
        model["head"].hard_weight = 2.0
    inputs = torch.randn(2, 12, 6, dtype=torch.float64)[:, part]
    batch = crystals_of(FORMULAS[part], SYSTEMS[part])
    pooled = model["encoder"](inputs)
    loss, _ = model["head"](*pooled_views(batch, *pooled), batch)
    loss.backward()
    return loss.detach(), model


def one_of_two(rank: int, folder: Path) -> None:
    """What DistributedDataParallel does: average the gradients over the processes."""
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    found: dict[str, NDArray[np.float64]] = {}
    for name in HEADS:
        loss, model = loss_and_gradients(name, SHARES[rank])
        found[name] = loss.numpy()
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None
            dist.all_reduce(parameter.grad)
            found[f"{name}/{key}"] = (parameter.grad / 2).numpy()
    # An evaluation is one process' own matter: this would wait forever if it were gathered.
    if rank == 0:
        head = NTXent(8).eval()
        batch = crystals_of([0, 1])
        pooled = torch.randn(2, 2, 8)
        head(*pooled_views(batch, *pooled), batch)
    dist.barrier()
    np.savez(folder / f"{rank}.npz", **found)  # type: ignore[arg-type]
    dist.destroy_process_group()


def test_two_processes_are_equal_to_one_with_all_crystals(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, (tmp_path,), nprocs=2)
    for rank in range(2):
        found = np.load(tmp_path / f"{rank}.npz")
        for name in HEADS:
            loss, model = loss_and_gradients(name, slice(None))
            # The projector returns float32.
            np.testing.assert_allclose(found[name], loss, rtol=1e-6)
            for key, parameter in model.named_parameters():
                expected = parameter.grad.numpy()
                error = np.abs(found[f"{name}/{key}"] - expected).max()
                assert error < 1e-6 * np.abs(expected).max() + 1e-12, (name, key)
