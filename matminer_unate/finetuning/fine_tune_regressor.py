"""Fine-tune the pretrained encoder on your own property: structures and numbers in, a model out.

The way of a crystal through ``UnateFineTuneRegressor.fit``:

1. ``targets.read_targets``: y → (n_rows, n_targets), and ``read_row_weights`` the weights.
2. ``inputs.read_graphs``: structure → arrays → checked → graph; rows that are no crystals go.
3. ``inputs.tight_binding_columns``: what the head reads beside the graph.
4. ``targets.scale_of`` and ``transform_choice``: transformation, mean, spread and minimum of each
   target; ``standardise`` → of order 1.
5. ``splits.random_splits``: formulas → rows to learn from, and rows that choose the epoch.
6. ``members.new_members``: encoder with its weights and a new head, for each member.
7. ``members.train_members``: threads, Ctrl-C; ``fitting.fit_network`` in each: batches of
   ``networks.Crystals`` → ``PropertyEncoder`` → loss → the weights of the best epoch.
8. ``saved_networks.FittedNetworks``: all of it, for ``predict``, and for ``save`` to write.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import fields
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from matminer_unate.crystals.ordering import Disorder
from matminer_unate.errors import InputError, WeightsError, warn_user
from matminer_unate.featurizers.notebook_view import NotebookView
from matminer_unate.finetuning.checkpoints import CheckpointFolder, TrainingFiles
from matminer_unate.finetuning.inputs import (
    GivenRows,
    Graphs,
    read_graphs,
    read_rows,
    tight_binding_columns,
)
from matminer_unate.finetuning.reports import about_constants, about_stop, doubts, held_out_errors
from matminer_unate.finetuning.saved_networks import (
    FittedNetworks,
    load_fine_tuned,
    save_fine_tuned,
)
from matminer_unate.finetuning.splits import random_splits, seeds_of
from matminer_unate.finetuning.targets import LearnedTargets, scale_of, target_weights
from matminer_unate.network.devices import resolve_device
from matminer_unate.network.weights import DEFAULT_WEIGHTS, WeightsConfig, read_config
from matminer_unate.parameters import check_parameters
from matminer_unate.processes import single_threaded_workers
from matminer_unate.scores import RegressorScore
from matminer_unate.target_floors import check_minimum
from matminer_unate.targets import read_row_weights, read_targets
from matminer_unate.transforms import (
    SCORINGS,
    TRANSFORMS,
    Scoring,
    TargetTransform,
    TransformName,
)

if TYPE_CHECKING:
    from tqdm import tqdm

    from matminer_unate.finetuning.settings import FitSettings


KIND = "UnateFineTuneRegressor"


class UnateFineTuneRegressor(NotebookView, RegressorScore, RegressorMixin, BaseEstimator):
    """A regressor for crystal structures: the pretrained encoder, trained on to your property.

    All weights of the encoder learn on, with a lower learning rate than the new head, which reads
    everything that the columns of :class:`~matminer_unate.UnateFeaturizer` are made of. A part of
    the training rows, of formulas of its own, chooses the epoch. With 2,000 crystals of 10 sites
    this takes 3 to 4 minutes for each member on one core. Predictions are in the unit of the
    target, whatever it is.

    Ctrl-C stops ``fit`` within about a second, and the best weights so far stay on the estimator,
    ready to predict; a warning tells how far it came. ``KeyboardInterrupt`` is raised all the same:
    a script ends, and in a notebook the cell does.

    Parameters
    ----------
    weights : str or path
        Name of weights that come with the package, or a weights folder.
    epochs : "auto" or int
        Passes over the training rows. ``"auto"``: 50·√(4,000 / rows), at least 20 and at most 80.
        On the gap of 2,000 crystals, 25 passes in place of 40 cost 8 %.
    batch_size : int
        Crystals a step.
    learning_rate : float
        Peak of the one-cycle schedule for the head.
    pretrained_share : "auto" or float
        The encoder's rate as a share of it. ``"auto"``: 0.2, and from 5,000 rows on 0.5. For
        moduli, 1 is better still: by 2 % with 7,800 on validation rows, and 1 % with 2,000.
    dropout : float
        Share of hidden channels of the head left out in training.
    n_members : int
        Networks that are trained and averaged, each with other held-out rows. They are trained at
        the same time, on as many cores as torch may use.
    tight_binding : bool
        Let the head read the columns of :class:`~matminer_unate.TightBindingStats` too, some 3 ms
        for 10 sites. A crystal without them is predicted from the rest, with a warning.
    target : {"auto", "identity", "log", "yeo-johnson", "rank"}
        What is learned in place of the target: its logarithm, power or rank
        (:class:`~matminer_unate.transforms.TargetTransform`), each target's own. With ``"auto"``
        ridge regressions on the pretrained columns choose, by their error on held-out formulas of
        the training rows: the least one, if that is less than for the identity by more than a
        standard error. That is not the default, as it never paid: networks learn absolute errors,
        which long tails do little harm to. With 600 labels its choices raised the error of
        piezoelectric maxima by 20 % and of gaps by 6 %, and left moduli and exfoliation energies
        where they were. Predictions and errors are in the unit of the target; under a
        transformation, a prediction is the median rather than the mean of what is likely.
    scoring : {"mae", "rmse"}
        What is made small, mean absolute or mean squared errors (of the transformed target), what
        the epoch is chosen by (in its unit), and what ``validation_error_`` is.
    minimum : "auto", None or float
        Least value the target can have, such as 0 for a band gap: predictions are raised to it, and
        in training a prediction below it is no error where the target is the minimum. ``"auto"``
        takes the least training target if a tenth of them, and at least three, have it.
        With several targets it holds for each.
    validation_share : float
        Share of the training formulas that choose the epoch and tell the error; 0 to train on all
        rows to the end, which is a few percent better (2,000 gaps: .225 against .233 eV).
    patience : int
        Looks at the held-out rows without improvement before training stops. There are 15 in all,
        of which the last 7 count.
    device : str
        ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, …
    on_error : {"raise", "nan"}
        What an unusable structure does: stop with an error that names its row; or be left out of
        training and get a prediction of NaN, with one warning.
    disorder : {"raise", "ordered"}
        As of :class:`~matminer_unate.UnateFeaturizer`.
    random_state : int or None
        From 0 on; None for other numbers at each fit, of which there are no checkpoints.
    progress : bool
        Show a bar for each stage, in terminals and notebooks.
    checkpoints : str, path or None
        Folder that keeps the training every five minutes. A ``fit`` that was killed goes on there
        when it is called again with the same rows and parameters, and ends as if nothing had
        happened; then its files are removed. Fits can share it, but for equal ones at one time.

    Attributes
    ----------
    validation_error_ : float, or (n_targets,) array
        Error of the members on their held-out rows, as ``scoring`` says; NaN without such rows.
    reports_ : list of FitReport
        How the training of each member went; the errors are in standard deviations of the target.
    transforms_ : list of str
        Name of the transformation of each target.
    weights_config_ : WeightsConfig
        Of the weights it began from.
    minimum_ : float, or (n_targets,) array
    target_names_ : list of str or None
        From a Series or DataFrame of targets.
    n_rows_ : int
        Training rows used.
    interrupted_ : bool
        Whether Ctrl-C ended the training early.

    References
    ----------
    UNATE, arXiv:2605.25866. CartNet, arXiv:2501.18369.

    Examples
    --------
    >>> from matminer_unate import UnateFineTuneRegressor
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors().head(60)
    >>> model = UnateFineTuneRegressor(epochs=5, progress=False)
    >>> model = model.fit(df["structure"][20:], df["gap_ev"][20:])
    >>> gap = model.predict(df["structure"][:20])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "weights": [str, Path],
        "epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "pretrained_share": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "tight_binding": ["boolean"],
        "target": [StrOptions({"auto", *TRANSFORMS})],
        "scoring": [StrOptions(set(SCORINGS))],
        "minimum": [StrOptions({"auto"}), Interval(Real, None, None, closed="neither"), None],
        "validation_share": [Interval(Real, 0, 1, closed="left")],
        "patience": [Interval(Integral, 0, None, closed="left")],
        "device": [str],
        "on_error": [StrOptions({"raise", "nan"})],
        "disorder": [StrOptions({"raise", "ordered"})],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both"), None],
        "progress": ["boolean"],
        "checkpoints": [str, Path, None],
    }

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        epochs: Literal["auto"] | int = "auto",
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        pretrained_share: Literal["auto"] | float = "auto",
        dropout: float = 0.1,
        n_members: int = 2,
        tight_binding: bool = True,
        target: Literal["auto"] | TransformName = "identity",
        scoring: Scoring = "mae",
        minimum: Literal["auto"] | float | None = "auto",
        validation_share: float = 0.1,
        patience: int = 5,
        device: str = "auto",
        on_error: Literal["raise", "nan"] = "raise",
        disorder: Disorder = "raise",
        random_state: int | None = 0,
        progress: bool = True,
        checkpoints: str | Path | None = None,
    ) -> None:
        self.weights = weights
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.pretrained_share = pretrained_share
        self.dropout = dropout
        self.n_members = n_members
        self.tight_binding = tight_binding
        self.target = target
        self.scoring = scoring
        self.minimum = minimum
        self.validation_share = validation_share
        self.patience = patience
        self.device = device
        self.on_error = on_error
        self.disorder = disorder
        self.random_state = random_state
        self.progress = progress
        self.checkpoints = checkpoints

    # -- training --------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, *, sample_weight: Any = None) -> Self:
        """Fine-tune on structures and their targets.

        Parameters
        ----------
        X : list, tuple, Series, one-column DataFrame or array of structures
            Or a DataFrame that has the columns of :class:`~matminer_unate.TightBindingStats` beside
            them, which then are not computed again, as in cross-validation.
        y : (n_rows,) or (n_rows, n_targets)
            Several targets are learned by one network, each in its own standard deviations. Among
            several, NaN is a target that is not known for this crystal.
        sample_weight : (n_rows,), optional
            Of each row in the loss and in the held-out error, from 0 on; rows of 0 are left out.

        Raises
        ------
        InputError
            The lengths differ, a target is not finite, an option is wrong, there are too few rows,
            or the training diverges.
        StructureError
            A structure is unusable; the message names its row.
        KeyboardInterrupt
            Ctrl-C was pressed. The best weights so far, if there were any, are kept.
        """
        check_parameters(self)
        kept = CheckpointFolder.of(self.checkpoints, self.random_state)
        given = read_rows(X)
        values, names = read_targets(y, len(given), given.index)
        weights = read_row_weights(sample_weight, len(given), given.index)
        check_minimum(self.minimum, values, weights, given.index)
        config = read_config(self.weights)
        graphs, device = self._graphs(given, config, "left out")
        if weights is not None:
            graphs = graphs.only(weights[graphs.rows] > 0)
            weights = weights[graphs.rows]
        values = values[graphs.rows]
        if len(values) < 2:
            raise InputError(f"fine-tuning needs at least two usable rows, got {len(values)}")
        each = target_weights(values, weights)
        targets = LearnedTargets(values, each, scale_of(values, each, self.minimum, names))
        columns = self._columns(given, graphs, self.tight_binding, "are learned from without")
        if columns is not None and not np.isfinite(columns).all(axis=1).any():
            warn_user("no row has tight-binding columns: this is a fit with tight_binding=False")
            columns = None
        for text in about_constants(targets.scale):
            warn_user(text)
        targets = targets.transformed(self._transforms(graphs, columns, targets))
        self._train(graphs, columns, targets, names, device, config, kept)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predictions of structures, (n_rows,), or (n_rows, n_targets) after a fit to several.

        ``X`` is as for :meth:`fit`. NaN where a structure is unusable and ``on_error="nan"``.

        Raises
        ------
        StructureError
            A structure is unusable; the message names its row.
        """
        check_is_fitted(self, "networks_")
        check_parameters(self)
        given = read_rows(X)
        graphs, device = self._graphs(given, self.weights_config_, "get NaN")
        found = np.full((len(given), len(self.scale_.mean)), np.nan)
        if len(graphs.rows):
            reads_columns = self.networks_[0].n_given > 0
            columns = self._columns(given, graphs, reads_columns, "are predicted without")
            found[graphs.rows] = self._predict(graphs, columns, device)
        return found[:, 0] if found.shape[1] == 1 else found

    def save(self, folder: str | Path) -> None:
        """Write the fitted model as ``model.safetensors`` and ``config.json``.

        Parameters
        ----------
        folder : path
            Created if need be; files in it are replaced.
        """
        check_is_fitted(self, "networks_")
        state = {f.name: getattr(self, f"{f.name}_") for f in fields(FittedNetworks)}
        state["validation_error"] = np.atleast_1d(self.validation_error_)
        save_fine_tuned(Path(folder), self.get_params(), FittedNetworks(**state))

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> Self:
        """Read a model that :meth:`save` wrote; the weights it began from are not needed.

        Raises
        ------
        WeightsError
            The folder or a file is missing, damaged, or of another kind or version.
        """
        with single_threaded_workers(1) as workers:
            loading = workers.submit(load_fine_tuned, Path(folder).expanduser())
            parameters, fitted = loading.result()
        try:
            model = cls(**parameters | {"device": device})
        except TypeError as e:
            raise WeightsError(f"{folder} has other parameters ({e}); save the model again") from e
        model._take_over(fitted)
        return model

    # -- scikit-learn ----------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.non_deterministic = False
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.target_tags.multi_output = True
        return tags

    # -- inside ----------------------------------------------------------------------------------

    def _stage(self, name: str, total: int) -> AbstractContextManager[tqdm[Any]]:
        from matminer_unate.progress import stage

        return stage(f"{KIND}, {name}", total, "crystals", self.progress)

    def _graphs(self, given: GivenRows, config: WeightsConfig, outcome: str) -> tuple[Graphs, Any]:
        """Graphs of the usable rows, and the device."""
        skip = self.on_error == "nan"
        with self._stage("reading crystals", len(given)) as bar:
            device = resolve_device(self.device)
            return read_graphs(given, config, skip, self.disorder, outcome, bar.update), device

    def _columns(
        self, given: GivenRows, graphs: Graphs, wanted: bool, outcome: str
    ) -> NDArray[np.float32] | None:
        if not wanted:
            return None
        with self._stage("tight binding", len(graphs.rows)) as bar:
            return tight_binding_columns(given, graphs, self.disorder, outcome, bar.update)

    def _transforms(
        self,
        graphs: Graphs,
        electrons: NDArray[np.float32] | None,
        targets: LearnedTargets,
    ) -> list[TargetTransform]:
        from matminer_unate.finetuning import transform_choice as choice

        def columns() -> NDArray[np.float32]:
            return choice.pretrained_columns(graphs.graphs, electrons, self.weights, self.device)

        given = self.target, targets, self.scoring, graphs.formulas(), columns
        return choice.transforms_of_targets(*given, seeds_of(self.random_state, 1)[-1])

    def _train(
        self,
        graphs: Graphs,
        columns: NDArray[np.float32] | None,
        targets: LearnedTargets,
        target_names: list[str] | None,
        device: Any,
        config: WeightsConfig,
        kept: CheckpointFolder | None,
    ) -> None:
        """Train the members on the targets, and take over the fitted state.

        After Ctrl-C as well, which is raised when that is done.
        """
        from matminer_unate.finetuning.members import new_members, train_members
        from matminer_unate.finetuning.networks import Crystals
        from matminer_unate.progress import stage

        values, weights, scale = targets.values, targets.weights, targets.scale
        y, each = targets.standardised()
        settings = self._settings(scale.lowest(values), len(y), bool(scale.spread.any()))
        learned = Crystals(graphs.graphs, columns=columns), y, each, settings, device
        seeds = seeds_of(self.random_state, self.n_members)
        splits = random_splits(graphs.formulas(), self.n_members, self.validation_share, seeds[-1])
        with stage(f"{KIND}, training", settings.epochs, "epochs", self.progress, 1) as bar:

            def show(epochs: float, text: str) -> None:
                bar.n = epochs
                bar.set_postfix_str(text, refresh=False)
                bar.refresh()

            found, interrupt = train_members(
                new_members(self.weights, self.dropout, splits, seeds, columns, values.shape[1]),
                *learned,
                show,
                float(scale.unit[0]) if y.ndim == 1 else math.nan,
                scale.judge(values, weights, self.scoring),
                TrainingFiles(kept, *learned, scale) if kept else None,
            )
        reports = [report for _, report in found]
        if found:
            fitted = FittedNetworks(
                [network.cpu() for network, _ in found],
                config,
                scale,
                held_out_errors(reports, scale),
                target_names,
                len(y),
                interrupt is not None,
                reports,
            )
            self._take_over(fitted)
        if interrupt is None:
            if kept:
                kept.remove()
            for text in doubts(reports, scale, values, weights, splits, self.scoring):
                warn_user(text)
            return
        how = settings.epochs, self.n_members, self.scoring, kept.going_on() if kept else ""
        try:
            warn_user(about_stop(reports, scale, *how))
        finally:
            raise interrupt

    def _take_over(self, fitted: FittedNetworks) -> None:
        self.__dict__.update({f"{name}_": value for name, value in vars(fitted).items()})
        self.validation_error_ = _bare(fitted.validation_error)
        self.minimum_ = _bare(fitted.scale.minimum)
        self.transforms_ = [transform.name for transform in fitted.scale.transforms]

    def _predict(
        self, graphs: Graphs, columns: NDArray[np.float32] | None, device: Any
    ) -> NDArray[np.float64]:
        from matminer_unate.finetuning.members import predict_with
        from matminer_unate.finetuning.networks import Crystals

        crystals = Crystals(graphs.graphs, columns=columns)
        with self._stage("predicting", len(crystals)) as bar:
            found = [
                self.scale_.restore(z)
                for z in predict_with(self.networks_, crystals, device, bar.update)
            ]
        mean: NDArray[np.float64] = np.mean(found, axis=0)
        return mean

    def _settings(
        self, minimum: float | tuple[float, ...], n_rows: int, varies: bool = True
    ) -> FitSettings:
        from matminer_unate.finetuning.settings import FitSettings, fine_tuning

        own = {f.name for f in fields(FitSettings)}
        given = {name: value for name, value in self.get_params().items() if name in own}
        if not varies:
            given["epochs"] = 1  # there is nothing to learn
        return fine_tuning(n_rows, **given | {"minimum": minimum})


def _bare(values: NDArray[np.float64]) -> Any:
    """A number where there is one target."""
    return float(values[0]) if len(values) == 1 else values
