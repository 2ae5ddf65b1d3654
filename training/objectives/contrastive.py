"""Contrastive branch: two views of one crystal belong together, other crystals apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def nt_xent(first: Tensor, second: Tensor, group: Tensor, temperature: float) -> Tensor:
    """Normalised-temperature cross-entropy over the 2B views of a batch.

    For anchor a with positive p, −log exp(s_ap/τ) / Σ_{k≠a} exp(s_ak/τ), s the cosine similarity.
    Views of other crystals in the anchor's group (here: the same reduced formula, so polymorphs and
    missed duplicates) are no negatives and leave the sum.

    Parameters
    ----------
    first, second : (B, d)
        Projections of the two views, row by row of the same crystal.
    group : (B,) int64
    temperature : float
        τ.

    References
    ----------
    Chen et al., "A simple framework for contrastive learning of visual representations",
    arXiv:2002.05709, equation 1.
    """
    n = len(first)
    views = nn.functional.normalize(torch.cat([first, second]), dim=1)
    logits = views @ views.T / temperature
    index = torch.arange(2 * n, device=views.device)
    positive = (index + n) % (2 * n)
    groups = group.repeat(2)
    excluded = groups.unsqueeze(1) == groups.unsqueeze(0)
    excluded[index, positive] = False
    return nn.functional.cross_entropy(logits.masked_fill(excluded, float("-inf")), positive)


class NTXent(nn.Module):
    """Projector and NT-Xent loss on mean-pooled latents.

    Only the mean is size-intensive and so the same for every choice of cell. The projector
    normalises by layer, because BatchNorm would leak the batch from one view to the other.

    Parameters
    ----------
    latent_dim : int
    temperature : float
    """

    def __init__(self, latent_dim: int, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature
        self.projector = nn.Sequential(
            nn.Linear(latent_dim, 128), nn.LayerNorm(128), nn.SiLU(), nn.Linear(128, 64)
        )

    def forward(self, first: Tensor, second: Tensor, formula: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and how often the second view is the nearest of all second views to the first.

        Parameters
        ----------
        first, second : (n_crystals, latent_dim)
            Mean-pooled latents of the two views.
        formula : (n_crystals,) int64
            Number of the reduced formula.
        """
        a, b = self.projector(first), self.projector(second)
        with torch.no_grad():
            similarity = nn.functional.normalize(a, dim=1) @ nn.functional.normalize(b, dim=1).T
            hit = similarity.argmax(1) == torch.arange(len(a), device=a.device)
        return nt_xent(a, b, formula, self.temperature), hit.float().mean()
