"""Atomic numbers → valence electrons and levels of free atoms, from the tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matminer_unate.physics.elements import Floats
from matminer_unate.physics.tables import tables

Ints = NDArray[np.int64]

BOHR = 0.529177  # Å
HARTREE = 27.2114  # eV

LAST_SOLVED = 103
LAST_RADIUS = 96
"""Curium. Beyond, no covalent radius is tabulated, and the mean over the elements stands in."""


def solved_element(z: Ints) -> Ints:
    """The elements whose atoms are solved: the superheavy ones have those of the row above."""
    z = np.asarray(z)
    return np.where(z <= LAST_SOLVED, z, z - 32)


def electrons_of(z: Ints) -> Floats:
    """Valence electrons of the neutral atoms, of the shape of ``z``."""
    return tables()["electrons"][solved_element(z) - 1]


def levels_of(z: Ints) -> Floats:
    """Levels of the contracted s, p and d orbitals in eV, (…, 3); NaN where there is no shell.

    ⟨T + v⟩ without the confinement: above the levels of the free atom, most for wide empty shells.
    """
    return tables()["levels"][solved_element(z) - 1]
