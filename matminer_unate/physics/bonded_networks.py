"""Radius graph → which atoms hang together: molecules, chains, layers or bulk.

No single length tells a bond from a contact. So bonds are added from the strongest to the weakest,
and what is asked of the networks is averaged over all thresholds that could be drawn, as in Larsen
et al., Phys. Rev. Mater. 3, 034003 (2019), doi:10.1103/PhysRevMaterials.3.034003. Thereby nothing
jumps where an atom moves, and a cell and its supercells have the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.crystals.lattice import cell_heights
from matminer_unate.physics.elements import Floats, element_table

CUTOFF = 6.0
"""Å. Farther atoms are not bonded."""

FADE = 5.0
"""Å. From here on to the cutoff, the strength of a contact falls to 0."""

TOLERANCE = 0.15
"""Stretch of a bond at which it counts by half as one: Larsen's constant."""

VAN_DER_WAALS_GAP = 3.5
"""Å. What is empty between two planes of atoms beyond this is vacuum."""

CHUNK = 30
"""Bonds that are looked at at once, and as many more as there are sites: the strongest few most
often settle all."""

Vector = tuple[int, int, int]


@dataclass(frozen=True)
class Networks:
    """The bonded networks of a crystal, averaged over thresholds.

    Attributes
    ----------
    shares : (4,)
        Of the atoms, those in networks that go on for ever in 0, 1, 2 and 3 directions.
    weakest : (3,)
        Strength of the weakest bond that a network without end in 1, 2, 3 directions needs.
    thickness, spacing, gap : float, Å
        Of layers, from the lowest to the highest centre of an atom; from one layer to the next; the
        second less the first. Here and in the next, atoms in no layer count with 0.
    area_density : float, 1/Å²
        Atoms of a layer.
    vacuum : float
        Share of the cell that is empty slab between layers, beyond ``VAN_DER_WAALS_GAP``.
    """

    shares: Floats
    weakest: Floats
    thickness: float
    spacing: float
    gap: float
    area_density: float
    vacuum: float


def distances(graph: RadiusGraph) -> Floats:
    """Of the edges, Å."""
    return np.linalg.norm(graph.edge_vector.astype(np.float64), axis=1)


def fading(distance: Floats) -> Floats:
    """1 up to ``FADE``, 0 from the cutoff on, and smooth."""
    left = np.clip((CUTOFF - distance) / (CUTOFF - FADE), 0.0, 1.0)
    return left * left * (3.0 - 2.0 * left)


def strengths_by_radii(graph: RadiusGraph, distance: Floats) -> Floats:
    """Sum of the covalent radii over the distance, (n_edges,)."""
    radius = element_table().radius[graph.atomic_numbers]
    source, target = graph.edge_index
    return (radius[source] + radius[target]) / distance * fading(distance)


def strengths_by_neighbours(graph: RadiusGraph, distance: Floats) -> Floats:
    """Distances of the nearest neighbours of both sites (geometric mean) over theirs, (n_edges,).

    Radii of ions and of atoms in metals are not covalent; here every site sets its own measure.
    """
    source, target = graph.edge_index
    nearest = np.full(graph.n_sites, np.inf)
    np.minimum.at(nearest, target, distance)
    return np.sqrt(nearest[source] * nearest[target]) / distance * fading(distance)


def thresholds(strength: Floats) -> Floats:
    """Share of the thresholds that a bond of this strength fails, (n,).

    x²/(1 + x²), with x how many tolerances its stretch 1/strength exceeds 1 by.
    """
    with np.errstate(divide="ignore", over="ignore"):
        squared = (np.maximum(1.0 / strength - 1.0, 0.0) / TOLERANCE) ** 2
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(squared), 1.0, squared / (1.0 + squared))


def bonded_networks(
    lattice: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    graph: RadiusGraph,
    strength: Floats,
) -> Networks:
    """Add bonds from the strongest on, and average what becomes of the networks.

    Parameters
    ----------
    lattice : (3, 3), Å
    frac_coords : (n_sites, 3)
    graph : RadiusGraph
        With true vectors, up to ``CUTOFF``.
    strength : (n_edges,)
    """
    networks = _Growing(frac_coords - np.floor(frac_coords), lattice)
    weakest, reached = np.zeros(3), 0
    for here, value, i, j, image in _from_the_strongest(graph, strength):
        networks.go_to(here)
        networks.join(i, j, image)
        while reached < networks.most_directions:
            weakest[reached] = value
            reached += 1
        if networks.is_one:
            break
    mean = networks.mean()
    return Networks(mean[:4] / graph.n_sites, weakest, *mean[4:].tolist())


def _from_the_strongest(
    graph: RadiusGraph, strength: Floats
) -> Iterator[tuple[float, float, int, int, Vector]]:
    """Thresholds failed, strength, both sites and image of every bond, each once."""
    source, target = graph.edge_index
    x, y, z = graph.edge_image.T
    # Of a bond and its reverse, one will do.
    itself = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    once = np.flatnonzero((target < source) | ((target == source) & itself))
    order = once[np.argsort(-strength[once], kind="stable")]
    chunk = CHUNK + graph.n_sites
    for start in range(0, len(order), chunk):
        some = order[start : start + chunk]
        yield from zip(
            thresholds(strength[some]).tolist(),
            strength[some].tolist(),
            target[some].tolist(),
            source[some].tolist(),
            map(tuple, graph.edge_image[some].tolist()),
            strict=True,
        )


class _Growing:
    """Networks, as bonds are added.

    Every site has an image that its network reaches from the image of another of its sites, and
    every network the translations that take it to itself.

    Attributes
    ----------
    counts : list of 4 int
        Of the atoms, by the directions in which their network goes on for ever.
    most_directions : int
        In which any network goes on for ever.
    is_one : bool
        Whether all atoms of the infinite crystal are in one network: nothing changes any more.
    """

    def __init__(self, wrapped: Floats, lattice: NDArray[np.float64]) -> None:
        n_sites = len(wrapped)
        self.positions, self.lattice = wrapped @ lattice, lattice
        self.volume = cell_heights(lattice)[1]
        self.network = list(range(n_sites))  # of each site
        self.image: list[Vector] = [(0, 0, 0)] * n_sites
        self.members = [[k] for k in range(n_sites)]
        self.translations: list[list[list[int]]] = [[] for _ in range(n_sites)]
        self.counts = [n_sites, 0, 0, 0]
        self.most_directions, self.is_one = 0, False
        # Counts and layers now, their sum over the thresholds up to one, and where that ends.
        self._now, self._sum, self._summed = np.array([n_sites, *[0.0] * 8]), np.zeros(9), 0.0
        self._threshold, self._changed = 0.0, False

    def go_to(self, threshold: float) -> None:
        """Before the bonds of a threshold are added."""
        if self._changed and threshold > self._threshold:
            self._sum += (self._threshold - self._summed) * self._now
            self._now = np.array([*self.counts, *self._layers()])
            self._summed, self._changed = self._threshold, False
        self._threshold = threshold

    def mean(self) -> Floats:
        """Counts, thickness, spacing, gap, area density and vacuum over all thresholds, (9,)."""
        self.go_to(1.0)
        return self._sum + (1.0 - self._summed) * self._now

    def join(self, i: int, j: int, image: Vector) -> None:
        """Add the bond of a site with an image of another."""
        one, other = self.network[i], self.network[j]
        (a, b, c), (d, e, f), (p, q, r) = self.image[i], self.image[j], image
        step = (a + p - d, b + q - e, c + r - f)
        if one == other:
            if any(step) and not is_all(self.translations[one]):
                self._extend(one, [list(step)])
            return
        if len(self.members[one]) < len(self.members[other]):
            one, other, step = other, one, (-step[0], -step[1], -step[2])
        for k in self.members[other]:
            a, b, c = self.image[k]
            self.image[k] = (a + step[0], b + step[1], c + step[2])
            self.network[k] = one
        known, added = self.translations[one], self.translations[other]
        self._move(len(self.members[other]), len(added), len(known))
        self.members[one] += self.members[other]
        self.members[other], self.translations[other] = [], []
        self._extend(one, added)

    def _extend(self, network: int, steps: list[list[int]]) -> None:
        """Add translations to those of a network."""
        rows, size = self.translations[network], len(self.members[network])
        if steps:
            before = [row[:] for row in rows]
            for step in steps:
                add_to_lattice(rows, step)
            if rows != before:
                self._move(size, len(before), len(rows))
                self.most_directions = max(self.most_directions, len(rows))
        self.is_one = size == len(self.network) and is_all(rows)

    def _move(self, n_atoms: int, before: int, after: int) -> None:
        """Networks of some atoms go on for ever in more directions than before, or in as many."""
        self.counts[before] -= n_atoms
        self.counts[after] += n_atoms
        self._changed |= before != after or before == 2

    def _layer(self, network: int) -> tuple[float, float, float, float]:
        """Share of the atoms, area (Å²), thickness (Å) and vacuum of a layer and its images."""
        (i, j, k), (p, q, r) = rows = self.translations[network]
        # Of the planes of lattice points along it, some are between those of its own translations.
        planes_apart = math.gcd(j * r - k * q, k * p - i * r, i * q - j * p)
        edges = np.array(rows, dtype=np.float64) @ self.lattice
        (a, b, c), (d, e, f) = edges.tolist()
        normal = np.array([b * f - c * e, c * d - a * f, a * e - b * d])
        area = math.hypot(*normal.tolist())
        sites, period = self.members[network], planes_apart * self.volume / area
        images = np.array([self.image[site] for site in sites], dtype=np.float64)
        heights = (self.positions[sites] + images @ self.lattice) @ normal / area
        planes = self.positions @ normal / area % period
        planes.sort()
        above = np.append(planes[1:], planes[0] + period)
        vacuum = float(np.maximum(above - planes - VAN_DER_WAALS_GAP, 0.0).sum()) / period
        thickness = float(heights.max() - heights.min())
        return len(sites) / len(self.network), area, thickness, vacuum

    def _layers(self) -> Iterable[float]:
        """Thickness, spacing, gap, area density and vacuum."""
        if not self.counts[2]:
            return [0.0] * 5
        layers = [self._layer(k) for k, rows in enumerate(self.translations) if len(rows) == 2]
        share, area, thickness, vacuum = np.array(layers).T
        mean, total = float(share @ thickness), float(share.sum())
        spacing = total * self.volume / float(area.sum())
        density = float(share @ (share * len(self.network) / area))
        return mean, spacing, max(spacing - mean, 0.0), density, float(share @ vacuum)


def is_all(rows: list[list[int]]) -> bool:
    """Whether a lattice in echelon form has all integer vectors."""
    return len(rows) == 3 and abs(rows[0][0] * rows[1][1] * rows[2][2]) == 1


def add_to_lattice(rows: list[list[int]], step: list[int]) -> None:
    """Add an integer vector to a lattice in echelon form, in place (by Euclid's algorithm).

    Parameters
    ----------
    rows : list of list of int
        Up to three vectors; the first non-zero entry of each is to the right of that before.
    step : list of int
    """
    for column in range(3):
        if not step[column]:
            continue
        at = next((k for k, row in enumerate(rows) if row[column] and not any(row[:column])), None)
        if at is None:
            rows.append(step)
            rows.sort(key=lambda row: [value == 0 for value in row])
            return
        row = rows[at]
        while step[column]:
            times = row[column] // step[column]
            row, step = step, [a - times * b for a, b in zip(row, step, strict=True)]
        rows[at] = row
