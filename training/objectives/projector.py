"""Parts that the losses of the contrastive branch share."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded
from objectives.gather import gather_rows


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


class ProjectedContrast(nn.Module):
    """Projector, and a loss of the projections of two views, which a subclass gives.

    Latents are pooled by the mean, which alone is size-intensive and so the same for every choice
    of cell. In training the loss is taken over the crystals of all processes; what is logged is of
    one's own.

    Parameters
    ----------
    latent_dim : int
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.projector = Projector(latent_dim)

    def forward(
        self, first: Encoded, second: Encoded, batch: CleanBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss; retrieval accuracy, alignment and uniformity."""
        a, b = self.projector(first.pooled), self.projector(second.pooled)
        metrics = contrast_metrics(a, b)
        formula, system = batch.formula, batch.system
        if self.training:
            # Formulas and systems have the same numbers in all processes.
            a, b, formula, system = gather_rows(a, b, formula, system)
        with full_precision(a):
            return self.loss(a, b, formula, system), metrics

    def loss(self, first: Tensor, second: Tensor, formula: Tensor, system: Tensor) -> Tensor:
        """Loss of projections (g, n_out) of crystals whose formulas and systems are numbered."""
        raise NotImplementedError


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
