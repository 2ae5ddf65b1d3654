"""Clean batches, corrupted views of them, and what the encoder answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from matminer_unate.network.segments import segment_pool


@dataclass
class View:
    """A corrupted batch as the encoder reads it, and what was done to it."""

    z: Tensor  # (n,) 0 where the species is hidden
    edge_index: Tensor  # (2, e′) source, target
    edge_vector: Tensor  # (e′, 3) Å, none longer than the cutoff
    edge: Tensor  # (e′,) which edge of the clean batch each one is
    rewired: Tensor  # (e′,) bool: the edge joins another site than in the clean batch
    selected: Tensor  # (n,) bool: the species of these sites is to be reconstructed


@dataclass
class Encoded:
    """A view and the encoder's answer, before standardisation."""

    view: View
    latent: Tensor  # (n, latent_dim)
    predicted: Tensor  # (n, n_predicted) the encoder's predictions of site quantities
    pooled: Tensor  # (g, latent_dim) mean over the sites of each crystal
    crystals: Tensor  # (g, n_crystal_predicted) predictions for whole crystals


def mean_pool(latent: Tensor, batch: CleanBatch) -> Tensor:
    """Mean over the sites of each crystal, (n_sites, d) → (n_crystals, d)."""
    return segment_pool(latent, batch.crystal, batch.n_crystals)


@dataclass
class CleanBatch:
    """Uncorrupted crystals as tensors, with the targets of every objective.

    ``n`` sites, ``e`` edges, ``g`` crystals, ``s`` species slots (one for each element of each
    crystal), ``p`` site-slot pairs (every site with every slot of its crystal).
    """

    z: Tensor  # (n,)
    crystal: Tensor  # (n,) crystal of each site
    slot: Tensor  # (n,) species slot of each site
    edge_index: Tensor  # (2, e) source, target
    edge_vector: Tensor  # (e, 3) Å, up to cutoff + skin
    edge_pair: Tensor  # (e,) the same number for an edge and its reverse
    descriptors: Tensor  # (n, 82) standardised
    tight_binding: Tensor  # (n, k) standardised, NaN where unknown
    teacher: Tensor  # (n, k′) standardised, NaN where unknown
    pair_site: Tensor  # (p,)
    pair_slot: Tensor  # (p,)
    pair_rdf: Tensor  # (p, 8) standardised log neighbour counts
    slot_start: Tensor  # (g + 1,)
    site_start: Tensor  # (g + 1,)
    formula: Tensor  # (g,) number of the reduced formula, the same in every process
    system: Tensor  # (g,) number of the chemical system, likewise
    spacegroup: Tensor  # (g,) 1 to 230

    @property
    def n_crystals(self) -> int:
        return len(self.formula)

    def to(self, device: torch.device) -> CleanBatch:
        return CleanBatch(**{k: v.to(device, non_blocking=True) for k, v in vars(self).items()})


def clean_view(batch: CleanBatch, cutoff: float) -> View:
    """The uncorrupted batch, without the edges that only the skin holds."""
    edge = (batch.edge_vector.norm(dim=1) <= cutoff).nonzero().squeeze(1)
    no_edges, no_sites = torch.zeros_like(edge, dtype=torch.bool), torch.zeros_like(batch.z).bool()
    return View(
        batch.z, batch.edge_index[:, edge], batch.edge_vector[edge], edge, no_edges, no_sites
    )
