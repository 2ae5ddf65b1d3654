"""UnateRegressor: fits without seeing what it is judged on, and keeps scikit-learn's contracts."""

from __future__ import annotations

import copy
import json
import math
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from few_trees import trees
from real_crystals import crystals
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process.kernels import Matern
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import uncertainty
from benchmarks.columns.regressors import Rows
from benchmarks.properties import PROPERTIES
from matminer_unate import UnateFeaturizer, UnateRegressor
from matminer_unate.errors import InputError, StructureError, UnateWarning, WeightsError
from matminer_unate.regressors.blend import _best_shares, fit_blend
from matminer_unate.regressors.error_bars import ConformalScale
from matminer_unate.regressors.fitting import group_folds
from matminer_unate.regressors.kernel_ridge import (
    BlockKernelRidge,
    HeldOut,
    _features,
    _matern,
    _Ridge,
    _root,
    _Sample,
    _search,
    _squared_distances,
)
from matminer_unate.regressors.recipe import Recipe, cell_columns, composition_columns
from matminer_unate.transforms import TransformedTarget, transforms_for

N = 36


@pytest.fixture(autouse=True, scope="module")
def few_trees():
    with trees(30):
        yield


@pytest.fixture(scope="module")
def y(structures) -> np.ndarray:
    return np.array([s.volume / len(s) for s in structures])


@pytest.fixture(scope="module")
def regressor(tiny_weights: Path) -> UnateRegressor:
    return UnateRegressor(tiny_weights, tight_binding=False, device="cpu", progress=False)


@pytest.fixture(scope="module")
def table(regressor, structures) -> pd.DataFrame:
    return regressor.featurize(structures)


@pytest.fixture(scope="module")
def fitted(regressor, table, y) -> UnateRegressor:
    return clone(regressor).fit(table, y)


# -- kernel ridge


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    y = np.sin(X[:, 0]) + 0.5 * X[:, 3] + 0.1 * rng.normal(size=60)
    folds = np.array_split(rng.permutation(60), 5)
    return X, y, [np.sort(f) for f in folds]


BLOCKS = [slice(0, 3), slice(3, 5)]


def absolute_error(y: np.ndarray):
    """What judges the held-out predictions of one output."""
    return lambda found, rows: float(np.abs(found[:, 0] - y[rows]).mean())


def fit_kernel(model: BlockKernelRidge, X, blocks, y, folds, start, *more) -> HeldOut:
    return model.fit(X, blocks, y[:, None], folds, start, absolute_error(y), *more)


def test_kernel_ridge_agrees_with_scikit_learns(problem) -> None:
    X, y, folds = problem
    model = BlockKernelRidge()
    held_out = fit_kernel(model, X, BLOCKS, y, folds, ((1.0, 1.0), 0.1))
    Z = (X - X.mean(0)) / X.std(0)
    assert (np.abs(Z) < 5).all()
    Z *= np.sqrt(np.repeat(model.scales / [3, 2], [3, 2]))
    kernel = Matern(nu=1.5)(Z) + 1.0
    mean = y.mean()
    ours = KernelRidge(alpha=model.penalty, kernel="precomputed").fit(kernel, y - mean)
    np.testing.assert_allclose(model.predict(X)[0][:, 0], ours.predict(kernel) + mean, atol=1e-5)
    for k, fold in enumerate(folds):
        for also in (None, (k + 1) % 5):
            left_out = fold if also is None else np.concatenate([fold, folds[also]])
            rest = np.setdiff1d(np.arange(60), left_out)
            ours.fit(kernel[np.ix_(rest, rest)], y[rest] - mean)
            np.testing.assert_allclose(
                held_out.predictions(also)[fold, 0],
                ours.predict(kernel[np.ix_(fold, rest)]) + mean,
                atol=1e-5,
            )


def test_both_ways_of_leaving_folds_out_agree(problem) -> None:
    X, y, folds = problem
    kernel = _matern(_squared_distances(X, X))
    both = np.column_stack([y, y**2])
    ridge = _Ridge(_features(kernel, _root(kernel)), both, folds, 0.05)
    found = []
    sample = _Sample(both, np.ones(60), folds, lambda held_out: found.append(held_out) or 7.0)
    assert sample.error(kernel, 0.05) == 7.0
    np.testing.assert_allclose(found[0], ridge.held_out()[-1], rtol=1e-5, atol=1e-5)


def test_outputs_that_share_a_kernel_are_what_each_is_alone(problem) -> None:
    X, y, folds = problem
    both, alone = BlockKernelRidge(), BlockKernelRidge()
    targets = np.column_stack([y, 3 - 10 * X[:, 1]])
    judge = absolute_error(y)
    held_out = both.fit(X, BLOCKS, targets, folds, ((0.1, 0.1), 0.03), judge)
    expected = alone.fit(X, BLOCKS, targets[:, :1], folds, ((0.1, 0.1), 0.03), judge)
    np.testing.assert_array_equal(both.scales, alone.scales)
    np.testing.assert_allclose(both.predict(X)[0][:, :1], alone.predict(X)[0], atol=1e-9)
    np.testing.assert_allclose(both.sensitivity(X)[:, :1], alone.sensitivity(X), atol=1e-9)
    for also in (None, 3):
        found = held_out.predictions(also)
        assert found.shape == (60, 2)
        np.testing.assert_allclose(found[:, :1], expected.predictions(also), atol=1e-9)


def test_fewer_basis_rows_than_rows_give_nearly_the_same(problem) -> None:
    X, y, folds = problem
    whole, part = BlockKernelRidge(), BlockKernelRidge(max_rows=45)
    for model in (whole, part):
        fit_kernel(model, X, BLOCKS, y, folds, ((0.1, 0.1), 0.03))
    assert len(part.basis) == 45
    assert len(part.weights) == 46
    a, b = whole.predict(X)[0][:, 0], part.predict(X)[0][:, 0]
    assert np.corrcoef(a, b)[0, 1] > 0.98


def test_the_sensitivity_is_the_squared_slope_a_standard_deviation(problem) -> None:
    X, y, folds = problem
    model = BlockKernelRidge()
    fit_kernel(model, X, BLOCKS, y, folds, ((0.3, 0.3), 0.03))
    found = model.sensitivity(X)[:, 0]
    for j in range(5):
        step = np.zeros(5)
        step[j] = 1e-5 * X[:, j].std()
        slope = (model.predict(X + step)[0] - model.predict(X - step)[0]) / 2e-5
        assert found[j] == pytest.approx(np.mean(slope**2), rel=1e-3)


def test_constant_and_missing_columns_take_no_part(problem) -> None:
    X, y, folds = problem
    more = np.hstack([X[:, :3], np.full((60, 1), 7.0), X[:, 3:]])
    more[5, 0] = np.nan
    model = BlockKernelRidge()
    fit_kernel(model, more, [slice(0, 4), slice(4, 6)], y, folds, ((0.3, 0.3), 0.03))
    assert np.isfinite(model.predict(more)[0]).all()
    assert model.sensitivity(more)[3] == 0
    changed = more.copy()
    changed[:, 3] = -100.0
    np.testing.assert_array_equal(model.predict(changed)[0], model.predict(more)[0])


# -- honesty


def test_held_out_predictions_do_not_depend_on_the_targets_of_their_fold(problem) -> None:
    X, y, folds = problem
    kernel = _matern(_squared_distances(X, X))
    features = _features(kernel, _root(kernel))

    transforms = transforms_for("auto", np.exp(y), np.ones(60))

    def honest(targets):
        target = TransformedTarget(targets, np.ones(60), transforms, -np.inf, "mae")
        held_out = HeldOut(_Ridge(features, target.values, folds, 0.05), 0.0, 1.0, np.ones(60))
        return fit_blend(X, held_out, target, folds, 1, 0)

    changed = np.exp(y)
    changed[folds[2]] = changed[folds[2]][::-1] ** 2
    (model, *before), (other, *after) = honest(np.exp(y)), honest(changed)
    # The parts are in the unit of the target, so that the transformation has not changed either.
    assert model.outputs[2] == other.outputs[2]
    np.testing.assert_allclose(after[0][folds[2]], before[0][folds[2]], atol=1e-6)
    assert np.abs(after[0][folds[0]] - before[0][folds[0]]).max() > 0.1
    # So are the shares, which the other folds choose.
    parts, found = before
    target = TransformedTarget(np.exp(y), np.ones(60), transforms, -np.inf, "mae")
    outside = np.setdiff1d(np.arange(60), folds[2])
    shares = _best_shares(parts[outside], target, outside)
    np.testing.assert_allclose(found[folds[2]], parts[folds[2]] @ shares)


def test_rows_of_one_formula_or_group_stay_in_one_fold() -> None:
    labels = np.repeat(["a", "b", "c", "d"], N // 4)
    folds = group_folds(labels, 5, 0)
    assert len(folds) == 4
    assert all(len(set(labels[fold])) == 1 for fold in folds)


def test_the_conformal_quantile_is_the_rank_of_theory() -> None:
    scale = ConformalScale([], 1.0, np.arange(1.0, 100.0), np.ones(99), np.ones(99))
    assert scale.reach(np.array([1.0, 2.0]), 0.9).tolist() == [90.0, 180.0]
    assert scale.reach(np.ones(1), 0.99) == 99.0
    for coverage in (0.0, 0.995, 1.0):
        with pytest.raises(InputError, match=r"with 99 training rows, at most 0.990"):
            scale.reach(np.ones(1), coverage)


def test_error_bars_hold_where_errors_are_small_and_where_they_are_large() -> None:
    """Small errors are mostly none at all here, and large ones normal, as of metals and gaps."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        sizes = np.where(rng.random(n) < 0.5, 0.1, 1.0) * rng.uniform(0.9, 1.1, n)
        spiky = np.where(rng.random(n) < 0.9, 0.01, 10.0)
        return sizes, sizes * np.where(sizes < 0.5, spiky, 1.0) * np.abs(rng.normal(size=n))

    sizes, errors = draw(2_000)
    order = np.argsort(sizes)
    scores = (errors / sizes)[order]
    scale = ConformalScale([], 1.0, scores, np.ones(2_000), sizes[order])
    sizes, errors = draw(20_000)
    for coverage in (0.8, 0.9):  # with one quantile for all, 91 and 72 % for 80 %
        inside = errors <= scale.reach(sizes, coverage)
        for part in (sizes < 0.5, sizes > 0.5):
            assert inside[part].mean() == pytest.approx(coverage, abs=0.06)
    assert (np.diff([scale.reach(np.ones(1), c)[0] for c in (0.5, 0.9, 0.995, 0.9995)]) >= 0).all()


def test_the_script_that_measures_coverage_counts_what_is_inside(
    tiny_weights, table, y, monkeypatch
) -> None:
    def small(**options):
        return UnateRegressor(tiny_weights, tight_binding=False, device="cpu", **options)

    monkeypatch.setattr(uncertainty, "UnateRegressor", small)
    none = np.array([], dtype=np.int64)
    rows = Rows(y, np.arange(28), none, np.arange(8, N), table["formula"].to_numpy())
    columns = table.copy()
    columns.loc[N - 1] = np.nan  # a test row that was not drawn
    found = uncertainty.measure(columns, rows, PROPERTIES["bulk_modulus"])
    assert found["n_test"] == N - 9
    model = small(minimum=None).fit(table[:28], y[:28])
    low, high = model.predict_interval(table[8:-1], 0.9).T
    assert found["coverage_90"] == np.mean((low <= y[8:-1]) & (y[8:-1] <= high))
    assert found["test_mae"] == pytest.approx(np.abs(model.predict(table[8:-1]) - y[8:-1]).mean())


# -- the estimator


def test_it_learns_and_reports_an_honest_error(fitted, table, y) -> None:
    assert fitted.held_out_error_ < 0.6 * np.abs(y - y.mean()).mean()
    assert fitted.held_out_error_ == pytest.approx(np.abs(fitted.held_out_predictions_ - y).mean())
    assert np.abs(fitted.predict(table) - y).mean() < fitted.held_out_error_
    assert fitted.score(table, y) > 0.8
    assert fitted.blend_.sum() == pytest.approx(1)
    assert fitted.n_rows_ == N


def test_structures_of_any_list_like_give_what_their_columns_give(
    fitted, structures, table
) -> None:
    some = structures[:6]
    expected = fitted.predict(table.iloc[:6])
    array = np.empty(6, dtype=object)
    array[:] = some
    series = pd.Series(some, index=list("abcdef"))
    for form in (some, tuple(some), series, series.to_frame(), array):
        np.testing.assert_allclose(fitted.predict(form), expected, rtol=1e-4)
    assert fitted.predict([]).shape == (0,)


def test_the_same_seed_gives_the_same_model(fitted, regressor, table, y) -> None:
    again = clone(regressor).set_params(n_jobs=2).fit(table, list(y))
    np.testing.assert_array_equal(again.predict(table), fitted.predict(table))


def test_error_bars_and_intervals_belong_together(fitted, table) -> None:
    found, std = fitted.predict(table, return_std=True)
    ends = fitted.predict_interval(table, 0.6827)
    np.testing.assert_allclose(ends, np.column_stack([found - std, found + std]))
    wider = fitted.predict_interval(table, 0.9)
    assert (std > 0).all()
    assert (wider[:, 0] <= ends[:, 0]).all()
    assert (ends[:, 1] <= wider[:, 1]).all()
    fitted.predict_interval(table, 0.972)
    for coverage in (0.99, 0, "0.9", np.nan):
        with pytest.raises(InputError, match=r"a number above 0 .*, at most 0\.972; got"):
            fitted.predict_interval(table, coverage)


def test_nothing_is_predicted_below_the_minimum(regressor, table, y) -> None:
    gaps = np.maximum(y - 18, 0)
    model = clone(regressor).fit(table, gaps)
    assert model.minimum_ == 0
    assert model.predict(table).min() >= 0
    assert model.predict_interval(table).min() >= 0
    assert clone(regressor).set_params(minimum=None).fit(table, gaps).minimum_ == -np.inf


def test_importances_are_sorted_shares_by_column_name(regressor, table, y) -> None:
    model = clone(regressor).set_params(target="identity").fit(table, y)
    found = model.importances()
    assert set(found.index) == set(table.columns[1:]) == set(model.feature_names_)
    assert found.sum() == pytest.approx(1)
    assert found.is_monotonic_decreasing
    assert (found >= 0).all()
    # The target is a column, and others say the same.
    by_hand = found[~found.index.str.startswith("unate_")].index
    assert {"cell_volume_per_atom", "site_log_volume_per_atom_mean"} & set(by_hand[:5])


def test_tight_binding_columns_are_a_switch_and_may_be_missing(tiny_weights: Path) -> None:
    model = UnateRegressor(tiny_weights, device="cpu", n_folds=3, progress=False)
    some = list(crystals().values())[:5]
    table = model.featurize(some)
    tight_binding = [c for c in table.columns if c.startswith("tight_binding")]
    assert len(tight_binding) > 100
    table.loc[2, tight_binding] = np.nan
    with pytest.warns(UnateWarning, match="1 of 5 rows lack the 'tight binding' columns; .* row 2"):
        model.fit(table, np.arange(5.0))
    with pytest.warns(UnateWarning, match="row 2"):
        assert np.isfinite(model.predict(table)).all()


def test_columns_of_several_weights_are_blocks_side_by_side(
    tiny_weights: Path, other_weights: Path, structures, y, table, tmp_path: Path
) -> None:
    both = (tiny_weights, other_weights)
    model = UnateRegressor(both, tight_binding=False, device="cpu", n_folds=3)
    columns = model.featurize(structures)
    one = table.columns
    assert list(columns.columns[: len(one)]) == list(one)
    assert columns[one[1:]].equals(table[one[1:]])
    learned = [c for c in columns if c.startswith("unate_other_")]
    assert list(columns.columns[len(one) :]) == learned
    assert len(learned) == sum(c.startswith("unate_tiny_") for c in one)
    expected = UnateFeaturizer(other_weights, device="cpu").transform(structures)
    np.testing.assert_array_equal(columns[learned], expected)
    model.fit(columns, y)
    # The trees learn from what is not wide.
    assert (
        model.fitted_.layout.n_tree_columns() == list(one).index("site_radial_count_1.4A_mean") - 1
    )
    assert len(model.fitted_.targets[0].models[0].kernel.scales) == 6
    model.save(tmp_path / "model")
    again = UnateRegressor.load(tmp_path / "model")
    np.testing.assert_allclose(again.predict(columns), model.predict(columns), rtol=1e-9)
    with pytest.raises(WeightsError, match="fitted with other weights"):
        UnateRegressor.load(tmp_path / "model", weights=(other_weights, tiny_weights))
    for wrong in ((), (tiny_weights, tiny_weights)):
        with pytest.raises(InputError, match="weights need different names"):
            UnateRegressor(wrong).featurize(structures)
    for wrong in (None, [tiny_weights, 5]):
        with pytest.raises(WeightsError, match="must be a name or a path"):
            UnateRegressor(wrong).featurize(structures)


# -- the target


@pytest.fixture(scope="module")
def tail(y) -> np.ndarray:
    """Targets from 1e-4 to 100, mostly small."""
    return np.exp((y - y.mean()) / y.std() * 2)


@pytest.fixture(scope="module")
def on_tail(regressor, table, tail) -> UnateRegressor:
    return clone(regressor).fit(table, tail)


def test_a_long_tail_is_learned_transformed_and_told_in_its_unit(
    regressor, on_tail, table, tail
) -> None:
    plain = clone(regressor).set_params(target="identity").fit(table, tail)
    assert plain.transforms_.to_dict() == {"identity": 1, "log": 0, "yeo-johnson": 0, "rank": 0}
    assert on_tail.transforms_["identity"] < 0.5
    assert on_tail.transforms_.sum() == pytest.approx(1)
    assert on_tail.held_out_error_ < 0.9 * plain.held_out_error_
    assert np.abs(on_tail.predict(table) - tail).mean() < on_tail.held_out_error_
    inside = on_tail.predict_interval(table, 0.8)
    assert ((inside[:, 0] <= tail) & (tail <= inside[:, 1])).mean() > 0.7
    # Trees of a fold learned the target as it is, and what the others chose; the kernel has an
    # output for each.
    model = on_tail.fitted_.targets[0].models[0]
    plainly, chosen = model.blend.forests
    assert plainly.outputs == [0] * 5
    assert model.blend.outputs == chosen.outputs != plainly.outputs
    assert len(chosen.direct) == len(chosen.residual) == 5
    assert model.kernel.weights.shape == (N + 1, 4)


@pytest.mark.parametrize("target", ["log", "yeo-johnson", "rank"])
def test_a_named_transformation_is_taken(regressor, table, tail, target) -> None:
    model = clone(regressor).set_params(target=target).fit(table, tail)
    assert model.transforms_[target] == 1
    assert model.blend_[f"kernel ridge, {target}"] + model.blend_[-2:].sum() == pytest.approx(1)
    assert model.held_out_error_ < np.abs(tail - np.median(tail)).mean()
    assert np.ptp(model.predict(table)) > 0.3 * np.ptp(tail)


def test_the_named_error_is_what_is_told(regressor, table, tail) -> None:
    model = clone(regressor).set_params(scoring="rmse").fit(table, tail)
    deviations = model.held_out_predictions_ - tail
    assert model.held_out_error_ == pytest.approx((deviations**2).mean() ** 0.5)
    assert model.fitted_.targets[0].models[0].held_out_error == model.held_out_error_


def test_each_of_several_targets_has_its_transformation(
    regressor, on_tail, table, y, tail, tmp_path: Path
) -> None:
    model = clone(regressor).fit(table, pd.DataFrame({"y": -tail, "tail": tail, "few": y > 20}))
    assert list(model.transforms_) == list(model.blend_) == ["y", "tail", "few"]
    np.testing.assert_allclose(model.transforms_["tail"], on_tail.transforms_)
    np.testing.assert_array_equal(model.predict(table)[:, 1], on_tail.predict(table))
    assert model.transforms_.loc["identity", "few"] == 1
    model.save(tmp_path / "model")
    again = UnateRegressor.load(tmp_path / "model")
    np.testing.assert_allclose(again.predict(table), model.predict(table), rtol=1e-9)
    pd.testing.assert_frame_equal(again.transforms_, model.transforms_)
    pd.testing.assert_frame_equal(again.blend_, model.blend_)


def test_a_constant_target_is_predicted(regressor, table) -> None:
    model = clone(regressor).fit(table, np.full(N, 2.5))
    found, std = model.predict(table, return_std=True)
    np.testing.assert_allclose(found, 2.5, atol=1e-6)
    assert (std < 1e-6).all()


@pytest.mark.parametrize(("factor", "offset"), [(1e20, 0.0), (1e-30, 0.0), (1.0, 1e8)])
def test_predictions_and_importances_do_not_depend_on_the_unit(
    regressor, table, y, factor: float, offset: float
) -> None:
    """LightGBM keeps targets and gains in 32 bits, which end at 1e38 and have seven digits."""
    plain = clone(regressor).set_params(target="identity")
    one, other = clone(plain).fit(table, y), clone(plain).fit(table, y * factor + offset)
    expected, std = one.predict(table, return_std=True)
    found, other_std = other.predict(table, return_std=True)
    np.testing.assert_allclose((found - offset) / factor, expected, rtol=1e-3)
    np.testing.assert_allclose(other_std / abs(factor), std, rtol=1e-2)
    importances = other.feature_importances_
    assert importances.sum() == pytest.approx(1)
    np.testing.assert_allclose(importances, one.feature_importances_, atol=1e-3)


def test_repeated_rows_with_other_targets_are_no_trouble(regressor, table, y) -> None:
    twice = pd.concat([table, table])
    model = clone(regressor).fit(twice, np.concatenate([y, y + 1]))
    assert np.isfinite(model.predict(table)).all()


def test_ten_rows_are_enough_for_a_model(regressor, table, y) -> None:
    model = clone(regressor).fit(table[:10], y[:10])
    assert np.isfinite(model.predict_interval(table, 0.8)).all()


# -- wrong input


def test_unusable_structures_are_named_or_left_out(regressor, structures, y) -> None:
    some = pd.Series(structures[:12], index=[f"id{i}" for i in range(12)], dtype=object)
    some.iloc[4] = None
    with pytest.raises(StructureError, match=r"row 4 \(index 'id4'\).*missing"):
        clone(regressor).fit(some, y[:12])
    model = clone(regressor).set_params(on_error="nan")
    with pytest.warns(UnateWarning, match="1 of 12 rows"):
        model.fit(some, y[:12])
    assert model.n_rows_ == 11
    assert np.isnan(model.held_out_predictions_[4])
    with pytest.warns(UnateWarning, match="1 of 12 rows"):
        found, std = model.predict(some, return_std=True)
    assert np.flatnonzero(np.isnan(found)).tolist() == [4]
    assert np.isnan(std[4])
    with pytest.warns(UnateWarning):
        table = model.featurize(some)
    with pytest.warns(UnateWarning, match="have no columns"):
        np.testing.assert_array_equal(model.predict(table), found)
    with pytest.raises(InputError, match=r"row 4 \(index 'id4'\) has no columns"):
        clone(regressor).fit(table, y[:12])


def test_wrong_targets_groups_and_options_are_named(regressor, table, y) -> None:
    holes = y.copy()
    holes[7] = np.nan
    for given, options, message in [
        ((table, holes), {}, "first is row 7"),
        ((table, y[:-1]), {}, "36 structures need 36 targets"),
        ((table, ["a"] * N), {}, "must be numbers"),
        ((table[:2], y[:2]), {}, "at least 3 structures, got 2"),
        ((table.drop(columns=table.columns[3]), y), {}, "lacks 1 of .*missing: MagpieData"),
        ((pd.concat([table, table.iloc[:, [5]]], axis=1), y), {}, "twice; drop one"),
        ((table, y), {"tight_binding": True}, "missing: tight_binding"),
        ((table, y), {"n_folds": 1}, "'n_folds' parameter of UnateRegressor must be an int in"),
        ((table, y), {"on_error": "drop"}, "'on_error'.*{'(raise|nan)', '(nan|raise)'}"),
        (
            (table, y),
            {"minimum": 1e6},
            r"36 targets are below .* is that of row 0 .*, \d",
        ),
        ((table, y), {"max_kernel_rows": 0}, "max_kernel_rows"),
        ((table, y), {"random_state": -1}, "'random_state'.*range"),
        ((table, y), {"weights": "nowhere"}, "neither shipped"),
    ]:
        with pytest.raises(ValueError, match=message):
            clone(regressor).set_params(**options).fit(*given)
    with pytest.raises(InputError, match="wrap a single structure"):
        clone(regressor).fit(crystals()["Si"], [1.0])
    for groups, message in [
        (["g"] * 3, "36 structures need 36 groups, got 3"),
        ([*range(N - 2), None, np.nan], "2 groups are missing .* first is that of row 34 .*; give"),
        (["g"] * N, r"1 group\(s\).*at least 3"),
    ]:
        with pytest.raises(InputError, match=message):
            clone(regressor).fit(table, y, groups=groups)


def test_what_is_wrong_is_told_before_crystals_are_described(
    regressor, structures, y, monkeypatch
) -> None:
    monkeypatch.setattr(Recipe, "describe", None)
    for options, given in [
        ({"minimum": float(np.median(y))}, {}),
        ({}, {"groups": [None] * len(y)}),
    ]:
        with pytest.raises(InputError, match=r"below the minimum|groups are missing"):
            clone(regressor).set_params(**options).fit(structures, y, **given)


def test_a_row_of_weight_0_may_be_below_the_minimum(regressor, table, y) -> None:
    weights = np.where(np.arange(N) == 4, 0.0, 1.0)
    changed = np.where(weights > 0, y, -1.0)
    model = clone(regressor).set_params(minimum=0)
    assert model.fit(table, changed, sample_weight=weights).n_rows_ == N - 1
    with pytest.raises(InputError, match=r"1 targets are below .* row 4 .*, -1; lower"):
        model.fit(table, changed)


def test_weights_are_not_taken_for_groups(regressor, table, y) -> None:
    with pytest.raises(TypeError, match="positional"):
        clone(regressor).fit(table, y, np.ones(N))


def test_columns_are_found_among_others_and_in_any_order(
    fitted, regressor, table, y, tmp_path
) -> None:
    table.to_csv(tmp_path / "table.csv")
    other = pd.read_csv(tmp_path / "table.csv", keep_default_na=False).assign(id="x", gap=1.0)
    other = other[other.columns[::-1]]
    np.testing.assert_array_equal(fitted.predict(other), fitted.predict(table))
    again = clone(regressor).fit(other, y)
    np.testing.assert_array_equal(again.predict(table), fitted.predict(table))


def test_rows_in_another_order_than_their_targets_are_refused(regressor, table, y) -> None:
    some = table.iloc[::-1]
    for given, name in [
        ({"y": pd.Series(y)}, "y"),
        ({"groups": pd.Series(np.arange(N))}, "groups"),
        ({"sample_weight": pd.Series(np.ones(N))}, "sample_weight"),
    ]:
        with pytest.raises(InputError, match=rf"^{name} has its rows in another order than X: "):
            clone(regressor).fit(some, **{"y": y} | given)


def test_trees_grow_in_threads_whatever_backend_joblib_is_told(regressor, table, y) -> None:
    expected = clone(regressor).fit(table, y).predict(table)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        found = clone(regressor).fit(table, y).predict(table)
    np.testing.assert_array_equal(found, expected)


def test_a_search_in_which_nothing_is_a_number_ends() -> None:
    class NoNumber:
        def error(self, kernel: Any, penalty: float) -> float:
            return math.nan

    start = [1.0, 1.0], 0.01
    distances = [np.ones((2, 2))] * 2
    scales, penalty = _search(distances, NoNumber(), start, lambda share: None)
    np.testing.assert_allclose([*scales, penalty], [1, 1, 0.01])


def test_nothing_can_be_asked_before_fit(regressor, table) -> None:
    for ask in (
        lambda m: m.predict(table),
        lambda m: m.predict_interval(table),
        lambda m: m.importances(),
        lambda m: m.blend_,
        lambda m: m.save("nowhere"),
    ):
        with pytest.raises(NotFittedError):
            ask(clone(regressor))


def test_without_lightgbm_the_error_says_how_to_get_it(regressor, table, y, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ImportError, match="pip install lightgbm"):
        clone(regressor).fit(table, y)


# -- disk


def test_a_saved_model_says_the_same(fitted, table, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    names = {p.suffix for p in (tmp_path / "model").iterdir()}
    assert names == {".json", ".safetensors", ".txt"}
    again = UnateRegressor.load(tmp_path / "model")
    for ours, theirs in zip(
        fitted.predict(table, return_std=True), again.predict(table, return_std=True), strict=True
    ):
        np.testing.assert_allclose(theirs, ours, rtol=1e-9)
    assert again.importances().equals(fitted.importances())
    assert again.get_params() == {**fitted.get_params(), "weights": str(fitted.weights)}
    assert again.held_out_error_ == fitted.held_out_error_


def test_a_model_with_parameters_of_numpy_is_saved_whole(fitted, tmp_path: Path) -> None:
    model = copy.copy(fitted).set_params(max_kernel_rows=np.int64(4000))
    model.save(tmp_path / "model")
    assert UnateRegressor.load(tmp_path / "model").max_kernel_rows == 4000


def test_options_changed_after_the_fit_are_named(fitted, table, structures) -> None:
    with pytest.raises(InputError, match="set tight_binding back"):
        copy.copy(fitted).set_params(tight_binding=True).predict(table)
    with pytest.raises(InputError, match="not those of the fit"):
        copy.copy(fitted).set_params(weights="mp_v3").predict(structures)


def test_a_damaged_or_foreign_model_is_refused(fitted, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(WeightsError, match=r"no saved UnateRegressor: it has no config\.json"):
        UnateRegressor.load(folder)
    fitted.save(folder)
    with pytest.raises(WeightsError, match="fitted with other weights"):
        UnateRegressor.load(folder, weights="mp_v3")
    trees = (folder / "direct_0_0.txt").read_text()
    (folder / "direct_0_0.txt").write_text(trees[:-50])
    with pytest.raises(WeightsError, match=r"direct_0_0.txt is truncated or changed"):
        UnateRegressor.load(folder)
    (folder / "direct_0_0.txt").unlink()
    with pytest.raises(WeightsError, match=r"has no direct_0_0.txt"):
        UnateRegressor.load(folder)
    config = json.loads((folder / "config.json").read_text())
    for changed, message in [
        ({**config, "format_version": 99}, "format 99"),
        ({**config, "kind": "other"}, "no saved UnateRegressor"),
    ]:
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(WeightsError, match=message):
            UnateRegressor.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="not readable JSON"):
        UnateRegressor.load(folder)


def test_a_pickle_says_the_same_and_holds_no_network(fitted, table) -> None:
    content = pickle.dumps(fitted)
    assert b"torch" not in content
    np.testing.assert_array_equal(pickle.loads(content).predict(table), fitted.predict(table))


# -- scikit-learn


def test_grid_search_and_cross_validation_take_structures_and_columns(
    regressor, structures, table, y
) -> None:
    search = GridSearchCV(regressor, {"n_folds": [3, 4]}, cv=2, error_score="raise")
    assert search.fit(table, y).best_params_["n_folds"] in (3, 4)
    groups = table["formula"]
    cv = GroupKFold(2)
    model = make_pipeline(regressor)
    from_columns = cross_val_predict(model, table, y, groups=groups, cv=cv)
    from_structures = cross_val_predict(model, structures, y, groups=groups, cv=cv)
    np.testing.assert_allclose(from_structures, from_columns, rtol=1e-3)


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_mixin_order,
    ],
)
def test_scikit_learns_own_checks_pass(check, regressor) -> None:
    check("UnateRegressor", regressor)


# -- columns


def test_cell_columns_are_those_of_the_crystal_not_of_the_cell() -> None:
    rutile = crystals()["TiO2 rutile"]
    rows = cell_columns([rutile, rutile * (1, 2, 1), crystals()["Si"]])
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-5)
    assert rows[0, 1:].tolist() == [136, 6]
    assert rows[2, 1:].tolist() == [227, 2]
    assert rows[0, 0] == pytest.approx(rutile.volume / 6)


def test_space_groups_are_found_where_warnings_are_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cell_columns([crystals()["Si"]])[0, 1] == 227


def test_composition_columns_are_matminers_whatever_the_cell_or_charge() -> None:
    from matminer.featurizers.composition import ElementProperty

    magpie = ElementProperty.from_preset("magpie", impute_nan=True)
    quartz = crystals()["SiO2 quartz"]
    charged = quartz.copy()
    charged.add_oxidation_state_by_element({"Si": 4, "O": -2})
    rows = composition_columns([quartz, charged, quartz * (2, 1, 1)])
    expected = magpie.featurize(quartz.composition.element_composition)
    np.testing.assert_allclose(rows, np.tile(expected, (3, 1)), rtol=1e-5)
