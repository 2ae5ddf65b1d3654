"""Files, tables and databases → crystals, filtered and deduplicated."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matminer.utils.io import load_dataframe_from_json
from places import RECORDED, SHARED
from pymatgen.core import Lattice, Structure
from real_crystals import crystals
from small_corpora import as_crystal, prototypes, write_parquet

import sources
from corpora.crystal import Crystal
from corpora.duplicates import deduplicate
from corpora.formulas import formula_part, read_formulas
from corpora.reading import read_with_report
from matminer_unate.crystals import checks
from matminer_unate.errors import InputError, UnateWarning
from matminer_unate.io import databases
from matminer_unate.io.databases import fetch_json, open_optimade, optimade_url, parse_query

"""Responses of the databases, trimmed: their layout, with crystals of the Materials Project (CC BY
4.0), JARVIS-DFT (public domain) and textbooks."""

real = lru_cache(maxsize=1)(crystals)

needs_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the real data sets are not at {SHARED}"
)


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text())


def found(source: str) -> dict[str, tuple[str, int, int]]:
    """Identifier → formula, number of sites and space group."""
    read = read_with_report([source], 1000, None)[0]
    return {c.identifier: (c.formula, len(c.atomic_numbers), c.spacegroup_number) for c in read}


# -- tables and folders --------------------------------------------------------------------------


def test_a_table_gives_back_the_crystals_it_was_written_from(tmp_path: Path) -> None:
    written = [as_crystal(s, f"id-{k}", k + 1) for k, s in enumerate(prototypes()[:6])]
    read = read_with_report([write_parquet(tmp_path / "a.parquet", written)], 100, None)[0]
    assert len(read) == 6
    for before, after in zip(written, read, strict=True):
        np.testing.assert_array_equal(after.lattice, before.lattice)
        np.testing.assert_array_equal(after.frac_coords, before.frac_coords)
        np.testing.assert_array_equal(after.atomic_numbers, before.atomic_numbers)
        assert (after.formula, after.identifier) == (before.formula, before.identifier)
        assert after.spacegroup_number == before.spacegroup_number


def test_what_a_table_of_arrays_does_not_say_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    some = [real()["NaCl"], real()["SiO2 quartz"]]
    write_parquet(path, [as_crystal(s) for s in some])
    table = pd.read_parquet(path)
    table[["lattice", "frac_coords", "species"]].to_parquet(path)
    expected = {f"{path}#0": ("NaCl", 8, 225), f"{path}#1": ("SiO2", 9, 154)}
    assert found(str(path)) == expected
    table["material_id"] = [None, "quartz"]
    table["spacegroup_number"] = [225, None]
    table.to_parquet(path)
    assert found(str(path)) == {f"{path}#0": ("NaCl", 8, 225), "quartz": ("SiO2", 9, 154)}


def as_cif(structure: Structure) -> str:
    return str(structure.to(fmt="cif"))


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("column", "write"),
    [("structure", lambda s: json.dumps(s.as_dict())), ("cif", as_cif)],
)
def test_tables_may_hold_structures_as_text(
    tmp_path: Path, suffix: str, column: str, write: Callable[[Structure], str]
) -> None:
    some = [real()["NaCl"], real()["SrTiO3"]]
    table = pd.DataFrame({column: [write(s) for s in some], "material_id": ["a", "b"]})
    path = tmp_path / f"a.{suffix}"
    table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
    assert found(str(path)) == {"a": ("NaCl", 8, 225), "b": ("SrTiO3", 5, 221)}


def test_species_as_symbols_are_read_too(tmp_path: Path) -> None:
    salt = real()["NaCl"]
    row = {
        "lattice": salt.lattice.matrix.ravel(),
        "frac_coords": salt.frac_coords.ravel(),
        "species": [site.specie.symbol for site in salt],
    }
    pd.DataFrame([row]).to_parquet(tmp_path / "a.parquet")
    assert list(found(str(tmp_path / "a.parquet")).values()) == [("NaCl", 8, 225)]


def test_row_numbers_of_two_tables_are_not_one_identifier(tmp_path: Path) -> None:
    first, second = real()["NaCl"], real()["Si"]
    paths = [
        write_parquet(tmp_path / "a.parquet", [as_crystal(first, "0")]),
        write_parquet(tmp_path / "b.parquet", [as_crystal(second, "0")]),
    ]
    assert [c.formula for c in read_with_report(paths, 100, None)[0]] == ["NaCl", "Si"]


def test_a_folder_gives_cif_and_poscar_files_of_all_depths(tmp_path: Path) -> None:
    some = real()
    (tmp_path / "deeper").mkdir()
    some["NaCl"].to(tmp_path / "salt.cif", fmt="cif")
    some["Si"].to(tmp_path / "deeper" / "POSCAR", fmt="poscar")
    some["SrTiO3"].to(tmp_path / "deeper" / "perovskite.vasp", fmt="poscar")
    (tmp_path / "notes.txt").write_text("no crystal")
    (tmp_path / "POSCARs").mkdir()  # a folder whose name looks like a file's
    read = {c.formula: c for c in read_with_report([str(tmp_path)], 100, None)[0]}
    assert sorted(read) == ["NaCl", "Si", "SrTiO3"]
    assert {f: c.spacegroup_number for f, c in read.items()} == {
        "NaCl": 225,
        "Si": 227,
        "SrTiO3": 221,
    }
    assert read["NaCl"].volume == pytest.approx(5.64**3, rel=1e-6)
    assert read["Si"].identifier.endswith("deeper/POSCAR")


def test_the_command_writes_a_table_of_what_it_read(tmp_path: Path) -> None:
    (tmp_path / "cifs").mkdir()
    for name in ("NaCl", "Si", "SiO2 quartz"):
        real()[name].to(tmp_path / "cifs" / f"{name}.cif", fmt="cif")
    (tmp_path / "not.txt").write_text("Si\n")
    out = str(tmp_path / "a.parquet")
    options = ["--out", out, "--exclude-formulas", str(tmp_path / "not.txt")]
    sources.main(["--data", str(tmp_path / "cifs"), *options])
    direct = read_with_report([str(tmp_path / "cifs")], 100, None)[0]
    read = read_with_report([out], 100, None)[0]
    assert [c.formula for c in read] == ["NaCl", "SiO2"]
    for crystal, before in zip(read, [c for c in direct if c.formula != "Si"], strict=True):
        assert crystal.identifier == before.identifier
        assert crystal.spacegroup_number == before.spacegroup_number
        np.testing.assert_array_equal(crystal.frac_coords, before.frac_coords)


# -- entries that cannot be used -----------------------------------------------------------------


def fill_with_mistakes(folder: Path) -> None:
    """One good file and one of each mistake."""
    real()["NaCl"].to(folder / "good.cif", fmt="cif")
    disordered = Structure(Lattice.cubic(3.8), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    disordered.to(folder / "alloy.cif", fmt="cif")
    twice = Structure(Lattice.cubic(3.0), ["Fe", "Fe"], [[0, 0, 0], [0.999, 0, 0]])
    twice.to(folder / "twice.vasp", fmt="poscar")
    (folder / "torn.cif").write_text("data_x\n_cell_length_a 3\n")
    (folder / "empty.json").write_text(json.dumps(Structure(Lattice.cubic(3), [], []).as_dict()))


def test_files_that_cannot_be_used_are_named_and_left_out(tmp_path: Path) -> None:
    fill_with_mistakes(tmp_path)
    with pytest.warns(UnateWarning, match="4 of 5 crystals cannot be used") as warned:
        read, report = read_with_report([str(tmp_path)], 100, None)
    text = next(str(w.message) for w in warned if w.category is UnateWarning)
    reasons = {
        "alloy.cif": "disordered",
        "twice.vasp": "0.003 Å apart, closer than 0.5",
        "torn.cif": "a cell but no atoms",
        "empty.json": "no sites",
    }
    for name, reason in reasons.items():
        assert reason in next(p for p in report.problems if name in p)
        assert name in text
    assert [c.formula for c in read] == ["NaCl"]
    assert (report.read, report.unusable, report.kept) == (5, 4, 1)


def test_the_warning_names_a_few_and_counts_the_others(tmp_path: Path) -> None:
    good = as_crystal(real()["NaCl"], "good")
    bad = [replace(good, identifier=f"bad-{k}", lattice=good.lattice * 0) for k in range(9)]
    source = write_parquet(tmp_path / "a.parquet", [*bad, good])
    with pytest.warns(UnateWarning, match=r"row 0 \(bad-0\): .*bad-4.*; and 4 more$") as warned:
        read_with_report([source], 100, None)[0]
    assert "bad-5" not in str(warned[0].message)


def test_doubtful_crystals_are_taken_on_request_only(tmp_path: Path) -> None:
    text = real()["NaCl"].to(fmt="cif")
    (tmp_path / "cifs").mkdir()
    (tmp_path / "cifs" / "good.cif").write_text(real()["Si"].to(fmt="cif"))
    torn = text.replace("_chemical_formula_sum   'Na4 Cl4'", "_chemical_formula_sum   'Na8 Cl4'")
    (tmp_path / "cifs" / "torn.cif").write_text(torn)
    data, out = str(tmp_path / "cifs"), str(tmp_path / "a.parquet")
    with pytest.warns(UnateWarning, match=r"torn\.cif.*is not the formula.*--accept-doubtful"):
        sources.main(["--data", data, "--out", out])
    sources.main(["--data", data, "--out", out, "--accept-doubtful"])
    assert [c.formula for c in read_with_report([out], 100, None)[0]] == ["Si", "NaCl"]


def test_a_source_of_nothing_else_is_an_error(tmp_path: Path) -> None:
    fill_with_mistakes(tmp_path)
    (tmp_path / "good.cif").unlink()
    good = write_parquet(tmp_path / "a.parquet", [as_crystal(real()["Si"])])
    with pytest.raises(ValueError, match=r"none of the 4 crystals of .*alloy\.cif.*disordered"):
        read_with_report([good, str(tmp_path)], 100, None)[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lattice": [5.0] * 8}, "do not fit"),
        ({"frac_coords": [0.0] * 5}, "do not fit"),
        ({"species": [11, 0]}, "no atomic number"),
        ({"species": [11, 119]}, "no atomic number"),
        ({"lattice": None}, "do not fit"),
        ({"lattice": [0.5, 0, 0, 0, 0.5, 0, 0, 0, 0.5]}, "denser than any crystal"),
        ({"frac_coords": [0, 0, 0, np.nan, 0, 0]}, "site 1 has non-finite coordinates"),
        ({"frac_coords": [0, 0, 0.01, 1, 1, -0.002]}, "sites 0 and 1 are 0.0492 Å apart, closer"),
        ({"species": [], "frac_coords": []}, "no sites"),
    ],
)
def test_rows_of_arrays_that_are_no_crystals_are_found(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    row = {
        "lattice": (np.eye(3) * 4.1).ravel().tolist(),
        "frac_coords": [0.0, 0, 0, 0.5, 0.5, 0.5],
        "species": [55, 17],
    }
    pd.DataFrame([row, row | changes]).to_parquet(tmp_path / "a.parquet")
    with pytest.warns(UnateWarning, match=rf"1 of 2 .*a\.parquet, row 1 .*{reason}"):
        assert len(read_with_report([str(tmp_path / "a.parquet")], 100, None)[0]) == 1


def test_coinciding_atoms_are_found_in_blocks_too(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(checks, "MAX_PAIRS", 20)
    spinel = as_crystal(real()["MgAl2O4 spinel"])
    checks.check_crystal(spinel.lattice, spinel.frac_coords, spinel.atomic_numbers)
    moved = spinel.frac_coords.copy()
    moved[-2] = moved[7] + [1, 0, 0.001]
    with pytest.raises(ValueError, match=r"sites 7 and 54 are 0\.008\d+ Å apart, closer"):
        checks.check_crystal(spinel.lattice, moved, spinel.atomic_numbers)


# -- filters -------------------------------------------------------------------------------------


def test_only_the_formulas_of_the_part_are_read(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "a.parquet", [as_crystal(s) for s in prototypes()])
    parts = {
        p: {c.formula for c in read_with_report([source], 100, p)[0]} for p in ("train", "val")
    }
    everything = {c.formula for c in read_with_report([source], 100, None)[0]}
    for part, formulas in parts.items():
        assert formulas == {f for f in everything if formula_part(f) == part}
    assert 0.6 < len(parts["train"]) / len(everything) < 0.95


def test_crystals_of_too_many_sites_are_left_out(tmp_path: Path) -> None:
    written = [as_crystal(s) for s in prototypes()]
    source = write_parquet(tmp_path / "a.parquet", written)
    read = read_with_report([source], 4, None)[0]
    assert len(read) == sum(len(c.atomic_numbers) <= 4 for c in written)


def test_a_limit_takes_the_same_random_choice_every_time(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "a.parquet", [as_crystal(s) for s in prototypes()])
    first, again = (read_with_report([source], 100, None, limit=10)[0] for _ in range(2))
    assert [c.formula for c in first] == [c.formula for c in again]
    everything = [c.formula for c in read_with_report([source], 100, None)[0]]
    assert len(first) == 10
    assert [c.formula for c in first] != everything[:10]


def test_nothing_left_is_an_error_that_names_the_filter(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "a.parquet", [as_crystal(prototypes()[0])])
    with pytest.raises(ValueError, match=r"no crystals of part None with up to 0 sites in .*a\.pa"):
        read_with_report([source], 0, None)[0]


@pytest.mark.parametrize("suffix", ["txt", "csv", "tsv", "parquet"])
def test_formulas_of_a_file_are_excluded_however_they_are_written(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"known.{suffix}"
    formulas = ["Si2O4", "ClNa", "NaN", "D2O"]
    if suffix == "txt":
        path.write_text("\n".join(formulas) + "\n\n")
    elif suffix == "parquet":
        pd.DataFrame({"formula": formulas}).to_parquet(path)
    else:
        comma = "," if suffix == "csv" else "\t"
        rows = [f"{k}{comma}{formula}" for k, formula in enumerate(formulas)]
        path.write_text("\n".join([f"id{comma}formula_reduced", *rows]))
    assert read_formulas(str(path)) == {"SiO2", "NaCl", "NaN", "H2O"}
    source = write_parquet(tmp_path / "a.parquet", [as_crystal(s) for s in real().values()])
    read, report = read_with_report([source], 100, None, exclude_formulas=str(path))
    assert report.excluded == 2
    left = {"NaCl", "SiO2"} ^ {s.composition.reduced_formula for s in real().values()}
    assert {c.formula for c in read} == left


def test_formulas_of_fractions_are_those_of_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Li0.5CoO2\nFe0.9O\nMg2O2\n")
    assert read_formulas(str(path)) == {"Li(CoO2)2", "Fe9O10", "MgO"}


def test_a_file_without_formulas_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("SiO2\nbread\n")
    with pytest.raises(InputError, match=r"a\.txt, row 1: 'bread' is no formula"):
        read_formulas(str(tmp_path / "a.txt"))
    (tmp_path / "a.csv").write_text("id,name\n1,SiO2\n")
    with pytest.raises(InputError, match=r"a\.csv has no column 'formula_reduced'.* id, name"):
        read_formulas(str(tmp_path / "a.csv"))
    with pytest.raises(InputError, match=r"missing\.csv"):
        read_formulas(str(tmp_path / "missing.csv"))


def test_the_report_says_what_was_left_out_and_why(tmp_path: Path) -> None:
    salt, quartz = as_crystal(real()["NaCl"], "salt"), as_crystal(real()["SiO2 quartz"], "quartz")
    spinel, rutile = as_crystal(real()["MgAl2O4 spinel"]), as_crystal(real()["TiO2 rutile"])
    other = next(c for c in map(as_crystal, prototypes()) if formula_part(c.formula) != "train")
    same_part = [c for c in map(as_crystal, prototypes()) if formula_part(c.formula) == "train"]
    broken = replace(salt, identifier="broken", lattice=salt.lattice * 0)
    given = [salt, salt, quartz, spinel, rutile, other, broken, *same_part[:3]]
    assert {formula_part(c.formula) for c in (salt, quartz, rutile)} == {"train"}
    (tmp_path / "not.txt").write_text("TiO2")
    source = write_parquet(tmp_path / "a.parquet", given)
    with pytest.warns(UnateWarning, match="1 of 10"):
        read, report = read_with_report([source], 20, "train", 4, str(tmp_path / "not.txt"))
    assert str(report) == (
        "4 of 10 crystals (not: 1 with too many sites, 1 of other parts, 1 of excluded formulas, "
        "1 unusable, 1 duplicates, 1 beyond the limit)"
    )
    assert len(read) == report.kept == 4


# -- duplicates ----------------------------------------------------------------------------------


def rock_salt(identifier: str, volume: float, spacegroup: int = 225) -> Crystal:
    """Primitive NaCl of a given volume, Å³."""
    structure = real()["NaCl"].get_primitive_structure()
    structure.scale_lattice(volume)
    return as_crystal(structure, identifier, spacegroup)


def test_duplicates_share_an_identifier_or_formula_space_group_and_volume() -> None:
    first = rock_salt("a", 45.0)
    conventional = as_crystal(real()["NaCl"].copy().scale_lattice(4 * 45.2), "b", 225)
    given = [
        first,
        conventional,  # another cell, 0.4 % larger: the same crystal
        rock_salt("c", 45.6),  # 1.3 % above the first, 0.9 % above the second: chained
        rock_salt("d", 47.0),  # 3 % above the last of the chain
        rock_salt("e", 45.0, spacegroup=221),
        replace(rock_salt("f", 45.0), atomic_numbers=np.array([19, 17])),
        rock_salt("d", 80.0),  # an identifier seen before
    ]
    assert [c.identifier for c in deduplicate(given)] == ["a", "d", "e", "f"]
    assert deduplicate(given)[0] is first


def test_the_groups_of_duplicates_do_not_depend_on_the_order() -> None:
    """Identifier and volume interlock: the first two are one crystal only by the others."""
    given = [rock_salt(*x) for x in [("a", 40.0), ("b", 60.0), ("a", 80.0), ("c", 60.2)]]
    given += [rock_salt("b", 80.3), rock_salt("d", 100.0)]
    for order in itertools.permutations(given):
        kept = deduplicate(order)
        assert len(kept) == 2
        assert kept[0] is order[0]


def test_crystals_of_unknown_identifier_are_no_duplicates_of_each_other() -> None:
    given = [replace(rock_salt("", v), identifier=None) for v in (45.0, 60.0)]  # type: ignore[arg-type]
    assert len(deduplicate(given)) == 2


@needs_data
def test_the_part_of_a_formula_is_the_split_of_the_real_data() -> None:
    columns = ["formula_reduced", "formula_split"]
    for name in ("mp_piezoelectric", "mp_extra", "mp_elasticity"):
        table = pd.read_parquet(SHARED / f"{name}.parquet", columns=columns)
        parts = table["formula_reduced"].map(formula_part)
        assert (parts == table["formula_split"]).all()


@pytest.mark.slow
@needs_data
def test_the_deduplicated_real_data_are_the_groups_of_its_index() -> None:
    index = pd.read_parquet(SHARED / "dedup_index.parquet")
    files = sorted(index["file"].unique())
    read, report = read_with_report([str(SHARED / f"{f}.parquet") for f in files], 1000, None)
    assert (report.read, report.unusable) == (97_102, 0)
    # The index joined 65 pairs more, by a Materials Project id that JARVIS gives beside its own and
    # that its table does not hold.
    assert len(read) == index["group_id"].nunique() + 65


# -- databases -----------------------------------------------------------------------------------


def use_client(monkeypatch: pytest.MonkeyPatch, expected: str, client: object) -> None:
    """Put a stand-in in the place of an imported client."""

    def load(module: str, extra: str = "") -> object:
        assert module == expected
        return client

    monkeypatch.setattr(databases, "_client", load)


def test_data_sets_of_matminer_are_read_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    table = load_dataframe_from_json(RECORDED / "matminer_data_set.json")
    given = {"dielectric_constant": table, "nameless": table.drop(columns="material_id")}
    given["bare"] = table.drop(columns="structure")
    client = SimpleNamespace(load_dataset=lambda name, pbar: given[name])
    use_client(monkeypatch, "matminer.datasets", client)
    assert found("matminer:dielectric_constant") == {
        "mp-1001789": ("IrC", 2, 216),
        "mp-1009820": ("SnC", 2, 216),
    }
    assert list(found("matminer:nameless")) == ["matminer:nameless#0", "matminer:nameless#1"]
    with pytest.raises(InputError, match=r"matminer:bare has no column 'structure'.*gap pbe"):
        found("matminer:bare")


def test_data_sets_of_jarvis_are_read_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"dft_3d": recorded("jarvis_dft_3d.json")}
    use_client(monkeypatch, "jarvis.db.figshare", SimpleNamespace(data=entries.__getitem__))
    expected = {"JVASP-100368": ("NaO2", 3, 166), "JVASP-102684": ("Sm2O", 3, 123)}
    assert found("jarvis:dft_3d") == expected
    atoms = entries["dft_3d"][0]["atoms"]
    atoms["coords"] = (np.array(atoms["coords"]) @ atoms["lattice_mat"]).tolist()
    atoms["cartesian"] = True
    assert found("jarvis:dft_3d") == expected


class Summary:
    """What is used of mp_api: a search over the recorded documents that notes its arguments."""

    def __init__(self) -> None:
        self.documents = recorded("materials_project_summary.json")["data"]
        self.calls: list[dict[str, Any]] = []

    def search(self, **arguments: Any) -> list[dict[str, Any]]:
        self.calls.append(arguments)
        assert arguments["all_fields"] is False
        asked = arguments.get("material_ids")
        return [
            {field: document[field] for field in arguments["fields"] if field in document}
            for document in self.documents
            if asked is None or document["material_id"] in asked
        ]

    def rester(self, key: str, use_document_model: bool, mute_progress_bars: bool) -> Summary:
        assert key == "secret"
        assert not use_document_model
        self.materials = SimpleNamespace(summary=self)
        return self

    def __enter__(self) -> Summary:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_the_materials_project_is_asked_for_identifiers_and_then_for_structures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MP_API_KEY", "secret")
    monkeypatch.setattr(databases, "MP_BATCH", 2)
    summary = Summary()
    use_client(monkeypatch, "mp_api.client", SimpleNamespace(MPRester=summary.rester))
    assert found("mp:is_stable=true,num_sites=1:40") == {
        "mp-149": ("Si", 2, 227),
        "mp-22862": ("NaCl", 2, 225),
        "mp-2534": ("GaAs", 2, 216),
    }
    first, *others = summary.calls
    assert (first["is_stable"], first["num_sites"], first["deprecated"]) == (True, (1, 40), False)
    assert first["fields"] == ["material_id", "last_updated"]
    assert [c["material_ids"] for c in others] == [["mp-149", "mp-22862"], ["mp-2534"]]


def test_the_materials_project_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MP_API_KEY", raising=False)
    with pytest.raises(InputError, match="MP_API_KEY"):
        found("mp:all")


def test_a_query_becomes_arguments_of_a_search() -> None:
    assert parse_query("all") == {}
    query = "is_stable=true,theoretical=false,band_gap=0.5:3,num_elements=2,elements=Li|O"
    assert parse_query(f"{query}, formula=NaN,chemsys=Li-O,spacegroup_number=225|227") == {
        "is_stable": True,
        "theoretical": False,
        "band_gap": (0.5, 3),
        "num_elements": 2,
        "elements": ["Li", "O"],
        "formula": "NaN",
        "chemsys": "Li-O",
        "spacegroup_number": [225, 227],
    }
    for wrong in ("", "stable", "is_stable=", "band_gap=0:", "band_gap=1:2:3", "band_gap=a:b"):
        with pytest.raises(InputError, match="is not key=value"):
            parse_query(wrong)


@pytest.mark.parametrize("name", ["a.db", "a.extxyz"])
def test_files_of_ase_are_read(tmp_path: Path, name: str) -> None:
    ase_build = pytest.importorskip("ase.build")
    path = str(tmp_path / name)
    some = [ase_build.bulk("NaCl", "rocksalt", a=5.64), ase_build.bulk("Fe", "bcc", a=2.87)]
    some.append(ase_build.molecule("H2O"))
    if name.endswith(".db"):
        from ase.db import connect

        with connect(path) as database:
            for atoms in some:
                database.write(atoms)
        places = [f"{path}#{k}" for k in (1, 2, 3)]
    else:
        from ase.io import write

        write(path, some)
        places = [f"{path}#{k}" for k in (0, 1, 2)]
    with pytest.warns(UnateWarning, match="1 of 3 crystals .*periodic"):
        read = found(path)
    assert read == {places[0]: ("NaCl", 2, 225), places[1]: ("Fe", 1, 229)}


@pytest.mark.parametrize("name", ["a.db", "a.extxyz"])
def test_a_damaged_file_of_ase_is_named(tmp_path: Path, name: str) -> None:
    pytest.importorskip("ase")
    with pytest.raises(InputError, match=r"no such file"):
        found(str(tmp_path / name))
    (tmp_path / name).write_text("something else")
    with pytest.raises(InputError, match=rf"{name} is damaged or not of this format"):
        found(str(tmp_path / name))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("jarvis:dft_3d", r'jarvis .*pip install "matminer_unate\[jarvis\]"'),
        ("mp:all", r'mp_api .*pip install "matminer_unate\[mp\]"'),
        ("a.extxyz", r'ase .*pip install "matminer_unate\[ase\]"'),
    ],
)
def test_a_client_that_is_not_installed_is_named_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, words: str
) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}")

    monkeypatch.setenv("MP_API_KEY", "secret")
    monkeypatch.chdir(tmp_path)
    Path("a.extxyz").touch()
    monkeypatch.setattr(databases.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=words):
        found(source)


# -- OPTIMADE ------------------------------------------------------------------------------------

BASE = "optimade.example.org/db"


def fetch_recorded(url: str) -> dict[str, Any]:
    """Page 1, whose next link has an offset, and page 2."""
    return dict(recorded(f"optimade_page_{2 if 'page_offset' in url else 1}.json"))


def test_ordered_crystals_of_an_optimade_provider_are_read_page_by_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(databases, "fetch_json", fetch_recorded)
    with pytest.warns(UnateWarning, match="4 of 7 crystals"):
        read, report = read_with_report([f"optimade:https://{BASE}?filter=nsites<=6"], 100, None)
    assert {c.identifier: (c.formula, c.spacegroup_number) for c in read} == {
        f"{BASE}/exmpl-1": ("NaCl", 225),
        f"{BASE}/exmpl-2": ("TiO2", 136),  # its species are named Ti1 and O1
        f"{BASE}/exmpl-6": ("Si", 227),
    }
    reasons = ["(disorder)", "Si 0.9, vacancy 0.1", "position is unknown", "periodic along"]
    for problem, reason in zip(report.problems, reasons, strict=True):
        assert reason in problem
    silicon = next(c for c in read if c.formula == "Si")
    assert silicon.volume == pytest.approx(5.431**3 / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (f"https://{BASE}?filter=nsites<=6", "/db/v1/structures"),
        (f"https://{BASE}/v1/?filter=nsites<=6", "/db/v1/structures"),
        (f"https://{BASE}/v1.1/structures?filter=nsites<=6", "/db/v1.1/structures"),
    ],
)
def test_the_first_page_asks_for_what_is_needed(given: str, path: str) -> None:
    url, base = optimade_url(given)
    assert base == BASE
    assert url.startswith(f"https://optimade.example.org{path}?page_limit=100&filter=nsites%3C%3D6")
    assert "response_fields=lattice_vectors%2Ccartesian_site_positions" in url


def test_a_page_that_names_itself_as_the_next_ends_the_reading() -> None:
    page = {"data": [], "links": {"next": f"https://{BASE}/v1/structures?page_offset=3"}}
    with pytest.raises(InputError, match="names itself as the next page"):
        open_optimade(f"https://{BASE}", lambda _: page)


def test_what_is_no_list_of_structures_is_an_error() -> None:
    with pytest.raises(InputError, match="no list of OPTIMADE structures; check the base URL"):
        open_optimade(f"https://{BASE}", lambda _: {"detail": "not found"})
    with pytest.raises(InputError, match="is no URL"):
        open_optimade("mp?filter=nsites<=6")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine: busy at the first request, JSON, an error, and no JSON."""
    monkeypatch.setattr(databases, "RETRY_WAITS", (0.0, 0.0))
    answers = {"/busy": (503, b""), "/bad": (400, b'{"errors": "bad filter"}'), "/web": (200, b"<")}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = answers.get(self.path, (200, b'{"data": []}'))
            self.send_response(503 if len(asked) == 1 else status)
            self.end_headers()
            self.wfile.write(b"" if len(asked) == 1 else body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_a_busy_server_is_asked_again(server: str) -> None:
    assert fetch_json(f"{server}/good") == {"data": []}


def test_what_a_server_refuses_is_said(server: str) -> None:
    with pytest.raises(InputError, match=r"/bad: HTTP 400, .*bad filter"):
        fetch_json(f"{server}/bad")
    with pytest.raises(InputError, match="/busy: HTTP 503"):
        fetch_json(f"{server}/busy")
    with pytest.raises(InputError, match="/web is no JSON"):
        fetch_json(f"{server}/web")
    with pytest.raises(InputError, match="does not answer"):
        fetch_json("http://127.0.0.1:1/")
