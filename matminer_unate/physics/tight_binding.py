"""Crystal → what a tight-binding model says of each site: charges, populations, local densities.

No label of any crystal goes into it: it makes columns of its own, and is a teacher for pretraining.
Two-centre density-functional tight binding from free atoms
(:mod:`matminer_unate.physics.free_atoms`),
without self-consistency of the charges (Porezag et al., Phys. Rev. B 51, 12947 (1995),
doi:10.1103/PhysRevB.51.12947):

* levels of single atoms on the diagonal;
* between sites ⟨a|T + v_a + v_b|b⟩ and ⟨a|b⟩ of contracted s, p and d orbitals, turned into
  place as by Slater and Koster (Phys. Rev. 94, 1498 (1954), doi:10.1103/PhysRev.94.1498);
* bands at a few k points, filled with the valence electrons, shared among sites as by Mulliken
  (J. Chem. Phys. 23, 1833 (1955), doi:10.1063/1.1740588).

There is no crystal field and no spin: gaps come out too large (Si 7 eV) and magnetic insulators as
metals. What counts is that the numbers go with those of real electrons.

Energies in eV, lengths in Å, unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.crystals.symmetrised import SymmetrisedCrystal, symmetrised
from matminer_unate.physics.eigenstates import eigenstates
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.free_atoms import HARTREE, valence
from matminer_unate.physics.k_points import irreducible_points, k_grid
from matminer_unate.physics.slater_koster import ANGULAR, blocks
from matminer_unate.physics.two_centre import two_centre

Ints = NDArray[np.int64]

CUTOFF, TAPER = 5.0, 0.5
"""Å. Hoppings go to zero smoothly over the last ``TAPER``."""

LARGE = 2_000
"""Orbitals. Larger cells, which have Γ alone, are solved in single precision: half the time and
memory."""

PARITY = (-1.0) ** ANGULAR
"""Of orbitals where the crystal is turned inside out."""


@dataclass(frozen=True)
class Bands:
    """Bands of a crystal, shared among orbits of sites: sets of sites that symmetry makes equal.

    Attributes
    ----------
    energy : (n_k, n_bands) eV, ascending
    share : (n_k, 3 n_orbits, n_bands)
        Of each state on the s, p and d orbitals of a site, the mean over the sites of an orbit.
        Summed over all sites it is 1. As the orbitals overlap, shares can be a little below 0 or
        above 1.
    grid_shares : (n_grids,)
    grid_weights : (n_grids, n_k)
        Of the grids of k points that are mixed; each sums to 1.
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
    """What the matrices of all k points are made of; each bond is there in one direction.

    Attributes
    ----------
    pair : (n_pairs, 2)
        Sites between which there are bonds.
    start : (n_pairs + 1,)
        Where the bonds of each pair begin.
    image : (n_bonds, 3)
        The cell that the second site is in.
    vector : (n_bonds, 3)
        From site to site, fractional.
    block : (n_bonds, 162)
        Hopping (eV) and overlap of 9 by 9 orbitals.
    position : (n_sites, 9)
        Of orbitals in the matrices, -1 where there is no such shell.
    level : (n_orbitals,) eV
    """

    pair: Ints
    start: Ints
    image: Ints
    vector: Floats
    block: Floats
    position: Ints
    level: Floats


def solve(lattice: Floats, frac_coords: Floats, graph: RadiusGraph) -> Bands:
    """Bands of the model, on a grid of k points that depends on the size of the cell."""
    z = graph.atomic_numbers
    shells = {int(k): valence(int(k)) for k in np.unique(z)}
    level = HARTREE * np.array([shells[k].level for k in z.tolist()])
    electrons = np.array([shells[k].n_electrons for k in z.tolist()])
    used = ~np.isnan(level[:, ANGULAR])
    size = int(used.sum())
    wrapped = frac_coords - np.floor(frac_coords)
    crystal = symmetrised((lattice, wrapped, z))
    grid = k_grid(lattice, size)
    points, weights = irreducible_points(grid, crystal.rotations)
    hoppings = hoppings_of(crystal, graph, level)
    orbit = crystal.orbits()
    representative = np.unique(orbit, return_index=True)[1]
    site, orbital = np.nonzero(used)
    mean = np.zeros((3 * len(representative), size))  # over the sites of an orbit
    mean[3 * orbit[site] + ANGULAR[orbital], np.arange(size)] = 1 / np.bincount(orbit)[orbit[site]]

    energy, share = np.empty((len(points), size)), np.empty((len(points), len(mean), size))
    for those, H, S, mean_of_basis in matrices(hoppings, points, crystal, mean):
        energy[those], share[those] = eigenstates(H, S, mean_of_basis)
    level = np.nan_to_num(level[representative])
    return Bands(energy, share, grid.shares, weights, orbit, electrons[representative], level)


def matrices(
    hoppings: Hoppings, points: Floats, crystal: SymmetrisedCrystal, mean: Floats
) -> Iterator[tuple[NDArray[np.bool_], NDArray, NDArray, Floats]]:
    """Which of the k points, Hamiltonian and overlap there, and ``mean`` in their basis.

    The matrices are real where k and −k are the same point, and in a basis of even and odd pairs of
    orbitals where the crystal has a centre of inversion.
    """
    halves = np.abs(2 * points - np.rint(2 * points)).max(axis=1) < 1e-9
    partner = None if halves.all() else inverted_sites(crystal)
    if partner is not None:
        along = 2 * np.pi * points @ hoppings.vector.T
        bloch = bloch_sums(hoppings, np.exp(1j * along))
        basis = EvenAndOdd.of(partner, hoppings.position)
        H, S = (basis.real_form(matrix) for matrix in bloch)
        yield np.ones(len(points), dtype=bool), H, S, basis.columns(mean)
        return
    for those, real in ((halves, True), (~halves, False)):
        if those.any():
            angle = 2 * np.pi * points[those] @ hoppings.image.T
            H, S = bloch_sums(hoppings, np.cos(angle) if real else np.exp(1j * angle))
            yield those, H, S, mean


@dataclass(frozen=True)
class EvenAndOdd:
    """Orbitals of sites that inversion takes to each other, combined so that matrices are real.

    With orbital a of site i, its parity s, and the site p(i) at the other side of the centre, the
    basis is u⁺ = (a_i + s a_p(i)) / √2 and u⁻ = i (a_i − s a_p(i)) / √2, and on sites at the centre
    a for even and i a for odd orbitals. Inversion combined with complex conjugation takes each of
    these to itself, so that the elements between them are real at every k, where the phase of a
    bond is that of its vector.

    Attributes
    ----------
    one, other, own : arrays of int
        Positions of orbitals on the first and second site of pairs, and on the centre.
    parity : (n_pairs,)
    phase : (n_own,)
        1 or i.
    """

    one: Ints
    other: Ints
    own: Ints
    parity: Floats
    phase: NDArray[np.complex128]

    @classmethod
    def of(cls, partner: Ints, position: Ints) -> EvenAndOdd:
        """For sites (n_sites,) at the other side, and positions (n_sites, 9) of orbitals."""
        site = np.arange(len(partner))
        first, middle = position[site < partner], position[site == partner]
        present, odd = first >= 0, np.broadcast_to(PARITY < 0, middle.shape)[middle >= 0]
        return cls(
            first[present],
            position[partner[site < partner]][present],
            middle[middle >= 0],
            np.broadcast_to(PARITY, first.shape)[present],
            np.where(odd, 1j, 1.0),
        )

    def columns(self, matrix: Floats) -> Floats:
        """Columns of orbitals → columns of the basis, where both of a pair have the same."""
        return matrix[:, np.concatenate([self.one, self.one, self.own])]

    def real_form(self, matrix: NDArray[np.complex128]) -> Floats:
        """Hermitian matrices (n_k, n, n) in the basis u⁺, u⁻, own."""
        n, rows = len(self.one), matrix[:, self.one]
        A, B = rows[:, :, self.one], rows[:, :, self.other] * self.parity
        result = np.empty(matrix.shape)
        result[:, :n, :n], result[:, n : 2 * n, n : 2 * n] = (A + B).real, (A - B).real
        result[:, n : 2 * n, :n] = (A + B).imag
        result[:, :n, n : 2 * n] = (B - A).imag
        F = np.sqrt(2) * rows[:, :, self.own] * self.phase
        result[:, :n, 2 * n :], result[:, n : 2 * n, 2 * n :] = F.real, F.imag
        result[:, 2 * n :, : 2 * n] = result[:, : 2 * n, 2 * n :].swapaxes(1, 2)
        middle = matrix[:, self.own[:, None], self.own] * self.phase
        result[:, 2 * n :, 2 * n :] = (middle * self.phase.conj()[:, None]).real
        return result


def inverted_sites(crystal: SymmetrisedCrystal) -> Ints | None:
    """The site that inversion takes each one to, or None where there is no inversion."""
    found = np.flatnonzero((crystal.rotations == -np.eye(3, dtype=np.int64)).all(axis=(1, 2)))
    return crystal.images[found[0]] if len(found) else None


def hoppings_of(crystal: SymmetrisedCrystal, graph: RadiusGraph, level: Floats) -> Hoppings:
    """Blocks of all bonds, with levels (n_sites, 3) of the atoms in eV."""
    n = graph.n_sites
    j, i = graph.edge_index
    image = graph.edge_image
    ahead = np.where(image[:, 0] != 0, image[:, 0], np.where(image[:, 1] != 0, image[:, 1], image[:, 2])) > 0
    kept = np.flatnonzero((i < j) | ((i == j) & ahead))
    kept = kept[np.argsort(i[kept] * n + j[kept], kind="stable")]
    i, j, image = i[kept], j[kept], image[kept]
    vector = crystal.frac_coords[j] + image - crystal.frac_coords[i]
    pair, start = np.unique(i * n + j, return_index=True)
    used = ~np.isnan(level[:, ANGULAR])
    position = np.where(used, np.cumsum(used).reshape(used.shape) - 1, -1)
    return Hoppings(
        np.stack([pair // n, pair % n], axis=1),
        np.append(start, len(i)),
        image,
        vector,
        bond_blocks(graph.atomic_numbers[i], graph.atomic_numbers[j], vector @ crystal.lattice),
        position,
        level[:, ANGULAR][used],
    )


def bond_blocks(zi: Ints, zj: Ints, vector: Floats) -> Floats:
    """Hopping (eV) and overlap between the orbitals of two sites, (n_bonds, 2 · 81)."""
    distance = np.sqrt(np.einsum("nx,nx->n", vector, vector))
    integrals = np.empty((len(vector), 2, 14))
    code = 128 * zi + zj
    for c in np.unique(code):
        these = code == c
        integrals[these] = two_centre(int(c // 128), int(c % 128), distance[these])
    inside = np.clip((CUTOFF - distance) / TAPER, 0.0, 1.0)
    by_channel = np.ascontiguousarray(integrals.transpose(2, 1, 0))
    by_channel *= 0.5 - 0.5 * np.cos(np.pi * inside)
    unit = vector.T / np.maximum(distance, 1e-9)
    return blocks(unit, by_channel).transpose(3, 2, 0, 1).reshape(len(vector), -1)


def bloch_sums(hoppings: Hoppings, phase: NDArray) -> tuple[NDArray, NDArray]:
    """Hamiltonian (eV) and overlap at k points, (n_k, n, n) each, from phases (n_k, n_bonds)."""
    n_k, n_bonds = phase.shape
    size, n_pairs = len(hoppings.level), len(hoppings.pair)
    # One sparse matrix for all k points: a row is a pair of sites at one of them.
    columns = np.tile(np.arange(n_bonds), n_k)
    starts = (n_bonds * np.arange(n_k)[:, None] + hoppings.start[:-1]).ravel()
    starts = np.append(starts, n_bonds * n_k)
    rows, cols = hoppings.position[hoppings.pair].swapaxes(0, 1)
    place = rows[:, :, None] * size + cols[:, None, :]
    there = ((rows >= 0)[:, :, None] & (cols >= 0)[:, None, :]).ravel()
    place = place.ravel()[there]

    sums = np.zeros((2, n_k, size * size), phase.dtype if size <= LARGE else np.float32)
    for part, unit in ((phase.real, 1), (phase.imag, 1j)) if np.iscomplexobj(phase) else ((phase, 1),):
        summed = csr_array((part.ravel(), columns, starts), (n_k * n_pairs, n_bonds)) @ hoppings.block
        for k, of_k in enumerate(summed.reshape(n_k, n_pairs, 2, 81)):
            for kind in (0, 1):
                sums[kind, k, place] += unit * of_k[:, kind].ravel()[there]
    H, S = sums.reshape(2, n_k, size, size)
    H, S = H + H.conj().swapaxes(1, 2), S + S.conj().swapaxes(1, 2)
    diagonal = np.arange(size)
    H[:, diagonal, diagonal] += hoppings.level
    S[:, diagonal, diagonal] += 1.0
    return H, S


def n_orbitals(atomic_numbers: Ints) -> int:
    """Orbitals of a cell: 1 of H and He, 9 where a d shell takes part, else 4 of an atom."""
    elements, counts = np.unique(atomic_numbers, return_counts=True)
    levels = np.array([valence(int(z)).level[ANGULAR] for z in elements])
    return int(counts @ (~np.isnan(levels)).sum(axis=1))
