"""What cannot be a crystal, said in words that name the cure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.lattice import (
    MIN_CELL,
    cell_heights,
    n_images,
    reduced_basis,
    repeats_itself,
)
from matminer_unate.errors import StructureError

MAX_EDGES = 2_000_000
"""Edges of one crystal, about 80,000 sites. They take about 1 kB each to find and encode."""

ALWAYS_FEW = 5_000_000
"""Pairs (site, image of a site) up to which no count of the edges is needed beforehand."""


MAX_FRACTIONAL = 1e5
"""Fractional coordinates beyond this have lost the digits that place the atom in its cell."""

MAX_LENGTH = 1e5
"""Å. Longest lattice vector taken for real."""

MIN_DISTANCE = 0.5
"""Å. Two atoms closer than this are a mistake in the input, not a bond: the shortest there is, in
H₂, has 0.74 Å. Rounded positions of high symmetry (.33 for 1/3) split into such pairs."""

MAX_DENSITY = 2.0
"""Atoms per Å³. Diamond has 0.18 and hydrogen at 500 GPa below 1; a cell in nm instead of Å has
a thousand times too many, and its graph would fill the memory."""

MAX_PAIRS = 1_000_000
"""Pairs of sites that are looked at at once."""


def check_cell(lattice: NDArray[np.float64]) -> None:
    """Raise StructureError unless a (3, 3) lattice in Å can be a crystal's."""
    lengths = [math.hypot(*vector) for vector in lattice.tolist()]
    if not all(math.isfinite(length) for length in lengths):
        raise StructureError("the lattice has non-finite entries; check the cell parameters")
    _, volume = cell_heights(lattice)
    # Beyond the second of these, too few digits are left to tell a flat cell from a thin one.
    if volume < MIN_CELL**3 or volume < 1e-9 * math.prod(lengths):
        raise StructureError(
            f"the cell volume is {volume:.3g} Å³ with lattice vectors of "
            f"{', '.join(f'{x:.3g}' for x in lengths)} Å: zero, flat or far too small; check "
            "units (Å) and angles (degrees)"
        )
    if min(lengths) < MIN_CELL:
        raise repeats_itself(min(lengths))
    if max(lengths) > MAX_LENGTH:
        raise StructureError(
            f"a lattice vector is {max(lengths):.3g} Å long; check the units (Å are expected)"
        )


def check_coordinates(frac_coords: NDArray[np.float64]) -> None:
    finite = np.isfinite(frac_coords).all(axis=1)
    if not finite.all():
        raise StructureError(
            f"site {int(np.argmin(finite))} has non-finite coordinates; check the source file"
        )
    largest = np.abs(frac_coords).max()
    if largest > MAX_FRACTIONAL:
        raise StructureError(
            f"a fractional coordinate is {largest:.3g}; were Cartesian coordinates passed without "
            "coords_are_cartesian=True?"
        )


def check_density(n_sites: int, volume: float) -> None:
    """Raise StructureError if so many sites are too many for a volume in Å³."""
    if n_sites > MAX_DENSITY * volume:
        raise StructureError(
            f"{n_sites} sites in {volume:.3g} Å³ are denser than any crystal "
            f"({MAX_DENSITY:g} atoms per Å³); check the units (Å are expected, not nm)"
        )


def check_arrays(lattice: NDArray[np.float64], frac_coords: NDArray[np.float64]) -> None:
    """Raise StructureError unless there are sites, in a cell and at places that can be real.

    Parameters
    ----------
    lattice : (3, 3), Å
    frac_coords : (n_sites, 3)
    """
    if len(frac_coords) == 0:
        raise StructureError("the structure has no sites; drop this row")
    check_cell(lattice)
    check_coordinates(frac_coords)


def check_crystal(
    lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], numbers: NDArray[np.int64]
) -> None:
    """Raise StructureError unless this can be a crystal, of which a graph can be built.

    Parameters
    ----------
    lattice : (3, 3), Å
    frac_coords : (n_sites, 3)
    numbers : (n_sites,)
    """
    check_arrays(lattice, frac_coords)
    if not 1 <= numbers.min() <= numbers.max() <= 118:
        raise StructureError("an atomic number is not from 1 to 118; replace or remove that site")
    heights, volume = cell_heights(lattice)
    check_density(len(numbers), volume)
    if min(heights) <= 2 * MIN_DISTANCE:  # too skewed for what follows, or a needle
        reduced = reduced_basis(lattice) @ lattice
        frac_coords, lattice = frac_coords @ lattice @ np.linalg.inv(reduced), reduced
    check_distances(lattice, frac_coords)


def check_distances(lattice: NDArray[np.float64], frac_coords: NDArray[np.float64]) -> None:
    """Raise StructureError where two sites are closer than ``MIN_DISTANCE``, in a compact cell."""
    rows = max(1, MAX_PAIRS // len(frac_coords))
    for start in range(0, len(frac_coords), rows):
        # Rounding finds the nearest image of whatever is as near as this.
        apart = frac_coords[start : start + rows, None] - frac_coords
        vector = (apart - np.round(apart)) @ lattice
        square = np.einsum("ijk,ijk->ij", vector, vector)
        near = np.argwhere(square < MIN_DISTANCE**2)
        if len(near) > len(square):  # each site is near itself
            i, j = next((i, j) for i, j in near if i + start != j)
            raise too_close(i + start, j, square[i, j] ** 0.5)


def too_close(one: int, other: int, distance: float) -> StructureError:
    """The error that names two sites this near to each other (Å), and the cure."""
    if one == other:
        return repeats_itself(distance)
    return StructureError(
        f"sites {one} and {other} are {distance:.3g} Å apart, closer than {MIN_DISTANCE} Å; "
        "merge or remove duplicate sites (Structure.merge_sites), and write coordinates such as "
        "1/3 with all their digits"
    )


def check_size(
    frac_coords: NDArray[np.float64], lattice: NDArray[np.float64], cutoff: float
) -> None:
    """Refuse, before any search, a crystal whose edges would fill the memory."""
    heights, volume = cell_heights(lattice)
    n_sites = len(frac_coords)
    check_density(n_sites, volume)
    if n_sites * n_sites * n_images(heights, cutoff) < ALWAYS_FEW:
        return
    # Bins up to one cutoff wide: how many sites share one tells the edges within a small factor,
    # also where all the atoms sit in one corner.
    bins = np.ceil(np.array(heights) / cutoff)
    place = ((frac_coords - np.floor(frac_coords)) * bins).astype(np.int64)
    _, count = np.unique(place @ [bins[1] * bins[2], bins[2], 1.0], return_counts=True)
    sphere = 4 / 3 * math.pi * cutoff**3
    n_edges = float(np.square(count, dtype=np.float64).sum()) * sphere * bins.prod() / volume
    if n_edges > MAX_DENSITY * sphere * n_sites:
        raise StructureError(
            f"the atoms sit so close together that each has about {n_edges / n_sites:.0f} others "
            f"within {cutoff} Å; check the coordinates and their units"
        )
    if n_edges > MAX_EDGES:
        raise StructureError(
            f"{n_sites} sites have about {n_edges:.2g} pairs within {cutoff} Å, more than the "
            f"{MAX_EDGES:.0e} that fit in memory; take a smaller cell "
            "(Structure.get_primitive_structure)"
        )
