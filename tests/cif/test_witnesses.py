"""What a CIF says of its crystal in more than one way: doubts where the ways differ."""

from __future__ import annotations

import pytest

from matminer_unate.cif.reading import Reading
from matminer_unate.io.parsing import from_cif

CELL = ("5.64", "5.64", "5.64", "90", "90", "90")
SYMBOLS = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")
NA, CL = "Na1 Na 0 0 0", "Cl1 Cl 0.5 0.5 0.5"
ROCK_SALT = "_symmetry_space_group_name_H-M 'F m -3 m'\n"
P1 = "_symmetry_space_group_name_H-M 'P 1'\n"
IDENTITY = "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n"


def read(
    *atoms: str,
    tags: tuple[str, ...] = SYMBOLS,
    said: str = ROCK_SALT,
    cell: tuple[str, ...] = CELL,
    more: str = "",
) -> Reading:
    """Rock salt, unless something else is said."""
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True)]
    loop = ["loop_", *(f"_atom_site_{tag}" for tag in tags), *(atoms or (NA, CL))]
    return from_cif("\n".join(["data_x", *lines, said, *loop, more, ""]))


# -- formula, Z and density -----------------------------------------------------------------------

MOLECULE = (
    "C1 C 0.20 0.10 0.10", "C2 C 0.30 0.20 0.20", "C3 C 0.45 0.25 0.30", "C4 C 0.60 0.20 0.40",
    "O1 O 0.10 0.05 0.20", "O2 O 0.15 0.10 0.92", "O3 O 0.70 0.10 0.40", "O4 O 0.70 0.28 0.50",
    "H1 H 0.30 0.28 0.15", "H2 H 0.45 0.35 0.30", "H3 H 0.05 0.98 0.15", "H4 H 0.80 0.25 0.55",
)  # fmt: skip
"""One molecule of four in the cell of maleic acid."""

MALEIC = ("7.47", "10.10", "7.65", "90", "123.5", "90")
UNITS = "_chemical_formula_sum 'C4 H4 O4'\n_cell_formula_units_Z 4\n"
DENSITY = "_exptl_crystal_density_diffrn 1.602\n"
P21_C = "_symmetry_space_group_name_H-M 'P 21/c'\n"
LISTED = f"{IDENTITY}-x,y+1/2,-z+1/2\n-x,-y,-z\nx,-y+1/2,z+1/2\n"


def maleic_acid(said: str) -> Reading:
    return read(*MOLECULE, cell=MALEIC, said=UNITS + said)


@pytest.mark.parametrize("said", [P21_C + IDENTITY, DENSITY + P21_C + IDENTITY, DENSITY + P1])
def test_a_list_whose_operations_were_lost_is_not_taken_for_the_whole_cell(said: str) -> None:
    (doubt,) = maleic_acid(said).doubts
    assert doubt.startswith("the cell that was read holds 1 units of the formula, _cell_formula")


@pytest.mark.parametrize("said", ["", DENSITY])
def test_without_any_symmetry_a_list_is_not_taken_for_the_whole_cell(said: str) -> None:
    (doubt,) = maleic_acid(said).doubts
    assert doubt.startswith("no symmetry is given, and nothing shows")


def test_a_complete_list_of_operations_and_a_formula_of_the_whole_cell_are_believed() -> None:
    assert maleic_acid(P21_C + LISTED).doubts == ()
    assert maleic_acid(DENSITY + P21_C + LISTED).doubts == ()
    # As pymatgen writes them: the formula is that of the cell.
    whole = "_chemical_formula_sum 'Na4 Cl4'\n_cell_formula_units_Z 4\n"
    assert read(said=whole + ROCK_SALT).doubts == ()
    cell = "Na1 Na 0 0 0", "Na2 Na 0.5 0.5 0", CL, "Cl2 Cl 0 0 0.5"
    listed = "_chemical_formula_sum 'Na2 Cl2'\n_cell_formula_units_Z 2\n" + P1 + IDENTITY
    assert read(*cell, said=listed).doubts == ()
    dense = "_exptl_crystal_density_diffrn 0.4\n"
    assert read(*MOLECULE, cell=MALEIC, said=UNITS + P1 + dense).doubts == ()


def test_a_primitive_cell_has_the_name_of_the_centred_one() -> None:
    """Silicon as pymatgen writes it without refinement, but for operations that do not matter."""
    said = "_chemical_formula_sum Si2\n_cell_formula_units_Z 2\n_symmetry_Int_Tables_number 227\n"
    cell = ("3.84", "3.84", "3.84", "60", "60", "60")
    operations = f"{IDENTITY}'-x-1/4,-y-1/4,-z-1/4'\n"
    silicon = "Si1 Si 0.25 0.25 0.25"
    assert read(silicon, cell=cell, said=said + operations).doubts == ()


def test_a_density_that_is_another_is_a_doubt_though_the_number_of_units_agrees() -> None:
    said = f"{ROCK_SALT}_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4\n"
    for density in ("2.165", "2.3", "1.6", "2165"):
        assert read(said=f"{said}_exptl_crystal_density_diffrn {density}\n").doubts == ()
    bohr = ("10.658",) * 3 + CELL[3:]
    (doubt,) = read(said=f"{said}_exptl_crystal_density_diffrn 2.165\n", cell=bohr).doubts
    assert doubt.startswith("the density of what was read is 0.321 g/cm³, that of the file is 2.16")
    assert "are its lengths in Å?" in doubt


# -- symmetry -------------------------------------------------------------------------------------

NUMBERED = "_symmetry_Int_Tables_number 225\n"


@pytest.mark.parametrize(
    "said",
    [P1 + NUMBERED, P1 + NUMBERED + IDENTITY, f"{ROCK_SALT}_space_group_name_Hall 'P 1'\n"],
)
def test_two_space_groups_of_which_neither_z_nor_density_tells_one_are_a_doubt(said: str) -> None:
    formula = "_chemical_formula_sum 'Na Cl'\n"
    (doubt,) = read(said=formula + said).doubts
    assert "has 192, and neither Z nor a density tells which is meant" in doubt
    assert read(said=f"{formula}{said}_cell_formula_units_Z 1\n").doubts == ()


def test_two_lists_of_operations_are_a_doubt() -> None:
    other = "loop_\n_space_group_symop_operation_xyz\nx,y,z\nx+1/2,y+1/2,z\n"
    units = "_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 2\n"
    (doubt,) = read(said=units + IDENTITY + other).doubts
    assert "two lists of operations that differ; leave the one that is meant" in doubt


@pytest.mark.parametrize("said", ["_cell_modulation_dimension 1", "_cell_subsystems_number 2"])
def test_a_modulated_crystal_is_a_doubt(said: str) -> None:
    (doubt,) = read(said=f"{ROCK_SALT}{said}\n").doubts
    assert doubt.startswith("the crystal is modulated or composite")
    for none in ("0", "?"):
        assert read(said=f"{ROCK_SALT}{said.split()[0]} {none}\n").doubts == ()


# -- multiplicities -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag", ["symmetry_multiplicity", "site_symmetry_multiplicity", "site_symmetry_order"]
)
@pytest.mark.parametrize("values", ["4 4", "48 48", "1 1", "? 4", "1.0 1", "? ?"])
def test_multiplicities_may_count_places_or_operations_that_leave_the_atom(
    tag: str, values: str
) -> None:
    first, second = values.split()
    assert read(f"{NA} {first}", f"{CL} {second}", tags=(*SYMBOLS, tag)).doubts == ()


@pytest.mark.parametrize("said", [P1, IDENTITY, P1 + IDENTITY, "_space_group_IT_number 221\n"])
def test_multiplicities_of_another_symmetry_are_a_doubt(said: str) -> None:
    tags = (*SYMBOLS, "symmetry_multiplicity")
    (doubt,) = read(f"{NA} 4", f"{CL} 4", tags=tags, said=said).doubts
    assert "_atom_site_symmetry_multiplicity of Na1 is 4, but " in doubt
    assert "gives it 1 place in the cell; mend" in doubt


def test_multiplicities_of_both_kinds_in_one_list_are_a_doubt() -> None:
    tags = (*SYMBOLS, "symmetry_multiplicity")
    (doubt,) = read(f"{NA} 4", f"{CL} 48", tags=tags).doubts
    assert "of Cl1 is 48, but the space group 'F m -3 m' gives it 4 places" in doubt


# -- atoms ----------------------------------------------------------------------------------------


def test_columns_of_another_loop_are_joined_by_label() -> None:
    tags = ("label", "fract_x", "fract_y", "fract_z")
    more = (
        "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_occupancy\nCl1 Cl 1\nC1 Na 0.5"
    )
    reading = read("C1 0 0 0", "Cl1 .5 .5 .5", tags=tags, more=more)
    assert reading.structure.formula == "Na2 Cl4"
    assert reading.doubts == ()
    only_partial = "loop_\n_atom_site_label\n_atom_site_occupancy\nNa1 0.5"
    assert read(more=only_partial).structure.formula == "Na2 Cl4"
    same = "loop_\n_atom_site_label\n_atom_site_type_symbol\nCl1 Cl\nNa1 Na"
    assert read(more=same).doubts == ()
    vibrations = "loop_\n_atom_site_label\n_atom_site_U_iso_or_equiv\nNa9 0.01\n"
    assert read(more=vibrations).doubts == ()


@pytest.mark.parametrize(
    "rows",
    [
        "_atom_site_label\n_atom_site_occupancy\nNa1 0.5\nNa2 0.5",
        "_atom_site_label\n_atom_site_occupancy\nNa1 0.5\nNa1 0.3",
        "_atom_site_label\n_atom_site_occupancy\nNa1 0.5\nCl1",
        "_atom_site_label\n_atom_site_type_symbol\nNa1 K\nCl1 Cl",
        "_atom_site_occupancy\n0.5\n1",
    ],
)
def test_another_loop_that_does_not_fit_the_list_of_atoms_is_a_doubt(rows: str) -> None:
    (doubt,) = read(more=f"loop_\n{rows}").doubts
    assert doubt.startswith("the loop at line 18 says more of the atoms (_atom_site_")
    assert "does not fit the list at line 10; write all columns of an atom in one loop" in doubt


def test_hydrogens_that_are_counted_and_not_listed_are_a_doubt_where_no_formula_decides() -> None:
    tags = (*SYMBOLS, "attached_hydrogens")
    atoms = "Na1 Na 0 0 0 0", "O1 O 0.5 0.5 0.5 1"
    (doubt,) = read(*atoms, tags=tags).doubts
    assert "says that O1 bear hydrogens, and none was read; add the positions" in doubt
    assert read(*atoms, "H1 H 0.5 0.5 0.67 ?", tags=tags, said=P1).doubts == ()
    formula = "_chemical_formula_sum 'Na O'\n"
    assert read(*atoms, tags=tags, said=formula + ROCK_SALT).doubts == ()
    assert read(f"{NA} 0", f"{CL} ?", tags=tags).doubts == ()


GROUPS = (*SYMBOLS, "disorder_assembly", "disorder_group")


def test_alternatives_without_occupancies_are_a_doubt() -> None:
    atoms = f"{NA} . .", f"{CL} A 1", "Cl2 Cl 0.7 0.5 0.5 A 2"
    for said in (P1, f"{P1}_chemical_formula_sum 'Na Cl2'\n"):
        (doubt,) = read(*atoms, tags=GROUPS, said=said).doubts
        assert doubt.startswith("Cl1 and Cl2 are alternatives (_atom_site_disorder_group 1 and 2)")
    occupied = [f"{atom} {share}" for atom, share in zip(atoms, (1, 0.5, 0.5), strict=True)]
    assert read(*occupied, tags=(*GROUPS, "occupancy"), said=P1).doubts == ()
    for other in ("Cl2 Cl 0.7 0.5 0.5 A 1", "Cl2 Cl 0.7 0.5 0.5 B 2", "Cl2 Cl 0.7 0.5 0.5 . 0"):
        assert read(*atoms[:2], other, tags=GROUPS, said=P1).doubts == ()


def test_alternatives_that_are_said_to_be_full_are_believed_with_a_formula() -> None:
    atoms = f"{NA} . . 1", f"{CL} . 1 1", "Cl2 Cl 0.7 0.5 0.5 . 2 1.000"
    tags = (*GROUPS, "occupancy")
    assert read(*atoms, tags=tags, said=P1).doubts
    assert read(*atoms, tags=tags, said=f"{P1}_chemical_formula_sum 'Na Cl2'\n").doubts == ()


def test_one_element_twice_in_one_place_is_a_doubt_where_no_formula_decides() -> None:
    tags = (*SYMBOLS, "occupancy")
    said = "_symmetry_space_group_name_H-M 'P -1'\n"
    atoms = "Na1 Na 0.1 0.2 0.3 0.5", "Na2 Na 0.9 0.8 0.7 0.5", f"{CL} 1"
    (doubt,) = read(*atoms, tags=tags, said=said).doubts
    assert doubt.startswith("Na1 (0.5) and Na2 (0.5) are one element in one place, and no formula")
    assert read(*atoms, tags=tags, said=f"{said}_chemical_formula_sum 'Na2 Cl'\n").doubts == ()
    (doubt,) = read(*atoms, tags=tags, said=f"{said}_chemical_formula_sum 'Na Cl'\n").doubts
    assert "is not the formula" in doubt
    same = read("Na1 Na 0 0 0 0.5", "Na1 Na 0 0 0 0.5", f"{CL} 1", tags=tags, said=said)
    assert same.structure.formula == "Na0.5 Cl1"
    assert same.doubts == ()
