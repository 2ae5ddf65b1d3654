"""The script that compares transformed targets with plain ones: what it counts is what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_corpora import prototypes

import targets
from benchmarks.columns.regressors import Rows
from harness.result_tables import read_results
from matminer_unate import UnateFineTuneRegressor, UnateRegressor
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


def test_fine_tuning_is_measured_with_and_without_a_transformation(
    tiny_weights: Path, monkeypatch, tmp_path: Path
) -> None:
    def small(**options):
        return UnateFineTuneRegressor(tiny_weights, epochs=2, tight_binding=False, **options)

    def problems(args, names):
        return table, {(names[0], 24): [rows]}

    monkeypatch.setattr(targets, "UnateFineTuneRegressor", small)
    monkeypatch.setattr(targets, "read_problems", problems)
    monkeypatch.setattr(targets, "structures_of", lambda table: list(table["structure"]))
    structures = [s for s in prototypes() if max(s.atomic_numbers) <= 83][:36]
    table = pd.DataFrame({"structure": structures})
    y = np.array([s.volume / len(s) for s in structures])
    rows = Rows(y, np.arange(24), np.arange(24, 36), np.arange(0), np.arange(36).astype(str))
    out = tmp_path / "networks.csv"
    command = ["--data", ".", "--network", "--properties", "gap", "exfoliation", "--out", str(out)]
    targets.main(command)
    found = read_results(str(out))
    assert found[["property", "target"]].to_numpy().tolist() == [
        [name, target] for name in ("gap", "exfoliation") for target in ("auto", "identity")
    ]
    assert (found["n_val"] == 12).all()
    model = small(target="identity", n_members=1, random_state=0, device="cpu", progress=False)
    error = np.abs(model.fit(structures[:24], y[:24]).predict(structures[24:]) - y[24:]).mean()
    same = found[found["transform"] == "identity"]
    np.testing.assert_allclose(same["mae"], error, rtol=1e-4)
    targets.main(command)  # nothing is left to do
    pd.testing.assert_frame_equal(read_results(str(out)), found)
