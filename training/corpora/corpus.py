"""Crystals → a corpus of cached graphs with clean targets.

A corpus holds the graph of every crystal once, with a skin, in flat arrays. Corrupted views are
made from it by moving atoms and dropping edges, so neighbour lists are never built again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from corpora.batches import CleanBatch
from corpora.clean_targets import (
    SKIN,
    Scale,
    measure_scale,
    species_rdf,
    standardise,
    undirected_pairs,
)
from corpora.crystal import Crystal
from corpora.shares import WHOLE, Share, stable_number
from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.errors import InputError
from matminer_unate.physics.site_descriptors import site_descriptors

FROM_FILES = ("tight_binding", "teacher")
"""Site targets that are computed beforehand, by ``training/teachers.py``."""

SiteTargets = Mapping[str, NDArray[np.float32]]
"""Site vectors (n_sites, k) of crystals by their identifiers."""


class Corpus:
    """Cached graphs and clean targets of many crystals.

    Parameters
    ----------
    crystals : sequence of Crystal
    cutoff : float
        Å.
    site_targets : mapping, optional
        Site vectors from files, ``{"tight_binding": …, "teacher": …}``, each a mapping of the
        crystals' identifiers to (n_sites, k) arrays; crystals that are missing stay unknown.
    share : Share
        Which of the crystals these are: means, deviations and counts are of all shares.
    like : Corpus, optional
        Standardise the targets with the means and deviations of this corpus, not with one's own.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    z : (n_sites,) int64
        Atomic numbers of all sites, crystal by crystal.
    n_sites, n_slots, n_edges : (n_crystals,) int64
        Sites, elements, and edges with skin of each crystal.
    site_start : (n_crystals + 1,) int64
    chemical_system : (n_crystals,) int64
    element_counts : (119,) int64
        Sites of each element, in all shares.
    n_in_all : int
        Crystals of all shares.
    """

    def __init__(
        self,
        crystals: Sequence[Crystal],
        cutoff: float,
        site_targets: Mapping[str, SiteTargets] | None = None,
        like: Corpus | None = None,
        progress: bool = True,
        share: Share = WHOLE,
    ) -> None:
        self.cutoff = cutoff
        arrays, sizes, raw = _describe(crystals, cutoff, progress)
        self.n_sites, self.n_slots, self.n_edges = sizes.T
        self.site_start = _starts(self.n_sites)
        self._edge_start = _starts(self.n_edges)
        self._rdf_start = _starts(self.n_sites * self.n_slots)
        self.z, self._slot = arrays["z"], arrays["slot"]
        self._edge_index, self._edge_vector = arrays["edge_index"], arrays["edge_vector"]
        self._edge_pair = arrays["edge_pair"]
        for name in FROM_FILES:
            known = (site_targets or {}).get(name, {})
            width = like.n_targets(name) if like else max(share.all_of(_width(known, crystals)))
            raw[name] = _look_up(known, crystals, width)
        self.scales: dict[str, Scale] = (
            like.scales if like else {name: measure_scale(v, share) for name, v in raw.items()}
        )
        self._known = {n: any(share.all_of(not np.isnan(v).all())) for n, v in raw.items()}
        self._targets = {n: standardise(raw.pop(n), self.scales[n]) for n in list(raw)}
        self._formula = np.array([stable_number(c.formula) for c in crystals])
        systems = ["-".join(map(str, np.unique(c.atomic_numbers))) for c in crystals]
        self.chemical_system = pd.factorize(np.array(systems))[0]
        self._system = np.array([stable_number(system) for system in systems])
        self._spacegroup = np.array([c.spacegroup_number for c in crystals])
        spacegroups = share.total(np.bincount(self._spacegroup, minlength=231))
        self.spacegroup_counts = torch.from_numpy(spacegroups)
        self.element_counts = share.total(np.bincount(self.z, minlength=119))
        self.n_in_all = int(share.total(np.array([len(crystals)]))[0])

    def __len__(self) -> int:
        return len(self.n_sites)

    def n_targets(self, name: str) -> int:
        """Length of one kind of site vectors: ``descriptors``, ``tight_binding``, ``teacher``."""
        return self._targets[name].shape[1]

    def knows(self, name: str) -> bool:
        """Whether any site of any share has targets of this kind."""
        return self._known[name]

    def batch(self, members: NDArray[np.int64]) -> CleanBatch:
        """Collect crystals by index into one batch."""
        n_sites, n_slots, n_edges = (a[members] for a in (self.n_sites, self.n_slots, self.n_edges))
        sites = _ranges(self.site_start[members], n_sites)
        edges = _ranges(self._edge_start[members], n_edges)
        site_start, slot_start = _starts(n_sites), _starts(n_slots)
        pair_start = _starts([self._edge_pair_count(m) for m in members])
        crystal = np.repeat(np.arange(len(members)), n_sites)
        slots_of_site = n_slots[crystal]
        arrays = {
            "z": self.z[sites],
            "crystal": crystal,
            "slot": self._slot[sites] + slot_start[crystal],
            "edge_index": self._edge_index[:, edges] + np.repeat(site_start[:-1], n_edges),
            "edge_vector": self._edge_vector[edges],
            "edge_pair": self._edge_pair[edges] + np.repeat(pair_start[:-1], n_edges),
            "descriptors": self._targets["descriptors"][sites],
            "tight_binding": self._targets["tight_binding"][sites],
            "teacher": self._targets["teacher"][sites],
            "pair_site": np.repeat(np.arange(len(sites)), slots_of_site),
            "pair_slot": _ranges(slot_start[crystal], slots_of_site),
            "pair_rdf": self._targets["rdf"][_ranges(self._rdf_start[members], n_sites * n_slots)],
            "slot_start": slot_start,
            "site_start": site_start,
            "formula": self._formula[members],
            "system": self._system[members],
            "spacegroup": self._spacegroup[members],
        }
        return CleanBatch(
            **{k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}
        )

    def _edge_pair_count(self, member: int) -> int:
        start = self._edge_start[member]
        return int(self._edge_pair[start : start + self.n_edges[member]].max(initial=-1)) + 1


def _describe(
    crystals: Sequence[Crystal], cutoff: float, progress: bool
) -> tuple[dict[str, NDArray], NDArray[np.int64], dict[str, NDArray[np.float32]]]:
    """Graphs with skin and the targets that follow from them.

    Returns
    -------
    arrays : dict
        ``z``, ``slot`` and ``edge_…`` of all crystals, one after the other.
    sizes : (n_crystals, 3) int64
        Sites, elements, and edges with skin.
    targets : dict
        ``descriptors`` (n_sites, 82) and ``rdf``, as :func:`species_rdf`.
    """
    parts = defaultdict[str, list[NDArray]](list)
    sizes = []
    bar = tqdm(range(0, len(crystals), 256), desc="graphs", unit_scale=256, disable=not progress)
    for start in bar:
        chunk = crystals[start : start + 256]
        skinned = [
            radius_graph(c.lattice, c.frac_coords, c.atomic_numbers, cutoff, SKIN) for c in chunk
        ]
        graphs = [_inside(g, cutoff) for g in skinned]
        parts["descriptors"].append(site_descriptors(graphs, [c.volume for c in chunk], cutoff))
        for wide, graph in zip(skinned, graphs, strict=True):
            _, slot = np.unique(graph.atomic_numbers, return_inverse=True)
            parts["z"].append(graph.atomic_numbers)
            parts["slot"].append(slot)
            parts["rdf"].append(species_rdf(graph, slot, cutoff))
            parts["edge_index"].append(wide.edge_index.astype(np.int32))
            parts["edge_vector"].append(wide.edge_vector)
            parts["edge_pair"].append(undirected_pairs(wide).astype(np.int32))
            sizes.append((graph.n_sites, slot.max() + 1, wide.n_edges))
    # One after the other: both all pieces and all arrays would take twice the memory.
    arrays = {k: np.concatenate(parts.pop(k), axis=int(k == "edge_index")) for k in list(parts)}
    targets = {name: arrays.pop(name) for name in ("descriptors", "rdf")}
    return arrays, np.array(sizes), targets


def _inside(graph: RadiusGraph, cutoff: float) -> RadiusGraph:
    # In float32 the length of a vector at exactly the cutoff can come out above it; without this
    # margin (the envelope is zero there) the site could be left with no edge at all.
    keep = np.linalg.norm(graph.edge_vector, axis=1) <= cutoff + 1e-5
    return RadiusGraph(
        graph.atomic_numbers,
        graph.edge_index[:, keep],
        graph.edge_vector[keep],
        graph.edge_image[keep],
        graph.n_isolated,
    )


def _width(site_targets: SiteTargets, crystals: Sequence[Crystal]) -> int:
    """Length of the site vectors of these crystals; 0 if none has any."""
    found = (site_targets.get(c.identifier) for c in crystals)
    return next((vectors.shape[1] for vectors in found if vectors is not None), 0)


def _look_up(
    site_targets: SiteTargets, crystals: Sequence[Crystal], width: int
) -> NDArray[np.float32]:
    """Vectors of all sites, (n_sites, width), NaN for crystals without."""
    found = [site_targets.get(c.identifier) for c in crystals]
    values = np.full((sum(len(c.atomic_numbers) for c in crystals), width), np.nan, np.float32)
    start = 0
    for crystal, vectors in zip(crystals, found, strict=True):
        end = start + len(crystal.atomic_numbers)
        if vectors is not None:
            if vectors.shape != (end - start, width):
                raise InputError(
                    f"site targets of {crystal.identifier}: shape {vectors.shape}, expected "
                    f"{(end - start, width)}; were they made from another version of the structure?"
                )
            values[start:end] = vectors
        start = end
    return values


def _starts(sizes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _ranges(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Concatenate start … start + size − 1 for every pair."""
    shift = starts - _starts(sizes)[:-1]
    return np.repeat(shift, sizes) + np.arange(int(np.sum(sizes)))
