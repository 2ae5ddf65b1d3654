"""Energies of the generalised eigenproblem of overlapping orbitals, and where the states are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs

from matminer_unate.physics.elements import Floats

SMALLEST_OVERLAP = 0.05
"""Eigenvalues of the overlap are raised to this, as wide orbitals can be linearly dependent."""


def eigenstates(H: NDArray, S: NDArray, groups: Floats) -> tuple[Floats, Floats]:
    """Energies, and shares of groups of orbitals, of H c = E S c.

    Parameters
    ----------
    H, S : (n_k, n, n)
        Hermitian; S positive definite or nearly so.
    groups : (n_groups, n)
        How much of each orbital counts for each group.

    Returns
    -------
    energy : (n_k, n)
        Ascending.
    share : (n_k, n_groups, n)
        Σ over orbitals of ``groups`` times Re c* S c, of each state.
    """
    if not has_independent_orbitals(S):
        return _of_dependent_orbitals(H, S, groups)
    L = np.linalg.cholesky(S)
    X = inverse_of_triangular(L).conj().swapaxes(1, 2)
    energy, v = np.linalg.eigh(X.conj().swapaxes(1, 2) @ H @ X)
    c, dual = X @ v, L @ v  # S c = L v
    return energy, groups @ (c.conj() * dual).real


def has_independent_orbitals(S: NDArray) -> bool:
    """Whether no eigenvalue of the overlaps needs to be raised."""
    lifted = S.copy()
    diagonal = np.arange(S.shape[1])
    lifted[:, diagonal, diagonal] -= SMALLEST_OVERLAP
    try:
        np.linalg.cholesky(lifted)
    except np.linalg.LinAlgError:
        return False
    return True


def inverse_of_triangular(L: NDArray) -> NDArray:
    """Of lower triangular matrices (n_k, n, n)."""
    (trtri,) = get_lapack_funcs(("trtri",), (L,))
    result = np.empty_like(L)
    for k, one in enumerate(L):
        # LAPACK works on columns: the transpose is handed over, without a copy.
        result[k] = trtri(one.T, lower=0)[0].T
    return result


def _of_dependent_orbitals(H: NDArray, S: NDArray, groups: Floats) -> tuple[Floats, Floats]:
    s, U = np.linalg.eigh(S)
    s = np.maximum(s, SMALLEST_OVERLAP)[:, None, :]
    X = U / np.sqrt(s)
    energy, v = np.linalg.eigh(X.conj().swapaxes(1, 2) @ H @ X)
    c = X @ v
    dual = (U * s) @ (U.conj().swapaxes(1, 2) @ c)  # S c, with the eigenvalues raised
    return energy, groups @ (c.conj() * dual).real
