"""A crystal in a primitive cell → the same with all of its symmetry operations exact."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from matminer_unate.crystals.involutions import frame, involutions
from matminer_unate.crystals.operations import (
    Floats,
    Ints,
    NotPlain,
    Operations,
    nearest_sites,
    operations,
)
from matminer_unate.crystals.structures import CrystalArrays
from matminer_unate.crystals.symmetry import SAME_SITE, symmetry_dataset

MAX_SITES = 300
"""Of larger cells no symmetry is looked for: every site is compared with every other."""


@dataclass(frozen=True)
class SymmetrisedCrystal:
    """A crystal and the operations r → W r + w that take it to itself, exactly.

    Attributes
    ----------
    lattice : (3, 3) float64, Å
        Lattice vectors as rows; turned against those of the crystal that was given, so that the
        axes of :func:`~matminer_unate.crystals.involutions.involutions` are x, y and z.
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

    @cached_property
    def orbit(self) -> Ints:
        """Number, from 0 without gaps, of the set of equivalent sites that each belongs to."""
        return np.unique(self.images.min(axis=0), return_inverse=True)[1]


def symmetrised(crystal: CrystalArrays) -> SymmetrisedCrystal:
    """The crystal with its lattice and sites averaged over its operations.

    These are looked for with a tolerance of ``SAME_SITE``: no site moves by more than about that,
    and none into another cell. Where a crystal comes close to more symmetry and gains it, what is
    computed of it changes at once, by as much as such a move makes. Cells of more than
    ``MAX_SITES`` stay as they are, with the identity alone.

    Parameters
    ----------
    crystal : tuple
        Lattice (3, 3) in Å, primitive and reduced by Niggli's criteria; fractional coordinates
        (n_sites, 3); atomic numbers (n_sites,).
    """
    lattice, coords, numbers = crystal
    as_it_is = SymmetrisedCrystal(
        lattice, coords, numbers, np.eye(3, dtype=np.int64)[None], np.arange(len(numbers))[None]
    )
    if len(numbers) > MAX_SITES:
        return as_it_is
    found: Operations | None
    try:
        found = operations(lattice, coords, numbers, SAME_SITE)
    except NotPlain:
        found = _spglibs(crystal)
    if found is None or len(found.rotations) == 1:
        return as_it_is
    W, images = found.rotations, found.images
    if (np.sort(images, axis=1) != as_it_is.images).any():
        return as_it_is
    metric = (W.swapaxes(1, 2) @ (lattice @ lattice.T) @ W).mean(axis=0)
    back = np.argsort(images, axis=1)[..., None]
    coords = coords + np.take_along_axis(found.misses, back, 1).mean(axis=0)
    exact = np.linalg.cholesky(metric)
    exact = exact @ frame(involutions(W)[2], exact).T
    return SymmetrisedCrystal(exact, coords, numbers, W, images)


def _spglibs(crystal: CrystalArrays) -> Operations | None:
    """The operations that spglib finds."""
    lattice, coords, numbers = crystal
    dataset = symmetry_dataset(crystal, SAME_SITE)
    if dataset is None:
        return None
    W, w = np.array(dataset.rotations, dtype=np.int64), np.array(dataset.translations)
    images = np.empty((len(W), len(numbers)), dtype=np.int64)
    misses = np.empty((len(W), len(numbers), 3))
    moved = coords @ W.swapaxes(1, 2) + w[:, None]
    for z in np.unique(numbers):
        own = np.flatnonzero(numbers == z)
        nearest, misses[:, own] = nearest_sites(moved[:, own], coords[own], lattice)
        images[:, own] = own[nearest]
    return Operations(W, w, images, misses)
