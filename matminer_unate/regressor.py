"""The recommended recipe as one estimator: structures and numbers in, a model with errors out."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import check_is_fitted

from matminer_unate.block_kernel_ridge import BlockKernelRidge
from matminer_unate.checkpoint import DEFAULT_WEIGHTS
from matminer_unate.encoding import weights_config
from matminer_unate.entries import entries_of
from matminer_unate.errors import InputError, UnateWarning
from matminer_unate.recipe_columns import FINGERPRINT, FORMULA, Recipe, is_column_table
from matminer_unate.regressor_parts import (
    ConformalScale,
    combine_importances,
    fit_blend,
    require_lightgbm,
)
from matminer_unate.targets import check_targets, target_floor

DEFAULT_REGRESSOR_WEIGHTS = (DEFAULT_WEIGHTS, "mp_v2_taught")

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

ONE_SIGMA = 0.6827
"""Share of a normal distribution within one standard deviation."""


class UnateRegressor(RegressorMixin, BaseEstimator):
    """Predict a property of crystal structures, with an error bar for each of them.

    Structures become columns: Magpie's statistics of the elements, volume, space group, pooled
    physical site descriptors, what a tight-binding model says of the electrons, a fingerprint of
    distances and directions, and the learned columns of :class:`~matminer_unate.UnateFeaturizer`.
    Kernel ridge regression on all of them is blended with two sets of LightGBM trees on all but the
    fingerprint and the learned ones: one takes the held-out kernel prediction as a further column,
    the other learns what it leaves over.

    Scales of the kernel, penalty and shares of the blend are chosen by cross-validation on the
    training rows, in folds of whole formulas; the trees of all folds are averaged. The held-out
    residuals of the same folds give the error bars.

    Parameters
    ----------
    weights : str or path, or sequence of them
        Names of weights that come with the package, or weights folders. One of the default,
        ``"mp_v2_taught"``, learned from the atom features of a potential that was trained on
        energies; ``"mp_v2"`` alone saw no label, and the error of formation energies is a tenth
        higher.
    tight_binding : bool
        Use the tight-binding columns. They take most of the time to featurize (10 to 30 ms
        for a crystal of 10 sites) and lower the error of band gaps.
    minimum : "auto", None or float
        Least value the target can have, such as 0 for a band gap: predictions and intervals are
        cut off there. ``"auto"`` takes the least training target if a tenth of them, and at least
        three, have it.
    n_folds : int
        Of the cross-validation; fewer where there are fewer formulas. Time grows in proportion.
    max_kernel_rows : int
        Rows that the kernel is spanned by. Time grows with the third power of it, memory with the
        second. With more training rows, a random choice of this many is the basis.
    on_error : {"raise", "nan"}
        What an unusable structure does: stop with an error that names its row; or be left out of
        training and get a prediction of NaN, with one warning.
    device : str
        Of the learned columns: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, …
    n_jobs : int or None
        Trees of several folds grown at once, as in scikit-learn: None is 1, -1 all cores.
    random_state : int
        From 0 on.

    Attributes
    ----------
    feature_names_ : (n_columns,) array of str
    feature_importances_ : (n_columns,)
        Sum to 1; see :meth:`importances`.
    blend_ : Series
        Shares of kernel ridge and both sets of trees in the prediction.
    held_out_predictions_ : (n_rows,)
        Predictions of the training rows by models that have not seen their formulas; NaN where the
        structure was unusable. Their error is a little lower than that on new crystals, since
        scales and shares were chosen by it.
    held_out_error_ : float
        Their mean absolute error.
    minimum_ : float
    n_rows_ : int
        Training rows used.

    Notes
    -----
    * Fitting takes 6 s on 250 rows, 26 s on 2,000 and 100 s on 16,000, on one core with the columns
      at hand; 16,000 rows need 4 GB of memory.
    * Give ``log10(y)`` where ratios matter more than differences, as for moduli.
    * To fit often on the same structures (grid searches, learning curves), call :meth:`featurize`
      once: ``fit`` and ``predict`` take the frame it returns in place of structures.
    * The intervals hold for new formulas of the kind that is in the training rows (cross-conformal
      prediction, Vovk, Ann. Math. Artif. Intell. 74, 9 (2015), doi:10.1007/s10472-013-9368-4, with
      locally scaled residuals, Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018),
      doi:10.1080/01621459.2017.1307116), on average over them. They tell nothing of other kinds.

    Examples
    --------
    >>> from matminer_unate import UnateRegressor
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors()
    >>> model = UnateRegressor().fit(df["structure"][20:], df["gap_ev"][20:])
    >>> gap, std = model.predict(df["structure"][:20], return_std=True)
    """

    def __init__(
        self,
        weights: str | Path | Sequence[str | Path] = DEFAULT_REGRESSOR_WEIGHTS,
        tight_binding: bool = True,
        minimum: Literal["auto"] | float | None = "auto",
        n_folds: int = 5,
        max_kernel_rows: int = 4_000,
        on_error: Literal["raise", "nan"] = "raise",
        device: str = "auto",
        n_jobs: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.weights = weights
        self.tight_binding = tight_binding
        self.minimum = minimum
        self.n_folds = n_folds
        self.max_kernel_rows = max_kernel_rows
        self.on_error = on_error
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state

    def featurize(self, X: Any) -> pd.DataFrame:
        """The columns of structures, which ``fit`` and ``predict`` take in place of them.

        Returns
        -------
        DataFrame
            Reduced formula and columns (float32); with ``on_error="nan"`` NaN in rows that are no
            usable structure.

        Raises
        ------
        StructureError
            A structure is unusable; the message names its row.
        InputError
            ``X`` is not a list, tuple, Series, one-column DataFrame or array of structures.
        """
        self._check_options()
        index = X.index if isinstance(X, pd.Series | pd.DataFrame) else None
        structures = pd.Series(entries_of(X), index=index, dtype=object)
        return self._recipe().featurize(structures, self.on_error == "nan")

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Fit to structures and their targets.

        Parameters
        ----------
        X : list, tuple, Series, one-column DataFrame or array of structures
            Or the frame that :meth:`featurize` returned, or rows of it.
        y : (n_rows,)
        groups : (n_rows,), optional
            Rows of one group stay in one fold. Default: the reduced formula.

        Raises
        ------
        InputError
            Lengths differ, a target is not finite, an option is wrong, or the rows are of fewer
            than three groups.
        StructureError
            A structure is unusable; the message names its row.
        ImportError
            LightGBM is not installed.
        """
        require_lightgbm()
        self._check_options()
        X = list(X) if isinstance(X, Iterator) else X  # which can be read only once
        n_rows = len(X) if is_column_table(X) else len(entries_of(X))
        if n_rows < LEAST_GROUPS:
            raise InputError(f"the fit needs at least {LEAST_GROUPS} structures, got {n_rows}")
        targets = check_targets(y, n_rows)
        if groups is not None and len(groups) != n_rows:
            raise InputError(f"{n_rows} structures need {n_rows} groups, got {len(groups)}")
        table = self._table(X)
        used = np.flatnonzero(table[FORMULA].notna())
        labels = table[FORMULA].to_numpy() if groups is None else np.asarray(groups)
        folds = self._folds(labels[used])
        recipe = self._recipe()
        blocks = recipe.blocks()
        columns = table.iloc[used, 1:].to_numpy(np.float64)
        targets = targets[used]

        self.minimum_ = target_floor(self.minimum, targets)
        self.feature_names_ = np.array(table.columns[1:], dtype=object)
        self.weights_sha256_ = checksums(recipe.weights)
        slices = _slices([len(names) for names in blocks.values()])
        self.n_tree_columns_ = recipe.n_tree_columns()
        self.kernel_ = BlockKernelRidge(self.max_kernel_rows, self.random_state)
        learned = START_LEARNED_SCALE / len(recipe.weights)
        scales = [START_SCALES.get(name, learned) for name in blocks]
        start = scales, START_PENALTY
        held_out = self.kernel_.fit(columns, slices, targets, folds, start)
        trees = columns[:, : self.n_tree_columns_]
        self.model_, honest = fit_blend(
            trees, held_out, targets, folds, self.minimum_, self.n_jobs, self.random_state
        )
        self.scale_ = ConformalScale.fit(
            honest,
            self.model_.shares,
            held_out.similarity,
            targets,
            folds,
            self.minimum_,
            self.random_state,
        )
        self.held_out_predictions_ = np.full(n_rows, np.nan)
        self.held_out_predictions_[used] = self.model_.mix(honest, self.minimum_)
        residuals = self.held_out_predictions_[used] - targets
        self.held_out_error_ = float(np.abs(residuals).mean())
        self.n_rows_ = len(used)
        few = np.random.default_rng(self.random_state).permutation(len(columns))[:300]
        self.feature_importances_ = combine_importances(
            self.model_, self.kernel_.sensitivity(columns[few]), self.n_tree_columns_
        )
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predictions of structures.

        Parameters
        ----------
        X : list, tuple, Series, one-column DataFrame or array of structures
            Or the frame that :meth:`featurize` returned, or rows of it.
        return_std : bool
            Give the standard deviation as well: half the width of the interval that holds 68.3 %.
            Errors have longer tails than a normal distribution: for other shares, use
            :meth:`predict_interval`.

        Returns
        -------
        prediction : (n_rows,)
        std : (n_rows,)
            If asked for.

        Raises
        ------
        StructureError
            A structure is unusable; the message names its row.
        """
        found, scale = self._predict(X)
        return (found, scale * self.scale_.quantile(ONE_SIGMA)) if return_std else found

    def predict_interval(self, X: Any, coverage: float = 0.9) -> NDArray[np.float64]:
        """Lower and upper ends that hold this share of new crystals, (n_rows, 2).

        Parameters
        ----------
        X : as for :meth:`predict`
        coverage : float
            Above 0, below 1. With n training rows, shares up to n/(n + 1) can be had.

        Raises
        ------
        InputError
            The coverage cannot be had.
        """
        check_is_fitted(self, "model_")
        width = self.scale_.quantile(coverage)
        found, scale = self._predict(X)
        ends = np.column_stack([found - width * scale, found + width * scale])
        return np.maximum(ends, self.minimum_)

    def importances(self) -> pd.Series:
        """Importance of every column by name, the largest first; they sum to 1.

        Gain of the trees, and squared sensitivity of the kernel ridge prediction, in their shares
        of the blend. Columns that say the same share their importance.
        """
        check_is_fitted(self, "model_")
        series = pd.Series(self.feature_importances_, self.feature_names_, name="importance")
        return series.sort_values(ascending=False, kind="stable")

    @property
    def blend_(self) -> pd.Series:
        """Shares of the parts in the prediction."""
        check_is_fitted(self, "model_")
        names = ["kernel ridge", "trees with its prediction", "trees on its residual"]
        return pd.Series(self.model_.shares, names, name="share")

    def save(self, folder: str | Path) -> None:
        """Write the fitted model as ``config.json``, ``model.safetensors`` and LightGBM's texts.

        The weights are not in it, only their name and checksum.

        Parameters
        ----------
        folder : path
            Created if need be; files in it are replaced.
        """
        from matminer_unate.regressor_files import save_regressor

        check_is_fitted(self, "model_")
        save_regressor(self, Path(folder))

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
        from matminer_unate.regressor_files import load_regressor

        model = cls()
        load_regressor(model, Path(folder).expanduser(), weights)
        return model

    # -- inside ----------------------------------------------------------------------------------

    def _recipe(self) -> Recipe:
        return Recipe(check_weights(self.weights), self.device, self.tight_binding)

    def _check_options(self) -> None:
        if self.on_error not in ("raise", "nan"):
            raise InputError(f"on_error must be 'raise' or 'nan', got {self.on_error!r}")
        if self.n_folds < LEAST_GROUPS:
            raise InputError(f"n_folds must be at least {LEAST_GROUPS}, got {self.n_folds}")
        if self.max_kernel_rows < 1:
            raise InputError(f"max_kernel_rows must be at least 1, got {self.max_kernel_rows}")
        if not isinstance(self.random_state, numbers.Integral) or self.random_state < 0:
            raise InputError(f"random_state must be an integer from 0 on, got {self.random_state}")

    def _table(self, X: Any) -> pd.DataFrame:
        if not is_column_table(X):
            return self.featurize(X)
        self._recipe().check(X)
        bad = np.flatnonzero(X[FORMULA].isna())
        if len(bad) and self.on_error == "raise":
            raise InputError(f"row {bad[0]} has no columns; drop it, or set on_error='nan'")
        if len(bad):
            warnings.warn(
                f"{len(bad)} of {len(X)} rows have no columns and are left out",
                UnateWarning,
                stacklevel=3,
            )
        return X

    def _folds(self, labels: Sequence[Any] | NDArray[Any]) -> list[NDArray[np.int64]]:
        codes, distinct = pd.factorize(np.asarray(labels, dtype=object))
        if (codes < 0).any():
            raise InputError(f"the group of row {int(np.argmin(codes))} is missing (NaN or None)")
        if len(distinct) < LEAST_GROUPS:
            raise InputError(
                f"the usable rows are of {len(distinct)} group(s), cross-validation needs at least "
                f"{LEAST_GROUPS}; groups are reduced formulas unless fit(…, groups=…) gives others"
            )
        n_folds = min(self.n_folds, len(distinct))
        splitter = GroupKFold(n_folds, shuffle=True, random_state=self.random_state)
        return [fold for _, fold in splitter.split(codes, groups=codes)]

    def _predict(self, X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predictions, and the scale of their errors."""
        check_is_fitted(self, "model_")
        if checksums(check_weights(self.weights)) != self.weights_sha256_:
            raise InputError(
                f"the weights {self.weights!r} are not those of the fit; fit again, or set weights "
                "to the former ones"
            )
        if self._recipe().names() != list(self.feature_names_):
            raise InputError(
                "the options of the columns were changed after the fit; fit again, or set "
                "tight_binding back"
            )
        table = self._table(X)
        good = table[FORMULA].notna().to_numpy()
        found, scale = np.full(len(table), np.nan), np.full(len(table), np.nan)
        if good.any():
            columns = table.iloc[good, 1:].to_numpy(np.float64)
            kernel, similarity = self.kernel_.predict(columns)
            parts = self.model_.parts(columns[:, : self.n_tree_columns_], kernel)
            found[good] = self.model_.mix(parts, self.minimum_)
            scale[good] = self.scale_.predict(parts, similarity, self.minimum_)
        return found, scale

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def check_weights(weights: Any) -> tuple[str | Path, ...]:
    """One or several weights → a tuple of them.

    Raises
    ------
    InputError
        There are none, or two of them have the same name, so that columns would too.
    WeightsError
        There are no such weights.
    """
    is_several = isinstance(weights, Iterable) and not isinstance(weights, str | Path)
    several = tuple(weights) if is_several else (weights,)
    names = [weights_config(w).name for w in several]
    if not names or len(set(names)) < len(names):
        found = ", ".join(names) or "none"
        raise InputError(f"weights need different names, and there must be some; got {found}")
    return several


def checksums(weights: Sequence[str | Path]) -> list[str]:
    """SHA-256 of each of several weights."""
    return [weights_config(w).sha256 for w in weights]


def _slices(widths: Sequence[int]) -> list[slice]:
    ends = np.cumsum(widths)
    return [slice(int(end - width), int(end)) for end, width in zip(ends, widths, strict=True)]
