"""The symmetry of a crystal: its primitive cell, space group and operations.

Methods that take the cell as they find it, such as sums over a grid of k points, give the same for
a primitive cell, a conventional cell and a supercell once it is reduced here.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.lattice import reduced_basis
from matminer_unate.crystals.operations import NotPlain, operations, primitive_basis, translations
from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.errors import StructureError

SAME_SITE = 1e-3
"""Å. Sites that a translation takes to each other within this count as copies. Files give
coordinates to 10⁻⁴ of a cell."""

SYMPRECS = (0.01, 1e-3, 1e-4)
"""Å. Tolerance of the space group; the tighter ones where it finds none."""

MAX_PLAIN = 40
"""Sites of a primitive cell up to which its operations are found here. Larger cells have few, and
spglib is as fast."""

GRID, NEAR_GRID = 24, 0.02
"""Translations are most often multiples of 1/24 of a basis vector, to a part of a step."""
MAX_TYPES = 5_000
_types: dict[tuple[bytes, bytes], Any] = {}
"""Space group types by rotations and translations on the grid: the same operations are the same
group, and two of three crystals have those of another one."""


def primitive_cell(
    lattice: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    atomic_numbers: NDArray[np.int64],
) -> CrystalArrays:
    """The smallest cell, with the shortest lattice vectors.

    The atoms stay where they are: nothing is turned or symmetrised. Of sites that are copies of
    each other, the first is kept.

    Parameters
    ----------
    lattice : (3, 3) float64, Å
        Lattice vectors as rows.
    frac_coords : (n_sites, 3) float64
    atomic_numbers : (n_sites,) int64

    Returns
    -------
    lattice : (3, 3) float64, Å
        Reduced by Niggli's criteria, as in Křivý and Gruber, Acta Cryst. A 32, 297 (1976),
        doi:10.1107/S0567739476000636.
    frac_coords : (n_primitive, 3) float64
        From 0 to 1.
    atomic_numbers : (n_primitive,) int64

    Raises
    ------
    StructureError
        The crystal repeats itself at a shorter distance than any crystal.
    """
    import spglib

    # spglib gives up on strongly sheared cells; without shear it does not matter which cell it is.
    reduced = reduced_basis(lattice) @ lattice
    inside = frac_coords @ lattice @ np.linalg.inv(reduced)
    reduced, first = _without_copies(reduced, inside, atomic_numbers)
    niggli = _answer(spglib.niggli_reduce, reduced)
    if niggli is not None:  # else the cell reduced so far does
        reduced = niggli
    inside = frac_coords[first] @ lattice @ np.linalg.inv(reduced)
    return reduced, inside - np.floor(inside), atomic_numbers[first]


def _without_copies(
    lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], numbers: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Lattice of a primitive cell, and the first site of each set of copies."""
    sites = np.arange(len(numbers))
    if not _may_repeat(numbers):
        return lattice, sites
    try:
        shifts = translations(lattice, frac_coords, numbers, SAME_SITE)
        return primitive_basis(lattice, frac_coords, numbers, shifts, 3 * SAME_SITE)
    except NotPlain:
        found = symmetry_dataset((lattice, frac_coords, numbers), SAME_SITE)
    if found is None:
        return lattice, sites
    _, first = np.unique(found.mapping_to_primitive, return_index=True)
    return np.array(found.primitive_lattice), np.sort(first)


def _may_repeat(numbers: NDArray[np.int64]) -> bool:
    """Whether sites can be copies of each other: a formula unit alone in its cell has none."""
    return math.gcd(*Counter(numbers.tolist()).values()) > 1


def symmetry_of(crystal: CrystalArrays, primitive: CrystalArrays | None) -> tuple[float, float]:
    """Space group number and sites of the primitive cell; NaN if none is found.

    Parameters
    ----------
    crystal : lattice (3, 3), Å; frac_coords (n_sites, 3); atomic_numbers (n_sites,)
    primitive
        The same of its :func:`primitive_cell`; None where it has none.
    """
    if primitive is not None:
        try:
            plain = _plain_type(*primitive)
        except NotPlain:
            plain = None
        if plain is not None:
            return plain.number, len(primitive[2])
    for symprec in SYMPRECS:
        found = symmetry_dataset(crystal, symprec)
        if found is not None:
            return found.number, found.mapping_to_primitive.max() + 1
    return math.nan, math.nan


def _plain_type(
    lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], numbers: NDArray[np.int64]
) -> Any:
    """Space group type of a primitive cell whose operations leave no doubt; None if there is none.

    Raises
    ------
    NotPlain
        There is a doubt, or sites are copies at this tolerance that were none at a tighter one.
    """
    if len(numbers) > MAX_PLAIN:
        raise NotPlain
    if np.linalg.det(lattice) < 0:  # of P3₁ and P3₂, the other would be found
        lattice, frac_coords = -lattice, -frac_coords
    tolerance = SYMPRECS[0]
    if _may_repeat(numbers) and len(translations(lattice, frac_coords, numbers, tolerance)) > 1:
        raise NotPlain
    found = operations(lattice, frac_coords, numbers, tolerance)
    steps = found.translations * GRID
    nearest = np.rint(steps)
    if np.abs(steps - nearest).max() > NEAR_GRID:
        return _type_of(found.rotations, found.translations, lattice, tolerance)
    key = found.rotations.tobytes(), (nearest.astype(np.int64) % GRID).tobytes()
    if key not in _types:
        if len(_types) >= MAX_TYPES:
            _types.clear()
        _types[key] = _type_of(found.rotations, found.translations, lattice, tolerance)
    return _types[key]


def _type_of(
    rotations: NDArray[Any], shifts: NDArray[Any], lattice: NDArray[Any], tolerance: float
) -> Any:
    """What spglib calls a group of operations, or None."""
    import spglib

    question = spglib.get_spacegroup_type_from_symmetry
    return _answer(question, rotations, shifts, lattice, symprec=tolerance)


def symmetry_dataset(crystal: Any, symprec: float) -> Any:
    """What spglib says, or None."""
    import spglib

    return _answer(spglib.get_symmetry_dataset, crystal, symprec=symprec)


def _answer(question: Callable[..., Any], *given: Any, **options: Any) -> Any:
    """What a function of spglib returns, or None."""
    import spglib

    # An error or None, as the version and the user's settings have it.
    failures = (getattr(spglib, "SpglibError", ValueError), ValueError)
    try:
        return question(*given, **options)
    except failures:
        return None
    except DeprecationWarning:
        # Of how it reports errors, where warnings are errors. (Otherwise Python's filters are left
        # alone: to change them makes every warning that was given appear again.)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                return question(*given, **options)
            except failures:
                return None


def find_spacegroup(
    lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], numbers: NDArray[np.int64]
) -> int:
    """Number of the space group, about 3 ms for a crystal.

    Raises
    ------
    StructureError
        None is found.
    """
    found = symmetry_dataset((lattice, frac_coords, numbers), SYMPRECS[0])
    if found is None:
        raise StructureError("spglib finds no space group")
    return int(found.number)
