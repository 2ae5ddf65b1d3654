"""Crystal-target regression: describe the whole clean crystal from the corrupted view."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from corpora import CleanBatch
from views import Encoded


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
