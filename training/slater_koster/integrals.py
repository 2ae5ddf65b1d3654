"""Free atoms and a distance → hoppings and overlaps of the orbitals of every two of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline

from matminer_unate.physics.atoms import HARTREE
from matminer_unate.physics.elements import Floats
from matminer_unate.physics.two_centre import CHANNELS
from slater_koster.free_atoms import Valence

N_NODES = 80
LARGEST_SUM = 28.0
"""Bohr. The quadrature ends where the distances to both centres add up to more."""


def two_centre_integrals(
    atoms: Sequence[Valence], distance: float, n_nodes: int = N_NODES
) -> Floats:
    """Integrals between all ordered pairs of atoms at one distance.

    In prolate spheroidal coordinates μ = cosh p, ν = cos q, whose points gather at both nuclei, by
    Gauss-Legendre quadrature. T acting on an orbital is replaced by what its own Schrödinger
    equation says. The functions of both atoms are tabulated on the same points, so that the
    integrals of all pairs are matrix products.

    Parameters
    ----------
    atoms : sequence of Valence
    distance : float, bohr
    n_nodes : int
        Of the quadrature, along p and along q.

    Returns
    -------
    (n_atoms, n_atoms, 2, 14)
        Hopping ⟨a|T + v_a + v_b|b⟩ (eV) and overlap ⟨a|b⟩ in each channel; zero where an atom has
        no such shell.
    """
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    p_end = np.arccosh(LARGEST_SUM / distance + 1.0)
    p, q = 0.5 * p_end * (nodes[:, None] + 1), 0.5 * np.pi * (nodes + 1)
    mu, nu = np.cosh(p), np.cos(q)
    volume = (distance / 2) ** 3 * (mu**2 - nu**2) * np.sinh(p) * np.sin(q)
    volume *= 0.5 * p_end * weights[:, None] * 0.5 * np.pi * weights
    r1, r2 = 0.5 * distance * (mu + nu), 0.5 * distance * (mu - nu)
    height = 0.5 * distance * (mu * nu + 1)
    across = 0.5 * distance * np.sqrt(np.maximum((mu**2 - 1) * (1 - nu**2), 0.0))
    angles1 = angular(height / r1, across / r1)
    angles2 = angular((height - distance) / r2, across / r2)

    # (atom, function, point); the points about the second atom are the same in another order.
    functions = np.array([on_grid(atom, r1) for atom in atoms])
    one = functions.reshape(len(atoms), 4, -1)
    two = functions[..., ::-1].reshape(len(atoms), 4, -1)
    level = np.nan_to_num([atom.contracted_level for atom in atoms])
    result = np.empty((len(atoms), len(atoms), 2, len(CHANNELS)))
    for channel, (a, b, m) in enumerate(CHANNELS):
        bra = one[:, a] * (angles1[a, m] * volume).ravel()
        ket = two[:, b] * angles2[b, m].ravel()
        overlap = bra @ ket.T
        rest = (bra * one[:, 3]) @ ket.T + bra @ (ket * two[:, 3]).T
        mean_level = 0.5 * (level[:, None, a] + level[:, b])
        result[:, :, 0, channel] = HARTREE * (mean_level * overlap + 0.5 * rest)
        result[:, :, 1, channel] = overlap
    return result


def on_grid(atom: Valence, radius: Floats) -> Floats:
    """The s, p and d orbital, and potential − confinement, at radii in bohr, (4, …)."""
    r = atom.atom.r
    columns = np.column_stack([*atom.radial, atom.atom.potential * r, atom.confinement])
    spline = CubicSpline(np.log(r), columns)
    values = np.moveaxis(spline(np.log(np.clip(radius, r[0], r[-1]))), -1, 0)
    values[:4, radius > r[-1]] = 0.0
    return np.concatenate([values[:3], [values[3] / radius - values[4]]])


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
