"""Two elements and a distance → hoppings and overlaps of their orbitals.

The two-centre integrals of density-functional tight binding (see
:mod:`matminer_unate.physics.tight_binding`), and the rotation that turns them from the direction of
a bond into place (Slater and Koster, Phys. Rev. 94, 1498 (1954),
doi:10.1103/PhysRev.94.1498).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from matminer_unate.physics.free_atoms import BOHR, HARTREE, Valence, solved_element, valence

Floats = NDArray[np.float64]

# Places of (l, l', m) in the 9 × 9 block of s, p and d orbitals along a bond. Orbitals in the order
# s, p σ π π, d σ π π δ δ.
FIRST = (0, 1, 4)
CHANNELS = tuple((a, b, m) for a in range(3) for b in range(3) for m in range(min(a, b) + 1))
PLACES = tuple(
    [(FIRST[a] + k, FIRST[b] + k) for k in ((0,) if m == 0 else (2 * m - 1, 2 * m))]
    for a, b, m in CHANNELS
)
SWAPPED = [CHANNELS.index((b, a, m)) for a, b, m in CHANNELS]
PARITY = np.array([(-1.0) ** (a + b) for a, b, _ in CHANNELS])

DISTANCES = np.arange(1.2, 10.01, 0.2)
"""Bohr. Where two-centre integrals are tabulated; atoms closer than 0.6 Å count as that close."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(36)
LARGEST_SUM = 28.0  # bohr; the quadrature ends where the distances to both centres add up to more


def two_centre(z1: int, z2: int, distance: Floats) -> Floats:
    """Hopping (eV) and overlap in each channel, (n, 2, 14), at distances in Å."""
    z1, z2 = solved_element(z1), solved_element(z2)
    swap = z1 > z2
    table = integral_table(min(z1, z2), max(z1, z2))
    # Lagrange interpolation of third order on the even grid.
    step = DISTANCES[1] - DISTANCES[0]
    x = np.clip((distance / BOHR - DISTANCES[0]) / step, 0.0, len(DISTANCES) - 1.0)
    start = np.clip(x.astype(int) - 1, 0, len(DISTANCES) - 4)
    t = (x - start)[:, None, None]
    c0 = -(t - 1) * (t - 2) * (t - 3) / 6
    c1 = t * (t - 2) * (t - 3) / 2
    c2 = -t * (t - 1) * (t - 3) / 2
    c3 = t * (t - 1) * (t - 2) / 6
    values = (
        c0 * table[start] + c1 * table[start + 1] + c2 * table[start + 2] + c3 * table[start + 3]
    )
    return values[:, :, SWAPPED] * PARITY if swap else values


@cache
def integral_table(z1: int, z2: int) -> Floats:
    """Integrals at ``DISTANCES``, (n_distances, 2, 14): hopping in eV, overlap.

    In prolate spheroidal coordinates μ = cosh p, ν = cos q, whose points gather at both nuclei.
    T acting on an orbital is replaced by what its own Schrödinger equation says.
    """
    one, two = valence(z1), valence(z2)
    d = DISTANCES[:, None, None]
    p_end = np.arccosh(LARGEST_SUM / d + 1.0)
    p = 0.5 * p_end * (NODES[:, None] + 1)
    q = 0.5 * np.pi * (NODES[None, :] + 1)
    mu, nu = np.cosh(p), np.cos(q)
    volume = (d / 2) ** 3 * (mu**2 - nu**2) * np.sinh(p) * np.sin(q)
    volume *= 0.5 * p_end * WEIGHTS[:, None] * 0.5 * np.pi * WEIGHTS[None, :]
    r1, r2 = 0.5 * d * (mu + nu), 0.5 * d * (mu - nu)
    height = 0.5 * d * (mu * nu + 1)
    across = 0.5 * d * np.sqrt(np.maximum((mu**2 - 1) * (1 - nu**2), 0.0))
    orbitals1, v1, confined1 = on_grid(one, r1)
    orbitals2, v2, confined2 = on_grid(two, r2)
    angles1 = angular(height / r1, across / r1)
    angles2 = angular((height - d) / r2, across / r2)

    table = np.zeros((len(DISTANCES), 2, len(CHANNELS)))
    rest = 0.5 * (v1 + v2 - confined1 - confined2)
    for channel, (a, b, m) in enumerate(CHANNELS):
        if np.isnan(one.level[a] + two.level[b]):
            continue
        product = orbitals1[a] * orbitals2[b] * angles1[a, m] * angles2[b, m] * volume
        overlap = product.sum(axis=(1, 2))
        mean_level = 0.5 * (one.contracted_level[a] + two.contracted_level[b])
        hopping = mean_level * overlap + (product * rest).sum(axis=(1, 2))
        table[:, 0, channel], table[:, 1, channel] = HARTREE * hopping, overlap
    return table


def on_grid(atom: Valence, radius: Floats) -> tuple[list[Floats], Floats, Floats]:
    """Orbitals, potential and confinement of an atom at given radii (bohr)."""
    r = atom.atom.r
    log, grid = np.log(radius), np.log(r)
    orbitals = [np.interp(log, grid, radial, right=0.0) for radial in atom.radial]
    potential = np.interp(log, grid, atom.atom.potential * r, right=0.0) / radius
    return orbitals, potential, np.interp(log, grid, atom.confinement)


def angular(cos: Floats, sin: Floats) -> dict[tuple[int, int], Floats]:
    """Real spherical harmonics by (l, m), so that products need no integral over the azimuth."""
    return {
        (0, 0): np.full_like(cos, np.sqrt(1 / 2)),
        (1, 0): np.sqrt(3 / 2) * cos,
        (1, 1): np.sqrt(3 / 4) * sin,
        (2, 0): np.sqrt(5 / 8) * (3 * cos**2 - 1),
        (2, 1): np.sqrt(15 / 4) * cos * sin,
        (2, 2): np.sqrt(15 / 16) * sin**2,
    }


def rotations(unit: Floats) -> Floats:
    """Real s, p and d orbitals (rows) in terms of those along a direction, (n, 9, 9).

    d orbitals are taken as traceless symmetric tensors. Which two axes complete the direction does
    not matter: π and δ integrals come in equal pairs.
    """
    helper = np.eye(3)[np.abs(unit).argmin(axis=1)]
    x = np.cross(unit, helper)
    x /= np.maximum(np.linalg.norm(x, axis=1), 1e-9)[:, None]
    axes = np.stack([unit, x, np.cross(unit, x)], axis=2)
    result = np.zeros((len(unit), 9, 9))
    result[:, 0, 0] = 1.0
    result[:, 1:4, 1:4] = axes
    turned = np.einsum("nac,nbd->nabcd", axes, axes).reshape(-1, 9, 9)
    tensors = D_TENSORS.reshape(5, 9)
    result[:, 4:, 4:] = tensors @ turned @ tensors.T
    return result


def _d_tensors() -> Floats:
    """Orthonormal traceless symmetric tensors: along the first axis, then its π and δ pairs."""
    t = np.zeros((5, 3, 3))
    t[0] = np.diag([2.0, -1.0, -1.0]) / np.sqrt(6)
    for k, (a, b) in enumerate(((0, 1), (0, 2)), start=1):
        t[k, a, b] = t[k, b, a] = np.sqrt(0.5)
    t[3] = np.diag([0.0, 1.0, -1.0]) / np.sqrt(2)
    t[4, 1, 2] = t[4, 2, 1] = np.sqrt(0.5)
    return t


D_TENSORS = _d_tensors()
