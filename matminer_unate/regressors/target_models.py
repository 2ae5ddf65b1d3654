"""Columns and targets → fitted models: one a target, and one more for rows that lack a block."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from matminer_unate.regressors.blend import QUICK, BlendedModel, combine_importances, fit_blend
from matminer_unate.regressors.error_bars import ConformalScale
from matminer_unate.regressors.kernel_ridge import (
    PENALTIES,
    BlockKernelRidge,
    ByRows,
    Matrix,
    Rows,
    Start,
    Vector,
)
from matminer_unate.regressors.network_expert import NetworkExpert
from matminer_unate.regressors.recipe import FINGERPRINT, OPTIONAL, TIGHT_BINDING, is_wide
from matminer_unate.regressors.transformed_target import Scoring, TransformedTarget, mean_error

Blocks = frozenset[str]
"""Names of blocks that a model does without, or that a row lacks."""

NONE: Blocks = frozenset()

START_SCALES = {
    "composition and cell": 0.02,
    "sites": 0.07,
    "tight binding": 0.2,
    FINGERPRINT: 0.02,
}
START_LEARNED_SCALE = 0.2
"""Shared by all weights."""
START_PENALTY = 0.003
"""Where the search for the kernel's scales begins: what was typical on the val rows of gaps, bulk
moduli and formation energies."""

LEAST_GROUPS = 3
"""Of formulas: one to predict, one to leave out and one to learn from."""

LEAST_COMPLETE = 0.5
"""Share of the training rows that must have all blocks, or those that most lack are left out."""

SENSITIVITY_ROWS = 300

PREDICTED_ROWS = 10_000
"""Rows that a model predicts at once."""

Tell = Callable[[float], Any]
Tells = tuple[Tell, Tell]
"""Of kernel ridge, and of the trees."""


@dataclass(frozen=True)
class BlockLayout:
    """Where the columns of each block are.

    Attributes
    ----------
    widths : dict of str to int
        Columns of each block; those that the trees learn from come first.
    """

    widths: dict[str, int]

    def kept(self, without: Blocks = NONE) -> NDArray[np.bool_]:
        """Columns that are in none of these blocks, (n_columns,)."""
        return np.repeat([b not in without for b in self.widths], list(self.widths.values()))

    def of(self, columns: Matrix, without: Blocks = NONE) -> Matrix:
        """The kept ones of columns, (n_rows, n_kept)."""
        return columns[:, self.kept(without)] if without else columns

    def slices(self, without: Blocks = NONE) -> list[slice]:
        """Of the blocks among the columns that are kept."""
        widths = [width for block, width in self.widths.items() if block not in without]
        ends = np.cumsum(widths)
        return [slice(int(e - w), int(e)) for e, w in zip(ends, widths, strict=True)]

    def n_tree_columns(self, without: Blocks = NONE) -> int:
        """How many of the kept columns, from the first, the trees learn from."""
        return sum(w for b, w in self.widths.items() if b not in without and not is_wide(b))

    def electrons(self, columns: Matrix) -> NDArray[np.float32] | None:
        """The tight-binding ones of columns, which a network reads too; None without them."""
        if TIGHT_BINDING not in self.widths:
            return None
        of_block = dict(zip(self.widths, self.slices(), strict=True))
        return columns[:, of_block[TIGHT_BINDING]].astype(np.float32)

    def lacking(self, columns: Matrix) -> list[Blocks]:
        """Blocks that each row lacks: those of which a column is NaN."""
        each = [np.isnan(columns[:, part]).any(axis=1).tolist() for part in self.slices()]
        rows = zip(*each, strict=True)
        return [frozenset(itertools.compress(self.widths, row)) for row in rows]

    def variants(self) -> list[Blocks]:
        """What the models do without, beside the one with all blocks."""
        return [frozenset([block]) for block in self.widths if block in OPTIONAL]

    def start(self) -> tuple[list[float], float]:
        """Scales of all blocks, and penalty, to begin with."""
        learned = START_LEARNED_SCALE / sum(b not in START_SCALES for b in self.widths)
        return [START_SCALES.get(block, learned) for block in self.widths], START_PENALTY


@dataclass(frozen=True)
class SomeColumns:
    """Some rows and columns of a table; nothing is copied but the rows that are asked for.

    Attributes
    ----------
    table : (n_table_rows, n_table_columns)
    rows : row array or None
        Of the table; all by None.
    kept : (n_table_columns,) bool
    """

    table: Matrix
    rows: Rows | None
    kept: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.table) if self.rows is None else len(self.rows)

    def __getitem__(self, rows: Any) -> Matrix:
        found = self.table[rows if self.rows is None else self.rows[rows]]
        return found if self.kept.all() else found[:, self.kept]

    def first(self, n: int) -> Matrix:
        """The first of the kept columns, of all rows, (n_rows, n)."""
        columns: Any = np.flatnonzero(self.kept)[:n]
        if n and columns[-1] == n - 1:
            columns = slice(n)
        found = self.table[:, columns]
        return found if self.rows is None else found[self.rows]


@dataclass(frozen=True)
class TrainingRows:
    """What a model learns from.

    Attributes
    ----------
    table : (n_table_rows, n_columns)
        NaN where a row lacks a block.
    targets : (n_rows,), or (n_rows, n_targets)
    weights : (n_rows,)
        Above 0, with a mean of 1.
    folds : list of row arrays
    structures : list
        For a network; empty where there is none.
    of_table : row array or None
        Which rows of the table these are, which is shared with other rows; all by None.
    """

    table: Matrix
    targets: Vector
    weights: Vector
    folds: list[Rows]
    structures: Sequence[Any] = ()
    of_table: Rows | None = None

    def columns(self, layout: BlockLayout, without: Blocks = NONE) -> SomeColumns:
        """All columns but those of some blocks."""
        return SomeColumns(self.table, self.of_table, layout.kept(without))

    def of_target(self, k: int, known: Rows) -> TrainingRows:
        """One of several targets, and the rows where it is known."""
        one = replace(self, targets=self.targets[:, k])
        return one if len(known) == len(self.targets) else one.part(known)

    def part(self, rows: Rows) -> TrainingRows:
        """Some of the rows, ascending, in the same folds; those left empty are dropped."""
        folds = [np.searchsorted(rows, fold[np.isin(fold, rows)]) for fold in self.folds]
        weights = self.weights[rows]
        return TrainingRows(
            self.table,
            self.targets[rows],
            weights / weights.mean(),
            [fold for fold in folds if len(fold)],
            [self.structures[row] for row in rows] if len(self.structures) else (),
            rows if self.of_table is None else self.of_table[rows],
        )


@dataclass(frozen=True)
class FitOptions:
    """How models are fitted; as the parameters of the estimators."""

    n_folds: int
    max_kernel_rows: int
    n_jobs: int | None
    seed: int
    ignore_errors: bool


@dataclass(frozen=True)
class RegressionOptions(FitOptions):
    """And as those of ``UnateRegressor``."""

    target: str
    scoring: Scoring
    minimum: Any
    device: str
    network_weights: str | Path | None
    """What a network begins from; None for no network."""


@dataclass
class FittedModel:
    """Kernel ridge, trees and error bars: one target, from all blocks but some.

    Attributes
    ----------
    without : frozenset of str
        Blocks that the model does not see.
    kernel : BlockKernelRidge
    blend : BlendedModel
    scale : ConformalScale
    held_out_error : float
        Of its held-out training rows.
    network : NetworkExpert or None
    """

    without: Blocks
    kernel: BlockKernelRidge
    blend: BlendedModel
    scale: ConformalScale
    held_out_error: float = math.nan
    network: NetworkExpert | None = None

    @classmethod
    def fit(
        cls,
        rows: TrainingRows,
        layout: BlockLayout,
        without: Blocks,
        minimum: float,
        options: RegressionOptions,
        like: FittedModel | None = None,
        tell: Tells = (lambda share: None, lambda share: None),
        tell_network: Tell = lambda share: None,
    ) -> tuple[FittedModel, Vector]:
        """Fit to columns of all blocks.

        Parameters
        ----------
        rows : TrainingRows
        layout : BlockLayout
        without : frozenset of str
        minimum : float
        options : RegressionOptions
        like : FittedModel, optional
            A model that sees more. Its scales are taken over up to a factor, and the fit is quick:
            fewer trees, fewer basis rows.
        tell : pair of callables
            Told the shares of kernel ridge and of the trees that are done.
        tell_network : callable
            The same of the network.

        Returns
        -------
        model : FittedModel
        held_out : (n_rows,)
            Predictions of the rows by models that have not seen their folds.
        """
        quick, seed, y = like is not None, options.seed, rows.targets
        target = TransformedTarget.of(y, rows.weights, options.target, minimum, options.scoring)
        columns, n_trees = rows.columns(layout, without), layout.n_tree_columns(without)
        kernel = BlockKernelRidge(options.max_kernel_rows // (QUICK if quick else 1) or 1, seed)
        start = search_start(layout, without, like)
        given = target.values, rows.folds, start, target.first_error, rows.weights, quick, tell[0]
        held_out = kernel.fit(columns, layout.slices(without), *given)
        network = None

        def fit_network(outputs: list[int]) -> Vector:
            nonlocal network
            network, found = NetworkExpert.fit(
                rows.structures,
                layout.electrons(rows.columns(layout)[:]),
                target,
                outputs,
                rows.folds,
                options.network_weights or "",
                options.device,
                seed,
                tell_network,
            )
            return found

        wanted = options.network_weights is not None and not quick and len(rows.structures)
        how = options.n_jobs, seed, quick, tell[1], fit_network if wanted else None
        blend, parts, raw = fit_blend(columns.first(n_trees), held_out, target, rows.folds, *how)
        known = raw, blend.opinions(parts), held_out.similarity, y, rows.folds, minimum
        scale = ConformalScale.fit(*known, seed, rows.weights)
        model = cls(without, kernel, blend, scale, target.error(raw), network)
        return model, np.maximum(raw, minimum)

    def predict(
        self,
        columns: Matrix,
        layout: BlockLayout,
        minimum: float,
        structures: Sequence[Any] = (),
        device: str = "auto",
    ) -> tuple[Vector, Vector]:
        """Predictions and the size of their errors from columns of all blocks, (n_rows,) each.

        A network reads the structures too.
        """
        electrons = layout.electrons(columns)
        columns = layout.of(columns, self.without)
        kernel, similarity = self.kernel.predict(columns)
        parts = self.blend.parts(columns[:, : layout.n_tree_columns(self.without)], kernel)
        if self.network is not None:
            given = structures, electrons, self.blend.transforms, self.blend.outputs, device
            parts = np.column_stack([parts, self.network.predict(*given)])
        raw, opinions = parts @ self.blend.shares, self.blend.opinions(parts)
        size = self.scale.predict(raw, opinions, similarity, minimum)
        return np.maximum(raw, minimum), size

    def importances(self, columns: ByRows, layout: BlockLayout, seed: int) -> Vector:
        """Of all columns, (n_columns,); 0 for those it does not see."""
        return importances_of(self, columns, layout, seed, partial(combine_importances, self.blend))


class Fitted(Protocol):
    """A model of the blocks that are not in ``without``."""

    without: Blocks
    kernel: BlockKernelRidge
    held_out_error: float

    def importances(self, columns: ByRows, layout: BlockLayout, seed: int) -> Vector: ...


def importances_of(
    model: Fitted,
    columns: ByRows,
    layout: BlockLayout,
    seed: int,
    combine: Callable[[Vector, int], Vector],
) -> Vector:
    """Importances of all columns, (n_columns,); 0 for those that a model does not see.

    ``combine`` is given the kernel's sensitivity to each column it sees, and how many of these the
    trees see, and returns the importances of these columns.
    """
    kept = layout.kept(model.without)
    few = np.random.default_rng(seed).permutation(len(columns))[:SENSITIVITY_ROWS]
    sensitivity = model.kernel.sensitivity(layout.of(columns[few], model.without))
    found = np.zeros(len(kept))
    found[kept] = combine(sensitivity, layout.n_tree_columns(model.without))
    return found


Model = TypeVar("Model", bound=Fitted)


@dataclass
class Variants(Generic[Model]):
    """The models of one target: with all blocks, and without those that a row may lack.

    Attributes
    ----------
    models : list
        Those that see more come first.
    importances : (n_columns,)
        Of the first model.
    held_out : (n_rows, …)
        Held-out predictions of the training rows; NaN for those left out.
    held_out_error : float
    """

    models: list[Model]
    importances: Vector
    held_out: Vector
    held_out_error: float

    def model_for(self, lacking: Blocks) -> Model:
        """The model that sees most of what a row has; there is one for all that are answered."""
        return next(m for m in self.models if lacking <= m.without)

    def by_model(self, lacking: Sequence[Blocks]) -> Iterator[tuple[Model, Rows]]:
        """Each model with rows that it answers for, by what each row lacks; not many at once."""
        for blocks in set(lacking):
            rows = np.flatnonzero([blocks == other for other in lacking])
            for start in range(0, len(rows), PREDICTED_ROWS):
                yield self.model_for(blocks), rows[start : start + PREDICTED_ROWS]


FitModel = Callable[[TrainingRows, Blocks, Model | None, Tells], tuple[Model, Vector]]
"""Rows, what the model does without, a model that sees more, whom to tell → a model and its
held-out predictions."""


def fit_variants(
    fit: FitModel[Model],
    rows: TrainingRows,
    layout: BlockLayout,
    complete: NDArray[np.bool_],
    seed: int,
    tell: Sequence[Tells],
) -> tuple[list[Model], Vector, Vector]:
    """Fit all models of a target.

    The one with all blocks learns from the complete rows if these are enough
    (:func:`enough_complete`), the others from all rows.

    Parameters
    ----------
    fit : callable
    rows : TrainingRows
    layout : BlockLayout
    complete : (n_rows,) bool
        Rows that lack no block. All variants must be able to answer for the others.
    seed : int
    tell : sequence of pairs of callables
        One pair a model.

    Returns
    -------
    models : list
    importances : (n_columns,)
        Of the first.
    held_out : (n_rows, …)
        By the model that sees most of each row.
    """
    models: list[Model] = []
    known, main = np.zeros(len(rows.targets), dtype=bool), None
    held_out, seen = np.empty(0), rows
    if enough_complete(rows, complete):
        part = rows if complete.all() else rows.part(np.flatnonzero(complete))
        main, found = fit(part, NONE, None, tell[0])
        models.append(main)
        held_out = np.full((len(known), *found.shape[1:]), np.nan)
        held_out[complete], known, seen = found, complete, part
    for without, told in zip(layout.variants(), tell[1:], strict=True):
        model, found = fit(rows, without, main, told)
        models.append(model)
        held_out = held_out if known.any() else np.full(found.shape, np.nan)
        held_out[~known], known = found[~known], np.ones_like(known)
    return models, models[0].importances(seen.columns(layout), layout, seed), held_out


@dataclass
class FittedTarget(Variants[FittedModel]):
    """All models of one target.

    Attributes
    ----------
    minimum : float
        Predictions are cut off there.
    interval_minimum : float
        The ends of intervals are.
    """

    minimum: float
    interval_minimum: float

    @classmethod
    def fit(
        cls,
        rows: TrainingRows,
        layout: BlockLayout,
        complete: NDArray[np.bool_],
        floors: tuple[float, float],
        options: RegressionOptions,
        tell: Sequence[Tells],
        tell_network: Tell,
    ) -> FittedTarget:
        """Fit all models; as :func:`fit_variants`, ``floors`` are (minimum, interval_minimum)."""

        def fit(
            part: TrainingRows, without: Blocks, like: FittedModel | None, told: Tells
        ) -> tuple[FittedModel, Vector]:
            given = part, layout, without, floors[0], options, like, told
            return FittedModel.fit(*given, tell_network)

        models, importances, held_out = fit_variants(
            fit, rows, layout, complete, options.seed, tell
        )
        error = mean_error(options.scoring, held_out, rows.targets, rows.weights)
        return cls(models, importances, held_out, error, *floors)

    def predict(
        self,
        columns: Matrix,
        layout: BlockLayout,
        lacking: Sequence[Blocks],
        coverage: float,
        structures: Sequence[Any] = (),
        device: str = "auto",
    ) -> tuple[Vector, Vector]:
        """Predictions, and how far the interval of this coverage reaches.

        Parameters
        ----------
        columns : (n_rows, n_columns)
        layout : BlockLayout
        lacking : (n_rows,) frozensets
            What each row lacks.
        coverage : float
        structures : (n_rows,)
            For a network, where there is one.
        device : str
            Of it.

        Returns
        -------
        prediction, reach : (n_rows,)
        """
        found, reach = np.full((2, len(columns)), np.nan)
        for model, rows in self.by_model(lacking):
            some = [structures[row] for row in rows] if model.network is not None else ()
            given = columns[rows], layout, self.minimum, some, device
            found[rows], size = model.predict(*given)
            reach[rows] = size * model.scale.quantile(coverage)
        return found, reach


def enough_complete(rows: TrainingRows, complete: NDArray[np.bool_]) -> bool:
    """Whether a model with all blocks can be fitted, rather than one without them to more rows."""
    n_folds = sum(bool(complete[fold].any()) for fold in rows.folds)
    return n_folds >= LEAST_GROUPS and complete.mean() >= LEAST_COMPLETE


def search_start(layout: BlockLayout, without: Blocks, like: Fitted | None) -> Start:
    """Where the search for the kernel's scales and penalty begins."""
    kept = [block not in without for block in layout.widths]
    scales, penalty = (
        layout.start() if like is None else (list(like.kernel.scales), like.kernel.penalty)
    )
    penalty = float(np.clip(penalty, *PENALTIES))
    return [s for s, keep in zip(scales, kept, strict=True) if keep], penalty
