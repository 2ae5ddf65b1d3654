"""Clean batch → corrupted view: masked species, moved atoms, strained cells, dropped edges.

All targets are computed from clean crystals before this; a corrupted view holds no clean distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from corpora import CleanBatch

MASK = 0
"""Row of the species embedding that stands for "not told"."""


@dataclass(frozen=True)
class CorruptionConfig:
    """How a view is corrupted.

    Attributes
    ----------
    mask_rate : float
        Share of sites selected when masking atom by atom (at least one a crystal).
    species_mask_probability : float
        Probability that a whole element of the crystal is selected instead. Atom-wise masks leak
        through symmetry-equivalent twins that stay visible.
    jitter : tuple of float, Å
        Standard deviations of the atomic displacements, one drawn a crystal.
    strain : float
        Standard deviation of the diagonal of the symmetric strain; off it, 1/√2 of that.
    edge_drop : float
        Share of undirected edges dropped, both directions together.
    clean_probability : float
        Share of crystals left uncorrupted, so that the network also knows clean ones.
    rotate : bool
        Turn each crystal at random (for cartesian encoders).
    """

    mask_rate: float = 0.15
    species_mask_probability: float = 0.5
    jitter: tuple[float, ...] = (0.02, 0.05, 0.1)
    strain: float = 0.01
    edge_drop: float = 0.1
    clean_probability: float = 0.1
    rotate: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "jitter", tuple(self.jitter))


@dataclass
class View:
    """A corrupted batch as the encoder reads it, and which sites were selected."""

    z: Tensor  # (n,)
    edge_index: Tensor  # (2, e′)
    edge_vector: Tensor  # (e′, 3) Å, none longer than the cutoff
    selected: Tensor  # (n,) bool: the species of these sites is to be reconstructed


class Corruption:
    """Makes corrupted views of clean batches.

    Parameters
    ----------
    config : CorruptionConfig
    cutoff : float, Å
        Edges that leave the sphere are dropped.
    element_counts : (119,) Tensor
        Frequencies from which a wrong element is drawn.
    """

    def __init__(self, config: CorruptionConfig, cutoff: float, element_counts: Tensor) -> None:
        self.config = config
        self.cutoff = cutoff
        self.element_weights = element_counts.double()

    def __call__(self, batch: CleanBatch, generator: torch.Generator) -> View:
        """Corrupt every crystal of a batch; the generator decides everything."""
        corrupt = self._uniform(batch.n_crystals, generator) >= self.config.clean_probability
        z, selected = self._mask(batch, corrupt, generator)
        vector = self._move(batch, corrupt, generator)
        keep = vector.norm(dim=1) <= self.cutoff
        n_pairs = int(batch.edge_pair.max()) + 1 if len(batch.edge_pair) else 0
        dropped = self._uniform(n_pairs, generator) < self.config.edge_drop
        crystal_of_edge = batch.crystal[batch.edge_index[1]]
        keep &= ~(dropped[batch.edge_pair] & corrupt[crystal_of_edge])
        return View(z, batch.edge_index[:, keep], vector[keep], selected)

    def _mask(self, batch: CleanBatch, corrupt: Tensor, generator: Any) -> tuple[Tensor, Tensor]:
        c = self.config
        n_slots = batch.slot_start.diff()
        by_species = self._uniform(batch.n_crystals, generator) < c.species_mask_probability
        by_species &= n_slots > 1

        # Species-wise: one slot a crystal. Atom-wise: by rate, and the lowest draw in any case.
        pick = (self._uniform(batch.n_crystals, generator) * n_slots).long()
        chosen_slot = batch.slot_start[:-1] + pick
        draw = self._uniform(len(batch.z), generator)
        lowest = torch.ones(batch.n_crystals, device=draw.device).scatter_reduce(
            0, batch.crystal, draw, "amin"
        )
        n_sites = batch.site_start.diff()
        at_least_one = (draw == lowest[batch.crystal]) & (n_sites > 1)[batch.crystal]
        atom_wise = (draw < c.mask_rate) | at_least_one
        species_wise = batch.slot == chosen_slot[batch.crystal]
        selected = torch.where(by_species[batch.crystal], species_wise, atom_wise)
        selected &= corrupt[batch.crystal]

        # 80 % masked, 10 % replaced, 10 % left; a whole species shares one outcome.
        outcome = self._uniform(len(batch.z), generator)
        outcome_crystal = self._uniform(batch.n_crystals, generator)
        outcome = torch.where(by_species[batch.crystal], outcome_crystal[batch.crystal], outcome)
        wrong = self._elements(len(batch.z), generator)
        wrong_crystal = self._elements(batch.n_crystals, generator)
        wrong = torch.where(by_species[batch.crystal], wrong_crystal[batch.crystal], wrong)
        z = torch.where(selected & (outcome < 0.8), MASK, batch.z)
        z = torch.where(selected & (outcome >= 0.8) & (outcome < 0.9), wrong, z)
        return z, selected

    def _move(self, batch: CleanBatch, corrupt: Tensor, generator: Any) -> Tensor:
        c = self.config
        device = batch.edge_vector.device
        n = batch.n_crystals
        level = (self._uniform(n, generator) * len(c.jitter)).long()
        sigma = torch.tensor(c.jitter or (0.0,), device=device)[level.clamp(max=len(c.jitter) - 1)]
        sigma = sigma * corrupt
        shift = self._normal((len(batch.z), 3), generator) * sigma[batch.crystal].unsqueeze(1)
        strain = self._normal((n, 3, 3), generator) * c.strain
        strain = 0.5 * (strain + strain.transpose(1, 2)) * corrupt.view(n, 1, 1)
        deformation = torch.eye(3, device=device) + strain
        if c.rotate:
            deformation = deformation @ self._rotations(n, generator)
        source, target = batch.edge_index
        vector = batch.edge_vector.unsqueeze(1) @ deformation[batch.crystal[target]]
        return vector.squeeze(1) + shift[source] - shift[target]

    def _rotations(self, n: int, generator: Any) -> Tensor:
        """Uniform random rotations from normalised Gaussian quaternions, (n, 3, 3)."""
        w, x, y, z = nn_normalize(self._normal((n, 4), generator)).unbind(1)
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)

    def _uniform(self, n: int, generator: Any) -> Tensor:
        return torch.rand(n, generator=generator, device=generator.device)

    def _normal(self, shape: tuple[int, ...], generator: Any) -> Tensor:
        return torch.randn(shape, generator=generator, device=generator.device)

    def _elements(self, n: int, generator: Any) -> Tensor:
        weights = self.element_weights.to(generator.device)
        return torch.multinomial(weights, n, replacement=True, generator=generator)


def nn_normalize(values: Tensor) -> Tensor:
    """Rows scaled to unit length."""
    return torch.nn.functional.normalize(values, dim=1)
