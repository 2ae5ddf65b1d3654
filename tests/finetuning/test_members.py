"""Ctrl-C in fine-tuning: heard at once, and what was learned so far is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fine_tuning_cases import make, press_ctrl_c, structures, volumes
from places import TESTS
from sklearn.utils.validation import check_is_fitted

from matminer_unate import UnateFineTuneRegressor
from matminer_unate.errors import UnateWarning
from matminer_unate.finetuning import fine_tune_regressor as finetune
from matminer_unate.finetuning import fitting
from matminer_unate.finetuning import inputs as finetune_inputs


@pytest.mark.parametrize("share", [0.2, 0.0])
def test_the_best_weights_so_far_are_kept(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, share: float
) -> None:
    X, y = structures(), volumes(structures())
    model = make(tiny_weights, epochs=100, validation_share=share)
    inner = model._settings
    monkeypatch.setattr(model, "_settings", lambda *given: replace(inner(*given), evaluations=100))
    times = press_ctrl_c(monkeypatch, fitting, "set_rates", 90)
    text = r"training was stopped after [234]\d.\d of 100 epochs; the model keeps the best"
    with pytest.warns(UnateWarning, match=text), pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert time.monotonic() - times[0] < 2
    assert model.interrupted_
    assert np.isfinite(model.validation_error_) == (share > 0)
    assert 0 < model.reports_[0].best_epoch <= model.reports_[0].epochs < 50
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]
    found = model.predict(X)
    assert np.abs(found - y).mean() < np.abs(y - np.median(y)).mean()
    model.save(tmp_path)
    loaded = UnateFineTuneRegressor.load(tmp_path, "cpu")
    assert loaded.interrupted_
    np.testing.assert_array_equal(loaded.predict(X), found)


def test_what_was_fitted_before_stays_where_nothing_is_kept(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = structures(12), volumes(structures(12))
    model = make(tiny_weights).fit(X, y)
    before = model.predict(X)
    model.set_params(epochs=1000)
    press_ctrl_c(monkeypatch, fitting, "set_rates", 5)
    with (
        pytest.warns(UnateWarning, match="any weights to keep; the estimator is as it was"),
        pytest.raises(KeyboardInterrupt),
    ):
        model.fit(X, 100 * y)
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("place", ["prepare", "tight_binding_columns"])
def test_it_is_heard_before_training_too(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    X, y = structures(12), volumes(structures(12))
    model = make(tiny_weights, tight_binding=True)
    where = finetune_inputs if place == "prepare" else finetune
    press_ctrl_c(monkeypatch, where, place, 1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    with pytest.raises(ValueError, match="not fitted"):
        check_is_fitted(model)


def test_it_is_heard_in_predictions(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = structures(12), volumes(structures(12))
    model = make(tiny_weights).fit(X, y)
    before = model.predict(X)
    monkeypatch.setattr(fitting, "PREDICT_EDGES", 1)
    times = press_ctrl_c(monkeypatch, fitting.Crystals, "batch", 3)
    with pytest.raises(KeyboardInterrupt):
        model.predict(X * 20)
    assert time.monotonic() - times[0] < 2
    np.testing.assert_allclose(model.predict(X), before, rtol=1e-5)


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
from real_crystals import crystals
from matminer_unate import UnateFineTuneRegressor, progress
progress._is_read = lambda: True
X = list(crystals().values()) * 2
y = [s.volume / len(s) for s in X]
UnateFineTuneRegressor(sys.argv[1], epochs=100_000, tight_binding=False).fit(X, y)
"""


@pytest.mark.slow
def test_pressed_twice_a_script_ends_cleanly(tiny_weights: Path) -> None:
    here = str(TESTS / "support")
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tiny_weights), here]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        said = ""
        while said.count("epochs [") < 4 and (character := process.stderr.read(1)):
            said += character
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=60)[1]
    # Leaving Python takes a moment of its own on a busy machine.
    assert time.monotonic() - started < 10
    assert process.returncode == -signal.SIGINT, said
    assert "terminate" not in said
    assert "KeyboardInterrupt" in said
    assert "MAE nan" not in said
