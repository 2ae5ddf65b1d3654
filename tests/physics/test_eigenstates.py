"""Generalised eigenproblems against SciPy's."""

from __future__ import annotations

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

    return Eigenproblems(
        np.arange(3), 0, hermitian(), np.eye(n) + overlap * hermitian(), rng.random((2, n))
    )


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize("n", [1, 5, 33, 90])
def test_energies_and_shares_are_scipys(n: int, kind: type) -> None:
    given = problems(n, kind)
    energy, share = eigenstates(given)
    slow = of_dependent_orbitals(given.H, given.S, given.groups)
    for k in range(3):
        expected, c = eigh(given.H[k], given.S[k])
        np.testing.assert_allclose(energy[k], expected, atol=1e-10)
        populations = (c.conj() * (given.S[k] @ c)).real
        np.testing.assert_allclose(share[k], given.groups @ populations, atol=1e-10)
        np.testing.assert_allclose(slow[0][k], expected, atol=1e-10)
        np.testing.assert_allclose(slow[1][k], share[k], atol=1e-10)


def test_single_precision_stays_single_and_agrees() -> None:
    given = problems(40, float)
    single = Eigenproblems(
        given.k, 0, given.H.astype(np.float32), given.S.astype(np.float32), given.groups
    )
    energy, share = eigenstates(single)
    expected = eigenstates(given)
    np.testing.assert_allclose(energy, expected[0], atol=1e-4)
    np.testing.assert_allclose(share, expected[1], atol=1e-3)


def test_no_orbitals_have_no_states() -> None:
    empty = np.zeros((2, 0, 0))
    energy, share = eigenstates(Eigenproblems(np.arange(2), 0, empty, empty, np.zeros((3, 0))))
    assert energy.shape == (2, 0)
    assert share.shape == (2, 3, 0)


@pytest.mark.parametrize("n", [3, 32, 33, 100])
def test_triangular_matrices_are_inverted(n: int) -> None:
    L = np.tril(np.random.default_rng(n).normal(size=(2, n, n)) / n) + np.eye(n)
    identity = np.eye(n)[None].repeat(2, axis=0)
    np.testing.assert_allclose(inverse_of_triangular(L) @ L, identity, atol=1e-10)
