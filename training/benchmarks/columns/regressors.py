"""Classical regressors on columns: each fits on training rows and predicts the other rows.

Every choice (penalties, kernel width) is made on the ``val`` rows. Targets of 0 and 1 are classes:
predictions are then scores, judged by the area under the ROC curve.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from matminer_unate.errors import InputError

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

FEW_BINS = {"max_bin": 63}
"""For LightGBM's histograms. On val of the band gap (132 to 988 columns, 500 and 2,000 labels) as
good as its 255 bins, and two to three times as fast."""

FOREST = {"n_estimators": 100, "max_features": "sqrt"}

RIDGE_ALPHAS = tuple(10.0 ** np.arange(-1, 5))
KERNEL_ALPHAS = (0.003, 0.01, 0.03, 0.1, 0.3)
KERNEL_WIDTHS = (0.1, 0.3, 1.0, 3.0)
"""RBF kernel exp(−γ|x − x′|²) with γ = width / number of columns, on standardised columns."""

CHOICE_ROWS = 2000
"""Training rows, the first ones, with which width and penalty of kernel ridge are chosen."""
EXACT_ROWS = 6000
"""With more training rows, kernel ridge is approximated from ``LANDMARKS`` of them."""
LANDMARKS = 3000


@dataclass
class Rows:
    """Targets, and which rows train, choose and test."""

    y: Vector
    train: Index  # in random order: some choices are made with the first of them
    val: Index
    test: Index
    groups: NDArray[Any]  # the reduced formula of every row
    minimum: float = -np.inf  # of the target; predictions below are raised to it
    seed: int = 0
    classes: bool = False  # targets are 0 and 1

    @property
    def unseen(self) -> Index:
        return np.concatenate([self.val, self.test])

    def split(self, predictions: Vector) -> tuple[Vector, Vector]:
        """Predictions of ``unseen`` rows → those of val and of test."""
        bounded = predictions.clip(self.minimum)
        return bounded[: len(self.val)], bounded[len(self.val) :]

    def errors(self, predictions: Vector, index: Index) -> Vector:
        """Errors of predictions of some rows, one a row; their mean is what counts."""
        y = self.y[index]
        return roc_errors(y, predictions) if self.classes else np.abs(predictions - y)

    def val_error(self, predictions: Vector) -> float:
        """Mean error of predictions of ``unseen`` rows on val."""
        return float(self.errors(self.split(predictions)[0], self.val).mean())


def roc_errors(y: Vector, scores: Vector) -> Vector:
    """One minus the area under the ROC curve, as a mean over rows.

    With V the share of rows of the other class that a row is on the right side of, the area is the
    mean of V over either class. What is returned for a row is its first-order share of the area:
    resampling rows of it is resampling rows of the area, up to second order.

    Parameters
    ----------
    y : (n_rows,)
        0 or 1.
    scores : (n_rows,)
        Higher for class 1.

    Raises
    ------
    InputError
        There is one class only.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson 1988, doi:10.2307/2531595.
    """
    positive = y > 0.5
    n, n_positive = len(y), int(positive.sum())
    if n_positive in (0, n):
        raise InputError("the area under the ROC curve needs rows of both classes")
    # Ranks among all less ranks within the class: rows of the other class below. Ties are halves.
    ranks = rankdata(scores)
    wrong = np.empty(n)
    below = ranks[positive] - rankdata(scores[positive])
    wrong[positive] = 1 - below / (n - n_positive)
    wrong[~positive] = (ranks[~positive] - rankdata(scores[~positive])) / n_positive
    mean = wrong[positive].mean()
    return mean + (wrong - mean) * n / np.where(positive, n_positive, n - n_positive)


Head = Callable[[Matrix, Rows], tuple[Vector, Vector]]
"""Columns of all rows → predictions of the val and of the test rows."""


def lightgbm_head(settings: str, **more: Any) -> Head:
    """LightGBM with one of the fixed settings, on the squared error or the log loss."""

    def fit(X: Matrix, rows: Rows) -> tuple[Vector, Vector]:
        kind = lightgbm.LGBMClassifier if rows.classes else lightgbm.LGBMRegressor
        model = kind(
            **LIGHTGBM_SETTINGS[settings],
            **more,
            random_state=rows.seed,
            n_jobs=int(os.environ.get("OMP_NUM_THREADS", 2)),
            verbosity=-1,
        )
        model.fit(X[rows.train], rows.y[rows.train])
        # The booster itself: there are no feature names to check, and classes get probabilities.
        return rows.split(np.asarray(model.booster_.predict(X[rows.unseen])))

    return fit


def random_forest(X: Matrix, rows: Rows) -> tuple[Vector, Vector]:
    """Random forest of 100 trees, √(number of columns) of them a split."""
    kind = RandomForestClassifier if rows.classes else RandomForestRegressor
    model = make_pipeline(
        SimpleImputer(keep_empty_features=True), kind(**FOREST, random_state=rows.seed)
    )
    model.fit(X[rows.train], rows.y[rows.train])
    if rows.classes:
        return rows.split(model.predict_proba(X[rows.unseen])[:, 1])
    return rows.split(model.predict(X[rows.unseen]))


def ridge(X: Matrix, rows: Rows) -> tuple[Vector, Vector]:
    """Ridge on standardised columns; penalty chosen on ``val``."""
    A, B = _standardised(X, rows.train, rows.unseen)
    y = rows.y[rows.train] - rows.y[rows.train].mean()
    # Of the two Gram matrices, the smaller.
    if len(A) < A.shape[1]:
        values, vectors = eigh(A @ A.T)
        projected, across = vectors.T @ y, B @ (A.T @ vectors)
    else:
        values, vectors = eigh(A.T @ A)
        projected, across = vectors.T @ (A.T @ y), B @ vectors
    mean = rows.y[rows.train].mean()
    candidates = [across @ (projected / (values.clip(0) + alpha)) + mean for alpha in RIDGE_ALPHAS]
    return rows.split(min(candidates, key=rows.val_error))


@dataclass
class KernelFit:
    """What kernel ridge says of the unseen rows, with the width and penalty best on val."""

    unseen: Vector
    width: float
    alpha: float


def kernel_ridge(X: Matrix, rows: Rows) -> tuple[Vector, Vector]:
    """Kernel ridge on standardised columns; width and penalty chosen on ``val``."""
    return rows.split(fit_kernel_ridge(X, rows).unseen)


def fit_kernel_ridge(X: Matrix, rows: Rows, choice: tuple[float, float] | None = None) -> KernelFit:
    """Kernel ridge: the choice with ``CHOICE_ROWS`` training rows, then the fit with all.

    Parameters
    ----------
    X : (n_rows, n_columns)
    rows : Rows
    choice : (width, penalty), optional
        From a fit with the same first ``CHOICE_ROWS`` training rows.
    """
    if choice is None:
        few = replace(rows, train=rows.train[:CHOICE_ROWS])
        fit = _choose_kernel(X, few)
        if len(few.train) == len(rows.train):
            return fit
        choice = fit.width, fit.alpha
    A, B = _standardised(X, rows.train, rows.unseen)
    system = _KernelSystem(A, rows.y[rows.train], *choice)
    return KernelFit(system.predict(B, system.weights()), *choice)


def _choose_kernel(X: Matrix, rows: Rows) -> KernelFit:
    A, B = _standardised(X, rows.train, rows.unseen)
    mean = rows.y[rows.train].mean()
    within, across = _squared_distances(A, A), _squared_distances(B, A)
    best: tuple[float, KernelFit] | None = None
    for width in KERNEL_WIDTHS:
        scale = -width / X.shape[1]
        kernel, basis = np.exp(scale * within), np.exp(scale * across)
        for alpha in KERNEL_ALPHAS:
            matrix = kernel.copy()
            matrix[np.diag_indices_from(matrix)] += alpha
            # Five of these take less time than the one eigendecomposition that would serve all.
            factor = cho_factor(matrix, overwrite_a=True)
            found = basis @ cho_solve(factor, rows.y[rows.train] - mean) + mean
            error = rows.val_error(found)
            if best is None or error < best[0]:
                best = error, KernelFit(found, width, alpha)
    assert best is not None
    return best[1]


class _KernelSystem:
    """The equations of kernel ridge for given width and penalty, with or without some rows.

    With the kernel matrix K of training rows, (K + αI) w = y. Beyond ``EXACT_ROWS`` rows, the
    prediction is a sum over landmarks m only: (K_mn K_nm + α K_mm) w = K_mn y, the subset of
    regressors of Smola and Bartlett, NIPS 13, 619 (2000).
    """

    def __init__(self, A: Vector, y: Vector, width: float, alpha: float) -> None:
        self.scale, self.alpha, self.mean = width / A.shape[1], alpha, float(y.mean())
        self.y = y - self.mean
        self.exact = len(A) <= EXACT_ROWS
        self.landmarks = A if self.exact else A[:LANDMARKS]
        self.kernel = self._kernel(A)

    def _kernel(self, B: Vector) -> Vector:
        distances = _squared_distances(B, self.landmarks)
        distances *= -self.scale
        return np.exp(distances, out=distances)

    def weights(self) -> Vector:
        """Of all training rows."""
        return self.weights_without([np.array([], dtype=np.int64)])[0]

    def weights_without(self, folds: list[Index]) -> list[Vector]:
        """Of all training rows but those of each fold; zero for rows left out."""
        if self.exact:
            return [self._exact_without(out) for out in folds]
        everything = self.kernel.T @ self.kernel
        # Distinct crystals with equal columns make it singular.
        penalty = self.alpha * self.kernel[: len(self.landmarks)]
        penalty[np.diag_indices_from(penalty)] += 1e-9 * np.trace(everything) / len(penalty)
        right = self.kernel.T @ self.y
        found = []
        for out in folds:
            K = self.kernel[out]
            matrix = everything - K.T @ K + penalty
            found.append(cho_solve(cho_factor(matrix, overwrite_a=True), right - K.T @ self.y[out]))
        return found

    def _exact_without(self, out: Index) -> Vector:
        kept = np.setdiff1d(np.arange(len(self.y)), out)
        matrix = self.kernel[np.ix_(kept, kept)]
        matrix[np.diag_indices_from(matrix)] += self.alpha
        weights = np.zeros(len(self.y))
        weights[kept] = cho_solve(cho_factor(matrix, overwrite_a=True), self.y[kept])
        return weights

    def predict(self, B: Vector, weights: Vector) -> Vector:
        return self._kernel(B) @ weights + self.mean


def stack(
    trees: Matrix,
    smooth: Matrix,
    rows: Rows,
    settings: str,
    column: Matrix | None = None,
    **more: Any,
) -> tuple[Vector, Vector]:
    """LightGBM on ``trees`` columns and the kernel-ridge prediction from ``smooth`` columns.

    Parameters
    ----------
    trees, smooth : (n_rows, n_columns)
    rows : Rows
    settings : str
        Of LightGBM; ``more`` options are passed on to it.
    column : (n_rows, 1), optional
        From :func:`kernel_column`; computed if not given.
    """
    if column is None:
        column = kernel_column(smooth, rows, fit_kernel_ridge(smooth, rows))
    return lightgbm_head(settings, **more)(np.hstack([trees, column]), rows)


def kernel_column(X: Matrix, rows: Rows, fit: KernelFit) -> Matrix:
    """Kernel-ridge predictions as a column: out of fold for training rows.

    Five folds by formula, with the width and the penalty of ``fit``. Rows of no part are zero.
    """
    A, _ = _standardised(X, rows.train, rows.train[:1])
    system = _KernelSystem(A, rows.y[rows.train], fit.width, fit.alpha)
    folds = [o for _, o in GroupKFold(5).split(rows.train, groups=rows.groups[rows.train])]
    column = np.zeros((len(X), 1), dtype=np.float32)
    for out, weights in zip(folds, system.weights_without(folds), strict=True):
        column[rows.train[out], 0] = system.kernel[out] @ weights + system.mean
    column[rows.unseen, 0] = fit.unseen
    return column


def _standardised(X: Matrix, train: Index, others: Index) -> tuple[Vector, Vector]:
    """Training and other rows, standardised on the former; values that are missing are means."""
    scaler = make_pipeline(StandardScaler(), FunctionTransformer(_bounded))
    with np.errstate(invalid="ignore"):  # a column may be missing in all training rows
        return scaler.fit_transform(X[train]), scaler.transform(X[others])


def _bounded(X: Matrix) -> Vector:
    # Beyond 5 standard deviations a column says "far out" and no more.
    return np.nan_to_num(np.clip(X, -5, 5)).astype(np.float64)


def _squared_distances(A: Vector, B: Vector) -> Vector:
    squared = A @ B.T
    squared *= -2
    squared += (A * A).sum(1)[:, None]
    squared += (B * B).sum(1)
    return squared.clip(0, out=squared)


HEADS: dict[str, Head] = {
    "lightgbm_plain": lightgbm_head("plain"),
    "lightgbm_dense": lightgbm_head("dense"),
    "random_forest": random_forest,
    "ridge": ridge,
    "kernel_ridge": kernel_ridge,
}
