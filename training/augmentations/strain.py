"""Strain: deform every cell a little."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def random_strains(n: int, sigma: float, generator: Any) -> Tensor:
    """Symmetric strains (n, 3, 3); every one of their six components has deviation ``sigma``."""
    half = torch.randn(n, 3, 3, generator=generator, device=generator.device) * sigma
    upper = half.triu(1)
    return torch.diag_embed(half.diagonal(dim1=1, dim2=2)) + upper + upper.transpose(1, 2)
