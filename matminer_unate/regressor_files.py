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

from matminer_unate.block_kernel_ridge import BlockKernelRidge
from matminer_unate.checkpoint import CONFIG, MODEL
from matminer_unate.errors import WeightsError
from matminer_unate.regressor_parts import BlendedModel, ConformalScale, require_lightgbm

if TYPE_CHECKING:
    from matminer_unate.regressor import UnateRegressor

FORMAT_VERSION = 2
"""Raised by one whenever older readers could misread a saved model."""

KIND = "UnateRegressor"

KERNEL_ARRAYS = ("mean", "scale", "limit", "basis", "weights", "scales")


def save_regressor(model: UnateRegressor, folder: Path) -> None:
    """Write a fitted model; files in the folder are replaced."""
    from safetensors.numpy import save

    from matminer_unate.regressor import check_weights

    arrays = {f"kernel/{name}": getattr(model.kernel_, name) for name in KERNEL_ARRAYS}
    arrays |= {
        "shares": model.model_.shares,
        "scores": model.scale_.scores,
        "feature_importances": model.feature_importances_,
        "held_out_predictions": model.held_out_predictions_,
    }
    files = {MODEL: save({name: np.ascontiguousarray(a) for name, a in arrays.items()})}
    for kind, boosters in _boosters(model).items():
        for k, booster in enumerate(boosters):
            files[f"{kind}_{k}.txt"] = booster.model_to_string().encode()
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
        "n_tree_columns": model.n_tree_columns_,
        "minimum": model.minimum_ if math.isfinite(model.minimum_) else None,
        "penalty": model.kernel_.penalty,
        "mean_error": model.scale_.mean,
        "held_out_error": model.held_out_error_,
        "n_rows": model.n_rows_,
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

    from matminer_unate.regressor import check_weights, checksums

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
    grown: dict[str, list[Any]] = {"direct": [], "residual": [], "scale": []}
    for kind, boosters in grown.items():
        while (name := f"{kind}_{len(boosters)}.txt") in content:
            boosters.append(_read_booster(content[name].decode()))
    model.kernel_ = BlockKernelRidge(model.max_kernel_rows, model.random_state)
    for name in KERNEL_ARRAYS:
        setattr(model.kernel_, name, arrays[f"kernel/{name}"])
    model.kernel_.penalty = config["penalty"]
    shares = arrays["shares"]
    model.model_ = BlendedModel(grown["direct"], grown["residual"], shares)
    model.scale_ = ConformalScale(grown["scale"], config["mean_error"], shares, arrays["scores"])
    model.feature_names_ = np.array(config["feature_names"], dtype=object)
    model.feature_importances_ = arrays["feature_importances"]
    model.held_out_predictions_ = arrays["held_out_predictions"]
    model.n_tree_columns_ = config["n_tree_columns"]
    model.minimum_ = -math.inf if config["minimum"] is None else config["minimum"]
    model.held_out_error_, model.n_rows_ = config["held_out_error"], config["n_rows"]


def _read_booster(text: str) -> Any:
    # LightGBM reads with OpenMP, in which a forked child hangs unless it does so in a new thread.
    with ThreadPoolExecutor(1) as worker:
        return worker.submit(partial(require_lightgbm().Booster, model_str=text)).result()


def _boosters(model: UnateRegressor) -> dict[str, list[Any]]:
    return {
        "direct": model.model_.direct,
        "residual": model.model_.residual,
        "scale": model.scale_.boosters,
    }


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
