"""What every training of the network shares: learning rate, weight decay, moving average."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def one_cycle(done: float, warmup: float) -> float:
    """Share of the peak learning rate: half a cosine up, half a cosine down.

    Parameters
    ----------
    done : float
        Finished share of the training.
    warmup : float
        Share of the training in which the rate rises.
    """
    if done < warmup:
        phase = math.pi * (1.0 - (done + 1e-3) / (warmup + 1e-3))
    else:
        phase = math.pi * (done - warmup) / (1.0 - warmup)
    return 0.5 * (1.0 + math.cos(phase))


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether AdamW decays a parameter: not vectors (biases, norms), not the species embedding."""
    return parameter.ndim > 1 and ".species." not in name


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move an average of the parameters on.

    ``torch.optim.swa_utils.AveragedModel`` wants the same decay at all steps.
    """
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, 1.0 - decay)
