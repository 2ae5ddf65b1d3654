"""Atoms of a list and symmetry → all atoms of the cell, each once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matminer_unate.cif.formula import hydrogen
from matminer_unate.cif.operations import Symmetry
from matminer_unate.cif.sites import NEARLY_FULL, TYPE, Remarks, Site
from matminer_unate.errors import StructureError

SAME_PLACE = 0.05
"""Å. Atoms nearer than this are in one place, whatever their occupancies."""

TOO_CLOSE = 0.5
"""Å. No two atoms are nearer than this."""

MOVED = 0.01
"""Å. A shift onto a special position that is not worth a remark."""

MAX_PAIRS = 1_000_000

MAX_PLACES = 2_000_000
"""Atoms of a list times operations. To make their images takes some 400 MB."""

MANY_PLACES = 3_000
"""From so many on, near ones are looked for in a tree, whose time does not grow with the square of
their number."""


@dataclass(frozen=True)
class Atoms:
    """All atoms of a cell.

    Attributes
    ----------
    species : list of dict
        Element → occupancy, by atom.
    places : (n, 3)
        Fractional.
    uncertainty : dict of str to float
        By element, of how much of it there is.
    sizes : tuple of int
        Of the orbit of each atom of the list: how many places symmetry gives it.
    added : tuple of str
        Atoms of one element in one place whose occupancies were added, for people.
    """

    species: list[dict[str, float]]
    places: NDArray[np.float64]
    uncertainty: dict[str, float]
    sizes: tuple[int, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def is_ordered(self) -> bool:
        return all(set(one.values()) == {1.0} for one in self.species)

    def amounts(self) -> dict[str, tuple[float, float]]:
        """Element → amount in the cell and its uncertainty; deuterium counts as hydrogen."""
        total: dict[str, float] = defaultdict(float)
        for one in self.species:
            for element, occupancy in one.items():
                total[hydrogen(element)] += occupancy
        return {e: (amount, self.uncertainty.get(e, 0.0)) for e, amount in total.items()}


def expand_sites(
    sites: list[Site],
    symmetry: Symmetry,
    lattice: NDArray[np.float64],
    tolerance: float,
    remarks: Remarks,
) -> Atoms:
    """Apply all operations to all sites and merge what is one atom.

    Parameters
    ----------
    sites : list of Site
    symmetry : Symmetry
    lattice : (3, 3), Å
    tolerance : float, Å
        Images of an atom that are nearer are one, unless its occupancy leaves room for all.

    Raises
    ------
    StructureError
        Atoms are too close together, or there are too many of them.
    """
    if len(sites) * len(symmetry) > MAX_PLACES:
        raise StructureError(
            f"{len(sites):,} atoms and {len(symmetry):,} operations make "
            f"{len(sites) * len(symmetry):,} images, more than {MAX_PLACES:,}; if the list is that "
            "of the whole cell, give it the operation x, y, z alone (P 1), else write a unit cell"
        )
    places = np.array([site.place for site in sites])
    images = np.einsum("nij,mj->mni", symmetry.rotations, places) + symmetry.translations
    orbits = [one[None] for one in places]
    if len(symmetry) > 1:
        orbits = _orbits(sites, places, images, symmetry, lattice, tolerance, remarks)
    kept, added = _merged(sites, orbits, lattice, tolerance, remarks)
    species: list[dict[str, float]] = []
    uncertainty: dict[str, float] = defaultdict(float)
    for index, occupancies in kept.items():
        species += [occupancies] * len(orbits[index])
    for site, orbit in zip(sites, orbits, strict=True):
        if site.occupancy < 1:
            uncertainty[hydrogen(site.element)] += site.uncertainty * len(orbit)
    everywhere = np.concatenate([orbits[index] for index in kept])
    sizes = tuple(len(orbit) for orbit in orbits)
    return Atoms(species, everywhere, dict(uncertainty), sizes, added)


# -- one site and its images ----------------------------------------------------------------------


def _orbits(
    sites: list[Site],
    places: NDArray[np.float64],
    images: NDArray[np.float64],
    symmetry: Symmetry,
    lattice: NDArray[np.float64],
    tolerance: float,
    remarks: Remarks,
) -> list[NDArray[np.float64]]:
    """The places of each site, (k, 3) with k at most the number of operations."""
    apart = _apart(images - places[:, None], lattice)
    merged = []
    orbits = []
    for index, site in enumerate(sites):
        limit = _limit(site, apart[index], tolerance)
        if (apart[index] < limit).sum() == 1:
            orbits.append(images[index])
            continue
        place, moved = _special(site, symmetry, lattice, limit)
        if moved > MOVED:
            merged.append(f"{site.label} by {moved:.2g} Å")
        orbits.append(_distinct(symmetry.rotations @ place + symmetry.translations))
    if merged:
        remarks.notes.append(
            f"moved onto the special position that it is near: {', '.join(merged[:5])}"
        )
    return orbits


def _apart(vectors: NDArray[np.float64], lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Å, of fractional vectors; of the nearest images, where these are near."""
    return np.linalg.norm((vectors - np.round(vectors)) @ lattice, axis=-1)


def _limit(site: Site, apart: NDArray[np.float64], tolerance: float) -> float:
    """Split positions, whose occupancies leave room for all of them, are kept apart."""
    near = int((apart < tolerance).sum())
    is_split = near * site.occupancy <= 1 + NEARLY_FULL and near > 1
    return SAME_PLACE if is_split else max(tolerance, 1e-3)


def _special(
    site: Site, symmetry: Symmetry, lattice: NDArray[np.float64], limit: float
) -> tuple[NDArray[np.float64], float]:
    """The place that the operations which hardly move a site do not move, and how far it is."""
    start = place = np.array(site.place)
    for _ in range(6):
        vectors = symmetry.rotations @ place + symmetry.translations - place
        vectors -= np.round(vectors)
        apart = np.linalg.norm(vectors @ lattice, axis=1)
        near = apart < limit
        if apart[near].max() < 1e-8:
            return place, float(np.linalg.norm((place - start) @ lattice))
        place = place + vectors[near].mean(axis=0)
    raise StructureError(
        f"images of {site.label} are nearer than {limit:g} Å, but not on one special position; "
        "mend its coordinates or give a smaller --site-tolerance (site_tolerance in Python)"
    )


def _distinct(images: NDArray[np.float64]) -> NDArray[np.float64]:
    # The images coincide to rounding; the shift keeps round numbers off the edges of the grid.
    cells = np.floor((images + 3.1415926e-7) % 1.0 * 1e6).astype(np.int64) % 1_000_000
    _, first = np.unique(cells @ np.array([10**12, 10**6, 1]), return_index=True)
    return images[np.sort(first)]


# -- several sites --------------------------------------------------------------------------------


def _merged(
    sites: list[Site],
    orbits: list[NDArray[np.float64]],
    lattice: NDArray[np.float64],
    tolerance: float,
    remarks: Remarks,
) -> tuple[dict[int, dict[str, float]], tuple[str, ...]]:
    """Which sites are left, each with its occupancies by element; and ``Atoms.added``."""
    kept = {index: {site.element: site.occupancy} for index, site in enumerate(sites)}
    doubled: list[str] = []
    added: list[str] = []
    for first, second, distance in _near_pairs(orbits, lattice, max(tolerance, TOO_CLOSE)):
        if first not in kept or second not in kept:
            continue
        a, b = sites[first], sites[second]
        total = sum(kept[first].values()) + sum(kept[second].values())
        room = total <= 1 + NEARLY_FULL
        # Fe2+ and Fe3+ may share a place; what is the same in all but its label may be one atom.
        alike = first != second and (a.element, a.said.get(TYPE)) == (b.element, b.said.get(TYPE))
        if alike and distance < SAME_PLACE and (a.label, a.occupancy) == (b.label, b.occupancy):
            doubled.append(a.label)
            del kept[second]
        elif room and distance < SAME_PLACE and first != second:
            if alike:
                added.append(f"{a.label} ({a.occupancy:g}) and {b.label} ({b.occupancy:g})")
            for element, occupancy in kept.pop(second).items():
                kept[first][element] = kept[first].get(element, 0.0) + occupancy
        elif not room and first != second and a.element == b.element and distance < tolerance:
            if a.occupancy != b.occupancy:
                raise StructureError(_too_close(a, b, distance, total))
            doubled.append(a.label if a.label == b.label else f"{a.label} = {b.label}")
            del kept[second]
        elif not room:
            raise StructureError(_too_close(a, b, distance, total))
    for occupancies in kept.values():
        _fill(occupancies)
    if doubled:
        dots = ", …" if len(doubled) > 5 else ""
        remarks.notes.append(f"listed more than once, merged: {', '.join(doubled[:5])}{dots}")
    return kept, tuple(added)


def _too_close(a: Site, b: Site, distance: float, total: float) -> str:
    merge = (
        f"--site-tolerance {distance + 0.05:.1g} (site_tolerance in Python, Å) merges them if they "
        "are one atom, else mend their coordinates or the cell"
    )
    if a is b:
        return f"images of {a.label} under symmetry are {distance:.2g} Å apart; {merge}"
    if distance < SAME_PLACE:
        return (
            f"{a.label} and {b.label} are in one place with occupancies of {total:g} in all; mend "
            "them or the coordinates"
        )
    text = f"{a.label} and {b.label} are {distance:.2g} Å apart"
    if a.element != b.element:
        return f"{text}; mend their coordinates or the cell"
    return f"{text}; {merge}"


def _fill(occupancies: dict[str, float]) -> None:
    """Occupancies that add up to 1 as far as they are written are made to do so."""
    total = sum(occupancies.values())
    if abs(total - 1) <= NEARLY_FULL and total != 1:
        for element in occupancies:
            occupancies[element] /= total


def _near_pairs(
    orbits: list[NDArray[np.float64]], lattice: NDArray[np.float64], limit: float
) -> list[tuple[int, int, float]]:
    """Pairs of sites (i ≤ j) with images nearer than a limit, and the distance (Å)."""
    everywhere = np.concatenate(orbits)
    owner = np.repeat(np.arange(len(orbits)), [len(orbit) for orbit in orbits])
    start = np.searchsorted(owner, np.arange(len(orbits)))
    found: dict[tuple[int, int], float] = {}
    if len(everywhere) >= MANY_PLACES:
        for i, k, distance in _near_in_tree(everywhere, start, lattice, limit):
            pair = (i, int(owner[k]))
            if pair[0] <= pair[1]:
                found[pair] = min(found.get(pair, np.inf), distance)
        return [(i, j, distance) for (i, j), distance in sorted(found.items())]
    # All operations keep distances, so that one image of the first site is enough.
    rows = max(1, MAX_PAIRS // len(everywhere))
    for begin in range(0, len(orbits), rows):
        chunk = np.arange(begin, min(begin + rows, len(orbits)))
        apart = _apart(everywhere[start[chunk], None] - everywhere, lattice)
        apart[chunk - begin, start[chunk]] = np.inf
        for i, k in zip(*np.nonzero(apart < limit), strict=True):
            pair = (int(i) + begin, int(owner[k]))
            if pair[0] <= pair[1]:
                found[pair] = min(found.get(pair, np.inf), float(apart[i, k]))
    return [(i, j, distance) for (i, j), distance in sorted(found.items())]


def _near_in_tree(
    everywhere: NDArray[np.float64],
    start: NDArray[np.int64],
    lattice: NDArray[np.float64],
    limit: float,
) -> Iterator[tuple[int, int, float]]:
    """Number of a site, of an image that is near the first of its own, and the distance (Å)."""
    from scipy.spatial import KDTree

    frac = everywhere - np.floor(everywhere)
    copies, of = frac, np.arange(len(frac))
    for axis, margin in enumerate(limit * np.linalg.norm(np.linalg.inv(lattice), axis=0)):
        low, high = copies[:, axis] < margin, copies[:, axis] > 1 - margin
        shift = np.eye(3)[axis]
        of = np.concatenate([of, of[low], of[high]])
        copies = np.concatenate([copies, copies[low] + shift, copies[high] - shift])
    firsts, tree = KDTree(frac[start] @ lattice), KDTree(copies @ lattice)
    near = firsts.sparse_distance_matrix(tree, limit, output_type="coo_matrix")
    for i, copy, distance in zip(near.row, near.col, near.data, strict=True):
        if of[copy] != start[i] and distance < limit:
            yield int(i), int(of[copy]), float(distance)
