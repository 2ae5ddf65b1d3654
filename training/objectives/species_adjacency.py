"""Adjacency reconstruction: how many neighbours of which species, and how far?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded
from matminer_unate.network.segments import segment_pool


class SpeciesAdjacency(nn.Module):
    """Site-to-species adjacency, reconstructed by low-rank bilinear forms.

    The published adjacency matrix of the unit cell depends on the cell that was chosen and cannot
    be predicted between symmetry-equivalent sites. Its quotient can: for site i, species b and
    radial channel k, t_ibk = log(1 + Σ_{j∈b} φ_k(d_ij) f_c(d_ij)), computed on the clean crystal
    (``corpora.clean_targets.species_rdf``). With p_i a projection of the site's latent and p̄_b its
    mean over the sites of species b, the prediction is p_iᵀ B_k p̄_b + c_k·p_i + e_k·p̄_b + b_k with
    B_k of low rank.

    Parameters
    ----------
    latent_dim : int
    n_channels : int
    rank : int
    """

    def __init__(self, latent_dim: int, n_channels: int = 8, rank: int = 16) -> None:
        super().__init__()
        self.rank = rank
        self.project = nn.Linear(latent_dim, 64)
        self.left = nn.Linear(64, n_channels * rank)
        self.right = nn.Linear(64, n_channels * rank)
        self.from_site = nn.Linear(64, n_channels)
        self.from_species = nn.Linear(64, n_channels)

    def forward(self, encoded: Encoded, batch: CleanBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Huber loss averaged over species, then sites, then crystals."""
        p = self.project(encoded.latent).float()  # sums below
        n_slots = int(batch.slot_start[-1])
        mean = segment_pool(p, batch.slot, n_slots)
        site, slot = batch.pair_site, batch.pair_slot
        shape = (len(site), -1, self.rank)
        product = self.left(p).float()[site] * self.right(mean).float()[slot]
        prediction = product.view(shape).sum(2) / self.rank**0.5
        prediction = prediction + self.from_site(p)[site] + self.from_species(mean)[slot]
        each = nn.functional.huber_loss(prediction, batch.pair_rdf, reduction="none").mean(1)
        # Every crystal counts once: one over its number of site-species pairs.
        crystal = batch.crystal[site]
        pairs = torch.bincount(crystal, minlength=batch.n_crystals)
        return (each / pairs[crystal]).sum() / batch.n_crystals, {}
