"""How large errors are, learned from held-out residuals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
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
SIZE_GROUPS, GROUP_ROWS = 5, 50
"""Groups of training rows by the size of their errors, each with quantiles of its own, and rows of
one at least. Large errors are of other shape than small ones: many of the crystals that are surely
metals have none at all. With one group for all, intervals of 80 % held 98 % of the surest gaps on
``val`` and 61 % of the least sure; with five, 82 and 87 %."""
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
        Held-out errors over their predicted size.
    score_weights : (n_rows,)
        Weights of these rows, with a mean of 1.
    score_sizes : (n_rows,)
        These sizes, ascending.
    """

    boosters: list[Any]
    mean: float
    scores: Vector
    score_weights: Vector
    score_sizes: Vector

    @classmethod
    def fit(
        cls,
        errors: Vector,
        signs: Vector,
        folds: Sequence[Rows],
        seed: int,
        row_weights: Vector | None = None,
        factors: Vector | float = 1.0,
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
        factors : (n_rows,), optional
            Of the sizes beyond what the boosters tell, as of :func:`widening`.
        """
        errors = errors / factors
        n = len(errors)
        w = np.ones(n) if row_weights is None else row_weights
        mean = float((w * errors).mean()) or 1.0
        settings = SCALE | {"min_data_in_leaf": int(np.clip(n // 10, *SCALE_LEAF))}
        boosters: list[Any] = []
        sizes = np.empty(n)
        model = cls(boosters, mean, sizes, w, sizes)
        for k, fold in enumerate(folds):
            inside = np.setdiff1d(np.arange(n), fold)
            given = w[inside], N_SCALE_TREES, seed + k
            booster = grow(signs[inside], errors[inside] / mean, settings, *given)
            # The size that a row is judged by comes from the other folds, as that of a new row.
            sizes[fold] = model._size([booster], signs[fold])
            boosters.append(booster)
        scores, sizes = errors / sizes, sizes * factors
        order = np.argsort(sizes, kind="stable")
        return cls(boosters, mean, scores[order], w[order], sizes[order])

    def predict(self, signs: Vector) -> Vector:
        """Size of the errors of new rows, (n_rows,)."""
        return self._size(self.boosters, signs)

    def check(self, coverage: float) -> None:
        """Raise InputError unless the coverage is between 0 and 1, and to be had of so few rows."""
        n, is_share = len(self.scores), isinstance(coverage, Real) and 0 < coverage < 1
        if not is_share or _quantile(self.scores, self.score_weights, coverage) is None:
            most = math.floor(1000 * n / (n + 1)) / 1000
            raise InputError(
                f"coverage must be a number above 0 and, with {n} training rows, at most "
                f"{most:.3f}; got {coverage!r}"
            )

    def reach(self, sizes: Vector, coverage: float) -> Vector:
        """What the errors of new rows are below for this share of them, (n_rows,).

        Quantiles of the scores of training rows whose errors are of like size: of groups of these,
        and between the middles of two groups what lies between (Mondrian conformal prediction:
        Vovk et al., Proc. Mach. Learn. Res. 25, 475 (2012)). A group that is too small for the
        coverage takes its largest score, or the quantile of all rows if that is more.

        Parameters
        ----------
        sizes : (n_rows,)
            Of their errors.
        coverage : float

        Raises
        ------
        InputError
            As :meth:`check`.
        """
        self.check(coverage)
        of_all = _quantile(self.scores, self.score_weights, coverage)
        middles, quantiles = [], []
        n_groups = int(np.clip(len(self.scores) // GROUP_ROWS, 1, SIZE_GROUPS))
        for rows in np.array_split(np.arange(len(self.scores)), n_groups):
            found = _quantile(self.scores[rows], self.score_weights[rows], coverage)
            middles.append(np.median(self.score_sizes[rows]))
            quantiles.append(max(self.scores[rows].max(), of_all) if found is None else found)
        return sizes * np.interp(np.log(sizes), np.log(middles), quantiles)

    def _size(self, boosters: Sequence[Any], signs: Vector) -> Vector:
        relative = np.mean([b.predict(signs, num_threads=1) for b in boosters], axis=0)
        return self.mean * np.maximum(relative, LEAST_SCALE)


def _quantile(scores: Vector, weights: Vector, coverage: float) -> float | None:
    """The score below which those of this share of new rows are; None of too few rows.

    A new row counts as a training row of average weight (Barber et al., Ann. Stat. 51, 816 (2023),
    doi:10.1214/23-AOS2276).
    """
    order = np.argsort(scores, kind="stable")
    below = np.cumsum(weights[order])
    # Sums of weights carry rounding errors, which must not decide.
    rank = int(np.searchsorted(below, (below[-1] + 1) * coverage - 1e-9 * len(scores)))
    return float(scores[order[rank]]) if rank < len(scores) else None


def difficulty_signs(raw: Vector, opinions: Vector, similarity: Vector, minimum: float) -> Vector:
    """What tells easy rows from hard ones, (n_rows, 5).

    The prediction, how far the opinions are apart, how far the first trees are from kernel ridge
    and in which direction, how far the prediction would be below the minimum, and how similar the
    nearest training row is.

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
