"""Classical regressors on columns: each fits on training rows and predicts the other rows.

Every choice (penalties, kernel width) is made on the ``val`` rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

Matrix = NDArray[np.float32]
Vector = NDArray[np.float64]
Index = NDArray[np.int64]

LIGHTGBM_SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"n_estimators": 500, "learning_rate": 0.05, "num_leaves": 31},
    # For dense columns, where many carry a little each.
    "dense": {
        "n_estimators": 1000,
        "learning_rate": 0.03,
        "num_leaves": 15,
        "colsample_bytree": 0.2,
        "min_child_samples": 5,
        "extra_trees": True,
    },
}

RIDGE_ALPHAS = tuple(10.0 ** np.arange(-1, 5))
KERNEL_ALPHAS = (0.003, 0.01, 0.03, 0.1, 0.3)
KERNEL_WIDTHS = (0.1, 0.3, 1.0, 3.0)
"""RBF kernel exp(−γ|x − x′|²) with γ = width / number of columns, on standardised columns."""


@dataclass
class Rows:
    """Targets, and which rows train, choose and test."""

    y: Vector
    train: Index
    val: Index
    test: Index
    groups: NDArray[Any]  # the reduced formula of every row
    minimum: float = -np.inf  # of the target; predictions below are raised to it
    seed: int = 0

    @property
    def unseen(self) -> Index:
        return np.concatenate([self.val, self.test])

    def split(self, predictions: Vector) -> tuple[Vector, Vector]:
        """Predictions of ``unseen`` rows → those of val and of test."""
        bounded = predictions.clip(self.minimum)
        return bounded[: len(self.val)], bounded[len(self.val) :]

    def val_error(self, predictions: Vector) -> float:
        """Mean absolute error of predictions of ``unseen`` rows on val."""
        return float(np.abs(self.split(predictions)[0] - self.y[self.val]).mean())


Head = Callable[[Matrix, Rows], tuple[Vector, Vector]]
"""Columns of all rows → predictions of the val and of the test rows."""


def lightgbm_head(settings: str) -> Head:
    """LightGBM with one of the fixed settings, minimising the squared error."""

    def fit(X: Matrix, rows: Rows) -> tuple[Vector, Vector]:
        model = lightgbm.LGBMRegressor(
            **LIGHTGBM_SETTINGS[settings],
            random_state=rows.seed,
            n_jobs=int(os.environ.get("OMP_NUM_THREADS", 2)),
            verbosity=-1,
        )
        model.fit(X[rows.train], rows.y[rows.train])
        # The booster itself: there are no feature names to check.
        return rows.split(np.asarray(model.booster_.predict(X[rows.unseen])))

    return fit


def ridge(X: Matrix, rows: Rows) -> tuple[Vector, Vector]:
    """Ridge on standardised columns; penalty chosen on ``val``."""
    A, B = _standardised(X, rows.train, rows.unseen)
    mean = rows.y[rows.train].mean()
    values, vectors = eigh(A @ A.T)
    projected = vectors.T @ (rows.y[rows.train] - mean)
    across = B @ (A.T @ vectors)
    candidates = [across @ (projected / (values.clip(0) + alpha)) + mean for alpha in RIDGE_ALPHAS]
    return rows.split(min(candidates, key=rows.val_error))


def kernel_ridge(X: Matrix, rows: Rows) -> tuple[Vector, Vector]:
    """Kernel ridge on standardised columns; width and penalty chosen on ``val``."""
    return rows.split(_kernel_ridge(X, rows)[0])


def _kernel_ridge(X: Matrix, rows: Rows) -> tuple[Vector, tuple[float, float]]:
    A, B = _standardised(X, rows.train, rows.unseen)
    mean = rows.y[rows.train].mean()
    within, across = _squared_distances(A, A), _squared_distances(B, A)
    best: tuple[float, Vector, tuple[float, float]] | None = None
    for width in KERNEL_WIDTHS:
        # One decomposition serves every penalty.
        values, vectors = eigh(np.exp(-width / X.shape[1] * within))
        projected = vectors.T @ (rows.y[rows.train] - mean)
        basis = np.exp(-width / X.shape[1] * across) @ vectors
        for alpha in KERNEL_ALPHAS:
            found = basis @ (projected / (values + alpha)) + mean
            error = rows.val_error(found)
            if best is None or error < best[0]:
                best = error, found, (width, alpha)
    assert best is not None
    return best[1], best[2]


def stack(trees: Matrix, smooth: Matrix, rows: Rows, settings: str) -> tuple[Vector, Vector]:
    """LightGBM on ``trees`` columns and the kernel-ridge prediction from ``smooth`` columns.

    The training rows get out-of-fold predictions, five folds by formula, with the width and the
    penalty that are best on ``val``.
    """
    unseen, (width, alpha) = _kernel_ridge(smooth, rows)
    inner = np.empty(len(rows.train))
    for fit, out in GroupKFold(5).split(rows.train, groups=rows.groups[rows.train]):
        A, B = _standardised(smooth, rows.train[fit], rows.train[out])
        y = rows.y[rows.train[fit]]
        kernel = np.exp(-width / smooth.shape[1] * _squared_distances(A, A))
        kernel[np.diag_indices_from(kernel)] += alpha
        weights = np.linalg.solve(kernel, y - y.mean())
        inner[out] = (
            np.exp(-width / smooth.shape[1] * _squared_distances(B, A)) @ weights + y.mean()
        )
    column = np.zeros((len(trees), 1), dtype=np.float32)
    column[rows.train, 0], column[rows.unseen, 0] = inner, unseen
    return lightgbm_head(settings)(np.hstack([trees, column]), rows)


def _standardised(X: Matrix, train: Index, others: Index) -> tuple[Vector, Vector]:
    """Training and other rows, standardised on the former."""
    scaler = StandardScaler().fit(X[train])
    # Beyond 5 standard deviations a column says "far out" and no more.
    A, B = (np.clip(scaler.transform(X[i]), -5, 5).astype(np.float64) for i in (train, others))
    return A, B


def _squared_distances(A: Vector, B: Vector) -> Vector:
    squared = (A * A).sum(1)[:, None] + (B * B).sum(1) - 2 * A @ B.T
    return squared.clip(0)


HEADS: dict[str, Head] = {
    "lightgbm_plain": lightgbm_head("plain"),
    "lightgbm_dense": lightgbm_head("dense"),
    "ridge": ridge,
    "kernel_ridge": kernel_ridge,
}
