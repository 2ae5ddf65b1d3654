"""Space groups and their crystal systems."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from encoded_batches import element_latents, encoded, sites, view_of
from pymatgen.symmetry.groups import SpaceGroup as PymatgenSpaceGroup
from small_corpora import prototype_corpus
from torch import nn

from corpora.batches import mean_pool
from objectives.space_group import SpaceGroup


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


@pytest.mark.slow
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
