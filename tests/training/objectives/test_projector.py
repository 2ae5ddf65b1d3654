"""What every loss between two views has to do, in one process and in two."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from encoded_batches import crystals_of, encoded, pooled_views, random_views
from numpy.typing import NDArray
from small_corpora import prototype_corpus
from torch import Tensor, nn

from objectives.barlow_twins import BarlowTwins
from objectives.infomax import DeepGraphInfomax
from objectives.nt_xent import NTXent, nt_xent
from objectives.projector import contrast_metrics
from objectives.triplet import Triplet
from objectives.vicreg import VICReg

HEADS: dict[str, type[nn.Module]] = {
    "nt-xent": NTXent,
    "barlow": BarlowTwins,
    "vicreg": VICReg,
    "triplet": Triplet,
}
"""The losses that read two views of each crystal."""


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


@pytest.mark.slow
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
