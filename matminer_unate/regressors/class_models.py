"""Columns and classes → fitted classifiers: kernel ridge, trees, and calibrated probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.utils.parallel import Parallel, delayed

from matminer_unate.regressors.blend import DIRECT, QUICK, grow, share_gain
from matminer_unate.regressors.kernel_ridge import (
    BlockKernelRidge,
    ByRows,
    HeldOut,
    Matrix,
    Rows,
    Vector,
)
from matminer_unate.regressors.target_models import (
    Variants,
    fit_variants,
    importances_of,
    search_start,
)
from matminer_unate.regressors.training_rows import (
    BlockLayout,
    Blocks,
    FitOptions,
    Tell,
    TrainingRows,
)
from matminer_unate.regressors.unfamiliarity import Unfamiliarity

N_TREES = 300
"""A class, at least."""
MOST_TREES = 1_000
TREE_ROWS = 16
"""Training rows for each of which there is one tree, between the two. On validation rows of metal
or not, 1,000 trees in place of 300 left the log loss as it was with 2,000 labels, and made it 2.5 %
lower with 20,000."""

NOT_SEEN = -30.0
"""Margins below it are those of a class that no training row of the trees had: LightGBM begins it
at log 1e-15 and leaves it there."""

PRIOR = 1.0
"""Precision of the normal prior on the parameters of the calibration, which keeps probabilities of
few rows, or of rows that are told apart without error, from becoming 0 and 1."""


@dataclass
class Calibration:
    """Margins → probabilities: softmax(factor · margins + biases).

    This is bias-corrected temperature scaling, with the factor and the biases of the largest
    posterior on held-out rows.

    Attributes
    ----------
    factor : float
    biases : (n_classes,)

    References
    ----------
    Guo et al., ICML 2017, arXiv:1706.04599; Alexandari et al., ICML 2020, arXiv:1901.06852.
    """

    factor: float
    biases: Vector

    @classmethod
    def fit(cls, margins: Vector, codes: Rows, weights: Vector) -> Calibration:
        """From margins (n_rows, n_classes) of rows whose classes are known.

        Parameters
        ----------
        margins : (n_rows, n_classes)
        codes : (n_rows,)
        weights : (n_rows,)
        """
        n_classes = margins.shape[1]
        if not len(margins):
            return cls(0.0, np.zeros(n_classes))  # the prior's
        unit = float(margins.std()) or 1.0
        scaled, truth = margins / unit, np.eye(n_classes)[codes]

        def minus_log_posterior(at: Vector) -> tuple[float, Vector]:
            found = log_softmax(at[0] * scaled + at[1:], axis=1)
            away = weights[:, None] * (np.exp(found) - truth)
            slope = np.append((away * scaled).sum(), away.sum(axis=0)) + PRIOR * at
            return float(-(weights @ (found * truth)).sum() + PRIOR * (at @ at) / 2), slope

        found = minimize(
            minus_log_posterior,
            np.append(1.0, np.zeros(n_classes)),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None)] + [(None, None)] * n_classes,
        ).x
        return cls(float(found[0] / unit), found[1:])

    def probabilities(self, margins: Vector) -> Vector:
        """Of each class, (n_rows, n_classes); they sum to 1."""
        found: Vector = np.exp(log_softmax(self.factor * margins + self.biases, axis=1))
        return found


def log_loss(probabilities: Vector, codes: Rows, weights: Vector) -> float:
    """Mean of −ln p of the class that it is, weighted."""
    told = probabilities[np.arange(len(codes)), codes]
    return float(-(weights * np.log(np.maximum(told, 1e-300))).sum() / weights.sum())


@dataclass
class FittedClassModel:
    """Kernel ridge, trees and calibration, from all blocks but some.

    Kernel ridge regression tells the indicators of the classes, by squared errors; LightGBM sees
    its held-out predictions beside the columns and lowers the log loss.

    Attributes
    ----------
    without : frozenset of str
        Blocks that the model does not see.
    kernel : BlockKernelRidge
        With an output a class; of two classes, for the second.
    trees : list of lightgbm.Booster
        One a fold; margins are averaged.
    calibration : Calibration
    unfamiliarity : Unfamiliarity
    held_out_error : float
        Log loss of its held-out training rows.
    """

    without: Blocks
    kernel: BlockKernelRidge
    trees: list[Any]
    calibration: Calibration
    unfamiliarity: Unfamiliarity
    held_out_error: float = math.nan

    @classmethod
    def fit(
        cls,
        rows: TrainingRows,
        layout: BlockLayout,
        without: Blocks,
        n_classes: int,
        options: FitOptions,
        like: FittedClassModel | None,
        tell: tuple[Tell, Tell],
    ) -> tuple[FittedClassModel, Vector]:
        """Fit to columns of all blocks; as ``FittedModel.fit``.

        Parameters
        ----------
        rows : TrainingRows
            Their targets are places of classes.
        n_classes : int

        Returns
        -------
        model : FittedClassModel
        held_out : (n_rows, n_classes)
            Probabilities, by trees and a calibration that have not seen the rows' folds.
        """
        quick, codes = like is not None, rows.targets.astype(np.int64)
        columns, n_trees = rows.columns(layout, without), layout.n_tree_columns(without)
        indicators = np.eye(n_classes)[codes][:, 1 if n_classes == 2 else 0 :]
        weights = rows.weights

        def judge(found: Vector, some: Rows) -> float:
            squared = (found.clip(0, 1) - indicators[some]) ** 2
            return float((weights[some] @ squared).sum() / weights[some].sum())

        kernel = BlockKernelRidge(options.max_kernel_rows // (QUICK if quick else 1) or 1)
        kernel.seed = options.seed
        start = search_start(layout, without, like)
        given = indicators, rows.folds, start, judge, weights, quick, tell[0]
        held_out = kernel.fit(columns, layout.slices(without), *given)
        trees, margins = _grow_folds(
            columns.first(n_trees), held_out, codes, n_classes, rows, options, quick, tell[1]
        )
        # A row says nothing of how sure trees may be that had none of its class to learn from.
        judged = ~np.isin(np.arange(len(codes)), unlearned_rows(codes, rows.folds, n_classes))
        found = np.empty((len(codes), n_classes))
        for fold in rows.folds:
            inside = np.setdiff1d(np.flatnonzero(judged), fold)
            calibration = Calibration.fit(margins[inside], codes[inside], weights[inside])
            found[fold] = calibration.probabilities(margins[fold])
        calibration = Calibration.fit(margins[judged], codes[judged], weights[judged])
        error = log_loss(found, codes, weights)
        unfamiliarity = Unfamiliarity.of(held_out.similarity)
        return cls(without, kernel, trees, calibration, unfamiliarity, error), found

    def predict(self, columns: Matrix, layout: BlockLayout) -> tuple[Vector, Vector]:
        """Probabilities (n_rows, n_classes) and novelties (n_rows,) from columns of all blocks."""
        columns = layout.of(columns, self.without)
        n_trees = layout.n_tree_columns(self.without)
        outputs, similarity = self.kernel.predict(columns)
        joined = np.hstack([columns[:, :n_trees], outputs])
        margins = _mean_of_known([_margins(booster, joined) for booster in self.trees])
        return self.calibration.probabilities(margins), self.unfamiliarity.shares(similarity)

    def importances(self, columns: ByRows, layout: BlockLayout, seed: int) -> Vector:
        """Of all columns, (n_columns,); 0 for those it does not see."""

        def combine(sensitivity: Vector, n_trees: int) -> Vector:
            return share_gain(self.trees, sensitivity.sum(axis=1), n_trees)[0]

        return importances_of(self, columns, layout, seed, combine)


@dataclass
class FittedClasses(Variants[FittedClassModel]):
    """All models of one classification.

    Attributes
    ----------
    classes : (n_classes,)
    """

    classes: NDArray[Any]

    @classmethod
    def fit(
        cls,
        rows: TrainingRows,
        layout: BlockLayout,
        complete: NDArray[np.bool_],
        classes: NDArray[Any],
        options: FitOptions,
        tell: Sequence[tuple[Tell, Tell]],
    ) -> FittedClasses:
        """Fit all models; as :func:`~.target_models.fit_variants`."""

        def fit(
            part: TrainingRows,
            without: Blocks,
            like: FittedClassModel | None,
            told: tuple[Tell, Tell],
        ) -> tuple[FittedClassModel, Vector]:
            given = part, layout, without, len(classes), options, like, told
            return FittedClassModel.fit(*given)

        models, importances, held_out = fit_variants(
            fit, rows, layout, complete, options.seed, tell
        )
        error = log_loss(held_out, rows.targets.astype(np.int64), rows.weights)
        return cls(models, importances, held_out, error, classes)

    def predict(
        self, columns: Matrix, layout: BlockLayout, lacking: Sequence[Blocks]
    ) -> tuple[Vector, Vector]:
        """Probabilities (n_rows, n_classes), novelties (n_rows,); as ``FittedTarget.predict``."""
        found = np.full((len(columns), len(self.classes)), np.nan)
        novelty = np.full(len(columns), np.nan)
        for model, rows in self.by_model(lacking):
            found[rows], novelty[rows] = model.predict(columns[rows], layout)
        return found, novelty


def unlearned_rows(codes: Rows, folds: Sequence[Rows], n_classes: int) -> Rows:
    """Rows of classes that have no row outside the row's fold."""
    total = np.bincount(codes, minlength=n_classes)
    within = (np.bincount(codes[fold], minlength=n_classes) for fold in folds)
    alone = [fold[(own == total)[codes[fold]]] for fold, own in zip(folds, within, strict=True)]
    return np.sort(np.concatenate(alone))


def tree_count(n_rows: int) -> int:
    """Trees for each output, of so many training rows."""
    return min(max(n_rows // TREE_ROWS, N_TREES), MOST_TREES)


def _grow_folds(
    X: Matrix,
    held_out: HeldOut,
    codes: Rows,
    n_classes: int,
    rows: TrainingRows,
    options: FitOptions,
    quick: bool,
    tell: Callable[[float], Any],
) -> tuple[list[Any], Vector]:
    """Trees of every fold, and their margins of the rows of the fold, (n_rows, n_classes).

    As in :func:`~.blend.fit_blend`, they have not seen the fold in any way. A class that they have
    not seen either is less likely than the likeliest by a factor of twice the training rows.
    """
    several = {"objective": "multiclass", "num_class": n_classes}
    factor = QUICK if quick else 1
    objective: dict[str, Any] = {"objective": "binary"} if n_classes == 2 else several
    settings = DIRECT | objective | {"learning_rate": factor * DIRECT["learning_rate"]}
    unseen, folds = held_out.predictions(), rows.folds
    # Linear algebra has threads of its own, so it is done before.
    without = [held_out.predictions(also=k) for k in range(len(folds))]
    margins, stop, done = np.empty((len(codes), n_classes)), Event(), []

    def fit_fold(k: int) -> Any:
        inside = np.setdiff1d(np.arange(len(codes)), folds[k])
        joined = np.hstack([X[inside], without[k][inside]])
        given = rows.weights[inside], tree_count(len(inside)) // factor, options.seed + k
        booster = grow(joined, codes[inside].astype(np.float64), settings, *given, stop)
        found = _margins(booster, np.hstack([X[folds[k]], unseen[folds[k]]]))
        seen = np.bincount(codes[inside], minlength=n_classes) > 0
        if not seen.all():
            found = np.nan_to_num(found)
            best = found[:, seen].max(axis=1, keepdims=True)
            found[:, ~seen] = best - math.log(2 * len(inside))
        margins[folds[k]] = found
        done.append(k)
        tell(len(done) / len(folds))
        return booster

    try:
        jobs = (delayed(fit_fold)(k) for k in range(len(folds)))
        trees = Parallel(n_jobs=options.n_jobs, require="sharedmem")(jobs)
    except BaseException:
        stop.set()  # Ctrl-C is heard in the main thread alone
        raise
    return trees, margins


def _margins(booster: Any, X: Matrix) -> Vector:
    """Of each class, (n_rows, n_classes); of two, they are opposite. NaN of classes not seen."""
    found = booster.predict(X, raw_score=True, num_threads=1)
    if found.ndim > 1:
        return np.where(found > NOT_SEEN, found, np.nan)
    known = np.where(np.abs(found) < -NOT_SEEN, found, np.nan)
    return np.column_stack([-known / 2, known / 2])


def _mean_of_known(margins: Sequence[Vector]) -> Vector:
    """Mean over the folds whose trees have seen the class, (n_rows, n_classes)."""
    each = np.stack(margins)
    known = np.isfinite(each)
    total = np.where(known, each, 0.0).sum(axis=0)
    mean: Vector = np.where(known.any(axis=0), total, NOT_SEEN) / np.maximum(known.sum(axis=0), 1)
    return mean
