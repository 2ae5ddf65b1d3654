"""Edge rewiring: let edges end at a wrong site of the same crystal."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from corpora.batches import CleanBatch


def rewire_edges(batch: CleanBatch, share: float, generator: Any) -> tuple[Tensor, Tensor]:
    """Give a share of the undirected edges another end, their vectors unchanged.

    Of i ← j (vector r) and its reverse j ← i (vector −r), site j becomes a random site k of the
    crystal in both. Named in UNATE (arXiv:2605.25866) as an augmentation that was not tried.

    Returns
    -------
    edge_index : (2, n_edges) int64
    rewired : (n_edges,) bool
        Edges with another end than before.
    """
    device = generator.device
    pair, n_edges = batch.edge_pair, len(batch.edge_pair)
    n_pairs = int(pair.max()) + 1 if n_edges else 0
    chosen = torch.rand(n_pairs, generator=generator, device=device) < share
    draw = torch.rand(n_pairs, generator=generator, device=device)[pair]
    crystal = batch.crystal[batch.edge_index[1]]
    size = batch.site_start.diff()[crystal]
    # Drawn a pair, so that an edge and its reverse agree.
    other = batch.site_start[crystal] + (draw * size).long()
    position = torch.arange(n_edges, device=device)
    first = torch.full((n_pairs,), n_edges, device=device).scatter_reduce(0, pair, position, "amin")
    leading = position == first[pair]
    source, target = batch.edge_index
    new_source = torch.where(chosen[pair] & leading, other, source)
    new_target = torch.where(chosen[pair] & ~leading, other, target)
    rewired = (new_source != source) | (new_target != target)
    return torch.stack([new_source, new_target]), rewired
