"""Input rows → rows with the predictions of a saved model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.crystals.ordering import Disorder
from matminer_unate.engine.computing import Results, chunks, reported, usable
from matminer_unate.engine.report import RowReport
from matminer_unate.errors import InputError, StructureError, WeightsError
from matminer_unate.featurizers.unate import EncodingNotes
from matminer_unate.io.input_rows import InputRow
from matminer_unate.network.devices import resolve_device
from matminer_unate.network.model_folder import kind_of
from matminer_unate.network.weights import WeightsConfig, check_weights, weights_config


@dataclass(frozen=True)
class PredictOptions:
    """Which model.

    Attributes
    ----------
    model : str
        Folder that ``save`` of a regressor or of ``UnateClassifier`` wrote.
    device : str
    name : str
        Of the column of predictions.
    disorder : {"raise", "ordered"} or None
        None is as the model has it.
    novelty : bool
        With columns of what is unfamiliar about a row.
    interval : float or None
        With the ends of an interval that holds this share of new crystals.
    """

    model: str
    device: str = "auto"
    name: str = "prediction"
    disorder: Disorder | None = None
    novelty: bool = False
    interval: float | None = None

    def load(self) -> PredictedColumns:
        """The model.

        Raises
        ------
        WeightsError
            The folder holds none, or is damaged.
        InputError
            The model cannot tell what is novel, or has no intervals, or none of this share.
        """
        return PredictedColumns(load_predictor(self), self.name)


Answers = tuple[NDArray[np.float64], NDArray[Any] | None]
"""Columns of numbers of structures, NaN where there are none; and classes."""


@dataclass(frozen=True)
class Predictor:
    """A saved model, ready to predict.

    Attributes
    ----------
    made_by : dict
        Its class, the names of the weights it was made with, and checksums of its files.
    config : WeightsConfig
        Of the first of the weights.
    disorder : str
    suffixes : tuple of str
        What the names of its columns of numbers end in; of a regressor, the first is the
        prediction.
    predict : callable
        Structures → (n, len(suffixes)), and of a classifier the most probable classes.
    class_type : str
        Of a classifier: what Arrow calls the type of its classes.
    """

    made_by: dict[str, Any]
    config: WeightsConfig
    disorder: Disorder
    suffixes: tuple[str, ...]
    predict: Callable[[list[Any]], Answers]
    class_type: str = ""


def load_predictor(options: PredictOptions) -> Predictor:
    """Load a saved model; see :class:`PredictOptions`."""
    folder = Path(options.model)
    own: dict[str, Any] = {} if options.disorder is None else {"disorder": options.disorder}
    try:
        kind = kind_of(folder)
    except (WeightsError, OSError):
        kind = ""
    if kind != "UnateRegressor" and options.interval is not None:
        raise InputError(f"{folder} is a {kind}, which has no intervals; leave --interval out")
    if kind == "UnateFineTuneRegressor":
        if options.novelty:
            raise InputError(
                f"{folder} is a {kind}, which keeps nothing of its training rows; leave --novelty "
                "out, or ask UnateNovelty"
            )
        return _of_network(folder, options.device, own)
    if kind == "UnateRegressor":
        return _of_regressor(folder, options, own)
    if kind == "UnateClassifier":
        return _of_classifier(folder, options, own)
    raise WeightsError(
        f"{folder} is no saved model; name the folder that save() of UnateRegressor, "
        "UnateClassifier or UnateFineTuneRegressor wrote"
    )


def _of_network(folder: Path, device: str, own: dict[str, Any]) -> Predictor:
    from matminer_unate.finetuning.fine_tune_regressor import UnateFineTuneRegressor

    model = UnateFineTuneRegressor.load(folder, device)
    model.set_params(progress=False, on_error="nan", **own)
    config = model.weights_config_
    suffixes = _names(model.target_names_ or range(len(model.scale_.mean)))

    def predict(structures: list[Any]) -> Answers:
        return model.predict(structures).reshape(len(structures), -1), None

    made_by = _made_by(folder, model, config.name, device)
    return Predictor(made_by, config, model.disorder, tuple(suffixes), predict)


def _of_regressor(folder: Path, options: PredictOptions, own: dict[str, Any]) -> Predictor:
    from matminer_unate.regressors.unate_regressor import ONE_SIGMA, UnateRegressor

    model = UnateRegressor.load(folder)
    model.set_params(on_error="nan", device=options.device, progress=False, **own)
    novelties = _novelties(model, options)
    ends = ["", "_std"] if options.interval is None else ["", "_std", "_low", "_high"]
    suffixes = [name + end for name in _names(model.target_labels_) for end in ends]
    coverages = [ONE_SIGMA] if options.interval is None else [ONE_SIGMA, options.interval]

    def predict(structures: list[Any]) -> Answers:
        found = model._estimates(structures, coverages)
        columns = np.stack([found.values, found.reaches[0]], axis=-1)
        if options.interval is not None:
            ends = found.interval(1, model.interval_minimum_)
            columns = np.concatenate([columns, ends], axis=-1)
        columns = columns.reshape(len(structures), -1)
        if not novelties:
            return columns, None
        novelty = model._novelty(found.rows, found.to_training)[novelties]
        return np.hstack([columns, novelty.to_numpy()]), None

    if options.interval is not None:
        model.check_coverage(options.interval)
    return _recipe_predictor(folder, model, options, suffixes, predict)


def _of_classifier(folder: Path, options: PredictOptions, own: dict[str, Any]) -> Predictor:
    from matminer_unate.regressors.unate_classifier import UnateClassifier

    model = UnateClassifier.load(folder)
    model.set_params(on_error="nan", device=options.device, progress=False, **own)
    novelties, classes = _novelties(model, options), model.classes_
    suffixes = [f"_{label}" for label in classes]

    def predict(structures: list[Any]) -> Answers:
        found = model.predict_proba(structures, return_novelty=bool(novelties))
        columns = found[0] if novelties else found
        best = classes[np.argmax(np.nan_to_num(columns), axis=1)]
        return np.hstack([columns, found[1][novelties]]) if novelties else columns, best

    types = {"b": "bool", "i": "int64", "U": "string"}
    class_type = types[classes.dtype.kind]
    return _recipe_predictor(folder, model, options, suffixes, predict, class_type)


def _novelties(model: Any, options: PredictOptions) -> list[str]:
    from matminer_unate.regressors.recipe_estimator import known_novelties

    return known_novelties(model.weights) if options.novelty else []


def _recipe_predictor(
    folder: Path,
    model: Any,
    options: PredictOptions,
    suffixes: list[str],
    predict: Callable[[list[Any]], Answers],
    class_type: str = "",
) -> Predictor:
    """Of an estimator on the recipe's columns; the columns of novelty come last."""
    configs = [weights_config(w) for w in check_weights(model.weights)]
    of_weights = ", ".join(config.name for config in configs)
    made_by = _made_by(folder, model, of_weights, options.device)
    if options.interval is not None:
        made_by["interval"] = options.interval
    ends = (*suffixes, *(f"_novelty_{name}" for name in _novelties(model, options)))
    return Predictor(made_by, configs[0], model.disorder, ends, predict, class_type)


def _made_by(folder: Path, model: Any, weights: str, device: str) -> dict[str, Any]:
    from matminer_unate.engine.identity import file_identity

    return {
        "version": version("matminer_unate"),
        "device": resolve_device(device).type,
        "model": type(model).__name__,
        "weights": weights,
        "disorder": model.disorder,
        # It has the checksums of the other files in it.
        "sha256": file_identity(folder / "config.json")["sha256"],
    }


def _names(targets: Sequence[Any]) -> list[str]:
    """What the columns of several targets are called, after the name of them all."""
    return [f"_{name}" for name in targets] if len(targets) > 1 else [""]


class PredictedColumns:
    """Predictions of a saved model."""

    replaces: tuple[str, ...] = ()
    cure = "give the predictions another name with --name"

    def __init__(self, model: Predictor, name: str) -> None:
        self._model, self._name = model, name
        self.labels = [name + suffix for suffix in model.suffixes]
        self.carried = {name: model.class_type} if model.class_type else {}
        self.made_by = model.made_by

    def compute(self, rows: Iterable[InputRow], report: RowReport) -> Results:
        """As in :class:`Computing`."""
        for chunk in chunks(rows):
            errors: dict[int, Exception] = {}
            notes = EncodingNotes(self._model.config)
            places = usable(chunk, notes, self._model.disorder, errors.__setitem__)
            good, noted = [chunk[k] for k in places], notes.by_row()
            for k, row in enumerate(chunk):
                if k in errors:
                    report.failed(row, errors[k])
                else:
                    report.remark(row)
                    report.list_notes(row, noted.get(k, []))
            if not good:
                continue
            numbers, classes = reported(good, report, self._model.predict)
            values = numbers.astype(np.float32)
            finite = np.isfinite(values).all(axis=1)
            for k in np.flatnonzero(~finite).tolist():
                error = StructureError("the model has no prediction for this structure")
                report.failed(good[k], error)
            report.n_good += int(finite.sum())
            kept = []
            for k in np.flatnonzero(finite).tolist():
                carried = good[k].carried
                if classes is not None:
                    carried = {**carried, self._name: classes[k].item()}
                kept.append(replace(good[k], structure=None, carried=carried))
            yield kept, values[finite]

    def note_texts(self, report: RowReport) -> list[str]:
        """As in :class:`Computing`."""
        return []  # they are among the warnings of the model
