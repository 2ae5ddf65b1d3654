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
    assert target.least_error(found, rows) == min(errors)
    assert errors[target.best(found, rows)] == min(errors)
    assert target.error(Y - 1e-3 * (Y == 0)) == 0


def test_the_first_of_equal_columns_is_the_best() -> None:
    target = TransformedTarget.of(Y, W, "auto", 0.0, "mae")
    rows = np.array([1, 2])  # the floor: every prediction that is low enough is right
    assert target.best(np.full((2, 4), -9.0), rows) == 0
