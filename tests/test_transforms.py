"""Transformations of targets: there and back, against scipy, and within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from matminer_unate.transforms import (
    TRANSFORMS,
    TargetTransform,
    TransformedTarget,
    mean_errors,
    transforms_for,
)

RNG = np.random.default_rng(0)
TARGETS = {
    "long tail": np.exp(2 * RNG.normal(size=60)),
    "gaps with zeros": np.maximum(RNG.normal(size=60), 0),
    "both signs": RNG.normal(size=60) - 1,
    "negative tail": -np.exp(RNG.normal(size=60)),
    "far from zero": 1e6 + RNG.random(60),
    "mostly one value": np.repeat([0.0, 1.0, 3.0], [50, 6, 4]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
def test_there_and_back_nothing_changes_and_order_is_kept(name, y) -> None:
    transform = TargetTransform.fit(name, y, np.ones(60))
    z = transform.forward(y)
    np.testing.assert_allclose(transform.backward(z), y, rtol=1e-9, atol=1e-9 * np.ptp(y))
    grid = np.linspace(z.min() - 1, z.max() + 1, 200)
    assert (np.diff(transform.backward(grid)) >= 0).all()
    assert transform.backward(grid[:, None]).shape == (200, 1)


@pytest.mark.parametrize("name", TRANSFORMS[1:])
@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
def test_no_prediction_is_further_out_than_half_of_the_range(name, y) -> None:
    low, high = TargetTransform.fit(name, y, np.ones(60)).backward(np.array([-1e9, 1e9]))
    assert y.min() - 0.5 * np.ptp(y) <= low <= y.min()
    assert y.max() <= high <= y.max() + 0.5 * np.ptp(y)


def test_the_power_is_scipys() -> None:
    y = TARGETS["long tail"]
    transform = TargetTransform.fit("yeo-johnson", y, np.ones(60))
    centre, unit, power = transform.numbers[2:]
    assert (centre, unit) == (np.median(y), stats.iqr(y))
    expected, best = stats.yeojohnson((y - centre) / unit)
    assert power == pytest.approx(best, abs=1e-3)
    np.testing.assert_allclose(transform.forward(y), expected, rtol=1e-2)


def test_ranks_become_normal_quantiles_and_equal_targets_share_one() -> None:
    transform = TargetTransform.fit("rank", np.array([5.0, 0.0, 0.0, 1.0]), np.ones(4))
    found = transform.forward(np.array([0.0, 1.0, 5.0, 3.0]))
    expected = stats.norm.ppf([0.25, 0.625, 0.875])
    np.testing.assert_allclose(found, [*expected, expected[1:].mean()])


@pytest.mark.parametrize("least", [1e-17, 1e-100, 1e-310])
@pytest.mark.parametrize("at", [0, -1])
def test_targets_of_hardly_any_weight_have_a_rank_all_the_same(least: float, at: int) -> None:
    y, weights = np.arange(6.0), np.ones(6)
    weights[at] = least
    transforms = transforms_for("auto", y, weights)
    assert [t.name for t in transforms] == list(TRANSFORMS)
    for transform in transforms:
        z = transform.forward(y)
        assert np.isfinite(z).all()
        assert (np.diff(z) > 0).all()
        np.testing.assert_allclose(transform.backward(z), y, atol=1e-9)


def test_a_constant_and_its_roundings_are_not_transformed() -> None:
    y = np.array([-0.3, np.nextafter(-0.3, -1), np.nextafter(-0.3, 0), -0.3])
    for wanted in ("auto", "log"):
        assert [t.name for t in transforms_for(wanted, y, np.ones(4))] == ["identity"]


def test_the_offset_is_a_tenth_of_the_median_distance_from_the_least() -> None:
    for y, offset in [
        ([0.0, 0.0, 1.0, 3.0, 10.0], 0.3),
        ([-2.0, -1.0, 1.0, 8.0], 2.3),
        ([4.0, 5.0, 6.0, 30.0], 0.0),
    ]:
        y = np.array(y)
        transform = TargetTransform.fit("log", y, np.ones(len(y)))
        np.testing.assert_allclose(transform.forward(y), np.log(y + offset))


@pytest.mark.parametrize("name", ["rank", "yeo-johnson"])
def test_a_row_of_weight_2_is_two_rows(name) -> None:
    y, counts = np.array([1.0, 2.0, 4.0, 9.0, 30.0]), np.array([1, 2, 2, 2, 1])
    weighted = TargetTransform.fit(name, y, counts / counts.mean())
    repeated = TargetTransform.fit(name, np.repeat(y, counts), np.ones(8))
    if name == "rank":
        np.testing.assert_allclose(weighted.numbers, repeated.numbers)
    # Median and quartiles are those of the rows.
    else:
        assert weighted.numbers[-1] == pytest.approx(repeated.numbers[-1], abs=0.2)


def test_of_two_values_there_is_nothing_to_transform() -> None:
    for y in (np.zeros(9), np.repeat([1.0, 2.0], 5)):
        names = [t.name for t in transforms_for("auto", y, np.ones(len(y)))]
        assert names == [t.name for t in transforms_for("rank", y, np.ones(len(y)))] == ["identity"]
    y = TARGETS["both signs"]
    assert [t.name for t in transforms_for("auto", y, np.ones(60))] == list(TRANSFORMS)
    assert [t.name for t in transforms_for("log", y, np.ones(60))] == ["log"]


# -- what predictions of each are worth ----------------------------------------------------------

Y = np.array([0.0, 0.0, 0.0, 1.0, 2.0, 8.0, 40.0])
W = np.array([1.0, 2.0, 1.0, 1.0, 0.5, 0.5, 1.0])


def test_errors_are_weighted_means_of_sizes_or_roots_of_mean_squares() -> None:
    found = np.array([1.0, 2.0, 5.0])
    y, weights = np.array([0.0, 4.0, 5.0]), np.array([1.0, 1.0, 2.0])
    assert mean_errors(found, y, weights, "mae") == pytest.approx(3 / 4)
    assert mean_errors(found, y, weights, "rmse") == pytest.approx((5 / 4) ** 0.5)


def test_errors_of_targets_are_weighted_and_unknown_ones_not_read() -> None:
    found = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    y = np.array([[0.0, np.nan], [0.0, np.nan], [0.0, np.nan]])
    weights = np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    np.testing.assert_allclose(mean_errors(found, y, weights, "mae"), [9 / 4, np.nan])
    np.testing.assert_allclose(mean_errors(found, y, weights, "rmse"), [np.sqrt(23 / 4), np.nan])


@pytest.mark.parametrize("scoring", ["mae", "rmse"])
def test_every_column_is_judged_in_the_unit_of_the_target_above_the_minimum(scoring) -> None:
    target = TransformedTarget.of(Y, W, "auto", 0.0, scoring)
    rows = np.array([0, 2, 4, 5])
    found = target.values[rows] + np.array([-0.3, 0.1, 0.2, 0.05])
    errors = target.errors(found, rows)
    for transform, z, error in zip(target.transforms, found.T, errors, strict=True):
        raised = np.maximum(transform.backward(z), 0)
        assert error == pytest.approx(float(mean_errors(raised, Y[rows], W[rows], scoring)))
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
