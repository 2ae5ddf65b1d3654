"""The fine-tuning estimator, on small crystals and tiny weights."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from disordered_crystals import disordered_crystals
from fine_tuning_cases import make, no_tight_binding, structures, volumes
from pymatgen.core import Lattice, Structure, SymmOp
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from matminer_unate import UnateFineTuneRegressor, ordered_structure
from matminer_unate.errors import InputError, StructureError, UnateWarning, WeightsError
from matminer_unate.featurizers.tight_binding_stats import TightBindingStats
from matminer_unate.finetuning import members as finetune_training
from matminer_unate.finetuning.settings import fine_tuning
from matminer_unate.finetuning.splits import random_splits


@pytest.fixture(scope="module")
def fitted(tiny_weights: Path) -> UnateFineTuneRegressor:
    return make(tiny_weights, epochs=30, n_members=2).fit(structures(), volumes(structures()))


def test_it_learns(fitted: UnateFineTuneRegressor) -> None:
    y = volumes(structures())
    errors = np.abs(fitted.predict(structures()) - y)
    assert errors.mean() < 0.5 * np.abs(y - np.median(y)).mean()
    assert np.isfinite(fitted.validation_error_)
    assert len(fitted.reports_) == 2


def test_predictions_do_not_depend_on_cell_orientation_or_company(
    fitted: UnateFineTuneRegressor,
) -> None:
    one = structures()[3]
    turned = one.copy()
    turned.apply_operation(SymmOp.from_axis_angle_and_translation([1, 2, 3], 40))
    larger = one.copy()
    larger.make_supercell([2, 1, 1])
    alone = fitted.predict([one])
    np.testing.assert_allclose(fitted.predict([turned]), alone, rtol=1e-3)
    np.testing.assert_allclose(fitted.predict([larger]), alone, rtol=1e-3)
    np.testing.assert_allclose(fitted.predict(structures())[3], alone[0], rtol=1e-3)


def test_a_saved_model_predicts_the_same_and_needs_no_pickle(
    fitted: UnateFineTuneRegressor, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    loaded = UnateFineTuneRegressor.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.predict(structures()), fitted.predict(structures()))
    assert loaded.validation_error_ == fitted.validation_error_
    assert loaded.get_params()["n_members"] == 2


def test_the_same_seed_gives_the_same_model_and_leaves_torchs_random_state(
    tiny_weights: Path,
) -> None:
    X, y = structures(12), volumes(structures(12))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = make(tiny_weights).fit(X, y).predict(X)
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(make(tiny_weights).fit(X, y).predict(X), first)
    other = make(tiny_weights, random_state=1).fit(X, y).predict(X)
    assert not np.allclose(other, first)


def test_frames_series_and_lists_are_taken_and_clone_keeps_the_options(tiny_weights: Path) -> None:
    X, y = structures(12), volumes(structures(12))
    model = make(tiny_weights)
    expected = clone(model).fit(X, y).predict(X)
    frame = pd.DataFrame({"structure": X}, index=range(5, 17))
    np.testing.assert_array_equal(clone(model).fit(frame, pd.Series(y)).predict(frame), expected)
    np.testing.assert_array_equal(
        clone(model).fit(frame["structure"], y[:, None]).predict(tuple(X)), expected
    )


def test_members_that_are_trained_at_the_same_time_are_those_trained_alone(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = structures(12), volumes(structures(12))
    monkeypatch.setattr(finetune_training, "count_workers", lambda device: 3)
    together = make(tiny_weights, n_members=3).fit(X, y).predict(X)
    monkeypatch.setattr(finetune_training, "count_workers", lambda device: 1)
    np.testing.assert_array_equal(make(tiny_weights, n_members=3).fit(X, y).predict(X), together)


def test_the_columns_of_the_tight_binding_model_reach_the_head(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = structures(12), volumes(structures(12))
    model = make(tiny_weights, tight_binding=True).fit(X, y)
    n_columns = len(TightBindingStats().feature_labels())
    assert len(model.networks_[0].given_mean) == n_columns
    found = model.predict(X)
    model.save(tmp_path)
    np.testing.assert_array_equal(UnateFineTuneRegressor.load(tmp_path, "cpu").predict(X), found)
    # Crystals that the model says nothing of are predicted without it.
    monkeypatch.setattr(TightBindingStats, "_prepare", no_tight_binding)
    with pytest.warns(UnateWarning, match="12 of 12 rows have no tight-binding columns and are pr"):
        without = model.predict(X)
    assert np.isfinite(without).all()
    assert not np.allclose(without, found)


def test_tight_binding_columns_of_a_frame_are_not_computed_again(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = pd.Series(structures(12), name="structure"), volumes(structures(12))
    model = make(tiny_weights, tight_binding=True).fit(X, y)
    frame = TightBindingStats().featurize_dataframe(X.to_frame(), "structure", pbar=False)
    monkeypatch.setattr(TightBindingStats, "_prepare", no_tight_binding)
    again = make(tiny_weights, tight_binding=True).fit(frame, y)
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    gaps = frame.copy()
    gaps.iloc[3, 1:] = np.nan
    with pytest.warns(UnateWarning, match="1 of 12 rows have .* are predicted without; .* row 3"):
        again.predict(gaps)
    with pytest.raises(InputError, match=r"TightBindingStats, got 2 columns, of which 1 "):
        again.predict(frame.iloc[:, :2])
    with pytest.raises(InputError, match=r"of TightBindingStats; pass df\['structure'\]"):
        again.predict(frame.assign(formula="NaCl"))


def test_scikit_learn_can_cross_validate_and_pickle_it(tiny_weights: Path) -> None:
    X, y = structures(12), volumes(structures(12))
    scores = cross_val_score(make(tiny_weights), X, y, cv=2, scoring="neg_mean_absolute_error")
    assert np.isfinite(scores).all()
    fitted = make(tiny_weights).fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


def test_targets_with_a_floor_are_never_predicted_below_it(tiny_weights: Path) -> None:
    X = structures()
    y = np.maximum(volumes(X) - np.median(volumes(X)), 0)
    model = make(tiny_weights, epochs=5).fit(X, y)
    assert model.minimum_ == 0
    assert model.predict(X).min() >= 0
    free = make(tiny_weights, minimum=None).fit(X, y)
    assert free.minimum_ == -np.inf


def test_fewer_rows_are_passed_over_more_often() -> None:
    model = UnateFineTuneRegressor()
    found = [model._settings(0.0, n).epochs for n in (100, 2_000, 16_000, 10**6)]
    assert found == [80, 71, 25, 20]


def test_held_out_rows_are_of_formulas_of_their_own() -> None:
    formulas = [f for f in "ABCDEFGHIJKLMNOP" for _ in range(3)]
    for train, held_out in random_splits(formulas, 3, 0.1, 0):
        assert len(held_out)
        assert not {formulas[k] for k in train} & {formulas[k] for k in held_out}


def test_without_held_out_rows_all_are_trained_on(tiny_weights: Path) -> None:
    model = make(tiny_weights, validation_share=0.0).fit(structures(12), volumes(structures(12)))
    assert np.isnan(model.validation_error_)
    assert model.reports_[0].best_epoch == 3


def test_elements_the_weights_do_not_know_are_masked_with_a_warning(tiny_weights: Path) -> None:
    X, y = structures(12), volumes(structures(12))
    X[0] = Structure(Lattice.cubic(4.0), ["Th", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.warns(UnateWarning, match="1 row"):
        make(tiny_weights).fit(X, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [1.0]}, "24 structures need 24 targets"),
        ({"y": [np.nan] * 24}, "24 targets are not finite, the first is row 0"),
        ({"y": ["high"] * 24}, "must be numbers"),
        ({"n_members": 0}, r"'n_members' .* must be an int in the range \[1, inf"),
        ({"n_members": 1.5}, r"'n_members' .* must be an int .* Got 1.5"),
        ({"random_state": -1}, r"'random_state' .* must be an int in the range \[0,"),
        ({"random_state": "no"}, r"'random_state' .* or None"),
        ({"epochs": 0}, r"'epochs' .* must be a str among {'auto'} or an int"),
        ({"epochs": "many"}, r"'epochs' .* must be a str among {'auto'} or an int"),
        ({"dropout": 2}, r"'dropout' .* in the range \[0.0, 1.0\)"),
        ({"tight_binding": "no"}, r"'tight_binding' .* must be an instance of 'bool'"),
        ({"batch_size": 1}, r"'batch_size' .* in the range \[2, inf\)"),
        ({"learning_rate": 0}, r"'learning_rate' .* in the range \(0"),
        ({"learning_rate": np.inf}, "'learning_rate'"),
        ({"patience": None}, "'patience'"),
        ({"on_error": "drop"}, "'on_error'"),
        ({"progress": "yes"}, "'progress'"),
        ({"pretrained_share": -1}, r"'pretrained_share' .* in the range \[0"),
        ({"pretrained_share": "all"}, "'pretrained_share'"),
        ({"validation_share": 0.99}, "lower it"),
        ({"validation_share": 1.0}, r"'validation_share' .* must be a float in the range"),
        ({"minimum": "none"}, r"'minimum' .* must be a str among {'auto'}"),
        ({"minimum": 1000.0}, "below the minimum"),
        ({"target": "sqrt"}, r"'target' .* must be a str among"),
        ({"scoring": "r2"}, r"'scoring' .* must be a str among"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_wrong_options_and_targets_are_refused(
    tiny_weights: Path, change: dict, message: str
) -> None:
    y = change.pop("y", volumes(structures()))
    with pytest.raises(InputError, match=message):
        make(tiny_weights, **change).fit(structures(), y)


def test_home_is_where_it_is_saved_and_read(
    fitted: UnateFineTuneRegressor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fitted.save("~/model")
    assert (tmp_path / "model" / "config.json").exists()
    found = UnateFineTuneRegressor.load("~/model", "cpu").predict(structures(2))
    np.testing.assert_array_equal(found, fitted.predict(structures(2)))


def test_its_tags_say_that_it_learns_several_targets(fitted: UnateFineTuneRegressor) -> None:
    assert fitted.__sklearn_tags__().target_tags.multi_output


def test_an_unusable_structure_is_named_by_its_row(fitted: UnateFineTuneRegressor) -> None:
    bad = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.001]])
    with pytest.raises(StructureError, match="row 1: "):
        fitted.predict([structures()[0], bad])


def test_damaged_folders_say_what_is_wrong(fitted: UnateFineTuneRegressor, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no saved UnateFineTuneRegressor: it has no"):
        UnateFineTuneRegressor.load(tmp_path / "nowhere")
    fitted.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"kind": "other"}, "no saved UnateFineTuneRegressor: it holds 'other'"),
        ({"format_version": 99}, "format 99"),
        ({"files": {"model.safetensors": "0"}}, "truncated or changed"),
        ({"weights": {"depth": 3}}, r"malformed: weights has unknown entries \['depth'\]"),
        ({"mean": ["high"]}, r"malformed: mean\[0\] is 'high'"),
        ({"n_networks": 3}, "does not fit"),
        ({"parameters": {"dropout": 0.1, "colour": 1}}, "other parameters"),
        ({"parameters": {}}, "does not fit"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(WeightsError, match=message):
            UnateFineTuneRegressor.load(tmp_path)


def test_disordered_crystals_are_learned_and_predicted_as_their_ordered_cells(
    tiny_weights: Path, tmp_path: Path
) -> None:
    alloy = disordered_crystals()["CuZn"]
    y = volumes(structures())
    model = make(tiny_weights, epochs=1, tight_binding=True, disorder="ordered")
    said = r"1 row\(s\) hold (such )?sites"
    with pytest.warns(UnateWarning, match=said):
        model.fit([alloy, *structures()[1:]], y)
    model.save(tmp_path / "model")
    loaded = UnateFineTuneRegressor.load(tmp_path / "model", device="cpu")
    assert loaded.disorder == "ordered"
    with pytest.warns(UnateWarning, match=said):
        found = loaded.predict([alloy])
    expected = model.predict([ordered_structure(alloy)])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(StructureError, match="row 0: site 0 is disordered"):
        loaded.set_params(disorder="raise").predict([alloy])


def test_many_rows_let_the_encoder_learn_faster() -> None:
    model = UnateFineTuneRegressor()
    assert model._settings(-np.inf, 4_999).pretrained_share == 0.2
    assert model._settings(-np.inf, 5_000).pretrained_share == 0.5
    assert model.set_params(pretrained_share=1.0)._settings(-np.inf, 9_000).pretrained_share == 1.0
    assert fine_tuning(400, epochs=3, pretrained_share="auto").epochs == 3
    assert fine_tuning(400, scoring="rmse").pretrained_share == 0.2
