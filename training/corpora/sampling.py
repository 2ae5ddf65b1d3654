"""The order in which an epoch goes through the crystals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from corpora.corpus import Corpus


def epoch_batches(
    corpus: Corpus, max_edges: int, rng: np.random.Generator, grouped_share: float = 0.5
) -> list[NDArray[np.int64]]:
    """Cut one epoch into batches of at most ``max_edges`` edges, every crystal once.

    A crystal with more edges than that is a batch of its own. A crystal of one site never is, as
    batch normalisation needs two: its batch may be larger.

    A share of the crystals comes in groups of up to four of one chemical system, so that each batch
    holds hard negatives: crystals that differ in structure or stoichiometry only.
    """
    order = rng.permutation(len(corpus))
    n_grouped = round(grouped_share * len(order))
    grouped = order[:n_grouped]
    grouped = grouped[np.argsort(corpus.chemical_system[grouped], kind="stable")]
    system = corpus.chemical_system[grouped]
    # A new unit starts with each chemical system and after every fourth member of one.
    first = np.diff(system, prepend=-1) != 0
    rank = np.arange(len(system)) - np.maximum.accumulate(
        np.where(first, np.arange(len(system)), 0)
    )
    cuts = np.flatnonzero(rank % 4 == 0)[1:]
    units = [
        part
        for unit in (np.split(grouped, cuts) if len(grouped) else [])
        for part in ([unit] if corpus.n_edges[unit].sum() <= max_edges else unit[:, None])
    ]
    units += list(order[n_grouped:, None])
    batches: list[NDArray[np.int64]] = []
    current: list[NDArray[np.int64]] = []
    n_edges = 0
    for k in rng.permutation(len(units)):
        size = int(corpus.n_edges[units[k]].sum())
        if n_edges + size > max_edges and sum(corpus.n_sites[u].sum() for u in current) > 1:
            batches.append(np.concatenate(current))
            current, n_edges = [], 0
        current.append(units[k])
        n_edges += size
    last = np.concatenate(current)
    if batches and corpus.n_sites[last].sum() < 2:
        batches[-1] = np.concatenate([batches[-1], last])
    else:
        batches.append(last)
    return batches
