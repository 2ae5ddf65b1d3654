"""One crystal of a corpus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Crystal:
    """One crystal: lattice rows in Å, fractional coordinates, atomic numbers."""

    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]
    atomic_numbers: NDArray[np.int64]
    formula: str
    identifier: str
    spacegroup_number: int

    @property
    def volume(self) -> float:
        return float(abs(np.linalg.det(self.lattice)))


def n_sites(crystal: Crystal) -> int:
    return len(crystal.atomic_numbers)
