"""A fitted UnateRegressor ↔ a folder: JSON, safetensors and LightGBM's own text format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from matminer_unate.network.weights import check_weights
from matminer_unate.regressors.blend import BlendedModel, Forest
from matminer_unate.regressors.error_bars import ConformalScale
from matminer_unate.regressors.fitted_state import FittedState
from matminer_unate.regressors.network_expert import NetworkExpert
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
from matminer_unate.regressors.target_models import FittedModel, FittedTarget
from matminer_unate.regressors.unfamiliarity import Unfamiliarity
from matminer_unate.transforms import TargetTransform, TransformName


@dataclass(frozen=True)
class SavedModel:
    """Names and numbers of a :class:`FittedModel`."""

    prefix: str
    without: list[str]
    transforms: list[TransformName]
    outputs: list[list[int]]
    penalty: float
    mean_error: float
    held_out_error: float
    has_network: bool


@dataclass(frozen=True)
class SavedTarget:
    """Numbers of a :class:`FittedTarget`; None is no minimum."""

    minimum: float | None
    interval_minimum: float | None
    held_out_error: float
    models: list[SavedModel]


@dataclass(frozen=True, kw_only=True)
class RegressorConfig(RecipeConfig):
    """``config.json`` of a fitted regressor."""

    KIND: ClassVar[str] = "UnateRegressor"
    NOUN: ClassVar[str] = "saved UnateRegressor"
    VERSION: ClassVar[int] = 9

    target_names: list[str] | None
    targets: list[SavedTarget]


def save_regressor(
    fitted: FittedState[FittedTarget], parameters: dict[str, Any], folder: Path
) -> None:
    """Write a fitted model and its parameters; files in the folder are replaced."""
    arrays, texts, targets = _parts(fitted)
    entries = common_entries(fitted, {**parameters, "checkpoints": None})
    config = RegressorConfig(**entries, target_names=fitted.target_names, targets=targets)
    config.write(folder, file_contents(arrays, texts))


def load_regressor(
    folder: Path, weights: str | Path | Sequence[str | Path] | None
) -> tuple[FittedState[FittedTarget], dict[str, Any]]:
    """What was saved in a folder: the fitted model and the parameters of its estimator.

    Raises
    ------
    WeightsError
        A file is missing or damaged, or the weights are not those of the fit.
    """
    config = RegressorConfig.read(folder)
    arrays, texts, parameters = read_contents(folder, config, weights)
    several, first = len(config.targets) > 1, check_weights(parameters["weights"])[0]
    try:
        targets = [
            _target(saved, f"target_{k}_" if several else "", arrays, texts, first)
            for k, saved in enumerate(config.targets)
        ]
    except (KeyError, RuntimeError) as e:
        raise misfit(folder, e) from e
    return state_of(config, targets, config.target_names), parameters


def _target(
    saved: SavedTarget,
    begin: str,
    arrays: dict[str, Any],
    texts: dict[str, str],
    weights: str | Path,
) -> FittedTarget:
    return FittedTarget(
        [_fitted(model, arrays, texts, weights) for model in saved.models],
        arrays[f"{begin}feature_importances"],
        arrays[f"{begin}held_out_predictions"],
        saved.held_out_error,
        _unbounded(saved.minimum),
        _unbounded(saved.interval_minimum),
    )


def _parts(
    state: FittedState[FittedTarget],
) -> tuple[dict[str, Any], dict[str, str], list[SavedTarget]]:
    """Arrays and texts of boosters by name, and the numbers of each target."""
    arrays: dict[str, Any] = {}
    texts: dict[str, str] = {}
    several = len(state.targets) > 1
    targets = []
    for k, target in enumerate(state.targets):
        begin = f"target_{k}_" if several else ""
        arrays[f"{begin}feature_importances"] = target.importances
        arrays[f"{begin}held_out_predictions"] = target.held_out
        models = []
        for fitted in target.models:
            prefix, blend = begin + prefix_of(fitted.without), fitted.blend
            arrays |= _arrays(prefix, fitted)
            grown: dict[str, list[Any]] = {"scale": fitted.scale.boosters}
            for n, forest in enumerate(blend.forests):
                grown |= {f"direct_{n}": forest.direct, f"residual_{n}": forest.residual}
            texts |= booster_texts(prefix, grown)
            chosen = [transform.name for transform in blend.transforms]
            error, has_network = fitted.held_out_error, fitted.network is not None
            numbers = fitted.kernel.penalty, fitted.scale.mean, error, has_network
            without = sorted(fitted.without)
            outputs = [forest.outputs for forest in blend.forests]
            models.append(SavedModel(prefix, without, chosen, outputs, *numbers))
        least = _finite(target.minimum), _finite(target.interval_minimum)
        targets.append(SavedTarget(*least, target.held_out_error, models))
    return arrays, texts, targets


def _fitted(
    saved: SavedModel, arrays: dict[str, Any], texts: dict[str, str], weights: str | Path
) -> FittedModel:
    """One model, from the arrays and texts whose names begin with its prefix."""
    prefix, network = saved.prefix, None
    if saved.has_network:
        own = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        network = NetworkExpert.of_arrays(own, weights)
    transforms = [
        TargetTransform(name, arrays.get(f"{prefix}transforms/{name}", np.empty(0)))
        for name in saved.transforms
    ]
    forests = [
        Forest(
            outputs,
            read_boosters(prefix, f"direct_{n}", texts),
            read_boosters(prefix, f"residual_{n}", texts),
            arrays[f"{prefix}tree_scales_{n}"],
        )
        for n, outputs in enumerate(saved.outputs)
    ]
    shares = arrays[f"{prefix}shares"]
    scores = [arrays[f"{prefix}{name}"] for name in ("scores", "score_weights", "score_sizes")]
    return FittedModel(
        frozenset(saved.without),
        read_kernel(prefix, arrays, saved.penalty),
        BlendedModel(transforms, forests, shares),
        ConformalScale(read_boosters(prefix, "scale", texts), saved.mean_error, *scores),
        Unfamiliarity(arrays[f"{prefix}usual_similarities"]),
        saved.held_out_error,
        network,
    )


def _arrays(prefix: str, model: FittedModel) -> dict[str, Any]:
    numbers = {transform.name: transform.numbers for transform in model.blend.transforms}
    network = {} if model.network is None else model.network.arrays()
    return kernel_arrays(prefix, model.kernel) | {
        f"{prefix}shares": model.blend.shares,
        **{f"{prefix}tree_scales_{n}": f.scales for n, f in enumerate(model.blend.forests)},
        f"{prefix}scores": model.scale.scores,
        f"{prefix}score_weights": model.scale.score_weights,
        f"{prefix}score_sizes": model.scale.score_sizes,
        f"{prefix}usual_similarities": model.unfamiliarity.usual,
        **{f"{prefix}transforms/{name}": n for name, n in numbers.items() if len(n)},
        **{f"{prefix}{name}": array for name, array in network.items()},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _unbounded(value: float | None) -> float:
    return -math.inf if value is None else value
