"""Generalised eigenproblems against SciPy's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import eigh

from matminer_unate.physics.eigenstates import (
    Eigenproblems,
    eigenstates,
    inverse_of_triangular,
    of_dependent_orbitals,
)


def problems(n: int, kind: type, overlap: float = 0.1) -> Eigenproblems:
    rng = np.random.default_rng(n)

    def hermitian() -> NDArray:
        m = rng.normal(size=(3, n, n)) + (1j * rng.normal(size=(3, n, n)) if kind is complex else 0)
        return m @ m.conj().swapaxes(1, 2) / n

    matrices = np.stack([hermitian(), np.eye(n) + overlap * hermitian()])
    return Eigenproblems(np.arange(3), 0, matrices, rng.random((2, n)))


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize("n", [1, 5, 33, 90])
def test_energies_and_shares_are_scipys(n: int, kind: type) -> None:
    given = problems(n, kind)
    H, S = given.matrices
    [found] = eigenstates([given])
    slow_energy, slow_population = of_dependent_orbitals(H, S)
    for k in range(3):
        expected, c = eigh(H[k], S[k])
        np.testing.assert_allclose(found.energy[k], expected, atol=1e-10)
        populations = (c.conj() * (S[k] @ c)).real
        np.testing.assert_allclose(found.share[k], given.groups @ populations, atol=1e-10)
        np.testing.assert_allclose(slow_energy[k], expected, atol=1e-10)
        np.testing.assert_allclose(slow_population[k], populations, atol=1e-10)


def test_problems_that_are_solved_together_have_the_states_of_each_by_itself() -> None:
    # Of two sizes, real and complex, some of them with orbitals that depend on each other.
    dependent = problems(5, float)
    dependent.matrices[1, 1] = 1.0
    given = [problems(5, float), problems(7, float), dependent, problems(5, complex)]
    for problem, together in zip(given, eigenstates(given), strict=True):
        [alone] = eigenstates([problem])
        np.testing.assert_allclose(together.energy, alone.energy, atol=1e-12)
        np.testing.assert_allclose(together.share, alone.share, atol=1e-12)


def test_single_precision_stays_single_and_agrees() -> None:
    given = problems(40, float)
    [found] = eigenstates([replace(given, matrices=given.matrices.astype(np.float32))])
    [expected] = eigenstates([given])
    assert found.share.dtype == np.float32
    np.testing.assert_allclose(found.energy, expected.energy, atol=1e-4)
    np.testing.assert_allclose(found.share, expected.share, atol=1e-3)


def test_no_orbitals_have_no_states() -> None:
    empty = Eigenproblems(np.arange(2), 0, np.zeros((2, 2, 0, 0)), np.zeros((3, 0)))
    [found] = eigenstates([empty])
    assert found.energy.shape == (2, 0)
    assert found.share.shape == (2, 3, 0)


@pytest.mark.parametrize("n", [3, 32, 33, 100])
def test_triangular_matrices_are_inverted(n: int) -> None:
    L = np.tril(np.random.default_rng(n).normal(size=(2, n, n)) / n) + np.eye(n)
    identity = np.eye(n)[None].repeat(2, axis=0)
    np.testing.assert_allclose(inverse_of_triangular(L) @ L, identity, atol=1e-10)
