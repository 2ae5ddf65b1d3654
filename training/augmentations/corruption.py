"""Clean batch → corrupted view: other species, moved atoms, strained cells, fewer or wrong edges.

All targets are computed from clean crystals before this; a corrupted view holds no clean distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from augmentations import (
    drop_edges,
    jitter,
    mask_species,
    random_rotations,
    random_strains,
    rewire_edges,
    select_sites,
    shuffle_species,
)
from corpora.batches import CleanBatch, View
from corpora.clean_targets import SKIN

FEWEST_EDGES = 2
"""Of a view, for batch normalisation. A batch of sparse crystals that loses more keeps its edges,
and if it still has too few, its places."""


@dataclass(frozen=True)
class CorruptionConfig:
    """How a view is corrupted.

    Attributes
    ----------
    mask_rate : float
        Share of sites selected when masking atom by atom (at least one a crystal).
    species_mask_probability : float
        Probability that a whole element of the crystal is selected instead.
    shuffle_probability : float
        Probability that the atom-wise selected sites of a crystal exchange their species instead of
        being masked.
    jitter : tuple of float, Å
        Standard deviations of the atomic displacements, one drawn a crystal.
    strain : float
        Standard deviation of every component of the symmetric strain.
    edge_drop : float
        Share of undirected edges dropped, both directions together.
    edge_rewire : float
        Share of undirected edges that end at another site of the crystal.
    clean_probability : float
        Share of crystals left uncorrupted, so that the network also knows clean ones.
    rotate : bool
        Turn each crystal at random (for cartesian encoders).
    """

    mask_rate: float = 0.15
    species_mask_probability: float = 0.5
    shuffle_probability: float = 0.0
    jitter: tuple[float, ...] = (0.02, 0.05, 0.1)
    strain: float = 0.01
    edge_drop: float = 0.1
    edge_rewire: float = 0.0
    clean_probability: float = 0.5
    rotate: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "jitter", tuple(self.jitter))
        for name in (
            "mask_rate",
            "species_mask_probability",
            "shuffle_probability",
            "edge_drop",
            "edge_rewire",
            "clean_probability",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share of 1, got {getattr(self, name)}")
        if not all(0 <= deviation < math.inf for deviation in (self.strain, *self.jitter)):
            raise ValueError("strain and jitter are standard deviations: finite, not negative")

    def without_masks(self) -> CorruptionConfig:
        """The same corruption with every species in its place."""
        return replace(self, mask_rate=0.0, species_mask_probability=0.0, shuffle_probability=0.0)

    def check_skin(self, cutoff: float) -> None:
        """Raise where edges of the cached lists could be missing from the moved crystal.

        Two standard deviations of strain and of the relative shift of two sites must fit in the
        skin of the lists.
        """
        needed = 2 * self.strain * cutoff + 2 * 2**0.5 * max(self.jitter, default=0.0)
        if needed > SKIN + 1e-9:
            raise ValueError(
                f"strain {self.strain} and jitter {self.jitter} Å move atoms by up to "
                f"{needed:.2f} Å (two standard deviations at {cutoff} Å), past the skin of "
                f"{SKIN} Å of the cached neighbour lists; lower them"
            )


class Corruption:
    """Makes corrupted views of clean batches.

    Parameters
    ----------
    config : CorruptionConfig
    cutoff : float
        Å. Edges that end up longer leave the view.
    element_counts : (119,) Tensor
        Random replacements follow these frequencies.
    """

    def __init__(self, config: CorruptionConfig, cutoff: float, element_counts: Tensor) -> None:
        self.config = config
        self.cutoff = cutoff
        self.element_weights = element_counts.double()

    def __call__(self, batch: CleanBatch, generator: torch.Generator) -> View:
        """Corrupt every crystal of a batch; the generator decides everything."""
        draw = torch.rand(batch.n_crystals, generator=generator, device=generator.device)
        corrupt = draw >= self.config.clean_probability
        z, selected = self._species(batch, corrupt, generator)
        vector = self._move(batch, corrupt, generator)
        edge_corrupt = corrupt[batch.crystal[batch.edge_index[1]]]
        within = vector.norm(dim=1) <= self.cutoff
        keep = within & ~(drop_edges(batch, self.config.edge_drop, generator) & edge_corrupt)
        if keep.sum() < FEWEST_EDGES:
            keep = within
        if keep.sum() < FEWEST_EDGES:
            vector = batch.edge_vector
            keep = vector.norm(dim=1) <= self.cutoff
        edge_index, rewired = batch.edge_index, torch.zeros_like(keep)
        if self.config.edge_rewire:
            wrong, rewired = rewire_edges(batch, self.config.edge_rewire, generator)
            rewired &= edge_corrupt
            edge_index = torch.where(rewired, wrong, edge_index)
        edge = keep.nonzero().squeeze(1)
        return View(z, edge_index[:, edge], vector[edge], edge, rewired[edge], selected)

    def _species(self, batch: CleanBatch, corrupt: Tensor, generator: Any) -> tuple[Tensor, Tensor]:
        c = self.config
        selection = select_sites(batch, c.mask_rate, c.species_mask_probability, generator)
        selection.sites &= corrupt[batch.crystal]
        z = mask_species(batch.z, batch, selection, self.element_weights, generator)
        if c.shuffle_probability:
            draw = torch.rand(batch.n_crystals, generator=generator, device=generator.device)
            shuffled = (draw < c.shuffle_probability) & ~selection.by_species
            sites = selection.sites & shuffled[batch.crystal]
            exchanged = shuffle_species(batch.z, batch, sites, generator)
            z = torch.where(shuffled[batch.crystal], exchanged, z)
        return z, selection.sites

    def _move(self, batch: CleanBatch, corrupt: Tensor, generator: Any) -> Tensor:
        n, device = batch.n_crystals, batch.edge_vector.device
        shift = jitter(batch, self.config.jitter, generator) * corrupt[batch.crystal].unsqueeze(1)
        strain = random_strains(n, self.config.strain, generator) * corrupt.view(n, 1, 1)
        deformation = torch.eye(3, device=device) + strain
        if self.config.rotate:
            deformation = deformation @ random_rotations(n, generator)
        source, target = batch.edge_index
        vector = batch.edge_vector.unsqueeze(1) @ deformation[batch.crystal[target]]
        return vector.squeeze(1) + shift[source] - shift[target]
