"""Blocks of bonds against orbitals that are turned into place one by one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from matminer_unate.physics.bond_blocks import ANGULAR, TENSORS, bond_blocks
from matminer_unate.physics.two_centre import CHANNELS


def turned(rotation: NDArray) -> NDArray:
    """Turned s, p and d orbitals in terms of those at rest, (9, 9)."""
    result = np.zeros((9, 9))
    result[0, 0] = 1.0
    result[1:4, 1:4] = rotation
    result[4:, 4:] = np.einsum("aij,ik,jl,bkl->ab", TENSORS, rotation, rotation, TENSORS)
    return result


def along_x(integrals: NDArray) -> NDArray:
    """The block of a bond along x from the definition of σ, π and δ, (9, 9)."""
    block = np.zeros((9, 9))
    # Orbitals of each shell by the m that they have about x: 0, ±1, ±2.
    about_x = {0: [[0]], 1: [[1], [2, 3]], 2: [[4], [5, 6], [7, 8]]}
    for value, (a, b, m) in zip(integrals, CHANNELS, strict=True):
        for row, column in zip(about_x[a][m], about_x[b][m], strict=True):
            block[row, column] = value
    return block


def test_blocks_are_those_along_x_turned_into_place() -> None:
    rng = np.random.default_rng(0)
    integrals = rng.normal(size=(6, 2, len(CHANNELS)))
    turns = Rotation.random(6, random_state=1).as_matrix()
    found = bond_blocks(turns[:, :, 0], integrals).reshape(6, 2, 9, 9)
    for turn, one, expected in zip(turns, found, integrals, strict=True):
        in_place = turned(turn)
        for kind in (0, 1):
            reference = in_place @ along_x(expected[kind]) @ in_place.T
            np.testing.assert_allclose(one[kind], reference, atol=1e-12)


def test_a_bond_turned_round_has_the_transposed_block_but_for_parity() -> None:
    rng = np.random.default_rng(2)
    unit = rng.normal(size=(5, 3))
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    integrals = rng.normal(size=(5, 2, len(CHANNELS)))
    swapped = [CHANNELS.index((b, a, m)) for a, b, m in CHANNELS]
    parity = np.array([(-1.0) ** (a + b) for a, b, _ in CHANNELS])
    forward = bond_blocks(unit, integrals).reshape(5, 2, 9, 9)
    back = bond_blocks(-unit, integrals[..., swapped] * parity).reshape(5, 2, 9, 9)
    np.testing.assert_allclose(back, forward.swapaxes(2, 3), atol=1e-12)


def test_the_d_tensors_are_orthonormal_symmetric_and_without_trace() -> None:
    np.testing.assert_allclose(np.einsum("aij,bij->ab", TENSORS, TENSORS), np.eye(5), atol=1e-12)
    np.testing.assert_array_equal(TENSORS, TENSORS.swapaxes(1, 2))
    np.testing.assert_allclose(np.trace(TENSORS, axis1=1, axis2=2), 0.0, atol=1e-12)
    assert ANGULAR.tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2]
