"""Springs: moduli against sums by hand, finite strains, and the two ways to solve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.physics import spring_model
from matminer_unate.physics.bonded_networks import CUTOFF, distances, fading
from matminer_unate.physics.elements import element_table
from matminer_unate.physics.spring_model import FLOOR, SIDEWAYS, elastic_stiffness, log_moduli

CRYSTALS = crystals()


def graph_of(structure: Structure) -> RadiusGraph:
    return radius_graph(*crystal_arrays(structure), CUTOFF, draw_in=False)


def stiffness_of(structure: Structure) -> np.ndarray:
    graph = graph_of(structure)
    return elastic_stiffness(structure.volume, graph, distances(graph))


def test_one_atom_a_cell_has_the_moduli_of_its_affine_springs() -> None:
    polonium = Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])
    graph = graph_of(polonium)
    distance = distances(graph)
    excess = (2 * element_table().radius[84] - distance) / 0.37
    spring = np.minimum(np.exp(excess), 3.0) * fading(distance)
    # Under a swelling by ε, every spring is longer by ε d.
    bulk = float((spring * distance**2).sum()) / 2 / 9 / polonium.volume
    voigt, reuss, shear_voigt, shear_reuss = (
        np.exp(log_moduli(polonium.volume, graph, distance)) - FLOOR
    )
    assert voigt == pytest.approx(bulk, rel=1e-6)
    assert reuss == pytest.approx(bulk, rel=1e-5)  # cubic
    assert shear_reuss < shear_voigt


def test_relaxed_energies_are_those_of_the_moduli() -> None:
    """Least squares over displacements of all springs, under a finite strain."""
    quartz = CRYSTALS["SiO2 quartz"]
    graph = graph_of(quartz)
    distance = distances(graph)
    radius = element_table().radius[graph.atomic_numbers]
    source, target = graph.edge_index
    excess = (radius[source] + radius[target] - distance) / 0.37
    spring = np.minimum(np.exp(excess), 3.0) * fading(distance)
    vector = graph.edge_vector.astype(float)
    voigt = np.array([0.3, -0.2, 0.5, 0.4, 0.1, -0.3])
    e1, e2, e3, e4, e5, e6 = voigt
    strain = np.array([[e1, e6 / 2, e5 / 2], [e6 / 2, e2, e4 / 2], [e5 / 2, e4 / 2, e3]])
    rows, right = [], []
    for k in range(graph.n_edges):
        along = vector[k] / distance[k]
        tensor = (1 - SIDEWAYS) * np.outer(along, along) + SIDEWAYS * np.eye(3)
        half = np.linalg.cholesky(tensor).T * math.sqrt(spring[k] / 2)  # each spring is there twice
        row = np.zeros((3, 3 * graph.n_sites))
        row[:, 3 * source[k] : 3 * source[k] + 3] += half
        row[:, 3 * target[k] : 3 * target[k] + 3] -= half
        rows.append(row)
        right.append(half @ strain @ vector[k])
    matrix, pull = np.concatenate(rows), np.concatenate(right)
    moved = np.linalg.lstsq(matrix, -pull, rcond=None)[0]
    energy = float(((matrix @ moved + pull) ** 2).sum()) / 2
    expected = quartz.volume * float(voigt @ stiffness_of(quartz) @ voigt) / 2
    assert energy == pytest.approx(expected, rel=1e-4)
    assert energy < float((pull**2).sum()) / 2


@pytest.mark.parametrize("name", ["SiO2 quartz", "P2I4 (triclinic)", "MgAl2O4 spinel"])
def test_iteration_gives_what_the_dense_solution_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = stiffness_of(CRYSTALS[name])
    monkeypatch.setattr(spring_model, "DENSE_SITES", 0)
    np.testing.assert_allclose(stiffness_of(CRYSTALS[name]), dense, atol=1e-6)


def test_layers_give_way_between_them_and_slabs_entirely() -> None:
    def moduli(height: float) -> np.ndarray:
        sites = [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25]]
        structure = Structure(Lattice.hexagonal(2.461, height), ["C", "C"], sites)
        graph = graph_of(structure)
        return log_moduli(structure.volume, graph, distances(graph))

    near, slab = moduli(3.35), moduli(20.0)
    assert near[0] - near[1] > 0.5  # Voigt's mean sees the stiff layers, Reuss' the soft way across
    assert slab[1] == pytest.approx(math.log(FLOOR), abs=0.01)
