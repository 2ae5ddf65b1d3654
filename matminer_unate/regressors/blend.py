"""The trees of UnateRegressor, their blend with kernel ridge, and the scale of its errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from matminer_unate.regressors.kernel_ridge import HeldOut, Rows, Vector

DIRECT = {
    "learning_rate": 0.03,
    "num_leaves": 15,
    "feature_fraction": 0.5,
    "min_data_in_leaf": 5,
    "extra_trees": True,
}
"""LightGBM on columns and the kernel ridge prediction."""
RESIDUAL = DIRECT | {"feature_fraction": 0.2}
"""LightGBM on what kernel ridge leaves over."""
N_TREES = 1_000
QUICK = 2
"""Models for rows that lack columns have trees fewer by this factor, and learn faster by it."""

SHARE_STEPS = 10
"""Shares of the blend are tenths."""


@dataclass
class BlendedModel:
    """Kernel ridge and two sets of trees, in fixed shares.

    Attributes
    ----------
    direct : list of lightgbm.Booster
        Trees on the columns and the kernel ridge prediction, one a fold; averaged.
    residual : list of lightgbm.Booster
        Trees for what is to be added to the kernel ridge prediction.
    shares : (3,)
        Of kernel ridge, ``direct``, and kernel ridge with ``residual``.
    """

    direct: list[Any]
    residual: list[Any]
    shares: Vector

    def parts(self, X: Vector, kernel: Vector) -> Vector:
        """Predictions of the three parts, (n_rows, 3)."""
        joined = np.column_stack([X, kernel])
        direct, residual = (
            np.mean([b.predict(joined, num_threads=1) for b in boosters], axis=0)
            for boosters in (self.direct, self.residual)
        )
        return np.column_stack([kernel, direct, kernel + residual])

    def mix(self, parts: Vector, minimum: float) -> Vector:
        """The blend of the parts, cut off at the minimum; (n_rows,)."""
        return np.maximum(parts @ self.shares, minimum)


def require_lightgbm() -> Any:
    """The module, or an ImportError that says how to get it."""
    try:
        import lightgbm
    except ImportError as e:
        raise ImportError("UnateRegressor needs LightGBM: pip install lightgbm") from e
    return lightgbm


def fit_blend(
    X: Vector,
    held_out: HeldOut,
    y: Vector,
    folds: Sequence[Rows],
    minimum: float,
    n_jobs: int | None,
    seed: int,
    row_weights: Vector | None = None,
    quick: bool = False,
    tell: Callable[[float], Any] = lambda share: None,
) -> tuple[BlendedModel, Vector]:
    """Fit the trees of every fold, and choose the shares.

    Trees that are judged on a fold have not seen it, in the kernel ridge predictions of their
    training rows either: those leave out the row's own fold and the judged one.

    Parameters
    ----------
    X : (n_rows, n_columns)
    held_out : HeldOut
        Of the kernel ridge regression.
    y : (n_rows,)
    folds : sequence of row arrays
    minimum : float
    n_jobs : int or None
    seed : int
    row_weights : (n_rows,), optional
        Above 0, with a mean of 1.
    quick : bool
        Fewer trees that learn faster.
    tell : callable
        Told the share of the folds that are done.

    Returns
    -------
    model : BlendedModel
    parts : (n_rows, 3)
        Held-out predictions of the three parts.
    """
    kernel = held_out.predictions()
    w = np.ones(len(y)) if row_weights is None else row_weights
    factor = QUICK if quick else 1
    rate, n_trees = {"learning_rate": factor * DIRECT["learning_rate"]}, N_TREES // factor
    n_done = itertools.count(1)

    # Linear algebra has threads of its own, so it is done before.
    without = [held_out.predictions(also=k) for k in range(len(folds))]

    def fit_fold(k: int) -> tuple[Any, Any, Vector, Vector]:
        fold, inside = folds[k], np.ones(len(y), dtype=bool)
        inside[fold] = False
        known = without[k][inside]
        joined = np.column_stack([X[inside], known])
        unseen = np.column_stack([X[fold], kernel[fold]])
        given = w[inside], n_trees, seed + k
        direct = grow(joined, y[inside], DIRECT | rate, *given, stop)
        residual = grow(joined, y[inside] - known, RESIDUAL | rate, *given, stop)
        tell(next(n_done) / len(folds))
        return direct, residual, *(b.predict(unseen, num_threads=1) for b in (direct, residual))

    stop = Event()
    jobs = (delayed(fit_fold)(k) for k in range(len(folds)))
    try:
        found = Parallel(n_jobs=n_jobs, prefer="threads")(jobs)
    except BaseException:
        stop.set()  # Ctrl-C is heard in the main thread alone
        raise
    parts = np.column_stack([kernel, kernel, kernel])
    for fold, (_, _, on_direct, on_residual) in zip(folds, found, strict=True):
        parts[fold, 1] = on_direct
        parts[fold, 2] += on_residual
    direct, residual = [f[0] for f in found], [f[1] for f in found]
    return BlendedModel(direct, residual, _best_shares(parts, y, w, minimum)), parts


def grow(
    X: Vector,
    y: Vector,
    settings: dict[str, Any],
    row_weights: Vector,
    n_trees: int,
    seed: int,
    stop: Event | None = None,
) -> Any:
    """A LightGBM booster, the same for the same seed; on one thread.

    When ``stop`` is set, KeyboardInterrupt is raised before the next tree.
    """
    lightgbm = require_lightgbm()

    def before_each_tree(_: Any) -> None:
        if stop is not None and stop.is_set():
            raise KeyboardInterrupt

    # LightGBM's seeds have 31 bits.
    options = {"objective": "l2", "num_threads": 1, "seed": seed % 2**31, "verbosity": -1}
    # Without weights it takes a quicker way.
    weight = None if (row_weights == 1.0).all() else row_weights
    quiet = {"verbosity": -1, "feature_pre_filter": False}
    data = lightgbm.Dataset(X, y, weight=weight, params=quiet)
    return lightgbm.train(
        options | {"deterministic": True} | settings, data, n_trees, callbacks=[before_each_tree]
    )


def _best_shares(parts: Vector, y: Vector, row_weights: Vector, minimum: float) -> Vector:
    """Tenths that sum to 1 with the least mean absolute error."""
    tenths = itertools.product(range(SHARE_STEPS + 1), repeat=parts.shape[1])
    grid = [np.array(t) / SHARE_STEPS for t in tenths if sum(t) == SHARE_STEPS]

    def error(shares: Vector) -> float:
        return float((row_weights * np.abs(np.maximum(parts @ shares, minimum) - y)).mean())

    return min(grid, key=error)


def combine_importances(model: BlendedModel, sensitivity: Vector, n_tree_columns: int) -> Vector:
    """Importance of every column in the blend, (n_columns,); sums to 1.

    Parameters
    ----------
    model : BlendedModel
    sensitivity : (n_columns,)
        Squared, of the kernel ridge prediction; what the trees gain from that prediction is shared
        out in the same way.
    n_tree_columns : int
        The first of the columns, which the trees see.
    """
    through_kernel = _normalised(sensitivity)

    def through_trees(boosters: Sequence[Any]) -> tuple[Vector, float]:
        gains = [b.feature_importance("gain") for b in boosters]
        total = np.mean(gains, axis=0)
        shared = total[-1] * through_kernel
        shared[:n_tree_columns] += total[:-1]
        return _normalised(shared), float(total.sum())

    kernel, direct, residual = model.shares
    with_kernel, gain = through_trees(model.direct)
    on_residual, rest = through_trees(model.residual)
    # Gain is variance explained: what kernel ridge leaves over against all that there is.
    left = np.clip(rest / gain, 0.0, 1.0) if gain > 0 else 0.0
    both = (1 - left) * through_kernel + left * on_residual
    return _normalised(kernel * through_kernel + direct * with_kernel + residual * both)


def _normalised(values: Vector) -> Vector:
    total = values.sum()
    return values / total if total > 0 else np.zeros_like(values)
