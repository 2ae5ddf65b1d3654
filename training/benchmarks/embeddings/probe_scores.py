"""Scores of probes with their uncertainty: ridge, classifiers and purity of neighbourhoods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold, KFold
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from harness.comparisons import resampled

Floats = NDArray[np.float64]

PENALTIES = np.logspace(-1, 5, 13)
N_DRAWS = 1_000
N_NEIGHBOURS = 5

Score = dict[str, float]
"""``value`` with its 95 % interval ``low`` to ``high``, and ``sd`` over repeats."""

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)),
    "5-NN": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(N_NEIGHBOURS)),
}


def ridge(**options: Any) -> Any:
    """Ridge regression on standardised columns, its penalty chosen inside."""
    return make_pipeline(StandardScaler(), RidgeCV(PENALTIES, **options))


def cross_validate(
    tables: Sequence[Floats], y: NDArray[Any], make: Callable[[], Any], n_folds: int = 5
) -> NDArray[Any]:
    """Out-of-fold predictions of repeated K-fold cross-validation, (n_repeats, n).

    Parameters
    ----------
    tables : sequence of (n, d)
        What to predict from in each repeat; the folds are drawn anew in each.
    y : (n,)
    make : callable
        Makes a new estimator.
    """
    found = np.empty((len(tables), len(y)), dtype=y.dtype)
    for seed, X in enumerate(tables):
        for train, test in KFold(n_folds, shuffle=True, random_state=seed).split(X):
            found[seed, test] = make().fit(X[train], y[train]).predict(X[test])
    return found


def repeated_scores(y: Floats, predictions: Floats) -> dict[str, Score]:
    """R² and mean absolute error of repeated out-of-fold predictions.

    Value and ``sd`` are over the repeats; the interval is of the mean over repeats, with the
    samples drawn anew (bootstrap): with 85 elements the choice of elements matters more than the
    folds.

    Parameters
    ----------
    y : (n,)
    predictions : (n_repeats, n)
    """
    error = y - predictions
    weights = resampled(len(y), N_DRAWS)
    total = weights @ y**2 - (weights @ y) ** 2 / len(y)
    r2 = 1 - np.square(error).sum(1) / np.square(y - y.mean()).sum()
    drawn_r2 = 1 - weights @ np.square(error).mean(0) / total
    mae = np.abs(error).mean(1)
    drawn_mae = weights @ np.abs(error).mean(0) / len(y)
    return {"R2": interval(r2, drawn_r2), "MAE": interval(mae, drawn_mae)}


def repeated_accuracy(y: NDArray[Any], predictions: NDArray[Any]) -> Score:
    """Accuracy of repeated out-of-fold predictions, as :func:`repeated_scores`."""
    hit = predictions == y
    return interval(hit.mean(1), resampled(len(y), N_DRAWS) @ hit.mean(0) / len(y))


def interval(repeats: Floats, draws: Floats) -> Score:
    """Mean and standard deviation of the repeats, 95 % interval of the draws."""
    low, high = np.nanquantile(draws, [0.025, 0.975])
    sd = repeats.std(ddof=1) if len(repeats) > 1 else np.nan
    return {"value": repeats.mean(), "low": low, "high": high, "sd": sd}


def ridge_on_sites(
    X: tuple[Floats, Floats],
    y: tuple[Floats, Floats],
    formulas: tuple[NDArray[np.object_], NDArray[np.object_]],
) -> dict[str, Score]:
    """R² and mean absolute error of ridge on held-out sites, intervals over resampled formulas.

    Parameters
    ----------
    X, y, formulas : pair of arrays
        (n_sites, d), (n_sites,) and (n_sites,), each to fit on and to score on. The penalty is
        chosen by five folds of formulas.
    """
    folds = list(GroupKFold(5).split(X[0], groups=formulas[0]))
    predicted = ridge(cv=folds).fit(X[0], y[0]).predict(X[1])
    # Sums of each formula are all that a resample of formulas needs.
    codes, names = pd.factorize(formulas[1])
    truth, error = y[1] - y[1].mean(), y[1] - predicted
    columns = (np.ones_like(truth), truth, truth**2, error**2, np.abs(error))
    sums = np.stack([np.bincount(codes, weights=c) for c in columns], axis=1)

    def scores(s: Floats) -> tuple[Floats, Floats]:
        n, first, second, squared, absolute = s.T
        spread = second - first**2 / n
        # A resample of one formula only has no spread to explain.
        spread[spread < 1e-9 * second] = np.nan
        return 1 - squared / spread, absolute / n

    values, draws = (
        scores(sums.sum(0, keepdims=True)),
        scores(resampled(len(names), N_DRAWS) @ sums),
    )
    return {m: interval(v, d) for m, v, d in zip(("R2", "MAE"), values, draws, strict=True)}


def purity(X: Floats, labels: NDArray[Any], elements: NDArray[np.int64]) -> float:
    """How many of the five nearest neighbours bear the same label.

    A mean over all samples that could have such a neighbour, each as a share of what it could have
    at most, so that 1 is perfect for small classes too. Neighbours are those of other elements: a
    site's nearest ones are other sites of its own element in any space that knows the species.

    Parameters
    ----------
    X : (n, d)
        Distances are Euclidean, between standardised columns.
    labels : (n,)
    elements : (n,)
        Atomic numbers.
    """
    X = StandardScaler().fit_transform(X)
    share = []
    for z in np.unique(elements):
        own = np.flatnonzero(elements == z)
        other = np.flatnonzero(elements != z)
        possible = min(N_NEIGHBOURS, int((labels[other] == labels[own[0]]).sum()))
        if possible == 0:
            continue
        search = NearestNeighbors(n_neighbors=min(N_NEIGHBOURS, len(other))).fit(X[other])
        nearest = other[search.kneighbors(X[own], return_distance=False)]
        share.append((labels[nearest] == labels[own[0]]).sum(1) / possible)
    return float(np.concatenate(share).mean()) if share else float("nan")
