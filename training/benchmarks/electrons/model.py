"""The tight-binding model in parts: matrices, states, populations; so that parts can be changed.

What :func:`matminer_unate.physics.tight_binding.solve` does, kept apart: the matrices of a crystal
are made once, and solved with several Hamiltonians.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matminer_unate.physics.free_atoms import HARTREE, valence
from numpy.typing import NDArray

from matminer_unate.featurizers.tight_binding_stats import PrimitiveCrystal
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.tight_binding import (
    ANGULAR,
    SMALLEST_OVERLAP,
    Bands,
    bloch_sum,
    blocks,
    bonds,
    k_points,
)


@dataclass(frozen=True)
class Matrices:
    """Hamiltonian and overlap of a crystal, and what they are made of.

    Attributes
    ----------
    z : (n_sites,)
    bonds : (i, j, image, vector in Å)
    used : (n_orbitals,)
        Orbital o of site i is 9 i + o.
    level : (n_sites, 3) eV
    electrons : (n_sites,)
    weight : (n_k,)
    phase : (n_k, n_bonds)
    H, S : (n_k, n_orbitals, n_orbitals)
    overlap_values, overlap_vectors
        Of S, the values raised to ``SMALLEST_OVERLAP``.
    """

    crystal: PrimitiveCrystal
    z: NDArray[np.int64]
    bonds: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats]
    used: NDArray[np.int64]
    level: Floats
    electrons: Floats
    weight: Floats
    phase: NDArray
    H: NDArray
    S: NDArray
    overlap_values: Floats
    overlap_vectors: NDArray

    @property
    def site(self) -> NDArray[np.int64]:
        return self.used // 9

    @property
    def shell(self) -> NDArray[np.int64]:
        """0, 1, 2 for s, p, d, of each orbital."""
        return ANGULAR[self.used % 9]

    def bloch(self, block: Floats) -> NDArray:
        """Blocks of bonds (n_bonds, 9, 9) → matrices (n_k, n_orbitals, n_orbitals)."""
        i, j, _, _ = self.bonds
        return bloch_sum(block, self.phase, i * len(self.z) + j, len(self.z), self.used)

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


def matrices_of(crystal: PrimitiveCrystal) -> Matrices:
    """As in :func:`matminer_unate.physics.tight_binding.solve`."""
    z = crystal.graph.atomic_numbers
    shells = [valence(int(e)) for e in z]
    level = np.array([s.level for s in shells]) * HARTREE
    used = np.flatnonzero(~np.isnan(level[:, ANGULAR]))
    points, weight = k_points(crystal.lattice, len(used))
    found = bonds(crystal.lattice, crystal.frac_coords, crystal.graph)
    i, j, image, vector = found
    hopping, overlap = blocks(z[i], z[j], vector)
    angle = 2 * np.pi * points @ image.T
    real = np.abs(2 * points - np.rint(2 * points)).max() < 1e-9
    phase = np.cos(angle) if real else np.exp(1j * angle)
    H, S = (bloch_sum(b, phase, i * len(z) + j, len(z), used) for b in (hopping, overlap))
    diagonal = np.arange(len(used))
    H[:, diagonal, diagonal] += level[:, ANGULAR].ravel()[used]
    S[:, diagonal, diagonal] += 1.0
    s, U = np.linalg.eigh(S)
    electrons = np.array([shell.n_electrons for shell in shells])
    s = np.maximum(s, SMALLEST_OVERLAP)
    level = np.nan_to_num(level)
    return Matrices(crystal, z, found, used, level, electrons, weight, phase, H, S, s, U)


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
    channel = m.site * 3 + m.shell
    present, starts = np.unique(channel, return_index=True)
    by_channel = np.zeros((*energy.shape, 3 * len(m.z)))
    by_channel[:, :, present] = np.add.reduceat(share, starts, axis=1).swapaxes(1, 2)
    return Bands(energy, by_channel, m.weight, m.electrons, m.level)


def both_spins(up: Bands, down: Bands) -> Bands:
    """One set of bands from two, filled together."""
    return Bands(
        np.concatenate([up.energy, down.energy]),
        np.concatenate([up.share, down.share]),
        0.5 * np.concatenate([up.weight, down.weight]),
        up.n_electrons,
        up.level,
    )
