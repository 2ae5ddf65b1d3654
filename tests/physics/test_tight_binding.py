"""The tight-binding model: free atoms, invariance, and what is known of textbook crystals."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from numpy.typing import NDArray
from places import RECORDED
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from scipy.spatial.transform import Rotation

from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.physics import tight_binding
from matminer_unate.physics.band_quantities import SITE_NAMES, band_edges, dispersion
from matminer_unate.physics.free_atoms import (
    BOHR,
    HARTREE,
    free_atom,
    radial_states,
    valence,
    valence_shells,
)
from matminer_unate.physics.two_centre import DISTANCES, integral_table, rotations, two_centre
from site_targets.tight_binding import SITE_TARGET_NAMES, site_targets

CRYSTALS = crystals()
GOLDEN = json.loads((RECORDED / "tight_binding_targets.json").read_text())
"""Targets of the first site of primitive cells."""
SMALL = [name for name, s in CRYSTALS.items() if len(s.get_primitive_structure()) <= 9]


def targets(structure: Structure) -> NDArray[np.float32]:
    return site_targets(*crystal_arrays(structure))


def column(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    return values[:, SITE_TARGET_NAMES.index(name)]


def free_levels(z: int) -> list[float]:
    """Levels of the valence s and p shell of a free atom, eV."""
    atom = free_atom(z)
    shells = enumerate(valence_shells(z)[:2])
    return [
        radial_states(atom.r, atom.step, atom.potential, 0.0, ell, n - ell)[0][-1] * HARTREE
        for ell, n in shells
        if n
    ]


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


def test_dependent_orbitals_take_the_way_that_raises_the_overlap(monkeypatch):
    # Caesium at half its distance: the overlap is singular. Elsewhere both ways agree.
    dense = targets(Structure(Lattice.cubic(2.2), ["Cs"], [[0, 0, 0]]))
    assert np.isfinite(dense).all()
    silicon = targets(CRYSTALS["Si"])
    slow = tight_binding.states_of_dependent_orbitals
    monkeypatch.setattr(tight_binding, "states", slow)
    np.testing.assert_allclose(targets(CRYSTALS["Si"]), silicon, atol=1e-5)
    np.testing.assert_array_equal(
        targets(Structure(Lattice.cubic(2.2), ["Cs"], [[0, 0, 0]])), dense
    )


# Free atoms


@pytest.mark.parametrize(
    ("z", "level"),
    [(1, (-6.35,)), (6, (-13.63, -5.42)), (8, (-23.71, -9.21)), (14, (-10.83, -4.17))],
)
def test_levels_of_light_atoms_are_those_of_the_nist_tables(z, level):
    # Local-density eigenvalues of Kotochigova et al., Phys. Rev. A 55, 191 (1997), in eV.
    np.testing.assert_allclose(free_levels(z)[: len(level)], level, atol=0.1)


def test_the_6s_level_of_lead_shows_the_relativistic_contraction():
    # −9.7 eV without relativity, −12.4 eV with it (the same tables).
    assert free_levels(82)[0] == pytest.approx(-12.4, abs=0.15)


def test_states_in_a_coulomb_potential_are_those_of_hydrogen():
    atom = free_atom(1)
    energies, _ = radial_states(atom.r, atom.step, -1 / atom.r, 0.0, 0, 2)
    np.testing.assert_allclose(energies, [-0.5, -0.125], rtol=2e-2)


def test_contracted_orbitals_are_normalised():
    silicon = valence(14)
    r = silicon.atom.r
    norm = (silicon.radial**2 * r**3 * silicon.atom.step).sum(axis=1)
    np.testing.assert_allclose(norm, [1, 1, 0], atol=1e-9)


@pytest.mark.parametrize("z", [1, 2, 26, 58, 63, 70, 83, 92, 96, 103, 110, 118])
def test_every_kind_of_element_has_levels_and_room_for_its_electrons(z):
    shells = valence(z)
    room = 2 * np.array([1, 3, 5])[~np.isnan(shells.level)].sum()
    assert 0 < shells.n_electrons <= room


# Integrals


def test_overlap_of_the_same_orbital_tends_to_one_at_short_distance():
    overlap = integral_table(82, 82)[:, 1]
    assert 0.5 < overlap[0, 0] < 1.0
    assert abs(overlap[-1]).max() < 0.05


def test_integrals_of_a_pair_turned_round_differ_by_the_parity_of_the_orbitals():
    distance = np.array([1.9, 2.3])
    forward, backward = two_centre(22, 8, distance), two_centre(8, 22, distance)
    np.testing.assert_allclose(forward[:, :, 0], backward[:, :, 0])  # s and s
    np.testing.assert_allclose(forward[:, :, 1], -backward[:, :, 3])  # s and p


def test_interpolated_integrals_pass_through_the_table():
    at_nodes = two_centre(6, 14, DISTANCES[3:6] * BOHR)
    np.testing.assert_allclose(at_nodes, integral_table(6, 14)[3:6], atol=1e-9)


def test_rotations_are_orthogonal_and_turn_like_their_direction():
    unit = np.random.default_rng(0).normal(size=(5, 3))
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    turn = rotations(unit)
    np.testing.assert_allclose(turn @ turn.swapaxes(1, 2), np.eye(9)[None].repeat(5, 0), atol=1e-12)
    np.testing.assert_allclose(turn[:, 1:4, 1], unit, atol=1e-12)


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
def test_a_cell_doubled_along_one_axis_has_the_same_targets(name):
    primitive = CRYSTALS[name].get_primitive_structure()
    double = primitive.copy()
    double.make_supercell([2, 1, 1])
    expected = targets(primitive).repeat(2, axis=0)
    np.testing.assert_allclose(targets(double), expected, atol=1e-3)


def test_edges_and_spreads_do_not_depend_on_the_order_of_equal_energies():
    # Γ and three k points of weight 1, 2, 2, 2 (of 7), with equal energies between them.
    weight = np.array([1, 2, 2, 2]) / 7
    energy = np.array([[0, 1, 1, 5.0], [0, 1, 3, 5], [1, 1, 3, 6], [0, 1, 4, 6]])
    expected = None
    for order in itertools.permutations(range(4)):
        for noise in (0.0, 1e-12):
            moved = energy + noise * np.random.default_rng(len(order)).normal(size=energy.shape)
            found = band_edges(moved[list(order)], weight[list(order)], 3.3, 2)
            found = np.array([*found[:2], *found[2]])
            expected = found if expected is None else expected
            np.testing.assert_allclose(found, expected, atol=1e-10)
    # 10/7 electrons at 0 and 22/7 at 1 eV: the last one is at 1 eV, filled in part.
    assert expected[:2].tolist() == [1.0, 1.0]


def test_spreads_are_those_of_the_fermi_level_where_levels_are_even():
    # One level each 0.01 eV with 0.002 electrons: 5 eV an electron.
    energy = 0.01 * np.arange(2000)[None]
    top, bottom, spreads = band_edges(energy, np.array([1e-3]), 2.0, 1)
    assert bottom - top == pytest.approx(0.01)
    np.testing.assert_allclose(spreads, [0.2, 1.0, 5.0], rtol=1e-9)


def test_spreads_follow_energies_that_are_moved_however_bands_part():
    random = np.random.default_rng(0)
    energy = np.sort(random.integers(0, 5, (6, 8)).astype(float), axis=1)
    weight = np.array([1, 2, 2, 1, 2, 2]) / 10
    for count in (1.0, 7.2, 8.0, 15.9):
        before = band_edges(energy, weight, count, 2)
        for _ in range(20):
            shift = 1e-3 * random.uniform(-1, 1, energy.shape)
            after = band_edges(energy + shift, weight, count, 2)
            assert abs(after[0] - before[0]) <= 1e-3
            assert abs(after[1] - before[1]) <= 1e-3
            assert np.abs(after[2] - before[2]).max() <= 2e-3


@pytest.mark.parametrize("name", ["NaCl", "Si"])
def test_conventional_and_primitive_cell_nearly_agree(name):
    # Other k points, so only nearly.
    conventional, primitive = (
        targets(s.get_sorted_structure())[0]
        for s in (CRYSTALS[name], CRYSTALS[name].get_primitive_structure())
    )
    difference = abs(conventional - primitive)
    assert difference[: SITE_NAMES.index("s share of the valence band edge")].max() < 0.03
    assert difference[SITE_TARGET_NAMES.index("gap")] < 0.6


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
    electrons = sum(
        valence(z).n_electrons for z in CRYSTALS[name].get_primitive_structure().atomic_numbers
    )
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
    assert column(values, "band energy")[0] == pytest.approx(
        valence(11).level[0] * HARTREE, abs=1e-3
    )
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
    found = dispersion(energy, weight, 4.0, 2.5)
    spread = np.sqrt(0.25 * 0.75)
    np.testing.assert_allclose(found, [3.0, 3.375, 0.5, spread, 0.5 * spread])
    # With an odd electron both are one band.
    found = dispersion(energy, weight, 3.0, 0.0)
    np.testing.assert_allclose(found, [0, 0, 0, spread, spread], atol=1e-12)
    full = dispersion(energy, weight, 6.0, 15.0)
    np.testing.assert_allclose(full, [15, 15, 0, 0.5 * spread, 0.5 * spread], atol=1e-12)
