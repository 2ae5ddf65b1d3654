"""The recommended recipe as one estimator: structures and numbers in, a model with errors out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils._param_validation import Interval, StrOptions

from matminer_unate.crystals.ordering import Disorder
from matminer_unate.errors import InputError, warn_user
from matminer_unate.finetuning.checkpoints import CheckpointFolder
from matminer_unate.network.weights import check_weights
from matminer_unate.regressors.fitted_state import RegressorAttributes
from matminer_unate.regressors.fitting import fit_rows
from matminer_unate.regressors.network_expert import AUTO_ROWS
from matminer_unate.regressors.recipe import is_column_table
from matminer_unate.regressors.recipe_estimator import RECIPE_WEIGHTS, RecipeEstimator
from matminer_unate.regressors.rows import AnsweredRows, GivenRows, Prediction
from matminer_unate.regressors.saved_regressor import load_regressor, save_regressor
from matminer_unate.regressors.stages import stage_seconds
from matminer_unate.regressors.target_models import FittedTarget
from matminer_unate.regressors.training_rows import RegressionOptions
from matminer_unate.scores import RegressorScore
from matminer_unate.target_floors import check_minimum
from matminer_unate.targets import check_squares, read_targets
from matminer_unate.transforms import SCORINGS, TRANSFORMS, Scoring, TransformName

Values = NDArray[np.float64]

ONE_SIGMA = 0.6827
"""Share of a normal distribution within one standard deviation."""


@dataclass(frozen=True)
class Estimated:
    """What the models say of rows.

    Attributes
    ----------
    rows : Prediction
    values : (n_rows,), or (n_rows, n_targets)
    reaches : (n_coverages, …) like the values
        Half the widths of the intervals of each coverage.
    to_training : (n_rows,)
        Novelty to the training rows; the mean over several targets.
    """

    rows: Prediction
    values: Values
    reaches: Values
    to_training: Values

    def interval(self, k: int, minimum: Any) -> Values:
        """Lower and upper ends for the k-th coverage, (…, 2), cut off at the minimum."""
        ends = np.stack([self.values - self.reaches[k], self.values + self.reaches[k]], axis=-1)
        return np.maximum(ends, np.asarray(minimum)[..., None])


class UnateRegressor(
    RegressorAttributes, RegressorScore, RegressorMixin, RecipeEstimator[FittedTarget]
):
    """Predict a property of crystal structures, with an error bar for each of them.

    Structures become columns: Magpie's statistics of the elements, volume, space group, pooled
    physical site descriptors, layers, vacuum and stiffness of the cell, what a tight-binding model
    says of the electrons, a fingerprint of distances and directions, and the learned columns of
    :class:`~matminer_unate.UnateFeaturizer`.
    Kernel ridge regression on all of them is blended with two sets of LightGBM trees on all but the
    fingerprint and the learned ones: one takes the held-out kernel prediction as a further column,
    the other learns what it leaves over. With many rows, networks as those of
    :class:`~matminer_unate.UnateFineTuneRegressor` are blended in as well.

    Scales of the kernel, penalty, a transformation of the target and the shares of the blend are
    chosen by cross-validation on the training rows, in folds of whole formulas; the trees of all
    folds are averaged. The held-out residuals of the same folds give the error bars.

    A crystal can lack the tight-binding columns, when its primitive cell is too large for that
    model. Nothing is filled in: a second, smaller model without these columns is fitted to all
    rows, answers for such crystals with error bars of its own, and a warning names them.

    Parameters
    ----------
    weights : str or path, or sequence of them
        Names of weights that come with the package, or weights folders. One of the default,
        ``"mp_v2_taught"``, learned from the atom features of a potential that was trained on
        energies; ``"mp_v3"`` alone saw no label, and the error of formation energies is a tenth
        higher.
    tight_binding : bool
        Use the tight-binding columns. They take most of the time to featurize (some 3 ms
        for a crystal of 10 sites) and lower the error of band gaps.
    target : {"auto", "identity", "log", "yeo-johnson", "rank"}
        What is learned in place of the target: its logarithm, power or rank suits targets with a
        long tail or many equal values better (:class:`~matminer_unate.transforms.TargetTransform`).
        With ``"auto"``, kernel ridge is fitted to the target and to each of these, and the blend
        gives them their shares. Trees are fitted to the target and, beside that, to the one that is
        best in kernel ridge, if it beats the target itself by more than a standard error of the
        held-out error. Predictions and intervals are in the unit of the target; a prediction is the
        median rather than the mean of what is likely.
    scoring : {"mae", "rmse"}
        The error by which all that is chosen is chosen, which a network makes small (of what it
        learns in place of the target), and which ``held_out_error_`` is: mean absolute, or root of
        the mean squared.
    minimum : "auto", None or float
        Least value the targets can have, such as 0 for a band gap: predictions and intervals are
        cut off there. A number is that of every target. None is for targets that can have any
        value. ``"auto"``: where at least three, and a tenth, of the training targets equal the
        least of them, that one. Else, where none is negative and the least is near 0 (within a
        tenth of their standard deviation), intervals alone are cut off, at 0. Should the target be
        one that can be negative, intervals then hold at most 1/(n + 1) less than they claim, of n
        training rows: so often is a new row below all of them.
    network : "auto" or bool
        Train the encoder of the first weights on to the target too, outside of every fold, and
        blend it in. ``"auto"`` does so from 5,000 structures on. This takes half an hour on one
        core with 8,000 crystals of 10 sites, which the bar tells beforehand, and needs structures:
        with the frame of :meth:`featurize` there is no network, and a model that has one cannot
        predict from such a frame. Crystals that lack the tight-binding columns are predicted
        without it, or where most training rows lack them, with one that does not read them.
    n_folds : int
        Of the cross-validation, at least 3; fewer where there are fewer formulas. Time grows in
        proportion.
    max_kernel_rows : int
        Rows that the kernel is spanned by. Time grows with the third power of it, memory with the
        second. With more training rows, a random choice of this many is the basis.
    on_error : {"raise", "nan"}
        What an unusable structure does, and one that lacks columns which the model cannot do
        without: stop with an error that names its row; or be left out of training and get a
        prediction of NaN, with one warning.
    disorder : {"raise", "ordered"}
        As of :class:`~matminer_unate.UnateFeaturizer`.
    device : str
        Of the learned columns: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, …
    n_jobs : int or None
        Trees of several folds grown at once, as in scikit-learn: None is 1, -1 all cores.
    random_state : int or None
        From 0 on. None draws a seed, which ``seed_`` then is. No random generator but the model's
        own is used.
    progress : bool
        Show a bar with the expected time, the stage and the time left, in terminals and notebooks,
        where the work takes more than two seconds.
    checkpoints : str, path or None
        Folder that keeps the training of networks every five minutes. A ``fit`` that was stopped or
        killed goes on there when it is called again with the same rows and parameters; its files
        are removed when it is done. It needs a ``random_state``. Cross-validations and searches can
        share a folder, but not two fits at the same time that would train the same networks.

    Attributes
    ----------
    feature_names_ : (n_columns,) array of str
    feature_importances_ : (n_columns,)
        Sum to 1; see :meth:`importances`. The mean over several targets.
    target_names_ : list of str or None
        Of several targets, or of a Series.
    blend_ : Series
        Shares of kernel ridge of each transformation of the target, of both sets of trees on the
        target as it is and on the transformed one, and of the network in the prediction of the
        model with all columns; a DataFrame with a column a target if there are several.
    transforms_ : Series
        Share of the folds that chose each transformation of the target, of the same model;
        a DataFrame if there are several targets.
    held_out_predictions_ : (n_rows,), or (n_rows, n_targets)
        Predictions of the training rows by models that have not seen their formulas, for rows that
        lack columns by those without these; NaN where the structure was unusable, had a weight of 0
        or no known target. The transformation and the shares of each fold are those that the other
        folds choose.
        From some 600 rows on, their error is above that on new formulas, by 1 to 23 %, as new
        crystals are predicted by all rows and all folds; with 250 it is up to 15 % off either way,
        once 35 % (``training/results/uncertainty.csv``).
    held_out_error_ : float, or (n_targets,)
        Their error, as ``scoring`` says, weighted as the rows are.
    held_out_error_without_ : dict of str to float, or to (n_targets,)
        The same of the models that do without a block of columns, by its name: what to expect for
        crystals that lack it.
    minimum_, interval_minimum_ : float, or (n_targets,)
        Where predictions, and the ends of intervals, are cut off.
    seed_ : int
    n_rows_ : int
        Training rows used.

    Notes
    -----
    * Fitting takes 8 s on 250 rows, 38 s on 2,000 and 150 s on 16,000, on one core with the columns
      at hand, and a third more for the model without the tight-binding columns; a fourth less where
      no transformation of the target is chosen.
    * Give ``log10(y)`` where errors of ratios matter more than those of differences, as for moduli:
      ``target`` and ``scoring`` are about errors in the unit of what is given.
    * To fit often on the same structures (grid searches, learning curves), call :meth:`featurize`
      once: ``fit`` and ``predict`` take the frame it returns in place of structures.
    * Several properties of the same crystals: give ``y`` a column for each. The columns are
      computed once, and each property gets a model of its own.
    * The intervals hold for new formulas of the kind that is in the training rows (cross-conformal
      prediction, Vovk, Ann. Math. Artif. Intell. 74, 9 (2015), doi:10.1007/s10472-013-9368-4, with
      locally scaled residuals, Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018),
      doi:10.1080/01621459.2017.1307116), on average over them, and by quantiles of their own where
      errors are small and where they are large. They widen with the distance from the training
      rows, but not enough for other kinds: of elements that the training rows lack, intervals of
      90 % held 80 % (``training/results/novelty.md``). ``return_novelty`` tells of such rows.

    Examples
    --------
    >>> from matminer_unate import UnateRegressor
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors().head(60)
    >>> model = UnateRegressor().fit(df["structure"][20:], df["gap_ev"][20:])
    >>> gap, std = model.predict(df["structure"][:20], return_std=True)
    """

    _write = staticmethod(save_regressor)
    _read = staticmethod(load_regressor)
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **RecipeEstimator._parameter_constraints,
        "target": [StrOptions({"auto", *TRANSFORMS})],
        "scoring": [StrOptions(set(SCORINGS))],
        "minimum": [StrOptions({"auto"}), None, Interval(Real, None, None, closed="neither")],
        "network": ["boolean", StrOptions({"auto"})],
        "checkpoints": [str, Path, None],
    }

    def __init__(
        self,
        weights: str | Path | Sequence[str | Path] = RECIPE_WEIGHTS,
        tight_binding: bool = True,
        target: Literal["auto"] | TransformName = "auto",
        scoring: Scoring = "mae",
        minimum: Literal["auto"] | float | None = "auto",
        network: Literal["auto"] | bool = "auto",
        n_folds: int = 5,
        max_kernel_rows: int = 4_000,
        on_error: Literal["raise", "nan"] = "raise",
        disorder: Disorder = "raise",
        device: str = "auto",
        n_jobs: int | None = None,
        random_state: int | None = 0,
        progress: bool = True,
        checkpoints: str | Path | None = None,
    ) -> None:
        self.weights = weights
        self.tight_binding = tight_binding
        self.target = target
        self.scoring = scoring
        self.minimum = minimum
        self.network = network
        self.n_folds = n_folds
        self.max_kernel_rows = max_kernel_rows
        self.on_error = on_error
        self.disorder = disorder
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress
        self.checkpoints = checkpoints

    def fit(self, X: Any, y: Any, *, groups: Any = None, sample_weight: Any = None) -> Self:
        """Fit to structures and their targets.

        Parameters
        ----------
        X : list, tuple, Series, one-column DataFrame or array of structures
            Or the frame that :meth:`featurize` returned, or rows of it.
        y : (n_rows,), or (n_rows, n_targets)
            With several targets, a model is fitted to each, on the rows where it is not NaN.
        groups : (n_rows,), optional
            Rows of one group stay in one fold. Default: the reduced formula.
        sample_weight : (n_rows,), optional
            How much a row counts, in all that is learned or chosen and in the error bars. Only
            ratios matter; a row of weight 0 is left out.

        Raises
        ------
        InputError
            Lengths differ, a target is not finite (of several, none of a row is known), or below
            ``minimum``, a group is missing, an option is wrong, the rows are of fewer than three
            groups, or a network diverges.
        StructureError
            A structure is unusable; the message names its row.
        ImportError
            LightGBM is not installed.
        KeyboardInterrupt
            Ctrl-C was pressed; a warning tells where the fit goes on from, if it does.
        """
        rows, groups, weights = self._training_rows(X, groups, sample_weight)
        targets, names = read_targets(y, len(rows), rows.index)
        check_squares(targets, rows.index)
        check_minimum(self.minimum, targets, weights, rows.index)
        network = self._wants_network(rows)
        kept = CheckpointFolder.of(self.checkpoints, self.random_state) if network else None
        given = len(rows), targets.shape[1], self.n_folds, bool(self.tight_binding), network
        stages = stage_seconds(*given)
        learned = targets, names, groups, weights, self._regression_options(network, kept)
        try:
            with self._bar("fit", rows, stages) as bar:
                self.fitted_ = fit_rows(rows, self._recipe(), *learned, bar)
        except KeyboardInterrupt as interrupt:
            try:
                if kept and (where := kept.going_on()):
                    warn_user(f"the fit was stopped{where}")
            finally:
                raise interrupt
        if kept:
            kept.remove()
        return self

    def predict(self, X: Any, return_std: bool = False, return_novelty: bool = False) -> Any:
        """Predictions of structures.

        Parameters
        ----------
        X : list, tuple, Series, one-column DataFrame or array of structures
            Or the frame that :meth:`featurize` returned, or rows of it.
        return_std : bool
            Give the standard deviation as well: half the width of the interval that holds 68.3 %.
            Errors have longer tails than a normal distribution: for other shares, use
            :meth:`predict_interval`.
        return_novelty : bool
            Give how unfamiliar each row is as well, last. It takes a millisecond a crystal.

        Returns
        -------
        prediction : (n_rows,), or (n_rows, n_targets)
            Rows that lack the tight-binding columns are predicted by the model without these, with
            a warning that names the first of them; their deviation is that model's.
        std : as the prediction
            If asked for.
        novelty : DataFrame, (n_rows, 2)
            If asked for; shares from 0 (familiar) to 1 (like none), where 0.5 is usual.
            ``to_training``: of the training rows, those that are nearer to their nearest of another
            formula than this row to its nearest one, in the columns and on the scales that the
            kernel has chosen (the mean over several targets). ``to_corpus``: of held-out
            crystals, those that are nearer to the corpus of the first weights, as the first column
            of :class:`~matminer_unate.UnateNovelty`; NaN for a frame of :meth:`featurize`, which
            has no sites, and for weights without a summary of their corpus.

        Raises
        ------
        StructureError
            A structure is unusable; the message names its row.
        InputError
            A row lacks columns that the model cannot do without; the message names it.
        """
        found = self._estimates(X, [ONE_SIGMA])
        answer = [found.values, *(found.reaches if return_std else [])]
        if return_novelty:
            answer.append(self._novelty(found.rows, found.to_training))
        return tuple(answer) if len(answer) > 1 else found.values

    def predict_interval(self, X: Any, coverage: float = 0.9) -> NDArray[np.float64]:
        """Lower and upper ends that hold this share of new crystals, (n_rows, 2).

        (n_rows, n_targets, 2) for several targets. For rows that lack columns, they are those of
        the model that answers for them.

        Parameters
        ----------
        X : as for :meth:`predict`
        coverage : float
            Above 0, below 1. With n training rows, shares up to n/(n + 1) can be had.

        Raises
        ------
        InputError
            The coverage cannot be had, or a row lacks columns that the model cannot do without.
        StructureError
            A structure is unusable; the message names its row.
        """
        found = self._estimates(X, [coverage])
        return found.interval(0, self.interval_minimum_)

    def check_coverage(self, coverage: float) -> None:
        """Raise InputError unless intervals of this coverage can be had."""
        for target in self._state.targets:
            for model in target.models:
                model.scale.check(coverage)

    # -- inside ----------------------------------------------------------------------------------

    def _estimates(self, X: Any, coverages: Sequence[float]) -> Estimated:
        """Predictions, the reach of their intervals for some coverages, and novelty."""
        state = self._state
        for coverage in coverages:
            self.check_coverage(coverage)
        models = [model for target in state.targets for model in target.models]
        if is_column_table(X) and any(model.network is not None for model in models):
            raise InputError(
                "this model has a network, which reads structures; pass these, or fit with "
                "network=False to predict from the frame of featurize()"
            )

        def predict(rows: AnsweredRows) -> NDArray[np.float64]:
            given = rows.columns, state.layout, rows.lacking, coverages, rows.structures
            return np.stack(
                [target.predict(*given, self.device) for target in state.targets], axis=1
            )

        found = self._answer(X, predict)
        found.warn()
        values = found.values[:, 0] if len(state.targets) == 1 else found.values
        novelty, reaches = values[..., 1], np.moveaxis(values[..., 2:], -1, 0)
        to_training = novelty if novelty.ndim == 1 else novelty.mean(1)
        return Estimated(found, values[..., 0], reaches, to_training)

    def _regression_options(
        self, network: bool, checkpoints: CheckpointFolder | None = None
    ) -> RegressionOptions:
        return RegressionOptions(
            **vars(self._fit_options()),
            target=str(self.target),
            scoring=self.scoring,
            minimum=self.minimum,
            device=self.device,
            network_weights=check_weights(self.weights)[0] if network else None,
            checkpoints=checkpoints,
        )

    def _wants_network(self, rows: GivenRows) -> bool:
        """Whether a network is to be trained on these rows."""
        if self.network == "auto":
            return rows.table is None and len(rows) >= AUTO_ROWS
        if self.network and rows.table is not None:
            raise InputError(
                "network=True needs structures, not the frame of featurize(); pass these, or set "
                "network='auto' or False"
            )
        return bool(self.network)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
