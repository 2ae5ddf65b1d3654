"""The script that compares transformed targets with plain ones: what it counts is what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_corpora import prototypes

import targets
from benchmarks.columns.regressors import Rows
from matminer_unate import UnateRegressor
from matminer_unate.regressors import blend


@pytest.mark.slow
def test_errors_and_coverage_are_those_of_the_val_rows(tiny_weights: Path, monkeypatch) -> None:
    def small(**options):
        return UnateRegressor(tiny_weights, tight_binding=False, **options)

    monkeypatch.setattr(targets, "UnateRegressor", small)
    monkeypatch.setattr(blend, "N_TREES", 20)
    structures = [s for s in prototypes() if max(s.atomic_numbers) <= 83][:36]
    table = small(progress=False).featurize(structures)
    y = np.array([np.exp(s.volume / len(s) / 4) for s in structures])
    rows = Rows(y, np.arange(24), np.arange(24, 36), np.arange(0), table["formula"].to_numpy())
    found = targets.measure(table, rows)
    model = small(progress=False).fit(table[:24], y[:24])
    assert found["n_val"] == 12
    assert found["mae_auto"] == pytest.approx(
        np.abs(model.predict(table[24:]) - y[24:]).mean(), rel=1e-4
    )
    assert found["held_out_auto"] == pytest.approx(model.held_out_error_, rel=1e-4)
    assert found["most_folds_chose"] == model.transforms_.idxmax()
    low, high = model.predict_interval(table[24:], 0.8).T
    assert found["coverage_80"] == pytest.approx(
        np.mean((low <= y[24:]) & (y[24:] <= high)), rel=1e-4
    )


def test_small_subsets_are_more() -> None:
    assert [targets.n_subsets(n) for n in (250, 600, 2000)] == [3, 2, 1]
