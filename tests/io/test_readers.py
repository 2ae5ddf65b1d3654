"""Readers: every form of input gives the same crystal, every failure keeps its row."""

from __future__ import annotations

import errno
import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

from matminer_unate.engine.identity import input_identities
from matminer_unate.errors import InputError, StructureError
from matminer_unate.io.input_rows import InputRow
from matminer_unate.io.parsing import from_arrays
from matminer_unate.io.readers import iter_inputs, open_inputs
from matminer_unate.io.tables import _kind, cast

NACL, SI, PEROVSKITE = (crystals()[name] for name in ("NaCl", "Si", "SrTiO3"))
THREE = [NACL, SI, PEROVSKITE]
DISORDERED = Structure(Lattice.cubic(3.6), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])


def cif(structure: Structure) -> str:
    return str(structure.to(fmt="cif"))


def read(*paths: Path, column: str | None = None) -> list[InputRow]:
    return list(iter_inputs(paths, column))


def assert_same(row: InputRow, expected: Structure) -> None:
    assert row.error is None, row.error
    assert row.structure is not None
    np.testing.assert_allclose(row.structure.lattice.parameters, expected.lattice.parameters, 1e-5)
    assert row.structure.species == expected.species
    shift = row.structure.frac_coords - expected.frac_coords
    np.testing.assert_allclose(shift - np.round(shift), 0, atol=1e-5)


def reason(row: InputRow) -> str:
    assert row.structure is None
    assert isinstance(row.error, StructureError)
    return str(row.error)


# -- single files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.cif", cif(PEROVSKITE)),
        ("POSCAR", PEROVSKITE.to(fmt="poscar")),
        ("CONTCAR_relaxed", PEROVSKITE.to(fmt="poscar")),
        ("a.vasp", PEROVSKITE.to(fmt="poscar")),
        ("a.json", PEROVSKITE.to_json()),
    ],
)
def test_each_file_format_gives_the_crystal_under_the_path_of_the_file(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    (row,) = read(tmp_path / name)
    assert_same(row, PEROVSKITE)
    assert row.identifier == row.place == str(tmp_path / name)


def test_gzipped_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.cif.gz").write_bytes(gzip.compress(cif(SI).encode()))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(csv_of([SI]).encode()))
    for row in read(tmp_path / "a.cif.gz", tmp_path / "b.csv.gz"):
        assert_same(row, SI)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_a_cif_may_have_any_common_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.cif").write_bytes(f"# Müller\n{cif(NACL)}".encode(encoding))
    assert_same(*read(tmp_path / "a.cif"), NACL)


def test_each_block_of_a_cif_with_atoms_is_a_row_of_its_own(tmp_path: Path) -> None:
    text = f"data_global\n_journal_name_full 'x'\n\n{cif(NACL)}\n{cif(SI)}"
    (tmp_path / "two.cif").write_text(text)
    first, second = read(tmp_path / "two.cif")
    assert_same(first, NACL)
    assert_same(second, SI)
    assert second.identifier == f"{tmp_path / 'two.cif'}#1"
    assert not first.notes


def test_a_bad_block_of_a_cif_does_not_stop_the_others(tmp_path: Path) -> None:
    bad = cif(NACL).replace("_cell_length_a", "_cell_length_x")
    (tmp_path / "two.cif").write_text(f"{bad}\n{cif(SI)}")
    first, second = read(tmp_path / "two.cif")
    assert "the cell has no _cell_length_a; add it" in reason(first)
    assert_same(second, SI)


def test_a_json_file_may_hold_a_list_of_structures(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([s.as_dict() for s in THREE]))
    rows = read(tmp_path / "a.json")
    for n, (row, expected) in enumerate(zip(rows, THREE, strict=True)):
        assert_same(row, expected)
        assert row.identifier.endswith(f"a.json#{n}")


def test_oxidation_states_and_disorder_survive_a_pymatgen_dict(tmp_path: Path) -> None:
    mixed = Structure(Lattice.cubic(3), [{"Fe2+": 0.5, "Fe3+": 0.5}, "O2-"], [[0] * 3, [0.5] * 3])
    (tmp_path / "a.json").write_text(mixed.to_json())
    (row,) = read(tmp_path / "a.json")
    assert row.structure == mixed


def test_properties_in_a_pymatgen_dict_import_nothing(tmp_path: Path) -> None:
    content = SI.as_dict()
    content["sites"][0]["properties"] = {"x": {"@module": "no_such_module", "@class": "Y"}}
    content["properties"] = {"x": {"@module": "no_such_module", "@class": "Y"}}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert_same(*read(tmp_path / "a.json"), SI)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.cif", b"", "the file is empty"),
        ("binary.cif", bytes(range(256)), "the file is binary"),
        ("text.cif", b"hello", "no structures"),
        ("cut.cif", cif(PEROVSKITE)[:-30].encode(), "the list of atoms is damaged: the loop at"),
        ("cut.cif", cif(PEROVSKITE)[:400].encode(), "it has a cell but no atoms"),
        ("odd.cif", b"\xff\xfe\x00", "damaged UTF-16"),
        ("cut.vasp", PEROVSKITE.to(fmt="poscar")[:120].encode(), "could not be read"),
        ("cut.cif.gz", gzip.compress(cif(SI).encode(), mtime=0)[:60], "could not be opened"),
        ("empty.json", b"", "the file is empty"),
        ("cut.json", SI.to_json()[:80].encode(), "no readable JSON"),
        ("none.json", b"[]", "the JSON list is empty"),
        ("other.json", b'{"a": 1}', "found 'a'"),
        ("number.json", b"3", "no pymatgen Structure dict"),
    ],
)
def test_a_damaged_file_is_a_row_that_says_why_and_the_others_are_read(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "good.cif").write_text(cif(SI))
    bad, good = read(tmp_path / name, tmp_path / "good.cif")
    assert message in reason(bad)
    assert bad.identifier == str(tmp_path / name)
    assert_same(good, SI)


def test_a_poscar_without_symbols_is_refused_rather_than_called_hydrogen(tmp_path: Path) -> None:
    lines = SI.to(fmt="poscar").replace(" Si\n", "\n").splitlines()
    (tmp_path / "POSCAR").write_text("\n".join(lines[:5] + lines[6:]))
    assert "names no elements" in reason(*read(tmp_path / "POSCAR"))


def test_an_excessive_occupancy_is_named_in_the_error(tmp_path: Path) -> None:
    lines = cif(NACL).replace("  1\n", "  1.4\n")
    (tmp_path / "a.cif").write_text(lines)
    assert reason(*read(tmp_path / "a.cif")) == (
        "the occupancy of Na0 is 1.4, which cannot be; mend it (1 is a full site)"
    )


def test_another_composition_than_the_formula_is_a_doubt(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text(cif(NACL).replace("'Na4 Cl4'", "'Na8 Cl4'"))
    (row,) = iter_inputs([tmp_path / "a.cif"], accept_doubtful=True)
    assert_same(row, NACL)
    (doubt,) = row.doubts
    assert doubt in reason(*read(tmp_path / "a.cif"))
    assert doubt.startswith("the composition that was read, Na Cl, is not the formula Na8 Cl4 of")


def test_a_disordered_cif_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text(cif(DISORDERED))
    (row,) = read(tmp_path / "a.cif")
    assert row.structure is not None
    assert not row.structure.is_ordered


# -- folders --------------------------------------------------------------------------------------


def test_a_folder_is_read_with_its_subfolders_in_the_order_of_the_names(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.cif").write_text(cif(NACL))
    (tmp_path / "a.cif").write_text("broken")
    (tmp_path / "sub" / "POSCAR").write_text(SI.to(fmt="poscar"))
    (tmp_path / "sub" / "notes.txt").write_text("x")
    (tmp_path / "._b.cif").write_bytes(b"\0")
    (source,) = open_inputs([tmp_path])
    bad, *good = source.rows()
    assert "no structures in this CIF" in reason(bad)
    assert [row.identifier for row in good] == [
        str(tmp_path / "b.cif"),
        str(tmp_path / "sub" / "POSCAR"),
    ]
    assert source.n_rows == 3
    assert source.skipped == (tmp_path / "sub" / "notes.txt",)


def test_folders_that_are_links_are_read_once_and_circles_end(tmp_path: Path) -> None:
    folder, other = tmp_path / "all", tmp_path / "other"
    (folder / "own").mkdir(parents=True)
    (other / "deep").mkdir(parents=True)
    (folder / "own" / "a.cif").write_text(cif(NACL))
    (other / "deep" / "b.cif").write_text(cif(SI))
    (other / "c.cif").write_text(cif(PEROVSKITE))
    for link, target in [
        (folder / "linked", other),
        (folder / "a_second", other),
        (folder / "a_third", folder / "own"),
        (folder / "own" / "circle", folder),
        (folder / "upwards", tmp_path),
        (other / "back", folder),
        (folder / "nowhere", tmp_path / "missing"),
        (folder / "itself", folder / "itself"),
    ]:
        link.symlink_to(target)
    rows = read(folder)
    assert [Path(row.identifier).relative_to(folder).as_posix() for row in rows] == [
        "a_second/c.cif",
        "a_second/deep/b.cif",
        "own/a.cif",
    ]
    for row, structure in zip(rows, (PEROVSKITE, SI, NACL), strict=True):
        assert_same(row, structure)
    assert len(read(folder / "linked")) == 3


def test_links_to_nothing_are_failed_rows_or_are_told_with_the_files_that_are_not_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.cif").write_text(cif(NACL))
    for name in ("b.cif", "itself.cif", "notes.txt"):
        (tmp_path / name).symlink_to(tmp_path / ("missing" if name != "itself.cif" else name))
    (source,) = open_inputs([tmp_path])
    good, *lost = source.rows()
    assert_same(good, NACL)
    assert [Path(row.identifier).name for row in lost] == ["b.cif", "itself.cif"]
    for row in lost:
        assert "the file could not be opened" in reason(row)
    assert source.skipped == (tmp_path / "notes.txt",)
    # What a run looks at to see whether its input has changed.
    assert source.files == (tmp_path / "a.cif",)
    assert input_identities([source])[0]["rows"] == 3
    (tmp_path / "a.cif").unlink()
    assert len(read(tmp_path)) == 2


def test_a_data_set_with_a_link_to_nothing_is_not_read_without_it(tmp_path: Path) -> None:
    pd.DataFrame({"cif": [cif(SI)]}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").symlink_to(tmp_path / "missing")
    with pytest.raises(InputError, match=r"b\.parquet is no readable Parquet file"):
        open_inputs([tmp_path])


def test_pipes_in_a_folder_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text(cif(NACL))
    os.mkfifo(tmp_path / "b.cif")
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_in_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, at_once: bool
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "hidden" / ".sub").mkdir(parents=True)
    (tmp_path / "a.cif").write_text(cif(NACL))
    (tmp_path / "sub" / "b.cif").write_text(cif(SI))
    scan, refused = os.scandir, ["sub", ".sub"]

    class Scan:
        """A listing that ends with an error."""

        def __init__(self, path: str) -> None:
            self.error = OSError(number, os.strerror(number), path)

        def __enter__(self) -> Scan:
            return self

        def __exit__(self, *_: object) -> None: ...

        def close(self) -> None: ...

        def __next__(self) -> Any:
            raise self.error

    def scandir(path: str) -> Any:
        if Path(path).name not in refused:
            return scan(path)
        if at_once:
            raise OSError(number, os.strerror(number), path)
        return Scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"sub: the folder could not be read .* make it readable"):
        open_inputs([tmp_path])
    # Hidden ones are not read anyway.
    refused.remove("sub")
    assert len(read(tmp_path)) == 2


def test_a_folder_without_structures_names_the_tables_in_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no structure files"):
        open_inputs([tmp_path])
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(InputError, match=r"pass its tables by name, e\.g\. .*a\.csv"):
        open_inputs([tmp_path])


# -- tables ---------------------------------------------------------------------------------------


def csv_of(structures: list[Structure], **columns: list[Any]) -> str:
    return str(pd.DataFrame({**columns, "cif": [cif(s) for s in structures]}).to_csv(index=False))


def arrays_of(structures: list[Structure]) -> dict[str, list[list[Any]]]:
    return {
        "lattice": [s.lattice.matrix.ravel().tolist() for s in structures],
        "frac_coords": [s.frac_coords.ravel().tolist() for s in structures],
        "species": [[e.Z for e in s.species] for s in structures],
    }


def without_properties(structure: Structure) -> dict[str, Any]:
    """As a dict that Parquet takes: it has no struct without entries."""
    content: dict[str, Any] = json.loads(structure.to_json())
    for part in [content, *content["sites"]]:
        del part["properties"]
    return content


def parquet_forms() -> dict[str, dict[str, Any]]:
    return {
        "cif": {"cif": [cif(s) for s in THREE]},
        "poscar": {"Structure": [s.to(fmt="poscar") for s in THREE]},
        "bytes": {"cif": [cif(s).encode() for s in THREE]},
        "json": {"structure": [s.to_json() for s in THREE]},
        "dict": {"structure": [without_properties(s) for s in THREE]},
        "arrays": arrays_of(THREE),
    }


@pytest.mark.parametrize("form", parquet_forms())
def test_a_parquet_table_may_hold_structures_in_each_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.parquet"
    table = {"material_id": ["a", "b", "a"], "y": [1.5, None, 3.0]} | parquet_forms()[form]
    pd.DataFrame(table).to_parquet(path)
    rows = read(path)
    for row, expected in zip(rows, THREE, strict=True):
        assert_same(row, expected)
    assert [row.identifier for row in rows] == ["a", "b", "a"]
    assert rows[0].carried == {"material_id": "a", "y": 1.5}
    assert rows[1].place == f"{path}, row 1 (b)"


def test_a_struct_column_with_mixed_sites_is_read_in_spite_of_its_empty_entries(
    tmp_path: Path,
) -> None:
    charged = Structure(Lattice.cubic(4.2), ["Mg2+", "O2-"], [[0] * 3, [0.5] * 3])
    dicts = [without_properties(s) for s in (charged, SI)]
    pa.parquet.write_table(pa.table({"structure": dicts}), tmp_path / "a.parquet")
    first, second = read(tmp_path / "a.parquet")
    assert first.structure == charged
    assert_same(second, SI)


def test_nested_arrays_and_symbols_are_taken_too(tmp_path: Path) -> None:
    table = {
        "lattice": [s.lattice.matrix.tolist() for s in THREE],
        "frac_coords": [s.frac_coords.tolist() for s in THREE],
        "species": [[e.symbol for e in s.species] for s in THREE],
    }
    pd.DataFrame(table).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame(table).map(json.dumps).to_csv(tmp_path / "a.csv", index=False)
    rows = read(tmp_path / "a.parquet", tmp_path / "a.csv")
    for row, expected in zip(rows, THREE * 2, strict=True):
        assert_same(row, expected)
        assert not row.carried


@pytest.mark.parametrize("orient", ["records", "split", "columns"])
def test_a_json_table_may_have_each_layout_of_pandas(tmp_path: Path, orient: Any) -> None:
    structures = [json.loads(s.to_json()) for s in THREE]
    frame = pd.DataFrame({"structure": structures, "y": [1, 2, 3]}, index=["p", "q", "r"])
    frame.to_json(tmp_path / "a.json", orient=orient)
    rows = read(tmp_path / "a.json")
    for row, expected in zip(rows, THREE, strict=True):
        assert_same(row, expected)
    assert [row.carried for row in rows] == [{"y": 1}, {"y": 2}, {"y": 3}]
    if orient != "records":
        assert [row.identifier for row in rows] == ["p", "q", "r"]


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_json_lines_are_read_and_a_bad_line_is_a_row(tmp_path: Path, suffix: str) -> None:
    lines = [json.dumps({"id": n, "structure": s.as_dict()}) for n, s in enumerate(THREE)]
    lines.insert(1, lines[1][:50])
    path = tmp_path / f"a.{suffix}"
    path.write_text("\n".join(lines))
    first, bad, *others = read(path)
    for row, expected in zip([first, *others], THREE, strict=True):
        assert_same(row, expected)
    assert [first.identifier, *(row.identifier for row in others)] == ["0", "1", "2"]
    assert "line 2 is no JSON" in reason(bad)


def test_json_may_map_names_to_structures(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"salt": NACL.as_dict(), "si": SI.as_dict()}))
    salt, si = read(tmp_path / "a.json")
    assert (salt.identifier, si.identifier) == ("salt", "si")
    assert_same(salt, NACL)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_table_keeps_rows_types_and_order(tmp_path: Path, delimiter: str) -> None:
    frame = pd.DataFrame(
        {
            "formula": ["NaN", "NA", "SrTiO3"],
            "gap": ["", "NaN", "3.2"],
            "number": ["225", "227", ""],
            "code": ["007", "008", "009"],
            "metal": ["False", "", "True"],
            "mixed": ["1", "x", ""],
            "tags": ["[1, 2]", "[3]", ""],
            "cif": [cif(s) for s in THREE],
        }
    )
    frame.to_csv(tmp_path / "a.csv", index=False, sep=delimiter)
    rows = read(tmp_path / "a.csv")
    for row, expected in zip(rows, THREE, strict=True):
        assert_same(row, expected)
    columns = {name: [row.carried[name] for row in rows] for name in rows[0].carried}
    assert columns == {
        "formula": ["NaN", "NA", "SrTiO3"],
        "gap": [None, None, 3.2],
        "number": [225, 227, None],
        "code": ["007", "008", "009"],
        "metal": [False, None, True],
        "mixed": ["1", "x", ""],
    }
    assert rows[2].identifier == f"{tmp_path / 'a.csv'}#2"


def test_the_type_of_a_csv_column_is_that_of_all_its_rows(tmp_path: Path) -> None:
    gaps = ["1"] * 20 + ["2.5"]
    (tmp_path / "a.csv").write_text(csv_of([SI] * 21, gap=gaps))
    (source,) = open_inputs([tmp_path / "a.csv"])
    assert source.carried == {"gap": pa.float64()}
    assert [row.carried["gap"] for row in source.rows()][-2:] == [1.0, 2.5]


def test_a_utf16_csv_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv_of([SI], name=["Müller"]), encoding="utf-16")
    (row,) = read(tmp_path / "a.csv")
    assert_same(row, SI)
    assert row.carried == {"name": "Müller"}


def test_an_index_written_by_pandas_names_the_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame({"cif": [cif(SI)], "y": [1]}, index=["si-1"])
    frame.to_csv(tmp_path / "a.csv")
    frame.to_parquet(tmp_path / "a.parquet")
    for row in read(tmp_path / "a.csv", tmp_path / "a.parquet"):
        assert row.identifier == "si-1"
        assert row.carried == {"y": 1}


def test_a_cif_cell_larger_than_the_csv_modules_limit_is_read(tmp_path: Path) -> None:
    text = csv_of([SI]).replace("data_Si", "#" + "x" * 200_000 + "\ndata_Si")
    (tmp_path / "a.csv").write_text(text)
    assert_same(*read(tmp_path / "a.csv"), SI)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "missing (empty cell)"),
        ("structures/a.cif", "pass them or their folder"),
        (str(SI), "this is str(structure)"),
        (str(SI.as_dict()), "json.dumps(structure.as_dict())"),
        ('{"a": 1}', "no pymatgen Structure dict"),
        ("some\ntext\n", "could not be read"),
        (f"{cif(SI)}\n{cif(NACL)}", "holds 2 structures"),
    ],
)
def test_a_bad_cell_is_a_row_that_says_why_and_the_others_are_read(
    tmp_path: Path, cell: str, message: str
) -> None:
    frame = pd.DataFrame({"id": ["x", "y"], "cif": [cell, cif(SI)]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    bad, good = read(tmp_path / "a.csv")
    assert message in reason(bad)
    assert (bad.identifier, bad.place) == ("x", f"{tmp_path / 'a.csv'}, row 0 (x)")
    assert_same(good, SI)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("lattice", "[1, 2, 3]", "lattice has 3 numbers"),
        ("lattice", "", "lattice is missing"),
        ("frac_coords", "[0. 0. 0.]", "frac_coords is no JSON list"),
        ("frac_coords", "[0, 0]", "frac_coords 2"),
        ("species", "5", "species is no list"),
        ("species", "[1.5]", "neither an atomic number nor a symbol"),
        ("species", "[0]", "could not be read"),
        ("species", '["?"]', "could not be read"),
    ],
)
def test_bad_arrays_are_rows_that_say_why(
    tmp_path: Path, column: str, value: str, message: str
) -> None:
    cells = {"lattice": "[3,0,0,0,3,0,0,0,3]", "frac_coords": "[0,0,0]", "species": "[84]"}
    frame = pd.DataFrame([cells | {column: value}, cells])
    frame.to_csv(tmp_path / "a.csv", index=False)
    bad, good = read(tmp_path / "a.csv")
    assert message in reason(bad)
    assert good.structure is not None


def test_a_csv_row_with_a_stray_comma_does_not_stop_the_others(tmp_path: Path) -> None:
    lines = csv_of([SI], y=[1]).replace("\n1,", "\n1,2,3\n1,", 1)
    (tmp_path / "a.csv").write_text(lines)
    bad, good = read(tmp_path / "a.csv")
    assert "ends in line 2 has 3 cells, the header 2" in reason(bad)
    assert_same(good, SI)


def test_the_column_of_structures_can_be_named(tmp_path: Path) -> None:
    table = {"structure": ["rocksalt"], "final": [cif(SI)], **arrays_of([NACL])}
    pd.DataFrame(table).to_parquet(tmp_path / "a.parquet")
    assert_same(*read(tmp_path / "a.parquet", column="final"), SI)
    assert_same(*read(tmp_path / "a.parquet", column="lattice"), NACL)
    assert "rocksalt" in reason(*read(tmp_path / "a.parquet"))
    with pytest.raises(InputError, match="no column 'nope'; it has 'structure', 'final'"):
        read(tmp_path / "a.parquet", column="nope")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", "a file of this name is none that can be read"),
        ("a.parquet", b"x", "is no readable Parquet file"),
        ("a.csv", b"", "has no header"),
        ("a.csv", b"a,b\n1,2\n", "has no column of structures .*; it has 'a', 'b'; name one"),
        ("a.csv", b"cif,cif\n1,2\n", "more than one column 'cif'"),
        ("a.csv", b"cif,y\n", "has no rows"),
        ("a.csv", b"cif\n\x80\x81\n", "is no UTF-8 text"),
        ("a.csv.gz", b"cif\n", "could not be read"),
        ("a.json", b'[{"a": 1}]', "has no column of structures"),
        ("a.jsonl", b"", "has no rows"),
    ],
)
def test_a_file_that_is_no_input_at_all_is_refused_with_the_cure(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_inputs([tmp_path / name])


def test_a_missing_path_is_found_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text(cif(SI))
    with pytest.raises(InputError, match="no such file or folder"):
        iter_inputs([tmp_path / "a.cif", tmp_path / "b.cif"])


def test_a_damaged_row_group_fails_row_by_row_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame({"cif": [cif(s) for s in THREE * 2], "n": range(6)})
    frame.to_parquet(path, row_group_size=2)
    offset = pa.parquet.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 56] = b"\xff" * 56
    path.write_bytes(content)
    rows = read(path)
    for n, row in enumerate(rows):
        if n in (2, 3):
            assert reason(row).startswith("row group 1 of the file is damaged")
            assert row.place == f"{path}, row {n}"
        else:
            assert_same(row, THREE[n % 3])
            assert row.carried == {"n": n}


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl", "a.json", "a.extxyz", "a.db"])
def test_ranges_of_rows_are_read_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    frame = pd.DataFrame({"cif": [cif(s) for s in THREE * 4], "n": range(12)})
    if name.endswith(("xyz", "db")):
        write = pytest.importorskip("ase.io").write
        for n, s in enumerate(THREE * 4):
            write(path, s.to_ase_atoms(), append=n > 0)
    elif name.endswith("parquet"):
        frame.to_parquet(path, row_group_size=5)
    elif name.endswith("csv"):
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=name.endswith("jsonl"))
    (source,) = open_inputs([path])
    assert source.n_rows == 12
    whole = list(source.rows())
    found = list(source.fetch([range(1, 3), range(4, 7), range(11, 12)]))
    assert [n for n, _ in found] == [1, 2, 4, 5, 6, 11]
    rows = [row for n, item in found for row in source.parse(n, item)]
    assert [row.place for row in rows] == [whole[n].place for n, _ in found]
    assert list(source.fetch([])) == []


def test_a_folder_of_parquet_files_is_a_data_set_with_the_values_of_its_folders(
    tmp_path: Path,
) -> None:
    for n, (year, kind) in enumerate([(2019, "a b"), (2020, "__HIVE_DEFAULT_PARTITION__")]):
        part = tmp_path / f"year={year}" / f"kind={kind.replace(' ', '%20')}"
        part.mkdir(parents=True)
        pd.DataFrame({"cif": [cif(THREE[n])], "n": [n]}).to_parquet(part / "part-0.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / "0.json").write_text("{}")
    rows = read(tmp_path)
    assert [row.carried for row in rows] == [
        {"n": 0, "year": 2019, "kind": "a b"},
        {"n": 1, "year": 2020, "kind": None},
    ]
    for row, expected in zip(rows, THREE, strict=False):
        assert_same(row, expected)


def test_a_pattern_stands_for_the_files_that_fit_it(tmp_path: Path) -> None:
    for name, structure in zip("abc", THREE, strict=True):
        (tmp_path / f"{name}.cif").write_text(cif(structure))
    rows = read(tmp_path / "[ac].cif")
    assert [Path(row.place).name for row in rows] == ["a.cif", "c.cif"]
    with pytest.raises(InputError, match="nothing is so named"):
        read(tmp_path / "*.vasp")


def test_parquet_types_are_kept_and_lists_stay_behind(tmp_path: Path) -> None:
    table = pa.table(
        {
            "cif": [cif(SI)],
            "f": pa.array([1.5], pa.float32()),
            "i": pa.array([None], pa.int16()),
            "when": pa.array([0], pa.timestamp("ms")),
            "class": pa.array(["x"]).dictionary_encode(),
            "nothing": pa.nulls(1),
            "tags": [[1, 2]],
        }
    )
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    (source,) = open_inputs([tmp_path / "a.parquet"])
    assert {name: str(kind) for name, kind in source.carried.items()} == {
        "f": "float",
        "i": "int16",
        "when": "timestamp[ms]",
        "class": "string",
        "nothing": "null",
    }
    (row,) = source.rows()
    assert (row.carried["f"], row.carried["i"], row.carried["class"]) == (1.5, None, "x")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        ("", "null"),
        (float("nan"), "nan"),
        ("N/A", "nan"),
        ("true", "bool"),
        (True, "bool"),
        ("-12", "int"),
        (2**70, "text"),
        ("1e-3", "float"),
        (".5", "float"),
        ("-inf", "float"),
        ("1_000", "text"),
        ("0012", "text"),
        ("mp-1", "text"),
        ('{"a": 1}', "nested"),
        ([1], "nested"),
    ],
)
def test_cells_are_told_apart_by_their_looks(value: Any, kind: str) -> None:
    assert _kind(value) == kind


def test_cells_that_disagree_become_text() -> None:
    assert cast(1, pa.string()) == "1"
    assert cast([1], pa.string()) == "[1]"
    assert cast(float("nan"), pa.int64()) is None


def test_plain_arrays_are_read_as_lists_and_as_numpy_has_them() -> None:
    salt = crystals()["NaCl"]
    numbers = np.array(salt.atomic_numbers)
    for cell, coords in (
        (salt.lattice.matrix, salt.frac_coords),
        (salt.lattice.matrix.ravel(), salt.frac_coords.ravel()),
        (salt.lattice.matrix.tolist(), salt.frac_coords.tolist()),
    ):
        assert from_arrays(cell, coords, numbers) == salt
    for shaped in (salt.frac_coords.T, salt.frac_coords.T.tolist(), salt.frac_coords.T.copy()):
        with pytest.raises(
            StructureError, match=r"shape \(3, 8\), \(8, 3\) expected; transpose it"
        ):
            from_arrays(salt.lattice.matrix, shaped, numbers)
    with pytest.raises(StructureError, match=r"frac_coords has the shape \(8, 3, 1\), \(8, 3\)"):
        from_arrays(salt.lattice.matrix, salt.frac_coords[:, :, None], numbers)
    with pytest.raises(StructureError, match=r"lattice has the shape \(1, 9\), \(3, 3\) expected"):
        from_arrays([salt.lattice.matrix.ravel()], salt.frac_coords, numbers)
    with pytest.raises(StructureError, match="lattice has 8 numbers"):
        from_arrays(salt.lattice.matrix.ravel()[:8], salt.frac_coords, numbers)
