"""The table of poolings: what each variant's columns are, and that the table is resumed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_corpora import prototypes

import pooling as pooling_ablation
from benchmarks.columns.judge import Judged
from benchmarks.columns.regressors import Rows
from harness.result_tables import read_results
from pooling import VARIANTS, latents, pooled, reduced


@pytest.fixture
def judged() -> Judged:
    # Bismuth is the last element of the tiny weights.
    structures = [s for s in prototypes() if max(s.atomic_numbers) <= 83][:40]
    y = np.array([np.mean(s.atomic_numbers) for s in structures])
    formulas = np.array([s.composition.reduced_formula for s in structures])
    parts = np.where(np.arange(40) < 30, "train", "val")
    table = pd.DataFrame({"structure": structures, "formula_split": parts})
    none = np.array([], dtype=np.int64)
    rows = Rows(y, np.arange(30), np.arange(30, 40), none, formulas)
    return Judged("gap", table, np.zeros((40, 2), np.float32), {2000: [rows]})


def test_variants_are_poolings_principal_components_and_the_embedding(
    judged: Judged, tiny_weights: Path
) -> None:
    weights = str(tiny_weights)
    mean, both = pooled("mean")(judged, weights), pooled("mean+std")(judged, weights)
    assert len(mean) == len(both) == 40
    assert both.shape[1] == 2 * mean.shape[1]
    components = reduced("mean+std", 5)(judged, weights)
    assert components.shape == (40, 5)
    # Centred on the training rows, which alone it was fitted to.
    np.testing.assert_allclose(components[:30].mean(axis=0), 0, atol=1e-3)
    assert latents(judged, weights).shape == (40, 16)
    assert set(VARIANTS) >= {"mean", "mean+std", "mean+std+min+max+sum"}


def test_variants_that_are_in_the_table_are_not_run_again(
    judged: Judged, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooling_ablation, "load_judged", lambda data, cache: [judged])
    out = tmp_path / "pooling.csv"
    options = ["--data", str(tmp_path), "--weights", str(tiny_weights), "--out", str(out)]
    pooling_ablation.main([*options, "--variants", "mean"])
    monkeypatch.setitem(VARIANTS, "mean", None)  # type: ignore[arg-type]
    pooling_ablation.main([*options, "--variants", "mean", "std"])
    table = read_results(str(out))
    assert list(table["columns"]) == ["mean", "std"]
    assert table["gap_2000_kernel_ridge"].notna().all()
    with pytest.raises(SystemExit):
        pooling_ablation.main([*options, "--variants", "median"])


def test_weights_of_the_same_folder_name_have_rows_of_their_own(
    judged: Judged, tiny_weights: Path, other_weights: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(pooling_ablation, "load_judged", lambda data, cache: [judged])
    out = tmp_path / "pooling.csv"
    for run, weights in (("a", tiny_weights), ("b", other_weights)):
        copy = tmp_path / run / "weights"
        shutil.copytree(weights, copy)
        options = ["--data", str(tmp_path), "--weights", str(copy), "--out", str(out)]
        pooling_ablation.main([*options, "--variants", "mean"])
    assert [name.split()[0] for name in read_results(str(out))["weights"]] == ["tiny", "other"]
