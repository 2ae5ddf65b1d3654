"""What ``training/novelty_coverage.py`` counts, and the figure of it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.columns.novelty_figure import AFTER, BEFORE, MEASURES, TITLES, novelty_figure
from harness.result_tables import write_table
from novelty_coverage import _last_tenth, distances


def test_training_rows_are_far_from_those_of_other_folds() -> None:
    own, new = np.array([[0.0], [1.0], [5.0], [9.0]]), np.array([[4.0]])
    near, new_near = distances(own, [np.array([0, 1]), np.array([2, 3])], new)
    assert near.tolist() == [5.0, 4.0, 4.0, 8.0]
    assert new_near.tolist() == [1.0]
    assert sorted(_last_tenth(np.arange(20.0)[::-1])) == [0, 1]


def test_the_figure_is_drawn_from_the_table(tmp_path: Path) -> None:
    rows = []
    for name, bars, group in itertools.product(TITLES, (BEFORE, AFTER), ("", "halogens")):
        row = {"property": name, "left_out": group, "error_bars": bars, "mae": 0.1}
        row |= {f"mae_least_familiar_tenth_{m}": 0.2 for m in MEASURES}
        for end in ("", "_least_sure_tenth", "_least_familiar_tenth_kernel"):
            row[f"coverage_90{end}"] = 0.9
        rows.append(row)
    out = tmp_path / "novelty_coverage.csv"
    write_table(pd.DataFrame(rows), str(out), "a note")
    novelty_figure(out)
    assert out.with_suffix(".png").stat().st_size > 10_000
