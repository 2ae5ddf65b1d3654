"""Official matbench tasks: a stand-in of their documented interface, and the real classes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_corpora import prototypes

import classical
from benchmarks.columns import matbench as matbench_tasks
from matminer_unate import UnateRegressor
from matminer_unate.errors import InputError

MODEL = UnateRegressor(tight_binding=False, n_folds=3, device="cpu")


def tiny_frame() -> pd.DataFrame:
    """Thirty crystals with a target that can be learned, indexed as matbench does."""
    structures = prototypes()[:30]
    return pd.DataFrame(
        {
            "structure": list(structures),
            "n": [float(np.mean(s.atomic_numbers)) for s in structures],
        },
        index=[f"mb-dielectric-{k:04d}" for k in range(30)],
    )


class StandInTask:
    """What :mod:`matbench_tasks` uses of ``MatbenchTask``."""

    folds = (0, 1)
    dataset_name = "matbench_dielectric"

    def __init__(self, input_type: str = "structure", task_type: str = "regression") -> None:
        self.metadata = SimpleNamespace(input_type=input_type, target="n", task_type=task_type)
        self.recorded: dict[int, tuple[Any, Any]] = {}
        self.scores: dict[str, float] = {}
        self.df: pd.DataFrame | None = None

    def load(self) -> None:
        self.df = tiny_frame()
        if self.metadata.task_type == "classification":
            self.df["n"] = self.df["n"] > 20

    def get_train_and_val_data(self, fold: int) -> tuple[pd.Series, pd.Series]:
        rows = self.df[np.arange(30) % 2 != fold]
        return rows["structure"], rows["n"]

    def get_test_data(self, fold: int, include_target: bool = True) -> pd.Series:
        assert not include_target
        return self.df.loc[np.arange(30) % 2 == fold, "structure"]

    def record(self, fold: int, predictions: Any, std: Any = None, params: Any = None) -> None:
        self.recorded[fold] = (predictions, std)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandInTask:
    task = StandInTask()

    class Benchmark:
        tasks = (task,)

        def __init__(self, autoload: bool, subset: list[str]) -> None:
            if subset != ["matbench_dielectric"]:
                raise KeyError(f"Some tasks in {subset} are not datasets")

        def add_metadata(self, metadata: dict[str, str]) -> None:
            self.metadata = metadata

        def to_file(self, path: str) -> None:
            Path(path).write_text(json.dumps(self.metadata), encoding="utf-8")

    bench = ModuleType("matbench.bench")
    bench.MatbenchBenchmark = Benchmark  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "matbench", ModuleType("matbench"))
    monkeypatch.setitem(sys.modules, "matbench.bench", bench)
    return task


def test_every_fold_is_recorded_with_error_bars(stand_in: StandInTask, tmp_path: Path) -> None:
    matbench_tasks.run(["matbench_dielectric"], MODEL, str(tmp_path / "results.json"))
    assert json.loads((tmp_path / "results.json").read_text())["weights"] == "mp_v2, mp_v2_taught"
    truth = tiny_frame()["n"].to_numpy()
    for fold in (0, 1):
        predictions, std = stand_in.recorded[fold]
        expected = truth[np.arange(30) % 2 == fold]
        assert predictions.shape == std.shape == expected.shape
        assert (std > 0).all()
        assert np.abs(predictions - expected).mean() < np.abs(truth.mean() - expected).mean()


def test_classes_are_recorded_as_probabilities() -> None:
    task = StandInTask(task_type="classification")
    task.load()
    matbench_tasks.record_folds(task, MODEL)
    for predictions, std in task.recorded.values():
        assert std is None
        assert ((predictions >= 0) & (predictions <= 1)).all()


def test_tasks_of_compositions_and_unknown_ones_are_refused(
    stand_in: StandInTask, tmp_path: Path
) -> None:
    out = str(tmp_path / "results.json")
    with pytest.raises(InputError, match="not datasets"):
        matbench_tasks.run(["matbench_hardness"], MODEL, out)
    stand_in.metadata.input_type = "composition"
    with pytest.raises(InputError, match="compositions only"):
        matbench_tasks.run(["matbench_dielectric"], MODEL, out)
    assert not stand_in.recorded


def test_a_missing_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matbench", None)
    with pytest.raises(ImportError, match="pip install --no-deps matbench"):
        classical.main(["--matbench", "matbench_dielectric", "--out", str(tmp_path / "x.json")])


def test_the_real_classes_take_and_validate_our_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_module = pytest.importorskip("matbench.task", reason="matbench is not installed")
    util = pytest.importorskip("matbench.util")
    frame = tiny_frame()
    ids = list(frame.index)
    folds = {f"fold_{k}": {"train": ids[k::2], "test": ids[1 - k :: 2]} for k in (0, 1)}
    monkeypatch.setattr(task_module, "load", lambda name: frame)
    monkeypatch.setitem(
        task_module.mbv01_validation.splits, "matbench_dielectric", util.RecursiveDotDict(folds)
    )
    out = tmp_path / "results.json"
    matbench_tasks.run(["matbench_dielectric"], MODEL, str(out))
    from matbench.bench import MatbenchBenchmark

    again = MatbenchBenchmark.from_file(str(out))
    assert again.is_valid
    results = json.loads(out.read_text())["tasks"]["matbench_dielectric"]["results"]
    assert results["fold_1"]["scores"]["mae"] < 20


@pytest.mark.network
@pytest.mark.slow
def test_an_official_task_runs(tmp_path: Path) -> None:
    pytest.importorskip("matbench.bench", reason="matbench is not installed")
    out = tmp_path / "results.json"
    matbench_tasks.run(["matbench_jdft2d"], MODEL, str(out))
    assert out.stat().st_size > 1000
