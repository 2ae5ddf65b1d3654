"""What the folders of UnateRegressor and UnateClassifier have in common."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from matminer_unate.errors import WeightsError
from matminer_unate.network.model_folder import MODEL, FolderConfig
from matminer_unate.network.weights import check_weights, checksums
from matminer_unate.regressors.blend import require_lightgbm
from matminer_unate.regressors.fitted_state import FittedState
from matminer_unate.regressors.kernel_ridge import BlockKernelRidge
from matminer_unate.regressors.training_rows import BlockLayout, Blocks

KERNEL_ARRAYS = ("mean", "scale", "limit", "basis", "weights", "scales")


@dataclass(frozen=True, kw_only=True)
class RecipeConfig(FolderConfig):
    """``config.json`` of an estimator on the recipe's columns."""

    parameters: dict[str, Any]
    weights_sha256: list[str]
    feature_names: list[str]
    blocks: dict[str, int]
    n_rows: int
    seed: int


def common_entries(state: FittedState[Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Entries of a :class:`RecipeConfig`."""
    given = parameters["weights"]
    one = isinstance(given, str | Path)
    named = str(given) if one else [str(w) for w in check_weights(given)]
    return {
        "parameters": {**parameters, "weights": named},
        "weights_sha256": state.weights_sha256,
        "feature_names": list(state.feature_names),
        "blocks": state.layout.widths,
        "n_rows": state.n_rows,
        "seed": state.seed,
    }


def file_contents(arrays: dict[str, Any], texts: dict[str, str]) -> dict[str, bytes]:
    """Arrays in one file, and each text in its own."""
    from safetensors.numpy import save

    tensors = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return {MODEL: tensors} | {name: text.encode() for name, text in texts.items()}


def read_contents(
    folder: Path, config: RecipeConfig, weights: str | Path | Sequence[str | Path] | None
) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """Arrays, texts of boosters, and the parameters with the weights as they are found.

    Raises
    ------
    WeightsError
        A file is missing or damaged, or the weights are not those of the fit.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    require_lightgbm()
    content = config.read_files(folder)
    given = config.parameters.get("weights") if weights is None else weights
    if checksums(check_weights(given)) != config.weights_sha256:
        raise WeightsError(
            f"{folder} was fitted with other weights than {given!r} are now; fit it again, or pass "
            "the folders of the former ones as weights="
        )
    texts = {name: text.decode() for name, text in content.items() if name != MODEL}
    try:
        arrays = load(content[MODEL])
    except SafetensorError as e:
        raise misfit(folder, e) from e
    return arrays, texts, {**config.parameters, "weights": given}


def misfit(folder: Path, error: Exception) -> WeightsError:
    """The error for arrays that are not those that ``config.json`` tells of."""
    return WeightsError(f"{folder / MODEL} does not fit config.json: {error}")


def state_of(
    config: RecipeConfig, targets: list[Any], target_names: list[str] | None
) -> FittedState[Any]:
    """The fitted state, from what was read."""
    return FittedState(
        targets,
        target_names,
        BlockLayout(config.blocks),
        np.array(config.feature_names, dtype=object),
        config.n_rows,
        config.seed,
        config.weights_sha256,
    )


def kernel_arrays(prefix: str, kernel: BlockKernelRidge) -> dict[str, Any]:
    """Arrays of a kernel ridge regression by name."""
    return {f"{prefix}kernel/{name}": getattr(kernel, name) for name in KERNEL_ARRAYS}


def read_kernel(prefix: str, arrays: dict[str, Any], penalty: float) -> BlockKernelRidge:
    """From such arrays."""
    own = {name: arrays[f"{prefix}kernel/{name}"] for name in KERNEL_ARRAYS}
    return BlockKernelRidge(penalty=penalty, **own)


def booster_texts(prefix: str, kinds: dict[str, list[Any]]) -> dict[str, str]:
    """Texts of boosters by the names of their files."""
    return {
        f"{prefix}{kind}_{n}.txt": booster.model_to_string()
        for kind, boosters in kinds.items()
        for n, booster in enumerate(boosters)
    }


def read_boosters(prefix: str, kind: str, texts: dict[str, str]) -> list[Any]:
    """All of a kind, from such texts."""
    boosters: list[Any] = []
    while (name := f"{prefix}{kind}_{len(boosters)}.txt") in texts:
        boosters.append(_read_booster(texts[name]))
    return boosters


def prefix_of(without: Blocks) -> str:
    """Of the names of a model's files: none for the one with all blocks."""
    blocks = "_and_".join(sorted(without)).replace(" ", "_")
    return f"without_{blocks}_" if blocks else ""


def _read_booster(text: str) -> Any:
    # LightGBM reads with OpenMP, in which a forked child hangs unless it does so in a new thread.
    with ThreadPoolExecutor(1) as worker:
        return worker.submit(partial(require_lightgbm().Booster, model_str=text)).result()
