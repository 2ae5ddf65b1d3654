"""Site-to-species adjacency against loops over sites and species."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from encoded_batches import element_latents, encoded
from pair_cases import quartz_twice_and_salt
from real_crystals import crystals
from small_corpora import make_corpus, prototype_corpus
from torch import Tensor

from corpora.batches import CleanBatch
from objectives.species_adjacency import SpeciesAdjacency


def adjacency_head() -> SpeciesAdjacency:
    torch.manual_seed(0)
    return SpeciesAdjacency(6, rank=4)


def species_loss(head: SpeciesAdjacency, batch: CleanBatch, latent: Tensor | None = None) -> Tensor:
    latent = element_latents(batch) if latent is None else latent
    return head(encoded(batch, latent), batch)[0].detach()


def test_species_loss_is_the_bilinear_formula_site_by_site() -> None:
    batch = prototype_corpus().batch(np.array([4, 1, 3]))
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
        per_crystal.append(torch.stack(errors).mean().detach())
    torch.testing.assert_close(species_loss(head, batch, latent), torch.stack(per_crystal).mean())


def test_species_loss_is_the_same_for_primitive_and_conventional_cells() -> None:
    salt, spinel = crystals()["NaCl"], crystals()["MgAl2O4 spinel"]
    cells = [salt, salt.get_primitive_structure(), spinel, spinel.get_primitive_structure()]
    corpus, head = make_corpus(cells), adjacency_head()
    losses = [float(species_loss(head, corpus.batch(np.array([k])))) for k in range(4)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[2] == pytest.approx(losses[3], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-2)
    # Every crystal counts once, however many sites its cell has.
    together = float(species_loss(head, corpus.batch(np.arange(4))))
    assert together == pytest.approx(np.mean(losses), rel=1e-5)


def test_species_loss_does_not_depend_on_the_order_of_sites_or_crystals() -> None:
    corpus, head = quartz_twice_and_salt(), adjacency_head()
    members = ([0, 2], [1, 2], [2, 0])
    found = [float(species_loss(head, corpus.batch(np.array(m)))) for m in members]
    assert found == pytest.approx([found[0]] * 3, rel=1e-5)
