"""Symmetry operations, primitive cells and space groups against spglib's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import spglib
from places import SHARED
from pymatgen.core import Lattice, Structure
from real_crystals import aflow_prototype, crystals

from matminer_unate.crystals import symmetry
from matminer_unate.crystals.operations import NotPlain, operations, translations
from matminer_unate.crystals.structures import CrystalArrays, crystal_arrays
from matminer_unate.crystals.symmetry import primitive_cell, symmetry_of

CRYSTALS = crystals()


def arrays(structure: Structure) -> CrystalArrays:
    return crystal_arrays(structure)


def mirrored(structure: Structure) -> Structure:
    """The same crystal in a left-handed basis."""
    matrix, coords = structure.lattice.matrix.copy(), structure.frac_coords.copy()
    matrix[2], coords[:, 2] = -matrix[2], -coords[:, 2]
    return Structure(Lattice(matrix), structure.species, coords)


@pytest.mark.parametrize("name", CRYSTALS)
def test_operations_take_every_site_to_one_of_its_kind(name: str) -> None:
    lattice, frac_coords, z = primitive_cell(*arrays(CRYSTALS[name]))
    found = operations(lattice, frac_coords, z, 0.01)
    rotations, shifts = found.rotations, found.translations
    expected = spglib.get_symmetry_dataset((lattice, frac_coords, z), symprec=0.01)
    assert len(rotations) == len(expected.rotations)
    assert len({r.tobytes() for r in rotations}) == len(rotations)
    for rotation, shift in zip(rotations, shifts, strict=True):
        apart = (frac_coords @ rotation.T + shift)[:, None] - frac_coords
        distance = np.linalg.norm((apart - np.round(apart)) @ lattice, axis=2)
        assert (z[distance.argmin(axis=1)] == z).all()
        assert distance.min(axis=1).max() < 1e-3


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("handed", ["right", "left"])
def test_space_groups_are_spglibs_without_asking_for_its_dataset(
    name: str, handed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    structure = CRYSTALS[name] if handed == "right" else mirrored(CRYSTALS[name])
    given = arrays(structure)
    expected = spglib.get_symmetry_dataset(given, symprec=0.01)
    monkeypatch.setattr(symmetry, "symmetry_dataset", lambda *a: pytest.fail("asked"))
    for cell in (given, arrays(structure * (1, 2, 1))):
        number, n_sites = symmetry_of(cell, primitive_cell(*cell))
        assert number == expected.number
        assert n_sites == expected.mapping_to_primitive.max() + 1


def test_screw_axes_keep_their_hand() -> None:
    quartz = arrays(CRYSTALS["SiO2 quartz"])
    lattice, frac_coords, z = quartz
    other = lattice, -frac_coords, z
    numbers = [symmetry_of(c, primitive_cell(*c))[0] for c in (quartz, other)]
    assert sorted(numbers) == [152, 154]


def test_translations_are_those_of_a_supercell() -> None:
    lattice, frac_coords, z = arrays(CRYSTALS["SrTiO3"] * (2, 1, 3))
    found = translations(lattice, frac_coords, z, 1e-3) % 1.0
    expected = {(i / 2, 0.0, k / 3) for i in range(2) for k in range(3)}
    assert {tuple(t) for t in (found.round(6) % 1.0).tolist()} == {
        tuple(t) for t in np.round(list(expected), 6).tolist()
    }


@pytest.mark.parametrize("moved", [1e-3, 5e-3, 0.02])
def test_what_is_near_the_tolerance_is_left_to_spglib(moved: float) -> None:
    """An atom this far (Å) from where its site would have the whole symmetry."""
    structure = CRYSTALS["SrTiO3"].copy()
    structure.translate_sites([1], [moved, 0, 0], frac_coords=False)
    given = arrays(structure)
    cell = primitive_cell(*given)
    expected = spglib.get_symmetry_dataset(given, symprec=0.01)
    assert symmetry_of(given, cell) == (expected.number, 5)
    if moved == 1e-3:
        assert len(operations(*cell, 0.01).rotations) == 48
    else:
        with pytest.raises(NotPlain):
            operations(*cell, 0.01)


def test_copies_at_the_tolerance_of_space_groups_alone_count_for_these() -> None:
    double = CRYSTALS["SrTiO3"] * (2, 1, 1)
    double.translate_sites([1], [6e-3, 0, 0], frac_coords=False)
    given = arrays(double)
    cell = primitive_cell(*given)
    assert len(cell[2]) == 10
    expected = spglib.get_symmetry_dataset(given, symprec=0.01)
    assert symmetry_of(given, cell) == (
        expected.number,
        expected.mapping_to_primitive.max() + 1,
    )


def test_the_prototypes_of_pymatgen_have_the_space_groups_of_spglib() -> None:
    labels = ("AB_cF8_225_a_b", "A_hP2_194_c", "A2B_tP6_136_f_a", "AB_hP4_186_b_b", "A_cI2_229_a")
    for label in labels:
        given = arrays(aflow_prototype(label))
        assert symmetry_of(given, primitive_cell(*given))[0] == int(label.split("_")[2])


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the tables are not beside the checkout")
@pytest.mark.parametrize(
    "file", ["mp20_val_test", "jarvis_dft3d_partial", "mp_elasticity", "mp_mtcgcnn"]
)
def test_real_crystals_have_the_space_groups_and_sites_of_spglib(file: str) -> None:
    """1,000 of each; 4 % of them are asked of spglib anyway."""
    table = pd.read_parquet(
        SHARED / f"{file}.parquet", columns=["lattice", "frac_coords", "species", "n_sites"]
    )
    asked = 0
    for row in table[table["n_sites"] <= 40].sample(1000, random_state=7).itertuples():
        lattice = np.reshape(row.lattice, (3, 3)).astype(float)
        frac_coords = np.reshape(row.frac_coords, (-1, 3)).astype(float)
        given = lattice, frac_coords, np.array(row.species, dtype=np.int64)
        cell = primitive_cell(*given)
        try:
            symmetry._plain_type(*cell)
        except NotPlain:
            asked += 1
        expected = symmetry_of(given, None)
        assert symmetry_of(given, cell) == expected
        at_copies = spglib.get_symmetry_dataset(given, symprec=symmetry.SAME_SITE)
        assert len(cell[2]) == at_copies.mapping_to_primitive.max() + 1
    assert asked < 80
