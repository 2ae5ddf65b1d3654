"""structure → periodic radius graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from places import SHARED
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from matminer_unate.crystals.checks import check_crystal
from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.crystals.neighbours import FARTHEST, ISOLATED, drawn_in
from matminer_unate.crystals.pyg import structure_to_data
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.errors import StructureError

DATA = SHARED
CUTOFF = 4.5


def edge_rows(graph: RadiusGraph) -> NDArray:
    """Edges as sorted rows (source, target, vector in 1e-4 Å)."""
    vector = np.rint(graph.edge_vector.astype(float) * 1e4)
    rows = np.column_stack([graph.edge_index.T, vector])
    return rows[np.lexsort(rows.T)]


def brute_force(structure: Structure, cutoff: float, reach: int) -> NDArray:
    """The same rows by summing over (2·reach + 1)³ images."""
    lattice, frac, _ = crystal_arrays(structure)
    cartesian = (frac - np.floor(frac)) @ lattice
    rows = []
    for image in itertools.product(range(-reach, reach + 1), repeat=3):
        shift = np.array(image) @ lattice
        for i, j in itertools.product(range(len(cartesian)), repeat=2):
            vector = cartesian[j] + shift - cartesian[i]
            if 1e-8 < np.linalg.norm(vector) <= cutoff:
                rows.append([j, i, *np.rint(vector.astype(np.float32).astype(float) * 1e4)])
    table = np.array(rows)
    return table[np.lexsort(table.T)]


@pytest.mark.parametrize("name", ["NaCl", "SiO2 quartz", "ZrO2 baddeleyite (monoclinic)"])
def test_edges_equal_a_brute_force_sum_over_images(name: str) -> None:
    structure = crystals()[name]
    if len(structure) > 10:
        structure = structure.get_primitive_structure()
    graph = radius_graph(*crystal_arrays(structure), CUTOFF)
    np.testing.assert_allclose(edge_rows(graph), brute_force(structure, CUTOFF, 4), atol=1)


@pytest.mark.parametrize("angles", [(30, 35, 40), (60, 60, 60), (150, 100, 100), (75, 140, 110)])
def test_edges_of_skewed_cells_equal_a_brute_force_sum(angles: tuple[float, float, float]) -> None:
    structure = Structure(
        Lattice.from_parameters(4.0, 4.4, 5.0, *angles), ["Na", "Cl"], [[0, 0, 0], [0.4, 0.3, 0.6]]
    )
    graph = radius_graph(*crystal_arrays(structure), CUTOFF)
    np.testing.assert_allclose(edge_rows(graph), brute_force(structure, CUTOFF, 10), atol=1)


def test_edge_vectors_point_from_the_target_to_the_imaged_source() -> None:
    structure = crystals()["ZnO wurtzite"]
    lattice, frac, z = crystal_arrays(structure)
    graph = radius_graph(lattice, frac, z, CUTOFF)
    source, target = graph.edge_index
    wrapped = (frac - np.floor(frac)) @ lattice
    expected = wrapped[source] + graph.edge_image @ lattice - wrapped[target]
    np.testing.assert_allclose(graph.edge_vector, expected, atol=1e-6)
    assert (np.diff(target) >= 0).all()


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the crystals of ../shared/data")
def test_edge_sets_equal_vesins_on_500_real_crystals() -> None:
    vesin = pytest.importorskip("vesin")
    table = pd.read_parquet(
        DATA / "mp_mtcgcnn.parquet", columns=["lattice", "frac_coords", "species", "n_sites"]
    )
    table = table[table["n_sites"] <= 40].sample(500, random_state=0)
    angles = []
    for row in table.itertuples():
        lattice = np.reshape(row.lattice, (3, 3)).astype(float)
        frac = np.reshape(row.frac_coords, (-1, 3)).astype(float)
        angles += Lattice(lattice).angles
        graph = radius_graph(lattice, frac, np.asarray(row.species, dtype=np.int64), CUTOFF)
        if graph.n_isolated:
            continue
        wrapped = (frac - np.floor(frac)) @ lattice
        target, source, vector = vesin.NeighborList(cutoff=CUTOFF, full_list=True).compute(
            points=wrapped, box=lattice, periodic=True, quantities="ijD"
        )
        assert len(source) == graph.n_edges, row.Index
        theirs = np.column_stack([source, target, vector])
        ours = np.column_stack([graph.edge_index.T, graph.edge_vector])
        # Compare site pair by site pair, each with its vectors in a canonical order.
        np.testing.assert_array_equal(np.bincount(ours[:, 1].astype(int)), np.bincount(target))
        key = [np.round(t[:, [4, 3, 2, 1, 0]], 3).T for t in (ours, theirs)]
        np.testing.assert_allclose(
            ours[np.lexsort(key[0])], theirs[np.lexsort(key[1])], atol=2e-3, err_msg=str(row.Index)
        )
    assert min(angles) < 40
    assert max(angles) > 125  # skewed cells were among them


def test_a_one_atom_cell_is_linked_to_its_own_images() -> None:
    graph = radius_graph(*crystal_arrays(Structure(Lattice.cubic(3.0), ["Po"], [[0, 0, 0]])), 3.6)
    assert graph.n_edges == 6
    np.testing.assert_allclose(np.linalg.norm(graph.edge_vector, axis=1), 3.0, atol=1e-6)


def test_an_isolated_atom_gets_its_first_shell_shortened() -> None:
    # bcc caesium: eight neighbours at 5.318 Å and six at 6.141 Å, none within 4.5 Å.
    caesium = Structure.from_spacegroup("Im-3m", Lattice.cubic(6.141), ["Cs"], [[0, 0, 0]])
    graph = radius_graph(*crystal_arrays(caesium), CUTOFF)
    assert graph.n_isolated == 2
    assert graph.n_edges == 16
    # 0.85 cutoffs are 3.825 Å, the nearest is 1.493 Å beyond, 0.45 Å are the most that it can be.
    expected = 3.825 + 0.45 * 1.493 / (0.45 + 1.493)
    np.testing.assert_allclose(np.linalg.norm(graph.edge_vector, axis=1), expected, atol=1e-3)
    true = radius_graph(*crystal_arrays(caesium), 5.5, draw_in=False).edge_vector
    scaled = true * (expected / 5.318)
    order = [np.lexsort(np.round(v, 2).T) for v in (graph.edge_vector[:8], scaled[:8])]
    np.testing.assert_allclose(graph.edge_vector[:8][order[0]], scaled[:8][order[1]], atol=2e-3)


def test_the_nearest_neighbour_is_drawn_in_smoothly_and_farther_ones_less_near() -> None:
    distance = np.linspace(0.5, 60, 100_000)
    place = drawn_in(distance, CUTOFF)
    near = distance <= ISOLATED * CUTOFF
    np.testing.assert_array_equal(place[near], distance[near])
    slope = np.diff(place) / np.diff(distance)
    assert slope.min() > 0
    assert np.abs(np.diff(slope)).max() < 3e-3  # no kink
    assert place.max() < FARTHEST * CUTOFF


@pytest.mark.parametrize("element", ["Xe", "Cs"])
def test_edges_come_and_go_at_the_cutoff_alone(element: str) -> None:
    # Of a site and its lattice, stretched until nobody is near: lengths in order, step by step.
    lattice = Lattice([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    before = None
    for nearest in np.arange(3.5, 6.5, 0.002):
        structure = Structure(Lattice(lattice.matrix * nearest / 2**0.5), [element], [[0, 0, 0]])
        graph = radius_graph(*crystal_arrays(structure), CUTOFF)
        lengths = np.linalg.norm(graph.edge_vector, axis=1)
        lengths = np.sort(np.concatenate([lengths, np.full(60, CUTOFF)]))[:60]
        assert lengths[0] < CUTOFF - 0.2
        if before is not None:
            assert np.abs(lengths - before).max() < 0.004
        before = lengths


def test_of_an_isolated_atom_a_second_neighbour_keeps_its_distance_from_the_first() -> None:
    structure = Structure(
        Lattice.cubic(30), ["Xe", "H", "H"], [[0, 0, 0], [0, 0, 5 / 30], [0, 0, -5.1 / 30]]
    )
    graph = radius_graph(*crystal_arrays(structure), CUTOFF)
    lengths = np.linalg.norm(graph.edge_vector[graph.edge_index[1] == 0], axis=1)
    first = drawn_in(np.array(5.0), CUTOFF)
    np.testing.assert_allclose(np.sort(lengths), [first, first + 0.1], atol=1e-5)


def test_without_drawing_in_every_vector_is_true_and_lone_sites_have_none() -> None:
    structure = Structure(
        Lattice.cubic(20), ["Xe", "H", "H"], [[0.5, 0.5, 0.5], [0, 0, 0], [0.2, 0, 0]]
    )
    graph = radius_graph(*crystal_arrays(structure), CUTOFF, draw_in=False)
    assert graph.n_isolated == 1
    assert graph.edge_index[1].tolist() == [1, 2]
    np.testing.assert_allclose(np.linalg.norm(graph.edge_vector, axis=1), 4.0, atol=1e-5)
    assert radius_graph(*crystal_arrays(structure), CUTOFF).n_isolated == 3


def test_an_atom_alone_in_a_large_box_gets_its_nearest_images() -> None:
    graph = radius_graph(
        *crystal_arrays(Structure(Lattice.orthorhombic(30, 40, 50), ["He"], [[0, 0, 0]])), CUTOFF
    )
    assert graph.n_isolated == 1
    assert graph.n_edges == 2  # along the shortest lattice vector, both ways


def test_only_the_isolated_site_of_a_crystal_gets_a_shell() -> None:
    structure = Structure(
        Lattice.cubic(20), ["Xe", "H", "H"], [[0.5, 0.5, 0.5], [0, 0, 0], [0.04, 0, 0]]
    )
    graph = radius_graph(*crystal_arrays(structure), CUTOFF)
    assert graph.n_isolated == 1
    assert set(graph.edge_index[1]) == {0, 1, 2}
    lengths = np.linalg.norm(graph.edge_vector, axis=1)
    np.testing.assert_allclose(lengths[graph.edge_index[1] > 0], 0.8, atol=1e-5)


def test_coinciding_atoms_are_named_with_the_cure() -> None:
    structure = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.01]])
    with pytest.raises(StructureError, match=r"sites [01] and [01] are 0\.04 Å apart.*merge"):
        radius_graph(*crystal_arrays(structure), CUTOFF)
    on_top = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [1, 0, 0]])
    with pytest.raises(StructureError, match="0 Å apart"):
        radius_graph(*crystal_arrays(on_top), CUTOFF)


@pytest.mark.parametrize("check", [check_crystal, lambda *crystal: radius_graph(*crystal, CUTOFF)])
def test_no_two_atoms_are_closer_than_half_an_angstrom(check: Callable[..., Any]) -> None:
    # A skewed cell: the neighbour is found whatever image of it is given.
    lattice = np.array([[5.0, 0, 0], [4.9, 0.9, 0], [0, 4.9, 5.0]])
    cases = ((0.1, "0.1"), (0.3, "0.3"), (0.49, "0.49"), (0.51, None))
    for (distance, text), image in itertools.product(cases, ([0, 0, 0], [3, -2, 1])):
        coords = np.array([[0, 0, 0], [distance, 0, 0] @ np.linalg.inv(lattice) + image])
        crystal = lattice, coords, np.array([1, 1])
        if text is None:
            check(*crystal)
            continue
        apart = rf"sites [01] and [01] are {text} Å apart, closer than 0.5 Å; merge or remove"
        with pytest.raises(StructureError, match=apart):
            check(*crystal)


def test_positions_of_high_symmetry_rounded_to_two_digits_are_refused_with_the_cure() -> None:
    with_digits = Structure.from_spacegroup(
        "P6_3mc", Lattice.hexagonal(3.25, 5.207), ["Zn"], [[1 / 3, 2 / 3, 0]]
    )
    assert len(with_digits) == 2
    rounded = Structure.from_spacegroup(
        "P6_3mc", Lattice.hexagonal(3.25, 5.207), ["Zn"], [[0.33, 0.67, 0]], tol=1e-5
    )
    assert len(rounded) == 6  # triples
    with pytest.raises(StructureError, match=r"sites \d and \d .* 1/3 with all their digits"):
        radius_graph(*crystal_arrays(rounded), CUTOFF)


def test_hydrogen_molecules_are_not_too_short() -> None:
    molecule = Structure(Lattice.cubic(3.0), ["H", "H"], [[0, 0, 0], [0.74 / 3, 0, 0]])
    check_crystal(*crystal_arrays(molecule))
    assert radius_graph(*crystal_arrays(molecule), CUTOFF).n_edges > 0


def test_a_skin_adds_the_edges_just_outside_and_no_others() -> None:
    arrays = crystal_arrays(crystals()["SrTiO3"])
    plain, wide = radius_graph(*arrays, CUTOFF), radius_graph(*arrays, CUTOFF, skin=0.4)
    lengths = np.linalg.norm(wide.edge_vector, axis=1)
    assert plain.n_edges < wide.n_edges
    assert (lengths <= CUTOFF).sum() == plain.n_edges
    assert lengths.max() <= CUTOFF + 0.4


def test_pyg_data_holds_the_graph() -> None:
    data = structure_to_data(crystals()["NaCl"], CUTOFF)
    assert data.num_nodes == 8
    assert data.z.tolist() == [11] * 4 + [17] * 4
    assert data.edge_index.shape == (2, len(data.edge_vector))
    assert data.edge_vector.dtype.is_floating_point


def test_ase_atoms_istructures_and_isotopes_give_the_same_graph() -> None:
    pytest.importorskip("ase")
    from pymatgen.core import IStructure
    from pymatgen.io.ase import AseAtomsAdaptor

    structure = crystals()["SiO2 quartz"]
    graph = radius_graph(*crystal_arrays(structure), CUTOFF)
    for other in (AseAtomsAdaptor.get_atoms(structure), IStructure.from_sites(list(structure))):
        np.testing.assert_allclose(
            edge_rows(radius_graph(*crystal_arrays(other), CUTOFF)), edge_rows(graph), atol=1
        )
    charged = structure.copy().add_oxidation_state_by_element({"Si": 4, "O": -2})
    assert crystal_arrays(charged)[2].tolist() == crystal_arrays(structure)[2].tolist()
    heavy = Structure(Lattice.cubic(3), ["D", "T", "H"], [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]])
    assert crystal_arrays(heavy)[2].tolist() == [1, 1, 1]
