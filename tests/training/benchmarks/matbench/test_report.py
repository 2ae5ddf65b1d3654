"""The page of MatBench: whole runs are ranked, others stand apart."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.matbench.report import matbench_report, options_in_words


def write_runs(path: Path, errors: dict[str, dict[int, float]]) -> None:
    """Runs by their options, with the error of each fold."""
    rows = [
        {
            "task": "perovskites", "part": "test", "model": "network", "options": options,
            "fold": fold, "error": error, "error_strict": error, "n_rows_task": 18928,
            "rows_missing": 0, "columns_cpu_s": 0.0, "fit_cpu_s": 60.0, "predict_cpu_s": 0.0,
            "roc_auc_of_probabilities": None, "held_out_error": None,
        }
        for options, folds in errors.items()
        for fold, error in folds.items()
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(path, index=False)


def test_means_over_some_folds_are_not_ranked(tmp_path: Path) -> None:
    whole = {fold: 0.03 + 0.001 * fold for fold in range(5)}
    path = tmp_path / "matbench.csv"
    write_runs(path, {"network.epochs=80": whole, "network.epochs=160": {4: 0.011, 0: 0.013}})
    matbench_report(path)
    page = path.with_suffix(".md").read_text()
    ranked, _, apart = page.partition("Some folds only")
    assert "| **this package, network** (80 epochs) | 0.0320 | 0.0320 | 0.0320 | ± 0.0016" in ranked
    assert "160 epochs" not in ranked
    assert "| **this package, network** (160 epochs) | 0, 4 | 0.0120 | 0.0320 |" in apart
    assert path.with_suffix(".png").stat().st_size > 1000


@pytest.mark.parametrize("fold", [0, 3])
def test_a_first_fold_has_a_page_without_a_figure(tmp_path: Path, fold: int) -> None:
    path = tmp_path / "matbench.csv"
    write_runs(path, {"defaults": {fold: 0.05}})
    matbench_report(path)
    page = path.with_suffix(".md").read_text()
    assert f"| **this package, network** | {fold} | 0.0500 |  |" in page
    assert "coGN" in page
    assert ".png" not in page
    assert not path.with_suffix(".png").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("defaults", ""),
        ("network.n_members=1 network.validation_share=0", ""),
        ("network.validation_share=0.1", "validation_share 0.1"),
        (
            "network.dropout=0 network.epochs=20 network.n_members=1 networks=3 share=0.8 "
            "trees of 15 leaves",
            "3 networks, 20 epochs, dropout 0, share 0.8, trees of 15 leaves",
        ),
    ],
)
def test_options_are_told_in_words(options: str, words: str) -> None:
    assert options_in_words(options) == words
