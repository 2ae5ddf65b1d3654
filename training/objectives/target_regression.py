"""Site-target regression: describe every site's clean surroundings from the corrupted view."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from corpora.batches import CleanBatch, Encoded


class CrystalTargetRegression(nn.Module):
    """Mean squared error of the encoder's predictions of standardised quantities of crystals.

    Unknown targets (NaN) are left out.

    Parameters
    ----------
    field : str
        Field of the clean batch that holds the targets, the same at all sites of a crystal.
    columns : slice
        Which of its columns.
    """

    def __init__(self, field: str, columns: slice) -> None:
        super().__init__()
        self.field, self.columns = field, columns

    def forward(self, encoded: Encoded, batch: CleanBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss; nothing to log."""
        targets = getattr(batch, self.field)[batch.site_start[:-1], self.columns]
        known = ~targets.isnan()
        error = encoded.crystals - torch.where(known, targets, 0.0)
        return (error.square() * known).sum() / known.sum().clamp(min=1), {}


class SiteTargetRegression(nn.Module):
    """Mean squared error of the encoder's predictions of standardised per-site targets.

    Targets come from the clean crystal with its true species, so under a mask this is denoising of
    the neighbour chemistry too. Unknown targets (NaN) are left out.

    Parameters
    ----------
    field : str
        Field of the clean batch that holds the targets.
    columns : slice
        Which of its columns.
    predicted : slice
        Which of the encoder's predictions answer them.

    References
    ----------
    Cheap descriptors as pretext targets: arXiv:2503.01227.
    """

    def __init__(self, field: str, columns: slice, predicted: slice) -> None:
        super().__init__()
        self.field, self.columns, self.predicted = field, columns, predicted

    def forward(self, encoded: Encoded, batch: CleanBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss; nothing to log."""
        targets = getattr(batch, self.field)[:, self.columns]
        known = ~targets.isnan()
        error = encoded.predicted[:, self.predicted] - torch.where(known, targets, 0.0)
        return (error.square() * known).sum() / known.sum().clamp(min=1), {}
