"""Calibration and trees of classes: against formulas, and blind to the fold that judges them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from few_trees import trees

from matminer_unate.regressors import class_models
from matminer_unate.regressors.class_models import (
    Calibration,
    FittedClassModel,
    _grow_folds,
    log_loss,
    unlearned_rows,
)
from matminer_unate.regressors.kernel_ridge import HeldOut, _features, _matern, _Ridge, _root
from matminer_unate.regressors.kernel_ridge import _squared_distances as squared_distances
from matminer_unate.regressors.training_rows import NONE, BlockLayout, FitOptions, TrainingRows

OPTIONS = FitOptions(n_folds=5, max_kernel_rows=100, n_jobs=1, seed=0, ignore_errors=False)


@pytest.fixture(autouse=True, scope="module")
def few_trees():
    with trees(30, class_models):
        yield


@pytest.fixture(scope="module", params=[2, 3])
def n_classes(request) -> int:
    return request.param


@pytest.fixture(scope="module")
def rows(n_classes) -> TrainingRows:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    edges = {2: [0.0], 3: [-0.5, 0.5]}[n_classes]
    codes = np.digitize(X[:, 0] + 0.2 * rng.normal(size=120), edges)
    folds = [np.sort(f) for f in np.array_split(rng.permutation(120), 5)]
    return TrainingRows(X, codes.astype(float), np.ones(120), folds)


def test_the_calibration_is_that_of_the_least_penalised_log_loss() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 3, 400)
    margins = 5 * (np.eye(3)[codes] + rng.normal(size=(400, 3)))  # far too sure
    weights = rng.uniform(0.5, 1.5, 400)
    found = Calibration.fit(margins, codes, weights)
    unit = margins.std()

    def loss(factor, biases):
        p = Calibration(factor, biases).probabilities(margins)
        penalty = (factor * unit) ** 2 + (biases**2).sum()
        return log_loss(p, codes, weights) * weights.sum() + penalty / 2

    least = loss(found.factor, found.biases)
    for step in (-0.02, 0.02):
        assert loss(found.factor + step / unit, found.biases) > least
        for k in range(3):
            assert loss(found.factor, found.biases + step * np.eye(3)[k]) > least
    np.testing.assert_allclose(found.probabilities(margins).sum(axis=1), 1)
    # Probabilities are right on average.
    p = found.probabilities(margins)
    told = weights @ p / weights.sum()
    np.testing.assert_allclose(told, weights @ np.eye(3)[codes] / weights.sum(), atol=0.02)


def test_the_log_loss_is_weighted_and_finite() -> None:
    p = np.array([[0.9, 0.1], [0.5, 0.5], [1.0, 0.0]])
    found = log_loss(p, np.array([0, 1, 0]), np.array([1.0, 3.0, 1.0]))
    assert found == pytest.approx(-(np.log(0.9) + 3 * np.log(0.5)) / 5)
    assert np.isfinite(log_loss(p, np.array([0, 1, 1]), np.ones(3)))


def test_margins_of_a_fold_do_not_depend_on_its_classes(rows, n_classes) -> None:
    kernel = _matern(squared_distances(rows.table, rows.table))
    features = _features(kernel, _root(kernel))

    def margins(codes):
        indicators = np.eye(n_classes)[codes][:, 1 if n_classes == 2 else 0 :]
        held_out = HeldOut(_Ridge(features, indicators, rows.folds, 0.05), 0.0, 1.0, np.ones(120))
        given = rows.table, held_out, codes, n_classes, rows, OPTIONS
        return _grow_folds(*given, False, lambda share: None)[1]

    codes = rows.targets.astype(np.int64)
    changed = codes.copy()
    changed[rows.folds[2]] = (codes[rows.folds[2]] + 1) % n_classes
    before, after = margins(codes), margins(changed)
    np.testing.assert_allclose(after[rows.folds[2]], before[rows.folds[2]], atol=1e-6)
    assert np.abs(after[rows.folds[0]] - before[rows.folds[0]]).max() > 0.1


def test_a_class_that_a_fold_has_for_itself_is_no_trouble(rows, n_classes) -> None:
    alone = rows.targets.copy()
    alone[alone == n_classes - 1] = 0
    alone[rows.folds[1][:3]] = n_classes - 1
    changed = TrainingRows(rows.table, alone, rows.weights, rows.folds)
    layout = BlockLayout({"composition and cell": 2, "unate tiny": 2})
    quiet = (lambda share: None, lambda share: None)
    model, held_out = FittedClassModel.fit(changed, layout, NONE, n_classes, OPTIONS, None, quiet)
    assert np.isfinite(held_out).all()
    assert np.isfinite(model.predict(rows.table, layout)[0]).all()
    assert model.importances(rows.table, layout, 0).sum() == pytest.approx(1)


def test_rows_of_classes_that_lie_in_one_fold() -> None:
    codes = np.array([0, 1, 2, 0, 1, 2, 3, 3])
    folds = [np.array([1, 3, 4]), np.array([0, 2, 6, 7]), np.array([5])]
    assert unlearned_rows(codes, folds, 4).tolist() == [1, 4, 6, 7]


def fit_classes(rows: TrainingRows, n_classes: int) -> tuple[FittedClassModel, np.ndarray]:
    layout = BlockLayout({"all": rows.table.shape[1]})
    return FittedClassModel.fit(rows, layout, NONE, n_classes, OPTIONS, None, (str, str))


def test_a_class_of_one_row_leaves_the_others_told_apart(rows, n_classes) -> None:
    """Even if it weighs as much as each of the others, as balanced weights have it."""
    odd = rows.targets.copy()
    odd[7] = n_classes
    weights = np.where(odd == n_classes, len(odd) / n_classes, 1.0)
    given = replace(rows, targets=odd, weights=weights / weights.mean())
    rest = np.setdiff1d(np.arange(len(odd)), [7])
    _, without = fit_classes(rows, n_classes)
    model, found = fit_classes(given, n_classes + 1)
    own = rows.targets[rest].astype(int)
    losses = [log_loss(p[rest], own, np.ones(len(rest))) for p in (without, found)]
    assert losses[1] == pytest.approx(losses[0], abs=0.1)
    assert found[7, n_classes] == pytest.approx(0, abs=0.05)  # nobody could know
    assert found[7, n_classes] > 0
    told, _ = model.predict(rows.table, BlockLayout({"all": rows.table.shape[1]}))
    assert (told.argmax(axis=1)[rest] == own).mean() > 0.8
    np.testing.assert_allclose(told.sum(axis=1), 1)


def test_two_classes_one_of_which_is_in_one_fold_are_told_apart(rows) -> None:
    fold = rows.folds[0]
    few = fold[np.argsort(rows.table[fold, 0])[-12:]]
    codes = np.isin(np.arange(len(rows.targets)), few).astype(float)
    model, found = fit_classes(replace(rows, targets=codes), 2)
    assert np.isfinite(found).all()
    assert np.isfinite(model.held_out_error)
    told, _ = model.predict(rows.table, BlockLayout({"all": rows.table.shape[1]}))
    assert told[few, 1].mean() > 2 * told[codes == 0, 1].mean()


def test_a_row_of_each_class_is_a_guess(rows) -> None:
    codes = np.arange(3.0)
    folds = [np.array([k]) for k in range(3)]
    given = replace(rows, table=rows.table[:3], targets=codes, weights=np.ones(3), folds=folds)
    model, found = fit_classes(given, 3)
    np.testing.assert_allclose(found, 1 / 3)
    told, _ = model.predict(rows.table[:3], BlockLayout({"all": rows.table.shape[1]}))
    assert np.isfinite(told).all()
