"""A fitted UnateRegressor ↔ a folder: JSON, safetensors and LightGBM's own text format."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matminer_unate.errors import WeightsError
from matminer_unate.network.model_folder import CONFIG, MODEL
from matminer_unate.regressors.blend import BlendedModel, require_lightgbm
from matminer_unate.regressors.error_bars import ConformalScale
from matminer_unate.regressors.kernel_ridge import BlockKernelRidge
from matminer_unate.regressors.target_models import BlockLayout, FittedModel, FittedTarget

if TYPE_CHECKING:
    from matminer_unate.regressors.unate_regressor import UnateRegressor


FORMAT_VERSION = 3
"""Raised by one whenever older readers could misread a saved model."""

KIND = "UnateRegressor"

KINDS = ("direct", "residual", "scale")
"""Of boosters."""

KERNEL_ARRAYS = ("mean", "scale", "limit", "basis", "weights", "scales")


def save_regressor(model: UnateRegressor, folder: Path) -> None:
    """Write a fitted model; files in the folder are replaced."""
    from safetensors.numpy import save

    from matminer_unate.network.weights import check_weights

    arrays, texts, targets = _parts(model)
    files = {MODEL: save({name: np.ascontiguousarray(a) for name, a in arrays.items()})}
    files |= {name: text.encode() for name, text in texts.items()}
    # Searches over grids set numpy's numbers, which JSON does not know.
    parameters = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in model.get_params().items()
    }
    given = model.weights
    one = isinstance(given, str | Path)
    parameters["weights"] = str(given) if one else [str(w) for w in check_weights(given)]
    config = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "parameters": parameters,
        "weights_sha256": model.weights_sha256_,
        "feature_names": list(model.feature_names_),
        "blocks": model.layout_.widths,
        "target_names": model.target_names_,
        "targets": targets,
        "n_rows": model.n_rows_,
        "seed": model.seed_,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    text = json.dumps(config, indent=1) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / CONFIG).write_text(text, encoding="utf-8")


def load_regressor(
    model: UnateRegressor, folder: Path, weights: str | Path | Sequence[str | Path] | None
) -> None:
    """Make ``model`` the one that was saved in a folder.

    Raises
    ------
    WeightsError
        A file is missing or damaged, or the weights are not those of the fit.
    """
    from safetensors.numpy import load

    from matminer_unate.network.weights import check_weights, checksums

    require_lightgbm()
    config = _read_config(folder)
    content = {name: _read(folder / name, digest) for name, digest in config["sha256"].items()}
    model.set_params(**config["parameters"])
    if weights is not None:
        model.set_params(weights=weights)
    if checksums(check_weights(model.weights)) != config["weights_sha256"]:
        raise WeightsError(
            f"{folder} was fitted with other weights than {model.weights!r} are now; fit it again, "
            "or pass the folders of the former ones as weights="
        )
    model.weights_sha256_ = config["weights_sha256"]
    arrays = load(content[MODEL])
    texts = {name: text.decode() for name, text in content.items() if name != MODEL}
    several = len(config["targets"]) > 1
    model.targets_ = []
    for k, saved in enumerate(config["targets"]):
        begin = f"target_{k}_" if several else ""
        floors = _unbounded(saved["minimum"]), _unbounded(saved["interval_minimum"])
        target = FittedTarget(*floors)
        target.models = [_fitted(m, arrays, texts) for m in saved["models"]]
        target.importances = arrays[f"{begin}feature_importances"]
        target.held_out = arrays[f"{begin}held_out_predictions"]
        target.held_out_error = saved["held_out_error"]
        model.targets_.append(target)
    model.layout_ = BlockLayout(config["blocks"])
    model.target_names_ = config["target_names"]
    model.feature_names_ = np.array(config["feature_names"], dtype=object)
    model.n_rows_, model.seed_ = config["n_rows"], config["seed"]


def _read_booster(text: str) -> Any:
    # LightGBM reads with OpenMP, in which a forked child hangs unless it does so in a new thread.
    with ThreadPoolExecutor(1) as worker:
        return worker.submit(partial(require_lightgbm().Booster, model_str=text)).result()


def _parts(model: UnateRegressor) -> tuple[dict[str, Any], dict[str, str], list[dict[str, Any]]]:
    """Arrays and texts of boosters by name, and the numbers of each target."""
    arrays: dict[str, Any] = {}
    texts: dict[str, str] = {}
    several = len(model.targets_) > 1
    targets = []
    for k, target in enumerate(model.targets_):
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
            models.append(
                {
                    "prefix": prefix,
                    "without": sorted(fitted.without),
                    "penalty": fitted.kernel.penalty,
                    "mean_error": fitted.scale.mean,
                    "held_out_error": fitted.held_out_error,
                }
            )
        targets.append(
            {
                "minimum": _finite(target.minimum),
                "interval_minimum": _finite(target.interval_minimum),
                "held_out_error": target.held_out_error,
                "models": models,
            }
        )
    return arrays, texts, targets


def _fitted(saved: dict[str, Any], arrays: dict[str, Any], texts: dict[str, str]) -> FittedModel:
    """One model, from the arrays and texts whose names begin with its prefix."""
    prefix = saved["prefix"]
    kernel = BlockKernelRidge(penalty=saved["penalty"])
    for name in KERNEL_ARRAYS:
        setattr(kernel, name, arrays[f"{prefix}kernel/{name}"])
    grown: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for kind, boosters in grown.items():
        while (name := f"{prefix}{kind}_{len(boosters)}.txt") in texts:
            boosters.append(_read_booster(texts[name]))
    shares = arrays[f"{prefix}shares"]
    scores = arrays[f"{prefix}scores"], arrays[f"{prefix}score_weights"]
    return FittedModel(
        frozenset(saved["without"]),
        kernel,
        BlendedModel(grown["direct"], grown["residual"], shares),
        ConformalScale(grown["scale"], saved["mean_error"], shares, *scores),
        saved["held_out_error"],
    )


def _arrays(model: FittedModel) -> dict[str, Any]:
    arrays = {f"kernel/{name}": getattr(model.kernel, name) for name in KERNEL_ARRAYS}
    scale = model.scale
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


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(
            f"{folder} is no saved model: it has no {CONFIG}, as model.save(folder) writes it"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise WeightsError(f"{folder / CONFIG} is not readable JSON ({e})") from e
    if not isinstance(config, dict) or config.get("kind") != KIND:
        raise WeightsError(f"{folder} holds no saved {KIND}")
    if config.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"{folder} is of model format {config.get('format_version')!r}, this version of "
            f"matminer_unate reads {FORMAT_VERSION}; install the version that wrote it"
        )
    return config


def _read(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{path.parent} has no {path.name}; copy the whole folder") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise WeightsError(f"{path} is truncated or changed; copy the folder again")
    return content
