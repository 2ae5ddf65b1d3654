"""Cell → grid of k points, and those of them that its symmetry leaves different."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.lattice import cell_heights
from matminer_unate.physics.elements import Floats

Ints = NDArray[np.int64]

K_LENGTH = 9.0
"""Å. Along each axis, k points times the height of the cell are at least this."""
MAX_DIVISIONS = 8
MAX_WORK = 4e8
"""k points times orbitals cubed; fewer k points in larger cells."""

RAMP = 0.25
"""In doublings of the height. Over which a finer grid takes over."""

SMALLEST_SHARE = 1e-6
"""Of the finer of two grids, below which it is left out."""


@dataclass(frozen=True)
class Grid:
    """A mixture of up to four grids of k points, each with half the points of the next or fewer.

    Attributes
    ----------
    divisions : (3,)
        Of the finest. The points are m / divisions, with m from 0 on.
    shares : (n_grids,)
        Sum to 1.
    weights : (n_grids, *divisions)
        Of the points in each grid, where they are all the same; sum to 1.
    """

    divisions: Ints
    shares: Floats
    weights: Floats


def k_grid(lattice: Floats, n_orbitals: int) -> Grid:
    """Γ and the points around it, as many as the size of the cell asks for.

    Divisions are powers of two, so that each grid holds the coarser ones. As a cell shrinks, the
    share of the finer one grows from 0 to 1, axis by axis in the order of their heights: so what is
    summed over k points changes continuously, and has the symmetry of the lattice. Only where
    ``MAX_WORK`` ends a grid does it change at once.
    """
    needed = np.log2(K_LENGTH / np.array(cell_heights(lattice)[0])).clip(0, np.log2(MAX_DIVISIONS))
    coarse = np.floor(needed)
    fine = ((needed - coarse) / RAMP).clip(0, 1)
    fine = fine**2 * (3 - 2 * fine)
    fine[fine < SMALLEST_SHARE] = 0.0
    divisions = (2 ** (coarse + (fine > 0))).astype(np.int64)
    while divisions.max() > 1 and divisions.prod() / 2 * float(n_orbitals) ** 3 > MAX_WORK:
        axis = int(divisions.argmax())
        divisions[axis], fine[axis] = divisions[axis] // 2, 0.0
    order = np.argsort(-fine, kind="stable")
    shares = -np.diff([1.0, *fine[order], 0.0])
    weights, steps = [], np.where(fine > 0, 2, 1)
    for share, axis in zip(shares, [*order, 0], strict=True):
        if share > 0:
            one = np.zeros(divisions)
            one[tuple(slice(None, None, step) for step in steps)] = 1.0
            weights.append(one / one.sum())
        steps[axis] = 1
    return Grid(divisions, shares[shares > 0], np.array(weights))


def irreducible_points(grid: Grid, rotations: Ints) -> tuple[Floats, Floats]:
    """Of the points that rotations, or k → −k, take to each other, one; and its weights.

    Parameters
    ----------
    grid : Grid
    rotations : (g, 3, 3)
        Of the crystal, acting on fractional coordinates as columns; a group. Those that do not take
        the grid to itself are left aside.

    Returns
    -------
    points : (n_k, 3)
        Fractional.
    weights : (n_grids, n_k)
        In each grid of the mixture; sum to 1.
    """
    n, weights = grid.divisions, grid.weights.reshape(len(grid.shares), -1)
    if n.max() == 1:
        return np.zeros((1, 3)), weights
    m = np.indices(n).reshape(3, -1).T
    # k·(W r) = (Wᵀ k)·r: component b of the image of m / n is Σ_a W_ab m_a / n_a.
    scaled = rotations * n
    whole = scaled[(scaled % n[:, None] == 0).all(axis=(1, 2))] // n[:, None]
    stride = np.array([n[1] * n[2], n[2], 1])
    codes = (m @ whole % n) @ stride
    codes = codes[(weights[:, codes] == weights[:, None]).all(axis=(0, 2))]
    opposite = (-m % n) @ stride
    first, member = np.unique(np.minimum(codes, opposite[codes]).min(axis=0), return_inverse=True)
    return m[first] / n, np.array([np.bincount(member, weight) for weight in weights])
