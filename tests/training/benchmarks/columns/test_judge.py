"""The judge of ablations: which rows it uses, and that better columns score better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from places import SHARED

from benchmarks.columns import judge as evaluation
from benchmarks.columns.judge import Property, Task, judge_columns, load_tasks
from benchmarks.columns.regressors import Rows

needs_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the real data sets are not at {SHARED}"
)


@needs_data
def test_no_test_row_is_near_and_the_control_is_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shear = Property("mp_elasticity.parquet", "shear_modulus_vrh_gpa", True, -np.inf, (20, 50))
    monkeypatch.setattr(evaluation, "PROPERTIES", {"log_g": shear})
    (task,) = load_tasks(SHARED, tmp_path)
    parts = task.table["formula_split"].to_numpy()
    assert set(parts) == {"train", "val"}
    assert len(task.control) == len(task.table)
    for n, subsets in task.subsets.items():
        assert len(subsets) == 3
        for rows in subsets:
            assert len(rows.train) == n
            assert (parts[rows.train] == "train").all()
            assert (parts[rows.val] == "val").all()
            assert len(rows.test) == 0
            formulas = task.table["formula_reduced"].to_numpy()
            assert not set(formulas[rows.train]) & set(formulas[rows.val])
    # The smaller subsets are parts of the larger ones.
    assert set(task.subsets[20][1].train) <= set(task.subsets[50][1].train)
    monkeypatch.setattr(evaluation, "magpie", None)
    (again,) = load_tasks(SHARED, tmp_path)
    np.testing.assert_array_equal(again.control, task.control)


def test_columns_that_know_the_target_score_better_than_noise() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(size=(150, 8)).astype(np.float32)
    y = good[:, 0] - 2 * good[:, 1]
    noise = rng.normal(size=(150, 8)).astype(np.float32)
    rows = Rows(
        y, np.arange(100), np.arange(100, 150), np.array([], dtype=np.int64), np.arange(150)
    )
    task = Task("toy", pd.DataFrame(index=range(150)), noise[:, :2], {100: [rows]})
    with_signal, without = judge_columns(good, task), judge_columns(noise, task)
    assert set(with_signal) == {
        f"toy_100_{head}" for head in (*evaluation.JUDGE_HEADS, "control_stack")
    }
    assert all(with_signal[name] < 0.7 * without[name] for name in with_signal)
