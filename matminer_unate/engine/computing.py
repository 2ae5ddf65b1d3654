"""Input rows → rows with their columns: of featurizers side by side, or of a saved model.

The values of a row depend a little on which rows it is batched with (rounding). Here they depend on
the block of rows alone, so that a run that goes on writes what it would have written.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.engine.columns import RECIPE, make_featurizer
from matminer_unate.engine.report import RowReport
from matminer_unate.errors import InputError, StructureError, UnateWarning, WeightsError
from matminer_unate.featurizers.base import StructureFeaturizer
from matminer_unate.featurizers.pooling import check_pooling
from matminer_unate.featurizers.rows import prepare_rows
from matminer_unate.featurizers.unate import UnateFeaturizer, prepare
from matminer_unate.io.input_rows import InputRow
from matminer_unate.network.devices import resolve_device
from matminer_unate.network.model_folder import kind_of
from matminer_unate.network.weights import WeightsConfig, check_weights, weights_config

CHUNK_ROWS, CHUNK_SITES = 500, 20_000
"""Rows, and sites, that are read and computed at once: some 50 MB."""

Results = Iterator[tuple[list[InputRow], NDArray[np.float32]]]
"""Good rows with their columns, some at a time, without their structures."""


class Computing(Protocol):
    """What computes the columns of rows.

    Attributes
    ----------
    labels : list of str
        Names of the columns, float32.
    words : list of str
        Names of columns of text, which the rows carry.
    made_by : dict
        How the columns are made: what is written into the table, and may not change in a run.
    """

    labels: list[str]
    words: list[str]
    made_by: dict[str, Any]

    def compute(self, rows: Iterable[InputRow], report: RowReport) -> Results:
        """Columns of the rows that are crystals, in their order; the others are reported."""

    def note_texts(self, report: RowReport) -> list[str]:
        """What is to be said of rows that got their columns all the same."""


class Options(Protocol):
    """What is asked for: can be pickled and compared, and loads what computes it."""

    def load(self) -> Computing: ...

    def __hash__(self) -> int: ...


# -- featurizers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FeaturizeOptions:
    """Which columns.

    Attributes
    ----------
    columns : tuple of str
        Of :data:`~matminer_unate.engine.columns.COLUMNS`.
    pooling : tuple of str or None
        Of featurizers; None stands for the default of each, as all None here do.
    weights : str or None
    device : str
    batch_size : int or None
    """

    columns: tuple[str, ...] = ("unate",)
    pooling: tuple[str, ...] | None = None
    weights: str | None = None
    device: str = "auto"
    batch_size: int | None = None

    def load(self) -> FeaturizedColumns:
        """The featurizers, with their networks loaded.

        Raises
        ------
        InputError, WeightsError
            An option is wrong.
        """
        if len(set(self.columns)) < len(self.columns):
            raise InputError("--columns names a featurizer twice; name each once")
        if RECIPE in self.columns and self.pooling:
            raise InputError("the recipe has poolings of its own; leave --pooling out")
        parts: dict[str, _Part] = {}
        for name in self.columns:
            parts[name] = self._recipe() if name == RECIPE else self._featurizer(name)
        return FeaturizedColumns(parts, resolve_device(self.device).type)

    def _featurizer(self, name: str) -> _Part:
        featurizer = make_featurizer(name)
        given = {
            "pooling": self.pooling,
            "weights": self.weights,
            "device": self.device,
            "batch_size": self.batch_size,
        }
        known = featurizer.get_params()
        some = {k: v for k, v in given.items() if k in known and v is not None}
        return _FeaturizerPart(featurizer.set_params(**some).fit())

    def _recipe(self) -> _Part:
        from matminer_unate.regressors.unate_regressor import UnateRegressor

        model = UnateRegressor(device=self.device, on_error="nan", progress=False)
        if self.weights is not None:
            model.set_params(weights=self.weights)
        return _RecipePart(model)


Found = tuple[NDArray[np.float32], dict[int, Exception], dict[str, list[Any]]]
"""Columns, why rows have none, and columns of text."""


class _Part(Protocol):
    """One featurizer of several, or the recipe."""

    labels: list[str]
    words: list[str]
    made_by: dict[str, Any]

    def columns(self, name: str, rows: Sequence[InputRow], report: RowReport) -> Found: ...

    def note_texts(self, counts: dict[str, Any]) -> list[str]: ...


class _FeaturizerPart:
    def __init__(self, featurizer: StructureFeaturizer) -> None:
        self._featurizer = featurizer
        self.labels, self.words = featurizer.feature_labels(), list[str]()
        pooling = featurizer.get_params().get("pooling")
        self.made_by: dict[str, Any] = {"pooling": list(check_pooling(pooling))} if pooling else {}
        if isinstance(featurizer, UnateFeaturizer):
            config = weights_config(featurizer.weights)
            self.made_by |= {
                "weights": config.name,
                "sha256": config.sha256,
                "batch_size": featurizer.batch_size,
            }

    def columns(self, name: str, rows: Sequence[InputRow], report: RowReport) -> Found:
        structures = [row.error or row.structure for row in rows]
        found = self._featurizer._columns(structures, ignore_errors=True)
        report.noted(name, found.notes)
        return found.values, dict(found.errors), {}

    def note_texts(self, counts: dict[str, Any]) -> list[str]:
        notes = self._featurizer._notes()
        notes.unknown = set(counts["unknown"])
        notes.rows_unknown = counts["rows_unknown"]
        notes.rows_isolated = counts["rows_isolated"]
        return notes.texts()


class _RecipePart:
    def __init__(self, model: Any) -> None:
        self._model = model
        configs = [weights_config(w) for w in check_weights(model.weights)]
        self._config = configs[0]
        self.labels, self.words = model._recipe().names(), ["formula"]
        self.made_by: dict[str, Any] = {
            "weights": [config.name for config in configs],
            "sha256": [config.sha256 for config in configs],
        }

    def columns(self, name: str, rows: Sequence[InputRow], report: RowReport) -> Found:
        errors: dict[int, Exception] = {}
        good = _usable(rows, self._config, errors.__setitem__)
        values = np.full((len(rows), len(self.labels)), np.nan, np.float32)
        formulas: list[Any] = [None] * len(rows)
        if good:
            some = [rows[k] for k in good]
            table = _said(some, report, lambda s: self._model.featurize(s))
            values[good] = table[self.labels].to_numpy(np.float32)
            for k, formula in zip(good, table["formula"], strict=True):
                formulas[k] = formula
        return values, errors, {"formula": formulas}

    def note_texts(self, counts: dict[str, Any]) -> list[str]:
        return []  # its notes are warnings


class FeaturizedColumns:
    """The columns of several featurizers, or of the recipe, side by side.

    A column that two of them have comes once: of the first, or of the recipe alone where that has
    all of a featurizer's.
    """

    def __init__(self, parts: dict[str, _Part], device: str) -> None:
        made_by = {name: part.made_by for name, part in parts.items()}
        self.made_by: dict[str, Any] = {
            "version": version("matminer_unate"),
            "device": device,
            "columns": made_by,
        }
        if RECIPE in parts:
            covered = set(parts[RECIPE].labels)
            parts = {
                name: part
                for name, part in parts.items()
                if name == RECIPE or not covered >= set(part.labels)
            }
        self._parts = parts
        every = [label for part in parts.values() for label in part.labels]
        first = {label: k for k, label in reversed(list(enumerate(every)))}
        self.labels = list(dict.fromkeys(every))
        self._chosen = [first[label] for label in self.labels]
        self.words = [word for part in parts.values() for word in part.words]

    def compute(self, rows: Iterable[InputRow], report: RowReport) -> Results:
        """As in :class:`Computing`.

        A row fails with the first featurizer that has no columns for it, and the next ones are not
        asked.
        """
        for chunk in _chunks(rows):
            good, errors = list(range(len(chunk))), dict[int, Exception]()
            blocks: list[NDArray[np.float32]] = []
            for name, part in self._parts.items():
                values, failed, words = part.columns(name, [chunk[k] for k in good], report)
                for k, error in failed.items():
                    named = len(self._parts) > 1 and chunk[good[k]].error is None
                    errors[good[k]] = StructureError(f"{name}: {error}") if named else error
                for word, texts in words.items():
                    for k, text in zip(good, texts, strict=True):
                        carried = {**chunk[k].carried, word: text}
                        chunk[k] = replace(chunk[k], carried=carried)
                kept = [k for k in range(len(good)) if k not in failed]
                blocks = [block[kept] for block in blocks] + [values[kept]]
                good = [good[k] for k in kept]
            for k, row in enumerate(chunk):
                if k in errors:
                    report.failed(row, errors[k])
                else:
                    report.remark(row)
            report.n_good += len(good)
            whole = np.hstack(blocks)
            chosen = whole if len(self._chosen) == whole.shape[1] else whole[:, self._chosen]
            yield [replace(chunk[k], structure=None) for k in good], chosen

    def note_texts(self, report: RowReport) -> list[str]:
        """As in :class:`Computing`."""
        return [
            f"{name}: {text}" if len(self._parts) > 1 else text
            for name, part in self._parts.items()
            if name in report.notes
            for text in part.note_texts(report.notes[name])
        ]


# -- saved models ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class PredictOptions:
    """Which model.

    Attributes
    ----------
    model : str
        Folder that ``save`` of ``UnateFineTuneRegressor`` or ``UnateRegressor`` wrote.
    device : str
    name : str
        Of the column of predictions.
    novelty : bool
        With columns of what is unfamiliar about a row.
    """

    model: str
    device: str = "auto"
    name: str = "prediction"
    novelty: bool = False

    def load(self) -> PredictedColumns:
        """The model.

        Raises
        ------
        WeightsError
            The folder holds none, or is damaged.
        InputError
            The model cannot tell what is novel.
        """
        predictor = load_predictor(Path(self.model), self.device, self.novelty)
        return PredictedColumns(predictor, self.name)


@dataclass(frozen=True)
class Predictor:
    """A saved model, ready to predict.

    Attributes
    ----------
    made_by : dict
        Its class, the names of the weights it was made with, and checksums of its files.
    config : WeightsConfig
        Of the first of the weights.
    suffixes : tuple of str
        What the names of its columns end in; the first is the prediction.
    predict : callable
        Structures → (n, len(suffixes)), NaN where it cannot.
    """

    made_by: dict[str, Any]
    config: WeightsConfig
    suffixes: tuple[str, ...]
    predict: Callable[[list[Any]], NDArray[np.float64]]


def load_predictor(folder: Path, device: str, novelty: bool = False) -> Predictor:
    """Load a saved model; see :class:`PredictOptions`."""
    try:
        kind = kind_of(folder)
    except (WeightsError, OSError):
        kind = ""
    if kind == "UnateFineTuneRegressor":
        if novelty:
            raise InputError(
                f"{folder} is a {kind}, which keeps nothing of its training rows; leave --novelty "
                "out, or ask UnateNovelty"
            )
        from matminer_unate.finetuning.fine_tune_regressor import UnateFineTuneRegressor

        network = UnateFineTuneRegressor.load(folder, device).set_params(progress=False)
        config = network.weights_config_
        made_by = _model_made_by(folder, kind, config.name, device)
        return Predictor(made_by, config, ("",), lambda s: network.predict(s)[:, None])
    if kind == "UnateRegressor":
        from matminer_unate.regressors.unate_regressor import UnateRegressor

        model = UnateRegressor.load(folder)
        suffixes = [name + end for name in _names(model.target_labels_) for end in ("", "_std")]

        def with_errors(structures: list[Any]) -> tuple[NDArray[np.float64], Any]:
            found, std, *novelties = model.predict(structures, True, novelty)
            return np.stack([found, std], axis=-1).reshape(len(structures), -1), novelties

        return _recipe_predictor(model, folder, device, suffixes, novelty, with_errors)
    if kind == "UnateClassifier":
        from matminer_unate.regressors.unate_classifier import UnateClassifier

        classifier = UnateClassifier.load(folder)
        suffixes = [f"_{label}" for label in classifier.classes_]

        def probabilities(structures: list[Any]) -> tuple[NDArray[np.float64], Any]:
            found = classifier.predict_proba(structures, novelty)
            return (found[0], found[1:]) if novelty else (found, ())

        return _recipe_predictor(classifier, folder, device, suffixes, novelty, probabilities)
    raise WeightsError(
        f"{folder} is no saved model; name the folder that save() of UnateRegressor, "
        "UnateClassifier or UnateFineTuneRegressor wrote"
    )


def _recipe_predictor(
    model: Any,
    folder: Path,
    device: str,
    suffixes: list[str],
    novelty: bool,
    predict: Callable[[list[Any]], tuple[NDArray[np.float64], Sequence[pd.DataFrame]]],
) -> Predictor:
    """Of an estimator on the recipe's columns; of a classifier, probabilities are predicted.

    ``predict`` returns the frame of novelties as well, if they are asked for.
    """
    from matminer_unate.regressors.recipe_estimator import known_novelties

    model.set_params(on_error="nan", device=device, progress=False)
    names = known_novelties(model.weights) if novelty else []

    def with_novelty(structures: list[Any]) -> NDArray[np.float64]:
        found, novelties = predict(structures)
        return np.hstack([found, *(frame[names].to_numpy() for frame in novelties)])

    configs = [weights_config(w) for w in check_weights(model.weights)]
    of_weights = ", ".join(config.name for config in configs)
    made_by = _model_made_by(folder, type(model).__name__, of_weights, device)
    ends = (*suffixes, *(f"_novelty_{name}" for name in names))
    return Predictor(made_by, configs[0], ends, with_novelty)


def _model_made_by(folder: Path, kind: str, weights: str, device: str) -> dict[str, Any]:
    from matminer_unate.engine.identity import file_identity

    return {
        "version": version("matminer_unate"),
        "device": resolve_device(device).type,
        "model": kind,
        "weights": weights,
        # It has the checksums of the other files in it.
        "sha256": file_identity(folder / "config.json")["sha256"],
    }


def _names(targets: list[Any]) -> list[str]:
    """What the columns of several targets are called, after the name of them all."""
    return [f"_{name}" for name in targets] if len(targets) > 1 else [""]


class PredictedColumns:
    """Predictions of a saved model."""

    def __init__(self, model: Predictor, name: str) -> None:
        self._model = model
        self.labels = [name + suffix for suffix in model.suffixes]
        self.words: list[str] = []
        self.made_by = model.made_by

    def compute(self, rows: Iterable[InputRow], report: RowReport) -> Results:
        """As in :class:`Computing`."""
        for chunk in _chunks(rows):
            errors: dict[int, Exception] = {}
            good = [chunk[k] for k in _usable(chunk, self._model.config, errors.__setitem__)]
            for k, row in enumerate(chunk):
                if k in errors:
                    report.failed(row, errors[k])
                else:
                    report.remark(row)
            if not good:
                continue
            found = _said(good, report, self._model.predict).astype(np.float32)
            finite = np.isfinite(found).all(axis=1)
            for k in np.flatnonzero(~finite).tolist():
                error = StructureError("the model has no prediction for this structure")
                report.failed(good[k], error)
            report.n_good += int(finite.sum())
            yield [replace(good[k], structure=None) for k in np.flatnonzero(finite)], found[finite]

    def note_texts(self, report: RowReport) -> list[str]:
        """As in :class:`Computing`."""
        return []


# -- both -----------------------------------------------------------------------------------------


def _chunks(rows: Iterable[InputRow]) -> Iterator[list[InputRow]]:
    """Rows in lists that are short enough to be held, and long enough for full batches."""
    chunk: list[InputRow] = []
    n_sites = 0
    for row in rows:
        chunk.append(row)
        n_sites += 0 if row.structure is None else len(row.structure)
        if len(chunk) >= CHUNK_ROWS or n_sites >= CHUNK_SITES:
            yield chunk
            chunk, n_sites = [], 0
    if chunk:
        yield chunk


def _usable(
    rows: Sequence[InputRow], config: WeightsConfig, failed: Callable[[int, StructureError], Any]
) -> list[int]:
    """Positions of the rows that a network can read."""
    structures = [row.error or row.structure for row in rows]
    return [k for k, _ in prepare_rows(structures, partial(prepare, config=config), failed)]


def _said(rows: Sequence[InputRow], report: RowReport, call: Callable[[list[Any]], Any]) -> Any:
    """Call with the structures of rows; what is warned of goes to the report."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnateWarning)
        found = call([row.structure for row in rows])
    report.warned(rows, [str(w.message) for w in caught if w.category is UnateWarning])
    return found
