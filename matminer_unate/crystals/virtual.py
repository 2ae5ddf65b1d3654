"""Disordered crystals → graphs in which every element of a site counts with its occupancy."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.arrangement import EXCLUSION
from matminer_unate.crystals.given_sites import GivenSites
from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.crystals.ordering import PartialSites, Resolution
from matminer_unate.crystals.structures import CrystalArrays

LEAST_OCCUPANCY = 1e-6
"""Elements with less of a site are not there."""


class VirtualCrystal:
    """The average of a disordered crystal: each element of a site is a partial site of its own.

    Attributes
    ----------
    given : PartialSites
    lattice : (3, 3), Å
    frac_coords : (n_partial, 3)
    atomic_numbers : (n_partial,) int64
    occupancy : (n_partial,) float32
    site : (n_partial,) int64
        Which of the given sites each is part of.
    """

    resolution: Resolution = "average"

    def __init__(self, given: PartialSites) -> None:
        self.given = given
        self.site, element = np.nonzero(given.occupancy > LEAST_OCCUPANCY)
        self.lattice = given.lattice
        self.atomic_numbers = np.array(given.elements, dtype=np.int64)[element]
        self.occupancy = given.occupancy[self.site, element].astype(np.float32)
        self.frac_coords = given.frac_coords[self.site]

    @property
    def arrays(self) -> CrystalArrays:
        """Lattice, fractional coordinates and atomic numbers of the partial sites."""
        return self.lattice, self.frac_coords, self.atomic_numbers

    @cached_property
    def given_sites(self) -> GivenSites:
        """For each site stand its own partial sites."""
        kind = np.arange(len(self.given.frac_coords))
        return GivenSites(self.given.contents(), kind, self.site, self.occupancy.astype(np.float64))

    def graph(self, cutoff: float) -> RadiusGraph:
        """Its radius graph; ``cutoff`` is in Å.

        Partial sites have an edge where their sites have one, and so none within one site, but for
        its images in other cells. Partly occupied sites within 1 Å of each other are two positions
        of one atom, and have none either.

        Raises
        ------
        StructureError
            As :func:`~matminer_unate.crystals.graph.radius_graph`, of the sites.
        """
        first = np.unique(self.site, return_index=True)[1]
        parts = np.diff(np.append(first, len(self.site)))
        whole = np.add.reduceat(self.occupancy, first) > 1 - LEAST_OCCUPANCY
        places = self.frac_coords[first]
        # Of the elements, only which sites are alike would matter, and that only for messages.
        graph = radius_graph(self.lattice, places, self.atomic_numbers[first], cutoff)
        source, target = graph.edge_index
        near = np.linalg.norm(graph.edge_vector, axis=1) < EXCLUSION
        kept = np.flatnonzero(~near | whole[source] | whole[target])
        edge, a, b = _pairs(parts[target[kept]], parts[source[kept]])
        edge = kept[edge]
        partial = np.stack([first[source[edge]] + b, first[target[edge]] + a])
        order = np.argsort(partial[1], kind="stable")
        edge = edge[order]
        return replace(
            graph,
            atomic_numbers=self.atomic_numbers,
            edge_index=partial[:, order],
            edge_vector=graph.edge_vector[edge],
            edge_image=graph.edge_image[edge],
            occupancy=self.occupancy,
        )


def _pairs(
    rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """For each k all pairs (a < rows[k], b < columns[k]): k, a and b of each pair."""
    sizes = rows * columns
    number = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(number)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    a, b = np.divmod(within, columns[number])
    return number, a, b
