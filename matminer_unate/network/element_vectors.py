"""One vector an element, beside the weights that it comes from.

``elements.safetensors`` of a weights folder holds for each element the mean of its site embeddings
over the pretraining crystals. ``training/element_vectors.py`` makes it, and its metadata name the
weights by their sha256, so that a table of other weights is never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import WeightsError
from matminer_unate.io.whole_files import fresh_file
from matminer_unate.network.weights import WeightsConfig, weights_config, weights_folder

ELEMENTS = "elements.safetensors"

_COMMAND = "python training/element_vectors.py"


@dataclass(frozen=True)
class ElementVectors:
    """Vectors of the elements by atomic number, 0 to 118.

    Attributes
    ----------
    vectors : (119, latent_dim) float32
        In standard deviations over the sites of pretraining; NaN for elements without any crystal.
    n_crystals : (119,) int64
        Crystals of pretraining that hold the element.
    own_share : (119,) float32
        From 0 to 1: how much of the vector is the element's own; the rest is the mean over the
        elements.
    """

    vectors: NDArray[np.float32]
    n_crystals: NDArray[np.int64]
    own_share: NDArray[np.float32]

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether each atomic number has a vector, (119,)."""
        return self.n_crystals > 0


def write_element_vectors(folder: Path, found: ElementVectors) -> Path:
    """Write the table into the folder of the weights that it is of; one that is there is replaced.

    Returns
    -------
    Path
        The file.
    """
    from safetensors.numpy import save

    config = WeightsConfig.read(folder)
    path = folder / ELEMENTS
    tensors: dict[str, NDArray[Any]] = {
        "vectors": found.vectors.astype(np.float32),
        "n_crystals": found.n_crystals.astype(np.int64),
        "own_share": found.own_share.astype(np.float32),
    }
    metadata = {"weights": config.name, "sha256": config.sha256}
    with fresh_file(path) as fresh:
        fresh.write_bytes(save(tensors, metadata))
    return path


def element_vectors(weights: str | Path) -> ElementVectors:
    """The table of these weights, read again only when a file changes.

    Raises
    ------
    WeightsError
        There is none, it is damaged, or it is of other weights.
    """
    folder, config = weights_folder(weights), weights_config(weights)
    path = folder / ELEMENTS
    if not path.is_file():
        raise WeightsError(
            f"{folder} has no {ELEMENTS}, so there are no vectors of elements; make it with "
            f"{_COMMAND} --weights {weights} --data FOLDER"
        )
    return _read(path, path.stat().st_mtime_ns, config.sha256, config.latent_dim)


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int, sha256: str, latent_dim: int) -> ElementVectors:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as e:
        raise WeightsError(f"{path} cannot be read ({e}); make it again with {_COMMAND}") from e
    if metadata.get("sha256") != sha256:
        raise WeightsError(
            f"{path} is of other weights ({metadata.get('weights')}, sha256 "
            f"{metadata.get('sha256', '')[:12]}…) than those beside it ({sha256[:12]}…); make it "
            f"again with {_COMMAND}"
        )
    shapes = {"vectors": (119, latent_dim), "n_crystals": (119,), "own_share": (119,)}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise WeightsError(f"{path} does not hold vectors; make it again with {_COMMAND}")
    for tensor in tensors.values():
        tensor.setflags(write=False)
    return ElementVectors(**tensors)
