"""One crystal of a corpus."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.formula import reduced_formula

DIGEST_STEPS = 10_000
"""To an Å, and to a lattice vector."""


@dataclass(frozen=True)
class Crystal:
    """One crystal of a source.

    Attributes
    ----------
    lattice : (3, 3) float64, Å
        Lattice vectors as rows.
    frac_coords : (n_sites, 3) float64
    atomic_numbers : (n_sites,) int64
    identifier : str
    spacegroup_number : int
        1 to 230; 0 where the source does not say and nobody has looked yet.
    """

    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]
    atomic_numbers: NDArray[np.int64]
    identifier: str
    spacegroup_number: int = 0

    def __len__(self) -> int:
        return len(self.atomic_numbers)

    @cached_property
    def formula(self) -> str:
        """Reduced."""
        return reduced_formula(self.atomic_numbers)

    @property
    def digest(self) -> str:
        """Of cell, places and elements, to 10⁻⁴ of Å and of the cell."""
        found = hashlib.blake2b(digest_size=8)
        for values in (self.lattice, self.frac_coords):
            found.update((np.round(values * DIGEST_STEPS).astype(np.int64)).tobytes())
        found.update(self.atomic_numbers.astype(np.int64).tobytes())
        return found.hexdigest()

    @property
    def volume(self) -> float:
        """Å³."""
        return float(abs(np.linalg.det(self.lattice)))
