"""CIFs: grammar, symmetry, elements, occupancies and the comparison with the formula."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest
from cif_damages import OTHER, WAYS
from real_crystals import crystals

from matminer_unate.cif.formula import parse_formula
from matminer_unate.cif.operations import find_symmetry
from matminer_unate.cif.reading import Reading, crystal_blocks, read_crystal
from matminer_unate.cif.tokens import number, read_blocks
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.parsing import from_cell, from_cif
from matminer_unate.io.readers import iter_inputs

HEXAGONAL = """_cell_length_a 3.142
_cell_length_b 3.142
_cell_length_c 4.766
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
"""
BRUCITE = "_symmetry_space_group_name_H-M 'P -3 m 1'\n"
TYPED = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")
LABELLED = ("label", "fract_x", "fract_y", "fract_z")
OCCUPIED = (*TYPED, "occupancy")

MG, OXYGEN, H = "Mg1 Mg 0 0 0", "O1 O 0.3333 0.6667 0.2203", "H1 H 0.3333 0.6667 0.4130"


def block(
    *atoms: str,
    tags: tuple[str, ...] = TYPED,
    formula: str | None = "H2 Mg O2",
    symmetry: str = BRUCITE,
    cell: str = HEXAGONAL,
) -> str:
    """A CIF; without anything else it is brucite, Mg(OH)2."""
    said = f"_chemical_formula_sum '{formula}'\n" if formula else ""
    loop = "\n".join(["loop_", *(f"_atom_site_{tag}" for tag in tags), *atoms])
    return f"data_x\n{said}{cell}{symmetry}{loop}\n"


def read(*atoms: str, **more: object) -> Reading:
    return from_cif(block(*atoms, **more))  # type: ignore[arg-type]


ROCK_SALT = """_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
"""
ONLY_IDENTITY = "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n"


def test_operations_that_are_not_those_of_the_named_group_need_a_witness() -> None:
    given = {"formula": "Na Cl", "cell": ROCK_SALT}
    atoms = "Na1 Na 0 0 0", "Cl1 Cl 0.5 0.5 0.5"
    for name in ("_symmetry_space_group_name_H-M 'F m -3 m'", "_space_group_IT_number 225"):
        symmetry = f"{name}\n{ONLY_IDENTITY}"
        (doubt,) = read(*atoms, symmetry=symmetry, **given).doubts
        assert "lists 1 operations, the space group" in doubt
        assert "has 192, and neither Z" in doubt
        # Z says which of them is right.
        assert not read(*atoms, symmetry=f"{symmetry}_cell_formula_units_Z 1\n", **given).doubts
    for right in ("P 1", "an unknown name"):
        named = f"_symmetry_space_group_name_H-M '{right}'\n{ONLY_IDENTITY}"
        assert not read(*atoms, symmetry=named, **given).doubts


def test_operations_without_the_identity_are_refused() -> None:
    symmetry = "loop_\n_symmetry_equiv_pos_as_xyz\n'-x,-y,-z'\n"
    assert "lacks the operation x, y, z; add it" in reason(MG, OXYGEN, H, symmetry=symmetry)


def reason(*atoms: str, **more: object) -> str:
    with pytest.raises(StructureError) as caught:
        read(*atoms, **more)
    return str(caught.value)


# -- grammar --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [name for name in WAYS if "cut" not in name and "closed" not in name]
)
def test_the_tokens_are_those_of_gemmi(name: str) -> None:
    changed = WAYS[name].change(quartz())
    text = changed if isinstance(changed, str) else ""
    try:
        theirs = gemmi.cif.read_string(text)
    except (ValueError, RuntimeError):
        pytest.skip("no CIF by the grammar")
    ours = read_blocks(text)
    assert [one.name for one in ours] == [one.name for one in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        for item in other:
            for tag, values in _columns(item):
                (loop,) = mine.loops[tag.lower().replace(".", "_")]
                found = [value or "" for value in loop.columns[tag.lower().replace(".", "_")]]
                assert [v.rstrip("\n") for v in found] == values


@cache
def quartz() -> str:
    return str(crystals()["SiO2 quartz"].to(fmt="cif", symprec=0.01))


def _columns(item: gemmi.cif.Item) -> list[tuple[str, list[str]]]:
    if item.pair is not None:
        tag, value = item.pair
        return [(tag, [gemmi.cif.as_string(value)])]
    if item.loop is None:
        return []
    width = item.loop.width()
    values = [gemmi.cif.as_string(value) for value in item.loop.values]
    return [(tag, values[k::width]) for k, tag in enumerate(item.loop.tags)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_cell_is_known_as_a_cif_whatever_its_ends_of_lines(end: str) -> None:
    reading = from_cell(f"# a comment\n{block(MG, OXYGEN, H)}".replace("\n", end))
    assert isinstance(reading, Reading)
    assert reading.structure.formula == "Mg1 H2 O2"


def test_all_in_a_text_field_is_text_even_a_crystal() -> None:
    text = f"data_a\n_comment\n;\n{OTHER};\n{block(MG, OXYGEN, H).removeprefix('data_x')}"
    (one,) = crystal_blocks(text)
    assert one.name == "a"
    assert read_crystal(one).structure.formula == "Mg1 H2 O2"


def test_a_quote_that_is_not_closed_and_a_value_without_a_tag_are_remarked_with_their_lines() -> (
    None
):
    text = block(MG, OXYGEN, H).replace(
        "_cell_length_a", "_author 'Miller\n_name A. B.\n_cell_length_a"
    )
    assert from_cif(text).notes == ("line 4: 'B.' belongs to no tag",)
    text = block(MG, OXYGEN, H).replace("_cell_length_a", "_author 'Miller, J.\n_cell_length_a")
    assert from_cif(text).notes == ("line 3: 'J.' belongs to no tag",)


def test_blocks_without_a_crystal_are_no_rows_and_each_other_block_is_one(tmp_path: Path) -> None:
    journal = "data_global\n_journal_year 1999\n"
    powder = f"data_powder\n{HEXAGONAL}"
    text = journal + powder + block(MG, OXYGEN, H) + OTHER
    (tmp_path / "a.cif").write_text(text)
    first, second = iter_inputs([tmp_path / "a.cif"], accept_doubtful=True)
    assert first.structure.formula == "Mg1 H2 O2"  # type: ignore[union-attr]
    assert second.structure.formula == "Po1"  # type: ignore[union-attr]


def test_a_single_atom_needs_no_loop() -> None:
    sites = "_atom_site_label Po1\n_atom_site_fract_x 0\n_atom_site_fract_y 0\n_atom_site_fract_z 0"
    text = OTHER.partition("loop_")[0] + "_symmetry_space_group_name_H-M 'P m -3 m'\n" + sites
    assert from_cif(text).structure.formula == "Po1"
    assert from_cif(text).doubts == ()


# -- elements -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "group"),
    [("OH1", "OH"), ("OH", "OH"), ("Wat1", "Wat"), ("WAT", "WAT"), ("HOH1", "HOH"), ("NH3", "NH3"),
     ("NH4", "NH4"), ("NH4A", "NH"), ("CH31", "CH3"), ("H2O", "H2O")],
)  # fmt: skip
def test_a_label_that_is_a_group_is_never_silently_an_element(label: str, group: str) -> None:
    atoms = ("Mg1 0 0 0", f"{label} 0.3333 0.6667 0.2203")
    (doubt,) = read(*atoms, tags=LABELLED, formula=None).doubts
    assert doubt.startswith(f"{label} is the group {group}; only its ")


@pytest.mark.parametrize("kind", ["OH", "Wat", "NH3", "NH4+", "OH-", "H2O", "CH3"])
def test_a_type_that_is_a_group_is_never_silently_an_element(kind: str) -> None:
    (doubt,) = read(MG, f"X1 {kind} 0.3333 0.6667 0.2203", formula=None).doubts
    assert "is the group" in doubt


@pytest.mark.parametrize(
    ("label", "formula", "element"),
    [
        ("OH1", "Mg O2", "O"),
        ("OW1", "Mg O2", "O"),
        ("HO1", "Mg H2", "H"),
        ("HO1", "Mg Ho2", "Ho"),
        ("H2O", "Mg H2", "H"),
        ("CA1", "Mg Ca2", "Ca"),
        ("CA1", "Mg C2", "C"),
        ("Co1", "Mg C2", "C"),
        ("Fe2+", None, "Fe"),
        ("C1A", None, "C"),
        ("Cl_1", None, "Cl"),
        ("D1", "Mg D2", "H"),
    ],
)
def test_a_label_is_read_with_the_formula(label: str, formula: str | None, element: str) -> None:
    reading = read("Mg1 0 0 0", f"{label} 0.3333 0.6667 0.2203", tags=LABELLED, formula=formula)
    assert reading.structure[-1].specie.symbol == element
    assert reading.doubts == ()


@pytest.mark.parametrize("label", ["X1", "Vac1", "M1", "T1", "CA1", "FE1", "OW1", "Du2", "123"])
def test_a_label_that_names_no_element_beyond_doubt_is_refused(label: str) -> None:
    said = reason(f"{label} 0 0 0", tags=LABELLED, formula=None)
    assert f"the label {label!r} names no element" in said
    assert "add the column _atom_site_type_symbol" in said


@pytest.mark.parametrize("kind", ["X", "Vac", "M", "Q", "CO", "NO", "T", "Me", "?X"])
def test_a_type_that_is_no_element_is_refused(kind: str) -> None:
    assert f"the type {kind!r} of atom A1 is no element" in reason(f"A1 {kind} 0 0 0", formula=None)


@pytest.mark.parametrize("kind", ["Fe", "FE", "fe", "Fe3+", "Fe+3", "Fe2", "Fe2.5+", "Fe0+"])
def test_a_type_may_have_a_charge_and_any_case(kind: str) -> None:
    assert read(f"A1 {kind} 0 0 0", formula="Fe").structure.formula == "Fe1"


# -- composition ----------------------------------------------------------------------------------


@pytest.mark.parametrize("nowhere", ["? ? ?", ". . .", "0.3333 0.6667 ?"])
def test_hydrogen_without_coordinates_is_not_there(nowhere: str) -> None:
    left_out, formula = read(MG, OXYGEN, f"H1 H {nowhere}").doubts
    assert left_out == "H1 left out: coordinates ? or .; add them"
    assert formula == (
        "the composition that was read, Mg O2, is not the formula H2 Mg O2 of the file "
        "(_chemical_formula_sum): no H was read; add the positions of the hydrogens"
    )


def test_doubtful_rows_of_tables_and_files_are_errors_unless_accepted(tmp_path: Path) -> None:
    text = block(MG, OXYGEN)
    (tmp_path / "a.cif").write_text(text)
    pd.DataFrame({"id": ["brucite"], "cif": [text]}).to_csv(tmp_path / "b.csv")
    paths = [tmp_path / "a.cif", tmp_path / "b.csv"]
    for row in iter_inputs(paths):
        assert row.structure is None
        assert "no H was read" in str(row.error)
        assert str(row.error).endswith("--accept-doubtful (accept_doubtful=True in Python)")
    for row in iter_inputs(paths, accept_doubtful=True):
        assert row.structure.formula == "Mg1 O2"  # type: ignore[union-attr]
        assert "no H was read" in row.doubts[0]


@pytest.mark.parametrize(
    "formula",
    ["H2 Mg O2", "Mg (O H)2", "Mg(OH)2", "MG O2 H2", "H4 Mg2 O4", "Mg1 O2 H2", "Mg D2 O2",
     "Mg O2.00 H2.00", "Mg 2+, 2(O H 1-)", "?", "see text"],
)  # fmt: skip
def test_the_formula_may_be_written_in_many_ways(formula: str) -> None:
    assert read(MG, OXYGEN, H, formula=formula).doubts == ()


@pytest.mark.parametrize("formula", ["H Mg O2", "H2 Mg O", "H2 Ca O2", "H2 Mg O2 N", "H2.2 Mg O2"])
def test_another_formula_is_a_doubt(formula: str) -> None:
    (doubt,) = read(MG, OXYGEN, H, formula=formula).doubts
    assert f"is not the formula {formula} of the file" in doubt


def test_one_hydrogen_of_two_hundred_is_missed() -> None:
    atoms = [f"C{n} C {n / 100} 0 0" for n in range(0, 100, 2)]
    cell = HEXAGONAL.replace("a 3.142", "a 90").replace("120", "90")
    p1 = "_symmetry_space_group_name_H-M 'P 1'\n"
    assert read(*atoms, formula="C50", cell=cell, symmetry=p1).doubts == ()
    h = [f"H{n} H {n / 100} 0 0.3" for n in range(0, 100, 2)]
    assert read(*atoms, *h, formula="C50 H50", cell=cell, symmetry=p1).doubts == ()
    assert read(*atoms, *h, formula="C50 H51", cell=cell, symmetry=p1).doubts


def test_partial_occupancies_count_in_the_composition() -> None:
    atoms = ("A1 Mg 0 0 0 0.25", "A2 Fe 0 0 0 0.75", "O1 O 0 0 0.5 1")
    assert read(*atoms, tags=OCCUPIED, formula="Fe0.75 Mg0.25 O").doubts == ()
    assert read(*atoms, tags=OCCUPIED, formula="Fe Mg O").doubts
    assert not read(*atoms, tags=OCCUPIED, formula=None).structure.is_ordered


def test_the_number_of_formula_units_shows_a_missing_translation() -> None:
    units = "_cell_formula_units_Z {}\n" + BRUCITE
    assert read(MG, OXYGEN, H, symmetry=units.format(1)).doubts == ()
    (doubt,) = read(MG, OXYGEN, H, symmetry=units.format(3)).doubts
    assert doubt.startswith("the cell that was read holds 1 units of the formula, _cell_formula")
    dense = "_exptl_crystal_density_diffrn 2.37\n"
    assert read(MG, OXYGEN, H, symmetry=dense + units.format(3)).doubts == ()


# -- occupancies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "occupancy", ["1.002(5)", "0.995", "1.01", "0.98(3)", "1", "1.000", "?", "."]
)
def test_an_occupancy_that_is_nearly_one_is_one(occupancy: str) -> None:
    reading = read(f"{MG} {occupancy}", f"{OXYGEN} 1", f"{H} 1", tags=OCCUPIED)
    assert reading.structure.is_ordered
    assert reading.doubts == ()


@pytest.mark.parametrize("occupancy", ["0.9", "0.98", "0.7(5)"])
def test_an_occupancy_that_is_not_nearly_one_is_disorder(occupancy: str) -> None:
    atoms = (f"{MG} {occupancy}", f"{OXYGEN} 1", f"{H} 1")
    assert not read(*atoms, tags=OCCUPIED, formula=None).structure.is_ordered


def test_an_atom_with_occupancy_0_is_not_there() -> None:
    reading = read(f"{MG} 1", f"{OXYGEN} 1", f"{H} 1", "X1 Xx 0.1 0 0 0", tags=OCCUPIED)
    assert reading.structure.formula == "Mg1 H2 O2"
    assert reading.notes == ("X1 left out: occupancy 0",)


def test_thirds_on_one_site_fill_it() -> None:
    atoms = [f"A{n} {element} 0 0 0 0.333" for n, element in enumerate(("Fe", "Co", "Ni"))]
    (site,) = read(*atoms, tags=OCCUPIED, formula=None).structure
    assert site.species.num_atoms == pytest.approx(1, abs=1e-12)


def test_two_elements_in_one_place_are_refused() -> None:
    said = reason("Na1 Na 0 0 0", "K1 K 0 0 0.001", formula="K Na")
    assert said.startswith("Na1 and K1 are in one place with occupancies of 2 in all;")


# -- symmetry -------------------------------------------------------------------------------------


@pytest.mark.parametrize("third", ["0.33 0.67", "0.3333 0.6667", ".333 .667", "0.34 0.66"])
def test_rounded_thirds_are_thirds(third: str) -> None:
    structure = read(MG, f"O1 O {third} 0.2203", f"H1 H {third} 0.4130").structure
    assert structure.formula == "Mg1 H2 O2"
    np.testing.assert_allclose(structure.frac_coords[1, :2], [1 / 3, 2 / 3], atol=1e-9)


def test_a_site_that_was_moved_by_more_than_rounding_is_remarked() -> None:
    (note,) = read(MG, "O1 O 0.33 0.67 0.2203", H).notes
    assert note == "moved onto the special position that it is near: O1 by 0.018 Å"


def test_images_apart_by_less_than_half_an_angstrom_are_refused_with_the_tolerance_that_merges_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.cif").write_text(block(MG, "O1 O 0.2933 0.7067 0.2203", H, formula=None))
    (row,) = iter_inputs([tmp_path / "a.cif"])
    assert "images of O1 under symmetry are 0.38 Å apart; --site-tol" in str(row.error)
    wanted = float(str(row.error).partition("--site-tolerance ")[2].split()[0])
    (row,) = iter_inputs([tmp_path / "a.cif"], site_tolerance=wanted)
    assert row.structure.formula == "Mg1 H2 O2"  # type: ignore[union-attr]


def test_without_a_tolerance_rounded_thirds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text(block(MG, "O1 O 0.33 0.67 0.2203", H))
    (row,) = iter_inputs([tmp_path / "a.cif"], site_tolerance=0)
    assert "images of O1 under symmetry are 0.031 Å apart" in str(row.error)


@pytest.mark.parametrize("tolerance", [-0.1, 1.5, float("nan")])
def test_a_tolerance_that_is_no_distance_is_refused(tmp_path: Path, tolerance: float) -> None:
    with pytest.raises(InputError, match="a distance from 0 to 1 Å"):
        iter_inputs([tmp_path], site_tolerance=tolerance)


def test_split_positions_whose_occupancies_leave_room_are_kept_apart() -> None:
    structure = read("Mg1 Mg 0.04 0.08 0 0.16", tags=OCCUPIED, formula=None).structure
    assert len(structure) == 6


@pytest.mark.parametrize(
    ("symbol", "of_gemmi"),
    [
        ("P 21/n", "P 1 21/n 1"),
        ("P 1 1 21/b", "P 1 1 21/b"),
        ("P n m a", "P n m a"),
        ("Pbnm", "P b n m"),
        ("R -3 m :H", "R -3 m:H"),
        ("R -3 m", "R -3 m:H"),
        ("I 41/a m d :2", "I 41/a m d:2"),
        ("F m 3 m", "F m -3 m"),
        ("F d -3 m S", "F d -3 m:1"),
        ("P 63/m m c", "P 63/m m c"),
        ("C 2/c", "C 1 2/c 1"),
        ("P 32 2 1", "P 32 2 1"),
        ("C m c a", "C m c e"),
    ],
)
def test_operations_of_a_named_space_group_are_those_of_gemmi(symbol: str, of_gemmi: str) -> None:
    (one,) = read_blocks(f"data_x\n_symmetry_space_group_name_H-M '{symbol}'\n")
    is_hexagonal = "R" in symbol or "P 6" in symbol or "P 3" in symbol
    hexagonal = np.array([[2, 0, 0], [-1, 3**0.5, 0], [0, 0, 3]])
    (found,) = find_symmetry(one, hexagonal if is_hexagonal else np.eye(3))
    assert found.is_group
    ours = [_key(r, t) for r, t in zip(found.rotations, found.translations, strict=True)]
    theirs = gemmi.SpaceGroup(of_gemmi).operations()
    expected = [_key(np.array(op.rot) / 24, np.array(op.tran) / 24) for op in theirs]
    assert sorted(ours) == sorted(expected)


def _key(rotation: np.ndarray, translation: np.ndarray) -> tuple[int, ...]:
    return (*np.round(rotation).astype(int).ravel().tolist(),
            *(np.round(np.asarray(translation) * 24).astype(int) % 24).tolist())  # fmt: skip


def test_of_two_origins_the_one_that_gives_the_formula_is_taken() -> None:
    cell = HEXAGONAL.replace("120", "90").replace("3.142", "8.083").replace("4.766", "8.083")
    spinel = ("Mg1 Mg 0 0 0", "Al1 Al 0.625 0.625 0.625", "O1 O 0.3876 0.3876 0.3876")
    named = "_symmetry_space_group_name_H-M 'F d -3 m'\n"
    reading = read(*spinel, formula="Mg Al2 O4", cell=cell, symmetry=named)
    assert reading.structure.formula == "Mg8 Al16 O32"
    assert reading.doubts == ()


def test_a_number_of_a_space_group_with_several_settings_is_a_doubt() -> None:
    cell = HEXAGONAL.replace("120", "90").replace("beta 90", "beta 99.2").replace("3.142", "5.2")
    numbered = "_space_group_IT_number 14\n"
    (doubt,) = read("Zr1 Zr 0.28 0.04 0.21", formula="Zr", cell=cell, symmetry=numbered).doubts
    assert "has 3 settings that fit, and no operations are listed" in doubt


def test_a_cell_that_has_not_the_symmetry_of_its_operations_is_a_doubt() -> None:
    (doubt,) = read(MG, OXYGEN, H, cell=HEXAGONAL.replace("120", "110")).doubts
    assert doubt.startswith("the cell has not the symmetry of the space group 'P -3 m 1'")


def test_magnetic_operations_with_their_centring_make_the_magnetic_cell() -> None:
    magnetic = (
        "loop_\n_space_group_symop_magn_operation.xyz\nx,y,z,+1\n-x,-y,-z,+1\n"
        "loop_\n_space_group_symop_magn_centering.xyz\nx,y,z,+1\nx,y,z+1/2,-1\n"
    )
    cell = HEXAGONAL.replace("120", "90").replace("3.142", "4.2").replace("4.766", "8.4")
    atoms = ("Mn1 Mn 0 0 0", "O1 O 0.5 0.5 0.25")
    structure = read(*atoms, formula="Mn O", cell=cell, symmetry=magnetic).structure
    assert structure.formula == "Mn2 O2"


# -- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value", "uncertainty"),
    [
        ("1.002(5)", 1.002, 0.005),
        ("-.5", -0.5, 0),
        ("12(3)", 12, 3),
        ("1.5e1(2)", 15, 2),
        ("5.", 5, 0),
    ],
)
def test_numbers_have_their_uncertainty(text: str, value: float, uncertainty: float) -> None:
    assert number(text) == pytest.approx((value, uncertainty))


@pytest.mark.parametrize("text", ["5,64", "?", "one", "1.2.3", "", "1/3", "nan", "inf"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert number(text) is None


def test_formulas_that_cannot_be_understood_are_none() -> None:
    assert [parse_formula(t) for t in ("(Ca,Sr)TiO3", "C10 H?", "Xx2", "", "Fe2O3-x")] == [None] * 5


def test_near_atoms_are_found_the_same_way_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a skewed cell, across its faces, and of images under symmetry."""
    from matminer_unate.cif import expansion

    random = np.random.default_rng(0)
    lattice = np.array([[6.0, 0, 0], [2.5, 5, 0], [-1, 2, 7]])
    orbits = [random.uniform(-1, 2, (k, 3)) for k in random.integers(1, 5, 150)]
    orbits.append(orbits[0][:1] + np.array([0.99999, -1, 0.00001]))
    few = expansion._near_pairs(orbits, lattice, 0.8)
    monkeypatch.setattr(expansion, "MANY_PLACES", 1)
    many = expansion._near_pairs(orbits, lattice, 0.8)
    assert len(few) > 50
    assert [pair[:2] for pair in many] == [pair[:2] for pair in few]
    np.testing.assert_allclose([pair[2] for pair in many], [pair[2] for pair in few], atol=1e-9)


def test_a_list_of_more_atoms_than_any_crystal_has_is_refused(tmp_path: Path) -> None:
    atoms = "\n".join(f"Cu{n} {n / 200_000:.6f} 0 0" for n in range(100_001))
    (tmp_path / "a.cif").write_text(
        "data_x\n_cell_length_a 900\n_cell_length_b 900\n_cell_length_c 900\n_cell_angle_alpha 90\n"
        "_cell_angle_beta 90\n_cell_angle_gamma 90\nloop_\n_atom_site_label\n_atom_site_fract_x\n"
        f"_atom_site_fract_y\n_atom_site_fract_z\n{atoms}\n"
    )
    (row,) = iter_inputs([tmp_path / "a.cif"])
    assert "the CIF lists 100,001 atoms" in str(row.error)
