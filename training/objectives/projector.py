"""Parts that the losses of the contrastive branch share."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn


class Projector(nn.Sequential):
    """Pooled latent (g, latent_dim) → the vector that is contrasted, (g, n_out) float32.

    It normalises by layer, because BatchNorm would leak the batch from one view to the other.
    """

    def __init__(self, latent_dim: int, n_out: int = 64) -> None:
        super().__init__(
            nn.Linear(latent_dim, 128), nn.LayerNorm(128), nn.SiLU(), nn.Linear(128, n_out)
        )

    def forward(self, pooled: Tensor) -> Tensor:
        return super().forward(pooled).float()


def full_precision(tensor: Tensor) -> AbstractContextManager:
    """No autocast: a similarity over τ and a correlation need more digits than bfloat16 has."""
    return torch.autocast(tensor.device.type, enabled=False)


@torch.no_grad()
def contrast_metrics(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """Retrieval accuracy, alignment and uniformity of two views' projections, (g, d) each.

    ``retrieval_accuracy``: how often the second view is the nearest of all second views to the
    first. ``alignment`` E|a − b|² and ``uniformity`` log E exp(−2|a − a′|²) on the unit sphere: 0
    when all crystals have fallen onto one point, about −4 when they cover the sphere.

    References
    ----------
    Wang & Isola, arXiv:2005.10242, equations 1 and 2 (α = 2, t = 2).
    """
    a, b = (nn.functional.normalize(v.float(), dim=1) for v in (first, second))
    with full_precision(a):
        hit = (a @ b.T).argmax(1) == torch.arange(len(a), device=a.device)
    squared = torch.pdist(a).square()
    closeness = torch.exp(-2 * squared).mean() if len(squared) else squared.new_ones(())
    return {
        "retrieval_accuracy": hit.float().mean(),
        "alignment": (a - b).square().sum(1).mean(),
        "uniformity": closeness.log(),
    }
