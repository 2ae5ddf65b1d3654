"""Radius graphs → batches of bounded size.

Batches are filled by edges, because edges are what costs time and memory: ten crystals of five
sites and one of fifty are about the same work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.graph import RadiusGraph

if TYPE_CHECKING:
    import torch


Item = TypeVar("Item")


@dataclass
class GraphBatch:
    """Several graphs as one, with the attributes the encoder reads (as a PyG ``Batch`` has them).

    Attributes
    ----------
    z : (n_sites,) int64 Tensor
    edge_index : (2, n_edges) int64 Tensor
        Source and target, numbered through the batch.
    edge_vector : (n_edges, 3) float32 Tensor, Å
    site_start : (n_graphs + 1,) int64 array
        Graph g owns the sites ``site_start[g]`` to ``site_start[g + 1] - 1``.
    occupancy : (n_sites,) float32 Tensor or None
        None if all are 1.
    """

    z: torch.Tensor
    edge_index: torch.Tensor
    edge_vector: torch.Tensor
    site_start: NDArray[np.int64]
    occupancy: torch.Tensor | None = None

    def to(self, device: torch.device) -> GraphBatch:
        return GraphBatch(
            self.z.to(device),
            self.edge_index.to(device),
            self.edge_vector.to(device),
            self.site_start,
            None if self.occupancy is None else self.occupancy.to(device),
        )


def collate(graphs: Sequence[RadiusGraph]) -> GraphBatch:
    """Join graphs into one batch."""
    import torch

    site_start = np.concatenate([[0], np.cumsum([g.n_sites for g in graphs])]).astype(np.int64)
    index = [g.edge_index + start for g, start in zip(graphs, site_start[:-1], strict=True)]
    occupancy = None
    if any(g.occupancy is not None for g in graphs):
        shares = [np.ones(g.n_sites, "f4") if g.occupancy is None else g.occupancy for g in graphs]
        occupancy = torch.from_numpy(np.concatenate(shares))
    return GraphBatch(
        z=torch.from_numpy(np.concatenate([g.atomic_numbers for g in graphs])),
        edge_index=torch.from_numpy(np.concatenate(index, axis=1)),
        edge_vector=torch.from_numpy(np.concatenate([g.edge_vector for g in graphs])),
        site_start=site_start,
        occupancy=occupancy,
    )


def fill_batches(
    items: Iterable[tuple[Item, RadiusGraph]], max_edges: int
) -> Iterator[list[tuple[Item, RadiusGraph]]]:
    """Group graphs, in order, into lists of at most ``max_edges`` edges.

    A graph with more edges than that is a batch of its own; the encoder then works through it in
    chunks. Graphs are drawn from ``items`` only as far as the present batch needs.
    """
    batch: list[tuple[Item, RadiusGraph]] = []
    n_edges = 0
    for item, graph in items:
        if batch and n_edges + graph.n_edges > max_edges:
            yield batch
            batch, n_edges = [], 0
        batch.append((item, graph))
        n_edges += graph.n_edges
    if batch:
        yield batch
