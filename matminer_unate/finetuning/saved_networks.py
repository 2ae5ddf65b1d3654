"""What fine-tuning leaves ↔ a folder: safetensors and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import WeightsError
from matminer_unate.finetuning.settings import FitReport
from matminer_unate.finetuning.targets import TargetScale
from matminer_unate.network.model_folder import MODEL, FolderConfig, Upgrade
from matminer_unate.network.weights import WeightsConfig
from matminer_unate.transforms import TargetTransform, TransformName

if TYPE_CHECKING:
    from matminer_unate.finetuning.networks import PropertyEncoder


@dataclass(frozen=True)
class FittedNetworks:
    """The fitted state of a ``UnateFineTuneRegressor``: each field is an attribute of it.

    Attributes
    ----------
    networks : list of PropertyEncoder
        On the CPU, in evaluation mode.
    weights_config : WeightsConfig
    scale : TargetScale
    validation_error : (n_targets,) float64 array
    target_names : list of str or None
    n_rows : int
    interrupted : bool
    reports : list of FitReport
        Are not saved.
    """

    networks: list[PropertyEncoder]
    weights_config: WeightsConfig
    scale: TargetScale
    validation_error: NDArray[np.float64]
    target_names: list[str] | None
    n_rows: int
    interrupted: bool
    reports: list[FitReport] = field(default_factory=list)


def _with_newer_weights(old: dict[str, Any]) -> dict[str, Any]:
    """Version 2, whose only file was the tensors, → version 3."""
    weights = WeightsConfig.UPGRADES[1](old["weights"])
    weights = {k: v for k, v in weights.items() if k != "format_version"}
    rest = {k: v for k, v in old.items() if k != "sha256"}
    return {**rest, "files": {MODEL: old["sha256"]}, "weights": weights}


def _with_transforms(old: dict[str, Any]) -> dict[str, Any]:
    """Version 3, which knew no transformations of targets and absolute errors only, → version 4."""
    parameters = {**old["parameters"], "target": "identity", "scoring": "mae"}
    transforms = ["identity"] * len(old["mean"])
    return {**old, "parameters": parameters, "transforms": transforms, "unit": old["spread"]}


@dataclass(frozen=True, kw_only=True)
class FineTunedConfig(FolderConfig):
    """``config.json`` of a fine-tuned model; null is no minimum, or an error that is not known."""

    KIND: ClassVar[str] = "UnateFineTuneRegressor"
    NOUN: ClassVar[str] = "saved UnateFineTuneRegressor"
    VERSION: ClassVar[int] = 4
    UPGRADES: ClassVar[dict[int, Upgrade]] = {2: _with_newer_weights, 3: _with_transforms}

    parameters: dict[str, Any]
    weights: WeightsConfig
    targets: list[str]
    target_names: list[str] | None
    transforms: list[TransformName]
    mean: list[float]
    spread: list[float]
    unit: list[float]
    minimum: list[float | None]
    validation_error: list[float | None]
    n_networks: int
    n_rows: int
    interrupted: bool


def save_fine_tuned(folder: Path, parameters: Mapping[str, Any], fitted: FittedNetworks) -> None:
    """Write a fitted model and the parameters of its estimator; files are replaced."""
    from safetensors.torch import save
    from torch import from_numpy

    tensors = {
        f"{k}/{name}": value.detach().contiguous()
        for k, network in enumerate(fitted.networks)
        for name, value in network.state_dict().items()
    }
    scale = fitted.scale
    tensors |= {
        f"transforms/{k}": from_numpy(transform.numbers)
        for k, transform in enumerate(scale.transforms)
        if len(transform.numbers)
    }
    config = FineTunedConfig(
        # A folder of this machine says nothing to who loads the model.
        parameters={**parameters, "weights": str(parameters["weights"]), "checkpoints": None},
        weights=fitted.weights_config,
        targets=list(scale.names),
        target_names=fitted.target_names,
        transforms=[transform.name for transform in scale.transforms],
        mean=scale.mean.tolist(),
        spread=scale.spread.tolist(),
        unit=scale.unit.tolist(),
        minimum=_finite(scale.minimum),
        validation_error=_finite(fitted.validation_error),
        n_networks=len(fitted.networks),
        n_rows=fitted.n_rows,
        interrupted=fitted.interrupted,
    )
    config.write(folder, {MODEL: save(tensors)})


def load_fine_tuned(folder: Path) -> tuple[dict[str, Any], FittedNetworks]:
    """Parameters of the estimator, and its fitted state.

    Raises
    ------
    WeightsError
        The folder or a file is missing, damaged, or of another kind or version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    config = FineTunedConfig.read(folder)
    content = config.read_files(folder)[MODEL]
    try:
        tensors = load(content)
        networks, scale = _networks(config, tensors), _scale(config, tensors)
    except (SafetensorError, RuntimeError, KeyError) as e:
        raise WeightsError(f"{folder / MODEL} does not fit config.json: {e}") from e
    return config.parameters, FittedNetworks(
        networks,
        config.weights,
        scale,
        _array(config.validation_error, math.nan),
        config.target_names,
        config.n_rows,
        config.interrupted,
    )


def _networks(config: FineTunedConfig, tensors: Mapping[str, Any]) -> list[PropertyEncoder]:
    from matminer_unate.finetuning.networks import PropertyEncoder
    from matminer_unate.network.encoder import SiteEncoder
    from matminer_unate.network.initialisation import WithoutDrawing

    networks = []
    for k in range(config.n_networks):
        own = f"{k}/"
        state = {name.removeprefix(own): v for name, v in tensors.items() if name.startswith(own)}
        with WithoutDrawing():
            network = PropertyEncoder(
                SiteEncoder(config.weights.encoder),
                config.weights.is_known,
                config.parameters["dropout"],
                len(state["given_mean"]),
                n_targets=len(config.mean),
            )
        network.load_state_dict(state)
        networks.append(network.eval())
    return networks


def _scale(config: FineTunedConfig, tensors: Mapping[str, Any]) -> TargetScale:
    transforms = []
    for k, name in enumerate(config.transforms):
        plain = TargetTransform.identity()
        numbers = tensors[f"transforms/{k}"].numpy() if name != "identity" else plain.numbers
        transforms.append(TargetTransform(name, numbers))
    return TargetScale(
        tuple(transforms),
        np.array(config.mean, np.float64),
        np.array(config.spread, np.float64),
        np.array(config.unit, np.float64),
        _array(config.minimum, -math.inf),
        tuple(config.targets),
    )


def _finite(values: NDArray[np.float64]) -> list[float | None]:
    """As JSON has them: it knows no NaN and no infinity."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _array(values: list[float | None], missing: float) -> NDArray[np.float64]:
    return np.array([missing if value is None else value for value in values], np.float64)
