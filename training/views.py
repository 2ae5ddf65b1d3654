"""What the encoder reads of a batch, and what the objectives read of the encoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from corpora import CleanBatch


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
    total = latent.new_zeros(batch.n_crystals, latent.shape[1])
    return total.index_add(0, batch.crystal, latent) / batch.site_start.diff().unsqueeze(1)
