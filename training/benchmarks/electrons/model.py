"""The tight-binding model in parts: matrices, states, populations; so that parts can be changed.

What :mod:`matminer_unate.physics.tight_binding` does, as plainly as can be: the matrices of
a crystal are made once, at all k points of the grid (of k and −k, one), and solved with several
Hamiltonians; each site is an orbit of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.symmetrised import SymmetrisedCrystal, symmetrised
from matminer_unate.featurizers.rows import PlacedCrystal
from matminer_unate.physics.atoms import Ints, electrons_of, levels_of, solved_element
from matminer_unate.physics.bond_blocks import ANGULAR, bond_blocks
from matminer_unate.physics.eigenstates import SMALLEST_OVERLAP
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.k_points import irreducible_points, k_grid
from matminer_unate.physics.tight_binding import CUTOFF, TAPER, Bands
from matminer_unate.physics.two_centre import pair_integrals

Bonds = tuple[Ints, Ints, Floats]
"""i, j (n_bonds,) and vectors from i to j (n_bonds, 3) in Å; each bond in both directions."""


@dataclass(frozen=True)
class Matrices:
    """Hamiltonian and overlap of a crystal, and what they are made of.

    Attributes
    ----------
    z : (n_sites,)
        Atomic numbers; of superheavy elements, those of the row above, whose atoms stand for them.
    bonds : Bonds
    used : (n_orbitals,)
        Orbital o of site i is 9 i + o.
    level : (n_sites, 3) eV
    electrons : (n_sites,)
    grid_shares : (n_grids,)
    grid_weights : (n_grids, n_k)
        Of the grids of k points that are mixed.
    phase : (n_k, n_bonds)
    H, S : (n_k, n_orbitals, n_orbitals)
    overlap_values, overlap_vectors
        Of S, the values raised to ``SMALLEST_OVERLAP``.
    """

    crystal: SymmetrisedCrystal
    z: Ints
    bonds: Bonds
    used: Ints
    level: Floats
    electrons: Floats
    grid_shares: Floats
    grid_weights: Floats
    phase: NDArray
    H: NDArray
    S: NDArray
    overlap_values: Floats
    overlap_vectors: NDArray

    @property
    def site(self) -> Ints:
        return self.used // 9

    @property
    def shell(self) -> Ints:
        """0, 1, 2 for s, p, d, of each orbital."""
        return ANGULAR[self.used % 9]

    def bloch_sums(self, blocks: Floats) -> tuple[NDArray, NDArray]:
        """Blocks of bonds → two matrices; see :func:`bloch_sums`."""
        return bloch_sums(blocks, self.phase, self.bonds, self.used)

    def shifted(self, shift: Floats) -> NDArray:
        """H where the levels of the orbitals are shifted by (n_orbitals,) eV: ½ S (Δa + Δb)."""
        return self.H + 0.5 * self.S * (shift[:, None] + shift)


@dataclass(frozen=True)
class States:
    """Energies (n_k, n_bands), coefficients c, S c and S^½ c, (n_k, n_orbitals, n_bands) each."""

    energy: Floats
    c: NDArray
    dual: NDArray
    orthogonal: NDArray


def matrices_of(crystal: PlacedCrystal) -> Matrices:
    """Those of the crystal with its symmetry made exact, in its primitive cell."""
    numbers = crystal.graph.atomic_numbers
    exact = symmetrised((crystal.lattice, crystal.frac_coords % 1, numbers))
    level = levels_of(numbers)
    used = np.flatnonzero(~np.isnan(level[:, ANGULAR]))
    grid = k_grid(exact.lattice, len(used))
    points, weights = irreducible_points(grid, np.eye(3, dtype=np.int64)[None])
    (j, i), image = crystal.graph.edge_index, crystal.graph.edge_image
    bonds = i, j, (exact.frac_coords[j] + image - exact.frac_coords[i]) @ exact.lattice
    phase = np.exp(2j * np.pi * points @ image.T)
    if (2 * points % 1 == 0).all():
        phase = phase.real
    z = solved_element(numbers)
    H, S = bloch_sums(blocks(z, bonds), phase, bonds, used)
    diagonal = np.arange(len(used))
    H[:, diagonal, diagonal] += level[:, ANGULAR].ravel()[used]
    S[:, diagonal, diagonal] += 1.0
    s, U = np.linalg.eigh(S)
    return Matrices(
        crystal=exact,
        z=z,
        bonds=bonds,
        used=used,
        level=np.nan_to_num(level),
        electrons=electrons_of(numbers),
        grid_shares=grid.shares,
        grid_weights=weights,
        phase=phase,
        H=H,
        S=S,
        overlap_values=np.maximum(s, SMALLEST_OVERLAP),
        overlap_vectors=U,
    )


def blocks(z: Ints, bonds: Bonds) -> Floats:
    """Hopping (eV) and overlap between the orbitals of two sites, (n_bonds, 2, 9, 9)."""
    i, j, vector = bonds
    return turned(pair_integrals(z[i], z[j], np.linalg.norm(vector, axis=1)), vector)


def turned(integrals: Floats, vector: Floats) -> Floats:
    """Integrals along bonds (n_bonds, 2, 14) → blocks, which go to zero at the cutoff."""
    distance = np.linalg.norm(vector, axis=1)
    inside = np.clip((CUTOFF - distance) / TAPER, 0.0, 1.0)
    taper = 0.5 - 0.5 * np.cos(np.pi * inside)
    found = bond_blocks(vector / distance[:, None], integrals * taper[:, None, None])
    return found.reshape(-1, 2, 9, 9)


def bloch_sums(blocks: Floats, phase: NDArray, bonds: Bonds, used: Ints) -> tuple[NDArray, NDArray]:
    """Blocks of bonds (n_bonds, 2, 9, 9) → two matrices (n_k, n_orbitals, n_orbitals)."""
    i, j, _ = bonds
    n = used[-1] // 9 + 1
    sums = np.zeros((2, len(phase), n, 9, n, 9), phase.dtype)
    for pair in np.unique(n * i + j):
        these = np.flatnonzero(n * i + j == pair)
        of_pair = np.tensordot(phase[:, these], blocks[these], 1)
        sums[:, :, pair // n, :, pair % n] = of_pair.swapaxes(0, 1)
    H, S = sums.reshape(2, -1, 9 * n, 9 * n)[:, :, used[:, None], used]
    return H, S


def solve(m: Matrices, H: NDArray | None = None) -> States:
    """States of the crystal's own Hamiltonian or of another one."""
    root = np.sqrt(m.overlap_values)[:, None, :]
    U = m.overlap_vectors
    X = U / root
    energy, v = np.linalg.eigh(X.conj().swapaxes(1, 2) @ (m.H if H is None else H) @ X)
    return States(energy, X @ v, (U * root) @ v, U @ v)


Population = Callable[[States], Floats]
"""States → share of each orbital, (n_k, n_orbitals, n_bands); 1 in sum over the orbitals."""


def _normalised(weight: Floats) -> Floats:
    return weight / weight.sum(axis=1, keepdims=True)


POPULATIONS: dict[str, Population] = {
    "Mulliken": lambda s: (s.c.conj() * s.dual).real,
    "Löwdin": lambda s: np.abs(s.orthogonal) ** 2,
    "projected": lambda s: _normalised(np.abs(s.dual) ** 2),
    "net": lambda s: _normalised(np.abs(s.c) ** 2),
}
"""Re c* S c; |S^½ c|²; |⟨a|ψ⟩|² = |S c|² and |c|², both scaled to a sum of 1."""


def bands_of(m: Matrices, energy: Floats, share: Floats) -> Bands:
    """States with the shares of their orbitals → bands with the shares of sites and shells."""
    n = len(m.z)
    belongs = np.arange(3 * n)[:, None] == 3 * m.site + m.shell
    by_channel = (belongs @ share).swapaxes(0, 1)
    return Bands(
        energy, by_channel, m.grid_shares, m.grid_weights, np.arange(n), m.electrons, m.level
    )


def both_spins(up: Bands, down: Bands) -> Bands:
    """One set of bands from two, filled together."""
    return replace(
        up,
        energy=np.concatenate([up.energy, down.energy]),
        share=np.concatenate([up.share, down.share], axis=1),
        grid_weights=0.5 * np.concatenate([up.grid_weights, down.grid_weights], axis=1),
    )
