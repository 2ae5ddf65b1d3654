"""Rows of all processes, with gradients."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather


def gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Concatenate (n, …) tensors over all processes, n differing, in the order of the processes.

    Gradients flow back to the process a row came from, summed over the processes that used it. As
    DistributedDataParallel averages gradients over processes, a loss that every process computes
    over all rows then has the gradients of one process with all rows. Without a process group, or
    in a group of one, the tensors come back as they are.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensors
    sizes = torch.zeros(dist.get_world_size(), dtype=torch.long, device=tensors[0].device)
    sizes[dist.get_rank()] = len(tensors[0])
    dist.all_reduce(sizes)
    return tuple(_gather(t, sizes.tolist()) for t in tensors)


def _gather(values: Tensor, sizes: list[int]) -> Tensor:
    # The collectives want equal shapes: pad to the longest, cut afterwards.
    padding = values.new_zeros(max(sizes) - len(values), *values.shape[1:])
    padded = torch.cat([values, padding])
    if values.requires_grad:
        parts = list(all_gather(padded))
    else:
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
    return torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)])
