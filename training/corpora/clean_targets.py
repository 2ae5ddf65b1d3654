"""Targets that are computed from the clean crystal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from corpora.shares import WHOLE, Share
from matminer_unate.crystals.graph import RadiusGraph

SKIN = 0.4
"""Å added to the cutoff of the cached lists: covers a strain of 2 % and two shifts of 0.15 Å."""

RDF_CENTRES = np.linspace(1.5, 4.5, 8)
RDF_WIDTH = 0.4
"""Å. Radial channels of the site-to-species adjacency target."""

ROWS, COLUMNS = 10_000, 8
"""Of which float64 numbers are made at once; with two columns or more, sums are the same to the
last bit."""


def species_rdf(graph: RadiusGraph, slot: NDArray[np.int64], cutoff: float) -> NDArray[np.float32]:
    """Site-to-species adjacency: log(1 + soft neighbour counts), (n_sites · n_species, 8).

    For site i, species b and radial channel k: log(1 + Σ_{j∈b} φ_k(d_ij) f_c(d_ij)) over all
    images. Unlike an adjacency matrix of the cell, it is the same for every choice of cell.
    """
    source, target = graph.edge_index
    distance = np.linalg.norm(graph.edge_vector, axis=1)
    envelope = 0.5 * (np.cos(np.pi * np.minimum(distance / cutoff, 1.0)) + 1.0)
    radial = envelope[:, None] * np.exp(-(((distance[:, None] - RDF_CENTRES) / RDF_WIDTH) ** 2))
    n_species = int(slot.max()) + 1
    counts = np.zeros((graph.n_sites * n_species, len(RDF_CENTRES)))
    np.add.at(counts, target * n_species + slot[source], radial)
    return np.log1p(counts).astype(np.float32)


def undirected_pairs(graph: RadiusGraph) -> NDArray[np.int64]:
    """A number for each edge, shared by (i, j, T) and its reverse (j, i, −T)."""
    source, target = graph.edge_index
    rows = np.column_stack([source, target, graph.edge_image])
    reverse = np.column_stack([target, source, -graph.edge_image])
    # Of an edge and its reverse, the lexicographically smaller stands for both.
    difference = rows - reverse
    leading = difference[np.arange(len(rows)), (difference != 0).argmax(axis=1)]
    canonical = np.where((leading > 0)[:, None], reverse, rows)
    canonical -= canonical.min(axis=0, initial=0)
    spans = canonical.max(axis=0, initial=0) + 1
    key = np.ravel_multi_index(tuple(canonical.T), tuple(spans))
    return np.unique(key, return_inverse=True)[1]


Scale = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean and standard deviation of every component."""


def measure_scale(values: NDArray[np.float32], share: Share = WHOLE) -> Scale:
    """Mean and standard deviation of each column where it is not NaN, over all shares.

    Of a column that is known nowhere, 0 and 1.
    """
    if share.world > 1:
        count = np.maximum(share.total((~np.isnan(values)).sum(axis=0)), 1)
        mean = share.total(np.asarray(np.nansum(values, axis=0, dtype=np.float64))) / count
        squares = np.zeros(values.shape[1])
        for start in range(0, len(values), ROWS):
            squares += np.nansum((values[start : start + ROWS] - mean) ** 2, axis=0)
        variance = share.total(squares) / count
        spread = np.where(variance > 0, np.sqrt(variance), 1.0)
        return mean, spread
    # Rows without any are left out first: most often, a crystal has all or none.
    is_known = ~np.isnan(values).all(axis=1)
    known = values if is_known.all() else values[is_known]
    if not len(known):
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    mean, spread = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    # A deviation takes an array of float64 of its own: some columns at once.
    for start in range(0, known.shape[1], COLUMNS):
        columns = slice(start, start + COLUMNS)
        some = known[:, columns]
        if np.isnan(some).any():
            masked = np.ma.masked_invalid(some)
            mean[columns] = masked.mean(axis=0, dtype=np.float64).filled(0.0)
            spread[columns] = masked.std(axis=0, dtype=np.float64).filled(0.0)
        else:
            mean[columns] = some.mean(axis=0, dtype=np.float64)
            spread[columns] = some.std(axis=0, dtype=np.float64)
    return mean, np.where(spread > 0, spread, 1.0)


def standardise(
    values: NDArray[np.float32], scale: Scale, clip: float = 4.0
) -> NDArray[np.float32]:
    """Components to mean 0 and deviation 1, clipped at ``clip`` deviations; NaN stays."""
    mean, spread = scale
    found = np.empty(values.shape, np.float32)
    # Scales are float64, and so is what is computed with them: some rows at once.
    for start in range(0, len(values), ROWS):
        some = slice(start, start + ROWS)
        found[some] = np.clip((values[some] - mean) / spread, -clip, clip)
    return found
