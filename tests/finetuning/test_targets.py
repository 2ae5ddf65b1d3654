"""What fine-tuning makes of targets: their unit, weights, several at once, missing rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fine_tuning_cases import make, no_tight_binding, structures, volumes
from pymatgen.core import Lattice, Structure
from tiny_encoder import TINY

from matminer_unate import UnateFineTuneRegressor
from matminer_unate.crystals.formula import reduced_counts
from matminer_unate.crystals.graph import radius_graph
from matminer_unate.crystals.structures import crystal_arrays
from matminer_unate.errors import InputError, StructureError, UnateWarning
from matminer_unate.featurizers.tight_binding_stats import TightBindingStats
from matminer_unate.finetuning.fitting import training_loss
from matminer_unate.finetuning.networks import Crystals, PropertyEncoder, RowDropout
from matminer_unate.finetuning.splits import random_splits
from matminer_unate.finetuning.targets import LearnedTargets, scale_of
from matminer_unate.finetuning.transform_choice import transforms_of_targets
from matminer_unate.network.encoder import SiteEncoder

OVERLAPPING = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.001]])


@pytest.mark.parametrize("unit", [1e-12, 1e-8, 1e20, 1e300, -3.0])
def test_predictions_scale_with_the_unit_of_the_target(tiny_weights: Path, unit: float) -> None:
    X = structures(12)
    y = np.maximum(volumes(X), 15.0) if unit > 0 else volumes(X)  # with a floor
    one = make(tiny_weights).fit(X, y)
    other = make(tiny_weights).fit(X, y * unit)
    if unit > 0:
        assert other.minimum_ == 15.0 * unit
        np.testing.assert_allclose(other.predict(X), one.predict(X) * unit, rtol=1e-5)
    assert np.ptp(other.predict(X)) > 0


def test_targets_far_from_zero_keep_their_digits(tiny_weights: Path) -> None:
    X, y = structures(12), volumes(structures(12))
    shifted = make(tiny_weights).fit(X, y + 1e9)
    expected = make(tiny_weights).fit(X, y).predict(X)
    np.testing.assert_allclose(shifted.predict(X) - 1e9, expected, atol=1e-2)


@pytest.mark.parametrize("value", [0.0, 5.3, 2e-12])
def test_a_constant_target_is_predicted_and_said(tiny_weights: Path, value: float) -> None:
    X = structures(12)
    with pytest.warns(UnateWarning, match=f"all values of target are {value:g}; the model"):
        model = make(tiny_weights, epochs=50).fit(X, [value] * 12)
    np.testing.assert_array_equal(model.predict(X), value)


def test_a_network_that_learned_nothing_says_so(tiny_weights: Path) -> None:
    X = structures(60)
    y = np.random.default_rng(0).permutation(volumes(X))
    with pytest.warns(UnateWarning, match="learned nothing of target: its mean absolute error on"):
        make(tiny_weights, learning_rate=1e-9, validation_share=0.4).fit(X, y)
    with pytest.warns(UnateWarning, match="learned nothing: its training loss is not below"):
        make(tiny_weights, learning_rate=1e-9, validation_share=0.0).fit(X, y)


@pytest.mark.filterwarnings("ignore:the network learned nothing")
def test_a_row_that_weighs_as_much_as_all_others_is_no_divergence(tiny_weights: Path) -> None:
    X = structures(12) * 18
    y, weights = np.zeros(216), np.ones(216)
    y[5], weights[5] = 1.0, 216.0
    model = make(tiny_weights, epochs=2, batch_size=8).fit(X, y, sample_weight=weights)
    assert np.isfinite(model.predict(X[:2])).all()


@pytest.mark.parametrize("rate", [1e3, 1e6, 1e30])
def test_a_training_that_diverges_ends_in_an_error_with_the_cure(
    tiny_weights: Path, rate: float
) -> None:
    X, y = structures(12), volumes(structures(12))
    with pytest.raises(InputError, match="lower the learning rate"):
        make(tiny_weights, learning_rate=rate).fit(X, y)


def test_rows_of_weight_zero_are_as_if_not_there(tiny_weights: Path) -> None:
    X, y = structures(14), volumes(structures(14))
    y[[3, 8]] = 1e9, -1e9
    weights = np.ones(14)
    weights[[3, 8]] = 0
    kept = np.flatnonzero(weights)
    expected = make(tiny_weights).fit([X[k] for k in kept], y[kept]).predict(X)
    found = make(tiny_weights).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(found.predict(X), expected)
    assert found.n_rows_ == 12


def test_only_ratios_of_weights_count_and_heavy_rows_are_learned_better(tiny_weights: Path) -> None:
    X, y = structures(12), volumes(structures(12))
    plain = make(tiny_weights).fit(X, y).predict(X)
    np.testing.assert_allclose(
        make(tiny_weights).fit(X, y, sample_weight=[7.0] * 12).predict(X), plain, rtol=1e-6
    )
    # The same crystals twice, with two answers: the heavier one is given.
    twice, both = [*X, *X], np.concatenate([np.zeros(12), np.ones(12)])
    model = make(tiny_weights, epochs=20).fit(twice, both, sample_weight=np.repeat([1.0, 9.0], 12))
    assert model.predict(X).mean() > 0.8


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0] * 3, "12 structures need 12 numbers as sample_weight"),
        ([-1.0] * 12, "sample_weight of row 0 is -1; weights are numbers from 0"),
        ([1.0] * 11 + [np.nan], "sample_weight of row 11 is nan"),
        ([0.0] * 12, "sample_weight is 0 in all rows"),
        (["a"] * 12, "must be numbers"),
    ],
)
def test_wrong_weights_are_refused(tiny_weights: Path, weights: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(tiny_weights).fit(structures(12), volumes(structures(12)), sample_weight=weights)


def test_several_targets_are_learned_at_once_and_saved_with_their_names(
    tiny_weights: Path, tmp_path: Path
) -> None:
    X = structures()
    y = pd.DataFrame({"volume": volumes(X), "tiny": [1e-9 * np.mean(s.atomic_numbers) for s in X]})
    model = make(tiny_weights, epochs=30).fit(X, y)
    found = model.predict(X)
    assert found.shape == (24, 2)
    assert model.target_names_ == ["volume", "tiny"]
    assert model.validation_error_.shape == (2,)
    for k in range(2):
        column = y.to_numpy()[:, k]
        typical = np.abs(column - np.median(column)).mean()
        assert np.abs(found[:, k] - column).mean() < 0.7 * typical
    model.save(tmp_path)
    loaded = UnateFineTuneRegressor.load(tmp_path, "cpu")
    np.testing.assert_array_equal(loaded.predict(X), found)
    np.testing.assert_array_equal(loaded.validation_error_, model.validation_error_)
    assert loaded.target_names_ == ["volume", "tiny"]


def test_unknown_ones_among_several_targets_are_not_learned_from(tiny_weights: Path) -> None:
    X = structures(12)
    y = np.column_stack([volumes(X), volumes(X)])
    y[::2, 1] = np.nan
    model = make(tiny_weights).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    known = np.isfinite(y[:, 1])
    assert model.scale_.mean[1] == pytest.approx(volumes(X)[known].mean())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({(3, 0): np.inf}, "target 0 of row 3 is infinite"),
        ({(5, 0): np.nan, (5, 1): np.nan}, r"1 row\(s\) have no target, the first is row 5"),
        ({(k, 1): np.nan for k in range(11)}, "column 1 of the targets has 1 values"),
    ],
)
def test_tables_of_targets_that_cannot_be_learned_are_refused(
    tiny_weights: Path, change: dict, message: str
) -> None:
    y = np.column_stack([volumes(structures(12))] * 2)
    for place, value in change.items():
        y[place] = value
    with pytest.raises(InputError, match=message):
        make(tiny_weights).fit(structures(12), y)


def test_unusable_structures_are_left_out_and_get_nan_where_asked_for(tiny_weights: Path) -> None:
    X, y = structures(12), volumes(structures(12))
    expected = make(tiny_weights).fit(X, y).predict(X)
    some = pd.Series([*X[:2], OVERLAPPING, *X[2:], None], index=[f"mp-{k}" for k in range(14)])
    targets = [*y[:2], 1e9, *y[2:], 7.0]
    model = make(tiny_weights, on_error="nan")
    with pytest.warns(UnateWarning, match=r"2 of 14 rows .* left out; .* row 2 \(index 'mp-2'\): "):
        model.fit(some, targets)
    with pytest.warns(UnateWarning, match=r"2 of 14 rows .* get NaN; the first is row 2 "):
        found = model.predict(some)
    assert list(np.flatnonzero(np.isnan(found))) == [2, 13]
    np.testing.assert_array_equal(found[~np.isnan(found)], expected)
    with pytest.raises(StructureError, match=r"row 2 \(index 'mp-2'\): "):
        make(tiny_weights).fit(some, targets)


def test_without_a_random_state_two_fits_differ(tiny_weights: Path) -> None:
    X, y = structures(12), volumes(structures(12))
    one, other = (make(tiny_weights, random_state=None).fit(X, y).predict(X) for _ in range(2))
    assert not np.allclose(one, other)


def test_rows_without_tight_binding_columns_are_named_and_learned_from(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = structures(12), volumes(structures(12))
    prepare = TightBindingStats._prepare

    def only_small(self: TightBindingStats, structure: Structure) -> object:
        if structure is X[4]:
            raise StructureError("the primitive cell is too large")
        return prepare(self, structure)

    def describe(self: TightBindingStats, crystals: Iterator) -> Iterator:
        for row, crystal in crystals:
            yield [row], np.full((1, len(self.feature_labels())), len(crystal.frac_coords), "f4")

    monkeypatch.setattr(TightBindingStats, "_prepare", only_small)
    monkeypatch.setattr(TightBindingStats, "_describe", describe)
    said = (
        "1 of 12 rows have no tight-binding columns and are {}; the first is row 4: the primitive"
    )
    with pytest.warns(UnateWarning, match=said.format("learned from without")):
        model = make(tiny_weights, tight_binding=True).fit(X, y)
    assert model.n_rows_ == 12
    with pytest.warns(UnateWarning, match=said.format("predicted without")):
        assert np.isfinite(model.predict(X)).all()


def test_where_all_rows_lack_tight_binding_columns_it_is_a_fit_without(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = structures(12), volumes(structures(12))
    monkeypatch.setattr(TightBindingStats, "_prepare", no_tight_binding)
    with pytest.warns(UnateWarning) as warned:
        model = make(tiny_weights, tight_binding=True).fit(X, y)
    assert "this is a fit with tight_binding=False" in str(warned[-1].message)
    np.testing.assert_array_equal(model.predict(X), make(tiny_weights).fit(X, y).predict(X))


def test_in_training_a_share_of_the_crystals_goes_without_its_columns() -> None:
    leave_out = RowDropout(0.15)
    leave_out.generator = torch.Generator().manual_seed(0)
    drawn = leave_out(torch.ones(4000, 1))
    assert set(drawn.flatten().tolist()) == {0.0, 1.0}
    assert drawn.mean().item() == pytest.approx(0.85, abs=0.02)
    assert leave_out.eval()(torch.ones(4000, 1)).all()


def test_what_is_missing_has_no_value_of_its_own() -> None:
    graph = radius_graph(*crystal_arrays(structures(1)[0]), TINY.cutoff)
    columns = np.full((1, 3), np.nan, np.float32)
    network = PropertyEncoder(SiteEncoder(TINY), np.ones(119, bool), n_given=3).eval()
    batch = Crystals([graph], columns=columns).batch([0], torch.device("cpu"))
    with torch.no_grad():
        before = network(batch)
        network.given_mean += 2.0
        assert torch.equal(network(batch), before)
        batch.columns = torch.zeros(1, 3)
        assert not torch.equal(network(batch), before)


def test_warnings_point_at_the_users_line(tiny_weights: Path) -> None:
    with pytest.warns(UnateWarning) as warned:
        make(tiny_weights).fit(structures(12), [1.0] * 12)
    assert {w.filename for w in warned} == {__file__}


def test_weights_of_targets_average_to_one_however_few_are_known() -> None:
    values = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 4.0]])
    scale = scale_of(values, None, None, ("a", "b"))
    np.testing.assert_allclose(scale.mean, [3, 3])
    np.testing.assert_allclose(scale.spread, [np.sqrt(8 / 3), 1])


# -- transformed targets ---------------------------------------------------------------------------


def long_tail(crystals: list[Structure]) -> np.ndarray:
    return np.exp(volumes(crystals) / 5)


@pytest.mark.parametrize("target", ["log", "yeo-johnson", "rank"])
def test_a_transformed_target_is_learned_predicted_in_its_unit_and_saved(
    tiny_weights: Path, tmp_path: Path, target: str
) -> None:
    X, y = structures(), long_tail(structures())
    model = make(tiny_weights, epochs=30, target=target).fit(X, y)
    found = model.predict(X)
    assert model.transforms_ == [target]
    assert np.abs(found - y).mean() < 0.8 * np.abs(y - np.median(y)).mean()
    assert found.min() > y.min() - np.ptp(y) / 2
    model.save(tmp_path)
    loaded = UnateFineTuneRegressor.load(tmp_path, "cpu")
    assert loaded.transforms_ == [target]
    np.testing.assert_array_equal(loaded.predict(X), found)


@pytest.mark.parametrize("target", ["identity", "log"])
@pytest.mark.parametrize("scoring", ["mae", "rmse"])
def test_the_error_on_held_out_rows_is_in_the_unit_of_the_target(
    tiny_weights: Path, target: str, scoring: str
) -> None:
    X, y = structures(), long_tail(structures())
    model = make(tiny_weights, target=target, scoring=scoring, validation_share=0.3).fit(X, y)
    counts = (reduced_counts(np.array(s.atomic_numbers)) for s in X)
    formulas = [" ".join(f"{z}:{n}" for z, n in pairs) for pairs in counts]
    ((_, held_out),) = random_splits(formulas, 1, 0.3, model.random_state)
    deviations = np.abs(model.predict(X) - y)[held_out]
    expected = deviations.mean() if scoring == "mae" else np.sqrt((deviations**2).mean())
    assert model.validation_error_ == pytest.approx(expected, rel=1e-5)


def test_squared_errors_are_made_small_where_they_count() -> None:
    found, y = torch.tensor([0.0, 1.0, -1.0]), torch.tensor([0.0, 3.0, 0.0])
    assert training_loss(found, y, -np.inf).item() == 1.0
    assert training_loss(found, y, -np.inf, scoring="rmse").item() == pytest.approx(5 / 3)
    raised = training_loss(found, y, 0.0, torch.tensor([1.0, 0.0, 2.0]), "rmse")
    assert raised.item() == pytest.approx(2 * 0.1**2 / 3)


def test_a_floor_holds_under_a_transformation(tiny_weights: Path) -> None:
    X = structures()
    y = np.maximum(long_tail(X) - np.median(long_tail(X)), 0)
    model = make(tiny_weights, epochs=5, target="log").fit(X, y)
    assert model.minimum_ == 0
    assert model.predict(X).min() >= 0
    scale, values = model.scale_, y[:, None]
    assert scale.lowest(values) == pytest.approx(scale.standardise(values).min())
    assert scale.lowest(values + 1.0) == -np.inf


def test_each_target_has_the_transformation_that_suits_a_linear_read_out() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(80, 6)).astype(np.float32)
    plain = columns @ rng.normal(size=6) + 0.1 * rng.normal(size=80)
    values = np.column_stack([plain, np.exp(plain)])
    values[3, 0] = np.nan
    columns[5, 2] = np.nan
    scale, groups = scale_of(values, None, None), [str(k // 2) for k in range(80)]

    def chosen(wanted: str) -> list[str]:
        given = LearnedTargets(values, None, scale), "mae", groups, lambda: columns, 0
        return [transform.name for transform in transforms_of_targets(wanted, *given)]

    assert chosen("auto")[0] == "identity"
    assert chosen("auto")[1] in ("log", "rank")
    assert chosen("log") == ["log", "log"]
    few = LearnedTargets(values[:4], None, scale)
    given = few, "mae", ["a"] * 4, lambda: columns[:4], 0
    assert {t.name for t in transforms_of_targets("auto", *given)} == {"identity"}


def test_columns_are_computed_only_where_there_is_something_to_choose(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise AssertionError

    monkeypatch.setattr("matminer_unate.finetuning.transform_choice.pretrained_columns", refuse)
    X = structures(12)
    make(tiny_weights, target="rank").fit(X, long_tail(X))
    make(tiny_weights, target="auto").fit(X, [0.0, 1.0] * 6)
    with pytest.raises(AssertionError):
        make(tiny_weights, target="auto").fit(X, long_tail(X))


def test_with_several_targets_each_has_a_transformation(tiny_weights: Path) -> None:
    X = structures()
    y = np.column_stack([volumes(X), np.repeat([0.0, 1.0], 12)])
    model = make(tiny_weights, target="log").fit(X, y)
    assert model.transforms_ == ["log", "identity"]
    assert model.predict(X).shape == (24, 2)
