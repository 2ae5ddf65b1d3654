"""Barlow Twins: two views agree component by component, and components do not repeat each other."""

from __future__ import annotations

from torch import Tensor

from objectives.projector import ProjectedContrast


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


class BarlowTwins(ProjectedContrast):
    """Barlow Twins loss of two views' projections.

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

    def __init__(self, latent_dim: int, redundancy: float = 0.0051) -> None:
        super().__init__(latent_dim)
        self.redundancy = redundancy

    def loss(self, first: Tensor, second: Tensor, formula: Tensor, system: Tensor) -> Tensor:
        return barlow_twins(first, second, self.redundancy)
