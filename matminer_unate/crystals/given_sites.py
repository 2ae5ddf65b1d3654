"""The sites of a crystal as they were given, found again in what is described in its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.errors import StructureError

SAME_PLACE = 0.05
"""Å. Copies of a site are nearer than this to where the primitive cell has it."""


@dataclass(frozen=True)
class GivenSites:
    """The sites of a disordered crystal, and the atoms that stand for each.

    Attributes
    ----------
    content : tuple of str
        What each site holds: ``Ti``, or ``Sr0.4Ba0.6``.
    kind : (n_sites,) int64
        Sites of one kind have the same atoms standing for them.
    atom_kind : (n_atoms,) int64
        The kind of sites that each atom, or part of an atom, stands for.
    weight : (n_atoms,) float64
        How much of an atom it is.
    """

    content: tuple[str, ...]
    kind: NDArray[np.int64]
    atom_kind: NDArray[np.int64]
    weight: NDArray[np.float64]

    def check(self) -> None:
        """Raise StructureError if no atom stands for a site."""
        full = np.isin(self.kind, self.atom_kind)
        if not full.all():
            site = int(np.argmin(full))
            raise StructureError(
                f"no atom stands for site {site}, which holds {self.content[site] or 'nothing'}; "
                "take it out of the structure, or give an ordered supercell"
            )

    def means(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of the atoms, (n_atoms, n_columns) → those of the sites, (n_sites, n_columns).

        Raises
        ------
        StructureError
            No atom stands for a site.
        """
        self.check()
        total = np.bincount(self.atom_kind, self.weight)
        sums = np.zeros((len(total), values.shape[1]))
        np.add.at(sums, self.atom_kind, self.weight[:, None] * values)
        return (sums[self.kind] / total[self.kind, None]).astype(np.float32)


def copies_in(given: CrystalArrays, primitive: CrystalArrays) -> NDArray[np.int64]:
    """Which site of the primitive cell each site of a given cell is, (n_given,).

    Raises
    ------
    StructureError
        A site is no copy of any, which never should be.
    """
    lattice, frac_coords, numbers = given
    small, places, of = primitive
    inside = frac_coords @ lattice @ np.linalg.inv(small)
    found = np.empty(len(numbers), dtype=np.int64)
    for z in np.unique(numbers):
        sites, others = np.flatnonzero(numbers == z), np.flatnonzero(of == z)
        # In blocks, so that large cells take no gigabytes.
        for block in np.array_split(sites, 1 + len(sites) * len(others) // 1_000_000):
            apart = inside[block, None] - places[others]
            apart = (apart - np.rint(apart)) @ small
            distance = np.linalg.norm(apart, axis=2)
            nearest = distance.argmin(axis=1)
            if (distance[np.arange(len(block)), nearest] > SAME_PLACE).any():
                raise StructureError(
                    "the sites of the primitive cell could not be told apart; please report this"
                )
            found[block] = others[nearest]
    return found
