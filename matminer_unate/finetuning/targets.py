"""Targets of fine-tuning, whatever their unit ↔ numbers of order one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.targets import target_floor

Array = NDArray[np.float64]

ROUNDING = 1e-14
"""Spread over size of targets below which they are one number, rounded."""


@dataclass(frozen=True)
class TargetScale:
    """Mean, spread and least value of each target, in its unit; kept in double precision.

    Attributes
    ----------
    mean, spread, minimum : (n_targets,) float64
        A spread of 0 is that of a constant; minus infinity is no minimum.
    names : tuple of str
        For messages and tables.
    """

    mean: Array
    spread: Array
    minimum: Array
    names: tuple[str, ...]

    def standardise(self, values: Array) -> Array:
        """Targets, (n, n_targets) → of mean 0 and deviation 1."""
        scaled: Array = (values - self.mean) / np.where(self.spread > 0, self.spread, 1.0)
        return scaled

    def restore(self, values: Array) -> Array:
        """Standardised predictions, (n, n_targets) → in their unit, from the minimum on."""
        restored: Array = np.maximum(values * self.spread + self.mean, self.minimum)
        return restored

    def lowest(self) -> float | tuple[float, ...]:
        """The minimum among standardised targets; a single number where there is one target."""
        bounded = np.isfinite(self.minimum)
        least = self.standardise(np.where(bounded, self.minimum, 0.0)[None])[0]
        found = tuple(np.where(bounded, least, -math.inf).tolist())
        return found if len(found) > 1 else found[0]


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
        A target is below the minimum, or that is no minimum.
    """
    found = []
    for column, weight in zip(values.T, _columns(weights, values), strict=True):
        known = np.isfinite(column)
        column, weight = column[known], weight[known]
        # Squares of numbers beyond 1e154 are infinite.
        size = float(np.abs(column).max()) or 1.0
        mean = float(np.average(column / size, weights=weight))
        spread = float(np.average((column / size - mean) ** 2, weights=weight)) ** 0.5
        spread = spread if spread > ROUNDING else 0.0
        found.append((mean * size, spread * size, target_floor(minimum, column)))
    table = np.array(found)
    usual = ["target"] if len(found) == 1 else [f"target {k}" for k in range(len(found))]
    return TargetScale(table[:, 0], table[:, 1], table[:, 2], tuple(names or usual))


def errors_of_medians(
    values: Array, weights: Array | None, splits: Sequence[tuple[Any, Any]]
) -> tuple[Array, NDArray[np.int64]]:
    """What the medians of the training rows make of the held-out rows.

    Parameters
    ----------
    values : (n_rows, n_targets)
    weights : (n_rows, n_targets), optional
    splits : sequence of (training rows, held-out rows)

    Returns
    -------
    errors : (n_targets,)
        Mean over the splits of the weighted mean absolute error; NaN without held-out rows.
    counts : (n_targets,)
        Held-out rows whose target is known.
    """
    errors = np.full((len(splits), values.shape[1]), math.nan)
    counts = np.zeros(values.shape[1], np.int64)
    for k, (column, weight) in enumerate(zip(values.T, _columns(weights, values), strict=True)):
        for split, (rows, held_out) in enumerate(splits):
            learned, rest = (part[np.isfinite(column[part])] for part in (rows, held_out))
            counts[k] += len(rest)
            if len(rest) and len(learned):
                away = np.abs(column[rest] - np.median(column[learned]))
                errors[split, k] = np.average(away, weights=weight[rest])
    return mean_of_known(errors), counts


def mean_of_known(values: Array) -> Array:
    """Mean of each column over what is not NaN; NaN where all is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean: Array = total / np.where(known.any(axis=0), known.sum(axis=0), math.nan)
    return mean


def _columns(weights: Array | None, values: Array) -> Array:
    return (np.ones_like(values) if weights is None else weights).T
