"""Crystal structure → periodic radius graph.

The graph holds one directed edge for every pair (site *i*, periodic image of site *j*) within the
cutoff, with no neighbour cap: a cap picks arbitrary members of a degenerate shell and so breaks
invariance to site order and to the choice of cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import StructureError

if TYPE_CHECKING:
    from torch_geometric.data import Data

MIN_DISTANCE = 0.1
"""Å. Two atoms closer than this are taken for a mistake in the input, not for a bond."""

SHELL_FRACTION = 0.8
"""Length, in cutoffs, that the shell of an otherwise isolated atom is shortened to.

The envelope of the encoder vanishes at the cutoff, so at its true length the shell would carry no
weight at all; at 0.8 cutoffs each bond weighs about a tenth of a short one.
"""

SHELL_TOLERANCE = 0.05
"""Å. Neighbours this much farther than the nearest one still belong to the first shell."""

COINCIDENT = 1e-8
"""Å. Below this, a point found at image (0, 0, 0) of the same site is the site itself."""


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
        Sites with nobody inside the cutoff, which were given their first shell instead.
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
) -> RadiusGraph:
    """Build the periodic radius graph of one crystal.

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

    Returns
    -------
    RadiusGraph
        An atom with no neighbour inside the cutoff gets its first shell, with the vectors
        shortened to ``SHELL_FRACTION * cutoff`` (direction kept), and is counted in
        ``n_isolated``.

    Raises
    ------
    StructureError
        Two atoms are closer than ``MIN_DISTANCE``.
    """
    lattice = np.ascontiguousarray(lattice, dtype=np.float64)
    # The neighbour routine pads its search box by the largest coordinate: far-out images of an
    # atom cost time and precision, so every atom is brought into the cell first.
    wrapped = frac_coords - np.floor(frac_coords)
    cartesian = np.ascontiguousarray(wrapped @ lattice)
    target, source, image, distance = _neighbours(cartesian, cartesian, lattice, cutoff + skin)
    if len(distance) and distance.min() < MIN_DISTANCE:
        worst = int(distance.argmin())
        raise StructureError(
            f"sites {source[worst]} and {target[worst]} are {distance[worst]:.3g} Å apart, closer "
            f"than {MIN_DISTANCE} Å; merge or remove duplicate sites (Structure.merge_sites)"
        )
    vector = cartesian[source] + image @ lattice - cartesian[target]

    near = target[distance <= cutoff] if skin else target
    isolated = np.flatnonzero(np.bincount(near, minlength=len(atomic_numbers)) == 0)
    if len(isolated):
        connected = ~np.isin(target, isolated)
        target, source = target[connected], source[connected]
        image, vector = image[connected], vector[connected]
        shells = [_first_shell(int(site), cartesian, lattice, cutoff) for site in isolated]
        owners = np.repeat(isolated, [len(s[0]) for s in shells])
        target = np.concatenate([target, owners])
        source = np.concatenate([source, *(s[0] for s in shells)])
        image = np.concatenate([image, *(s[1] for s in shells)])
        vector = np.concatenate([vector, *(s[2] for s in shells)])

    order = np.argsort(target, kind="stable")
    return RadiusGraph(
        atomic_numbers=np.asarray(atomic_numbers, dtype=np.int64),
        edge_index=np.stack([source[order], target[order]]),
        edge_vector=vector[order].astype(np.float32),
        edge_image=image[order].astype(np.int64),
        n_isolated=len(isolated),
    )


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
    from matminer_unate.structures import crystal_arrays

    return graph_to_data(radius_graph(*crystal_arrays(structure), cutoff))


def _neighbours(
    centres: NDArray[np.float64],
    points: NDArray[np.float64],
    lattice: NDArray[np.float64],
    cutoff: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """All (centre, point, image, distance) within the cutoff, a site with itself left out."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    target, source, image, distance = find_points_in_spheres(
        points, centres, r=cutoff, pbc=np.ones(3, dtype=np.int64), lattice=lattice, tol=COINCIDENT
    )
    keep = (distance > COINCIDENT) | (target != source) | image.any(axis=1)
    return target[keep], source[keep], image[keep], distance[keep]


def _first_shell(
    site: int, cartesian: NDArray[np.float64], lattice: NDArray[np.float64], cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Sources, images and shortened vectors of the nearest shell of an isolated site."""
    centre = np.ascontiguousarray(cartesian[[site]])
    radius = cutoff
    source = np.empty(0, dtype=np.int64)
    # Ends: the site's own image along the shortest lattice vector is found sooner or later.
    while not len(source):
        radius *= 1.5
        _, source, image, distance = _neighbours(centre, cartesian, lattice, radius)
        itself = (source == site) & ~image.any(axis=1)
        source, image, distance = source[~itself], image[~itself], distance[~itself]
    shell = distance <= distance.min() + SHELL_TOLERANCE
    vector = cartesian[source[shell]] + image[shell] @ lattice - cartesian[site]
    vector *= SHELL_FRACTION * cutoff / np.linalg.norm(vector, axis=1, keepdims=True)
    return source[shell], image[shell], vector
