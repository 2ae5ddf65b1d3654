"""Bonded networks: dimensions against a count of clusters in supercells, layers, and lattices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from matminer_unate import CellStats
from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.physics.bonded_networks import (
    CUTOFF,
    TOLERANCE,
    Networks,
    add_to_lattice,
    bonded_networks,
    distances,
    strengths_by_neighbours,
    strengths_by_radii,
    thresholds,
)

CRYSTALS = crystals()
BUILD = Structure.from_spacegroup
GRAPHITE = BUILD(
    "P6_3/mmc", Lattice.hexagonal(2.461, 6.708), ["C", "C"], [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25]]
)
MOS2 = BUILD(
    "P6_3/mmc",
    Lattice.hexagonal(3.16, 12.29),
    ["Mo", "S"],
    [[1 / 3, 2 / 3, 0.25], [1 / 3, 2 / 3, 0.621]],
)
SELENIUM = BUILD("P3_121", Lattice.hexagonal(4.366, 4.954), ["Se"], [[0.2254, 0, 1 / 3]])
NITROGEN = Structure(
    Lattice.cubic(5.66), ["N", "N"], [[0.056, 0.056, 0.056], [-0.056, -0.056, -0.056]]
)


def graphene(height: float) -> Structure:
    return Structure(
        Lattice.hexagonal(2.461, height), ["C", "C"], [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25]]
    )


def graph_of(structure: Structure) -> RadiusGraph:
    return radius_graph(*crystal_arrays(structure), CUTOFF, draw_in=False)


def networks_of(structure: Structure) -> Networks:
    graph = graph_of(structure)
    lattice, frac_coords, _ = crystal_arrays(structure)
    strength = strengths_by_radii(graph, distances(graph))
    return bonded_networks(lattice, frac_coords, graph, strength)


@pytest.mark.parametrize(
    ("structure", "directions"),
    [(NITROGEN, 0), (SELENIUM, 1), (GRAPHITE, 2), (MOS2, 2), (CRYSTALS["SrTiO3"], 3)],
    ids=["N2", "Se", "graphite", "MoS2", "SrTiO3"],
)
def test_molecules_chains_layers_and_bulk_are_told_apart(
    structure: Structure, directions: int
) -> None:
    found = networks_of(structure)
    assert found.shares.sum() == pytest.approx(1)
    assert found.shares[directions] > 0.85
    assert (np.diff(found.weakest) <= 0).all()


def largest_cluster(graph: RadiusGraph, bonded: NDArray[np.bool_], size: int) -> int:
    """Sites of the largest network in a periodic supercell of ``size`` cells a direction."""
    cells = np.array(list(itertools.product(range(size), repeat=3)))
    source, target = graph.edge_index[:, bonded]
    there = (cells[:, None] + graph.edge_image[bonded]) % size @ [size * size, size, 1]
    rows = np.arange(len(cells))[:, None] * graph.n_sites + target
    columns = there * graph.n_sites + source
    n = len(cells) * graph.n_sites
    entries = np.ones(rows.size), (rows.ravel(), columns.ravel())
    _, network = connected_components(coo_array(entries, shape=(n, n)), directed=False)
    return int(np.bincount(network).max())


@pytest.mark.parametrize("name", ["TiO2 rutile", "P2I4 (triclinic)", "Se", "graphite", "MoS2"])
def test_weakest_bonds_are_where_clusters_in_supercells_begin_to_grow(name: str) -> None:
    others = {"Se": SELENIUM, "graphite": GRAPHITE, "MoS2": MOS2}
    structure = (others | CRYSTALS)[name].get_primitive_structure()
    graph = graph_of(structure)
    strength = strengths_by_radii(graph, distances(graph))
    weakest = networks_of(structure).weakest
    for threshold in (weakest[:, None] + [1e-6, -1e-6]).ravel():
        three, five = (largest_cluster(graph, strength > threshold, size) for size in (3, 5))
        # In N cells a direction, a network without end in k directions has N^k times its sites.
        assert five / three == pytest.approx((5 / 3) ** (weakest > threshold).sum())


def test_a_slab_has_its_thickness_whatever_the_vacuum() -> None:
    thin, wide = networks_of(graphene(15.0)), networks_of(graphene(30.0))
    for found, height in ((thin, 15.0), (wide, 30.0)):
        assert found.shares.tolist() == pytest.approx([0, 0, 1, 0])
        assert found.thickness == pytest.approx(0, abs=1e-6)
        assert found.spacing == pytest.approx(height)
        assert found.gap == pytest.approx(height)
        assert found.vacuum == pytest.approx((height - 3.5) / height)
        assert found.area_density == pytest.approx(2 / (2.461**2 * math.sqrt(3) / 2))
    assert thin.weakest.tolist() == wide.weakest.tolist()


def test_layers_of_mos2_are_three_planes_thick() -> None:
    found = networks_of(MOS2)
    share = found.shares[2]
    assert found.thickness / share == pytest.approx(12.29 * 0.258, rel=1e-3)
    assert found.spacing / share == pytest.approx(12.29 / 2, rel=1e-3)
    assert found.gap == pytest.approx(found.spacing - found.thickness)
    assert found.vacuum == 0


def test_nets_that_share_no_atom_and_cross_have_the_vacuum_of_every_cell() -> None:
    """Layers whose translations leave out half of the lattice points of their plane."""
    share = np.linspace(0, 1, 10)[1:-1, None]
    bulge = 3.2 * np.sin(np.pi * share) * [0, 0, 1]
    up, down = share * [8, 8, 0] + bulge, share * [8, -8, 0] - bulge
    given = Structure(
        Lattice.tetragonal(8, 20), ["C"] * 17, [[0, 0, 0], *up, *down], coords_are_cartesian=True
    )
    stats = CellStats()
    expected = stats.featurize(given)
    for cell in ([1, 1, 2], [[1, 1, 0], [1, -1, 0], [0, 0, 1]], [2, 1, 1]):
        np.testing.assert_allclose(stats.featurize(given * cell), expected, rtol=1e-4, atol=1e-4)


def test_thresholds_are_half_at_one_tolerance_and_end_at_one() -> None:
    strength = np.array([2.0, 1.0, 1 / (1 + TOLERANCE), 1e-9, 0.0])
    assert thresholds(strength).tolist() == pytest.approx([0, 0, 0.5, 1, 1])


def test_nearest_neighbours_are_bonds_of_strength_one_by_their_own_measure() -> None:
    caesium = Structure(Lattice.cubic(6.05), ["Cs", "Cs"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    graph = graph_of(caesium)
    distance = distances(graph)
    by_neighbours = strengths_by_neighbours(graph, distance)
    assert by_neighbours.max() == pytest.approx(1, abs=0.2)  # 5.24 Å is beyond where it fades
    silicon = graph_of(CRYSTALS["Si"])
    assert strengths_by_neighbours(silicon, distances(silicon)).max() == pytest.approx(1)


def test_a_lone_atom_is_a_molecule() -> None:
    found = networks_of(Structure(Lattice.cubic(20), ["Xe"], [[0, 0, 0]]))
    assert found.shares.tolist() == [1, 0, 0, 0]
    assert found.weakest.tolist() == [0, 0, 0]


def test_lattices_of_integers_are_those_of_all_vectors_added() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        vectors = rng.integers(-4, 5, size=(rng.integers(1, 6), 3))
        rows: list[list[int]] = []
        for vector in vectors.tolist():
            add_to_lattice(rows, vector)
        rank = np.linalg.matrix_rank(vectors)
        assert len(rows) == rank
        pivots = [next(k for k, value in enumerate(row) if value) for row in rows]
        assert pivots == sorted(set(pivots))
        if rank == 3:
            minors = [
                round(np.linalg.det(vectors[list(three)]))
                for three in itertools.combinations(range(len(vectors)), 3)
            ]
            assert abs(math.prod(row[k] for k, row in enumerate(rows))) == math.gcd(*minors)
        found = np.array(rows, dtype=float).reshape(-1, 3)
        if rank:
            coefficients = np.linalg.lstsq(found.T, vectors.T.astype(float), rcond=None)[0]
            np.testing.assert_allclose(coefficients, coefficients.round(), atol=1e-8)
