"""Damaged and unusual CIFs: the right crystal or the reason, never another crystal."""

from __future__ import annotations

import re
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cif_damages import WAYS, Way
from places import SHARED
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from real_crystals import crystals

from matminer_unate.crystals.checks import check_crystal
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.datasets import load_semiconductors
from matminer_unate.errors import StructureError
from matminer_unate.io.parsing import from_cif
from matminer_unate.io.readers import iter_inputs

CRYSTALS = SHARED / "mp_mtcgcnn.parquet"

MATCHER = StructureMatcher(scale=False, attempt_supercell=False)


def brucite() -> Structure:
    return Structure.from_spacegroup(
        "P-3m1",
        Lattice.hexagonal(3.142, 4.766),
        ["Mg", "O", "H"],
        [[0, 0, 0], [1 / 3, 2 / 3, 0.2203], [1 / 3, 2 / 3, 0.4130]],
    )


def salmiac() -> Structure:
    return Structure.from_spacegroup(
        "P-43m",
        Lattice.cubic(3.876),
        ["N", "Cl", "H"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.153, 0.153, 0.153]],
    )


@cache
def few() -> dict[str, Structure]:
    names = ("NaCl", "Si", "SiO2 quartz", "ZnO wurtzite", "ZrO2 baddeleyite (monoclinic)")
    known = crystals()
    return {**{name: known[name] for name in names}, "Mg(OH)2": brucite(), "NH4Cl": salmiac()}


def cif(structure: Structure, symprec: float | None) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # labels that are not unique
        return str(CifWriter(structure, symprec=symprec))


@cache
def few_texts() -> list[tuple[Structure, str]]:
    return [(s, cif(s, symprec)) for s in few().values() for symprec in (None, 0.01)]


@cache
def many_texts() -> list[tuple[Structure, str]]:
    """Semiconductors, and one or two crystals of each space group of the shared table."""
    found = [(s, cif(s, None)) for s in load_semiconductors()["structure"]]
    table = pd.read_parquet(CRYSTALS)
    groups = table[table["n_sites"] <= 30].groupby("spacegroup_number")
    table = pd.concat([groups.nth(0), groups.nth(1)]).head(220)
    for n, row in enumerate(table.itertuples()):
        coords = np.array(row.frac_coords, dtype=float).reshape(-1, 3)
        lattice = np.array(row.lattice, dtype=float).reshape(3, 3)
        structure = Structure(lattice, row.species, coords)
        found.append((structure, cif(structure, 0.01 if n % 4 else None)))
    return found


def protium(structure: Structure) -> Structure:
    return Structure(structure.lattice, structure.atomic_numbers, structure.frac_coords)


def is_same(found: Structure, expected: Structure) -> bool:
    """Whether this is the same crystal, in whatever cell; hydrogen may be deuterium."""
    if not found.is_ordered:
        return False
    a, b = (protium(s).get_primitive_structure() for s in (found, expected))
    return (
        len(a) == len(b)
        and abs(a.volume / b.volume - 1) < 0.01
        and bool(MATCHER.fit(a, b, symmetric=True))
    )


def is_congruent(found: Structure, expected: Structure, moved: float) -> bool:
    """Whether each atom is where it is expected, in the same cell; quick."""
    if len(found) != len(expected) or not np.allclose(
        found.lattice.matrix, expected.lattice.matrix, rtol=1e-4, atol=1e-4
    ):
        return False
    apart = expected.lattice.get_all_distances(found.frac_coords, expected.frac_coords)
    nearest = apart.argmin(axis=1)
    numbers = np.array(expected.atomic_numbers)[nearest]
    return (
        len(set(nearest)) == len(found)
        and apart.min(axis=1).max() < moved
        and found.is_ordered
        and bool((numbers == found.atomic_numbers).all())
    )


@cache
def undamaged(text: str) -> Structure:
    return from_cif(text).structure


def outcome(path: Path, expected: Structure, text: str, moved: float) -> str:
    """The reason for a failure, or what is wrong with the crystal, or nothing."""
    for row in iter_inputs([path]):
        if row.error is not None:
            return str(row.error)
        try:
            check_crystal(*crystal_arrays(row.structure))
        except StructureError as e:
            return str(e)
        if not (
            is_congruent(row.structure, undamaged(text), moved) or is_same(row.structure, expected)
        ):
            return f"WRONG: {row.structure}"
    return ""


def check(way: Way, texts: list[tuple[Structure, str]], folder: Path) -> list[str]:
    """What went wrong."""
    faults = []
    path = folder / "a.cif"
    for structure, text in texts:
        changed = way.change(text)
        path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
        said = outcome(path, structure, text, way.moved)
        if not said and (not way.reason or way.may_be_right):
            continue
        if not way.reason or not re.search(way.reason, said):
            faults.append(f"{structure.formula}: {said or 'was read'}\n{changed!r}")
    return faults


def test_the_undamaged_cifs_are_read_rightly_and_without_a_remark() -> None:
    for structure, text in few_texts():
        reading = from_cif(text)
        assert is_same(reading.structure, structure)
        assert reading.notes == reading.doubts == ()


@pytest.mark.parametrize("name", WAYS)
def test_a_damaged_cif_gives_the_right_crystal_or_the_reason(name: str, tmp_path: Path) -> None:
    faults = check(WAYS[name], few_texts(), tmp_path)
    assert not faults, f"{len(faults)}: {faults[0]}"


@pytest.mark.slow
@pytest.mark.skipif(not CRYSTALS.is_file(), reason="needs the crystals of ../shared/data")
@pytest.mark.parametrize("name", WAYS)
def test_more_than_three_hundred_crystals_are_read_rightly_or_refused_with_the_reason(
    name: str, tmp_path: Path
) -> None:
    texts = many_texts()
    assert len(texts) > 300
    faults = check(WAYS[name], texts, tmp_path)
    assert not faults, f"{len(faults)} of {len(texts)}: {faults[0]}"
