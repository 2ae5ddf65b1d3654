"""The lattice alone: heights of its cell and its reduced basis."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import StructureError

MAX_IMAGES = 1_000
"""Periodic images of a cell that are searched as they are; beyond, the cell is reduced first."""


def n_images(heights: tuple[float, float, float], radius: float) -> float:
    """Images of the cell within a radius, as pymatgen's search lays them out."""
    return math.prod(2.0 * math.ceil((radius + 0.15) / height) + 2.0 for height in heights)


def reduced_basis(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integers (3, 3) that take the lattice to short vectors, ``basis @ lattice`` (LLL).

    Raises
    ------
    StructureError
        One of the short vectors is shorter than any crystal's.
    """
    from pymatgen.core import Lattice

    basis = np.eye(3)
    # One pass is enough but for rounding, which a cell sheared a million times suffers from.
    for _ in range(5):
        if _is_reduced(basis @ lattice):
            break
        basis = np.rint(Lattice(basis @ lattice).lll_mapping) @ basis
    shortest = float(np.linalg.norm(basis @ lattice, axis=1).min())
    if shortest < MIN_CELL:
        raise repeats_itself(shortest)
    return basis


def _is_reduced(lattice: NDArray[np.float64]) -> bool:
    """Whether LLL would leave a lattice (3, 3) as it is; plain Python, as for the heights."""
    a, b, c = lattice.tolist()
    aa = _dot(a, a)
    ba, ca = _dot(b, a) / aa, _dot(c, a) / aa
    b = [x - ba * y for x, y in zip(b, a, strict=True)]
    bb = _dot(b, b)
    cb = _dot(c, b) / bb
    c = [z - ca * x - cb * y for x, y, z in zip(a, b, c, strict=True)]
    short = max(abs(ba), abs(ca), abs(cb)) <= 0.5
    return short and bb >= (0.75 - ba**2) * aa and _dot(c, c) >= (0.75 - cb**2) * bb


def _dot(a: list[float], b: list[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def repeats_itself(distance: float) -> StructureError:
    return StructureError(
        f"the crystal repeats itself every {distance:.3g} Å; check the cell's lengths (Å) and "
        "angles (degrees)"
    )


MIN_CELL = 0.5
"""Å. A crystal that repeats itself at a shorter distance than this is a mistake in the cell: the
shortest bond there is, in H₂, has 0.74 Å."""


def cell_heights(lattice: NDArray[np.float64]) -> tuple[tuple[float, float, float], float]:
    """Distances (Å) between opposite faces of a cell, and its volume (Å³).

    Plain Python: for nine numbers it is ten times as fast as NumPy. A flat cell has heights 0.
    """
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = lattice.tolist()
    ux, uy, uz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    vx, vy, vz = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
    wx, wy, wz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    volume = abs(ax * ux + ay * uy + az * uz)
    faces = math.hypot(ux, uy, uz), math.hypot(vx, vy, vz), math.hypot(wx, wy, wz)
    a, b, c = (volume / face if face else 0.0 for face in faces)
    return (a, b, c), volume
