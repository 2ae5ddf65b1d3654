"""Errors of predictions in several transformations, in the unit of the target."""

from __future__ import annotations

import numpy as np
import pytest

from matminer_unate.regressors.transformed_target import TransformedTarget, mean_error

Y = np.array([0.0, 0.0, 0.0, 1.0, 2.0, 8.0, 40.0])
W = np.array([1.0, 2.0, 1.0, 1.0, 0.5, 0.5, 1.0])


def test_errors_are_weighted_means_of_sizes_or_roots_of_mean_squares() -> None:
    found = np.array([1.0, 2.0, 5.0])
    y, weights = np.array([0.0, 4.0, 5.0]), np.array([1.0, 1.0, 2.0])
    assert mean_error("mae", found, y, weights) == pytest.approx(3 / 4)
    assert mean_error("rmse", found, y, weights) == pytest.approx((5 / 4) ** 0.5)


@pytest.mark.parametrize("scoring", ["mae", "rmse"])
def test_every_column_is_judged_in_the_unit_of_the_target_above_the_minimum(scoring) -> None:
    target = TransformedTarget.of(Y, W, "auto", 0.0, scoring)
    rows = np.array([0, 2, 4, 5])
    found = target.values[rows] + np.array([-0.3, 0.1, 0.2, 0.05])
    errors = target.errors(found, rows)
    for transform, z, error in zip(target.transforms, found.T, errors, strict=True):
        raised = np.maximum(transform.backward(z), 0)
        assert error == pytest.approx(mean_error(scoring, raised, Y[rows], W[rows]))
    assert target.first_error(found, rows) == errors[0]
    assert target.error(Y - 1e-3 * (Y == 0)) == 0


@pytest.mark.parametrize(("scoring", "even"), [("mae", 1.85), ("rmse", 1.38)])
def test_the_identity_is_the_best_unless_another_gains_more_than_chance(scoring, even) -> None:
    rng = np.random.default_rng(0)
    y = np.exp(rng.normal(size=50))
    target = TransformedTarget.of(y, np.ones(50), "auto", 0.0, scoring)
    rows = np.arange(50)
    found = target.values + np.array([0.5, 0.5, 3.0, 3.0])
    assert target.best(found, rows) == 0  # all are wrong, the identity least
    found[:, 1] = target.values[:, 1] + 0.01
    assert target.best(found, rows) == 1
    found[:, 0] = y + 1.0
    found[:, 1] = np.log(y + np.where(rows % 2, 0.1, 1.2) + target.transforms[1].numbers[2])
    assert np.argmin(target.errors(found, rows)) == 1
    assert target.best(found, rows) == 1
    found[:, 1] = np.log(y + np.where(rows % 2, 0.1, even) + target.transforms[1].numbers[2])
    assert np.argmin(target.errors(found, rows)) == 1
    assert target.best(found, rows) == 0  # a gain as large as its standard error is chance
