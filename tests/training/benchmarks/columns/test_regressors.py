"""Classical heads against scikit-learn, and what they may see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from benchmarks.columns import regressors as heads
from benchmarks.columns.regressors import HEADS, Rows, kernel_ridge, ridge, stack


@pytest.fixture(scope="module")
def problem() -> tuple[heads.Matrix, Rows]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 6)).astype(np.float32)
    y = np.abs(X[:, 0] + 0.5 * X[:, 1]) + 0.05 * rng.normal(size=160)
    parts = np.split(np.arange(160), [100, 130])
    return X, Rows(y, *parts, groups=np.arange(160) // 2, minimum=0.0)


def test_ridge_is_the_best_of_scikit_learns_on_val(problem: tuple[heads.Matrix, Rows]) -> None:
    X, rows = problem
    scaler = StandardScaler().fit(X[rows.train])
    A, B = (np.clip(scaler.transform(X[i]), -5, 5) for i in (rows.train, rows.unseen))
    found = [Ridge(alpha=a).fit(A, rows.y[rows.train]).predict(B) for a in heads.RIDGE_ALPHAS]
    expected = rows.split(min(found, key=rows.val_error))
    for ours, theirs in zip(ridge(X, rows), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_kernel_ridge_is_the_best_of_scikit_learns_on_val(
    problem: tuple[heads.Matrix, Rows],
) -> None:
    X, rows = problem
    scaler = StandardScaler().fit(X[rows.train])
    A, B = (np.clip(scaler.transform(X[i]), -5, 5) for i in (rows.train, rows.unseen))
    mean = rows.y[rows.train].mean()
    found = [
        KernelRidge(kernel="rbf", gamma=w / 6, alpha=a).fit(A, rows.y[rows.train] - mean).predict(B)
        + mean
        for w in heads.KERNEL_WIDTHS
        for a in heads.KERNEL_ALPHAS
    ]
    expected = rows.split(min(found, key=rows.val_error))
    for ours, theirs in zip(kernel_ridge(X, rows), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("head", [*HEADS, "stack"])
def test_no_head_sees_a_target_of_a_test_row(head: str, problem: tuple[heads.Matrix, Rows]) -> None:
    X, rows = problem

    def predict(r: Rows) -> np.ndarray:
        fit = HEADS[head](X, r) if head != "stack" else stack(X, X, r, "plain")
        return fit[1]

    spoiled = rows.y.copy()
    spoiled[rows.test] = 1e6
    np.testing.assert_array_equal(predict(rows), predict(replace(rows, y=spoiled)))


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns_and_never_predicts_below_the_minimum(
    head: str, problem: tuple[heads.Matrix, Rows]
) -> None:
    X, rows = problem
    _, on_test = HEADS[head](X, rows)
    assert on_test.shape == rows.test.shape
    assert on_test.min() >= 0
    error = np.abs(on_test - rows.y[rows.test]).mean()
    dummy = np.abs(rows.y[rows.train].mean() - rows.y[rows.test]).mean()
    assert error < (1.05 if head == "ridge" else 0.8) * dummy


def test_the_stack_puts_no_formula_into_fold_and_out_of_fold(
    problem: tuple[heads.Matrix, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, rows = problem
    seen = []

    class Spy(heads.GroupKFold):
        def split(self, X, y=None, groups=None):  # type: ignore[no-untyped-def]
            for fit, out in super().split(X, y, groups):
                seen.append((set(groups[fit]), set(groups[out])))
                yield fit, out

    monkeypatch.setattr(heads, "GroupKFold", Spy)
    stack(X, X, rows, "plain")
    assert len(seen) == 5
    assert all(not fit & out for fit, out in seen)
