"""A fitted UnateRegressor ↔ a folder: JSON, safetensors and LightGBM's own text format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from matminer_unate.errors import WeightsError
from matminer_unate.network.model_folder import MODEL, FolderConfig, Upgrade
from matminer_unate.regressors.blend import BlendedModel, require_lightgbm
from matminer_unate.regressors.error_bars import ConformalScale
from matminer_unate.regressors.fitted_state import FittedState
from matminer_unate.regressors.kernel_ridge import BlockKernelRidge
from matminer_unate.regressors.target_models import BlockLayout, FittedModel, FittedTarget
from matminer_unate.transforms import TargetTransform, TransformName


@dataclass(frozen=True)
class SavedModel:
    """Names and numbers of a :class:`FittedModel`."""

    prefix: str
    without: list[str]
    transforms: list[TransformName]
    outputs: list[int]
    penalty: float
    mean_error: float
    held_out_error: float


@dataclass(frozen=True)
class SavedTarget:
    """Numbers of a :class:`FittedTarget`; None is no minimum."""

    minimum: float | None
    interval_minimum: float | None
    held_out_error: float
    models: list[SavedModel]


def _with_files(old: dict[str, Any]) -> dict[str, Any]:
    """Version 3 → version 4, in which the digests go by another name."""
    return {"files": old["sha256"], **{k: v for k, v in old.items() if k != "sha256"}}


def _with_transforms(old: dict[str, Any]) -> dict[str, Any]:
    """Version 4, which left targets as they are, → version 5."""
    names = old["files"]

    def upgraded(model: dict[str, Any]) -> dict[str, Any]:
        begin = f"{model['prefix']}direct_"
        n_folds = sum(name.startswith(begin) for name in names)
        return {**model, "transforms": ["identity"], "outputs": [0] * n_folds}

    targets = [
        {**target, "models": [upgraded(model) for model in target["models"]]}
        for target in old["targets"]
    ]
    parameters = {**old["parameters"], "target": "identity", "scoring": "mae"}
    return {**old, "parameters": parameters, "targets": targets}


@dataclass(frozen=True, kw_only=True)
class RegressorConfig(FolderConfig):
    """``config.json`` of a fitted regressor."""

    KIND: ClassVar[str] = "UnateRegressor"
    NOUN: ClassVar[str] = "saved UnateRegressor"
    VERSION: ClassVar[int] = 5
    UPGRADES: ClassVar[dict[int, Upgrade]] = {3: _with_files, 4: _with_transforms}

    parameters: dict[str, Any]
    weights_sha256: list[str]
    feature_names: list[str]
    blocks: dict[str, int]
    target_names: list[str] | None
    targets: list[SavedTarget]
    n_rows: int
    seed: int


KINDS = ("direct", "residual", "scale")
"""Of boosters."""

KERNEL_ARRAYS = ("mean", "scale", "limit", "basis", "weights", "scales")


def save_regressor(fitted: FittedState, parameters: dict[str, Any], folder: Path) -> None:
    """Write a fitted model and its parameters; files in the folder are replaced."""
    from safetensors.numpy import save

    from matminer_unate.network.weights import check_weights

    arrays, texts, targets = _parts(fitted)
    files = {MODEL: save({name: np.ascontiguousarray(a) for name, a in arrays.items()})}
    files |= {name: text.encode() for name, text in texts.items()}
    given = parameters["weights"]
    one = isinstance(given, str | Path)
    named = str(given) if one else [str(w) for w in check_weights(given)]
    config = RegressorConfig(
        parameters={**parameters, "weights": named},
        weights_sha256=fitted.weights_sha256,
        feature_names=list(fitted.feature_names),
        blocks=fitted.layout.widths,
        target_names=fitted.target_names,
        targets=targets,
        n_rows=fitted.n_rows,
        seed=fitted.seed,
    )
    config.write(folder, files)


def load_regressor(
    folder: Path, weights: str | Path | Sequence[str | Path] | None
) -> tuple[FittedState, dict[str, Any]]:
    """What was saved in a folder: the fitted model and the parameters of its estimator.

    Raises
    ------
    WeightsError
        A file is missing or damaged, or the weights are not those of the fit.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    from matminer_unate.network.weights import check_weights, checksums

    require_lightgbm()
    config = RegressorConfig.read(folder)
    content = config.read_files(folder)
    given = config.parameters.get("weights") if weights is None else weights
    if checksums(check_weights(given)) != config.weights_sha256:
        raise WeightsError(
            f"{folder} was fitted with other weights than {given!r} are now; fit it again, or pass "
            "the folders of the former ones as weights="
        )
    texts = {name: text.decode() for name, text in content.items() if name != MODEL}
    several = len(config.targets) > 1
    try:
        arrays = load(content[MODEL])
        targets = [
            _target(saved, f"target_{k}_" if several else "", arrays, texts)
            for k, saved in enumerate(config.targets)
        ]
    except (SafetensorError, KeyError) as e:
        raise WeightsError(f"{folder / MODEL} does not fit config.json: {e}") from e
    fitted = FittedState(
        targets,
        config.target_names,
        BlockLayout(config.blocks),
        np.array(config.feature_names, dtype=object),
        config.n_rows,
        config.seed,
        config.weights_sha256,
    )
    return fitted, {**config.parameters, "weights": given}


def _target(
    saved: SavedTarget, begin: str, arrays: dict[str, Any], texts: dict[str, str]
) -> FittedTarget:
    return FittedTarget(
        _unbounded(saved.minimum),
        _unbounded(saved.interval_minimum),
        [_fitted(model, arrays, texts) for model in saved.models],
        arrays[f"{begin}feature_importances"],
        arrays[f"{begin}held_out_predictions"],
        saved.held_out_error,
    )


def _read_booster(text: str) -> Any:
    # LightGBM reads with OpenMP, in which a forked child hangs unless it does so in a new thread.
    with ThreadPoolExecutor(1) as worker:
        return worker.submit(partial(require_lightgbm().Booster, model_str=text)).result()


def _parts(state: FittedState) -> tuple[dict[str, Any], dict[str, str], list[SavedTarget]]:
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
            prefix = begin + _prefix(fitted)
            arrays |= {prefix + name: array for name, array in _arrays(fitted).items()}
            for kind, boosters in _boosters(fitted).items():
                names = [f"{prefix}{kind}_{n}.txt" for n in range(len(boosters))]
                texts |= dict(zip(names, (b.model_to_string() for b in boosters), strict=True))
            chosen = [transform.name for transform in fitted.blend.transforms]
            numbers = fitted.kernel.penalty, fitted.scale.mean, fitted.held_out_error
            without, outputs = sorted(fitted.without), fitted.blend.outputs
            models.append(SavedModel(prefix, without, chosen, outputs, *numbers))
        least = _finite(target.minimum), _finite(target.interval_minimum)
        targets.append(SavedTarget(*least, target.held_out_error, models))
    return arrays, texts, targets


def _fitted(saved: SavedModel, arrays: dict[str, Any], texts: dict[str, str]) -> FittedModel:
    """One model, from the arrays and texts whose names begin with its prefix."""
    prefix = saved.prefix
    kernel_arrays = {name: arrays[f"{prefix}kernel/{name}"] for name in KERNEL_ARRAYS}
    # Up to version 4 there was one output.
    kernel_arrays["weights"] = kernel_arrays["weights"].reshape(-1, len(saved.transforms))
    kernel = BlockKernelRidge(penalty=saved.penalty, **kernel_arrays)
    transforms = [
        TargetTransform(name, arrays.get(f"{prefix}transforms/{name}", np.empty(0)))
        for name in saved.transforms
    ]
    grown: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for kind, boosters in grown.items():
        while (name := f"{prefix}{kind}_{len(boosters)}.txt") in texts:
            boosters.append(_read_booster(texts[name]))
    shares = arrays[f"{prefix}shares"]
    scores = arrays[f"{prefix}scores"], arrays[f"{prefix}score_weights"]
    return FittedModel(
        frozenset(saved.without),
        kernel,
        BlendedModel(transforms, saved.outputs, grown["direct"], grown["residual"], shares),
        ConformalScale(grown["scale"], saved.mean_error, *scores),
        saved.held_out_error,
    )


def _arrays(model: FittedModel) -> dict[str, Any]:
    arrays = {f"kernel/{name}": getattr(model.kernel, name) for name in KERNEL_ARRAYS}
    scale, numbers = model.scale, {t.name: t.numbers for t in model.blend.transforms}
    arrays |= {f"transforms/{name}": array for name, array in numbers.items() if len(array)}
    return arrays | {
        "shares": model.blend.shares,
        "scores": scale.scores,
        "score_weights": scale.score_weights,
    }


def _boosters(model: FittedModel) -> dict[str, list[Any]]:
    grown = model.blend.direct, model.blend.residual, model.scale.boosters
    return dict(zip(KINDS, grown, strict=True))


def _prefix(model: FittedModel) -> str:
    """Of the names of a model's files: none for the one with all blocks."""
    blocks = "_and_".join(sorted(model.without)).replace(" ", "_")
    return f"without_{blocks}_" if blocks else ""


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _unbounded(value: float | None) -> float:
    return -math.inf if value is None else value
