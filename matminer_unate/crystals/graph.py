"""Crystal structure → periodic radius graph.

The graph holds one directed edge for every pair (site *i*, periodic image of site *j*) within the
cutoff, with no neighbour cap: a cap picks arbitrary members of a degenerate shell and so breaks
invariance to site order and to the choice of cell.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.checks import MIN_DISTANCE, check_size, too_close
from matminer_unate.crystals.lattice import (
    MAX_IMAGES,
    cell_heights,
    n_images,
    reduced_basis,
)
from matminer_unate.crystals.neighbours import COINCIDENT, ISOLATED, drawn_in_edges, pairs_within


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
    occupancy : (n_sites,) float32, optional
        How much of an atom each site is, in the average of a disordered crystal.
    """

    atomic_numbers: NDArray[np.int64]
    edge_index: NDArray[np.int64]
    edge_vector: NDArray[np.float32]
    edge_image: NDArray[np.int64]
    n_isolated: int = 0
    occupancy: NDArray[np.float32] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__}  # to which another thread may add the digest meanwhile

    @property
    def n_sites(self) -> int:
        return len(self.atomic_numbers)

    @property
    def n_edges(self) -> int:
        return self.edge_index.shape[1]

    @cached_property
    def digest(self) -> bytes:
        """The same for graphs that no invariant of theirs can tell apart."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.atomic_numbers, self.edge_index, self.edge_vector):
            digest.update(part.tobytes())
        if self.occupancy is not None:
            digest.update(self.occupancy.tobytes())
        return digest.digest()


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
    if n_images(heights, reach) > MAX_IMAGES:
        # An unreduced cell of an ordinary crystal can have its neighbours millions of images away.
        basis = reduced_basis(lattice)
        inside = frac_coords @ np.linalg.inv(basis)
        graph = _graph(basis @ lattice, inside, atomic_numbers, cutoff, skin, draw_in)
        # Where the two cells bring a site into themselves, in images of the given one.
        home = np.floor(frac_coords) - np.floor(inside) @ basis
        source, target = graph.edge_index
        image = graph.edge_image @ basis + home[source] - home[target]
        return replace(graph, edge_image=np.rint(image).astype(np.int64))
    return _graph(lattice, frac_coords, atomic_numbers, cutoff, skin, draw_in)


def _graph(
    lattice: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    atomic_numbers: NDArray[np.int64],
    cutoff: float,
    skin: float,
    draw_in: bool,
) -> RadiusGraph:
    """The graph, searched in the cell as it is."""
    check_size(frac_coords, lattice, cutoff + skin)
    # The neighbour routine pads its search box by the largest coordinate: far-out images of an
    # atom cost time and precision, so every atom is brought into the cell first.
    wrapped = frac_coords - np.floor(frac_coords)
    cartesian = np.ascontiguousarray(wrapped @ lattice)
    target, source, image, distance = pairs_within(cartesian, cartesian, lattice, cutoff + skin)
    if len(distance) and distance.min() < MIN_DISTANCE:
        worst = int(distance.argmin())
        raise too_close(int(source[worst]), int(target[worst]), float(distance[worst]))
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
            parts += drawn_in_edges(block, cartesian, lattice, cutoff, skin)
        target, source, image, vector = (np.concatenate(p) for p in zip(*parts, strict=True))

    order = np.argsort(target, kind="stable")
    return RadiusGraph(
        atomic_numbers=np.asarray(atomic_numbers, dtype=np.int64),
        edge_index=np.stack([source[order], target[order]]),
        edge_vector=vector[order].astype(np.float32),
        edge_image=image[order].astype(np.int64),
        n_isolated=len(isolated),
    )
