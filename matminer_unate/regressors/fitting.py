"""Rows, targets and a recipe → a fitted state: the body of ``UnateRegressor.fit``.

The way of a crystal, room by room:

1. ``rows.GivenRows``: what was given → a list of structures and the names of their rows.
2. ``recipe.Recipe.describe``: each structure is checked and taken apart once
   (``crystals.checked``), then all are described block by block (composition and cell,
   ``SiteDescriptorStats``, ``TightBindingStats``, learned columns).
3. ``rows.AnsweredRows``: the rows that any model can learn from, and the blocks each one lacks.
4. ``target_models.TrainingRows``: columns, targets (``targets``), weights, folds of formulas.
5. ``target_models.FittedTarget``: a model of all blocks, and one without the tight-binding ones.
6. ``target_models.FittedModel``: ``kernel_ridge`` → held-out predictions → trees (``blend``) →
   error bars (``error_bars``).
7. ``fitted_state.FittedState``: all of it, for ``predict``, and for ``saved_regressor`` to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.network.weights import checksums
from matminer_unate.progress import WorkBar
from matminer_unate.regressors.fitted_state import FittedState
from matminer_unate.regressors.recipe import FORMULA, Recipe
from matminer_unate.regressors.rows import AnsweredRows, GivenRows
from matminer_unate.regressors.target_models import (
    LEAST_GROUPS,
    NONE,
    BlockLayout,
    FitOptions,
    FittedTarget,
    TrainingRows,
    enough_complete,
    stage_names,
)
from matminer_unate.targets import interval_floor, target_floor


def fit_rows(
    rows: GivenRows,
    recipe: Recipe,
    targets: NDArray[np.float64],
    names: list[str] | None,
    groups: Any,
    weights: NDArray[np.float64],
    options: FitOptions,
    bar: WorkBar,
) -> FittedState:
    """Fit a model to each target.

    Parameters
    ----------
    rows : GivenRows
    recipe : Recipe
    targets : (n_rows, n_targets)
        NaN where one is not known.
    names : list of str or None
        Of the targets.
    groups : (n_rows,) or None
        Rows of one group stay in one fold; by None, reduced formulas are the groups.
    weights : (n_rows,)
        Rows of 0 are left out.
    options : FitOptions
    bar : WorkBar
        With the stages of the recipe and of :func:`~.target_models.stage_seconds`.

    Raises
    ------
    InputError, StructureError
        A row cannot be used and errors are not ignored, or there are too few groups.
    """
    described = rows.describe(recipe, options.ignore_errors, bar)
    layout = BlockLayout({block: len(columns) for block, columns in recipe.blocks().items()})
    models = [NONE, *layout.variants()]
    found = AnsweredRows.of(rows, described, weights > 0, layout, models, options.ignore_errors)
    labels = described.table[FORMULA].to_numpy() if groups is None else np.asarray(groups)
    folds = group_folds(labels[found.used], options.n_folds, options.seed)
    counts = weights[found.used] / weights[found.used].mean()
    training = TrainingRows(found.columns, targets[found.used], counts, folds)
    fitted, left_out = [], []
    for k, name in enumerate(names or range(targets.shape[1])):
        known = np.flatnonzero(~np.isnan(training.targets[:, k]))
        given, complete = training.of_target(k, known), found.complete[known]
        if len(given.folds) < LEAST_GROUPS:
            raise InputError(f"target {name!r} is known for too few groups of rows; leave it out")
        if not enough_complete(given, complete):
            left_out.append(str(name))
        stages = [
            (bar.share(kernel), bar.share(trees))
            for kernel, trees in stage_names(k, targets.shape[1], models)
        ]
        floor = target_floor(options.minimum, given.targets)
        floors = floor, interval_floor(options.minimum, floor, given.targets)
        target = FittedTarget.fit(given, layout, complete, floors, options, stages)
        held_out = np.full(len(rows), np.nan)
        held_out[found.used[known]] = target.held_out
        fitted.append(replace(target, held_out=held_out))
    found.warn_of_training(rows, left_out if len(left_out) < len(fitted) else ["all"])
    return FittedState(
        fitted,
        names,
        layout,
        np.array(described.table.columns[1:], dtype=object),
        len(found.used),
        options.seed,
        checksums(recipe.weights),
    )


def group_folds(
    labels: Sequence[Any] | NDArray[Any], n_folds: int, seed: int
) -> list[NDArray[np.int64]]:
    from sklearn.model_selection import GroupKFold  # which predictions need not wait for

    codes, distinct = pd.factorize(np.asarray(labels, dtype=object))
    if (codes < 0).any():
        raise InputError(f"the group of row {int(np.argmin(codes))} is missing (NaN or None)")
    if len(distinct) < LEAST_GROUPS:
        raise InputError(
            f"the usable rows are of {len(distinct)} group(s), cross-validation needs at least "
            f"{LEAST_GROUPS}; groups are reduced formulas unless fit(…, groups=…) gives others"
        )
    splitter = GroupKFold(min(n_folds, len(distinct)), shuffle=True, random_state=seed)
    return [fold for _, fold in splitter.split(codes, groups=codes)]
