"""The trees of UnateRegressor, and their blend with kernel ridge and networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from matminer_unate.regressors.kernel_ridge import HeldOut, Rows, Vector
from matminer_unate.transforms import TargetTransform, TransformedTarget, mean_and_spread

DIRECT = {
    "learning_rate": 0.03,
    "feature_fraction": 0.5,
    "min_data_in_leaf": 5,
    "extra_trees": True,
}
"""LightGBM on columns and the kernel ridge prediction."""
RESIDUAL = DIRECT | {"feature_fraction": 0.2}
"""LightGBM on what kernel ridge leaves over."""
N_TREES = 1_000
LEAVES = (15, 63)
"""Of a tree: fewest and most."""
LEAF_ROWS = 130
"""Training rows for which a tree gets one more leaf. On validation rows of MatBench, 31 leaves in
place of 15 had errors of gaps 2.5 % lower with 5,000 labels and 4.4 % with 20,000, where 63 had
8.5 %, and of bulk moduli 1.3 % with 7,800."""
QUICK = 2
"""Models for rows that lack columns have trees fewer by this factor, and learn faster by it."""

SHARE_STEPS = 20
"""Shares of the blend are twentieths."""


@dataclass
class Forest:
    """Trees of every fold, of one transformation of the target each; averaged over the folds.

    The kernel ridge prediction that they see and add to is of the same transformation. Both are
    standardised for the trees, as LightGBM keeps targets and gains as numbers of 32 bits.

    Attributes
    ----------
    outputs : list of int
        The transformation of each fold, as the number of an output of kernel ridge.
    direct : list of lightgbm.Booster
        Trees on the columns and the kernel ridge prediction, one a fold.
    residual : list of lightgbm.Booster
        Trees for what is to be added to the kernel ridge prediction.
    scales : (n_folds, 2)
        Mean and standard deviation of the transformed targets that the trees of a fold learned.
    """

    outputs: list[int]
    direct: list[Any]
    residual: list[Any]
    scales: Vector

    def parts(self, X: Vector, kernel: Vector, transforms: Sequence[TargetTransform]) -> Vector:
        """Of ``direct`` and kernel ridge with ``residual``, in the target's unit, (n_rows, 2)."""
        found = np.zeros((len(X), 2))
        for output in sorted(set(self.outputs)):
            z, folds = kernel[:, output], np.flatnonzero(np.array(self.outputs) == output)
            each = [
                predict_both(self.direct[k], self.residual[k], X, z, self.scales[k]) for k in folds
            ]
            of_output = transforms[output].backward(np.mean(each, axis=0))
            found += len(folds) / len(self.outputs) * of_output
        return found


def predict_both(direct: Any, residual: Any, X: Vector, z: Vector, scale: Vector) -> Vector:
    """Of ``direct`` and kernel ridge with ``residual``, transformed, (n_rows, 2).

    Parameters
    ----------
    direct, residual : lightgbm.Booster
        Of one fold.
    X : (n_rows, n_columns)
    z : (n_rows,)
        Of kernel ridge.
    scale : (2,)
        Of the fold, as in :class:`Forest`.
    """
    mean, spread = scale
    joined = np.column_stack([X, (z - mean) / spread])
    one, other = (booster.predict(joined, num_threads=1) for booster in (direct, residual))
    return np.column_stack([mean + spread * one, z + spread * other])


@dataclass
class BlendedModel:
    """Kernel ridge of each transformation of the target, and trees, in fixed shares.

    They are blended in the unit of the target.

    Attributes
    ----------
    transforms : list of TargetTransform
        One for each output of the kernel ridge regression.
    forests : list of Forest
        Of the first transformation, and of the ones that the folds chose where any chose another.
    shares : (n_parts,)
        Of the outputs of kernel ridge, of ``direct`` and kernel ridge with ``residual`` of each
        forest, and of a network where there is one.
    """

    transforms: list[TargetTransform]
    forests: list[Forest]
    shares: Vector

    @property
    def outputs(self) -> list[int]:
        """The transformation that each fold chose."""
        return self.forests[-1].outputs

    def parts(self, X: Vector, kernel: Vector) -> Vector:
        """Predictions of kernel ridge and trees, (n_rows, n_outputs + 2 n_forests).

        From columns and outputs of kernel ridge. Those of a network are to be added.
        """
        grown = [forest.parts(X, kernel, self.transforms) for forest in self.forests]
        return np.hstack([_backward(self.transforms, kernel), *grown])

    def output_shares(self) -> Vector:
        """Share of the folds that chose each output, (n_outputs,)."""
        return np.bincount(self.outputs, minlength=len(self.transforms)) / len(self.outputs)

    def opinions(self, parts: Vector) -> Vector:
        """Kernel ridge and both trees of the transformations that the folds chose; (n_rows, 3)."""
        n, last = len(self.transforms), len(self.transforms) + 2 * len(self.forests)
        return np.column_stack([parts[:, :n] @ self.output_shares(), parts[:, last - 2 : last]])


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
    predictions the transformation of the fold is chosen. Where one is not the first, trees learn
    both: one alone had errors of gaps 2 % higher.

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

    def fit_fold(k: int, output: int) -> tuple[Any, Any, Vector, Vector]:
        fold, inside = folds[k], insides[k]
        known, z, weights = without[k][inside, output], values[inside, output], target.weights
        mean, spread = mean_and_spread(z, weights[inside])
        spread = spread or 1.0
        known, z = (known - mean) / spread, (z - mean) / spread
        joined, given = np.column_stack([X[inside], known]), (weights[inside], n_trees, seed + k)
        direct = grow(joined, z, DIRECT | rate, *given, stop)
        residual = grow(joined, z - known, RESIDUAL | rate, *given, stop)
        tell(next(n_done) / len(wanted))
        scale = np.array([mean, spread])
        found = predict_both(direct, residual, X[fold], kernel[fold, output], scale)
        return direct, residual, scale, target.transforms[output].backward(found)

    first = [0] * len(folds)
    choices = [first] if outputs == first else [first, outputs]
    wanted = sorted({(k, output) for choice in choices for k, output in enumerate(choice)})
    stop = Event()
    try:
        done = Parallel(n_jobs=n_jobs, require="sharedmem")(delayed(fit_fold)(*w) for w in wanted)
    except BaseException:
        stop.set()  # Ctrl-C is heard in the main thread alone
        raise
    fitted, raw = dict(zip(wanted, done, strict=True)), np.empty(n_rows)
    forests, trees = [], np.empty((n_rows, 2 * len(choices)))
    for f, choice in enumerate(choices):
        direct, residual, scales, on_folds = zip(
            *(fitted[w] for w in enumerate(choice)), strict=True
        )
        forests.append(Forest(choice, list(direct), list(residual), np.array(scales)))
        for fold, found in zip(folds, on_folds, strict=True):
            trees[fold, 2 * f : 2 * f + 2] = found
    more = [] if network is None else [network(outputs)[:, None]]
    parts = np.hstack([_backward(target.transforms, kernel), trees, *more])
    for fold, inside in zip(folds, insides, strict=True):
        raw[fold] = parts[fold] @ _best_shares(parts[inside], target, inside)
    shares = _best_shares(parts, target, np.arange(n_rows))
    return BlendedModel(target.transforms, forests, shares), parts, raw


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

    The more rows, the more leaves its trees have (``LEAF_ROWS``). When ``stop`` is set,
    KeyboardInterrupt is raised before the next tree.
    """
    lightgbm = require_lightgbm()

    def before_each_tree(_: Any) -> None:
        if stop is not None and stop.is_set():
            raise KeyboardInterrupt

    options = {
        "objective": "l2",
        "num_leaves": min(max(len(y) // LEAF_ROWS, LEAVES[0]), LEAVES[1]),
        "num_threads": 1,
        "seed": seed % 2**31,  # LightGBM's seeds have 31 bits
        "verbosity": -1,
    }
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
    each = np.column_stack([_normalised(column) for column in sensitivity.T])
    found = each @ model.shares[:n_outputs]
    of_trees = model.shares[n_outputs : n_outputs + 2 * len(model.forests)].reshape(-1, 2)
    for forest, (direct, residual) in zip(model.forests, of_trees, strict=True):
        counts = np.bincount(forest.outputs, minlength=n_outputs)
        through_kernel = each @ counts / len(forest.outputs)
        with_kernel, gain = share_gain(forest.direct, through_kernel, n_tree_columns)
        on_residual, rest = share_gain(forest.residual, through_kernel, n_tree_columns)
        # Gain is variance explained: what kernel ridge leaves over against all that there is.
        left = np.clip(rest / gain, 0.0, 1.0) if gain > 0 else 0.0
        both = (1 - left) * through_kernel + left * on_residual
        found += direct * with_kernel + residual * both
    return _normalised(found)


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
