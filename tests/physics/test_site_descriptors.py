"""Cheap site descriptors: definitions, invariances, speed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray
from pymatgen.core import Element, Lattice, Structure
from real_crystals import crystals

from matminer_unate.crystals.graph import radius_graph
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.physics.elements import guess_oxidation_states
from matminer_unate.physics.site_descriptors import (
    DESCRIPTORS,
    FINGERPRINT_NAMES,
    PHYSICS_NAMES,
    site_descriptors,
)

CUTOFF = 4.5
NAMES = PHYSICS_NAMES + FINGERPRINT_NAMES


def describe(*structures: Structure) -> NDArray[np.float32]:
    graphs = [radius_graph(*crystal_arrays(s), CUTOFF) for s in structures]
    return site_descriptors(graphs, [s.volume for s in structures], CUTOFF)


def test_there_are_26_physical_and_56_fingerprint_columns_with_distinct_names() -> None:
    assert (len(PHYSICS_NAMES), len(FINGERPRINT_NAMES)) == (26, 56)
    assert len(set(NAMES)) == 82
    assert describe(crystals()["NaCl"]).shape == (8, 82)


@pytest.mark.parametrize("group", ["physics", "fingerprint", "all"])
def test_a_group_is_a_part_of_all(group: str) -> None:
    structure = crystals()["SiO2 quartz"]
    graph = radius_graph(*crystal_arrays(structure), CUTOFF)
    part = site_descriptors([graph], [structure.volume], CUTOFF, group)
    columns = [NAMES.index(descriptor.name) for descriptor in DESCRIPTORS[group]]
    np.testing.assert_array_equal(part, describe(structure)[:, columns])


def test_rock_salt_has_the_values_one_expects() -> None:
    sodium, chlorine = describe(crystals()["NaCl"])[[0, 4], :26].astype(float)
    value = {n: (a, b) for n, a, b in zip(PHYSICS_NAMES, sodium, chlorine, strict=True)}
    assert value["shortest bond"] == pytest.approx((2.82, 2.82), abs=1e-3)
    assert value["guessed oxidation state"] == (1, -1)
    assert value["charge imbalance of the guess"] == (0, 0)
    assert value["log volume per atom"][0] == pytest.approx(np.log(5.64**3 / 8), abs=1e-5)
    difference = Element("Cl").X - Element("Na").X
    expected = (difference, -difference)  # chlorine has sodium neighbours only
    assert value["max electronegativity difference"] == pytest.approx(expected, abs=1e-5)
    assert value["electronegativity charge"][0] > 0 > value["electronegativity charge"][1]
    assert value["share of anion neighbours"][0] > 0.9


@pytest.mark.parametrize(
    ("formula", "states"),
    [
        ({"Na": 1, "Cl": 1}, {"Na": 1, "Cl": -1}),
        ({"Sr": 1, "Ti": 1, "O": 3}, {"Sr": 2, "Ti": 4, "O": -2}),
        ({"Fe": 2, "O": 3}, {"Fe": 3, "O": -2}),
        ({"Si": 1}, {"Si": 0}),
        ({"Mg": 1, "Al": 2, "O": 4}, {"Mg": 2, "Al": 3, "O": -2}),
    ],
)
def test_oxidation_states_of_common_compounds(formula: dict, states: dict) -> None:
    guess, imbalance = guess_oxidation_states(tuple((Element(e).Z, n) for e, n in formula.items()))
    assert imbalance == 0
    assert dict(zip(formula, guess, strict=True)) == states


@pytest.mark.parametrize("name", crystals())
def test_descriptors_do_not_depend_on_cell_orientation_or_order(name: str) -> None:
    structure = crystals()[name]
    once = describe(structure)
    eight = describe(structure * (2, 2, 2)).reshape(len(structure), 8, -1)
    np.testing.assert_allclose(eight, np.broadcast_to(once[:, None], eight.shape), atol=1e-3)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned = Structure(
        Lattice(structure.lattice.matrix @ turn), structure.species, structure.frac_coords
    )
    np.testing.assert_allclose(describe(turned), once, atol=1e-4)
    order = np.random.default_rng(1).permutation(len(structure))
    shuffled = Structure.from_sites([structure[k] for k in order])
    np.testing.assert_allclose(describe(shuffled), once[order], atol=1e-4)


def test_a_site_is_described_alike_alone_and_among_others() -> None:
    structures = list(crystals().values())
    alone = np.concatenate([describe(s) for s in structures])
    np.testing.assert_allclose(describe(*structures), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_five_thousand_crystals_a_second_are_described() -> None:
    # Measured at about 12,000 a second and core; the bound leaves room for a busy machine.
    structures = [crystals()["SrTiO3"], crystals()["ZnO wurtzite"], crystals()["TiO2 rutile"]] * 200
    graphs = [radius_graph(*crystal_arrays(s), CUTOFF) for s in structures]
    volumes = [s.volume for s in structures]
    site_descriptors(graphs[:10], volumes[:10], CUTOFF)
    started = time.process_time()
    site_descriptors(graphs, volumes, CUTOFF)
    assert len(graphs) / (time.process_time() - started) > 1_500
