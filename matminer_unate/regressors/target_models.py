"""Columns and targets → fitted models: one a target, and one more for rows that lack a block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from matminer_unate.regressors.blend import QUICK, BlendedModel, combine_importances, fit_blend
from matminer_unate.regressors.error_bars import ConformalScale, difficulty_signs, widening
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
from matminer_unate.regressors.training_rows import (
    LEAST_GROUPS,
    NONE,
    BlockLayout,
    Blocks,
    RegressionOptions,
    Tell,
    Tells,
    TrainingRows,
)
from matminer_unate.regressors.unfamiliarity import Unfamiliarity
from matminer_unate.transforms import TransformedTarget, mean_errors

SENSITIVITY_ROWS = 300

PREDICTED_ROWS = 10_000
"""Rows that a model predicts at once."""

LEAST_COMPLETE = 0.5
"""Share of the training rows that must have all blocks, or those that most lack are left out."""


@dataclass(frozen=True)
class Estimates:
    """What a model says of rows, but for how large its errors are.

    Attributes
    ----------
    predictions : (n_rows,)
    signs : (n_rows, 5)
        As of :func:`~.error_bars.difficulty_signs`.
    similarity : (n_rows,)
        To the nearest training row; of a training row, to that of another fold.
    """

    predictions: Vector
    signs: Vector
    similarity: Vector

    @classmethod
    def of(cls, raw: Vector, opinions: Vector, similarity: Vector, minimum: float) -> Estimates:
        """Of predictions that are not cut off at the minimum; as ``difficulty_signs``."""
        signs = difficulty_signs(raw, opinions, similarity, minimum)
        return cls(np.maximum(raw, minimum), signs, similarity)


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
    unfamiliarity : Unfamiliarity
    held_out_error : float
        Of its held-out training rows.
    network : NetworkExpert or None
    """

    without: Blocks
    kernel: BlockKernelRidge
    blend: BlendedModel
    scale: ConformalScale
    unfamiliarity: Unfamiliarity
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
    ) -> tuple[FittedModel, Estimates]:
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
        held_out : Estimates
            Of the rows by models that have not seen their folds.
        """
        quick, seed, y = like is not None, options.seed, rows.targets
        target = TransformedTarget.of(y, rows.weights, options.target, minimum, options.scoring)
        columns, n_trees = rows.columns(layout, without), layout.n_tree_columns(without)
        kernel = BlockKernelRidge(options.max_kernel_rows // (QUICK if quick else 1) or 1, seed)
        start = search_start(layout, without, like)
        given = target.values, rows.folds, start, target.first_error, rows.weights, quick, tell[0]
        by_kernel = kernel.fit(columns, layout.slices(without), *given)
        network = None

        def fit_network(outputs: list[int]) -> Vector:
            nonlocal network
            network, found = NetworkExpert.fit(
                rows.structures,
                None if without else layout.electrons(rows.columns(layout)[:]),
                target,
                outputs,
                rows.folds,
                options.network_weights or "",
                options.device,
                seed,
                tell_network,
                options.checkpoints,
            )
            return found

        wanted = options.network_weights is not None and not quick and len(rows.structures)
        how = options.n_jobs, seed, quick, tell[1], fit_network if wanted else None
        blend, parts, raw = fit_blend(columns.first(n_trees), by_kernel, target, rows.folds, *how)
        held_out = Estimates.of(raw, blend.opinions(parts), by_kernel.similarity, minimum)
        unfamiliarity = Unfamiliarity.of(held_out.similarity)
        factor = widening(unfamiliarity.distances(held_out.similarity))
        errors = np.abs(held_out.predictions - y)
        scale = ConformalScale.fit(errors, held_out.signs, rows.folds, seed, rows.weights, factor)
        model = cls(without, kernel, blend, scale, unfamiliarity, target.error(raw), network)
        return model, held_out

    def predict(
        self,
        columns: Matrix,
        layout: BlockLayout,
        minimum: float,
        structures: Sequence[Any] = (),
        device: str = "auto",
    ) -> tuple[Vector, Vector, Vector]:
        """Predictions, sizes of their errors and novelties from columns of all blocks, (n_rows,).

        A network reads the structures too.
        """
        found = self.estimates(columns, layout, minimum, structures, device)
        size = self.scale.predict(found.signs)
        size *= widening(self.unfamiliarity.distances(found.similarity))
        return found.predictions, size, self.unfamiliarity.shares(found.similarity)

    def estimates(
        self,
        columns: Matrix,
        layout: BlockLayout,
        minimum: float,
        structures: Sequence[Any] = (),
        device: str = "auto",
    ) -> Estimates:
        """Of new rows; as :meth:`predict`."""
        electrons = None if self.without else layout.electrons(columns)
        columns = layout.of(columns, self.without)
        kernel, similarity = self.kernel.predict(columns)
        parts = self.blend.parts(columns[:, : layout.n_tree_columns(self.without)], kernel)
        if self.network is not None:
            given = structures, electrons, self.blend.transforms, self.blend.outputs, device
            parts = np.column_stack([parts, self.network.predict(*given)])
        raw, opinions = parts @ self.blend.shares, self.blend.opinions(parts)
        return Estimates.of(raw, opinions, similarity, minimum)

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
            model, held_out = FittedModel.fit(*given, tell_network)
            return model, held_out.predictions

        models, importances, held_out = fit_variants(
            fit, rows, layout, complete, options.seed, tell
        )
        error = float(mean_errors(held_out, rows.targets, rows.weights, options.scoring))
        return cls(models, importances, held_out, error, *floors)

    def predict(
        self,
        columns: Matrix,
        layout: BlockLayout,
        lacking: Sequence[Blocks],
        coverages: Sequence[float],
        structures: Sequence[Any] = (),
        device: str = "auto",
    ) -> NDArray[np.float64]:
        """Predictions, novelty, and how far the interval of each coverage reaches.

        Parameters
        ----------
        columns : (n_rows, n_columns)
        layout : BlockLayout
        lacking : (n_rows,) frozensets
            What each row lacks.
        coverages : sequence of float
        structures : (n_rows,)
            For a network, where there is one.
        device : str
            Of it.

        Returns
        -------
        (n_rows, 2 + n_coverages)
        """
        found = np.full((len(columns), 2 + len(coverages)), np.nan)
        for model, rows in self.by_model(lacking):
            some = [structures[row] for row in rows] if model.network is not None else ()
            given = columns[rows], layout, self.minimum, some, device
            values, size, novelty = model.predict(*given)
            reaches = (model.scale.reach(size, coverage) for coverage in coverages)
            found[rows] = np.column_stack([values, novelty, *reaches])
        return found


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
