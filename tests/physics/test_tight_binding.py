"""The tight-binding model: invariance, and what is known of textbook crystals."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from places import RECORDED
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from scipy.spatial.transform import Rotation

from matminer_unate.crystals.graph import radius_graph
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.crystals.symmetrised import symmetrised
from matminer_unate.crystals.symmetry import primitive_cell
from matminer_unate.physics import eigenstates, parities, tight_binding
from matminer_unate.physics.atoms import electrons_of, levels_of
from matminer_unate.physics.band_quantities import (
    SITE_NAMES,
    PhysicalCell,
    band_edges,
    dispersion,
    quantities,
)
from site_targets.tight_binding import SITE_TARGET_NAMES, site_targets

CRYSTALS = crystals()
GOLDEN = json.loads((RECORDED / "tight_binding_targets.json").read_text())
"""Targets of the first site of primitive cells."""
SMALL = [name for name, s in CRYSTALS.items() if len(s.get_primitive_structure()) <= 9]


ONE = np.ones(1)
"""The share of a grid that is not mixed with others."""


def targets(structure: Structure) -> NDArray[np.float32]:
    return site_targets(*crystal_arrays(structure))


def column(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    return values[:, SITE_TARGET_NAMES.index(name)]


def rock_salt(cation: str, anion: str, length: float) -> Structure:
    lattice = Lattice.cubic(length)
    cell = Structure.from_spacegroup("Fm-3m", lattice, [cation, anion], [[0, 0, 0], [0.5] * 3])
    return cell.get_primitive_structure().get_sorted_structure(
        key=lambda site: site.specie.symbol != cation
    )


def metal(element: str, length: float) -> Structure:
    cell = Structure.from_spacegroup("Fm-3m", Lattice.cubic(length), [element], [[0, 0, 0]])
    return cell.get_primitive_structure()


# What parquet files of site targets were made with


@pytest.mark.parametrize(("name", "expected"), GOLDEN.items())
def test_targets_are_those_that_files_were_written_with(name, expected):
    found = targets(CRYSTALS[name].get_primitive_structure())[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_orbitals_that_depend_on_each_other_have_their_overlap_raised(monkeypatch):
    # Caesium at half its distance: the overlap is singular. Elsewhere both ways agree.
    dense = Structure(Lattice.cubic(2.2), ["Cs"], [[0, 0, 0]])
    raised, silicon = targets(dense), targets(CRYSTALS["Si"])
    assert np.isfinite(raised).all()
    monkeypatch.setattr(eigenstates, "has_independent_orbitals", lambda S: False)
    np.testing.assert_allclose(targets(CRYSTALS["Si"]), silicon, atol=1e-5)
    np.testing.assert_array_equal(targets(dense), raised)


# Invariance


@pytest.mark.parametrize("name", SMALL)
def test_targets_do_not_depend_on_orientation(name):
    lattice, frac, z = crystal_arrays(CRYSTALS[name].get_primitive_structure())
    turn = Rotation.random(random_state=1).as_matrix()
    expected = site_targets(lattice, frac, z)
    np.testing.assert_allclose(site_targets(lattice @ turn, frac, z), expected, atol=2e-3)


@pytest.mark.parametrize("name", SMALL)
def test_targets_follow_sites_that_are_reordered_and_moved(name):
    lattice, frac, z = crystal_arrays(CRYSTALS[name].get_primitive_structure())
    order = np.random.default_rng(2).permutation(len(z))
    moved = (frac + np.array([0.3, -0.2, 1.7]))[order]
    expected = site_targets(lattice, frac, z)[order]
    np.testing.assert_allclose(site_targets(lattice, moved, z[order]), expected, atol=2e-3)


@pytest.mark.parametrize("name", ["NaCl", "Si", "SrTiO3", "TiO2 rutile", "ZnO wurtzite"])
def test_every_cell_of_a_crystal_has_the_targets_of_its_primitive_one(name):
    primitive = CRYSTALS[name].get_primitive_structure()
    double = primitive.copy()
    double.make_supercell([2, 1, 1])
    np.testing.assert_allclose(targets(double), targets(primitive).repeat(2, axis=0), atol=1e-5)
    conventional = CRYSTALS[name]
    for element in {site.specie for site in primitive}:
        same = [targets(s)[s.atomic_numbers.index(element.Z)] for s in (primitive, conventional)]
        np.testing.assert_allclose(same[0], same[1], atol=1e-4)


def cell_of(structure: Structure) -> PhysicalCell:
    lattice, frac, z = primitive_cell(*crystal_arrays(structure))
    return lattice, frac, radius_graph(lattice, frac, z, tight_binding.CUTOFF, draw_in=False)


@pytest.mark.parametrize("name", SMALL)
def test_symmetry_leaves_the_sums_over_all_k_points_as_they_are(name, monkeypatch):
    cell = cell_of(CRYSTALS[name])
    [(sites, crystal)] = quantities([cell])
    everything = symmetrised

    def identity_alone(given):
        found = everything(given)
        n = len(found.atomic_numbers)
        return replace(found, rotations=np.eye(3, dtype=int)[None], images=np.arange(n)[None])

    monkeypatch.setattr(tight_binding, "symmetrised", identity_alone)
    [(each_site, whole)] = quantities([cell])
    np.testing.assert_allclose(crystal, whole, atol=1e-6)
    orbit = everything((*cell[:2], cell[2].atomic_numbers)).orbit
    for number in range(orbit.max() + 1):
        expected = each_site[orbit == number].mean(axis=0)
        linear = slice(0, SITE_NAMES.index("centre of occupied states"))  # the others are ratios
        np.testing.assert_allclose(sites[orbit == number][0][linear], expected[linear], atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_inversion_and_parities_change_the_matrices_and_not_the_bands(name, monkeypatch):
    cell = cell_of(CRYSTALS[name])
    monkeypatch.setattr(parities, "SMALLEST", 1)
    [(sites, crystal)] = quantities([cell])
    monkeypatch.setattr(tight_binding.Parities, "of", lambda *given: None)
    for _ in range(2):
        [(expected, whole)] = quantities([cell])
        np.testing.assert_allclose(sites, expected, atol=1e-7)
        np.testing.assert_allclose(crystal, whole, atol=1e-7)
        monkeypatch.setattr(tight_binding.Inversion, "of", lambda *given: None)


def test_crystals_that_are_computed_together_have_the_numbers_of_each_by_itself():
    cells = [cell_of(CRYSTALS[name]) for name in [*SMALL, *SMALL[:3]]]
    cells.insert(2, cell_of(Structure(Lattice.cubic(12.0), ["Na"], [[0, 0, 0]])))  # no bond
    for cell, together in zip(cells, quantities(cells), strict=True):
        [alone] = quantities([cell])
        for found, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-9)


def test_edges_and_spreads_do_not_depend_on_the_order_of_equal_energies():
    # Γ and three k points of weight 1, 2, 2, 2 (of 7), with equal energies between them.
    weight = np.array([1, 2, 2, 2]) / 7
    energy = np.array([[0, 1, 1, 5.0], [0, 1, 3, 5], [1, 1, 3, 6], [0, 1, 4, 6]])
    expected = None
    for order in itertools.permutations(range(4)):
        for noise in (0.0, 1e-12):
            moved = energy + noise * np.random.default_rng(len(order)).normal(size=energy.shape)
            found = band_edges(moved[list(order)], ONE, weight[None, list(order)], 3.3, 2)
            found = np.array([*found[:2], *found[2]])
            expected = found if expected is None else expected
            np.testing.assert_allclose(found, expected, atol=1e-10)
    # 10/7 electrons at 0 and 22/7 at 1 eV: the last one is at 1 eV, filled in part.
    assert expected[:2].tolist() == [1.0, 1.0]


def test_spreads_are_those_of_the_fermi_level_where_levels_are_even():
    # One level each 0.01 eV with 0.002 electrons: 5 eV an electron.
    energy = 0.01 * np.arange(2000)[None]
    top, bottom, spreads = band_edges(energy, ONE, np.array([[1e-3]]), 2.0, 1)
    assert bottom - top == pytest.approx(0.01)
    np.testing.assert_allclose(spreads, [0.2, 1.0, 5.0], rtol=1e-9)


def test_spreads_follow_energies_that_are_moved_however_bands_part():
    random = np.random.default_rng(0)
    energy = np.sort(random.integers(0, 5, (6, 8)).astype(float), axis=1)
    weight = np.array([1, 2, 2, 1, 2, 2]) / 10
    for count in (1.0, 7.2, 8.0, 15.9):
        before = band_edges(energy, ONE, weight[None], count, 2)
        for _ in range(20):
            shift = 1e-3 * random.uniform(-1, 1, energy.shape)
            after = band_edges(energy + shift, ONE, weight[None], count, 2)
            assert abs(after[0] - before[0]) <= 1e-3
            assert abs(after[1] - before[1]) <= 1e-3
            assert np.abs(after[2] - before[2]).max() <= 2e-3


# What is known


def test_sodium_chloride_is_an_ionic_insulator():
    values = targets(rock_salt("Na", "Cl", 5.64))
    assert column(values, "charge")[0] > 0.05
    assert column(values, "gap")[0] > 4
    assert column(values, "p share of the valence band edge")[1] > 1.5  # chlorine 3p


def test_charges_add_up_to_nothing_and_populations_to_the_electrons():
    for name in SMALL:
        values = targets(CRYSTALS[name].get_primitive_structure())
        assert column(values, "charge").sum() == pytest.approx(0, abs=2e-3)
    populations = values[:, [SITE_TARGET_NAMES.index(f"{shell} electrons") for shell in "spd"]]
    electrons = electrons_of(CRYSTALS[name].get_primitive_structure().atomic_numbers).sum()
    assert populations.sum() == pytest.approx(electrons, abs=5e-3)


@pytest.mark.parametrize(("element", "length"), [("Al", 4.05), ("Cu", 3.61), ("Pd", 3.89)])
def test_metals_have_no_gap(element, length):
    values = targets(metal(element, length))
    assert column(values, "gap")[0] < 0.1  # the spacing of levels at a few k points
    assert column(values, "states at the Fermi level per site")[0] > 0.05


def test_gaps_rank_as_measured():
    gaps = [
        column(targets(s), "gap")[0]
        for s in (rock_salt("Pb", "S", 5.94), rock_salt("K", "I", 7.07), rock_salt("Li", "F", 4.02))
    ]
    assert gaps == sorted(gaps)


# Odd crystals


def test_a_solid_noble_gas_is_all_filled_and_its_numbers_finite():
    values = targets(metal("Ne", 4.46))
    assert np.isfinite(values).all()
    assert column(values, "gap")[0] == pytest.approx(15.0)


def test_an_atom_out_of_reach_of_others_keeps_its_level():
    values = targets(Structure(Lattice.cubic(12.0), ["Na"], [[0, 0, 0]]))
    level = levels_of(np.array([11]))[0, 0]
    assert column(values, "band energy")[0] == pytest.approx(level, abs=1e-3)
    assert column(values, "bond energy")[0] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("element", ["H", "Cs", "Ce", "Pu", "Cm", "Og"])
def test_one_atom_cells_of_rare_elements_give_finite_numbers_for_float16(element):
    values = targets(metal(element, 4.6))
    assert values.shape == (1, len(SITE_TARGET_NAMES))
    assert np.abs(values).max() < np.finfo(np.float16).max


def test_sites_that_are_very_close_give_finite_numbers():
    close = Structure(Lattice.cubic(3.0), ["H", "O"], [[0, 0, 0], [0.17, 0, 0]])
    assert np.isfinite(targets(close)).all()


def test_a_large_cell_of_transition_metals_takes_few_k_points():
    cell = CRYSTALS["TiO2 rutile"].copy()
    cell.make_supercell([2, 2, 2])
    expected = targets(CRYSTALS["TiO2 rutile"])
    found = column(targets(cell), "charge").reshape(6, 8)
    np.testing.assert_allclose(found, column(expected, "charge")[:, None].repeat(8, 1), atol=0.02)


def test_dispersion_follows_the_bands_on_either_side_of_half_the_electrons() -> None:
    weight = np.array([0.25, 0.75])
    energy = np.array([[-3.0, -1.0, 2.0], [-3.0, -2.0, 1.5]])
    found = dispersion(energy, ONE, weight[None], 4.0, 2.5)
    spread = np.sqrt(0.25 * 0.75)
    np.testing.assert_allclose(found, [3.0, 3.375, 0.5, spread, 0.5 * spread])
    # With an odd electron both are one band.
    found = dispersion(energy, ONE, weight[None], 3.0, 0.0)
    np.testing.assert_allclose(found, [0, 0, 0, spread, spread], atol=1e-12)
    full = dispersion(energy, ONE, weight[None], 6.0, 15.0)
    np.testing.assert_allclose(full, [15, 15, 0, 0.5 * spread, 0.5 * spread], atol=1e-12)
