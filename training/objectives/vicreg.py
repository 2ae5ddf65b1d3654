"""VICReg: views agree, components keep their variance and do not covary."""

from __future__ import annotations

from torch import Tensor, nn

from objectives.projector import ProjectedContrast


def vicreg(
    first: Tensor, second: Tensor, invariance: float, variance: float, covariance: float
) -> Tensor:
    """Weighted sum of three terms of projections (B, d).

    Invariance: mean squared difference of the views. Variance: how far the standard deviation of a
    component falls short of 1, mean over components and views. Covariance: squares of the
    off-diagonal covariances over d, summed over the views. The means over components and views are
    those with which the published weights go.
    """
    n, d = first.shape
    loss = invariance * nn.functional.mse_loss(first, second)
    for v in (first, second):
        centred = v - v.mean(0)
        matrix = centred.T @ centred / max(n - 1, 1)
        deviation = (matrix.diagonal() + 1e-4).sqrt()
        loss = loss + variance / 2 * nn.functional.relu(1 - deviation).mean()
        off_diagonal = matrix.square().sum() - matrix.diagonal().square().sum()
        loss = loss + covariance * off_diagonal / d
    return loss


class VICReg(ProjectedContrast):
    """VICReg loss of two views' projections.

    Parameters
    ----------
    latent_dim : int
    invariance, variance, covariance : float
        Weights; the defaults are those of the paper.

    References
    ----------
    Bardes et al., "VICReg: variance-invariance-covariance regularization for self-supervised
    learning", arXiv:2105.04906, equations 1 to 6.
    """

    def __init__(
        self,
        latent_dim: int,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
    ) -> None:
        super().__init__(latent_dim)
        self.weights = (invariance, variance, covariance)

    def loss(self, first: Tensor, second: Tensor, formula: Tensor, system: Tensor) -> Tensor:
        return vicreg(first, second, *self.weights)
