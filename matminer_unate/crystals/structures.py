"""Objects, files and tables → checked crystal structures.

Everything that can be wrong with an input is found here, before any network runs, and is said in
words that name the cure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.checks import check_arrays
from matminer_unate.errors import StructureError
from matminer_unate.io.objects import as_structure

CrystalArrays = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


def crystal_arrays(crystal: Any) -> CrystalArrays:
    """Check one crystal and take it apart.

    Parameters
    ----------
    crystal : pymatgen Structure or IStructure, or ase.Atoms
        Also the dict of a pymatgen Structure or entry, of JARVIS or of OPTIMADE, and the text of a
        CIF, a POSCAR or the JSON of such a dict.

    Returns
    -------
    lattice : (3, 3) float64, Å
        Lattice vectors as rows.
    frac_coords : (n_sites, 3) float64
    atomic_numbers : (n_sites,) int64
        Oxidation states are dropped; deuterium and tritium count as hydrogen. A site that one
        element shares with itself in several of them is whole.

    Raises
    ------
    StructureError
        The input is missing, not a structure, not periodic in three directions, empty,
        disordered, made of dummy species, or has a cell or coordinates that cannot be real; or it
        is an object of other people's classes, which can fail in any way when it is read.
    """
    structure, arrays = structure_of(crystal)
    if arrays is None:
        index, site = next((k, site) for k, site in enumerate(structure) if not _is_whole(site))
        raise StructureError(
            f"site {index} is disordered ({site.species}); choose an ordered approximant: "
            "disorder='ordered' of featurizers and models takes one, and "
            "matminer_unate.ordered_structure returns it"
        )
    return arrays


def structure_of(crystal: Any) -> tuple[Any, CrystalArrays | None]:
    """Structure of whatever stands for a crystal, and its arrays unless it is disordered.

    Raises
    ------
    StructureError
        As :func:`crystal_arrays`, but for disorder.
    """
    try:
        structure = as_structure(crystal)
        return structure, _arrays(structure)
    except StructureError:
        raise
    except Exception as e:
        raise StructureError(
            f"the structure could not be read ({type(e).__name__}: {e}); rebuild it with "
            "Structure.from_sites or drop this row"
        ) from e


def _arrays(structure: Any) -> CrystalArrays | None:
    if not all(structure.lattice.pbc):
        raise StructureError(
            f"the lattice is periodic along {structure.lattice.pbc} only; a crystal needs all "
            "three directions (for a slab, rebuild it with a fully periodic Lattice and vacuum)"
        )
    lattice = np.array(structure.lattice.matrix, dtype=np.float64)
    frac_coords = np.array([site.frac_coords for site in structure], dtype=np.float64)
    check_arrays(lattice, frac_coords)
    numbers = np.empty(len(structure), dtype=np.int64)
    for index, site in enumerate(structure):
        if not _is_whole(site):
            return None
        numbers[index] = element_of(next(iter(site.species)), index).Z
    return lattice, frac_coords, numbers


def _is_whole(site: Any) -> bool:
    """Whether a site holds one atom of one element, be it in several charges or isotopes."""
    held = site.species
    one = len(held) == 1 or len({species.Z for species in held}) == 1
    return one and abs(held.num_atoms - 1) <= 1e-6


def element_of(species: Any, index: int) -> Any:
    """A species at a site, if it is an element or an ion.

    Raises
    ------
    StructureError
        It is a dummy.
    """
    from pymatgen.core import DummySpecies, Element, Species

    # A DummySpecies is a Species whose atomic number is a hash.
    if not isinstance(species, Element) and (
        isinstance(species, DummySpecies) or not isinstance(species, Species)
    ):
        raise StructureError(
            f"site {index} holds the dummy species {species}; replace or remove it"
        )
    return species
