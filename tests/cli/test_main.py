"""The command line: what is written, what is printed, and what is returned."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure
from real_crystals import crystals

import matminer_unate
from matminer_unate import (
    SiteDescriptorStats,
    TightBindingStats,
    UnateFeaturizer,
    ordered_structure,
)
from matminer_unate.cli import main as cli
from matminer_unate.engine import computing
from matminer_unate.errors import StructureError
from matminer_unate.io import writing as feature_table
from matminer_unate.network.encoding import DEFAULT_BATCH_SIZE
from matminer_unate.network.weights import read_config

NAMED = crystals()
DISORDERED = Structure(Lattice.cubic(3.6), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])

Run = Callable[..., int]


@pytest.fixture
def run(tiny_weights: Path) -> Run:
    """Run ``unate featurize`` with the tiny weights, on the CPU."""

    def call(*args: Any, pooling: tuple[str, ...] = ("mean", "std")) -> int:
        options = ["--weights", tiny_weights, "--device", "cpu", "--pooling", *pooling]
        return cli.main(["featurize", *map(str, args), *map(str, options)])

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four good files and three bad ones."""
    path = tmp_path / "structures"
    path.mkdir()
    for name in ("NaCl", "Si", "SrTiO3"):
        NAMED[name].to(filename=str(path / f"{name}.cif"))
    NAMED["Si"].to(filename=str(path / "POSCAR"), fmt="poscar")
    DISORDERED.to(filename=str(path / "alloy.cif"))
    (path / "cut.cif").write_text(NAMED["NaCl"].to(fmt="cif")[:300])
    (path / "empty.cif").write_text("")
    (path / "notes.txt").write_text("no structure")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """All textbook crystals as arrays, as in the tables of Materials Project crystals."""
    path = tmp_path / "table.parquet"
    frame = pd.DataFrame(
        {
            "material_id": [f"m-{n}" for n in range(len(NAMED))],
            "lattice": [s.lattice.matrix.ravel() for s in NAMED.values()],
            "frac_coords": [s.frac_coords.ravel() for s in NAMED.values()],
            "species": [[e.Z for e in s.species] for s in NAMED.values()],
            "gap_ev": np.linspace(0, 8, len(NAMED), dtype=np.float32),
            "formula": ["NaN", *list(NAMED)[1:]],
        }
    )
    frame.to_parquet(path)
    return path


def expected(weights: Path, structures: list[Structure], **options: Any) -> np.ndarray:
    return UnateFeaturizer(weights, device="cpu", **options).transform(structures)


def features(frame: pd.DataFrame) -> np.ndarray:
    return frame[[name for name in frame if name.startswith("unate_")]].to_numpy()


# -- what is written ------------------------------------------------------------------------------


def test_a_table_gets_the_columns_of_transform_row_for_row(
    run: Run, table: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    out = tmp_path / "out.parquet"
    assert run(table, "--out", out, pooling=("max", "mean")) == cli.OK
    written, before = pd.read_parquet(out), pd.read_parquet(table)
    labels = UnateFeaturizer(tiny_weights, pooling=("max", "mean")).feature_labels()
    assert list(written) == ["id", "material_id", "gap_ev", "formula", *labels]
    assert list(written["id"]) == list(before["material_id"])
    for name in ("material_id", "gap_ev", "formula"):
        pd.testing.assert_series_equal(written[name], before[name])
    assert (written[labels].dtypes == np.float32).all()
    values = expected(tiny_weights, list(NAMED.values()), pooling=("max", "mean"))
    np.testing.assert_allclose(features(written), values, rtol=1e-4, atol=1e-5)


def test_csv_and_parquet_hold_the_same(run: Run, table: Path, tmp_path: Path) -> None:
    assert run(table, "--out", tmp_path / "out.csv") == cli.OK
    assert run(table, "--out", tmp_path / "out.parquet") == cli.OK
    from_csv = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    from_parquet = pd.read_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(from_csv, from_parquet, check_dtype=False)
    assert from_csv["formula"][0] == "NaN"


def test_the_parquet_file_says_which_weights_made_it(
    run: Run, table: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    run(table, "--out", tmp_path / "out.parquet")
    made_by = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"matminer_unate"])
    assert made_by == {
        "version": version("matminer_unate"),
        "device": "cpu",
        "columns": {
            "unate": {
                "pooling": ["mean", "std"],
                "disorder": "raise",
                "weights": "tiny",
                "sha256": read_config(tiny_weights).sha256,
                "batch_size": DEFAULT_BATCH_SIZE,
            }
        },
    }


def test_the_columns_of_several_featurizers_stand_side_by_side(
    run: Run, table: Path, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computing, "CHUNK_ROWS", 4)
    out = tmp_path / "out.parquet"
    names = ("tight-binding", "unate", "site-descriptors", "fingerprint")
    assert run(table, "--out", out, "--columns", *names, pooling=("mean", "max")) == cli.OK
    pooling = ("mean", "max")
    featurizers = (
        TightBindingStats(pooling),
        UnateFeaturizer(tiny_weights, pooling, device="cpu"),
        SiteDescriptorStats(pooling),
        SiteDescriptorStats(pooling, "fingerprint"),
    )
    written = pd.read_parquet(out)
    labels = [label for one in featurizers for label in one.feature_labels()]
    assert list(written) == ["id", "material_id", "gap_ev", "formula", *labels]
    values = np.hstack([one.transform(list(NAMED.values())) for one in featurizers])
    np.testing.assert_allclose(written[labels], values, rtol=1e-4, atol=1e-4)
    made_by = json.loads(pq.read_schema(out).metadata[b"matminer_unate"])
    assert list(made_by["columns"]) == list(names)
    assert made_by["columns"]["fingerprint"] == {"pooling": ["mean", "max"], "disorder": "raise"}


def test_a_row_fails_with_the_featurizer_that_has_no_columns_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TightBindingStats, "_prepare", no_cells_of_more_than_two_sites)
    (tmp_path / "bad.cif").write_text("")
    for name in ("Si", "NaCl"):
        NAMED[name].get_primitive_structure().to(filename=str(tmp_path / f"{name}.cif"))
    NAMED["SrTiO3"].to(filename=str(tmp_path / "SrTiO3.cif"))
    errors, out = tmp_path / "errors.csv", tmp_path / "out.csv"
    inputs = [tmp_path / f"{name}.cif" for name in ("Si", "bad", "SrTiO3", "NaCl")]
    args = ["featurize", *inputs, "--out", out, "--errors", errors]
    columns = ["--columns", "fingerprint", "tight-binding"]
    assert cli.main([*map(str, args), *columns]) == cli.SOME_FAILED
    assert [Path(name).stem for name in pd.read_csv(out)["id"]] == ["Si", "NaCl"]
    unreadable, too_large = _rows(errors)
    assert unreadable["reason"].startswith("the file is empty")
    assert too_large["id"].endswith("SrTiO3.cif")
    assert too_large["reason"] == "tight-binding: more than two sites"
    assert "2 of 4 rows failed" in capsys.readouterr().err


def no_cells_of_more_than_two_sites(self: TightBindingStats, structure: Structure) -> Any:
    if len(structure) > 2:
        raise StructureError("more than two sites")
    return PREPARE(self, structure)


PREPARE = TightBindingStats._prepare


def test_chunks_and_batches_leave_order_and_values_as_they_are(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(table, "--out", tmp_path / "whole.parquet")
    monkeypatch.setattr(feature_table, "CHUNK_ROWS", 2)
    monkeypatch.setattr(computing, "CHUNK_SITES", 12)
    run(table, "--out", tmp_path / "chunks.parquet", "--batch-size", 1)
    assert pq.ParquetFile(tmp_path / "chunks.parquet").num_row_groups > 3
    whole, chunks = (pd.read_parquet(tmp_path / f"{n}.parquet") for n in ("whole", "chunks"))
    pd.testing.assert_frame_equal(whole, chunks, rtol=1e-4, atol=1e-5)


def test_good_files_of_a_folder_are_written_and_bad_ones_listed(
    run: Run,
    folder: Path,
    tmp_path: Path,
    tiny_weights: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.parquet"
    assert run(folder, "--out", out) == cli.SOME_FAILED
    written = pd.read_parquet(out)
    names = ["NaCl.cif", "POSCAR", "Si.cif", "SrTiO3.cif"]
    assert list(written["id"]) == [str(folder / name) for name in names]
    structures = [NAMED[name] for name in ("NaCl", "Si", "Si", "SrTiO3")]
    values = expected(tiny_weights, structures)
    np.testing.assert_allclose(features(written), values, rtol=1e-3, atol=1e-4)

    printed = capsys.readouterr()
    assert re.search(rf"4 rows with {values.shape[1]} features in .* rows/s\): {out}", printed.out)
    assert "unate: 3 of 7 rows failed:" in printed.err
    assert re.search(r"alloy\.cif +site 0 is disordered", printed.err)
    assert re.search(r"cut\.cif +no structures in this CIF: it has a cell but no at", printed.err)
    assert re.search(r"empty\.cif +the file is empty", printed.err)
    assert "1 other file(s)" in printed.err
    assert "notes.txt" in printed.err
    assert "UserWarning" not in printed.err


def test_a_disordered_crystal_is_ordered_where_that_is_asked_for(
    run: Run, folder: Path, tmp_path: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    assert run(folder, "--out", out, "--disorder", "ordered") == cli.SOME_FAILED
    written = pd.read_parquet(out)
    (alloy,) = np.flatnonzero(written["id"].str.endswith("alloy.cif"))
    values = expected(tiny_weights, [ordered_structure(DISORDERED)])
    np.testing.assert_allclose(features(written)[alloy : alloy + 1], values, rtol=1e-3, atol=1e-4)
    err = capsys.readouterr().err
    assert "unate: 2 of 7 rows failed:" in err
    assert "unate: warning: 1 row(s) hold sites of mixed or partial occupancy" in err


def test_all_failures_can_be_written_to_a_file(run: Run, folder: Path, tmp_path: Path) -> None:
    errors = tmp_path / "errors.csv"
    assert run(folder, "--out", tmp_path / "out.csv", "--errors", errors) == cli.SOME_FAILED
    with errors.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["id"]).name for row in rows] == ["alloy.cif", "cut.cif", "empty.cif"]
    assert rows[2]["reason"] == "the file is empty; download or export it again"


def test_the_list_of_failures_is_cut_after_twenty(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cif = NAMED["Si"].to(fmt="cif")
    frame = pd.DataFrame({"id": range(31), "cif": [cif] + [""] * 30})
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert run(tmp_path / "a.csv", "--out", tmp_path / "out.csv") == cli.SOME_FAILED
    err = capsys.readouterr().err
    assert "30 of 31 rows failed" in err
    assert err.count("the structure is missing") == 1
    assert err.count("  the same\n") == 19
    assert "… and 10 more (--errors FILE.csv writes all of them)" in err
    assert "a.csv, row 1 (1)  the structure is missing" in err


def test_repeated_identifiers_stay_rows_of_their_own(run: Run, tmp_path: Path) -> None:
    cifs = [NAMED[name].to(fmt="cif") for name in ("Si", "NaCl")]
    pd.DataFrame({"id": ["x", "x"], "cif": cifs}).to_csv(tmp_path / "a.csv", index=False)
    assert run(tmp_path / "a.csv", "--out", tmp_path / "out.parquet") == cli.OK
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert list(written["id"]) == ["x", "x"]
    assert not np.allclose(*features(written))


def test_inputs_with_different_columns_share_one_table(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    cif = NAMED["Si"].to(fmt="cif")
    frames = [
        {"y": [1], "label": [1], "cif": [cif]},
        {"y": [2.5], "label": ["x"], "only": [True], "cif": [cif]},
    ]
    for n, frame in enumerate(frames):
        pd.DataFrame(frame).to_parquet(tmp_path / f"{n}.parquet")
    inputs = [folder / "NaCl.cif", tmp_path / "0.parquet", tmp_path / "1.parquet"]
    assert run(*inputs, "--out", tmp_path / "out.parquet") == cli.OK
    written = pq.read_table(tmp_path / "out.parquet").select(["id", "y", "label", "only"])
    assert [list(row.values()) for row in written.to_pylist()] == [
        [str(inputs[0]), None, None, None],
        [f"{inputs[1]}#0", 1.0, "1", None],
        [f"{inputs[2]}#0", 2.5, "x", True],
    ]


def test_warnings_are_given_once_with_the_total(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(computing, "CHUNK_ROWS", 2)
    cif = Structure(Lattice.cubic(30), ["U"], [[0, 0, 0]]).to(fmt="cif")
    pd.DataFrame({"cif": [cif] * 5}).to_csv(tmp_path / "a.csv", index=False)
    assert run(tmp_path / "a.csv", "--out", tmp_path / "out.csv") == cli.OK
    err = capsys.readouterr().err
    first = f"the first is {tmp_path / 'a.csv'}, row 0"
    for what in ("elements", "atoms with no neighbour"):
        (line,) = [
            x for x in err.splitlines() if x.startswith(f"unate: warning: 5 row(s) hold {what}")
        ]
        assert line.endswith(first)


def test_rows_that_something_is_to_be_said_of_are_all_in_the_file_of_errors(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cube = Lattice.cubic(30)
    cifs = [
        Structure(cube, ["U"], [[0, 0, 0]]).to(fmt="cif"),
        NAMED["Si"].to(fmt="cif"),
        Structure(cube, ["Si"], [[0, 0, 0]]).to(fmt="cif"),
    ]
    pd.DataFrame({"id": ["U", "Si", "lone Si"], "cif": cifs}).to_csv(tmp_path / "a.csv")
    errors = tmp_path / "errors.csv"
    given = [tmp_path / "a.csv", "--out", tmp_path / "out.csv", "--errors", errors]
    assert run(*given, "--columns", "unate", "cell") == cli.OK
    (u, lone) = _rows(errors)
    assert (u["id"], u["status"], lone["id"]) == ("U", "remark", "lone Si")
    assert "columns of unate: it holds elements the weights" in u["reason"]
    assert "(U)" in u["reason"]
    assert "elements" not in lone["reason"]
    for row in (u, lone):
        assert "columns of cell: it holds atoms with no neighbour within 6 Å" in row["reason"]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_doubtful_rows_fail_unless_they_are_accepted_and_all_remarks_are_in_the_file_of_errors(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    salt = NAMED["NaCl"].to(fmt="cif")
    (tmp_path / "a.cif").write_text(salt.replace("'Na4 Cl4'", "'Na4 Cl4 H4'"))
    (tmp_path / "b.cif").write_text(salt.replace("  1\n", "  1.002(5)\n"))
    (tmp_path / "c.cif").write_text(NAMED["Si"].to(fmt="cif"))
    inputs = [tmp_path / f"{name}.cif" for name in "abc"]
    failures = tmp_path / "errors.csv"
    options = ["--out", tmp_path / "out.csv", "--errors", failures, "--overwrite"]

    assert run(*inputs, *options) == cli.SOME_FAILED
    assert [row["status"] for row in _rows(failures)] == ["failed", "remark"]
    assert re.search(
        r"a\.cif +the composition.*Na Cl, is not the formula Na4 Cl4 H4 of the file "
        r"\(_chemical_formula_sum\): no H was read",
        capsys.readouterr().err,
    )

    assert run(*inputs, *options, "--accept-doubtful") == cli.OK
    doubtful, remark = _rows(failures)
    assert (doubtful["status"], remark["status"]) == ("doubtful", "remark")
    assert "no H was read" in doubtful["reason"]
    assert "Na0, Na1, Na2, Na3, Cl4 and 3 more: an occupancy that is nearly 1" in remark["reason"]
    err = capsys.readouterr().err
    assert "unate: warning: 1 row(s) were taken as asked, but may be other crystals" in err
    assert "unate: note: there are remarks on how 1 row(s) were read" in err


def test_a_site_tolerance_that_is_no_distance_is_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("a.cif", "--out", tmp_path / "out.csv", "--site-tolerance", "3")
    assert "'3' is no distance from 0 to 1 Å" in capsys.readouterr().err


def test_quiet_prints_nothing_when_all_is_well(
    run: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(table, "--out", tmp_path / "out.csv", "--quiet") == cli.OK
    assert capsys.readouterr() == ("", "")


# -- what is refused ------------------------------------------------------------------------------


def test_where_no_row_is_good_nothing_is_written(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    assert run(folder / "cut.cif", folder / "empty.cif", "--out", out) == cli.UNUSABLE
    err = capsys.readouterr().err
    assert "2 of 2 rows failed" in err
    assert err.endswith("unate: error: no row could be featurized; nothing was written\n")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_is_replaced_only_when_asked(
    run: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("precious")
    assert run(table, "--out", out) == cli.UNUSABLE
    assert "exists; pass --overwrite" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert run(table, "--out", out, "--overwrite") == cli.OK
    assert len(pd.read_csv(out)) == len(NAMED)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{table}", "--out", "out.txt"], "the name must end in .parquet or .csv"),
        (["{table}", "--out", "no/such/out.csv"], "does not exist; create it first"),
        (["{table}", "--out", "{table}", "--overwrite"], "is an input too"),
        (["{table}", "--out", "folder.csv"], "is a folder; name a file in it"),
        (["{table}", "--out", "o.csv", "--errors", "o.csv"], "are the same file"),
        (["{table}", "--out", "o.csv", "--errors", "o.txt"], "must end in .csv"),
        (["{table}", "--out", "o.csv", "--column", "x"], "has no column 'x'"),
        (["{table}", "--out", "o.csv", "--pooling", "std", "std"], "pooling must name"),
        (["{table}", "--out", "o.csv", "--weights", "no_such"], "no weights 'no_such'"),
        (["{table}", "--out", "o.csv", "--device", "toaster"], "device 'toaster' is not"),
        (["missing.cif", "--out", "o.csv"], "no such file or folder"),
        (["{weights}/model.safetensors", "--out", "o.csv"], "is none that can be read"),
    ],
)
def test_mistakes_are_one_line_on_stderr(
    args: list[str],
    message: str,
    table: Path,
    tmp_path: Path,
    tiny_weights: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    before = sorted(tmp_path.iterdir())
    given = [arg.format(table=table, weights=tiny_weights) for arg in args]
    assert cli.main(["featurize", "--weights", str(tiny_weights), *given]) == cli.UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("unate: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_features_are_not_written_over_columns_of_the_same_name(
    run: Run, tmp_path: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = UnateFeaturizer(tiny_weights).feature_labels()[0]
    frame = pd.DataFrame({label: [1.0], "cif": [NAMED["Si"].to(fmt="cif")]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert run(tmp_path / "a.csv", "--out", tmp_path / "out.csv") == cli.UNUSABLE
    assert f"has a column '{label}' already" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError("disk broken")])
def test_a_run_that_is_stopped_before_its_first_part_leaves_no_file(
    stop: Any,
    run: Run,
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = feature_table.PartWriter.add
    written: list[Any] = []

    def add(*args: Any) -> None:
        if written:
            raise stop
        written.append(args)
        write(*args)

    monkeypatch.setattr(computing, "CHUNK_ROWS", 1)
    monkeypatch.setattr(feature_table.PartWriter, "add", add)
    out, errors = tmp_path / "out.parquet", tmp_path / "errors.csv"
    out.write_text("precious")
    code = run(table, "--out", out, "--errors", errors, "--overwrite", "--batch-size", 1)
    assert code == (cli.INTERRUPTED if stop is KeyboardInterrupt else cli.UNUSABLE)
    err = capsys.readouterr().err
    assert ("interrupted" if stop is KeyboardInterrupt else "disk broken") in err
    assert "nothing was written" in err
    assert sorted(tmp_path.iterdir()) == [out, table]
    assert out.read_text() == "precious"


@pytest.mark.parametrize(
    "args", [[], ["featurize", "x"], ["featurize", "x", "--out", "y", "--batch-size", "0"]]
)
def test_wrong_usage_exits_with_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(args)
    assert stopped.value.code == cli.UNUSABLE
    assert "usage: unate" in capsys.readouterr().err


# -- info -----------------------------------------------------------------------------------------


def test_info_tells_versions_device_and_weights(
    tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["info", "--weights", str(tiny_weights), "--json"]) == cli.OK
    told = json.loads(capsys.readouterr().out)
    assert told["matminer_unate"] == version("matminer_unate")
    assert told["torch"] == version("torch")
    weights = told["weights"]
    assert weights["name"] == "tiny"
    assert weights["columns"] == len(UnateFeaturizer(tiny_weights).feature_labels())
    assert weights["elements_known"] == 83
    assert weights["sha256"] == read_config(tiny_weights).sha256
    assert weights["card"] == str(tiny_weights / "README.md")
    assert set(told["classes"]) == {name for name in matminer_unate.__all__ if name[0].isupper()}

    assert cli.main(["info", "--weights", str(tiny_weights)]) == cli.OK
    shown = capsys.readouterr().out
    assert re.search(r"cutoff \(Å\) +4\.5", shown)
    assert re.search(r"featurizers +unate \(754 columns\), site-descriptors \(104 columns\)", shown)
    assert re.search(r"pretraining_crystals +—", shown)
    assert re.search(r"UnateFeaturizer +Learned columns for crystal structures, from", shown)


def test_info_prints_the_card(tiny_weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--weights", str(tiny_weights), "--card"]) == cli.OK
    assert capsys.readouterr().out == f"card {read_config(tiny_weights).sha256}"


def test_info_shows_the_versions_even_where_there_are_no_such_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["info", "--weights", "no_such"]) == cli.UNUSABLE
    out, err = capsys.readouterr()
    assert version("torch") in out
    assert "no weights 'no_such'" in err


def test_version_and_help_do_not_wait_for_torch() -> None:
    code = (
        "import sys; from matminer_unate.cli.main import main\n"
        "for args in (['--version'], ['--help'], ['featurize', '--help']):\n"
        "    try: main(args)\n"
        "    except SystemExit as e: assert e.code == 0\n"
        "slow = {'torch', 'pymatgen', 'matminer', 'pandas', 'pyarrow'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"unate {version('matminer_unate')}" in done.stdout
    assert "unate featurize structures/ --out features.parquet" in done.stdout
