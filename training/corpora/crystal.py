"""One crystal of a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.formula import reduced_formula


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
    def volume(self) -> float:
        """Å³."""
        return float(abs(np.linalg.det(self.lattice)))
