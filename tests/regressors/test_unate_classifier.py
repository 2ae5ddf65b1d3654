"""UnateClassifier: honest probabilities, and the contracts of UnateRegressor."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from few_trees import trees
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.utils import estimator_checks

from matminer_unate import UnateClassifier, UnateRegressor
from matminer_unate.cli import main as cli
from matminer_unate.errors import InputError, StructureError, UnateWarning, WeightsError
from matminer_unate.regressors import class_models
from matminer_unate.targets import read_classes

N = 36
TB = "tight_binding"


@pytest.fixture(autouse=True, scope="module")
def few_trees():
    with trees(40, class_models):
        yield


@pytest.fixture(scope="module")
def volumes(structures) -> np.ndarray:
    return np.array([s.volume / len(s) for s in structures])


@pytest.fixture(scope="module")
def y(volumes) -> np.ndarray:
    return np.where(volumes > np.median(volumes), "wide", "narrow")


@pytest.fixture(scope="module")
def classifier(tiny_weights: Path) -> UnateClassifier:
    return UnateClassifier(
        tiny_weights, tight_binding=False, n_folds=4, device="cpu", progress=False
    )


@pytest.fixture(scope="module")
def table(classifier, structures) -> pd.DataFrame:
    return classifier.featurize(structures)


@pytest.fixture(scope="module")
def fitted(classifier, table, y) -> UnateClassifier:
    return clone(classifier).fit(table, y)


def test_it_learns_and_its_probabilities_are_honest(fitted, table, y) -> None:
    assert fitted.classes_.tolist() == ["narrow", "wide"]
    assert is_classifier(fitted)
    found = fitted.predict_proba(table)
    assert found.shape == (N, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert fitted.score(table, y) > 0.85
    assert (fitted.predict(table) == fitted.classes_[found.argmax(axis=1)]).all()
    held_out = fitted.held_out_predictions_
    told = held_out[np.arange(N), (y == "wide").astype(int)]
    assert fitted.held_out_error_ == pytest.approx(-np.log(told).mean())
    assert fitted.held_out_error_ < 0.6  # a coin has 0.693
    assert abs(held_out[:, 1].mean() - (y == "wide").mean()) < 0.1


def test_structures_and_their_columns_give_the_same(fitted, structures, table) -> None:
    expected = fitted.predict_proba(table.iloc[:6])
    series = pd.Series(structures[:6], index=list("abcdef"))
    for form in (structures[:6], series, series.to_frame()):
        np.testing.assert_allclose(fitted.predict_proba(form), expected, rtol=1e-3)
    assert fitted.predict_proba([]).shape == (0, 2)
    assert fitted.predict([]).shape == (0,)


def test_the_columns_are_those_of_the_regressor(classifier, tiny_weights, table, structures):
    other = UnateRegressor(tiny_weights, tight_binding=False, device="cpu")
    pd.testing.assert_frame_equal(other.featurize(structures), table)


@pytest.mark.parametrize(
    ("name", "dtype"), [("words", "<U6"), ("booleans", "|b1"), ("numbers", "<i8")]
)
def test_labels_of_any_kind_are_told_as_they_were_given(
    classifier, table, volumes, name, dtype, tmp_path: Path
) -> None:
    codes = np.digitize(volumes, np.quantile(volumes, [0.4, 0.8]))
    labels = {
        "words": np.array(["small", "medium", "large"], dtype=object)[codes],
        "booleans": pd.Series(codes > 0),
        "numbers": (codes * 10).tolist(),
    }[name]
    model = clone(classifier).fit(table, labels)
    assert model.classes_.dtype.str == dtype
    assert set(model.classes_.tolist()) == set(labels)
    found = model.predict(table)
    assert found.dtype == model.classes_.dtype
    assert (found == np.asarray(labels)).mean() > 0.8
    model.save(tmp_path / "model")
    again = UnateClassifier.load(tmp_path / "model")
    assert again.classes_.dtype == model.classes_.dtype
    np.testing.assert_allclose(again.predict_proba(table), model.predict_proba(table), rtol=1e-9)
    assert (again.predict(table) == found).all()


def test_class_weights_are_weights_of_rows(classifier, table, y) -> None:
    rare = np.where(np.arange(N) % 6 == 0, "rare", y)
    plain = clone(classifier).fit(table, rare)
    weights = {"rare": 5.0, "narrow": 1.0, "wide": 1.0}
    model = clone(classifier).set_params(class_weight=weights).fit(table, rare)
    rows = np.where(rare == "rare", 5.0, 1.0)
    expected = clone(classifier).fit(table, rare, sample_weight=rows)
    np.testing.assert_array_equal(model.predict_proba(table), expected.predict_proba(table))
    k = model.classes_.tolist().index("rare")
    more = model.held_out_predictions_[:, k].mean() - plain.held_out_predictions_[:, k].mean()
    assert more > 0.1
    balanced = clone(classifier).set_params(class_weight="balanced").fit(table, rare)
    assert balanced.held_out_predictions_[:, k].mean() == pytest.approx(1 / 3, abs=0.12)
    for wrong, message in [
        ({"rar": 1.0}, "class_weight has 'rar', which is none of the classes 'narrow', 'rare'"),
        (
            {"rare": -1.0, "narrow": 1.0, "wide": 1.0},
            "of 'rare' is -1.0; it must be",
        ),
        ({"rare": "5"}, "of 'rare' is '5'; it must be a number above 0"),
        ("even", "'class_weight' parameter of UnateClassifier"),
    ]:
        with pytest.raises(InputError, match=message):
            clone(classifier).set_params(class_weight=wrong).fit(table, rare)


def test_classes_are_balanced_by_the_rows_that_count(classifier, table, y) -> None:
    weights = np.where((y == "wide") & (np.arange(N) % 2 > 0), 0.0, 1.0)
    totals = {label: weights[y == label].sum() for label in ("narrow", "wide")}
    assert 0 < totals["wide"] < (y == "wide").sum()
    balanced = clone(classifier).set_params(class_weight="balanced")
    found = balanced.fit(table, y, sample_weight=weights).predict_proba(table)
    own = weights / np.array([totals[label] for label in y])
    expected = clone(classifier).fit(table, y, sample_weight=own).predict_proba(table)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    given = {"narrow": np.int64(2), "wide": np.float32(0.5)}
    clone(classifier).set_params(class_weight=given).fit(table, y)


def test_rows_of_weight_0_are_left_out_exactly(classifier, table, y) -> None:
    weights = np.ones(N)
    weights[[0, 8, 15]] = 0
    changed = np.where(weights > 0, y, "other")
    with pytest.raises(InputError, match="no usable row is of class 'other'; mend"):
        clone(classifier).fit(table, changed, sample_weight=weights)
    flipped = np.where(weights > 0, y, np.where(y == "wide", "narrow", "wide"))
    model = clone(classifier).fit(table, flipped, sample_weight=weights)
    expected = clone(classifier).fit(table[weights > 0], y[weights > 0])
    np.testing.assert_array_equal(model.predict_proba(table), expected.predict_proba(table))
    assert model.n_rows_ == N - 3
    missing = np.isnan(model.held_out_predictions_).all(axis=1)
    assert np.flatnonzero(missing).tolist() == [0, 8, 15]


def test_rows_that_lack_the_electrons_are_told_by_a_model_without_them(
    tiny_weights, structures, y, tmp_path: Path
) -> None:
    few, labels = structures[:24], y[:24]
    model = UnateClassifier(tiny_weights, device="cpu", n_folds=3, progress=False)
    table = model.featurize(few)
    model.fit(table, labels)
    holes = table.copy()
    holes.loc[[2, 5], [c for c in table if c.startswith(TB)]] = np.nan
    with pytest.warns(UnateWarning, match="2 of 24 rows lack the 'tight binding' columns.*row 2"):
        found = model.predict_proba(holes)
    expected = model.predict_proba(table)
    others = np.setdiff1d(np.arange(24), [2, 5])
    np.testing.assert_allclose(found[others], expected[others])
    other = model.fitted_.targets[0].models[1]
    assert other.without == {"tight binding"}
    columns = table.iloc[:, 1:].to_numpy(np.float64)
    alone, _ = other.predict(columns, model.fitted_.layout)
    np.testing.assert_allclose(found[[2, 5]], alone[[2, 5]])
    assert model.held_out_error_without_ == {"tight binding": other.held_out_error}
    assert model.importances().filter(like=TB).sum() > 0
    model.save(tmp_path / "model")
    again = UnateClassifier.load(tmp_path / "model").set_params(progress=False)
    with pytest.warns(UnateWarning, match="row 2"):
        np.testing.assert_allclose(again.predict_proba(holes), found, rtol=1e-9)


def test_unusable_structures_are_named_or_get_nan(classifier, structures, y) -> None:
    some = [*structures[:11], None]
    with pytest.raises(StructureError, match=r"row 11: .*missing"):
        clone(classifier).fit(some, y[:12])
    model = clone(classifier).set_params(on_error="nan")
    with pytest.warns(UnateWarning, match="1 of 12 rows"):
        model.fit(some, y[:12])
    assert np.isnan(model.held_out_predictions_[11]).all()
    with pytest.warns(UnateWarning, match="1 of 12 rows"):
        found = model.predict_proba(some)
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [11]
    with pytest.warns(UnateWarning, match="1 of 12 rows"):
        labels = model.predict(some)
    assert labels.dtype == object
    assert pd.isna(labels[11])
    assert set(labels[:11]) <= {"narrow", "wide"}


def test_wrong_labels_and_options_are_named(classifier, table, y) -> None:
    for labels, message in [
        (y[:-1], "36 structures need 36 labels, got 35"),
        ([*y[:-1], None], "1 labels are missing, the first is of row 35"),
        ([*y[:-1], np.nan], "first is of row 35"),
        ([*y[:-1], 3], "all of one kind, and row 35 .* has 3; for"),
        (np.linspace(0, 1, N), "use a regressor"),
        (["a"] * N, "all labels are 'a'"),
        (np.array([y, y]).T, r"got shape \(36, 2\), several labels a row"),
    ]:
        with pytest.raises(InputError, match=message):
            clone(classifier).fit(table, labels)
    for option, value in [("n_folds", 2), ("random_state", -1), ("on_error", "drop")]:
        with pytest.raises(InputError, match=f"'{option}' parameter of UnateClassifier must be"):
            clone(classifier).set_params(**{option: value}).fit(table, y)
    with pytest.raises(InputError, match="at least 3 structures"):
        clone(classifier).fit(table[:2], y[:2])


def test_whole_numbers_as_floats_are_labels() -> None:
    classes, codes = read_classes(np.array([2.0, 0.0, 2.0]), 3)
    assert (classes.tolist(), codes.tolist()) == ([0, 2], [1, 0, 1])


def test_nothing_can_be_asked_before_fit(classifier, table) -> None:
    for ask in (
        lambda m: m.predict(table),
        lambda m: m.predict_proba(table),
        lambda m: m.classes_,
        lambda m: m.save("nowhere"),
    ):
        with pytest.raises(NotFittedError):
            ask(clone(classifier))


def test_without_lightgbm_the_error_says_who_needs_it(classifier, table, y, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ImportError, match="UnateClassifier needs LightGBM: pip install lightgbm"):
        clone(classifier).fit(table, y)


def test_a_saved_model_keeps_its_parameters_and_refuses_damage(
    classifier, table, y, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    weights = {np.str_("narrow"): 2.0, "wide": 1}
    model = clone(classifier).set_params(class_weight=weights).fit(table, y)
    model.save(folder)
    again = UnateClassifier.load(folder)
    assert again.get_params() == {**model.get_params(), "weights": str(model.weights)}
    assert again.importances().equals(model.importances())
    assert (again.held_out_error_, again.n_rows_) == (model.held_out_error_, N)
    with pytest.raises(WeightsError, match="no saved UnateRegressor: it holds 'UnateClassifier'"):
        UnateRegressor.load(folder)
    with pytest.raises(WeightsError, match="fitted with other weights"):
        UnateClassifier.load(folder, weights="mp_v3")
    trees = (folder / "trees_0.txt").read_text()
    (folder / "trees_0.txt").write_text(trees[:-50])
    with pytest.raises(WeightsError, match=r"trees_0.txt is truncated or changed"):
        UnateClassifier.load(folder)


def test_options_changed_after_the_fit_are_named(fitted, table) -> None:
    with pytest.raises(InputError, match="set tight_binding back"):
        copy.copy(fitted).set_params(tight_binding=True).predict(table)


def test_a_pickle_says_the_same(fitted, table) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(table), fitted.predict_proba(table))


def test_grid_search_and_cross_validation_take_it(classifier, table, y) -> None:
    search = GridSearchCV(classifier, {"n_folds": [3, 4]}, cv=2, error_score="raise")
    assert search.fit(table, y).best_params_["n_folds"] in (3, 4)
    found = cross_val_predict(classifier, table, y, cv=2, method="predict_proba")
    assert found.shape == (N, 2)


def test_the_command_line_writes_a_probability_a_class(
    fitted, structures, table, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    frame = pd.DataFrame({"structure": [json.dumps(s.as_dict()) for s in structures[:3]]})
    frame.to_csv(tmp_path / "in.csv", index=False)
    arguments = ["predict", tmp_path / "model", tmp_path / "in.csv", "--out", tmp_path / "out.csv"]
    assert cli.main([*map(str, arguments), "--device", "cpu"]) == cli.OK
    found = pd.read_csv(tmp_path / "out.csv")
    names = ["prediction_narrow", "prediction_wide"]
    assert list(found)[1:] == ["prediction", *names]
    np.testing.assert_allclose(found[names], fitted.predict_proba(structures[:3]), rtol=1e-3)
    assert list(found["prediction"]) == list(fitted.predict(structures[:3]))


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
def test_scikit_learns_own_checks_pass(check, classifier) -> None:
    check("UnateClassifier", classifier)
