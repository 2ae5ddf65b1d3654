"""How large errors are, learned from held-out residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from matminer_unate.errors import InputError
from matminer_unate.regressors.blend import grow
from matminer_unate.regressors.kernel_ridge import Rows, Vector

SCALE = {"learning_rate": 0.05, "num_leaves": 7}
"""LightGBM for the size of the errors."""
SCALE_LEAF = (10, 30)
"""Rows a leaf at least: a tenth of all, within these."""
N_SCALE_TREES = 60
WIDEST = 10.0
"""Factor by which the distance from the training rows widens an interval, at most."""
LEAST_SCALE = 0.1
"""Of the mean error. No prediction is taken to be better than this."""


@dataclass
class ConformalScale:
    """How large errors are: a model of their size, and quantiles of errors over that size.

    Attributes
    ----------
    boosters : list of lightgbm.Booster
        One a fold; averaged.
    mean : float
        Mean absolute held-out error, the unit of the boosters.
    scores : (n_rows,)
        Held-out errors over their predicted size, ascending.
    score_weights : (n_rows,)
        Weights of these rows, with a mean of 1.
    """

    boosters: list[Any]
    mean: float
    scores: Vector
    score_weights: Vector

    @classmethod
    def fit(
        cls,
        errors: Vector,
        signs: Vector,
        folds: Sequence[Rows],
        seed: int,
        row_weights: Vector | None = None,
    ) -> ConformalScale:
        """Learn from held-out predictions.

        Parameters
        ----------
        errors : (n_rows,)
            Their absolute errors.
        signs : (n_rows, n_signs)
            As of :func:`difficulty_signs`.
        folds : sequence of row arrays
        seed : int
        row_weights : (n_rows,), optional
            Above 0, with a mean of 1.
        """
        n = len(errors)
        w = np.ones(n) if row_weights is None else row_weights
        mean = float((w * errors).mean()) or 1.0
        settings = SCALE | {"min_data_in_leaf": int(np.clip(n // 10, *SCALE_LEAF))}
        boosters: list[Any] = []
        scores = np.empty(n)
        model = cls(boosters, mean, scores, w)
        for k, fold in enumerate(folds):
            inside = np.setdiff1d(np.arange(n), fold)
            given = w[inside], N_SCALE_TREES, seed + k
            booster = grow(signs[inside], errors[inside] / mean, settings, *given)
            # The size that a row is judged by comes from the other folds, as that of a new row.
            scores[fold] = errors[fold] / model._size([booster], signs[fold])
            boosters.append(booster)
        order = np.argsort(scores, kind="stable")
        model.scores, model.score_weights = scores[order], w[order]
        return model

    def predict(self, signs: Vector) -> Vector:
        """Size of the errors of new rows, (n_rows,)."""
        return self._size(self.boosters, signs)

    def quantile(self, coverage: float) -> float:
        """Errors are below this multiple of their size for this share of new rows.

        A new row counts as a training row of average weight (Barber et al., Ann. Stat. 51, 816
        (2023), doi:10.1214/23-AOS2276).

        Raises
        ------
        InputError
            There are too few training rows for the share, or it is not between 0 and 1.
        """
        n = len(self.scores)
        below = np.cumsum(self.score_weights)
        # Sums of weights carry rounding errors, which must not decide.
        rank = int(np.searchsorted(below, (n + 1) * coverage - 1e-9 * n)) + 1
        if not 0 < coverage < 1 or rank > n:
            raise InputError(
                f"coverage must be above 0 and, with {n} training rows, at most {n / (n + 1):.3f}; "
                f"got {coverage}"
            )
        return float(self.scores[rank - 1])

    def _size(self, boosters: Sequence[Any], signs: Vector) -> Vector:
        relative = np.mean([b.predict(signs, num_threads=1) for b in boosters], axis=0)
        return self.mean * np.maximum(relative, LEAST_SCALE)


def difficulty_signs(raw: Vector, opinions: Vector, similarity: Vector, minimum: float) -> Vector:
    """What tells easy rows from hard ones, (n_rows, 5).

    The prediction, how far the opinions are apart, how far it would be below the minimum, and how
    similar the nearest training row is.

    Parameters
    ----------
    raw : (n_rows,)
        Predictions, not cut off at the minimum.
    opinions : (n_rows, 3)
        Those of kernel ridge and of both sets of trees.
    similarity : (n_rows,)
        To the nearest training row; of a training row, to that of another fold.
    minimum : float
    """
    return np.column_stack(
        [
            np.maximum(raw, minimum),
            np.ptp(opinions, axis=1),
            opinions[:, 1] - opinions[:, 0],
            np.maximum(minimum - raw, 0.0) if np.isfinite(minimum) else np.zeros(len(raw)),
            similarity,
        ]
    )


def widening(distances: Vector) -> Vector:
    """Factor of the size of the errors of unfamiliar rows, (n_rows,).

    The size grows with the distance from what was learned from, where that is above the usual one:
    the trees that tell it know of no distance beyond those of the training rows. Held-out residuals
    are judged by the same sizes, so that intervals stay valid. Chosen on ``val`` rows: interval
    scores are 0.2 to 1.1 % lower, and those of elements not learned from 0.3 to 1.6 %
    (``training/results/novelty_coverage.csv``).

    Parameters
    ----------
    distances : (n_rows,)
        As of :meth:`~.unfamiliarity.Unfamiliarity.distances`.
    """
    return np.clip(distances, 1.0, WIDEST)
