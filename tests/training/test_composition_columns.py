"""Columns of formulas: that Magpie is the measure, that no test row is read, and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_corpora import prototypes

import composition_columns
from harness.result_tables import read_results


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    # Bismuth is the last element of the tiny weights.
    structures = [s for s in prototypes() if max(s.atomic_numbers) <= 83][:80]
    y = np.array([np.mean(s.atomic_numbers) for s in structures])
    parts = np.array(["train"] * 50 + ["val"] * 20 + ["test"] * 10)
    y[parts == "test"] = 1e9
    formulas = [s.composition.reduced_formula for s in structures]
    table = pd.DataFrame(
        {"formula_reduced": formulas, "formula_split": parts, "structure": structures}
    )
    table[composition_columns.PROPERTIES["gap"].column] = y
    monkeypatch.setattr(composition_columns, "read_property_table", lambda *a: table)
    monkeypatch.setattr(composition_columns, "structures_of", lambda t: list(t["structure"]))
    return table


def test_columns_are_judged_against_magpie_on_val_and_not_twice(
    table: pd.DataFrame,
    weights_with_elements: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = f"{weights_with_elements} mean std"
    sets: dict[str, Any] = {"magpie": ("magpie",), "tiny": (tiny,), "magpie+tiny": ("magpie", tiny)}
    monkeypatch.setattr(composition_columns, "COLUMNS", sets)
    out = tmp_path / "out.csv"
    options = ["--data", str(tmp_path), "--properties", "gap", "--labels", "40", "--out", str(out)]
    composition_columns.main(options)
    found = read_results(str(out)).set_index("columns")
    assert list(found.index) == list(sets)
    assert list(found["n_columns"]) == [132, 16, 148]
    assert set(found["n_train"]) == {40}
    assert set(found["n_val"]) == {20}
    assert (found.loc["magpie", [c for c in found if c.endswith("_pct")]] == 0).all()
    assert (found[["kernel_ridge_error", "lightgbm_error", "mean_error"]] < 100).all(axis=None)

    monkeypatch.setattr(composition_columns, "Problem", None)
    composition_columns.main(options)  # all rows are there
