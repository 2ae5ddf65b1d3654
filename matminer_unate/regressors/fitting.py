"""Rows, targets and a recipe → a fitted state: the body of ``fit``.

The way of a crystal, room by room:

1. ``rows.GivenRows``: what was given → a list of structures and the names of their rows.
2. ``recipe.Recipe.describe``: each structure is checked and taken apart once
   (``crystals.checked``), then all are described block by block (composition and cell,
   ``SiteDescriptorStats``, ``CellStats``, ``TightBindingStats``, learned columns).
3. ``rows.AnsweredRows``: the rows that any model can learn from, and the blocks each one lacks.
4. ``training_rows.TrainingRows``: columns, targets (``targets``), weights, folds of formulas.
5. ``target_models.FittedTarget``: a model of all blocks, and one without the tight-binding ones.
6. ``target_models.FittedModel``: ``kernel_ridge`` → held-out predictions → trees (``blend``) →
   error bars (``error_bars``); of classes, ``class_models.FittedClassModel``: ``kernel_ridge`` →
   trees → calibrated probabilities.
7. ``fitted_state.FittedState``: all of it, for ``predict``, and for ``saved_regressor`` to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.errors import InputError, warn_user
from matminer_unate.network.weights import checksums
from matminer_unate.progress import WorkBar
from matminer_unate.regressors.class_models import FittedClasses, unlearned_rows
from matminer_unate.regressors.fitted_state import FittedState
from matminer_unate.regressors.kernel_ridge import Rows, Vector
from matminer_unate.regressors.recipe import FORMULA, Recipe
from matminer_unate.regressors.rows import AnsweredRows, GivenRows
from matminer_unate.regressors.stages import network_stage, stage_names
from matminer_unate.regressors.target_models import FittedTarget, enough_complete
from matminer_unate.regressors.training_rows import (
    LEAST_GROUPS,
    NONE,
    BlockLayout,
    Blocks,
    FitOptions,
    RegressionOptions,
    TrainingRows,
)
from matminer_unate.target_floors import interval_floor, target_floor


@dataclass(frozen=True)
class Read:
    """Rows that are ready to be learned from.

    Attributes
    ----------
    training : TrainingRows
        Of the rows that any model can learn from, (n_used,).
    found : AnsweredRows
    layout : BlockLayout
    models : list of frozenset
        What each model of a target does without.
    columns : (n_columns,) array of str
        Their names.
    """

    training: TrainingRows
    found: AnsweredRows
    layout: BlockLayout
    models: list[Blocks]
    columns: NDArray[Any]

    def stages(self, bar: WorkBar, k: int, n_targets: int) -> list[tuple[Any, Any]]:
        """Whom to tell of kernel ridge and of the trees of each model of target ``k``."""
        names = stage_names(k, n_targets, self.models)
        return [(bar.share(kernel), bar.share(trees)) for kernel, trees in names]

    def state(
        self, targets: list[Any], names: list[str] | None, recipe: Recipe, seed: int
    ) -> FittedState[Any]:
        """The fitted state, of the models of each target."""
        sha256 = checksums(recipe.weights)
        n_rows = len(self.found.used)
        return FittedState(targets, names, self.layout, self.columns, n_rows, seed, sha256)

    def scattered(self, held_out: Vector, rows: Rows, n_rows: int) -> Vector:
        """Values of some of the used rows among all rows; NaN elsewhere."""
        found = np.full((n_rows, *held_out.shape[1:]), np.nan)
        found[self.found.used[rows]] = held_out
        return found


def read_rows(
    rows: GivenRows,
    recipe: Recipe,
    targets: Vector,
    groups: NDArray[Any] | None,
    weights: Vector,
    options: FitOptions,
    bar: WorkBar,
) -> Read:
    """Describe rows, and leave out those that no model can learn from.

    Parameters
    ----------
    rows : GivenRows
    recipe : Recipe
    targets : (n_rows, n_targets)
    groups : (n_rows,) or None
        Rows of one group stay in one fold; by None, reduced formulas are the groups.
    weights : (n_rows,)
        Rows of 0 are left out.
    options : FitOptions
    bar : WorkBar
        With the stages of the recipe.

    Raises
    ------
    InputError, StructureError
        A row cannot be used and errors are not ignored, or there are too few groups.
    """
    described = rows.describe(recipe, options.ignore_errors, bar)
    layout = BlockLayout({block: len(columns) for block, columns in recipe.blocks().items()})
    models = [NONE, *layout.variants()]
    found = AnsweredRows.of(rows, described, weights > 0, layout, models, options.ignore_errors)
    labels = described.table[FORMULA].to_numpy() if groups is None else groups
    folds = group_folds(labels[found.used], options.n_folds, options.seed)
    counts = weights[found.used] / weights[found.used].mean()
    training = TrainingRows(found.columns, targets[found.used], counts, folds, found.structures)
    names = np.array(described.table.columns[1:], dtype=object)
    return Read(training, found, layout, models, names)


def fit_rows(
    rows: GivenRows,
    recipe: Recipe,
    targets: Vector,
    names: list[str] | None,
    groups: Any,
    weights: Vector,
    options: RegressionOptions,
    bar: WorkBar,
) -> FittedState[FittedTarget]:
    """Fit a model to each target.

    Parameters
    ----------
    rows, recipe, groups, weights
        As for :func:`read_rows`.
    targets : (n_rows, n_targets)
        NaN where one is not known.
    names : list of str or None
        Of the targets.
    options : RegressionOptions
    bar : WorkBar
        With the stages of the recipe and of :func:`~.stages.stage_seconds`.

    Raises
    ------
    InputError, StructureError
        A row cannot be used and errors are not ignored, or there are too few groups.
    """
    read = read_rows(rows, recipe, targets, groups, weights, options, bar)
    fitted, left_out = [], []
    for k, name in enumerate(names or range(targets.shape[1])):
        known = np.flatnonzero(~np.isnan(read.training.targets[:, k]))
        given, complete = read.training.of_target(k, known), read.found.complete[known]
        if len(given.folds) < LEAST_GROUPS:
            raise InputError(f"target {name!r} is known for too few groups of rows; leave it out")
        if not enough_complete(given, complete):
            left_out.append(str(name))
        stages = read.stages(bar, k, targets.shape[1])
        floor = target_floor(options.minimum, given.targets)
        floors = floor, interval_floor(options.minimum, floor, given.targets)
        network = bar.share(network_stage(k, targets.shape[1]))
        how = floors, options, stages, network
        target = FittedTarget.fit(given, read.layout, complete, *how)
        fitted.append(replace(target, held_out=read.scattered(target.held_out, known, len(rows))))
    read.found.warn_of_training(rows, left_out if len(left_out) < len(fitted) else ["all"])
    return read.state(fitted, names, recipe, options.seed)


def fit_classes(
    rows: GivenRows,
    recipe: Recipe,
    codes: Vector,
    classes: NDArray[Any],
    groups: Any,
    weights: Vector,
    class_weight: Sequence[float] | Literal["balanced"],
    options: FitOptions,
    bar: WorkBar,
) -> FittedState[FittedClasses]:
    """Fit a classifier; as :func:`fit_rows`.

    Parameters
    ----------
    codes : (n_rows,)
        The class of each row, as its place among ``classes``.
    classes : (n_classes,)
    class_weight : (n_classes,) or "balanced"
        Factors on the weights of their rows; "balanced" makes the sums of the used ones equal.
    """
    read = read_rows(rows, recipe, codes[:, None], groups, weights, options, bar)
    every = np.arange(len(read.found.used))
    given, complete = read.training.of_target(0, every), read.found.complete
    own = given.targets.astype(np.int64)
    totals = np.bincount(own, given.weights, len(classes))
    if not totals.all():
        lost = classes.tolist()[int(np.argmin(totals))]
        raise InputError(
            f"no usable row is of class {lost!r}; mend its rows, or drop them to fit without it"
        )
    factors = 1.0 / totals if class_weight == "balanced" else np.asarray(class_weight)
    counts = given.weights * factors[own]
    given = replace(given, weights=counts / counts.mean())
    alone = unlearned_rows(own, given.folds, len(classes))
    if len(alone):
        told = ", ".join(map(repr, classes[np.unique(own[alone])].tolist()))
        warn_user(
            f"all rows of class {told} are in one fold, so that no fold can learn of it and be "
            "judged by it: it is hardly ever predicted; add rows of other formulas or groups, or "
            "join it to another class"
        )
    stages = read.stages(bar, 0, 1)
    fitted = FittedClasses.fit(given, read.layout, complete, classes, options, stages)
    fitted = replace(fitted, held_out=read.scattered(fitted.held_out, every, len(rows)))
    read.found.warn_of_training(rows, [] if enough_complete(given, complete) else ["all"])
    return read.state([fitted], None, recipe, options.seed)


def group_folds(
    labels: Sequence[Any] | NDArray[Any], n_folds: int, seed: int
) -> list[NDArray[np.int64]]:
    from sklearn.model_selection import GroupKFold  # which predictions need not wait for

    codes, distinct = pd.factorize(np.asarray(labels, dtype=object))
    if len(distinct) < LEAST_GROUPS:
        raise InputError(
            f"the usable rows are of {len(distinct)} group(s), cross-validation needs at least "
            f"{LEAST_GROUPS}; groups are reduced formulas unless fit(…, groups=…) gives others"
        )
    splitter = GroupKFold(min(n_folds, len(distinct)), shuffle=True, random_state=seed)
    return [fold for _, fold in splitter.split(codes, groups=codes)]
