"""``score``: rows without a prediction, and targets that are not known, are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score

from matminer_unate import UnateClassifier, UnateFineTuneRegressor, UnateRegressor
from matminer_unate.errors import InputError
from matminer_unate.scores import ClassifierScore, RegressorScore

Y = np.array([1.0, 2.0, 4.0, 5.0])
LABELS = np.array(["a", "b", "a", "b"])


class Told(RegressorScore):
    """Predicts what it is told."""

    def predict(self, X: Any) -> np.ndarray:
        return np.asarray(X, dtype=np.float64).squeeze()


class ToldClasses(ClassifierScore):
    def predict(self, X: Any) -> np.ndarray:
        found = np.asarray(X, dtype=object)
        return found if pd.isna(found).any() else found.astype(str)


class ToldNumbers(ClassifierScore):
    def predict(self, X: Any) -> np.ndarray:
        return np.asarray(X)


def test_the_estimators_have_it_in_place_of_that_of_scikit_learn() -> None:
    for estimator in (UnateRegressor, UnateFineTuneRegressor):
        assert estimator.score is RegressorScore.score is not RegressorMixin.score
    assert UnateClassifier.score is ClassifierScore.score is not ClassifierMixin.score


def test_of_rows_without_a_prediction_it_says_nothing() -> None:
    found = np.array([1.5, 2.0, np.nan, 4.0])
    known = np.array([0, 1, 3])
    weights = np.array([1.0, 2.0, 3.0, 0.5])
    assert Told().score(found, Y) == r2_score(Y[known], found[known])
    expected = r2_score(Y[known], found[known], sample_weight=weights[known])
    assert Told().score(found, Y, weights) == pytest.approx(expected)
    labels = np.array(["a", np.nan, "b", "b"], dtype=object)
    assert ToldClasses().score(labels, LABELS) == 2 / 3
    assert ToldClasses().score(labels, LABELS, weights) == 1.5 / 4.5
    assert ToldClasses().score(LABELS, LABELS.tolist()) == 1.0
    assert ToldClasses().score(LABELS, pd.DataFrame({"label": LABELS})) == 1.0


def test_targets_that_are_not_known_are_left_out() -> None:
    found = np.column_stack([[1.5, 2.0, 3.0, 4.0], [1.0, 0.0, 2.0, 3.0], np.zeros(4)])
    true = np.column_stack([Y, [np.nan, 1.0, 2.0, 5.0], [1.0, np.nan, np.nan, np.nan]])
    expected = [r2_score(Y, found[:, 0]), r2_score(true[1:, 1], found[1:, 1])]
    assert Told().score(found, true) == pytest.approx(np.mean(expected))


def test_what_cannot_be_judged_is_told() -> None:
    found = pd.Series(Y, index=list("wxyz"))
    with pytest.raises(InputError, match="its rows in another order than X"):
        Told().score(found, found[::-1])
    with pytest.raises(InputError, match="its rows in another order than X"):
        ToldClasses().score(found, found[::-1])
    with pytest.raises(InputError, match="4 structures need 4 targets"):
        Told().score(Y, Y[1:])
    with pytest.raises(InputError, match="4 structures need 4 labels, got"):
        ToldClasses().score(LABELS, LABELS[1:])
    with pytest.raises(InputError, match="1 targets are not finite, the first is row 3"):
        Told().score(Y, [*Y[:3], np.nan])
    for missing in (None, np.nan):
        with pytest.raises(InputError, match="1 labels are missing, the first is of row 3"):
            ToldClasses().score(LABELS, [*LABELS[:3], missing])
    with pytest.raises(InputError, match="classes are such as 'a', and y has True"):
        ToldClasses().score(LABELS, [True, False, True, True])
    with pytest.raises(InputError, match=r"classes are such as 1\.0, and y has '1'"):
        ToldNumbers().score(Y, ["1", "2", "3", "4"])
    with pytest.raises(InputError, match="needs at least two rows"):
        Told().score([], [])
    with pytest.raises(InputError, match=r"the model predicts 1 target\(s\) a row, y has 2"):
        Told().score(Y, np.column_stack([Y, Y]))
    with pytest.raises(InputError, match="at least two rows with a target and a prediction"):
        Told().score([np.nan, np.nan, np.nan, 1.0], Y)
    with pytest.raises(InputError, match="no row has a prediction"):
        ToldClasses().score([np.nan] * 4, LABELS)
