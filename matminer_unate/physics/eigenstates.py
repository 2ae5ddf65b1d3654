"""Energies of the generalised eigenproblem of overlapping orbitals, and where the states are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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
        Which points; those whose matrices fell apart more than once.
    first_band : (m,)
        Where the bands of each begin among all of the crystal's.
    matrices : (2, m, n, n)
        H and S, Hermitian; S positive definite or nearly so.
    groups : (n_groups, n), or (m, n_groups, n)
        How much of each orbital counts for each group of orbitals.
    """

    k: Ints
    first_band: Ints
    matrices: NDArray
    groups: Floats


@dataclass(frozen=True)
class States:
    """What solves :class:`Eigenproblems`.

    Attributes
    ----------
    k, first_band
        Of the problems.
    energy : (m, n)
    share : (m, n_groups, n)
        Of the groups in each state: the sum over orbitals of ``groups`` times Re c* S c.
    """

    k: Ints
    first_band: Ints
    energy: Floats
    share: Floats


def eigenstates(problems: Sequence[Eigenproblems]) -> list[States]:
    """The states of each; matrices of one size and type are solved together."""
    alike = defaultdict[tuple[int, np.dtype], list[int]](list)
    for number, problem in enumerate(problems):
        alike[problem.matrices.shape[-1], problem.matrices.dtype].append(number)
    found = dict[int, States]()
    for numbers in alike.values():
        some = [problems[number] for number in numbers]
        if len(some) == 1:
            energy, population = states_of(*some[0].matrices)
        else:
            energy, population = states_of(*np.concatenate([p.matrices for p in some], axis=1))
        end = 0
        for number, p in zip(numbers, some, strict=True):
            own, end = slice(end, end + len(p.k)), end + len(p.k)
            share = p.groups.astype(population.dtype) @ population[own]
            found[number] = States(p.k, p.first_band, energy[own], share)
    return [found[number] for number in range(len(problems))]


def states_of(H: NDArray, S: NDArray) -> tuple[Floats, Floats]:
    """Energies (m, n), and Re c* S c of each orbital (m, n, n) in each state."""
    if S.shape[1] == 0:
        return np.empty(S.shape[:2]), np.empty(S.shape)
    if not has_independent_orbitals(S):
        if len(S) == 1:
            return of_dependent_orbitals(H, S)
        each = [states_of(H[k : k + 1], S[k : k + 1]) for k in range(len(S))]
        return np.concatenate([e for e, _ in each]), np.concatenate([p for _, p in each])
    if H.dtype == np.float32:
        return in_single_precision(H, S)
    L = np.linalg.cholesky(S)
    X = adjoint(inverse_of_triangular(L))
    energy, v = np.linalg.eigh(adjoint(X) @ H @ X)
    return energy, real_products(X @ v, L @ v)  # S c = L v


def in_single_precision(H: NDArray, S: NDArray) -> tuple[Floats, Floats]:
    """:func:`states_of` large real matrices; NumPy would take them to double precision."""
    energy, population = np.empty(H.shape[:2]), np.empty_like(H)
    for k, (h, s) in enumerate(zip(H, S, strict=True)):
        energy[k], c = eigh(h, s, driver="gvd", check_finite=False, overwrite_a=True)
        np.multiply(c, s @ c, out=population[k])
    return energy, population


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
    np.einsum("kii->ki", lifted)[...] -= SMALLEST_OVERLAP
    try:
        np.linalg.cholesky(lifted)
    except np.linalg.LinAlgError:
        return False
    return True


def of_dependent_orbitals(H: NDArray, S: NDArray) -> tuple[Floats, Floats]:
    """:func:`states_of` with eigenvalues of the overlap raised to ``SMALLEST_OVERLAP``."""
    s, U = np.linalg.eigh(S)
    s = np.maximum(s, SMALLEST_OVERLAP)[:, None, :]
    X = U / np.sqrt(s)
    energy, v = np.linalg.eigh(adjoint(X) @ H @ X)
    c = X @ v
    return energy, real_products(c, (U * s) @ (adjoint(U) @ c))
