"""Elements on the places of a supercell: their energy, and the arrangement that has the lowest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.checks import MIN_DISTANCE
from matminer_unate.crystals.lattice import reduced_basis
from matminer_unate.crystals.structures import CrystalArrays

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

EXCLUSION = 1.0
"""Å. Of two partly occupied places nearer than this, one is empty: an atom's split position."""

ELECTRONEGATIVITY_SHARE = 0.01
"""Of the energy of charges by electronegativity, beside that of oxidation states: it decides where
the elements that share sites have equal ones."""

STARTS = 16
"""Arrangements that the search begins from."""

FORBIDDEN = 1e4
"""eV. Energy of two atoms on places that exclude each other."""

LEVEL = 1e-6
"""eV. Energies closer than this are equal."""


@dataclass(frozen=True)
class Places:
    """The places of a supercell, and the energy of what they hold.

    Kinds are the elements, and after them nothing. The energy is a sum of vᵀ A v, one of each
    matrix A with the value v of what is at each place: charges by oxidation state and by
    electronegativity, and 1 of an atom among the places that exclude each other.

    Attributes
    ----------
    lattice : (3, 3), Å
    frac_coords : (n_places, 3)
    site : (n_places,)
        Of the cell that the supercell is made of.
    start : (n_places,)
        A kind for each place.
    movable : list of (n,) int64
        Places on which kinds may be exchanged.
    matrices : (3, n_places, n_places), eV
    values : (3, n_places, n_kinds)
    """

    lattice: Floats
    frac_coords: Floats
    site: Integers
    start: Integers
    movable: list[Integers]
    matrices: Floats
    values: Floats

    @classmethod
    def of(
        cls,
        lattice: Floats,
        frac_coords: Floats,
        elements: Sequence[int],
        orbits: Sequence[Integers],
        counts: Sequence[Sequence[int]],
        states: Floats,
        basis: Integers,
    ) -> Places:
        """Of a supercell.

        Parameters
        ----------
        lattice : (3, 3), Å
        frac_coords : (n_sites, 3)
        elements : sequence of int
            Atomic numbers.
        orbits : sequence of int arrays
            Sites that are equivalent.
        counts : sequence of (n_elements,)
            Atoms of each element on the places of each orbit.
        states : (n_sites, n_elements)
            Oxidation states.
        basis : (3, 3) int64
            Vectors of the supercell in units of the lattice's.
        """
        lattice = basis @ lattice
        inverse = np.linalg.inv(basis)
        shifts = _lattice_points(basis)
        frac_coords = ((frac_coords[:, None] + shifts) @ inverse).reshape(-1, 3)
        frac_coords -= np.floor(frac_coords)
        n_kinds = len(elements) + 1
        site = np.repeat(np.arange(len(states)), len(shifts))
        start, movable = np.empty(len(site), np.int64), []
        for orbit, numbers in zip(orbits, counts, strict=True):
            own = np.flatnonzero(np.isin(site, orbit))
            every = [*numbers, len(own) - sum(numbers)]
            start[own] = np.repeat(np.arange(n_kinds), every)
            if max(every) < len(own):
                movable.append(own)
        values = np.zeros((3, len(site), n_kinds))
        values[0, :, :-1] = states[site]
        values[1] = _deviations(elements, start, movable)
        values[2, :, :-1] = 1.0
        coulomb = _coulomb_matrix(lattice, frac_coords)
        exclusion = np.zeros_like(coulomb)
        free = np.zeros(len(site), dtype=bool)
        free[np.concatenate([np.empty(0, np.int64), *movable])] = True
        for one, other, distance in near_pairs(lattice, frac_coords, EXCLUSION):
            # Two whole atoms that near are a mistake, which is told with the others.
            n_free = int(free[one]) + int(free[other])
            if n_free == 2 or (n_free == 1 and distance < MIN_DISTANCE):
                exclusion[one, other] = exclusion[other, one] = FORBIDDEN / 2
        matrices = np.stack([coulomb, ELECTRONEGATIVITY_SHARE * coulomb, exclusion])
        return cls(lattice, frac_coords, site, start, movable, matrices, values)

    def search(self) -> tuple[Integers, float]:
        """The best arrangement that exchanges of pairs lead to, and its energy (eV)."""
        generator = np.random.default_rng(0)
        best, lowest = self.start, math.inf
        for _ in range(STARTS if self.movable else 1):
            kinds = self.start.copy()
            for own in self.movable:
                kinds[own] = generator.permutation(kinds[own])
            self._descend(kinds)
            energy = self.energy(kinds)
            if energy < lowest - LEVEL:
                best, lowest = kinds, energy
        return best, lowest

    def has_excluded(self, kinds: Integers) -> bool:
        """Whether places that exclude each other both hold an atom."""
        full = self.values[2, np.arange(len(kinds)), kinds]
        return bool(full @ self.matrices[2] @ full > 0)

    def energy(self, kinds: Integers) -> float:
        """Of an arrangement, eV."""
        held = self.values[:, np.arange(len(kinds)), kinds]
        return float(np.einsum("fi,fij,fj->", held, self.matrices, held))

    def _descend(self, kinds: Integers) -> None:
        """Exchange the pair that gains most until none gains anything."""
        held = self.values[:, np.arange(len(kinds)), kinds]
        potential = np.einsum("fij,fj->fi", self.matrices, held)
        while self.movable:
            gains = [self._gain(own, kinds, held, potential) for own in self.movable]
            gain, one, other = min(gains)
            if gain > -LEVEL:
                return
            for place, kind in ((one, kinds[other]), (other, kinds[one])):
                change = self.values[:, place, kind] - held[:, place]
                potential += self.matrices[:, :, place] * change[:, None]
                held[:, place] += change
            kinds[[one, other]] = kinds[[other, one]]

    def _gain(
        self, own: Integers, kinds: Integers, held: Floats, potential: Floats
    ) -> tuple[float, int, int]:
        """Change of the energy (eV) by the best exchange on some places, and its pair."""
        # change[f, i, j]: of the value at i, if it gets what is at j.
        change = self.values[:, own[:, None], kinds[own]] - held[:, own, None]
        matrices = self.matrices[:, own[:, None], own]
        alone = np.diagonal(matrices, axis1=1, axis2=2)[:, :, None]
        part = 2 * potential[:, own, None] * change + alone * change**2
        back = change.transpose(0, 2, 1)
        gain = (part + part.transpose(0, 2, 1) + 2 * matrices * change * back).sum(0)
        one, other = divmod(int(gain.argmin()), len(own))
        return float(gain[one, other]), int(own[one]), int(own[other])

    def atoms(self, kinds: Integers, elements: Sequence[int]) -> tuple[CrystalArrays, Integers]:
        """The crystal of an arrangement, and the site that each of its atoms is at."""
        full = kinds < len(elements)
        numbers = np.array(elements, np.int64)[kinds[full]]
        return (self.lattice, self.frac_coords[full], numbers), self.site[full]


def _lattice_points(basis: Integers) -> Integers:
    """Points of a lattice in a supercell of the vectors ``basis``, one for each of its cells."""
    span = np.abs(basis).sum(axis=0)
    grid = np.stack(np.meshgrid(*(np.arange(-s, s + 1) for s in span), indexing="ij"), axis=-1)
    grid = grid.reshape(-1, 3)
    inside = grid @ np.linalg.inv(basis) + 1e-9
    found: Integers = grid[((inside >= 0) & (inside < 1)).all(axis=1)]
    return found


def _coulomb_matrix(lattice: Floats, frac_coords: Floats) -> Floats:
    """Energies (eV) of unit charges at pairs of places with all their images; half of each pair."""
    from pymatgen.analysis.ewald import EwaldSummation
    from pymatgen.core import Species, Structure

    unit = Structure(lattice, [Species("H", 1)] * len(frac_coords), frac_coords)
    return np.asarray(EwaldSummation(unit).total_energy_matrix)


def _deviations(elements: Sequence[int], start: Integers, movable: Sequence[Integers]) -> Floats:
    """Charges by electronegativity of kinds at places, (n_places, n_kinds), of mean square 1.

    At places among which kinds may be exchanged, Pauling's electronegativity less its mean there;
    0 at others, and where there is nothing. Of elements that are all equal, atomic numbers.
    """
    from pymatgen.core import Element

    given = [Element.from_Z(z).data.get("X") for z in elements]
    chi = [x if isinstance(x, int | float) else 0.0 for x in given]  # noble gases have none
    found = np.zeros((len(start), len(elements) + 1))
    for scale in (np.array(chi), np.array(elements, np.float64)):
        square = 0.0
        for own in movable:
            held = start[own][start[own] < len(elements)]
            deviation = scale - scale[held].mean()
            found[own, :-1] = deviation
            square += float((deviation[held] ** 2).sum())
        if square > 1e-6:
            return found / math.sqrt(square / sum(map(len, movable)))
    return found


def near_pairs(
    lattice: Floats, frac_coords: Floats, radius: float
) -> Iterator[tuple[int, int, float]]:
    """Pairs of sites nearer than a radius (Å, small), and their distances."""
    reduced = reduced_basis(lattice) @ lattice
    inside = frac_coords @ lattice @ np.linalg.inv(reduced)
    for one in range(len(inside) - 1):
        apart = inside[one + 1 :] - inside[one]
        distance = np.linalg.norm((apart - np.rint(apart)) @ reduced, axis=1)
        for k in np.flatnonzero(distance < radius):
            yield one, one + 1 + int(k), float(distance[k])
