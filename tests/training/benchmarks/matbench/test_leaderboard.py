"""MatBench's scores and its file of results."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matbench_folder import write_tasks
from sklearn.metrics import mean_absolute_error, mean_squared_error

from benchmarks.matbench.leaderboard import Submission, content_hash, scores
from benchmarks.matbench.models import Outcome
from benchmarks.matbench.tasks import read_local
from matminer_unate.errors import InputError

RNG = np.random.default_rng(0)


def test_scores_of_numbers() -> None:
    y, predictions = RNG.normal(size=50), RNG.normal(size=50)
    y[:5] = 0  # these do not count in percent
    found = scores(y, predictions, classes=False)
    assert found["mae"] == pytest.approx(mean_absolute_error(y, predictions))
    assert found["rmse"] == pytest.approx(mean_squared_error(y, predictions) ** 0.5)
    assert found["mape"] == pytest.approx(np.mean(np.abs(predictions[5:] / y[5:] - 1)))
    assert found["max_error"] == np.abs(y - predictions).max()


def test_the_area_under_the_curve_is_of_labels_as_on_the_leaderboard() -> None:
    y = np.array([1.0] * 8 + [0.0] * 2)
    found = scores(y, np.array([0.4] * 8 + [0.2] * 2), classes=True)
    assert found["rocauc"] == found["balanced_accuracy"] == 0.5
    assert found["accuracy"] == 0.2
    assert found["f1"] == 0.0


def test_the_file_is_in_matbenchs_own_format(tmp_path: Path) -> None:
    folder, path = write_tasks(tmp_path), tmp_path / "results.json.gz"
    submission = Submission(path, "recipe")
    for name in ("log_kvrh", "mp_is_metal"):
        rows = read_local(folder, name)
        for number in (0, 3):
            fold = rows.official(number)
            predictions = RNG.uniform(-0.1, 1.1, len(fold.judged))
            outcome = Outcome(predictions, None, {"network_share": 0.8})
            submission.add(rows, fold, outcome, {"recipe": {"weights": ["mp_v3"]}})
    content = json.loads(gzip.decompress(path.read_bytes()))
    # The keys that MatbenchBenchmark.from_dict and MatbenchTask.from_dict want, and no others.
    assert sorted(content) == [
        "@class", "@module", "benchmark_name", "datestamp", "hash", "tasks", "user_metadata",
        "version",
    ]  # fmt: skip
    assert (content["@module"], content["@class"]) == ("matbench.bench", "MatbenchBenchmark")
    assert content["benchmark_name"] == "matbench_v0.1"
    assert content.pop("hash") == content_hash(content)
    assert list(content["tasks"]) == ["matbench_log_kvrh", "matbench_mp_is_metal"]
    for name, task in content["tasks"].items():
        assert sorted(task) == ["@class", "@module", "benchmark_name", "dataset_name", "results"]
        assert task["dataset_name"] == name
        assert list(task["results"]) == ["fold_0", "fold_3"]
        for result in task["results"].values():
            assert sorted(result) == ["data", "parameters", "scores"]
            assert all(isinstance(score, float) for score in result["scores"].values())
            assert all(isinstance(value, float) for value in result["data"].values())
    moduli, metals = content["tasks"].values()
    assert moduli["results"]["fold_0"]["data"].keys() == {
        f"mb-log-kvrh-{k:05d}" for k in range(1, 61, 5)
    }
    assert set(moduli["results"]["fold_0"]["scores"]) == {"mae", "rmse", "mape", "max_error"}
    probabilities = list(metals["results"]["fold_3"]["data"].values())
    assert min(probabilities) == 0.0
    assert max(probabilities) == 1.0
    first, second = submission.report()
    assert first.endswith("log_kvrh, 2 of 5 folds, 10927 official rows are missing")
    assert "mp_is_metal, 2 of 5 folds" in second


def test_what_other_commands_have_written_stays_where_options_are_the_same(tmp_path: Path) -> None:
    folder, path = write_tasks(tmp_path), tmp_path / "results.json.gz"

    def add(name: str, number: int, options: dict[str, Any]) -> Submission:
        rows = read_local(folder, name)
        fold = rows.official(number)
        submission = Submission(path, "network")
        outcome = Outcome(np.zeros(len(fold.judged)), None, {"network_share": number / 10})
        submission.add(rows, fold, outcome, options)
        return submission

    def folds() -> dict[str, list[str]]:
        content = json.loads(gzip.decompress(path.read_bytes()))
        assert content.pop("hash") == content_hash(content)
        return {name: list(task["results"]) for name, task in content["tasks"].items()}

    add("log_kvrh", 0, {"network": {"epochs": 20}})
    told = add("mp_is_metal", 1, {"network": {"epochs": 9}}).report()
    assert any("log_kvrh, 1 of 5 folds, written before" in line for line in told)
    add("log_kvrh", 2, {"network": {"epochs": 20}})
    assert folds() == {
        "matbench_log_kvrh": ["fold_0", "fold_2"],
        "matbench_mp_is_metal": ["fold_1"],
    }
    add("log_kvrh", 3, {"network": {"epochs": 40}})
    assert folds()["matbench_log_kvrh"] == ["fold_3"]
    path.write_bytes(b"no gzip")
    with pytest.raises(InputError, match=r"is no file of MatBench results .*; delete it"):
        add("log_kvrh", 0, {})
