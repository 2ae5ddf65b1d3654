"""Disordered crystals → ordered ones."""

from __future__ import annotations

import itertools
import time
import warnings

import numpy as np
import pytest
from disordered_crystals import FCC, another_cell, disordered_crystals
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from real_crystals import crystals

from matminer_unate import ordered_structure
from matminer_unate.crystals import ordering
from matminer_unate.crystals.checked import CheckedCrystal
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.errors import InputError, StructureError

DISORDERED = disordered_crystals()


def space_group(structure: Structure) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return SpacegroupAnalyzer(structure, 0.01).get_space_group_symbol()


@pytest.mark.parametrize(
    ("name", "formula", "n_sites", "group"),
    [
        ("CuAu", "CuAu", 2, "P4/mmm"),  # the L1₀ phase that forms below 385 °C
        ("CuZn", "ZnCu", 2, "Pm-3m"),  # β′ brass
        ("Li0.5CoO2", "LiCo2O4", 7, "P2/m"),  # rows of lithium, as found by electron diffraction
        ("Sr2FeMoO6", "Sr2FeMoO6", 10, "Fm-3m"),  # the double perovskite
        ("Ba0.6Sr0.4TiO3", "Ba3Sr2Ti5O15", 25, None),
        ("Y0.15Zr0.85O1.925", "Zr10Y2O23", 35, None),
        ("Fe2.5Ti0.5O4, its iron mixed in valence", "Fe5TiO8", 14, "R-3m"),
    ],
)
def test_known_crystals_are_ordered_as_they_are_found(
    name: str, formula: str, n_sites: int, group: str | None
) -> None:
    found = ordered_structure(DISORDERED[name])
    assert found.is_ordered
    assert found.composition.reduced_composition == Composition(formula).reduced_composition
    assert len(found) == n_sites
    assert found.volume / found.num_sites > 5
    if group is not None:
        assert space_group(found) == group


@pytest.mark.parametrize("name", DISORDERED)
def test_the_same_crystal_comes_out_of_another_cell_and_of_another_call(name: str) -> None:
    structure = DISORDERED[name]
    first = ordered_structure(structure)
    ordering._ordered.cache_clear()
    again, other = ordered_structure(structure), ordered_structure(another_cell(structure))
    np.testing.assert_array_equal(again.frac_coords, first.frac_coords)
    assert again.species == first.species
    matcher = StructureMatcher(0.01, 0.01, 0.1, primitive_cell=False, scale=False)
    assert matcher.fit(first, other)


@pytest.mark.parametrize("name", ["NaCl", "SrTiO3", "SiO2 quartz"])
def test_an_ordered_crystal_is_left_as_it_is(name: str) -> None:
    structure = crystals()[name]
    charged = structure.copy()
    charged.add_oxidation_state_by_guess()
    for given in (structure, charged):
        crystal = CheckedCrystal(given, "ordered")
        assert crystal.resolution == ""
        for mine, expected in zip(crystal.arrays, crystal_arrays(structure), strict=True):
            np.testing.assert_array_equal(mine, expected)


def test_the_energy_is_the_lowest_that_pymatgen_finds_among_all_arrangements() -> None:
    """Two thirds of lithium in a row of six octahedra: 15 arrangements, all tried."""
    lattice = Lattice.orthorhombic(2.9, 2.9, 17.0)
    places = [[0, 0, k / 6 + 0.01 * (k % 2)] for k in range(6)]
    anions = [[0.5, 0.5, k / 6 + 0.08] for k in range(4)]
    given = Structure(lattice, [{"Li+": 2 / 3}] * 6 + ["F-"] * 4, places + anions)
    energies = []
    for empty in itertools.combinations(range(6), 2):
        full = [place for k, place in enumerate(places) if k not in empty]
        whole = Structure(lattice, ["Li+"] * 4 + ["F-"] * 4, full + anions)
        energies.append(EwaldSummation(whole).total_energy)
    sites = ordering.partial_sites(given)
    everything = [np.arange(6), np.arange(6, 10)]
    counts = [[4, 0], [0, 4]]
    states, by = ordering._oxidation_states(sites, {3: 4, 9: 4})
    assert by == "oxidation states"
    cell = ordering.Places.of(
        sites.lattice,
        sites.frac_coords,
        sites.elements,
        everything,
        counts,
        states,
        np.eye(3, dtype=np.int64),
    )
    kinds, energy = cell.search()
    held = np.take_along_axis(cell.values[0], kinds[:, None], axis=1)[:, 0]
    electrostatic = held @ cell.matrices[0] @ held
    assert electrostatic == pytest.approx(min(energies), abs=1e-4)
    assert energy == pytest.approx(cell.energy(kinds))


def test_charges_of_the_structure_come_first_where_they_balance() -> None:
    def states(species: list[object]) -> np.ndarray:
        structure = Structure(Lattice.cubic(4.2), species, [[0, 0, 0], [0.5, 0.5, 0.5]])
        return ordering._oxidation_states(
            ordering.partial_sites(structure), {12: 1, 25: 1, 8: 2}
        )[0]  # fmt: skip

    mixed = {"Mg2+": 0.5, "Mn2+": 0.5}
    assert states([mixed, "O2-"]).max() == 2  # of oxygen, magnesium and manganese
    wrong = states([{"Mg2+": 0.5, "Mn4+": 0.5}, "O2-"])
    np.testing.assert_array_equal(wrong[0], [-2, 2, 2])
    without = states([{"Mg0+": 0.5, "Mn0+": 0.5}, "O0+"])
    np.testing.assert_array_equal(without[0], [-2, 2, 2])


def test_the_split_positions_of_an_atom_are_not_both_taken() -> None:
    split = Structure(
        Lattice.cubic(4.0),
        ["Cl", {"Na": 0.5}, {"Na": 0.5}],
        [[0.5, 0.5, 0.5], [0, 0, 0.04], [0, 0, -0.04]],
    )
    found = ordered_structure(split)
    assert found.composition.reduced_formula == "NaCl"
    assert found.distance_matrix[np.triu_indices(len(found), 1)].min() > 2.5
    both = Structure(
        Lattice.cubic(4.0),
        ["Cl", {"Na": 0.75}, {"Na": 0.75}],
        [[0.5, 0.5, 0.5], [0, 0, 0.04], [0, 0, -0.04]],
    )
    with pytest.raises(StructureError, match=r"closer than 1 Å would both have to be occupied"):
        ordered_structure(both)


def test_four_mixed_sites_in_a_supercell_take_no_hours() -> None:
    """All 32 sites of the supercell are mixed, which has 5·10¹⁷ arrangements."""
    shares = [{"Cu": 0.25, "Au": 0.75}, {"Ag": 0.5, "Au": 0.5}, {"Cu": 0.5, "Ag": 0.5}]
    species = [*shares, {"Cu": 0.25, "Ag": 0.25, "Au": 0.25}]
    structure = Structure(Lattice.orthorhombic(3.9, 4.0, 4.1), species, FCC) * (2, 2, 2)
    begun = time.process_time()
    found = ordered_structure(structure)
    assert time.process_time() - begun < 20
    assert found.composition.reduced_composition == Composition("Cu4Ag5Au6").reduced_composition


@pytest.mark.parametrize(
    ("species", "message"),
    [
        (
            [{"Ba": 0.97, "Sr": 0.03}, "Ti", "O", "O", "O"],
            r"no ordered cell of up to 64 sites .* Sr 0.03, Ba 0.97 within 0.02 .*simple fractions",
        ),
        ([{"Ba": 0.5, "X": 0.5}, "Ti", "O", "O", "O"], r"site 0 holds the dummy species"),
    ],
)
def test_what_cannot_be_ordered_says_why(species: list[object], message: str) -> None:
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    structure = Structure(
        Lattice.cubic(3.95), species, places, validate_proximity=False
    )  # fmt: skip
    with pytest.raises(StructureError, match=message):
        ordered_structure(structure)


def test_sites_at_the_same_place_are_to_be_merged() -> None:
    twice = Structure(Lattice.cubic(3.0), [{"Cu": 0.5}, {"Au": 0.5}], [[0, 0, 0], [0, 0, 1e-4]])
    with pytest.raises(StructureError, match=r"sites 0 and 1 are .* Å apart; make them one site"):
        ordered_structure(twice)


def test_an_occupancy_within_the_tolerance_of_a_whole_number_is_one() -> None:
    nearly = Structure(Lattice.cubic(5.0), [{"Cs": 0.99}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = ordered_structure(nearly)
    assert sorted(found.formula.split()) == ["Cl1", "Cs1"]


def test_a_disordered_crystal_is_refused_unless_it_is_to_be_ordered() -> None:
    alloy = DISORDERED["CuAu"]
    with pytest.raises(StructureError, match=r"disorder='ordered' .*ordered_structure returns"):
        CheckedCrystal(alloy)
    assert CheckedCrystal(alloy, "ordered").resolution == "electronegativities"
    assert CheckedCrystal(DISORDERED["Li0.5CoO2"], "ordered").resolution == "oxidation states"
    assert CheckedCrystal(crystals()["NaCl"], "ordered").resolution == ""
    with pytest.raises(InputError, match="disorder must be 'raise' or 'ordered', got 'mean'"):
        ordering.check_disorder("mean")
