"""Two-centre integrals and directions of bonds → blocks of the matrices.

Slater and Koster, Phys. Rev. 94, 1498 (1954), doi:10.1103/PhysRev.94.1498. d orbitals are taken as
traceless symmetric tensors, so that every block is made of the direction and of its products with
five constant matrices.
"""

from __future__ import annotations

import numpy as np

from matminer_unate.physics.elements import Floats
from matminer_unate.physics.two_centre import CHANNELS

ANGULAR = np.array([0, 1, 1, 1, 2, 2, 2, 2, 2])
"""Of the orbitals of a site: s, p, d."""
S, P, D = slice(0, 1), slice(1, 4), slice(4, 9)
SS, SP, PS, SD, DS = (
    CHANNELS.index((a, b, 0)) for a, b in ((0, 0), (0, 1), (1, 0), (0, 2), (2, 0))
)
PP, PD, DP, DD = (
    slice(CHANNELS.index((a, b, 0)), CHANNELS.index((a, b, min(a, b))) + 1)
    for a, b in ((1, 1), (1, 2), (2, 1), (2, 2))
)


def bond_blocks(unit: Floats, integrals: Floats) -> Floats:
    """Blocks between the orbitals of two sites.

    Parameters
    ----------
    unit : (n_bonds, 3)
        Directions from the first site to the second.
    integrals : (n_bonds, 2, 14)
        Of hopping and overlap, in each channel.

    Returns
    -------
    (n_bonds, 162)
        Two blocks of 9 by 9; a row is an orbital of the first site: s; p along x, y and z; five d.
    """
    # Bonds along the last axis, where NumPy is fast.
    unit = np.ascontiguousarray(unit.T)
    integrals = np.ascontiguousarray(integrals.transpose(2, 1, 0))
    result = np.empty((9, 9, *integrals.shape[1:]))
    u = unit[:, None]
    tensor_u = np.einsum("dxy,yn->dxn", TENSORS, unit)
    sigma_d = np.sqrt(1.5) * np.einsum("dxn,xn->dn", tensor_u, unit)  # d σ along x, y and z
    y = sigma_d[:, None]
    result[S, 0], result[0, P], result[P, 0] = integrals[SS], integrals[SP] * u, integrals[PS] * u
    result[0, D], result[D, 0] = integrals[SD] * y, integrals[DS] * y
    # Projections on σ and π orbitals. What is left of p is π, and of d is δ.
    pp = (unit[:, None] * unit)[:, :, None]
    pd_sigma = unit[:, None] * sigma_d
    pd_pi = np.sqrt(2) * tensor_u.swapaxes(0, 1) - np.sqrt(4 / 3) * pd_sigma
    dd_sigma = sigma_d[:, None] * sigma_d
    dd_pi = 2 * np.einsum("axn,bxn->abn", tensor_u, tensor_u) - 4 / 3 * dd_sigma
    sigma, pi = integrals[PP]
    result[P, P] = (sigma - pi) * pp
    result[range(1, 4), range(1, 4)] += pi
    pd_sigma, pd_pi = pd_sigma[:, :, None], pd_pi[:, :, None]
    for rows, columns, (sigma, pi) in ((P, D, integrals[PD]), (D, P, integrals[DP])):
        block = sigma * pd_sigma + pi * pd_pi
        result[rows, columns] = block if rows is P else block.swapaxes(0, 1)
    sigma, pi, delta = integrals[DD]
    result[D, D] = (sigma - delta) * dd_sigma[:, :, None] + (pi - delta) * dd_pi[:, :, None]
    result[range(4, 9), range(4, 9)] += delta
    return result.transpose(3, 2, 0, 1).reshape(unit.shape[1], 162)


def _tensors() -> Floats:
    """Orthonormal traceless symmetric tensors, (5, 3, 3)."""
    t = np.zeros((5, 3, 3))
    t[0] = np.diag([2.0, -1.0, -1.0]) / np.sqrt(6)
    for k, (a, b) in enumerate(((0, 1), (0, 2), (1, 2)), start=1):
        t[k, a, b] = t[k, b, a] = np.sqrt(0.5)
    t[4] = np.diag([0.0, 1.0, -1.0]) / np.sqrt(2)
    return t


TENSORS = _tensors()
