"""Targets with long tails or many equal values ↔ numbers that are easier to learn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import boxcox1p, inv_boxcox1p, ndtri

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

TransformName = Literal["identity", "log", "yeo-johnson", "rank"]
TRANSFORMS: tuple[TransformName, ...] = get_args(TransformName)

Scoring = Literal["mae", "rmse"]
SCORINGS: tuple[Scoring, ...] = get_args(Scoring)

OFFSET = 0.1
"""Of the logarithm: share of the median distance from the least target."""

POWERS = (-2.0, 4.0)
"""Between which the power of Yeo and Johnson is sought; 1 is no transformation, and 1 ± 3 bends as
much in either direction."""

ROUNDING = 1e-14
"""Spread over size of targets below which they are one number, rounded."""

LEAST = 1e-300
"""Shares and variances below it are taken for it: they have logarithms and normal quantiles."""

REACH = 0.5
"""Of the range of the targets: how far beyond them a transformed prediction can be in their unit.
Powers and exponentials of a prediction that is a little off have no bounds."""


@dataclass(frozen=True)
class TargetTransform:
    """A monotonic function of targets, and its inverse.

    * ``identity``
    * ``log``: ln(y + c). With the least target y₀ and m, the median of y − y₀ where that is above
      0, c is ``OFFSET``·m − y₀, or 0 if this is below 0.
    * ``yeo-johnson``: the power transformation of Yeo and Johnson (Biometrika 87, 954 (2000),
      doi:10.1093/biomet/87.4.954, equation 2.1) of (y − median) / quartile distance, with the power
      of the largest likelihood.
    * ``rank``: the normal quantile of the mid-rank over n (Beasley, Erickson and Allison, Behav.
      Genet. 39, 580 (2009), doi:10.1007/s10519-009-9281-0), linear between the targets.

    A mean of transformed values is, transformed back, near the median and not the mean of targets
    that scatter.

    Attributes
    ----------
    name : str
    numbers : (n,) float64
        Nothing for the identity. Else the least and the largest value that :meth:`backward` gives,
        and then c; median, distance and power; or the distinct targets and their quantiles.
    """

    name: TransformName
    numbers: Array

    @classmethod
    def identity(cls) -> Self:
        """What leaves targets as they are."""
        return cls("identity", np.empty(0))

    @classmethod
    def fit(cls, name: TransformName, y: Array, weights: Array) -> Self:
        """The transformation for targets of at least two values, (n_rows,), of these weights."""
        if name == "identity":
            return cls.identity()
        low, high = float(y.min()), float(y.max())
        bounds = [low - REACH * (high - low), high + REACH * (high - low)]
        numbers = {"log": _offset, "yeo-johnson": _power, "rank": _ranks}[name](y, weights)
        return cls(name, np.concatenate([bounds, numbers]))

    def forward(self, y: Array) -> Array:
        """Targets (of those of the fit) → transformed, of any shape."""
        if self.name == "log":
            return np.log(y + self.numbers[2])
        if self.name == "yeo-johnson":
            centre, unit, power = self.numbers[2:]
            return _yeo_johnson((y - centre) / unit, power)
        if self.name == "rank":
            values, quantiles = np.split(self.numbers[2:], 2)
            return np.interp(y, values, quantiles)
        return y

    def backward(self, z: Array) -> Array:
        """Transformed predictions → the unit of the targets, of any shape."""
        if self.name == "identity":
            return z
        with np.errstate(over="ignore"):
            if self.name == "log":
                y = np.exp(z) - self.numbers[2]
            elif self.name == "yeo-johnson":
                centre, unit, power = self.numbers[2:]
                y = centre + unit * _inverse_yeo_johnson(z, power)
            else:
                values, quantiles = np.split(self.numbers[2:], 2)
                y = np.interp(z, quantiles, values)
        found: Array = np.clip(y, *self.numbers[:2])
        return found


def transforms_for(wanted: str, y: Array, weights: Array) -> list[TargetTransform]:
    """The transformations among which a fit chooses.

    Parameters
    ----------
    wanted : str
        One of ``TRANSFORMS``, or ``"auto"`` for all.
    y : (n_rows,)
        Of two values there is nothing to transform, nor of one and its roundings: then it is the
        identity alone.
    weights : (n_rows,)
    """
    identity = [TargetTransform.identity()]
    if len(np.unique(y)) < 3 or np.ptp(y) <= ROUNDING * np.abs(y).max():
        return identity
    names = TRANSFORMS if wanted == "auto" else [name for name in TRANSFORMS if name == wanted]
    found = [TargetTransform.fit(name, y, weights) for name in names]
    return [one for one in found if np.isfinite(one.forward(y)).all()] or identity


def mean_and_spread(values: Array, weights: Array) -> tuple[float, float]:
    """Weighted mean and standard deviation, (n,) → two numbers; of any size.

    The deviation of what is constant but for rounding is 0.
    """
    # Squares of numbers beyond 1e154 are infinite. A power of 2 changes no digit.
    size = 2.0 ** float(np.frexp(np.abs(values).max())[1] - 1)
    scaled = values / size
    mean = float(np.average(scaled, weights=weights))
    spread = float(np.average((scaled - mean) ** 2, weights=weights)) ** 0.5
    return mean * size, spread * size if spread > ROUNDING else 0.0


def mean_errors(found: Array, y: Array, weights: Array | None, scoring: Scoring) -> Array:
    """Weighted mean absolute error of each target, or root of its mean squared one.

    Parameters
    ----------
    found, y : (n,) or (n, n_targets)
    weights : of the same shape, optional
        What has 0 is not read.
    scoring : {"mae", "rmse"}

    Returns
    -------
    () or (n_targets,)
        NaN where none has a weight.
    """
    known = np.ones_like(found) if weights is None else weights
    deviations = np.where(known > 0, np.abs(found - y), 0.0)
    total = known.sum(axis=0)
    losses = deviations if scoring == "mae" else deviations**2
    mean = (losses * known).sum(axis=0) / np.where(total > 0, total, math.nan)
    return np.asarray(mean if scoring == "mae" else np.sqrt(mean))


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

    y: Array
    weights: Array
    transforms: list[TargetTransform]
    minimum: float
    scoring: Scoring

    @classmethod
    def of(
        cls, y: Array, weights: Array, wanted: str, minimum: float, scoring: Scoring
    ) -> TransformedTarget:
        """With the transformations that ``target=wanted`` of a regressor means."""
        return cls(y, weights, transforms_for(wanted, y, weights), minimum, scoring)

    @property
    def values(self) -> Array:
        """What models learn, (n_rows, n_transforms)."""
        return np.column_stack([transform.forward(self.y) for transform in self.transforms])

    def error(self, found: Array, rows: Rows | slice = slice(None)) -> float:
        """Of predictions in the unit of the target, (n,), for these rows."""
        raised = np.maximum(found, self.minimum)
        return float(mean_errors(raised, self.y[rows], self.weights[rows], self.scoring))

    def errors(self, found: Array, rows: Rows) -> list[float]:
        """Of each column of transformed predictions, (n, n_transforms), for these rows."""
        columns = zip(self.transforms, found.T, strict=True)
        return [self.error(transform.backward(z), rows) for transform, z in columns]

    def first_error(self, found: Array, rows: Rows) -> float:
        """Of the first column.

        Scales of the kernel that are chosen by it suit the others as well: chosen by the least
        error of all, which is least by chance too, those of new rows were 0.5 % higher.
        """
        return self.error(self.transforms[0].backward(found[:, 0]), rows)

    def best(self, found: Array, rows: Rows) -> int:
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


def _offset(y: Array, weights: Array) -> Array:
    above = y - y.min()
    return np.array([max(OFFSET * float(np.median(above[above > 0])) - y.min(), 0.0)])


def _power(y: Array, weights: Array) -> Array:
    centre = float(np.median(y))
    unit = float(np.subtract(*np.quantile(y, [0.75, 0.25]))) or float(y.std())
    u, w = (y - centre) / unit, weights / weights.sum()
    logarithms = float(w @ (np.sign(u) * np.log1p(np.abs(u))))

    def minus_likelihood(power: float) -> float:
        z = _yeo_johnson(u, power)
        variance = float(w @ (z - w @ z) ** 2)
        return 0.5 * math.log(max(variance, LEAST)) - (power - 1) * logarithms

    found = minimize_scalar(minus_likelihood, bounds=POWERS, method="bounded")
    return np.array([centre, unit, found.x])


def _ranks(y: Array, weights: Array) -> Array:
    values, which = np.unique(y, return_inverse=True)
    counts = np.bincount(which, weights)
    # From the nearer end: 1 less a small share is 1, whose quantile is infinite.
    below, above = (
        np.maximum((np.cumsum(some) - some / 2) / counts.sum(), LEAST)
        for some in (counts, counts[::-1])
    )
    above = above[::-1]
    quantiles = np.where(below <= above, ndtri(below), -ndtri(above))
    return np.concatenate([values, quantiles])


def _yeo_johnson(u: Array, power: float) -> Array:
    size = np.abs(u)
    return np.where(u >= 0, boxcox1p(size, power), -boxcox1p(size, 2 - power))


def _inverse_yeo_johnson(z: Array, power: float) -> Array:
    """Infinite where the transformed values have a bound and ``z`` is beyond it."""
    size = np.abs(z)
    up, down = (
        np.where(p * size > -1, inv_boxcox1p(np.where(p * size > -1, size, 0.0), p), math.inf)
        for p in (power, 2 - power)
    )
    return np.where(z >= 0, up, -down)
