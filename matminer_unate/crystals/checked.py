"""One crystal, taken apart and checked once, for all that describe it."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any, Self

import numpy as np

from matminer_unate.crystals.checks import check_crystal
from matminer_unate.crystals.formula import (
    Counts,
    averaged_formula,
    reduced_counts,
    written_formula,
)
from matminer_unate.crystals.given_sites import GivenSites
from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.crystals.lattice import cell_heights
from matminer_unate.crystals.ordering import (
    Disorder,
    OrderedCrystal,
    Resolution,
    ordered_crystal,
    partial_sites,
)
from matminer_unate.crystals.structures import CrystalArrays, crystal_arrays, structure_of
from matminer_unate.crystals.symmetry import primitive_cell, symmetry_of
from matminer_unate.crystals.virtual import VirtualCrystal
from matminer_unate.errors import StructureError


class CheckedCrystal:
    """A crystal whose arrays are checked; the rest is found when it is asked for, and kept.

    Parameters
    ----------
    structure
        As for :func:`~matminer_unate.crystals.structures.crystal_arrays`.
    disorder : {"raise", "ordered", "average"}
        Whether a disordered one is an error, or replaced as by
        :func:`~matminer_unate.crystals.ordering.ordered_structure`, or by its
        :class:`~matminer_unate.crystals.virtual.VirtualCrystal`; of the last only the graph, the
        formula and the atomic numbers can be asked for.

    Attributes
    ----------
    lattice : (3, 3) float64, Å
        Lattice vectors as rows.
    frac_coords : (n_sites, 3) float64
    atomic_numbers : (n_sites,) int64
    resolution : str
        What was done to a disordered one; empty if it was ordered already.
    keeps_graphs : bool
        Whether graphs are kept, which take 50 bytes an edge; without, each is built anew.

    Raises
    ------
    StructureError
        As :func:`~matminer_unate.crystals.structures.crystal_arrays`, or as
        :func:`~matminer_unate.crystals.ordering.ordered_structure`.
    """

    def __init__(self, structure: Any, disorder: Disorder = "raise") -> None:
        self.resolution: Resolution = ""
        self._instead: OrderedCrystal | VirtualCrystal | None = None
        if disorder == "raise":
            arrays = crystal_arrays(structure)
        else:
            arrays = self._whole_or_instead(structure, disorder)
        self.lattice, self.frac_coords, self.atomic_numbers = arrays
        self.keeps_graphs = True
        self._graphs: dict[float, RadiusGraph] = {}
        self._is_sound = False

    def __getstate__(self) -> dict[str, Any]:
        # Copies, as another thread may find out more while this one is pickled.
        return {**self.__dict__, "_graphs": dict(self._graphs)}

    @classmethod
    def of(cls, structure: Any, disorder: Disorder = "raise") -> Self:
        """The same object, if it is one already."""
        return structure if isinstance(structure, cls) else cls(structure, disorder)

    def __len__(self) -> int:
        return len(self.atomic_numbers)

    @property
    def arrays(self) -> CrystalArrays:
        """Lattice, fractional coordinates and atomic numbers."""
        return self.lattice, self.frac_coords, self.atomic_numbers

    def _whole_or_instead(self, structure: Any, disorder: Disorder) -> CrystalArrays:
        given, arrays = structure_of(structure)
        if arrays is not None:
            return arrays
        sites = partial_sites(given)
        ordered = disorder == "ordered"
        self._instead = ordered_crystal(sites) if ordered else VirtualCrystal(sites)
        self.resolution = self._instead.resolution
        return self._instead.arrays

    @property
    def _virtual(self) -> VirtualCrystal | None:
        return self._instead if isinstance(self._instead, VirtualCrystal) else None

    @property
    def given_sites(self) -> GivenSites | None:
        """The sites of a disordered one as they were given; None of an ordered one.

        Raises
        ------
        StructureError
            As :attr:`~matminer_unate.crystals.ordering.OrderedCrystal.given_sites`.
        """
        return None if self._instead is None else self._instead.given_sites

    @property
    def n_given(self) -> int:
        """Sites of the crystal as it was given."""
        return len(self) if self._instead is None else len(self._instead.given.frac_coords)

    @cached_property
    def digest(self) -> bytes:
        """The same for crystals in the same cell, with their sites in the same order."""
        digest = hashlib.blake2b(digest_size=16)
        parts = [*self.arrays]
        if self._instead is not None:
            given = self._instead.given
            parts += [given.lattice, given.frac_coords, given.occupancy]
            parts.append(np.array(given.elements))
        for part in parts:
            digest.update(part.tobytes())
        return digest.digest()

    @cached_property
    def volume(self) -> float:
        """Of the cell, Å³."""
        return cell_heights(self.lattice)[1]

    @cached_property
    def reduced_counts(self) -> Counts:
        """Its reduced formula."""
        return reduced_counts(self.atomic_numbers)

    @cached_property
    def formula(self) -> str:
        """Reduced; of an average with its occupancies."""
        if self._virtual is None:
            return written_formula(self.reduced_counts)
        return averaged_formula(self.atomic_numbers, self._virtual.occupancy)

    def graph(self, cutoff: float) -> RadiusGraph:
        """Its radius graph, what surrounds isolated sites drawn in; ``cutoff`` is in Å.

        Raises
        ------
        StructureError
            As :func:`~matminer_unate.crystals.graph.radius_graph`.
        """
        graph = self._graphs.get(cutoff)
        if graph is None:
            if self._virtual is None:
                graph = radius_graph(*self.arrays, cutoff)
            else:
                graph = self._virtual.graph(cutoff)
            self._is_sound = True  # no atoms are too close, nor too many
            if self.keeps_graphs:
                self._graphs[cutoff] = graph
        return graph

    def forget_graphs(self) -> None:
        """Drop the graphs, and keep none from now on."""
        self.keeps_graphs = False
        self._graphs.clear()

    def check(self) -> None:
        """Raise StructureError unless this can be a crystal, of which a graph can be built."""
        if not self._is_sound:
            check_crystal(*self.arrays)
            self._is_sound = True

    @cached_property
    def primitive_cell(self) -> CrystalArrays:
        """Its arrays; raises as :func:`~matminer_unate.crystals.symmetry.primitive_cell`."""
        return primitive_cell(*self.arrays)

    @cached_property
    def symmetry(self) -> tuple[float, float]:
        """Space group number and sites of the primitive cell; NaN if none is found."""
        try:
            return symmetry_of(self.arrays, self.primitive_cell)
        except StructureError:
            return symmetry_of(self.arrays, None)
