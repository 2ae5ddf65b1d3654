"""Element → free atom: self-consistent potential, contracted valence orbitals and their levels.

A spherical, spin-unpolarised Kohn-Sham atom in the local-density approximation (Slater exchange,
correlation of Perdew and Wang, Phys. Rev. B 45, 13244 (1992), doi:10.1103/PhysRevB.45.13244) with
scalar-relativistic kinetic energy in the zeroth-order regular approximation (van Lenthe, Baerends
and Snijders, J. Chem. Phys. 99, 4597 (1993), doi:10.1063/1.466059). The atomic number is the only
input but for covalent radii; no crystal and no molecule is involved. Hartree atomic units here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.linalg import eigh_tridiagonal

from matminer_unate.physics.atoms import BOHR
from matminer_unate.physics.elements import Floats, magpie_property

N_RADII, LARGEST_RADIUS = 1000, 25.0  # bohr
CONTRACTION = 1.5
"""Valence orbitals are those in an added potential (r / r₀)², with r₀ this many covalent radii.

As for the bases of density-functional tight binding (Porezag et al., Phys. Rev. B 51, 12947 (1995),
doi:10.1103/PhysRevB.51.12947): free atoms' orbitals are too wide for a crystal. They take 1.85; at
1.5 pooled targets predict gaps as well, and fewer salts have charges of the wrong sign.
"""

NOBLE = (0, 2, 10, 18, 36, 54, 86)
TWICE_C_SQUARED = 2 * 137.036**2


@dataclass(frozen=True)
class FreeAtom:
    """Radii r (n,), step of log r, and the potential v(r) (n,) without confinement."""

    r: Floats
    step: float
    potential: Floats


@dataclass(frozen=True)
class Valence:
    """The s, p and d shell of an atom that take part in bonding.

    Attributes
    ----------
    atom : FreeAtom
    n_electrons : float
    level : (3,) hartree
        ⟨T + v⟩ of the contracted orbitals; NaN where there is no such shell. Above the level of the
        free atom, most for wide empty shells.
    contracted_level : (3,) hartree
        With the confinement, ⟨T + v + (r / r₀)²⟩.
    confinement : (n,) hartree
    radial : (3, n)
        R(r) of the contracted orbitals, ∫ R² r² dr = 1; zero where there is no such shell.
    """

    atom: FreeAtom
    n_electrons: float
    level: Floats
    contracted_level: Floats
    confinement: Floats
    radial: Floats


@cache
def valence(z: int) -> Valence:
    """Valence shells of an element.

    s always (H and He have no more), p from lithium on; d where it is filled in the row of the
    element (transition metals, lanthanides, actinides) or lies low and empty (K, Ca, Rb, Sr, Cs,
    Ba, Fr, Ra). Filled d shells of later elements and 4f electrons are core. So three electrons of
    a lanthanide take part (Eu and Yb two, Ce four), and of actinides all up to Pu, in the d shell.
    """
    atom = free_atom(z)
    principal = valence_shells(z)
    radius = CONTRACTION * magpie_property("CovalentRadius")[z] / 100 / BOHR
    confinement = (atom.r / radius) ** 2
    level, contracted = np.full((2, 3), np.nan)
    radial = np.zeros((3, N_RADII))
    for ell, n in enumerate(principal):
        if n:
            energy, u = radial_states(atom.r, atom.step, atom.potential, confinement, ell, n - ell)
            contracted[ell], radial[ell] = energy[-1], u[-1] / atom.r
            outside = float((u[-1] ** 2 * atom.r * atom.step) @ confinement)
            level[ell] = energy[-1] - outside
    return Valence(atom, valence_electrons(z), level, contracted, confinement, radial)


def valence_shells(z: int) -> tuple[int, int, int]:
    """Principal quantum numbers of the s, p and d shell; 0 where there is none."""
    core, row = noble_core(z)
    group_end = {4: 12, 5: 12, 6: 26, 7: 26}.get(row, 0)  # Zn, Cd, Hg, Cn
    return row, row if z > 2 else 0, row - 1 if z - core <= group_end else 0


def valence_electrons(z: int) -> float:
    """Electrons outside the core; see :func:`valence`."""
    core, row = noble_core(z)
    count = z - core
    if row in (4, 5):
        return float(count if count <= 12 else count - 10)
    if row < 6 or count <= 2:
        return float(count)
    if count <= 16:  # La to Yb and Ac to No
        if row == 6:
            return {58: 4.0, 63: 2.0, 70: 2.0}.get(z, 3.0)
        return float(count) if z <= 94 else 3.0
    return float(count - 14 if count <= 26 else count - 24)


def noble_core(z: int) -> tuple[int, int]:
    """Electrons of the noble gas before the element, and the element's row."""
    row = sum(core < z for core in NOBLE)
    return NOBLE[row - 1], row


@cache
def free_atom(z: int) -> FreeAtom:
    """Solve the Kohn-Sham equations of an atom in its ground configuration."""
    from pymatgen.core import Element

    shells = [
        (n, "spdf".index(ell), k) for n, ell, k in Element.from_Z(z).full_electronic_structure
    ]
    highest: dict[int, int] = {}
    for n, ell, _ in shells:
        highest[ell] = max(highest.get(ell, 0), n - ell)
    x = np.linspace(np.log(1e-5 / z), np.log(LARGEST_RADIUS), N_RADII)
    r, step = np.exp(x), float(x[1] - x[0])
    # To start with, a nucleus screened as in the Thomas-Fermi atom; one electron sees charge 1.
    screened = z / (1 + 0.75 * r / (0.8853 * z ** (-1 / 3))) ** 2
    v = -np.maximum(screened, 1.0) / r
    for _ in range(200):
        density = np.zeros(N_RADII)
        u = {ell: radial_states(r, step, v, 0.0, ell, k)[1] for ell, k in highest.items()}
        for n, ell, electrons in shells:
            density += electrons * u[ell][n - ell - 1] ** 2
        density /= 4 * np.pi * r**2
        new = -z / r + hartree(r, step, density) + exchange_correlation(density)
        change = float(np.abs((new - v) * r).max())
        v = v + 0.35 * (new - v)
        if change < 2e-4 * np.sqrt(z):
            break
    else:
        raise ArithmeticError(f"the atom with atomic number {z} did not converge")
    return FreeAtom(r, step, v)


def radial_states(
    r: Floats, step: float, potential: Floats, confinement: Floats | float, ell: int, count: int
) -> tuple[Floats, Floats]:
    """The lowest states of one angular momentum.

    With u = r R, the energy ∫ ½ K (u'² + ℓ(ℓ+1) u²/r²) + ½ K' u²/r + v u² dr in finite
    differences on the logarithmic grid is a symmetric tridiagonal matrix; K = 1 / (1 − v / 2c²) is
    the scalar-relativistic factor of the kinetic energy.

    Returns
    -------
    energies : (count,) hartree
    u : (count, n)
        Normalised; positive at the outermost lobe.
    """
    factor = 1 / (1 - potential / TWICE_C_SQUARED)
    between = 0.5 * (factor[:-1] + factor[1:]) / (np.sqrt(r[:-1] * r[1:]) * step)
    left = np.concatenate([[0.5 * factor[0] / (r[0] * step)], between])
    right = np.concatenate([between, [factor[-1] / (r[-1] * step)]])
    slope = np.gradient(factor, step) / r
    diagonal = 0.5 * (left + right) / (r * step) + potential + confinement
    diagonal += 0.5 * (slope / r + factor * ell * (ell + 1) / r**2)
    off = -0.5 * between / (step * np.sqrt(r[:-1] * r[1:]))
    energies, w = eigh_tridiagonal(diagonal, off, select="i", select_range=(0, count - 1))
    u = w.T / np.sqrt(r * step)
    for state in u:
        outermost = np.flatnonzero(np.abs(state) > 0.3 * np.abs(state).max())[-1]
        state *= np.sign(state[outermost])
    return energies, u


def hartree(r: Floats, step: float, density: Floats) -> Floats:
    """Potential of a spherical density."""
    shell = 4 * np.pi * density * r**3 * step
    inside = np.cumsum(shell) - 0.5 * shell
    outside = np.cumsum((shell / r)[::-1])[::-1] - 0.5 * shell / r
    return inside / r + outside


def exchange_correlation(density: Floats) -> Floats:
    """Potential of the local-density approximation, unpolarised."""
    density = np.maximum(density, 1e-30)
    rs = (3 / (4 * np.pi * density)) ** (1 / 3)
    # Perdew and Wang 1992, table I and equation 10.
    a, a1 = 0.031091, 0.21370
    b1, b2, b3, b4 = 7.5957, 3.5876, 1.6382, 0.49294
    root = np.sqrt(rs)
    q = 2 * a * (b1 * root + b2 * rs + b3 * rs * root + b4 * rs**2)
    dq = 2 * a * (0.5 * b1 / root + b2 + 1.5 * b3 * root + 2 * b4 * rs)
    log = np.log1p(1 / q)
    energy = -2 * a * (1 + a1 * rs) * log
    slope = -2 * a * a1 * log + 2 * a * (1 + a1 * rs) * dq / (q * (q + 1))
    return -((3 * density / np.pi) ** (1 / 3)) + energy - rs / 3 * slope
