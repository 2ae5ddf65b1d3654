"""Crystal → what a tight-binding model says of each site: charges, populations, local densities.

No label of any crystal goes into it: it makes columns of its own, and is a teacher for pretraining.
Two-centre density-functional tight binding from free atoms, which were solved beforehand
(:mod:`matminer_unate.physics.tables`), without self-consistency of the charges (Porezag et al.,
Phys. Rev. B 51, 12947 (1995), doi:10.1103/PhysRevB.51.12947):

* levels of contracted s, p and d orbitals of single atoms on the diagonal;
* between sites ⟨a|T + v_a + v_b|b⟩ and ⟨a|b⟩ of these orbitals, turned into place as by Slater and
  Koster (Phys. Rev. 94, 1498 (1954), doi:10.1103/PhysRev.94.1498);
* bands at a few k points that symmetry leaves different, filled with the valence electrons, shared
  among sites as by Mulliken (J. Chem. Phys. 23, 1833 (1955), doi:10.1063/1.1740588).

There is no crystal field and no spin: gaps come out too large (Si 7 eV) and magnetic insulators as
metals. What counts is that the numbers go with those of real electrons.

Energies in eV, lengths in Å, unless said otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.crystals.symmetrised import SymmetrisedCrystal, symmetrised
from matminer_unate.physics.atoms import Ints, electrons_of, levels_of
from matminer_unate.physics.bond_blocks import ANGULAR, bond_blocks
from matminer_unate.physics.eigenstates import Eigenproblems, States
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.inversion import Inversion
from matminer_unate.physics.k_points import Grid, irreducible_points, k_grid
from matminer_unate.physics.parities import Parities
from matminer_unate.physics.two_centre import pair_integrals

CUTOFF, TAPER = 5.0, 0.5
"""Å. Hoppings go to zero smoothly over the last ``TAPER``."""

LARGE = 1_000
"""Orbitals. Larger cells, which have Γ alone, are solved in single precision: half the time and
memory."""

PhysicalCell = tuple[Floats, Floats, RadiusGraph]
"""Lattice (3, 3) in Å, reduced, fractional coordinates (n_sites, 3), and the bonds within
``CUTOFF``, none drawn in."""


@dataclass(frozen=True)
class Bands:
    """Bands of a crystal, shared among orbits of sites: sets of sites that symmetry makes equal.

    Attributes
    ----------
    energy : (n_k, n_bands) eV
        In any order.
    share : (3 n_orbits, n_k, n_bands)
        Of each state on the s, p and d orbitals of a site, the mean over the sites of an orbit.
        Summed over all sites it is 1. As the orbitals overlap, shares can be a little below 0 or
        above 1.
    grid_shares : (n_grids,)
    grid_weights : (n_grids, n_k)
        Of the grids of k points that are mixed; all sum to 1.
    orbit : (n_sites,)
        Of each site.
    n_electrons : (n_orbits,)
        Of the neutral atom.
    level : (n_orbits, 3) eV
        Of the atom alone; zero where there is no such shell.
    """

    energy: Floats
    share: Floats
    grid_shares: Floats
    grid_weights: Floats
    orbit: Ints
    n_electrons: Floats
    level: Floats


@dataclass(frozen=True)
class Hoppings:
    """What the matrices of a crystal are made of; each bond is there in one direction.

    Attributes
    ----------
    pair : (n_pairs, 2)
        Sites between which there are bonds.
    start : (n_pairs,)
        Where the bonds of each pair begin.
    image : (n_bonds, 3)
        The cell that the second site is in.
    vector : (n_bonds, 3)
        From site to site, fractional.
    block : (n_bonds, 162)
        Hopping (eV) and overlap between the orbitals of both sites, 9 by 9.
    """

    pair: Ints
    start: Ints
    image: Ints
    vector: Floats
    block: Floats


@dataclass(frozen=True)
class Model:
    """A crystal, the matrices of which can be made at k points.

    Attributes
    ----------
    crystal : SymmetrisedCrystal
    hoppings : Hoppings
    site, orbital : (n_orbitals,)
        Of each row of the matrices; s, p and d orbitals are numbered from 0 to 8.
    level : (n_sites, 3) eV
        NaN where there is no such shell.
    grid : Grid
    points : (n_k, 3)
        Of the grid, those that symmetry leaves different.
    weights : (n_grids, n_k)
    """

    crystal: SymmetrisedCrystal
    hoppings: Hoppings
    site: Ints
    orbital: Ints
    level: Floats
    grid: Grid
    points: Floats
    weights: Floats

    @classmethod
    def of(cls, lattice: Floats, crystal: SymmetrisedCrystal, hoppings: Hoppings) -> Model:
        """On a grid of k points that depends on the size of the cell."""
        level = levels_of(crystal.atomic_numbers)
        site, orbital = np.nonzero(~np.isnan(level[:, ANGULAR]))
        grid = k_grid(lattice, len(site))
        points = irreducible_points(grid, crystal.rotations)
        return cls(crystal, hoppings, site, orbital, level, grid, *points)

    def eigenproblems(self) -> Iterator[Eigenproblems]:
        """What is to be solved for the bands, in matrices as small and real as can be.

        Where k and −k are the same point matrices are real, elsewhere if there is a centre of
        inversion; and states have parities under the operations that leave k as it is.
        """
        parities = Parities.of(self.crystal, self.site, self.orbital)
        own_opposite = (2 * self.points % 1 == 0).all(axis=1)
        real, complex_ = np.flatnonzero(own_opposite), np.flatnonzero(~own_opposite)
        groups = self.groups()
        cosines, waves = self.matrices(self.points[real], self.points[complex_])
        if len(real):
            problem = Eigenproblems(real, 0 * real, cosines, groups)
            if parities is None:
                yield problem
            else:
                yield from parities.at_own_opposites(problem, self.points[real])
        if len(complex_):
            problem = Eigenproblems(complex_, 0 * complex_, waves, groups)
            inversion = Inversion.of(self.crystal, self.site, self.orbital)
            if inversion is not None:
                problem = inversion.made_real(problem)
                parities = parities and inversion.of_real_basis(parities)
            if parities is None:
                yield problem
            else:
                yield from parities.elsewhere(problem, self.points[complex_])

    def matrices(self, real: Floats, others: Floats) -> tuple[Floats, NDArray[np.complex128]]:
        """Hamiltonian (eV) and overlap at k points, (2, n_k, n, n) each.

        Those of the first points, where k and −k are the same, are real, with the phases of cells;
        those of the others complex, with the phases of vectors.
        """
        bonds = self.hoppings
        angle = np.concatenate([real @ bonds.image.T, others @ bonds.vector.T]) * (2 * np.pi)
        phase = np.concatenate([np.cos(angle), np.sin(angle[len(real) :])])
        # One sparse matrix for all k points: a row is a pair of sites at one of them, the last one
        # of each k point no pair at all.
        n_rows, n_bonds = phase.shape
        columns = np.tile(np.arange(n_bonds, dtype=np.int32), n_rows)
        starts = n_bonds * np.arange(n_rows, dtype=np.int32)[:, None]
        starts = starts + np.append(bonds.start, n_bonds).astype(np.int32)
        starts = np.append(starts, np.int32(n_rows * n_bonds))
        shape = n_rows * (len(bonds.pair) + 1), n_bonds
        sums = (csr_array((phase.ravel(), columns, starts), shape) @ bonds.block).reshape(
            n_rows, -1
        )

        # Where the sum for each element of the upper triangle is.
        pair = np.full((len(self.level), len(self.level)), len(bonds.pair))
        pair[bonds.pair[:, 0], bonds.pair[:, 1]] = np.arange(len(bonds.pair))
        place = 162 * pair[self.site[:, None], self.site] + 9 * self.orbital[:, None] + self.orbital
        n = len(place)
        cosines = np.empty((2, len(real), n, n), np.float32 if n > LARGE else np.float64)
        waves = np.empty((2, len(others), n, n), np.complex128)
        levels = self.level[self.site, ANGULAR[self.orbital]]
        for operator, diagonal in enumerate((levels, np.ones(n))):
            parts = np.split(sums.take(place + 81 * operator, axis=1), [len(real), len(angle)])
            for matrix, part in ((cosines, parts[0]), (waves.real, parts[1])):
                np.add(part, part.swapaxes(1, 2), out=matrix[operator])
                np.einsum("kii->ki", matrix[operator])[...] += diagonal
            np.subtract(parts[2], parts[2].swapaxes(1, 2), out=waves.imag[operator])
        return cosines, waves

    def groups(self) -> Floats:
        """Of the orbitals of a shell, the mean over the sites of an orbit: (3 n_orbits, n)."""
        orbit, n = self.crystal.orbit, len(self.site)
        mean = np.zeros((3 * (orbit.max() + 1), n))
        own = orbit[self.site]
        mean[3 * own + ANGULAR[self.orbital], np.arange(n)] = 1 / np.bincount(orbit)[own]
        return mean

    def bands(self, states: Iterable[States]) -> Bands:
        """From all that was solved."""
        orbit = self.crystal.orbit
        one = np.empty(orbit.max() + 1, dtype=np.int64)
        one[orbit] = np.arange(len(orbit))
        energy = np.empty((len(self.points), len(self.site)))
        share = np.empty((3 * len(one), *energy.shape))
        for some in states:
            place = some.k[:, None], some.first_band[:, None] + np.arange(some.energy.shape[1])
            energy[place], share[:, *place] = some.energy, some.share.swapaxes(0, 1)
        n_electrons = electrons_of(self.crystal.atomic_numbers[one])
        level = np.nan_to_num(self.level[one])
        return Bands(energy, share, self.grid.shares, self.weights, orbit, n_electrons, level)


def models_of(cells: Sequence[PhysicalCell]) -> list[Model]:
    """The models of crystals, whose bonds are computed together."""
    crystals = [symmetrised((cell, x - np.floor(x), g.atomic_numbers)) for cell, x, g in cells]
    hoppings = hoppings_of(crystals, [graph for *_, graph in cells])
    return [
        Model.of(cell[0], crystal, own)
        for cell, crystal, own in zip(cells, crystals, hoppings, strict=True)
    ]


def hoppings_of(
    crystals: Sequence[SymmetrisedCrystal], graphs: Sequence[RadiusGraph]
) -> list[Hoppings]:
    """Blocks of all bonds of some crystals."""
    first = np.cumsum([0, *(graph.n_sites for graph in graphs)])  # of the sites, numbered through
    n_edges = [graph.n_edges for graph in graphs]
    j, i = np.concatenate([g.edge_index for g in graphs], axis=1) + np.repeat(first[:-1], n_edges)
    image = np.concatenate([graph.edge_image for graph in graphs])
    x, y, z = image.T
    ahead = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    code = i * first[-1] + j
    kept = np.flatnonzero((i < j) | ((i == j) & ahead))
    kept = kept[np.argsort(code[kept], kind="stable")]
    i, j, image, code = i[kept], j[kept], image[kept], code[kept]
    start = np.flatnonzero(np.diff(code, prepend=-1))
    frac_coords = np.concatenate([crystal.frac_coords for crystal in crystals])
    vector = frac_coords[j] + image - frac_coords[i]
    ends = np.searchsorted(i, first)  # of the bonds of each crystal
    own = [slice(*some) for some in itertools.pairwise(ends)]
    place = np.concatenate([vector[o] @ c.lattice for o, c in zip(own, crystals, strict=True)])
    distance = np.sqrt((place * place).sum(axis=1))
    numbers = np.concatenate([graph.atomic_numbers for graph in graphs])
    integrals = pair_integrals(numbers[i], numbers[j], distance)
    inside = np.clip((CUTOFF - distance) / TAPER, 0.0, 1.0)
    integrals *= (0.5 - 0.5 * np.cos(np.pi * inside))[:, None, None]
    block = bond_blocks(place / np.maximum(distance, 1e-9)[:, None], integrals)
    pair = np.stack([i[start], j[start]], axis=1)
    pairs = [slice(*some) for some in itertools.pairwise(np.searchsorted(start, ends))]
    return [
        Hoppings(pair[p] - n, start[p] - o.start, image[o], vector[o], block[o])
        for p, o, n in zip(pairs, own, first[:-1], strict=True)
    ]


def n_orbitals(atomic_numbers: Ints) -> int:
    """Orbitals of a cell: 1 of H and He, 9 where a d shell takes part, else 4 of an atom."""
    return int((~np.isnan(levels_of(atomic_numbers)[:, ANGULAR])).sum())
