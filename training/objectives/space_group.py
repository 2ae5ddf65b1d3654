"""Space group prediction from the pooled latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded

FIRST_OF_SYSTEM = (1, 3, 16, 75, 143, 168, 195)
"""First space group of the seven crystal systems."""


class SpaceGroup(nn.Module):
    """Cross-entropy over the 230 space groups.

    Parameters
    ----------
    latent_dim : int
    counts : (231,) Tensor, optional
        Crystals of each space group in the corpus, by its number. The weight of a group is its
        share to the power −1/4, clipped to [0.5, 2]; all are equal without.

    References
    ----------
    As in CrysGNN, arXiv:2301.05852.
    """

    weights: Tensor

    def __init__(self, latent_dim: int, counts: Tensor | None = None) -> None:
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(latent_dim, 128), nn.SiLU(), nn.Linear(128, 230))
        weights = torch.ones(230)
        if counts is not None:
            # In units of the mean over the groups that occur.
            share = counts[1:] / counts[1:].sum() * (counts[1:] > 0).sum()
            weights = share.clamp(min=1e-9).pow(-0.25).clamp(0.5, 2.0).float()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, encoded: Encoded, batch: CleanBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted mean over crystals, and how often the crystal system is right."""
        logits = self.decoder(encoded.pooled).float()
        loss = nn.functional.cross_entropy(logits, batch.spacegroup - 1, weight=self.weights)
        starts = torch.tensor(FIRST_OF_SYSTEM, device=logits.device)
        guess = torch.bucketize(logits.argmax(1) + 1, starts, right=True)
        right = guess == torch.bucketize(batch.spacegroup, starts, right=True)
        return loss, {"crystal_system_accuracy": right.float().mean()}
