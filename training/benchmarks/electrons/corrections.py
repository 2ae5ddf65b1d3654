"""What the model leaves out: potentials of charges, crystal fields, exchange of open d shells.

Each is a change of levels or of blocks on the diagonal. Energies in eV, lengths in Å.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from benchmarks.electrons.model import Matrices, turned
from matminer_unate.crystals.formula import reduced_counts
from matminer_unate.crystals.lattice import cell_heights
from matminer_unate.physics.atoms import BOHR, HARTREE
from matminer_unate.physics.bond_blocks import ANGULAR
from matminer_unate.physics.elements import Floats, element_table, guess_oxidation_states
from matminer_unate.physics.tight_binding import CUTOFF, TAPER
from matminer_unate.physics.two_centre import CHANNELS
from slater_koster.free_atoms import (
    exchange_correlation,
    noble_core,
    radial_states,
    valence,
    valence_shells,
)
from slater_koster.integrals import LARGEST_SUM, angular, on_grid

COULOMB = 14.3996  # eV Å
ON_SITE = 0.7
"""Hubbard's U is this times ``COULOMB`` over the covalent radius: 15 eV for O, 10 for Cl, 6 for Na.
From free atoms: 13.5, 10.0 and 4.5 eV (Elstner et al., Phys. Rev. B 58, 7260 (1998))."""

STONER = {4: 0.8, 5: 0.6, 6: 0.5}
"""eV by row. Of one unpaired electron; between those of metals (Janak, Phys. Rev. B 16, 255 (1977))
and of free ions."""


def oxidation_states(z: NDArray[np.int64]) -> Floats:
    """Guessed, of each site."""
    formula = reduced_counts(z)
    guess, _ = guess_oxidation_states(formula)
    place = np.searchsorted([element for element, _ in formula], z)
    return np.array(guess)[place]


def ewald(lattice: Floats, frac_coords: Floats) -> Floats:
    """Potential at site i of unit charges on the images of site j, 1/Å, of a neutral cell (n, n).

    Ewald, Ann. Phys. 369, 253 (1921), doi:10.1002/andp.19213690304. A site's own images count, it
    itself does not; a uniform background, which cancels where the charges do, is left out.
    """
    heights, volume = cell_heights(lattice)
    eta = np.sqrt(np.pi) / volume ** (1 / 3)
    reach, highest = 3.0 / eta, 6.0 * eta
    delta = frac_coords[None] - frac_coords[:, None]
    delta -= np.rint(delta)
    images = _grid(np.ceil(reach / np.array(heights) + 0.5))
    distance = np.linalg.norm((delta[:, :, None] + images) @ lattice, axis=-1)
    own = distance < 1e-6
    distance[own] = 1.0
    real = np.where(own, 0.0, erfc(eta * distance) / distance).sum(axis=-1)
    waves = _grid(np.ceil(highest * np.linalg.norm(lattice, axis=1) / (2 * np.pi)))
    waves = waves[np.abs(waves).sum(axis=1) > 0]
    length = np.linalg.norm(2 * np.pi * waves @ np.linalg.inv(lattice).T, axis=1)
    waves, length = waves[length < highest], length[length < highest]
    factor = 4 * np.pi / volume * np.exp(-((length / (2 * eta)) ** 2)) / length**2
    reciprocal = np.cos(2 * np.pi * delta @ waves.T) @ factor
    return real + reciprocal - np.eye(len(frac_coords)) * 2 * eta / np.sqrt(np.pi)


def _grid(n: Floats) -> Floats:
    axes = [np.arange(-int(m), int(m) + 1) for m in n]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(float)


def potential_shift(m: Matrices, charge: Floats) -> Floats:
    """Levels of electrons on sites in the field of charges (e, cations above 0), (n_sites,).

    −U q of the site itself, and −Σ q / √(d² + a²) of the others with a = ½ C (1/Uᵢ + 1/Uⱼ) (Ohno,
    Theor. Chim. Acta 2, 219 (1964), doi:10.1007/BF00528281), 1/d beyond the cutoff of the bonds.
    """
    charge = charge - charge.mean()
    U = ON_SITE * COULOMB / element_table().radius[m.z]
    v = COULOMB * ewald(m.crystal.lattice, m.crystal.frac_coords)
    i, j, vector = m.bonds
    d = np.linalg.norm(vector, axis=1)
    a = 0.5 * COULOMB * (1 / U[i] + 1 / U[j])
    inside = np.clip((CUTOFF - d) / TAPER, 0.0, 1.0)
    damped = COULOMB * (1 / np.sqrt(d**2 + a**2) - 1 / d) * inside
    np.add.at(v, (i, j), damped)
    v[np.diag_indices(len(U))] += U
    return -v @ charge


FIELD_DISTANCES = np.arange(1.2, 10.01, 0.4)
"""Bohr. Where integrals of the crystal field are tabulated."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(28)


@cache
def field_table(z1: int, z2: int) -> Floats:
    """⟨a|v₂|b⟩ of orbitals on atom 1 at ``FIELD_DISTANCES``, (n_distances, 2, 14), eV.

    First the potential that atom 2 adds to that of atom 1, v₂ being nonlinear in the densities:
    v₂ − v_xc(n₂) + v_xc(n₁ + n₂) − v_xc(n₁). Second what orthogonality to its core adds (Phillips
    and Kleinman, Phys. Rev. 116, 287 (1959), doi:10.1103/PhysRev.116.287): Σ ⟨a|c⟩ (E − E_c) ⟨c|b⟩
    over its s, p and d core states c, E the mean level of a and b.
    """
    one, two = valence(z1), valence(z2)
    d = FIELD_DISTANCES[:, None, None]
    p_end = np.arccosh(LARGEST_SUM / d + 1.0)
    p = 0.5 * p_end * (_NODES[:, None] + 1)
    q = 0.5 * np.pi * (_NODES[None, :] + 1)
    mu, nu = np.cosh(p), np.cos(q)
    volume = (d / 2) ** 3 * (mu**2 - nu**2) * np.sinh(p) * np.sin(q)
    volume *= 0.5 * p_end * _WEIGHTS[:, None] * 0.5 * np.pi * _WEIGHTS[None, :]
    r1, r2 = 0.5 * d * (mu + nu), 0.5 * d * (mu - nu)
    height = 0.5 * d * (mu * nu + 1)
    across = 0.5 * d * np.sqrt(np.maximum((mu**2 - 1) * (1 - nu**2), 0.0))
    orbitals = on_grid(one, r1)[:3]
    log_r2, log_grid = np.log(r2), np.log(two.atom.r)
    v2 = np.interp(log_r2, log_grid, two.atom.potential * two.atom.r, right=0.0) / r2
    n1, n2 = density_at(z1, r1), density_at(z2, r2)
    v2 = v2 + exchange_correlation(n1 + n2) - exchange_correlation(n1) - exchange_correlation(n2)
    angles1 = angular(height / r1, across / r1)
    angles2 = angular((height - d) / r2, across / r2)
    core = [
        (energy, ell, np.interp(log_r2, log_grid, radial, right=0.0) * volume)
        for energy, ell, radial in core_states(z2)
    ]
    table = np.zeros((len(FIELD_DISTANCES), 2, len(CHANNELS)))
    overlaps = {
        (a, m, k): (orbitals[a] * angles1[a, m] * angles2[ell, m] * radial).sum(axis=(1, 2))
        for a in range(3)
        if not np.isnan(one.level[a])
        for k, (_, ell, radial) in enumerate(core)
        for m in range(min(a, ell) + 1)
    }
    for channel, (a, b, m) in enumerate(CHANNELS):
        if np.isnan(one.level[a] + one.level[b]):
            continue
        product = orbitals[a] * orbitals[b] * angles1[a, m] * angles1[b, m] * volume
        table[:, 0, channel] = HARTREE * (product * v2).sum(axis=(1, 2))
        level = 0.5 * (one.level[a] + one.level[b])
        for k, (energy, ell, _) in enumerate(core):
            if m <= ell:
                overlap = overlaps[a, m, k] * overlaps[b, m, k]
                table[:, 1, channel] += HARTREE * (level - energy) * overlap
    return table


@cache
def density(z: int) -> Floats:
    """Electrons of the free atom at its radii, 1/bohr³."""
    from pymatgen.core import Element

    atom = valence(z).atom
    shells = [
        (n, "spdf".index(ell), k) for n, ell, k in Element.from_Z(z).full_electronic_structure
    ]
    total = np.zeros_like(atom.r)
    for ell in {ell for _, ell, _ in shells}:
        occupied = [(n - ell - 1, k) for n, other, k in shells if other == ell]
        count = max(n for n, _ in occupied) + 1
        _, u = radial_states(atom.r, atom.step, atom.potential, 0.0, ell, count)
        for n, k in occupied:
            total += k * u[n] ** 2
    return total / (4 * np.pi * atom.r**2)


def density_at(z: int, radius: Floats) -> Floats:
    """The same at given radii (bohr), zero beyond the last."""
    logs = np.log(density(z) + 1e-30)
    return np.exp(np.interp(np.log(radius), np.log(valence(z).atom.r), logs, right=-70.0))


@cache
def free_levels(z: int) -> Floats:
    """Levels of the s, p and d shell without contraction, eV (3,); 0 where there is none."""
    atom, found = valence(z).atom, np.zeros(3)
    for ell, n in enumerate(valence_shells(z)):
        if n:
            energies, _ = radial_states(atom.r, atom.step, atom.potential, 0.0, ell, n - ell)
            found[ell] = HARTREE * energies[-1]
    return found


def towards_free_levels(m: Matrices, share: float) -> Floats:
    """Shift of each orbital from the level of the contracted to that of the free atom, times so."""
    free = np.array([free_levels(int(z)) for z in m.z])
    return share * (free - m.level)[m.site, m.shell]


@cache
def core_states(z: int) -> list[tuple[float, int, Floats]]:
    """Level (hartree), angular momentum and R(r) of the s, p and d states below the valence."""
    atom = valence(z).atom
    core, row = noble_core(z)
    found = []
    for ell, n in enumerate(valence_shells(z)):
        # The d shell before the row's own one is core where it is filled and no valence.
        first = n or (row if ell < 2 else row if z - core > 10 else row - 1)
        count = first - 1 - ell if ell < 2 or n else first - ell - 1
        if count > 0 and z > 2:
            energies, u = radial_states(atom.r, atom.step, atom.potential, 0.0, ell, count)
            found += [(float(e), ell, s / atom.r) for e, s in zip(energies, u, strict=True)]
    return found


def crystal_field(m: Matrices) -> tuple[Floats, Floats]:
    """Diagonal blocks of sites (n_sites, 9, 9): neighbours' potentials, and what cores add."""
    i, j, vector = m.bonds
    distance = np.linalg.norm(vector, axis=1)
    integrals = np.empty((len(vector), 2, len(CHANNELS)))
    code = 128 * m.z[i] + m.z[j]
    x = np.clip(distance / BOHR, FIELD_DISTANCES[0], FIELD_DISTANCES[-1])
    for c in np.unique(code):
        these = np.flatnonzero(code == c)
        integrals[these] = _interpolated(field_table(int(c // 128), int(c % 128)), x[these])
    blocks = np.zeros((len(m.z), 2, 9, 9))
    np.add.at(blocks, i, turned(integrals, vector))
    return blocks[:, 0], blocks[:, 1]


def _interpolated(table: Floats, x: Floats) -> Floats:
    step = FIELD_DISTANCES[1] - FIELD_DISTANCES[0]
    t = (x - FIELD_DISTANCES[0]) / step
    start = np.clip(t.astype(int) - 1, 0, len(FIELD_DISTANCES) - 4)
    t = (t - start)[:, None, None]
    weights = (
        -(t - 1) * (t - 2) * (t - 3) / 6,
        t * (t - 2) * (t - 3) / 2,
        -t * (t - 1) * (t - 3) / 2,
        t * (t - 1) * (t - 2) / 6,
    )
    return sum(w * table[start + k] for k, w in enumerate(weights))


def with_field(m: Matrices, block: Floats) -> NDArray:
    """H with blocks (n_sites, 9, 9) on the diagonal, as they are."""
    H = m.H.copy()
    site, orbital = m.site, m.used % 9
    same = site[:, None] == site
    H += np.where(same, block[site[:, None], orbital[:, None], orbital], 0.0)
    return H


def split_field(m: Matrices, block: Floats) -> tuple[Floats, Floats]:
    """Blocks → mean shift of each orbital's shell (n_orbitals,), and what is left of the blocks."""
    diagonal = np.einsum("naa->na", block)
    mean = np.stack([diagonal[:, ell == ANGULAR].mean(axis=1) for ell in range(3)], axis=1)
    rest = block.copy()
    rest[:, np.arange(9), np.arange(9)] -= mean[:, ANGULAR]
    return mean[m.site, m.shell], rest


def exchange_shift(m: Matrices, rows: dict[int, float], salts_only: bool) -> Floats:
    """Half the exchange splitting of each orbital: that of d orbitals of open shells, else 0.

    ½ I μ with I by row of the periodic table and μ = min(n, 10 − n), Hund's moment of the n d
    electrons that the guessed oxidation state leaves (two fewer where that is 0).
    """
    state = oxidation_states(m.z)
    shift = np.zeros(len(m.z))
    for k, z in enumerate(m.z):
        core, row = noble_core(int(z))
        if row not in rows or not 3 <= z - core <= 12 or (salts_only and state[k] <= 0):
            continue
        n = np.clip(m.electrons[k] - (state[k] or 2.0), 0.0, 10.0)
        shift[k] = 0.5 * rows[row] * min(n, 10.0 - n)
    return np.where(m.shell == 2, shift[m.site], 0.0)


@cache
def free_d_electrons(z: int) -> float:
    """Electrons in the d shell of the valence of the free atom."""
    from pymatgen.core import Element

    n = valence_shells(z)[2]
    found = {(m, ell): k for m, ell, k in Element.from_Z(z).full_electronic_structure}
    return float(found.get((n, "d"), 0.0))


def d_feedback(m: Matrices, populations: Floats, strength: float) -> Floats:
    """Shift of each orbital, 0 but in d shells: ``strength`` (n − n of the free atom).

    populations : (n_sites, 3)
        Electrons in the s, p and d shells.
    strength : float, eV an electron
    """
    free = np.array([free_d_electrons(int(z)) for z in m.z])
    return np.where(m.shell == 2, (strength * (populations[:, 2] - free))[m.site], 0.0)


def shell_feedback(m: Matrices, populations: Floats, strength: float) -> Floats:
    """The same in all shells, of what each holds beyond the free atom."""
    d = np.array([free_d_electrons(int(z)) for z in m.z])
    s = np.minimum(m.electrons - d, np.where(m.z == 46, 0.0, 2.0))
    single = np.isin(m.z, (24, 29, 41, 42, 44, 45, 47, 78, 79))  # d filled at the expense of s
    s = np.where(single, 1.0, s)
    free = np.column_stack([s, m.electrons - d - s, d])
    return (strength * (populations - free))[m.site, m.shell]


def raised_d(m: Matrices, height: float) -> Floats:
    """Shift of each orbital: so much (eV) in d shells with electrons in the free atom, else 0."""
    free = np.array([free_d_electrons(int(z)) for z in m.z])
    return np.where((m.shell == 2) & (free > 0)[m.site], height, 0.0)


def diagonal_shifted(m: Matrices, shift: Floats) -> NDArray:
    """H with levels shifted by (n_orbitals,) eV, hoppings as they are."""
    H = m.H.copy()
    diagonal = np.arange(len(shift))
    H[:, diagonal, diagonal] += shift
    return H
