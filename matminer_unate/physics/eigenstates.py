"""Energies of the generalised eigenproblem of overlapping orbitals, and where the states are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, get_lapack_funcs

from matminer_unate.physics.atoms import Ints
from matminer_unate.physics.elements import Floats

SMALLEST_OVERLAP = 0.05
"""Eigenvalues of the overlap are raised to this, as wide orbitals can be linearly dependent."""


@dataclass(frozen=True)
class Eigenproblems:
    """H c = E S c for some k points, of all bands or of some.

    Attributes
    ----------
    k : (m,)
        Which points.
    first_band : int
        Where the bands begin among all of the crystal.
    H, S : (m, n, n)
        Hermitian; S positive definite or nearly so.
    groups : (n_groups, n)
        How much of each orbital counts for each group of orbitals.
    """

    k: Ints
    first_band: int
    H: NDArray
    S: NDArray
    groups: Floats


def eigenstates(problems: Eigenproblems) -> tuple[Floats, Floats]:
    """Energies (m, n), and shares (m, n_groups, n) of the groups in each state.

    The share is the sum over orbitals of ``groups`` times Re c* S c.
    """
    H, S, groups = problems.H, problems.S, problems.groups
    if S.shape[1] == 0:
        return np.empty(S.shape[:2]), np.empty((len(S), len(groups), 0))
    if not has_independent_orbitals(S):
        return of_dependent_orbitals(H, S, groups)
    if H.dtype == np.float32:
        return in_single_precision(H, S, groups)
    L = np.linalg.cholesky(S)
    X = adjoint(inverse_of_triangular(L))
    energy, v = np.linalg.eigh(adjoint(X) @ H @ X)
    return energy, groups @ real_products(X @ v, L @ v)  # S c = L v


def in_single_precision(H: NDArray, S: NDArray, groups: Floats) -> tuple[Floats, Floats]:
    """:func:`eigenstates` of large real matrices; NumPy would take them to double precision."""
    energy, share = np.empty(H.shape[:2]), np.empty((len(H), len(groups), H.shape[1]))
    for k, (h, s) in enumerate(zip(H, S, strict=True)):
        energy[k], c = eigh(h, s, driver="gvd", check_finite=False, overwrite_a=True)
        share[k] = groups.astype(np.float32) @ (c * (s @ c))
    return energy, share


def adjoint(matrices: NDArray) -> NDArray:
    return matrices.conj().swapaxes(1, 2)


def real_products(a: NDArray, b: NDArray) -> Floats:
    """Re a* b, element by element."""
    return a.real * b.real + a.imag * b.imag if np.iscomplexobj(a) else a * b


def inverse_of_triangular(L: NDArray) -> NDArray:
    """Of lower triangular matrices (m, n, n)."""
    (trtri,) = get_lapack_funcs(("trtri",), (L,))
    # LAPACK works on columns: transposes are handed over, and come back, without a copy.
    return np.array([trtri(one.T)[0].T for one in L])


def has_independent_orbitals(S: NDArray) -> bool:
    """Whether no eigenvalue of the overlaps needs to be raised."""
    lifted = S.copy()
    lifted[:, range(S.shape[1]), range(S.shape[1])] -= SMALLEST_OVERLAP
    try:
        np.linalg.cholesky(lifted)
    except np.linalg.LinAlgError:
        return False
    return True


def of_dependent_orbitals(H: NDArray, S: NDArray, groups: Floats) -> tuple[Floats, Floats]:
    """:func:`eigenstates` with eigenvalues of the overlap raised to ``SMALLEST_OVERLAP``."""
    s, U = np.linalg.eigh(S)
    s = np.maximum(s, SMALLEST_OVERLAP)[:, None, :]
    X = U / np.sqrt(s)
    energy, v = np.linalg.eigh(adjoint(X) @ H @ X)
    c = X @ v
    return energy, groups @ real_products(c, (U * s) @ (adjoint(U) @ c))
