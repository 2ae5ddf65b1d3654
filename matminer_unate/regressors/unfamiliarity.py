"""How unlike the rows that a model has learned from, in the terms of the model, a new row is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import lambertw

from matminer_unate.regressors.kernel_ridge import Vector

N_KEPT = 1_000
"""Quantiles at most, however many training rows there are."""

NEAR = 1 - 1e-6
"""Above this similarity, 1 − 3 r² / 2 is exact to a thousandth, and the inverse is not."""


@dataclass(frozen=True)
class Unfamiliarity:
    """Where the similarity of a new row is among those of the training rows.

    The similarity of a row is the largest kernel value with a row that the kernel is spanned by: it
    falls with the distance to the nearest of them, in the columns and on the scales that kernel
    ridge regression has chosen for the target. Of a training row, it is that with rows of other
    folds, hence of other formulas.

    Attributes
    ----------
    usual : (n_kept,)
        Similarities of the training rows, ascending: all, or quantiles of them.
    """

    usual: Vector

    @classmethod
    def of(cls, similarity: Vector) -> Unfamiliarity:
        """From the similarities of all training rows, (n_rows,)."""
        if len(similarity) <= N_KEPT:
            return cls(np.sort(similarity))
        return cls(np.quantile(similarity, np.linspace(0, 1, N_KEPT)))

    def distances(self, similarity: Vector) -> Vector:
        """Distances that the similarities stand for, in units of the usual one, (n_rows,).

        The usual one is the median over the training rows.
        """
        (usual,) = _distance(np.array([np.median(self.usual)]))
        return _distance(similarity) / (float(usual) or 1.0)

    def shares(self, similarity: Vector) -> Vector:
        """Share of the training rows that are more similar to others than each row, (n_rows,)."""
        return 1 - np.searchsorted(self.usual, similarity, side="right") / len(self.usual)


def _distance(similarity: Vector) -> Vector:
    """The distance r, times √3, whose kernel value (1 + √3 r) exp(−√3 r) is a similarity."""
    # With w = −1 − √3 r, the equation is w exp(w) = −similarity / e.
    within = np.clip(similarity, 1e-300, NEAR)
    found: Vector = -1.0 - lambertw(-within / np.e, -1).real
    return np.where(similarity < NEAR, found, np.sqrt(2 * np.maximum(1 - similarity, 0.0)))
