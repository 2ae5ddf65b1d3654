"""Crystals that are nearly symmetric, made exactly so."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Structure
from real_crystals import crystals

from matminer_unate.crystals.structures import CrystalArrays, crystal_arrays
from matminer_unate.crystals.symmetrised import symmetrised
from matminer_unate.crystals.symmetry import primitive_cell

CRYSTALS = crystals()


def primitive(structure: Structure) -> CrystalArrays:
    return primitive_cell(*crystal_arrays(structure))


def residue(crystal: CrystalArrays) -> float:
    """How far the operations take sites from their images, but for one translation each; Å."""
    found = symmetrised(crystal)
    moved = found.frac_coords @ found.rotations.swapaxes(1, 2)
    apart = found.frac_coords[found.images] - moved
    apart -= apart[:, :1]
    apart -= np.rint(apart)
    return float(np.abs(apart @ found.lattice).max())


@pytest.mark.parametrize("name", CRYSTALS)
def test_operations_are_exact_and_nothing_moves_far(name: str) -> None:
    lattice, coords, numbers = primitive(CRYSTALS[name])
    noise = np.random.default_rng(0).normal(size=coords.shape) @ np.linalg.inv(lattice)
    crystal = lattice, coords + 1e-5 * noise, numbers
    found = symmetrised(crystal)
    assert len(found.rotations) == len(symmetrised((lattice, coords, numbers)).rotations)
    assert residue(crystal) < 1e-10
    metric = found.lattice @ found.lattice.T
    kept = found.rotations.swapaxes(1, 2) @ metric @ found.rotations
    np.testing.assert_allclose(kept, np.broadcast_to(metric, kept.shape), atol=1e-9)
    np.testing.assert_allclose(metric, lattice @ lattice.T, atol=1e-3)
    assert np.abs((found.frac_coords - crystal[1]) @ lattice).max() < 1e-3


def test_orbits_are_the_sets_of_equivalent_sites() -> None:
    found = symmetrised(primitive(CRYSTALS["SrTiO3"]))
    assert sorted(np.bincount(found.orbit)) == [1, 1, 3]
    assert len(found.rotations) == 48


def test_a_crystal_without_symmetry_stays_as_it_is() -> None:
    lattice, coords, numbers = primitive(CRYSTALS["SrTiO3"])
    coords = coords + 0.05 * np.random.default_rng(1).random(coords.shape)
    found = symmetrised((lattice, coords, numbers))
    assert len(found.rotations) == 1
    np.testing.assert_array_equal(found.frac_coords, coords)
    assert found.orbit.tolist() == list(range(5))


def test_a_doubtful_crystal_is_left_to_spglib() -> None:
    lattice, coords, numbers = primitive(CRYSTALS["SrTiO3"])
    for off in np.geomspace(1e-4, 1e-2, 9):  # through the tolerance
        moved = coords.copy()
        moved[0] += off * np.array([0.5, 0.7, 0.2]) @ np.linalg.inv(lattice)
        assert residue((lattice, moved, numbers)) < 1e-10


def test_of_a_large_cell_no_symmetry_is_looked_for() -> None:
    cell = CRYSTALS["SrTiO3"].copy()
    cell.make_supercell([4, 4, 4])
    lattice, coords, numbers = crystal_arrays(cell)
    found = symmetrised((lattice, coords, numbers))
    assert len(found.rotations) == 1
    np.testing.assert_array_equal(found.frac_coords, coords)
