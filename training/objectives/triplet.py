"""Triplet loss with hard negatives: nearer to one's other view than to any other crystal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from objectives.projector import ProjectedContrast


def triplet(
    first: Tensor, second: Tensor, formula: Tensor, system: Tensor, margin: float
) -> Tensor:
    """max(0, |a − p| − |a − n| + margin) on the unit sphere, averaged over anchors.

    Anchors are the first views. The negative of one is the nearest second view of another formula:
    of the same chemical system if the batch has any, else of all. Anchors without a negative do not
    count.

    Parameters
    ----------
    first, second : (B, d)
        Projections of the two views, row by row of the same crystal.
    formula, system : (B,) int64
    margin : float
        Between 0 and 2, the diameter of the sphere.
    """
    a, b = (nn.functional.normalize(v, dim=1) for v in (first, second))
    # Distances by way of the matrix product lose all digits between near views.
    distance = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    other = formula.unsqueeze(1) != formula.unsqueeze(0)
    hard = other & (system.unsqueeze(1) == system.unsqueeze(0))
    allowed = torch.where(hard.any(1, keepdim=True), hard, other)
    some = allowed.any(1)
    # Larger than any distance, and finite: the rows without a negative must not give NaN.
    negative = distance.masked_fill(~allowed, 4.0).amin(1)
    each = nn.functional.relu(distance.diagonal() - negative + margin)
    return (each * some).sum() / some.sum().clamp(min=1)


class Triplet(ProjectedContrast):
    """Triplet loss of two views' projections.

    Parameters
    ----------
    latent_dim : int
    margin : float

    References
    ----------
    Schroff et al., "FaceNet", arXiv:1503.03832, equation 3. Named in UNATE (arXiv:2605.25866) as
    not tried.
    """

    def __init__(self, latent_dim: int, margin: float = 0.5) -> None:
        super().__init__(latent_dim)
        self.margin = margin

    def loss(self, first: Tensor, second: Tensor, formula: Tensor, system: Tensor) -> Tensor:
        return triplet(first, second, formula, system, self.margin)
