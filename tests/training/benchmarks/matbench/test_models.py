"""Options, and the share of the network in the mean."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import matminer_unate
from benchmarks.matbench.models import Experts, best_share, read_options, recipe_estimator
from benchmarks.matbench.tasks import Fold
from matminer_unate import UnateRegressor
from matminer_unate.errors import InputError


def test_options_are_json_or_text() -> None:
    found = read_options(["target=auto", "n_folds=3", "tight_binding=false", 'weights=["mp_v3"]'])
    assert found == {
        "target": "auto",
        "n_folds": 3,
        "tight_binding": False,
        "weights": ["mp_v3"],
    }
    with pytest.raises(InputError, match="write NAME=VALUE"):
        read_options(["n_folds"])


def test_options_go_to_the_regressor_by_name() -> None:
    assert recipe_estimator(False, {"n_folds": 3}).n_folds == 3
    with pytest.raises(InputError, match="UnateRegressor has no option 'n_fold', but checkpoints"):
        recipe_estimator(False, {"n_fold": 3})


def test_without_a_classifier_a_task_of_classes_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if hasattr(matminer_unate, "UnateClassifier"):
        monkeypatch.setattr(matminer_unate, "UnateClassifier", None)
    with pytest.raises(InputError, match="needs UnateClassifier"):
        recipe_estimator(True, {})


def test_with_a_classifier_it_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(matminer_unate, "UnateClassifier", UnateRegressor, raising=False)
    assert isinstance(recipe_estimator(True, {}), UnateRegressor)


def test_the_share_is_the_tenth_that_errs_least() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=4000)
    recipe, network = (y + s * rng.normal(size=len(y)) for s in (0.2, 0.1))
    assert best_share(recipe, network, y, classes=False) == pytest.approx(0.8)
    recipe[:10] = np.nan
    assert best_share(recipe, network, y, classes=False) == pytest.approx(0.8)
    assert best_share(y, network, y, classes=False) == 0.0


def test_the_share_of_classes_is_that_of_the_least_log_loss() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=20_000)
    y = (rng.uniform(size=len(truth)) < truth).astype(float)
    assert best_share(1 - truth, truth, y, classes=True) == 1.0
    assert best_share(truth.clip(0.4, 0.6), truth, y, classes=True) == 1.0


def test_fits_are_told_apart_by_what_their_weights_hold(
    tiny_weights: Path, other_weights: Path, tmp_path: Path
) -> None:
    rows: Any = SimpleNamespace(name="toy", classes=False, crystal_set="toy")
    fold, own, paths = Fold(0, np.arange(4), np.arange(4, 6), "val"), tmp_path / "own", set()
    network = {"weights": str(own)}
    for weights in (tiny_weights, other_weights):
        shutil.copytree(weights, own, dirs_exist_ok=True)
        experts = Experts(tmp_path, rows, {"recipe": {}, "network": network})
        paths.add(experts._path("network", fold, network))
    assert len(paths) == 2
