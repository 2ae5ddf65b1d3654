"""``unate merge``: what it takes the place of, and what is left of one that was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from real_crystals import crystals

from matminer_unate.cli import main as cli
from matminer_unate.engine import merging
from matminer_unate.engine.blocks import Shard
from matminer_unate.engine.parts import ERRORS, MANIFEST
from matminer_unate.engine.running import held

TEXTS = [s.to(fmt="cif") for s in list(crystals().values())[:7]]


def featurize(*args: Any) -> int:
    own = ["--columns", "fingerprint", "--part-rows", "2"]
    return cli.main(["featurize", *map(str, args), *own])


def merge(*args: Any) -> int:
    return cli.main(["merge", *map(str, args)])


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Seven rows, of which the last is bad: four parts."""
    path = tmp_path / "large.csv"
    pd.DataFrame({"id": list("abcdefg"), "cif": [*TEXTS[:6], ""]}).to_csv(path, index=False)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The finished parts of two shards: three rows in two of them."""
    path, out = tmp_path / "small.csv", tmp_path / "small.parquet"
    pd.DataFrame({"id": list("xyz"), "cif": TEXTS[4:7]}).to_csv(path, index=False)
    for k in (1, 2):
        assert featurize(path, "--out", out, "--shard", f"{k}/2") == cli.OK
    return Path(f"{out}.parts")


def ids(path: Path) -> list[str]:
    return list(pd.read_parquet(path)["id"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_merging_over_a_finished_data_set_leaves_nothing_of_it(
    large: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert featurize(large, "--out", out) == cli.SOME_FAILED
    before = contents(out)
    assert ERRORS in before
    assert merge("--out", out, small) == cli.UNUSABLE
    assert "holds a finished table; pass --overwrite" in capsys.readouterr().err
    assert contents(out) == before
    assert merge("--out", out, small, "--overwrite") == cli.OK
    assert sorted(contents(out)) == [MANIFEST, "part-000000.parquet", "part-000001.parquet"]
    assert ids(out) == list("xyz")


def test_a_finished_data_set_may_be_merged_with_itself(large: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert featurize(large, "--out", out) == cli.SOME_FAILED
    before = contents(out)
    assert merge("--out", out, "--overwrite") == cli.SOME_FAILED
    assert contents(out) == before


@pytest.mark.parametrize("name", ["out.parquet", "out"])
def test_parts_of_another_run_are_removed_only_when_asked(
    name: str, large: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    parts = out if name == "out" else Path(f"{out}.parts")
    assert featurize(large, "--out", out, "--shard", "1/2") == cli.OK
    before = contents(parts)
    assert merge("--out", out, small) == cli.UNUSABLE
    err = capsys.readouterr().err
    assert f"{parts} holds the parts of another run than those to be merged: the input" in err
    assert "Give another --out, or pass --overwrite to remove them" in err
    assert contents(parts) == before
    with held(parts, Shard(2, 2), print):
        assert merge("--out", out, small, "--overwrite") == cli.UNUSABLE
        assert "is writing shard 2/2 to" in capsys.readouterr().err
        assert contents(parts).items() >= before.items()
    assert merge("--out", out, small, "--overwrite") == cli.OK
    assert ids(out) == list("xyz")
    assert name == "out" or not parts.exists()


def test_nobody_writes_where_a_merge_does(
    large: Path,
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, copy, codes = tmp_path / "out", merging._copy, []

    def meanwhile(*args: Any) -> None:
        codes.append(featurize(large, "--out", out, "--overwrite", "--shard", "1/2"))
        copy(*args)

    monkeypatch.setattr(merging, "_copy", meanwhile)
    assert merge("--out", out, small) == cli.OK
    assert set(codes) == {cli.UNUSABLE}
    assert "is writing shard 1/1 to" in capsys.readouterr().err
    assert ids(out) == list("xyz")


def test_a_merge_that_was_stopped_says_so_and_goes_on(
    large: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out, whole = (tmp_path / name for name in ("s.parquet", "out", "whole"))
    for k in (1, 2):
        featurize(large, "--out", source, "--shard", f"{k}/2")
    assert featurize(large, "--out", whole) == cli.SOME_FAILED
    copy, calls = merging._copy, []

    def stopped(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        copy(*args)

    with monkeypatch.context() as patched:
        patched.setattr(merging, "_copy", stopped)
        assert merge("--out", out, f"{source}.parts") == cli.INTERRUPTED
    err = capsys.readouterr().err
    assert f"the same command goes on: 4 rows are kept in {out}" in err
    # Whoever reads the folder is told by this that it is not whole.
    lines = (out / "_manifest-1-of-1.jsonl").read_text().splitlines()
    assert [json.loads(line)["part"]["block"] for line in lines[1:]] == [0, 1]
    assert not (out / MANIFEST).exists()
    assert cli.main(["featurize", str(out), "--out", str(tmp_path / "x.csv")]) == cli.UNUSABLE
    (out / ".part-000002.parquet.1.part").write_bytes(b"half")  # of one that was killed
    assert merge("--out", out, f"{source}.parts") == cli.SOME_FAILED
    assert contents(out) == contents(whole)


def test_a_source_that_is_damaged_is_named_and_kept(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = small / "part-000001.parquet", tmp_path / "out.parquet"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert merge("--out", out, small) == cli.UNUSABLE
    assert f"{path} was damaged after it was written; remove it, and the" in capsys.readouterr().err
    assert path.read_bytes() == content
    assert not out.exists()
