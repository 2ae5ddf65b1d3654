"""Dicts and texts of other programs give the crystal, as objects, table cells and JSON files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry
from real_crystals import crystals

from matminer_unate import UnateFeaturizer
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.input_rows import InputRow
from matminer_unate.io.readers import open_inputs
from matminer_unate.io.structure_dicts import from_dict

NAMED = crystals()
THREE = [NAMED[name] for name in ("NaCl", "Si", "SrTiO3")]


def jarvis(structure: Structure, cartesian: bool = False) -> dict[str, Any]:
    coords = structure.cart_coords if cartesian else structure.frac_coords
    return {
        "lattice_mat": structure.lattice.matrix.tolist(),
        "coords": coords.tolist(),
        "elements": [element.symbol for element in structure.species],
        "abc": list(structure.lattice.abc),
        "angles": list(structure.lattice.angles),
        "cartesian": cartesian,
        "props": [""] * len(structure),
    }


def optimade(structure: Structure) -> dict[str, Any]:
    symbols = [element.symbol for element in structure.species]
    return {
        "lattice_vectors": structure.lattice.matrix.tolist(),
        "cartesian_site_positions": structure.cart_coords.tolist(),
        "species_at_sites": symbols,
        "species": [
            {"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in set(symbols)
        ],
        "dimension_types": [1, 1, 1],
        "structure_features": [],
    }


def entry(structure: Structure) -> dict[str, Any]:
    text = json.dumps(ComputedStructureEntry(structure, -3.5, entry_id="e-1").as_dict())
    return dict(json.loads(text))


DICTS: dict[str, Callable[[Structure], dict[str, Any]]] = {
    "pymatgen": lambda s: dict(json.loads(s.to_json())),
    "pymatgen entry": entry,
    "jarvis": jarvis,
    "jarvis cartesian": lambda s: jarvis(s, cartesian=True),
    "jarvis row": lambda s: {"jid": "JVASP-1", "atoms": jarvis(s)},
    "optimade": optimade,
    "optimade entry": lambda s: {"id": "x", "type": "structures", "attributes": optimade(s)},
    "summary": lambda s: {"material_id": "mp-1", "structure": s.as_dict()},
}


def read(path: Path, column: str | None = None) -> list[InputRow]:
    (source,) = open_inputs([path], column)
    return list(source.rows())


def assert_same(found: Any, expected: Structure) -> None:
    lattice, frac_coords, z = crystal_arrays(found)
    np.testing.assert_allclose(lattice, expected.lattice.matrix, atol=1e-6)
    np.testing.assert_allclose(frac_coords, expected.frac_coords, atol=1e-6)
    assert z.tolist() == list(expected.atomic_numbers)


# -- objects in Python ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", DICTS)
def test_dicts_of_other_programs_are_the_crystal(form: str) -> None:
    for structure in THREE:
        assert_same(DICTS[form](structure), structure)
        assert_same(json.dumps(DICTS[form](structure)), structure)


def test_isotopes_on_one_site_of_a_pymatgen_dict_are_all_there() -> None:
    species = [{"H": 0.3, "D": 0.7}, {"Fe2+": 0.5, "Fe3+": 0.5}, {"H": 0.2, "D": 0.3}]
    places = [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]]
    structure = Structure(Lattice.cubic(3.2), species, places)
    found = from_dict(json.loads(structure.to_json()))
    assert [site.species.num_atoms for site in found] == [1, 1, 0.5]
    assert found[1].species == structure[1].species
    assert crystal_arrays(Structure.from_sites(found[:2]))[2].tolist() == [1, 26]


def test_the_featurizer_takes_dicts_and_texts_beside_structures(tiny_weights: Path) -> None:
    featurizer = UnateFeaturizer(tiny_weights, device="cpu")
    expected = featurizer.transform([NAMED["SrTiO3"]] * 5)
    structure = NAMED["SrTiO3"]
    cell = pd.Series(
        [structure, jarvis(structure), structure.to_json(), structure.to(fmt="poscar"), "x"]
    )
    cell[4] = structure.to(fmt="cif")
    np.testing.assert_allclose(featurizer.transform(cell), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (json.loads(json.dumps(ComputedEntry("NaCl", 1).as_dict())), "use ComputedStructureEntry"),
        ({"a": 1}, "found 'a'"),
        ({}, "found nothing"),
        (jarvis(NAMED["NaCl"]) | {"elements": ["Na"]}, r"1 elements and \d coords"),
        (jarvis(NAMED["NaCl"]) | {"elements": [], "coords": []}, "0 elements"),
        (optimade(NAMED["NaCl"]) | {"structure_features": ["disorder"]}, "not all certain"),
        (optimade(NAMED["NaCl"]) | {"dimension_types": [1, 1, 0]}, "periodic along"),
        ("NaCl.cif", "Structure.from_file"),
        ("NaCl", "Structure.from_file"),
        (str(NAMED["NaCl"]), r"this is str\(structure\)"),
        ('{"a": 1', "neither JSON nor the text of a structure"),
    ],
)
def test_what_holds_no_crystal_is_refused_with_a_cure_that_works(given: Any, words: str) -> None:
    with pytest.raises(StructureError, match=words):
        crystal_arrays(given)


def test_a_doubtful_text_is_no_crystal() -> None:
    text = NAMED["NaCl"].to(fmt="cif").replace("'Na4 Cl4'", "'Na4 Cl4 O4'")
    with pytest.raises(StructureError, match=r"no O was read.*read it with Structure\.from_str"):
        crystal_arrays(text)


# -- files and tables -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", DICTS)
@pytest.mark.parametrize("layout", ["one.json", "list.json", "lines.jsonl", "a.csv", "a.parquet"])
def test_dicts_of_other_programs_are_read_from_files_and_cells(
    tmp_path: Path, form: str, layout: str
) -> None:
    contents = [DICTS[form](structure) for structure in THREE]
    path, expected = tmp_path / layout, THREE
    if layout == "one.json":
        path.write_text(json.dumps(contents[0]))
        expected = THREE[:1]
    elif layout == "list.json":
        path.write_text(json.dumps(contents))
    elif layout == "lines.jsonl":
        path.write_text("\n".join(json.dumps({"structure": c, "y": 1}) for c in contents))
    elif layout == "a.csv":
        pd.DataFrame({"mine": map(json.dumps, contents)}).to_csv(path, index=False)
    else:
        pd.DataFrame({"structure": map(json.dumps, contents)}).to_parquet(path)
    rows = read(path, "mine" if layout == "a.csv" else None)
    for row, structure in zip(rows, expected, strict=True):
        assert row.error is None
        assert_same(row.structure, structure)


def test_dicts_of_jarvis_may_be_a_struct_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"atoms": [jarvis(s) for s in THREE], "jid": ["a", "b", "c"]})
    frame.to_parquet(tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet")
    for row, structure in zip(rows, THREE, strict=True):
        assert_same(row.structure, structure)
    assert [row.identifier for row in rows] == ["a", "b", "c"]


def test_a_dump_of_entries_carries_their_energies(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([entry(s) for s in THREE]))
    (source,) = open_inputs([tmp_path / "a.json"])
    assert list(source.carried) == ["energy", "entry_id", "correction"]
    assert source.left_behind == ("composition", "energy_adjustments", "parameters", "data")
    for row, structure in zip(source.rows(), THREE, strict=True):
        assert_same(row.structure, structure)
        assert (row.identifier, row.carried["energy"]) == ("e-1", -3.5)


def test_an_answer_of_an_optimade_server_is_a_table(tmp_path: Path) -> None:
    data = [
        {"id": name, "type": "structures", "attributes": optimade(s)}
        for name, s in zip("abc", THREE, strict=True)
    ]
    (tmp_path / "a.json").write_text(json.dumps({"data": data, "meta": {}, "links": {}}))
    rows = read(tmp_path / "a.json")
    assert [row.identifier for row in rows] == ["a", "b", "c"]
    for row, structure in zip(rows, THREE, strict=True):
        assert_same(row.structure, structure)


def test_a_column_of_numbers_of_atoms_is_not_taken_for_structures(tmp_path: Path) -> None:
    arrays = {
        "atoms": [len(s) for s in THREE],
        "lattice": [s.lattice.matrix.ravel() for s in THREE],
        "frac_coords": [s.frac_coords.ravel() for s in THREE],
        "species": [list(s.atomic_numbers) for s in THREE],
    }
    pd.DataFrame(arrays).to_parquet(tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet")
    assert [row.carried for row in rows] == [{"atoms": len(s)} for s in THREE]


@pytest.mark.parametrize("text", ["cif", "poscar", "json"])
def test_texts_may_be_a_json_list_or_alone(tmp_path: Path, text: str) -> None:
    texts = [str(s.to(fmt=text)) for s in THREE]
    (tmp_path / "list.json").write_text(json.dumps(texts))
    (tmp_path / "one.json").write_text(json.dumps(texts[2]))
    rows = [*read(tmp_path / "list.json"), *read(tmp_path / "one.json")]
    for row, structure in zip(rows, [*THREE, THREE[2]], strict=True):
        assert_same(row.structure, structure)


# -- layouts of pandas ----------------------------------------------------------------------------

LAYOUTS: list[Any] = ["columns", "index", "split", "records", "table"]


def frame(column: str) -> pd.DataFrame:
    structures = [json.loads(s.to_json()) for s in THREE]
    return pd.DataFrame({"y": [1, 2, 3], column: structures}, index=["p", "q", "r"])


@pytest.mark.parametrize("orient", LAYOUTS)
@pytest.mark.parametrize("column", ["structure", "my_crystals"])
def test_each_json_layout_of_pandas_is_a_table_whatever_the_column_is_called(
    tmp_path: Path, orient: Any, column: str
) -> None:
    frame(column).to_json(tmp_path / "a.json", orient=orient)
    rows = read(tmp_path / "a.json", column if column != "structure" else None)
    for y, (row, structure) in enumerate(zip(rows, THREE, strict=True), start=1):
        assert_same(row.structure, structure)
        assert row.carried["y"] == y
    if orient in ("columns", "index", "split"):
        assert [row.identifier for row in rows] == ["p", "q", "r"]


@pytest.mark.parametrize("orient", ["columns", "split", "records", "table"])
def test_a_json_table_without_a_known_column_says_which_there_are(
    tmp_path: Path, orient: Any
) -> None:
    frame("my_crystals").to_json(tmp_path / "a.json", orient=orient)
    with pytest.raises(InputError, match=r"it has .*'y', 'my_crystals'; name one with --column"):
        read(tmp_path / "a.json")
    with pytest.raises(InputError, match="no column 'nope'"):
        read(tmp_path / "a.json", "nope")
