"""Is one model better than another? Errors on the same rows → changes with intervals.

Two sources of chance are kept apart. Over crystals: :func:`bootstrap_change` draws whole formulas
anew, because polymorphs of one formula err alike. Over trainings: :func:`paired_change` compares
runs that share subset and seed, and asks how far the mean of their log-ratios is from zero. Several
models against one reference are several chances to be lucky, which :func:`holm` pays for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from matminer_unate.errors import InputError

Errors = NDArray[np.float64]
"""Absolute errors of test rows, or mean absolute errors of runs."""

N_DRAWS = 10_000


class Change(NamedTuple):
    """Change of an error against a reference, in percent, with its 95 % interval."""

    percent: float
    low: float
    high: float


class PairedChange(NamedTuple):
    """Change over paired runs, in percent, with its 95 % interval and two-sided p-value."""

    percent: float
    low: float
    high: float
    p: float
    n: int


def resample_formulas(
    formulas: NDArray[Any] | Sequence[str], n_draws: int = N_DRAWS, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Draw formulas with replacement, for :func:`bootstrap_change`.

    Parameters
    ----------
    formulas : (n_rows,)
        Reduced formula of each test row.
    n_draws, seed : int

    Returns
    -------
    codes : (n_rows,) int64
        Formula number of each row.
    counts : (n_draws, n_formulas) float32
        How often each formula is drawn in each resample.
    """
    codes, names = pd.factorize(np.asarray(formulas))
    return codes, resampled(len(names), n_draws, seed).astype(np.float32)


def resampled(n: int, n_draws: int, seed: int = 0) -> NDArray[np.float64]:
    """How often each of n samples is drawn in each bootstrap resample, (n_draws, n)."""
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_draws)
    return counts.astype(np.float64)


def bootstrap_change(
    errors: Errors,
    reference: Errors,
    codes: NDArray[np.int64],
    counts: NDArray[np.float32],
) -> Change:
    """Change of the mean error against a reference, with its interval over resampled formulas.

    Parameters
    ----------
    errors, reference : (n_rows,)
        Absolute errors of both models on the same rows; of several trainings, their means.
    codes, counts
        From :func:`resample_formulas`.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3: the percentile
    interval. Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x: resampling clusters.
    """
    ours, theirs = (np.bincount(codes, weights=w) for w in (errors, reference))
    low, high = np.quantile((counts @ ours) / (counts @ theirs), [0.025, 0.975])
    mean = ours.sum() / theirs.sum()
    return Change(100 * (mean - 1), 100 * (low - 1), 100 * (high - 1))


def paired_change(
    errors: Errors | Sequence[float], reference: Errors | Sequence[float]
) -> PairedChange:
    """Change of the mean absolute error over runs paired by subset and seed.

    The t-interval is that of the mean log-ratio ln(MAE / MAE of the reference), turned back into
    percent: ratios of errors are nearer to normal on the logarithmic scale, and a pair shares its
    subset, which is most of the scatter.

    Parameters
    ----------
    errors, reference : (n_runs,)
        Positive mean absolute errors; entry k of both is of the same subset and seed.

    Returns
    -------
    PairedChange
        Interval and p-value are NaN for a single pair.

    Raises
    ------
    InputError
        The lengths differ, there are no runs, or an error is not positive.
    """
    ours, theirs = (np.asarray(e, dtype=np.float64) for e in (errors, reference))
    if ours.ndim != 1 or ours.shape != theirs.shape or not len(ours):
        raise InputError(
            f"runs must come in pairs, got errors of shapes {ours.shape} and {theirs.shape}"
        )
    if not ((ours > 0) & (theirs > 0)).all():
        raise InputError("mean absolute errors must be positive numbers to have a log-ratio")
    ratios = np.log(ours / theirs)
    mean, n = float(ratios.mean()), len(ratios)
    if n == 1:
        low, high, p = math.nan, math.nan, math.nan
    elif ratios.std() > 0:
        test = ttest_1samp(ratios, 0.0)
        (low, high), p = test.confidence_interval(), float(test.pvalue)
    else:
        low, high, p = mean, mean, float(mean == 0)
    percent, low, high = (100 * math.expm1(v) for v in (mean, low, high))
    return PairedChange(percent, low, high, p, n)


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values corrected for asking several questions at once; NaN stays and does not count.

    Parameters
    ----------
    p_values : (n,)

    Returns
    -------
    (n,)
        Reject where it is below the level, and the chance of any false rejection is bounded by it.

    References
    ----------
    Holm 1979, https://www.jstor.org/stable/4615733: the k-th smallest of n is multiplied by
    n − k + 1, and no corrected value is smaller than one before it.
    """
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.maximum.accumulate(p[order] * factors).clip(max=1.0)
    return corrected
