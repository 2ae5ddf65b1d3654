"""Training rows of a fold → predictions: the recipe, the fine-tuned network, and their mean.

Every fit of one of the two is kept with its predictions, so that a killed run goes on with the
next, and their mean costs no second fit of either. Networks go on within a fit.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit

import matminer_unate
from benchmarks.labelled_tables import structures_of_arrays
from benchmarks.matbench.column_store import ColumnStore
from benchmarks.matbench.tasks import Fold, Index, TaskRows
from matminer_unate import TightBindingStats, UnateFineTuneRegressor, UnateRegressor
from matminer_unate.errors import InputError
from matminer_unate.io.whole_files import fresh_file
from matminer_unate.network.weights import checksums
from matminer_unate.regressors.recipe import FORMULA

Model = Literal["recipe", "network", "both"]
MODELS: tuple[Model, ...] = ("recipe", "network", "both")

SHARE_ROWS = 0.1
"""Share of the training formulas that the network is fitted without to choose its share of the
mean; it is fitted once more for that."""

TENTHS = np.arange(11) / 10

Options = dict[str, Any]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What a model says of the judged rows of a fold.

    Attributes
    ----------
    predictions : (n_judged,)
        Of classes, the probability of 1.
    held_out : (n_train,) or None
        Predictions of training rows by models that have not seen their formulas.
    facts : dict
        Seconds and choices, for the table.
    """

    predictions: Vector
    held_out: Vector | None
    facts: dict[str, Any]


class Experts:
    """Fits of one task.

    Parameters
    ----------
    work : Path
        Where fits are kept.
    rows : TaskRows
    options : dict
        Options of ``UnateRegressor`` (``UnateClassifier`` for classes) as ``"recipe"``, and of
        ``UnateFineTuneRegressor`` as ``"network"``.
    share : float or None
        Of the network in the mean; None to choose it on training rows.
    n_processes : int
        That columns are computed by.
    n_networks : int
        That are fitted and averaged, with a ``random_state`` of that in the options or 0, and up.
    """

    def __init__(
        self,
        work: Path,
        rows: TaskRows,
        options: dict[str, Options],
        share: float | None = None,
        n_processes: int = 1,
        n_networks: int = 1,
    ) -> None:
        self.work, self.rows, self.options = work, rows, options
        self.share, self.n_processes, self.n_networks = share, n_processes, n_networks
        self.recipe = recipe_estimator(rows.classes, options["recipe"])
        self.store = ColumnStore(work, rows.crystal_set, self.recipe)
        network = _estimator(UnateFineTuneRegressor, options["network"])
        reads = [checksums([network.weights]), TightBindingStats().feature_labels()]
        self.digests = {"recipe": self.store.digest, "network": digest_of(reads)}

    def outcome(self, model: Model, fold: Fold) -> Outcome:
        """Fit a model to the training rows of a fold, and predict the judged rows."""
        if model == "recipe":
            return self._recipe(fold)
        return self._networks(fold) if model == "network" else self._both(fold)

    def _both(self, fold: Fold) -> Outcome:
        recipe, network = self._recipe(fold), self._networks(fold)
        facts = {k: recipe.facts[k] + network.facts[k] for k in ("fit_cpu_s", "predict_cpu_s")}
        facts = recipe.facts | facts
        share = self.share
        if share is None:
            share, seconds = self._chosen_share(fold, recipe)
            facts["fit_cpu_s"] += seconds
        mean = share * network.predictions + (1 - share) * recipe.predictions
        return Outcome(mean, None, facts | {"network_share": share})

    def _chosen_share(self, fold: Fold, recipe: Outcome) -> tuple[float, float]:
        """The network's share that is best for formulas that neither has seen, and CPU seconds."""
        if recipe.held_out is None:
            raise InputError("this recipe has no held-out predictions to choose by; give --share")
        formulas = self._columns(fold.train, [FORMULA])[0][FORMULA].fillna("")
        splitter = GroupShuffleSplit(1, test_size=SHARE_ROWS, random_state=0)
        ((inside, outside),) = splitter.split(fold.train, groups=formulas)
        without = Fold(fold.number, fold.train[inside], fold.train[outside], fold.part)
        network = self._networks(without)
        pairs = recipe.held_out[outside], network.predictions
        share = best_share(*pairs, self.rows.y[without.judged], self.rows.classes)
        return share, network.facts["fit_cpu_s"] + network.facts["predict_cpu_s"]

    def _networks(self, fold: Fold) -> Outcome:
        """The mean of the networks; each fit is kept, for the next ones to be added."""
        found = [self._network(fold, seed) for seed in range(self.n_networks)]
        seconds = {k: sum(f.facts[k] for f in found) for k in ("fit_cpu_s", "predict_cpu_s")}
        mean = np.mean([f.predictions for f in found], axis=0)
        return Outcome(mean, None, found[0].facts | seconds)

    def _network(self, fold: Fold, seed: int) -> Outcome:
        options = self.options["network"]
        options = options | {"random_state": options.get("random_state", 0) + seed}

        def fit() -> Outcome:
            estimator = _estimator(UnateFineTuneRegressor, options)
            estimator.set_params(checkpoints=self.work / "checkpoints")
            if not (estimator.tight_binding and self.recipe.tight_binding):
                return self._fit(estimator, fold, *self._structures(fold))
            return self._fit_with_electrons(estimator, fold)

        return self._kept(self._path("network", fold, options), fit)

    def _recipe(self, fold: Fold) -> Outcome:
        options = self.options["recipe"]
        # With a network in it, columns are not enough.
        fit = self._fit_structures if options.get("network", False) else self._fit_columns
        return self._kept(self._path("recipe", fold, options), lambda: fit(fold))

    def _fit_columns(self, fold: Fold) -> Outcome:
        train, judged, seconds = self._columns_of(fold)
        found = self._fit(self.recipe, fold, train, judged)
        return replace(found, facts={"columns_cpu_s": seconds} | found.facts)

    def _fit_with_electrons(self, network: UnateFineTuneRegressor, fold: Fold) -> Outcome:
        """What the recipe has of the electrons serves each fit of the network too."""
        *electrons, seconds = self._columns_of(fold, TightBindingStats().feature_labels())
        train, judged = (
            columns.set_index(structures.index).assign(structure=structures)
            for columns, structures in zip(electrons, self._structures(fold), strict=True)
        )
        found = self._fit(network, fold, train, judged)
        return replace(found, facts={"columns_cpu_s": seconds} | found.facts)

    def _fit_structures(self, fold: Fold) -> Outcome:
        return self._fit(self.recipe, fold, *self._structures(fold))

    def _structures(self, fold: Fold) -> tuple[pd.Series, pd.Series]:
        train, judged = (
            pd.Series(structures_of_arrays(self.rows.crystals(rows)), self.rows.ids[rows])
            for rows in (fold.train, fold.judged)
        )
        return train, judged

    def _kept(self, path: Path, fit: Callable[[], Outcome]) -> Outcome:
        """The outcome in this file, or that of a fit, which is written there."""
        if path.exists():
            return _read(path)
        found = fit()
        _write(path, found)
        return found

    def _fit(self, estimator: Any, fold: Fold, train: Any, judged: Any) -> Outcome:
        y = self.rows.y[fold.train]
        started = time.process_time()
        estimator.fit(train, y)
        fitted = time.process_time()
        predictions = _predictions(estimator, judged)
        earlier = sum(report.earlier_seconds for report in getattr(estimator, "reports_", ()))
        facts: dict[str, Any] = {
            "fit_cpu_s": fitted - started + earlier,
            "predict_cpu_s": time.process_time() - fitted,
            "n_filled": int(np.isnan(predictions).sum()),
        }
        held_out = None
        if hasattr(estimator, "held_out_predictions_"):
            held_out = np.asarray(estimator.held_out_predictions_)
            held_out = held_out[:, -1] if held_out.ndim == 2 else held_out  # a column a class
            facts["held_out_error"] = float(estimator.held_out_error_)
        # MatBench wants a number of every row; of a crystal that cannot be read nothing is known.
        predictions = np.where(np.isnan(predictions), np.median(y), predictions)
        return Outcome(predictions, held_out, facts)

    def _columns_of(
        self, fold: Fold, names: list[str] | None = None
    ) -> tuple[pd.DataFrame, pd.DataFrame, float]:
        """Columns of the training rows and of the judged ones, and CPU seconds."""
        columns, seconds = self._columns(np.concatenate([fold.train, fold.judged]), names)
        n = len(fold.train)
        return columns.iloc[:n], columns.iloc[n:], seconds

    def _columns(self, rows: Index, names: list[str] | None = None) -> tuple[pd.DataFrame, float]:
        ids = self.rows.crystal_ids[rows]
        self.store.compute(ids, lambda k: self.rows.crystals(rows[k]), self.n_processes)
        return self.store.read(ids, names)

    def _path(self, name: str, fold: Fold, options: Options) -> Path:
        what = [
            name,
            sorted(options.items()),
            self.digests[name],
            *(hashlib.sha256(rows.tobytes()).hexdigest() for rows in (fold.train, fold.judged)),
        ]
        file = f"{name}-{fold.part}-{fold.number}-{digest_of(what)}.npz"
        return self.work / "fits" / self.rows.name / file


def digest_of(what: Any) -> str:
    """Twelve hexadecimal digits that tell it from others; ``what`` is for JSON."""
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]


def recipe_estimator(classes: bool, options: Options) -> Any:
    """``UnateRegressor``, or for classes ``UnateClassifier``.

    Raises
    ------
    InputError
        There is no classifier, or no such option.
    """
    if not classes:
        return _estimator(UnateRegressor, options)
    classifier = getattr(matminer_unate, "UnateClassifier", None)
    if classifier is None:
        raise InputError(
            "a task of classes needs UnateClassifier, which this version of matminer_unate has "
            "not; leave mp_is_metal out, or update"
        )
    return _estimator(classifier, options)


def _estimator(kind: Any, options: Options) -> Any:
    known = kind._get_param_names()
    for name in options:
        if name not in known:
            raise InputError(f"{kind.__name__} has no option {name!r}, but {', '.join(known)}")
    return kind(**{"on_error": "nan", "progress": False} | options)


def _predictions(estimator: Any, judged: Any) -> Vector:
    if not hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict(judged), dtype=np.float64)
    of_one = list(estimator.classes_).index(1)
    return np.asarray(estimator.predict_proba(judged), dtype=np.float64)[:, of_one]


def best_share(recipe: Vector, network: Vector, y: Vector, classes: bool) -> float:
    """The tenth with the least mean absolute error, or log loss of classes.

    Parameters
    ----------
    recipe, network : (n,)
        Predictions; rows where one is NaN do not count.
    y : (n,)
    classes : bool
    """
    known = np.isfinite(recipe) & np.isfinite(network)
    recipe, network, y = recipe[known], network[known], y[known]

    def error(share: float) -> float:
        mean = share * network + (1 - share) * recipe
        if not classes:
            return float(np.abs(mean - y).mean())
        mean = mean.clip(1e-6, 1 - 1e-6)
        return float(-np.log(np.where(y > 0.5, mean, 1 - mean)).mean())

    return float(min(TENTHS, key=error))


def _write(path: Path, found: Outcome) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    held_out = np.array([]) if found.held_out is None else found.held_out
    with fresh_file(path) as fresh, fresh.open("wb") as file:
        np.savez_compressed(
            file,
            predictions=found.predictions,
            held_out=held_out,
            facts=json.dumps(found.facts),
        )


def _read(path: Path) -> Outcome:
    with np.load(path) as content:
        held_out = content["held_out"]
        facts: dict[str, Any] = json.loads(str(content["facts"]))
        return Outcome(content["predictions"], held_out if len(held_out) else None, facts)


def read_options(pairs: Sequence[str]) -> Options:
    """``["target=auto", "n_folds=3"]`` → options of an estimator; values are JSON, or text.

    Raises
    ------
    InputError
        One of them has no ``=``.
    """
    options: Options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"{pair!r} is no option; write NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options
