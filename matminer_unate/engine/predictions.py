"""Input rows → rows with the predictions of a saved model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matminer_unate.crystals.ordering import Disorder
from matminer_unate.engine.computing import Results, chunks, reported, usable
from matminer_unate.engine.report import RowReport
from matminer_unate.errors import InputError, StructureError, WeightsError
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
        Folder that ``save`` of ``UnateFineTuneRegressor`` or ``UnateRegressor`` wrote.
    device : str
    name : str
        Of the column of predictions.
    disorder : {"raise", "ordered"} or None
        None is as the model has it.
    novelty : bool
        With columns of what is unfamiliar about a row.
    """

    model: str
    device: str = "auto"
    name: str = "prediction"
    disorder: Disorder | None = None
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
        predictor = load_predictor(Path(self.model), self.device, self.disorder, self.novelty)
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
    disorder : str
    suffixes : tuple of str
        What the names of its columns end in; the first is the prediction.
    predict : callable
        Structures → (n, len(suffixes)), NaN where it cannot.
    """

    made_by: dict[str, Any]
    config: WeightsConfig
    disorder: Disorder
    suffixes: tuple[str, ...]
    predict: Callable[[list[Any]], NDArray[np.float64]]


def load_predictor(
    folder: Path, device: str, disorder: Disorder | None = None, novelty: bool = False
) -> Predictor:
    """Load a saved model; see :class:`PredictOptions`."""
    own: dict[str, Any] = {} if disorder is None else {"disorder": disorder}
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

        network = UnateFineTuneRegressor.load(folder, device).set_params(progress=False, **own)
        config = network.weights_config_
        made_by = _model_made_by(folder, network, config.name, device)
        given = made_by, config, network.disorder, ("",)
        return Predictor(*given, lambda s: network.predict(s)[:, None])
    if kind == "UnateRegressor":
        from matminer_unate.regressors.unate_regressor import UnateRegressor

        model = UnateRegressor.load(folder).set_params(**own)
        suffixes = [name + end for name in _names(model.target_labels_) for end in ("", "_std")]

        def with_errors(structures: list[Any]) -> tuple[NDArray[np.float64], Any]:
            found, std, *novelties = model.predict(structures, True, novelty)
            return np.stack([found, std], axis=-1).reshape(len(structures), -1), novelties

        return _recipe_predictor(model, folder, device, suffixes, novelty, with_errors)
    if kind == "UnateClassifier":
        from matminer_unate.regressors.unate_classifier import UnateClassifier

        classifier = UnateClassifier.load(folder).set_params(**own)
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
    made_by = _model_made_by(folder, model, of_weights, device)
    ends = (*suffixes, *(f"_novelty_{name}" for name in names))
    return Predictor(made_by, configs[0], model.disorder, ends, with_novelty)


def _model_made_by(folder: Path, model: Any, weights: str, device: str) -> dict[str, Any]:
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
        for chunk in chunks(rows):
            errors: dict[int, Exception] = {}
            config, disorder = self._model.config, self._model.disorder
            good = [chunk[k] for k in usable(chunk, config, disorder, errors.__setitem__)]
            for k, row in enumerate(chunk):
                if k in errors:
                    report.failed(row, errors[k])
                else:
                    report.remark(row)
            if not good:
                continue
            found = reported(good, report, self._model.predict).astype(np.float32)
            finite = np.isfinite(found).all(axis=1)
            for k in np.flatnonzero(~finite).tolist():
                error = StructureError("the model has no prediction for this structure")
                report.failed(good[k], error)
            report.n_good += int(finite.sum())
            yield [replace(good[k], structure=None) for k in np.flatnonzero(finite)], found[finite]

    def note_texts(self, report: RowReport) -> list[str]:
        """As in :class:`Computing`."""
        return []
