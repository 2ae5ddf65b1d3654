"""The ablation table: its rows are valid settings, and it goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import ablation
from harness.jobs import JobEnd
from harness.result_tables import read_results
from matminer_unate.network.weights import DEFAULT_WEIGHTS, weights_config
from pretrain import parse_arguments


@pytest.mark.parametrize("table", ablation.TABLES)
def test_every_row_is_a_valid_and_different_setting(table: str) -> None:
    base, rows, deciding = ablation.TABLES[table]
    assert set(deciding) <= set(rows)
    seen = {}
    for name, options in rows.items():
        _, config = parse_arguments([*base.split(), *options.split(), "--data", "x"])
        assert config not in seen.values(), name
        seen[name] = config


def test_a_table_keeps_finished_rows_and_adds_the_missing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {"no jitter"}

    def run(_: object, jobs: list[tuple], n: int, fresh: bool) -> Iterator[JobEnd]:
        assert fresh
        for number, (name, seed, *_) in enumerate(jobs):
            future: Future[Any] = Future()
            if name in broken:
                future.set_exception(MemoryError("out of memory"))
            else:
                future.set_result({"row": name, "seed": seed, "gap_2000_kernel_ridge": 0.4})
            yield number, future

    monkeypatch.setattr(ablation, "run_jobs", run)
    monkeypatch.setattr(ablation, "prepare", lambda data, work: None)
    out = str(tmp_path / "table.csv")
    command = ["--data", str(tmp_path), "--work", str(tmp_path), "--out", out, "--jobs", "1"]
    ablation.main([*command, "--rows", "no strain", "no jitter"])
    assert "out of memory" in capsys.readouterr().out
    assert read_results(out)["row"].tolist() == ["no strain"]
    broken.clear()
    ablation.main([*command, "--rows", "no strain", "no jitter"])
    assert read_results(out)["row"].tolist() == ["no strain", "no jitter"]
    ablation.main([*command, "--rows", "base"])
    assert sorted(read_results(out)["row"]) == ["base"] * 3 + ["no jitter", "no strain"]


def test_weights_that_are_there_are_judged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "prepare", lambda data, work: None)
    monkeypatch.setattr("benchmarks.columns.judge.load_judged", lambda data, cache: [])
    monkeypatch.setattr(
        "benchmarks.columns.judge.judge",
        lambda weights, properties, brief: {"gap_2000_kernel_ridge": 0.4},
    )
    out = str(tmp_path / "table.csv")
    command = ["--table", "learning_curves", "--data", str(tmp_path), "--work", str(tmp_path)]
    for _ in range(2):
        ablation.main([*command, "--out", out, "--rows", "--judge", DEFAULT_WEIGHTS])
    (row,) = read_results(out).to_dict("records")
    epochs = weights_config(DEFAULT_WEIGHTS).training["config"]["epochs"]
    assert row["row"] == f"{epochs} epochs ({DEFAULT_WEIGHTS}, from {DEFAULT_WEIGHTS})"
    assert row["gap_2000_kernel_ridge"] == 0.4
