"""Targets of fine-tuning, whatever their unit ↔ numbers of order one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.target_floors import target_floor
from matminer_unate.transforms import Scoring, TargetTransform, mean_and_spread, mean_errors

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class TargetScale:
    """What becomes of each target before it is learned; kept in double precision.

    Attributes
    ----------
    transforms : tuple of TargetTransform
    mean, spread : (n_targets,) float64
        Of the transformed targets. A spread of 0 is that of a constant.
    unit : (n_targets,) float64
        Spread of the targets themselves, in which errors are told.
    minimum : (n_targets,) float64
        In the unit of the target; minus infinity is no minimum.
    names : tuple of str
        For messages and tables.
    """

    transforms: tuple[TargetTransform, ...]
    mean: Array
    spread: Array
    unit: Array
    minimum: Array
    names: tuple[str, ...]

    def standardise(self, values: Array) -> Array:
        """Targets, (n, n_targets) → transformed, of mean 0 and deviation 1; a constant is 0."""
        pairs = zip(self.transforms, values.T, strict=True)
        z = np.column_stack([transform.forward(column) for transform, column in pairs])
        scaled: Array = (z - self.mean) / _or_one(self.spread) * (self.spread > 0)
        return scaled

    def restore(self, values: Array) -> Array:
        """Standardised predictions, (n, n_targets) → in their unit, from the minimum on."""
        pairs = zip(self.transforms, (values * self.spread + self.mean).T, strict=True)
        y = np.column_stack([transform.backward(column) for transform, column in pairs])
        restored: Array = np.maximum(y, self.minimum)
        return restored

    def errors(self, found: Array, values: Array, weights: Array | None, scoring: Scoring) -> Array:
        """Errors of standardised predictions in spreads of the targets themselves, (n_targets,).

        Parameters
        ----------
        found : (n, n_targets)
        values : (n, n_targets)
            Targets, in their unit.
        weights, scoring
            As for :func:`~matminer_unate.transforms.mean_errors`.
        """
        unit = _or_one(self.unit)
        return mean_errors(self.restore(found) / unit, values / unit, weights, scoring)

    def judge(
        self, values: Array, weights: Array | None, scoring: Scoring
    ) -> Callable[[Array, NDArray[np.int64]], Array]:
        """What :meth:`errors` says of predictions, (n,) or (n, n_targets), of some of the rows."""

        def judged(found: Array, rows: NDArray[np.int64]) -> Array:
            known = None if weights is None else weights[rows]
            return self.errors(found.reshape(len(rows), -1), values[rows], known, scoring)

        return judged

    def lowest(self, values: Array) -> float | tuple[float, ...]:
        """The minimum among standardised targets; a single number where there is one target.

        Minus infinity where no target, of (n, n_targets), is that low, as it makes no difference.
        """
        reached = np.nanmin(values, axis=0) <= self.minimum
        least = self.standardise(np.where(reached, self.minimum, np.nanmin(values, axis=0))[None])
        found = tuple(np.where(reached, least[0], -math.inf).tolist())
        return found if len(found) > 1 else found[0]


@dataclass(frozen=True)
class LearnedTargets:
    """Targets of the rows that are learned from.

    Attributes
    ----------
    values : (n_rows, n_targets)
        In their unit; NaN where one is not known.
    weights : (n_rows, n_targets) or None
        As :func:`target_weights` returns them.
    scale : TargetScale
    """

    values: Array
    weights: Array | None
    scale: TargetScale

    def transformed(self, transforms: Sequence[TargetTransform]) -> LearnedTargets:
        """The same targets, in other transformations."""
        pairs = zip(transforms, self.values.T, strict=True)
        z = np.column_stack([transform.forward(column) for transform, column in pairs])
        mean, spread = _mean_and_spread(z, self.weights)
        scale = replace(self.scale, transforms=tuple(transforms), mean=mean, spread=spread)
        return replace(self, scale=scale)

    def standardised(self) -> tuple[Array, Array | None]:
        """What a network learns, and the weights; (n_rows,) where there is one target."""
        y, weights = self.scale.standardise(self.values), self.weights
        if y.shape[1] > 1:
            return y, weights
        return y[:, 0], None if weights is None else weights[:, 0]


def target_weights(values: Array, weights: Array | None) -> Array | None:
    """Weight of every target of every row, (n_rows, n_targets), each target's 1 on average.

    None where all are 1.

    Raises
    ------
    InputError
        Of a target fewer than two values are known.
    """
    known = np.isfinite(values)
    if (known.sum(axis=0) < 2).any():
        column = int(np.argmin(known.sum(axis=0)))
        raise InputError(
            f"column {column} of the targets has {known[:, column].sum()} values in the rows that "
            "are trained on; it needs at least two"
        )
    if weights is None and known.all():
        return None
    of_rows = np.ones(len(values)) if weights is None else weights / weights.max()
    found = known * of_rows[:, None]
    scaled: Array = found / found.mean(axis=0)
    return scaled


def scale_of(
    values: Array, weights: Array | None, minimum: Any, names: Sequence[str] | None = None
) -> TargetScale:
    """Weighted mean and deviation of the targets, and their minimum as ``minimum`` says.

    Targets without names get some.

    Raises
    ------
    InputError
        ``minimum`` is none.
    """
    mean, spread = _mean_and_spread(values, weights)
    floors = [target_floor(minimum, column[np.isfinite(column)]) for column in values.T]
    usual = ["target"] if len(floors) == 1 else [f"target {k}" for k in range(len(floors))]
    transforms = (TargetTransform.identity(),) * len(floors)
    return TargetScale(transforms, mean, spread, spread, np.array(floors), tuple(names or usual))


def errors_of_constants(
    values: Array, weights: Array | None, splits: Sequence[tuple[Any, Any]], scoring: Scoring
) -> tuple[Array, NDArray[np.int64]]:
    """What medians of the training rows, or means for squared errors, make of the held-out rows.

    Parameters
    ----------
    values : (n_rows, n_targets)
    weights : (n_rows, n_targets), optional
    splits : sequence of (training rows, held-out rows)
    scoring : {"mae", "rmse"}

    Returns
    -------
    errors : (n_targets,)
        Mean over the splits; NaN without held-out rows.
    counts : (n_targets,)
        Held-out rows whose target is known.
    """
    errors = np.full((len(splits), values.shape[1]), math.nan)
    counts = np.zeros(values.shape[1], np.int64)
    constant = np.median if scoring == "mae" else np.mean
    for k, (column, weight) in enumerate(zip(values.T, _columns(weights, values), strict=True)):
        for split, (rows, held_out) in enumerate(splits):
            learned, rest = (part[np.isfinite(column[part])] for part in (rows, held_out))
            counts[k] += len(rest)
            if len(rest) and len(learned):
                found = np.full(len(rest), constant(column[learned]))
                errors[split, k] = mean_errors(found, column[rest], weight[rest], scoring)
    return mean_of_known(errors), counts


def mean_of_known(values: Array) -> Array:
    """Mean of each column over what is not NaN; NaN where all is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean: Array = total / np.where(known.any(axis=0), known.sum(axis=0), math.nan)
    return mean


def _mean_and_spread(values: Array, weights: Array | None) -> tuple[Array, Array]:
    """Of each column, NaN left out, (n_targets,)."""
    found = []
    for column, weight in zip(values.T, _columns(weights, values), strict=True):
        known = np.isfinite(column)
        found.append(mean_and_spread(column[known], weight[known]))
    means, spreads = np.array(found).T
    return means, spreads


def _or_one(spread: Array) -> Array:
    return np.where(spread > 0, spread, 1.0)


def _columns(weights: Array | None, values: Array) -> Array:
    return (np.ones_like(values) if weights is None else weights).T
