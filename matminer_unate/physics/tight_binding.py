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

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.crystals.symmetrised import SymmetrisedCrystal, symmetrised
from matminer_unate.physics.atoms import Ints, electrons_of, levels_of
from matminer_unate.physics.bond_blocks import ANGULAR, bond_blocks
from matminer_unate.physics.eigenstates import Eigenproblems, eigenstates
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.inversion import Inversion
from matminer_unate.physics.k_points import irreducible_points, k_grid
from matminer_unate.physics.two_centre import pair_integrals

CUTOFF, TAPER = 5.0, 0.5
"""Å. Hoppings go to zero smoothly over the last ``TAPER``."""

LARGE = 1_000
"""Orbitals. Larger cells, which have Γ alone, are solved in single precision: half the time and
memory."""
SPLIT = 64
"""Orbitals. In smaller cells, even and odd states take less time together than by themselves."""


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
    """What the matrices of all k points are made of; each bond is there in one direction.

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
    """Bands of the model, on a grid of k points that depends on the size of the cell.

    Parameters
    ----------
    lattice : (3, 3) float64, Å
        Reduced, lattice vectors as rows.
    frac_coords : (n_sites, 3)
    graph : RadiusGraph
        Of the bonds within ``CUTOFF``, none drawn in.
    """
    z = graph.atomic_numbers
    level = levels_of(z)
    used = ~np.isnan(level[:, ANGULAR])
    grid = k_grid(lattice, int(used.sum()))
    crystal = symmetrised((lattice, frac_coords - np.floor(frac_coords), z))
    points, weights = irreducible_points(grid, crystal.rotations)
    hoppings = hoppings_of(crystal, graph, level, used)

    orbit = crystal.orbits()
    site, orbital = np.nonzero(used)
    n_orbits, size = orbit.max() + 1, len(site)
    mean = np.zeros((3 * n_orbits, size))  # of the orbitals of a shell, over the sites of an orbit
    mean[3 * orbit[site] + ANGULAR[orbital], np.arange(size)] = 1 / np.bincount(orbit)[orbit[site]]

    energy, share = np.empty((len(points), size)), np.empty((len(mean), len(points), size))
    for some in eigenproblems(hoppings, points, crystal, mean):
        bands = slice(some.first_band, some.first_band + some.H.shape[1])
        energy[some.k, bands], found = eigenstates(some)
        share[:, some.k, bands] = found.swapaxes(0, 1)
    one = np.empty(n_orbits, dtype=np.int64)
    one[orbit] = np.arange(len(z))
    level = np.nan_to_num(level[one])
    return Bands(energy, share, grid.shares, weights, orbit, electrons_of(z[one]), level)


def eigenproblems(
    hoppings: Hoppings, points: Floats, crystal: SymmetrisedCrystal, mean: Floats
) -> Iterator[Eigenproblems]:
    """What is to be solved for the bands at k points, in matrices as small and real as can be.

    Where k and −k are the same point matrices are real, and with a centre of inversion fall apart
    into even and odd states. Elsewhere they are real if there is a centre of inversion.
    """
    inversion = Inversion.of(crystal, hoppings.position)
    own_opposite = (2 * points % 1 == 0).all(axis=1)
    if inversion is not None and len(hoppings.level) < SPLIT and not own_opposite.all():
        own_opposite[:] = False  # all at once
    for real in (True, False):
        k = np.flatnonzero(own_opposite == real)
        if not len(k):
            continue
        if real:
            H, S = bloch_sums(hoppings, np.cos(2 * np.pi * points[k] @ hoppings.image.T))
        else:
            H, S = bloch_sums(hoppings, np.exp(2j * np.pi * points[k] @ hoppings.vector.T))
        problem = Eigenproblems(k, 0, H, S, mean)
        if inversion is None or (real and len(hoppings.level) < SPLIT):
            yield problem
        elif real:
            yield from inversion.even_and_odd(problem, points[k])
        else:
            yield inversion.made_real(problem)


def hoppings_of(
    crystal: SymmetrisedCrystal, graph: RadiusGraph, level: Floats, used: NDArray[np.bool_]
) -> Hoppings:
    """Blocks of all bonds.

    Parameters
    ----------
    crystal, graph
    level : (n_sites, 3) eV
    used : (n_sites, 9)
        Which orbitals there are.
    """
    n = graph.n_sites
    j, i = graph.edge_index
    x, y, z = graph.edge_image.T
    ahead = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    code = i * n + j
    kept = np.flatnonzero((i < j) | ((i == j) & ahead))
    kept = kept[np.argsort(code[kept], kind="stable")]
    i, j, image, code = i[kept], j[kept], graph.edge_image[kept], code[kept]
    start = np.flatnonzero(np.diff(code, prepend=-1))
    vector = crystal.frac_coords[j] + image - crystal.frac_coords[i]
    place = vector @ crystal.lattice
    distance = np.sqrt((place * place).sum(axis=1))
    integrals = pair_integrals(graph.atomic_numbers[i], graph.atomic_numbers[j], distance)
    inside = np.clip((CUTOFF - distance) / TAPER, 0.0, 1.0)
    integrals *= (0.5 - 0.5 * np.cos(np.pi * inside))[:, None, None]
    return Hoppings(
        np.stack([i[start], j[start]], axis=1),
        start,
        image,
        vector,
        bond_blocks(place / np.maximum(distance, 1e-9)[:, None], integrals),
        np.where(used, np.cumsum(used).reshape(used.shape) - 1, -1),
        level[:, ANGULAR][used],
    )


def bloch_sums(hoppings: Hoppings, phase: NDArray) -> tuple[NDArray, NDArray]:
    """Hamiltonian (eV) and overlap at k points, (n_k, n, n) each, from phases (n_k, n_bonds)."""
    n_k, n_bonds = phase.shape
    size, n_pairs = len(hoppings.level), len(hoppings.pair)
    parts = phase.real[None] if np.isrealobj(phase) else np.stack([phase.real, phase.imag])
    # One sparse matrix for all k points: a row is a pair of sites at one of them.
    n_rows = len(parts) * n_k
    columns = np.tile(np.arange(n_bonds, dtype=np.int32), n_rows)
    starts = n_bonds * np.arange(n_rows + 1, dtype=np.int32)
    starts = np.append(starts[:-1, None] + hoppings.start.astype(np.int32), starts[-1])
    sums = csr_array((parts.ravel(), columns, starts), (n_rows * n_pairs, n_bonds)) @ hoppings.block
    sums = sums.reshape(len(parts), n_k, n_pairs, 2, 81)
    sums = sums[0] if len(parts) == 1 else sums[0] + 1j * sums[1]
    row, column = hoppings.position[hoppings.pair].swapaxes(0, 1)
    place = (row[:, :, None] * size + column[:, None, :]).reshape(n_pairs, 81)
    pair, element = np.nonzero(((row >= 0)[:, :, None] & (column >= 0)[:, None]).reshape(-1, 81))
    place = place[pair, element]
    kind = sums.dtype if size <= LARGE else np.float32
    matrices = []
    for operator, diagonal in enumerate((hoppings.level, 1.0)):
        upper = np.zeros((n_k, size * size), kind)
        upper[:, place] = sums[:, pair, operator, element]
        upper = upper.reshape(n_k, size, size)
        matrix = upper + upper.conj().swapaxes(1, 2)
        matrix[:, range(size), range(size)] += diagonal
        matrices.append(matrix)
    return matrices[0], matrices[1]


def n_orbitals(atomic_numbers: Ints) -> int:
    """Orbitals of a cell: 1 of H and He, 9 where a d shell takes part, else 4 of an atom."""
    return int((~np.isnan(levels_of(atomic_numbers)[:, ANGULAR])).sum())
