"""Inputs that change while they are read, which is noticed before a row of them is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from real_crystals import crystals

from matminer_unate.cli import main as cli
from matminer_unate.engine import running
from matminer_unate.engine.cluster import Task, compute_task
from matminer_unate.engine.identity import FileStates, input_change
from matminer_unate.engine.parts import PartsFolder
from matminer_unate.errors import InputError
from matminer_unate.io.readers import open_inputs

TEXTS = [s.to(fmt="cif") for s in list(crystals().values())[:6]]

CHANGED = "was changed or removed while it was read; keep other programs from it"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six files."""
    (tmp_path / "cifs").mkdir()
    for n, text in enumerate(TEXTS):
        (tmp_path / "cifs" / f"{n}.cif").write_text(text)
    return tmp_path / "cifs"


def featurize(*args: Any) -> int:
    own = ["--columns", "fingerprint", "--part-rows", "2"]
    return cli.main(["featurize", *map(str, args), *own])


def do_after_the_first_part(monkeypatch: pytest.MonkeyPatch, change: Callable[[], Any]) -> None:
    write, calls = running.write_part, []

    def changing(*args: Any) -> Any:
        part = write(*args)
        calls.append(part)
        if len(calls) == 1:
            change()
        return part

    monkeypatch.setattr(running, "write_part", changing)


@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("how", ["other", "gone"])
def test_a_file_of_a_folder_that_changes_while_the_run_goes_on_is_named(
    how: str,
    n: int,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = folder / f"{n}.cif", tmp_path / "out.parquet"
    with monkeypatch.context() as patched:
        change = path.unlink if how == "gone" else lambda: shutil.copy(folder / "3.cif", path)
        do_after_the_first_part(patched, change)
        assert featurize(folder, "--out", out) == cli.UNUSABLE
    assert f"{path} {CHANGED}" in capsys.readouterr().err
    assert not out.exists()
    # What has the other content is no part of the run, nor is what came after it.
    kept = [part.block for part in PartsFolder(Path(f"{out}.parts")).parts()] if n == 5 else []
    assert kept == ([0, 1] if n == 5 else [])
    assert Path(f"{out}.parts").exists() == (n == 5)
    assert featurize(folder, "--out", out, "--overwrite") == cli.OK
    assert len(pd.read_parquet(out)) == (5 if how == "gone" else 6)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("more", [[], ["--shard", "1/2"]])
def test_a_table_that_is_written_again_while_it_is_read_is_named(
    more: list[str],
    suffix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, other, out = (tmp_path / f"{n}{suffix}" for n in ("rows", "other", "out"))
    frame = pd.DataFrame({"id": range(6), "cif": [text + "#" * 20_000 for text in TEXTS]})

    def written(rows: pd.DataFrame, to: Path) -> None:
        if suffix == ".csv":
            rows.to_csv(to, index=False)
        else:
            rows.to_parquet(to, row_group_size=2)

    written(frame, path)
    written(frame.iloc[::-1], other)
    with monkeypatch.context() as patched:
        do_after_the_first_part(patched, lambda: path.write_bytes(other.read_bytes()))
        assert featurize(path, "--out", out, *more) == cli.UNUSABLE
    assert f"{path} {CHANGED}" in capsys.readouterr().err
    assert not out.exists()
    assert featurize(path, "--out", out) == cli.OK
    found = pd.read_csv(out) if suffix == ".csv" else pd.read_parquet(out)
    assert list(map(int, found["id"])) == [5, 4, 3, 2, 1, 0]


def test_where_only_the_time_of_an_input_is_another_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "rows.csv", tmp_path / "out.parquet"
    pd.DataFrame({"id": range(6), "cif": TEXTS}).to_csv(path, index=False)
    write, calls = running.write_part, []

    def touching(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            os.utime(path, ns=(0, 0))
        return write(*args)

    with monkeypatch.context() as patched:
        patched.setattr(running, "write_part", touching)
        assert featurize(path, "--out", out) == cli.UNUSABLE
    assert f"{path} {CHANGED}" in capsys.readouterr().err
    assert featurize(path, "--out", out, "--resume") == cli.OK
    assert "2 of 3 parts (4 rows) are finished" in capsys.readouterr().err


def test_what_workers_read_of_an_input_that_changes_is_not_kept(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.parquet"

    def computed_elsewhere(plan: Any, blocks: Any, wanted: Any, *others: Any) -> Any:
        for n in wanted:
            if n == 2:
                (folder / "4.cif").write_text(TEXTS[0])
            contents = [(0, k, folder / f"{k}.cif") for k in blocks.items_of(n)]
            yield compute_task(plan, Task(n, blocks.items_of(n), contents, []))

    with monkeypatch.context() as patched:
        patched.setattr(running, "cluster_parts", computed_elsewhere)
        assert featurize(folder, "--out", out, "--dask") == cli.UNUSABLE
    assert f"{folder / '4.cif'} {CHANGED}" in capsys.readouterr().err
    assert [part.block for part in PartsFolder(Path(f"{out}.parts")).parts()] == [0, 1]


def test_of_a_folder_only_the_files_of_some_items_are_looked_at(folder: Path) -> None:
    sources = open_inputs([folder, folder / "0.cif"])
    states = FileStates(sources)
    states.check()
    (folder / "4.cif").unlink()
    states.check([(0, range(4)), (0, range(5, 6)), (1, range(1))])
    with pytest.raises(InputError, match=r"4\.cif was changed or removed"):
        states.check([(0, range(3, 5))])
    with pytest.raises(InputError, match=r"4\.cif was changed or removed"):
        states.check()


def test_ids_that_begin_with_two_spellings_of_a_path_are_not_mixed(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"cif": TEXTS}).to_csv("rows.csv", index=False)
    for name in ("cifs", "rows.csv"):
        out = f"{name}.parquet"
        assert featurize(name, "--out", out, "--shard", "1/2") == cli.OK
        assert featurize(tmp_path / name, "--out", out) == cli.UNUSABLE
        said = f"the input was given as {name}, is {tmp_path / name}, which ids begin with. Give"
        assert said in capsys.readouterr().err
        assert featurize(tmp_path / name, "--out", "other.parquet", "--shard", "2/2") == cli.OK
        assert cli.main(["merge", "--out", out, f"{out}.parts", "other.parquet.parts"]) == 2
        assert "are of different runs: the input was given as" in capsys.readouterr().err
        assert featurize(name, "--out", out) == cli.OK
        assert all(text.startswith(name) for text in pd.read_parquet(out)["id"])
        shutil.rmtree("other.parquet.parts")


def test_a_table_with_ids_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("here", "there"):
        Path(name).mkdir()
        pd.DataFrame({"id": range(6), "cif": TEXTS}).to_csv(f"{name}/rows.csv", index=False)
    assert featurize("here/rows.csv", "--out", "out.parquet", "--shard", "1/2") == cli.OK
    assert featurize(tmp_path / "there" / "rows.csv", "--out", "out.parquet", "--resume") == cli.OK
    assert list(map(int, pd.read_parquet("out.parquet")["id"])) == [0, 1, 2, 3, 4, 5]


def test_values_that_folders_are_named_for_are_not_mixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out.parquet"
    (data / "year=2020").mkdir(parents=True)
    frame = pd.DataFrame({"id": range(6), "cif": TEXTS})
    frame.to_parquet(data / "year=2020" / "p.parquet")
    assert featurize(data, "--out", out, "--shard", "1/2") == cli.OK
    (data / "year=2020").rename(data / "year=2021")
    assert featurize(data, "--out", out) == cli.UNUSABLE
    assert "the input p.parquet was in year=2020, is in year=2021" in capsys.readouterr().err
    assert featurize(data, "--out", out, "--overwrite") == cli.OK
    assert list(pd.read_parquet(out)["year"]) == [2021] * 6


def test_runs_of_versions_that_kept_no_paths_go_on() -> None:
    before = {"name": "cifs", "rows": 2, "files": 2, "sha256": "a"}
    now = before | {"path": "x/cifs", "folders": ["year=2020"]}
    assert input_change(before, now) == ""
    assert input_change(before, now | {"rows": 3}) == "the input cifs has changed"
    assert input_change(now, now | {"name": "other"}) == "the input was cifs, is other"
