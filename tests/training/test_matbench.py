"""MatBench as a command: rows, files, pages, and that a killed run goes on."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fine_tuning_cases import KilledError, kill_at
from matbench_folder import write_tasks
from places import ROOT

import matbench
import matminer_unate
from benchmarks.matbench import column_store, models
from benchmarks.matbench.report import matbench_report
from harness.result_tables import read_results
from matminer_unate import UnateFineTuneRegressor, UnateRegressor
from matminer_unate.errors import InputError

Run = Callable[..., pd.DataFrame]


@pytest.fixture
def options(tmp_path: Path, tiny_weights: Path) -> list[str]:
    quick = [f"weights={tiny_weights}", "tight_binding=false", "n_folds=3", "device=cpu"]
    return [
        *("--data", str(write_tasks(tmp_path)), "--work", str(tmp_path / "work")),
        *("--out", str(tmp_path / "matbench.csv"), "--recipe", *quick),
        *("--network", f"weights={tiny_weights}", "epochs=2", "n_members=1"),
        *("tight_binding=false", "device=cpu"),
    ]


@pytest.fixture
def run(options: list[str], tmp_path: Path) -> Run:
    def go(*more: str) -> pd.DataFrame:
        matbench.main([*options, *more])
        return read_results(str(tmp_path / "matbench.csv"))

    return go


def test_options_name_weights_of_ones_own_by_what_they_hold(
    options: list[str], tiny_weights: Path, other_weights: Path, tmp_path: Path
) -> None:
    def told(*more: str) -> str:
        args = matbench.parse_arguments([*options, "--model", "network", *more])
        fold = matbench.Fold(0, np.arange(4), np.arange(4, 6), "val")
        return str(matbench.run_key(args, "toy", fold)["options"])

    found = told("--network", f"weights={tiny_weights}")
    assert re.fullmatch(r"network\.weights=tiny_weights0:[0-9a-f]{8}", found)
    moved = tmp_path / "other"
    shutil.copytree(other_weights, moved / tiny_weights.name)
    assert told("--network", f"weights={moved / tiny_weights.name}") != found
    both = told("--network", f'weights=["mp_v3", "{tiny_weights}"]', "checkpoints=/some/place")
    assert re.fullmatch(r"network\.checkpoints=place network\.weights=mp_v3:\w{8}\+tiny.*", both)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which experts are fitted, in this order."""
    seen: list[str] = []
    usual = models.Experts._fit

    def fit(self: Any, estimator: Any, *rest: Any) -> Any:
        network = isinstance(estimator, UnateFineTuneRegressor)
        seen.append("network" if network else "recipe")
        return usual(self, estimator, *rest)

    monkeypatch.setattr(models.Experts, "_fit", fit)
    return seen


@pytest.mark.slow
def test_quick_looks_are_judged_on_training_rows(run: Run, fits: list[str], tmp_path: Path) -> None:
    table = run("--folds", "0", "2", "--n-train", "30", "--n-val", "12")
    assert table["fold"].tolist() == [0, 2]
    assert (table["part"] == "val").all()
    assert (table["n_train"] == 30).all()
    assert (table["n_rows"] == 12).all()
    assert (table["rows_missing"] == 10_987 - 60).all()
    assert (table["error"] < 0.5).all()
    assert (table["fit_cpu_s"] > 0).all()
    assert not list((tmp_path / "work").glob("*.gz"))
    assert "Quick looks" in (tmp_path / "matbench.md").read_text()
    # What is there is not done again, and what is more is added.
    again = run("--folds", "0", "2", "3", "--n-train", "30", "--n-val", "12")
    assert again["fold"].tolist() == [0, 2, 3]
    assert fits == ["recipe"] * 3


@pytest.mark.slow
def test_test_folds_are_written_for_the_leaderboard(run: Run, tmp_path: Path) -> None:
    table = run("--test", "--folds", "1", "4", "--tasks", "log_gvrh", "perovskites")
    assert (table["part"] == "test").all()
    assert (table["n_train"] == 48).all()
    assert (table["n_rows"] == 12).all()
    content = json.loads(gzip.decompress((tmp_path / "work/results-recipe.json.gz").read_bytes()))
    results = content["tasks"]["matbench_perovskites"]["results"]
    assert list(results) == ["fold_1", "fold_4"]
    assert list(results["fold_1"]["data"])[:2] == ["mb-perovskites-00002", "mb-perovskites-00007"]
    errors = table.query("task == 'perovskites'")["error"]
    assert errors.tolist() == pytest.approx([r["scores"]["mae"] for r in results.values()])
    page = (tmp_path / "matbench.md").read_text()
    assert "60 of 10,987 official rows (0.5%)" in page
    assert "| coNGN | 0.0670 | 0.0668 | 0.0657 |  |" in page
    assert "**this package, recipe**" in page


@pytest.mark.filterwarnings("ignore:.* have not seen")
def test_the_mean_of_both_takes_fits_that_are_there(run: Run, fits: list[str]) -> None:
    rows = ("--folds", "0", "--n-train", "40", "--n-val", "8")
    run(*rows)
    table = run(*rows, "--model", "both")
    assert fits == ["recipe", "network", "network"]  # the last one chooses the share
    assert table["network_share"].iloc[1] in models.TENTHS
    given = run(*rows, "--model", "both", "--share", "0.5")
    assert given["network_share"].iloc[2] == 0.5
    assert given["options"].iloc[2].endswith("share=0.5")
    network = run(*rows, "--model", "network")
    assert len(fits) == 3
    errors = network["error"].to_numpy()
    assert errors[2] <= 0.5 * errors[0] + 0.5 * errors[3] + 1e-9
    # One more network is added to the one that is there.
    two = run(*rows, "--model", "network", "--networks", "2")
    assert fits[3:] == ["network"]
    assert two["options"].iloc[4].endswith("networks=2")
    assert two["error"].iloc[4] != errors[3]


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_its_columns_and_fits(
    run: Run, fits: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(column_store, "PART_ROWS", 16)
    usual, made = column_store.write_part, []

    def stop_at_the_third(folder: Path, ids: Any, *rest: Any) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(len(ids))
        usual(folder, ids, *rest)

    monkeypatch.setattr(column_store, "write_part", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run("--test", "--folds", "0")
    assert made == [16, 16]
    monkeypatch.setattr(column_store, "write_part", lambda *a: (made.append(len(a[1])), usual(*a)))
    stopped = run("--test", "--folds", "0")
    assert sum(made) == 60
    # Fits are there too where the table is not.
    (tmp_path / "matbench.csv").unlink()
    again = run("--test", "--folds", "0", "1")
    assert sum(made) == 60
    assert fits == ["recipe", "recipe"]
    assert again["error"].iloc[0] == stopped["error"].iloc[0]


@pytest.mark.slow
def test_a_killed_run_goes_on(options: list[str], run: Run, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'training')!r}];"
        "from benchmarks.matbench import column_store; column_store.PART_ROWS = 5;"
        f"import matbench; matbench.main({[*options, '--test', '--folds', '0']!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    columns = tmp_path / "work" / "columns"
    while not list(columns.glob("*/*.parquet")) and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in columns.glob("*/*.parquet")}
    assert kept
    table = run("--test", "--folds", "0")
    assert len(table) == 1
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())


@pytest.mark.filterwarnings("ignore:.* have not seen")
def test_a_network_goes_on_within_its_fit(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = "--test", "--folds", "0", "--model", "network"
    whole = run(*command)
    shutil.rmtree(tmp_path / "work" / "fits")
    (tmp_path / "matbench.csv").unlink()
    with monkeypatch.context() as patch:
        kill_at(patch, 2)
        with pytest.raises(KilledError):
            run(*command)
    kept = tmp_path / "work" / "checkpoints"
    assert len(list(kept.iterdir())) == 1
    again = run(*command)
    assert again["error"].iloc[0] == whole["error"].iloc[0]
    assert not list(kept.iterdir())


def test_crystals_without_columns_are_counted_and_get_the_median(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "matbench_elastic.parquet"
    table = pd.read_parquet(path)
    table.at[5, "frac_coords"] = np.zeros(3 * table.at[5, "n_sites"])  # all atoms at one place
    table.to_parquet(path)
    with pytest.warns(UserWarning, match="have no columns"):
        found = run("--test", "--folds", "0")
    assert found["n_filled"].tolist() == [1]


class StandInClassifier(UnateRegressor):
    """What is used of a classifier."""

    def fit(self, X: Any, y: Any) -> StandInClassifier:
        self.classes_ = np.unique(y)
        return super().fit(X, y)

    def predict_proba(self, X: Any) -> np.ndarray:
        of_one = self.predict(X).clip(0, 1)
        return np.column_stack([1 - of_one, of_one])


def test_classes_are_judged_by_the_area_under_the_curve(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(matminer_unate, "UnateClassifier", StandInClassifier, raising=False)
    table = run("--test", "--folds", "0", "1", "--tasks", "mp_is_metal")
    assert (table["metric"] == "rocauc").all()
    assert table["error"].between(0, 1).all()
    assert table["roc_auc_of_probabilities"].between(0, 1).all()
    page = (tmp_path / "matbench.md").read_text()
    assert page.index("CGCNN") < page.index("ALIGNN")
    assert "of probabilities" in page


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--test", "--n-train", "5"], "--test takes all training rows"),
        (["--folds", "5"], "--folds are from 0 to 4"),
        (["--share", "1.5"], "--share is from 0 to 1"),
        (["--tasks", "glass"], "'glass' is none of log_kvrh"),
    ],
)
def test_wrong_options_end_with_a_line(
    run: Run, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(*more)
    assert message in capsys.readouterr().err


def test_unknown_options_of_estimators_are_named(run: Run) -> None:
    with pytest.raises(InputError, match="UnateFineTuneRegressor has no option 'members'"):
        run("--network", "members=2")


def test_the_committed_page_is_that_of_the_table(tmp_path: Path) -> None:
    results = ROOT / "training" / "results"
    copy = tmp_path / "matbench.csv"
    copy.write_bytes((results / "matbench.csv").read_bytes())
    matbench_report(copy)
    assert copy.with_suffix(".md").read_text() == (results / "matbench.md").read_text()
