"""What UnateRegressor and UnateClassifier do alike: structures → columns → rows → answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from matminer_unate.crystals.ordering import Disorder
from matminer_unate.errors import InputError, WeightsError
from matminer_unate.familiarity.corpus_summary import CorpusSummary
from matminer_unate.familiarity.novelty import UnateNovelty
from matminer_unate.featurizers.notebook_view import NotebookView
from matminer_unate.network.weights import DEFAULT_WEIGHTS, check_weights, checksums
from matminer_unate.parameters import check_parameters
from matminer_unate.progress import WorkBar
from matminer_unate.regressors.blend import require_lightgbm
from matminer_unate.regressors.fitted_state import FittedAttributes, FittedState, Target
from matminer_unate.regressors.recipe import Recipe
from matminer_unate.regressors.rows import AnsweredRows, GivenRows, Prediction
from matminer_unate.regressors.training_rows import LEAST_GROUPS, NONE, FitOptions
from matminer_unate.targets import read_groups, read_row_weights

NOVELTIES = ("to_training", "to_corpus")
"""Columns of what ``return_novelty=True`` returns."""

RECIPE_WEIGHTS = (DEFAULT_WEIGHTS, "mp_v2_taught")


def known_novelties(weights: str | Path | Sequence[str | Path]) -> list[str]:
    """Those of :data:`NOVELTIES` that a model with these weights can tell of structures."""
    return list(NOVELTIES if CorpusSummary.is_there(check_weights(weights)[0]) else NOVELTIES[:1])


class RecipeEstimator(NotebookView, FittedAttributes[Target], BaseEstimator):
    """An estimator on the columns of :class:`~.recipe.Recipe`.

    A subclass has these parameters and more, and says how its fitted state is written into a folder
    and read.
    """

    weights: str | Path | Sequence[str | Path]
    tight_binding: bool
    n_folds: int
    max_kernel_rows: int
    on_error: Literal["raise", "nan"]
    disorder: Disorder
    device: str
    n_jobs: int | None
    random_state: int | None
    progress: bool

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "weights": "no_validation",  # check_weights looks them up
        "tight_binding": ["boolean"],
        "n_folds": [Interval(Integral, LEAST_GROUPS, None, closed="left")],
        "max_kernel_rows": [Interval(Integral, 1, None, closed="left")],
        "on_error": [StrOptions({"raise", "nan"})],
        "disorder": [StrOptions({"raise", "ordered"})],
        "device": [str],
        "n_jobs": [
            None,
            Interval(Integral, 1, None, closed="left"),
            Interval(Integral, None, -1, closed="right"),
        ],
        "random_state": [None, Interval(Integral, 0, 2**32 - 1, closed="both")],
        "progress": ["boolean"],
    }

    def featurize(self, X: Any) -> pd.DataFrame:
        """The columns of structures, which ``fit`` and ``predict`` take in place of them.

        Returns
        -------
        DataFrame
            Reduced formula and columns (float32); with ``on_error="nan"`` NaN in rows that are no
            usable structure. NaN in the columns that a crystal lacks, with a warning.

        Raises
        ------
        StructureError
            A structure is unusable; the message names its row.
        InputError
            ``X`` is not a list, tuple, Series, one-column DataFrame or array of structures, or an
            option is wrong.
        """
        self._check_options()
        rows = GivenRows.of(X, "are NaN", may_be_table=False)
        with self._bar("columns", rows, {}) as bar:
            described = rows.describe(self._recipe(), self.on_error == "nan", bar)
        for block in dict.fromkeys(block for _, block in described.lacking):
            reasons = {row: e for (row, other), e in described.lacking.items() if other == block}
            rows.warn(reasons, f"lack the '{block}' columns", reasons)
        return described.table

    def describe_columns(self) -> pd.DataFrame:
        """Name, unit and meaning of every column, and the block that it is of; a row a column.

        As ``describe_columns`` of the featurizers. Learned columns have the unit σ: standard
        deviations over the sites, or crystals, of pretraining.
        """
        self._check_options()
        recipe = self._recipe()
        table = pd.DataFrame(recipe.meanings(), columns=["name", "unit", "meaning"])
        table["block"] = [block for block, names in recipe.blocks().items() for _ in names]
        return table

    def save(self, folder: str | Path) -> None:
        """Write the fitted model as ``config.json``, ``model.safetensors`` and LightGBM's texts.

        The weights are not in it, only their name and checksum.

        Parameters
        ----------
        folder : path
            Created if need be; files in it are replaced.
        """
        self._write(self._state, self.get_params(), Path(folder))

    @classmethod
    def load(
        cls, folder: str | Path, weights: str | Path | Sequence[str | Path] | None = None
    ) -> Self:
        """Read a model that :meth:`save` wrote; no pickle is involved.

        Parameters
        ----------
        folder : path
        weights : str or path, or sequence of them, optional
            Where the weights are now, if not where they were.

        Raises
        ------
        WeightsError
            A file is missing or damaged, or the weights are not those of the fit.
        """
        fitted, parameters = cls._read(Path(folder).expanduser(), weights)
        try:
            model = cls(**parameters)
        except TypeError as e:
            raise WeightsError(f"{folder} has other parameters ({e}); save the model again") from e
        model.fitted_ = fitted
        return model

    # -- of a subclass ---------------------------------------------------------------------------

    @staticmethod
    def _write(fitted: FittedState[Any], parameters: dict[str, Any], folder: Path) -> None:
        raise NotImplementedError

    @staticmethod
    def _read(
        folder: Path, weights: str | Path | Sequence[str | Path] | None
    ) -> tuple[FittedState[Any], dict[str, Any]]:
        raise NotImplementedError

    # -- for subclasses --------------------------------------------------------------------------

    def _recipe(self) -> Recipe:
        given = self.device, bool(self.tight_binding), self.disorder
        return Recipe(check_weights(self.weights), *given)

    def _check_options(self) -> None:
        check_parameters(self)
        check_weights(self.weights)

    def _fit_options(self) -> FitOptions:
        seed = self.random_state
        return FitOptions(
            self.n_folds,
            self.max_kernel_rows,
            self.n_jobs,
            int(np.random.SeedSequence().generate_state(1)[0] if seed is None else seed),
            self.on_error == "nan",
        )

    def _bar(self, what: str, rows: GivenRows, stages: dict[str, float]) -> WorkBar:
        columns = {} if rows.table is not None else self._recipe().seconds(rows.structures)
        title = f"{type(self).__name__}: {what}"
        return WorkBar(title, columns | stages, bool(self.progress))

    def _training_rows(
        self, X: Any, groups: Any, sample_weight: Any
    ) -> tuple[GivenRows, NDArray[Any] | None, NDArray[np.float64]]:
        """What is to be learned from, and groups and weights of its rows, checked."""
        self._check_options()
        require_lightgbm(type(self).__name__)
        rows = GivenRows.of(X)
        if len(rows) < LEAST_GROUPS:
            raise InputError(f"the fit needs at least {LEAST_GROUPS} structures, got {len(rows)}")
        weights = read_row_weights(sample_weight, len(rows), rows.index)
        weights = np.ones(len(rows)) if weights is None else weights
        return rows, read_groups(groups, len(rows), rows.index), weights

    def _answer(self, X: Any, predict: Callable[[AnsweredRows], NDArray[np.float64]]) -> Prediction:
        """Describe rows and ask models about those that these can answer for."""
        state = self._state
        self._check_options()
        self._check_unchanged()
        without = [model.without for target in state.targets for model in target.models]
        rows, ignore_errors = GivenRows.of(X, "get NaN"), self.on_error == "nan"
        with self._bar("predict", rows, {"models": 5e-4 * len(rows)}) as bar:
            described = rows.describe(self._recipe(), ignore_errors, bar)
            wanted = np.ones(len(rows), dtype=bool)
            found = AnsweredRows.of(rows, described, wanted, state.layout, without, ignore_errors)
            bar.begin("models")
            answers = predict(found)
        values = np.full((len(rows), *answers.shape[1:]), np.nan)
        values[found.used] = answers
        lacking = found.used[~found.complete] if NONE in without else found.used[:0]
        return Prediction(values, rows, lacking, found)

    def _novelty(self, found: Prediction, to_training: NDArray[np.float64]) -> pd.DataFrame:
        """How novel the rows of a prediction are, (n_rows, 2).

        Parameters
        ----------
        found : Prediction
        to_training : (n_rows,)
        """
        to_corpus = np.full(len(to_training), np.nan)
        first, rows = check_weights(self.weights)[0], found.found
        if rows.structures and CorpusSummary.is_there(first):
            novelty = UnateNovelty(first, self.device)
            to_corpus[rows.used] = novelty._columns(rows.structures, False).values[:, 0]
        both = dict(zip(NOVELTIES, (to_training, to_corpus), strict=True))
        return pd.DataFrame(both, found.rows.index)

    def _check_unchanged(self) -> None:
        if checksums(check_weights(self.weights)) != self._state.weights_sha256:
            raise InputError(
                f"the weights {self.weights!r} are not those of the fit; fit again, or set weights "
                "to the former ones"
            )
        if self._recipe().names() != list(self._state.feature_names):
            raise InputError(
                "the options of the columns were changed after the fit; fit again, or set "
                "tight_binding back"
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags
