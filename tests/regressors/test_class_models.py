"""Calibration and trees of classes: against formulas, and blind to the fold that judges them."""

from __future__ import annotations

import numpy as np
import pytest
from few_trees import trees

from matminer_unate.regressors import class_models
from matminer_unate.regressors.class_models import (
    Calibration,
    FittedClassModel,
    _grow_folds,
    log_loss,
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
