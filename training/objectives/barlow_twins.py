"""Barlow Twins: two views agree component by component, and components do not repeat each other."""

from __future__ import annotations

from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded
from objectives.gather import gather_rows
from objectives.projector import Projector, contrast_metrics, full_precision


def barlow_twins(first: Tensor, second: Tensor, redundancy: float) -> Tensor:
    """Σ_i (1 − C_ii)² + λ Σ_{i≠j} C_ij² of projections (B, d).

    C_ij is the correlation over the batch of component i of the first view with component j of the
    second, λ the weight of ``redundancy``.
    """
    a, b = ((v - v.mean(0)) * (v.var(0, correction=0) + 1e-8).rsqrt() for v in (first, second))
    correlation = a.T @ b / len(first)
    diagonal = correlation.diagonal()
    others = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy * others


class BarlowTwins(nn.Module):
    """Projector and Barlow Twins loss on mean-pooled latents.

    The correlations are taken over the crystals of all processes in training.

    Parameters
    ----------
    latent_dim : int
    redundancy : float
        λ; the default is that of the paper and of CrysAtom (arXiv:2409.04737).

    References
    ----------
    Zbontar et al., "Barlow Twins: self-supervised learning via redundancy reduction",
    arXiv:2103.03230, equations 1 and 2.
    """

    negatives_by_permutation = False

    def __init__(self, latent_dim: int, redundancy: float = 0.0051) -> None:
        super().__init__()
        self.redundancy = redundancy
        self.projector = Projector(latent_dim)

    def forward(
        self, first: Encoded, second: Encoded, batch: CleanBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss; retrieval accuracy, alignment and uniformity."""
        a, b = self.projector(first.pooled), self.projector(second.pooled)
        metrics = contrast_metrics(a, b)
        if self.training:
            a, b = gather_rows(a, b)
        with full_precision(a):
            return barlow_twins(a, b, self.redundancy), metrics
