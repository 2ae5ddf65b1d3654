"""The ablation table: its rows are valid settings, and it goes on where it stopped."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import ablation
from harness.result_tables import read_results
from harness.stopping import Children
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

    def run(_: Children, command: list[str], **__: Any) -> subprocess.CompletedProcess[str]:
        name, seed = (command[command.index(k) + 1] for k in ("--single", "--seed"))
        if name in broken:
            return subprocess.CompletedProcess(command, 1, "", "out of memory")
        row = {"row": name, "seed": int(seed), "gap_2000_kernel_ridge": 0.4}
        return subprocess.CompletedProcess(command, 0, f"epoch 1\n{json.dumps(row)}\n", "")

    monkeypatch.setattr(Children, "run", run)
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
    monkeypatch.setattr("evaluation.load_tasks", lambda data, cache: [])
    monkeypatch.setattr("evaluation.judge", lambda weights, tasks: {"gap_2000_kernel_ridge": 0.4})
    out = str(tmp_path / "table.csv")
    command = ["--table", "learning_curves", "--data", str(tmp_path), "--work", str(tmp_path)]
    for _ in range(2):
        ablation.main([*command, "--out", out, "--rows", "--judge", DEFAULT_WEIGHTS])
    (row,) = read_results(out).to_dict("records")
    epochs = weights_config(DEFAULT_WEIGHTS).training["config"]["epochs"]
    assert row["row"] == f"{epochs} epochs ({DEFAULT_WEIGHTS})"
    assert row["gap_2000_kernel_ridge"] == 0.4
