"""Edge drop: remove undirected edges, an edge and its reverse together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from corpora.batches import CleanBatch


def drop_edges(batch: CleanBatch, share: float, generator: Any) -> Tensor:
    """Edges to remove, (n_edges,) bool."""
    n_pairs = int(batch.edge_pair.max()) + 1 if len(batch.edge_pair) else 0
    dropped = torch.rand(n_pairs, generator=generator, device=generator.device) < share
    return dropped[batch.edge_pair]
