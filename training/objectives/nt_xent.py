"""NT-Xent: two views of one crystal belong together, other crystals apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from objectives.projector import ProjectedContrast


def nt_xent(
    first: Tensor,
    second: Tensor,
    group: Tensor,
    temperature: float,
    hard: Tensor | None = None,
    hard_weight: float = 1.0,
) -> Tensor:
    """Normalised-temperature cross-entropy over the 2B views of a batch.

    For anchor a with positive p, −log exp(s_ap/τ) / Σ_{k≠a} w_ak exp(s_ak/τ), s the cosine
    similarity. Views of other crystals in the anchor's group (here: the same reduced formula, so
    polymorphs and missed duplicates) are no negatives and leave the sum.

    Parameters
    ----------
    first, second : (B, d)
        Projections of the two views, row by row of the same crystal.
    group : (B,) int64
    temperature : float
        τ.
    hard : (B,) int64, optional
        A second grouping (here: the chemical system), coarser than the first. Negatives of the
        anchor's own such group count ``hard_weight`` times (w_ak), all other terms once.

    References
    ----------
    Chen et al., "A simple framework for contrastive learning of visual representations",
    arXiv:2002.05709, equation 1. Weighted negatives: Robinson et al., arXiv:2010.04592, equation 4.
    """
    n = len(first)
    views = nn.functional.normalize(torch.cat([first, second]), dim=1)
    logits = views @ views.T / temperature
    index = torch.arange(2 * n, device=views.device)
    positive = (index + n) % (2 * n)
    groups = group.repeat(2)
    excluded = groups.unsqueeze(1) == groups.unsqueeze(0)
    excluded[index, positive] = False
    if hard is not None and hard_weight != 1:
        hards = hard.repeat(2)
        near = hards.unsqueeze(1) == hards.unsqueeze(0)
        near[index, positive] = False
        logits = torch.where(near, logits + math.log(hard_weight), logits)
    return nn.functional.cross_entropy(logits.masked_fill(excluded, float("-inf")), positive)


class NTXent(ProjectedContrast):
    """NT-Xent loss of two views' projections.

    Parameters
    ----------
    latent_dim : int
    temperature : float
    hard_weight : float
        How many negatives one of the same chemical system counts for.
    """

    def __init__(self, latent_dim: int, temperature: float = 0.1, hard_weight: float = 1.0) -> None:
        super().__init__(latent_dim)
        if temperature <= 0 or hard_weight <= 0:
            raise ValueError(
                f"temperature and hard_weight are positive, got {temperature} and {hard_weight}"
            )
        self.temperature, self.hard_weight = temperature, hard_weight

    def loss(self, first: Tensor, second: Tensor, formula: Tensor, system: Tensor) -> Tensor:
        return nt_xent(first, second, formula, self.temperature, system, self.hard_weight)
