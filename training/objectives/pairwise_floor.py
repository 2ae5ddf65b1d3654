"""How much of a pairwise adjacency loss can be learned at all?"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corpora.batches import CleanBatch
from corpora.corpus import Corpus
from objectives.pair_adjacency import constant_losses, crystal_mean, pair_weights
from objectives.pair_targets import Form, pair_targets, site_pairs


def pairwise_floor(
    form: Form, corpus: Corpus, members: NDArray[np.int64], tolerance: float = 0.02
) -> dict[str, float]:
    """Smallest loss of ``PairAdjacency`` that embeddings of clean crystals can reach.

    Equivalent sites have equal embeddings, so all pairs of one pair of orbits get one prediction
    (and their diagonal another); the best one is their average. Sites count as equivalent when
    their species and their standardised descriptors agree.

    Parameters
    ----------
    form : {"multiplicity", "bond", "pair-rdf"}
    corpus : Corpus
    members : (n,) int64
        Crystals to measure on; a few hundred are enough.
    tolerance : float
        Largest difference of any descriptor between equivalent sites, in standard deviations.

    Returns
    -------
    dict
        ``floor``, ``marginal`` (the loss of the best constant prediction for each crystal) and
        ``skill``, the largest ``adjacency_skill`` there can be: 1 − floor/marginal.
    """
    # Where a descriptor is the same everywhere, standardisation leaves rounding errors only.
    informative = torch.from_numpy(corpus.scales["descriptors"][1] > 1e-4)
    sums = np.zeros(2)
    for start in range(0, len(members), 64):
        chunk = members[start : start + 64]
        batch = corpus.batch(chunk)
        first, second = site_pairs(batch)
        target = pair_targets(form, batch, corpus.cutoff)
        weight = pair_weights(form, target)
        crystal = batch.crystal[first]
        orbit = equivalent_sites(batch, batch.descriptors[:, informative], tolerance)
        key = (orbit[first] * len(orbit) + orbit[second]) * 2 + (first == second)
        alike = torch.unique(key, return_inverse=True)[1]
        for k, group in enumerate((alike, crystal)):
            losses = constant_losses(form, target, weight, group)
            sums[k] += crystal_mean(losses, weight, crystal).item() * len(chunk)
    floor, marginal = (sums / max(len(members), 1)).tolist()
    return {"floor": floor, "marginal": marginal, "skill": 1 - floor / max(marginal, 1e-9)}


def equivalent_sites(batch: CleanBatch, descriptors: Tensor, tolerance: float) -> Tensor:
    """For every site the first site of its crystal that is equivalent to it, (n_sites,) int64."""
    parts = []
    for start, end in batch.site_start.unfold(0, 2, 1).tolist():
        z, vectors = batch.z[start:end], descriptors[start:end]
        alike = torch.cdist(vectors, vectors, p=float("inf")) <= tolerance
        alike &= z.unsqueeze(0) == z.unsqueeze(1)
        parts.append(start + alike.int().argmax(1))
    return torch.cat(parts)
