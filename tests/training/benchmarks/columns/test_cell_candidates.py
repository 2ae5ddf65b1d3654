"""Columns of the cell that did not pay: that it was not for want of being right."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from benchmarks.columns.cell_candidates import (
    CANDIDATES,
    COULOMB,
    bond_stiffness,
    candidate_columns,
    equalised_charges,
    madelung,
    polarisability,
)
from matminer_unate.crystals.graph import RadiusGraph, radius_graph
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.physics.bonded_networks import CUTOFF

CRYSTALS = crystals()


def graph_of(structure: Structure) -> RadiusGraph:
    return radius_graph(*crystal_arrays(structure), CUTOFF, draw_in=False)


def test_the_energy_of_rock_salt_is_madelungs() -> None:
    salt = CRYSTALS["NaCl"]
    energy, _, cation, anion, difference = madelung(graph_of(salt), salt.volume)
    expected = -1.747565 * COULOMB / 2.82  # of a pair of ions
    assert energy == pytest.approx(expected / 2, rel=0.02)
    assert cation == pytest.approx(expected, rel=0.02)
    assert anion == pytest.approx(-expected, rel=0.02)
    assert difference == pytest.approx(anion - cation)


def test_equalised_charges_are_of_the_right_sign_and_none_in_an_element() -> None:
    salt = CRYSTALS["NaCl"]
    size, highest, lowest, spread, energy, _ = equalised_charges(graph_of(salt), salt.volume)
    assert highest == pytest.approx(-lowest) == pytest.approx(size) == pytest.approx(spread)
    assert highest > 0.1
    assert energy < 0
    silicon = CRYSTALS["Si"]
    assert np.allclose(equalised_charges(graph_of(silicon), silicon.volume), 0, atol=1e-6)


def test_polarisability_is_clausius_and_mossottis() -> None:
    argon = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.26), ["Ar"], [[0, 0, 0]])
    mean, ratio, logarithm, index = polarisability(graph_of(argon), argon.volume)
    assert mean == pytest.approx(1.6411)
    assert ratio == pytest.approx(4 / 3 * math.pi * 4 * 1.6411 / 5.26**3)
    assert logarithm == pytest.approx(math.log(ratio))
    assert math.sqrt(index) == pytest.approx(1.29, abs=0.02)  # of solid argon


def test_heavier_atoms_on_the_same_springs_are_slower() -> None:
    light, heavy = (Structure(Lattice.cubic(3.0), [e], [[0, 0, 0]]) for e in ("Al", "Ga"))
    assert (
        bond_stiffness(graph_of(light), light.volume)[0]
        > bond_stiffness(graph_of(heavy), heavy.volume)[0]
    )


@pytest.mark.parametrize("name", CANDIDATES)
def test_columns_are_numbers_and_those_of_supercells(name: str) -> None:
    structures = pd.Series([s for c in CRYSTALS.values() for s in (c, c * (2, 1, 1))])
    found = candidate_columns(name, structures)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[::2], found[1::2], rtol=1e-4, atol=1e-4)
