"""Folders of parts: tables of errors of any kind, and whose files are in them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from real_crystals import crystals

from matminer_unate.cli import main as cli
from matminer_unate.engine.parts import ERRORS, MANIFEST, PartsFolder

TEXTS = [s.to(fmt="cif") for s in list(crystals().values())[:4]]


def featurize(*args: Any) -> int:
    own = ["--columns", "fingerprint", "--part-rows", "2"]
    return cli.main(["featurize", *map(str, args), *own])


def test_ids_and_reasons_may_be_longer_than_csv_has_them_by_default(tmp_path: Path) -> None:
    path, out, errors = tmp_path / "rows.parquet", tmp_path / "out.parquet", tmp_path / "errors.csv"
    frame = pd.DataFrame({"id": ["a", "x" * 140_000, "c"], "cif": [TEXTS[0], "junk", TEXTS[1]]})
    frame.to_parquet(path)
    before = csv.field_size_limit(131_072)
    try:
        assert featurize(path, "--out", out, "--errors", errors) == cli.SOME_FAILED
    finally:
        csv.field_size_limit(before)
    assert list(pd.read_parquet(out)["id"]) == ["a", "c"]
    assert list(pd.read_csv(errors)["id"]) == ["x" * 140_000]


def test_a_data_set_of_another_program_is_not_taken_for_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text("")
    pd.DataFrame({"cif": TEXTS}).to_csv(tmp_path / "rows.csv", index=False)
    mine = tmp_path / "mine"
    ds.write_dataset(pa.table({"x": [1, 2]}), mine, format="parquet")
    assert [path.name for path in mine.iterdir()] == ["part-0.parquet"]
    for more in ([], ["--overwrite"]):
        assert featurize(tmp_path / "rows.csv", "--out", mine, *more) == cli.UNUSABLE
        assert "holds files that no run has written, as part-0.parquet" in capsys.readouterr().err
    assert ds.dataset(mine).count_rows() == 2


def test_parts_without_a_manifest_are_replaced_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, out = tmp_path / "rows.csv", tmp_path / "out"
    pd.DataFrame({"cif": TEXTS}).to_csv(rows, index=False)
    out.mkdir()
    pd.DataFrame({"precious": [1]}).to_parquet(out / "part-000007.parquet")
    assert featurize(rows, "--out", out) == cli.UNUSABLE
    assert "but not the manifest that says what they are of" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["part-000007.parquet"]
    assert featurize(rows, "--out", out, "--overwrite") == cli.OK
    names = sorted(path.name for path in out.iterdir())
    assert names == [MANIFEST, "part-000000.parquet", "part-000001.parquet"]
    assert len(pd.read_parquet(out)) == 4


def test_a_finished_folder_has_its_rows_of_errors_in_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, out, table = tmp_path / "rows.csv", tmp_path / "out", tmp_path / "out.parquet"
    cells = [TEXTS[0], "", "junk", "", TEXTS[1], TEXTS[2], TEXTS[3], "junk"]
    pd.DataFrame({"id": range(8), "cif": cells}).to_csv(rows, index=False)
    assert featurize(rows, "--out", out) == cli.SOME_FAILED
    folder = PartsFolder(out)
    assert [part.block for part in folder.parts()] == [0, 1, 2, 3]
    assert [[row[0] for row in some] for some in folder.listed(folder.parts())] == [
        ["1"],
        ["2", "3"],
        ["7"],
    ]
    given = ["merge", "--out", str(table), "--errors", str(tmp_path / "errors.csv"), str(out)]
    assert cli.main(given) == cli.SOME_FAILED
    assert list(map(int, pd.read_parquet(table)["id"])) == [0, 4, 5, 6]
    assert (tmp_path / "errors.csv").read_bytes() == (out / ERRORS).read_bytes()
    capsys.readouterr()
    (out / ERRORS).write_text("\n".join((out / ERRORS).read_text().splitlines()[:-1]) + "\n")
    assert cli.main([*given, "--overwrite"]) == cli.UNUSABLE
    assert "is not the table of errors that the run wrote" in capsys.readouterr().err
