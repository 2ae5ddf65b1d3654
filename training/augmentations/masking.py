"""Masking: hide the species of some sites, or of all sites of one element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from corpora.batches import CleanBatch

MASK = 0
"""Row of the species embedding that stands for "not told"."""


@dataclass
class Selection:
    """Sites whose species is corrupted, and whether by whole elements."""

    sites: Tensor  # (n,) bool
    by_species: Tensor  # (g,) bool


def select_sites(
    batch: CleanBatch, rate: float, species_probability: float, generator: Any
) -> Selection:
    """Choose the sites to corrupt.

    With ``species_probability`` all sites of one element of the crystal (if it has several), else
    every site with probability ``rate``, and at least one of a crystal of two or more. Atom by atom
    the task leaks through symmetry-equivalent twins that stay visible; element by element not.
    """
    device = generator.device
    n_slots = batch.slot_start.diff()
    n = batch.n_crystals
    by_species = torch.rand(n, generator=generator, device=device) < species_probability
    by_species &= n_slots > 1
    pick = (torch.rand(n, generator=generator, device=device) * n_slots).long()
    chosen_slot = batch.slot_start[:-1] + pick
    draw = torch.rand(len(batch.z), generator=generator, device=device)
    lowest = torch.ones(n, device=device).scatter_reduce(0, batch.crystal, draw, "amin")
    several = (batch.site_start.diff() > 1)[batch.crystal]
    atom_wise = (draw < rate) | ((draw == lowest[batch.crystal]) & several & (rate > 0))
    species_wise = batch.slot == chosen_slot[batch.crystal]
    sites = torch.where(by_species[batch.crystal], species_wise, atom_wise)
    return Selection(sites, by_species)


def mask_species(
    z: Tensor, batch: CleanBatch, selection: Selection, element_weights: Tensor, generator: Any
) -> Tensor:
    """Hide 80 % of the selected species, replace 10 % by a random element, leave 10 %.

    A whole element shares one outcome. Replacements follow ``element_weights``, (119,).
    """
    device = generator.device
    weights = element_weights.to(device)

    def outcomes(n: int) -> tuple[Tensor, Tensor]:
        wrong = torch.multinomial(weights, n, replacement=True, generator=generator)
        return torch.rand(n, generator=generator, device=device), wrong

    outcome, wrong = outcomes(len(z))
    outcome_crystal, wrong_crystal = outcomes(batch.n_crystals)
    together = selection.by_species[batch.crystal]
    outcome = torch.where(together, outcome_crystal[batch.crystal], outcome)
    wrong = torch.where(together, wrong_crystal[batch.crystal], wrong)
    z = torch.where(selection.sites & (outcome < 0.8), MASK, z)
    return torch.where(selection.sites & (outcome >= 0.8) & (outcome < 0.9), wrong, z)
