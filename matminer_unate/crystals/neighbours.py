"""Who is near whom: pairs within a cutoff, and first shells beyond it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.lattice import cell_heights

ISOLATED = 0.85
"""Cutoffs. A site whose nearest neighbour is farther has its surroundings drawn in. Of the sites of
36,738 crystals of the Materials Project these are 0.2 %."""

FARTHEST = 0.95
"""Cutoffs. Where the nearest neighbour of an isolated site is drawn to if it is very far away. The
envelope of the encoder vanishes at the cutoff, so there it would carry no weight at all."""

COINCIDENT = 1e-8
"""Å. Below this, a point found at image (0, 0, 0) of the same site is the site itself."""

MAX_BINS = 300_000
"""Cubes, one cutoff wide, that pymatgen's search may lay out; it takes 220 bytes for each."""

Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Targets, sources, images of the sources, and vectors (Å)."""


def drawn_in(nearest: NDArray[np.float64], cutoff: float) -> NDArray[np.float64]:
    """Where the nearest neighbour of a site, at this distance (Å), is drawn to.

    The distance itself up to ``ISOLATED`` cutoffs; beyond it grows ever more slowly towards
    ``FARTHEST`` cutoffs, so that the volume of a sparse crystal can still be told. Both the value
    and the slope are continuous.
    """
    room = (FARTHEST - ISOLATED) * cutoff
    beyond = np.maximum(nearest - ISOLATED * cutoff, 0.0)
    return np.minimum(nearest, ISOLATED * cutoff) + room * beyond / (room + beyond)


def pairs_within(
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


def drawn_in_edges(
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
        centre, source, image, distance = pairs_within(centres, cartesian, lattice, radius)
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
