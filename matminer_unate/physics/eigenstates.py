"""Energies of the generalised eigenproblem of overlapping orbitals, and where the states are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_blas_funcs, get_lapack_funcs

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
    L = np.linalg.cholesky(S)
    hermitian = np.iscomplexobj(H)
    (reduced,) = get_lapack_funcs(("hegst" if hermitian else "sygst",), (H,))
    solved, multiplied = get_blas_funcs(("trsm", "trmm"), (H,))
    # LAPACK works on columns: transposes, also of the product, are handed over without a copy.
    A = np.array([reduced(h.T, factor.T)[0].T for h, factor in zip(H, L, strict=True)])
    energy, v = np.linalg.eigh(A)
    share = np.empty((len(H), len(groups), H.shape[1]))
    for k, (one, factor) in enumerate(zip(v, L, strict=True)):
        dual = multiplied(1.0, factor.T, one.T, side=1)  # S c = L v
        c = solved(1.0, factor.T, one.T, side=1, trans_a=2, overwrite_b=1)  # L⁺ c = v
        if hermitian:
            c.real *= dual.real
            c.real += c.imag * dual.imag
        else:
            c *= dual
        share[k] = groups @ c.real.T
    return energy, share


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
    energy, v = np.linalg.eigh(X.conj().swapaxes(1, 2) @ H @ X)
    c = X @ v
    dual = (U * s) @ (U.conj().swapaxes(1, 2) @ c)  # S c
    return energy, groups @ (c.conj() * dual).real
