"""Node reconstruction against an independent formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from encoded_batches import sites, view_of
from torch import nn

from objectives.element_properties import ElementPropertyReconstruction
from objectives.node import NodeReconstruction

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
