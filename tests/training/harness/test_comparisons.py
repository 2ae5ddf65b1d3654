"""Statistics against independent computations and known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from harness.comparisons import bootstrap_change, holm, paired_change, resample_formulas
from matminer_unate.errors import InputError


def test_a_paired_change_has_the_p_value_of_a_paired_t_test_of_logarithms() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.uniform(0.3, 0.5, 5)
    ours = theirs * np.exp(rng.normal(-0.1, 0.03, 5))
    change = paired_change(ours, theirs)
    reference = ttest_rel(np.log(ours), np.log(theirs))
    interval = reference.confidence_interval()
    assert change.p == pytest.approx(reference.pvalue)
    assert change.percent == pytest.approx(100 * (np.exp(np.log(ours / theirs).mean()) - 1))
    assert change.low == pytest.approx(100 * np.expm1(interval.low))
    assert change.high == pytest.approx(100 * np.expm1(interval.high))
    assert change.n == 5


def test_swapping_the_models_inverts_a_paired_change() -> None:
    ours, theirs = np.array([0.3, 0.35, 0.32]), np.array([0.4, 0.39, 0.41])
    one, other = paired_change(ours, theirs), paired_change(theirs, ours)
    assert (1 + one.percent / 100) * (1 + other.percent / 100) == pytest.approx(1)
    assert one.p == pytest.approx(other.p)


def test_a_single_pair_has_a_change_but_no_interval() -> None:
    change = paired_change([0.3], [0.4])
    assert change.percent == pytest.approx(-25)
    assert np.isnan([change.low, change.high, change.p]).all()


@pytest.mark.parametrize(
    ("ours", "theirs"), [([0.3, 0.2], [0.3]), ([], []), ([0.0], [0.3]), ([np.nan], [0.3])]
)
def test_runs_that_cannot_be_paired_are_refused(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(InputError):
        paired_change(ours, theirs)


def test_identical_runs_show_no_change() -> None:
    change = paired_change([0.3, 0.4], [0.3, 0.4])
    assert change[:4] == (0, 0, 0, 1)


def test_paired_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    theirs = np.exp(rng.normal(-1, 0.1, (2000, 4)))
    ours = theirs * np.exp(rng.normal(np.log(0.9), 0.05, (2000, 4)))
    found = [paired_change(a, b) for a, b in zip(ours, theirs, strict=True)]
    covered = np.mean([c.low <= -10 <= c.high for c in found])
    assert 0.93 < covered < 0.97


def test_holm_multiplies_by_the_number_of_questions_left() -> None:
    # By hand: .01 * 4, .02 * 3, then max(.06, .03 * 2), max(.06, .04 * 1).
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])


def test_holm_is_at_most_one_and_leaves_unknown_values_out() -> None:
    np.testing.assert_allclose(holm([0.9, np.nan, 0.8]), [1.0, np.nan, 1.0])
    assert not len(holm([]))


def test_rows_of_one_formula_are_drawn_together() -> None:
    codes, counts = resample_formulas(["A", "B", "A", "C"], n_draws=50)
    assert codes.tolist() == [0, 1, 0, 2]
    assert counts.shape == (50, 3)
    assert (counts.sum(axis=1) == 3).all()


def test_a_bootstrap_over_formulas_is_wider_than_one_over_rows_that_err_alike() -> None:
    rng = np.random.default_rng(2)
    formulas = np.repeat(np.arange(100), 20)
    theirs = np.repeat(rng.uniform(0.2, 0.6, 100), 20)
    ours = theirs + np.repeat(rng.normal(-0.05, 0.1, 100), 20)
    ours = ours.clip(0.01)
    by_formula = bootstrap_change(ours, theirs, *resample_formulas(formulas, 2000))
    by_row = bootstrap_change(ours, theirs, *resample_formulas(np.arange(2000), 2000))
    assert by_formula.percent == pytest.approx(100 * (ours.mean() / theirs.mean() - 1))
    assert by_formula.low < by_formula.percent < by_formula.high
    assert (by_formula.high - by_formula.low) > 3 * (by_row.high - by_row.low)
