"""A fitted UnateClassifier ↔ a folder, as that of UnateRegressor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from matminer_unate.regressors.class_models import Calibration, FittedClasses, FittedClassModel
from matminer_unate.regressors.fitted_state import FittedState
from matminer_unate.regressors.saved_parts import (
    RecipeConfig,
    booster_texts,
    common_entries,
    file_contents,
    kernel_arrays,
    misfit,
    prefix_of,
    read_boosters,
    read_contents,
    read_kernel,
    state_of,
)
from matminer_unate.regressors.unfamiliarity import Unfamiliarity


@dataclass(frozen=True)
class SavedClassModel:
    """Names and numbers of a :class:`FittedClassModel`."""

    without: list[str]
    penalty: float
    factor: float
    held_out_error: float


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(RecipeConfig):
    """``config.json`` of a fitted classifier.

    Attributes
    ----------
    class_type : str
        Of the labels, as numpy writes it.
    """

    KIND: ClassVar[str] = "UnateClassifier"
    NOUN: ClassVar[str] = "saved UnateClassifier"
    VERSION: ClassVar[int] = 2

    classes: list[Any]
    class_type: str
    held_out_error: float
    models: list[SavedClassModel]


def save_classifier(
    fitted: FittedState[FittedClasses], parameters: dict[str, Any], folder: Path
) -> None:
    """Write a fitted model and its parameters; files in the folder are replaced."""
    (target,) = fitted.targets
    arrays = {
        "feature_importances": target.importances,
        "held_out_probabilities": target.held_out,
    }
    texts: dict[str, str] = {}
    models = []
    for model in target.models:
        prefix = prefix_of(model.without)
        arrays |= kernel_arrays(prefix, model.kernel)
        arrays[f"{prefix}biases"] = model.calibration.biases
        arrays[f"{prefix}usual_similarities"] = model.unfamiliarity.usual
        texts |= booster_texts(prefix, {"trees": model.trees})
        numbers = model.kernel.penalty, model.calibration.factor, model.held_out_error
        models.append(SavedClassModel(sorted(model.without), *numbers))
    given = parameters["class_weight"]
    pairs = given
    if isinstance(given, dict):
        pairs = [[np.asarray(label).item(), weight] for label, weight in given.items()]
    entries = common_entries(fitted, {**parameters, "class_weight": pairs})
    config = ClassifierConfig(
        **entries,
        classes=target.classes.tolist(),
        class_type=target.classes.dtype.str,
        held_out_error=target.held_out_error,
        models=models,
    )
    config.write(folder, file_contents(arrays, texts))


def load_classifier(
    folder: Path, weights: str | Path | Sequence[str | Path] | None
) -> tuple[FittedState[FittedClasses], dict[str, Any]]:
    """What was saved in a folder: the fitted model and the parameters of its estimator.

    Raises
    ------
    WeightsError
        A file is missing or damaged, or the weights are not those of the fit.
    """
    config = ClassifierConfig.read(folder)
    arrays, texts, parameters = read_contents(folder, config, weights)
    pairs = parameters.get("class_weight")
    if isinstance(pairs, list):
        parameters["class_weight"] = dict(pairs)
    try:
        target = FittedClasses(
            [_fitted(model, arrays, texts) for model in config.models],
            arrays["feature_importances"],
            arrays["held_out_probabilities"],
            config.held_out_error,
            np.array(config.classes, dtype=config.class_type),
        )
    except (KeyError, TypeError, ValueError) as e:
        raise misfit(folder, e) from e
    return state_of(config, [target], None), parameters


def _fitted(
    saved: SavedClassModel, arrays: dict[str, Any], texts: dict[str, str]
) -> FittedClassModel:
    prefix = prefix_of(frozenset(saved.without))
    return FittedClassModel(
        frozenset(saved.without),
        read_kernel(prefix, arrays, saved.penalty),
        read_boosters(prefix, "trees", texts),
        Calibration(saved.factor, arrays[f"{prefix}biases"]),
        Unfamiliarity(arrays[f"{prefix}usual_similarities"]),
        saved.held_out_error,
    )
