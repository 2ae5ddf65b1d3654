"""``unate similar``: neighbours and duplicates in files of crystals."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from real_crystals import crystals

from matminer_unate.cli import main as cli
from matminer_unate.cli import similar as similar_command

NAMED = crystals()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    frame = pd.DataFrame(
        {"id": list(NAMED), "structure": [json.dumps(s.as_dict()) for s in NAMED.values()]}
    )
    path = tmp_path / "corpus.parquet"
    pd.concat([frame, frame.iloc[[3]].assign(id="again")]).to_parquet(path)
    return path


@pytest.fixture
def query(tmp_path: Path) -> Path:
    path = tmp_path / "query.cif"
    NAMED["ZnO wurtzite"].to(filename=str(path), fmt="cif")
    return path


def run(weights: Path, *args: object) -> int:
    common = ["--weights", str(weights), "--device", "cpu"]
    return cli.main(["similar", *map(str, args), *common])


def test_the_nearest_are_printed_or_written(
    tiny_weights: Path, corpus: Path, query: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny_weights, query, "--in", corpus, "-k", "2") == cli.OK
    lines = capsys.readouterr().out.splitlines()
    assert "ZnO wurtzite" in lines[1]
    assert "0.0000" in lines[1]
    assert lines[-1] == "2 neighbours"
    out = corpus.with_name("near.csv")
    assert run(tiny_weights, query, corpus, "--in", corpus, "-k", "2", "--out", out) == cli.OK
    found = pd.read_csv(out)
    assert list(found) == ["query", "row", "id", "formula", "distance"]
    assert len(found) == 2 * (len(NAMED) + 2)
    assert run(tiny_weights, query, "--in", corpus, "--out", out) == cli.UNUSABLE
    assert "exists already" in capsys.readouterr().err


def test_rows_that_cannot_be_used_are_failures(
    tiny_weights: Path, corpus: Path, query: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alloy = NAMED["NaCl"].copy()
    alloy.replace_species({"Na": {"Na": 0.5, "K": 0.5}})
    mixed = corpus.with_name("alloy.cif")
    alloy.to(filename=str(mixed), fmt="cif")
    assert run(tiny_weights, query, mixed, "--in", corpus, "--quiet") == cli.SOME_FAILED
    told = capsys.readouterr()
    assert "rows failed" in told.err
    assert "alloy.cif" in told.err
    assert "ZnO wurtzite" in told.out
    assert run(tiny_weights, mixed, "--in", corpus) == cli.UNUSABLE
    told = capsys.readouterr()
    assert "alloy.cif" in told.err
    assert "no query is a usable crystal" in told.err
    assert run(tiny_weights, query, "--in", mixed) == cli.UNUSABLE
    assert "the corpus has no usable crystal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-k", "0"], "-k is a whole number from 1 on"),
        (["--distance", "nan"], "--distance must be 0 or more"),
        (["--out", "nowhere/near.csv"], "the folder it is in does not exist"),
        (["--save", "nowhere/kept"], "the folder it is in does not exist"),
    ],
)
def test_wrong_options_are_told_before_anything_is_embedded(
    tiny_weights: Path,
    corpus: Path,
    query: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(similar_command, "open_corpus", None)
    assert run(tiny_weights, query, "--in", corpus, *options) == cli.UNUSABLE
    assert message in capsys.readouterr().err


def test_duplicates_are_found_and_an_index_is_kept(
    tiny_weights: Path, corpus: Path, query: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, out = corpus.with_name("kept"), corpus.with_name("twice.parquet")
    assert run(tiny_weights, "--in", corpus, "--duplicates", "--out", out) == cli.OK
    found = pd.read_parquet(out)
    assert found[["id", "same_as_id"]].values.tolist() == [["again", list(NAMED)[3]]]
    assert run(tiny_weights, "--in", corpus, "--save", kept) == cli.OK
    assert run(tiny_weights, query, "--in", kept, "-k", "1") == cli.OK
    assert "ZnO wurtzite" in capsys.readouterr().out


def test_no_duplicates_are_no_table(
    tiny_weights: Path, query: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny_weights, "--in", query, "--duplicates") == cli.OK
    assert capsys.readouterr().out == "0 duplicates\n"


def test_rows_that_cannot_be_read_are_counted(
    tiny_weights: Path, corpus: Path, query: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = query.with_name("broken.cif")
    broken.write_text("nothing")
    assert run(tiny_weights, query, broken, "--in", corpus) == cli.SOME_FAILED
    assert "broken.cif" in capsys.readouterr().err
    assert run(tiny_weights, broken, "--in", corpus) == cli.UNUSABLE
    for wrong in ((query, "--in", corpus, "--duplicates"), ("--in", corpus)):
        assert run(tiny_weights, *wrong) == cli.UNUSABLE


@pytest.mark.parametrize("disorder", ["ordered", "average"])
def test_disordered_crystals_are_compared(
    tiny_weights: Path,
    corpus: Path,
    query: Path,
    capsys: pytest.CaptureFixture[str],
    disorder: str,
) -> None:
    alloy = query.with_name("alloy.cif")
    mixed = NAMED["ZnO wurtzite"].copy()
    mixed.replace_species({"Zn": {"Zn": 0.5, "Mg": 0.5}})
    mixed.to(filename=str(alloy), fmt="cif")
    options = "--in", corpus, "-k", "1", "--disorder", disorder
    assert run(tiny_weights, alloy, *options) == cli.OK
    printed = capsys.readouterr()
    assert "1 neighbours" in printed.out
    assert "1 row(s) hold sites of mixed or partial occupancy" in " ".join(printed.err.split())
