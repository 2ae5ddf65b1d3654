"""Crystal structure → periodic radius graph.

The graph holds one directed edge for every pair (site *i*, periodic image of site *j*) within the
cutoff, with no neighbour cap: a cap picks arbitrary members of a degenerate shell and so breaks
invariance to site order and to the choice of cell.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import StructureError
from matminer_unate.structures import (
    MAX_DENSITY,
    MIN_CELL,
    MIN_DISTANCE,
    cell_heights,
    crystal_arrays,
    too_close,
)

if TYPE_CHECKING:
    from torch_geometric.data import Data

ISOLATED = 0.85
"""Cutoffs. A site whose nearest neighbour is farther has its surroundings drawn in. Of the sites of
36,738 crystals of the Materials Project these are 0.2 %."""

FARTHEST = 0.95
"""Cutoffs. Where the nearest neighbour of an isolated site is drawn to if it is very far away. The
envelope of the encoder vanishes at the cutoff, so there it would carry no weight at all."""

COINCIDENT = 1e-8
"""Å. Below this, a point found at image (0, 0, 0) of the same site is the site itself."""

MAX_EDGES = 2_000_000
"""Edges of one crystal, about 80,000 sites. They take about 1 kB each to find and encode."""

MAX_IMAGES = 1_000
"""Periodic images of a cell that are searched as they are; beyond, the cell is reduced first."""

MAX_BINS = 300_000
"""Cubes, one cutoff wide, that pymatgen's search may lay out; it takes 220 bytes for each."""

Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Targets, sources, images of the sources, and vectors (Å)."""

ALWAYS_FEW = 5_000_000
"""Pairs (site, image of a site) up to which no count of the edges is needed beforehand."""


@dataclass(frozen=True)
class RadiusGraph:
    """A periodic radius graph as NumPy arrays, edges sorted by target site.

    Attributes
    ----------
    atomic_numbers : (n_sites,) int64
    edge_index : (2, n_edges) int64
        Row 0 is the source *j*, row 1 the target *i*.
    edge_vector : (n_edges, 3) float32, Å
        From the target to the imaged source, ``x_j + T·lattice − x_i``.
    edge_image : (n_edges, 3) int64
        The lattice translation T of the source.
    n_isolated : int
        Sites whose nearest neighbour is beyond ``ISOLATED`` cutoffs, with their surroundings drawn
        in; in graphs made without ``draw_in``, sites with nobody inside the cutoff.
    """

    atomic_numbers: NDArray[np.int64]
    edge_index: NDArray[np.int64]
    edge_vector: NDArray[np.float32]
    edge_image: NDArray[np.int64]
    n_isolated: int = 0

    @property
    def n_sites(self) -> int:
        return len(self.atomic_numbers)

    @property
    def n_edges(self) -> int:
        return self.edge_index.shape[1]


def radius_graph(
    lattice: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    atomic_numbers: NDArray[np.int64],
    cutoff: float,
    skin: float = 0.0,
    draw_in: bool = True,
) -> RadiusGraph:
    """Build the periodic radius graph of one crystal.

    Every site gets an edge, and edges change continuously when atoms move: those that appear or
    vanish do so at the cutoff, where the encoder's envelope is zero. So that a site does not lose
    its last edge there, the surroundings of an isolated one are drawn in: where its nearest
    neighbour is at d₁, all its edges are shortened by d₁ − :func:`drawn_in` (d₁), direction kept.

    Parameters
    ----------
    lattice : (3, 3) float64, Å
        Lattice vectors as rows.
    frac_coords : (n_sites, 3) float64
    atomic_numbers : (n_sites,) int64
    cutoff : float, Å
        Pairs at exactly the cutoff are included; the encoder's envelope is zero there.
    skin : float, Å
        Also keep pairs up to ``cutoff + skin``, so that atoms can later be moved a little without
        searching again. The encoder must not be given edges longer than the cutoff.
    draw_in : bool
        Whether to draw in what surrounds isolated sites. Without, every vector is true, and a site
        with nobody inside the cutoff has no edge.

    Returns
    -------
    RadiusGraph

    Raises
    ------
    StructureError
        Two atoms are closer than ``MIN_DISTANCE``, or there are more edges than memory for them.
    """
    lattice = np.ascontiguousarray(lattice, dtype=np.float64)
    heights, volume = cell_heights(lattice)
    # The nearest image of any site is at most 1.13 V^(1/3) away (Hermite's constant), and the
    # search for a first shell overshoots by half of that at most.
    reach = max(cutoff + skin, 1.7 * volume ** (1 / 3))
    if _n_images(heights, reach) > MAX_IMAGES:
        basis = reduced_basis(lattice)
        return _graph_in(basis, lattice, frac_coords, atomic_numbers, cutoff, skin, draw_in)
    return _graph(lattice, frac_coords, atomic_numbers, cutoff, skin, draw_in)


def drawn_in(nearest: NDArray[np.float64], cutoff: float) -> NDArray[np.float64]:
    """Where the nearest neighbour of a site, at this distance (Å), is drawn to.

    The distance itself up to ``ISOLATED`` cutoffs; beyond it grows ever more slowly towards
    ``FARTHEST`` cutoffs, so that the volume of a sparse crystal can still be told. Both the value
    and the slope are continuous.
    """
    room = (FARTHEST - ISOLATED) * cutoff
    beyond = np.maximum(nearest - ISOLATED * cutoff, 0.0)
    return np.minimum(nearest, ISOLATED * cutoff) + room * beyond / (room + beyond)


def graph_to_data(graph: RadiusGraph) -> Data:
    """Wrap a graph as a PyG ``Data`` with ``z``, ``edge_index`` and ``edge_vector``."""
    import torch
    from torch_geometric.data import Data

    return Data(
        z=torch.from_numpy(graph.atomic_numbers),
        edge_index=torch.from_numpy(graph.edge_index),
        edge_vector=torch.from_numpy(graph.edge_vector),
        num_nodes=graph.n_sites,
    )


def structure_to_data(structure: Any, cutoff: float) -> Data:
    """Turn a pymatgen ``Structure``, ``IStructure`` or ASE ``Atoms`` into a PyG graph.

    Parameters
    ----------
    structure : Structure, IStructure or ase.Atoms
        Ordered and periodic. Oxidation states are dropped; D and T count as H.
    cutoff : float, Å

    Returns
    -------
    torch_geometric.data.Data
        ``z`` (n_sites,), ``edge_index`` (2, n_edges; source, target) and ``edge_vector``
        (n_edges, 3; Å, from target to source).

    Raises
    ------
    StructureError
        The input is not an ordered periodic crystal, or two atoms coincide.
    """
    return graph_to_data(radius_graph(*crystal_arrays(structure), cutoff))


def _n_images(heights: tuple[float, float, float], radius: float) -> float:
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
        step = np.rint(Lattice(basis @ lattice).lll_mapping)
        if abs(step).sum() == 3:
            break
        basis = step @ basis
    shortest = float(np.linalg.norm(basis @ lattice, axis=1).min())
    if shortest < MIN_CELL:
        raise _repeats_itself(shortest)
    return basis


def _graph(
    lattice: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    atomic_numbers: NDArray[np.int64],
    cutoff: float,
    skin: float,
    draw_in: bool,
) -> RadiusGraph:
    """The graph, searched in the cell as it is."""
    _check_size(frac_coords, lattice, cutoff + skin)
    # The neighbour routine pads its search box by the largest coordinate: far-out images of an
    # atom cost time and precision, so every atom is brought into the cell first.
    wrapped = frac_coords - np.floor(frac_coords)
    cartesian = np.ascontiguousarray(wrapped @ lattice)
    target, source, image, distance = _neighbours(cartesian, cartesian, lattice, cutoff + skin)
    if len(distance) and distance.min() < MIN_DISTANCE:
        worst = int(distance.argmin())
        raise _too_close(int(source[worst]), int(target[worst]), float(distance[worst]))
    vector = cartesian[source] + image @ lattice - cartesian[target]

    alone = ISOLATED * cutoff if draw_in else cutoff + COINCIDENT
    near = np.bincount(target[distance <= alone], minlength=len(atomic_numbers))
    isolated = np.flatnonzero(near == 0)
    if draw_in and len(isolated):
        others = ~np.isin(target, isolated)
        parts = [(target[others], source[others], image[others], vector[others])]
        # In blocks, because a wide search around many atoms at once could find very many pairs.
        size = max(1, 4_000_000 // len(cartesian))
        for start in range(0, len(isolated), size):
            block = isolated[start : start + size]
            parts += _drawn_in_edges(block, cartesian, lattice, cutoff, skin)
        target, source, image, vector = (np.concatenate(p) for p in zip(*parts, strict=True))

    order = np.argsort(target, kind="stable")
    return RadiusGraph(
        atomic_numbers=np.asarray(atomic_numbers, dtype=np.int64),
        edge_index=np.stack([source[order], target[order]]),
        edge_vector=vector[order].astype(np.float32),
        edge_image=image[order].astype(np.int64),
        n_isolated=len(isolated),
    )


def _graph_in(
    basis: NDArray[np.float64],
    lattice: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    atomic_numbers: NDArray[np.int64],
    cutoff: float,
    skin: float,
    draw_in: bool,
) -> RadiusGraph:
    """The graph of a skewed cell by way of a compact one.

    An unreduced cell of an ordinary crystal can have its neighbours millions of images away.
    """
    in_basis = frac_coords @ np.linalg.inv(basis)
    graph = _graph(basis @ lattice, in_basis, atomic_numbers, cutoff, skin, draw_in)
    # Where the two cells bring a site into themselves, in images of the given one.
    home = np.floor(frac_coords) - np.floor(in_basis) @ basis
    source, target = graph.edge_index
    image = graph.edge_image @ basis + home[source] - home[target]
    return replace(graph, edge_image=np.rint(image).astype(np.int64))


def _check_size(
    frac_coords: NDArray[np.float64], lattice: NDArray[np.float64], cutoff: float
) -> None:
    """Refuse, before any search, a crystal whose edges would fill the memory."""
    heights, volume = cell_heights(lattice)
    n_sites = len(frac_coords)
    if n_sites > MAX_DENSITY * volume:
        raise StructureError(
            f"{n_sites} sites in {volume:.3g} Å³ are denser than any crystal "
            f"({MAX_DENSITY:g} atoms per Å³); check the units (Å are expected, not nm)"
        )
    if n_sites * n_sites * _n_images(heights, cutoff) < ALWAYS_FEW:
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


def _too_close(source: int, target: int, distance: float) -> StructureError:
    return _repeats_itself(distance) if source == target else too_close(source, target, distance)


def _repeats_itself(distance: float) -> StructureError:
    return StructureError(
        f"the crystal repeats itself every {distance:.3g} Å; check the cell's lengths (Å) and "
        "angles (degrees)"
    )


def _neighbours(
    centres: NDArray[np.float64],
    points: NDArray[np.float64],
    lattice: NDArray[np.float64],
    cutoff: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """All (centre, point, image, distance) within the cutoff, a site with itself left out."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    # Corner to corner, the cell spans no more than this along x, y and z.
    spans = (abs(a) + abs(b) + abs(c) for a, b, c in zip(*lattice.tolist(), strict=True))
    if math.prod(span / cutoff + 3.0 for span in spans) > MAX_BINS:
        target, source, image, distance = _sparse_neighbours(centres, points, lattice, cutoff)
    else:
        target, source, image, distance = find_points_in_spheres(
            points, centres, cutoff, np.ones(3, dtype=np.int64), lattice, COINCIDENT
        )
    keep = (distance > COINCIDENT) | (target != source) | image.any(axis=1)
    return target[keep], source[keep], image[keep], distance[keep]


def _sparse_neighbours(
    centres: NDArray[np.float64],
    points: NDArray[np.float64],
    lattice: NDArray[np.float64],
    cutoff: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The same by a tree, for few atoms in a wide box: its size depends on the atoms alone."""
    from scipy.spatial import KDTree

    frac = points @ np.linalg.inv(lattice)
    margin = (cutoff + COINCIDENT) / np.array(cell_heights(lattice)[0])
    reach = np.ceil(margin).astype(int) + 1
    index, shift = [], []
    for image in itertools.product(*(range(-n, n + 1) for n in reach.tolist())):
        moved = frac + image
        near = np.flatnonzero(((moved > -margin - 1e-9) & (moved < 1 + margin + 1e-9)).all(axis=1))
        index.append(near)
        shift.append(np.tile(np.array(image, dtype=np.float64), (len(near), 1)))
    source, images = np.concatenate(index), np.concatenate(shift)
    found = KDTree(points[source] + images @ lattice).query_ball_point(centres, cutoff + COINCIDENT)
    target = np.repeat(np.arange(len(centres)), [len(f) for f in found])
    hit = np.concatenate([np.asarray(f, dtype=np.int64) for f in found])
    vector = points[source[hit]] + images[hit] @ lattice - centres[target]
    return target, source[hit], images[hit], np.linalg.norm(vector, axis=1)


def _drawn_in_edges(
    sites: NDArray[np.int64],
    cartesian: NDArray[np.float64],
    lattice: NDArray[np.float64],
    cutoff: float,
    skin: float,
) -> Iterator[Edges]:
    """Targets, sources, images and shortened vectors of the edges of isolated sites, in parts."""
    radius = 1.1 * cutoff + skin  # enough where the nearest neighbour is inside the cutoff
    # Ends: a site's own image along the shortest lattice vector is found sooner or later.
    while len(sites):
        centres = np.ascontiguousarray(cartesian[sites])
        centre, source, image, distance = _neighbours(centres, cartesian, lattice, radius)
        itself = (source == sites[centre]) & ~image.any(axis=1)
        centre, source, image = centre[~itself], source[~itself], image[~itself]
        distance = distance[~itself]
        nearest = np.full(len(sites), np.inf)
        np.minimum.at(nearest, centre, distance)
        known = np.isfinite(nearest)
        pull = np.full(len(sites), np.inf)
        pull[known] = nearest[known] - drawn_in(nearest[known], cutoff)
        complete = cutoff + skin + pull <= radius
        keep = complete[centre] & (distance - pull[centre] <= cutoff + skin)
        centre, source, image = centre[keep], source[keep], image[keep]
        target = sites[centre]
        vector = cartesian[source] + image @ lattice - cartesian[target]
        length = np.linalg.norm(vector, axis=1)
        yield target, source, image, vector * (1 - pull[centre] / length)[:, None]
        sites = sites[~complete]
        radius *= 1.5
