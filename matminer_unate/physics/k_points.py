"""Cell → grid of k points, and those of them that its symmetry leaves different."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.lattice import cell_heights
from matminer_unate.physics.elements import Floats

Ints = NDArray[np.int64]

K_LENGTH = 9.0
"""Å. Along each axis, k points times the height of the cell are at least this."""
MAX_DIVISIONS = 8
MAX_WORK = 3e6
"""k points times orbitals cubed, about; fewer k points in larger cells."""

RAMP = 0.25
"""In doublings of the height. Over which a finer grid takes over."""

SMALLEST_SHARE = 1e-6
"""Of the finer of two grids, below which it is left out."""


@dataclass(frozen=True)
class Grid:
    """A mixture of up to four grids of k points, each of which holds the one before.

    Attributes
    ----------
    divisions : tuple of 3 int
        Of the finest. Its points are m / divisions, with m from 0 on.
    doubled : tuple of int
        The axes along which the second, third and fourth have twice the points of the one before.
    shares : (n_grids,)
        Of the mixture; sum to 1.
    """

    divisions: tuple[int, int, int]
    doubled: tuple[int, ...]
    shares: Floats


def k_grid(lattice: Floats, n_orbitals: int) -> Grid:
    """Γ and the points around it, as many as the size of the cell asks for.

    Divisions are powers of two. As a cell shrinks, the share of the finer grid grows from 0 to 1,
    axis by axis in the order of their heights: so what is summed over k points changes
    continuously, and has the symmetry of the lattice.
    """
    heights, volume = cell_heights(lattice)
    length = min(K_LENGTH, (2 * MAX_WORK * volume) ** (1 / 3) / n_orbitals)
    divisions, fine = [], []
    for height in heights:
        needed = min(max(math.log2(length / height), 0.0), math.log2(MAX_DIVISIONS))
        t = min((needed - int(needed)) / RAMP, 1.0)
        share = t * t * (3 - 2 * t)
        fine.append(share if share > SMALLEST_SHARE else 0.0)
        divisions.append(2 ** (int(needed) + (fine[-1] > 0)))
    order = sorted((axis for axis in range(3) if fine[axis]), key=lambda axis: -fine[axis])
    shares = -np.diff([1.0, *(fine[axis] for axis in order), 0.0])
    a, b, c = divisions
    return Grid((a, b, c), tuple(order), shares)


def irreducible_points(grid: Grid, rotations: Ints) -> tuple[Floats, Floats]:
    """Of the points that rotations, or k → −k, take to each other, one; and its weights.

    Parameters
    ----------
    grid : Grid
    rotations : (g, 3, 3)
        Of the crystal, acting on fractional coordinates as columns; a group. Those that do not take
        each of the grids to itself are left aside.

    Returns
    -------
    points : (n_k, 3)
        Fractional.
    weights : (n_grids, n_k)
        In each grid of the mixture; sum to 1.
    """
    return _irreducible_points(grid.divisions, grid.doubled, rotations.astype(np.int8).tobytes())


@lru_cache(maxsize=1000)
def _irreducible_points(
    divisions: tuple[int, int, int], doubled: tuple[int, ...], rotations: bytes
) -> tuple[Floats, Floats]:
    n = np.array(divisions)
    weights = np.zeros((1 + len(doubled), *divisions))
    steps = [2 if axis in doubled else 1 for axis in range(3)]
    for number, axis in enumerate([*doubled, 0]):
        weights[number, :: steps[0], :: steps[1], :: steps[2]] = math.prod(steps) / n.prod()
        steps[axis] = 1
    weights = weights.reshape(len(weights), -1)
    m = np.indices(divisions).reshape(3, -1).T
    # k·(W r) = (Wᵀ k)·r: component b of the image of m / n is Σ_a W_ab m_a / n_a.
    scaled = np.frombuffer(rotations, np.int8).reshape(-1, 3, 3) * n
    whole = scaled[(scaled % n[:, None] == 0).all(axis=(1, 2))] // n[:, None]
    stride = np.array([n[1] * n[2], n[2], 1])
    codes = (m @ whole % n) @ stride
    codes = codes[(weights[:, codes] == weights[:, None]).all(axis=(0, 2))]
    opposite = (-m % n) @ stride
    first, member = np.unique(np.minimum(codes, opposite[codes]).min(axis=0), return_inverse=True)
    return m[first] / n, np.array([np.bincount(member, weight) for weight in weights])
