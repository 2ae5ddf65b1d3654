"""Grids of k points: continuous in the cell, and reduced by symmetry without loss."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from matminer_unate.physics.k_points import K_LENGTH, MAX_DIVISIONS, irreducible_points, k_grid

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / np.sqrt(2)
IDENTITY = np.eye(3, dtype=np.int64)[None]


def weights_of(lattice: NDArray, n_orbitals: int = 10) -> NDArray:
    """Of all points of the grid with most divisions."""
    grid = k_grid(lattice, n_orbitals)
    points, weights = irreducible_points(grid, IDENTITY)
    result = np.zeros((MAX_DIVISIONS,) * 3)
    for sign in (0.5, -0.5):  # of k and −k, one is there
        where = np.rint(sign / abs(sign) * points * MAX_DIVISIONS).astype(int) % MAX_DIVISIONS
        np.add.at(result, tuple(where.T), 0.5 * grid.shares @ weights)
    return result


def test_weights_sum_to_one_and_change_by_little_with_the_cell() -> None:
    before = None
    for length in np.geomspace(1.5, 20.0, 1500):
        found = weights_of(FCC * length * np.array([1.0, 1.3, 1.7]))
        assert found.sum() == pytest.approx(1.0)
        assert found.min() >= 0.0
        if before is not None:
            assert np.abs(found - before).max() < 0.04
        before = found


def test_small_cells_have_enough_points_and_large_ones_gamma_alone() -> None:
    for length in (2.0, 3.0, 5.0, 8.0):
        divisions = np.array(k_grid(np.eye(3) * length, 4).divisions)
        assert (divisions * length >= min(K_LENGTH, MAX_DIVISIONS * length)).all()
    assert k_grid(np.eye(3) * K_LENGTH, 4).divisions == (1, 1, 1)


def test_many_orbitals_leave_fewer_points() -> None:
    cell = np.eye(3) * 5.0
    assert max(k_grid(cell, 2000).divisions) < max(k_grid(cell, 20).divisions)


def test_cubic_operations_leave_a_wedge_with_the_same_weights() -> None:
    permutations = [np.eye(3, dtype=np.int64)[list(p)] for p in ((0, 1, 2), (1, 2, 0), (2, 0, 1))]
    permutations += [p[[1, 0, 2]] for p in permutations]
    signs = [np.diag(s) for s in np.array(np.meshgrid(*[[1, -1]] * 3)).reshape(3, -1).T]
    cubic = np.array([p @ s for p in permutations for s in signs])
    grid = k_grid(np.eye(3) * 2.4, 4)
    points, weights = irreducible_points(grid, cubic)
    assert len(points) == 10  # of 4 × 4 × 4
    everywhere, full = irreducible_points(grid, IDENTITY)

    def cosines(k: NDArray) -> NDArray:
        return np.cos(2 * np.pi * k).sum(axis=1)

    for power in range(5):
        reduced = weights @ cosines(points) ** power
        np.testing.assert_allclose(reduced, full @ cosines(everywhere) ** power, atol=1e-12)


def test_operations_that_do_not_keep_the_grid_are_left_aside() -> None:
    grid = k_grid(np.diag([3.0, 3.0, 12.0]), 4)
    swapped = np.array([np.eye(3), [[0, 0, 1], [0, 1, 0], [1, 0, 0]]], dtype=np.int64)
    points, _ = irreducible_points(grid, swapped)
    assert len(points) == len(irreducible_points(grid, IDENTITY)[0])
