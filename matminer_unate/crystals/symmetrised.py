"""A crystal in a reduced cell → its symmetry operations, and the crystal that has them exactly.

spglib finds the same operations, but with the type of the space group, which takes it ten times as
long as all of this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.crystals.symmetry import SAME_SITE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOLERANCES = (SAME_SITE, 0.1 * SAME_SITE)
"""Å. Of lengths and places. The second is for crystals of which the first finds operations that are
no group."""

SHORT = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
"""In a reduced cell, lattice vectors as short as its own are among these."""


@dataclass(frozen=True)
class SymmetrisedCrystal:
    """A crystal and the operations r → W r + w that take it to itself, exactly.

    Attributes
    ----------
    lattice : (3, 3) float64, Å
        Lattice vectors as rows; turned against those of the crystal that was given.
    frac_coords : (n_sites, 3) float64
    atomic_numbers : (n_sites,) int64
    rotations : (g, 3, 3) int64
        W, on fractional coordinates as columns.
    images : (g, n_sites) int64
        The site that each one is taken to.
    """

    lattice: Floats
    frac_coords: Floats
    atomic_numbers: Ints
    rotations: Ints
    images: Ints

    def orbits(self) -> Ints:
        """Number, from 0 without gaps, of the set of equivalent sites that each belongs to."""
        return np.unique(self.images.min(axis=0), return_inverse=True)[1]


def symmetrised(crystal: CrystalArrays) -> SymmetrisedCrystal:
    """The crystal with its lattice and sites averaged over its operations.

    Of several operations with the same rotation, as there are in cells that are not primitive, one
    is taken. No site moves by more than about ``SAME_SITE``, and none into another cell.

    Parameters
    ----------
    crystal : tuple
        Lattice (3, 3) in Å, reduced, fractional coordinates (n_sites, 3), atomic numbers.
    """
    lattice, coords, numbers = crystal
    for tolerance in TOLERANCES:
        found = operations(crystal, tolerance)
        if is_group(found[0]):
            return averaged(crystal, *found)
    unit = np.eye(3, dtype=np.int64)[None], np.arange(len(numbers))[None]
    return SymmetrisedCrystal(lattice, coords, numbers, *unit)


def operations(crystal: CrystalArrays, tolerance: float) -> tuple[Ints, Ints, Floats]:
    """Rotations, images of the sites, and how much each site misses its image by.

    Returns
    -------
    rotations : (g, 3, 3)
    images : (g, n_sites)
    misses : (g, n_sites, 3)
        Fractional.
    """
    lattice, coords, numbers = crystal
    metric = lattice @ lattice.T
    W = lattice_rotations(metric, tolerance)
    kinds, counts = np.unique(numbers, return_counts=True)
    species = [np.flatnonzero(numbers == kinds[k]) for k in np.argsort(counts, kind="stable")]
    # What takes the first site of the rarest species to each of the others.
    rarest = coords[species[0]]
    w = rarest - rarest[0] @ W.swapaxes(1, 2)[:, None]
    which, w = np.repeat(np.arange(len(W)), len(rarest)), w.reshape(-1, 3)
    images = np.empty((len(w), len(numbers)), dtype=np.int64)
    misses = np.empty((len(w), len(numbers), 3))
    for own in species:
        moved = coords[own] @ W[which].swapaxes(1, 2) + w[:, None]
        apart = moved[:, :, None] - coords[own]
        apart -= np.rint(apart)
        squared = np.einsum("gijx,gijx->gij", apart @ metric, apart)
        nearest = squared.argmin(axis=2)[..., None]
        good = (np.take_along_axis(squared, nearest, 2) <= tolerance**2).all(axis=(1, 2))
        images[:, own] = own[nearest[..., 0]]
        misses[:, own] = np.take_along_axis(apart, nearest[..., None], 2)[:, :, 0]
        which, w, images, misses = which[good], w[good], images[good], misses[good]
    _, one = np.unique(which, return_index=True)
    return W[which[one]], images[one], misses[one]


def lattice_rotations(metric: Floats, tolerance: float) -> Ints:
    """Integer matrices (g, 3, 3) that take the lattice to itself, within a tolerance in Å."""
    length = np.sqrt(np.diag(metric))
    lengths = np.sqrt(np.einsum("vx,vx->v", SHORT @ metric, SHORT))
    a, b, c = (SHORT[np.abs(lengths - one) <= tolerance] for one in length)

    def fits(u: Ints, v: Ints, k: int, m: int) -> NDArray[np.bool_]:
        limit = tolerance * (length[k] + length[m])
        return np.abs(u @ metric @ v.T - metric[k, m]) <= limit

    ab, ac, bc = fits(a, b, 0, 1), fits(a, c, 0, 2), fits(b, c, 1, 2)
    i, j, k = np.nonzero(ab[:, :, None] & ac[:, None, :] & bc)
    return np.stack([a[i], b[j], c[k]], axis=2)


def is_group(rotations: Ints) -> bool:
    """Whether the product of any two of the matrices is one of them."""
    powers = 5 ** np.arange(9)
    codes = (rotations + 2).reshape(-1, 9) @ powers
    products = rotations[:, None] @ rotations
    return bool(np.isin((products + 2).reshape(-1, 9) @ powers, codes).all())


def averaged(
    crystal: CrystalArrays, rotations: Ints, images: Ints, misses: Floats
) -> SymmetrisedCrystal:
    """The crystal with the mean of its lattice, and of its sites, over the operations."""
    lattice, coords, numbers = crystal
    metric = lattice @ lattice.T
    metric = (rotations.swapaxes(1, 2) @ metric @ rotations).mean(axis=0)
    back = np.argsort(images, axis=1)[..., None]
    coords = coords + np.take_along_axis(misses, back, 1).mean(axis=0)
    return SymmetrisedCrystal(np.linalg.cholesky(metric), coords, numbers, rotations, images)
