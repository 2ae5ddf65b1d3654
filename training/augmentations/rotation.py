"""Rotation: turn every crystal at random, for encoders that read directions in a fixed frame."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def random_rotations(n: int, generator: Any) -> Tensor:
    """Uniform random rotations from normalised Gaussian quaternions, (n, 3, 3)."""
    quaternion = torch.randn(n, 4, generator=generator, device=generator.device)
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=1).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
