"""The judge of ablations: which rows it uses, and that better columns score better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from places import SHARED

from benchmarks.columns import judge
from benchmarks.columns.judge import Judged, judge_columns, load_judged
from benchmarks.columns.regressors import Rows

needs_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the real data sets are not at {SHARED}"
)


@pytest.mark.slow
@needs_data
@pytest.mark.filterwarnings("ignore:.*no neighbour within")  # of real crystals
def test_no_test_row_is_near_and_the_control_is_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "JUDGED", {"log_g": ("shear_modulus", (20, 50))})
    (judged,) = load_judged(SHARED, tmp_path)
    parts = judged.table["formula_split"].to_numpy()
    assert set(parts) == {"train", "val"}
    assert len(judged.control) == len(judged.table)
    for n, subsets in judged.subsets.items():
        assert len(subsets) == 3
        for rows in subsets:
            assert len(rows.train) == n
            assert (parts[rows.train] == "train").all()
            assert (parts[rows.val] == "val").all()
            assert len(rows.test) == 0
            formulas = judged.table["formula_reduced"].to_numpy()
            assert not set(formulas[rows.train]) & set(formulas[rows.val])
    # The smaller subsets are parts of the larger ones.
    assert set(judged.subsets[20][1].train) <= set(judged.subsets[50][1].train)
    monkeypatch.setattr(judge, "OWN_BLOCKS", {})
    (again,) = load_judged(SHARED, tmp_path)
    np.testing.assert_array_equal(again.control, judged.control)


def test_columns_that_know_the_target_score_better_than_noise() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(size=(150, 8)).astype(np.float32)
    y = good[:, 0] - 2 * good[:, 1]
    noise = rng.normal(size=(150, 8)).astype(np.float32)
    rows = Rows(
        y, np.arange(100), np.arange(100, 150), np.array([], dtype=np.int64), np.arange(150)
    )
    judged = Judged("toy", pd.DataFrame(index=range(150)), noise[:, :2], {100: [rows]})
    with_signal, without = judge_columns(good, judged), judge_columns(noise, judged)
    assert set(with_signal) == {f"toy_100_{head}" for head in (*judge.JUDGE_HEADS, "control_stack")}
    assert all(with_signal[name] < 0.7 * without[name] for name in with_signal)
