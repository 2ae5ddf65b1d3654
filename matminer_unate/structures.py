"""Objects, files and tables → checked crystal structures.

Everything that can be wrong with an input is found here, before any network runs, and is said in
words that name the cure.
"""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import StructureError

MAX_FRACTIONAL = 1e5
"""Fractional coordinates beyond this have lost the digits that place the atom in its cell."""

MIN_CELL = 0.5
"""Å. A crystal that repeats itself at a shorter distance than this is a mistake in the cell: the
shortest bond there is, in H₂, has 0.74 Å."""

MAX_LENGTH = 1e5
"""Å. Longest lattice vector taken for real."""

MIN_DISTANCE = 0.5
"""Å. Two atoms closer than this are a mistake in the input, not a bond: the shortest there is, in
H₂, has 0.74 Å. Rounded positions of high symmetry (.33 for 1/3) split into such pairs."""

MAX_DENSITY = 2.0
"""Atoms per Å³. Diamond has 0.18 and hydrogen at 500 GPa below 1; a cell in nm instead of Å has
a thousand times too many, and its graph would fill the memory."""

MAX_PAIRS = 1_000_000
"""Pairs of sites that are looked at at once."""

_ONE_A_ROW = "each row holds one structure; a list of sites becomes one with Structure.from_sites"

_CURES: dict[type, str] = {
    str: "parse it first, e.g. Structure.from_file(path) or Structure.from_str(text, fmt='cif')",
    bytes: "decode and parse it first with Structure.from_str",
    PurePath: "read it first with Structure.from_file",
    list: _ONE_A_ROW,
    tuple: _ONE_A_ROW,
    np.ndarray: _ONE_A_ROW,
    object: "convert it to a Structure, or drop this row",
}
"""By kind of input, the first that fits."""

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
        Oxidation states are dropped; deuterium and tritium count as hydrogen.

    Raises
    ------
    StructureError
        The input is missing, not a structure, not periodic in three directions, empty,
        disordered, made of dummy species, or has a cell or coordinates that cannot be real.
    """
    structure = _as_structure(crystal)
    if len(structure) == 0:
        raise StructureError("the structure has no sites; drop this row")
    if not all(structure.lattice.pbc):
        raise StructureError(
            f"the lattice is periodic along {structure.lattice.pbc} only; a crystal needs all "
            "three directions (for a slab, rebuild it with a fully periodic Lattice and vacuum)"
        )
    lattice = np.array(structure.lattice.matrix, dtype=np.float64)
    frac_coords = np.array([site.frac_coords for site in structure], dtype=np.float64)
    _check_cell(lattice)
    _check_coordinates(frac_coords)
    return lattice, frac_coords, _atomic_numbers(structure)


def _as_structure(crystal: Any) -> Any:
    from pymatgen.core import IMolecule, IStructure

    if isinstance(crystal, IStructure):
        return crystal
    if _is_missing(crystal):
        raise StructureError("the structure is missing (None or NaN); drop or fill this row")
    if isinstance(crystal, dict) or (isinstance(crystal, str) and is_structure_text(crystal)):
        return _from_content(crystal)
    if isinstance(crystal, IMolecule):
        raise StructureError(
            "a Molecule has no lattice; place it in a periodic cell first "
            "(Molecule.get_boxed_structure)"
        )
    # ASE is optional, so its class is known by name.
    if any(c.__module__ == "ase.atoms" and c.__name__ == "Atoms" for c in type(crystal).__mro__):
        return from_ase(crystal)
    cure = next(text for kind, text in _CURES.items() if isinstance(crystal, kind))
    raise StructureError(f"expected a pymatgen Structure, got {type(crystal).__name__}; {cure}")


def is_structure_text(text: str) -> bool:
    """Whether this can only be the content of a file (CIF, POSCAR, JSON), and not its name."""
    return "\n" in text.strip() or text.lstrip().startswith("{")


def _from_content(content: Any) -> Any:
    """Structure of a dict or text, read as a cell of a table is."""
    from matminer_unate.parsing import attempt, from_cell

    parsed = attempt(from_cell, content)
    if parsed.error is not None:
        raise parsed.error
    if parsed.doubts:
        raise StructureError(
            f"{'; '.join(parsed.doubts)}; if it is right all the same, read it with "
            "Structure.from_str and pass that"
        )
    return parsed.structure


def _is_missing(value: Any) -> bool:
    """Whether this is None or a NaN of whatever make (NumPy, Decimal, pd.NA, pd.NaT)."""
    import pandas as pd

    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def from_ase(atoms: Any) -> Any:
    """Structure of ``ase.Atoms``; raises StructureError unless they are an ordered crystal."""
    from pymatgen.io.ase import AseAtomsAdaptor

    if not all(atoms.pbc):
        raise StructureError("ASE Atoms must be periodic in all directions; set atoms.pbc = True")
    if np.linalg.matrix_rank(np.asarray(atoms.cell)) < 3:
        raise StructureError("the ASE Atoms have no cell volume; set atoms.cell")
    # ASE reads a disordered CIF as its majority species and keeps the truth here.
    for kind, share in (atoms.info.get("occupancy") or {}).items():
        if len(share) != 1 or abs(sum(share.values()) - 1) > 1e-6:
            raise StructureError(
                f"the ASE Atoms are disordered (atoms.info['occupancy'] of kind {kind} is "
                f"{share}); choose an ordered approximant and delete that entry"
            )
    return AseAtomsAdaptor.get_structure(atoms)


def cell_heights(lattice: NDArray[np.float64]) -> tuple[tuple[float, float, float], float]:
    """Distances (Å) between opposite faces of a cell, and its volume (Å³).

    Plain Python: for nine numbers it is ten times as fast as NumPy. A flat cell has heights 0.
    """
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = lattice.tolist()
    ux, uy, uz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    vx, vy, vz = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
    wx, wy, wz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    volume = abs(ax * ux + ay * uy + az * uz)
    faces = math.hypot(ux, uy, uz), math.hypot(vx, vy, vz), math.hypot(wx, wy, wz)
    a, b, c = (volume / face if face else 0.0 for face in faces)
    return (a, b, c), volume


def _check_cell(lattice: NDArray[np.float64]) -> None:
    """Raise StructureError unless a (3, 3) lattice in Å can be a crystal's."""
    lengths = [math.hypot(*vector) for vector in lattice.tolist()]
    if not all(math.isfinite(length) for length in lengths):
        raise StructureError("the lattice has non-finite entries; check the cell parameters")
    _, volume = cell_heights(lattice)
    # Beyond the last of these, too few digits are left to tell a flat cell from a thin one.
    if min(lengths) < MIN_CELL or volume < MIN_CELL**3 or volume < 1e-9 * math.prod(lengths):
        raise StructureError(
            f"the cell volume is {volume:.3g} Å³ with lattice vectors of "
            f"{', '.join(f'{x:.3g}' for x in lengths)} Å: zero, flat or far too small; check "
            "units (Å) and angles (degrees)"
        )
    if max(lengths) > MAX_LENGTH:
        raise StructureError(
            f"a lattice vector is {max(lengths):.3g} Å long; check the units (Å are expected)"
        )


def _check_coordinates(frac_coords: NDArray[np.float64]) -> None:
    finite = np.isfinite(frac_coords).all(axis=1)
    if not finite.all():
        raise StructureError(
            f"site {int(np.argmin(finite))} has non-finite coordinates; check the source file"
        )
    largest = np.abs(frac_coords).max()
    if largest > MAX_FRACTIONAL:
        raise StructureError(
            f"a fractional coordinate is {largest:.3g}; were Cartesian coordinates passed without "
            "coords_are_cartesian=True?"
        )


def _atomic_numbers(structure: Any) -> NDArray[np.int64]:
    from pymatgen.core import DummySpecies, Element, Species

    numbers = np.empty(len(structure), dtype=np.int64)
    for index, site in enumerate(structure):
        composition = site.species
        if len(composition) != 1 or abs(composition.num_atoms - 1) > 1e-6:
            raise StructureError(
                f"site {index} is disordered ({composition}); choose an ordered approximant, e.g. "
                "with OrderDisorderedStructureTransformation"
            )
        (species,) = composition
        # A DummySpecies is a Species whose atomic number is a hash.
        if not isinstance(species, Element) and (
            isinstance(species, DummySpecies) or not isinstance(species, Species)
        ):
            raise StructureError(
                f"site {index} holds the dummy species {species}; replace or remove it"
            )
        numbers[index] = species.Z
    return numbers


def check_crystal(
    lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], numbers: NDArray[np.int64]
) -> None:
    """Raise StructureError unless this can be a crystal, of which a graph can be built.

    Parameters
    ----------
    lattice : (3, 3), Å
    frac_coords : (n_sites, 3)
    numbers : (n_sites,)
    """
    if len(numbers) == 0:
        raise StructureError("the structure has no sites")
    if not 1 <= numbers.min() <= numbers.max() <= 118:
        raise StructureError("an atomic number is not from 1 to 118")
    if not (np.isfinite(lattice).all() and np.isfinite(frac_coords).all()):
        raise StructureError("the lattice or a coordinate is not finite")
    heights, volume = cell_heights(lattice)
    if volume < max(MIN_CELL**3, len(numbers) / MAX_DENSITY):
        raise StructureError(
            f"{len(numbers)} sites in a cell of {volume:.3g} Å³; are its lengths in Å?"
        )
    # No vector of the lattice is shorter than the least height of the cell.
    if min(heights) < MIN_CELL:
        from pymatgen.core import Lattice

        shortest = min(Lattice(lattice).get_lll_reduced_lattice().abc)
        if shortest < MIN_CELL:
            raise StructureError(f"the crystal repeats itself every {shortest:.2g} Å")
    _check_distances(lattice, frac_coords)


def _check_distances(lattice: NDArray[np.float64], frac_coords: NDArray[np.float64]) -> None:
    """Raise StructureError where two sites are closer than ``MIN_DISTANCE``."""
    if min(cell_heights(lattice)[0]) <= 2 * MIN_DISTANCE:  # too skewed for what follows
        from pymatgen.core import Lattice

        reduced = np.array(Lattice(lattice).get_lll_reduced_lattice().matrix)
        frac_coords, lattice = frac_coords @ lattice @ np.linalg.inv(reduced), reduced
    rows = max(1, MAX_PAIRS // len(frac_coords))
    for start in range(0, len(frac_coords), rows):
        # Rounding finds the nearest image of whatever is as near as this.
        apart = frac_coords[start : start + rows, None] - frac_coords
        vector = (apart - np.round(apart)) @ lattice
        square = np.einsum("ijk,ijk->ij", vector, vector)
        near = np.argwhere(square < MIN_DISTANCE**2)
        if len(near) > len(square):  # each site is near itself
            i, j = next((i, j) for i, j in near if i + start != j)
            raise too_close(i + start, j, square[i, j] ** 0.5)


def too_close(one: int, other: int, distance: float) -> StructureError:
    """The error that names two sites this near to each other (Å), and the cure."""
    return StructureError(
        f"sites {one} and {other} are {distance:.3g} Å apart, closer than {MIN_DISTANCE} Å; "
        "merge or remove duplicate sites (Structure.merge_sites), and write coordinates such as "
        "1/3 with all their digits"
    )
