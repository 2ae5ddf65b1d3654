"""POSCAR: what it says of its atoms agrees, or it is not read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Structure
from pymatgen.io.vasp import Poscar
from real_crystals import crystals

from matminer_unate.cif.reading import Reading
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.errors import StructureError
from matminer_unate.io.poscar import from_poscar
from matminer_unate.io.readers import iter_inputs

SALT = """NaCl
1.0
5.64 0 0
0 5.64 0
0 0 5.64
Na Cl
1 1
Direct
0.00 0.00 0.25
0.50 0.50 0.75
"""

FLAGS = "Selective dynamics\nDirect\n0.00 0.00 0.25  T T F\n0.50 0.50 0.75  F F F\n"

VELOCITIES = "  0.1E-02  0.2E-02 -0.3E-02\n" * 2

LATTICE = "Lattice velocities and vectors\n" + "  1\n" + "  0.1E+01  0.0E+00  0.0E+00\n" * 6

PREDICTOR = "1\n  0.5E+00\n  0.1E-01  0.0E+00  0.0E+00  0.0E+00\n" + VELOCITIES * 3


def read(text: str) -> Structure:
    found = from_poscar(text)
    assert isinstance(found, Structure), found
    return found


def doubt(text: str) -> str:
    found = from_poscar(text)
    assert isinstance(found, Reading)
    (only,) = found.doubts
    return only


# -- symbols, counts and coordinates --------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Na Cl\n", "Na K Cl\n", r"has 3 symbols \(Na K Cl\) and 2 counts \(1 1\); give each"),
        ("Na Cl\n", "Na\n", r"has 1 symbols \(Na\) and 2 counts \(1 1\)"),
        ("\n1 1\n", "\n1\n", r"has 2 symbols \(Na Cl\) and 1 counts \(1\)"),
        ("\n1 1\n", "\n1 1 1 ! three\n", r"has 2 symbols \(Na Cl\) and 3 counts \(1 1 1\)"),
        ("\n1 1\n", "\n1 x\n", r"the counts of the atoms, 1 x, are no whole numbers; mend"),
        ("\n1 1\n", "\n1 2\n", r"counts 3 atoms \(1 2\) and lists 2; write it again"),
        ("0.25\n", "0.25\n\n", r"counts 2 atoms \(1 1\) and lists 1; write it again, whole and"),
        ("0.75\n", "0.75\n0.3 0.2 0.6\n", r"counts 2 atoms \(1 1\) and lists 3; mend the counts"),
        ("0.75\n", "0.75\n0.3 0.2 0.6 K", r"counts 2 atoms \(1 1\) and lists 3"),
        ("0.75\n", "0.75\nDirect configuration= 2\n0 0 0\n0 0 0\n", "lists 5; mend the counts"),
    ],
)
def test_numbers_that_differ_are_an_error_with_both(old: str, new: str, message: str) -> None:
    assert SALT.count(old) == 1
    with pytest.raises(StructureError, match=message):
        from_poscar(SALT.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n", "\r\n"),
        ("NaCl\n", "\n"),
        ("Na Cl\n", "Na_pv Cl\n"),
        ("Na Cl\n", "Na_pv/f474ac0d  Cl/79d9987ad87\n"),
        ("Na Cl\n", "Na Cl ! symbols\n"),
        ("Na Cl\n", "Na Cl # two symbols\n"),
        ("\n1 1\n", "\n1 1 ! counts\n"),
        ("\n1 1\n", "\n 1   1   # counts\n"),
        ("1.0\n", "1.0 ! scale\n"),
        ("Na Cl\n1 1\n", "Na K Cl\n1 0 1\n"),
        ("Na Cl\n1 1\n", "Na\nCl\n1\n1\n"),
        ("0.75\n", "0.75"),
        ("0.75\n", "0.75\n\n \n"),
        ("0.75\n", "0.75 ! the last\n! atoms\n"),
        ("0.25\n0.50 0.50 0.75\n", "0.25 Na\n0.50 0.50 0.75 Cl\n"),
        ("0.25\n0.50 0.50 0.75\n", "0.25 Na\n0.50 0.50 0.75 Cl"),
        ("Direct\n" + SALT[-30:], FLAGS),
        ("Direct\n" + SALT[-30:], FLAGS.replace("F\n", "F Cl\n")),
        ("0.75\n", f"0.75\n\n{VELOCITIES}"),
        ("0.75\n", f"0.75\n\n{VELOCITIES}\n{PREDICTOR}"),
        ("0.75\n", f"0.75\n\n{PREDICTOR}"),
        ("0.75\n", f"0.75\nCartesian\n{VELOCITIES}"),
        ("0.75\n", f"0.75\nCartesian ion velocities\n{VELOCITIES}"),
        ("0.75\n", f"0.75\n{LATTICE}"),
        ("0.75\n", f"0.75\n{LATTICE}\n{VELOCITIES}\n{PREDICTOR}"),
        ("0.75\n", f"0.75\n{LATTICE}Cartesian\n{VELOCITIES}"),
        ("0.75\n", "0.75\n" + LATTICE.replace("  1\n", "")),
    ],
)
def test_what_vasp_and_others_write_is_read(old: str, new: str) -> None:
    assert old in SALT
    found = read(SALT.replace(old, new))
    assert [site.specie.symbol for site in found] == ["Na", "Cl"]
    np.testing.assert_allclose(found.frac_coords, [[0, 0, 0.25], [0.5, 0.5, 0.75]])


def test_symbols_may_come_again_and_go_on_in_another_line() -> None:
    symbols = ["Na", "Cl"] * 12
    lines = [" ".join(some) for some in (symbols[:20], symbols[20:], ["1"] * 20, ["1"] * 4)]
    places = "\n".join(f"{k / 24:.4f} 0.0000 0.5000" for k in range(24))
    header, _ = SALT.split("Na Cl\n")
    found = read(header + "\n".join([*lines, "Direct", places, ""]))
    assert [site.specie.symbol for site in found] == symbols
    lines[1] = lines[1].removesuffix(" Cl")
    with pytest.raises(StructureError, match=r"has 23 symbols \(Na .* …\) and 24 counts"):
        from_poscar(header + "\n".join([*lines, "Direct", places, ""]))


@pytest.mark.parametrize(
    "end",
    [
        "\n0.3 0.2 0.6\n",
        f"\n{VELOCITIES}{VELOCITIES}",
        f"\n{SALT}",
        f"Cartesian\n{VELOCITIES}0.1 0.1 0.1\n",
        "\nwhat is this\n",
    ],
)
def test_what_can_be_no_velocities_is_a_doubt(end: str, tmp_path: Path) -> None:
    assert "mend the counts, or remove what is below the atoms" in doubt(SALT + end)
    (tmp_path / "POSCAR").write_text(SALT + end)
    (refused,) = iter_inputs([tmp_path / "POSCAR"])
    assert "which are not the velocities of 2 atoms" in str(refused.error)
    (taken,) = iter_inputs([tmp_path / "POSCAR"], accept_doubtful=True)
    assert taken.structure is not None
    assert taken.doubts


# -- cut in the last number -----------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2])
def test_a_text_that_ends_in_a_shorter_number_is_a_doubt(n: int) -> None:
    cut = SALT.rstrip()[:-n]
    assert f"ends in the coordinate {cut.split()[-1]}, without a line end" in doubt(cut)
    with pytest.raises(StructureError, match=r"it may be cut; write it again, or end its last"):
        crystal_arrays(cut)
    read(cut + "\n")  # as is said there
    read(SALT.rstrip())  # a cell of a table may be stripped


def test_a_bare_point_at_the_end_is_a_doubt_beside_numbers_of_any_length() -> None:
    uneven = SALT.replace("0.00 0.00 0.25", "0 0 0.25").replace("0.50 0.50 0.75\n", "0.5 0.5 0.")
    assert "ends in the coordinate 0." in doubt(uneven)
    read(uneven.replace("0 0 0.25", "0. 0. 0.25"))


@pytest.mark.parametrize("name", crystals())
def test_files_of_pymatgen_and_ase_are_read_without_a_doubt(name: str) -> None:
    write = pytest.importorskip("ase.io").write
    structure = crystals()[name].get_sorted_structure()
    n = len(structure)
    texts = [
        Poscar(structure).get_str(),
        Poscar(structure, selective_dynamics=np.ones((n, 3), bool).tolist()).get_str(),
        Poscar(structure, velocities=np.zeros((n, 3)).tolist()).get_str(direct=False),
    ]
    for moving in (False, True):
        atoms, out = structure.to_ase_atoms(), io.StringIO()
        if moving:
            atoms.set_velocities(np.full((n, 3), 0.1))
        write(out, atoms, format="vasp")
        texts.append(out.getvalue())
    for text in texts:
        for given in (text, text.rstrip()):
            found = read(given)
            assert found.species == structure.species
            np.testing.assert_allclose(found.frac_coords, structure.frac_coords, atol=1e-9)
