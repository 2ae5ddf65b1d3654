"""Clean batch → pairs of sites and what joins them, for the pairwise forms of adjacency."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from corpora.batches import CleanBatch
from corpora.clean_targets import RDF_CENTRES, RDF_WIDTH
from matminer_unate.network.edge_features import envelope

Form = Literal["multiplicity", "bond", "pair-rdf"]

MOST_PARTNERS = 64
"""Sites of a cell up to which all pairs are decoded; above it, this many partners a site."""

SAME_DISTANCE = 0.01
"""Å. Neighbours no farther apart in distance than this count as one shell."""


def site_pairs(batch: CleanBatch) -> tuple[Tensor, Tensor]:
    """Ordered pairs of sites within each crystal, the diagonal included, 2 × (n_pairs,).

    In cells of more than ``MOST_PARTNERS`` sites every site meets itself and the next ones in the
    order of the file, cyclically.
    """
    size, partners = _sizes(batch)
    first = torch.arange(len(batch.z), device=batch.z.device).repeat_interleave(partners)
    start = partners.cumsum(0) - partners
    step = torch.arange(len(first), device=first.device) - start.repeat_interleave(partners)
    origin = batch.site_start[batch.crystal[first]]
    return first, origin + (first - origin + step) % size[first]


def pair_of_edge(batch: CleanBatch) -> tuple[Tensor, Tensor]:
    """For every clean edge j → i the row of the pair (i, j) in :func:`site_pairs`.

    Returns
    -------
    row : (n_edges,) int64
    listed : (n_edges,) bool
        Whether there is such a row; all are listed in cells of ``MOST_PARTNERS`` sites or fewer.
    """
    source, target = batch.edge_index
    size, partners = _sizes(batch)
    start = partners.cumsum(0) - partners
    step = (source - target) % size[target]
    return start[target] + step, step < partners[target]


def _sizes(batch: CleanBatch) -> tuple[Tensor, Tensor]:
    """Sites of the cell and listed partners of every site, (n_sites,) each."""
    size = batch.site_start.diff()[batch.crystal]
    return size, size.clamp(max=MOST_PARTNERS)


def pair_targets(form: Form, batch: CleanBatch, cutoff: float) -> Tensor:
    """Targets of all pairs (i, j) of the clean crystals.

    Parameters
    ----------
    form : {"multiplicity", "bond", "pair-rdf"}
        ``multiplicity``: images of j among the 12 nearest neighbours of i, at most 5; (n_pairs,)
        int64. Neighbours at the distance of the twelfth, to 0.01 Å, all count, as a choice among
        them would be arbitrary; a site with fewer in its list has only these. ``bond``: 1 if some
        image of j is within 1.2 times the smaller of both nearest-neighbour distances, else 0;
        (n_pairs,). ``pair-rdf``: log(1 + Σ_T φ_k(d_ijT) f_c(d_ijT)) over the images T of j, with
        the radial channels of ``corpora.clean_targets.species_rdf``; (n_pairs, 8).
    cutoff : float
        Å; of the envelope f_c.
    """
    source, target = batch.edge_index
    distance = batch.edge_vector.norm(dim=1)
    row, listed = pair_of_edge(batch)
    n_pairs = int(_sizes(batch)[1].sum())
    if form == "pair-rdf":
        centres = torch.as_tensor(RDF_CENTRES, dtype=distance.dtype, device=distance.device)
        radial = torch.exp(-(((distance.unsqueeze(1) - centres) / RDF_WIDTH) ** 2))
        radial = radial * envelope(distance, cutoff).unsqueeze(1)
        total = radial.new_zeros(n_pairs, len(centres))
        return total.index_add(0, row[listed], radial[listed]).log1p()
    if form == "bond":
        nearest = kth_distance(batch, 1)
        joined = distance <= 1.2 * torch.minimum(nearest[source], nearest[target]) + 1e-4
        return (torch.bincount(row[listed & joined], minlength=n_pairs) > 0).to(distance.dtype)
    joined = distance <= kth_distance(batch, 12)[target] + SAME_DISTANCE
    return torch.bincount(row[listed & joined], minlength=n_pairs).clamp(max=5)


def kth_distance(batch: CleanBatch, k: int) -> Tensor:
    """Distance (n_sites,), Å, of the k-th nearest neighbour; of the last where there are fewer."""
    target, distance = batch.edge_index[1], batch.edge_vector.norm(dim=1)
    order = torch.argsort(distance)
    order = order[torch.argsort(target[order], stable=True)]  # by site, then by distance
    count = torch.bincount(target, minlength=len(batch.z))
    last = count.cumsum(0) - count + count.clamp(max=k) - 1
    result = distance.new_zeros(len(count))
    some = count > 0
    result[some] = distance[order[last[some]]]
    return result
