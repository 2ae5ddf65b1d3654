"""Runs that are stopped, shared out or refused: no row is lost, doubled or another than it was."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from real_crystals import crystals
from stopped_runs import stop_in_part

from matminer_unate.cli import main as cli
from matminer_unate.engine import running
from matminer_unate.engine.blocks import Shard
from matminer_unate.engine.identity import FileStates
from matminer_unate.engine.locks import _started
from matminer_unate.engine.parts import MANIFEST, PartsFolder
from matminer_unate.io import writing

NAMED = crystals()
N_ROWS, BAD = 40, (3, 17, 18, 39)

Run = Callable[..., int]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Forty rows, four of them bad, in row groups of nine."""
    cifs = [s.to(fmt="cif") for s in NAMED.values()]
    texts = ["" if n in BAD else cifs[n % len(cifs)] for n in range(N_ROWS)]
    frame = pd.DataFrame({"cif": texts, "n": range(N_ROWS)})
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=9)
    return tmp_path / "rows.parquet"


@pytest.fixture
def run(tiny_weights: Path) -> Run:
    """``unate featurize`` with the tiny weights, in parts of seven rows: six of them."""

    def call(*args: Any, part_rows: int = 7) -> int:
        own = ["--weights", tiny_weights, "--device", "cpu", "--part-rows", part_rows]
        return cli.main(["featurize", *map(str, args), *map(str, own)])

    return call


def merge(*args: Any) -> int:
    return cli.main(["merge", *map(str, args)])


@pytest.fixture
def whole(run: Run, table: Path, tmp_path: Path) -> Path:
    """What a run in one go writes."""
    out = tmp_path / "whole.parquet"
    assert run(table, "--out", out, "--errors", tmp_path / "whole.csv") == cli.SOME_FAILED
    return out


# -- resume ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_run_that_was_stopped_twice_writes_what_one_in_one_go_does(
    suffix: str,
    run: Run,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outs = [tmp_path / f"{name}{suffix}" for name in ("whole", "resumed")]
    lists = [tmp_path / f"{name}_errors.csv" for name in ("whole", "resumed")]
    run(table, "--out", outs[0], "--errors", lists[0])
    before = capsys.readouterr()
    for n_part, kept in ((3, 14), (2, 21)):
        with monkeypatch.context() as patched:
            stop_in_part(patched, n_part, KeyboardInterrupt())
            assert run(table, "--out", outs[1]) == cli.INTERRUPTED
        err = capsys.readouterr().err
        assert f"interrupted; the same command goes on: {kept} rows are kept in" in err
        assert not outs[1].exists()
    assert run(table, "--out", outs[1], "--errors", lists[1]) == cli.SOME_FAILED
    after = capsys.readouterr()
    assert f"going on with {outs[1]}.parts: 3 of 6 parts (21 rows) are finished" in after.err
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert lists[0].read_bytes() == lists[1].read_bytes()
    assert list(pd.read_csv(lists[1])["place"]) == [f"{table}, row {n}" for n in BAD]
    failures = [line for line in before.err.splitlines() if line.startswith("  ")][:-1]
    assert len(failures) == len(BAD)
    assert failures == [line for line in after.err.splitlines() if line.startswith("  ")][:-1]
    assert "36 rows with" in after.out
    assert ", 21 of them before)" in after.out
    assert not Path(f"{outs[1]}.parts").exists()


def test_what_a_killed_process_left_half_written_is_made_anew(
    run: Run, table: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    with monkeypatch.context() as patched:
        stop_in_part(patched, 5, KeyboardInterrupt())
        run(table, "--out", out)
    parts = Path(f"{out}.parts")
    manifest = parts / "_manifest-1-of-1.jsonl"
    content = manifest.read_bytes()
    manifest.write_bytes(content[: content.rstrip().rindex(b"\n") + 100])
    (parts / "_part-000004.host.1.tmp").write_bytes(b"half")
    (parts / "part-000001.parquet").write_bytes(b"short")
    (parts / "_errors-000000.csv").unlink()
    assert [part.block for part in PartsFolder(parts).parts()] == [2]
    assert run(table, "--out", out, "--resume") == cli.SOME_FAILED
    assert out.read_bytes() == whole.read_bytes()


def test_a_part_that_was_damaged_is_found_before_the_parts_are_joined(
    run: Run,
    table: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.parquet"
    with monkeypatch.context() as patched:
        stop_in_part(patched, 5, KeyboardInterrupt())
        run(table, "--out", out)
    part = Path(f"{out}.parts") / "part-000002.parquet"
    content = bytearray(part.read_bytes())
    content[1000] ^= 1
    part.write_bytes(content)
    assert run(table, "--out", out) == cli.UNUSABLE
    assert "part-000002.parquet was damaged after it was written" in capsys.readouterr().err
    assert run(table, "--out", out) == cli.SOME_FAILED
    assert out.read_bytes() == whole.read_bytes()


def other_rows(table: Path, n: int = N_ROWS) -> None:
    frame = pd.read_parquet(table).head(n)
    frame.loc[5, "n"] = 6
    frame.to_parquet(table, row_group_size=9)


@pytest.mark.parametrize(
    ("more", "change", "message"),
    [
        (["--pooling", "mean"], None, "columns unate pooling was ['mean', 'std'], is ['mean']"),
        (["--columns", "site-descriptors"], None, "columns unate was {"),
        (["--site-tolerance", "0.1"], None, "reading site_tolerance was 0.3, is 0.1"),
        (["--batch-size", "100"], None, "columns unate batch_size was 8192, is 100"),
        (["--part-rows", "8"], None, "part_rows was 7, is 8"),
        ([], other_rows, "the input rows.parquet has changed"),
        ([], lambda table: other_rows(table, 30), "the input rows.parquet has changed"),
        (["--disorder", "ordered"], None, "unate disorder was 'raise', is 'ordered'"),
        (["{other}"], None, "there were 1 inputs, and are 2"),
    ],
)
def test_a_run_with_something_else_is_refused_by_name(
    more: list[str],
    change: Callable[[Path], None] | None,
    message: str,
    run: Run,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.parquet"
    with monkeypatch.context() as patched:
        stop_in_part(patched, 2, KeyboardInterrupt())
        run(table, "--out", out)
    if change is not None:
        change(table)
    (tmp_path / "other.cif").write_text(NAMED["Si"].to(fmt="cif"))
    options = [text.format(other=tmp_path / "other.cif") for text in more]
    part_rows = 8 if "--part-rows" in options else 7
    options = [] if "--part-rows" in options else options
    kept = sorted(Path(f"{out}.parts").iterdir())
    capsys.readouterr()
    assert run(table, *options, "--out", out, part_rows=part_rows) == cli.UNUSABLE
    err = capsys.readouterr().err
    assert f"{out}.parts holds the parts of another run" in err
    assert message in err
    assert sorted(Path(f"{out}.parts").iterdir()) == kept
    again = run(table, *options, "--out", out, "--overwrite", part_rows=part_rows)
    assert again == cli.SOME_FAILED
    assert not Path(f"{out}.parts").exists()


def test_other_weights_of_the_same_name_are_refused(
    table: Path,
    tmp_path: Path,
    tiny_weights: Path,
    other_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.parquet"
    options = ["--device", "cpu", "--part-rows", "7", "--out", str(out), "--weights"]
    with monkeypatch.context() as patched:
        stop_in_part(patched, 2, KeyboardInterrupt())
        cli.main(["featurize", str(table), *options, str(tiny_weights)])
    assert cli.main(["featurize", str(table), *options, str(other_weights)]) == cli.UNUSABLE
    assert "weights was 'tiny', is 'other'" in capsys.readouterr().err


def test_resume_asked_for_without_parts_is_an_error(
    run: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(table, "--out", tmp_path / "out.parquet", "--resume") == cli.UNUSABLE
    assert "holds no unfinished parts to go on with" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [table]


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_ended_at_any_time_is_taken_up(
    end: signal.Signals, run: Run, table: Path, whole: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    out = tmp_path / "out.parquet"
    args = ["featurize", table, "--out", out, "--weights", tiny_weights, "--device", "cpu"]
    command = [sys.executable, "-m", "matminer_unate", *map(str, args), "--part-rows", "7"]
    manifest = Path(f"{out}.parts") / "_manifest-1-of-1.jsonl"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (
            manifest.exists() and manifest.read_bytes().count(b"\n") > 2
        ):
            time.sleep(0.002)
        process.send_signal(end)
        _, said = process.communicate()
    if end == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == cli.INTERRUPTED
        assert "interrupted; the same command goes on" in said
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == cli.SOME_FAILED, done.stderr
    took_over = f"took over from process {process.pid} on {socket.gethostname()}" in done.stderr
    assert took_over == (end == signal.SIGKILL)
    assert "going on with" in done.stderr
    assert out.read_bytes() == whole.read_bytes()


# -- disks and processes --------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["part", "join"])
def test_where_the_disk_fills_up_the_run_goes_on_later(
    where: str,
    run: Run,
    table: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.parquet"
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_space(*args: Any, **options: Any) -> None:
        raise full

    with monkeypatch.context() as patched:
        if where == "join":
            patched.setattr(running, "join_tables", no_space)
        else:
            add, calls = writing.PartWriter.add, []

            def failing(*args: Any) -> None:
                calls.append(args)
                no_space() if len(calls) == 3 else add(*args)

            patched.setattr(writing.PartWriter, "add", failing)
        assert run(table, "--out", out) == cli.UNUSABLE
    err = capsys.readouterr().err
    kept = 40 if where == "join" else 14
    assert f"the disk of {tmp_path} is full; free some space, then the same command goes on" in err
    assert f"{kept} rows are kept in {out}.parts" in err
    assert not any(path.suffix == ".tmp" for path in Path(f"{out}.parts").iterdir())
    assert run(table, "--out", out) == cli.SOME_FAILED
    assert out.read_bytes() == whole.read_bytes()


def lock(path: Path, pid: int, host: str | None = None) -> None:
    path.parent.mkdir(exist_ok=True)
    holder = {"pid": pid, "host": host or socket.gethostname(), "started": _started(pid)}
    path.write_text(json.dumps(holder))


@pytest.mark.skipif(os.name != "posix", reason="other systems do not tell whether a process runs")
def test_the_second_of_two_processes_is_refused_and_a_dead_one_gives_way(
    run: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    own = Path(f"{out}.parts") / "_lock-1-of-1"
    lock(own, os.getpid())
    assert run(table, "--out", out) == cli.UNUSABLE
    err = capsys.readouterr().err
    assert f"process {os.getpid()} on {socket.gethostname()} is writing to {out}.parts" in err
    assert own.exists()
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    lock(own, process.pid)
    assert run(table, "--out", out) == cli.SOME_FAILED
    assert f"took over from process {process.pid}" in capsys.readouterr().err
    assert not own.parent.exists()


def test_a_shard_that_is_being_written_keeps_the_whole_from_it_but_not_other_shards(
    run: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    lock(Path(f"{out}.parts") / "_lock-2-of-3", os.getpid())
    assert run(table, "--out", out) == cli.UNUSABLE
    assert "is writing shard 2/3" in capsys.readouterr().err
    assert run(table, "--out", out, "--shard", "1/3") == cli.SOME_FAILED
    assert merge("--out", out) == cli.UNUSABLE
    assert "is writing to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "out", "more"),
    [
        ("part-000000.parquet", "out.parquet", []),
        ("_errors-000000.csv", "out.csv", []),
        ("part-000000.parquet", "out", []),
        ("part-000000.parquet", "out.parquet", ["--shard", "1/2"]),
    ],
)
def test_a_finished_part_that_vanishes_is_missed_before_the_table_is_written(
    name: str,
    out: str,
    more: list[str],
    run: Run,
    table: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / out
    parts = path if out == "out" else Path(f"{path}.parts")
    write, calls = running.write_part, []

    def vanishing(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            (parts / name).unlink()
        return write(*args)

    with monkeypatch.context() as patched:
        patched.setattr(running, "write_part", vanishing)
        assert run(table, "--out", path, *more) == cli.UNUSABLE
    err = capsys.readouterr().err
    assert f"{parts} lacks the files of 1 finished part(s)" in err
    assert "the same command makes them anew" in err
    assert path.exists() == (out == "out")
    assert not (path / MANIFEST).exists()
    assert run(table, "--out", path, *more) == cli.SOME_FAILED
    if more:
        run(table, "--out", path, "--shard", "2/2")
        assert merge("--out", path) == cli.SOME_FAILED
    found = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    assert list(found["n"]) == list(pd.read_parquet(whole)["n"])


def test_a_folder_of_parts_that_vanishes_is_an_error_and_no_crash(
    run: Run,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.parquet"
    write, calls = running.write_part, []

    def vanishing(*args: Any) -> Any:
        part = write(*args)
        calls.append(args)
        if len(calls) == 2:
            shutil.rmtree(f"{out}.parts")
        return part

    monkeypatch.setattr(running, "write_part", vanishing)
    assert run(table, "--out", out) == cli.UNUSABLE
    assert capsys.readouterr().err.startswith("unate: error: ")
    assert not out.exists()


# -- shards ---------------------------------------------------------------------------------------


def test_shards_are_merged_to_what_one_run_writes(
    run: Run, table: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, errors = tmp_path / "out.parquet", tmp_path / "errors.csv"
    for k in (3, 1):
        run(table, "--out", out, "--shard", f"{k}/3")
    assert f"unate merge --out {out}" in capsys.readouterr().out
    assert merge("--out", out) == cli.UNUSABLE
    assert "2 of 6 parts are missing, of shard 2/3; run it again" in capsys.readouterr().err
    run(table, "--out", out, "--shard", "2/3")
    assert merge("--out", out, "--errors", errors) == cli.SOME_FAILED
    printed = capsys.readouterr()
    assert f"36 rows: {out}" in printed.out
    assert "4 of 40 rows failed" in printed.err
    assert out.read_bytes() == whole.read_bytes()
    assert errors.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not Path(f"{out}.parts").exists()


def test_shards_of_machines_without_a_common_disk_are_merged(
    run: Run, table: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outs = []
    for k in (1, 2):
        (tmp_path / f"node{k}").mkdir()
        outs.append(tmp_path / f"node{k}" / "out.parquet")
        run(table, "--out", outs[-1], "--shard", f"{k}/2")
    folders = [f"{out}.parts" for out in outs]
    assert merge("--out", tmp_path / "out.parquet", *folders) == cli.SOME_FAILED
    assert (tmp_path / "out.parquet").read_bytes() == whole.read_bytes()
    run(table, "--out", outs[1], "--shard", "2/2", "--pooling", "mean", "--overwrite")
    (tmp_path / "out.parquet").unlink()
    assert merge("--out", tmp_path / "out.parquet", *folders) == cli.UNUSABLE
    err = capsys.readouterr().err
    assert "are of different runs: made_by columns unate pooling was" in err


def test_what_shards_have_left_undone_is_done_by_one_run(
    run: Run, table: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    run(table, "--out", out, "--shard", "2/3")
    assert run(table, "--out", out) == cli.SOME_FAILED
    assert "2 of 6 parts (14 rows) are finished" in capsys.readouterr().err
    assert out.read_bytes() == whole.read_bytes()


def test_shards_write_no_table_of_errors_which_each_would_replace(
    run: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = table, "--out", tmp_path / "out.parquet", "--errors", tmp_path / "errors.csv"
    assert run(*given, "--shard", "1/2") == cli.UNUSABLE
    assert "leave it out, and give it to unate merge" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [table]
    assert run(*given, "--shard", "1/1") == cli.SOME_FAILED
    assert len(pd.read_csv(tmp_path / "errors.csv")) == len(BAD)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0"])
def test_a_share_that_is_none_is_refused(
    text: str, run: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(table, "--out", tmp_path / "out.parquet", "--shard", text)
    assert "is no K/N" in capsys.readouterr().err


# -- folders --------------------------------------------------------------------------------------


def test_a_folder_becomes_a_data_set_that_says_that_it_is_whole(
    run: Run,
    table: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        stop_in_part(patched, 4, KeyboardInterrupt())
        run(table, "--out", out)
    assert not (out / MANIFEST).exists()
    assert run(table, "--out", out) == cli.SOME_FAILED
    assert pq.read_table(out).equals(pq.read_table(whole))
    pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(whole))
    assert (out / "_errors.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    lines = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    assert lines[-1] == {"finished": {"parts": 6, "rows": 36, "failed": 4}}
    assert [tuple(line["part"]["items"]) for line in lines[1:3]] == [(0, 7), (7, 14)]
    capsys.readouterr()
    assert run(table, "--out", out) == cli.UNUSABLE
    assert "holds a finished table; pass --overwrite" in capsys.readouterr().err
    assert run(table, "--out", out, "--overwrite") == cli.SOME_FAILED
    assert pq.read_table(out).equals(pq.read_table(whole))


def test_shards_of_a_folder_are_merged_where_they_are(
    run: Run, table: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for k in (1, 2):
        assert run(table, "--out", out, "--shard", f"{k}/2") == cli.SOME_FAILED
    assert merge("--out", out) == cli.SOME_FAILED
    assert (out / MANIFEST).exists()
    assert pq.read_table(out).equals(pq.read_table(whole))


def test_a_folder_with_other_files_is_never_written_to(
    run: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    for more in ([], ["--overwrite"]):
        assert run(table, "--out", tmp_path / "mine", *more) == cli.UNUSABLE
        assert "holds files that no run has written, as thesis.tex" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_stopped_run_does_not_read_its_own_parts(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    texts = [NAMED[name].to(fmt="cif") for name in ("Si", "NaCl", "Si", "NaCl")]
    pd.DataFrame({"cif": texts}).to_parquet(folder / "rows.parquet")
    out = folder / "out.parquet"
    with monkeypatch.context() as patch:
        stop_in_part(patch, 2)
        assert run(folder, "--out", out, part_rows=2) != cli.OK
    assert (folder / "out.parquet.parts").is_dir()
    assert run(folder, "--out", out, part_rows=2) == cli.OK
    assert len(pd.read_parquet(out)) == 4


def test_overwriting_stops_at_a_shard_that_is_being_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "rows.csv", tmp_path / "out.parquet"
    pd.DataFrame({"cif": [NAMED["Si"].to(fmt="cif")] * 8}).to_csv(path, index=False)
    assert run(path, "--out", out, "--shard", "1/4", part_rows=2) == cli.OK
    parts = tmp_path / "out.parquet.parts"
    kept = sorted(parts.iterdir())
    with running.held(parts, Shard(2, 4), print):
        given = "--shard", "1/4", "--overwrite", "--pooling", "mean"
        assert run(path, "--out", out, *given, part_rows=2) == cli.UNUSABLE
        assert "is writing one; stop it, or write elsewhere" in capsys.readouterr().err
        assert set(kept) <= set(parts.iterdir())
    assert run(path, "--out", out, *given, part_rows=2) == cli.OK


# -- bad input ------------------------------------------------------------------------------------


def test_an_input_that_became_shorter_is_no_finished_table(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "rows.csv"
    frame = pd.DataFrame({"cif": [NAMED["Si"].to(fmt="cif")] * 20})
    frame.to_csv(path, index=False)
    write = running.write_part

    def shortened(*args: Any) -> Any:
        frame.head(10).to_csv(path, index=False)
        return write(*args)

    monkeypatch.setattr(running, "write_part", shortened)
    assert run(path, "--out", tmp_path / "out.parquet", part_rows=2) == cli.UNUSABLE
    assert "rows.csv was changed or removed while it was read" in capsys.readouterr().err
    frame.to_csv(path, index=False)
    monkeypatch.setattr(FileStates, "check", lambda *args: None)  # as where times say nothing
    assert run(path, "--out", tmp_path / "out.parquet", part_rows=2) == cli.UNUSABLE
    assert "became shorter while it was read" in capsys.readouterr().err


def test_a_column_of_mixed_kinds_is_text_and_its_structures_are_read_one_by_one(
    run: Run, tmp_path: Path
) -> None:
    cells = [NAMED["Si"].as_dict(), NAMED["NaCl"].to(fmt="cif"), 7, None, {"lattice": 1}]
    lines = [
        json.dumps({"id": f"r{n}", "structure": cell, "tag": tag})
        for n, (cell, tag) in enumerate(zip(cells, [1, "a", [2], None, 2.5], strict=True))
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    out, errors = tmp_path / "out.parquet", tmp_path / "errors.csv"
    code = run(tmp_path / "rows.jsonl", "--out", out, "--errors", errors)
    assert code == cli.SOME_FAILED
    found = pd.read_parquet(out)
    assert list(found["id"]) == ["r0", "r1"]
    assert list(found["tag"]) == ["1", "a"]
    assert list(pd.read_csv(errors)["id"]) == ["r2", "r3", "r4"]


@pytest.mark.slow
def test_a_cif_of_fifty_megabytes_is_one_row_good_or_bad(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cif = NAMED["Si"].to(fmt="cif")
    names = [tmp_path / name for name in ("reflections.cif", "atoms.cif", "Si.cif")]
    names[0].write_text(f"{cif}_refln.text\n;\n" + "0 0 1 0.1 0.2\n" * 3_700_000 + ";\n")
    head = cif[: cif.index("  Si  Si0")]
    names[1].write_text(head + "  Si  Si0  1  0.125000000  0.500000000  0.5  1\n" * 1_150_000)
    names[2].write_text(cif)
    assert min(path.stat().st_size for path in names[:2]) > 50e6
    out = tmp_path / "out.parquet"
    started = time.perf_counter()
    assert run(*names, "--out", out) == cli.SOME_FAILED
    assert time.perf_counter() - started < 60
    found = pd.read_parquet(out)
    assert len(found) == 2
    assert (found.iloc[0, 1:] == found.iloc[1, 1:]).all()
    assert "the CIF lists 1,150,000 atoms" in capsys.readouterr().err


def test_a_cell_that_would_fill_the_memory_fails(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("Si", "NaCl"):
        NAMED[name].get_primitive_structure().to(filename=str(tmp_path / f"{name}.cif"))
    (NAMED["Si"] * 2).to(filename=str(tmp_path / "large.cif"))
    out = tmp_path / "out.parquet"
    assert run(tmp_path, "--out", out, "--max-sites", "63") == cli.SOME_FAILED
    assert len(pd.read_parquet(out)) == 2
    assert "64 sites, which take some 0.0 GB of memory" in capsys.readouterr().err


def test_an_archive_that_was_cut_short_and_a_damaged_row_group_lose_no_other_row(
    run: Run, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("Si", "NaCl", "SrTiO3"):
            text = NAMED[name].to(fmt="cif").encode()
            info = tarfile.TarInfo(f"{name}.cif")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(content[: content.index(b"SrTiO3.cif") + 700])
    table = tmp_path / "b.parquet"
    cifs = [s.to(fmt="cif") for s in NAMED.values()][:6]
    pd.DataFrame({"cif": cifs, "n": range(6)}).to_parquet(table, row_group_size=2)
    damaged = bytearray(table.read_bytes())
    start = pq.ParquetFile(table).metadata.row_group(1).column(0).dictionary_page_offset
    damaged[start : start + 56] = b"\xff" * 56
    table.write_bytes(damaged)
    out, errors = tmp_path / "out.parquet", tmp_path / "errors.csv"
    code = run(tmp_path / "a.tar", table, "--out", out, "--errors", errors, part_rows=2)
    assert code == cli.SOME_FAILED
    ids = [f"{tmp_path / 'a.tar'}/{name}.cif" for name in ("Si", "NaCl", "SrTiO3")]
    ids += [f"{table}#{n}" for n in range(6)]
    assert list(pd.read_parquet(out)["id"]) == [ids[k] for k in (0, 1, 3, 4, 7, 8)]
    failed = pd.read_csv(errors)
    assert list(failed["id"]) == [ids[k] for k in (2, 5, 6)]
    assert failed["reason"].str.contains("damaged").all()
