"""The table of columns of the cell: its rows, and that a stopped run goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matbench_folder import crystal_columns
from small_corpora import prototypes

import cell_columns
from benchmarks.columns.cell_candidates import CANDIDATES
from harness.result_tables import read_results
from matminer_unate import CellStats


@pytest.fixture
def data(tmp_path: Path) -> Path:
    structures = list(prototypes()[:70])
    table = crystal_columns(structures)
    table["piezo_eij_max_c_per_m2"] = [float(np.mean(s.atomic_numbers)) for s in structures]
    table["formula_split"] = np.where(np.arange(70) < 60, "train", "test")
    table.to_parquet(tmp_path / "mp_piezoelectric.parquet")
    return tmp_path


def run(data: Path) -> pd.DataFrame:
    out = data / "cell_columns.csv"
    cell_columns.main(
        [
            *("--data", str(data), "--work", str(data / "work"), "--out", str(out)),
            *("--properties", "piezoelectric", "--bases", "control"),
        ]
    )
    return read_results(str(out))


@pytest.mark.slow
def test_every_group_and_candidate_is_a_row_and_a_second_run_adds_none(data: Path) -> None:
    table = run(data)
    wanted = ["none", *cell_columns.GROUPS, *CANDIDATES]
    assert table["columns"].tolist() == wanted
    assert (table["n_rows"] == 60).all()
    assert (table.loc[0, ["lightgbm_pct", "kernel_ridge_pct", "mean_pct"]] == 0).all()
    for head in cell_columns.HEADS:
        assert (table[f"{head}_low"] <= table[f"{head}_pct"]).all()
        assert (table[f"{head}_pct"] <= table[f"{head}_high"]).all()
    pd.testing.assert_frame_equal(run(data), table)


def test_groups_part_the_columns_of_cell_stats() -> None:
    names = CellStats().feature_labels()
    *groups, everything = cell_columns.GROUPS.values()
    for name in names:
        assert sum(any(part in name for part in group) for group in groups) == 1, name
        assert any(part in name for part in everything)
