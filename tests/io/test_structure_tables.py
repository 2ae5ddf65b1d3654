"""``read_structures``: files and tables → a DataFrame of structures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Structure
from real_crystals import crystals

from matminer_unate import read_structures
from matminer_unate.errors import InputError, StructureError, UnateWarning

NAMED = {name: crystals()[name] for name in ("Si", "NaCl", "SrTiO3")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three CIFs."""
    path = tmp_path / "cifs"
    path.mkdir()
    for name, structure in NAMED.items():
        structure.to(filename=str(path / f"{name}.cif"))
    return path


def test_a_folder_becomes_a_column_of_structures_by_file(folder: Path) -> None:
    for paths in (folder, str(folder), [folder], iter(sorted(folder.iterdir()))):
        table = read_structures(paths)
        assert list(table) == ["structure"]
        assert [Path(name).stem for name in table.index] == sorted(NAMED)
        assert table.index.name == "id"
        for name, structure in zip(sorted(NAMED), table["structure"], strict=True):
            assert isinstance(structure, Structure)
            assert structure.composition == NAMED[name].composition


def test_a_table_keeps_its_ids_and_other_columns(tmp_path: Path, folder: Path) -> None:
    texts = [structure.to(fmt="cif") for structure in NAMED.values()]
    frame = pd.DataFrame({"id": list(NAMED), "cif": texts, "gap": [1.1, 8.5, 3.2]})
    frame.to_csv(tmp_path / "table.csv", index=False)
    table = read_structures(tmp_path / "table.csv")
    assert list(table) == ["structure", "gap"]
    assert list(table.index) == list(NAMED)
    assert list(table["gap"]) == [1.1, 8.5, 3.2]
    both = read_structures([tmp_path / "table.csv", folder / "Si.cif"])
    assert len(both) == 4
    assert both["gap"].isna().tolist() == [False] * 3 + [True]


def test_what_cannot_be_read_is_an_error_or_none(folder: Path) -> None:
    (folder / "bad.cif").write_text("data_x\n_cell_length_a 1\n")
    (folder / "empty.cif").write_text("")
    with pytest.raises(StructureError, match=r"bad.cif: no structures.*\n1 more .*on_error='nan'"):
        read_structures(folder)
    with pytest.warns(UnateWarning, match=r"^2 of 5 crystals could not be read .*bad.cif: no str"):
        table = read_structures(folder, on_error="nan")
    assert [Path(name).stem for name in table.index[table["structure"].isna()]] == ["bad", "empty"]


def test_doubtful_crystals_are_taken_if_asked_for_with_a_warning(folder: Path) -> None:
    lines = (folder / "Si.cif").read_text().splitlines()
    doubtful = [
        "_chemical_formula_sum 'Si8 H4'" if line.startswith("_chemical_formula_sum") else line
        for line in lines
    ]
    (folder / "doubtful.cif").write_text("\n".join(doubtful) + "\n")
    with pytest.raises(StructureError, match=r"doubtful\.cif: "):
        read_structures(folder)
    with pytest.warns(UnateWarning, match="1 of 4 crystals may be other crystals than is meant"):
        table = read_structures(folder, accept_doubtful=True)
    assert table["structure"].notna().all()


def test_wrong_paths_and_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read_structures(tmp_path / "nowhere")
    with pytest.raises(InputError, match="on_error must be 'raise' or 'nan', got 'drop'"):
        read_structures(tmp_path, on_error="drop")  # type: ignore[arg-type]


def test_columns_keep_their_kinds(tmp_path: Path) -> None:
    cif, path = NAMED["Si"].to(fmt="cif"), tmp_path / "rows.csv"
    rows = {"cif": [cif] * 3, "uid": ["1234567890123456789", "", "7"], "gap": ["1.5", "", "2"]}
    pd.DataFrame(rows).to_csv(path, index=False)
    table = read_structures(path)
    assert table["uid"].tolist() == [1234567890123456789, pd.NA, 7]
    assert table["gap"].dtype == float
    times = pd.DataFrame({"cif": [cif] * 2, "seen": pd.to_datetime(["2026-01-02", None])})
    times.to_parquet(tmp_path / "times.parquet")
    seen = read_structures(tmp_path / "times.parquet")["seen"]
    assert seen.iloc[0] == pd.Timestamp("2026-01-02")
    assert seen.isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([[2**60 + 1], [0.5]], "object"),
        ([[3], [0.5]], "float64"),
        ([[2**63 + 1, None]], "object"),
        ([[2**60 + 1, None]], "Int64"),
    ],
)
def test_whole_numbers_keep_all_digits(tmp_path: Path, cells: list[list[Any]], kind: str) -> None:
    for k, column in enumerate(cells):
        whole = isinstance(column[0], int) and column[0] >= 2**63
        table = {
            "cif": [NAMED["Si"].to(fmt="cif")] * len(column),
            "n": pa.array(column, pa.uint64() if whole else None),
        }
        pq.write_table(pa.table(table), tmp_path / f"{k}.parquet")
    column = read_structures([tmp_path / f"{k}.parquet" for k in range(len(cells))])["n"]
    assert str(column.dtype) == kind
    known = [cell for part in cells for cell in part if cell is not None]
    assert column.dropna().tolist() == known


def test_another_column_of_that_name_is_to_be_renamed(tmp_path: Path) -> None:
    path, poscar = tmp_path / "rows.csv", NAMED["Si"].to(fmt="poscar")
    pd.DataFrame({"poscar": [poscar] * 2, "structure": [1, 2]}).to_csv(path, index=False)
    with pytest.raises(InputError, match="has a column 'structure' that holds something else"):
        read_structures(path)


def test_a_split_table_with_rows_of_other_lengths_loses_none(tmp_path: Path) -> None:
    dicts = [structure.as_dict() for structure in NAMED.values()]
    content = {"columns": ["structure", "n"], "data": [[dicts[0], 1], [dicts[1]], None]}
    path = tmp_path / "split.json"
    path.write_text(json.dumps(content))
    with pytest.warns(UnateWarning, match="2 of 3 crystals could not be read"):
        table = read_structures(path, on_error="nan")
    assert [s is None for s in table["structure"]] == [False, True, True]
    path.write_text(json.dumps(content | {"index": ["a", "b"]}))
    with pytest.raises(InputError, match="'index' has 2 labels for 3 rows"):
        read_structures(path)
