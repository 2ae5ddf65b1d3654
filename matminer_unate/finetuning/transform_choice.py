"""Which transformation of a target suits fine-tuning: what a linear read-out says, in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold

from matminer_unate.crystals.graph import RadiusGraph
from matminer_unate.featurizers.pooling import pooled
from matminer_unate.finetuning.targets import LearnedTargets
from matminer_unate.network.encoding import DEFAULT_BATCH_SIZE, encode
from matminer_unate.transforms import Scoring, TargetTransform, TransformedTarget

N_FOLDS = 5
MOST_ROWS = 4_000
"""That the read-out learns from; a random choice of more."""

PENALTIES = np.logspace(0, 5, 11)
"""On standardised columns."""


def transforms_of_targets(
    wanted: str,
    targets: LearnedTargets,
    scoring: Scoring,
    groups: Sequence[str],
    columns: Callable[[], NDArray[np.float32]],
    seed: int,
) -> list[TargetTransform]:
    """A transformation for each target.

    With ``"auto"``, ridge regressions on columns of the pretrained encoder are fitted to each of
    them in folds of whole groups, and their held-out predictions are compared in the unit of the
    target: see :meth:`~matminer_unate.transforms.TransformedTarget.best`.

    Parameters
    ----------
    wanted : str
        As for ``UnateFineTuneRegressor``.
    targets : LearnedTargets
    scoring : {"mae", "rmse"}
    groups : (n_rows,)
    columns : callable
        Returns (n_rows, n_columns); called if there is something to choose.
    seed : int
    """
    values = targets.values
    each = np.ones_like(values) if targets.weights is None else targets.weights
    found, matrix = list[TargetTransform](), None
    for k, minimum in enumerate(targets.scale.minimum):
        rows = np.flatnonzero(np.isfinite(values[:, k]) & (each[:, k] > 0))
        given = values[rows, k], each[rows, k], wanted, float(minimum), scoring
        target = TransformedTarget.of(*given)
        best = 0
        if len(target.transforms) > 1:
            matrix = columns() if matrix is None else matrix
            best = _best(target, matrix[rows], np.asarray(groups)[rows], seed)
        found.append(target.transforms[best])
    return found


def pretrained_columns(
    graphs: Sequence[RadiusGraph],
    electrons: NDArray[np.float32] | None,
    weights: str | Path,
    device: str,
) -> NDArray[np.float32]:
    """Pooled columns of the encoder, and the tight-binding ones, (n_crystals, n_columns)."""
    parts: dict[int, NDArray[np.float32]] = {}
    for batch in encode(enumerate(graphs), weights, device, DEFAULT_BATCH_SIZE, "columns"):
        parts |= dict(zip(batch.rows, pooled(batch, ("mean", "std")), strict=True))
    learned = np.stack([parts[row] for row in range(len(graphs))])
    return learned if electrons is None else np.hstack([learned, electrons])


def _best(
    target: TransformedTarget,
    columns: NDArray[np.float32],
    groups: NDArray[Any],
    seed: int,
) -> int:
    """Which of the transformations, by their held-out predictions."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(groups))[:MOST_ROWS])
    n_folds = min(N_FOLDS, len(set(groups[chosen])))
    if n_folds < 2:
        return 0
    X, z, weights = columns[chosen], target.values[chosen], target.weights[chosen]
    found = np.empty_like(z)
    for rows, fold in GroupKFold(n_folds).split(X, groups=groups[chosen]):
        x = _standardised(X, rows)
        spread = z[rows].std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        ridge = RidgeCV(PENALTIES, alpha_per_target=True)
        ridge.fit(x[rows], z[rows] / spread, weights[rows])
        found[fold] = ridge.predict(x[fold]) * spread
    return target.best(found, chosen)


def _standardised(columns: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """In the spreads of these rows, within 8 of them; 0 where a column is missing."""
    values = columns.astype(np.float64)
    mean, spread = np.nanmean(values[rows], axis=0), np.nanstd(values[rows], axis=0)
    scaled = (values - mean) / np.where(spread > 1e-6, spread, 1.0)
    return np.nan_to_num(scaled).clip(-8, 8)
