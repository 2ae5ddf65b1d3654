"""A fitted UnateFineTuneRegressor ↔ a folder: safetensors and JSON."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import WeightsError
from matminer_unate.network.weights import CONFIG, MODEL, WeightsConfig

if TYPE_CHECKING:
    from matminer_unate.finetuning.fine_tune_regressor import UnateFineTuneRegressor


FORMAT_VERSION = 2
"""Raised by one whenever older readers could misread a saved model."""

KIND = "UnateFineTuneRegressor"


def save_fine_tuned(model: UnateFineTuneRegressor, folder: Path) -> None:
    """Write a fitted model; files in the folder are replaced."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{k}/{name}": value.detach().contiguous()
        for k, network in enumerate(model.networks_)
        for name, value in network.state_dict().items()
    }
    content = save(tensors)
    scale = model.scale_
    parameters = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in model.get_params().items()
    }
    config = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": parameters | {"weights": str(model.weights)},
        "weights": asdict(model.weights_config_),
        "targets": list(scale.names),
        "target_names": model.target_names_,
        "mean": scale.mean.tolist(),
        "spread": scale.spread.tolist(),
        "minimum": _finite(scale.minimum),
        "validation_error": _finite(np.atleast_1d(model.validation_error_)),
        "n_networks": len(model.networks_),
        "n_rows": model.n_rows_,
        "interrupted": model.interrupted_,
    }
    (folder / MODEL).write_bytes(content)
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def load_fine_tuned(model: UnateFineTuneRegressor, folder: Path) -> None:
    """Make ``model`` the one that was saved in a folder, on the device that it names.

    Raises
    ------
    WeightsError
        The folder or a file is missing, damaged, or of another kind or version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from matminer_unate.finetuning.networks import EncoderRegressor
    from matminer_unate.finetuning.targets import TargetScale
    from matminer_unate.network.encoder import SiteEncoder
    from matminer_unate.network.initialisation import WithoutDrawing

    config = read_model_config(folder)
    content = (folder / MODEL).read_bytes()
    if hashlib.sha256(content).hexdigest() != config["sha256"]:
        raise WeightsError(f"{folder / MODEL} is truncated or changed; copy the folder again")
    try:
        model.set_params(**config["parameters"] | {"device": model.device})
        model.weights_config_ = weights = WeightsConfig(**config["weights"])
        tensors = load(content)
        scale = TargetScale(
            np.array(config["mean"], np.float64),
            np.array(config["spread"], np.float64),
            _array(config["minimum"], -math.inf),
            tuple(config["targets"]),
        )
        model.networks_ = []
        for k in range(config["n_networks"]):
            own = f"{k}/"
            state = {n[len(own) :]: v for n, v in tensors.items() if n.startswith(own)}
            with WithoutDrawing():
                network = EncoderRegressor(
                    SiteEncoder(weights.encoder_config),
                    weights.is_known,
                    model.dropout,
                    len(state["given_mean"]),
                    n_targets=len(scale.mean),
                )
            network.load_state_dict(state)
            model.networks_.append(network.eval())
        one = len(scale.mean) == 1
        error = _array(config["validation_error"], math.nan)
        model.scale_ = scale
        model.minimum_ = float(scale.minimum[0]) if one else scale.minimum
        model.validation_error_ = float(error[0]) if one else error
        model.target_names_ = config["target_names"]
        model.n_rows_ = int(config["n_rows"])
        model.interrupted_ = bool(config["interrupted"])
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as e:
        raise WeightsError(f"{folder} is no readable model ({e}); save it again") from e


def read_model_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a saved model.

    Raises
    ------
    WeightsError
        The folder holds no model of this kind and version.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        (folder / MODEL).stat()
    except FileNotFoundError:
        raise WeightsError(
            f"{folder} is no saved model: it needs {MODEL} and {CONFIG}, as model.save(folder) "
            "writes them"
        ) from None
    except (NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError) as e:
        raise WeightsError(f"{folder / CONFIG} is not readable JSON ({e})") from e
    kind = config.get("kind") if isinstance(config, dict) else None
    if kind != KIND:
        raise WeightsError(
            f"{folder} holds no fine-tuned regressor; unate featurize is for pretrained weights"
        )
    if config.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"{folder} is of model format {config.get('format_version')!r}, this version of "
            f"matminer_unate reads {FORMAT_VERSION}; install the version that wrote it"
        )
    return config


def _finite(values: NDArray[np.float64]) -> list[float | None]:
    """As JSON has them: it knows no NaN and no infinity."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _array(values: list[float | None], missing: float) -> NDArray[np.float64]:
    return np.array([missing if value is None else value for value in values], np.float64)
