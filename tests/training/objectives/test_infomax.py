"""Deep Graph Infomax against its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.multiprocessing
from encoded_batches import crystals_of, encoded
from torch import nn

from objectives.infomax import DeepGraphInfomax, deal_species


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


def test_species_are_dealt_by_the_generator_alone_and_nothing_else_changes() -> None:
    batch = crystals_of([0, 1, 2, 3])
    view = encoded(batch, torch.zeros(len(batch.z), 1)).view
    dealt = [deal_species(view, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(dealt[0].z, dealt[1].z)
    # Views of the same sites got the same deal in every step, when it followed from the view.
    assert not torch.equal(dealt[0].z, dealt[2].z)
    assert torch.equal(dealt[0].z.sort().values, view.z.sort().values)
    assert dealt[0].edge_vector is view.edge_vector
