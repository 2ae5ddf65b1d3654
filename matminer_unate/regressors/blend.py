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
from matminer_unate.regressors.transformed_target import TransformedTarget
from matminer_unate.transforms import TargetTransform

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

SHARE_STEPS = 20
"""Shares of the blend are twentieths."""


@dataclass
class BlendedModel:
    """Kernel ridge of each transformation of the target and two sets of trees, in fixed shares.

    The trees of a fold learn one transformation, and the kernel ridge prediction that they see and
    add to is of the same one. Predictions are averaged over folds, and blended, in the unit of the
    target.

    Attributes
    ----------
    transforms : list of TargetTransform
        One for each output of the kernel ridge regression.
    outputs : list of int
        The one that each fold chose.
    direct : list of lightgbm.Booster
        Trees on the columns and the kernel ridge prediction, one a fold; averaged.
    residual : list of lightgbm.Booster
        Trees for what is to be added to the kernel ridge prediction.
    shares : (n_parts,)
        Of the outputs of kernel ridge, ``direct``, kernel ridge with ``residual``, and a network
        where there is one.
    """

    transforms: list[TargetTransform]
    outputs: list[int]
    direct: list[Any]
    residual: list[Any]
    shares: Vector

    def parts(self, X: Vector, kernel: Vector) -> Vector:
        """Predictions of kernel ridge and trees, (n_rows, n_outputs + 2).

        From columns and outputs of kernel ridge. Those of a network are to be added.
        """
        trees = np.zeros((len(X), 2))
        for output, share in enumerate(self.output_shares()):
            if not share:
                continue
            z, folds = kernel[:, output], np.flatnonzero(np.array(self.outputs) == output)
            joined = np.column_stack([X, z])
            direct, residual = (
                np.mean([boosters[k].predict(joined, num_threads=1) for k in folds], axis=0)
                for boosters in (self.direct, self.residual)
            )
            found = np.column_stack([direct, z + residual])
            trees += share * self.transforms[output].backward(found)
        return np.hstack([_backward(self.transforms, kernel), trees])

    def output_shares(self) -> Vector:
        """Share of the folds that chose each output, (n_outputs,)."""
        return np.bincount(self.outputs, minlength=len(self.transforms)) / len(self.outputs)

    def opinions(self, parts: Vector) -> Vector:
        """Kernel ridge of the transformation that the folds chose, and both trees; (n_rows, 3)."""
        n = len(self.transforms)
        return np.column_stack([parts[:, :n] @ self.output_shares(), parts[:, n : n + 2]])


def require_lightgbm(who: str = "UnateRegressor") -> Any:
    """The module, or an ImportError that says who needs it and how to get it."""
    try:
        import lightgbm
    except ImportError as e:
        raise ImportError(f"{who} needs LightGBM: pip install lightgbm") from e
    return lightgbm


def fit_blend(
    X: Vector,
    held_out: HeldOut,
    target: TransformedTarget,
    folds: Sequence[Rows],
    n_jobs: int | None,
    seed: int,
    quick: bool = False,
    tell: Callable[[float], Any] = lambda share: None,
    network: Callable[[list[int]], Vector] | None = None,
) -> tuple[BlendedModel, Vector, Vector]:
    """Fit the trees of every fold, and choose the shares.

    Trees that are judged on a fold have not seen it, in the kernel ridge predictions of their
    training rows either: those leave out the row's own fold and the judged one. By the same
    predictions the transformation of the fold is chosen.

    Parameters
    ----------
    X : (n_rows, n_columns)
    held_out : HeldOut
        Of the kernel ridge regression of all transformations.
    target : TransformedTarget
    folds : sequence of row arrays
    n_jobs : int or None
    seed : int
    quick : bool
        Half the trees, at twice the learning rate.
    tell : callable
        Told the share of the folds that is done.
    network : callable, optional
        The transformation that each fold chose → held-out predictions of one more part, (n_rows,).

    Returns
    -------
    model : BlendedModel
    parts : (n_rows, n_parts)
        Held-out predictions of all parts.
    raw : (n_rows,)
        Their blend, in shares that the other folds choose; it may be below the minimum.
    """
    kernel, values = held_out.predictions(), target.values
    factor = QUICK if quick else 1
    rate, n_trees = {"learning_rate": factor * DIRECT["learning_rate"]}, N_TREES // factor
    n_done, n_rows = itertools.count(1), len(target.y)

    # Linear algebra has threads of its own, so it is done before.
    without = [held_out.predictions(also=k) for k in range(len(folds))]
    insides = [np.setdiff1d(np.arange(n_rows), fold) for fold in folds]
    outputs = [target.best(w[i], i) for w, i in zip(without, insides, strict=True)]

    def fit_fold(k: int) -> tuple[Any, Any, Vector]:
        fold, inside, output = folds[k], insides[k], outputs[k]
        known, unseen = without[k][inside, output], kernel[fold, output]
        z, joined = values[inside, output], np.column_stack([X[inside], known])
        given = target.weights[inside], n_trees, seed + k
        direct = grow(joined, z, DIRECT | rate, *given, stop)
        residual = grow(joined, z - known, RESIDUAL | rate, *given, stop)
        tell(next(n_done) / len(folds))
        joined = np.column_stack([X[fold], unseen])
        on_direct, on_residual = (b.predict(joined, num_threads=1) for b in (direct, residual))
        found = np.column_stack([on_direct, unseen + on_residual])
        return direct, residual, target.transforms[output].backward(found)

    stop = Event()
    jobs = (delayed(fit_fold)(k) for k in range(len(folds)))
    try:
        fitted = Parallel(n_jobs=n_jobs, prefer="threads")(jobs)
    except BaseException:
        stop.set()  # Ctrl-C is heard in the main thread alone
        raise
    trees, raw = np.empty((n_rows, 2)), np.empty(n_rows)
    for fold, (_, _, on_fold) in zip(folds, fitted, strict=True):
        trees[fold] = on_fold
    more = [] if network is None else [network(outputs)[:, None]]
    parts = np.hstack([_backward(target.transforms, kernel), trees, *more])
    for fold, inside in zip(folds, insides, strict=True):
        raw[fold] = parts[fold] @ _best_shares(parts[inside], target, inside)
    direct, residual = [f[0] for f in fitted], [f[1] for f in fitted]
    shares = _best_shares(parts, target, np.arange(n_rows))
    model = BlendedModel(target.transforms, outputs, direct, residual, shares)
    return model, parts, raw


def _backward(transforms: Sequence[TargetTransform], outputs: Vector) -> Vector:
    """Outputs of kernel ridge in the unit of the target, (n_rows, n_outputs)."""
    columns = zip(transforms, outputs.T, strict=True)
    return np.column_stack([transform.backward(z) for transform, z in columns])


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


def _best_shares(parts: Vector, target: TransformedTarget, rows: Rows) -> Vector:
    """Shares that sum to 1 with a small error of the parts of these rows, (n_parts,).

    Step by step, what lowers the error of the mean most is added to it, again if need be (Caruana
    et al., ICML 2004, doi:10.1145/1015330.1015432).
    """
    counts, total = np.zeros(parts.shape[1]), np.zeros(len(parts))
    for step in range(1, SHARE_STEPS + 1):
        best = np.argmin([target.error((total + part) / step, rows) for part in parts.T])
        counts[best] += 1
        total += parts[:, best]
    return counts / SHARE_STEPS


def combine_importances(model: BlendedModel, sensitivity: Vector, n_tree_columns: int) -> Vector:
    """Importance of every column in kernel ridge and trees, (n_columns,); sums to 1.

    Parameters
    ----------
    model : BlendedModel
    sensitivity : (n_columns, n_outputs)
        Squared, of the kernel ridge predictions; what the trees gain from these is shared out in
        the same way.
    n_tree_columns : int
        The first of the columns, which the trees see.
    """
    n_outputs = len(model.transforms)
    kernel, (direct, residual) = model.shares[:n_outputs], model.shares[n_outputs : n_outputs + 2]
    each = np.column_stack([_normalised(column) for column in sensitivity.T])
    through_kernel = each @ model.output_shares()
    with_kernel, gain = share_gain(model.direct, through_kernel, n_tree_columns)
    on_residual, rest = share_gain(model.residual, through_kernel, n_tree_columns)
    # Gain is variance explained: what kernel ridge leaves over against all that there is.
    left = np.clip(rest / gain, 0.0, 1.0) if gain > 0 else 0.0
    both = (1 - left) * through_kernel + left * on_residual
    return _normalised(each @ kernel + direct * with_kernel + residual * both)


def share_gain(
    boosters: Sequence[Any], sensitivity: Vector, n_tree_columns: int
) -> tuple[Vector, float]:
    """Gain of every column, (n_columns,), summing to 1; and all gain there was.

    The trees' columns are followed by kernel ridge predictions, whose gain is shared out by their
    sensitivity (n_columns,).
    """
    total = np.mean([b.feature_importance("gain") for b in boosters], axis=0)
    shared = total[n_tree_columns:].sum() * _normalised(sensitivity)
    shared[:n_tree_columns] += total[:n_tree_columns]
    return _normalised(shared), float(total.sum())


def _normalised(values: Vector) -> Vector:
    total = values.sum()
    return values / total if total > 0 else np.zeros_like(values)
