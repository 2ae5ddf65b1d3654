"""Target regression: say from the corrupted view what was computed from the clean crystal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded


class TargetRegression(nn.Module):
    """Mean squared error of the encoder's predictions of standardised quantities.

    (1/|K|) Σ_{(i,k) ∈ K} (ŷ_ik − y_ik)² over the sites (or crystals) i and columns k whose target
    is known, not NaN. Targets come from the clean crystal with its true species, so under a mask
    this is denoising of the neighbour chemistry too.

    Parameters
    ----------
    field : str
        Field of the clean batch that holds the targets, a row a site.
    columns : slice
        Which of its columns.
    predicted : slice
        Which of the encoder's predictions answer them.
    of_crystals : bool
        The targets are of the crystal, the same at all of its sites, and each crystal counts once.

    References
    ----------
    Cheap descriptors as pretext targets: arXiv:2503.01227.
    """

    def __init__(
        self, field: str, columns: slice, predicted: slice, of_crystals: bool = False
    ) -> None:
        super().__init__()
        self.field, self.columns, self.predicted = field, columns, predicted
        self.of_crystals = of_crystals

    def forward(self, encoded: Encoded, batch: CleanBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss; nothing to log."""
        targets, found = getattr(batch, self.field)[:, self.columns], encoded.predicted
        if self.of_crystals:
            targets, found = targets[batch.site_start[:-1]], encoded.crystals
        known = ~targets.isnan()
        error = found[:, self.predicted] - torch.where(known, targets, 0.0)
        return (error.square() * known).sum() / known.sum().clamp(min=1), {}
