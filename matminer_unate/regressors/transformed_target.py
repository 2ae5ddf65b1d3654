"""A target in several transformations, and what held-out predictions of each are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from matminer_unate.regressors.kernel_ridge import Rows, Vector
from matminer_unate.transforms import TargetTransform, transforms_for

Scoring = Literal["mae", "rmse"]
SCORINGS: tuple[Scoring, ...] = get_args(Scoring)


def mean_error(scoring: Scoring, found: Vector, y: Vector, weights: Vector) -> float:
    """Mean absolute error or root of the mean squared one, weighted; all (n_rows,)."""
    deviations = found - y
    if scoring == "mae":
        return float((weights * np.abs(deviations)).sum() / weights.sum())
    return float(np.sqrt((weights * deviations**2).sum() / weights.sum()))


@dataclass(frozen=True)
class TransformedTarget:
    """A target of training rows, in each of the transformations among which its models choose.

    Attributes
    ----------
    y : (n_rows,)
    weights : (n_rows,)
    transforms : list of TargetTransform
    minimum : float
        Predictions are cut off there before they are judged.
    scoring : {"mae", "rmse"}
        By which, in the unit of the target.
    """

    y: Vector
    weights: Vector
    transforms: list[TargetTransform]
    minimum: float
    scoring: Scoring

    @classmethod
    def of(
        cls, y: Vector, weights: Vector, wanted: str, minimum: float, scoring: Scoring
    ) -> TransformedTarget:
        """With the transformations that ``UnateRegressor(target=wanted)`` means."""
        return cls(y, weights, transforms_for(wanted, y, weights), minimum, scoring)

    @property
    def values(self) -> Vector:
        """What models learn, (n_rows, n_transforms)."""
        return np.column_stack([transform.forward(self.y) for transform in self.transforms])

    def error(self, found: Vector, rows: Rows | slice = slice(None)) -> float:
        """Of predictions in the unit of the target, (n,), for these rows."""
        raised = np.maximum(found, self.minimum)
        return mean_error(self.scoring, raised, self.y[rows], self.weights[rows])

    def errors(self, found: Vector, rows: Rows) -> list[float]:
        """Of each column of transformed predictions, (n, n_transforms), for these rows."""
        columns = zip(self.transforms, found.T, strict=True)
        return [self.error(transform.backward(z), rows) for transform, z in columns]

    def first_error(self, found: Vector, rows: Rows) -> float:
        """Of the first column.

        Scales of the kernel that are chosen by it suit the others as well: chosen by the least
        error of all, which is least by chance too, those of new rows were 0.5 % higher.
        """
        return self.error(self.transforms[0].backward(found[:, 0]), rows)

    def best(self, found: Vector, rows: Rows) -> int:
        """The column of the least error, or the first one, the identity, where that is as good.

        It is unless the paired gain of the other is above its standard error: with few rows, the
        least of several errors is least by chance.
        """
        best = int(np.argmin(self.errors(found, rows)))
        columns = [self.transforms[k].backward(found[:, k]) for k in (0, best)]
        deviations = np.abs(np.maximum(np.column_stack(columns), self.minimum) - self.y[rows, None])
        losses = deviations if self.scoring == "mae" else deviations**2
        gains, shares = losses[:, 0] - losses[:, 1], self.weights[rows] / self.weights[rows].sum()
        gain = float(shares @ gains)
        return best if gain > np.sqrt((shares**2) @ (gains - gain) ** 2) else 0
