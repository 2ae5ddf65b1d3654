"""Cell → grid of k points, and those of them that its symmetry leaves different."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from matminer_unate.crystals.lattice import cell_heights
from matminer_unate.physics.atoms import Ints
from matminer_unate.physics.elements import Floats

K_LENGTH = 9.0
"""Å. Along each axis, k points times the height of the cell are at least this."""
MAX_DIVISIONS = 8
MAX_WORK = 1e6
"""k points times orbitals cubed, about; fewer k points in larger cells."""

RAMP = 0.25
"""In doublings of the height. Over which a finer grid takes over."""

DECIMALS = 6
"""Of shares. Axes that are equal but for rounding are refined together, which keeps symmetry."""


@dataclass(frozen=True)
class Grid:
    """A mixture of up to four grids of k points, each of which holds the one before.

    Attributes
    ----------
    divisions : tuple of 3 int
        Of the finest. Its points are m / divisions, with m from 0 on.
    doubled : tuple of tuple of int
        The axes along which the second, third and fourth have twice the points of the one before.
    shares : (n_grids,)
        Of the mixture; sum to 1.
    """

    divisions: tuple[int, int, int]
    doubled: tuple[tuple[int, ...], ...]
    shares: Floats


def k_grid(lattice: Floats, n_orbitals: int) -> Grid:
    """Γ and the points around it, as many as the size of the cell asks for.

    Divisions are powers of two. As a cell shrinks, the share of the finer grid grows from 0 to 1,
    axis by axis in the order of their heights: so what is summed over k points changes
    continuously with the cell, as long as its reduced basis is the same. Of a lattice with several
    reduced bases, each has a grid of its own where divisions differ.
    """
    heights, volume = cell_heights(lattice)
    length = min(K_LENGTH, (2 * MAX_WORK * volume) ** (1 / 3) / n_orbitals)
    divisions, axes = [], dict[float, tuple[int, ...]]()  # by the share of the finer grid
    for axis, height in enumerate(heights):
        needed = min(max(math.log2(length / height), 0.0), math.log2(MAX_DIVISIONS))
        t = min((needed - int(needed)) / RAMP, 1.0)
        share = round(t * t * (3 - 2 * t), DECIMALS)
        divisions.append(2 ** (int(needed) + (share > 0)))
        if share:
            axes[share] = (*axes.get(share, ()), axis)
    fine = sorted(axes, reverse=True)
    a, b, c = divisions
    shares = -np.diff([1.0, *fine, 0.0])
    return Grid((a, b, c), tuple(axes[share] for share in fine), shares)


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
        Fractional, from −½ to ½.
    weights : (n_grids, n_k)
        In each grid of the mixture; sum to 1.
    """
    return _irreducible_points(grid.divisions, grid.doubled, rotations.astype(np.int8).tobytes())


@lru_cache(maxsize=1000)
def _irreducible_points(
    divisions: tuple[int, int, int], doubled: tuple[tuple[int, ...], ...], rotations: bytes
) -> tuple[Floats, Floats]:
    n = np.array(divisions)
    weights = np.zeros((1 + len(doubled), *divisions))
    steps = np.ones(3, dtype=np.int64)
    steps[[axis for axes in doubled for axis in axes]] = 2
    for number, axes in enumerate([*doubled, ()]):
        weights[number, :: steps[0], :: steps[1], :: steps[2]] = steps.prod() / n.prod()
        steps[list(axes)] = 1
    flat = weights.reshape(len(weights), -1)
    m = np.indices(divisions).reshape(3, -1).T
    # k·(W r) = (Wᵀ k)·r: component b of the image of m / n is Σ_a W_ab m_a / n_a.
    scaled = np.frombuffer(rotations, np.int8).reshape(-1, 3, 3) * n
    whole = scaled[(scaled % n[:, None] == 0).all(axis=(1, 2))] // n[:, None]
    stride = np.array([n[1] * n[2], n[2], 1])
    codes = (m @ whole % n) @ stride
    codes = codes[(flat[:, codes] == flat[:, None]).all(axis=(0, 2))]
    opposite = (-m % n) @ stride
    first, member = np.unique(np.minimum(codes, opposite[codes]).min(axis=0), return_inverse=True)
    points = m[first] / n
    return points - np.rint(points), np.array([np.bincount(member, weight) for weight in flat])
