"""Integrals of all pairs → the small arrays that stand for them in the package.

Of each channel, the integrals are an array (element, element, distance) that varies smoothly along
all three: contracted valence orbitals of different elements are alike. So few vectors of each axis
span it: a Tucker decomposition by the singular vectors of its three unfoldings (De Lathauwer, De
Moor and Vandewalle, SIAM J. Matrix Anal. Appl. 21, 1253 (2000), doi:10.1137/S0895479896305696).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matminer_unate.physics.elements import Floats
from matminer_unate.physics.two_centre import TABULATED

RANK, N_SPLINES = 24, 16
"""Vectors kept for the elements, and for the distances."""


def compress(
    integrals: Floats, rank: int = RANK, n_splines: int = N_SPLINES
) -> dict[str, NDArray[np.float32]]:
    """The arrays of :func:`matminer_unate.physics.tables.tables` that are about pairs.

    Parameters
    ----------
    integrals : (n_elements, n_elements, n_distances, 2, 14)
        Hopping and overlap at ``ROOTS``.
    rank, n_splines : int
    """
    parts: dict[str, list[Floats]] = {"first": [], "second": [], "core": [], "splines": []}
    to_spline = spline_matrix(integrals.shape[2])
    for what in range(2):
        for channel in TABULATED:
            values = integrals[:, :, :, what, channel]
            ranks = rank, rank, n_splines
            first, second, distance = (leading(values, axis, k) for axis, k in enumerate(ranks))
            core = np.einsum("abd,ar,bs,dk->rsk", values, first, second, distance, optimize=True)
            parts["first"].append(first)
            parts["second"].append(second)
            parts["core"].append(core)
            parts["splines"].append((to_spline @ distance).T)
    return {name: np.array(arrays, dtype=np.float32) for name, arrays in parts.items()}


def leading(values: Floats, axis: int, count: int) -> Floats:
    """Leading left singular vectors of the unfolding along an axis, (n, count)."""
    unfolded = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    return np.linalg.svd(unfolded @ unfolded.T)[0][:, :count]


def spline_matrix(n: int) -> Floats:
    """Values at n even knots → coefficients of cubic B-splines through them, (n + 2, n).

    The third derivative is continuous at the last knot but one of either end ("not a knot").
    """
    conditions = np.zeros((n + 2, n + 2))
    for knot in range(n):
        conditions[knot, knot : knot + 3] = np.array([1, 4, 1]) / 6
    conditions[n, :5] = conditions[n + 1, -5:] = [1, -4, 6, -4, 1]
    return np.asarray(np.linalg.solve(conditions, np.eye(n + 2, n)), dtype=np.float64)
