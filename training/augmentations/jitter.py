"""Jitter: move every site by a Gaussian shift."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from corpora.batches import CleanBatch


def jitter(batch: CleanBatch, levels: tuple[float, ...], generator: Any) -> Tensor:
    """Displacements (n_sites, 3) in Å, with one standard deviation of ``levels`` a crystal."""
    device = generator.device
    pick = torch.rand(batch.n_crystals, generator=generator, device=device) * len(levels)
    sigma = torch.tensor(levels or (0.0,), device=device)
    sigma = sigma[pick.long().clamp(max=len(sigma) - 1)]
    shift = torch.randn(len(batch.z), 3, generator=generator, device=device)
    return shift * sigma[batch.crystal].unsqueeze(1)
