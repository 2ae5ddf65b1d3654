"""Kernel ridge regression on blocks of columns, and what it says of held-out training rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

Matrix = NDArray[Any]
Vector = NDArray[np.float64]
Rows = NDArray[np.int64]

FAR_OUT = 5.0
"""Standard deviations. Beyond, a column says "far out" and no more."""

SEARCH_ROWS = 1_000
"""Rows on which the scales and the penalty are chosen; more rows changed little on val."""
PENALTY_ROWS = 2_500
"""Rows on which the penalty is chosen anew, as the best one depends on their number."""

STEP = 3.0
"""Factor of one step of the search, which climbs from the start to the nearest optimum."""
PENALTIES = (1e-4, 1.0)
LEAST_GAIN = 2e-3
"""Relative. The search ends with a round that gains less."""

CHUNK = 2_000
"""Rows that are worked on at once."""
KEPT_ROWS = 8_000
"""Up to so many rows, their features are kept between two passes; of more, they are made anew."""

USUAL_TRIALS = 70
"""Of the search; how far it has come is told by them."""

_JITTER = 1e-8
"""On the diagonal of the kernel, for rows that are there twice."""

Start = tuple[Sequence[float] | Vector, float]


class ByRows(Protocol):
    """A matrix whose rows are taken when they are asked for, (n_rows, n_columns)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Matrix: ...


Judge = Callable[[Vector, Rows], float]
"""Held-out predictions of rows, (n, n_outputs), and the numbers of these rows → their error."""


@dataclass
class BlockKernelRidge:
    """Kernel ridge regression with a Matérn kernel of smoothness 3/2 and one scale a block.

    k(x, x′) = (1 + √3 r) exp(−√3 r), r² = Σ_b s_b |x_b − x′_b|² / d_b, over blocks b of d_b
    standardised columns; rows without a column are taken for average in it. Scales s_b and the
    penalty minimise the error of held-out folds, by coordinate steps. Several outputs share them,
    and with them all but the right-hand sides of the linear equations.

    Above ``max_rows`` rows, that many random ones are the basis (subset of regressors), and all
    rows are fitted with it.

    Parameters
    ----------
    max_rows : int
    seed : int
        Of the random rows.

    Attributes
    ----------
    mean, scale : (n_columns,)
        Standardised columns times their scale are (x − mean) · scale, clipped at ``limit``.
    limit : (n_columns,)
    basis : (n_basis, n_columns)
        Basis rows, so scaled.
    weights : (n_basis + 1, n_outputs)
        Of the basis rows, and a constant.
    scales : (n_blocks,)
    penalty : float

    References
    ----------
    C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning (MIT Press,
    2006), equations 4.17 and 8.14.
    """

    max_rows: int = 4_000
    seed: int = 0
    mean: Vector = field(default_factory=lambda: np.empty(0))
    scale: Vector = field(default_factory=lambda: np.empty(0))
    limit: Vector = field(default_factory=lambda: np.empty(0))
    basis: Vector = field(default_factory=lambda: np.empty((0, 0)))
    weights: Vector = field(default_factory=lambda: np.empty((0, 0)))
    scales: Vector = field(default_factory=lambda: np.empty(0))
    penalty: float = 0.0

    def fit(
        self,
        X: ByRows,
        blocks: Sequence[slice],
        targets: Vector,
        folds: Sequence[Rows],
        start: Start,
        judge: Judge,
        row_weights: Vector | None = None,
        keep_ratios: bool = False,
        tell: Callable[[float], Any] = lambda share: None,
    ) -> HeldOut:
        """Choose scales and penalty, and fit.

        Parameters
        ----------
        X : (n_rows, n_columns)
            NaN where unknown.
        blocks : sequence of slice
            Columns of each block.
        targets : (n_rows, n_outputs)
        folds : sequence of row arrays
            Every row in one of them.
        start : (scales, penalty)
            Where the search begins.
        judge : callable
            Scales and penalty are those of its least error.
        row_weights : (n_rows,), optional
            Above 0. A row of weight 2 counts as two rows.
        keep_ratios : bool
            Search for the penalty and one factor of all scales only, which is quick.
        tell : callable
            Told the share of the search that is done.

        Returns
        -------
        HeldOut
        """
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(X))
        w = np.ones(len(X)) if row_weights is None else row_weights
        self._standardise(X, w)
        offset = w @ targets / w.sum()
        spread = np.sqrt(w @ (targets - offset) ** 2 / w.sum())
        spread = np.where(spread > 0, spread, 1.0)
        standard = (targets - offset) / spread

        def sample_of(rows: Rows) -> _Sample:
            def judge_standard(found: Vector) -> float:
                return judge(found * spread + offset, rows)

            return _Sample(standard[rows], w[rows], _within(folds, rows), judge_standard)

        few = np.sort(order[:SEARCH_ROWS])
        Z = self._scaled(X[few])
        distances = [_squared_distances(Z[:, b], Z[:, b]) / _width(b) for b in blocks]
        self.scales, self.penalty = _choose(distances, sample_of(few), start, keep_ratios, tell)
        for block, scale in zip(blocks, self.scales, strict=True):
            factor = np.sqrt(scale / _width(block))
            self.scale[block] *= factor
            self.limit[block] *= factor
        if len(X) > SEARCH_ROWS:
            more = np.sort(order[:PENALTY_ROWS])
            self.penalty = _best_penalty(self._scaled(X[more]), sample_of(more), self.penalty)
        chosen = np.sort(order[: self.max_rows])
        self.basis = self._scaled(X[chosen])
        features = _BasisFeatures(self._kernel, X, chosen, self.basis, folds)
        ridge = _Ridge(features, standard, folds, self.penalty, w)
        solution = ridge.without()
        weights = solve_triangular(features.root, solution[:-1], lower=True, trans="T")
        self.weights = np.vstack([weights, solution[-1:]]) * spread
        self.weights[-1] += offset
        return HeldOut(ridge, offset, spread, features.similarity)

    def predict(self, X: Matrix) -> tuple[Vector, Vector]:
        """Predictions (n_rows, n_outputs), and the largest kernel value with any basis row."""
        values, nearest = np.empty((len(X), self.weights.shape[1])), np.empty(len(X))
        for start in range(0, len(X), CHUNK):
            part = slice(start, start + CHUNK)
            kernel = self._kernel(X[part])
            values[part] = kernel @ self.weights[:-1] + self.weights[-1]
            nearest[part] = kernel.max(axis=1)
        return values, nearest

    def sensitivity(self, X: Matrix) -> Vector:
        """Mean squared change of each prediction with each column, (n_columns, n_outputs).

        Per squared standard deviation of the column: a derivative-based global sensitivity measure
        (Sobol and Kucherenko, Math. Comput. Simul. 79, 3009 (2009),
        doi:10.1016/j.matcom.2009.01.023).
        """
        Z = self._scaled(X)
        decay = np.exp(-np.sqrt(3 * _squared_distances(Z, self.basis)))
        found = []
        for dual in self.weights[:-1].T:
            # dk/dz = −3 (z − z′) exp(−√3 r)
            slope = Z * (decay @ dual)[:, None] - decay @ (dual[:, None] * self.basis)
            # The limit is FAR_OUT standard deviations, in the units of z.
            found.append(np.mean((3 * slope * self.limit / FAR_OUT) ** 2, axis=0))
        return np.stack(found, axis=-1)

    def _standardise(self, X: ByRows, row_weights: Vector) -> None:
        total = squared = moment = np.zeros(X[:1].shape[1])
        for part, w in _known(X, row_weights):
            total, moment = total + w.sum(axis=0), moment + (part * w).sum(axis=0)
        count = np.where(total > 0, total, 1.0)
        self.mean = moment / count
        for part, w in _known(X, row_weights):
            squared = squared + ((part - self.mean) ** 2 * w).sum(axis=0)
        deviation = np.sqrt(squared / count)
        varies = deviation > 1e-6 * (1 + np.abs(self.mean))
        self.scale = np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)
        self.limit = np.where(varies, FAR_OUT, 0.0)

    def _kernel(self, X: Matrix) -> Vector:
        """Of rows with the basis rows, (n_rows, n_basis)."""
        return _matern(_squared_distances(self._scaled(X), self.basis))

    def _scaled(self, X: Matrix) -> Vector:
        Z = np.clip((X - self.mean) * self.scale, -self.limit, self.limit)
        return np.where(np.isnan(Z), 0.0, Z)


class HeldOut:
    """What a fitted kernel ridge says of its training rows without their own folds.

    Attributes
    ----------
    similarity : (n_rows,)
        Largest kernel value with any basis row of another fold.
    """

    def __init__(self, ridge: _Ridge, offset: Vector, spread: Vector, similarity: Vector) -> None:
        self.similarity = similarity
        self._found = [values * spread + offset for values in ridge.held_out()]

    def predictions(self, also: int | None = None) -> Vector:
        """Predictions of every row by all rows but those of its fold and of fold ``also``.

        Of shape (n_rows, n_outputs).
        """
        return self._found[-1 if also is None else also]


class _BasisFeatures:
    """Rows whose products are the kernel of the rows, and a constant; made in chunks.

    Those of few rows are kept.

    Attributes
    ----------
    root : (n_basis, n_basis)
        Lower Cholesky factor of the kernel of the basis.
    similarity : (n_rows,)
        Largest kernel value with a basis row of another fold, of the rows that were asked for.
    """

    def __init__(
        self,
        kernel: Callable[[Matrix], Vector],
        X: ByRows,
        chosen: Rows,
        basis: Vector,
        folds: Sequence[Rows],
    ) -> None:
        self.root = _root(_matern(_squared_distances(basis, basis)))
        self.similarity = np.zeros(len(X))
        self._kernel, self._X, self._fold = kernel, X, np.empty(len(X), dtype=np.int64)
        for k, fold in enumerate(folds):
            self._fold[fold] = k
        self._of_basis = self._fold[chosen]
        self._kept: Vector | None = None
        if len(X) <= KEPT_ROWS:
            self._kept = np.vstack([self._made(rows) for rows in _chunks(np.arange(len(X)))])

    def __len__(self) -> int:
        return len(self._X)

    def __getitem__(self, rows: Rows) -> Vector:
        return self._made(rows) if self._kept is None else self._kept[rows]

    def _made(self, rows: Rows) -> Vector:
        kernel = self._kernel(self._X[rows])
        others = self._fold[rows][:, None] != self._of_basis
        self.similarity[rows] = kernel.max(axis=1, initial=0.0, where=others)
        return _features(kernel, self.root)


class _Ridge:
    """Ridge regression of which any folds can be left out, in two passes through the rows."""

    def __init__(
        self,
        features: ByRows,
        targets: Vector,
        folds: Sequence[Rows],
        penalty: float,
        row_weights: Vector | None = None,
    ) -> None:
        self.features, self.folds = features, folds
        self._grams, self._moments = [], []
        self._n_outputs = targets.shape[1]
        root = np.sqrt(np.ones(len(targets)) if row_weights is None else row_weights)[:, None]
        for fold in folds:
            gram: Any = 0.0
            moment: Any = 0.0
            for rows in _chunks(fold):
                weighted = features[rows] * root[rows]
                gram += weighted.T @ weighted
                moment += weighted.T @ (root[rows] * targets[rows])
            self._grams.append(gram)
            self._moments.append(moment)
        self.penalty = penalty
        self._solutions: dict[frozenset[int], Vector] = {}

    def without(self, *left_out: int) -> Vector:
        """Coefficients when these folds are left out."""
        key = frozenset(left_out)
        if key not in self._solutions:
            self._solutions[key] = self._solve(key)
        return self._solutions[key]

    def _solve(self, left_out: frozenset[int]) -> Vector:
        kept = [k for k in range(len(self.folds)) if k not in left_out]
        gram = self._grams[kept[0]].copy()
        for k in kept[1:]:
            gram += self._grams[k]
        gram[np.diag_indices_from(gram)] += self.penalty
        moment = sum(self._moments[k] for k in kept)
        return cho_solve(cho_factor(gram, overwrite_a=True, check_finite=False), moment)

    def held_out(self) -> Vector:
        """Predictions of each row without its fold, (n_folds + 1, n_rows, n_outputs).

        The k-th leave out fold k as well, and the last no other.
        """
        n_folds = len(self.folds)
        found = np.empty((n_folds + 1, len(self.features), self._n_outputs))
        for k, fold in enumerate(self.folds):
            for rows in _chunks(fold):
                features = self.features[rows]
                for also in range(n_folds + 1):
                    left_out = {k, also} - {n_folds}
                    found[also, rows] = features @ self.without(*left_out)
        return found


@dataclass(frozen=True)
class _Sample:
    """Rows on which scales and penalty are judged.

    Attributes
    ----------
    targets : (n_rows, n_outputs)
        Standardised.
    weights : (n_rows,)
    folds : list of row arrays
    judge : callable
        Held-out predictions of all of them → their error.
    """

    targets: Vector
    weights: Vector
    folds: list[Rows]
    judge: Callable[[Vector], float]

    def error(self, kernel: Vector, penalty: float) -> float:
        """Error of held-out folds, from one inverse.

        With A = K + 1 + penalty / weight, the residuals of fold f are (A⁻¹)_ff⁻¹ (A⁻¹ y)_f: the
        block form of the leave-one-out formula (Rasmussen and Williams, equation 5.12).
        """
        A = kernel + 1.0
        A[np.diag_indices_from(A)] += penalty / self.weights
        inverse = np.linalg.inv(A)
        fitted = inverse @ self.targets
        found = self.targets.copy()
        for f in self.folds:
            found[f] -= np.linalg.solve(inverse[np.ix_(f, f)], fitted[f])
        return self.judge(found)


def _choose(
    distances: Sequence[Vector],
    sample: _Sample,
    start: Start,
    keep_ratios: bool,
    tell: Callable[[float], Any],
) -> tuple[Vector, float]:
    """Scales and penalty, by a search of all of them or of one factor of the scales."""
    scales, penalty = np.array(start[0], dtype=np.float64), start[1]
    if not keep_ratios:
        return _search(distances, sample, (scales, penalty), tell)
    whole = np.zeros_like(distances[0])
    for scale, squared in zip(scales, distances, strict=True):
        whole += scale * squared
    factor, penalty = _search([whole], sample, ([1.0], penalty), tell)
    return scales * factor[0], penalty


def _search(
    distances: Sequence[Vector], sample: _Sample, start: Start, tell: Callable[[float], Any]
) -> tuple[Vector, float]:
    """Scales and penalty with the least held-out error, by steps up and down each of them."""
    n, n_trials = len(distances), itertools.count(1)
    moves = [np.append(np.ones(n), 0.0), *np.roll(np.eye(n + 1), 1, axis=0)]

    def error(at: Vector) -> float:
        scaled = sum(np.exp(s) * d for s, d in zip(at[:-1], distances, strict=True))
        tell(min(next(n_trials) / USUAL_TRIALS, 1.0))
        return sample.error(_matern(scaled), float(np.exp(at[-1])))

    scales, penalty = start
    point = np.log(np.append(scales, penalty))
    best = error(point)
    while True:
        before = best
        for move in moves:
            for direction in (move, -move):
                stepped = False
                while True:
                    trial = point + np.log(STEP) * direction
                    if not PENALTIES[0] <= np.exp(trial[-1]) <= PENALTIES[1]:
                        break
                    found = error(trial)
                    if not found < best * (1 - 1e-4):  # nor if it is NaN
                        break
                    best, point, stepped = found, trial, True
                if stepped:
                    break
        if not best < before * (1 - LEAST_GAIN):
            return np.exp(point[:-1]), float(np.exp(point[-1]))


def _best_penalty(Z: Vector, sample: _Sample, penalty: float) -> float:
    kernel = _matern(_squared_distances(Z, Z))
    candidates = [penalty * factor for factor in (1 / STEP, 1.0, STEP, STEP**2)]
    return min(candidates, key=lambda p: sample.error(kernel, p))


def _root(kernel: Vector) -> Any:
    """Lower Cholesky factor, (n_basis, n_basis)."""
    return np.linalg.cholesky(kernel + _JITTER * np.eye(len(kernel)))


def _features(kernel: Vector, root: Vector) -> Vector:
    """Rows whose products are the kernel of the rows, and a constant; (n_rows, n_basis + 1)."""
    features = solve_triangular(root, kernel.T, lower=True, check_finite=False).T
    return np.hstack([features, np.ones((len(features), 1))])


def _chunks(rows: Rows) -> Iterator[Rows]:
    """Rows in their order, up to :data:`CHUNK` at once."""
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]


def _known(X: ByRows, row_weights: Vector) -> Iterator[tuple[Vector, Vector]]:
    """Chunks of a matrix and the weights of its values, 0 both where one is NaN."""
    for rows in _chunks(np.arange(len(X))):
        part = X[rows].astype(np.float64)
        unknown = np.isnan(part)
        yield np.where(unknown, 0.0, part), np.where(unknown, 0.0, row_weights[rows, None])


def _within(folds: Sequence[Rows], rows: Rows) -> list[Rows]:
    """The folds of a subset, as positions in ``rows`` (ascending)."""
    parts = [np.searchsorted(rows, fold[np.isin(fold, rows)]) for fold in folds]
    return [part for part in parts if len(part)]


def _width(block: slice) -> int:
    return max(block.stop - block.start, 1)


def _matern(squared_distances: Vector) -> Vector:
    r = np.sqrt(3 * squared_distances)
    return (1 + r) * np.exp(-r)


def _squared_distances(A: Vector, B: Vector) -> Vector:
    squared = (A * A).sum(1)[:, None] + (B * B).sum(1) - 2 * A @ B.T
    return squared.clip(0, out=squared)
