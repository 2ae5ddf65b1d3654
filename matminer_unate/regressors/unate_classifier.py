"""The recommended recipe for classes: structures and labels in, calibrated probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import StrOptions

from matminer_unate.crystals.ordering import Disorder
from matminer_unate.errors import InputError
from matminer_unate.regressors.class_models import N_TREES, FittedClasses, tree_count
from matminer_unate.regressors.fitting import fit_classes
from matminer_unate.regressors.recipe_estimator import RECIPE_WEIGHTS, RecipeEstimator
from matminer_unate.regressors.saved_classifier import load_classifier, save_classifier
from matminer_unate.regressors.stages import stage_seconds
from matminer_unate.scores import ClassifierScore
from matminer_unate.targets import read_classes

TREE_SHARE = 0.25
"""What 300 trees for one output take of the time of the trees of a regressor, two times 1,000."""


class UnateClassifier(ClassifierScore, ClassifierMixin, RecipeEstimator[FittedClasses]):
    """Tell classes of crystal structures, such as metal or not, with calibrated probabilities.

    The columns are those of :class:`~matminer_unate.UnateRegressor`. Kernel ridge regression on all
    of them learns the indicators of the classes; LightGBM sees its held-out predictions beside all
    columns but the fingerprint and the learned ones, and lowers the log loss. Scales and penalty of
    the kernel are chosen by cross-validation in folds of whole formulas, the trees of all folds are
    averaged, and on their held-out rows the probabilities are calibrated.

    A crystal can lack the tight-binding columns, when its primitive cell is too large for that
    model: a second, smaller classifier without these columns answers for it, and a warning names
    it.

    Parameters
    ----------
    weights : str or path, or sequence of them
        Names of weights that come with the package, or weights folders.
    tight_binding : bool
        Use the tight-binding columns. They take most of the time to featurize.
    class_weight : None, "balanced" or dict
        How much rows of a class count, by its label, times ``sample_weight``. With ``"balanced"``,
        all classes count alike in total; probabilities are then those of a world where they are
        equally frequent.
    n_folds : int
        Of the cross-validation, at least 3; fewer where there are fewer formulas. Time grows in
        proportion.
    max_kernel_rows : int
        Rows that the kernel is spanned by.
    on_error : {"raise", "nan"}
        What an unusable structure does, and one that lacks columns which the model cannot do
        without: stop with an error that names its row; or be left out of training, get
        probabilities of NaN and NaN for a label, with one warning.
    disorder : {"raise", "ordered"}
        As of :class:`~matminer_unate.UnateFeaturizer`.
    device : str
        Of the learned columns: ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, …
    n_jobs : int or None
        Trees of several folds grown at once, as in scikit-learn: None is 1, -1 all cores.
    random_state : int or None
        From 0 on. None draws a seed, which ``seed_`` then is.
    progress : bool
        Show a bar with the expected time, the stage and the time left, in terminals and notebooks,
        where the work takes more than two seconds.

    Attributes
    ----------
    classes_ : (n_classes,)
        Labels in their order.
    feature_names_ : (n_columns,) array of str
    feature_importances_ : (n_columns,)
        Sum to 1; see :meth:`importances`.
    held_out_predictions_ : (n_rows, n_classes)
        Probabilities of the training rows by models and calibrations that have not seen their
        formulas; NaN where the structure was unusable or had a weight of 0.
    held_out_error_ : float
        Their log loss, −ln of the probability of what the row is, weighted as the rows are.
    held_out_error_without_ : dict of str to float
        The same of the models that do without a block of columns, by its name.
    seed_ : int
    n_rows_ : int
        Training rows used.

    Examples
    --------
    >>> from matminer_unate import UnateClassifier
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors().head(60)
    >>> wide = df["gap_ev"] > 2
    >>> model = UnateClassifier().fit(df["structure"][20:], wide[20:])
    >>> probability = model.predict_proba(df["structure"][:20])[:, 1]
    """

    _write = staticmethod(save_classifier)
    _read = staticmethod(load_classifier)
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **RecipeEstimator._parameter_constraints,
        "class_weight": [None, dict, StrOptions({"balanced"})],
    }

    def __init__(
        self,
        weights: str | Path | Sequence[str | Path] = RECIPE_WEIGHTS,
        tight_binding: bool = True,
        class_weight: Literal["balanced"] | dict[Any, float] | None = None,
        n_folds: int = 5,
        max_kernel_rows: int = 4_000,
        on_error: Literal["raise", "nan"] = "raise",
        disorder: Disorder = "raise",
        device: str = "auto",
        n_jobs: int | None = None,
        random_state: int | None = 0,
        progress: bool = True,
    ) -> None:
        self.weights = weights
        self.tight_binding = tight_binding
        self.class_weight = class_weight
        self.n_folds = n_folds
        self.max_kernel_rows = max_kernel_rows
        self.on_error = on_error
        self.disorder = disorder
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any, *, groups: Any = None, sample_weight: Any = None) -> Self:
        """Fit to structures and their classes.

        Parameters
        ----------
        X : list, tuple, Series, one-column DataFrame or array of structures
            Or the frame that :meth:`featurize` returned, or rows of it.
        y : (n_rows,)
            Labels: strings, booleans or whole numbers, of at least two classes.
        groups : (n_rows,), optional
            Rows of one group stay in one fold. Default: the reduced formula.
        sample_weight : (n_rows,), optional
            How much a row counts; a row of weight 0 is left out.

        Raises
        ------
        InputError
            Lengths differ, a label is missing, there is one class only, an option is wrong, or the
            rows are of fewer than three groups.
        StructureError
            A structure is unusable; the message names its row.
        ImportError
            LightGBM is not installed.
        """
        rows, groups, weights = self._training_rows(X, groups, sample_weight)
        classes, codes = read_classes(y, len(rows), rows.index)
        class_weight = self._class_weight(classes.tolist())
        outputs = 1 if len(classes) == 2 else len(classes)
        stages = stage_seconds(len(rows), 1, self.n_folds, bool(self.tight_binding))
        share = TREE_SHARE * outputs * tree_count(len(rows)) / N_TREES
        stages = {
            name: seconds * (share if name.endswith("trees") else 1.0)
            for name, seconds in stages.items()
        }
        with self._bar("fit", rows, stages) as bar:
            learned = codes.astype(np.float64), classes, groups, weights, class_weight
            self.fitted_ = fit_classes(rows, self._recipe(), *learned, self._fit_options(), bar)
        return self

    def predict_proba(self, X: Any, return_novelty: bool = False) -> Any:
        """Probabilities of ``classes_``, (n_rows, n_classes).

        Parameters
        ----------
        X : list, tuple, Series, one-column DataFrame or array of structures
            Or the frame that :meth:`featurize` returned, or rows of it. Rows that lack the
            tight-binding columns are told by the model without these, with a warning that names the
            first of them.
        return_novelty : bool
            Give what is unfamiliar about each row as well, as a pair with the probabilities: a
            DataFrame, as of ``UnateRegressor.predict``.

        Raises
        ------
        StructureError
            A structure is unusable; the message names its row.
        InputError
            A row lacks columns that the model cannot do without; the message names it.
        """
        state = self._state
        (target,) = state.targets
        found = self._answer(
            X,
            lambda rows: np.column_stack(target.predict(rows.columns, state.layout, rows.lacking)),
        )
        found.warn()
        probabilities = found.values[:, :-1]
        if return_novelty:
            return probabilities, self._novelty(found, found.values[:, -1])
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each structure, (n_rows,); as :meth:`predict_proba`.

        With ``on_error="nan"`` and rows that have none, objects, NaN among them.
        """
        probabilities = self.predict_proba(X)
        known = np.array([not row.any() for row in np.isnan(probabilities)], dtype=bool)
        best = self.classes_[np.argmax(np.where(known[:, None], probabilities, 0.0), axis=1)]
        return best if known.all() else np.where(known, best.astype(object), np.nan)

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels in their order."""
        return self._state.targets[0].classes

    # -- inside ----------------------------------------------------------------------------------

    def _class_weight(self, labels: list[Any]) -> list[float] | Literal["balanced"]:
        """Of each class, in their order."""
        given: Any = self.class_weight or {}
        if given == "balanced":
            return "balanced"
        for label, weight in given.items():
            if label not in labels:
                raise InputError(
                    f"class_weight has {label!r}, which is none of the classes "
                    f"{', '.join(map(repr, labels))}"
                )
            if not (isinstance(weight, Real) and 0 < float(weight) < np.inf):
                raise InputError(
                    f"class_weight of {label!r} is {weight!r}; it must be a number above 0"
                )
        return [float(given.get(label, 1.0)) for label in labels]
