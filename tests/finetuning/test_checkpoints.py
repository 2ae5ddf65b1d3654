"""A fine-tuning that was stopped goes on where it stood, and ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fine_tuning_cases import KilledError, kill_at, make, press_ctrl_c, structures, volumes

from matminer_unate import TightBindingStats, UnateFineTuneRegressor
from matminer_unate.errors import InputError, UnateWarning
from matminer_unate.finetuning import fitting
from matminer_unate.finetuning.checkpoints import CheckpointFolder
from matminer_unate.finetuning.settings import FitReport


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Where in its schedule each step is that is made from now on."""
    inner, done = fitting.set_rates, list[float]()

    def counting(optimizer: Any, share: float, settings: Any) -> None:
        done.append(share)
        inner(optimizer, share, settings)

    monkeypatch.setattr(fitting, "set_rates", counting)
    return done


def told(report: FitReport) -> list[Any]:
    """A report without times."""
    kept = vars(report) | {"seconds": 0.0, "earlier_seconds": 0.0, "errors": report.errors.tolist()}
    return [np.nan_to_num(np.array(value, dtype=float)).tolist() for value in kept.values()]


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"dropout": 0.3}, 20),  # weights of an epoch are kept that is not the last
        ({"dropout": 0.3}, 5),  # none are to be kept yet
        ({"validation_share": 0}, 20),
        ({"n_members": 2, "tight_binding": True, "epochs": 4}, 6),
        ({"patience": 1, "epochs": 20}, 27),
    ],
)
def test_a_killed_fit_goes_on_and_ends_as_if_nothing_had_happened(
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    step: int,
) -> None:
    X, y = structures(), volumes(structures())
    options = {"epochs": 10, **options}
    with monkeypatch.context() as patch:
        steps = count_steps(patch)
        whole = make(tiny_weights, **options).fit(X, y)
    model = make(tiny_weights, checkpoints=tmp_path / "kept", **options)
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with pytest.raises(KilledError):
            model.fit(X, y)
    assert list((tmp_path / "kept").iterdir())
    done = count_steps(monkeypatch)
    model.fit(X, y)
    assert len(done) < len(steps)  # of two members, one may have done none
    np.testing.assert_array_equal(model.predict(X), whole.predict(X))
    assert [told(report) for report in model.reports_] == [told(r) for r in whole.reports_]
    assert 0 < model.reports_[0].earlier_seconds < model.reports_[0].seconds
    assert not list((tmp_path / "kept").iterdir())


def test_ctrl_c_keeps_the_step_that_it_came_in(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = structures(), volumes(structures())
    options = {"epochs": 40, "checkpoints": tmp_path}
    whole = make(tiny_weights, epochs=40).fit(X, y)
    model = make(tiny_weights, **options)
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, fitting, "set_rates", 60)
        text = f"stopped after .*; the same fit goes on from {tmp_path}"
        with pytest.warns(UnateWarning, match=text), pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
    done = count_steps(monkeypatch)
    again = make(tiny_weights, **options).fit(X, y)
    assert min(done) >= 59 / 80
    np.testing.assert_array_equal(again.predict(X), whole.predict(X))


def test_ctrl_c_in_a_look_at_held_out_rows_keeps_it_too(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = structures(), volumes(structures())
    whole = make(tiny_weights, epochs=40).fit(X, y)
    model = make(tiny_weights, epochs=40, checkpoints=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "PREDICT_EDGES", 1)
        press_ctrl_c(patch, fitting, "predict", 12)
        with pytest.warns(UnateWarning, match="goes on from"), pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
    done = count_steps(monkeypatch)
    model.fit(X, y)
    assert min(done) > 0.5
    np.testing.assert_array_equal(model.predict(X), whole.predict(X))


def test_grids_of_numpy_have_checkpoints_too(tiny_weights: Path, tmp_path: Path) -> None:
    X, y = structures(12), volumes(structures(12))
    options = {"epochs": np.int64(2), "batch_size": np.int64(8), "checkpoints": tmp_path}
    found = make(tiny_weights, **options).fit(X, y).predict(X)
    np.testing.assert_array_equal(found, make(tiny_weights, epochs=2).fit(X, y).predict(X))


def test_other_fits_do_not_take_it(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = structures(), volumes(structures())
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(KilledError):
            make(tiny_weights, checkpoints=tmp_path).fit(X, y)
    (kept,) = tmp_path.iterdir()
    moved = [X[0].copy().translate_sites([0], [0.01, 0, 0]), *X[1:]]
    others: list[tuple[dict[str, Any], Any, Any]] = [
        ({"random_state": 1}, X, y),
        ({"learning_rate": 1e-3}, X, y),
        ({"validation_share": 0.3}, X, y),
        ({"dropout": 0.2}, X, y),
        ({"minimum": 0.0}, X, y),
        ({}, X[::-1], y[::-1]),
        ({}, X, y + np.eye(len(y))[0]),
        ({}, moved, y),
    ]
    for options, other_X, other_y in others:
        done = count_steps(monkeypatch)
        found = make(tiny_weights, checkpoints=tmp_path, **options).fit(other_X, other_y)
        assert min(done) == 0
        expected = make(tiny_weights, **options).fit(other_X, other_y)
        np.testing.assert_array_equal(found.predict(X), expected.predict(X))
        assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize(("factor", "goes_on"), [(1 + 1e-6, True), (1.01, False)])
def test_columns_that_differ_by_rounding_alone_are_the_same_training(
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factor: float,
    goes_on: bool,
) -> None:
    X, y = structures(), volumes(structures())
    names = TightBindingStats().feature_labels()
    columns = np.random.default_rng(0).uniform(-8, 8, (len(X), len(names)))
    options = {"tight_binding": True, "checkpoints": tmp_path}
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(KilledError):
            make(tiny_weights, **options).fit(pd.DataFrame(columns, columns=names).assign(s=X), y)
    (kept,) = tmp_path.iterdir()
    columns *= factor
    done = count_steps(monkeypatch)
    make(tiny_weights, **options).fit(pd.DataFrame(columns, columns=names).assign(s=X), y)
    assert (min(done) > 0) == goes_on
    assert list(tmp_path.iterdir()) == ([] if goes_on else [kept])


def test_a_training_that_diverges_leaves_no_file(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = structures(), volumes(structures())
    inner, calls = fitting.training_loss, iter(range(100))
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(
        fitting,
        "training_loss",
        lambda *given: inner(*given) * (np.nan if next(calls) > 3 else 1.0),
    )
    with pytest.raises(InputError, match="the loss is nan"):
        make(tiny_weights, checkpoints=tmp_path).fit(X, y)
    assert not list(tmp_path.iterdir())


def test_what_a_kill_left_half_written_is_removed_too(tiny_weights: Path, tmp_path: Path) -> None:
    folder = CheckpointFolder.of(tmp_path, 0)
    assert folder is not None
    folder.files = [tmp_path / "training-0a.safetensors"]
    for name in ("training-0a.safetensors", ".training-0a.safetensors.12.part", "training-0b.safe"):
        (tmp_path / name).touch()
    folder.remove()
    assert [file.name for file in tmp_path.iterdir()] == ["training-0b.safe"]


def test_a_folder_that_cannot_be_is_told_before_any_work(
    tiny_weights: Path, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(InputError, match=r"no folder for checkpoints can be made at .*notes.txt"):
        make(tiny_weights, checkpoints=file).fit([None], [1.0])


def test_a_damaged_file_is_named(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = structures(), volumes(structures())
    model = make(tiny_weights, checkpoints=tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(KilledError):
            model.fit(X, y)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])
    with pytest.raises(InputError, match=rf"{kept.name} is no readable checkpoint .*; delete it"):
        model.fit(X, y)


def test_without_a_random_state_no_fit_is_like_another(tiny_weights: Path, tmp_path: Path) -> None:
    model = make(tiny_weights, checkpoints=tmp_path, random_state=None)
    with pytest.raises(InputError, match="checkpoints need a random_state"):
        model.fit(structures(), volumes(structures()))


def test_a_saved_model_does_not_say_where_it_was_kept(tiny_weights: Path, tmp_path: Path) -> None:
    model = make(tiny_weights, checkpoints=tmp_path / "kept")
    model.fit(structures(12), volumes(structures(12))).save(tmp_path / "model")
    assert UnateFineTuneRegressor.load(tmp_path / "model").checkpoints is None
